/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relationship: the pure step of two sites under the driver of tests/lib that
 * checks after each of them what must never happen (two writers in an epoch,
 * an acknowledged point lost, something overwritten before a discard). The
 * input decides everything: order, loss, repetition, crashes, operators,
 * records restored from backups; and, in its second half, messages that no
 * honest peer would send, under which no step may break its own record.
 */
#include "fuzz.h"

#include "base/env.h"
#include "format/message.h"
#include "replication/internal.h"
#include "replication/lineage.h"
#include "reference.h"
#include "sites.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 400u
#define SECOND UINT64_C(1000000000)

static struct sites w;
static struct hvri_update after;

static void whole(void)
{
	if (w.broken != NULL)
		fuzz_must(false, w.broken);
}

static void operation(struct fuzz_in *in)
{
	uint32_t at = fuzz_u8(in) % 2;
	uint32_t op = 1 + fuzz_u8(in) % (HVREPL_OPERATION_COUNT - 1);
	struct one_site *site = &w.site[at];
	struct hvri_lineage *lineage = &site->r.record.lineage;
	uint8_t which = fuzz_u8(in);
	const struct hvrepl_uuid *epoch = NULL;
	uint64_t point = 0;
	struct reference must;
	int32_t rc;

	if (!site->up || (op == HVREPL_OPERATION_REMOVE && which % 8 != 0))
		return;
	if (lineage->count > 0)
		epoch = &lineage->epochs[which % lineage->count].id;
	if (which % 4 == 0 && site->point_count > 0)
		point = site->points[which / 4 % site->point_count].id.number;
	/* An operator may give up the epoch that is written in here. */
	if (op == HVREPL_OPERATION_DISCARD && epoch != NULL &&
	    hvri_uuid_equal(epoch, &site->r.record.current))
		w.conceded = true;
	must = reference_rule(site->r.record.mode, sites_state(&w, at),
			      hvri_relationship_ownership(&site->r), op);
	rc = sites_operate(&w, at, op, point, epoch);
	/* The machine does what the table says, as written a second time. */
	fuzz_must(must.plan != HVRI_PLAN_REFUSE || rc < 0,
		  "an operation is taken that the rules refuse");
	fuzz_must(must.plan != HVRI_PLAN_NOTHING || rc == HVREPL_OK,
		  "an operation is refused although it is so already");
}

static void happen(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in);
	uint32_t at = what >> 7;

	switch (what % 16) {
	case 0:
		sites_cut_link(&w);
		break;
	case 1:
	case 2:
		sites_connect(&w);
		break;
	case 3:
		if (w.site[at].up)
			sites_crash(&w, at);
		break;
	case 4:
		if (!w.site[at].up)
			sites_start(&w, at);
		break;
	case 5:
		sites_wait(&w, fuzz_u8(in) * SECOND / 16);
		break;
	case 6:
	case 7:
		(void)sites_write(&w, at);
		break;
	case 8:
		operation(in);
		break;
	case 9:
		(void)sites_operator(&w);
		break;
	case 10:
		if (what / 16 % 4 == 0)
			sites_backup(&w, at);
		else if (what / 16 % 4 == 1 && w.site[at].up)
			sites_restore(&w, at);
		break;
	default:
		(void)sites_any(&w);
		break;
	}
	whole();
}

/* A step that what a peer says has led to: whatever it was. */
static void step(struct hvri_relationship *r, const struct hvri_event *event,
		 struct hvri_update *update)
{
	static uint8_t encoded[HVRI_RECORD_ENCODED_MAX];
	static struct hvri_record again;
	const struct hvri_record *rec = &r->record;
	/* Its guest writes onto a point of its store, in an epoch of its own. */
	bool writes = r->armed && rec->form == HVRI_FORM_OVERLAY;
	bool asked = hvri_uuid_is_none(&rec->job.epoch) && rec->job.id != 0;
	bool stood = hvri_lineage_look(&rec->lineage, &rec->current) != NULL &&
		     !hvri_lineage_dead(&rec->lineage, &rec->current);
	size_t written = 0;

