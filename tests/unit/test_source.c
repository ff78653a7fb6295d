/* SPDX-License-Identifier: Apache-2.0 */
/* An external change source that does not keep its promises, and cuts that are read
 * where there is nothing to read. */
#include "cutbed.h"

#include "format/wire.h"
#include "tracker/cut.h"

#define DISK (UINT64_C(1) << 20)

/* What `changed` says next, and what else goes wrong. */
static struct {
	struct hvrepl_extent extent;
	uint64_t end;
	uint32_t count;
	int32_t changed_code, read_code;
	uint32_t token_length;
	unsigned begun, ended, asked;
	bool once; /* Then it says that this was all. */
} s;

static int32_t begin_cut(void *user, const struct hvrepl_change_token *from,
			 struct hvrepl_change_token *to, void **handle)
{
	(void)user, (void)from;
	to->length = s.token_length;
	*handle = &s;
	s.begun++;
	return HVREPL_OK;
}

static int32_t changed(void *user, void *handle, uint32_t disk_index,
		       uint64_t from, struct hvrepl_extent *out,
		       uint32_t *count, uint64_t *end)
{
	(void)user, (void)handle, (void)disk_index;
	ck_assert_uint_lt(s.asked, 10000);
	if (s.asked++ > 0 && s.once) {
		*count = 0;
		*end = DISK;
		return HVREPL_OK;
	}
	*out = s.extent;
	if (s.extent.offset == UINT64_MAX) /* Where it was asked for. */
		out->offset = from;
	*count = s.count;
	*end = s.end;
	return s.changed_code;
}

static int32_t read_frozen(void *user, hvrepl_op *op, void *handle,
			   uint32_t disk_index, uint64_t offset, void *buffer,
			   size_t length)
{
	(void)user, (void)op, (void)handle, (void)disk_index, (void)offset;
	memset(buffer, 'x', length);
	return s.read_code;
}

static void end_cut(void *user, void *handle, uint32_t acknowledged)
{
	(void)user, (void)handle, (void)acknowledged;
	s.ended++;
}

static const struct hvrepl_source_ops ops = { sizeof(ops), 0, begin_cut,
					      changed, read_frozen, end_cut };

static int32_t source_cut(uint64_t size, uint64_t limit, hvrepl_cut **cut)
{
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;
	const struct hvrepl_source_disk mine = { .size = size };

	label.limit = limit;
	*cut = NULL;
	return hvrepl_source_cut(group, &ops, NULL, &mine, 1, &label, NULL, NULL,
				 cut);
}

static void says(uint64_t offset, uint64_t length, uint32_t count, uint64_t end)
{
	memset(&s, 0, sizeof(s));
	s.extent = (struct hvrepl_extent){ offset, length };
	s.count = count;
	s.end = end;
}

static void setup_open(void)
{
	setup();
	open_all(0, 0);
	memset(&s, 0, sizeof(s));
}

START_TEST(a_source_that_says_nonsense_costs_the_cut)
{
	static const struct {
		uint64_t offset, length;
		uint32_t count;
		uint64_t end;
		int32_t code;
	} cases[] = {
		{ 0, 512, 1, DISK, -1 },	      /* It fails. */
		{ 0, 512, 1000000, DISK, 0 },	      /* More than there is room. */
		{ 0, 0, 0, 0, 0 },		      /* Nothing, and no way on. */
		{ 0, 0, 1, DISK, 0 },		      /* No length. */
		{ 100, 512, 1, DISK, 0 },	      /* Not on a block. */
		{ 512, 100, 1, DISK, 0 },
		{ 512, DISK, 1, DISK, 0 },	      /* Over the end. */
		{ 512, 1024, 1, 512, 0 },	      /* Looked less far than it
						       * found: it would be asked
						       * the same for ever. */
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++) {
		hvrepl_cut *cut;

		says(cases[i].offset, cases[i].length, cases[i].count,
		     cases[i].end);
		s.changed_code = cases[i].code;
		ck_assert_int_eq(source_cut(DISK, UINT64_MAX, &cut), HVREPL_OK);
		ck_assert_int_lt(spool(cut), 0);
		ck_assert_uint_eq(state_of(cut), HVREPL_CUT_VOIDED);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
		ck_assert_uint_eq(s.ended, 1);
	}
	/* Behind where it was asked for. */
	{
		hvrepl_cut *cut;

		says(0, 512, 1, 65536);
		ck_assert_int_eq(source_cut(DISK, UINT64_MAX, &cut), HVREPL_OK);
		ck_assert_int_lt(spool(cut), 0);
		ck_assert_uint_eq(s.asked, 2);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
	}
}
END_TEST

