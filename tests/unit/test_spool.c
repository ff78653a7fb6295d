/* SPDX-License-Identifier: Apache-2.0 */
/* The spool, its budget and spill; direct reads; outside sources. */
#include "cutbed.h"

START_TEST(over_budget_the_newest_queued_cut_is_folded)
{
	struct hvri_group_counts counts;
	hvrepl_cut *first, *second, *third;
	uint8_t *image = calloc(1, SIZE);

	open_all(100000, 0);
	write_at(0, 40000, 1);
	first = make_cut();
	ck_assert_int_eq(spool(first), HVREPL_OK);
	write_at(1 << 20, 40000, 2);
	second = make_cut();
	ck_assert_int_eq(spool(second), HVREPL_OK);
	write_at(2 << 20, 1024, 3);
	third = make_cut();
	ck_assert_uint_eq(state_of(first), HVREPL_CUT_SPOOLED);
	ck_assert_uint_eq(state_of(second), HVREPL_CUT_VOIDED);
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.folded, 1);
	ck_assert_int_eq(hvrepl_cut_close(second, HVREPL_OK), HVREPL_E_VOIDED);
	ck_assert_int_eq(spool(third), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_close(third, HVREPL_E_CANCELLED),
			 HVREPL_OK);
	/* The oldest is being shipped: it stays, whatever falls due. */
	write_at(1 << 20, 60000, 4);
	third = make_cut();
	ck_assert_int_eq(spool(third), HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_close(third, HVREPL_OK), HVREPL_E_VOIDED);
	ck_assert_uint_eq(state_of(first), HVREPL_CUT_SPOOLED);
	third = make_cut();
	ck_assert_uint_eq(state_of(first), HVREPL_CUT_SPOOLED);
	(void)apply(first, image);
	ck_assert_int_eq(hvrepl_cut_close(first, HVREPL_OK), HVREPL_OK);
	ck_assert_int_eq(spool(third), HVREPL_OK);
	(void)apply(third, image);
	ck_assert_mem_eq(image, sim_disk_bytes(disk), SIZE);
	ck_assert_int_eq(hvrepl_cut_close(third, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	free(image);
}
END_TEST

START_TEST(a_cut_larger_than_all_budgets_is_given_up)
{
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	hvrepl_cut *cut;

	open_all(100000, _i == 0 ? 0 : 200000);
	write_at(0, 1 << 20, 1);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_E_VOIDED);
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_int_eq(info.reason, HVREPL_E_LIMIT);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_LIMIT), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 1 << 20);
}
END_TEST

/* T4: what memory does not hold is spilled, and gone afterwards. */
START_TEST(chunks_beyond_memory_are_spilled_and_come_back)
{
	struct hvri_group_counts counts;
	uint8_t *image = calloc(1, SIZE);
	hvrepl_cut *cut;

	open_all(100000, 8 << 20);
	write_at(0, SIZE, 1);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(spill), 1);
	hvri_group_count(group, &counts);
	ck_assert_uint_le(counts.memory, 100000);
	ck_assert_uint_ge(counts.memory + counts.spilled, SIZE);
	ck_assert_uint_eq(apply(cut, image), SIZE);
	ck_assert_mem_eq(image, sim_disk_bytes(disk), SIZE);
	hvri_cut_release_through(cut, 0, 1000000);
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.memory, 0);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(sim_storage_objects(spill), 0);
	hvri_group_count(group, &counts);
	ck_assert_uint_eq(counts.spilled, 0);
	free(image);
}
END_TEST

START_TEST(spill_that_a_killed_process_left_is_removed)
{
	struct hvrepl_storage storage = sim_storage_handle(spill);
	void *object;

	const char *const ids[] = {
		"spool-00112233445566778899aabbccddeeff", "other",
		"spool.hvt", /* Of a disk that is called so. */
		"spool-00112233445566778899aabbccddee.hv",
	};

	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(storage.ops->open(storage.user, ids[i],
						   HVREPL_OBJECT_CREATE,
						   &object),
				 HVREPL_OK);
		storage.ops->close(storage.user, object);
	}
	open_all(0, 1 << 20);
	ck_assert_uint_eq(sim_storage_objects(spill), 3);
	for (size_t i = 1; i < 4; i++)
		ck_assert_int_eq(storage.ops->remove(storage.user, ids[i]),
				 HVREPL_OK);
}
END_TEST

