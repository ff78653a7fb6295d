/* SPDX-License-Identifier: Apache-2.0 */
/* What was written, what points and disks must hold, and reading them. */
#include "story.h"

#include <stdlib.h>
/* As src/base/digest.c: the same value, by wider registers. */
#ifdef HVRI_XXH_DISPATCH
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#include <xxh_x86dispatch.h>
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

#define BUCKETS 256u /* Of images, by number. */

static struct image *images[IMAGES_MAX];
static struct image *newest_of[BUCKETS];
static unsigned image_count;
static uint8_t bytes[DISK_SIZE];
/* One for each epoch that was written in when a backup came back. */
static struct hvrepl_uuid blurred[EPOCHS_MAX];
static uint64_t blurred_after[EPOCHS_MAX];
static unsigned blur_count;

uint64_t sector_hash(const void *from)
{
	return XXH3_64bits(from, SECTOR);
}

void shadow_begin(void)
{
	image_count = blur_count = 0;
	memset(newest_of, 0, sizeof(newest_of));
}

void shadow_end(void)
{
	while (image_count > 0)
		free(images[--image_count]);
}

/* What was read of a disk of a site last, whatever it was read of: most of it is
 * the same the next time, and bytes are faster compared than hashed. */
static struct {
	uint8_t bytes[DISK_SIZE];
	uint64_t hash[SECTORS];
	bool filled;
} last_read[2][PAIR_DISKS];

static void take(struct content *into, const struct pair_site *site,
		 unsigned disk, const uint8_t *from)
{
	uint64_t *hash = last_read[site == &pair.b][disk].hash;
	uint8_t *last = last_read[site == &pair.b][disk].bytes;
	bool filled = last_read[site == &pair.b][disk].filled;

	for (unsigned s = 0; s < SECTORS; s++) {
		if (!filled ||
		    memcmp(last + s * SECTOR, from + s * SECTOR, SECTOR) != 0) {
			memcpy(last + s * SECTOR, from + s * SECTOR, SECTOR);
			hash[s] = sector_hash(from + s * SECTOR);
		}
	}
	last_read[site == &pair.b][disk].filled = true;
	memcpy(into->sector[disk], hash, sizeof(into->sector[disk]));
}

static uint64_t held_fail_at[2], held_count[2], held_stray[2];
static unsigned held_kind[2];
static bool held_fail_on[2];
static long held_alloc[2];

void hold(struct pair_site *site)
{
	unsigned i = site == &pair.b;

	held_fail_at[i] = site->sim.fail_at;
	held_count[i] = site->sim.call_count;
	held_fail_on[i] = site->sim.fail_on;
	held_kind[i] = site->sim.stray;
	held_stray[i] = site->sim.stray_at;
	held_alloc[i] = site->env.alloc_fail_at;
	site->sim.fail_at = UINT64_MAX;
	site->sim.fail_on = false;
	site->sim.stray = SIM_STRAY_NONE;
	site->env.alloc_fail_at = -1;
}

void let_go(struct pair_site *site)
{
	unsigned i = site == &pair.b;

	site->sim.fail_at = held_fail_at[i];
	site->sim.call_count = held_count[i];
	site->sim.fail_on = held_fail_on[i];
	site->sim.stray = held_kind[i];
	site->sim.stray_at = held_stray[i];
	site->env.alloc_fail_at = held_alloc[i];
}

bool read_disks(struct teller *t, struct content *into)
{
	bool good = true;

	memset(into->unsure, 0, sizeof(into->unsure));
	hold(t->site);
	for (unsigned i = 0; i < PAIR_DISKS && good; i++) {
		hvrepl_guest_disk *guest = door(t->site, i);

		good = guest != NULL && hvrepl_guest_read(guest, 0, bytes,
							  DISK_SIZE) ==
						HVREPL_OK;
		if (good)
			take(into, t->site, i, bytes);
	}
	let_go(t->site);
	return good;
}

void read_base(struct teller *t, struct content *into)
{
	memset(into->unsure, 0, sizeof(into->unsure));
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		take(into, t->site, i, sim_disk_bytes(t->site->disks[i]));
}

bool was_damaged(const struct teller *t, const struct hvrepl_uuid *epoch,
		 uint64_t number)
{
	for (unsigned i = 0; i < t->damaged_count; i++)
		if (t->damaged_numbers[i] == number &&
		    same(&t->damaged_epochs[i], epoch))
			return true;
	return false;
}

void note_damaged(struct teller *t, const struct hvrepl_uuid *epoch,
		  uint64_t number)
{
	if (!(t->hurt || t->changed) || t->damaged_count == NO_POINTS ||
	    was_damaged(t, epoch, number))
		return;
	t->damaged_epochs[t->damaged_count] = *epoch;
	t->damaged_numbers[t->damaged_count++] = number;
}

