/* SPDX-License-Identifier: Apache-2.0 */
/* The cut group: its members, and the pump that serves them. */
#include "tracker/internal.h"

#include <string.h>

#define SPOOL_MEMORY (UINT64_C(64) << 20)
#define SPILL_LIMIT (UINT64_C(1) << 30)
#define WRITE_WAIT_NS UINT64_C(50000000)
#define COOL_AFTER_NS UINT64_C(10000000000)
#define LEAVES_MAX 8192u
#define LEAVES_SPARE 16u
#define MIDS_SPARE 2u

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
	return value != 0 ? value : fallback;
}

/* Spill objects of a process that was killed. */
struct remains {
	size_t prefix; /* Length. */
	char id[64][HVREPL_OBJECT_ID_MAX + 1];
	uint32_t count;
};

/* The prefix, a dash, the 32 digits of a cut's id: nothing else is ours, least
 * of all a tracker file whose name begins like that. */
static bool is_spill(const char *id, size_t prefix)
{
	return strlen(id) == prefix + 33 && id[prefix] == '-' &&
	       strspn(id + prefix + 1, "0123456789abcdef") == 32;
}

static int32_t remains_found(void *argument, const char *id, uint64_t size)
{
	struct remains *remains = argument;

	(void)size;
	if (remains->count < HVRI_ARRAY_LEN(remains->id) &&
	    is_spill(id, remains->prefix))
		memcpy(remains->id[remains->count++], id, strlen(id) + 1);
	return HVREPL_OK;
}

static int32_t remove_remains(struct hvrepl_group *group)
{
	struct remains *remains = hvri_alloc(&group->env, sizeof(*remains));
	int32_t rc;

	if (remains == NULL)
		return HVREPL_E_NOMEM;
	remains->prefix = strlen(group->spill_prefix);
	do {
		remains->count = 0;
		rc = hvri_storage_list(&group->spill, group->spill_prefix,
				       remains_found, remains);
		for (uint32_t i = 0; rc == HVREPL_OK && i < remains->count; i++)
			rc = hvri_storage_remove(&group->spill, remains->id[i]);
	} while (rc == HVREPL_OK && remains->count > 0);
	hvri_free(&group->env, remains, sizeof(*remains));
	return rc;
}

static int32_t take_options(struct hvrepl_group *group,
			    const struct hvrepl_group_options *options,
			    struct hvrepl_error *error)
{
	const char *prefix = options->spill_prefix != NULL ?
				     options->spill_prefix :
				     "spool";

	/* First: it is taken, also where the rest is wrong. */
	if (options->spill != NULL) {
		HVRI_TRY(hvri_storage_take(&group->spill, options->spill,
					   error));
		group->has_spill = true;
	}
	group->level = options->level == 0 ? 1 :
		       options->level == HVREPL_LEVEL_STORE ?
					     0 :
					     options->level;
	group->spool_memory = or_default(options->spool_memory, SPOOL_MEMORY);
	group->spill_limit = or_default(options->spill_limit, SPILL_LIMIT);
	group->write_wait = or_default(options->write_wait_ns, WRITE_WAIT_NS);
	group->cool_after = or_default(options->cool_after_ns, COOL_AFTER_NS);
	group->wake = options->wake;
	group->wake_user = options->wake_user;
	if (group->level < -7 || group->level > 19)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "the group's level must be -7 to 19, or "
				 "HVREPL_LEVEL_STORE");
	if (strlen(prefix) == 0 || strlen(prefix) >= 24 || prefix[0] == '.')
		return hvri_fail(error, HVREPL_E_INVALID,
				 "spill_prefix must be 1 to 23 characters and "
				 "not start with '.'");
	memcpy(group->spill_prefix, prefix, strlen(prefix) + 1);
	if (!group->has_spill)
		return HVREPL_OK;
	return hvri_fail_plain(error, remove_remains(group));
}

