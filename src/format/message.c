/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages between two sites' records of one VM. */
#include "format/message.h"

#include "base/env.h"

#include "format/record_parts.h"
#include "format/wire.h"

#include <string.h>

static const char *const names[] = {
	[HVRI_MESSAGE_HELLO] = "HELLO",
	[HVRI_MESSAGE_ENABLE] = "ENABLE",
	[HVRI_MESSAGE_ENABLED] = "ENABLED",
	[HVRI_MESSAGE_UNKNOWN] = "UNKNOWN",
	[HVRI_MESSAGE_STATUS] = "STATUS",
	[HVRI_MESSAGE_CUT_BEGIN] = "CUT_BEGIN",
	[HVRI_MESSAGE_CUT_ACCEPT] = "CUT_ACCEPT",
	[HVRI_MESSAGE_CUT_DECLINE] = "CUT_DECLINE",
	[HVRI_MESSAGE_CUT_GONE] = "CUT_GONE",
	[HVRI_MESSAGE_PROGRESS] = "PROGRESS",
	[HVRI_MESSAGE_DURABLE] = "DURABLE",
	[HVRI_MESSAGE_HANDOVER_REQUEST] = "HANDOVER_REQUEST",
	[HVRI_MESSAGE_HANDOVER_CHECK] = "HANDOVER_CHECK",
	[HVRI_MESSAGE_HANDOVER_READY] = "HANDOVER_READY",
	[HVRI_MESSAGE_GRANT] = "GRANT",
	[HVRI_MESSAGE_OWNED] = "OWNED",
	[HVRI_MESSAGE_REFUSED] = "REFUSED",
	[HVRI_MESSAGE_CANCEL_REQUEST] = "CANCEL_REQUEST",
	[HVRI_MESSAGE_JOIN] = "JOIN",
	[HVRI_MESSAGE_JOIN_READY] = "JOIN_READY",
	[HVRI_MESSAGE_RANGES] = "RANGES",
	[HVRI_MESSAGE_DISCARD] = "DISCARD",
	[HVRI_MESSAGE_DISCARDED] = "DISCARDED",
	[HVRI_MESSAGE_OPERATION] = "OPERATION",
	[HVRI_MESSAGE_ANSWER] = "ANSWER",
	[HVRI_MESSAGE_REMOVE] = "REMOVE",
	[HVRI_MESSAGE_REMOVED] = "REMOVED",
};

const char *hvri_message_name(uint32_t type)
{
	if (type >= HVRI_ARRAY_LEN(names) || names[type] == NULL)
		return "?";
	return names[type];
}

static void put_claim(struct hvri_writer *w, const struct hvri_claim *claim)
{
	hvri_write_uuid(w, &claim->site);
	hvri_write_uuid(w, &claim->record_id);
	hvri_write_u64(w, claim->generation);
	hvri_write_uuid(w, &claim->seen_id);
	hvri_write_u64(w, claim->seen_generation);
	hvri_write_u8(w, claim->mode);
	hvri_write_u8(w, claim->phase);
	hvri_write_u8(w, claim->ownership);
	hvri_write_u8(w, claim->pause);
	hvri_write_u8(w, claim->armed);
	hvri_write_u8(w, claim->dirty);
	hvri_write_u8(w, claim->untrusted);
	hvri_write_u8(w, claim->rolled_back);
	hvri_write_uuid(w, &claim->current);
	hvri_write_uuid(w, &claim->verdict_peer);
	hvri_write_uuid(w, &claim->joining);
	hvri_put_point(w, &claim->position);
	hvri_put_frontier(w, &claim->frontier);
	hvri_put_lineage(w, &claim->lineage);
}

static uint64_t get_counter(struct hvri_reader *r)
{
	uint64_t value = hvri_read_u64(r);

	if (value > HVRI_COUNTER_MAX)
		r->bad = true;
	return value;
}

static void get_point(struct hvri_reader *r, struct hvri_point *point)
{
	hvri_get_point(r, point);
	if (point->number > HVRI_COUNTER_MAX)
		r->bad = true;
}

