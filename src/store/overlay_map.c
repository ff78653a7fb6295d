/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of an overlay. On storage it is a log of records padded to 512
 * bytes; all records of one flush are a batch, which says how many they are.
 * The log stands there twice, in stripes that take turns, for a record whose
 * write was lost looks like a tail that never was: one of two counts.
 * A bad record with a later batch behind it was flushed: damage. Otherwise it
 * is the torn tail of the last batch, whose sound part counts.
 */
#include "store/overlay_map.h"

#include "base/cursor.h"
#include "base/digest.h"
#include "base/plant.h"

#include <string.h>

#define MAP_MAGIC 0x4f525648u /* "HVRO" */
#define MAP_VERSION 2u /* 1 had one copy. */
#define MAP_COPIES 2u
#define MAP_STRIPE 65536u
#define MAP_ALIGN 512u
#define MAP_HEADER 64u
#define MAP_SIGNED 48u
#define MAP_CHANGE 16u
#define MAP_CHANGES_MAX ((OVERLAY_RECORD_MAX - MAP_HEADER) / MAP_CHANGE)

uint32_t hvri_overlay_get(const struct hvri_overlay_disk *disk, uint64_t block)
{
	const struct hvri_overlay_page *page = disk->pages[block / PAGE_BLOCKS];
	uint64_t at = block % PAGE_BLOCKS;

	if (page == NULL)
		return HVRI_OVERLAY_ABSENT;
	return ((uint32_t)page->state[at / 4] >> (at % 4 * 2)) & 3u;
}

uint64_t hvri_overlay_skip(const struct hvri_overlay_disk *disk, uint64_t block,
			   uint64_t last, uint32_t state)
{
	while (block < last) {
		uint64_t page = (block + 1) / PAGE_BLOCKS;

		if (disk->pages[page] == NULL) {
			if (state != HVRI_OVERLAY_ABSENT)
				break;
			block = HVRI_MIN(last, (page + 1) * PAGE_BLOCKS - 1);
			continue;
		}
		if (hvri_overlay_get(disk, block + 1) != state)
			break;
		block++;
	}
	return block;
}

int32_t hvri_overlay_prepare(struct hvri_overlay *overlay, uint32_t disk,
			     uint64_t first, uint64_t past)
{
	struct hvri_overlay_page **pages = overlay->disks[disk].pages;

	for (uint64_t p = first / PAGE_BLOCKS; p <= (past - 1) / PAGE_BLOCKS;
	     p++) {
		if (pages[p] != NULL)
			continue;
		pages[p] = hvri_alloc(overlay->env, sizeof(*pages[p]));
		if (pages[p] == NULL)
			return HVREPL_E_NOMEM;
		pages[p]->index = p;
	}
	return HVREPL_OK;
}

static void account(struct hvri_overlay *overlay, uint64_t blocks_in,
		    uint64_t blocks_out)
{
	uint64_t delta = blocks_in * HVRI_OVERLAY_BLOCK -
			 blocks_out * HVRI_OVERLAY_BLOCK;

	overlay->written_bytes += delta;
	overlay->accounted += delta;
	__atomic_add_fetch(overlay->used, delta, __ATOMIC_RELAXED);
}

bool hvri_overlay_set(struct hvri_overlay *overlay, uint32_t disk,
		      uint64_t first, uint64_t past, uint32_t state)
{
	struct hvri_overlay_disk *to = &overlay->disks[disk];
	uint64_t data_in = 0, data_out = 0;

	for (uint64_t block = first; block < past; block++) {
		struct hvri_overlay_page *page = to->pages[block / PAGE_BLOCKS];
		uint64_t at = block % PAGE_BLOCKS;
		unsigned shift = (unsigned)(at % 4 * 2);
		uint32_t was = ((uint32_t)page->state[at / 4] >> shift) & 3u;

		if (was == state)
			continue;
		data_in += state == HVRI_OVERLAY_DATA;
		data_out += was == HVRI_OVERLAY_DATA;
		page->state[at / 4] =
			(uint8_t)((page->state[at / 4] & ~(3u << shift)) |
				  (state << shift));
		page->unsaved[at / 8] |= (uint8_t)(1u << (at % 8));
		if (!page->is_dirty) {
			page->is_dirty = true;
			page->next_dirty = to->dirty;
			to->dirty = page;
		}
	}
	account(overlay, data_in, data_out);
	return data_out > 0;
}

static bool unsaved(const struct hvri_overlay_page *page, uint32_t at)
{
	return ((uint32_t)page->unsaved[at / 8] >> (at % 8) & 1u) != 0;
}

