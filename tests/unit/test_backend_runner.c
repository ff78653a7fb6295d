/* SPDX-License-Identifier: Apache-2.0 */
/* A node on a loop: processing, events, waiting for jobs, peers dialled. */
#define _GNU_SOURCE
#include "tlsrig.h"

#include <hvrepl/backends/node.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/*
 * A node that does what the test says, in place of libhvrepl's: the runner
 * and the peers know nothing of it but these functions.
 */
struct hvrepl_node {
	struct hvrepl_event events[80];
	unsigned event_count, event_at;
	unsigned processed, closings, close_calls;
	uint64_t due_ns;
	struct hvrepl_peer_config peer;
	unsigned connected, failed;
	int32_t failure;
	char failed_peer[64];
	struct hvrepl_channel channels[2]; /* By direction. */
};

static struct hvrepl_node node;

static void add_event(uint32_t type, uint64_t job, int32_t code)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	event.type = type;
	event.job = job;
	event.code = code;
	node.events[node.event_count++] = event;
}

int32_t hvrepl_node_process(hvrepl_node *self, uint32_t budget)
{
	ck_assert_ptr_eq(self, &node);
	ck_assert_uint_gt(budget, 0);
	node.processed++;
	if (node.due_ns <= hvrepl_loop_now()) {
		node.due_ns = UINT64_MAX;
		add_event(HVREPL_EVENT_PROGRESS, 7, 0);
		add_event(HVREPL_EVENT_JOB_DONE, 7, HVREPL_E_NO_SPACE);
		add_event(HVREPL_EVENT_STATE, 0, 0);
	}
	if (node.closings > 0) {
		node.closings = 0;
		add_event(HVREPL_EVENT_CLOSED, 0, 0);
	}
	return 0;
}

uint64_t hvrepl_node_deadline(hvrepl_node *self)
{
	return self->due_ns;
}

int32_t hvrepl_node_next_event(hvrepl_node *self, struct hvrepl_event *event)
{
	if (self->event_at == self->event_count)
		return 0;
	*event = self->events[self->event_at++];
	return 1;
}

int32_t hvrepl_node_close(hvrepl_node *self)
{
	self->closings++;
	self->close_calls++;
	return HVREPL_OK;
}

int32_t hvrepl_node_add_peer(hvrepl_node *self,
			     const struct hvrepl_peer_config *peer,
			     struct hvrepl_error *error)
{
	(void)error;
	self->peer = *peer;
	return HVREPL_OK;
}

int32_t hvrepl_node_connected(hvrepl_node *self,
			      const struct hvrepl_channel *channel,
			      uint32_t flags)
{
	self->channels[flags & HVREPL_CHANNEL_INITIATOR ? 0 : 1] = *channel;
	if (++self->connected == 2)
		hvrepl_loop_stop(loop);
	return HVREPL_OK;
}

int32_t hvrepl_node_connect_failed(hvrepl_node *self, const char *peer,
				   int32_t code)
{
	self->failed++;
	self->failure = code;
	snprintf(self->failed_peer, sizeof(self->failed_peer), "%s", peer);
	hvrepl_loop_stop(loop);
	return HVREPL_OK;
}

static hvrepl_runner *runner;
static unsigned heard;
static uint32_t last_type;

static void hear(void *user, const struct hvrepl_event *event)
{
	ck_assert_ptr_eq(user, &heard);
	heard++;
	last_type = event->type;
}

static void run_setup(void)
{
	setup();
	memset(&node, 0, sizeof(node));
	node.due_ns = UINT64_MAX;
	heard = 0;
	ck_assert_int_eq(hvrepl_runner_create(loop, &node, hear, &heard,
					      &runner),
			 HVREPL_OK);
}

static void run_teardown(void)
{
	hvrepl_runner_destroy(runner);
	if (node.peer.release != NULL)
		node.peer.release(node.peer.user);
	for (int i = 0; i < 2; i++)
		if (node.channels[i].ops != NULL)
			node.channels[i].release(node.channels[i].user);
	teardown();
}