static void get_lineage(struct hvri_reader *r, struct hvri_lineage *lineage)
{
	hvri_get_lineage(r, lineage);
	if (lineage->floor > HVRI_COUNTER_MAX)
		r->bad = true;
	for (uint32_t i = 0; i < lineage->count && !r->bad; i++)
		if (lineage->epochs[i].ordinal > HVRI_COUNTER_MAX ||
		    lineage->epochs[i].fork_point > HVRI_COUNTER_MAX)
			r->bad = true;
}

static void get_handover(struct hvri_reader *r, struct hvri_handover *handover)
{
	hvri_read_uuid(r, &handover->epoch);
	hvri_read_uuid(r, &handover->parent);
	handover->ordinal = get_counter(r);
	handover->point = get_counter(r);
	/* It is to stand in a lineage, where that would mean "none". */
	if (hvri_uuid_is_none(&handover->epoch))
		r->bad = true;
}

static void get_claim(struct hvri_reader *r, struct hvri_claim *claim)
{
	hvri_read_uuid(r, &claim->site);
	hvri_read_uuid(r, &claim->record_id);
	claim->generation = get_counter(r);
	hvri_read_uuid(r, &claim->seen_id);
	claim->seen_generation = get_counter(r);
	claim->mode = hvri_get_below(r, HVREPL_MODE_COUNT);
	claim->phase = hvri_get_below(r, HVRI_PHASE_COUNT);
	claim->ownership = hvri_get_below(r, HVREPL_OWNERSHIP_COUNT);
	claim->pause = hvri_get_below(r, 4);
	claim->armed = hvri_get_bool(r);
	claim->dirty = hvri_get_bool(r);
	claim->untrusted = hvri_get_bool(r);
	claim->rolled_back = hvri_get_bool(r);
	hvri_read_uuid(r, &claim->current);
	hvri_read_uuid(r, &claim->verdict_peer);
	hvri_read_uuid(r, &claim->joining);
	get_point(r, &claim->position);
	hvri_get_frontier(r, &claim->frontier);
	get_lineage(r, &claim->lineage);
}

static void put_setup(struct hvri_writer *w, const struct hvri_setup *setup)
{
	hvri_write_uuid(w, &setup->vm);
	hvri_write_bytes(w, setup->vm_name, sizeof(setup->vm_name));
	hvri_put_policy(w, &setup->policy);
	hvri_put_disks(w, setup->disks, setup->disk_count);
}

static void get_setup(struct hvri_reader *r, struct hvri_setup *setup)
{
	hvri_read_uuid(r, &setup->vm);
	hvri_get_text(r, setup->vm_name, sizeof(setup->vm_name));
	hvri_get_policy(r, &setup->policy);
	hvri_get_disks(r, setup->disks, &setup->disk_count);
	if (setup->disk_count == 0)
		r->bad = true;
}

static void put_join(struct hvri_writer *w, const struct hvri_join *join)
{
	hvri_write_uuid(w, &join->epoch);
	hvri_put_point(w, &join->from);
	hvri_write_u8(w, join->exact);
	hvri_write_u8(w, join->untrusted);
	hvri_write_u8(w, join->hot);
	hvri_write_u64(w, join->ranges);
	hvri_write_u64(w, join->bytes);
	hvri_write_bytes(w, join->digest, sizeof(join->digest));
}

static void get_join(struct hvri_reader *r, struct hvri_join *join)
{
	hvri_read_uuid(r, &join->epoch);
	get_point(r, &join->from);
	join->exact = hvri_get_bool(r);
	join->untrusted = hvri_get_bool(r);
	join->hot = hvri_get_bool(r);
	join->ranges = hvri_read_u64(r);
	join->bytes = hvri_read_u64(r);
	hvri_read_bytes(r, join->digest, sizeof(join->digest));
}

static void put_cut(struct hvri_writer *w, const struct hvri_cut_begin *cut)
{
	hvri_put_point(w, &cut->point);
	hvri_put_point(w, &cut->from);
	hvri_write_uuid(w, &cut->handover);
	hvri_write_u8(w, cut->kind);
	hvri_write_u8(w, cut->closed);
	hvri_put_frontier(w, &cut->frontier);
	hvri_write_u64(w, cut->bytes);
	hvri_write_bytes(w, cut->set_digest, sizeof(cut->set_digest));
}

