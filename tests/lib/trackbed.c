/* SPDX-License-Identifier: Apache-2.0 */
/* Trackers under seeded guests, cuts and shipping; see trackbed.h. */
#include "trackbed.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_MAX 24u /* Sectors. */

static void bed_wake(void *user)
{
	__atomic_store_n(&((struct bed *)user)->woken, true, __ATOMIC_SEQ_CST);
}

static uint64_t pick(struct bed *bed, uint64_t below)
{
	return test_random(&bed->random) % below;
}

void bed_init(struct bed *bed, uint64_t seed)
{
	/* The last region and the last block are cut short. */
	static const uint64_t sizes[BED_DISKS] = {
		3 * BED_REGION + 7 * SIM_SECTOR,
		5 * BED_REGION + 7 * SIM_SECTOR,
	};

	bed_init_sized(bed, seed, sizes);
}

void bed_init_sized(struct bed *bed, uint64_t seed,
		    const uint64_t sizes[BED_DISKS])
{
	memset(bed, 0, sizeof(*bed));
	test_env_init(&bed->env, seed);
	sim_init(&bed->sim, seed);
	bed->random = seed * 2 + 1;
	bed->files = sim_storage_new(&bed->sim);
	bed->spill = sim_storage_new(&bed->sim);
	for (uint32_t i = 0; i < BED_DISKS; i++) {
		bed->size[i] = sizes[i];
		bed->disk[i] = sim_disk_new(&bed->sim, bed->size[i]);
		bed->disk[i]->flags = HVREPL_DISK_EXCLUSIVE;
		bed->replica[i] = calloc(1, bed->size[i] + BED_GROWS);
		bed->next[i] = calloc(1, bed->size[i] + BED_GROWS);
	}
	for (uint32_t i = 0; i < BED_TICKETS; i++) {
		bed->ticket[i].ticket =
			(struct hvrepl_ticket)HVREPL_TICKET_INIT;
		bed->ticket[i].bed = bed;
	}
	for (uint32_t i = 0; i < BED_CUTS; i++)
		for (uint32_t d = 0; d < BED_DISKS; d++)
			bed->cut[i].expect[d] =
				calloc(1, bed->size[d] + BED_GROWS);
}

void bed_free(struct bed *bed)
{
	for (uint32_t d = 0; d < BED_DISKS; d++) {
		free(bed->replica[d]);
		free(bed->next[d]);
		for (uint32_t i = 0; i < BED_CUTS; i++)
			free(bed->cut[i].expect[d]);
	}
	sim_free(&bed->sim);
	ck_assert_int_eq(bed->env.alloc_live, 0);
}

static void between(void *argument);

static int32_t trust(void *user, hvrepl_op *op, uint32_t trusted)
{
	struct bed_word *word = user;

	(void)op;
	if (word->bed->sim.crashed)
		return HVREPL_E_UNAVAILABLE;
	word->untrusted = trusted == 0;
	return HVREPL_OK;
}

int32_t bed_attach(struct bed *bed, uint32_t flags)
{
	static const char *const ids[BED_DISKS] = { "a.hvt", "b.hvt" };
	struct hvrepl_group_options group = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_storage spill = sim_storage_handle(bed->spill);
	int32_t rc;

	group.spool_memory = 16384;
	group.spill = &spill;
	group.spill_limit = 1 << 20;
	group.cool_after_ns = 1000000;
	group.wake = bed_wake;
	group.wake_user = bed;
	group.level = HVREPL_LEVEL_STORE;
	rc = hvrepl_group_create(&bed->env.env, &group, NULL, &bed->group);
	for (uint32_t i = 0; rc == HVREPL_OK && i < BED_DISKS; i++) {
		struct hvrepl_tracker_options options =
			HVREPL_TRACKER_OPTIONS_INIT;
		struct hvrepl_disk disk = sim_disk_handle(bed->disk[i]);
		struct hvrepl_storage files = sim_storage_handle(bed->files);
		struct hvrepl_error error = HVREPL_ERROR_INIT;

		options.flags = flags;
		options.vm.bytes[0] = 1;
		options.disk.bytes[0] = (uint8_t)(i + 1);
		options.owner.bytes[0] = 9;
		options.object_id = ids[i];
		options.block_size = BED_BLOCK;
		options.region_size = BED_REGION;
		bed->word[i].bed = bed;
		if (bed->word[i].untrusted)
			options.flags |= HVREPL_TRACKER_UNTRUSTED;
		if (bed->trusts)
			options.trust = trust;
		options.user = &bed->word[i];
		rc = hvrepl_tracker_attach(bed->group, &disk, &files, &options,
					   &error, &bed->tracker[i]);
		ck_assert(rc < 0 ? error.sentence[0] != 0 : true);
	}
	if (rc < 0)
		bed_kill(bed);
	if (rc == HVREPL_OK && bed->mingle) {
		bed->sim.hook = between;
		bed->sim.hook_argument = bed;
	}
	return rc;
}