START_TEST(a_job_is_waited_for_and_its_result_is_given)
{
	struct hvrepl_event done = HVREPL_EVENT_INIT;

	node.due_ns = hvrepl_loop_now() + 3000000;
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 7, 30 * SECOND, &done),
			 HVREPL_OK);
	ck_assert_uint_eq(done.type, HVREPL_EVENT_JOB_DONE);
	ck_assert_int_eq(done.code, HVREPL_E_NO_SPACE);
	/* Events of the same round were heard too, all and in order. */
	ck_assert_uint_eq(heard, 3);
	ck_assert_uint_eq(last_type, HVREPL_EVENT_STATE);
	/* It ended before it was asked for: remembered. */
	done = (struct hvrepl_event)HVREPL_EVENT_INIT;
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 7, 0, &done),
			 HVREPL_OK);
	ck_assert_int_eq(done.code, HVREPL_E_NO_SPACE);
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 8, 2000000, NULL),
			 HVREPL_E_TIMEOUT);
	hvrepl_loop_stop(loop);
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 8, 0, NULL),
			 HVREPL_E_CANCELLED);
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 0, 0, NULL),
			 HVREPL_E_INVALID);
}
END_TEST

START_TEST(only_the_last_jobs_are_remembered)
{
	for (uint64_t job = 100; job < 165; job++)
		add_event(HVREPL_EVENT_JOB_DONE, job, 0);
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 164, 30 * SECOND, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 101, 30 * SECOND, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 100, 1000000, NULL),
			 HVREPL_E_TIMEOUT);
}
END_TEST

START_TEST(closing_waits_until_the_node_is_closed)
{
	ck_assert_int_eq(hvrepl_runner_close_node(runner, 30 * SECOND),
			 HVREPL_OK);
	ck_assert_uint_eq(last_type, HVREPL_EVENT_CLOSED);
	ck_assert_int_eq(hvrepl_runner_close_node(runner, 1), HVREPL_OK);
}
END_TEST

static void wake_from_here(void *argument)
{
	(void)argument;
	node.due_ns = 0;
	hvrepl_runner_wake(loop);
}

START_TEST(a_wake_has_the_node_processed)
{
	ck_assert_int_eq(hvrepl_loop_post(loop, wake_from_here, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 7, 30 * SECOND, NULL),
			 HVREPL_OK);
	ck_assert_uint_gt(node.processed, 0);
}
END_TEST

static unsigned attempts;
static uint32_t attempt_step;
static bool let_go_within; /* The node goes in the call that tells of an attempt. */

static void note_attempt(void *user, const struct hvrepl_connect_result *result)
{
	(void)user;
	attempts++;
	attempt_step = result->step;
	if (!let_go_within)
		return;
	node.peer.release(node.peer.user);
	node.peer.release = NULL;
	hvrepl_loop_stop(loop);
}

static void add_peer(uint32_t port, const char *name)
{
	struct hvrepl_tls_peer peer = HVREPL_TLS_PEER_INIT;

	attempts = 0;
	peer.name = name;
	peer.host = "127.0.0.1";
	peer.port = port;
	peer.attempted = note_attempt;
	ck_assert_int_eq(hvrepl_tls_add_peer(loop, primary, &node, &peer,
					     NULL),
			 HVREPL_OK);
}