START_TEST(what_lies_behind_the_limit_is_left_for_the_next_cut)
{
	hvrepl_cut *cut;
	struct hvrepl_extent extent;
	uint32_t count = 1;
	uint64_t end;

	says(65536, 4096, 1, DISK);
	ck_assert_int_eq(source_cut(DISK, 65536, &cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &count,
						 &end),
			 HVREPL_OK);
	ck_assert_uint_eq(end, 65536);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	/* Over it: cut short there. */
	says(32768, 65536, 1, DISK);
	ck_assert_int_eq(source_cut(DISK, 65536, &cut), HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	{
		uint8_t *image = calloc(1, DISK);

		ck_assert_uint_eq(apply(cut, image), 32768);
		free(image);
	}
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}
END_TEST

START_TEST(more_than_one_claim_at_once_is_read_piece_by_piece)
{
	uint8_t *image = calloc(1, DISK);
	hvrepl_cut *cut;

	says(UINT64_MAX, DISK, 1, DISK);
	s.extent.length = DISK;
	s.once = true;
	ck_assert_int_eq(source_cut(DISK, UINT64_MAX, &cut), HVREPL_OK);
	s.extent = (struct hvrepl_extent){ 0, DISK };
	s.once = false;
	for (uint32_t progress = 0; progress != HVREPL_CUT_DONE;) {
		ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress),
				 HVREPL_OK);
		/* Asked again it begins where it was. */
		s.extent.offset = cut->parts[0].frontier << 9;
		s.extent.length = DISK - s.extent.offset;
	}
	ck_assert_uint_eq(apply(cut, image), DISK);
	ck_assert_uint_eq(image[DISK - 1], 'x');
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
}
END_TEST

START_TEST(a_token_that_does_not_fit_and_sizes_that_are_none_are_refused)
{
	hvrepl_cut *cut;

	says(0, 512, 1, DISK);
	s.token_length = 125;
	ck_assert_int_eq(source_cut(DISK, UINT64_MAX, &cut), HVREPL_E_CALLBACK);
	ck_assert_uint_eq(s.ended, 1);
	ck_assert_int_eq(source_cut(0, UINT64_MAX, &cut), HVREPL_E_INVALID);
	ck_assert_int_eq(source_cut(1000, UINT64_MAX, &cut), HVREPL_E_INVALID);
	ck_assert_int_eq(source_cut((UINT64_C(1) << 60) + 512, UINT64_MAX, &cut),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(source_cut(DISK, 1000, &cut), HVREPL_E_INVALID);
	ck_assert_uint_eq(s.begun, 1);
	s.token_length = 0;
	for (long n = 0;; n++) {
		int32_t rc;

		env.alloc_fail_at = n;
		rc = source_cut(DISK, UINT64_MAX, &cut);
		if (rc == HVREPL_OK)
			break;
		ck_assert_int_eq(rc, HVREPL_E_NOMEM);
	}
	env.alloc_fail_at = -1;
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

START_TEST(a_source_that_cannot_be_read_costs_the_cut)
{
	hvrepl_cut *cut;
	uint8_t bytes[512];

	says(0, 4096, 1, 4096);
	s.once = true;
	s.read_code = HVREPL_E_DISK_IO;
	ck_assert_int_eq(source_cut(DISK, UINT64_MAX, &cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, bytes, 512),
			 HVREPL_E_DISK_IO);
	ck_assert_int_lt(spool(cut), 0);
	ck_assert_uint_eq(state_of(cut), HVREPL_CUT_VOIDED);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

/* ---- read and listed directly ---- */

START_TEST(only_what_a_cut_holds_is_read_from_it)
{
	static const struct {
		uint32_t disk;
		uint64_t offset;
		size_t length;
		int32_t expected;
	} cases[] = {
		{ 1, 0, BLOCK, HVREPL_E_INVALID },
		{ 0, SIZE + BLOCK, BLOCK, HVREPL_E_RANGE },
		{ 0, SIZE - BLOCK, 2 * BLOCK, HVREPL_E_RANGE },
		{ 0, 512, BLOCK, HVREPL_E_RANGE },
		{ 0, 0, 512, HVREPL_E_RANGE },
		{ 0, 65536, BLOCK, HVREPL_E_RANGE }, /* Not of the cut. */
		{ 0, 0, BLOCK, HVREPL_OK },
	};
	struct hvrepl_extent extent;
	uint8_t bytes[2 * BLOCK];
	uint32_t count = 1, none = 0;
	uint64_t end;
	hvrepl_cut *cut;

	write_at(0, 4096, 1);
	cut = make_cut();
	for (size_t i = 0; i < HVRI_ARRAY_LEN(cases); i++)
		ck_assert_int_eq(hvrepl_cut_read(cut, cases[i].disk,
						 cases[i].offset, bytes,
						 cases[i].length),
				 cases[i].expected);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 1, 0, &extent, &count,
						 &end),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &none,
						 &end),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, SIZE + 1, &extent,
						 &count, &end),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &count,
						 &end),
			 HVREPL_OK);
	ck_assert_uint_eq(extent.length, 4096);
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &count,
						 &end),
			 HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, bytes, BLOCK),
			 HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
}
END_TEST

