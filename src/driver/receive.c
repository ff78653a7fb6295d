/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The standby's side: segments as they come in go to the store, still
 * compressed; what is durable is reported; a complete cut becomes a point.
 * Every frame is one job of the VM's lane, so the store sees them in order.
 */
#include "driver/vm.h"

#include "base/cursor.h"
#include "base/plant.h"

#include <string.h>

/* One frame on its way into the store. */
struct arrival {
	struct hvri_lane_job job; /* First. */
	struct hvri_vm *vm;
	uint32_t generation; /* Of the reception it came in. */
	uint32_t disk;
	uint8_t type;
	struct hvri_slab *slab;
	const uint8_t *bytes;
	size_t length;
	struct hvri_segment_end end;
	int32_t code;
	struct hvrepl_error error;
};

static struct hvri_vm *vm_of_report(struct hvri_alarm *timer)
{
	return (struct hvri_vm *)((char *)timer -
				  offsetof(struct hvri_vm, reception.report));
}

/* Chunks held or durable, over all disks in order: each is complete before the
 * next begins. */
static uint64_t count_chunks(struct hvri_vm *vm, bool durable)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct hvri_store_partial partial;

		if (hvri_store_partial(vm->store, i, &partial) < 0 ||
		    !hvri_uuid_equal(&partial.identity.cut,
				     &vm->reception.begin.point.cut))
			continue;
		sum += durable ? partial.durable : partial.received;
	}
	return sum;
}

static void fail(struct hvri_vm *vm, int32_t code,
		 const struct hvrepl_error *error)
{
	struct hvri_reception *reception = &vm->reception;
	struct hvri_event *event = &reception->end_event.event;

	if (reception->failed || !reception->open)
		return;
	reception->failed = true;
	event->type = HVRI_EVENT_RECEIVE_FAILED;
	event->u.data.cut = reception->begin.point.cut;
	event->u.data.code = code;
	reception->end_error = error != NULL ? *error :
					       (struct hvrepl_error){ 0 };
	event->u.data.sentence = reception->end_error.sentence[0] != 0 ?
					 reception->end_error.sentence :
					 NULL;
	hvri_vm_feed(vm, &reception->end_event);
	/* Older points may go, so that the next attempt finds room. */
	if (code == HVREPL_E_NO_SPACE)
		hvri_standby_maintain(vm);
}

/* ---- Reporting what is durable. ---- */

static bool flush_work(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)job -
						offsetof(struct hvri_vm,
							 reception.flush_job));

	vm->reception.flush_code = hvri_store_flush(vm->store);
	vm->reception.durable_chunks = count_chunks(vm, true);
	return false;
}

static void flush_done(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)job -
						offsetof(struct hvri_vm,
							 reception.flush_job));
	struct hvri_reception *reception = &vm->reception;
	struct hvri_event *event = &reception->durable_event.event;

	reception->flushing = false;
	if (!reception->open || reception->failed) {
		hvri_vm_settled(vm);
		return;
	}
	if (reception->flush_code < 0) {
		fail(vm, reception->flush_code, NULL);
		return;
	}
	event->type = HVRI_EVENT_CHUNK_DURABLE;
	event->u.data.cut = reception->begin.point.cut;
	event->u.data.chunk = reception->durable_chunks;
	hvri_vm_feed(vm, &reception->durable_event);
}

static void report(struct hvri_vm *vm)
{
	struct hvri_reception *reception = &vm->reception;

	if (reception->flushing || !reception->open || reception->failed ||
	    reception->completing)
		return;
	reception->flushing = true;
	reception->reported = reception->appended;
	reception->flush_job.work = flush_work;
	reception->flush_job.done = flush_done;
	hvri_lane_submit(&vm->lane, &reception->flush_job);
}

static void on_report(struct hvri_alarm *timer)
{
	struct hvri_vm *vm = vm_of_report(timer);

	if (vm->reception.appended != vm->reception.reported)
		report(vm);
	hvri_lend(vm);
	if (vm->reception.open)
		hvri_alarm_set(&vm->node->timers, timer,
			       hvri_now(&vm->node->env) + HVRI_REPORT_NS);
}

/* ---- The end of a cut. ---- */