START_TEST(a_peer_is_dialled_and_both_nodes_get_channels)
{
	struct hvrepl_tls_listen options = HVREPL_TLS_LISTEN_INIT;

	options.address = "127.0.0.1";
	options.accepted = hvrepl_runner_accept;
	options.user = &node;
	ck_assert_int_eq(hvrepl_tls_listen(loop, replica, &options, &listener,
					   NULL),
			 HVREPL_OK);
	add_peer(hvrepl_listener_port(listener), "Replica.Test");
	ck_assert_str_eq(node.peer.name, "replica.test");
	ck_assert_int_eq(node.peer.connect(node.peer.user), HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(node.connected, 2);
	ck_assert_ptr_nonnull(node.channels[0].ops);
	ck_assert_ptr_nonnull(node.channels[1].ops);
	ck_assert_uint_eq(attempts, 1);
	ck_assert_uint_eq(attempt_step, HVREPL_STEP_DONE);
}
END_TEST

START_TEST(a_failed_attempt_is_told_with_its_step)
{
	start_listening("127.0.0.1", 0);
	add_peer(hvrepl_listener_port(listener), "other.test");
	ck_assert_int_eq(node.peer.connect(node.peer.user), HVREPL_OK);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	ck_assert_uint_eq(node.failed, 1);
	ck_assert_int_eq(node.failure, HVREPL_E_UNAUTHENTICATED);
	ck_assert_str_eq(node.failed_peer, "other.test");
	ck_assert_uint_eq(attempt_step, HVREPL_STEP_CERTIFICATE);
}
END_TEST

/* The node goes while an attempt is under way: nobody hears of its end. */
START_TEST(a_peer_that_was_let_go_in_mid_attempt_is_not_told)
{
	start_listening("127.0.0.1", 0);
	add_peer(hvrepl_listener_port(listener), "replica.test");
	ck_assert_int_eq(node.peer.connect(node.peer.user), HVREPL_OK);
	node.peer.release(node.peer.user);
	node.peer.release = NULL;
	await(1); /* The listener's side. */
	hvrepl_loop_destroy(loop);
	listener = NULL;
	runner = NULL;
	ck_assert_uint_eq(node.connected + node.failed + attempts, 0);
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}
END_TEST

static void receive_ended(struct hvrepl_op *op, int32_t result)
{
	(void)op;
	ck_assert_int_eq(result, HVREPL_OK);
	hvrepl_loop_stop(loop);
}

/* Its peer has closed. */
static void check_end_of_server(void)
{
	struct hvrepl_op op = { .complete = receive_ended };
	uint8_t byte;
	size_t got = 1;
	int32_t rc = server.channel.ops->receive(server.channel.user, &op,
						 &byte, 1, &got);

	if (rc == HVREPL_PENDING)
		rc = hvrepl_loop_run(loop);
	ck_assert_int_eq(rc, HVREPL_OK);
	ck_assert_uint_eq(got, 0);
	server.channel.release(server.channel.user);
	server.channel.ops = NULL;
}

/* A good one and one that failed: the channel goes too, and the node is not called. */
START_TEST(a_peer_that_is_let_go_as_its_attempt_is_told_hears_nothing_more)
{
	static const char *const names[] = { "replica.test", "other.test" };

	start_listening("127.0.0.1", 0);
	let_go_within = true;
	for (unsigned i = 0; i < 2; i++) {
		memset(&server, 0, sizeof(server));
		add_peer(hvrepl_listener_port(listener), names[i]);
		ck_assert_int_eq(node.peer.connect(node.peer.user), HVREPL_OK);
		while (attempts == 0 || server.settled == 0) {
			awaited = 1;
			ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
		}
		awaited = 0;
		ck_assert_uint_eq(attempts, 1);
		ck_assert_uint_eq(node.connected + node.failed, 0);
		/* What had come up is closed. */
		if (i == 0)
			check_end_of_server();
	}
	let_go_within = false;
}
END_TEST

static atomic_bool runs_now;

static void note_running(void *argument)
{
	(void)argument;
	atomic_store(&runs_now, true);
}

static void *run_the_loop(void *argument)
{
	(void)argument;
	(void)hvrepl_loop_run(loop);
	return NULL;
}

/* Refused as it says, and with nothing begun: neither the node's end, nor a timer that
 * would stop the loop of whoever runs it. */
START_TEST(waiting_beside_a_loop_that_runs_elsewhere_changes_nothing)
{
	pthread_t thread;

	atomic_store(&runs_now, false);
	ck_assert_int_eq(hvrepl_loop_post(loop, note_running, NULL), HVREPL_OK);
	pthread_create(&thread, NULL, run_the_loop, NULL);
	while (!atomic_load(&runs_now))
		sched_yield();
	ck_assert_int_eq(hvrepl_runner_wait_job(runner, 7, 1, NULL),
			 HVREPL_E_STATE);
	ck_assert_int_eq(hvrepl_runner_close_node(runner, 1), HVREPL_E_STATE);
	hvrepl_loop_stop(loop);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(node.close_calls, 0);
	ck_assert_int_eq(hvrepl_runner_close_node(runner, 30 * SECOND),
			 HVREPL_OK);
	ck_assert_uint_eq(node.close_calls, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("runner");
	TCase *tc = tcase_create("node on a loop");

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, run_setup, run_teardown);
	tcase_add_test(tc, a_job_is_waited_for_and_its_result_is_given);
	tcase_add_test(tc, only_the_last_jobs_are_remembered);
	tcase_add_test(tc, closing_waits_until_the_node_is_closed);
	tcase_add_test(tc, a_wake_has_the_node_processed);
	tcase_add_test(tc, a_peer_is_dialled_and_both_nodes_get_channels);
	tcase_add_test(tc, a_failed_attempt_is_told_with_its_step);
	tcase_add_test(tc, a_peer_that_was_let_go_in_mid_attempt_is_not_told);
	tcase_add_test(
		tc,
		a_peer_that_is_let_go_as_its_attempt_is_told_hears_nothing_more);
	tcase_add_test(
		tc, waiting_beside_a_loop_that_runs_elsewhere_changes_nothing);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