	hvri_relationship_step(r, event, update);
	fuzz_must(!update->overflow &&
			  update->action_count <= HVRI_UPDATE_ACTIONS &&
			  update->send_count <= HVRI_UPDATE_SENDS,
		  "an update overflows");
	for (uint32_t i = 0; i < update->action_count; i++) {
		uint32_t type = update->actions[i].type;

		fuzz_must(type > 0 && type < HVRI_ACTION_TYPE_COUNT,
			  "an action that there is not");
		fuzz_must(!writes || type != HVRI_ACTION_DROP_OVERLAY || asked,
			  "what a guest wrote is thrown away by a peer's word");
	}
	for (uint32_t i = 0; i < update->timer_count; i++)
		fuzz_must(update->timers[i].at_ns >=
				  event->now_ns + SECOND / 10,
			  "a timer that is due at once");
	/* Whatever was decided can be kept, and read again; and an operator can go
	 * on from it. */
	fuzz_must(hvri_record_encode(rec, encoded, sizeof(encoded), &written) ==
				  HVREPL_OK &&
			  hvri_record_decode(encoded, written, &again) ==
				  HVREPL_OK,
		  "a record that cannot be kept");
	fuzz_must(!stood || hvri_lineage_look(&rec->lineage, &rec->current) != NULL,
		  "a site in an epoch that it does not know");
	fuzz_must(!stood || rec->rolled_back ||
			  !hvri_lineage_dead(&rec->lineage, &rec->current),
		  "a site in an epoch that was given up");
}

/* A message that the decoder takes, at a site that has greeted its peer. */
static void forged(struct fuzz_in *in)
{
	static struct hvri_message_storage storage;
	uint32_t at = fuzz_u8(in) % 2;
	struct hvri_relationship *r = &w.site[at].r;
	struct hvri_event event;
	struct hvri_update update;
	struct hvri_message message;
	size_t length = fuzz_u16(in);
	uint8_t ids = fuzz_u8(in);
	const uint8_t *bytes = fuzz_take(in, &length);

	if (hvri_message_decode(bytes, length, &storage, &message) < 0)
		return;
	message.to_incarnation = r->incarnation;
	message.from_incarnation = r->peer_incarnation;
	/* It knows the ids; that is what makes it dangerous. */
	if (ids & 1)
		memcpy(&message.u, &r->record.current, 16);
	if (ids & 2)
		memcpy((uint8_t *)&message.u + 16, &r->record.current, 16);
	if (ids & 4)
		storage.claim.current = r->record.current;
	if (ids & 8)
		storage.claim.lineage = r->record.lineage;
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_MESSAGE;
	event.now_ns = w.env.now_ns;
	event.utc_ns = w.utc_ns;
	for (unsigned i = 0; i < 3; i++)
		event.fresh[i] = sites_fresh(&w);
	event.u.message.message = &message;
	event.u.message.authorised = ids >> 4;
	step(r, &event, &update);
}

/* An id that the site may know something by, or one that it does not. */
static struct hvrepl_uuid known_id(struct fuzz_in *in,
				   const struct hvri_record *rec)
{
	const struct hvri_lineage *lineage = &rec->lineage;
	uint8_t which = fuzz_u8(in);
	uint32_t k = lineage->count == 0 ? 0 : which / 8 % lineage->count;
	struct hvrepl_uuid id = { { (uint8_t)(1 + which / 32) } };

	switch (which % 8) {
	case 0:
	case 1:
		return rec->current;
	case 2:
		return which / 8 % 2 ? rec->relinquished : rec->joining;
	case 3:
		return which / 8 % 2 ? rec->position.epoch : rec->peer;
	case 4:
		return lineage->epochs[k].id;
	case 5:
		return lineage->epochs[k].parent;
	case 6:
		return which / 8 % 2 ? rec->site : rec->job.epoch;
	default:
		return id; /* One of a few: they come again. */
	}
}

