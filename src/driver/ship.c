/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's cut on its way: read into the spool, sent chunk by chunk within
 * the peer's credit, let go as the peer reports it durable, settled at the end.
 *
 * Disks go one after the other, so that one number says how far it is: chunks
 * [0, k) counts all chunks of the disks before and the first ones of the next.
 */
#include "driver/vm.h"

#include "base/cursor.h"
#include "base/plant.h"

#include <string.h>

#define READ_PIECE (1u << 20)
#define READ_POLL_NS 1000000ull

enum ship_phase { SHIP_HEADER, SHIP_CHUNKS, SHIP_END };

static struct hvri_vm *vm_of_source(struct hvri_source *source)
{
	return (struct hvri_vm *)((char *)source -
				  offsetof(struct hvri_vm, ship.source));
}

/* ---- Reading into the spool. ---- */

static void feed_void(struct hvri_vm *vm, int32_t code)
{
	struct hvri_event *event = &vm->void_event.event;

	if (vm->void_event.queued || vm->ship.settling)
		return;
	event->type = HVRI_EVENT_CUT_VOIDED;
	event->u.data.cut = vm->ship.id;
	event->u.data.code = code;
	event->u.data.sentence = NULL;
	hvri_vm_feed(vm, &vm->void_event);
}

static bool read_work(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)job -
						offsetof(struct hvri_vm,
							 ship.read_job));
	uint32_t progress = HVREPL_CUT_MORE;
	int32_t rc = hvrepl_cut_advance(vm->ship.cut, READ_PIECE, &progress);

	vm->ship.read_waits = rc == HVREPL_OK && progress == HVREPL_CUT_WAITING;
	vm->ship.read_again = rc == HVREPL_E_NOMEM;
	vm->ship.read_code = rc;
	return rc == HVREPL_OK && progress == HVREPL_CUT_MORE;
}

static void close_cut(struct hvri_vm *vm)
{
	struct hvri_shipment *ship = &vm->ship;
	int32_t rc;

	if (!ship->settling || ship->reading || ship->in_flight ||
	    ship->cut == NULL)
		return;
	hvri_cut_listen(ship->cut, NULL, NULL);
	rc = hvrepl_cut_close(ship->cut, ship->settle_code);
	if (rc == HVREPL_E_STATE)
		hvri_log(&vm->node->env, HVREPL_LOG_ERROR,
			 "VM %s: a cut could not be settled", vm->name);
	ship->cut = NULL;
	ship->settling = false;
	ship->completed = ship->root_next = 0;
	ship->bytes = ship->credit = ship->spent = 0;
	ship->root_open = false;
	hvri_alarm_set(&vm->node->timers, &ship->poll, HVRI_NEVER);
	hvri_vm_settled(vm);
}

static void want(struct hvri_vm *vm)
{
	if (vm->ship.active && vm->session != NULL)
		hvri_link_want(&vm->session->link, &vm->ship.source);
}

static void read_done(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)job -
						offsetof(struct hvri_vm,
							 ship.read_job));
	struct hvri_shipment *ship = &vm->ship;

	ship->reading = false;
	if (ship->settling) {
		close_cut(vm);
		return;
	}
	if (ship->read_waits || ship->read_again) {
		hvri_owner_pump(vm);
		hvri_alarm_set(&vm->node->timers, &ship->poll,
			       hvri_now(&vm->node->env) + READ_POLL_NS);
	} else if (ship->read_code < 0) {
		feed_void(vm, ship->read_code);
	}
	want(vm);
}

static void on_poll(struct hvri_alarm *timer)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)timer -
						offsetof(struct hvri_vm,
							 ship.poll));

	hvri_ship_read(vm);
}

void hvri_ship_read(struct hvri_vm *vm)
{
	struct hvri_shipment *ship = &vm->ship;

	if (ship->cut == NULL || ship->reading || ship->settling)
		return;
	ship->reading = true;
	ship->read_job.work = read_work;
	ship->read_job.done = read_done;
	hvri_lane_submit(&vm->cut_lane, &ship->read_job);
}

/* From the spool, any thread: look again on the control thread. */
static void spool_changed(void *user)
{
	struct hvri_vm *vm = user;

	if (!__atomic_exchange_n(&vm->ship.look_queued, true,
				 __ATOMIC_SEQ_CST))
		hvri_queue_put(&vm->node->home, &vm->ship.look_item);
}

static void look(struct hvri_item *item)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)item -
						offsetof(struct hvri_vm,
							 ship.look_item));

	__atomic_store_n(&vm->ship.look_queued, false, __ATOMIC_SEQ_CST);
	want(vm);
	hvri_vm_settled(vm);
}

