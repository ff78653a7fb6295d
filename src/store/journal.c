/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing and recovering the manifest.
 *
 * A record is appended and flushed, then the older head slot is overwritten to
 * point past it and flushed. So a valid record past the pointer is one whose
 * head write did not make it: adopting it is what would have happened a moment
 * later. What does not check out before the pointer is damage; after it, a
 * torn tail. A log goes only when both slots point into a later one, so that
 * one damaged slot costs nothing.
 */
#include "store/journal.h"

#include "base/plant.h"

#include "store/state.h"

#include <stdio.h>
#include <string.h>

#define LOG_LONG (1u << 20)
#define ID_ROOM (HVREPL_OBJECT_ID_MAX + 1u)

static void log_id(uint64_t number, char out[ID_ROOM])
{
	(void)snprintf(out, ID_ROOM, HVRI_LOG_PREFIX "%016llx",
		       (unsigned long long)number);
}

/* Everything after a submitted write that went wrong in an unknown way. */
static int32_t broken(struct hvri_journal *journal, int32_t rc)
{
	journal->broken = HVREPL_E_POISONED;
	return rc;
}

static int32_t read_slot(struct hvri_journal *journal, uint64_t size,
			 unsigned slot, struct hvri_head *head_out)
{
	uint8_t bytes[HVRI_HEAD_SIZE];
	uint64_t at = (uint64_t)slot * HVRI_HEAD_SLOT_STEP;

	if (size < at + HVRI_HEAD_SIZE)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_object_read(&journal->head_object, at, bytes,
				  sizeof(bytes)));
	/* Its own bytes need no proof, and it looks before each record. */
	if (journal->slot[slot].written &&
	    memcmp(bytes, journal->slot[slot].bytes, sizeof(bytes)) == 0) {
		*head_out = journal->slot[slot].head;
		return HVREPL_OK;
	}
	return hvri_head_decode(bytes, &journal->sha, head_out);
}

static bool passes(int32_t rc)
{
	return rc == HVREPL_E_STORAGE_IO || rc == HVREPL_E_NOMEM ||
	       rc == HVREPL_E_FORMAT_TOO_NEW;
}

/* The newest valid slot; logs_out: the log each slot names, or 0. */
static int32_t read_head(struct hvri_journal *journal,
			 struct hvri_head *head_out, uint64_t logs_out[2])
{
	struct hvri_head slots[2];
	int32_t rc[2];
	uint64_t size;

	HVRI_TRY(hvri_object_size(&journal->head_object, &size));
	for (unsigned i = 0; i < 2; i++) {
		rc[i] = read_slot(journal, size, i, &slots[i]);
		if (passes(rc[i]))
			return rc[i];
	}
	/* Creation writes slot A, flushes, and goes on with slot B. */
	if (rc[0] < 0 && rc[1] < 0)
		return size <= HVRI_HEAD_SLOT_STEP ? HVREPL_E_NOT_FOUND :
						     HVREPL_E_CORRUPT;
	for (unsigned i = 0; i < 2; i++)
		logs_out[i] = rc[i] == HVREPL_OK ? slots[i].log : 0;
	if (rc[0] == HVREPL_OK && rc[1] == HVREPL_OK)
		*head_out = slots[slots[1].generation > slots[0].generation];
	else
		*head_out = slots[rc[0] == HVREPL_OK ? 0 : 1];
	return HVREPL_OK;
}

/* Write the next generation of the head over the older slot. */
static int32_t write_head(struct hvri_journal *journal,
			  const struct hvri_head *next)
{
	uint8_t bytes[HVRI_HEAD_SIZE];
	uint64_t slot = next->generation % 2u;
	int32_t rc;

	HVRI_TRY(hvri_head_encode(next, &journal->sha, bytes));
	journal->slot[slot].written = false;
	rc = hvri_object_write(&journal->head_object,
			       slot * HVRI_HEAD_SLOT_STEP, bytes,
			       sizeof(bytes));
	if (rc == HVREPL_OK)
		rc = hvri_object_flush(&journal->head_object);
	if (rc < 0)
		return broken(journal, rc);
	journal->head = journal->slot[slot].head = *next;
	memcpy(journal->slot[slot].bytes, bytes, sizeof(bytes));
	journal->slot[slot].written = true;
	journal->slot_log[slot] = next->log;
	return HVREPL_OK;
}

