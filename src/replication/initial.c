/* SPDX-License-Identifier: Apache-2.0 */
/* Long transfers by windows (L1): initial replication, whole-disk compare. */
#include "replication/internal.h"

#include <string.h>

#define WINDOW_DEFAULT (UINT64_C(1) << 30)

struct hvri_frontier hvri_frontier_add(const struct hvri_record *rec,
				       struct hvri_frontier from,
				       uint64_t bytes)
{
	if (bytes == 0)
		bytes = WINDOW_DEFAULT;
	while (from.disk < rec->disk_count) {
		uint64_t size = rec->disks[from.disk].size;
		uint64_t left = size > from.offset ? size - from.offset : 0;
		/* Limits of cuts are multiples of blocks. */
		uint64_t block = HVRI_MAX(rec->disks[from.disk].block_size,
					  4096u);
		uint64_t step = bytes - bytes % block;

		if (step == 0)
			step = block;
		if (left > step) {
			from.offset += step;
			return from;
		}
		bytes -= HVRI_MIN(left, bytes);
		from.disk++;
		from.offset = 0;
		if (bytes < block)
			break;
	}
	return from;
}

bool hvri_frontier_closed(const struct hvri_record *rec,
			  struct hvri_frontier frontier)
{
	return frontier.disk >= rec->disk_count;
}

int hvri_frontier_order(struct hvri_frontier a, struct hvri_frontier b)
{
	if (a.disk != b.disk)
		return a.disk < b.disk ? -1 : 1;
	if (a.offset != b.offset)
		return a.offset < b.offset ? -1 : 1;
	return 0;
}

/* From the first byte; the tracker is told to hold everything. */
void hvri_start_initial(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	memset(&rec->frontier, 0, sizeof(rec->frontier));
	memset(&rec->last_acked, 0, sizeof(rec->last_acked));
	rec->phase = HVRI_PHASE_INITIAL;
	rec->mode = HVREPL_MODE_PRIMARY;
	rec->untrusted = false;
	s->r->base_marked = false;
	memset(&s->r->window_there, 0, sizeof(s->r->window_there));
	s->r->holding = false;
	hvri_save(s);
}

void hvri_all_marked(struct hvri_step *s, const struct hvri_done *done)
{
	if (done->code == HVREPL_OK) {
		s->r->base_marked = true;
		return;
	}
	s->r->holding = true;
	hvri_timer(s, HVRI_TIMER_RETRY, 60 * HVRI_SECOND);
}

void hvri_start_resync(struct hvri_step *s)
{
	struct hvri_record *rec = s->rec;

	hvri_drop_cut(s, HVREPL_E_CANCELLED);
	memset(&rec->frontier, 0, sizeof(rec->frontier));
	rec->phase = HVRI_PHASE_RESYNC;
	hvri_distrust(s);
	s->r->holding = false;
	hvri_save(s);
}

void hvri_next_compare(struct hvri_step *s)
{
	struct hvri_relationship *r = s->r;
	struct hvri_action *act;

	if (r->pending.compare != 0)
		return;
	r->comparing = hvri_frontier_add(s->rec, s->rec->frontier,
					 s->rec->policy.window_bytes);
	act = hvri_act_token(s, HVRI_ACTION_COMPARE, &r->pending.compare);
	act->point = s->rec->last_acked;
	act->from_frontier = s->rec->frontier;
	act->frontier = r->comparing;
}

void hvri_compared(struct hvri_step *s, const struct hvri_done *done)
{
	struct hvri_relationship *r = s->r;

	if (s->rec->phase != HVRI_PHASE_RESYNC)
		return;
	if (done->code != HVREPL_OK) {
		r->holding = true;
		hvri_timer(s, HVRI_TIMER_RETRY, HVRI_SECOND);
		return;
	}
	s->rec->frontier = r->comparing;
	hvri_notice(s, HVREPL_EVENT_PROGRESS, HVREPL_SEVERITY_INFO, HVREPL_OK,
		    0, "compared: disk %u", r->comparing.disk);
}