static int32_t commit(struct hvri_vm *vm, struct hvrepl_error *error)
{
	const struct hvri_cut_begin *begin = &vm->reception.begin;
	struct hvri_store_point_commit point = {
		.number = begin->point.number,
		.epoch = begin->point.epoch,
		.cut = begin->point.cut,
		.utc_ns = begin->point.utc_ns,
	};

	if (begin->kind == HVRI_CUT_INITIAL && !begin->closed) {
		uint64_t frontiers[HVRI_DISKS_MAX];

		for (uint32_t i = 0; i < vm->disk_count; i++) {
			uint64_t size = vm->disks[i].spec.size;

			frontiers[i] = i < begin->frontier.disk ? size : 0;
			if (i == begin->frontier.disk)
				frontiers[i] = HVRI_MIN(begin->frontier.offset,
							size);
		}
		return hvri_store_window_commit(vm->store, &begin->point.cut,
						frontiers, error);
	}
	/* A resynchronization is one cut: what is equal is left out of it. */
	if (!begin->closed)
		return hvri_fail(error, HVREPL_E_PROTOCOL,
				 "a window of a resynchronization cannot be a "
				 "point");
	return hvri_store_point_commit(vm->store, &point, NULL, error);
}

static bool commit_work(struct hvri_lane_job *job)
{
	struct arrival *arrival = (struct arrival *)job;

	arrival->error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	arrival->code = commit(arrival->vm, &arrival->error);
	return false;
}

static void free_arrival(struct arrival *arrival)
{
	const struct hvri_env *env = &arrival->vm->node->env;

	arrival->vm->reception.segments -= arrival->type == HVRI_FRAME_SEGMENT;
	hvri_slab_drop(arrival->slab);
	hvri_free(env, arrival, sizeof(*arrival));
}

static void commit_done(struct hvri_lane_job *job)
{
	struct arrival *arrival = (struct arrival *)job;
	struct hvri_vm *vm = arrival->vm;
	struct hvri_reception *reception = &vm->reception;

	/* Stopped meanwhile; the point stands all the same. */
	if (arrival->code == HVREPL_OK &&
	    (arrival->generation != reception->generation ||
	     !reception->open)) {
		hvri_vm_list_points(vm);
		hvri_standby_forget_tail(vm);
		hvri_receive_found(vm, &reception->begin.point.cut);
		hvri_standby_maintain(vm);
	}
	reception->completing = false;
	if (arrival->generation == reception->generation && reception->open) {
		if (arrival->code < 0) {
			fail(vm, arrival->code, &arrival->error);
		} else {
			struct hvri_event *event = &reception->end_event.event;

			reception->open = false;
			hvri_alarm_set(&vm->node->timers, &reception->report,
				       HVRI_NEVER);
			hvri_lend_end(vm);
			event->type = HVRI_EVENT_POINT_COMPLETE;
			event->u.data.cut = reception->begin.point.cut;
			hvri_vm_list_points(vm);
			hvri_standby_forget_tail(vm);
			hvri_vm_feed(vm, &reception->end_event);
			hvri_standby_maintain(vm);
		}
	}
	free_arrival(arrival);
	hvri_vm_settled(vm);
}

/* ---- Frames. ---- */

static int32_t take_in(struct arrival *arrival)
{
	struct hvri_vm *vm = arrival->vm;
	uint32_t next;

	switch (arrival->type) {
	case HVRI_FRAME_SEGMENT:
		return hvri_store_segment_begin(vm->store, arrival->disk,
						arrival->bytes, &next,
						&arrival->error);
	case HVRI_FRAME_CHUNK:
		return hvri_store_segment_append(vm->store, arrival->disk,
						 arrival->bytes,
						 arrival->length);
	default:
		return hvri_store_segment_end(vm->store, arrival->disk,
					      arrival->end.chunk_count,
					      arrival->end.root);
	}
}

/* Read here without a lock: it only ever moves forward, and a frame of an older
 * reception meets a store that refuses it. */
static bool stopped(const struct arrival *arrival)
{
	return __atomic_load_n(&arrival->vm->reception.generation,
			       __ATOMIC_ACQUIRE) != arrival->generation;
}

static bool arrival_work(struct hvri_lane_job *job)
{
	struct arrival *arrival = (struct arrival *)job;
	uint32_t *broken = &arrival->vm->reception.broken;
	uint32_t more = 1;

	/* Behind one that could not be taken in there is none: a disk begun
	 * behind one without its end is not what the owner goes on with. */
	if (stopped(arrival) || *broken == arrival->generation) {
		arrival->code = HVREPL_E_CANCELLED;
		return false;
	}
	arrival->error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	arrival->code = take_in(arrival);
	/* The oldest points make room now, not in minutes when the owner tries
	 * again; the lane would do this work next anyway. */
	while (arrival->code == HVREPL_E_NO_SPACE && !stopped(arrival) &&
	       hvri_store_maintain(arrival->vm->store, &more, NULL) ==
		       HVREPL_OK &&
	       more != 0)
		arrival->code = take_in(arrival);
	if (arrival->code == HVREPL_E_NO_SPACE)
		(void)!hvri_store_why_full(arrival->vm->store, &arrival->error);
	if (arrival->code < 0)
		*broken = arrival->generation;
	return false;
}

