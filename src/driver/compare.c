/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the peer for digests, and COMPARE: everything counts as changed, the
 * digests of what the peer has are fetched, and what turns out equal when the
 * next cut reads it frozen is left out of it (filter.c). Without a filter, or
 * with holes in it, more is shipped than needed, and nothing else.
 */
#include "driver/compare.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

struct hvri_comparison *hvri_comparison_of(struct hvri_vm *vm)
{
	if (vm->comparison == NULL) {
		vm->comparison = hvri_alloc(&vm->node->env,
					    sizeof(*vm->comparison));
		if (vm->comparison != NULL) {
			vm->comparison->last = &vm->comparison->first;
			vm->comparison->scan.vm = vm;
		}
	}
	return vm->comparison;
}

/* ---- Runs, of either kind. ---- */

void hvri_run_start(struct hvri_run *run, struct hvri_vm *vm,
		    struct hvri_task *task)
{
	struct hvri_comparison *comparison = vm->comparison;

	if (comparison->run != NULL)
		hvri_run_end(comparison->run, HVREPL_E_CANCELLED, NULL);
	run->vm = vm;
	run->task = task;
	comparison->run = run;
}

int32_t hvri_run_ask(struct hvri_run *run, uint32_t disk, uint64_t offset,
		     uint32_t count, uint64_t point)
{
	struct hvri_digest_ask ask = {
		.disk = disk, .offset = offset, .count = count, .point = point
	};
	uint8_t payload[HVRI_DIGEST_ASK_SIZE];
	struct hvri_session *session = run->vm->session;
	int32_t rc;

	memcpy(ask.key, run->key, sizeof(ask.key));
	hvri_digest_ask_encode(&ask, payload);
	rc = hvri_link_send(&session->link, HVRI_FRAME_DIGEST_ASK,
			    &run->vm->relationship.record.vm, payload,
			    sizeof(payload));
	OPENSSL_cleanse(&ask, sizeof(ask));
	OPENSSL_cleanse(payload, sizeof(payload));
	if (rc < 0)
		return rc;
	run->asked[(run->asked_first + run->asked_count++) % HVRI_ASKS_MAX] =
		(struct hvri_asked){ disk, count, offset, point };
	return HVREPL_OK;
}

void hvri_run_submit(struct hvri_run *run,
		     bool (*work)(struct hvri_lane_job *job),
		     void (*done)(struct hvri_lane_job *job))
{
	run->in_lane = true;
	run->job.work = work;
	run->job.done = done;
	hvri_lane_submit(&run->vm->lane, &run->job);
}

static void run_free(struct hvri_run *run)
{
	OPENSSL_cleanse(run->key, sizeof(run->key));
	run->free(run);
}

bool hvri_run_back(struct hvri_run *run)
{
	struct hvri_vm *vm = run->vm;

	run->in_lane = false;
	if (!run->ended)
		return false;
	run_free(run);
	hvri_vm_settled(vm); /* Closing may have waited for this. */
	return true;
}

void hvri_run_end(struct hvri_run *run, int32_t code, const char *sentence)
{
	struct hvri_comparison *comparison = run->vm->comparison;
	struct hvri_task *task = run->task;

	if (comparison->run == run) {
		comparison->run = NULL;
		comparison->stale += run->asked_count;
	}
	run->ended = true;
	run->task = NULL;
	if (sentence != NULL)
		snprintf(task->sentence, sizeof(task->sentence), "%s",
			 sentence);
	if (!run->in_lane)
		run_free(run);
	hvri_task_end(task, code);
}

static int32_t take_answer(struct hvri_vm *vm, const uint8_t *payload,
			   size_t length)
{
	struct hvri_comparison *comparison = vm->comparison;
	struct hvri_digests digests;
	struct hvri_asked asked;
	struct hvri_run *run;

	HVRI_TRY(hvri_digests_decode(payload, length, &digests));
	if (comparison == NULL)
		return HVREPL_E_PROTOCOL;
	/* Answers come in the order of the asks. */
	if (comparison->stale > 0) {
		comparison->stale--;
		return HVREPL_OK;
	}
	run = comparison->run;
	if (run == NULL || run->asked_count == 0)
		return HVREPL_E_PROTOCOL;
	asked = run->asked[run->asked_first];
	if (digests.disk != asked.disk || digests.offset != asked.offset ||
	    (digests.code == HVREPL_OK && (digests.count != asked.count ||
					   digests.point != asked.point)))
		return HVREPL_E_PROTOCOL;
	run->asked_first = (run->asked_first + 1) % HVRI_ASKS_MAX;
	run->asked_count--;
	return run->answer(run, &asked, &digests);
}

