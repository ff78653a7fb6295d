/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from a record: the state shown, what holds, what is claimed. */
#include "replication/internal.h"

#include "base/plant.h"
#include "replication/rules.h"
#include "replication/verdict.h"

#include <string.h>

bool hvri_owns_current(const struct hvri_record *rec)
{
	const struct hvri_epoch *epoch =
		hvri_lineage_look(&rec->lineage, &rec->current);

	return epoch && hvri_uuid_equal(&epoch->owner, &rec->site);
}

bool hvri_is_claimant(const struct hvri_record *rec)
{
	return rec->ownership == HVREPL_OWNERSHIP_OWNER ||
	       rec->ownership == HVREPL_OWNERSHIP_DIVERGED;
}

bool hvri_has_overlay(const struct hvri_record *rec)
{
	return rec->form == HVRI_FORM_OVERLAY ||
	       rec->form == HVRI_FORM_FOLDING;
}

uint64_t hvri_newest_number(const struct hvri_record *rec)
{
	return HVRI_MAX(rec->position.number, rec->last_cut.number);
}

bool hvri_epoch_dead(const struct hvri_record *rec,
		     const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *epoch = hvri_lineage_look(&rec->lineage, id);

	return epoch && hvri_outcome_dead(epoch->outcome);
}

bool hvri_tail_blocks_fold(const struct hvri_record *rec)
{
	return hvri_has_overlay(rec) && rec->tail.number != 0 &&
	       rec->tail_pinned;
}

/* One that is only named is on a live disk, to be adopted. */
bool hvri_tail_going(const struct hvri_record *rec)
{
	return rec->form != HVRI_FORM_LIVE && rec->tail.number != 0 &&
	       !rec->tail_pinned;
}

bool hvri_view_blocks_fold(const struct hvri_relationship *r)
{
	return r->record.form == HVRI_FORM_FOLDING && r->points_open;
}

/* Numbers only grow in a store: an end that is kept of an older history lies below
 * the points that came after it. */
const struct hvri_point *hvri_stands_at(const struct hvri_record *rec)
{
	return rec->tail.number > rec->position.number ? &rec->tail :
							 &rec->position;
}

bool hvri_point_equal(const struct hvri_point *a, const struct hvri_point *b)
{
	return a->number == b->number && hvri_uuid_equal(&a->epoch, &b->epoch) &&
	       hvri_uuid_equal(&a->cut, &b->cut);
}

bool hvri_point_ours(const struct hvri_record *rec,
		     const struct hvri_point *point)
{
	return point->number != 0 &&
	       hvri_lineage_on_path(&rec->lineage, &rec->current,
				    &point->epoch) &&
	       point->number <= hvri_lineage_fork(&rec->lineage, &point->epoch,
						  &rec->current);
}

static bool committed(const struct hvri_record *rec)
{
	const struct hvri_epoch *epoch =
		hvri_lineage_look(&rec->lineage, &rec->current);

	return epoch && epoch->outcome == HVREPL_OUTCOME_COMMITTED;
}

static uint32_t phase_state(const struct hvri_record *rec, uint8_t phase)
{
	bool paused = (rec->pause & HVRI_PAUSE_FETCH) != 0;
	bool primary = rec->mode == HVREPL_MODE_PRIMARY;

	switch (phase) {
	case HVRI_PHASE_READY:
		return HVREPL_STATE_READY_FOR_INITIAL;
	case HVRI_PHASE_INITIAL:
		if (paused)
			return HVREPL_STATE_SUSPENDED;
		return primary ? HVREPL_STATE_INITIAL_IN_PROGRESS :
				 HVREPL_STATE_WAITING_FOR_INITIAL;
	case HVRI_PHASE_DELTA:
		return paused ? HVREPL_STATE_SUSPENDED :
				HVREPL_STATE_REPLICATING;
	case HVRI_PHASE_RESYNC_WANTED:
		return HVREPL_STATE_WAITING_FOR_RESYNC;
	case HVRI_PHASE_RESYNC:
		return paused ? HVREPL_STATE_RESYNC_SUSPENDED :
				HVREPL_STATE_RESYNCHRONIZING;
	case HVRI_PHASE_FAILED_OVER:
	case HVRI_PHASE_JOIN:
		return committed(rec) ?
			       HVREPL_STATE_FAILED_OVER :
			       HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION;
	case HVRI_PHASE_WAITING:
		return HVREPL_STATE_WAITING_FOR_REPURPOSE;
	case HVRI_PHASE_ERROR:
		return HVREPL_STATE_ERROR;
	default:
		return HVREPL_STATE_DISABLED;
	}
}

uint32_t hvri_relationship_state(const struct hvri_relationship *r)
{
	const struct hvri_record *rec = &r->record;

	if (rec->mode == HVREPL_MODE_NONE || rec->phase == HVRI_PHASE_REMOVED)
		return HVREPL_STATE_DISABLED;
	if (rec->ownership == HVREPL_OWNERSHIP_RELINQUISHED ||
	    r->handover_stage != HVRI_HANDOVER_NONE)
		return HVREPL_STATE_PREPARED_FOR_FAILOVER;
	if (rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
	    (rec->ownership == HVREPL_OWNERSHIP_DIVERGED &&
	     rec->phase != HVRI_PHASE_FAILED_OVER))
		return HVREPL_STATE_ERROR;
	return phase_state(rec, rec->phase);
}

uint32_t hvri_relationship_ownership(const struct hvri_relationship *r)
{
	return hvri_shown_ownership(&r->record);
}