START_TEST(a_cut_with_writes_in_flight_is_not_listed_yet)
{
	struct hvrepl_ticket flying;
	struct hvrepl_extent extent;
	uint8_t bytes[BLOCK];
	uint32_t count = 1;
	uint64_t end;
	hvrepl_cut *cut;

	write_at(0, 4096, 1);
	ck_assert_int_eq(begin(&flying, 1024, 1024, 0), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, bytes, BLOCK),
			 HVREPL_E_BUSY);
	(void)hvrepl_cut_next_extents(cut, 0, 0, &extent, &count, &end);
	put(1024, 1024, 5);
	hvrepl_tracker_write_end(tracker, &flying, HVREPL_OK);
	hvrepl_group_process(group);
	count = 1;
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &count,
						 &end),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, bytes, BLOCK), HVREPL_OK);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	/* Once it is settled there is nothing of it left. */
	ck_assert_int_eq(hvrepl_cut_settle(cut, 1, HVREPL_OK), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, 0, &extent, &count,
						 &end),
			 HVREPL_E_STATE);
	ck_assert_int_lt(hvrepl_cut_read(cut, 0, 0, bytes, BLOCK), 0);
	ck_assert_int_eq(hvrepl_cut_void(cut), HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}
END_TEST

static bool every_other(void *user, uint32_t index, uint64_t offset,
			const void *bytes, size_t length)
{
	(void)user, (void)index, (void)bytes, (void)length;
	return offset / HVRI_DIGEST_GRANULE % 2 == 1;
}

/* The zeroes too are left out granule by granule, whether read or a hole. */
START_TEST(what_the_replica_has_is_left_out_of_zeroes_as_well)
{
	uint8_t *image = malloc(SIZE), bytes[BLOCK];
	hvrepl_cut *cut;

	memset(image, 'o', SIZE);
	write_at(0, 512 * 1024, 0);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	cut = make_cut();
	hvri_cut_set_filter(cut, every_other, NULL, NULL);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 0, bytes, BLOCK),
			 HVREPL_E_STATE);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	(void)apply(cut, image);
	for (uint64_t at = 0; at < SIZE; at += HVRI_DIGEST_GRANULE)
		ck_assert_uint_eq(image[at],
				  at / HVRI_DIGEST_GRANULE % 2 == 1 ? 'o' : 0);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	free(image);
}
END_TEST

/* Ranges of a zero disk that the replica lacks: more than one chunk names. */
static uint64_t count_zeroes(hvrepl_cut *cut, unsigned *chunks_out)
{
	const struct hvri_segment_header *its = hvri_cut_header(cut, 0);
	const uint8_t *bytes;
	uint64_t covered = 0, past = 0;
	uint32_t length;

	for (*chunks_out = 0;
	     hvri_cut_chunk(cut, 0, *chunks_out, &bytes, &length) == HVREPL_OK;
	     (*chunks_out)++) {
		struct hvri_chunk chunk;

		ck_assert_int_eq(hvri_chunk_decode(its, bytes, length, &chunk),
				 HVREPL_OK);
		ck_assert_uint_ne(chunk.kind, HVRI_CHUNK_DATA);
		for (uint32_t i = 0; i < chunk.extent_count; i++) {
			struct hvrepl_extent e = hvri_chunk_extent(&chunk, i);

			ck_assert_uint_ge(e.offset, past);
			ck_assert_uint_eq(e.offset / HVRI_DIGEST_GRANULE % 2, 0);
			past = e.offset + e.length;
			covered += e.length;
		}
	}
	return covered;
}

