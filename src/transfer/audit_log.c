/* SPDX-License-Identifier: Apache-2.0 */
/* The audit in a storage: opened, repaired, appended to, verified. */
#include "transfer/audit_log.h"

#include "base/abi.h"
#include "base/cursor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A segment grows beyond its limit by one record; more is not ours. */
#define READ_MAX (HVRI_AUDIT_SEGMENT + 65536u)

/* ---- Finding and reading. ---- */

struct range {
	uint32_t first, last; /* 0: none. */
};

static int32_t found(void *argument, const char *id, uint64_t size)
{
	struct range *range = argument;
	char again[HVRI_AUDIT_ID];
	uint32_t segment;

	(void)size;
	segment = (uint32_t)strtoul(id + strlen("audit."), NULL, 16);
	hvri_audit_id(segment, again);
	if (segment == 0 || strcmp(id, again) != 0)
		return HVREPL_OK; /* Somebody else's. */
	if (range->first == 0 || segment < range->first)
		range->first = segment;
	if (segment > range->last)
		range->last = segment;
	return HVREPL_OK;
}

static int32_t load(const struct hvri_env *env, struct hvri_object *object,
		    uint8_t **bytes_out, size_t *length_out)
{
	uint64_t size = 0;
	uint8_t *bytes;
	int32_t rc;

	HVRI_TRY(hvri_object_size(object, &size));
	if (size > READ_MAX)
		return HVREPL_E_CORRUPT;
	bytes = hvri_alloc(env, (size_t)size + 1);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	rc = size == 0 ? HVREPL_OK :
			 hvri_object_read(object, 0, bytes, (size_t)size);
	if (rc < 0) {
		hvri_free(env, bytes, (size_t)size + 1);
		return rc;
	}
	*bytes_out = bytes;
	*length_out = (size_t)size;
	return HVREPL_OK;
}

struct reader {
	int32_t (*seen)(void *user, const struct hvrepl_audit_record *record);
	void *user;
	int32_t stopped; /* What `seen` said, where that is negative. */
};

/* One segment to its end, or to where it is no good: *at_out. `chain` NULL: it
 * is the oldest. TRUNCATED: torn; CORRUPT: worse. */
static int32_t read_segment(const struct hvri_env *env,
			    struct hvri_object *object, uint32_t segment,
			    bool oldest, struct reader *reader,
			    struct hvri_audit_chain *chain, uint64_t *at_out,
			    uint64_t *length_out)
{
	struct hvri_audit_reading reading = { 0 };
	struct hvrepl_audit_record record;
	char text[HVRI_AUDIT_RECORD_MAX];
	uint8_t *bytes = NULL;
	int32_t rc;

	*at_out = 0;
	HVRI_TRY(load(env, object, &bytes, &reading.length));
	reading.bytes = bytes;
	*length_out = reading.length;
	rc = hvri_audit_read_header(&reading, segment);
	if (rc == HVREPL_OK && !oldest &&
	    (reading.chain.records != chain->records ||
	     memcmp(reading.chain.digest, chain->digest,
		    sizeof(chain->digest)) != 0))
		rc = HVREPL_E_CORRUPT;
	if (rc == HVREPL_OK)
		*chain = reading.chain;
	while (rc == HVREPL_OK) {
		rc = hvri_audit_next(&reading, &record, text);
		if (rc == HVREPL_OK) {
			*chain = reading.chain;
			if (reader != NULL && reader->seen != NULL)
				rc = reader->seen(reader->user, &record);
			if (rc < 0)
				reader->stopped = rc;
			else
				rc = HVREPL_OK;
		}
	}
	*at_out = reading.at;
	hvri_free(env, bytes, reading.length + 1);
	if (reader != NULL && reader->stopped < 0)
		return reader->stopped;
	return rc == HVREPL_E_NOT_FOUND ? HVREPL_OK : rc;
}