/* ---- Sending. ---- */

static int32_t pull_header(struct hvri_vm *vm, struct hvri_frame *frame,
			   struct hvrepl_iovec *iov)
{
	struct hvri_shipment *ship = &vm->ship;
	struct hvri_writer writer =
		hvri_writer_over(ship->payload, sizeof(ship->payload));

	hvri_write_u32(&writer, ship->disk);
	hvri_segment_header_encode(hvri_cut_header(ship->cut, ship->disk),
				   writer.at);
	if (ship->disk == ship->completed &&
	    (!ship->root_open || ship->root_disk != ship->disk)) {
		ship->root_open = false;
		HVRI_TRY(hvri_segment_root_again(
			&ship->root, hvri_cut_header(ship->cut, ship->disk)));
		ship->root_open = true;
		ship->root_disk = ship->disk;
		ship->root_next = 0;
	}
	frame->type = HVRI_FRAME_SEGMENT;
	frame->length = HVRI_SEGMENT_FRAME_SIZE;
	iov[0].base = ship->payload;
	iov[0].length = frame->length;
	ship->phase = SHIP_CHUNKS;
	return 1;
}

static int32_t pull_end(struct hvri_vm *vm, struct hvri_frame *frame,
			struct hvrepl_iovec *iov)
{
	struct hvri_shipment *ship = &vm->ship;
	struct hvri_segment_end end = { .disk = ship->disk,
					.chunk_count = ship->sequence,
					.cut = ship->id };

	/* Kept: the end may have to be sent again in another session. */
	if (ship->disk == ship->completed) {
		HVRI_TRY(hvri_segment_root_end(&ship->root,
					       ship->end_roots[ship->disk]));
		ship->root_open = false;
		ship->disk_chunks[ship->disk] = ship->sequence;
		ship->completed++;
	}
	memcpy(end.root, ship->end_roots[ship->disk], sizeof(end.root));
	hvri_segment_end_encode(&end, ship->payload);
	frame->type = HVRI_FRAME_SEGMENT_END;
	frame->length = HVRI_SEGMENT_END_SIZE;
	iov[0].base = ship->payload;
	iov[0].length = frame->length;
	ship->sequence = 0;
	ship->disk++;
	ship->phase = SHIP_HEADER;
	if (ship->disk == vm->disk_count)
		ship->active = false;
	return 1;
}

static int32_t add_to_root(struct hvri_vm *vm, const uint8_t *bytes,
			   uint32_t length)
{
	struct hvri_shipment *ship = &vm->ship;
	struct hvri_chunk chunk;

	if (ship->disk < ship->completed || ship->sequence < ship->root_next)
		return HVREPL_OK; /* Sent before, in another session. */
	HVRI_TRY(hvri_chunk_decode(hvri_cut_header(ship->cut, ship->disk),
				   bytes, length, &chunk));
	HVRI_TRY(hvri_segment_root_add(&ship->root, chunk.stored_digest));
	ship->root_next++;
	return HVREPL_OK;
}

static int32_t pull_chunk(struct hvri_vm *vm, struct hvri_frame *frame,
			  struct hvrepl_iovec *iov)
{
	struct hvri_shipment *ship = &vm->ship;
	struct hvri_writer writer =
		hvri_writer_over(ship->payload, HVRI_CHUNK_PREFIX_SIZE);
	const uint8_t *bytes = NULL;
	uint32_t length = 0;
	int32_t rc;

	if (ship->spent >= ship->credit)
		return 0; /* Until CREDIT comes. */
	rc = hvri_cut_chunk(ship->cut, ship->disk, ship->sequence, &bytes,
			    &length);
	if (rc == HVREPL_PENDING)
		return 0; /* Until the spool has more. */
	if (rc == HVREPL_E_NOT_FOUND)
		return pull_end(vm, frame, iov);
	if (rc == HVREPL_OK)
		rc = add_to_root(vm, bytes, length);
	if (rc < 0)
		return rc;
	hvri_write_u32(&writer, ship->disk);
	hvri_write_u32(&writer, 0);
	frame->type = HVRI_FRAME_CHUNK;
	frame->length = HVRI_CHUNK_PREFIX_SIZE + length;
	iov[0].base = ship->payload;
	iov[0].length = HVRI_CHUNK_PREFIX_SIZE;
	iov[1].base = (void *)(uintptr_t)bytes;
	iov[1].length = length;
	ship->sequence++;
	ship->spent += frame->length;
	ship->bytes += frame->length;
	vm->sent_bytes += frame->length;
	return 2;
}