static void completed(struct hvrepl_ticket *ticket, int32_t result)
{
	struct bed_ticket *mine = (struct bed_ticket *)ticket;

	ck_assert_msg(mine->stage == BED_WAITING, "a ticket ended twice");
	mine->stage = result == HVREPL_OK ? BED_GO : BED_FREE;
}

void bed_begin(struct bed *bed, struct bed_ticket *mine)
{
	int32_t rc;

	mine->ticket.complete = completed;
	mine->stage = BED_WAITING;
	rc = hvrepl_tracker_write_begin(bed->tracker[mine->disk], mine->offset,
					mine->length, mine->kind,
					&mine->ticket);
	if (rc == HVREPL_PENDING)
		bed->pended++;
	else
		mine->stage = rc == HVREPL_OK ? BED_GO : BED_FREE;
}

static void begin(struct bed *bed, struct bed_ticket *mine)
{
	uint64_t sectors;

	mine->disk = (uint32_t)pick(bed, BED_DISKS);
	sectors = bed->size[mine->disk] / SIM_SECTOR;
	mine->offset = pick(bed, sectors);
	/* Guests come back to the same places. */
	if (pick(bed, 2) == 0)
		mine->offset = mine->offset % 40 +
			       (mine->offset > sectors / 2 ? sectors / 2 : 0);
	mine->length = 1 + pick(bed, WRITE_MAX);
	if (pick(bed, 40) == 0)
		mine->length = sectors;
	mine->length = HVRI_MIN(mine->length, sectors - mine->offset) *
		       SIM_SECTOR;
	mine->offset *= SIM_SECTOR;
	mine->kind = pick(bed, 6) == 0 ? HVREPL_WRITE_ZERO :
		     pick(bed, 8) == 0 ? HVREPL_WRITE_DISCARD :
					 HVREPL_WRITE_DATA;
	bed_begin(bed, mine);
}

/* The write reaches the disk; cuts that name a later instant have it too. */
void bed_perform(struct bed *bed, struct bed_ticket *mine)
{
	struct hvrepl_disk disk = sim_disk_handle(bed->disk[mine->disk]);
	uint64_t generation = hvri_wait_of(&mine->ticket)->generation;
	uint8_t *bytes = calloc(1, mine->length);
	struct hvrepl_iovec iov = { bytes, mine->length };

	if (mine->kind == HVREPL_WRITE_DATA)
		test_fill(bytes, mine->length, test_random(&bed->random));
	mine->stage = BED_WRITING;
	mine->result = disk.ops->writev(disk.user, NULL, mine->offset, &iov, 1);
	if (mine->result == HVREPL_OK || bed->sim.crashed)
		for (uint32_t i = 0; i < BED_CUTS; i++)
			if (bed->cut[i].cut != NULL &&
			    generation <= bed->cut[i].cut->generation)
				memcpy(bed->cut[i].expect[mine->disk] +
					       mine->offset,
				       bytes, mine->length);
	free(bytes);
	mine->stage = BED_WRITTEN;
}

void bed_end(struct bed *bed, struct bed_ticket *mine)
{
	/* It is not free before that has returned. */
	mine->stage = BED_WRITING;
	ck_assert_int_eq(hvrepl_tracker_write_end(bed->tracker[mine->disk],
						  &mine->ticket, mine->result),
			 mine->result);
	mine->stage = BED_FREE;
}

static void progress(struct bed *bed, struct bed_ticket *mine)
{
	switch (mine->stage) {
	case BED_FREE:
		begin(bed, mine);
		break;
	case BED_GO:
		bed_perform(bed, mine);
		break;
	case BED_WRITTEN:
		bed_end(bed, mine);
		break;
	case BED_WAITING:
	case BED_WRITING:
		break;
	}
}

void bed_process(struct bed *bed)
{
	bed->woken = false;
	ck_assert_int_eq(hvrepl_group_process(bed->group), HVREPL_OK);
}