static int32_t write_record(const struct hvri_object *object, uint64_t at,
			    struct hvri_sha256 *sha,
			    struct hvri_record_header *header, uint8_t *bytes)
{
	uint64_t span = hvri_record_span(header->length);
	uint64_t used = (uint64_t)HVRI_RECORD_HEADER + header->length;

	HVRI_TRY(hvri_record_seal(header, bytes + HVRI_RECORD_HEADER, sha,
				  bytes));
	memset(bytes + used, 0, (size_t)(span - used));
	return hvri_object_write(object, at, bytes, (size_t)span);
}

/* A log whose first record is `state`; flushed. `head` is moved to it. */
static int32_t write_log(struct hvri_journal *journal, struct hvri_head *head,
			 const struct hvri_manifest *state,
			 struct hvri_object *object_out)
{
	const struct hvri_env *env = journal->env;
	size_t bound = hvri_manifest_bound(state);
	size_t room = (size_t)hvri_record_span((uint32_t)bound);
	struct hvri_record_header header = {
		.type = HVRI_RECORD_CHECKPOINT,
		.sequence = head->sequence + 1,
		.log = head->log + 1,
	};
	struct hvri_object object = { NULL, NULL };
	char id[ID_ROOM];
	uint8_t *bytes;
	int32_t rc;

	bytes = hvri_alloc(env, room);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	memcpy(header.previous, head->digest, 32);
	log_id(header.log, id);
	/* One of an earlier try that did not get into the head. */
	rc = hvri_storage_remove(journal->storage, id);
	if (rc == HVREPL_OK || rc == HVREPL_E_NOT_FOUND)
		rc = hvri_manifest_encode(state, bytes + HVRI_RECORD_HEADER,
					  bound, &header.length);
	if (rc == HVREPL_OK)
		rc = hvri_object_open(journal->storage, id,
				      HVREPL_OBJECT_CREATE, &object);
	if (rc == HVREPL_OK)
		rc = write_record(&object, 0, &journal->sha, &header, bytes);
	if (rc == HVREPL_OK)
		rc = hvri_object_flush(&object);
	hvri_free(env, bytes, room);
	if (rc < 0) {
		hvri_object_close(&object);
		return rc;
	}
	head->log = header.log;
	head->length = hvri_record_span(header.length);
	head->sequence = header.sequence;
	memcpy(head->digest, header.digest, 32);
	*object_out = object;
	return HVREPL_OK;
}

/* What else lies beside a head. */
struct beside {
	char other[ID_ROOM]; /* One that is neither head nor first log, or "". */
	bool first;          /* The first log is there... */
	uint64_t first_log;  /* ...and so long. */
};

static int32_t look_beside(void *argument, const char *id, uint64_t size)
{
	struct beside *beside = argument;
	char first[ID_ROOM];

	log_id(1, first);
	if (strcmp(id, first) == 0) {
		beside->first = true;
		beside->first_log = size;
	} else if (strcmp(id, HVRI_HEAD_ID) != 0 && strlen(id) < ID_ROOM) {
		memcpy(beside->other, id, strlen(id) + 1);
	}
	return HVREPL_OK;
}

/*
 * No slot of the head is valid, and the second was never written. That is the
 * rest of a creation only while there is nothing but its first record: a
 * manifest that lost its head must not be taken for a store that holds nothing.
 */
