/* SPDX-License-Identifier: Apache-2.0 */
/* Attach and detach: what the tracker file says, and when it is refused. */
#include "diskbed.h"

START_TEST(clean_close_brings_back_exactly_the_dirty_blocks)
{
	uint64_t random = 7, dirty = 0;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CREATED);
	for (int i = 0; i < 300; i++)
		write_at(test_random(&random) % (SIZE / 512 - 8) * 512, 4096);
	write_at(1 << 20, 5 << 20);
	write_at(SIZE - 512, 512);
	dirty = info().dirty_bytes;
	for (int round = 0; round < 2; round++) {
		detach(HVREPL_DETACH_CLEAN);
		sim_restart(&sim, true);
		ck_assert_int_eq(attach(0), HVREPL_OK);
		ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
		ck_assert_uint_eq(info().dirty_bytes, dirty);
		ck_assert_uint_eq(info().incarnation, (uint64_t)round + 2);
	}
}
END_TEST

START_TEST(after_a_crash_the_hot_regions_are_dirty_and_no_others)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(10 * REGION, 512);
	write_at(20 * REGION - 512, 1024);
	detach(0);
	sim_restart(&sim, true);
	/* A process that starts has no pages of the map in stock yet. */
	if (_i == 1) {
		ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
		make_group();
	}
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_CRASH);
	ck_assert_uint_eq(info().dirty_bytes, 3 * REGION);
	ck_assert_uint_eq(info().compare_bytes, 3 * REGION);
}
END_TEST

/* What is acknowledged and closed cannot go back to what it was before. */
START_TEST(a_clean_close_makes_the_disk_durable)
{
	struct hvrepl_disk handle = sim_disk_handle(disk);
	uint8_t bytes[512];
	struct hvrepl_iovec iov = { bytes, sizeof(bytes) };

	test_fill(bytes, sizeof(bytes), 4);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	ck_assert_int_eq(handle.ops->writev(handle.user, NULL, 0, &iov, 1),
			 HVREPL_OK);
	acknowledge();
	detach(HVREPL_DETACH_CLEAN);
	sim.survive_percent = 0;
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, 0);
	ck_assert_mem_eq(sim_disk_bytes(disk), bytes, sizeof(bytes));
}
END_TEST

/* T9. */
START_TEST(a_disk_changed_while_untracked_is_noticed)
{
	struct hvrepl_tracker_options options = base_options(0);

	disk->flags = 0;
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	detach(HVREPL_DETACH_CLEAN);
	disk->token++;
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_TOKEN);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
	/* A crash, and nobody vouches for the disk. */
	detach(0);
	options.token_check = NULL;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_TOKEN);
}
END_TEST

static int32_t token_seen(void *user, const uint8_t *saved, uint32_t saved_len,
			  uint64_t saved_utc, const uint8_t *now,
			  uint32_t now_len)
{
	(void)user;
	ck_assert_uint_eq(saved_len, 8);
	ck_assert_uint_eq(now_len, 8);
	ck_assert_uint_gt(saved_utc, 0);
	return memcmp(saved, now, 8) == 0;
}

START_TEST(after_a_crash_the_application_judges_the_token)
{
	struct hvrepl_tracker_options options =
		base_options(HVREPL_TRACKER_CREATE);

	disk->flags = 0;
	options.token_check = token_seen;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	write_at(0, 512);
	disk->token++;
	ck_assert_int_eq(hvrepl_tracker_save(tracker, NULL), HVREPL_OK);
	detach(0);
	options.flags = 0;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
	detach(0);
	disk->token++;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_WHOLE);
}
END_TEST

START_TEST(a_second_opener_is_refused_and_one_taken_over_is_fenced)
{
	struct hvrepl_tracker_options options = base_options(0);
	hvrepl_tracker *first, *second;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	first = tracker;
	options.owner.bytes[0] = 2;
	ck_assert_int_eq(attach_with(&options), HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "this group already"));
	options.flags = HVREPL_TRACKER_TAKE_OVER;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	ck_assert_uint_eq(info().owner.bytes[0], 1);
	second = tracker;
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "x.hvt";
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	detach(0);
	options.flags = 0;
	options.owner.bytes[0] = 3;
	options.object_id = "d.hvt";
	ck_assert_int_eq(attach_with(&options), HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "this group already"));
	options.object_id = "x.hvt";
	ck_assert_int_eq(attach_with(&options), HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "TAKE_OVER"));
	tracker = second;
	/* The old one learns of it when it next saves. */
	ck_assert_int_eq(hvrepl_tracker_save(first, NULL), HVREPL_E_BUSY);
	ck_assert_int_eq(hvrepl_tracker_fence(first), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tracker_detach(first, 0), HVREPL_OK);
	/* Left open by somebody who is not to be seen here. */
	detach(0);
	options.object_id = "d.hvt";
	ck_assert_int_eq(attach_with(&options), HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "for another owner"));
	ck_assert_ptr_nonnull(strstr(error.sentence, "TAKE_OVER"));
	options.owner.bytes[0] = 2;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
	detach(HVREPL_DETACH_CLEAN);
	/* Closed cleanly: anybody may. */
	options.flags = 0;
	options.owner.bytes[0] = 3;
	ck_assert_int_eq(attach_with(&options), HVREPL_OK);
}
END_TEST