/* All segments in order. What stays open is the last one. */
static int32_t read_all(const struct hvri_env *env,
			const struct hvri_storage *storage, uint32_t flags,
			struct reader *reader, struct range *range_out,
			struct hvri_object *last_out,
			struct hvri_audit_chain *chain, uint64_t *at_out,
			uint64_t *length_out, struct hvrepl_error *error)
{
	struct range range = { 0, 0 };
	int32_t rc;

	memset(chain, 0, sizeof(*chain));
	*at_out = *length_out = 0;
	HVRI_TRY(hvri_storage_list(storage, "audit.", found, &range));
	*range_out = range;
	for (uint32_t i = range.first; i != 0 && i <= range.last; i++) {
		char id[HVRI_AUDIT_ID];

		hvri_audit_id(i, id);
		rc = hvri_object_open(storage, id, flags, last_out);
		if (rc == HVREPL_E_NOT_FOUND)
			return hvri_fail(error, HVREPL_E_CORRUPT,
					 "record %llu is missing, and with it "
					 "all of object %s",
					 (unsigned long long)chain->records + 1,
					 id);
		if (rc < 0)
			return hvri_fail_plain(error, rc);
		rc = read_segment(env, last_out, i, i == range.first, reader,
				  chain, at_out, length_out);
		if (reader != NULL && reader->stopped < 0) {
			hvri_object_close(last_out);
			return hvri_fail_plain(error, rc);
		}
		/* Only the very end may be torn. */
		if (rc == HVREPL_E_TRUNCATED && i < range.last)
			rc = HVREPL_E_CORRUPT;
		if (rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED)
			hvri_fail(error, rc,
				  "record %llu is %s: object %s, byte %llu of "
				  "%llu",
				  (unsigned long long)chain->records + 1,
				  rc == HVREPL_E_CORRUPT ? "damaged or not of "
							   "this chain" :
							   "not whole",
				  id, (unsigned long long)*at_out,
				  (unsigned long long)*length_out);
		if (rc < 0) {
			if (rc != HVREPL_E_TRUNCATED)
				hvri_object_close(last_out);
			return hvri_fail_plain(error, rc);
		}
		if (i < range.last)
			hvri_object_close(last_out);
	}
	return HVREPL_OK;
}

/* ---- Writing. ---- */

static void let_go(hvrepl_audit *audit)
{
	if (audit->object.object != NULL)
		hvri_object_close(&audit->object);
	audit->object.object = NULL;
}

/* With a header in front where the segment is new; one write, one flush. */
static int32_t put(hvrepl_audit *audit, const struct hvrepl_audit_record *given)
{
	uint8_t bytes[HVRI_AUDIT_HEADER + HVRI_AUDIT_RECORD_MAX];
	struct hvrepl_audit_record record = *given;
	struct hvri_audit_chain chain = audit->chain;
	char id[HVRI_AUDIT_ID];
	size_t head = 0, length = 0;

	record.number = chain.records + 1;
	record.utc_ns = hvri_utc(&audit->env);
	if (audit->segment == 0 || audit->end >= audit->segment_max) {
		let_go(audit);
		hvri_audit_id(audit->segment + 1, id);
		HVRI_TRY(hvri_object_open(&audit->storage, id,
					  HVREPL_OBJECT_CREATE,
					  &audit->object));
		audit->segment++;
		audit->end = 0;
	}
	if (audit->end == 0) {
		HVRI_TRY(hvri_audit_make_header(audit->segment, &chain, bytes));
		head = HVRI_AUDIT_HEADER;
	}
	HVRI_TRY(hvri_audit_make(&record, &chain, bytes + head, &length));
	HVRI_TRY(hvri_object_write(&audit->object, audit->end, bytes,
				   head + length));
	HVRI_TRY(hvri_object_flush(&audit->object));
	audit->end += head + length;
	audit->chain = chain;
	return HVREPL_OK;
}

/* What the storage holds is what counts: after a start, and after a failure. */
static int32_t look(hvrepl_audit *audit, struct hvrepl_error *error)
{
	struct hvrepl_audit_record repaired = HVREPL_AUDIT_RECORD_INIT;
	struct range range = { 0, 0 };
	uint64_t at, length;
	char sentence[HVREPL_SENTENCE_MAX];
	/* Not the caller's: a torn end that is mended is no failure. */
	struct hvrepl_error why = HVREPL_ERROR_INIT;
	int32_t rc;

	let_go(audit);
	rc = read_all(&audit->env, &audit->storage, 0, NULL, &range,
		      &audit->object, &audit->chain, &at, &length, &why);
	audit->segment = range.last;
	audit->end = at;
	if (rc != HVREPL_E_TRUNCATED) {
		if (rc < 0)
			return hvri_fail(error, rc, "%s",
					 why.sentence[0] != 0 ?
						 why.sentence :
						 hvrepl_strerror(rc));
		/* What was written and perhaps not flushed now is, before
		 * anything is linked to it. */
		return range.last == 0 ? HVREPL_OK :
					 hvri_object_flush(&audit->object);
	}
	HVRI_TRY(hvri_object_resize(&audit->object, at));
	HVRI_TRY(hvri_object_flush(&audit->object));
	snprintf(sentence, sizeof(sentence),
		 "%llu bytes behind record %llu were no whole record and were "
		 "dropped",
		 (unsigned long long)(length - at),
		 (unsigned long long)audit->chain.records);
	repaired.kind = HVREPL_AUDIT_REPAIRED;
	repaired.code = HVREPL_E_TRUNCATED;
	repaired.sentence = sentence;
	return put(audit, &repaired);
}

static int32_t append(hvrepl_audit *audit,
		      const struct hvrepl_audit_record *record)
{
	if (audit->code < 0)
		HVRI_TRY(look(audit, NULL));
	return put(audit, record);
}

