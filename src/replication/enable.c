/* SPDX-License-Identifier: Apache-2.0 */
/* A relationship begins, starts again after a restart, and ends. */
#include "replication/internal.h"

#include "base/plant.h"

#include <hvrepl/store.h>

#include <string.h>

#define START_WAIT_DEFAULT (10 * HVRI_SECOND)
#define CYCLE_DEFAULT (30 * HVRI_SECOND)
#define BLOCK_MAX (UINT32_C(1) << 20)

static void take_setup(struct hvri_record *rec, const struct hvri_setup *setup)
{
	memcpy(rec->vm_name, setup->vm_name, sizeof(rec->vm_name));
	rec->policy = setup->policy;
	if (rec->policy.cycle_ns == 0)
		rec->policy.cycle_ns = CYCLE_DEFAULT;
	rec->disk_count = setup->disk_count;
	memcpy(rec->disks, setup->disks, sizeof(rec->disks));
}

/* Disks that are told apart, and whose blocks windows can end between. */
static bool has_sound_disks(const struct hvri_setup *setup)
{
	for (uint32_t i = 0; i < setup->disk_count; i++) {
		uint32_t block = setup->disks[i].block_size;

		if (hvri_uuid_is_none(&setup->disks[i].id) || block == 0 ||
		    block > BLOCK_MAX || (block & (block - 1)) != 0)
			return false;
		for (uint32_t k = 0; k < i; k++)
			if (hvri_uuid_equal(&setup->disks[k].id,
					    &setup->disks[i].id))
				return false;
	}
	return true;
}

/* Of a peer's policy no more than an operator here could say. That it fences who
 * writes where both do is for the site itself to say. */
static void bound_policy(struct hvri_policy *policy)
{
	policy->cycle_ns = HVRI_MIN(HVRI_MAX(policy->cycle_ns, HVRI_CYCLE_MIN_NS),
				    HVRI_CYCLE_MAX_NS);
	policy->start_wait_ns = HVRI_MIN(policy->start_wait_ns, HVRI_CYCLE_MAX_NS);
	policy->points_max = HVRI_MIN(policy->points_max, HVREPL_POINTS_MAX);
	policy->fence_diverged = false;
}

/* ---- The primary. ---- */

int32_t hvri_enable(struct hvri_step *s, const struct hvri_operator *op)
{
	struct hvri_record *rec = s->rec;
	struct hvri_epoch root;

	if (op->setup == NULL || op->setup->disk_count == 0 ||
	    op->setup->disk_count > HVRI_DISKS_MAX ||
	    hvri_uuid_is_none(&op->peer) ||
	    hvri_uuid_equal(&op->peer, &rec->site))
		return HVREPL_E_INVALID;
	take_setup(rec, op->setup);
	rec->id = hvri_fresh(s);
	rec->generation = 1;
	rec->peer = op->peer;
	rec->mode = HVREPL_MODE_PRIMARY;
	rec->phase = HVRI_PHASE_READY;
	rec->form = HVRI_FORM_LIVE;
	rec->ownership = HVREPL_OWNERSHIP_OWNER;
	rec->point_reserved = 1;
	memset(&root, 0, sizeof(root));
	root.id = hvri_fresh(s);
	root.owner = rec->site;
	root.ordinal = 1;
	root.outcome = HVREPL_OUTCOME_COMMITTED;
	root.entered = true;
	HVRI_TRY(hvri_lineage_add(&rec->lineage, &root));
	rec->current = root.id;
	s->r->next_point = 1;
	hvri_job_begin(s, HVREPL_OPERATION_ENABLE, op->job, false);
	hvri_touch(s);
	hvri_send_enable(s);
	return HVREPL_OK;
}

void hvri_send_enable(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_message *m;

	if (!r->session)
		return;
	hvri_build_claim(r, &r->claim_out);
	hvri_build_setup(s->rec, &r->setup_out);
	m = hvri_send(s, HVRI_MESSAGE_ENABLE);
	m->claim = &r->claim_out;
	m->setup = &r->setup_out;
}