bool stood_on_what_was(const struct teller *t, uint64_t number)
{
	bool stood = false;

	for (unsigned i = 0; i < t->damaged_count && t->changed; i++)
		stood |= t->damaged_numbers[i] == number;
	return stood;
}

static void blur(struct content *content, unsigned disk, unsigned first,
		 unsigned count)
{
	memset(&content->unsure[disk][first], true, count);
}

void note_outside(struct teller *t, unsigned disk, unsigned first, unsigned count)
{
	t->changed = true;
	t->changed_epoch = *epoch_shown(t);
	memset(&t->outside[disk][first], true, count);
	blur(&t->guest.shadow, disk, first, count);
	blur(&t->handed, disk, first, count);
	for (unsigned i = 0; i < t->guest.ending_count; i++)
		blur(&t->guest.endings[i]->content, disk, first, count);
	for (unsigned i = 0; i < t->seen_count; i++)
		note_damaged(t, &t->seen_epochs[i], t->seen_numbers[i]);
}

void open_outside(const struct teller *t, struct content *seen)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		for (unsigned k = 0; k < SECTORS; k++)
			seen->unsure[i][k] |= t->outside[i][k];
}

bool read_point(struct teller *t, uint64_t number, bool doubted,
		struct content *into)
{
	hvrepl_view *view = NULL;
	int32_t rc;

	memset(into->unsure, 0, sizeof(into->unsure));
	hold(t->site);
	rc = hvrepl_vm_open_view(t->site->node, &pair_vm, number, &view, NULL);
	for (unsigned i = 0; i < PAIR_DISKS && rc >= 0; i++) {
		struct hvrepl_iovec iov = { bytes, DISK_SIZE };
		struct hvrepl_disk handle;

		rc = hvrepl_view_disk(view, i, &handle);
		if (rc < 0)
			break;
		rc = handle.ops->readv(handle.user, NULL, 0, &iov, 1);
		handle.release(handle.user);
		if (rc >= 0)
			take(into, t->site, i, bytes);
	}
	if (view != NULL && hvrepl_view_close(view) != HVREPL_OK)
		violated(44, "a view that nobody uses does not close");
	let_go(t->site);
	if (rc < 0)
		SAY("%s: point %llu is read: %d", t->site->name,
		    (unsigned long long)number, rc);
	/* Damage is said, and only where there is some, or where the list says that
	 * the point is in doubt: then it is not read. */
	if (rc == HVREPL_E_UNTRUSTED && doubted)
		return false;
	HOLDS(15, rc < 0 || !doubted, "point %llu at %s is in doubt, and read",
	      (unsigned long long)number, t->site->name);
	if (rc <= -500 && rc > -600)
		HOLDS(t->hurt ? 12 : 11, t->hurt,
		      "point %llu at %s is damaged: %d",
		      (unsigned long long)number, t->site->name, rc);
	return rc >= 0;
}

/* Where they differ first: the disk, and the sector; false: nowhere. */
static bool differs(const struct content *seen, const struct content *known,
		    unsigned *disk, unsigned *sector)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		if (memcmp(seen->sector[i], known->sector[i],
			   sizeof(seen->sector[i])) == 0)
			continue;
		for (unsigned s = 0; s < SECTORS; s++) {
			if (known->unsure[i][s] || seen->unsure[i][s] ||
			    seen->sector[i][s] == known->sector[i][s])
				continue;
			*disk = i;
			*sector = s;
			return true;
		}
	}
	return false;
}

bool is_content(const struct content *seen, const struct content *known)
{
	unsigned disk, sector;

	return !differs(seen, known, &disk, &sector);
}

void compare(unsigned guarantee, const struct content *seen,
	     const struct content *known, const char *what,
	     const struct teller *t, uint64_t number)
{
	unsigned disk, sector;

	if (differs(seen, known, &disk, &sector))
		violated(guarantee,
			 "%s %llu at %s: disk %u differs at sector %u", what,
			 (unsigned long long)number, t->site->name, disk,
			 sector);
	PROVE(guarantee);
	if (tellers[0].hurt || tellers[1].hurt)
		PROVE(15);
}

struct content *find_ending(const struct teller *t,
			    const struct hvrepl_uuid *epoch)
{
	for (unsigned i = 0; i < t->guest.ending_count; i++)
		if (same(&t->guest.endings[i]->epoch, epoch))
			return &t->guest.endings[i]->content;
	return NULL;
}

void blur_images(const struct hvrepl_uuid *epoch, uint64_t after)
{
	for (unsigned i = 0; i < blur_count; i++)
		if (same(&blurred[i], epoch)) {
			if (after < blurred_after[i])
				blurred_after[i] = after;
			return;
		}
	if (blur_count == EPOCHS_MAX)
		abort();
	blurred[blur_count] = *epoch;
	blurred_after[blur_count++] = after;
}

