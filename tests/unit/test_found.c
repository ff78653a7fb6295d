/* SPDX-License-Identifier: Apache-2.0 */
/* Points that a store holds after all, found while the VM cannot hear of them yet. */
#include "driver/vm.h"
#include "testing.h"

static struct hvrepl_node node;
static struct hvri_vm vm;

static void holds(uint64_t number)
{
	vm.points[0] = (struct hvrepl_point)HVREPL_POINT_INIT;
	vm.points[0].number = number;
	vm.points[0].cut.bytes[0] = (uint8_t)number;
	vm.point_count = 1;
}

START_TEST(of_two_points_that_are_found_the_later_is_heard)
{
	const struct hvri_event *event = &vm.reception.found_event.event;
	struct hvrepl_uuid first = { { 7 } }, second = { { 8 } };

	vm.node = &node;
	vm.last = &vm.first;
	holds(7);
	hvri_receive_found(&vm, &first);
	holds(8);
	hvri_receive_found(&vm, &second);
	/* Once, as it is about what the store holds. */
	ck_assert_ptr_eq(vm.first, &vm.reception.found_event);
	ck_assert_ptr_null(vm.first->next);
	ck_assert_uint_eq(event->type, HVRI_EVENT_POINT_COMPLETE);
	ck_assert_uint_eq(event->u.data.cut.bytes[0], 8);
	ck_assert_uint_eq(event->u.data.found.number, 8);
	ck_assert_uint_eq(event->u.data.found.cut.bytes[0], 8);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("found");
	TCase *tc = tcase_create("found");

	tcase_add_test(tc, of_two_points_that_are_found_the_later_is_heard);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