int32_t hvri_compare_frame(struct hvri_vm *vm, const struct hvri_frame *frame,
			   const uint8_t *payload)
{
	if (vm->closing)
		return HVREPL_OK;
	return frame->type == HVRI_FRAME_DIGEST_ASK ?
		       hvri_answer_ask(vm, payload, frame->length) :
		       take_answer(vm, payload, frame->length);
}

void hvri_compare_session_down(struct hvri_vm *vm)
{
	struct hvri_comparison *comparison = vm->comparison;

	if (comparison == NULL)
		return;
	if (comparison->run != NULL)
		hvri_run_end(comparison->run, HVREPL_E_DISCONNECTED,
			     "the connection to the other site broke");
	hvri_answer_drop(vm);
	if (vm->session == NULL)
		comparison->stale = 0;
}

void hvri_compare_free(struct hvri_vm *vm)
{
	hvri_filter_drop(vm->filter);
	vm->filter = NULL;
	if (vm->comparison == NULL)
		return;
	hvri_scan_free(vm);
	hvri_free(&vm->node->env, vm->comparison, sizeof(*vm->comparison));
	vm->comparison = NULL;
}

/* ---- COMPARE ---- */

struct compare {
	struct hvri_run run; /* First: freed as this. */
	struct hvri_filter *filter; /* The VM's; a reference by that. */
	struct hvri_point point;
	uint32_t disk; /* Asked for so far: up to here... */
	uint64_t offset;
	struct hvri_frontier from, end; /* ...and how far to go. */
	uint32_t mark_disk; /* Disks before it are marked. */
	int32_t mark_code;
	bool refused; /* No digests: no use asking on. */
	/* What was answered; the filter's when all went well. */
	struct hvri_filter_run *runs, **last;
	uint64_t bytes;
};

static void pump(struct compare *compare);

static void compare_free(struct hvri_run *run)
{
	struct compare *compare = (struct compare *)run;

	if (compare->filter != NULL) {
		hvri_filter_runs_free(compare->filter, compare->runs);
		hvri_filter_drop(compare->filter);
	}
	hvri_free(&run->vm->node->env, compare, sizeof(*compare));
}

static uint64_t end_of(const struct compare *compare, uint32_t disk)
{
	uint64_t size = compare->run.vm->disks[disk].spec.size;

	if (disk < compare->end.disk)
		return size;
	return disk > compare->end.disk ? 0 : HVRI_MIN(compare->end.offset,
						       size);
}

/* The whole window counts as changed, durably: what is not known to be equal
 * when the cut reads it is shipped, whatever becomes of this run. */
static bool mark_work(struct hvri_lane_job *job)
{
	struct compare *compare =
		(struct compare *)((char *)job -
				   offsetof(struct compare, run.job));
	struct hvri_vm *vm = compare->run.vm;
	uint32_t disk = compare->mark_disk;
	struct hvrepl_extent extent = {
		.offset = disk == compare->from.disk ? compare->from.offset : 0
	};
	uint64_t end = end_of(compare, disk);

	compare->mark_code = HVREPL_OK;
	if (vm->disks[disk].tracker == NULL)
		compare->mark_code = HVREPL_E_STATE;
	else if (extent.offset < end) {
		extent.length = end - extent.offset;
		compare->mark_code = hvrepl_tracker_mark(
			vm->disks[disk].tracker, &extent, 1);
	}
	if (compare->mark_code < 0)
		return false;
	compare->mark_disk++;
	return compare->mark_disk < vm->disk_count;
}

static void mark_done(struct hvri_lane_job *job)
{
	struct compare *compare =
		(struct compare *)((char *)job -
				   offsetof(struct compare, run.job));

	if (hvri_run_back(&compare->run))
		return;
	if (compare->mark_code < 0)
		hvri_run_end(&compare->run, compare->mark_code, NULL);
	else
		pump(compare);
}

static void finish(struct compare *compare)
{
	struct hvri_run *run = &compare->run;

	run->task->done.bytes = compare->bytes;
	/* A cut may use the filter already, when nobody waits for us any more:
	 * then what we have goes with us. */
	if (compare->filter != NULL &&
	    hvri_filter_takes(compare->filter, &compare->point)) {
		hvri_filter_add(compare->filter, compare->runs);
		compare->runs = NULL;
	}
	hvri_run_end(run, HVREPL_OK, NULL);
}

