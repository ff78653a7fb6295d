/* SPDX-License-Identifier: Apache-2.0 */
/* Decoders of segments and what goes with them. */
#include "decoders.h"

#include "format/apply_record.h"
#include "format/segment.h"
#include "logbuf.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_RAW 8192u
#define must decoder_must
#define xxh3_of decoder_xxh3

/* The same for all, so that chunks and pages fit their header. */
static struct hvri_segment_header header_of(uint64_t *random)
{
	struct hvri_segment_header header;

	memset(&header, 0, sizeof(header));
	header.identity.vm.bytes[3] = 7;
	header.identity.to_point = 1;
	header.disk_size = 1u << 20;
	header.block_size = 512;
	if (random != NULL) {
		header.block_size = 512u << test_random(random) % 8;
		header.disk_size = 1 + test_random(random) % INT64_MAX;
		header.utc_ns = test_random(random);
	}
	return header;
}

static size_t sample_header(uint8_t *out, uint64_t *random)
{
	struct hvri_segment_header header = header_of(random);

	hvri_segment_header_encode(&header, out);
	return HVRI_SEGMENT_HEADER_SIZE;
}

static void sign_header(uint8_t *bytes, size_t length, uint64_t *random)
{
	(void)random;
	if (length == HVRI_SEGMENT_HEADER_SIZE)
		xxh3_of(bytes, length - 16, bytes + length - 16);
}

static int32_t decode_header(const uint8_t *bytes, size_t length)
{
	struct hvri_segment_header header;
	uint8_t again[HVRI_SEGMENT_HEADER_SIZE];
	int32_t rc;

	if (length != sizeof(again))
		return HVREPL_E_TRUNCATED;
	rc = hvri_segment_header_decode(bytes, &header);
	if (rc < 0)
		return rc;
	hvri_segment_header_encode(&header, again);
	must(memcmp(again, bytes, length) == 0, "header has two forms");
	return rc;
}

static size_t sample_chunk(uint8_t *out, uint64_t *random)
{
	static struct hvri_packer *packer;
	static struct test_env test;
	struct hvri_segment_header header = header_of(NULL);
	struct hvrepl_extent extents[CHUNK_RAW / 512];
	struct hvri_env env;
	uint8_t raw[CHUNK_RAW];
	uint32_t count = 1 + (uint32_t)(test_random(random) % 16), length;
	uint8_t kind = (uint8_t)(1 + test_random(random) % 3);

	if (packer == NULL) {
		test_env_init(&test, 1);
		must(hvri_env_copy(&env, &test.env, NULL) == HVREPL_OK &&
			     hvri_packer_create(&env, 1, &packer) == HVREPL_OK,
		     "no packer");
	}
	test_fill(raw, sizeof(raw), test_random(random));
	if (test_random(random) % 2 == 0)
		memset(raw, 'x', sizeof(raw) / 2);
	for (uint32_t i = 0; i < count; i++)
		extents[i] = (struct hvrepl_extent){ i * 2048u, 512 };
	must(hvri_chunk_pack(packer, &header, 0, kind, extents, count,
			     kind == HVRI_CHUNK_DATA ? raw : NULL, out,
			     &length) == HVREPL_OK,
	     "chunk was not packed");
	return length;
}

static void sign_chunk(uint8_t *bytes, size_t length, uint64_t *random)
{
	struct hvri_segment_header header = header_of(NULL);
	uint8_t identity[HVRI_IDENTITY_SIZE];
	struct hvri_part parts[3] = { { identity, sizeof(identity) } };
	size_t extents;

	if (length < HVRI_CHUNK_HEADER_SIZE)
		return;
	hvri_segment_identity_encode(&header.identity, identity);
	extents = 16u * (size_t)(bytes[6] + 256u * bytes[7]);
	/* Of stored data the raw digest too, mostly. */
	if (bytes[5] == HVRI_CODEC_STORED && test_random(random) % 4 != 0 &&
	    extents <= length - HVRI_CHUNK_HEADER_SIZE) {
		parts[1] = (struct hvri_part){ bytes + 56, extents };
		parts[2] = (struct hvri_part){ bytes + 56 + extents,
					       length - 56 - extents };
		hvri_xxh3(parts, 3, bytes + 24);
	}
	parts[1] = (struct hvri_part){ bytes, 40 };
	parts[2] = (struct hvri_part){ bytes + 56, length - 56 };
	hvri_xxh3(parts, 3, bytes + 40);
}