static uint32_t needs_held(const struct hvri_relationship *r)
{
	const struct hvri_record *rec = &r->record;
	const struct hvri_epoch *epoch =
		hvri_lineage_look(&rec->lineage, &rec->current);
	uint32_t has = 0;

	if (r->greeted)
		has |= HVRI_NEED_SESSION | HVRI_NEED_REACH;
	if (r->session && !rec->peer_enabled)
		has |= HVRI_NEED_REACH;
	if (rec->job.id == 0 && r->forward_job == 0)
		has |= HVRI_NEED_FREE;
	if (rec->position.number != 0)
		has |= HVRI_NEED_POINT;
	if (committed(rec) || HVRI_PLANT(joinc))
		has |= HVRI_NEED_COMMITTED;
	if (rec->form == HVRI_FORM_OVERLAY)
		has |= HVRI_NEED_OVERLAY;
	if (epoch && !epoch->planned)
		has |= HVRI_NEED_UNPLANNED;
	if (!hvri_has_overlay(rec))
		has |= HVRI_NEED_PLAIN;
	if (!hvri_uuid_is_none(&rec->relinquished))
		has |= HVRI_NEED_GIVEN;
	if (rec->tail.number != 0)
		has |= HVRI_NEED_TAIL;
	if (r->peer_ready)
		has |= HVRI_NEED_PEER_READY;
	if (!r->armed)
		has |= HVRI_NEED_UNARMED;
	return has;
}

uint32_t hvri_needs_missing(const struct hvri_relationship *r, uint32_t needs)
{
	return needs & ~needs_held(r);
}

int32_t hvri_relationship_may(const struct hvri_relationship *r,
			      uint32_t operation,
			      char sentence_out[HVRI_SENTENCE_MAX + 1])
{
	const struct hvri_rule *rule;
	const char *sentence = NULL;
	int32_t code;

	sentence_out[0] = 0;
	if (operation == 0 || operation >= HVREPL_OPERATION_COUNT) {
		hvri_sentence(sentence_out, "there is no such operation");
		return HVREPL_E_INVALID;
	}
	rule = hvri_rule_find(r->record.mode, hvri_relationship_state(r),
			      hvri_relationship_ownership(r), operation);
	if (rule->plan == HVRI_PLAN_REFUSE) {
		hvri_sentence(sentence_out, "%s", rule->sentence);
		return rule->code;
	}
	code = hvri_rule_need(hvri_needs_missing(r, rule->needs), &sentence);
	if (code != HVREPL_OK)
		hvri_sentence(sentence_out, "%s", sentence);
	return code;
}

uint32_t hvri_relationship_allowed(const struct hvri_relationship *r)
{
	return hvri_rules_allowed(r->record.mode, hvri_relationship_state(r),
				  hvri_relationship_ownership(r),
				  needs_held(r));
}

/* It may be a window that this site was to be given, and is no point of its. */
static bool names_own_cut(const struct hvri_record *rec)
{
	const struct hvri_epoch *epoch =
		hvri_lineage_look(&rec->lineage, &rec->last_cut.epoch);

	return epoch == NULL || rec->position.number != 0 ||
	       HVRI_PLANT(begun_window_is_a_point) ||
	       hvri_uuid_equal(&epoch->owner, &rec->site);
}

void hvri_build_claim(const struct hvri_relationship *r,
		      struct hvri_claim *claim)
{
	const struct hvri_record *rec = &r->record;

	memset(claim, 0, sizeof(*claim));
	claim->site = rec->site;
	claim->record_id = rec->id;
	claim->generation = rec->said_generation;
	claim->seen_id = rec->peer_id;
	claim->seen_generation = rec->peer_generation;
	claim->mode = rec->mode;
	claim->phase = rec->phase;
	claim->ownership = rec->ownership;
	claim->pause = rec->pause;
	claim->armed = r->armed ||
		       (r->handover_stage != HVRI_HANDOVER_NONE &&
			r->armed_before);
	claim->dirty = rec->dirty;
	claim->untrusted = rec->untrusted;
	claim->rolled_back = rec->rolled_back;
	claim->current = rec->current;
	/* The echo is of the verdict that decides ownership here. */
	if (rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
	    rec->ownership == HVREPL_OWNERSHIP_DIVERGED)
		claim->verdict_peer = rec->verdict_peer;
	claim->joining = rec->joining;
	claim->position = rec->position;
	if (rec->ownership != HVREPL_OWNERSHIP_STANDBY &&
	    rec->last_cut.number > rec->position.number && names_own_cut(rec))
		claim->position = rec->last_cut;
	if (!hvri_uuid_is_none(&rec->joining))
		claim->position = *hvri_stands_at(rec);
	/* Of windows that are no point yet the owner sees whether they are its; of one
	 * who joins by them, too. */
	if (claim->position.number == 0 &&
	    ((rec->ownership == HVREPL_OWNERSHIP_STANDBY &&
	      rec->phase == HVRI_PHASE_INITIAL) ||
	     (!hvri_uuid_is_none(&rec->joining) &&
	      !HVRI_PLANT(joiner_tells_no_window))))
		claim->position.cut = rec->last_cut.cut;
	claim->frontier = rec->frontier;
	claim->lineage = rec->lineage;
}

void hvri_build_setup(const struct hvri_record *rec, struct hvri_setup *setup)
{
	memset(setup, 0, sizeof(*setup));
	setup->vm = rec->vm;
	memcpy(setup->vm_name, rec->vm_name, sizeof(setup->vm_name));
	setup->policy = rec->policy;
	setup->disk_count = rec->disk_count;
	memcpy(setup->disks, rec->disks, sizeof(setup->disks));
}
