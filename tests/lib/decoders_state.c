/* SPDX-License-Identifier: Apache-2.0 */
/* Decoders of what is kept and said about replication: tracker files,
 * manifests, ownership records, messages. */
#include "decoders.h"

#include "format/hvt.h"
#include "format/manifest.h"
#include "format/message.h"
#include "format/record.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#define must decoder_must
#define xxh3_of decoder_xxh3

static size_t sample_message(uint8_t *out, uint64_t *random)
{
	static struct hvri_claim claim;
	static struct hvri_setup setup;
	struct hvri_message message;
	uint8_t extents[64];
	size_t length = 0;

	memset(&message, 0, sizeof(message));
	memset(extents, 0, sizeof(extents));
	claim.lineage.count = (uint32_t)(test_random(random) % 4);
	setup.disk_count = 1;
	strcpy(setup.vm_name, "web");
	strcpy(setup.disks[0].name, "root");
	setup.disks[0].size = 1u << 20;
	setup.disks[0].block_size = 4096;
	message.type = 1 + (uint32_t)(test_random(random) %
				      (HVRI_MESSAGE_TYPE_COUNT - 1));
	message.from_incarnation = test_random(random);
	message.claim = &claim;
	message.setup = &setup;
	if (message.type == HVRI_MESSAGE_RANGES) {
		message.u.ranges.count = 2;
		message.u.ranges.extents = extents;
		hvri_ranges_put(extents, 0, (struct hvrepl_extent){ 0, 4096 });
		hvri_ranges_put(extents, 1,
				(struct hvrepl_extent){ 8192, 4096 });
	}
	must(hvri_message_encode(&message, out, DECODER_BYTES_MAX, &length) ==
		     HVREPL_OK,
	     "message was not encoded");
	return length;
}

static int32_t decode_message(const uint8_t *bytes, size_t length)
{
	static struct hvri_message_storage storage;
	struct hvri_message message;
	uint8_t *again;
	size_t again_length = 0;
	int32_t rc = hvri_message_decode(bytes, length, &storage, &message);

	if (rc < 0)
		return rc;
	again = malloc(HVRI_MESSAGE_ENCODED_MAX);
	must(again != NULL, "no memory");
	must(hvri_message_encode(&message, again, HVRI_MESSAGE_ENCODED_MAX,
				 &again_length) == HVREPL_OK &&
		     again_length == length &&
		     memcmp(again, bytes, length) == 0,
	     "message has two forms");
	free(again);
	return rc;
}

static size_t sample_record(uint8_t *out, uint64_t *random)
{
	static struct hvri_record record;
	size_t length = 0;

	memset(&record, 0, sizeof(record));
	record.generation = test_random(random);
	strcpy(record.vm_name, "web");
	record.disk_count = 1;
	strcpy(record.disks[0].name, "root");
	record.disks[0].size = 1u << 20;
	record.disks[0].block_size = 4096;
	record.lineage.count = (uint32_t)(test_random(random) % 3);
	for (uint32_t i = 0; i < record.lineage.count; i++) {
		test_fill(&record.lineage.epochs[i].id, 16,
			  test_random(random));
		record.lineage.epochs[i].ordinal = i + 1;
		if (i > 0)
			record.lineage.epochs[i].parent =
				record.lineage.epochs[i - 1].id;
	}
	must(hvri_record_encode(&record, out, DECODER_BYTES_MAX, &length) ==
		     HVREPL_OK,
	     "record was not encoded");
	return length;
}

static void sign_record(uint8_t *bytes, size_t length, uint64_t *random)
{
	struct hvri_part parts[2];

	if (length < 32)
		return;
	/* The length is right again too, mostly. */
	for (unsigned i = 0; i < 4 && test_random(random) % 8 != 0; i++)
		bytes[8 + i] = (uint8_t)(length >> (8 * i));
	parts[0] = (struct hvri_part){ bytes, 16 };
	parts[1] = (struct hvri_part){ bytes + 32, length - 32 };
	hvri_xxh3(parts, 2, bytes + 16);
}