static void get_cut(struct hvri_reader *r, struct hvri_cut_begin *cut)
{
	get_point(r, &cut->point);
	get_point(r, &cut->from);
	hvri_read_uuid(r, &cut->handover);
	cut->kind = hvri_get_below(r, HVRI_CUT_KIND_COUNT);
	cut->closed = hvri_get_bool(r);
	hvri_get_frontier(r, &cut->frontier);
	cut->bytes = hvri_read_u64(r);
	hvri_read_bytes(r, cut->set_digest, sizeof(cut->set_digest));
	/* Number 0 would mean "none", and so would those ids. Numbers only grow: an
	 * operator chooses points by them. */
	if (cut->kind == 0 || cut->point.number <= cut->from.number ||
	    hvri_uuid_is_none(&cut->point.epoch) ||
	    hvri_uuid_is_none(&cut->point.cut))
		r->bad = true;
}

static void put_answer(struct hvri_writer *w, const struct hvri_answer *answer)
{
	hvri_write_u8(w, answer->about);
	hvri_write_u64(w, answer->job);
	hvri_write_uuid(w, &answer->epoch);
	hvri_write_u32(w, (uint32_t)answer->code);
	hvri_write_bytes(w, answer->sentence, sizeof(answer->sentence));
}

static void get_answer(struct hvri_reader *r, struct hvri_answer *answer)
{
	answer->about = hvri_get_below(r, HVRI_MESSAGE_TYPE_COUNT);
	answer->job = hvri_read_u64(r);
	hvri_read_uuid(r, &answer->epoch);
	answer->code = (int32_t)hvri_read_u32(r);
	hvri_get_text(r, answer->sentence, sizeof(answer->sentence));
	if (answer->code > 0)
		r->bad = true;
}

/* An answer that can only refuse: with OK it would end a job as done that is not. */
static void get_refusal(struct hvri_reader *r, struct hvri_answer *answer)
{
	get_answer(r, answer);
	if (answer->code == HVREPL_OK)
		r->bad = true;
}

static void put_body(struct hvri_writer *w, const struct hvri_message *m)
{
	switch (m->type) {
	case HVRI_MESSAGE_ENABLE:
		put_setup(w, m->setup);
		put_claim(w, m->claim);
		break;
	case HVRI_MESSAGE_HELLO:
		put_claim(w, m->claim);
		break;
	case HVRI_MESSAGE_STATUS:
		hvri_write_u8(w, m->u.status.mode);
		hvri_write_u8(w, m->u.status.state);
		hvri_write_u8(w, m->u.status.pause);
		hvri_write_u8(w, m->u.status.phase);
		hvri_write_u8(w, m->u.status.refuses);
		hvri_write_u32(w, (uint32_t)m->u.status.error_code);
		hvri_write_u64(w, m->u.status.newest_point);
		if (m->u.status.unshipped_bytes != HVREPL_BYTES_UNKNOWN)
			hvri_write_u64(w, m->u.status.unshipped_bytes);
		break;
	case HVRI_MESSAGE_CUT_BEGIN:
		put_cut(w, &m->u.cut);
		break;
	case HVRI_MESSAGE_CUT_DECLINE:
		put_answer(w, &m->answer);
		/* fall through */
	case HVRI_MESSAGE_CUT_ACCEPT:
	case HVRI_MESSAGE_CUT_GONE:
	case HVRI_MESSAGE_PROGRESS:
		hvri_write_uuid(w, &m->u.progress.cut);
		hvri_write_u64(w, m->u.progress.chunk);
		break;
	case HVRI_MESSAGE_DURABLE:
		hvri_put_point(w, &m->u.durable.point);
		hvri_write_uuid(w, &m->u.durable.handover);
		hvri_write_u8(w, m->u.durable.closed);
		hvri_put_frontier(w, &m->u.durable.frontier);
		break;
	case HVRI_MESSAGE_HANDOVER_REQUEST:
	case HVRI_MESSAGE_HANDOVER_CHECK:
	case HVRI_MESSAGE_HANDOVER_READY:
	case HVRI_MESSAGE_GRANT:
	case HVRI_MESSAGE_OWNED:
	case HVRI_MESSAGE_REFUSED:
	case HVRI_MESSAGE_CANCEL_REQUEST:
		hvri_write_uuid(w, &m->u.handover.epoch);
		hvri_write_uuid(w, &m->u.handover.parent);
		hvri_write_u64(w, m->u.handover.ordinal);
		hvri_write_u64(w, m->u.handover.point);
		break;
	case HVRI_MESSAGE_JOIN:
	case HVRI_MESSAGE_JOIN_READY:
		put_join(w, &m->u.join);
		break;
	case HVRI_MESSAGE_RANGES:
		hvri_write_u32(w, m->u.ranges.sequence);
		hvri_write_u32(w, m->u.ranges.disk);
		hvri_write_u32(w, m->u.ranges.flags);
		hvri_write_u32(w, m->u.ranges.count);
		hvri_write_bytes(w, m->u.ranges.extents,
				 (size_t)m->u.ranges.count * 16);
		break;
	case HVRI_MESSAGE_DISCARD:
	case HVRI_MESSAGE_DISCARDED:
		hvri_write_uuid(w, &m->u.discard.loser);
		hvri_write_uuid(w, &m->u.discard.winner);
		if (m->u.discard.job != 0)
			hvri_write_u64(w, m->u.discard.job);
		break;
	case HVRI_MESSAGE_OPERATION:
		hvri_write_u64(w, m->u.operation.job);
		hvri_write_u32(w, m->u.operation.operation);
		hvri_write_u64(w, m->u.operation.point);
		hvri_write_uuid(w, &m->u.operation.epoch);
		break;
	case HVRI_MESSAGE_ANSWER:
		put_answer(w, &m->answer);
		break;
	case HVRI_MESSAGE_REMOVE:
		if (!hvri_uuid_is_none(&m->u.remove.epoch))
			hvri_write_uuid(w, &m->u.remove.epoch);
		break;
	default: /* ENABLED, UNKNOWN, REMOVED: no body. */
		break;
	}
}

