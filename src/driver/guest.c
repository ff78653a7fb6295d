/* SPDX-License-Identifier: Apache-2.0 */
/* Guest I/O: fence and tracker in front of whatever disk is current. */
#include "driver/guest.h"

#include "tracker/cut.h"

void hvri_guest_init(struct hvrepl_guest_disk *guest,
		     const struct hvri_env *env, uint64_t size,
		     uint32_t block_size)
{
	*guest = (struct hvrepl_guest_disk){
		.env = env,
		.size = size,
		.block_size = block_size,
	};
	hvri_rwlock_init(&guest->lock);
}

void hvri_guest_free(struct hvrepl_guest_disk *guest)
{
	hvri_rwlock_destroy(&guest->lock);
}

void hvri_guest_switch(struct hvrepl_guest_disk *guest,
		       const struct hvri_backing *backing)
{
	hvri_lock_alone(&guest->lock);
	guest->backing = *backing;
	hvri_rwlock_unlock(&guest->lock);
}

static void count(uint64_t *counter, uint64_t by)
{
	__atomic_fetch_add(counter, by, __ATOMIC_RELAXED);
}

int32_t hvri_guest_read(struct hvrepl_guest_disk *guest, uint64_t offset,
			void *buffer, size_t length)
{
	int32_t rc = HVREPL_E_FENCED;

	hvri_lock_shared(&guest->lock);
	if (guest->backing.disk != NULL)
		rc = hvri_disk_read(guest->backing.disk, offset, buffer,
				    length);
	hvri_rwlock_unlock(&guest->lock);
	count(&guest->reads, 1);
	if (rc == HVREPL_OK)
		count(&guest->read_bytes, length);
	return rc;
}

int32_t hvri_guest_allocated(struct hvrepl_guest_disk *guest, uint64_t offset,
			     uint64_t length, struct hvrepl_extent *extents_out,
			     uint32_t *count_inout, uint64_t *end_out)
{
	uint64_t end = offset + length;
	uint32_t room = *count_inout, count = 0;
	bool open;

	if (offset > guest->size || length > guest->size - offset)
		return HVREPL_E_RANGE;
	hvri_lock_shared(&guest->lock);
	open = guest->backing.disk != NULL;
	while (open && offset < end && count < room) {
		struct hvrepl_extent found;

		hvri_disk_next_allocated(guest->backing.disk, offset, end,
					 &found);
		offset = end;
		if (found.length > 0) {
			extents_out[count++] = found;
			offset = found.offset + found.length;
		}
	}
	hvri_rwlock_unlock(&guest->lock);
	if (!open)
		return HVREPL_E_FENCED;
	*count_inout = count;
	*end_out = offset;
	return HVREPL_OK;
}

/* A ticket whose writer waits on its own thread. */
struct waiter {
	struct hvrepl_ticket ticket; /* First: found by its address. */
	hvri_mutex mutex;
	hvri_cond cond;
	bool done;
	int32_t result;
};

static void waiter_complete(struct hvrepl_ticket *ticket, int32_t result)
{
	struct waiter *waiter = (struct waiter *)ticket;

	/* Signalled under the lock: the waiter's frame may go at once. */
	hvri_lock(&waiter->mutex);
	waiter->done = true;
	waiter->result = result;
	hvri_wake_all(&waiter->cond);
	hvri_unlock(&waiter->mutex);
}

static int32_t begin(struct hvrepl_guest_disk *guest, uint64_t offset,
		     uint64_t length, uint32_t kind, struct waiter *waiter)
{
	int32_t rc;

	waiter->ticket = (struct hvrepl_ticket)HVREPL_TICKET_INIT;
	waiter->ticket.complete = waiter_complete;
	waiter->done = false;
	hvri_mutex_init(&waiter->mutex);
	hvri_cond_init(&waiter->cond);
	rc = hvrepl_tracker_write_begin(guest->backing.tracker, offset, length,
					kind, &waiter->ticket);
	if (rc != HVREPL_PENDING)
		return rc;
	if (guest->waiting != NULL)
		guest->waiting(guest->user);
	hvri_lock(&waiter->mutex);
	while (!waiter->done)
		hvri_wait(&waiter->cond, &waiter->mutex);
	rc = waiter->result;
	hvri_unlock(&waiter->mutex);
	return rc;
}