START_TEST(stamp_and_acknowledgement_survive)
{
	struct hvrepl_tracker_stamp stamp = HVREPL_TRACKER_STAMP_INIT;
	struct hvrepl_cut_label label = HVREPL_CUT_LABEL_INIT;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	stamp.epoch.bytes[3] = 5;
	stamp.generation = 17;
	stamp.record_id.bytes[1] = 2;
	label.epoch.bytes[3] = 5;
	label.to_point = 33;
	ck_assert_int_eq(hvrepl_tracker_set_label(tracker, &label), HVREPL_OK);
	write_at(0, 512);
	acknowledge();
	ck_assert_int_eq(hvrepl_tracker_save(tracker, &stamp), HVREPL_OK);
	detach(0);
	sim_restart(&sim, true);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().generation, 17);
	ck_assert_uint_eq(info().epoch.bytes[3], 5);
	ck_assert_uint_eq(info().record_id.bytes[1], 2);
	ck_assert_uint_eq(info().acknowledged_point, 33);
	ck_assert_uint_eq(info().acknowledged_epoch.bytes[3], 5);
}
END_TEST

static uint64_t hash(const uint8_t *bytes, uint64_t size)
{
	uint64_t sum = size;

	for (uint64_t i = 0; i < size; i++)
		sum = sum * 1099511628211u + bytes[i];
	return sum;
}

/* A code, a sentence, nothing changed; then REBUILD helps. */
START_TEST(damaged_files_are_refused_and_left_alone)
{
	uint8_t *bytes;
	uint64_t size, before;
	struct hvrepl_tracker_options other = base_options(0);
	/* Both headers; both copies of the coarse map; the fine map. */
	const uint64_t places[3][2] = { { 40, 4096 + 40 },
					{ 8192 + 100, 65536 + 100 },
					{ 69632 + 40, 69632 + 50 } };

	ck_assert_int_eq(attach(0), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(HVREPL_DETACH_CLEAN);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_E_EXISTS);
	for (size_t i = 0; i < 3; i++) {
		bytes = sim_object_bytes(files, "d.hvt", &size);
		bytes[places[i][0]] ^= 4;
		bytes[places[i][1]] ^= 4;
		before = hash(bytes, size);
		ck_assert_int_eq(attach(0), HVREPL_E_CORRUPT);
		bytes = sim_object_bytes(files, "d.hvt", &size);
		ck_assert_uint_eq(hash(bytes, size), before);
		bytes[places[i][0]] ^= 4;
		bytes[places[i][1]] ^= 4;
	}
	other.disk.bytes[0] = 9;
	ck_assert_int_eq(attach_with(&other), HVREPL_E_WRONG_DISK);
	other = base_options(0);
	other.object_id = "";
	ck_assert_int_eq(attach_with(&other), HVREPL_E_INVALID);
	other.object_id = "x.hvt";
	other.flags = HVREPL_TRACKER_CREATE;
	other.block_size = 768;
	ck_assert_int_eq(attach_with(&other), HVREPL_E_INVALID);
	other.flags = 1u << 20;
	ck_assert_int_eq(attach_with(&other), HVREPL_E_TOO_NEW);
	sim_object_bytes(files, "d.hvt", &size)[69632 + 40] ^= 1;
	ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_FINE_MAP);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
	detach(0);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	bytes[3] = bytes[4099] = 0;
	ck_assert_int_eq(attach(0), HVREPL_E_CORRUPT);
	ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_REBUILT);
	ck_assert_uint_eq(info().dirty_bytes, SIZE);
}
END_TEST

