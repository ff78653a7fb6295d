/* SPDX-License-Identifier: Apache-2.0 */
/* Initial replication costs what a disk holds, not how large it is (L1). */
#include "pair.h"

#include <string.h>

#define TIB (UINT64_C(1) << 40)
#define SIZE (16 * TIB)
#define SECOND 1000000000ull

static struct pair pair;
static const uint64_t places[] = { 0, 5 * TIB + 4096, SIZE - 4096 };

static bool replicating(struct pair *p)
{
	struct hvrepl_vm_status status;

	pair_status(&p->b, &status);
	return status.state == HVREPL_STATE_REPLICATING;
}

/* Each window's end is told, as bytes of the whole, for the job. */
static uint64_t whole, told, told_value;

static void take_progress(struct pair_site *site,
			  const struct hvrepl_event *event)
{
	if (event->type != HVREPL_EVENT_PROGRESS)
		return;
	ck_assert_ptr_eq(site, &pair.a);
	ck_assert_uint_ne(event->job, 0);
	ck_assert_uint_eq(event->total, whole);
	ck_assert_uint_ge(event->value, told_value);
	ck_assert_uint_le(event->value, event->total);
	told_value = event->value;
	told++;
}

static void expect(unsigned disk, uint64_t offset, uint8_t value)
{
	static uint8_t got[4096], wanted[4096];

	memset(wanted, value, sizeof(wanted));
	sparse_disk_read(pair.b.sparse[disk], offset, got, sizeof(got));
	ck_assert_mem_eq(got, wanted, sizeof(got));
}

START_TEST(sixteen_tebibytes_of_holes_are_a_handful_of_cuts)
{
	static uint8_t bytes[4096];
	struct hvrepl_vm_status status;

	pair_init_sparse(&pair, 7, SIZE);
	for (unsigned i = 0; i < 3; i++) {
		memset(bytes, 0x40 + (int)i, sizeof(bytes));
		sparse_disk_write(pair.a.sparse[0], places[i], bytes,
				  sizeof(bytes));
	}
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE,
				      0), HVREPL_OK);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL), HVREPL_OK);
	/* The guest goes on, in what was a hole when the window was chosen. */
	memset(bytes, 0x50, sizeof(bytes));
	ck_assert_int_eq(pair_write(&pair.a, 1, 9 * TIB, bytes, sizeof(bytes)),
			 HVREPL_OK);
	ck_assert(pair_until(&pair, 600 * SECOND, replicating));
	pair_status(&pair.a, &status);
	ck_assert_uint_le(status.last_cut, 8);
	pair_run(&pair, 5 * SECOND);
	/* The bases hold the oldest points only; the newest is what counts. */
	for (unsigned i = 0; i < 3; i++)
		expect(0, places[i], (uint8_t)(0x40 + i));
	{
		hvrepl_view *view = NULL;
		struct hvrepl_disk handle;
		struct hvrepl_iovec iov = { bytes, sizeof(bytes) };
		uint8_t wanted[4096];

		ck_assert_int_eq(hvrepl_vm_open_view(pair.b.node, &pair_vm,
						     pair_newest_point(&pair.b),
						     &view, NULL), HVREPL_OK);
		ck_assert_int_eq(hvrepl_view_disk(view, 1, &handle), HVREPL_OK);
		memset(bytes, 0, sizeof(bytes));
		ck_assert_int_eq(handle.ops->readv(handle.user, NULL, 9 * TIB,
						   &iov, 1), HVREPL_OK);
		memset(wanted, 0x50, sizeof(wanted));
		ck_assert_mem_eq(bytes, wanted, sizeof(wanted));
		handle.release(handle.user);
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	}
	pair_free(&pair);
}
END_TEST

START_TEST(a_resynchronization_tells_each_window_it_has_compared)
{
	static uint8_t bytes[4096] = "here";

	whole = PAIR_DISKS * (UINT64_C(3) << 29);
	told = told_value = 0;
	pair_init_sparse(&pair, 8, whole / PAIR_DISKS);
	sparse_disk_write(pair.a.sparse[0], 4096, bytes, sizeof(bytes));
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_run(&pair, SECOND);
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE,
				      0), HVREPL_OK);
	ck_assert_int_eq(pair_ask(&pair.a, HVREPL_OPERATION_START_INITIAL, 0,
				  NULL), HVREPL_OK);
	ck_assert(pair_until(&pair, 600 * SECOND, replicating));
	pair_run(&pair, 5 * SECOND);
	pair.seen = take_progress;
	ck_assert_int_eq(pair_operate(&pair, &pair.a, HVREPL_OPERATION_RESYNC,
				      0), HVREPL_OK);
	ck_assert_uint_ge(told, 2);
	pair_free(&pair);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sparse");
	TCase *tcase = tcase_create("sparse");

	tcase_add_test(tcase,
		       sixteen_tebibytes_of_holes_are_a_handful_of_cuts);
	tcase_add_test(tcase,
		       a_resynchronization_tells_each_window_it_has_compared);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