static int32_t judge_headless(const struct hvri_journal *journal)
{
	struct beside beside = { .first = false };
	struct hvri_record_header header;
	uint8_t bytes[HVRI_RECORD_HEADER];
	struct hvri_object log;
	char id[ID_ROOM];
	int32_t rc;

	HVRI_TRY(hvri_storage_list(journal->storage, "store.",
				   look_beside, &beside));
	if (beside.other[0] != 0)
		return HVREPL_E_CORRUPT;
	if (beside.first_log <= sizeof(bytes))
		return HVREPL_E_NOT_FOUND;
	log_id(1, id);
	HVRI_TRY(hvri_object_open(journal->storage, id, HVREPL_OBJECT_READ_ONLY,
				  &log));
	rc = hvri_object_read(&log, 0, bytes, sizeof(bytes));
	hvri_object_close(&log);
	HVRI_TRY(rc);
	rc = hvri_record_header_decode(bytes, &header);
	return rc == HVREPL_OK &&
			       beside.first_log > hvri_record_span(header.length) ?
		       HVREPL_E_CORRUPT : HVREPL_E_NOT_FOUND;
}

/* Without a head what lies there is the rest of a removal. It goes before there
 * is a head again: judge_headless() relies on it. */
static int32_t clear_rest(const struct hvri_journal *journal)
{
	bool removed = false;

	for (;;) {
		struct beside beside = { .first = false };

		HVRI_TRY(hvri_storage_list(journal->storage, "store.",
					   look_beside, &beside));
		if (beside.other[0] == 0 && beside.first)
			log_id(1, beside.other);
		if (beside.other[0] == 0)
			break;
		HVRI_TRY(hvri_storage_remove(journal->storage, beside.other));
		removed = true;
	}
	return removed ? hvri_storage_sync(journal->storage) : HVREPL_OK;
}

static int32_t create_head(struct hvri_journal *journal)
{
	struct hvri_head head;
	uint64_t logs[2];
	int32_t rc;

	rc = hvri_object_open(journal->storage, HVRI_HEAD_ID, 0,
			      &journal->head_object);
	if (rc == HVREPL_E_NOT_FOUND) {
		HVRI_TRY(clear_rest(journal));
		return hvri_object_open(journal->storage, HVRI_HEAD_ID,
					HVREPL_OBJECT_CREATE,
					&journal->head_object);
	}
	if (rc < 0)
		return rc;
	rc = read_head(journal, &head, logs);
	if (rc == HVREPL_OK)
		return HVREPL_E_EXISTS;
	/* The rest of a creation that did not end. */
	if (rc == HVREPL_E_NOT_FOUND)
		rc = judge_headless(journal);
	if (rc != HVREPL_E_NOT_FOUND)
		return rc;
	return hvri_object_resize(&journal->head_object, 0);
}

int32_t hvri_journal_create(struct hvri_journal *journal,
			    const struct hvri_env *env,
			    const struct hvri_storage *storage,
			    uint64_t fencing_token,
			    const struct hvri_manifest *state)
{
	struct hvri_head head = { .vm = state->vm,
				  .fencing_token = fencing_token };
	int32_t rc;

	*journal = (struct hvri_journal){ .env = env, .storage = storage };
	rc = create_head(journal);
	if (rc == HVREPL_OK)
		rc = write_log(journal, &head, state, &journal->log_object);
	/* Generations 2 and 3: slot A before slot B; see read_head(). */
	for (uint64_t g = 2; g < 4 && rc == HVREPL_OK; g++) {
		head.generation = g;
		rc = write_head(journal, &head);
	}
	if (rc < 0)
		hvri_journal_close(journal);
	return rc;
}

struct replay {
	struct hvri_journal *journal;
	struct hvri_manifest *state;
	bool started; /* A checkpoint was read. */
	uint64_t sequence;
	uint8_t digest[32];
	struct hvri_manifest_disk disks[HVREPL_STORE_DISKS_MAX];
	struct hvri_manifest_stamp stamps[HVREPL_STORE_DISKS_MAX];
};