static void get_ranges(struct hvri_reader *r, struct hvri_ranges *ranges)
{
	ranges->sequence = hvri_read_u32(r);
	ranges->disk = hvri_read_u32(r);
	ranges->flags = hvri_read_u32(r);
	ranges->count = hvri_read_u32(r);
	if (ranges->disk >= HVRI_DISKS_MAX ||
	    ranges->count > HVRI_RANGES_MAX ||
	    (ranges->flags & ~HVRI_RANGES_HOT) != 0)
		r->bad = true;
	if (r->bad)
		return;
	ranges->extents = hvri_read_span(r, (size_t)ranges->count * 16);
	for (uint32_t i = 0; i < ranges->count && !r->bad; i++) {
		struct hvrepl_extent extent = hvri_ranges_get(ranges, i);

		if (extent.length == 0 ||
		    extent.offset > UINT64_MAX - extent.length)
			r->bad = true;
	}
}

static void get_body(struct hvri_reader *r,
		     struct hvri_message_storage *storage,
		     struct hvri_message *m)
{
	switch (m->type) {
	case HVRI_MESSAGE_ENABLE:
		memset(storage, 0, sizeof(*storage));
		get_setup(r, &storage->setup);
		get_claim(r, &storage->claim);
		m->setup = &storage->setup;
		m->claim = &storage->claim;
		break;
	case HVRI_MESSAGE_HELLO:
		memset(&storage->claim, 0, sizeof(storage->claim));
		get_claim(r, &storage->claim);
		m->claim = &storage->claim;
		break;
	case HVRI_MESSAGE_STATUS:
		m->u.status.mode = hvri_get_below(r, HVREPL_MODE_COUNT);
		m->u.status.state = hvri_get_below(r, HVREPL_STATE_COUNT);
		m->u.status.pause = hvri_get_below(r, 4);
		m->u.status.phase = hvri_get_below(r, HVRI_PHASE_COUNT);
		m->u.status.refuses = hvri_get_bool(r);
		m->u.status.error_code = (int32_t)hvri_read_u32(r);
		m->u.status.newest_point = hvri_read_u64(r);
		m->u.status.unshipped_bytes = HVREPL_BYTES_UNKNOWN;
		if (r->left == 0)
			break;
		m->u.status.unshipped_bytes = hvri_read_u64(r);
		if (m->u.status.unshipped_bytes == HVREPL_BYTES_UNKNOWN)
			r->bad = true; /* Then it is not there. */
		break;
	case HVRI_MESSAGE_CUT_BEGIN:
		get_cut(r, &m->u.cut);
		break;
	case HVRI_MESSAGE_CUT_DECLINE:
		get_refusal(r, &m->answer);
		/* fall through */
	case HVRI_MESSAGE_CUT_ACCEPT:
	case HVRI_MESSAGE_CUT_GONE:
	case HVRI_MESSAGE_PROGRESS:
		hvri_read_uuid(r, &m->u.progress.cut);
		m->u.progress.chunk = hvri_read_u64(r);
		break;
	case HVRI_MESSAGE_DURABLE:
		get_point(r, &m->u.durable.point);
		hvri_read_uuid(r, &m->u.durable.handover);
		m->u.durable.closed = hvri_get_bool(r);
		hvri_get_frontier(r, &m->u.durable.frontier);
		break;
	case HVRI_MESSAGE_HANDOVER_REQUEST:
	case HVRI_MESSAGE_HANDOVER_CHECK:
	case HVRI_MESSAGE_HANDOVER_READY:
	case HVRI_MESSAGE_GRANT:
	case HVRI_MESSAGE_OWNED:
	case HVRI_MESSAGE_REFUSED:
	case HVRI_MESSAGE_CANCEL_REQUEST:
		get_handover(r, &m->u.handover);
		break;
	case HVRI_MESSAGE_JOIN:
	case HVRI_MESSAGE_JOIN_READY:
		get_join(r, &m->u.join);
		break;
	case HVRI_MESSAGE_RANGES:
		get_ranges(r, &m->u.ranges);
		break;
	case HVRI_MESSAGE_DISCARD:
	case HVRI_MESSAGE_DISCARDED:
		hvri_read_uuid(r, &m->u.discard.loser);
		hvri_read_uuid(r, &m->u.discard.winner);
		if (r->left == 0)
			break;
		m->u.discard.job = hvri_read_u64(r);
		if (m->u.discard.job == 0)
			r->bad = true; /* Then it is not there. */
		break;
	case HVRI_MESSAGE_OPERATION:
		m->u.operation.job = hvri_read_u64(r);
		m->u.operation.operation = hvri_read_u32(r);
		m->u.operation.point = hvri_read_u64(r);
		hvri_read_uuid(r, &m->u.operation.epoch);
		if (m->u.operation.operation >= HVREPL_OPERATION_COUNT)
			r->bad = true;
		break;
	case HVRI_MESSAGE_ANSWER:
		get_answer(r, &m->answer);
		/* All others are refusals: that those are done is said in another way. */
		if (m->answer.about != HVRI_MESSAGE_OPERATION &&
		    m->answer.about != HVRI_MESSAGE_HANDOVER_REQUEST &&
		    m->answer.about != HVRI_MESSAGE_REMOVE &&
		    m->answer.code == HVREPL_OK)
			r->bad = true;
		break;
	case HVRI_MESSAGE_REMOVE:
		if (r->left == 0)
			break;
		hvri_read_uuid(r, &m->u.remove.epoch);
		if (hvri_uuid_is_none(&m->u.remove.epoch))
			r->bad = true; /* Then it is not there. */
		break;
	default:
		break;
	}
}

