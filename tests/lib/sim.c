/* SPDX-License-Identifier: Apache-2.0 */
/* Images with pending writes, and disks over them; see sim.h. */
#include "simimage.h"

#include "testing.h"

void sim_init(struct sim *sim, uint64_t seed)
{
	*sim = (struct sim){
		.random = seed * 2 + 1,
		.crash_at = UINT64_MAX,
		.fail_at = UINT64_MAX,
		.flush_fail_at = UINT64_MAX,
		.fail_code = HVREPL_E_DISK_IO,
		.survive_percent = 50,
		.garbage_percent = 10,
	};
}

struct sim_image *sim_image_new(struct sim *sim, uint64_t size)
{
	struct sim_image *image = sim_must(calloc(1, sizeof(*image)));

	image->size = image->durable_size = size;
	image->room = image->reach = size;
	image->now = sim_must(calloc(1, size + 1));
	image->medium = sim_must(malloc(size + 1));
	image->last = &image->first;
	image->next = sim->images;
	sim->images = image;
	return image;
}

void sim_drop_pending(struct sim_image *image)
{
	while (image->first != NULL) {
		struct sim_pending *gone = image->first;

		image->first = gone->next;
		free(gone);
	}
	image->last = &image->first;
}

/* realloc() would move what nobody has written yet, too. */
static uint8_t *larger(uint8_t *bytes, uint64_t used, uint64_t room)
{
	uint8_t *made = sim_must(malloc(room));

	memcpy(made, bytes, used);
	free(bytes);
	return made;
}

static void grow(struct sim_image *image, uint64_t size)
{
	uint64_t room = image->room;

	/* An object that grows does so again. */
	while (room < size)
		room = room < 16384 ? 16384 : room < 262144 ? room * 4 : room * 2;
	image->now = larger(image->now, image->reach, room + 1);
	image->medium = larger(image->medium, image->medium_reach, room + 1);
	image->room = room;
}

void sim_make_room(struct sim_image *image, uint64_t size)
{
	if (size > image->room)
		grow(image, size);
	if (size <= image->reach)
		return;
	memset(image->now + image->reach, 0, size - image->reach);
	image->reach = size;
}

/* ...where its last `length` bytes are written next. */
static void make_room_after(struct sim_image *image, uint64_t offset,
			    uint64_t length)
{
	if (offset + length <= image->reach)
		return;
	if (offset + length > image->room)
		grow(image, offset + length);
	sim_make_room(image, offset);
	image->reach = offset + length;
}

struct sim_pending *sim_add_pending(struct sim_image *image, uint64_t offset,
				   uint64_t length, bool resize)
{
	struct sim_pending *one =
		sim_must(malloc(sizeof(*one) + (resize ? 0 : length)));

	one->next = NULL;
	one->offset = offset;
	one->length = length;
	one->resize = resize;
	*image->last = one;
	image->last = &one->next;
	return one;
}

static bool chance(struct sim *sim, unsigned percent)
{
	return test_random(&sim->random) % 100 < percent;
}

static void trace(struct sim *sim, uint64_t value)
{
	sim->trace = (sim->trace ^ value) * 0x9e3779b97f4a7c15ull;
	sim->trace ^= sim->trace >> 29;
}

int32_t sim_step(struct sim *sim, bool changes, bool *crash_after)
{
	if (sim->hook != NULL && !sim->crashed)
		sim->hook(sim->hook_argument);
	*crash_after = false;
	if (sim->crashed)
		return HVREPL_E_UNAVAILABLE;
	sim->events++;
	if (sim->call_count++ >= sim->fail_at) {
		if (!sim->fail_on)
			sim->fail_at = UINT64_MAX;
		sim->failed++;
		return sim->fail_code;
	}
	if (changes && sim->io_count++ == sim->crash_at)
		*crash_after = true;
	return HVREPL_OK;
}

int32_t sim_late(const struct sim *sim, hvrepl_op *op, int32_t rc)
{
	if (!sim->late || op == NULL)
		return rc;
	hvrepl_op_complete(op, rc);
	return HVREPL_PENDING;
}

int32_t sim_finish(struct sim *sim, bool crash)
{
	if (!crash)
		return HVREPL_OK;
	sim->crashed = true;
	return HVREPL_E_UNAVAILABLE;
}