static int32_t apply_body(struct replay *replay, uint16_t type,
			  const uint8_t *body, uint32_t length)
{
	const struct hvri_env *env = replay->journal->env;
	struct hvri_manifest_record record = { .disks = replay->disks,
					       .stamps = replay->stamps };
	uint8_t *owned = NULL;

	if (type == HVRI_RECORD_CHECKPOINT) {
		struct hvri_manifest *fresh = hvri_alloc(env, sizeof(*fresh));
		int32_t rc;

		if (fresh == NULL)
			return HVREPL_E_NOMEM;
		rc = hvri_manifest_decode(env, body, length, fresh);
		if (rc == HVREPL_OK) {
			hvri_manifest_clear(env, replay->state);
			*replay->state = *fresh;
		}
		hvri_free(env, fresh, sizeof(*fresh));
		return rc;
	}
	HVRI_TRY(hvri_manifest_record_decode(type, body, length, &record));
	if (hvri_state_check(replay->state, &record) < 0)
		return HVREPL_E_CORRUPT;
	if (record.length > 0) {
		owned = hvri_alloc(env, record.length);
		if (owned == NULL)
			return HVREPL_E_NOMEM;
		memcpy(owned, record.bytes, record.length);
	}
	hvri_state_apply(env, replay->state, &record, owned);
	return HVREPL_OK;
}

/* The record at `at` of a log held in memory; CORRUPT when it is none, or does
 * not follow what came before. */
static int32_t replay_one(struct replay *replay, uint64_t log,
			  const uint8_t *bytes, uint64_t size, uint64_t at,
			  uint64_t *span_out)
{
	struct hvri_record_header header;

	if (size - at < HVRI_RECORD_HEADER)
		return HVREPL_E_TRUNCATED;
	HVRI_TRY(hvri_record_header_decode(bytes + at, &header));
	if (hvri_record_span(header.length) > size - at)
		return HVREPL_E_TRUNCATED;
	if (header.log != log ||
	    (at == 0) != (header.type == HVRI_RECORD_CHECKPOINT))
		return HVREPL_E_CORRUPT;
	if (replay->started &&
	    (header.sequence != replay->sequence + 1 ||
	     memcmp(header.previous, replay->digest, 32) != 0))
		return HVREPL_E_CORRUPT;
	HVRI_TRY(hvri_record_check(bytes + at, &header,
				   bytes + at + HVRI_RECORD_HEADER,
				   &replay->journal->sha));
	HVRI_TRY(apply_body(replay, header.type,
			    bytes + at + HVRI_RECORD_HEADER, header.length));
	replay->started = true;
	replay->sequence = header.sequence;
	memcpy(replay->digest, header.digest, 32);
	*span_out = hvri_record_span(header.length);
	return HVREPL_OK;
}

/* Replay a log: all of `committed` must be there and right; more may be. */
static int32_t replay_log(struct replay *replay, uint64_t log,
			  const struct hvri_object *object, uint64_t committed,
			  uint64_t *end_out)
{
	const struct hvri_env *env = replay->journal->env;
	uint64_t size, at = 0, span;
	uint8_t *bytes;
	int32_t rc;

	HVRI_TRY(hvri_object_size(object, &size));
	if (size < committed)
		return HVREPL_E_TRUNCATED;
	if (size > HVRI_RECORD_BODY_MAX + 4u * LOG_LONG)
		return HVREPL_E_CORRUPT;
	bytes = hvri_alloc(env, (size_t)size + 1);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_object_read(object, 0, bytes, (size_t)size);
	while (rc == HVREPL_OK && at < size) {
		rc = replay_one(replay, log, bytes, size, at, &span);
		if (rc == HVREPL_OK)
			at += span;
	}
	hvri_free(env, bytes, (size_t)size + 1);
	if (rc == HVREPL_E_STORAGE_IO || rc == HVREPL_E_NOMEM)
		return rc;
	/* Past the pointer: a torn tail. */
	if (rc < 0 && at < committed && !HVRI_PLANT(log_cut_at_damage))
		return rc;
	*end_out = at;
	if (HVRI_PLANT(log_cut_at_damage) && at != 0)
		return HVREPL_OK;
	return at == 0 ? HVREPL_E_TRUNCATED : HVREPL_OK;
}