/* Runs of unsaved blocks of a page; into `out` unless NULL. */
static size_t page_changes(const struct hvri_overlay_disk *disk,
			   const struct hvri_overlay_page *page,
			   struct hvri_overlay_change *out)
{
	uint64_t start = page->index * PAGE_BLOCKS;
	size_t count = 0;
	uint32_t at = 0;

	while (at < PAGE_BLOCKS) {
		uint32_t state, from = at;

		if (!unsaved(page, at)) {
			at += at % 8 == 0 && page->unsaved[at / 8] == 0 ? 8 : 1;
			continue;
		}
		state = hvri_overlay_get(disk, start + at);
		while (at < PAGE_BLOCKS && unsaved(page, at) &&
		       hvri_overlay_get(disk, start + at) == state)
			at++;
		if (out != NULL)
			out[count] = (struct hvri_overlay_change){
				start + from, at - from, state
			};
		count++;
	}
	return count;
}

int32_t hvri_overlay_take_changes(struct hvri_overlay *overlay, uint32_t disk,
				  struct hvri_overlay_change **changes_out,
				  size_t *count_out)
{
	struct hvri_overlay_disk *of = &overlay->disks[disk];
	struct hvri_overlay_change *changes;
	size_t count = 0, at = 0;

	*changes_out = NULL;
	*count_out = 0;
	for (struct hvri_overlay_page *page = of->dirty; page != NULL;
	     page = page->next_dirty)
		count += page_changes(of, page, NULL);
	if (count == 0)
		return HVREPL_OK;
	changes = hvri_alloc_array(overlay->env, count, sizeof(changes[0]));
	if (changes == NULL)
		return HVREPL_E_NOMEM;
	while (of->dirty != NULL) {
		struct hvri_overlay_page *page = of->dirty;

		at += page_changes(of, page, changes + at);
		memset(page->unsaved, 0, sizeof(page->unsaved));
		page->is_dirty = false;
		of->dirty = page->next_dirty;
	}
	*changes_out = changes;
	*count_out = count;
	return HVREPL_OK;
}

static size_t record_span(size_t count)
{
	size_t bytes = MAP_HEADER + count * MAP_CHANGE;

	return (bytes + MAP_ALIGN - 1) / MAP_ALIGN * MAP_ALIGN;
}

/* Where byte `at` of the log lies in a copy, and how many follow it there. */
static uint64_t place_of(uint32_t copy, uint64_t at, uint64_t *left_out)
{
	uint64_t within = at % MAP_STRIPE;

	*left_out = MAP_STRIPE - within;
	return (at / MAP_STRIPE * MAP_COPIES + copy) * MAP_STRIPE + within;
}

/* Bytes of the object when the log has `length`. */
static uint64_t object_bytes(uint64_t length)
{
	uint64_t left;

	if (length % MAP_STRIPE == 0)
		return length * MAP_COPIES;
	return place_of(MAP_COPIES - 1, length, &left);
}

/* Bytes that the log of an object of `size` has at most. */
static uint64_t log_bytes(uint64_t size)
{
	uint64_t both = MAP_COPIES * (uint64_t)MAP_STRIPE;

	return size / both * MAP_STRIPE +
	       HVRI_MIN(size % both, (uint64_t)MAP_STRIPE);
}

static int32_t log_write(const struct hvri_overlay_disk *disk, uint32_t copy,
			 uint64_t at, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		uint64_t left, place = place_of(copy, at, &left);
		size_t piece = (size_t)HVRI_MIN(left, (uint64_t)length);

		HVRI_TRY(hvri_object_write(&disk->map, place, bytes, piece));
		at += piece;
		bytes += piece;
		length -= piece;
	}
	return HVREPL_OK;
}

static int32_t log_read(const struct hvri_overlay_disk *disk, uint32_t copy,
			uint64_t size, uint64_t at, uint8_t *bytes,
			size_t length)
{
	while (length > 0) {
		uint64_t left, place = place_of(copy, at, &left);
		size_t piece = (size_t)HVRI_MIN(left, (uint64_t)length);

		/* A crash came before this copy got so far. */
		if (place > size || size - place < piece)
			return HVREPL_E_CORRUPT;
		HVRI_TRY(hvri_object_read(&disk->map, place, bytes, piece));
		at += piece;
		bytes += piece;
		length -= piece;
	}
	return HVREPL_OK;
}

struct map_record {
	uint32_t count;
	uint64_t batch;
	uint32_t index, total; /* Of the records of the batch. */
};

