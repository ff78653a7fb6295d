/* SPDX-License-Identifier: Apache-2.0 */
/* What must never be so of two sites, looked at after each step. */
#include "sites.h"

#include "replication/lineage.h"

#include <string.h>

static bool dead_at(const struct hvri_record *rec, const struct hvrepl_uuid *id)
{
	const struct hvri_epoch *e = hvri_lineage_look(&rec->lineage, id);

	return e && hvri_outcome_dead(e->outcome);
}

/* What must never be so. */
void sites_check(struct sites *w)
{
	struct one_site *a = &w->site[0], *b = &w->site[1];

	if (a->gate && b->gate &&
	    hvri_uuid_equal(&a->durable.current, &b->durable.current))
		sites_broken(w, "two sites armed in one epoch");
	if (a->gate && b->gate && w->only_planned)
		sites_broken(w, "planned failovers only, and yet both are armed");
	for (int i = 0; i < 2; i++) {
		struct one_site *x = &w->site[i], *y = &w->site[!i];
		const struct hvri_record *d = &x->durable;

		if (!x->gate || d->mode == HVREPL_MODE_NONE ||
		    d->phase == HVRI_PHASE_REMOVED)
			continue;
		if (d->ownership != HVREPL_OWNERSHIP_OWNER &&
		    d->ownership != HVREPL_OWNERSHIP_DIVERGED)
			sites_broken(w, "armed without owning");
		if (!hvri_uuid_is_none(&d->relinquished))
			sites_broken(w, "armed after relinquishing");
		if (dead_at(d, &d->current))
			sites_broken(w, "armed in an epoch known abandoned");
		/* One restored from a backup may not know any more. */
		if (!w->restored && y->has_record &&
		    dead_at(&y->durable, &d->current) &&
		    y->durable.ownership != HVREPL_OWNERSHIP_RELINQUISHED)
			sites_broken(w, "armed in an epoch the peer holds abandoned");
	}
	for (int i = 0; i < 2; i++) {
		struct one_site *x = &w->site[i];
		struct sites_point *tail = sites_find(x, &x->r.record.tail);

		/* The loser's end stays readable until it is discarded. */
		if (x->r.record.tail_pinned && x->has_record &&
		    x->r.record.ownership == HVREPL_OWNERSHIP_STANDBY &&
		    !w->restored &&
		    (tail == NULL ||
		     memcmp(tail->content, x->tail, sizeof(x->tail)) != 0))
			sites_broken(w, "a lost end is no longer readable");
	}
	for (uint32_t k = 0; k < a->durable.lineage.count; k++) {
		const struct hvri_epoch *e = &a->durable.lineage.epochs[k];
		const struct hvri_epoch *f =
			hvri_lineage_look(&b->durable.lineage, &e->id);

		if (f && !w->restored && ((e->outcome == HVREPL_OUTCOME_COMMITTED &&
			   hvri_outcome_dead(f->outcome)) ||
			  (f->outcome == HVREPL_OUTCOME_COMMITTED &&
			   hvri_outcome_dead(e->outcome))))
			sites_broken(w, "an epoch is committed here, abandoned there");
	}
	if (a->durable.ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    b->durable.ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
	    !w->conceded && a->r.greeted && b->r.greeted && a->has_record &&
	    b->has_record && !a->durable.rolled_back && !b->durable.rolled_back)
		sites_broken(w, "both are superseded: nobody may start");
}

/* What was told of a VM's health is what it is. */
void sites_check_health(struct sites *w, const struct one_site *site)
{
	struct hvri_health health;

	hvri_relationship_health(&site->r, w->env.now_ns, w->utc_ns, &health);
	if (site->r.started && !site->r.forgotten &&
	    health.level != site->told_health)
		sites_broken(w, "a change of health was not told");
}