START_TEST(more_holes_apart_than_a_chunk_names_are_all_in_the_cut)
{
	const uint64_t size = (UINT64_C(2) * HVRI_CHUNK_EXTENTS_MAX + 300) * 2 *
			      HVRI_DIGEST_GRANULE;
	bool failed = true;

	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	for (long n = 0; failed; n++) {
		struct sparse_disk *huge = sparse_disk_new(size);
		struct hvrepl_disk taken = sparse_disk_handle(huge);
		struct hvrepl_storage storage = sim_storage_handle(files);
		struct hvrepl_tracker_options options =
			HVREPL_TRACKER_OPTIONS_INIT;
		unsigned chunks;
		hvrepl_cut *cut;
		int32_t rc;

		options.flags = HVREPL_TRACKER_CREATE;
		options.object_id = "huge.hvt";
		ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
						       &options, NULL, &tracker),
				 HVREPL_OK);
		ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
		cut = make_cut();
		hvri_cut_set_filter(cut, every_other, NULL, NULL);
		env.alloc_fail_at = n;
		rc = spool(cut);
		failed = env.alloc_fail_at < 0;
		env.alloc_fail_at = -1;
		/* What fails is voided, and dirty as before. */
		ck_assert_int_eq(rc < 0, failed);
		if (!failed) {
			ck_assert_uint_eq(count_zeroes(cut, &chunks), size / 2);
			ck_assert_uint_ge(chunks, 3);
		}
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
		ck_assert_uint_eq(dirty(), size);
		ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
		tracker = NULL;
		ck_assert_int_eq(storage.ops->remove(storage.user, "huge.hvt"),
				 HVREPL_OK);
		sparse_disk_free(huge);
	}
}
END_TEST

/* Runs with clean blocks between them, in one claim. */
START_TEST(granules_of_many_runs_are_all_in_the_cut)
{
	const uint64_t run = UINT64_C(64) << 20, runs = 6;
	const uint64_t size = runs * 2 * run;
	struct sparse_disk *huge = sparse_disk_new(size);
	struct hvrepl_disk taken = sparse_disk_handle(huge);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	bool failed = true;

	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "huge.hvt";
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage, &options,
					       NULL, &tracker),
			 HVREPL_OK);
	for (uint64_t i = 0; i < runs; i++) {
		const struct hvrepl_extent extent = { i * 2 * run, run };

		ck_assert_int_eq(hvrepl_tracker_mark(tracker, &extent, 1),
				 HVREPL_OK);
	}
	for (long n = 0; failed; n++) {
		unsigned chunks;
		hvrepl_cut *cut = make_cut();
		int32_t rc;

		hvri_cut_set_filter(cut, every_other, NULL, NULL);
		env.alloc_fail_at = n;
		rc = spool(cut);
		failed = env.alloc_fail_at < 0;
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || failed);
		if (rc == HVREPL_OK)
			ck_assert_uint_eq(count_zeroes(cut, &chunks),
					  runs * run / 2);
		ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED),
				 HVREPL_OK);
		ck_assert_uint_eq(dirty(), runs * run);
	}
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	tracker = NULL;
	sparse_disk_free(huge);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("source");
	TCase *tcase = tcase_create("source");

	tcase_add_checked_fixture(tcase, setup_open, teardown);
	tcase_add_test(tcase, a_source_that_says_nonsense_costs_the_cut);
	tcase_add_test(tcase,
		       what_lies_behind_the_limit_is_left_for_the_next_cut);
	tcase_add_test(tcase,
		       more_than_one_claim_at_once_is_read_piece_by_piece);
	tcase_add_test(
		tcase, a_token_that_does_not_fit_and_sizes_that_are_none_are_refused);
	tcase_add_test(tcase, a_source_that_cannot_be_read_costs_the_cut);
	tcase_add_test(tcase, only_what_a_cut_holds_is_read_from_it);
	tcase_add_test(tcase, a_cut_with_writes_in_flight_is_not_listed_yet);
	tcase_add_test(tcase,
		       what_the_replica_has_is_left_out_of_zeroes_as_well);
	tcase_add_test(tcase,
		       more_holes_apart_than_a_chunk_names_are_all_in_the_cut);
	tcase_add_test(tcase, granules_of_many_runs_are_all_in_the_cut);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
