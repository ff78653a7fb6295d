/* SPDX-License-Identifier: Apache-2.0 */
/* What may happen to the two sites of sites.h, and what operators do then. */
#include "sites.h"

#include "base/env.h"
#include "replication/names.h"

#include <stdlib.h>
#include <string.h>

/* ---- What may happen. ---- */

void sites_connect(struct sites *w)
{
	if (w->session || !w->site[0].up || !w->site[1].up)
		return;
	w->session = true;
	for (uint32_t i = 0; i < 2; i++) {
		struct hvri_event event = { .type = HVRI_EVENT_SESSION_UP };

		sites_feed(w, i, &event);
	}
}

void sites_cut_link(struct sites *w)
{
	if (!w->session)
		return;
	w->session = false;
	while (w->wire_count > 0)
		sites_wire_remove(w, w->wire_count - 1);
	for (uint32_t i = 0; i < 2; i++) {
		struct hvri_event event = { .type = HVRI_EVENT_SESSION_DOWN };

		if (w->site[i].up)
			sites_feed(w, i, &event);
	}
}

void sites_crash(struct sites *w, uint32_t i)
{
	struct one_site *site = &w->site[i];

	sites_trace(w, "%c crashes", site->name);
	site->up = false;
	site->gate = false;
	/* What was cut and not settled is hot after the crash. */
	if (site->cut_open)
		site->dirty |= site->cut_dirty;
	site->cut_open = false;
	site->queue_count = 0;
	memset(site->timers, 0, sizeof(site->timers));
	sites_cut_link(w);
}

/* As a driver finds it (T8): a record of before its store received, and one that takes
 * for handed over what an earlier start has marked as a whole. */
static bool tracking_known(struct one_site *site)
{
	const struct hvri_record *rec = &site->durable;

	if (!site->has_record)
		return true;
	if (rec->form == HVRI_FORM_STORE) {
		if (!rec->adopted || !site->overlay)
			return true;
		/* Forced since: what its end had changed is not known any more. */
		site->overlay = false;
		site->dirty = SITES_ALL;
		return false;
	}
	if (site->untracked) {
		site->dirty = SITES_ALL;
		site->untracked = false;
		return false;
	}
	return site->dirty != SITES_ALL ||
	       (rec->ownership != HVREPL_OWNERSHIP_RELINQUISHED &&
		!hvri_is_handed_over(rec));
}

void sites_start(struct sites *w, uint32_t i)
{
	struct one_site *site = &w->site[i];
	struct hvri_event event;
	struct hvrepl_uuid me = site->r.record.site, vm = site->r.record.vm;

	memset(&event, 0, sizeof(event));
	site->up = true;
	site->told_health = HVREPL_HEALTH_NONE; /* To a process that begins. */
	if (site->has_record)
		hvri_relationship_load(&site->r, &site->durable);
	else
		hvri_relationship_init(&site->r, &me, &vm);
	event.type = HVRI_EVENT_START;
	event.u.start.incarnation = ++w->next_uuid;
	event.u.start.stamped = site->stamped;
	event.u.start.stamp_generation = site->stamp;
	event.u.start.unclean = true;
	event.u.start.doubted = site->changed;
	event.u.start.untrusted = !tracking_known(site);
	site->changed = false;
	event.u.start.frontier = site->frontier;
	if (site->point_count > 0) {
		event.u.start.newest = sites_newest(site)->id;
		event.u.start.has_points = true;
	}
	sites_feed(w, i, &event);
	if (w->session) {
		struct hvri_event up = { .type = HVRI_EVENT_SESSION_UP };

		sites_feed(w, i, &up);
	}
}

void sites_backup(struct sites *w, uint32_t i)
{
	w->site[i].backup = w->site[i].durable;
	w->site[i].has_backup = w->site[i].has_record;
}

void sites_restore(struct sites *w, uint32_t i)
{
	struct one_site *site = &w->site[i];

	if (!site->has_backup || !site->has_record)
		return;
	sites_crash(w, i);
	sites_trace(w, "%c's record is restored from a backup", site->name);
	if (memcmp(&site->durable, &site->backup, sizeof(site->backup)) != 0)
		w->restored = true;
	/* Without contact it cannot know that it was asked to stay fenced. */
	w->only_planned = false;
	site->durable = site->backup;
	sites_start(w, i);
}

