/* SPDX-License-Identifier: Apache-2.0 */
/* An external change source that keeps its promises, of several disks, asked and read
 * by several threads; and what it takes of the spool. */
#include "cutbed.h"

#include "tracker/cut.h"

#define DISK (UINT64_C(1) << 20)
#define FAR (UINT64_C(600) << 10)

static const struct hvrepl_extent list[] = {
	{ 512, 1024 },
	{ 65536, HVRI_CLAIM_BYTES },
	{ 400 << 10, 512 },
	{ FAR, 4096 },
};
static void (*inside)(void), (*inside_read)(void);
static int32_t list_code;
static unsigned ended;

static int32_t begin_cut(void *user, const struct hvrepl_change_token *from,
			 struct hvrepl_change_token *to, void **handle)
{
	(void)user, (void)from;
	to->length = 0;
	*handle = &list_code;
	return HVREPL_OK;
}

static void end_cut(void *user, void *handle, uint32_t acknowledged)
{
	(void)user, (void)handle, (void)acknowledged;
	ended++;
}

static void look_inside(void)
{
	void (*now)(void) = inside;

	inside = NULL;
	if (now != NULL)
		now();
}

/* Looks a piece further each time, also where there is nothing. */
static int32_t list_changed(void *user, void *handle, uint32_t disk_index,
			    uint64_t from, struct hvrepl_extent *out,
			    uint32_t *count, uint64_t *end)
{
	uint32_t room = *count, found = 0;

	(void)user, (void)handle, (void)disk_index;
	look_inside();
	*end = from < 2048 ? 2048 : from < 65536 ? 65536 :
	       from < FAR  ? FAR :
			     DISK;
	for (size_t i = 0; i < HVRI_ARRAY_LEN(list) && found < room; i++) {
		uint64_t past = list[i].offset + list[i].length;
		uint64_t first = HVRI_MAX(from, list[i].offset);

		if (past > from && list[i].offset < *end)
			out[found++] = (struct hvrepl_extent){ first,
							       past - first };
	}
	*count = found;
	return list_code;
}

static int32_t list_read(void *user, hvrepl_op *op, void *handle,
			 uint32_t disk_index, uint64_t offset, void *buffer,
			 size_t length)
{
	void (*now)(void) = inside_read;

	(void)user, (void)op, (void)handle, (void)disk_index, (void)offset;
	look_inside();
	inside_read = NULL;
	if (now != NULL)
		now();
	memset(buffer, 'x', length);
	return HVREPL_OK;
}

static const struct hvrepl_source_ops list_ops = { sizeof(list_ops), 0,
						   begin_cut, list_changed,
						   list_read, end_cut };
static hvrepl_cut *of_two;

static hvrepl_cut *cut_of(uint32_t disks)
{
	const struct hvrepl_source_disk mine[2] = { { .size = DISK },
						    { .size = DISK } };
	hvrepl_cut *cut;

	ck_assert_int_eq(hvrepl_source_cut(group, &list_ops, NULL, mine, disks,
					   NULL, NULL, NULL, &cut),
			 HVREPL_OK);
	return cut;
}

static unsigned met; /* How often another thread came in. */

static void advance_inside(void)
{
	uint32_t progress = HVREPL_CUT_DONE;

	met++;
	ck_assert_int_eq(hvrepl_cut_advance(of_two, 1, &progress), HVREPL_OK);
	ck_assert_uint_ne(progress, HVREPL_CUT_DONE);
}

/* _i: at this call of the source another thread advances the same cut. */
START_TEST(a_source_is_asked_by_one_thread_at_a_time_and_read_by_many)
{
	uint8_t *copy = calloc(1, DISK);
	uint32_t progress = 0;
	int calls = 0;

	of_two = cut_of(2);
	while (progress != HVREPL_CUT_DONE) {
		if (calls++ == _i)
			inside = advance_inside;
		ck_assert_int_eq(hvrepl_cut_advance(of_two, 1, &progress),
				 HVREPL_OK);
		ck_assert_int_lt(calls, 1000);
	}
	ck_assert_uint_eq(met, 1);
	ck_assert_uint_eq(apply(of_two, copy),
			  1024 + HVRI_CLAIM_BYTES + 512 + 4096);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(list); i++)
		ck_assert_uint_eq(copy[list[i].offset + list[i].length - 1],
				  'x');
	ck_assert_int_eq(hvrepl_cut_close(of_two, HVREPL_OK), HVREPL_OK);
	free(copy);
}
END_TEST

static void advance_to_end(void)
{
	uint32_t progress = 0;

	met++;
	/* All but what is being read here. */
	while (progress != HVREPL_CUT_WAITING)
		ck_assert_int_eq(hvrepl_cut_advance(of_two, 1, &progress),
				 HVREPL_OK);
}

