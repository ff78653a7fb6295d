/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that asks to enable any number of VMs has no more of them here than it may. */
#include "driver/node.h"
#include "driver/vm.h"
#include "format/wire.h"
#include "guestshadow.h"
#include "replication/internal.h"

#include <string.h>

#define ASKED 300u

/* What b answered since `answers` was set to 0. */
static unsigned answers, refusals;
static int32_t first_code; /* Of the first refusal. */

static void take(const struct hvri_frame *frame, const uint8_t *payload)
{
	static struct hvri_message_storage storage;
	struct hvri_message message;

	if (frame->type != HVRI_FRAME_MESSAGE || frame->vm.bytes[15] != 0x77)
		return;
	ck_assert_int_eq(hvri_message_decode(payload, frame->length, &storage,
					     &message),
			 HVREPL_OK);
	answers++;
	if (message.type != HVRI_MESSAGE_ANSWER)
		return;
	ck_assert_uint_eq(message.answer.about, HVRI_MESSAGE_ENABLE);
	ck_assert_str_ne(message.answer.sentence, "");
	if (refusals++ == 0)
		first_code = message.answer.code;
}

/* Whole frames, some at a time. */
static void tap(struct pair *p, struct pair_site *from, struct pair_site *to,
		const uint8_t *bytes, size_t length)
{
	struct hvri_frame frame;
	size_t at = 0;

	(void)to;
	while (from == &p->b && at + HVRI_FRAME_HEADER_SIZE <= length) {
		if (hvri_frame_decode(bytes + at, false, &frame) < 0)
			return;
		at += HVRI_FRAME_HEADER_SIZE;
		if (frame.length > length - at)
			return;
		take(&frame, bytes + at);
		at += frame.length;
	}
}

static void setup(void)
{
	shadow_setup();
	shadow_protect();
	answers = refusals = 0;
	first_code = HVREPL_OK;
	pair.tap = tap;
}

static unsigned vms(void)
{
	unsigned count = 0;

	for (const struct hvri_vm *vm = pair.b.node->vms; vm != NULL;
	     vm = vm->next)
		count++;
	return count;
}

static struct hvri_session *session(void)
{
	return hvri_node_session_named(pair.b.node, "site-a");
}

/* site-a's own claim and setup, but of a VM of that number; `sense`: the setup is of
 * that VM as well. */
static void ask_for(unsigned number, bool sense, uint32_t disks, uint64_t size)
{
	static uint8_t bytes[HVRI_MESSAGE_ENCODED_MAX];
	struct hvri_message message = { .type = HVRI_MESSAGE_ENABLE };
	struct hvri_frame frame = { .type = HVRI_FRAME_MESSAGE };
	struct hvri_claim claim;
	struct hvri_setup wanted;
	struct hvri_vm *vm = hvri_node_find_vm(pair.a.node, &pair_vm);
	size_t length;

	memcpy(frame.vm.bytes, &number, sizeof(number));
	frame.vm.bytes[15] = 0x77;
	hvri_build_claim(&vm->relationship, &claim);
	hvri_build_setup(&vm->relationship.record, &wanted);
	if (sense)
		wanted.vm = frame.vm;
	wanted.disk_count = disks;
	for (uint32_t i = 0; i < disks; i++)
		wanted.disks[i].size = size;
	message.claim = &claim;
	message.setup = &wanted;
	message.from_incarnation = pair.a.node->incarnation;
	ck_assert_int_eq(hvri_message_encode(&message, bytes, sizeof(bytes),
					     &length),
			 HVREPL_OK);
	frame.length = (uint32_t)length;
	ck_assert_int_eq(hvri_vms_frame(pair.b.node, session(), &frame, bytes,
					NULL),
			 HVREPL_OK);
}

static void ask(unsigned number, bool sense)
{
	/* As many as pair_find_more() brings. */
	ask_for(number, sense, 1, SHADOW_SIZE);
}

static void entry(uint32_t relationships_max, uint32_t points_max)
{
	struct hvrepl_authorisation given = HVREPL_AUTHORISATION_INIT;

	given.peer = "site-a";
	given.trust_group = "pair";
	given.verbs = HVREPL_VERB_ALL;
	given.relationships_max = relationships_max;
	given.points_max = points_max;
	ck_assert_int_eq(hvrepl_node_authorise(pair.b.node, &given), HVREPL_OK);
	pair_run(&pair, 5 * SECOND);
	ck_assert_ptr_nonnull(session());
}