/* Text may have any tail, so the form is not unique; but what was understood
 * is written and understood again. */
static int32_t decode_record(const uint8_t *bytes, size_t length)
{
	static struct hvri_record record;
	uint8_t *again, *third;
	size_t again_length = 0, third_length = 0;
	int32_t rc = hvri_record_decode(bytes, length, &record);

	if (rc < 0)
		return rc;
	again = malloc(HVRI_RECORD_ENCODED_MAX);
	third = malloc(HVRI_RECORD_ENCODED_MAX);
	must(again != NULL && third != NULL, "no memory");
	must(hvri_record_encode(&record, again, HVRI_RECORD_ENCODED_MAX,
				&again_length) == HVREPL_OK,
	     "record taken cannot be written");
	must(hvri_record_decode(again, again_length, &record) == HVREPL_OK &&
		     hvri_record_encode(&record, third,
					HVRI_RECORD_ENCODED_MAX,
					&third_length) == HVREPL_OK,
	     "record written cannot be read");
	must(third_length == again_length &&
		     memcmp(third, again, again_length) == 0,
	     "record does not settle");
	free(again);
	free(third);
	return rc;
}

/* A tracker file: header slot and one fine block, each by itself. */
static struct hvri_hvt_header hvt_of(void)
{
	struct hvri_hvt_header header = { .disk_size = 64u << 20,
					  .block_size = 4096,
					  .region_size = 1u << 20,
					  .sequence = 7,
					  .fine_blocks = 3,
					  .flags = HVRI_HVT_FINE };

	header.file.bytes[2] = 9;
	must(hvri_hvt_plan(&header) == HVREPL_OK, "no plan");
	return header;
}

static size_t sample_hvt_header(uint8_t *out, uint64_t *random)
{
	struct hvri_hvt_header header = hvt_of();

	header.incarnation = test_random(random);
	hvri_hvt_header_encode(&header, out);
	return HVRI_HVT_HEADER_SIZE;
}

static void sign_hvt_header(uint8_t *bytes, size_t length, uint64_t *random)
{
	(void)random;
	if (length == HVRI_HVT_HEADER_SIZE)
		xxh3_of(bytes, length - 16, bytes + length - 16);
}

static int32_t decode_hvt_header(const uint8_t *bytes, size_t length)
{
	struct hvri_hvt_header header;
	uint8_t again[HVRI_HVT_HEADER_SIZE];
	int32_t rc;

	if (length != sizeof(again))
		return HVREPL_E_TRUNCATED;
	rc = hvri_hvt_header_decode(bytes, &header);
	if (rc < 0)
		return rc;
	hvri_hvt_header_encode(&header, again);
	must(memcmp(again, bytes, length) == 0, "header has two forms");
	return rc;
}

static size_t sample_hvt_fine(uint8_t *out, uint64_t *random)
{
	struct hvri_hvt_header header = hvt_of();
	struct hvri_hvt_fine fine;
	uint64_t words[HVRI_HVT_FINE_BITS / 64], index;

	hvri_hvt_fine_begin(&fine, &header);
	hvri_hvt_fine_run(&fine, test_random(random) % 1000, 24);
	test_fill(words, sizeof(words), test_random(random));
	hvri_hvt_fine_bits(&fine, 4096, words);
	hvri_hvt_fine_finish(&fine, out, &index);
	return HVRI_HVT_FINE_BLOCK;
}

static void sign_hvt_fine(uint8_t *bytes, size_t length, uint64_t *random)
{
	struct hvri_hvt_header header = hvt_of();
	uint8_t place[8] = { 7 }; /* The sequence. */
	struct hvri_part parts[3] = { { header.file.bytes, 16 },
				      { place, sizeof(place) },
				      { bytes + 16, length - 16 } };

	(void)random;
	if (length == HVRI_HVT_FINE_BLOCK)
		hvri_xxh3(parts, 3, bytes);
}