/* The feature by which a node reads the whole of it; 0: every node does. */
static uint64_t feature_of(uint32_t type)
{
	switch (type) {
	case HVRI_MESSAGE_STATUS:
		return HVRI_FEATURE_UNSHIPPED;
	case HVRI_MESSAGE_HELLO:
		return HVRI_FEATURE_HELLO_NUMBER;
	case HVRI_MESSAGE_REMOVE:
		return HVRI_FEATURE_REMOVE_EPOCH;
	case HVRI_MESSAGE_DISCARD:
	case HVRI_MESSAGE_DISCARDED:
		return HVRI_FEATURE_DISCARD_JOB;
	default:
		return 0;
	}
}

const struct hvri_message *hvri_message_for(const struct hvri_message *message,
					    uint64_t features,
					    struct hvri_message *older_out)
{
	uint64_t feature = feature_of(message->type);

	if ((features & feature) == feature)
		return message;
	*older_out = *message;
	if (feature == HVRI_FEATURE_UNSHIPPED)
		older_out->u.status.unshipped_bytes = HVREPL_BYTES_UNKNOWN;
	else if (feature == HVRI_FEATURE_HELLO_NUMBER)
		older_out->number = 0;
	else if (feature == HVRI_FEATURE_REMOVE_EPOCH)
		memset(&older_out->u.remove.epoch, 0,
		       sizeof(older_out->u.remove.epoch));
	else
		older_out->u.discard.job = 0;
	return older_out;
}

