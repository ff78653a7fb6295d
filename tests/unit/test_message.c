/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages: each comes back as sent; damaged ones are refused. */
#include "format/message.h"
#include "format/wire.h"

#include "testing.h"

#include <string.h>

static uint8_t bytes[HVRI_MESSAGE_ENCODED_MAX], again[HVRI_MESSAGE_ENCODED_MAX];
static struct hvri_message_storage storage;
static struct hvri_claim claim;
static struct hvri_setup setup;
static uint8_t extents[16 * 3];

/* A message of each type with every byte of its body set. */
static void make(struct hvri_message *m, uint32_t type, uint64_t seed)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
	m->from_incarnation = test_random(&seed);
	m->to_incarnation = test_random(&seed);
	m->number = type == HVRI_MESSAGE_HELLO ? 7 : 0;
	test_fill(&m->u, sizeof(m->u), seed);
	m->answer.about = HVRI_MESSAGE_JOIN;
	m->answer.job = 77;
	m->answer.code = HVREPL_E_NO_SPACE;
	strcpy(m->answer.sentence, "the volume is full");
	switch (type) {
	case HVRI_MESSAGE_HELLO:
	case HVRI_MESSAGE_ENABLE:
		memset(&claim, 0, sizeof(claim));
		memset(&setup, 0, sizeof(setup));
		test_fill(&claim.site, sizeof(claim.site), seed);
		claim.generation = test_random(&seed) >> 2;
		claim.armed = true;
		claim.ownership = HVREPL_OWNERSHIP_DIVERGED;
		test_fill(&claim.position, sizeof(claim.position), seed + 1);
		claim.position.number >>= 2;
		claim.lineage.count = 2;
		claim.lineage.epochs[0].id.bytes[0] = 1;
		claim.lineage.epochs[0].ordinal = 1;
		claim.lineage.epochs[1].id.bytes[0] = 2;
		claim.lineage.epochs[1].parent.bytes[0] = 1;
		claim.lineage.epochs[1].ordinal = 2;
		claim.lineage.epochs[1].planned = true;
		strcpy(setup.vm_name, "web");
		setup.disk_count = 1;
		setup.disks[0].size = 4096;
		m->claim = &claim;
		m->setup = &setup;
		break;
	case HVRI_MESSAGE_STATUS:
		m->u.status.mode = HVREPL_MODE_REPLICA;
		m->u.status.state = HVREPL_STATE_SUSPENDED;
		m->u.status.pause = HVRI_PAUSE_FETCH;
		m->u.status.phase = HVRI_PHASE_DELTA;
		m->u.status.refuses = true;
		break;
	case HVRI_MESSAGE_CUT_BEGIN:
		m->u.cut.point.number >>= 2;
		m->u.cut.from.number >>= 2;
		m->u.cut.kind = HVRI_CUT_FINAL;
		m->u.cut.closed = true;
		m->u.cut.frontier.disk = 1;
		break;
	case HVRI_MESSAGE_DURABLE:
		m->u.durable.point.number >>= 2;
		m->u.durable.closed = false;
		m->u.durable.frontier.disk = 3;
		break;
	case HVRI_MESSAGE_JOIN:
	case HVRI_MESSAGE_JOIN_READY:
		m->u.join.from.number >>= 2;
		m->u.join.exact = false;
		m->u.join.untrusted = true;
		m->u.join.hot = true;
		break;
	case HVRI_MESSAGE_RANGES:
		m->u.ranges.disk = 1;
		m->u.ranges.flags = HVRI_RANGES_HOT;
		m->u.ranges.count = 3;
		m->u.ranges.extents = extents;
		for (uint32_t i = 0; i < 3; i++)
			hvri_ranges_put(extents, i,
					(struct hvrepl_extent){ i * 8192, 4096 });
		break;
	case HVRI_MESSAGE_HANDOVER_REQUEST:
	case HVRI_MESSAGE_HANDOVER_CHECK:
	case HVRI_MESSAGE_HANDOVER_READY:
	case HVRI_MESSAGE_GRANT:
	case HVRI_MESSAGE_OWNED:
	case HVRI_MESSAGE_REFUSED:
	case HVRI_MESSAGE_CANCEL_REQUEST:
		m->u.handover.ordinal >>= 2;
		m->u.handover.point >>= 2;
		break;
	case HVRI_MESSAGE_OPERATION:
		m->u.operation.operation = HVREPL_OPERATION_COMMIT;
		break;
	default:
		break;
	}
}

