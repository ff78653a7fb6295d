/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of manifest records: the deltas and the checkpoint. */
#include "format/manifest.h"

#include <string.h>

#define POINT_BYTES 80u /* With what stands behind everything else. */
#define LOG_BYTES 72u
#define DISK_BYTES 48u
#define STAMP_BYTES (12u + HVREPL_TOKEN_MAX)
#define FIXED_BYTES 512u /* More than any record's fixed members. */

static void put_point(struct hvri_writer *writer,
		      const struct hvri_manifest_point *point)
{
	hvri_write_u64(writer, point->key);
	hvri_write_u64(writer, point->number);
	hvri_write_uuid(writer, &point->epoch);
	hvri_write_uuid(writer, &point->cut);
	hvri_write_u64(writer, point->utc_ns);
	hvri_write_u64(writer, point->config_version);
	hvri_write_u32(writer, point->config);
	hvri_write_u32(writer, point->pins);
}

static void get_point(struct hvri_reader *reader,
		      struct hvri_manifest_point *point)
{
	point->key = hvri_read_u64(reader);
	point->number = hvri_read_u64(reader);
	hvri_read_uuid(reader, &point->epoch);
	hvri_read_uuid(reader, &point->cut);
	point->utc_ns = hvri_read_u64(reader);
	point->config_version = hvri_read_u64(reader);
	point->config = hvri_read_u32(reader);
	point->pins = hvri_read_u32(reader);
}

/* Version 1 ended before this: at the end, where it is easily missing. */
static uint64_t get_changed(struct hvri_reader *reader)
{
	return reader->left > 0 ? hvri_read_u64(reader) : HVREPL_BYTES_UNKNOWN;
}

static void put_log(struct hvri_writer *writer,
		    const struct hvri_manifest_log *log)
{
	hvri_write_u64(writer, log->id);
	hvri_write_u64(writer, log->from);
	hvri_write_u64(writer, log->to);
	hvri_write_u64(writer, log->container);
	hvri_write_u64(writer, log->index_position);
	hvri_write_u64(writer, log->index_length);
	hvri_write_u64(writer, log->stored_bytes);
	hvri_write_bytes(writer, log->index_digest, 16);
}

static void get_log(struct hvri_reader *reader, struct hvri_manifest_log *log)
{
	log->id = hvri_read_u64(reader);
	log->from = hvri_read_u64(reader);
	log->to = hvri_read_u64(reader);
	log->container = hvri_read_u64(reader);
	log->index_position = hvri_read_u64(reader);
	log->index_length = hvri_read_u64(reader);
	log->stored_bytes = hvri_read_u64(reader);
	hvri_read_bytes(reader, log->index_digest, 16);
}

static void put_disk(struct hvri_writer *writer,
		     const struct hvri_manifest_disk *disk)
{
	hvri_write_uuid(writer, &disk->disk);
	hvri_write_u64(writer, disk->size);
	hvri_write_u64(writer, disk->frontier);
	hvri_write_u64(writer, disk->direct);
	hvri_write_u32(writer, disk->init_sequence);
	hvri_write_u32(writer, disk->init_ended);
}

static void get_disk(struct hvri_reader *reader,
		     struct hvri_manifest_disk *disk)
{
	hvri_read_uuid(reader, &disk->disk);
	disk->size = hvri_read_u64(reader);
	disk->frontier = hvri_read_u64(reader);
	disk->direct = hvri_read_u64(reader);
	disk->init_sequence = hvri_read_u32(reader);
	disk->init_ended = hvri_read_u32(reader);
	if (disk->frontier > disk->size || disk->direct > disk->size ||
	    disk->init_ended > 1)
		reader->bad = true;
}

static void put_bytes(struct hvri_writer *writer, const uint8_t *bytes,
		      uint32_t length)
{
	hvri_write_u32(writer, length);
	if (length > 0)
		hvri_write_bytes(writer, bytes, length);
}

static void get_span(struct hvri_reader *reader, uint32_t max,
		     const uint8_t **bytes_out, uint32_t *length_out)
{
	uint32_t length = hvri_read_u32(reader);

	*bytes_out = NULL;
	*length_out = 0;
	if (length > max)
		reader->bad = true;
	if (reader->bad || length == 0)
		return;
	*bytes_out = hvri_read_span(reader, length);
	*length_out = length;
}