static void end(struct waiter *waiter)
{
	hvri_cond_destroy(&waiter->cond);
	hvri_mutex_destroy(&waiter->mutex);
}

/* One changing I/O under the tracker. `buffer` is for DATA only. */
static int32_t change(struct hvrepl_guest_disk *guest, uint64_t offset,
		      const void *buffer, uint64_t length, uint32_t kind)
{
	struct waiter waiter;
	int32_t rc;

	hvri_lock_shared(&guest->lock);
	if (guest->backing.tracker == NULL) {
		hvri_rwlock_unlock(&guest->lock);
		return HVREPL_E_FENCED;
	}
	rc = begin(guest, offset, length, kind, &waiter);
	if (rc == HVREPL_OK) {
		const struct hvri_disk *disk = guest->backing.disk;

		if (kind == HVREPL_WRITE_DATA)
			rc = hvri_disk_write(disk, offset, buffer,
					     (size_t)length);
		else if (kind == HVREPL_WRITE_ZERO)
			rc = hvri_disk_zero(guest->env, disk, offset, length);
		else
			hvri_disk_discard(disk, offset, length);
		rc = hvrepl_tracker_write_end(guest->backing.tracker,
					      &waiter.ticket, rc);
	}
	end(&waiter);
	hvri_rwlock_unlock(&guest->lock);
	return rc;
}

static int32_t counted(struct hvrepl_guest_disk *guest, uint64_t length,
		       int32_t rc)
{
	if (rc == HVREPL_E_FENCED)
		count(&guest->refused, 1);
	count(&guest->writes, 1);
	if (rc == HVREPL_OK)
		count(&guest->written_bytes, length);
	return rc;
}

int32_t hvri_guest_write(struct hvrepl_guest_disk *guest, uint64_t offset,
			 const void *buffer, size_t length)
{
	return counted(guest, length,
		       change(guest, offset, buffer, length,
			      HVREPL_WRITE_DATA));
}

int32_t hvri_guest_zero(struct hvrepl_guest_disk *guest, uint64_t offset,
			uint64_t length)
{
	return counted(guest, length,
		       change(guest, offset, NULL, length, HVREPL_WRITE_ZERO));
}

int32_t hvri_guest_discard(struct hvrepl_guest_disk *guest, uint64_t offset,
			   uint64_t length)
{
	int32_t rc = change(guest, offset, NULL, length, HVREPL_WRITE_DISCARD);

	/* A cut still needs the blocks: a discard is a hint, skip it. */
	return counted(guest, length, rc == HVREPL_E_BUSY ? HVREPL_OK : rc);
}

int32_t hvri_guest_flush(struct hvrepl_guest_disk *guest)
{
	int32_t rc = HVREPL_E_FENCED;

	hvri_lock_shared(&guest->lock);
	/* Whoever flushed and failed: the guest is told, for what it wrote
	 * before may be lost. */
	if (guest->backing.tracker != NULL)
		rc = hvri_tracker_guest_flush(guest->backing.tracker,
					      guest->backing.disk);
	hvri_rwlock_unlock(&guest->lock);
	count(&guest->flushes, 1);
	return rc;
}

static uint64_t now(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void hvri_guest_info(struct hvrepl_guest_disk *guest,
		     struct hvrepl_guest_info *info_out)
{
	*info_out = (struct hvrepl_guest_info){
		.struct_size = sizeof(*info_out),
		.size = guest->size,
		.block_size = guest->block_size,
		.reads = now(&guest->reads),
		.writes = now(&guest->writes),
		.flushes = now(&guest->flushes),
		.read_bytes = now(&guest->read_bytes),
		.written_bytes = now(&guest->written_bytes),
		.refused = now(&guest->refused),
	};
	hvri_lock_shared(&guest->lock);
	if (guest->backing.disk != NULL)
		info_out->flags |= HVREPL_GUEST_READABLE;
	if (guest->backing.tracker != NULL)
		info_out->flags |= HVREPL_GUEST_WRITABLE;
	hvri_rwlock_unlock(&guest->lock);
}