/* T8: a header slot lost after the open must not bring "closed" back. */
START_TEST(one_lost_header_slot_never_says_closed)
{
	for (unsigned slot = 0; slot < 2; slot++) {
		uint64_t size;

		ck_assert_int_eq(attach(slot == 0 ? HVREPL_TRACKER_CREATE : 0),
				 HVREPL_OK);
		acknowledge();
		detach(HVREPL_DETACH_CLEAN);
		ck_assert_int_eq(attach(0), HVREPL_OK);
		write_at(70 * REGION, 512);
		detach(0);
		sim_object_bytes(files, "d.hvt", &size)[slot * 4096 + 9] ^= 1;
		ck_assert_int_eq(attach(0), HVREPL_OK);
		ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
		ck_assert_uint_gt(info().dirty_bytes, 0);
		detach(HVREPL_DETACH_CLEAN);
	}
}
END_TEST

START_TEST(shorter_and_longer_disks_are_refused)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	detach(HVREPL_DETACH_CLEAN);
	disk = sim_disk_new(&sim, SIZE + 512);
	ck_assert_int_eq(attach(0), HVREPL_E_WRONG_DISK);
	disk = sim_disk_new(&sim, SIZE - 512);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	ck_assert_int_eq(attach(0), HVREPL_E_WRONG_DISK);
	ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
	ck_assert_uint_eq(info().dirty_bytes, SIZE - 512);
}
END_TEST

/* Detach that fails leaves a tracker that works, or is fenced. */
START_TEST(a_clean_close_that_fails_at_any_io_loses_nothing)
{
	bool failed = true;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	for (uint64_t n = 0; failed; n++) {
		int32_t rc;

		write_at(n % 100 * REGION, 512);
		sim.fail_at = sim.call_count + n;
		sim.fail_code = n % 2 == 0 ? HVREPL_E_STORAGE_IO :
					     HVREPL_E_NO_SPACE;
		rc = hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN);
		failed = rc < 0;
		sim.fail_at = UINT64_MAX;
		if (failed) {
			write_at(n % 100 * REGION + 1024, 512);
			detach(0);
		}
		tracker = NULL;
		sim_restart(&sim, true);
		ck_assert_int_eq(attach(0), HVREPL_OK);
		ck_assert_uint_eq(info().recovery,
				  failed ? HVREPL_RECOVERY_HOT :
					   HVREPL_RECOVERY_CLEAN);
		ck_assert_uint_ge(info().dirty_bytes, 1024);
	}
}
END_TEST

START_TEST(attach_survives_every_failing_allocation_and_io)
{
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 4096);
	detach(HVREPL_DETACH_CLEAN);
	for (long n = 0; tracker == NULL; n++) {
		long live = env.alloc_live;
		int32_t rc;

		env.alloc_fail_at = n;
		rc = attach(0);
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NOMEM);
		if (rc < 0)
			ck_assert_int_eq(env.alloc_live, live);
	}
	detach(HVREPL_DETACH_CLEAN);
	/* A new file, in a new group. */
	for (long n = 0, failed = 1; failed != 0; n++) {
		struct hvrepl_storage storage = sim_storage_handle(files);
		int32_t rc;

		ck_assert_int_eq(hvrepl_group_destroy(group), HVREPL_OK);
		make_group();
		ck_assert_int_eq(storage.ops->remove(storage.user, "d.hvt"),
				 HVREPL_OK);
		env.alloc_fail_at = n;
		rc = attach(HVREPL_TRACKER_CREATE);
		failed = env.alloc_fail_at < 0;
		env.alloc_fail_at = -1;
		ck_assert(rc == HVREPL_OK || failed);
		if (rc < 0)
			rc = attach(HVREPL_TRACKER_REBUILD);
		ck_assert_int_eq(rc, HVREPL_OK);
		write_at(0, 4096);
		detach(HVREPL_DETACH_CLEAN);
	}
	for (uint64_t n = 0; tracker == NULL; n++) {
		long live = env.alloc_live;
		int32_t rc;

		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		rc = attach(0);
		sim.fail_at = UINT64_MAX;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_STORAGE_IO);
		if (rc < 0)
			ck_assert_int_eq(env.alloc_live, live);
	}
	ck_assert_uint_ge(info().dirty_bytes, 4096);
}
END_TEST

/* Killed before it had a length, or cut short. */
START_TEST(a_file_without_a_header_was_never_made)
{
	struct hvrepl_storage storage = sim_storage_handle(files);
	void *object = NULL;

	ck_assert_int_eq(storage.ops->open(storage.user, "d.hvt",
					   HVREPL_OBJECT_CREATE, &object),
			 HVREPL_OK);
	ck_assert_int_eq(attach(0), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(storage.ops->resize(storage.user, object, 4607),
			 HVREPL_OK);
	ck_assert_int_eq(attach(0), HVREPL_E_TRUNCATED);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_E_TRUNCATED);
	ck_assert_int_eq(storage.ops->resize(storage.user, object, 0),
			 HVREPL_OK);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CREATED);
}
END_TEST

