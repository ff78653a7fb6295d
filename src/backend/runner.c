/* SPDX-License-Identifier: Apache-2.0 */
/* Drives a node on a loop and hands its events on. */
#include "backend/loop.h"

#include <hvrepl/backends/node.h>
#include <stdlib.h>
#include <string.h>

#define DONE_KEPT 64u

struct hvrepl_runner {
	hvrepl_loop *loop;
	hvrepl_node *node;
	hvrepl_loop_attachment *attachment;
	hvrepl_loop_timer *timer;
	void (*on_event)(void *user, const struct hvrepl_event *event);
	void *user;
	/* The last jobs that ended: a ring. */
	struct hvrepl_event done[DONE_KEPT];
	uint32_t done_count, done_next;
	uint64_t awaited_job; /* 0: none. */
	bool await_closed, closed, timed_out;
};

void hvrepl_runner_wake(void *loop)
{
	hvrepl_loop_wake(loop);
}

void hvrepl_runner_accept(void *node, const struct hvrepl_channel *channel,
			  const struct hvrepl_connect_result *result)
{
	(void)result;
	/* Taken, also on failure. */
	(void)hvrepl_node_connected(node, channel, 0);
}

static const struct hvrepl_event *find_done(const hvrepl_runner *runner,
					    uint64_t job)
{
	for (uint32_t i = 0; i < runner->done_count; i++)
		if (runner->done[i].job == job)
			return &runner->done[i];
	return NULL;
}

static void note(hvrepl_runner *runner, const struct hvrepl_event *event)
{
	if (event->type == HVREPL_EVENT_JOB_DONE) {
		runner->done[runner->done_next] = *event;
		runner->done_next = (runner->done_next + 1) % DONE_KEPT;
		if (runner->done_count < DONE_KEPT)
			runner->done_count++;
		if (event->job == runner->awaited_job)
			hvrepl_loop_stop(runner->loop);
	} else if (event->type == HVREPL_EVENT_CLOSED) {
		runner->closed = true;
		if (runner->await_closed)
			hvrepl_loop_stop(runner->loop);
	}
}

static int32_t process(void *user, uint32_t budget)
{
	hvrepl_runner *runner = user;
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	int32_t more = hvrepl_node_process(runner->node, budget);

	while (hvrepl_node_next_event(runner->node, &event) > 0) {
		note(runner, &event);
		if (runner->on_event != NULL)
			runner->on_event(runner->user, &event);
		/* on_event() may have destroyed us. */
		if (runner->attachment == NULL)
			break;
		event = (struct hvrepl_event)HVREPL_EVENT_INIT;
	}
	return more;
}

static uint64_t deadline(void *user)
{
	return hvrepl_node_deadline(((hvrepl_runner *)user)->node);
}

static void time_is_up(void *user)
{
	hvrepl_runner *runner = user;

	runner->timed_out = true;
	hvrepl_loop_stop(runner->loop);
}

static void release(void *user)
{
	free(user);
}

int32_t hvrepl_runner_create(hvrepl_loop *loop, hvrepl_node *node,
			     void (*on_event)(void *user,
					      const struct hvrepl_event *event),
			     void *user, hvrepl_runner **runner_out)
{
	struct hvrepl_loop_door door = HVREPL_LOOP_DOOR_INIT;
	hvrepl_runner *runner;
	int32_t rc;

	if (loop == NULL || node == NULL || runner_out == NULL)
		return HVREPL_E_INVALID;
	runner = calloc(1, sizeof(*runner));
	if (runner == NULL)
		return HVREPL_E_NOMEM;
	runner->loop = loop;
	runner->node = node;
	runner->on_event = on_event;
	runner->user = user;
	rc = hvrepl_loop_timer_create(loop, time_is_up, runner, &runner->timer);
	if (rc < 0) {
		free(runner);
		return rc;
	}
	door.user = runner;
	door.process = process;
	door.deadline = deadline;
	door.release = release; /* Also when attaching fails. */
	rc = hvrepl_loop_attach(loop, &door, &runner->attachment);
	if (rc == HVREPL_OK)
		*runner_out = runner;
	return rc;
}

/* Run the loop until the event that is awaited has come. */
static int32_t run(hvrepl_runner *runner, uint64_t timeout_ns)
{
	int32_t rc;

	runner->timed_out = false;
	hvrepl_loop_timer_set(runner->timer,
			      timeout_ns == 0 ? UINT64_MAX :
						hvri_loop_in(timeout_ns));
	rc = hvrepl_loop_run(runner->loop);
	hvrepl_loop_timer_set(runner->timer, UINT64_MAX);
	return rc;
}

static int32_t verdict(const hvrepl_runner *runner, int32_t rc, bool came)
{
	if (rc < 0 || came)
		return rc;
	return runner->timed_out ? HVREPL_E_TIMEOUT : HVREPL_E_CANCELLED;
}

int32_t hvrepl_runner_wait_job(hvrepl_runner *runner, uint64_t job,
			       uint64_t timeout_ns,
			       struct hvrepl_event *done_out)
{
	const struct hvrepl_event *done;
	int32_t rc = HVREPL_OK;

	if (runner == NULL || job == 0)
		return HVREPL_E_INVALID;
	if (hvri_loop_runs(runner->loop))
		return HVREPL_E_STATE;
	done = find_done(runner, job);
	if (done == NULL) {
		runner->awaited_job = job;
		rc = run(runner, timeout_ns);
		runner->awaited_job = 0;
		done = find_done(runner, job);
	}
	rc = verdict(runner, rc, done != NULL);
	if (rc == HVREPL_OK && done_out != NULL) {
		uint32_t size = done_out->struct_size;

		if (size > sizeof(*done))
			size = sizeof(*done);
		memcpy(done_out, done, size);
		if (size >= sizeof(size))
			done_out->struct_size = size;
	}
	return rc;
}

int32_t hvrepl_runner_close_node(hvrepl_runner *runner, uint64_t timeout_ns)
{
	int32_t rc;

	if (runner == NULL)
		return HVREPL_E_INVALID;
	if (hvri_loop_runs(runner->loop))
		return HVREPL_E_STATE;
	if (runner->closed)
		return HVREPL_OK;
	rc = hvrepl_node_close(runner->node);
	if (rc < 0)
		return rc;
	runner->await_closed = true;
	hvrepl_loop_wake(runner->loop);
	rc = run(runner, timeout_ns);
	runner->await_closed = false;
	return verdict(runner, rc, runner->closed);
}

void hvrepl_runner_destroy(hvrepl_runner *runner)
{
	hvrepl_loop_attachment *attachment;

	if (runner == NULL)
		return;
	attachment = runner->attachment;
	runner->attachment = NULL;
	hvrepl_loop_timer_free(runner->timer);
	hvrepl_loop_detach(attachment); /* Frees it between two rounds. */
}