void hvri_on_enabled(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	if (rec->mode == HVREPL_MODE_NONE || rec->peer_enabled)
		return;
	s->say_hello = true;
	rec->peer_enabled = true;
	hvri_save(s);
	if (hvri_job_is(s, HVREPL_OPERATION_ENABLE))
		hvri_job_end(s, HVREPL_OK, "enabled; start initial replication "
					   "when ready");
	else if (hvri_job_is(s, HVREPL_OPERATION_START_INITIAL) ||
		 rec->phase == HVRI_PHASE_JOIN)
		hvri_start_initial(s);
}

/* The peer has no such relationship: lost, or removed there. */
void hvri_on_unknown(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;
	bool asked = hvri_job_is(s, HVREPL_OPERATION_ENABLE) ||
		     hvri_job_is(s, HVREPL_OPERATION_START_INITIAL) ||
		     rec->phase == HVRI_PHASE_JOIN;

	if (!s->r->session || rec->mode == HVREPL_MODE_NONE ||
	    rec->phase == HVRI_PHASE_REMOVED)
		return;
	s->r->greeted = false;
	s->r->peer_ready = false;
	if (rec->peer_enabled) {
		rec->peer_enabled = false;
		hvri_save(s);
	}
	hvri_job_end_id(s, s->r->cancel_job, HVREPL_E_NOT_FOUND,
			"the other site does not know the VM any more: force, "
			"or remove it here");
	s->r->cancel_job = 0;
	if (rec->ownership != HVREPL_OWNERSHIP_OWNER)
		return;
	if (asked) {
		hvri_send_enable(s);
		return;
	}
	if (rec->phase != HVRI_PHASE_INITIAL && rec->phase != HVRI_PHASE_DELTA &&
	    rec->phase != HVRI_PHASE_RESYNC &&
	    rec->phase != HVRI_PHASE_RESYNC_WANTED &&
	    rec->phase != HVRI_PHASE_ERROR)
		return;
	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	hvri_handover_abort(s, HVREPL_E_NOT_FOUND,
			    "the other site does not know the VM any more");
	hvri_job_end(s, HVREPL_E_NOT_FOUND,
		     "the other site does not know the VM any more");
	rec->phase = HVRI_PHASE_READY;
	hvri_save(s);
	hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
		    HVREPL_E_NOT_FOUND, 0,
		    "the other site has no replica of this VM any more; start "
		    "initial replication again, or remove it here too");
}

/* ---- The replica. ---- */

void hvri_on_enable(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	const struct hvri_claim *claim = m->claim;
	const struct hvri_epoch *current =
		hvri_lineage_look(&claim->lineage, &claim->current);
	const char *why = NULL;
	char lacks[HVRI_SENTENCE_MAX + 1];
	int32_t code = HVREPL_E_DENIED;

	r->peer_incarnation = m->from_incarnation;
	if (!hvri_may(s, HVREPL_VERB_ENABLE, lacks)) {
		why = lacks;
	} else if (rec->mode != HVREPL_MODE_NONE) {
		if (hvri_uuid_equal(&rec->peer, &claim->site) &&
		    hvri_uuid_equal(&rec->current, &claim->current) &&
		    rec->ownership == HVREPL_OWNERSHIP_STANDBY) {
			hvri_send(s, HVRI_MESSAGE_ENABLED);
			s->say_hello = true;
			return;
		}
		why = "the other site has replication of this VM set up "
		      "already; remove it there first";
		code = HVREPL_E_EXISTS;
	} else if (current == NULL ||
		   !hvri_uuid_equal(&current->owner, &claim->site) ||
		   /* Nobody could fail over from it. */
		   (hvri_lineage_dead(&claim->lineage, &claim->current) &&
		    !HVRI_PLANT(enabled_on_a_dead_path)) ||
		   !hvri_uuid_equal(&m->setup->vm, &rec->vm) ||
		   hvri_uuid_equal(&claim->site, &rec->site)) {
		why = "the request makes no sense";
		code = HVREPL_E_PROTOCOL;
	} else if (!has_sound_disks(m->setup) &&
		   !HVRI_PLANT(blocks_of_the_peer)) {
		why = "each disk of the VM needs an id that no other disk of it "
		      "has, and blocks of a power of two up to 1 MiB: give them "
		      "those at this site";
		code = HVREPL_E_INVALID;
	} else if (s->e->u.message.quota != NULL) {
		why = s->e->u.message.quota;
		code = HVREPL_E_LIMIT;
	}
	if (why) {
		hvri_send_answer(s, HVRI_MESSAGE_ENABLE, NULL, 0, code, why);
		return;
	}
	/* What is just going is asked for again: the other site hears UNKNOWN then. */
	if (r->pending.create != 0 || r->pending.remove != 0)
		return;
	/* In memory only: the record counts once its storage is there. */
	take_setup(rec, m->setup);
	if (!HVRI_PLANT(policy_of_the_peer))
		bound_policy(&rec->policy);
	rec->id = hvri_fresh(s);
	rec->peer = claim->site;
	rec->lineage = claim->lineage;
	rec->current = claim->current;
	hvri_act_token(s, HVRI_ACTION_CREATE_REPLICA, &r->pending.create);
}