void sites_bring_back(struct sites *w, uint32_t i, const struct one_site *then)
{
	struct one_site *site = &w->site[i];

	sites_crash(w, i);
	*site = *then;
	site->gate = site->cut_open = false;
	site->queue_count = 0;
	memset(site->timers, 0, sizeof(site->timers));
	w->restored = true;
	sites_start(w, i);
}

static void complete(struct sites *w, uint32_t i, uint32_t k)
{
	struct one_site *site = &w->site[i];
	struct hvri_event event = site->queue[k].event;

	memmove(&site->queue[k], &site->queue[k + 1],
		(site->queue_count - k - 1) * sizeof(site->queue[0]));
	site->queue_count--;
	sites_feed(w, i, &event);
}

bool sites_any(struct sites *w)
{
	uint32_t n0 = w->site[0].up ? w->site[0].queue_count : 0;
	uint32_t n1 = w->site[1].up ? w->site[1].queue_count : 0;
	uint32_t total = n0 + n1 + w->wire_count;
	uint32_t k;

	if (total == 0)
		return false;
	k = (uint32_t)sites_random(w, total);
	if (k < n0) {
		complete(w, 0, k);
	} else if (k < n0 + n1) {
		complete(w, 1, k - n0);
	} else if (w->hostile) {
		bool again = sites_random(w, 4) == 0;

		sites_deliver(w, k - n0 - n1, again && w->wire_count < 40);
	} else {
		uint8_t to = w->wire[k - n0 - n1].to;

		for (k = 0; w->wire[k].to != to; k++)
			;
		sites_deliver(w, k, false);
	}
	return true;
}

void sites_settle(struct sites *w, uint32_t limit)
{
	while (limit-- > 0) {
		if (w->site[0].up && w->site[0].queue_count > 0)
			complete(w, 0, 0);
		else if (w->site[1].up && w->site[1].queue_count > 0)
			complete(w, 1, 0);
		else if (w->wire_count > 0)
			sites_deliver(w, 0, false);
		else
			return;
	}
}

void sites_wait(struct sites *w, uint64_t ns)
{
	uint64_t end = w->env.now_ns + ns;

	sites_settle(w, 2000);
	for (;;) {
		uint64_t at = UINT64_MAX;
		uint32_t site = 0, timer = 0;

		for (uint32_t i = 0; i < 2; i++)
			for (uint32_t t = 1; t < HVRI_TIMER_COUNT; t++)
				if (w->site[i].up && w->site[i].timers[t] &&
				    w->site[i].timers[t] < at) {
					at = w->site[i].timers[t];
					site = i;
					timer = t;
				}
		if (at > end)
			break;
		if (at > w->env.now_ns) {
			w->utc_ns += at - w->env.now_ns;
			w->env.now_ns = at;
		}
		w->site[site].timers[timer] = 0;
		{
			struct hvri_event event = {
				.type = HVRI_EVENT_TIMER,
			};

			event.u.timer = timer;
			sites_feed(w, site, &event);
		}
		sites_settle(w, 2000);
	}
	w->utc_ns += end - w->env.now_ns;
	w->env.now_ns = end;
}

int32_t sites_operate(struct sites *w, uint32_t i, uint32_t operation,
		      uint64_t point, const struct hvrepl_uuid *epoch)
{
	static struct hvri_setup setup;
	struct one_site *site = &w->site[i];
	struct hvri_event event;
	struct hvri_operator *op = &event.u.operation;

	if (!site->up)
		return HVREPL_E_UNAVAILABLE;
	memset(&event, 0, sizeof(event));
	event.type = HVRI_EVENT_OPERATION;
	op->authorised = 0x3f;
	op->operation = operation;
	op->job = ++w->next_uuid;
	op->point = point;
	for (uint32_t k = 0; k < site->point_count; k++)
		if (point == 0 || site->points[k].id.number == point)
			op->resolved = site->points[k].id;
	if (epoch)
		op->epoch = *epoch;
	if (operation == HVREPL_OPERATION_ENABLE) {
		memset(&setup, 0, sizeof(setup));
		setup.vm = site->r.record.vm;
		strcpy(setup.vm_name, "web");
		setup.policy.cycle_ns = 1000000000;
		setup.policy.window_bytes = 5 * SITES_BLOCK;
		setup.disk_count = 1;
		setup.disks[0].size = SITES_BLOCKS * SITES_BLOCK;
		setup.disks[0].block_size = SITES_BLOCK;
		setup.disks[0].id = sites_fresh(w);
		op->setup = &setup;
		op->peer = w->site[!i].r.record.site;
	}
	if (operation == HVREPL_OPERATION_UNPLANNED ||
	    operation == HVREPL_OPERATION_CHANGE_POINT ||
	    operation == HVREPL_OPERATION_FORCE ||
	    operation == HVREPL_OPERATION_REMOVE)
		w->only_planned = false;
	sites_trace(w, "%c: %s", site->name, hvri_operation_name(operation));
	site->last_job = op->job;
	site->refusal = HVREPL_OK;
	sites_feed(w, i, &event);
	if (site->refusal != HVREPL_OK)
		sites_trace(w, "  refused: %s", site->last_sentence);
	return site->refusal;
}