int32_t hvri_group_create(const struct hvri_env *env,
			  const struct hvrepl_group_options *options,
			  struct hvrepl_error *error, hvrepl_group **group_out)
{
	struct hvrepl_group *group = hvri_alloc_io(env, sizeof(*group));
	int32_t rc;

	if (group == NULL) {
		/* Taken all the same. */
		if (options->spill != NULL && options->spill->release != NULL)
			options->spill->release(options->spill->user);
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	}
	memset(group, 0, sizeof(*group));
	group->env = *env;
	hvri_mutex_init(&group->mutex);
	hvri_mutex_init(&group->service);
	group->service_last = &group->service_first;
	group->cuts_last = &group->cuts;
	atomic_store(&group->word, 2 * HVRI_WORD_STEP);
	hvri_page_pool_init(&group->pages, env);
	atomic_store(&group->timer_at, UINT64_MAX);
	rc = take_options(group, options, error);
	if (rc < 0) {
		(void)hvri_group_destroy(group);
		return rc;
	}
	*group_out = group;
	return HVREPL_OK;
}

int32_t hvri_group_destroy(hvrepl_group *group)
{
	struct hvri_env env;

	if (group->tracker_count > 0 || group->cuts != NULL ||
	    atomic_load(&group->jobs) > 0)
		return HVREPL_E_BUSY;
	if (group->has_spill)
		hvri_storage_drop(&group->spill);
	hvri_page_pool_free(&group->pages);
	hvri_free(&group->env, group->trackers,
		  group->tracker_capacity * sizeof(*group->trackers));
	hvri_mutex_destroy(&group->mutex);
	hvri_mutex_destroy(&group->service);
	env = group->env;
	hvri_free(&env, group, sizeof(*group));
	return HVREPL_OK;
}

void hvri_group_refill(struct hvrepl_group *group)
{
	uint64_t hot = atomic_load(&group->hot);

	if (hvri_page_pool_fill(&group->pages,
				HVRI_MIN(hot, LEAVES_MAX) + LEAVES_SPARE,
				MIDS_SPARE) < 0)
		hvri_log(&group->env, HVREPL_LOG_WARNING,
			 "no memory for the change map: it gets coarser");
}

static void pump_job(void *argument)
{
	struct hvrepl_group *group = argument;

	/* Cleared first: what comes from here on makes another job, so that
	 * one that hangs in a callback does not hold up the rest. */
	atomic_store(&group->scheduled, 0);
	hvri_group_process(group);
	(void)atomic_fetch_sub(&group->jobs, 1);
}

/* Nobody else runs the pump: this thread does, one at a time. */
static void pump_here(struct hvrepl_group *group)
{
	uint32_t seen;

	if (atomic_fetch_add(&group->scheduled, 1) != 0)
		return;
	do {
		seen = atomic_load(&group->scheduled);
		hvri_group_process(group);
	} while (!atomic_compare_exchange_strong(&group->scheduled, &seen, 0));
}

void hvri_group_kick(struct hvrepl_group *group)
{
	if (group->wake != NULL)
		group->wake(group->wake_user);
	if (group->env.app.execute != NULL) {
		if (atomic_exchange(&group->scheduled, 1) != 0)
			return;
		(void)atomic_fetch_add(&group->jobs, 1);
		hvri_execute(&group->env, pump_job, group);
	} else if (group->wake == NULL) {
		pump_here(group);
	}
}

void hvri_tracker_kick(struct hvrepl_tracker *tracker)
{
	struct hvrepl_group *group = tracker->group;

	hvri_lock(&group->service);
	if (!tracker->queued) {
		tracker->queued = true;
		tracker->service_next = NULL;
		*group->service_last = tracker;
		group->service_last = &tracker->service_next;
		(void)atomic_fetch_add(&tracker->users, 1);
	}
	hvri_unlock(&group->service);
	hvri_group_kick(group);
}

void hvri_tracker_ref(struct hvrepl_tracker *tracker)
{
	(void)atomic_fetch_add(&tracker->users, 1);
}