/* REBUILD mends what is damaged, and takes nothing from anybody. */
START_TEST(a_rebuild_of_a_sound_file_keeps_what_it_says)
{
	struct hvrepl_tracker_options options = base_options(0);

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	options.flags = HVREPL_TRACKER_REBUILD;
	options.owner.bytes[0] = 2;
	detach(0);
	ck_assert_int_eq(attach_with(&options), HVREPL_E_BUSY);
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE | HVREPL_TRACKER_REBUILD),
			 HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_HOT);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
}
END_TEST

/* Byte for byte as it was, and why. */
static void refused_unchanged(const struct hvrepl_tracker_options *options,
			      int32_t code, const char *words)
{
	uint64_t size, size_before, before;
	uint8_t *bytes = sim_object_bytes(files, "d.hvt", &size_before);

	before = hash(bytes, size_before);
	ck_assert_int_eq(attach_with(options), code);
	ck_assert_ptr_nonnull(strstr(error.sentence, words));
	bytes = sim_object_bytes(files, "d.hvt", &size);
	ck_assert_uint_eq(size, size_before);
	ck_assert_uint_eq(hash(bytes, size), before);
}

static void cut_file(uint64_t size)
{
	struct hvrepl_storage storage = sim_storage_handle(files);
	void *object = NULL;

	ck_assert_int_eq(storage.ops->open(storage.user, "d.hvt", 0, &object),
			 HVREPL_OK);
	ck_assert_int_eq(storage.ops->resize(storage.user, object, size),
			 HVREPL_OK);
	storage.ops->close(storage.user, object);
}

START_TEST(a_rebuild_overwrites_no_file_that_says_whose_it_is)
{
	struct hvrepl_tracker_options other =
		base_options(HVREPL_TRACKER_REBUILD);
	/* Whole; without the saved map; without the second header. */
	const uint64_t sizes[] = { 0, 69632, 4096 + 100 };

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(HVREPL_DETACH_CLEAN);
	for (size_t i = 0; i < 3; i++) {
		if (sizes[i] != 0)
			cut_file(sizes[i]);
		other = base_options(HVREPL_TRACKER_REBUILD);
		other.disk.bytes[0] ^= 9;
		refused_unchanged(&other, HVREPL_E_WRONG_DISK,
				  "belongs to another VM or disk: give this");
		other.flags |= HVREPL_TRACKER_CREATE;
		refused_unchanged(&other, HVREPL_E_WRONG_DISK,
				  "belongs to another VM or disk");
		other = base_options(HVREPL_TRACKER_REBUILD);
		other.vm.bytes[0] ^= 9;
		refused_unchanged(&other, HVREPL_E_WRONG_DISK,
				  "belongs to another VM or disk");
	}
	ck_assert_int_eq(attach(0), HVREPL_E_TRUNCATED);
	ck_assert_int_eq(attach(HVREPL_TRACKER_REBUILD), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_REBUILT);
}
END_TEST

/* Nor one that somebody has open, for being cut short or of another size. */
START_TEST(a_rebuild_takes_no_file_from_who_has_it_open)
{
	struct hvrepl_tracker_options other =
		base_options(HVREPL_TRACKER_REBUILD);

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(0);
	other.owner.bytes[0] ^= 9;
	disk = sim_disk_new(&sim, SIZE + 512);
	refused_unchanged(&other, HVREPL_E_BUSY, "open for another owner");
	cut_file(4096 + 100);
	refused_unchanged(&other, HVREPL_E_BUSY, "open for another owner");
	other.flags |= HVREPL_TRACKER_TAKE_OVER;
	ck_assert_int_eq(attach_with(&other), HVREPL_OK);
}
END_TEST

/* "Closed" without what was dirty then is no close of ours. */
START_TEST(a_file_that_says_neither_open_nor_what_is_dirty_counts_as_open)
{
	struct hvri_hvt_header header;
	uint64_t size;
	uint8_t *bytes;
	bool damaged;

	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(HVREPL_DETACH_CLEAN);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	ck_assert_int_eq(hvri_hvt_newest(bytes, bytes + HVRI_HVT_SLOT_STRIDE,
					 NULL, &header, &damaged),
			 HVREPL_OK);
	header.flags = 0;
	header.fine_blocks = 0;
	header.sequence++;
	hvri_hvt_header_encode(&header, bytes + header.sequence % 2 *
						   HVRI_HVT_SLOT_STRIDE);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().reason, HVREPL_REASON_CRASH);
	ck_assert_uint_eq(info().dirty_bytes, REGION);
}
END_TEST