int32_t hvrepl_audit_append(hvrepl_audit *audit,
			    const struct hvrepl_audit_record *given)
{
	struct hvrepl_audit_record record;
	int32_t rc;

	if (audit == NULL || given == NULL)
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_abi_copy_in(&record, sizeof(record),
				  HVRI_SIZE_UP_TO(struct hvrepl_audit_record,
						  sentence),
				  given));
	if (record.reserved != 0 || record.kind == 0)
		return HVREPL_E_INVALID;
	hvri_lock(&audit->mutex);
	rc = append(audit, &record);
	audit->code = rc;
	hvri_unlock(&audit->mutex);
	return rc;
}

/* ---- The handle. ---- */

static int32_t begin(hvrepl_audit *audit, struct hvrepl_error *error)
{
	struct hvrepl_audit_record opened = HVREPL_AUDIT_RECORD_INIT;
	int32_t rc = look(audit, error);

	if (rc == HVREPL_OK) {
		opened.kind = HVREPL_AUDIT_OPENED;
		opened.sentence = "the audit was opened";
		rc = put(audit, &opened);
	}
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}

int32_t hvrepl_audit_open(const struct hvrepl_env *env,
			  const struct hvrepl_storage *storage,
			  hvrepl_audit **audit_out, struct hvrepl_error *error)
{
	hvrepl_audit *audit = NULL;
	struct hvri_env copy;
	int32_t rc;

	if (storage == NULL || audit_out == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "storage and audit_out must not be NULL");
	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK) {
		audit = hvri_alloc(&copy, sizeof(*audit));
		if (audit == NULL)
			rc = hvri_fail_plain(error, HVREPL_E_NOMEM);
	}
	if (rc < 0) {
		if (storage->release != NULL)
			storage->release(storage->user);
		return rc;
	}
	audit->env = copy;
	audit->segment_max = HVRI_AUDIT_SEGMENT;
	hvri_mutex_init(&audit->mutex);
	rc = hvri_storage_take(&audit->storage, storage, error);
	if (rc < 0) {
		hvri_mutex_destroy(&audit->mutex);
		hvri_free(&copy, audit, sizeof(*audit));
		return rc;
	}
	rc = begin(audit, error);
	if (rc < 0) {
		hvrepl_audit_close(audit);
		return rc;
	}
	*audit_out = audit;
	return HVREPL_OK;
}

int32_t hvrepl_audit_get_info(hvrepl_audit *audit,
			      struct hvrepl_audit_info *info)
{
	struct hvrepl_audit_info full = HVREPL_AUDIT_INFO_INIT;

	if (audit == NULL || info == NULL)
		return HVREPL_E_INVALID;
	hvri_lock(&audit->mutex);
	full.broken = audit->code < 0;
	full.records = audit->chain.records;
	memcpy(full.digest, audit->chain.digest, sizeof(full.digest));
	hvri_unlock(&audit->mutex);
	hvri_abi_copy_out(info, &full, sizeof(full));
	return HVREPL_OK;
}

void hvrepl_audit_close(hvrepl_audit *audit)
{
	struct hvri_env env;

	if (audit == NULL)
		return;
	env = audit->env;
	let_go(audit);
	hvri_storage_drop(&audit->storage);
	hvri_mutex_destroy(&audit->mutex);
	hvri_free(&env, audit, sizeof(*audit));
}

int32_t hvrepl_audit_verify(const struct hvrepl_env *env,
			    const struct hvrepl_storage *given,
			    int32_t (*seen)(void *user,
					    const struct hvrepl_audit_record *),
			    void *user, struct hvrepl_audit_info *info,
			    struct hvrepl_error *error)
{
	struct hvrepl_audit_info full = HVREPL_AUDIT_INFO_INIT;
	struct reader reader = { seen, user, HVREPL_OK };
	struct hvri_object last = { NULL, NULL };
	struct hvri_audit_chain chain;
	struct hvri_storage storage;
	struct range range = { 0, 0 };
	struct hvri_env copy;
	uint64_t at, length;
	int32_t rc;

	if (given == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "storage must not be NULL");
	rc = hvri_env_copy(&copy, env, error);
	if (rc < 0) {
		if (given->release != NULL)
			given->release(given->user);
		return rc;
	}
	HVRI_TRY(hvri_storage_take(&storage, given, error));
	rc = read_all(&copy, &storage, HVREPL_OBJECT_READ_ONLY, &reader, &range,
		      &last, &chain, &at, &length, error);
	if (last.object != NULL)
		hvri_object_close(&last);
	hvri_storage_drop(&storage);
	if (rc == HVREPL_OK && range.last == 0)
		rc = hvri_fail(error, HVREPL_E_NOT_FOUND,
			       "there is no audit in this place");
	full.records = chain.records;
	memcpy(full.digest, chain.digest, sizeof(full.digest));
	if (info != NULL)
		hvri_abi_copy_out(info, &full, sizeof(full));
	return rc < 0 ? hvri_fail_plain(error, rc) : rc;
}
