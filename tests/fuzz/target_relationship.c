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
#include "reference.h"
#include "sites.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 400u
#define SECOND UINT64_C(1000000000)

static struct sites w;

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

/* A message that the decoder takes, at a site that has greeted its peer. */
static void forged(struct fuzz_in *in)
{
	static struct hvri_message_storage storage;
	static uint8_t encoded[HVRI_RECORD_ENCODED_MAX];
	static struct hvri_record again;
	uint32_t at = fuzz_u8(in) % 2;
	struct hvri_relationship *r = &w.site[at].r;
	struct hvri_event event;
	struct hvri_update update;
	struct hvri_message message;
	size_t length = fuzz_u16(in), written = 0;
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
	hvri_relationship_step(r, &event, &update);
	fuzz_must(!update.overflow &&
			  update.action_count <= HVRI_UPDATE_ACTIONS &&
			  update.send_count <= HVRI_UPDATE_SENDS,
		  "an update overflows");
	for (uint32_t i = 0; i < update.action_count; i++)
		fuzz_must(update.actions[i].type > 0 &&
				  update.actions[i].type <
					  HVRI_ACTION_TYPE_COUNT,
			  "an action that there is not");
	/* Whatever was decided can be kept, and read again. */
	fuzz_must(hvri_record_encode(&r->record, encoded, sizeof(encoded),
				     &written) == HVREPL_OK &&
			  hvri_record_decode(encoded, written, &again) ==
				  HVREPL_OK,
		  "a record that cannot be kept");
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
	for (unsigned i = 0; in.left > 0 && i < 32; i++)
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
