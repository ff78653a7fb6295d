/* SPDX-License-Identifier: Apache-2.0 */
/* Health: computed, never stored; every reason, and words for the gravest. */
#include "replication/internal.h"

#include <stdio.h>
#include <string.h>

#define HOUR (3600 * HVRI_SECOND)

static const struct {
	uint32_t reason, level;
	const char *sentence;
} table[] = {
	/* Gravest first. */
	{ HVREPL_REASON_DIVERGED, HVREPL_HEALTH_CRITICAL,
	  "both sites wrote: discard the epoch that is to lose" },
	{ HVREPL_REASON_ROLLED_BACK, HVREPL_HEALTH_CRITICAL,
	  "this site's record was restored from a backup: let it follow the "
	  "other site, or force" },
	{ HVREPL_REASON_SUPERSEDED, HVREPL_HEALTH_CRITICAL,
	  "the other site took over: reverse there, or force here" },
	{ HVREPL_REASON_STORAGE_FAILED, HVREPL_HEALTH_CRITICAL,
	  "this site's storage failed a flush under the VM, which may not write "
	  "on before it is opened again: restart the site" },
	{ HVREPL_REASON_ERROR, HVREPL_HEALTH_CRITICAL,
	  "the other site refuses the changes: mend the cause, then resume" },
	{ HVREPL_REASON_PEER_UNKNOWN, HVREPL_HEALTH_CRITICAL,
	  "the other site does not know this VM: start initial replication, "
	  "or remove it" },
	{ HVREPL_REASON_REPLICA_CHANGED, HVREPL_HEALTH_CRITICAL,
	  "this site's disks may have been changed outside or are damaged: "
	  "recovery points are in doubt until the other site has compared" },
	{ HVREPL_REASON_REPLICA_FULL, HVREPL_HEALTH_CRITICAL,
	  "no room here for another recovery point: raise the quota or free "
	  "space, or drop or unpin points" },
	{ HVREPL_REASON_RESYNC_NEEDED, HVREPL_HEALTH_CRITICAL,
	  "resynchronization is needed" },
	{ HVREPL_REASON_PEER_REFUSES, HVREPL_HEALTH_CRITICAL,
	  "the other site holds points beyond the fork of this epoch: verify, "
	  "then resync" },
	{ HVREPL_REASON_PEER_PAUSED, HVREPL_HEALTH_CRITICAL,
	  "replication is suspended at the other site" },
	{ HVREPL_REASON_HANDOVER_OPEN, HVREPL_HEALTH_WARNING,
	  "the VM was handed over, the other site has not confirmed yet" },
	{ HVREPL_REASON_TAIL_KEPT, HVREPL_HEALTH_WARNING,
	  "the end of a lost epoch is kept here, and the commit waits: discard "
	  "it" },
	{ HVREPL_REASON_POINT_VIEWED, HVREPL_HEALTH_WARNING,
	  "a recovery point is open here, and the commit waits: close what "
	  "reads it" },
	{ HVREPL_REASON_NOT_REVERSED, HVREPL_HEALTH_WARNING,
	  "failed over and not protected: commit and reverse" },
	{ HVREPL_REASON_DISCONNECTED, HVREPL_HEALTH_WARNING,
	  "the other site cannot be reached" },
	{ HVREPL_REASON_POINT_OLD, HVREPL_HEALTH_WARNING,
	  "the newest recovery point is more than an hour old" },
	{ HVREPL_REASON_CYCLES_MISSED, HVREPL_HEALTH_WARNING,
	  "more than a fifth of the cycles were missed" },
	{ HVREPL_REASON_PAUSED, HVREPL_HEALTH_WARNING,
	  "replication is suspended here" },
	{ HVREPL_REASON_INITIAL_UNFINISHED, HVREPL_HEALTH_WARNING,
	  "initial replication is not finished" },
};

static uint32_t phase_reasons(const struct hvri_record *rec)
{
	switch (rec->phase) {
	case HVRI_PHASE_READY:
	case HVRI_PHASE_INITIAL:
		return HVREPL_REASON_INITIAL_UNFINISHED;
	case HVRI_PHASE_RESYNC_WANTED:
	case HVRI_PHASE_RESYNC:
		return HVREPL_REASON_RESYNC_NEEDED;
	case HVRI_PHASE_FAILED_OVER:
	case HVRI_PHASE_JOIN:
	case HVRI_PHASE_WAITING:
		return HVREPL_REASON_NOT_REVERSED;
	case HVRI_PHASE_ERROR:
		return HVREPL_REASON_ERROR;
	default:
		return 0;
	}
}