static int32_t decode_chunk(const uint8_t *bytes, size_t length)
{
	struct hvri_segment_header header = header_of(NULL);
	struct hvri_chunk chunk;
	uint64_t from = 0, covered = 0;
	uint8_t *raw;
	int32_t rc = hvri_chunk_decode(&header, bytes, length, &chunk);

	if (rc < 0)
		return rc;
	must(chunk.extents >= bytes &&
		     chunk.payload + chunk.stored_length == bytes + length,
	     "chunk reaches outside");
	for (uint32_t i = 0; i < chunk.extent_count; i++) {
		struct hvrepl_extent extent = hvri_chunk_extent(&chunk, i);

		must(extent.length > 0 && extent.offset >= from &&
			     extent.offset + extent.length <= header.disk_size,
		     "extent out of place");
		from = extent.offset + extent.length;
		covered += extent.length;
	}
	must(hvri_chunk_covered(&chunk) == covered, "covers something else");
	if (chunk.kind != HVRI_CHUNK_DATA)
		return rc;
	must(covered == chunk.raw_length &&
		     chunk.raw_length <= HVRI_CHUNK_RAW_MAX,
	     "raw length is not that of the extents");
	raw = malloc(chunk.raw_length);
	must(raw != NULL, "no memory");
	rc = hvri_chunk_unpack(&header, &chunk, raw);
	free(raw);
	return rc;
}

static size_t sample_page(uint8_t *out, uint64_t *random)
{
	struct hvri_segment_header header = header_of(NULL);
	struct hvri_segment_entry entries[64];
	struct hvri_segment_page page = {
		.first_sequence = (uint32_t)test_random(random),
		.count = 1 + (uint32_t)(test_random(random) % 64),
		.previous = test_random(random),
	};

	test_fill(entries, sizeof(entries), test_random(random));
	hvri_segment_page_encode(&header, &page, entries, out);
	return HVRI_PAGE_ENCODED(page.count);
}

static void sign_page(uint8_t *bytes, size_t length, uint64_t *random)
{
	struct hvri_segment_header header = header_of(NULL);
	uint8_t identity[HVRI_IDENTITY_SIZE];
	struct hvri_part parts[2] = { { identity, sizeof(identity) } };

	(void)random;
	if (length < 16)
		return;
	hvri_segment_identity_encode(&header.identity, identity);
	parts[1] = (struct hvri_part){ bytes, length - 16 };
	hvri_xxh3(parts, 2, bytes + length - 16);
}

static int32_t decode_page(const uint8_t *bytes, size_t length)
{
	struct hvri_segment_header header = header_of(NULL);
	struct hvri_segment_page page;
	uint64_t sum = 0;
	int32_t rc = hvri_segment_page_decode(&header, bytes, length, &page);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < page.count; i++)
		sum += hvri_segment_page_entry(&page, i).length;
	must(sum <= (uint64_t)page.count * UINT32_MAX, "entries");
	return rc;
}

static size_t sample_trailer(uint8_t *out, uint64_t *random)
{
	struct hvri_segment_trailer trailer;

	test_fill(&trailer, sizeof(trailer), test_random(random));
	trailer.result_digest_kind = HVRI_DIGEST_SHA256;
	hvri_segment_trailer_encode(&trailer, out);
	return HVRI_SEGMENT_TRAILER_SIZE;
}

static void sign_trailer(uint8_t *bytes, size_t length, uint64_t *random)
{
	(void)random;
	if (length == HVRI_SEGMENT_TRAILER_SIZE)
		xxh3_of(bytes, length - 16, bytes + length - 16);
}

static int32_t decode_trailer(const uint8_t *bytes, size_t length)
{
	struct hvri_segment_trailer trailer;
	uint8_t again[HVRI_SEGMENT_TRAILER_SIZE];
	int32_t rc;

	if (length != sizeof(again))
		return HVREPL_E_TRUNCATED;
	rc = hvri_segment_trailer_decode(bytes, &trailer);
	if (rc < 0)
		return rc;
	hvri_segment_trailer_encode(&trailer, again);
	must(memcmp(again, bytes, length) == 0, "trailer has two forms");
	return rc;
}