/* Ask on. `compare` may be gone after. */
static void pump(struct compare *compare)
{
	struct hvri_run *run = &compare->run;
	struct hvri_vm *vm = run->vm;

	while (run->asked_count < HVRI_ASKS_MAX && !compare->refused &&
	       compare->disk < vm->disk_count) {
		uint64_t end = end_of(compare, compare->disk);
		uint64_t granules;
		int32_t rc;

		if (compare->offset >= end) {
			compare->disk++;
			compare->offset = 0;
			continue;
		}
		granules = (end - compare->offset - 1) / HVRI_DIGEST_GRANULE +
			   1;
		granules = HVRI_MIN(granules, HVRI_DIGESTS_MAX);
		rc = hvri_run_ask(run, compare->disk, compare->offset,
				  (uint32_t)granules, compare->point.number);
		if (rc < 0) {
			hvri_run_end(run, rc, NULL);
			return;
		}
		compare->offset += granules * HVRI_DIGEST_GRANULE;
	}
	if (run->asked_count == 0)
		finish(compare);
}

static int32_t compare_answer(struct hvri_run *run,
			      const struct hvri_asked *asked,
			      const struct hvri_digests *digests)
{
	struct compare *compare = (struct compare *)run;
	struct hvri_filter_run *kept;

	(void)asked;
	switch (digests->code) {
	case HVREPL_OK:
		compare->bytes += (uint64_t)digests->count *
				  HVRI_DIGEST_GRANULE;
		kept = hvri_filter_run_new(compare->filter, digests);
		if (kept != NULL) {
			*compare->last = kept;
			compare->last = &kept->next;
		}
		break;
	case HVREPL_E_DISK_IO:
	case HVREPL_E_STORAGE_IO:
	case HVREPL_E_CORRUPT:
	case HVREPL_E_NOMEM:
		break; /* These granules are shipped. */
	default:
		/* It does not hold that point, or not as we believe: all that
		 * is left is shipped. */
		hvri_log(&run->vm->node->env, HVREPL_LOG_WARNING,
			 "VM %s: the other site gives no digests: %s",
			 run->vm->name, hvrepl_strerror(digests->code));
		compare->refused = true;
		break;
	}
	pump(compare);
	return HVREPL_OK;
}

/* The filter that this window's answers go into. */
static int32_t take_filter(struct hvri_vm *vm, const struct hvri_action *action)
{
	bool first = action->from_frontier.disk == 0 &&
		     action->from_frontier.offset == 0;

	if (vm->filter != NULL &&
	    (first || !hvri_filter_takes(vm->filter, &action->point))) {
		hvri_filter_drop(vm->filter);
		vm->filter = NULL;
	}
	if (vm->filter == NULL)
		return hvri_filter_new(&vm->node->env, &action->point,
				       &vm->filter);
	return HVREPL_OK;
}

int32_t hvri_compare_start(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct compare *compare;
	struct hvri_task *task;
	int32_t rc;

	if (hvri_comparison_of(vm) == NULL)
		return HVREPL_E_NOMEM;
	compare = hvri_alloc(&vm->node->env, sizeof(*compare));
	if (compare == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_task_new(vm, action, NULL, NULL, &task);
	if (rc < 0) {
		hvri_free(&vm->node->env, compare, sizeof(*compare));
		return rc;
	}
	compare->run.answer = compare_answer;
	compare->run.free = compare_free;
	compare->last = &compare->runs;
	compare->point = action->point;
	compare->disk = action->from_frontier.disk;
	/* The granule that a window begins inside of was asked for with the
	 * window before. */
	compare->offset = (action->from_frontier.offset +
			   (HVRI_DIGEST_GRANULE - 1)) /
			  HVRI_DIGEST_GRANULE * HVRI_DIGEST_GRANULE;
	compare->mark_disk = compare->disk;
	compare->from = action->from_frontier;
	compare->end = action->frontier;
	hvri_run_start(&compare->run, vm, task);
	if (vm->session == NULL || vm->closing) {
		hvri_run_end(&compare->run, HVREPL_E_DISCONNECTED, NULL);
		return HVREPL_OK;
	}
	/* Without a filter (no memory, no point to compare with) everything
	 * is shipped. */
	if (action->point.number == 0 || take_filter(vm, action) < 0) {
		compare->refused = true;
	} else {
		compare->filter = hvri_filter_hold(vm->filter);
		memcpy(compare->run.key, hvri_filter_key(vm->filter),
		       sizeof(compare->run.key));
	}
	if (compare->disk < vm->disk_count)
		hvri_run_submit(&compare->run, mark_work, mark_done);
	else
		hvri_run_end(&compare->run, HVREPL_OK, NULL);
	return HVREPL_OK;
}