void hvri_created(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_record *rec = s->rec;

	if (rec->mode != HVREPL_MODE_NONE)
		return;
	if (done->code != HVREPL_OK) {
		hvri_send_answer(s, HVRI_MESSAGE_ENABLE, NULL, 0, done->code,
				 done->sentence);
		return;
	}
	rec->mode = HVREPL_MODE_REPLICA;
	rec->phase = HVRI_PHASE_INITIAL;
	rec->form = HVRI_FORM_STORE;
	rec->ownership = HVREPL_OWNERSHIP_STANDBY;
	rec->peer_enabled = true;
	rec->point_reserved = 1;
	hvri_touch(s);
	hvri_send(s, HVRI_MESSAGE_ENABLED);
}

/* ---- Start. ---- */

static void start_store(struct hvri_step *s, const struct hvri_start *start)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	/* The store has a window more than the record: whose, is not known. */
	if (!start->has_points && rec->phase == HVRI_PHASE_INITIAL &&
	    hvri_frontier_order(rec->frontier, start->frontier) != 0)
		memset(&rec->last_cut, 0, sizeof(rec->last_cut));
	rec->frontier = start->frontier;
	if (!start->has_points) {
		if (rec->position.number != 0 &&
		    rec->ownership == HVREPL_OWNERSHIP_STANDBY) {
			memset(&rec->position, 0, sizeof(rec->position));
			rec->phase = HVRI_PHASE_INITIAL;
			hvri_save(s);
		}
	} else if (!hvri_uuid_is_none(&rec->joining) &&
		   hvri_uuid_equal(&start->newest.epoch, &rec->joining)) {
		/* Durable in the store, but we ended before saying so. */
		rec->position = start->newest;
		hvri_join_complete(s);
	} else if (!hvri_point_equal(&start->newest, &rec->tail)) {
		/* What it would tell whom it joins is of the point before. */
		if (!hvri_uuid_is_none(&rec->joining) &&
		    !hvri_point_equal(&start->newest, &rec->position)) {
			hvri_distrust(s);
			hvri_save(s);
		}
		rec->position = start->newest;
		hvri_has_first_point(s);
	}
	if (rec->ownership == HVREPL_OWNERSHIP_STANDBY)
		hvri_act_token(s, HVRI_ACTION_DROP_OVERLAY, &r->pending.drop);
}

static void start_jobs(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	switch (rec->job.operation) {
	case HVREPL_OPERATION_PLANNED:
		if (rec->ownership == HVREPL_OWNERSHIP_RELINQUISHED ||
		    !hvri_uuid_is_none(&rec->relinquished) ||
		    hvri_uuid_equal(&rec->job.epoch, &rec->current))
			return;
		/* Not given away yet: it stays, and that epoch is used up. */
		if (hvri_owns_current(rec) && !rec->rolled_back) {
			hvri_lineage_decide(&rec->lineage, &rec->job.epoch,
					    HVREPL_OUTCOME_ABANDONED);
			hvri_touch(s);
		}
		break;
	case HVREPL_OPERATION_UNPLANNED:
	case HVREPL_OPERATION_CHANGE_POINT:
		if (hvri_uuid_equal(&rec->job.epoch, &rec->current) &&
		    hvri_is_claimant(rec))
			return;
		break;
	case HVREPL_OPERATION_CANCEL:
		break;
	default:
		return;
	}
	hvri_job_end(s, HVREPL_E_CANCELLED, "this site was restarted in the "
					    "middle; nothing has changed, ask "
					    "again");
}