int32_t hvri_message_encode(const struct hvri_message *message, void *out,
			    size_t size, size_t *length_out)
{
	struct hvri_writer w = hvri_writer_over(
		out, HVRI_MIN(size, HVRI_MESSAGE_ENCODED_MAX));

	if (message->type == 0 || message->type >= HVRI_MESSAGE_TYPE_COUNT)
		return HVREPL_E_INVALID;
	if (message->type == HVRI_MESSAGE_RANGES &&
	    message->u.ranges.count > HVRI_RANGES_MAX)
		return HVREPL_E_INVALID;
	hvri_write_u16(&w, HVRI_MESSAGE_VERSION);
	hvri_write_u16(&w, (uint16_t)message->type);
	hvri_write_u32(&w, message->type == HVRI_MESSAGE_HELLO ?
				   message->number :
				   0);
	hvri_write_u64(&w, message->from_incarnation);
	hvri_write_u64(&w, message->to_incarnation);
	put_body(&w, message);
	if (w.bad)
		return HVREPL_E_LIMIT;
	*length_out = w.written;
	return HVREPL_OK;
}

uint32_t hvri_message_type(const void *bytes, size_t length)
{
	struct hvri_reader r = hvri_reader_over(bytes, length);
	uint16_t type;

	(void)hvri_read_u16(&r); /* Version. */
	type = hvri_read_u16(&r);
	return r.bad ? 0 : type;
}

int32_t hvri_message_decode(const void *bytes, size_t length,
			    struct hvri_message_storage *storage,
			    struct hvri_message *message_out)
{
	struct hvri_reader r = hvri_reader_over(bytes, length);
	struct hvri_message message;
	uint16_t version;

	memset(&message, 0, sizeof(message));
	version = hvri_read_u16(&r);
	message.type = hvri_read_u16(&r);
	message.number = hvri_read_u32(&r);
	if (message.type != HVRI_MESSAGE_HELLO && message.number != 0)
		r.bad = true;
	message.from_incarnation = hvri_read_u64(&r);
	message.to_incarnation = hvri_read_u64(&r);
	if (length > HVRI_MESSAGE_ENCODED_MAX)
		return HVREPL_E_PROTOCOL;
	if (version > HVRI_MESSAGE_VERSION)
		return HVREPL_E_PEER_VERSION;
	if (r.bad || version != HVRI_MESSAGE_VERSION || message.type == 0 ||
	    message.type >= HVRI_MESSAGE_TYPE_COUNT)
		return HVREPL_E_PROTOCOL;
	get_body(&r, storage, &message);
	HVRI_TRY(hvri_reader_end(&r, HVREPL_E_PROTOCOL));
	*message_out = message;
	return HVREPL_OK;
}

struct hvrepl_extent hvri_ranges_get(const struct hvri_ranges *ranges,
				     uint32_t i)
{
	struct hvri_reader r =
		hvri_reader_over(ranges->extents + (size_t)i * 16, 16);
	struct hvrepl_extent extent;

	extent.offset = hvri_read_u64(&r);
	extent.length = hvri_read_u64(&r);
	return extent;
}

void hvri_ranges_put(uint8_t *out, uint32_t i, struct hvrepl_extent extent)
{
	struct hvri_writer w = hvri_writer_over(out + (size_t)i * 16, 16);

	hvri_write_u64(&w, extent.offset);
	hvri_write_u64(&w, extent.length);
}

void hvri_ranges_digest(uint8_t digest_inout[16],
			const struct hvri_ranges *ranges)
{
	uint8_t head[12];
	struct hvri_writer w = hvri_writer_over(head, sizeof(head));
	const struct hvri_part parts[] = {
		{ digest_inout, 16 },
		{ head, sizeof(head) },
		{ ranges->extents, (size_t)ranges->count * 16 },
	};
	uint8_t next[16];

	hvri_write_u32(&w, ranges->sequence);
	hvri_write_u32(&w, ranges->disk);
	hvri_write_u32(&w, ranges->flags);
	hvri_xxh3(parts, ranges->count > 0 ? 3 : 2, next);
	memcpy(digest_inout, next, sizeof(next));
}