START_TEST(every_message_comes_back_as_it_was_sent)
{
	for (uint32_t type = 1; type < HVRI_MESSAGE_TYPE_COUNT; type++) {
		struct hvri_message m, back;
		size_t length = 0, second = 0;

		make(&m, type, type);
		ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes),
						     &length),
				 HVREPL_OK);
		ck_assert_msg(hvri_message_decode(bytes, length, &storage,
						  &back) == HVREPL_OK,
			      "%s", hvri_message_name(type));
		ck_assert_uint_eq(back.type, type);
		ck_assert_uint_eq(back.from_incarnation, m.from_incarnation);
		ck_assert_uint_eq(back.number, m.number);
		ck_assert_int_eq(hvri_message_encode(&back, again,
						     sizeof(again), &second),
				 HVREPL_OK);
		ck_assert_uint_eq(length, second);
		ck_assert_mem_eq(bytes, again, length);
		ck_assert_str_ne(hvri_message_name(type), "?");
	}
}
END_TEST

START_TEST(a_status_of_an_older_peer_has_no_end)
{
	struct hvri_message m, back;
	size_t length = 0, shorter = 0;

	make(&m, HVRI_MESSAGE_STATUS, 1);
	m.u.status.unshipped_bytes = 77;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_OK);
	ck_assert_uint_eq(back.u.status.unshipped_bytes, 77);
	m.u.status.unshipped_bytes = HVREPL_BYTES_UNKNOWN;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &shorter),
			 HVREPL_OK);
	ck_assert_uint_eq(shorter, length - 8);
	ck_assert_int_eq(hvri_message_decode(bytes, shorter, &storage, &back),
			 HVREPL_OK);
	ck_assert_uint_eq(back.u.status.unshipped_bytes, HVREPL_BYTES_UNKNOWN);
}
END_TEST

/* An older node refuses what it does not know the end of. */
START_TEST(what_a_peer_does_not_know_is_not_sent_to_it)
{
	static const struct {
		uint32_t type;
		uint64_t feature;
		size_t shorter;
	} ends[] = {
		{ HVRI_MESSAGE_STATUS, HVRI_FEATURE_UNSHIPPED, 8 },
		{ HVRI_MESSAGE_HELLO, HVRI_FEATURE_HELLO_NUMBER, 0 },
		{ HVRI_MESSAGE_REMOVE, HVRI_FEATURE_REMOVE_EPOCH, 16 },
		{ HVRI_MESSAGE_DISCARD, HVRI_FEATURE_DISCARD_JOB, 8 },
		{ HVRI_MESSAGE_DISCARDED, HVRI_FEATURE_DISCARD_JOB, 8 },
	};

	for (uint32_t k = 0; k < HVRI_ARRAY_LEN(ends); k++) {
		struct hvri_message m, older, back;
		const struct hvri_message *told;
		size_t length = 0, then = 0;

		make(&m, ends[k].type, ends[k].type);
		m.number = m.type == HVRI_MESSAGE_HELLO ? 7 : 0;
		ck_assert_ptr_eq(hvri_message_for(&m, ends[k].feature, &older), &m);
		told = hvri_message_for(&m, HVRI_FEATURES & ~ends[k].feature, &older);
		ck_assert_ptr_eq(told, &older);
		ck_assert_uint_eq(told->number, 0);
		ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes),
						     &length),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_message_encode(told, bytes, sizeof(bytes),
						     &then),
				 HVREPL_OK);
		ck_assert_uint_eq(then, length - ends[k].shorter);
		ck_assert_int_eq(hvri_message_decode(bytes, then, &storage, &back),
				 HVREPL_OK);
		/* Where it is there, it says something. */
		if (ends[k].feature == HVRI_FEATURE_DISCARD_JOB) {
			ck_assert_uint_eq(back.u.discard.job, 0);
			memset(bytes + then, 0, ends[k].shorter);
			ck_assert_int_eq(hvri_message_decode(bytes, length,
							     &storage, &back),
					 HVREPL_E_PROTOCOL);
		}
		m.type = HVRI_MESSAGE_JOIN;
		ck_assert_ptr_eq(hvri_message_for(&m, 0, &older), &m);
	}
}
END_TEST

START_TEST(a_message_cut_short_or_made_longer_is_refused)
{
	for (uint32_t type = 1; type < HVRI_MESSAGE_TYPE_COUNT; type++) {
		struct hvri_message m, back;
		size_t length = 0;

		make(&m, type, type);
		ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes),
						     &length),
				 HVREPL_OK);
		for (size_t n = 0; n < length; n++) {
			/* Its end is for peers that understand it. */
			if (type == HVRI_MESSAGE_STATUS && n == length - 8)
				continue;
			if (type == HVRI_MESSAGE_REMOVE && n == length - 16)
				continue;
			if ((type == HVRI_MESSAGE_DISCARD ||
			     type == HVRI_MESSAGE_DISCARDED) &&
			    n == length - 8)
				continue;
			ck_assert_int_eq(hvri_message_decode(bytes, n, &storage,
							     &back),
					 HVREPL_E_PROTOCOL);
			ck_assert_int_eq(hvri_message_encode(&m, again, n,
							     &(size_t){ 0 }),
					 HVREPL_E_LIMIT);
		}
		bytes[length] = 0;
		ck_assert_int_eq(hvri_message_decode(bytes, length + 1,
						     &storage, &back),
				 HVREPL_E_PROTOCOL);
	}
}
END_TEST

