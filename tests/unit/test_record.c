/* SPDX-License-Identifier: Apache-2.0 */
/* A record comes back as it was, or is refused; never anything between. */
#include "format/record.h"

#include "testing.h"

#include <string.h>

static struct hvrepl_uuid id(uint64_t n)
{
	struct hvrepl_uuid u;

	memset(&u, 0, sizeof(u));
	memcpy(u.bytes, &n, sizeof(n));
	u.bytes[15] = 1;
	return u;
}

/* Every field different from zero and from its neighbours. */
static void full(struct hvri_record *rec)
{
	uint64_t n = 1;

	memset(rec, 0, sizeof(*rec));
	rec->id = id(n++);
	rec->generation = n++;
	rec->said_generation = rec->generation - 1;
	rec->peer_id = id(n++);
	rec->peer_generation = n++;
	rec->vm = id(n++);
	rec->site = id(n++);
	rec->peer = id(n++);
	strcpy(rec->vm_name, "web");
	rec->policy = (struct hvri_policy){ n, n + 1, n + 2,
					    HVRI_START_REFUSE, 24, true, true };
	n += 3;
	rec->disk_count = 2;
	for (uint32_t i = 0; i < 2; i++) {
		rec->disks[i].id = id(n++);
		rec->disks[i].size = n++ << 20;
		rec->disks[i].block_size = 4096;
		strcpy(rec->disks[i].name, "disk");
	}
	rec->mode = HVREPL_MODE_REPLICA;
	rec->phase = HVRI_PHASE_JOIN;
	rec->phase_before = HVRI_PHASE_DELTA;
	rec->form = HVRI_FORM_FOLDING;
	rec->ownership = HVREPL_OWNERSHIP_SUPERSEDED;
	rec->pause = HVRI_PAUSE_APPLY;
	rec->rolled_back = rec->untrusted = rec->dirty = true;
	rec->peer_enabled = rec->peer_has_points = true;
	rec->handover_clean = rec->adopted = rec->tail_pinned = true;
	rec->error_code = HVREPL_E_NO_SPACE;
	rec->lineage.floor = 3;
	rec->lineage.count = HVRI_EPOCHS_MAX;
	for (uint32_t i = 0; i < HVRI_EPOCHS_MAX; i++) {
		struct hvri_epoch *e = &rec->lineage.epochs[i];

		e->id = id(1000 + i);
		if (i > 0)
			e->parent = id(1000 + i - 1);
		e->owner = id(n++);
		e->ordinal = 3 + i;
		e->fork_point = n++;
		e->outcome = (uint8_t)(i % 4);
		e->planned = i % 2;
		e->entered = i % 3 == 0;
	}
	rec->current = id(n++);
	rec->relinquished = id(n++);
	rec->relinquished_point = n++;
	rec->verdict = HVRI_VERDICT_DIVERGED;
	rec->verdict_mine = id(n++);
	rec->verdict_peer = id(n++);
	rec->discard_loser = id(n++);
	rec->discard_winner = id(n++);
	rec->joining = id(n++);
	rec->point_reserved = n++;
	{
		struct hvri_point *points[] = { &rec->position, &rec->last_cut,
						&rec->last_acked,
						&rec->failover, &rec->tail };

		for (size_t i = 0; i < 5; i++)
			*points[i] = (struct hvri_point){ id(n), n + 1,
							  id(n + 2), n + 3 },
			n += 4;
	}
	rec->overlay = id(n++);
	rec->frontier = (struct hvri_frontier){ 1, n++ };
	rec->job = (struct hvri_job){ n, HVREPL_OPERATION_REVERSE, true,
				      id(n + 1), n + 2 };
}

static uint8_t bytes[HVRI_RECORD_ENCODED_MAX];

static size_t encoded(const struct hvri_record *rec)
{
	size_t length = 0;

	ck_assert_int_eq(hvri_record_encode(rec, bytes, sizeof(bytes),
					    &length),
			 HVREPL_OK);
	return length;
}

START_TEST(every_field_survives)
{
	static struct hvri_record rec, back;
	static uint8_t again[HVRI_RECORD_ENCODED_MAX];
	size_t length, second = 0;

	full(&rec);
	length = encoded(&rec);
	ck_assert_int_eq(hvri_record_decode(bytes, length, &back), HVREPL_OK);
	/* No padding in the bytes: equal bytes are equal fields. */
	ck_assert_int_eq(hvri_record_encode(&back, again, sizeof(again),
					    &second),
			 HVREPL_OK);
	ck_assert_uint_eq(length, second);
	ck_assert_mem_eq(bytes, again, length);
	ck_assert_mem_eq(&rec.lineage.epochs[7].owner,
			 &back.lineage.epochs[7].owner, 16);
	ck_assert_uint_eq(back.job.point, rec.job.point);
	ck_assert_int_eq(back.error_code, HVREPL_E_NO_SPACE);
	ck_assert_uint_eq(back.frontier.offset, rec.frontier.offset);
	ck_assert_mem_eq(&back.overlay, &rec.overlay, 16);
	ck_assert(back.tail_pinned && back.policy.manual_resync);
}
END_TEST