START_TEST(chunks_ship_while_the_cut_is_still_read)
{
	const uint8_t *bytes;
	uint32_t length, progress, chunks;
	hvrepl_cut *cut;
	bool complete;

	open_all(0, 0);
	write_at(0, SIZE, 1);
	cut = make_cut();
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length),
			 HVREPL_PENDING);
	ck_assert_int_eq(hvrepl_cut_advance(cut, 1, &progress), HVREPL_OK);
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length), HVREPL_OK);
	hvri_cut_release_through(cut, 0, 0);
	ck_assert_int_eq(hvri_cut_chunk(cut, 0, 0, &bytes, &length),
			 HVREPL_E_STATE);
	hvri_cut_progress(cut, 0, &chunks, &complete);
	ck_assert_uint_gt(chunks, 0);
	ck_assert(!complete);
	ck_assert_int_eq(hvrepl_cut_settle(cut, 0, HVREPL_OK), HVREPL_OK);
	hvri_cut_progress(cut, 0, &chunks, &complete);
	ck_assert(complete);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
}
END_TEST

/* The public way: list, read, while writers overwrite. */
START_TEST(a_cut_read_directly_shows_the_instant)
{
	uint8_t *image = calloc(1, SIZE), *then = malloc(SIZE);
	struct hvrepl_extent extents[3];
	uint64_t random = 3, from = 0, listed = 0;
	uint8_t buffer[2048];
	hvrepl_cut *cut;

	open_all(0, 0);
	for (int i = 0; i < 200; i++)
		write_at(test_random(&random) % (SIZE / 512 - 16) * 512,
			 1 + test_random(&random) % 8000, (uint64_t)i + 1);
	memcpy(then, sim_disk_bytes(disk), SIZE);
	cut = make_cut();
	for (int i = 0; i < 100; i++)
		write_at(test_random(&random) % (SIZE / 512 - 16) * 512,
			 1 + test_random(&random) % 8000, (uint64_t)i + 999);
	while (from < SIZE) {
		uint32_t count = 3;

		ck_assert_int_eq(hvrepl_cut_next_extents(cut, 0, from, extents,
							 &count, &from),
				 HVREPL_OK);
		for (uint32_t i = 0; i < count; i++) {
			ck_assert_int_eq(
				hvrepl_cut_read(cut, 0, extents[i].offset,
						image + extents[i].offset,
						extents[i].length),
				HVREPL_OK);
			listed += extents[i].length;
			write_at(extents[i].offset, 512, from);
		}
	}
	ck_assert_mem_eq(image, then, SIZE);
	ck_assert_uint_gt(listed, 0);
	ck_assert_uint_lt(listed, SIZE);
	/* What did not change is not in it. */
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 1, buffer, 1024),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, SIZE, buffer, 1024),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
	free(then);
}
END_TEST

START_TEST(a_spooled_cut_can_still_be_read_directly)
{
	uint8_t *image = calloc(1, SIZE);
	hvrepl_cut *cut;

	open_all(50000, 8 << 20);
	write_at(4096, 300000, 1);
	write_at(1 << 20, 100000, 0);
	cut = make_cut();
	write_at(8192, 5000, 7);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	write_at(4096, 300000, 8);
	put(4096, 300000, 1);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 5120, image, 200 * BLOCK),
			 HVREPL_OK);
	ck_assert_mem_eq(image, sim_disk_bytes(disk) + 5120, 200 * BLOCK);
	memset(image, 1, 90 * BLOCK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 1 << 20, image, 90 * BLOCK),
			 HVREPL_OK);
	ck_assert_mem_eq(image, sim_disk_bytes(disk) + (1 << 20), 90 * BLOCK);
	ck_assert_int_eq(hvrepl_cut_read(cut, 0, 2 << 20, image, BLOCK),
			 HVREPL_E_RANGE);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	free(image);
}
END_TEST