START_TEST(random_damage_is_refused_or_means_something_else_in_bounds)
{
	uint64_t seed = 5;
	uint32_t passed = 0;

	for (uint32_t k = 0; k < 40000; k++) {
		struct hvri_message m, back;
		size_t length = 0;
		uint32_t type = 1 + (uint32_t)(test_random(&seed) %
					       (HVRI_MESSAGE_TYPE_COUNT - 1));

		make(&m, type, k);
		ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes),
						     &length),
				 HVREPL_OK);
		for (uint32_t n = 0; n <= k % 3; n++)
			bytes[test_random(&seed) % length] =
				(uint8_t)test_random(&seed);
		if (hvri_message_decode(bytes, length, &storage, &back) !=
		    HVREPL_OK)
			continue;
		passed++;
		if (back.type == HVRI_MESSAGE_RANGES)
			for (uint32_t i = 0; i < back.u.ranges.count; i++)
				ck_assert_uint_gt(
					hvri_ranges_get(&back.u.ranges, i).length,
					0);
		if (back.claim)
			ck_assert_uint_le(back.claim->lineage.count,
					  HVRI_EPOCHS_MAX);
	}
	ck_assert_uint_gt(passed, 0);
	ck_assert_uint_lt(passed, 40000);
}
END_TEST

START_TEST(limits_and_versions_are_checked_before_use)
{
	struct hvri_message m, back;
	size_t length = 0;

	make(&m, HVRI_MESSAGE_RANGES, 1);
	m.u.ranges.count = HVRI_RANGES_MAX + 1;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_E_INVALID);
	m.type = HVRI_MESSAGE_TYPE_COUNT;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_E_INVALID);
	make(&m, HVRI_MESSAGE_REMOVE, 1);
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	bytes[0] = HVRI_MESSAGE_VERSION + 1;
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_E_PEER_VERSION);
	/* A range that would wrap around. */
	make(&m, HVRI_MESSAGE_RANGES, 1);
	hvri_ranges_put(extents, 1,
			(struct hvrepl_extent){ UINT64_MAX - 10, 4096 });
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_E_PROTOCOL);
}
END_TEST

/* A record that went on from one would wrap, and could not be read again. */
START_TEST(numbers_that_are_counted_on_from_have_a_limit)
{
	struct hvri_message m, back;
	struct {
		uint32_t type;
		uint64_t *at;
	} counters[] = {
		{ HVRI_MESSAGE_HELLO, &claim.generation },
		{ HVRI_MESSAGE_HELLO, &claim.seen_generation },
		{ HVRI_MESSAGE_HELLO, &claim.position.number },
		{ HVRI_MESSAGE_HELLO, &claim.lineage.floor },
		{ HVRI_MESSAGE_HELLO, &claim.lineage.epochs[1].ordinal },
		{ HVRI_MESSAGE_HELLO, &claim.lineage.epochs[1].fork_point },
		{ HVRI_MESSAGE_CUT_BEGIN, &m.u.cut.point.number },
		{ HVRI_MESSAGE_DURABLE, &m.u.durable.point.number },
		{ HVRI_MESSAGE_HANDOVER_REQUEST, &m.u.handover.ordinal },
		{ HVRI_MESSAGE_GRANT, &m.u.handover.point },
		{ HVRI_MESSAGE_JOIN, &m.u.join.from.number },
	};
	size_t length = 0;

	for (uint32_t k = 0; k < HVRI_ARRAY_LEN(counters); k++)
		for (uint32_t over = 0; over < 2; over++) {
			make(&m, counters[k].type, 1);
			*counters[k].at = HVRI_COUNTER_MAX + over;
			ck_assert_int_eq(hvri_message_encode(&m, bytes,
							     sizeof(bytes),
							     &length),
					 HVREPL_OK);
			ck_assert_int_eq(hvri_message_decode(bytes, length,
							     &storage, &back),
					 over ? HVREPL_E_PROTOCOL : HVREPL_OK);
		}
	/* A cut follows a point of a lower number. */
	for (uint32_t more = 0; more < 2; more++) {
		make(&m, HVRI_MESSAGE_CUT_BEGIN, 1);
		m.u.cut.from.number = m.u.cut.point.number - more;
		ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes),
						     &length),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_message_decode(bytes, length, &storage,
						     &back),
				 more ? HVREPL_OK : HVREPL_E_PROTOCOL);
	}
	/* Nor is an epoch none. */
	make(&m, HVRI_MESSAGE_HANDOVER_REQUEST, 1);
	memset(&m.u.handover.epoch, 0, sizeof(m.u.handover.epoch));
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_E_PROTOCOL);
}
END_TEST