/* A count that must not pass `max`; 0 when bad, so that loops end. */
static uint32_t get_count(struct hvri_reader *reader, uint32_t max)
{
	uint32_t count = hvri_read_u32(reader);

	if (count > max)
		reader->bad = true;
	return reader->bad ? 0 : count;
}

size_t hvri_manifest_record_bound(const struct hvri_manifest_record *record)
{
	return FIXED_BYTES + (size_t)record->disk_count * DISK_BYTES +
	       (size_t)record->stamp_count * STAMP_BYTES + record->length;
}

size_t hvri_manifest_bound(const struct hvri_manifest *manifest)
{
	size_t bytes = FIXED_BYTES;

	bytes += (size_t)manifest->disk_count * (DISK_BYTES + STAMP_BYTES);
	bytes += (size_t)manifest->point_count * POINT_BYTES;
	bytes += (size_t)(manifest->redo_count + manifest->undo_count) *
		 LOG_BYTES;
	for (uint32_t i = 0; i < manifest->config_count; i++)
		bytes += 8u + manifest->configs[i].length;
	return bytes + manifest->blob_length;
}

static void put_disks(struct hvri_writer *writer,
		      const struct hvri_manifest_disk *disks, uint32_t count)
{
	hvri_write_u32(writer, count);
	for (uint32_t i = 0; i < count; i++)
		put_disk(writer, &disks[i]);
}

static uint32_t get_disks(struct hvri_reader *reader,
			  struct hvri_manifest_disk *disks)
{
	uint32_t count = get_count(reader, HVREPL_STORE_DISKS_MAX);

	for (uint32_t i = 0; i < count; i++)
		get_disk(reader, &disks[i]);
	return count;
}

static void put_stamps(struct hvri_writer *writer, uint32_t stamped,
		       const struct hvri_manifest_stamp *stamps, uint32_t count)
{
	hvri_write_u32(writer, stamped);
	hvri_write_u32(writer, count);
	for (uint32_t i = 0; i < count; i++) {
		hvri_write_u64(writer, stamps[i].utc_ns);
		hvri_write_u32(writer, stamps[i].token_length);
		if (stamps[i].token_length > HVREPL_TOKEN_MAX)
			writer->bad = true;
		else if (stamps[i].token_length > 0)
			hvri_write_bytes(writer, stamps[i].token,
					 stamps[i].token_length);
	}
}

static uint32_t get_stamps(struct hvri_reader *reader, uint32_t *stamped_out,
			   struct hvri_manifest_stamp *stamps)
{
	uint32_t count;

	*stamped_out = hvri_read_u32(reader);
	count = get_count(reader, HVREPL_STORE_DISKS_MAX);
	if (*stamped_out > HVRI_STAMP_CLOSED)
		reader->bad = true;
	for (uint32_t i = 0; i < count; i++) {
		struct hvri_manifest_stamp *stamp = &stamps[i];

		memset(stamp, 0, sizeof(*stamp));
		stamp->utc_ns = hvri_read_u64(reader);
		stamp->token_length = get_count(reader, HVREPL_TOKEN_MAX);
		if (stamp->token_length > 0)
			hvri_read_bytes(reader, stamp->token,
					stamp->token_length);
	}
	return reader->bad ? 0 : count;
}

