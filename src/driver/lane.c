/* SPDX-License-Identifier: Apache-2.0 */
/* Serial data jobs on the application's executor. */
#include "driver/lane.h"

void hvri_lane_init(struct hvri_lane *lane, const struct hvri_env *env,
		    struct hvri_queue *home)
{
	lane->env = env;
	lane->home = home;
	hvri_mutex_init(&lane->mutex);
	lane->first = NULL;
	lane->last = &lane->first;
	lane->running = false;
	lane->pending = 0;
}

void hvri_lane_free(struct hvri_lane *lane)
{
	hvri_mutex_destroy(&lane->mutex);
}

static void run_one(void *argument);

static void run_here(struct hvri_item *item)
{
	run_one(item); /* `self` is the first member of its lane. */
}

static void next_turn(struct hvri_lane *lane)
{
	const struct hvrepl_env *app = &lane->env->app;

	if (app->execute != NULL &&
	    app->execute(app->user, run_one, lane) >= 0)
		return;
	lane->self.run = run_here;
	hvri_queue_put(lane->home, &lane->self);
}

static void append(struct hvri_lane *lane, struct hvri_lane_job *job)
{
	job->next = NULL;
	*lane->last = job;
	lane->last = &job->next;
}

/* The lane ran out of work with this job, and rests once it is home: not before,
 * or another thread could bring home the one after it first. */
static void rest(struct hvri_lane *lane)
{
	bool more;

	hvri_lock(&lane->mutex);
	more = lane->first != NULL;
	lane->running = more;
	hvri_unlock(&lane->mutex);
	if (more)
		next_turn(lane);
}

static void job_done(struct hvri_item *item)
{
	struct hvri_lane_job *job = (struct hvri_lane_job *)item;

	job->lane->pending--;
	if (job->was_last)
		rest(job->lane);
	job->done(job); /* May end the lane. */
}

/* One job per call of the executor, so that lanes share its threads. */
static void run_one(void *argument)
{
	struct hvri_lane *lane = argument;
	struct hvri_lane_job *job;
	bool again, more;

	hvri_lock(&lane->mutex);
	job = lane->first;
	lane->first = job->next;
	if (lane->first == NULL)
		lane->last = &lane->first;
	hvri_unlock(&lane->mutex);

	again = job->work(job);

	hvri_lock(&lane->mutex);
	if (again)
		append(lane, job);
	more = lane->first != NULL;
	hvri_unlock(&lane->mutex);
	job->was_last = !more;
	/* Nothing of the lane is touched after the last put: the control thread
	 * may free it then. */
	if (!again)
		hvri_queue_put(lane->home, &job->item);
	if (more)
		next_turn(lane);
}

void hvri_lane_submit(struct hvri_lane *lane, struct hvri_lane_job *job)
{
	bool start;

	job->lane = lane;
	job->item.run = job_done;
	lane->pending++;
	hvri_lock(&lane->mutex);
	append(lane, job);
	start = !lane->running;
	lane->running = true;
	hvri_unlock(&lane->mutex);
	if (start)
		next_turn(lane);
}