static void digest_of(const uint8_t *record, uint32_t count, uint8_t out[16])
{
	struct hvri_part parts[2] = {
		{ record, MAP_SIGNED },
		{ record + MAP_HEADER, (size_t)count * MAP_CHANGE },
	};

	hvri_xxh3(parts, count > 0 ? 2 : 1, out);
}

static void record_encode(const struct hvri_overlay *overlay, uint32_t disk,
			  const struct map_record *record,
			  const struct hvri_overlay_change *changes,
			  uint8_t *out)
{
	size_t span = record_span(record->count);
	struct hvri_writer writer = hvri_writer_over(out, span);

	memset(out, 0, span);
	hvri_write_u32(&writer, MAP_MAGIC);
	hvri_write_u32(&writer, record->count);
	hvri_write_u64(&writer, record->batch);
	hvri_write_u32(&writer, record->index);
	hvri_write_u32(&writer, record->total);
	hvri_write_u64(&writer, overlay->id);
	hvri_write_u32(&writer, disk);
	hvri_write_u32(&writer, MAP_VERSION);
	hvri_write_u64(&writer, overlay->disks[disk].size);
	hvri_write_pad(&writer, 16);
	for (uint32_t i = 0; i < record->count; i++) {
		hvri_write_u64(&writer, changes[i].block);
		hvri_write_u32(&writer, changes[i].count);
		hvri_write_u32(&writer, changes[i].state);
	}
	digest_of(out, record->count, out + MAP_SIGNED);
}

int32_t hvri_overlay_map_append(struct hvri_overlay *overlay, uint32_t disk,
				const struct hvri_overlay_change *changes,
				size_t count, uint8_t *buffer)
{
	struct hvri_overlay_disk *to = &overlay->disks[disk];
	struct map_record record = { .batch = to->batch };
	int32_t rc = HVREPL_OK;

	record.total = (uint32_t)((count + MAP_CHANGES_MAX - 1) /
				  MAP_CHANGES_MAX);
	record.total = HVRI_MAX(record.total, 1u);
	for (; record.index < record.total && rc == HVREPL_OK; record.index++) {
		size_t from = (size_t)record.index * MAP_CHANGES_MAX;
		size_t span;

		record.count = (uint32_t)HVRI_MIN(count - from,
						  MAP_CHANGES_MAX);
		span = record_span(record.count);
		record_encode(overlay, disk, &record,
			      changes == NULL ? NULL : changes + from, buffer);
		for (uint32_t copy = 0; copy < MAP_COPIES && rc == HVREPL_OK;
		     copy++)
			rc = log_write(to, copy, to->map_size, buffer, span);
		if (rc == HVREPL_OK)
			to->map_size += span;
	}
	if (rc == HVREPL_OK)
		to->batch++;
	return rc;
}

struct map_load {
	struct hvri_overlay *overlay;
	uint32_t disk;
	uint64_t size;	 /* Of the object. */
	uint64_t length; /* Of its log, at most. */
	uint32_t lacking; /* Copy that the record lacks; MAP_COPIES: none. */
	bool mended;  /* To be flushed. */
	bool contradicted; /* Both copies of a record are sound, and differ. */
	bool remains; /* Sound records of a batch that is torn before them. */
	uint8_t *bytes;
};

/* The record at `at`, which is not past the end, of one copy; CORRUPT when there
 * is none. */
static int32_t read_copy(struct map_load *load, uint32_t copy, uint64_t at,
			 struct map_record *out)
{
	struct hvri_overlay *overlay = load->overlay;
	struct hvri_overlay_disk *disk = &overlay->disks[load->disk];
	struct hvri_reader reader = hvri_reader_over(load->bytes, MAP_SIGNED);
	uint32_t magic, of_disk, version;
	uint64_t id, disk_size;
	uint8_t digest[16];

	if (load->length - at < MAP_HEADER)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(log_read(disk, copy, load->size, at, load->bytes,
			  MAP_HEADER));
	magic = hvri_read_u32(&reader);
	out->count = hvri_read_u32(&reader);
	out->batch = hvri_read_u64(&reader);
	out->index = hvri_read_u32(&reader);
	out->total = hvri_read_u32(&reader);
	id = hvri_read_u64(&reader);
	of_disk = hvri_read_u32(&reader);
	version = hvri_read_u32(&reader);
	disk_size = hvri_read_u64(&reader);
	if (magic != MAP_MAGIC || out->count > MAP_CHANGES_MAX ||
	    record_span(out->count) > load->length - at)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(log_read(disk, copy, load->size, at + MAP_HEADER,
			  load->bytes + MAP_HEADER,
			  (size_t)out->count * MAP_CHANGE));
	digest_of(load->bytes, out->count, digest);
	if (memcmp(digest, load->bytes + MAP_SIGNED, 16) != 0)
		return HVREPL_E_CORRUPT;
	if (version > MAP_VERSION)
		return HVREPL_E_FORMAT_TOO_NEW;
	if (version < MAP_VERSION || id != overlay->id || of_disk != load->disk ||
	    disk_size != disk->size || out->index >= out->total)
		return HVREPL_E_CORRUPT;
	return HVREPL_OK;
}

