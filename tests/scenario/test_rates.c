/* SPDX-License-Identifier: Apache-2.0 */
/* VMs of a peer with a rate: what it may send in a second goes round. */
#include "driver/node.h"
#include "driver/vm.h"
#include "pair.h"

#include <string.h>

#define SECOND 1000000000ull
#define SIZE (8u << 20)
#define VMS 3u

static struct pair pair;
static uint8_t noise[SIZE]; /* Nothing to compress. */

static struct hvrepl_uuid vm_id(unsigned number)
{
	return (struct hvrepl_uuid){ { 0xcc, (uint8_t)number } };
}

static void setup(void)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	uint64_t seed = 7;

	for (size_t at = 0; at < sizeof(noise); at++)
		noise[at] = (uint8_t)test_random(&seed);
	pair_init(&pair, 3, SIZE);
	pair_more_vms(&pair.a);
	pair_more_vms(&pair.b);
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pair_link(&pair, true);
	entry.peer = "site-a";
	entry.verbs = HVREPL_VERB_ALL;
	entry.rate_max = 512u << 10;
	ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &entry), HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	for (unsigned i = 0; i < VMS; i++) {
		struct hvrepl_uuid id = vm_id(i);

		pair_add_vm(&pair.a, i);
		sim_disk_poke(pair_find_more(&pair.a, &id)->disk, 0, noise,
			      SIZE);
		ck_assert_int_eq(pair_operate_more(&pair, &pair.a, i,
						   HVREPL_OPERATION_ENABLE),
				 HVREPL_OK);
	}
	pair_run(&pair, 20 * SECOND);
}

static void teardown(void)
{
	pair_free(&pair);
	ck_assert_int_eq(pair.a.env.alloc_live, 0);
	ck_assert_int_eq(pair.b.env.alloc_live, 0);
}

static uint64_t received(unsigned number)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;
	struct hvrepl_uuid id = vm_id(number);

	ck_assert_int_eq(hvrepl_vm_get_status(pair.b.node, &id, &status),
			 HVREPL_OK);
	return status.received_bytes;
}

/* Each asks for credit once a second, one always a moment before the others: it does
 * not get all that there is for as long as it has something to send. */
START_TEST(vms_of_a_peer_with_a_rate_take_turns)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < VMS; i++) {
		ck_assert_int_eq(pair_ask_more(&pair.a, i,
					       HVREPL_OPERATION_START_INITIAL),
				 HVREPL_OK);
		pair_run(&pair, SECOND / 20);
	}
	pair_run(&pair, 15 * SECOND);
	for (unsigned i = 0; i < VMS; i++)
		all += received(i);
	ck_assert_uint_ge(all, 6u << 20);
	for (unsigned i = 0; i < VMS; i++)
		ck_assert_msg(received(i) >= all / VMS / 2,
			      "VM %u of %u: %llu of %llu bytes", i, VMS,
			      (unsigned long long)received(i),
			      (unsigned long long)all);
	ck_assert_uint_lt(all, VMS * SIZE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rates");
	TCase *tc = tcase_create("turns");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, vms_of_a_peer_with_a_rate_take_turns);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