int32_t hvri_manifest_record_encode(const struct hvri_manifest_record *record,
				    uint8_t *out, size_t room,
				    uint32_t *length_out)
{
	struct hvri_writer writer = hvri_writer_over(out, room);

	switch (record->type) {
	case HVRI_RECORD_RECEIVE:
		hvri_write_u64(&writer, record->id);
		hvri_write_u64(&writer, record->tail);
		break;
	case HVRI_RECORD_INITIAL:
		hvri_write_uuid(&writer, &record->cut);
		hvri_write_uuid(&writer, &record->epoch);
		hvri_write_u64(&writer, record->from);
		hvri_write_u64(&writer, record->to);
		put_disks(&writer, record->disks, record->disk_count);
		break;
	case HVRI_RECORD_POINT:
	case HVRI_RECORD_ADOPT:
		put_point(&writer, &record->point);
		put_log(&writer, &record->log);
		hvri_write_u64(&writer, record->tail);
		put_bytes(&writer, record->bytes, record->length);
		hvri_write_u64(&writer, record->point.changed_bytes);
		break;
	case HVRI_RECORD_PINS:
		hvri_write_u64(&writer, record->key);
		hvri_write_u32(&writer, record->pins);
		break;
	case HVRI_RECORD_DROP:
		hvri_write_u64(&writer, record->key);
		break;
	case HVRI_RECORD_DOUBT:
		hvri_write_u64(&writer, record->from);
		hvri_write_u64(&writer, record->to);
		break;
	case HVRI_RECORD_MERGE:
		hvri_write_u64(&writer, record->key);
		hvri_write_u64(&writer, record->undo);
		break;
	case HVRI_RECORD_MERGED:
		put_log(&writer, &record->log);
		break;
	case HVRI_RECORD_REPLACE:
		hvri_write_u32(&writer, record->is_undo);
		hvri_write_u64(&writer, record->replaced[0]);
		hvri_write_u64(&writer, record->replaced[1]);
		put_log(&writer, &record->log);
		break;
	case HVRI_RECORD_OVERLAY:
		hvri_write_u64(&writer, record->key);
		hvri_write_u64(&writer, record->id);
		break;
	case HVRI_RECORD_FREEZE:
		hvri_write_u64(&writer, record->id);
		hvri_write_u64(&writer, record->undo);
		break;
	case HVRI_RECORD_DIRECT:
		hvri_write_u32(&writer, record->disk);
		hvri_write_u64(&writer, record->offset);
		break;
	case HVRI_RECORD_BLOB:
		put_bytes(&writer, record->bytes, record->length);
		break;
	default: /* The type says it all. */
		break;
	}
	if (record->stamp_count > 0)
		put_stamps(&writer, record->stamped, record->stamps,
			   record->stamp_count);
	if (writer.bad)
		return HVREPL_E_INVALID;
	*length_out = (uint32_t)writer.written;
	return HVREPL_OK;
}

int32_t hvri_manifest_record_decode(uint16_t type, const uint8_t *body,
				    uint32_t length,
				    struct hvri_manifest_record *record_out)
{
	struct hvri_reader reader = hvri_reader_over(body, length);
	struct hvri_manifest_disk *disks = record_out->disks;
	struct hvri_manifest_stamp *stamps = record_out->stamps;
	struct hvri_manifest_record record;

	memset(&record, 0, sizeof(record));
	record.type = type;
	record.disks = disks;
	record.stamps = stamps;
	switch (type) {
	case HVRI_RECORD_RECEIVE:
		record.id = hvri_read_u64(&reader);
		record.tail = hvri_read_u64(&reader);
		break;
	case HVRI_RECORD_INITIAL:
		hvri_read_uuid(&reader, &record.cut);
		hvri_read_uuid(&reader, &record.epoch);
		record.from = hvri_read_u64(&reader);
		record.to = hvri_read_u64(&reader);
		record.disk_count = get_disks(&reader, disks);
		break;
	case HVRI_RECORD_POINT:
	case HVRI_RECORD_ADOPT:
		get_point(&reader, &record.point);
		get_log(&reader, &record.log);
		record.tail = hvri_read_u64(&reader);
		get_span(&reader, HVREPL_CONFIG_MAX, &record.bytes,
			 &record.length);
		record.point.changed_bytes = get_changed(&reader);
		break;
	case HVRI_RECORD_PINS:
		record.key = hvri_read_u64(&reader);
		record.pins = hvri_read_u32(&reader);
		break;
	case HVRI_RECORD_DROP:
		record.key = hvri_read_u64(&reader);
		break;
	case HVRI_RECORD_DOUBT:
		record.from = hvri_read_u64(&reader);
		record.to = hvri_read_u64(&reader);
		break;
	case HVRI_RECORD_MERGE:
		record.key = hvri_read_u64(&reader);
		record.undo = hvri_read_u64(&reader);
		break;
	case HVRI_RECORD_MERGED:
		get_log(&reader, &record.log);
		break;
	case HVRI_RECORD_REPLACE:
		record.is_undo = hvri_read_u32(&reader);
		record.replaced[0] = hvri_read_u64(&reader);
		record.replaced[1] = hvri_read_u64(&reader);
		get_log(&reader, &record.log);
		break;
	case HVRI_RECORD_OVERLAY:
		record.key = hvri_read_u64(&reader);
		record.id = hvri_read_u64(&reader);
		break;
	case HVRI_RECORD_FREEZE:
		record.id = hvri_read_u64(&reader);
		record.undo = hvri_read_u64(&reader);
		break;
	case HVRI_RECORD_DIRECT:
		record.disk = hvri_read_u32(&reader);
		record.offset = hvri_read_u64(&reader);
		break;
	case HVRI_RECORD_BLOB:
		get_span(&reader, HVREPL_STORE_BLOB_MAX, &record.bytes,
			 &record.length);
		break;
	case HVRI_RECORD_OVERLAY_DROP:
	case HVRI_RECORD_FOLDED:
	case HVRI_RECORD_COMMITTED:
	case HVRI_RECORD_CANCEL:
	case HVRI_RECORD_RESTORED:
	case HVRI_RECORD_BASE_ONLY:
	case HVRI_RECORD_STAMP:
		break;
	default:
		return HVREPL_E_CORRUPT;
	}
	if (!reader.bad && reader.left > 0) {
		record.stamp_count = get_stamps(&reader, &record.stamped,
						stamps);
		if (record.stamp_count == 0)
			reader.bad = true;
	}
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_CORRUPT));
	*record_out = record;
	return HVREPL_OK;
}