uint32_t sites_state(struct sites *w, uint32_t i)
{
	return hvri_relationship_state(&w->site[i].r);
}

void sites_init(struct sites *w, uint64_t seed)
{
	struct hvrepl_uuid vm;

	memset(w, 0, sizeof(*w));
	test_env_init(&w->env, seed);
	w->env.now_ns = 1000;
	w->utc_ns = UINT64_C(1700000000000000000);
	w->random = seed * 2654435761u + 88172645463325252u;
	w->only_planned = true;
	w->points_max = 8;
	vm = sites_fresh(w);
	for (uint32_t i = 0; i < 2; i++) {
		struct hvrepl_uuid site = sites_fresh(w);

		w->site[i].name = (char)('A' + i);
		hvri_relationship_init(&w->site[i].r, &site, &vm);
		sites_start(w, i);
	}
	w->site[0].gate = true;
	for (int k = 0; k < 5; k++)
		w->site[0].live[sites_random(w, SITES_BLOCKS)] =
			(uint32_t)++w->next_write;
	w->site[0].gate = false;
}

void sites_free(struct sites *w)
{
	while (w->wire_count > 0)
		sites_wire_remove(w, w->wire_count - 1);
}

void sites_replicating(struct sites *w)
{
	sites_connect(w);
	sites_operate(w, 0, HVREPL_OPERATION_ENABLE, 0, NULL);
	sites_settle(w, 1000);
	sites_operate(w, 0, HVREPL_OPERATION_START_INITIAL, 0, NULL);
	sites_settle(w, 1000);
	sites_write(w, 0);
	sites_wait(w, UINT64_C(3500000000));
	if (sites_state(w, 0) != HVREPL_STATE_REPLICATING ||
	    sites_state(w, 1) != HVREPL_STATE_REPLICATING)
		sites_broken(w, "does not come to replicate");
}

bool sites_is_replicating(struct sites *w)
{
	struct one_site *a = &w->site[0], *b = &w->site[1], *owner;

	if (sites_state(w, 0) != HVREPL_STATE_REPLICATING ||
	    sites_state(w, 1) != HVREPL_STATE_REPLICATING)
		return false;
	owner = a->r.record.ownership == HVREPL_OWNERSHIP_OWNER ? a : b;
	if (!sites_write(w, owner == b))
		return false;
	sites_wait(w, UINT64_C(3000000000));
	return sites_newest(owner == a ? b : a) &&
	       memcmp(sites_newest(owner == a ? b : a)->content,
		      sites_content(owner), sizeof(a->live)) == 0;
}