/* ---- What the medium does wrong, and says nothing. ---- */

/* Bytes of an overlay are a guest's disk: as on a disk, nobody but the guest
 * could tell that they are wrong. */
static bool is_guests(const struct sim_image *image)
{
	return strncmp(image->id, "store.ovl.", 10) == 0;
}

static struct sim_image *any_object(struct sim *sim,
				    const struct sim_storage *storage)
{
	struct sim_image *found = NULL;
	uint64_t seen = 0;

	for (struct sim_image *i = sim->images; i != NULL; i = i->next)
		if (i->storage != NULL && i->exists && i->size > 0 &&
		    !is_guests(i) &&
		    (storage == NULL || i->storage == storage) &&
		    test_random(&sim->random) % ++seen == 0)
			found = i;
	return found;
}

const char *sim_rot(struct sim *sim)
{
	struct sim_image *image = any_object(sim, NULL);
	uint64_t at;
	uint8_t bit;

	if (image == NULL)
		return NULL;
	at = test_random(&sim->random) % image->size;
	bit = (uint8_t)(1u << test_random(&sim->random) % 8);
	image->now[at] ^= bit;
	sim_durable(image)[at] = image->now[at];
	image->odd = true;
	sim->hurt++;
	return image->id;
}

/* A write of an object that goes nowhere, or elsewhere. */
static void stray(struct sim *sim, const uint8_t *bytes, uint64_t length)
{
	struct sim_image *victim = any_object(sim, sim->stray_in);
	uint64_t at;

	sim->hurt++;
	if (sim->stray == SIM_STRAY_LOST || victim == NULL)
		return;
	at = test_random(&sim->random) % victim->size;
	at -= at % SIM_SECTOR;
	if (length > victim->size - at)
		length = victim->size - at;
	memcpy(victim->now + at, bytes, length);
	memcpy(sim_durable(victim) + at, bytes, length);
	victim->odd = true;
}

int32_t sim_image_write(struct sim *sim, struct sim_image *image,
			uint64_t offset, const struct hvrepl_iovec *iov,
			uint32_t iov_count)
{
	uint64_t length = 0, at = 0;
	struct sim_pending *one;
	bool crash, lost;
	int32_t rc = sim_step(sim, true, &crash);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < iov_count; i++)
		length += iov[i].length;
	trace(sim, offset << 24 ^ length);
	lost = image->storage != NULL && !is_guests(image) &&
	       sim->stray != SIM_STRAY_NONE &&
	       (sim->stray_in == NULL || image->storage == sim->stray_in) &&
	       (sim->stray_of == NULL ||
		strncmp(image->id, sim->stray_of, strlen(sim->stray_of)) ==
			0) &&
	       sim->io_count > sim->stray_at && !crash;
	if (lost)
		sim_make_room(image, offset + length);
	else
		make_room_after(image, offset, length);
	one = sim_add_pending(image, offset, length, false);
	for (uint32_t i = 0; i < iov_count; i++) {
		memcpy(one->bytes + at, iov[i].base, iov[i].length);
		at += iov[i].length;
	}
	if (lost) {
		stray(sim, one->bytes, length);
		sim->stray = SIM_STRAY_NONE;
		/* What was there stays; the size is as if it had come. */
		memcpy(one->bytes, image->now + offset, length);
	}
	memcpy(image->now + offset, one->bytes, length);
	if (offset + length > image->size)
		image->size = offset + length;
	return sim_finish(sim, crash);
}

/* Whether a reader sees more or other bytes than the medium has. */
static bool differs(const struct sim_image *image)
{
	return image->first != NULL || image->apart || image->odd ||
	       image->whole || image->late ||
	       image->exists != image->durable_exists;
}

/* There are zeroes past both ends, but for what was hurt there. */
static uint64_t end_of(const struct sim_image *image)
{
	return image->odd			   ? image->reach :
	       image->size > image->durable_size ? image->size :
						     image->durable_size;
}

void sim_image_revert(struct sim_image *image)
{
	memcpy(image->now, sim_durable(image), end_of(image));
	image->size = image->durable_size;
	image->apart = false;
}

void sim_settle(struct sim_image *image)
{
	if (!differs(image))
		return;
	sim_drop_pending(image);
	memcpy(image->medium, image->now, end_of(image));
	if (image->medium_reach < end_of(image))
		image->medium_reach = end_of(image);
	image->apart = false;
	image->durable_size = image->size;
	image->durable_exists = image->exists;
	image->whole = false;
}