static void inside_disk(void *argument, uint64_t first, uint64_t count)
{
	const struct hvri_hvt_header *header = argument;

	/* Bits come in leaves, whose tail may lie behind the end. */
	must(count > 0 && first < header->blocks + HVRI_HVT_FINE_BITS &&
		     count <= header->blocks + HVRI_HVT_FINE_BITS,
	     "dirty blocks far outside");
}

static int32_t decode_hvt_fine(const uint8_t *bytes, size_t length)
{
	struct hvri_hvt_header header = hvt_of();

	if (length != HVRI_HVT_FINE_BLOCK)
		return HVREPL_E_TRUNCATED;
	return hvri_hvt_fine_decode(&header, 0, bytes, inside_disk, &header);
}

static size_t sample_head(uint8_t *out, uint64_t *random)
{
	struct hvri_head head;

	test_fill(&head, sizeof(head), test_random(random));
	must(hvri_head_encode(&head, NULL, out) == HVREPL_OK, "no head");
	return HVRI_HEAD_SIZE;
}

static void sign_head(uint8_t *bytes, size_t length, uint64_t *random)
{
	struct hvri_sha256 sha;

	(void)random;
	if (length != HVRI_HEAD_SIZE)
		return;
	must(hvri_sha256_begin(&sha) == HVREPL_OK &&
		     hvri_sha256_add(&sha, bytes, length - 32) == HVREPL_OK &&
		     hvri_sha256_end(&sha, bytes + length - 32) == HVREPL_OK,
	     "no SHA-256");
	hvri_sha256_free(&sha);
}

static int32_t decode_head(const uint8_t *bytes, size_t length)
{
	struct hvri_head head;
	uint8_t again[HVRI_HEAD_SIZE];
	int32_t rc;

	if (length != sizeof(again))
		return HVREPL_E_TRUNCATED;
	rc = hvri_head_decode(bytes, NULL, &head);
	if (rc < 0)
		return rc;
	must(hvri_head_encode(&head, NULL, again) == HVREPL_OK &&
		     memcmp(again, bytes, length) == 0,
	     "head has two forms");
	return rc;
}

static size_t sample_manifest(uint8_t *out, uint64_t *random)
{
	static struct hvri_manifest manifest;
	static uint8_t config[64];
	uint32_t length = 0;

	memset(&manifest, 0, sizeof(manifest));
	manifest.phase = HVRI_MANIFEST_REPLICA;
	manifest.disk_count = 1 + (uint32_t)(test_random(random) % 3);
	for (uint32_t i = 0; i < manifest.disk_count; i++)
		manifest.disks[i].size = 1u << 20;
	manifest.point_count = (uint32_t)(test_random(random) % 8);
	manifest.redo_count = (uint32_t)(test_random(random) % 8);
	manifest.undo_count = (uint32_t)(test_random(random) % 8);
	manifest.config_count = 1;
	manifest.configs[0].bytes = config;
	manifest.configs[0].length = sizeof(config);
	manifest.blob = config;
	manifest.blob_length = 17;
	manifest.stamped = (uint32_t)(test_random(random) % 4);
	manifest.stamps[0].token_length = 48;
	manifest.doubt_to = test_random(random);
	must(hvri_manifest_encode(&manifest, out, DECODER_BYTES_MAX,
				  &length) == HVREPL_OK,
	     "no manifest");
	return length;
}

/* What is encoded again is the same, or what version 1 lacked is there too: the
 * changed bytes of points, not known; then stamps, none, and no doubts. */
static bool same_form(const uint8_t *again, size_t again_length,
		      const uint8_t *bytes, size_t length, bool checkpoint)
{
	static const uint8_t no_stamps[24];

	if (again_length < length || memcmp(again, bytes, length) != 0)
		return false;
	if (again_length > length && checkpoint) {
		if (again_length < length + sizeof(no_stamps) ||
		    memcmp(again + again_length - sizeof(no_stamps), no_stamps,
			   sizeof(no_stamps)) != 0)
			return false;
		again_length -= sizeof(no_stamps);
	}
	for (size_t i = length; i < again_length; i++)
		if (again[i] != 0xff)
			return false;
	return (again_length - length) % 8 == 0;
}

