/* SPDX-License-Identifier: Apache-2.0 */
/* Which points and windows of a peer are cuts that this record knows it named. */
#include "replication/internal.h"

#include <string.h>

/*
 * A cut is on record before it is offered. One that we know nothing of is of a later
 * time than this record: it was restored from a backup (O1), and the disks with it,
 * where nothing marks what has changed back. Its number does not say so: that record
 * goes on from a number that it had reserved, past it or to the same. So it is the id
 * that is known, of the newest cut and of those that the peer took in since this site
 * was started; of any other it may be compared once too often.
 */
bool hvri_named_here(const struct hvri_relationship *r,
		     const struct hvri_point *point)
{
	const struct hvri_record *rec = &r->record;
	bool known = hvri_point_equal(point, &rec->last_cut);

	if (HVRI_PLANT(backup_believed))
		return point->number < rec->point_reserved;
	for (uint32_t i = 0; i < HVRI_BEGUN_MAX; i++)
		known |= hvri_point_equal(point, &r->begun_there[i]);
	return point->number <= rec->last_cut.number &&
	       (known || HVRI_PLANT(named_by_number));
}

/* Windows that the peer lost (an older backup of it) count as never sent; and all
 * do where the newest it began is none that we know to have named, or it cannot say
 * which it is: then what we sent with it, be it in part, may have changed back here
 * (an older backup of ours). */
bool hvri_windows_known(const struct hvri_relationship *r,
			const struct hvri_claim *claim)
{
	const struct hvri_record *rec = &r->record;
	const struct hvrepl_uuid *cut = &claim->position.cut;
	int order = hvri_frontier_order(claim->frontier, rec->frontier);
	bool known = hvri_uuid_equal(cut, &rec->last_cut.cut) ||
		     hvri_uuid_equal(cut, &r->window_there);

	for (uint32_t i = 0; i < HVRI_BEGUN_MAX; i++)
		known |= hvri_uuid_equal(cut, &r->begun_there[i].cut);
	if (hvri_uuid_is_none(cut))
		known = HVRI_PLANT(nameless_window_known);
	if (claim->frontier.disk == 0 && claim->frontier.offset == 0)
		known = true;
	return (order == 0 && HVRI_PLANT(begun_window_known)) ||
	       (order >= 0 && known);
}

void hvri_begun_there(struct hvri_relationship *r, const struct hvri_point *point)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < HVRI_BEGUN_MAX; i++)
		if (r->begun_there[i].number != 0 &&
		    !hvri_point_equal(&r->begun_there[i], point))
			r->begun_there[kept++] = r->begun_there[i];
	if (kept == HVRI_BEGUN_MAX)
		memmove(&r->begun_there[0], &r->begun_there[1],
			--kept * sizeof(r->begun_there[0]));
	r->begun_there[kept++] = *point;
	memset(&r->begun_there[kept], 0,
	       (HVRI_BEGUN_MAX - kept) * sizeof(r->begun_there[0]));
}

void hvri_none_begun_there(struct hvri_relationship *r)
{
	memset(r->begun_there, 0, sizeof(r->begun_there));
}