/* What a flush does: only what is pending, and nothing that an earlier flush
 * lost. */
static void settle_pending(struct sim_image *image)
{
	if (image->whole || (image->storage != NULL && !image->durable_exists)) {
		sim_settle(image);
		return;
	}
	for (struct sim_pending *one = image->first; one != NULL;
	     one = one->next) {
		uint64_t end = one->offset + one->length;

		if (one->resize) {
			sim_set_size(sim_durable(image), &image->durable_size,
				     one->length);
			continue;
		}
		if (one->offset > image->medium_reach)
			(void)sim_durable(image);
		memcpy(image->medium + one->offset, one->bytes, one->length);
		if (end > image->medium_reach)
			image->medium_reach = end;
		if (end > image->durable_size)
			image->durable_size = end;
	}
	image->durable_exists = image->exists;
	sim_drop_pending(image);
}

/* A flush has failed; what was pending is as `fails` says. */
static void fail_flush(struct sim_image *image, unsigned fails)
{
	if (fails == SIM_FLUSH_KEEPS || image->whole ||
	    (image->storage != NULL && !image->durable_exists))
		return;
	if (fails == SIM_FLUSH_REVERTS) {
		image->reverts += image->first != NULL;
		sim_image_revert(image);
	} else if (image->first != NULL) {
		image->apart = true;
	}
	sim_drop_pending(image);
}

int32_t sim_image_flush(struct sim *sim, struct sim_image *image)
{
	uint64_t failed = sim->failed;
	bool crash;
	int32_t rc;

	if (!sim->crashed &&
	    (image->storage != NULL || !sim->flush_objects) &&
	    sim->flush_count++ == sim->flush_fail_at)
		sim->fail_at = sim->call_count;
	rc = sim_step(sim, true, &crash);
	trace(sim, 1);
	if (rc < 0) {
		if (sim->failed == failed)
			return rc;
		if (sim->flush_fails != SIM_FLUSH_LATE) {
			fail_flush(image, sim->flush_fails);
			return rc;
		}
		if (image->first != NULL && !image->whole &&
		    (image->storage == NULL || image->durable_exists)) {
			fail_flush(image, SIM_FLUSH_CLEANS);
			image->late = true;
		}
		return HVREPL_OK;
	}
	if (image->late && !crash) {
		image->late = false;
		fail_flush(image, SIM_FLUSH_CLEANS);
		return sim->fail_code;
	}
	/* A flush that crashes may have done nothing yet, or all of it. */
	if (!crash || (sim->flush_may_finish && chance(sim, 50)))
		settle_pending(image);
	/* Done, and not yet known to be. */
	if (!crash && sim->hook != NULL)
		sim->hook(sim->hook_argument);
	if (sim->crashed)
		return HVREPL_E_UNAVAILABLE;
	return sim_finish(sim, crash);
}

static void lose_power(struct sim *sim, struct sim_image *image)
{
	uint8_t *durable;

	if (!differs(image))
		return;
	durable = sim_durable(image);
	for (struct sim_pending *one = image->first; one != NULL; one = one->next) {
		uint64_t at = one->offset, end = at + one->length;

		if (one->resize) {
			if (chance(sim, sim->survive_percent))
				sim_set_size(durable, &image->durable_size,
					     one->length);
			continue;
		}
		while (at < end) {
			uint64_t next = (at / SIM_SECTOR + 1) * SIM_SECTOR;
			uint64_t piece = (next < end ? next : end) - at;

			if (chance(sim, sim->survive_percent)) {
				if (chance(sim, sim->garbage_percent))
					test_fill(durable + at, piece,
						  test_random(&sim->random));
				else
					memcpy(durable + at,
					       one->bytes + (at - one->offset),
					       piece);
				if (at + piece > image->durable_size)
					image->durable_size = at + piece;
			}
			at += piece;
		}
	}
	/* A fault that nobody was told of costs nothing without a crash, and
	 * would be silent with one: the device has made up for it. */
	if (image->late)
		sim_settle(image);
	image->late = false;
	/* Existence is one bit: a file made or removed and not yet synced. */
	if (image->exists != image->durable_exists &&
	    chance(sim, sim->survive_percent))
		image->durable_exists = image->exists;
	sim_image_revert(image);
	image->exists = image->durable_exists;
	sim_drop_pending(image);
}