static void arrival_done(struct hvri_lane_job *job)
{
	struct arrival *arrival = (struct arrival *)job;
	struct hvri_vm *vm = arrival->vm;
	struct hvri_reception *reception = &vm->reception;
	bool last;

	if (arrival->generation != reception->generation || !reception->open ||
	    reception->failed) {
		if (!HVRI_PLANT(late_frame_leaks))
			free_arrival(arrival);
		hvri_vm_settled(vm);
		return;
	}
	if (arrival->type == HVRI_FRAME_CHUNK) {
		size_t length = arrival->length + HVRI_CHUNK_PREFIX_SIZE;

		reception->consumed += length;
		reception->appended += length;
		hvri_lend_back(vm, length);
		hvri_lend(vm);
		if (reception->appended - reception->reported >=
		    HVRI_REPORT_BYTES)
			report(vm);
	}
	if (arrival->code < 0) {
		fail(vm, arrival->code, &arrival->error);
		free_arrival(arrival);
		return;
	}
	last = arrival->type == HVRI_FRAME_SEGMENT_END &&
	       (arrival->disk + 1 == vm->disk_count ||
		HVRI_PLANT(point_half_there));
	if (!last) {
		free_arrival(arrival);
		return;
	}
	reception->completing = true;
	arrival->job.work = commit_work;
	arrival->job.done = commit_done;
	hvri_lane_submit(&vm->lane, &arrival->job);
}

static int32_t parse(struct hvri_vm *vm, const struct hvri_frame *frame,
		     const uint8_t *payload, struct arrival *arrival)
{
	struct hvri_reader reader = hvri_reader_over(payload, frame->length);

	if (frame->type == HVRI_FRAME_SEGMENT_END) {
		HVRI_TRY(hvri_segment_end_decode(payload, frame->length,
						 &arrival->end));
		arrival->disk = arrival->end.disk;
		return arrival->disk < vm->disk_count ? HVREPL_OK :
							HVREPL_E_PROTOCOL;
	}
	arrival->disk = hvri_read_u32(&reader);
	if (frame->type == HVRI_FRAME_CHUNK)
		hvri_read_pad(&reader, 4, true);
	if (reader.bad || arrival->disk >= vm->disk_count)
		return HVREPL_E_PROTOCOL;
	if (frame->type == HVRI_FRAME_SEGMENT &&
	    reader.left != HVRI_SEGMENT_HEADER_SIZE)
		return HVREPL_E_PROTOCOL;
	/* Credit is of bytes, and what waits costs more than its bytes: none has so few. */
	if (frame->type == HVRI_FRAME_CHUNK &&
	    reader.left < HVRI_CHUNK_HEADER_SIZE && !HVRI_PLANT(crumbs_for_chunks))
		return HVREPL_E_PROTOCOL;
	arrival->bytes = reader.at;
	arrival->length = reader.left;
	return HVREPL_OK;
}

int32_t hvri_receive_frame(struct hvri_vm *vm, const struct hvri_frame *frame,
			   const uint8_t *payload, struct hvri_slab *slab)
{
	struct hvri_reception *reception = &vm->reception;
	struct arrival parsed = { .vm = vm }, *arrival;

	HVRI_TRY(parse(vm, frame, payload, &parsed));
	/* On the way when we stopped, or not asked for: nothing happens. */
	if (!reception->open || reception->failed || reception->completing)
		return HVREPL_OK;
	/* Of a disk that is complete already: sent again to make sure. */
	if (parsed.disk < reception->next_disk)
		return HVREPL_OK;
	if (parsed.disk != reception->next_disk)
		return HVREPL_E_PROTOCOL;
	if (frame->type == HVRI_FRAME_CHUNK) {
		reception->arrived += frame->length;
		if (reception->arrived > reception->granted + HVRI_FRAME_CHUNK_MAX)
			return HVREPL_E_PROTOCOL; /* Beyond its credit. */
		vm->received_bytes += frame->length;
	}
	if (frame->type == HVRI_FRAME_SEGMENT &&
	    reception->segments == HVRI_VM_SEGMENTS_MAX &&
	    !HVRI_PLANT(segments_without_end))
		return HVREPL_E_LIMIT;
	if (frame->type == HVRI_FRAME_SEGMENT_END)
		reception->next_disk++;
	arrival = hvri_alloc(&vm->node->env, sizeof(*arrival));
	if (arrival == NULL)
		return HVREPL_E_NOMEM;
	*arrival = parsed;
	arrival->type = frame->type;
	arrival->generation = reception->generation;
	arrival->slab = slab;
	reception->segments += frame->type == HVRI_FRAME_SEGMENT;
	hvri_slab_hold(slab);
	arrival->job.work = arrival_work;
	arrival->job.done = arrival_done;
	hvri_lane_submit(&vm->lane, &arrival->job);
	return HVREPL_OK;
}