static uint64_t number(struct fuzz_in *in, const struct hvri_record *rec)
{
	uint8_t which = fuzz_u8(in);

	switch (which % 4) {
	case 0:
		return rec->position.number + which / 64;
	case 1:
		return hvri_lineage_next_ordinal(&rec->lineage);
	case 2:
		return which / 4;
	default:
		return HVRI_COUNTER_MAX - which / 32;
	}
}

static void tell_point(struct fuzz_in *in, const struct hvri_record *rec,
		       struct hvri_point *point)
{
	*point = fuzz_u8(in) % 2 ? rec->position : rec->last_cut;
	if (fuzz_u8(in) % 2)
		point->epoch = known_id(in, rec);
	if (fuzz_u8(in) % 2)
		point->number = number(in, rec);
	if (fuzz_u8(in) % 2)
		point->cut = known_id(in, rec);
	if (fuzz_u8(in) % 4 == 0)
		point->utc_ns = fuzz_u64(in);
}

/* What it knows, what its peer knows, and what nobody does. */
static void tell_claim(struct fuzz_in *in, const struct hvri_record *rec,
		       const struct hvri_record *peer, struct hvri_claim *claim)
{
	uint8_t more = fuzz_u8(in) % 4;

	memset(claim, 0, sizeof(*claim));
	claim->site = rec->peer;
	claim->record_id = peer->id;
	claim->generation = number(in, rec);
	claim->seen_id = fuzz_u8(in) % 2 ? rec->id : peer->peer_id;
	claim->seen_generation = fuzz_u8(in) % 2 ? 0 : number(in, rec);
	claim->mode = fuzz_u8(in) % HVREPL_MODE_COUNT;
	claim->phase = fuzz_u8(in) % HVRI_PHASE_COUNT;
	claim->ownership = fuzz_u8(in) % HVREPL_OWNERSHIP_COUNT;
	claim->pause = fuzz_u8(in) % 4;
	claim->armed = fuzz_u8(in) % 2;
	claim->untrusted = fuzz_u8(in) % 4 == 0;
	claim->rolled_back = fuzz_u8(in) % 4 == 0;
	claim->current = known_id(in, rec);
	claim->verdict_peer = known_id(in, rec);
	claim->joining = known_id(in, rec);
	tell_point(in, rec, &claim->position);
	claim->frontier.disk = fuzz_u8(in) % 3;
	claim->frontier.offset = number(in, rec);
	claim->lineage = fuzz_u8(in) % 2 ? rec->lineage : peer->lineage;
	for (uint8_t i = 0; i < more && claim->lineage.count < HVRI_EPOCHS_MAX;
	     i++)
		claim->lineage.epochs[claim->lineage.count++] =
			(struct hvri_epoch){
				.id = known_id(in, rec),
				.parent = known_id(in, rec),
				.owner = fuzz_u8(in) % 2 ? rec->peer : rec->site,
				.ordinal = number(in, rec),
				.fork_point = number(in, rec),
				.planned = fuzz_u8(in) % 2,
				.entered = fuzz_u8(in) % 2,
			};
	for (uint32_t i = 0; i < claim->lineage.count; i++)
		if (fuzz_u8(in) % 4 == 0)
			claim->lineage.epochs[i].outcome =
				fuzz_u8(in) % (HVREPL_OUTCOME_REFUSED + 1);
	if (claim->lineage.count > 0)
		claim->current = claim->lineage.epochs[claim->lineage.count - 1].id;
}