void sim_restart(struct sim *sim, bool power_loss)
{
	for (struct sim_image *i = sim->images; i != NULL; i = i->next) {
		if (power_loss)
			lose_power(sim, i);
		if (i->storage != NULL && !i->exists) {
			sim_set_size(i->now, &i->size, 0);
			if (!i->durable_exists)
				sim_settle(i);
		}
	}
	sim->crashed = false;
	sim->crash_at = UINT64_MAX;
}

static int32_t disk_info(void *user, struct hvrepl_disk_info *out)
{
	struct sim_disk *disk = user;

	if (test_refuses(disk->sim->refusals))
		return HVREPL_E_DISK_IO;
	out->flags = disk->flags;
	out->size = disk->image->size;
	out->block_size = disk->block_size;
	out->token_length = disk->no_token ? 0 : sizeof(disk->token);
	memcpy(out->token, &disk->token, sizeof(disk->token));
	return HVREPL_OK;
}

static int32_t disk_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct sim_disk *disk = user;
	bool crash;
	int32_t rc = sim_step(disk->sim, false, &crash);

	for (uint32_t i = 0; rc == HVREPL_OK && i < iov_count; i++) {
		memcpy(iov[i].base, disk->image->now + offset, iov[i].length);
		offset += iov[i].length;
	}
	return sim_late(disk->sim, op, rc);
}

static int32_t disk_writev(void *user, hvrepl_op *op, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct sim_disk *disk = user;

	if ((disk->flags & HVREPL_DISK_READ_ONLY) != 0)
		return HVREPL_E_READ_ONLY;
	if (disk->token_clock != NULL && !disk->sim->crashed)
		disk->token = *disk->token_clock;
	return sim_late(disk->sim, op,
			sim_image_write(disk->sim, disk->image, offset, iov,
					iov_count));
}

static int32_t disk_flush(void *user, hvrepl_op *op)
{
	struct sim_disk *disk = user;

	return sim_late(disk->sim, op,
			sim_image_flush(disk->sim, disk->image));
}

static void disk_release(void *user)
{
	((struct sim_disk *)user)->released++;
}

static const struct hvrepl_disk_ops disk_ops = {
	.struct_size = sizeof(disk_ops),
	.info = disk_info,
	.readv = disk_readv,
	.writev = disk_writev,
	.flush = disk_flush,
};

/* Disks and storages are few and live as long as their sim. */
void *sim_owned(struct sim *sim, size_t size)
{
	if (sim->owned_count == SIM_OWNED_MAX)
		abort();
	return sim->owned[sim->owned_count++] = sim_must(calloc(1, size));
}

struct sim_disk *sim_disk_new(struct sim *sim, uint64_t size)
{
	struct sim_disk *disk = sim_owned(sim, sizeof(*disk));

	*disk = (struct sim_disk){
		.sim = sim,
		.image = sim_image_new(sim, size),
		.block_size = SIM_SECTOR,
		.token = 1,
	};
	return disk;
}

struct hvrepl_disk sim_disk_handle(struct sim_disk *disk)
{
	return (struct hvrepl_disk){ &disk_ops, disk, disk_release };
}

const uint8_t *sim_disk_bytes(const struct sim_disk *disk)
{
	return disk->image->now;
}

unsigned sim_disk_reverts(const struct sim_disk *disk)
{
	return disk->image->reverts;
}

unsigned sim_storage_reverts(const struct sim_storage *storage)
{
	unsigned reverts = 0;

	for (const struct sim_image *i = storage->sim->images; i != NULL;
	     i = i->next)
		if (i->storage == storage && is_guests(i))
			reverts += i->reverts;
	return reverts;
}

uint64_t sim_disk_size(const struct sim_disk *disk)
{
	return disk->image->size;
}

void sim_disk_poke(struct sim_disk *disk, uint64_t offset, const void *bytes,
		   size_t length)
{
	/* A flush would write what is pending over it. */
	if (disk->image->first != NULL)
		sim_settle(disk->image);
	memcpy(disk->image->now + offset, bytes, length);
	memcpy(sim_durable(disk->image) + offset, bytes, length);
	disk->image->apart = true;
}