bool bed_cut_all(struct bed *bed)
{
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;
	struct bed_cut *place = NULL;

	label.to_point = bed->orders + 1;
	for (uint32_t d = 0; d < BED_DISKS; d++)
		ck_assert_int_eq(hvrepl_tracker_set_label(bed->tracker[d],
							  &label),
				 HVREPL_OK);
	for (uint32_t i = 0; i < BED_CUTS; i++)
		if (bed->cut[i].cut == NULL)
			place = &bed->cut[i];
	if (place == NULL ||
	    hvrepl_group_cut(bed->group, 0, NULL, &place->cut) < 0)
		return false;
	place->order = bed->orders++;
	for (uint32_t d = 0; d < BED_DISKS; d++)
		memcpy(place->expect[d], sim_disk_bytes(bed->disk[d]),
		       bed->size[d]);
	return true;
}

/* Guests, cuts and another pump come in between. */
void bed_between(struct bed *bed, unsigned most)
{
	if (bed->inside || bed->sim.hook == NULL || bed->sim.crashed)
		return;
	bed->inside = true;
	while (most-- > 0 && pick(bed, 3) != 0) {
		if (bed->yields && pick(bed, 3) == 0)
			bed->env.now_ns += 1100000; /* Regions cool. */
		if (pick(bed, 3) == 0)
			bed_process(bed);
		else if (pick(bed, 30) == 0)
			(void)bed_cut_all(bed);
		else
			progress(bed, &bed->ticket[pick(bed, BED_TICKETS)]);
	}
	bed->inside = false;
}

/* Before an I/O. */
static void between(void *argument)
{
	bed_between(argument, UINT_MAX);
}

static struct bed_cut *oldest(struct bed *bed)
{
	struct bed_cut *found = NULL;

	for (uint32_t i = 0; i < BED_CUTS; i++)
		if (bed->cut[i].cut != NULL &&
		    (found == NULL || bed->cut[i].order < found->order))
			found = &bed->cut[i];
	return found;
}

static struct bed_cut *newest(struct bed *bed)
{
	struct bed_cut *found = NULL;

	for (uint32_t i = 0; i < BED_CUTS; i++)
		if (bed->cut[i].cut != NULL &&
		    (found == NULL || bed->cut[i].order > found->order))
			found = &bed->cut[i];
	return found;
}

static void close_cut(struct bed *bed, struct bed_cut *place, int32_t result)
{
	int32_t rc;

	if (atomic_load(&place->cut->state) == HVREPL_CUT_VOIDED)
		bed->voided++;
	rc = hvrepl_cut_close(place->cut, result);
	ck_assert(rc == HVREPL_OK || rc == HVREPL_E_VOIDED);
	place->cut = NULL;
}

/* All chunks of one disk onto `to`; how a replica reads them. */
static int32_t apply(hvrepl_cut *from, uint32_t disk, uint8_t *to)
{
	const struct hvri_segment_header *header = hvri_cut_header(from, disk);
	uint8_t *raw = malloc(HVRI_CHUNK_RAW_MAX);
	int32_t rc;

	for (uint32_t sequence = 0;; sequence++) {
		const uint8_t *bytes;
		struct hvri_chunk chunk;
		uint32_t length, at = 0;

		rc = hvri_cut_chunk(from, disk, sequence, &bytes, &length);
		if (rc != HVREPL_OK)
			break;
		ck_assert_int_eq(hvri_chunk_decode(header, bytes, length,
						   &chunk),
				 HVREPL_OK);
		ck_assert_uint_eq(chunk.sequence, sequence);
		if (chunk.kind == HVRI_CHUNK_DATA)
			ck_assert_int_eq(hvri_chunk_unpack(header, &chunk, raw),
					 HVREPL_OK);
		for (uint32_t i = 0; i < chunk.extent_count; i++) {
			struct hvrepl_extent e = hvri_chunk_extent(&chunk, i);

			if (chunk.kind == HVRI_CHUNK_DATA)
				memcpy(to + e.offset, raw + at, e.length);
			else
				memset(to + e.offset, 0, e.length);
			at += (uint32_t)e.length;
		}
		if (sequence % 3 == 0)
			hvri_cut_release_through(from, disk, sequence);
	}
	free(raw);
	return rc == HVREPL_E_NOT_FOUND ? HVREPL_OK : rc;
}