void hvri_tracker_unref(struct hvrepl_tracker *tracker)
{
	/* Under the lock: detach frees the tracker once it sees zero. */
	hvri_lock(&tracker->mutex);
	if (atomic_fetch_sub(&tracker->users, 1) == 1)
		hvri_wake_all(&tracker->cond);
	hvri_unlock(&tracker->mutex);
}

static struct hvrepl_tracker *next_queued(struct hvrepl_group *group)
{
	struct hvrepl_tracker *tracker;

	hvri_lock(&group->service);
	tracker = group->service_first;
	if (tracker != NULL) {
		group->service_first = tracker->service_next;
		if (group->service_first == NULL)
			group->service_last = &group->service_first;
		tracker->queued = false; /* Its reference is ours now. */
	}
	hvri_unlock(&group->service);
	return tracker;
}

void hvri_tracker_forget(struct hvrepl_tracker *tracker)
{
	struct hvrepl_group *group = tracker->group;
	struct hvrepl_tracker **link = &group->service_first;
	bool found;

	hvri_lock(&group->service);
	found = tracker->queued;
	while (found && *link != tracker)
		link = &(*link)->service_next;
	if (found) {
		*link = tracker->service_next;
		if (group->service_last == &tracker->service_next)
			group->service_last = link;
		tracker->queued = false;
	}
	hvri_unlock(&group->service);
	if (found)
		hvri_tracker_unref(tracker);
}

static void serve(struct hvrepl_tracker *tracker)
{
	hvri_trust_serve(tracker);
	hvri_marks_serve(tracker);
	hvri_waiters_serve(tracker);
	while (hvri_copies_serve(tracker))
		;
	hvri_cool_serve(tracker);
}

/* Waits that are over. The first expired OWED wait of a cut voids it (T3). */
static void serve_timers(struct hvrepl_tracker *tracker, uint64_t now)
{
	struct hvri_member *open = NULL;
	bool mark = false;

	if (atomic_load(&tracker->waiting_count) > 0) {
		struct hvrepl_cut *voids = NULL;

		hvri_lock(&tracker->mutex);
		open = tracker->open;
		for (struct hvrepl_ticket *t = tracker->waiting; t != NULL;
		     t = hvri_wait_of(t)->next) {
			struct hvri_wait *wait = hvri_wait_of(t);

			if (wait->deadline > now)
				continue;
			if (wait->reason == HVRI_WAIT_MARK)
				mark = true;
			else if (wait->kind != HVREPL_WRITE_DISCARD &&
				 open != NULL)
				voids = open->cut;
		}
		if (voids != NULL)
			hvri_cut_ref(voids);
		hvri_unlock(&tracker->mutex);
		if (voids != NULL) {
			hvri_cut_fail(voids, HVREPL_E_TIMEOUT);
			hvri_cut_unref(voids);
		}
		/* A discard is a hint: better dropped than a point lost. */
		hvri_waiters_fail(tracker, HVRI_WAIT_OWED, now, HVREPL_E_BUSY);
		if (mark)
			hvri_trust_lose(tracker, now, HVREPL_E_TIMEOUT);
	}
	hvri_trust_serve(tracker);
	hvri_cool_serve(tracker);
	hvri_waiters_serve(tracker);
}

static uint64_t tracker_due(struct hvrepl_tracker *tracker)
{
	uint64_t due = UINT64_MAX;

	hvri_lock(&tracker->mutex);
	if (atomic_load(&tracker->waiting_count) > 0)
		for (struct hvrepl_ticket *t = tracker->waiting; t != NULL;
		     t = hvri_wait_of(t)->next)
			/* Past its deadline a mark waits for the answer. */
			if (hvri_wait_of(t)->reason != HVRI_WAIT_MARK ||
			    atomic_load(&tracker->trust_state) ==
				    HVRI_TRUST_IDLE)
				due = HVRI_MIN(due, hvri_wait_of(t)->deadline);
	due = HVRI_MIN(due, hvri_cool_deadline(tracker));
	hvri_unlock(&tracker->mutex);
	if (atomic_load(&tracker->untrusted))
		due = HVRI_MIN(due, atomic_load(&tracker->retry_at));
	return due;
}