/* A message made of what the site knows; and what it began ends well. */
static void lie(struct fuzz_in *in)
{
	static struct hvri_claim claim;
	static struct hvri_setup setup;
	static struct hvri_message_storage storage;
	static uint8_t bytes[HVRI_MESSAGE_ENCODED_MAX];
	uint32_t at = fuzz_u8(in) % 2;
	struct hvri_relationship *r = &w.site[at].r;
	const struct hvri_record *rec = &r->record;
	struct hvri_message message, heard;
	struct hvri_update update;
	struct hvri_event event;
	size_t length = 0;

	memset(&message, 0, sizeof(message));
	message.type = 1 + fuzz_u8(in) % (HVRI_MESSAGE_TYPE_COUNT - 1);
	message.from_incarnation = r->peer_incarnation;
	message.to_incarnation = r->incarnation;
	switch (message.type) {
	case HVRI_MESSAGE_ENABLE:
	case HVRI_MESSAGE_HELLO:
		if (message.type == HVRI_MESSAGE_HELLO)
			message.number = r->hello_seen + 1;
		tell_claim(in, rec, &w.site[!at].r.record, &claim);
		hvri_build_setup(rec, &setup);
		setup.policy.cycle_ns = number(in, rec);
		setup.policy.start_wait_ns = number(in, rec);
		message.claim = &claim;
		message.setup = &setup;
		break;
	case HVRI_MESSAGE_CUT_BEGIN:
		tell_point(in, rec, &message.u.cut.point);
		tell_point(in, rec, &message.u.cut.from);
		message.u.cut.handover = known_id(in, rec);
		message.u.cut.kind = 1 + fuzz_u8(in) % 3;
		message.u.cut.closed = fuzz_u8(in) % 2;
		break;
	case HVRI_MESSAGE_DURABLE:
		tell_point(in, rec, &message.u.durable.point);
		break;
	case HVRI_MESSAGE_JOIN:
	case HVRI_MESSAGE_JOIN_READY:
		message.u.join.epoch = known_id(in, rec);
		tell_point(in, rec, &message.u.join.from);
		message.u.join.exact = fuzz_u8(in) % 2;
		message.u.join.untrusted = fuzz_u8(in) % 2;
		break;
	case HVRI_MESSAGE_CUT_ACCEPT:
	case HVRI_MESSAGE_CUT_DECLINE:
	case HVRI_MESSAGE_CUT_GONE:
	case HVRI_MESSAGE_PROGRESS:
		message.u.progress.cut = fuzz_u8(in) % 4 ?
						 r->cut.begin.point.cut :
						 r->receiving.point.cut;
		message.u.progress.chunk = number(in, rec);
		message.answer.code = -(int32_t)(fuzz_u16(in) % 600);
		break;
	case HVRI_MESSAGE_DISCARD:
	case HVRI_MESSAGE_DISCARDED:
		message.u.discard.loser = known_id(in, rec);
		message.u.discard.winner = known_id(in, rec);
		break;
	case HVRI_MESSAGE_OPERATION:
		message.u.operation.job = number(in, rec);
		message.u.operation.operation =
			fuzz_u8(in) % HVREPL_OPERATION_COUNT;
		message.u.operation.epoch = known_id(in, rec);
		break;
	case HVRI_MESSAGE_ANSWER:
		message.answer.about = 1 + fuzz_u8(in) %
						   (HVRI_MESSAGE_TYPE_COUNT - 1);
		message.answer.job = rec->job.id;
		message.answer.epoch = known_id(in, rec);
		message.answer.code = -(int32_t)(fuzz_u16(in) % 600);
		break;
	case HVRI_MESSAGE_REMOVE:
		message.u.remove.epoch = known_id(in, rec);
		break;
	case HVRI_MESSAGE_STATUS:
	case HVRI_MESSAGE_RANGES:
		break;
	default:
		message.u.handover.epoch = known_id(in, rec);
		message.u.handover.parent = known_id(in, rec);
		message.u.handover.ordinal = number(in, rec);
		message.u.handover.point = number(in, rec);
		break;
	}
	memset(&event, 0, sizeof(event));
	event.now_ns = w.env.now_ns;
	event.utc_ns = w.utc_ns;
	for (unsigned i = 0; i < 3; i++)
		event.fresh[i] = sites_fresh(&w);
	event.type = HVRI_EVENT_MESSAGE;
	event.u.message.message = &heard;
	event.u.message.authorised = fuzz_u8(in);
	if (hvri_message_encode(&message, bytes, sizeof(bytes), &length) < 0 ||
	    hvri_message_decode(bytes, length, &storage, &heard) < 0)
		return;
	step(r, &event, &update);
	for (uint32_t i = 0, count = update.action_count; i < count; i++) {
		uint64_t token = update.actions[i].token;

		if (token == 0 || fuzz_u8(in) % 4 == 0)
			continue;
		memset(&event.u, 0, sizeof(event.u));
		event.type = HVRI_EVENT_DONE;
		event.u.done.token = token;
		event.u.done.cut = sites_fresh(&w);
		event.u.done.utc_ns = w.utc_ns;
		for (unsigned k = 0; k < 3; k++)
			event.fresh[k] = sites_fresh(&w);
		step(r, &event, &after);
	}
	/* All of what it was sent is there. */
	if (r->receiving.point.number != 0 && fuzz_u8(in) % 2) {
		memset(&event.u, 0, sizeof(event.u));
		event.type = HVRI_EVENT_POINT_COMPLETE;
		event.u.data.cut = r->receiving.point.cut;
		for (unsigned k = 0; k < 3; k++)
			event.fresh[k] = sites_fresh(&w);
		step(r, &event, &after);
	}
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };
	uint8_t flags = fuzz_u8(&in);
	size_t share = fuzz_u16(&in) % 1024;
	struct fuzz_in first = { fuzz_take(&in, &share), share };
	struct fuzz_in mine;

	sites_init(&w, 7);
	w.hostile = (flags & 1) != 0;
	w.log = getenv("HVREPL_TRACE") != NULL; /* Of an input told again. */
	if ((flags & 2) == 0)
		sites_replicating(&w);
	else
		w.only_planned = false; /* It may be enabled at both sites. */
	whole();
	/* Half of it is what happens, half the order it happens in. */
	mine = (struct fuzz_in){ first.at, first.left / 2 };
	test_random_feed(&w.random, first.at + first.left / 2,
			 first.left - first.left / 2);
	for (unsigned i = 0; mine.left > 0 && i < STEPS_MAX; i++)
		happen(&mine);
	test_random_feed(NULL, NULL, 0);
	for (unsigned i = 0; in.left > 0 && i < 64; i++)
		if ((flags & 4) != 0)
			lie(&in);
		else
			forged(&in);
	sites_free(&w);
}