void hvri_start(struct hvri_step *s, const struct hvri_start *start)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;
	uint64_t wait = rec->policy.start_wait_ns;

	r->without_peer = rec->policy.start_without_peer;
	if (start->start_wait_ns != 0) {
		wait = start->start_wait_ns;
		r->without_peer = start->start_without_peer;
	}
	r->started = true;
	r->incarnation = start->incarnation;
	r->next_point = rec->point_reserved;
	/* Before this start, for all we know. */
	hvri_begun_there(r, &rec->last_cut);
	if (rec->mode == HVREPL_MODE_NONE)
		return;
	if (rec->phase == HVRI_PHASE_REMOVED) {
		hvri_act_token(s, HVRI_ACTION_REMOVE, &r->pending.remove);
		return;
	}
	/* The disk was armed by a later state than this one (O1). */
	if (start->stamped && start->stamp_generation > rec->generation &&
	    (hvri_uuid_is_none(&start->stamp_record) ||
	     hvri_uuid_equal(&start->stamp_record, &rec->id)) &&
	    !rec->rolled_back) {
		rec->generation = start->stamp_generation;
		hvri_rolled_back(s, NULL);
	}
	if (rec->form == HVRI_FORM_STORE)
		start_store(s, start);
	else if (rec->form == HVRI_FORM_OVERLAY && start->has_points &&
		 rec->phase == HVRI_PHASE_FAILED_OVER &&
		 start->newest.number > hvri_stands_at(rec)->number &&
		 !HVRI_PLANT(found_under_overlay)) {
		/* What a cancel comes back to; see found_elsewhere(). */
		rec->position = start->newest;
		hvri_save(s);
	}
	r->base_marked = rec->frontier.disk > 0 || rec->frontier.offset > 0;
	r->doubted = start->doubted;
	if ((start->untrusted || start->doubted) && !rec->untrusted) {
		hvri_distrust(s);
		hvri_save(s);
	}
	if (start->doubted || (start->untrusted && hvri_is_handed_over(rec)))
		hvri_notice(s, HVREPL_EVENT_AUDIT, HVREPL_SEVERITY_CRITICAL,
			    HVREPL_E_UNTRUSTED, rec->position.number,
			    "this site's disks may have been changed outside "
			    "while it was down, or are damaged: recovery "
			    "points up to %llu are in doubt until the other "
			    "site has compared",
			    (unsigned long long)rec->position.number);
	if (rec->phase == HVRI_PHASE_RESYNC && start->unclean)
		memset(&rec->frontier, 0, sizeof(rec->frontier));
	if (rec->phase == HVRI_PHASE_DELTA && rec->untrusted &&
	    rec->mode == HVREPL_MODE_PRIMARY)
		rec->phase = HVRI_PHASE_RESYNC_WANTED;
	if (hvri_tail_going(rec))
		hvri_let_tail_go(s);
	if (hvri_has_overlay(rec) && !HVRI_PLANT(failover_half_begun))
		hvri_open_overlay(s);
	start_jobs(s);
	hvri_timer(s, HVRI_TIMER_START_WAIT,
		   wait != 0 ? wait : START_WAIT_DEFAULT);
}

/* ---- The end. ---- */

void hvri_remove(struct hvri_step *s, uint64_t job)
{
	struct hvri_relationship *r = s->r;
	struct hvri_record *rec = s->rec;

	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	hvri_stop_receiving(s, true);
	hvri_handover_abort(s, HVREPL_E_CANCELLED, "replication is removed");
	if (rec->job.id != 0)
		hvri_job_end(s, HVREPL_E_CANCELLED, "replication is removed");
	rec->phase = HVRI_PHASE_REMOVED;
	if (job != 0)
		hvri_job_begin(s, HVREPL_OPERATION_REMOVE, job, false);
	hvri_save(s);
	hvri_act_token(s, HVRI_ACTION_REMOVE, &r->pending.remove);
	if (job != 0)
		hvri_send(s, HVRI_MESSAGE_REMOVE)->u.remove.epoch =
			rec->current;
}