/* ---- RECEIVE and STOP_RECEIVE. ---- */

static bool start_work(struct hvri_lane_job *job)
{
	struct hvri_task *task = (struct hvri_task *)job;
	struct hvri_vm *vm = task->vm;
	struct hvri_store_partial partial;
	bool other = false, open = false;

	if (hvri_standby_reopen(task))
		return false;
	task->sequence = 0;
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		if (hvri_store_partial(vm->store, i, &partial) < 0)
			memset(&partial, 0, sizeof(partial));
		else if (!hvri_uuid_equal(&partial.identity.cut,
					  &task->action.begin.point.cut))
			other = true;
		else if (partial.complete != 0 && i == task->sequence)
			task->sequence = i + 1;
		/* To the owner the sum of chunks says how far it is: there is
		 * nothing behind a disk that is not complete. */
		other |= open && partial.received > 0;
		open |= partial.complete == 0;
	}
	if (other) /* T6 */
		task->done.code = hvri_store_segments_drop(vm->store);
	if (other)
		task->sequence = 0;
	task->done.chunk = count_chunks(vm, false);
	return false;
}

static void start_finish(struct hvri_task *task)
{
	struct hvri_vm *vm = task->vm;
	struct hvri_reception *reception = &vm->reception;

	if (hvri_standby_reopened(task) || task->done.code < 0)
		return;
	/* Stopped, or begun anew, before it began: it takes no credit. */
	if (task->generation != reception->generation) {
		task->done.code = HVREPL_E_CANCELLED;
		return;
	}
	/* Not before: the lane may have been committing the one before. */
	reception->begin = task->action.begin;
	/* All disks but the last may be complete; the last is ended anew. */
	reception->next_disk = HVRI_MIN(task->sequence, vm->disk_count - 1);
	reception->open = true;
	reception->failed = reception->completing = false;
	reception->granted = reception->consumed = reception->arrived = 0;
	reception->appended = reception->reported = 0;
	hvri_alarm_set(&vm->node->timers, &reception->report,
		       hvri_now(&vm->node->env) + HVRI_REPORT_NS);
	hvri_lend(vm);
}

int32_t hvri_receive_start(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_task *task;

	HVRI_TRY(hvri_task_new(vm, action, start_work, start_finish, &task));
	hvri_receive_stop(vm, NULL, false);
	task->generation = vm->reception.generation;
	hvri_standby_detach_failed(task);
	if (vm->store == NULL && !task->reopen)
		hvri_task_end(task, HVREPL_E_STATE);
	else
		hvri_task_submit(task);
	return HVREPL_OK;
}

void hvri_receive_stop(struct hvri_vm *vm, const struct hvrepl_uuid *cut,
		       bool drop)
{
	struct hvri_reception *reception = &vm->reception;

	(void)cut;
	(void)drop; /* A partial cut goes when the next one begins (T6). */
	__atomic_add_fetch(&reception->generation, 1, __ATOMIC_RELEASE);
	if (reception->open)
		hvri_lend_end(vm);
	reception->open = false;
	hvri_alarm_set(&vm->node->timers, &reception->report, HVRI_NEVER);
}

void hvri_receive_found(struct hvri_vm *vm, const struct hvrepl_uuid *cut)
{
	struct hvri_vm_event *found = &vm->reception.found_event;

	/* One that waits for its turn yet says the newest: it is of later. */
	found->event.type = HVRI_EVENT_POINT_COMPLETE;
	found->event.u.data.cut = *cut;
	memset(&found->event.u.data.found, 0, sizeof(struct hvri_point));
	if (vm->point_count > 0) {
		const struct hvrepl_point *newest =
			&vm->points[vm->point_count - 1];

		found->event.u.data.found = (struct hvri_point){
			.epoch = newest->epoch,
			.number = newest->number,
			.cut = newest->cut,
			.utc_ns = newest->utc_ns,
		};
	}
	hvri_vm_feed(vm, found);
}

void hvri_receive_session_down(struct hvri_vm *vm)
{
	hvri_receive_stop(vm, NULL, false);
}

void hvri_receive_init(struct hvri_vm *vm)
{
	hvri_alarm_init(&vm->reception.report, on_report);
}