static bool is_blurred(const struct hvrepl_uuid *epoch, uint64_t number)
{
	for (unsigned i = 0; i < blur_count; i++)
		if (same(&blurred[i], epoch) && number > blurred_after[i])
			return true;
	return false;
}

void blur_named(const struct hvrepl_uuid *epoch, uint64_t after)
{
	for (unsigned i = 0; i < image_count; i++)
		if (same(&images[i]->epoch, epoch) &&
		    images[i]->number > after) {
			blur_images(epoch, after);
			return;
		}
}

/* This one, or the next older, of that cut. */
static struct image *image_from(struct image *image,
				const struct hvrepl_uuid *epoch,
				uint64_t number)
{
	while (image != NULL &&
	       (image->number != number || !same(&image->epoch, epoch)))
		image = image->older;
	return image;
}

struct content *find_image(const struct hvrepl_uuid *epoch, uint64_t number)
{
	struct image *image =
		image_from(newest_of[number % BUCKETS], epoch, number);

	return image == NULL || is_blurred(epoch, number) ? NULL :
							    &image->content;
}

void choose_image(const struct hvrepl_uuid *epoch, uint64_t number,
		  const struct content *seen)
{
	struct image *first =
		image_from(newest_of[number % BUCKETS], epoch, number);
	struct image *at = first;
	unsigned disk, sector;

	while (at != NULL && differs(seen, &at->content, &disk, &sector))
		at = image_from(at->older, epoch, number);
	if (at != NULL)
		first->content = at->content;
	/* The others are of no cut any more. */
	while (first != NULL &&
	       (at = image_from(first->older, epoch, number)) != NULL)
		at->number = 0;
}

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static void add_image(const struct hvrepl_uuid *epoch, uint64_t number,
		      const struct content *content)
{
	struct image *image;

	if (image_count == IMAGES_MAX)
		return;
	image = must(malloc(sizeof(*image)));
	image->epoch = *epoch;
	image->number = number;
	image->content = *content;
	image->older = newest_of[number % BUCKETS];
	newest_of[number % BUCKETS] = image;
	images[image_count++] = image;
}

void keep_image(const struct hvrepl_uuid *epoch, uint64_t number,
		const struct guest *guest)
{
	unsigned count = guest_instants(guest);

	if (find_image(epoch, number) != NULL || count > INSTANTS_MAX)
		return;
	for (unsigned i = 0; i < count; i++)
		add_image(epoch, number, &guest->instant[i]);
	add_image(epoch, number, &guest->shadow);
}

unsigned guest_instants(const struct guest *guest)
{
	/* Named within a cycle or not at all. */
	return pair.now_ns - guest->instants_ns < 3 * SECOND ?
		       guest->instant_count : 0;
}

void keep_ending(struct guest *guest)
{
	struct ending *ending = NULL;

	for (unsigned i = 0; i < guest->ending_count; i++)
		if (same(&guest->endings[i]->epoch, &guest->epoch))
			ending = guest->endings[i];
	if (ending == NULL) {
		if (guest->ending_count == EPOCHS_MAX)
			return;
		ending = must(malloc(sizeof(*ending)));
		guest->endings[guest->ending_count++] = ending;
	}
	ending->epoch = guest->epoch;
	ending->content = guest->shadow;
}

bool epoch_of(struct pair_site *site, const struct hvrepl_uuid *id,
	      struct hvrepl_epoch *epoch)
{
	for (uint32_t i = 0;; i++) {
		*epoch = (struct hvrepl_epoch)HVREPL_EPOCH_INIT;
		if (hvrepl_vm_get_epoch(site->node, &pair_vm, i, epoch) < 0)
			return false;
		if (same(&epoch->id, id))
			return true;
	}
}

struct content *find_point(struct pair_site *site, struct hvrepl_uuid epoch,
			   uint64_t number)
{
	struct hvrepl_epoch e;

	for (unsigned depth = 0; depth < EPOCHS_MAX; depth++) {
		struct content *found = find_image(&epoch, number);

		if (is_blurred(&epoch, number))
			return NULL;
		if (found != NULL)
			return found;
		if (!epoch_of(site, &epoch, &e))
			return NULL;
		epoch = e.parent;
	}
	return NULL;
}

void free_guest(struct guest *guest)
{
	while (guest->ending_count > 0)
		free(guest->endings[--guest->ending_count]);
}

void copy_guest(struct guest *to, const struct guest *from)
{
	free_guest(to);
	*to = *from;
	for (unsigned i = 0; i < to->ending_count; i++) {
		to->endings[i] = must(malloc(sizeof(*to->endings[i])));
		*to->endings[i] = *from->endings[i];
	}
}