/* It would end a job as done that is not. */
START_TEST(a_refusal_has_a_reason)
{
	static const uint8_t about[] = {
		HVRI_MESSAGE_HELLO, HVRI_MESSAGE_ENABLE,
		HVRI_MESSAGE_HANDOVER_CHECK, HVRI_MESSAGE_JOIN,
		HVRI_MESSAGE_DISCARD,
		/* These are answered when they are done, too. */
		HVRI_MESSAGE_HANDOVER_REQUEST, HVRI_MESSAGE_OPERATION,
		HVRI_MESSAGE_REMOVE,
	};
	struct hvri_message m, back;
	size_t length = 0;

	for (uint32_t k = 0; k < HVRI_ARRAY_LEN(about); k++) {
		make(&m, HVRI_MESSAGE_ANSWER, 1);
		m.answer.about = about[k];
		m.answer.code = HVREPL_OK;
		ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes),
						     &length),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_message_decode(bytes, length, &storage,
						     &back),
				 k < 5 ? HVREPL_E_PROTOCOL : HVREPL_OK);
	}
	make(&m, HVRI_MESSAGE_CUT_DECLINE, 1);
	m.answer.code = HVREPL_OK;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(a_message_has_1024_ranges_at_most)
{
	static uint8_t many[(HVRI_RANGES_MAX + 1) * 16];
	struct hvri_message m, back;
	size_t length = 0, at = 0;

	make(&m, HVRI_MESSAGE_RANGES, 1);
	for (uint32_t i = 0; i <= HVRI_RANGES_MAX; i++)
		hvri_ranges_put(many, i,
				(struct hvrepl_extent){ i * 8192ull, 4096 });
	m.u.ranges.extents = many;
	m.u.ranges.count = HVRI_RANGES_MAX;
	ck_assert_int_eq(hvri_message_encode(&m, bytes, sizeof(bytes), &length),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_message_decode(bytes, length, &storage, &back),
			 HVREPL_OK);
	ck_assert_uint_eq(back.u.ranges.count, HVRI_RANGES_MAX);
	/* Ours says no more; somebody else might: one more, and its extent. */
	while (memcmp(bytes + at, "\0\4\0\0", 4) != 0)
		at++;
	bytes[at]++;
	memcpy(bytes + length, many + HVRI_RANGES_MAX * 16, 16);
	ck_assert_int_eq(hvri_message_decode(bytes, length + 16, &storage,
					     &back),
			 HVREPL_E_PROTOCOL);
}
END_TEST

START_TEST(the_digest_of_ranges_sees_order_and_place)
{
	uint8_t a[16] = { 0 }, b[16] = { 0 }, c[16] = { 0 };
	struct hvri_message m;

	make(&m, HVRI_MESSAGE_RANGES, 1);
	m.u.ranges.sequence = 0;
	hvri_ranges_digest(a, &m.u.ranges);
	m.u.ranges.disk = 0;
	hvri_ranges_digest(b, &m.u.ranges);
	ck_assert_mem_ne(a, b, 16);
	m.u.ranges.disk = 1;
	hvri_ranges_digest(c, &m.u.ranges);
	ck_assert_mem_eq(a, c, 16);
	hvri_ranges_digest(c, &m.u.ranges);
	ck_assert_mem_ne(a, c, 16);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("message");
	TCase *tc = tcase_create("message");

	tcase_add_test(tc, every_message_comes_back_as_it_was_sent);
	tcase_add_test(tc, a_status_of_an_older_peer_has_no_end);
	tcase_add_test(tc, what_a_peer_does_not_know_is_not_sent_to_it);
	tcase_add_test(tc, a_message_cut_short_or_made_longer_is_refused);
	tcase_add_test(
		tc, random_damage_is_refused_or_means_something_else_in_bounds);
	tcase_add_test(tc, limits_and_versions_are_checked_before_use);
	tcase_add_test(tc, numbers_that_are_counted_on_from_have_a_limit);
	tcase_add_test(tc, a_refusal_has_a_reason);
	tcase_add_test(tc, a_message_has_1024_ranges_at_most);
	tcase_add_test(tc, the_digest_of_ranges_sees_order_and_place);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