void hvri_on_remove(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_record *rec = s->rec;
	char lacks[HVRI_SENTENCE_MAX + 1];
	bool open = hvri_has_overlay(rec) ||
		    (rec->ownership != HVREPL_OWNERSHIP_STANDBY &&
		     hvri_relationship_ownership(s->r) !=
			     HVREPL_OWNERSHIP_OWNER);

	if (rec->phase == HVRI_PHASE_REMOVED || rec->mode == HVREPL_MODE_NONE)
		return; /* REMOVED follows, or the driver says it. */
	if (open || s->e->u.message.authorised == 0) {
		hvri_send_answer(s, HVRI_MESSAGE_REMOVE, NULL, 0,
				 HVREPL_E_STATE,
				 "a failover is open there, or its ownership "
				 "is disputed: remove it there too, by hand");
		return;
	}
	/* A replica goes with its points; an owner loses nothing. */
	if (rec->ownership == HVREPL_OWNERSHIP_STANDBY &&
	    (!hvri_may(s, HVREPL_VERB_DELETE_POINTS, lacks) ||
	     !hvri_names_epoch(s, &m->u.remove.epoch, "removing a replica",
			       lacks))) {
		hvri_send_answer(s, HVRI_MESSAGE_REMOVE, NULL, 0,
				 HVREPL_E_DENIED, lacks);
		return;
	}
	hvri_remove(s, 0);
}

/* No record says that there is one: what was brought for it goes at once, or stays
 * until it is asked for again. One that is being made is not answered, and stays. */
void hvri_on_remove_unmade(struct hvri_step *s, const struct hvri_message *m)
{
	struct hvri_relationship *r = s->r;
	char lacks[HVRI_SENTENCE_MAX + 1];

	if (r->pending.create != 0 || r->pending.remove != 0)
		return;
	if (!hvri_may(s, HVREPL_VERB_DELETE_POINTS, lacks) ||
	    !hvri_names_epoch(s, &m->u.remove.epoch, "removing a replica",
			      lacks)) {
		hvri_send_answer(s, HVRI_MESSAGE_REMOVE, NULL, 0,
				 HVREPL_E_DENIED, lacks);
		return;
	}
	hvri_act_token(s, HVRI_ACTION_REMOVE, &r->pending.remove);
}

static void forget(struct hvri_step *s, const char *how)
{
	if (hvri_job_is(s, HVREPL_OPERATION_REMOVE))
		hvri_job_end(s, HVREPL_OK, "%s", how);
	s->r->forgotten = true;
	hvri_act(s, HVRI_ACTION_FORGET);
}

void hvri_removed_here(struct hvri_step *s, const struct hvri_done *done)
{
	if (done->code != HVREPL_OK) {
		if (s->rec->phase == HVRI_PHASE_REMOVED)
			hvri_timer(s, HVRI_TIMER_RETRY, 10 * HVRI_SECOND);
		else
			hvri_send_answer(s, HVRI_MESSAGE_REMOVE, NULL, 0,
					 done->code, done->sentence);
		return;
	}
	if (!hvri_job_is(s, HVREPL_OPERATION_REMOVE)) {
		hvri_send(s, HVRI_MESSAGE_REMOVED);
		forget(s, "removed");
	} else if (!s->r->greeted) {
		forget(s, "removed here; the other site could not be told: "
			  "remove it there too");
	}
}

/* REMOVED, or an answer that it will not. */
void hvri_on_removed(struct hvri_step *s, const struct hvri_answer *refused)
{
	char how[HVRI_SENTENCE_MAX + 1];

	if (s->rec->phase != HVRI_PHASE_REMOVED || s->r->pending.remove != 0)
		return;
	if (refused != NULL)
		hvri_sentence(how, "removed here, and kept at the other site: "
				   "%.200s", refused->sentence);
	forget(s, refused != NULL ? how : "removed");
}