static int32_t pull(struct hvri_source *source, struct hvri_frame *frame,
		    struct hvrepl_iovec *iov, uint32_t iov_max)
{
	struct hvri_vm *vm = vm_of_source(source);
	struct hvri_shipment *ship = &vm->ship;
	int32_t count;

	(void)iov_max;
	/* One frame at a time, also while an older session lets go of its own:
	 * both would be in the same buffers. */
	if (!ship->active || ship->settling || ship->cut == NULL ||
	    ship->in_flight)
		return 0;
	*frame = (struct hvri_frame){ .vm = vm->relationship.record.vm };
	count = ship->phase == SHIP_HEADER ? pull_header(vm, frame, iov) :
					     pull_chunk(vm, frame, iov);
	ship->in_flight = count > 0;
	if (count < 0) {
		ship->active = false;
		feed_void(vm, count);
	}
	return count;
}

static void sent(struct hvri_source *source, bool ok)
{
	struct hvri_vm *vm = vm_of_source(source);

	(void)ok; /* A link that failed closes: the session's end follows. */
	vm->ship.in_flight = false;
	close_cut(vm);
	want(vm);
}

void hvri_ship_init(struct hvri_vm *vm)
{
	vm->ship.source.pull = pull;
	vm->ship.source.sent = sent;
	vm->ship.look_item.run = look;
	hvri_alarm_init(&vm->ship.poll, on_poll);
}

void hvri_ship_start(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_shipment *ship = &vm->ship;
	uint64_t chunk = action->chunk;

	if (ship->cut == NULL || ship->settling ||
	    !hvri_uuid_equal(&ship->id, &action->cut))
		return;
	ship->disk = 0;
	/* Disks that were sent to the end have a known number of chunks. One
	 * whose end may be missing at the peer is ended once more. */
	while (ship->disk < ship->completed &&
	       chunk > ship->disk_chunks[ship->disk]) {
		chunk -= ship->disk_chunks[ship->disk];
		ship->disk++;
	}
	ship->sequence = (uint32_t)chunk;
	ship->phase = SHIP_HEADER;
	ship->active = true;
	hvri_cut_listen(ship->cut, spool_changed, vm);
	want(vm);
}

void hvri_ship_release(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_shipment *ship = &vm->ship;
	uint64_t chunk = action->chunk;

	if (ship->cut == NULL || !hvri_uuid_equal(&ship->id, &action->cut))
		return;
	for (uint32_t i = 0; i <= ship->completed && i < vm->disk_count &&
			     chunk > 0;
	     i++) {
		/* A frame in flight lies behind what is durable at the peer. */
		uint64_t of_disk = i < ship->completed ? ship->disk_chunks[i] :
							 ship->root_next;

		of_disk = HVRI_MIN(of_disk, chunk);
		if (of_disk > 0)
			hvri_cut_release_through(ship->cut, i,
						 (uint32_t)of_disk - 1);
		chunk -= of_disk;
	}
}

void hvri_ship_settle(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_shipment *ship = &vm->ship;

	if (ship->cut == NULL || ship->settling ||
	    !hvri_uuid_equal(&ship->id, &action->cut))
		return;
	ship->active = false;
	ship->settling = true;
	ship->settle_code = action->code;
	hvri_source_leave(&ship->source);
	if (action->code < 0 && !HVRI_PLANT(spool_freed_unsent))
		(void)!hvrepl_cut_void(ship->cut);
	close_cut(vm);
}

void hvri_ship_stop(struct hvri_vm *vm)
{
	vm->ship.active = false;
	vm->ship.credit = vm->ship.spent = 0;
	hvri_source_leave(&vm->ship.source);
}

void hvri_ship_hold(struct hvri_vm *vm, const struct hvri_action *action)
{
	if (vm->ship.cut != NULL && !vm->ship.settling &&
	    hvri_uuid_equal(&vm->ship.id, &action->cut))
		hvri_ship_stop(vm);
}

bool hvri_ship_idle(const struct hvri_vm *vm)
{
	return vm->ship.cut == NULL && !vm->ship.reading &&
	       !vm->ship.in_flight && !vm->ship.look_queued;
}

int32_t hvri_ship_credit(struct hvri_vm *vm, const uint8_t *payload,
			 size_t length)
{
	struct hvri_credit credit;

	HVRI_TRY(hvri_credit_decode(payload, length, &credit));
	if (!hvri_uuid_equal(&credit.cut, &vm->ship.id))
		return HVREPL_OK;
	vm->ship.credit = HVRI_MAX(vm->ship.credit, credit.bytes);
	want(vm);
	return HVREPL_OK;
}