/* Holes are not read, zeroes are not stored. */
START_TEST(holes_and_zeroes_cost_nothing)
{
	const uint64_t size = (UINT64_C(1) << 40) + 512;
	struct sparse_disk *huge = sparse_disk_new(size);
	struct hvrepl_disk taken = sparse_disk_handle(huge);
	struct hvrepl_storage storage = sim_storage_handle(files);
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_cut_info info = HVREPL_CUT_INFO_INIT;
	uint8_t bytes[4096];
	hvrepl_cut *cut;

	open_all(0, 0);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "huge.hvt";
	ck_assert_int_eq(hvrepl_tracker_attach(group, &taken, &storage,
					       &options, NULL, &tracker),
			 HVREPL_OK);
	test_fill(bytes, sizeof(bytes), 1);
	sparse_disk_write(huge, 0, bytes, sizeof(bytes));
	sparse_disk_write(huge, UINT64_C(1) << 32, bytes, sizeof(bytes));
	sparse_disk_write(huge, size - 512, bytes, 512);
	ck_assert_int_eq(hvrepl_tracker_mark_all(tracker), HVREPL_OK);
	cut = make_cut();
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_get_info(cut, &info), HVREPL_OK);
	ck_assert_uint_eq(info.read_bytes, size);
	ck_assert_uint_lt(huge->read_bytes, 1 << 20);
	ck_assert_uint_lt(info.spool_bytes, 20000);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(dirty(), 0);
	ck_assert_int_eq(hvrepl_tracker_detach(tracker, 0), HVREPL_OK);
	tracker = NULL;
	sparse_disk_free(huge);
}
END_TEST

/* T11 */
struct source {
	uint8_t frozen[1 << 20];
	uint64_t token;
	unsigned begun, ended, acknowledged;
	int32_t fails;
};

static int32_t source_begin(void *user, const struct hvrepl_change_token *from,
			    struct hvrepl_change_token *to, void **handle)
{
	struct source *source = user;

	if (from->length > 0 && from->bytes[0] != source->token)
		return HVREPL_E_UNTRUSTED;
	if (source->fails < 0)
		return source->fails;
	source->begun++;
	to->length = 1;
	to->bytes[0] = (uint8_t)(source->token + 1);
	*handle = from->length == 0 ? user : &source->token;
	return HVREPL_OK;
}

static int32_t source_changed(void *user, void *handle, uint32_t index,
			      uint64_t from, struct hvrepl_extent *out,
			      uint32_t *count, uint64_t *end)
{
	static const struct hvrepl_extent some[3] = { { 512, 1024 },
						      { 65536, 300000 / 512 *
								      512 },
						      { 1048064, 512 } };
	uint32_t found = 0;

	ck_assert_uint_eq(index, 0);
	if (handle == user) { /* Everything. */
		out->offset = from;
		out->length = sizeof(((struct source *)0)->frozen) - from;
		*count = 1;
		*end = sizeof(((struct source *)0)->frozen);
		return HVREPL_OK;
	}
	/* One at a time, from within extents too. */
	*end = sizeof(((struct source *)0)->frozen);
	for (size_t i = 0; i < 3 && found == 0; i++) {
		uint64_t stop = some[i].offset + some[i].length;

		if (stop <= from)
			continue;
		out->offset = from > some[i].offset ? from : some[i].offset;
		out->length = stop - out->offset;
		*end = stop;
		found = 1;
	}
	*count = found;
	return HVREPL_OK;
}

static int32_t source_read(void *user, hvrepl_op *op, void *handle,
			   uint32_t index, uint64_t offset, void *buffer,
			   size_t length)
{
	(void)handle, (void)index;
	memcpy(buffer, ((struct source *)user)->frozen + offset, length);
	hvrepl_op_complete(op, HVREPL_OK);
	return HVREPL_PENDING;
}