static bool follows(const struct map_record *expected,
		    const struct map_record *record)
{
	if (record->batch == expected->batch)
		return record->index == expected->index &&
		       (expected->index == 0 ||
			record->total == expected->total);
	/* A torn batch ends where recovery cut it. */
	return expected->index > 0 && record->index == 0 &&
	       record->batch == expected->batch + 1;
}

/* ...one that follows `expected`. */
static int32_t read_fitting(struct map_load *load, uint32_t copy, uint64_t at,
			    const struct map_record *expected,
			    struct map_record *out)
{
	int32_t rc = read_copy(load, copy, at, out);

	if (rc == HVREPL_OK && !follows(expected, out))
		rc = HVREPL_E_CORRUPT;
	return rc;
}

/* ...of either copy: one that cannot be read is as bad as one that is damaged.
 * CORRUPT when both can be read and neither has it, or when both have one and
 * they differ: nothing tells which is of before. */
static int32_t read_record(struct map_load *load, uint64_t at,
			   const struct map_record *expected,
			   struct map_record *out)
{
	uint8_t digest[16];
	int32_t second = read_fitting(load, 1, at, expected, out), first;

	memcpy(digest, load->bytes + MAP_SIGNED, sizeof(digest));
	first = read_fitting(load, 0, at, expected, out);
	load->lacking = MAP_COPIES;
	if (HVRI_PLANT(one_copy_of_overlay_map))
		return first;
	if (first == HVREPL_E_FORMAT_TOO_NEW ||
	    second == HVREPL_E_FORMAT_TOO_NEW)
		return HVREPL_E_FORMAT_TOO_NEW;
	if (first < 0 && second < 0)
		return first == HVREPL_E_CORRUPT ? second : first;
	if (first == HVREPL_OK && second == HVREPL_OK) {
		load->contradicted = memcmp(digest, load->bytes + MAP_SIGNED,
					    sizeof(digest)) != 0;
		return load->contradicted ? HVREPL_E_CORRUPT : HVREPL_OK;
	}
	load->lacking = first == HVREPL_OK ? 1 : 0;
	return first == HVREPL_OK ? first :
				    read_fitting(load, 1, at, expected, out);
}

/* The copy that is bad, from the other one that was just read. */
static void mend_copy(struct map_load *load, uint64_t at, uint32_t count)
{
	size_t length = MAP_HEADER + (size_t)count * MAP_CHANGE;

	if (load->lacking == MAP_COPIES)
		return;
	memset(load->bytes + length, 0, record_span(count) - length);
	load->mended = true;
	if (log_write(&load->overlay->disks[load->disk], load->lacking, at,
		      load->bytes, record_span(count)) < 0)
		hvri_log(load->overlay->env, HVREPL_LOG_WARNING,
			 "a record of an overlay's map has one sound copy, and "
			 "the other could not be written");
}

static int32_t apply_record(struct map_load *load, uint32_t count)
{
	struct hvri_overlay *overlay = load->overlay;
	uint64_t blocks = (overlay->disks[load->disk].size +
			   HVRI_OVERLAY_BLOCK - 1) / HVRI_OVERLAY_BLOCK;
	struct hvri_reader reader = hvri_reader_over(
		load->bytes + MAP_HEADER, (size_t)count * MAP_CHANGE);

	for (uint32_t i = 0; i < count; i++) {
		uint64_t block = hvri_read_u64(&reader);
		uint64_t run = hvri_read_u32(&reader);
		uint32_t state = hvri_read_u32(&reader);

		if (run == 0 || block > blocks || run > blocks - block ||
		    state == HVRI_OVERLAY_ABSENT || state > HVRI_OVERLAY_ZERO)
			return HVREPL_E_CORRUPT;
		HVRI_TRY(hvri_overlay_prepare(overlay, load->disk, block,
					      block + run));
		(void)hvri_overlay_set(overlay, load->disk, block, block + run,
				       state);
	}
	return HVREPL_OK;
}

