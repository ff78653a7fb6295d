/* SPDX-License-Identifier: Apache-2.0 */
/* Which points of a peer are cuts that this record knows it named. */
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
	for (uint32_t i = 0; i < HVRI_TAKEN_MAX; i++)
		known |= hvri_point_equal(point, &r->taken[i]);
	return point->number <= rec->last_cut.number &&
	       (known || HVRI_PLANT(named_by_number));
}

void hvri_taken(struct hvri_relationship *r, const struct hvri_point *point)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < HVRI_TAKEN_MAX; i++)
		if (r->taken[i].number != 0 &&
		    !hvri_point_equal(&r->taken[i], point))
			r->taken[kept++] = r->taken[i];
	if (kept == HVRI_TAKEN_MAX)
		memmove(&r->taken[0], &r->taken[1],
			--kept * sizeof(r->taken[0]));
	r->taken[kept++] = *point;
	memset(&r->taken[kept], 0,
	       (HVRI_TAKEN_MAX - kept) * sizeof(r->taken[0]));
}

void hvri_taken_over(struct hvri_relationship *r)
{
	memset(r->taken, 0, sizeof(r->taken));
}