static void seeds(void)
{
	static struct hvri_claim claim;
	static struct hvri_setup setup;
	uint8_t *bytes = malloc(FUZZ_BYTES_MAX);

	fuzz_must(bytes != NULL, "no memory");
	for (uint64_t i = 0; i < 16; i++)
		fuzz_seed_random(i + 1, 200 + 50 * i);
	setup.disk_count = 1;
	strcpy(setup.vm_name, "web");
	strcpy(setup.disks[0].name, "root");
	setup.disks[0].size = SITES_BLOCKS * SITES_BLOCK;
	setup.disks[0].block_size = SITES_BLOCK;
	/* Every message once, each way. */
	for (uint32_t type = 1; type < HVRI_MESSAGE_TYPE_COUNT; type++) {
		struct hvri_message message;
		size_t length = 0;

		memset(&message, 0, sizeof(message));
		message.type = type;
		message.claim = &claim;
		message.setup = &setup;
		message.u.ranges.extents = bytes;
		if (type == HVRI_MESSAGE_CUT_BEGIN) {
			message.u.cut.kind = HVRI_CUT_DELTA;
			message.u.cut.closed = true;
			message.u.cut.point.number = 1;
			message.u.cut.point.epoch.bytes[0] = 1;
			message.u.cut.point.cut.bytes[0] = 1;
		}
		memset(bytes, 0, 7);
		if (hvri_message_encode(&message, bytes + 7, 32768, &length) <
		    0)
			continue;
		for (uint8_t at = 0; at < 2; at++) {
			bytes[3] = at;
			bytes[4] = (uint8_t)length;
			bytes[5] = (uint8_t)(length >> 8);
			bytes[6] = (uint8_t)(0xf0 | at);
			fuzz_seed(bytes, 7 + length);
		}
	}
	free(bytes);
}

extern const struct fuzz_target fuzz_relationship;
const struct fuzz_target fuzz_relationship = { "relationship", one, seeds,
					       NULL };