int32_t hvri_manifest_encode(const struct hvri_manifest *state, uint8_t *out,
			     size_t room, uint32_t *length_out)
{
	struct hvri_writer writer = hvri_writer_over(out, room);

	hvri_write_uuid(&writer, &state->vm);
	hvri_write_u32(&writer, state->phase);
	put_disks(&writer, state->disks, state->disk_count);
	hvri_write_u64(&writer, state->last_key);
	hvri_write_u64(&writer, state->next_id);
	hvri_write_u64(&writer, state->receiving);
	hvri_write_u64(&writer, state->receiving_tail);
	hvri_write_uuid(&writer, &state->init_cut);
	hvri_write_uuid(&writer, &state->init_epoch);
	hvri_write_u64(&writer, state->init_from);
	hvri_write_u64(&writer, state->init_to);
	hvri_write_u64(&writer, state->base);
	hvri_write_u64(&writer, state->merge_target);
	hvri_write_u64(&writer, state->merge_undo);
	hvri_write_u32(&writer, state->commit);
	hvri_write_u32(&writer, state->materialised);
	hvri_write_u64(&writer, state->commit_point);
	hvri_write_u64(&writer, state->overlay_active);
	hvri_write_u64(&writer, state->overlay_frozen);
	hvri_write_u64(&writer, state->commit_undo);
	hvri_write_u32(&writer, state->point_count);
	for (uint32_t i = 0; i < state->point_count; i++)
		put_point(&writer, &state->points[i]);
	hvri_write_u32(&writer, state->redo_count);
	for (uint32_t i = 0; i < state->redo_count; i++)
		put_log(&writer, &state->redo[i]);
	hvri_write_u32(&writer, state->undo_count);
	for (uint32_t i = 0; i < state->undo_count; i++)
		put_log(&writer, &state->undo[i]);
	hvri_write_u32(&writer, state->config_count);
	for (uint32_t i = 0; i < state->config_count; i++) {
		hvri_write_u32(&writer, state->configs[i].id);
		put_bytes(&writer, state->configs[i].bytes,
			  state->configs[i].length);
	}
	put_bytes(&writer, state->blob, state->blob_length);
	for (uint32_t i = 0; i < state->point_count; i++)
		hvri_write_u64(&writer, state->points[i].changed_bytes);
	put_stamps(&writer, state->stamped, state->stamps,
		   state->stamped == HVRI_STAMP_NONE ? 0 : state->disk_count);
	hvri_write_u64(&writer, state->doubt_from);
	hvri_write_u64(&writer, state->doubt_to);
	if (writer.bad)
		return HVREPL_E_INVALID;
	*length_out = (uint32_t)writer.written;
	return HVREPL_OK;
}

static uint8_t *copy_span(const struct hvri_env *env, struct hvri_reader *in,
			  uint32_t max, uint32_t *length_out, int32_t *rc)
{
	const uint8_t *bytes;
	uint8_t *copy;

	get_span(in, max, &bytes, length_out);
	if (bytes == NULL)
		return NULL;
	copy = hvri_alloc(env, *length_out);
	if (copy == NULL) {
		*rc = HVREPL_E_NOMEM;
		*length_out = 0;
		return NULL;
	}
	memcpy(copy, bytes, *length_out);
	return copy;
}