static uint32_t reasons_of(const struct hvri_relationship *r, uint64_t utc_ns)
{
	const struct hvri_record *rec = &r->record;
	const struct hvri_statistics *st = &r->statistics;
	uint32_t set = phase_reasons(rec);
	uint64_t newest = HVRI_MAX(rec->last_acked.utc_ns,
				   rec->position.utc_ns);

	if (hvri_relationship_ownership(r) == HVREPL_OWNERSHIP_DIVERGED)
		set |= HVREPL_REASON_DIVERGED;
	if (rec->rolled_back)
		set |= HVREPL_REASON_ROLLED_BACK;
	else if (rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED)
		set |= HVREPL_REASON_SUPERSEDED;
	if (rec->ownership == HVREPL_OWNERSHIP_RELINQUISHED)
		set |= HVREPL_REASON_HANDOVER_OPEN;
	if (r->doubted || (rec->untrusted && hvri_is_handed_over(rec)))
		set |= HVREPL_REASON_REPLICA_CHANGED;
	if (!rec->peer_enabled)
		set |= HVREPL_REASON_PEER_UNKNOWN;
	if (rec->form == HVRI_FORM_FOLDING && hvri_tail_blocks_fold(rec))
		set |= HVREPL_REASON_TAIL_KEPT;
	else if (hvri_view_blocks_fold(r))
		set |= HVREPL_REASON_POINT_VIEWED;
	if (r->full && rec->ownership == HVREPL_OWNERSHIP_STANDBY)
		set |= HVREPL_REASON_REPLICA_FULL;
	/* Without an overlay the next cut opens the store again. */
	if (r->storage_failed && hvri_has_overlay(rec))
		set |= HVREPL_REASON_STORAGE_FAILED;
	if (rec->pause != 0)
		set |= HVREPL_REASON_PAUSED;
	if (!r->greeted)
		set |= r->peer_status.refuses && r->session ?
			       HVREPL_REASON_PEER_REFUSES :
			       HVREPL_REASON_DISCONNECTED;
	else if (r->refusing || r->peer_status.refuses)
		set |= HVREPL_REASON_PEER_REFUSES;
	else if (r->peer_status.pause & HVRI_PAUSE_FETCH)
		set |= HVREPL_REASON_PEER_PAUSED;
	if (rec->phase == HVRI_PHASE_DELTA) {
		if (newest != 0 && utc_ns > newest && utc_ns - newest > HOUR)
			set |= HVREPL_REASON_POINT_OLD;
		if (st->missed * 4 > st->cuts && st->missed > 1)
			set |= HVREPL_REASON_CYCLES_MISSED;
	}
	return set;
}

void hvri_relationship_health(const struct hvri_relationship *r,
			      uint64_t now_ns, uint64_t utc_ns,
			      struct hvri_health *health_out)
{
	const struct hvri_record *rec = &r->record;

	(void)now_ns;
	memset(health_out, 0, sizeof(*health_out));
	if (rec->mode == HVREPL_MODE_NONE || rec->phase == HVRI_PHASE_REMOVED)
		return; /* HVREPL_HEALTH_NONE */
	health_out->level = HVREPL_HEALTH_NORMAL;
	health_out->reasons = reasons_of(r, utc_ns);
	for (size_t i = 0; i < HVRI_ARRAY_LEN(table); i++) {
		if (!(health_out->reasons & table[i].reason))
			continue;
		health_out->level = HVRI_MAX(health_out->level, table[i].level);
		if (health_out->sentence[0] == 0)
			hvri_sentence(health_out->sentence, "%s",
				      table[i].sentence);
	}
	if (health_out->sentence[0] == 0)
		hvri_sentence(health_out->sentence, "normal");
}

uint32_t hvri_health_severity(uint32_t level)
{
	return level == HVREPL_HEALTH_CRITICAL ? HVREPL_SEVERITY_CRITICAL :
	       level == HVREPL_HEALTH_WARNING  ? HVREPL_SEVERITY_WARNING :
						 HVREPL_SEVERITY_INFO;
}