static int32_t decode_manifest(const uint8_t *bytes, size_t length)
{
	static struct hvri_manifest manifest;
	struct test_env test;
	struct hvri_env env;
	uint32_t again_length = 0;
	uint8_t *again;
	size_t room;
	int32_t rc;

	test_env_init(&test, 1);
	must(hvri_env_copy(&env, &test.env, NULL) == HVREPL_OK, "no env");
	rc = hvri_manifest_decode(&env, bytes, (uint32_t)length, &manifest);
	if (rc == HVREPL_OK) {
		room = hvri_manifest_bound(&manifest);
		again = malloc(room);
		must(again != NULL, "no memory");
		must(hvri_manifest_encode(&manifest, again, room,
					  &again_length) == HVREPL_OK &&
			     same_form(again, again_length, bytes, length,
				       true),
		     "manifest has two forms");
		free(again);
		hvri_manifest_clear(&env, &manifest);
	}
	must(test.alloc_live == 0, "manifest leaks");
	return rc;
}

/* The body of a record, its type in front. */
static size_t sample_change(uint8_t *out, uint64_t *random)
{
	static struct hvri_manifest_disk disks[2];
	static struct hvri_manifest_stamp stamps[2];
	struct hvri_manifest_record record;
	uint32_t length = 0;

	memset(&record, 0, sizeof(record));
	record.type = (uint16_t)(HVRI_RECORD_RECEIVE +
				 test_random(random) %
					 (HVRI_RECORD_LAST -
					  HVRI_RECORD_RECEIVE + 1));
	record.disks = disks;
	record.disk_count = 2;
	record.key = test_random(random);
	if (test_random(random) % 2 == 0) {
		record.stamped = HVRI_STAMP_OPEN +
				 (uint32_t)(test_random(random) % 3);
		record.stamp_count = 2;
		record.stamps = stamps;
		stamps[0].token_length = 8;
		stamps[1].token_length = (uint32_t)(test_random(random) %
						    (HVREPL_TOKEN_MAX + 1));
		stamps[1].utc_ns = test_random(random);
	}
	out[0] = (uint8_t)record.type;
	must(hvri_manifest_record_encode(&record, out + 1,
					 DECODER_BYTES_MAX - 1, &length) ==
		     HVREPL_OK,
	     "no record");
	return 1 + length;
}

static int32_t decode_change(const uint8_t *bytes, size_t length)
{
	static struct hvri_manifest_disk disks[HVREPL_STORE_DISKS_MAX];
	static struct hvri_manifest_stamp stamps[HVREPL_STORE_DISKS_MAX];
	struct hvri_manifest_record record = { .disks = disks,
					       .stamps = stamps };
	uint32_t again_length = 0;
	uint8_t *again;
	size_t room;
	int32_t rc;

	if (length == 0)
		return HVREPL_E_TRUNCATED;
	rc = hvri_manifest_record_decode(bytes[0], bytes + 1,
					 (uint32_t)length - 1, &record);
	if (rc < 0)
		return rc;
	room = hvri_manifest_record_bound(&record);
	again = malloc(room);
	must(again != NULL, "no memory");
	must(hvri_manifest_record_encode(&record, again, room,
					 &again_length) == HVREPL_OK &&
		     same_form(again, again_length, bytes + 1, length - 1,
			       false),
	     "record has two forms");
	free(again);
	return rc;
}

const struct decoder decoders_state[] = {
	{ "message", sample_message, NULL, decode_message },
	{ "tracker-header", sample_hvt_header, sign_hvt_header,
	  decode_hvt_header },
	{ "tracker-fine", sample_hvt_fine, sign_hvt_fine, decode_hvt_fine },
	{ "store-head", sample_head, sign_head, decode_head },
	{ "store-checkpoint", sample_manifest, NULL, decode_manifest },
	{ "store-change", sample_change, NULL, decode_change },
	{ "record", sample_record, sign_record, decode_record },
	{ NULL, NULL, NULL, NULL },
};