/* Bits of the last leaf that lie behind the end, of whoever wrote them. */
START_TEST(bits_behind_the_end_of_the_disk_are_passed_over)
{
	uint64_t words[HVRI_HVT_FINE_BITS / 64] = { 0 }, index, size;
	static struct hvri_hvt_fine fine;
	struct hvri_hvt_header header;
	uint8_t *bytes;
	bool damaged;

	disk = sim_disk_new(&sim, SIZE - 100 * BLOCK);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	write_at(0, 512);
	detach(HVREPL_DETACH_CLEAN);
	bytes = sim_object_bytes(files, "d.hvt", &size);
	ck_assert_int_eq(hvri_hvt_newest(bytes, bytes + HVRI_HVT_SLOT_STRIDE,
					 NULL, &header, &damaged),
			 HVREPL_OK);
	/* Two blocks before the end and two behind it; ten far behind. */
	for (unsigned bit = 4096 - 102; bit < 4096 - 98; bit++)
		words[bit / 64] |= UINT64_C(1) << bit % 64;
	words[63] = 0x3ff;
	hvri_hvt_fine_begin(&fine, &header);
	hvri_hvt_fine_bits(&fine, HVRI_HVT_FINE_BITS, words);
	hvri_hvt_fine_finish(&fine, bytes + header.fine_offset, &index);
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	ck_assert_uint_eq(info().dirty_bytes, 2 * BLOCK);
}
END_TEST

/* More leaves with single blocks than one block of the fine map describes. */
START_TEST(a_fine_map_of_several_blocks_is_exact)
{
	bool failed = true;

	disk = sim_disk_new(&sim, UINT64_C(64) << 20);
	disk->flags = HVREPL_DISK_EXCLUSIVE;
	ck_assert_int_eq(attach(HVREPL_TRACKER_CREATE), HVREPL_OK);
	for (uint64_t i = 0; i < 16; i++)
		write_at((i * 4096 + 77) * BLOCK, 3 * BLOCK);
	/* The first is the disk's flush, which costs more (test_tracker_flushes). */
	for (uint64_t n = 1; failed; n++) {
		sim.failed = 0;
		sim.fail_at = sim.call_count + n;
		sim.fail_code = HVREPL_E_STORAGE_IO;
		failed = hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN) <
			 0;
		sim.fail_at = UINT64_MAX;
		ck_assert(!failed || sim.failed > 0);
	}
	tracker = NULL;
	ck_assert_int_eq(attach(0), HVREPL_OK);
	ck_assert_uint_eq(info().recovery, HVREPL_RECOVERY_CLEAN);
	ck_assert_uint_eq(info().dirty_bytes, 16 * 3 * BLOCK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("attach");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, clean_close_brings_back_exactly_the_dirty_blocks);
	tcase_add_loop_test(
		tcase, after_a_crash_the_hot_regions_are_dirty_and_no_others,
		0, 2);
	tcase_add_test(tcase, a_clean_close_makes_the_disk_durable);
	tcase_add_test(tcase, a_disk_changed_while_untracked_is_noticed);
	tcase_add_test(tcase, after_a_crash_the_application_judges_the_token);
	tcase_add_test(
		tcase,
		a_second_opener_is_refused_and_one_taken_over_is_fenced);
	tcase_add_test(tcase, stamp_and_acknowledgement_survive);
	tcase_add_test(tcase, damaged_files_are_refused_and_left_alone);
	tcase_add_test(tcase, one_lost_header_slot_never_says_closed);
	tcase_add_test(tcase, shorter_and_longer_disks_are_refused);
	tcase_add_test(tcase,
		       a_clean_close_that_fails_at_any_io_loses_nothing);
	tcase_add_test(tcase,
		       attach_survives_every_failing_allocation_and_io);
	tcase_add_test(tcase, a_file_without_a_header_was_never_made);
	tcase_add_test(tcase, a_rebuild_of_a_sound_file_keeps_what_it_says);
	tcase_add_test(tcase,
		       a_rebuild_overwrites_no_file_that_says_whose_it_is);
	tcase_add_test(tcase, a_rebuild_takes_no_file_from_who_has_it_open);
	tcase_add_test(
		tcase,
		a_file_that_says_neither_open_nor_what_is_dirty_counts_as_open);
	tcase_add_test(tcase, bits_behind_the_end_of_the_disk_are_passed_over);
	tcase_add_test(tcase, a_fine_map_of_several_blocks_is_exact);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