static size_t sample_apply_record(uint8_t *out, uint64_t *random)
{
	struct hvri_apply_record record;

	test_fill(&record, sizeof(record), test_random(random));
	hvri_apply_record_encode(&record, out);
	return HVRI_APPLY_RECORD_SIZE;
}

static void sign_apply_record(uint8_t *bytes, size_t length, uint64_t *random)
{
	(void)random;
	if (length == HVRI_APPLY_RECORD_SIZE)
		xxh3_of(bytes, length - 16, bytes + length - 16);
}

static int32_t decode_apply_record(const uint8_t *bytes, size_t length)
{
	struct hvri_apply_record record;
	uint8_t again[HVRI_APPLY_RECORD_SIZE];
	int32_t rc;

	if (length != sizeof(again))
		return HVREPL_E_TRUNCATED;
	rc = hvri_apply_record_decode(bytes, &record);
	if (rc < 0)
		return rc;
	hvri_apply_record_encode(&record, again);
	must(memcmp(again, bytes, length) == 0, "record has two forms");
	return rc;
}

/* A whole log: several kinds of chunks, index, trailer. */
static size_t sample_log(uint8_t *out, uint64_t *random)
{
	struct hvrepl_log_info info = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_sink sink;
	struct logbuf buffer;
	struct test_env test;
	hvrepl_log_writer *writer = NULL;
	uint8_t bytes[4096];
	size_t length;

	test_env_init(&test, test_random(random));
	logbuf_init(&buffer);
	sink = logbuf_sink(&buffer);
	info.disk_size = 1u << 20;
	must(hvrepl_log_writer_create(&test.env, &info, 1, &sink, &writer,
				      NULL) == HVREPL_OK,
	     "no writer");
	for (unsigned i = 4; i-- > 0;) {
		test_fill(bytes, sizeof(bytes), test_random(random));
		memset(bytes, (int)i, 2048);
		must(hvrepl_log_writer_add(writer, i * 8192, bytes,
					   sizeof(bytes)) == HVREPL_OK &&
			     hvrepl_log_writer_add_zero(
				     writer, 65536 + i * 8192, 4096) ==
				     HVREPL_OK,
		     "nothing added");
	}
	must(hvrepl_log_writer_finish(writer, 0, NULL, NULL) == HVREPL_OK,
	     "not finished");
	hvrepl_log_writer_destroy(writer);
	length = buffer.length;
	memcpy(out, buffer.bytes, length);
	logbuf_free(&buffer);
	return length;
}

static int32_t decode_log(const uint8_t *bytes, size_t length)
{
	struct hvrepl_log_chunk chunk = HVREPL_LOG_CHUNK_INIT;
	struct hvrepl_log_source source;
	struct logbuf buffer;
	struct test_env test;
	hvrepl_log_reader *reader = NULL;
	int32_t rc;

	test_env_init(&test, 1);
	logbuf_init(&buffer);
	buffer.bytes = malloc(length + 1);
	must(buffer.bytes != NULL, "no memory");
	memcpy(buffer.bytes, bytes, length);
	buffer.length = length;
	source = logbuf_source(&buffer);
	rc = hvrepl_log_reader_open(&test.env, &source, &reader, NULL);
	chunk.kind = HVREPL_LOG_DATA;
	while (rc == HVREPL_OK && chunk.kind != HVREPL_LOG_END)
		rc = hvrepl_log_reader_next(reader, &chunk);
	hvrepl_log_reader_destroy(reader);
	logbuf_free(&buffer);
	must(test.alloc_live == 0, "the reader leaks");
	return rc;
}

const struct decoder decoders_log[] = {
	{ "segment-header", sample_header, sign_header, decode_header },
	{ "chunk", sample_chunk, sign_chunk, decode_chunk },
	{ "index-page", sample_page, sign_page, decode_page },
	{ "trailer", sample_trailer, sign_trailer, decode_trailer },
	{ "log", sample_log, NULL, decode_log },
	{ "apply-record", sample_apply_record, sign_apply_record,
	  decode_apply_record },
	{ NULL, NULL, NULL, NULL },
};