/* Nothing of it is news to the map object. */
static void mark_saved(struct hvri_overlay_disk *disk)
{
	while (disk->dirty != NULL) {
		struct hvri_overlay_page *page = disk->dirty;

		memset(page->unsaved, 0, sizeof(page->unsaved));
		page->is_dirty = false;
		disk->dirty = page->next_dirty;
	}
}

/* `next` is the batch that a torn record may belong to; any later one proves
 * that the bad record was flushed. */
static int32_t look_for_damage(struct map_load *load, uint64_t from,
			       uint64_t next)
{
	struct map_record record;

	for (uint64_t at = from + MAP_ALIGN; at < load->length;
	     at += MAP_ALIGN) {
		int32_t rc = HVREPL_OK;
		uint32_t unread = 0;

		/* Each copy speaks for itself. */
		for (uint32_t copy = 0; copy < MAP_COPIES; copy++) {
			int32_t one = read_copy(load, copy, at, &record);

			/* Of whatever batch: it is there, and not ours to cut. */
			if (one == HVREPL_E_FORMAT_TOO_NEW)
				return one;
			if (one == HVREPL_OK && record.batch > next)
				return HVREPL_E_CORRUPT;
			load->remains |= one == HVREPL_OK;
			if (one < 0 && one != HVREPL_E_CORRUPT) {
				unread++;
				rc = one;
			}
		}
		if (unread == MAP_COPIES)
			return rc;
	}
	return HVREPL_OK;
}

/* The object cannot end at `at`: copy 1 of the stripe lies behind the rest of copy 0.
 * What is sound in that has the number of the batch that comes next, and would go on
 * from its beginning. */
static int32_t clear_rest(struct map_load *load, uint64_t at)
{
	uint64_t left;

	if (at % MAP_STRIPE == 0)
		return HVREPL_OK;
	(void)place_of(0, at, &left);
	memset(load->bytes, 0, OVERLAY_RECORD_MAX);
	while (left > 0) {
		size_t piece = (size_t)HVRI_MIN(left,
						(uint64_t)OVERLAY_RECORD_MAX);

		HVRI_TRY(log_write(&load->overlay->disks[load->disk], 0, at,
				   load->bytes, piece));
		at += piece;
		left -= piece;
	}
	load->mended = true;
	return HVREPL_OK;
}

static int32_t load_records(struct map_load *load)
{
	struct hvri_overlay_disk *disk =
		&load->overlay->disks[load->disk];
	struct map_record expected = { .total = 1 }, record;
	uint64_t at = 0;
	int32_t rc;

	for (;;) {
		rc = read_record(load, at, &expected, &record);
		if (rc == HVREPL_OK)
			rc = apply_record(load, record.count);
		if (rc < 0)
			break;
		mend_copy(load, at, record.count);
		at += record_span(record.count);
		expected = record;
		expected.index++;
		if (expected.index == record.total) {
			expected.index = 0;
			expected.batch++;
		}
	}
	mark_saved(disk);
	if (rc != HVREPL_E_CORRUPT)
		return rc;
	/* The first record was flushed before the manifest named it. */
	if (at == 0 || load->contradicted)
		return HVREPL_E_CORRUPT;
	HVRI_TRY(look_for_damage(load, at, expected.batch));
	if (load->remains)
		HVRI_TRY(clear_rest(load, at));
	disk->batch = expected.batch + (expected.index > 0 ? 1u : 0u);
	disk->map_size = at;
	if (object_bytes(at) != load->size)
		HVRI_TRY(hvri_object_resize(&disk->map, object_bytes(at)));
	else if (!load->mended)
		return HVREPL_OK;
	return hvri_object_flush(&disk->map);
}

int32_t hvri_overlay_map_load(struct hvri_overlay *overlay, uint32_t disk)
{
	struct map_load load = { .overlay = overlay, .disk = disk };
	int32_t rc;

	/* Durable before it is believed; data before the map, as ever. */
	HVRI_TRY(hvri_object_flush(&overlay->disks[disk].data));
	HVRI_TRY(hvri_object_flush(&overlay->disks[disk].map));
	HVRI_TRY(hvri_object_size(&overlay->disks[disk].map, &load.size));
	load.length = log_bytes(load.size);
	load.bytes = hvri_alloc(overlay->env, OVERLAY_RECORD_MAX);
	if (load.bytes == NULL)
		return HVREPL_E_NOMEM;
	rc = load_records(&load);
	hvri_free(overlay->env, load.bytes, OVERLAY_RECORD_MAX);
	return rc;
}