static void source_end(void *user, void *handle, uint32_t acknowledged)
{
	struct source *source = user;

	(void)handle;
	source->ended++;
	source->acknowledged += acknowledged;
	source->token += acknowledged;
}

START_TEST(an_external_source_gives_the_same_cut)
{
	static struct source source;
	static uint8_t image[SIZE];
	const struct hvrepl_source_ops ops = { sizeof(ops), 0, source_begin,
					       source_changed, source_read,
					       source_end };
	const struct hvrepl_source_disk mine = { .size = 1 << 20 };
	struct hvrepl_change_token token = { .length = 0 };
	uint8_t buffer[512];
	uint32_t whole;
	hvrepl_cut *cut;

	open_all(0, 0);
	source = (struct source){ .token = 1 };
	memset(image, 0, sizeof(image));
	test_fill(source.frozen, sizeof(source.frozen), 1);
	/* No token: all of it. */
	ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine, 1, NULL,
					   NULL, NULL, &cut),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_token(cut, &token, &whole), HVREPL_OK);
	ck_assert_uint_eq(whole, 1);
	ck_assert_int_eq(spool(cut), HVREPL_OK);
	ck_assert_uint_eq(apply(cut, image), 1 << 20);
	ck_assert_mem_eq(image, source.frozen, 1 << 20);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_OK), HVREPL_OK);
	ck_assert_uint_eq(source.acknowledged, 1);
	/* From the token: what changed. It fails: the token stays. */
	for (unsigned i = 0; i < 2; i++) {
		test_fill(source.frozen + 512, 1024, 7);
		test_fill(source.frozen + 65536, 299520, 8);
		ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine,
						   1, NULL, &token, NULL, &cut),
				 HVREPL_OK);
		ck_assert_int_eq(spool(cut), HVREPL_OK);
		ck_assert_uint_eq(apply(cut, image), 1024 + 299520 + 512);
		ck_assert_int_eq(hvrepl_cut_read(cut, 0, 512, buffer, 512),
				 HVREPL_OK);
		ck_assert_mem_eq(buffer, source.frozen + 512, 512);
		ck_assert_int_eq(
			hvrepl_cut_close(cut, i == 0 ? HVREPL_E_CANCELLED :
						       HVREPL_OK),
			HVREPL_OK);
		ck_assert_uint_eq(source.acknowledged, i + 1);
	}
	ck_assert_mem_eq(image, source.frozen, 1 << 20);
	/* A token that it does not know: everything again. */
	ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine, 1, NULL,
					   &token, NULL, &cut),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_cut_token(cut, &token, &whole), HVREPL_OK);
	ck_assert_uint_eq(whole, 1);
	ck_assert_int_eq(hvrepl_cut_close(cut, HVREPL_E_CANCELLED), HVREPL_OK);
	ck_assert_uint_eq(source.begun, source.ended);
	source.fails = HVREPL_E_DISK_IO;
	token.length = 0;
	ck_assert_int_eq(hvrepl_source_cut(group, &ops, &source, &mine, 1, NULL,
					   &token, NULL, &cut),
			 HVREPL_E_CALLBACK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spool");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, over_budget_the_newest_queued_cut_is_folded);
	tcase_add_loop_test(tcase, a_cut_larger_than_all_budgets_is_given_up, 0,
			    2);
	tcase_add_test(tcase, chunks_beyond_memory_are_spilled_and_come_back);
	tcase_add_test(tcase, spill_that_a_killed_process_left_is_removed);
	tcase_add_test(tcase, chunks_ship_while_the_cut_is_still_read);
	tcase_add_test(tcase, a_cut_read_directly_shows_the_instant);
	tcase_add_test(tcase, a_spooled_cut_can_still_be_read_directly);
	tcase_add_test(tcase, holes_and_zeroes_cost_nothing);
	tcase_add_test(tcase, an_external_source_gives_the_same_cut);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