/* A later log whose checkpoint follows what was replayed, whose head write did
 * not make it or whose head slot is damaged. */
static int32_t follow_logs(struct replay *replay, struct hvri_head *head)
{
	struct hvri_journal *journal = replay->journal;
	struct hvri_object next = { NULL, NULL };
	char id[ID_ROOM];
	uint64_t end;
	int32_t rc;

	for (;;) {
		log_id(head->log + 1, id);
		rc = hvri_object_open(journal->storage, id, 0, &next);
		if (rc == HVREPL_E_NOT_FOUND)
			return HVREPL_OK;
		if (rc < 0)
			return rc;
		rc = hvri_object_flush(&next);
		if (rc == HVREPL_OK)
			rc = replay_log(replay, head->log + 1, &next, 0, &end);
		if (rc < 0) {
			hvri_object_close(&next);
			return passes(rc) ? rc : HVREPL_OK;
		}
		hvri_object_close(&journal->log_object);
		journal->log_object = next;
		head->log++;
		head->length = end;
	}
}

static int32_t recover(struct hvri_journal *journal, uint64_t token,
		       struct replay *replay)
{
	struct hvri_head head;
	char id[ID_ROOM];
	uint64_t end = 0;
	int32_t rc;

	HVRI_TRY(hvri_object_open(journal->storage, HVRI_HEAD_ID, 0,
				  &journal->head_object));
	/* What a dead process left in a cache becomes durable before it is
	 * believed. */
	HVRI_TRY(hvri_object_flush(&journal->head_object));
	rc = read_head(journal, &head, journal->slot_log);
	if (rc == HVREPL_E_NOT_FOUND)
		rc = judge_headless(journal);
	HVRI_TRY(rc);
	if (token < head.fencing_token)
		return HVREPL_E_FENCED;
	log_id(head.log, id);
	rc = hvri_object_open(journal->storage, id, 0, &journal->log_object);
	if (rc < 0)
		return rc == HVREPL_E_NOT_FOUND ? HVREPL_E_TRUNCATED : rc;
	HVRI_TRY(hvri_object_flush(&journal->log_object));
	HVRI_TRY(replay_log(replay, head.log, &journal->log_object,
			    head.length, &end));
	head.length = end;
	HVRI_TRY(follow_logs(replay, &head));
	/* The torn tail goes before anything is written over it. */
	HVRI_TRY(hvri_object_resize(&journal->log_object, head.length));
	head.sequence = replay->sequence;
	memcpy(head.digest, replay->digest, 32);
	head.fencing_token = token;
	journal->head = head;
	/* Both slots: the log before may go then. */
	do {
		head.generation++;
		HVRI_TRY(write_head(journal, &head));
	} while (journal->slot_log[0] != head.log ||
		 journal->slot_log[1] != head.log);
	return HVREPL_OK;
}

int32_t hvri_journal_open(struct hvri_journal *journal,
			  const struct hvri_env *env,
			  const struct hvri_storage *storage,
			  uint64_t fencing_token,
			  struct hvri_manifest *state_out)
{
	struct replay *replay = hvri_alloc(env, sizeof(*replay));
	int32_t rc;

	if (replay == NULL)
		return HVREPL_E_NOMEM;
	*journal = (struct hvri_journal){ .env = env, .storage = storage };
	memset(state_out, 0, sizeof(*state_out));
	replay->journal = journal;
	replay->state = state_out;
	rc = recover(journal, fencing_token, replay);
	hvri_free(env, replay, sizeof(*replay));
	if (rc < 0) {
		hvri_journal_close(journal);
		hvri_manifest_clear(env, state_out);
	}
	return rc;
}

/* Another opener's head has a generation we did not write. */
static int32_t check_fence(struct hvri_journal *journal)
{
	struct hvri_head head;
	uint64_t logs[2];
	int32_t rc = read_head(journal, &head, logs);

	if (passes(rc))
		return rc;
	if (rc == HVREPL_OK && (head.generation > journal->head.generation ||
				head.fencing_token >
					journal->head.fencing_token)) {
		journal->broken = HVREPL_E_FENCED;
		return HVREPL_E_FENCED;
	}
	return HVREPL_OK;
}