static const struct refusal {
	uint32_t relationships_max, points_max;
	bool sense;
	int32_t permit_code, code;
} refused[] = {
	{ 1, 0, true, HVREPL_OK, HVREPL_E_LIMIT },
	{ 0, 7, true, HVREPL_OK, HVREPL_E_LIMIT },
	{ 0, 0, false, HVREPL_OK, HVREPL_E_PROTOCOL },
	{ 0, 0, true, HVREPL_E_DENIED, HVREPL_E_DENIED },
};

START_TEST(each_enable_that_is_refused_is_answered_and_leaves_nothing)
{
	const struct refusal *how = &refused[_i];
	size_t bytes;

	entry(how->relationships_max, how->points_max);
	pair.b.permit_code = how->permit_code;
	bytes = pair.b.env.alloc_bytes;
	for (unsigned i = 0; i < ASKED; i++) {
		ask(i, how->sense);
		ck_assert_uint_eq(vms(), 1);
	}
	/* What it is to hear is on its way, no more. */
	ck_assert_uint_lt(pair.b.env.alloc_bytes, bytes + ASKED * 1024);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(answers, ASKED);
	ck_assert_uint_eq(refusals, ASKED);
	ck_assert_int_eq(first_code, how->code);
	pair.b.permit_code = HVREPL_OK;
	shadow_scatter(&pair.a, 3, 10);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

START_TEST(vms_that_are_asked_for_at_once_are_no_more_than_the_entry_lets_in)
{
	struct hvrepl_authorisation_status status;

	pair_more_vms(&pair.b);
	entry(3, 0);
	pair.b.holds_jobs = true;
	for (unsigned i = 0; i < ASKED; i++) {
		ask(i, true);
		ck_assert_uint_eq(vms(), i == 0 ? 2 : 3);
	}
	pair.b.holds_jobs = false;
	pair_do_jobs(&pair.b);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(refusals, ASKED - 2);
	ck_assert_int_eq(first_code, HVREPL_E_LIMIT);
	ck_assert_uint_eq(vms(), 3);
	ck_assert_int_eq(hvri_node_authorisation(pair.b.node, "site-a", &status),
			 HVREPL_OK);
	ck_assert_uint_eq(status.relationships, 3);
}
END_TEST

/* Their making is under way as they are counted; then it fails before they have
 * disks: the site brings one of another shape than is asked for. */
START_TEST(replicas_that_the_site_brings_no_disks_for_leave_nothing)
{
	entry(0, 0);
	for (unsigned i = 0; i < 20; i++)
		ask(i, true);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(refusals, 20);
	ck_assert_uint_eq(vms(), 1);
}
END_TEST

/* ...and where the session ends before. */
START_TEST(a_replica_that_came_to_nothing_after_its_session_leaves_nothing)
{
	entry(0, 0);
	ask(1, true);
	pair_link(&pair, false);
	pair_run(&pair, 40 * SECOND);
	ck_assert_ptr_null(session());
	ck_assert_uint_eq(vms(), 1);
}
END_TEST

/* Once it may, the same VM is enabled: nothing stands in its way. */
START_TEST(an_enable_that_was_refused_succeeds_once_it_may)
{
	pair_more_vms(&pair.b);
	entry(1, 0);
	ask(1, true);
	ck_assert_uint_eq(vms(), 1);
	entry(2, 0);
	answers = refusals = 0;
	ask(1, true);
	pair_run(&pair, SECOND);
	ck_assert_uint_gt(answers, 0);
	ck_assert_uint_eq(refusals, 0);
	ck_assert_uint_eq(vms(), 2);
}
END_TEST

/* ---- Its making fails after it has disks: there is no room for its store. ---- */

static uint32_t held(void)
{
	struct hvrepl_authorisation_status status;

	ck_assert_int_eq(hvri_node_authorisation(pair.b.node, "site-a", &status),
			 HVREPL_OK);
	return status.relationships;
}

START_TEST(a_replica_that_could_not_be_made_goes_when_the_peer_removes_it)
{
	uint64_t capacity;

	/* The other VM's is the place that counts; this one is new. */
	shadow_ok(&pair.a, HVREPL_OPERATION_REMOVE);
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_eq(held(), 0);
	capacity = pair.b.storage->capacity;
	pair.b.storage->capacity = 0;
	ck_assert_int_ne(pair_operate(&pair, &pair.a, HVREPL_OPERATION_ENABLE,
				      0),
			 HVREPL_OK);
	pair.b.storage->capacity = capacity;
	pair_run(&pair, 5 * SECOND);
	ck_assert_uint_eq(held(), 1);
	(void)pair_operate(&pair, &pair.a, HVREPL_OPERATION_REMOVE, 0);
	pair_run(&pair, 60 * SECOND);
	ck_assert_uint_eq(held(), 0);
	ck_assert_uint_eq(vms(), 0);
}
END_TEST

/* With a disk more (0), or a larger one (1). */
START_TEST(a_replica_that_could_not_be_made_is_not_taken_for_one_of_another_shape)
{
	struct hvrepl_uuid id = { { 1 } };
	const struct hvri_record *record;
	struct pair_more *more;
	struct hvri_vm *made;
	uint64_t capacity;

	id.bytes[15] = 0x77;
	entry(0, 0);
	pair_more_vms(&pair.b);
	more = pair_find_more(&pair.b, &id);
	capacity = more->storage->capacity;
	more->storage->capacity = 0;
	ask(1, true);
	pair_run(&pair, SECOND);
	made = hvri_node_find_vm(pair.b.node, &id);
	ck_assert_ptr_nonnull(made);
	ck_assert_uint_eq(made->disk_count, 1);
	more->storage->capacity = capacity;
	refusals = 0;
	if (_i == 0)
		ask_for(1, true, 2, SHADOW_SIZE);
	else
		ask_for(1, true, 1, 4 * SHADOW_SIZE);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(refusals, 1);
	ck_assert_int_eq(first_code, HVREPL_E_WRONG_DISK);
	made = hvri_node_find_vm(pair.b.node, &id);
	record = &made->relationship.record;
	ck_assert_uint_eq(record->mode, HVREPL_MODE_NONE);
	/* As it was asked for first. */
	ask(1, true);
	pair_run(&pair, SECOND);
	ck_assert_uint_eq(refusals, 1);
	ck_assert_uint_eq(record->mode, HVREPL_MODE_REPLICA);
	ck_assert_uint_eq(record->disk_count, made->disk_count);
	ck_assert_uint_eq(record->disks[0].size, made->disks[0].spec.size);
}
END_TEST

/* An operator's slip, at the replica: it names another site that is connected. */
START_TEST(an_enable_that_is_refused_leaves_the_vm_with_its_session)
{
	struct hvrepl_operation op = HVREPL_OPERATION_INIT;

	pair.tap = NULL;
	pair_add_third(&pair, "site-c", 9);
	pair_start(&pair, pair.c);
	pair_run(&pair, 5 * SECOND);
	op.type = HVREPL_OPERATION_ENABLE;
	op.vm = pair_vm;
	op.peer = "site-c";
	ck_assert_int_lt(hvrepl_node_operate(pair.b.node, &op, NULL, NULL), 0);
	shadow_scatter(&pair.a, 9, 3);
	shadow_expect_point(&pair.b, shadow_next_point(&pair.a, &pair.b));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("refused enable");
	TCase *tc = tcase_create("refused enable");

	tcase_add_checked_fixture(tc, setup, shadow_teardown);
	tcase_add_loop_test(
		tc, each_enable_that_is_refused_is_answered_and_leaves_nothing,
		0, HVRI_ARRAY_LEN(refused));
	tcase_add_test(
		tc,
		vms_that_are_asked_for_at_once_are_no_more_than_the_entry_lets_in);
	tcase_add_test(
		tc, replicas_that_the_site_brings_no_disks_for_leave_nothing);
	tcase_add_test(
		tc,
		a_replica_that_came_to_nothing_after_its_session_leaves_nothing);
	tcase_add_test(tc, an_enable_that_was_refused_succeeds_once_it_may);
	tcase_add_test(
		tc, a_replica_that_could_not_be_made_goes_when_the_peer_removes_it);
	tcase_add_loop_test(
		tc,
		a_replica_that_could_not_be_made_is_not_taken_for_one_of_another_shape,
		0, 2);
	tcase_add_test(tc,
		       an_enable_that_is_refused_leaves_the_vm_with_its_session);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