static bool operator_at(struct sites *w, uint32_t i)
{
	struct one_site *site = &w->site[i];
	struct hvri_relationship *r = &site->r;
	uint32_t own = hvri_relationship_ownership(r);
	uint32_t state = sites_state(w, i);
	uint32_t op = 0;
	const struct hvrepl_uuid *epoch = NULL;

	if (own == HVREPL_OWNERSHIP_DIVERGED &&
	    state == HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
		op = HVREPL_OPERATION_COMMIT;
	else if (own == HVREPL_OWNERSHIP_DIVERGED) {
		/* Both discard: settled by conceding at one. */
		op = HVREPL_OPERATION_DISCARD;
		epoch = &r->record.verdict_peer;
		if (!hvri_uuid_is_none(&r->record.discard_loser) && i == 0)
			return false;
		if (!hvri_uuid_is_none(&r->record.discard_loser)) {
			epoch = &r->record.current;
			w->conceded = true;
		}
	} else if (state == HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
		op = HVREPL_OPERATION_COMMIT;
	else if (state == HVREPL_STATE_FAILED_OVER)
		op = HVREPL_OPERATION_REVERSE;
	else if (state == HVREPL_STATE_WAITING_FOR_RESYNC ||
		 (state == HVREPL_STATE_RESYNCHRONIZING && !r->peer_ready))
		op = state == HVREPL_STATE_RESYNCHRONIZING &&
				     r->record.job.id != 0 ?
			     HVREPL_OPERATION_CANCEL :
			     HVREPL_OPERATION_RESYNC;
	else if (state == HVREPL_STATE_SUSPENDED ||
		 state == HVREPL_STATE_RESYNC_SUSPENDED ||
		 (state == HVREPL_STATE_ERROR &&
		  own != HVREPL_OWNERSHIP_SUPERSEDED))
		op = HVREPL_OPERATION_RESUME;
	else if (state == HVREPL_STATE_READY_FOR_INITIAL)
		op = HVREPL_OPERATION_START_INITIAL;
	else if (state == HVREPL_STATE_PREPARED_FOR_FAILOVER)
		op = HVREPL_OPERATION_CANCEL;
	if (op == 0)
		return false;
	return sites_operate(w, i, op, 0, epoch) == HVREPL_OK;
}

bool sites_operator(struct sites *w)
{
	/* Enabled at both sites, by mistake. */
	if (w->site[0].r.refusing && w->site[1].r.refusing)
		return sites_operate(
			       w, 1,
			       sites_state(w, 1) ==
					       HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION ?
				       HVREPL_OPERATION_COMMIT :
				       HVREPL_OPERATION_REMOVE,
			       0, NULL) == HVREPL_OK;
	if (operator_at(w, 0) || operator_at(w, 1))
		return true;
	/* Removed at one site: a standby left over is removed too. */
	for (uint32_t i = 0; i < 2; i++)
		if (w->site[i].r.record.mode == HVREPL_MODE_NONE &&
		    w->site[!i].r.record.mode != HVREPL_MODE_NONE)
			return sites_operate(w, !i, HVREPL_OPERATION_REMOVE, 0,
					     NULL) == HVREPL_OK ||
			       sites_operate(w, !i, HVREPL_OPERATION_FORCE, 0,
					     NULL) == HVREPL_OK;
	/* Nobody can be reversed to: somebody must be forced. */
	for (uint32_t i = 0; i < 2; i++)
		if (w->site[i].r.record.ownership ==
			    HVREPL_OWNERSHIP_SUPERSEDED &&
		    w->site[!i].r.record.ownership !=
			    HVREPL_OWNERSHIP_OWNER &&
		    w->site[!i].r.record.ownership !=
			    HVREPL_OWNERSHIP_DIVERGED)
			return sites_operate(w, i, HVREPL_OPERATION_FORCE, 0,
					     NULL) == HVREPL_OK;
	for (uint32_t i = 0; i < 2; i++)
		if (w->site[i].r.record.mode == HVREPL_MODE_NONE &&
		    w->site[!i].r.record.mode == HVREPL_MODE_NONE && i == 0)
			return sites_operate(w, i, HVREPL_OPERATION_ENABLE, 0,
					     NULL) == HVREPL_OK;
	return false;
}

void sites_trace_state(struct sites *w)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct one_site *site = &w->site[i];

		sites_trace(w, "%c = %s %s %s%s%s", site->name,
			    hvri_mode_name(site->r.record.mode),
			    hvri_state_name(sites_state(w, i)),
			    hvri_ownership_name(
				    hvri_relationship_ownership(&site->r)),
			    site->gate ? " writes" : "",
			    site->up ? "" : " down");
	}
}

struct hvri_message sites_message_to(const struct sites *w, uint32_t site,
				     uint32_t type)
{
	struct hvri_message m;

	memset(&m, 0, sizeof(m));
	m.type = type;
	m.from_incarnation = w->site[!site].r.incarnation;
	m.to_incarnation = w->site[site].r.incarnation;
	return m;
}

void sites_step(struct sites *w, uint32_t site, const struct hvri_message *m,
		uint32_t verbs, struct hvri_update *update_out)
{
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_MESSAGE;
	e.now_ns = w->env.now_ns;
	e.u.message.message = m;
	e.u.message.authorised = verbs;
	for (int i = 0; i < 3; i++)
		e.fresh[i] = sites_fresh(w);
	memset(update_out, 0xa5, sizeof(*update_out));
	hvri_relationship_step(&w->site[site].r, &e, update_out);
}