/* Planted: acted upon before it is durable. A macro, so that nothing is left. */
#define BEFORE_DURABLE(record)                        \
	((HVRI_PLANT(merge_begun_unnamed) &&          \
	  (record)->type == HVRI_RECORD_MERGE) ||     \
	 (HVRI_PLANT(logs_removed_early) &&           \
	  (record)->type == HVRI_RECORD_REPLACE))

int32_t hvri_journal_append(struct hvri_journal *journal,
			    const struct hvri_manifest_record *record)
{
	const struct hvri_env *env = journal->env;
	size_t bound = hvri_manifest_record_bound(record);
	size_t room = (size_t)hvri_record_span((uint32_t)bound);
	struct hvri_head head = journal->head;
	struct hvri_record_header header = {
		.type = record->type,
		.sequence = head.sequence + 1,
		.log = head.log,
	};
	uint8_t *bytes;
	int32_t rc;

	if (journal->broken < 0)
		return journal->broken;
	HVRI_TRY(check_fence(journal));
	bytes = hvri_alloc(env, room);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	memcpy(header.previous, head.digest, 32);
	rc = hvri_manifest_record_encode(record, bytes + HVRI_RECORD_HEADER,
					 bound, &header.length);
	if (rc == HVREPL_OK) {
		rc = write_record(&journal->log_object, head.length,
				  &journal->sha, &header, bytes);
		if (rc < 0 && rc != HVREPL_E_NO_SPACE && rc != HVREPL_E_NOMEM)
			rc = broken(journal, rc);
	}
	hvri_free(env, bytes, room);
	if (rc < 0)
		return rc;
	rc = BEFORE_DURABLE(record) ? HVREPL_OK :
				      hvri_object_flush(&journal->log_object);
	if (rc < 0)
		return broken(journal, rc);
	head.length += hvri_record_span(header.length);
	head.sequence = header.sequence;
	memcpy(head.digest, header.digest, 32);
	if (BEFORE_DURABLE(record)) {
		journal->head = head;
		return HVREPL_OK;
	}
	head.generation++;
	rc = write_head(journal, &head);
	return rc < 0 ? broken(journal, rc) : HVREPL_OK;
}

bool hvri_journal_is_long(const struct hvri_journal *journal)
{
	return journal->head.length > LOG_LONG;
}

static void remove_log(struct hvri_journal *journal, uint64_t number)
{
	char id[ID_ROOM];
	int32_t rc;

	log_id(number, id);
	rc = hvri_storage_remove(journal->storage, id);
	(void)rc; /* Left over at worst: opening removes it. */
}

int32_t hvri_journal_checkpoint(struct hvri_journal *journal,
				const struct hvri_manifest *state)
{
	struct hvri_object object = { NULL, NULL };
	struct hvri_head head = journal->head;
	uint64_t old = head.log;
	int32_t rc;

	if (journal->broken < 0)
		return journal->broken;
	HVRI_TRY(check_fence(journal));
	rc = write_log(journal, &head, state, &object);
	/* Nothing was lost: the old log goes on. A checkpoint that is there
	 * after all says the same as the old log, until that one goes on. */
	if (rc < 0)
		return rc == HVREPL_E_NO_SPACE || rc == HVREPL_E_NOMEM ?
			       rc :
			       broken(journal, rc);
	head.generation++;
	rc = write_head(journal, &head);
	if (rc == HVREPL_OK) {
		head.generation++;
		rc = write_head(journal, &head);
	}
	hvri_object_close(&journal->log_object);
	journal->log_object = object;
	if (rc < 0)
		return broken(journal, rc);
	remove_log(journal, old);
	return HVREPL_OK;
}

void hvri_journal_close(struct hvri_journal *journal)
{
	hvri_object_close(&journal->head_object);
	hvri_object_close(&journal->log_object);
	hvri_sha256_free(&journal->sha);
}
