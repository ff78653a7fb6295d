/* SPDX-License-Identifier: Apache-2.0 */
/* Guest I/O between the tracker's write_begin and write_end. */
#include "guest.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>

struct waiter {
	sem_t done;
	int32_t result;
};

static void on_complete(struct hvrepl_ticket *ticket, int32_t result)
{
	struct waiter *waiter = ticket->user;

	waiter->result = result;
	sem_post(&waiter->done);
}

static int32_t begin(struct guest_disk *disk, uint64_t offset, uint64_t length,
		     uint32_t kind, struct hvrepl_ticket *ticket)
{
	struct waiter waiter = { .result = HVREPL_OK };
	int32_t rc;

	sem_init(&waiter.done, 0, 0);
	ticket->complete = on_complete;
	ticket->user = &waiter;
	rc = hvrepl_tracker_write_begin(disk->tracker, offset, length, kind,
					ticket);
	if (rc == HVREPL_PENDING) {
		while (sem_wait(&waiter.done) != 0)
			;
		rc = waiter.result;
	}
	sem_destroy(&waiter.done);
	return rc;
}

static int32_t check(const struct guest_disk *disk, uint64_t length,
		     uint64_t offset)
{
	uint64_t mask = disk->info.block_size - 1;

	if (length > disk->info.size || offset > disk->info.size - length)
		return HVREPL_E_RANGE;
	return ((length | offset) & mask) != 0 ? HVREPL_E_INVALID : HVREPL_OK;
}

static int32_t end(struct guest_disk *disk, struct hvrepl_ticket *ticket,
		   int32_t rc, bool durable)
{
	rc = hvrepl_tracker_write_end(disk->tracker, ticket, rc);
	if (rc == HVREPL_OK && durable)
		rc = guest_flush(disk);
	return rc;
}

int32_t guest_read(struct guest_disk *disk, void *buffer, uint64_t length,
		   uint64_t offset)
{
	struct hvrepl_iovec iov = { buffer, (size_t)length };
	int32_t rc = check(disk, length, offset);

	if (rc < 0 || length == 0)
		return rc;
	return disk->disk.ops->readv(disk->disk.user, NULL, offset, &iov, 1);
}

int32_t guest_write(struct guest_disk *disk, const void *buffer,
		    uint64_t length, uint64_t offset, bool durable)
{
	struct hvrepl_iovec iov = { (void *)(uintptr_t)buffer, (size_t)length };
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
	int32_t rc = check(disk, length, offset);

	if (rc < 0 || length == 0)
		return rc;
	rc = begin(disk, offset, length, HVREPL_WRITE_DATA, &ticket);
	if (rc < 0)
		return rc;
	rc = disk->disk.ops->writev(disk->disk.user, NULL, offset, &iov, 1);
	return end(disk, &ticket, rc, durable);
}

int32_t guest_zero(struct guest_disk *disk, uint64_t length, uint64_t offset,
		   bool durable)
{
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
	int32_t rc = check(disk, length, offset);

	if (rc == HVREPL_OK && disk->disk.ops->zero == NULL)
		rc = HVREPL_E_UNSUPPORTED;
	if (rc < 0 || length == 0)
		return rc;
	rc = begin(disk, offset, length, HVREPL_WRITE_ZERO, &ticket);
	if (rc < 0)
		return rc;
	rc = disk->disk.ops->zero(disk->disk.user, NULL, offset, length);
	return end(disk, &ticket, rc, durable);
}

int32_t guest_discard(struct guest_disk *disk, uint64_t length,
		      uint64_t offset, bool durable)
{
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;
	int32_t rc = check(disk, length, offset);

	if (rc < 0 || length == 0 || disk->disk.ops->discard == NULL)
		return rc;
	rc = begin(disk, offset, length, HVREPL_WRITE_DISCARD, &ticket);
	if (rc == HVREPL_E_BUSY)
		return durable ? guest_flush(disk) : HVREPL_OK;
	if (rc < 0)
		return rc;
	rc = disk->disk.ops->discard(disk->disk.user, NULL, offset, length);
	/* The disk need not follow a hint. */
	if (rc == HVREPL_E_UNSUPPORTED)
		rc = HVREPL_OK;
	return end(disk, &ticket, rc, durable);
}

int32_t guest_flush(struct guest_disk *disk)
{
	if (disk->disk.ops->flush == NULL)
		return HVREPL_OK;
	return disk->disk.ops->flush(disk->disk.user, NULL);
}

int guest_errno(int32_t code)
{
	switch (code) {
	case HVREPL_OK:
		return 0;
	case HVREPL_E_FENCED:
	case HVREPL_E_CLOSED:
		return ESHUTDOWN;
	case HVREPL_E_INVALID:
	case HVREPL_E_RANGE:
		return EINVAL;
	case HVREPL_E_NO_SPACE:
	case HVREPL_E_LIMIT:
		return ENOSPC;
	case HVREPL_E_NOMEM:
		return ENOMEM;
	case HVREPL_E_READ_ONLY:
		return EPERM;
	case HVREPL_E_UNSUPPORTED:
		return EOPNOTSUPP;
	default:
		return EIO;
	}
}