static int32_t decode_into(const struct hvri_env *env,
			   struct hvri_reader *reader, struct hvri_manifest *to)
{
	int32_t rc = HVREPL_OK;
	uint32_t count;

	hvri_read_uuid(reader, &to->vm);
	to->phase = hvri_read_u32(reader);
	to->disk_count = get_disks(reader, to->disks);
	to->last_key = hvri_read_u64(reader);
	to->next_id = hvri_read_u64(reader);
	to->receiving = hvri_read_u64(reader);
	to->receiving_tail = hvri_read_u64(reader);
	hvri_read_uuid(reader, &to->init_cut);
	hvri_read_uuid(reader, &to->init_epoch);
	to->init_from = hvri_read_u64(reader);
	to->init_to = hvri_read_u64(reader);
	to->base = hvri_read_u64(reader);
	to->merge_target = hvri_read_u64(reader);
	to->merge_undo = hvri_read_u64(reader);
	to->commit = hvri_read_u32(reader);
	to->materialised = hvri_read_u32(reader);
	to->commit_point = hvri_read_u64(reader);
	to->overlay_active = hvri_read_u64(reader);
	to->overlay_frozen = hvri_read_u64(reader);
	to->commit_undo = hvri_read_u64(reader);
	to->point_count = get_count(reader, HVRI_MANIFEST_POINTS);
	for (uint32_t i = 0; i < to->point_count; i++)
		get_point(reader, &to->points[i]);
	to->redo_count = get_count(reader, HVRI_MANIFEST_LOGS);
	for (uint32_t i = 0; i < to->redo_count; i++)
		get_log(reader, &to->redo[i]);
	to->undo_count = get_count(reader, HVRI_MANIFEST_LOGS);
	for (uint32_t i = 0; i < to->undo_count; i++)
		get_log(reader, &to->undo[i]);
	count = get_count(reader, HVRI_MANIFEST_POINTS);
	for (uint32_t i = 0; i < count && rc == HVREPL_OK; i++) {
		struct hvri_manifest_config *config = &to->configs[i];

		config->id = hvri_read_u32(reader);
		config->bytes = copy_span(env, reader, HVREPL_CONFIG_MAX,
					  &config->length, &rc);
		to->config_count = i + 1;
	}
	if (rc == HVREPL_OK)
		to->blob = copy_span(env, reader, HVREPL_STORE_BLOB_MAX,
				     &to->blob_length, &rc);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < to->point_count; i++)
		to->points[i].changed_bytes = get_changed(reader);
	/* Version 1 ended before this. */
	if (!reader->bad && reader->left > 0) {
		count = get_stamps(reader, &to->stamped, to->stamps);
		if (count != (to->stamped == HVRI_STAMP_NONE ? 0 :
							       to->disk_count))
			return HVREPL_E_CORRUPT;
		to->doubt_from = hvri_read_u64(reader);
		to->doubt_to = hvri_read_u64(reader);
	}
	if (to->phase > HVRI_MANIFEST_BASE_ONLY || to->disk_count == 0 ||
	    to->commit > HVRI_COMMIT_RESTORING || to->materialised > 1)
		return HVREPL_E_CORRUPT;
	return hvri_reader_end(reader, HVREPL_E_CORRUPT);
}

int32_t hvri_manifest_decode(const struct hvri_env *env, const uint8_t *body,
			     uint32_t length,
			     struct hvri_manifest *manifest_out)
{
	struct hvri_reader reader = hvri_reader_over(body, length);
	int32_t rc;

	memset(manifest_out, 0, sizeof(*manifest_out));
	rc = decode_into(env, &reader, manifest_out);
	if (rc < 0)
		hvri_manifest_clear(env, manifest_out);
	return rc;
}

void hvri_manifest_clear(const struct hvri_env *env,
			 struct hvri_manifest *manifest)
{
	for (uint32_t i = 0; i < manifest->config_count; i++)
		hvri_free(env, manifest->configs[i].bytes,
			  manifest->configs[i].length);
	manifest->config_count = 0;
	hvri_free(env, manifest->blob, manifest->blob_length);
	manifest->blob = NULL;
	manifest->blob_length = 0;
}