START_TEST(a_flipped_bit_or_a_lost_tail_is_refused)
{
	static struct hvri_record rec, back;
	size_t length;

	memset(&rec, 0, sizeof(rec));
	length = encoded(&rec);
	for (size_t i = 0; i < length * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		ck_assert_int_ne(hvri_record_decode(bytes, length, &back),
				 HVREPL_OK);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	for (size_t n = 0; n < length; n++)
		ck_assert_int_eq(hvri_record_decode(bytes, n, &back),
				 HVREPL_E_TRUNCATED);
	bytes[length] = 0;
	ck_assert_int_eq(hvri_record_decode(bytes, length + 1, &back),
			 HVREPL_E_CORRUPT);
	bytes[4] = 4; /* Version. */
	ck_assert_int_eq(hvri_record_decode(bytes, length, &back),
			 HVREPL_E_FORMAT_TOO_NEW);
}
END_TEST

/* As an older version wrote it: without its last `less` bytes. */
static size_t older(size_t length, uint8_t version, size_t less)
{
	uint8_t digest[16];

	length -= less;
	bytes[4] = version;
	bytes[8] = (uint8_t)length;
	bytes[9] = (uint8_t)(length >> 8);
	{
		const struct hvri_part parts[] = {
			{ bytes, 16 }, { bytes + 32, length - 32 }
		};

		hvri_xxh3(parts, 2, digest);
	}
	memcpy(bytes + 16, digest, sizeof(digest));
	return length;
}

START_TEST(records_of_older_versions_are_read)
{
	static struct hvri_record rec, back;
	size_t length;

	full(&rec);
	rec.loss.point = 7;
	length = encoded(&rec);
	ck_assert_int_eq(hvri_record_decode(bytes, length, &back), HVREPL_OK);
	ck_assert_uint_eq(back.loss.point, 7);
	ck_assert_uint_eq(back.said_generation, rec.generation - 1);
	/* All that had changed had been told. */
	length = older(length, 2, 8);
	ck_assert_int_eq(hvri_record_decode(bytes, length, &back), HVREPL_OK);
	ck_assert_uint_eq(back.loss.point, 7);
	ck_assert_uint_eq(back.said_generation, rec.generation);
	length = older(length, 1, 6 * 8);
	ck_assert_int_eq(hvri_record_decode(bytes, length, &back), HVREPL_OK);
	ck_assert_uint_eq(back.loss.point, 0);
	ck_assert_uint_eq(back.said_generation, rec.generation);
	ck_assert_uint_eq(back.job.point, rec.job.point);
	/* More told than there is. */
	rec.said_generation = rec.generation + 1;
	length = encoded(&rec);
	ck_assert_int_eq(hvri_record_decode(bytes, length, &back),
			 HVREPL_E_CORRUPT);
}
END_TEST

START_TEST(values_out_of_range_are_refused_even_with_a_right_digest)
{
	static struct hvri_record rec, back;

	full(&rec);
	rec.form = HVRI_FORM_COUNT;
	ck_assert_int_eq(hvri_record_decode(bytes, encoded(&rec), &back),
			 HVREPL_E_CORRUPT);
	full(&rec);
	rec.lineage.epochs[5].id = rec.lineage.epochs[6].id;
	ck_assert_int_eq(hvri_record_decode(bytes, encoded(&rec), &back),
			 HVREPL_E_CORRUPT);
	full(&rec);
	rec.lineage.epochs[5].ordinal = 1; /* Older than its parent. */
	ck_assert_int_eq(hvri_record_decode(bytes, encoded(&rec), &back),
			 HVREPL_E_CORRUPT);
	full(&rec);
	rec.disks[0].size = UINT64_MAX;
	ck_assert_int_eq(hvri_record_decode(bytes, encoded(&rec), &back),
			 HVREPL_E_CORRUPT);
	full(&rec);
	strcpy(rec.vm_name, "a\nb");
	ck_assert_int_eq(hvri_record_decode(bytes, encoded(&rec), &back),
			 HVREPL_E_CORRUPT);
}
END_TEST

START_TEST(a_buffer_that_is_too_small_is_a_limit)
{
	static struct hvri_record rec;
	size_t length;

	full(&rec);
	length = encoded(&rec);
	for (size_t n = 0; n < length; n += 97)
		ck_assert_int_eq(hvri_record_encode(&rec, bytes, n, &length),
				 HVREPL_E_LIMIT);
	/* The fullest record fits the room stores give it. */
	rec.disk_count = HVRI_DISKS_MAX;
	for (uint32_t i = 0; i < HVRI_DISKS_MAX; i++)
		rec.disks[i].size = 1;
	encoded(&rec);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_add_test(tc, every_field_survives);
	tcase_add_test(tc, a_flipped_bit_or_a_lost_tail_is_refused);
	tcase_add_test(tc, records_of_older_versions_are_read);
	tcase_add_test(tc,
		       values_out_of_range_are_refused_even_with_a_right_digest);
	tcase_add_test(tc, a_buffer_that_is_too_small_is_a_limit);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