void hvri_timer_set(struct hvrepl_group *group, uint64_t at)
{
	uint64_t was = atomic_load(&group->timer_at);

	while (at < was &&
	       !atomic_compare_exchange_weak(&group->timer_at, &was, at))
		;
}

/* The i-th tracker, referenced. */
static struct hvrepl_tracker *member(struct hvrepl_group *group, size_t i)
{
	struct hvrepl_tracker *tracker = NULL;

	hvri_lock(&group->mutex);
	if (i < group->tracker_count) {
		tracker = group->trackers[i];
		hvri_tracker_ref(tracker);
	}
	hvri_unlock(&group->mutex);
	return tracker;
}

void hvri_group_process(hvrepl_group *group)
{
	struct hvrepl_tracker *tracker;
	uint64_t now;

	if (atomic_load_explicit(&group->pages.low, memory_order_relaxed))
		hvri_group_refill(group);
	/* Deadlines first: this may be the only call that does not hang. */
	now = hvri_now(&group->env);
	if (atomic_load(&group->timer_at) <= now) {
		/* What is set from here on stays set. */
		atomic_store(&group->timer_at, UINT64_MAX);
		for (size_t i = 0; (tracker = member(group, i)) != NULL; i++) {
			if (tracker_due(tracker) <= now)
				serve_timers(tracker, now);
			hvri_timer_set(group, tracker_due(tracker));
			hvri_tracker_unref(tracker);
		}
	}
	while ((tracker = next_queued(group)) != NULL) {
		serve(tracker);
		hvri_tracker_unref(tracker);
	}
	hvri_cut_clean(group);
}

/* When the first write that waits for a mark on a tracker falls due; UINT64_MAX:
 * none waits. */
static uint64_t mark_due(struct hvrepl_tracker *tracker)
{
	uint64_t due = UINT64_MAX;

	if (atomic_load(&tracker->waiting_count) == 0)
		return due;
	hvri_lock(&tracker->mutex);
	for (struct hvrepl_ticket *t = tracker->waiting; t != NULL;
	     t = hvri_wait_of(t)->next)
		if (hvri_wait_of(t)->reason == HVRI_WAIT_MARK)
			due = HVRI_MIN(due, hvri_wait_of(t)->deadline);
	hvri_unlock(&tracker->mutex);
	return due;
}

uint64_t hvri_group_hurry(hvrepl_group *group, uint64_t up_to)
{
	struct hvrepl_tracker *tracker;
	uint64_t due = UINT64_MAX;

	for (size_t i = 0; (tracker = member(group, i)) != NULL; i++) {
		if (mark_due(tracker) <= up_to) {
			hvri_trust_lose(tracker, up_to, HVREPL_E_TIMEOUT);
			hvri_trust_take(tracker);
			hvri_waiters_serve(tracker);
		}
		due = HVRI_MIN(due, mark_due(tracker));
		hvri_tracker_unref(tracker);
	}
	return due;
}

uint64_t hvri_group_deadline(hvrepl_group *group)
{
	bool queued;

	hvri_lock(&group->service);
	queued = group->service_first != NULL;
	hvri_unlock(&group->service);
	return queued ? 0 : atomic_load(&group->timer_at);
}

void hvri_group_count(hvrepl_group *group, struct hvri_group_counts *out)
{
	*out = (struct hvri_group_counts){
		.memory = atomic_load(&group->memory),
		.spilled = atomic_load(&group->spilled),
		.cuts = atomic_load(&group->cuts_made),
		.missed = atomic_load(&group->missed),
		.voided = atomic_load(&group->voided),
		.folded = atomic_load(&group->folded),
	};
}