START_TEST(a_disk_that_is_read_to_its_end_waits_for_who_reads_the_last_of_it)
{
	of_two = cut_of(2);
	for (uint32_t progress = 0; progress != HVREPL_CUT_DONE;) {
		struct hvri_member *last = &of_two->parts[1];

		if (met == 0 && of_two->parts[0].detached &&
		    last->frontier == FAR >> last->block_shift)
			inside_read = advance_to_end;
		ck_assert_int_eq(hvrepl_cut_advance(of_two, 1, &progress),
				 HVREPL_OK);
	}
	ck_assert_uint_eq(met, 1);
	ck_assert_int_eq(hvrepl_cut_close(of_two, HVREPL_OK), HVREPL_OK);
}
END_TEST

START_TEST(a_source_cut_is_listed_to_its_end_and_not_when_it_is_void)
{
	struct hvrepl_extent extents[2];
	const uint8_t *bytes;
	uint32_t count = 2, length;
	uint64_t end;

	of_two = cut_of(2);
	ck_assert_int_eq(hvrepl_cut_next_extents(of_two, 0, 0, extents, &count,
						 &end),
			 HVREPL_OK);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(end, 2048);
	ck_assert_int_eq(hvrepl_cut_void(of_two), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_next_extents(of_two, 0, 0, extents, &count,
						 &end),
			 HVREPL_E_VOIDED);
	ck_assert_int_eq(hvri_cut_chunk(of_two, 0, 0, &bytes, &length),
			 HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_close(of_two, HVREPL_E_CANCELLED),
			 HVREPL_OK);
	of_two = cut_of(1);
	list_code = -1;
	count = 1;
	ck_assert_int_eq(hvrepl_cut_next_extents(of_two, 0, 0, extents, &count,
						 &end),
			 HVREPL_E_CALLBACK);
	ck_assert_int_eq(hvrepl_cut_close(of_two, HVREPL_E_CANCELLED),
			 HVREPL_OK);
}
END_TEST

/* The budget is over with the last claim of it. */
START_TEST(a_source_cut_that_does_not_fit_is_given_up)
{
	hvrepl_group *alone;
	hvrepl_cut *cut;

	/* A group needs no trackers for it, and stays while it is there. */
	ck_assert_int_eq(hvrepl_group_create(&env.env, NULL, NULL, &alone),
			 HVREPL_OK);
	{
		hvrepl_group *with = group;

		group = alone;
		cut = cut_of(1);
		group = with;
	}
	ck_assert_int_eq(hvrepl_group_destroy(alone), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(alone), HVREPL_OK);
	ended = 0;

	cut = cut_of(1);
	while (cut->parts[0].frontier < FAR >> cut->parts[0].block_shift) {
		uint32_t progress;

		ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress),
				 HVREPL_OK);
	}
	group->spool_memory = 1000;
	ck_assert_int_eq(spool(cut), HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_E_VOIDED);
	ck_assert_uint_eq(ended, 1);
}
END_TEST

/* T5: what is folded comes back into a live map; a source has none here. */
START_TEST(over_budget_neither_sources_nor_the_only_queued_cut_are_folded)
{
	struct hvri_group_counts counts;
	hvrepl_cut *external, *queued, *voided, *open;

	external = cut_of(1);
	ck_assert_int_eq(spool(external), HVREPL_OK);
	write_at(0, 65536, 1);
	queued = make_cut();
	ck_assert_int_eq(spool(queued), HVREPL_OK);
	voided = make_cut();
	ck_assert_int_eq(hvrepl_cut_void(voided), HVREPL_OK);
	group->spool_memory = 65536;
	open = make_cut();
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.folded, 0);
	ck_assert_uint_eq(state_of(queued), HVREPL_CUT_SPOOLED);
	ck_assert_int_eq(hvri_group_fold_newest(group), HVREPL_OK);
	ck_assert_uint_eq(state_of(queued), HVREPL_CUT_VOIDED);
	ck_assert_uint_eq(state_of(external), HVREPL_CUT_SPOOLED);
	ck_assert_int_eq(hvri_group_fold_newest(group), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(hvrepl_cut_close(open, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(voided, HVREPL_E_CANCELLED),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(queued, HVREPL_E_CANCELLED),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(external, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 65536);
}
END_TEST

static void setup_source(void)
{
	setup();
	open_all(0, 0);
	inside = inside_read = NULL;
	list_code = HVREPL_OK;
	ended = met = 0;
}

int main(void)
{
	Suite *suite = suite_create("source disks");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup_source, teardown);
	tcase_add_loop_test(
		tcase, a_source_is_asked_by_one_thread_at_a_time_and_read_by_many,
		0, 8);
	tcase_add_test(
		tcase,
		a_disk_that_is_read_to_its_end_waits_for_who_reads_the_last_of_it);
	tcase_add_test(tcase,
		       a_source_cut_is_listed_to_its_end_and_not_when_it_is_void);
	tcase_add_test(tcase, a_source_cut_that_does_not_fit_is_given_up);
	tcase_add_test(
		tcase,
		over_budget_neither_sources_nor_the_only_queued_cut_are_folded);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