/* What the replica has of the disk becomes `now` with the cut of `point`. */
static void note_changed(struct bed *bed, uint32_t disk, const uint8_t *now,
			 uint64_t point)
{
	for (uint64_t at = 0; at < bed->size[disk]; at += BED_REGION)
		if (memcmp(bed->replica[disk] + at, now + at,
			   HVRI_MIN(BED_REGION, bed->size[disk] - at)) != 0)
			bed->acknowledged[disk][at / BED_REGION] = point;
}

/* Ship the oldest cut if it is spooled; what arrives is the instant. */
void bed_ship(struct bed *bed, bool fails)
{
	struct bed_cut *place = oldest(bed);
	int32_t rc = HVREPL_OK;

	if (place == NULL ||
	    atomic_load(&place->cut->state) == HVREPL_CUT_OPEN)
		return;
	if (fails || atomic_load(&place->cut->state) == HVREPL_CUT_VOIDED) {
		close_cut(bed, place, HVREPL_E_DISCONNECTED);
		return;
	}
	for (uint32_t d = 0; d < BED_DISKS; d++) {
		memcpy(bed->next[d], bed->replica[d], bed->size[d]);
		if (rc == HVREPL_OK)
			rc = apply(place->cut, d, bed->next[d]);
	}
	for (uint32_t d = 0; d < BED_DISKS && rc == HVREPL_OK; d++) {
		uint8_t *next = bed->next[d];

		ck_assert_int_eq(memcmp(next, place->expect[d], bed->size[d]),
				 0);
		note_changed(bed, d, next, place->order + 1);
		bed->next[d] = bed->replica[d];
		bed->replica[d] = next;
	}
	bed->shipped += rc == HVREPL_OK;
	/* A crash may come between the replica's commit and this. */
	close_cut(bed, place, rc);
}

void bed_advance(struct bed *bed)
{
	struct bed_cut *place = newest(bed);
	uint32_t state;

	if (place != NULL &&
	    atomic_load(&place->cut->state) == HVREPL_CUT_OPEN &&
	    hvrepl_cut_advance(place->cut, 1, &state) == HVREPL_E_VOIDED)
		ck_assert_uint_eq(atomic_load(&place->cut->state),
				  HVREPL_CUT_VOIDED);
}

static void flush(struct bed *bed)
{
	struct hvrepl_disk disk =
		sim_disk_handle(bed->disk[pick(bed, BED_DISKS)]);

	if (disk.ops->flush(disk.user, NULL) < 0)
		return;
}

/* Few writes, then all of it acknowledged and left alone for long. */
static void calm(struct bed *bed)
{
	uint64_t writes = pick(bed, 3);

	while (writes-- > 0)
		for (int i = 0; i < 3; i++) {
			progress(bed, &bed->ticket[0]);
			bed_process(bed);
		}
	if (pick(bed, 2) == 0) {
		bed_settle(bed);
		(void)bed_cut_all(bed);
		bed_settle(bed);
	}
	for (unsigned i = 0; i < 3; i++) {
		bed->env.now_ns += 2000000;
		bed_process(bed);
	}
}

void bed_step(struct bed *bed)
{
	uint64_t what = pick(bed, 100);

	if (pick(bed, 100) < bed->calm) {
		calm(bed);
		return;
	}
	bed->env.now_ns += 1000 + pick(bed, 20000);
	if (what < 62)
		progress(bed, &bed->ticket[pick(bed, BED_TICKETS)]);
	else if (what < 72)
		bed_process(bed);
	else if (what < 77)
		(void)bed_cut_all(bed);
	else if (what < 87)
		bed_advance(bed);
	else if (what < 92)
		bed_ship(bed, pick(bed, 8) == 0);
	else if (what < 94)
		flush(bed);
	else if (what < 97)
		bed->env.now_ns += 3000000; /* Regions cool. */
	else if (what < 98)
		bed->env.now_ns += 60000000; /* Waits end. */
	else if (what < 99)
		(void)hvrepl_tracker_save(bed->tracker[0], NULL);
	else
		(void)hvri_group_fold_newest(bed->group);
}

void bed_settle(struct bed *bed)
{
	bool busy = true;

	for (unsigned round = 0; busy && round < 1000; round++) {
		busy = false;
		for (uint32_t i = 0; i < BED_TICKETS; i++) {
			struct bed_ticket *mine = &bed->ticket[i];

			if (mine->stage == BED_GO)
				bed_perform(bed, mine);
			if (mine->stage == BED_WRITTEN)
				bed_end(bed, mine);
			busy |= mine->stage != BED_FREE;
		}
		bed_process(bed);
		bed_advance(bed);
		bed_ship(bed, false);
		busy |= oldest(bed) != NULL;
		if (bed->sim.crashed)
			return;
	}
	ck_assert(!busy);
}

void bed_ship_all(struct bed *bed)
{
	bed->sim.hook = NULL;
	bed_settle(bed);
	ck_assert(bed_cut_all(bed));
	bed_settle(bed);
	for (uint32_t d = 0; d < BED_DISKS; d++)
		ck_assert_int_eq(memcmp(bed->replica[d],
					sim_disk_bytes(bed->disk[d]),
					bed->size[d]),
				 0);
}

void bed_kill(struct bed *bed)
{
	bool was = bed->sim.crashed;

	bed->sim.hook = NULL;
	bed->sim.crashed = true;
	for (uint32_t i = 0; i < BED_DISKS; i++)
		if (bed->tracker[i] != NULL)
			(void)hvrepl_tracker_fence(bed->tracker[i]);
	if (bed->group != NULL)
		bed_process(bed);
	for (uint32_t i = 0; i < BED_TICKETS; i++)
		if (bed->ticket[i].stage != BED_FREE)
			bed_end(bed, &bed->ticket[i]);
	for (struct bed_cut *place; (place = oldest(bed)) != NULL;)
		close_cut(bed, place, HVREPL_E_CANCELLED);
	if (bed->group != NULL)
		bed_process(bed);
	for (uint32_t i = 0; i < BED_DISKS; i++) {
		ck_assert_int_eq(hvrepl_tracker_detach(bed->tracker[i], 0),
				 HVREPL_OK);
		bed->tracker[i] = NULL;
	}
	ck_assert_int_eq(hvrepl_group_destroy(bed->group), HVREPL_OK);
	bed->group = NULL;
	bed->sim.crashed = was;
}

int32_t bed_detach(struct bed *bed)
{
	bed->sim.hook = NULL;
	bed_settle(bed);
	for (uint32_t i = 0; i < BED_DISKS; i++) {
		int32_t rc;

		if (bed->tracker[i] == NULL)
			continue;
		rc = hvrepl_tracker_detach(bed->tracker[i],
					   HVREPL_DETACH_CLEAN);
		if (rc < 0) {
			bed_kill(bed);
			return rc;
		}
		bed->tracker[i] = NULL;
	}
	ck_assert_int_eq(hvrepl_group_destroy(bed->group), HVREPL_OK);
	bed->group = NULL;
	return HVREPL_OK;
}

/* A replica that is older than what the file knows to be acknowledged is noticed,
 * and its disk compared as a whole. What the file does not know must be hot. */
static void check_recorded(struct bed *bed, uint32_t disk,
			   const struct hvri_bitmap *map)
{
	uint64_t known = bed->tracker[disk]->header.ack_point;

	for (uint64_t at = 0; at < bed->size[disk]; at += BED_REGION)
		if (bed->acknowledged[disk][at / BED_REGION] > known)
			ck_assert_msg(
				hvri_bitmap_any(
					map, at / BED_BLOCK,
					HVRI_MIN(BED_REGION / BED_BLOCK,
						 bed->tracker[disk]->blocks -
							 at / BED_BLOCK)),
				"disk %u region %llu is cold, and its file "
				"does not know of point %llu",
				disk, (unsigned long long)(at / BED_REGION),
				(unsigned long long)
					bed->acknowledged[disk][at /
								BED_REGION]);
}

void bed_check_covered(struct bed *bed)
{
	uint64_t word = atomic_load(&bed->group->word);

	for (uint32_t d = 0; d < BED_DISKS; d++) {
		const uint8_t *disk = sim_disk_bytes(bed->disk[d]);
		struct hvri_bitmap *map = atomic_load(
			&bed->tracker[d]->map[hvri_generation(word) & 1]);

		if (bed->sim.hurt == 0)
			check_recorded(bed, d, map);
		for (uint64_t at = 0; at < bed->size[d]; at += BED_BLOCK) {
			uint64_t length = HVRI_MIN(BED_BLOCK,
						   bed->size[d] - at);

			if (memcmp(disk + at, bed->replica[d] + at, length) !=
			    0)
				ck_assert_msg(
					hvri_bitmap_get(map, at / BED_BLOCK),
					"disk %u block %llu differs from the "
					"replica and is clean",
					d,
					(unsigned long long)(at / BED_BLOCK));
		}
	}
}
