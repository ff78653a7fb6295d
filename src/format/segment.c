/* SPDX-License-Identifier: Apache-2.0 */
/* Header, index pages, trailer and root of a segment. */
#include "format/segment.h"

#include "base/cursor.h"

#include <string.h>

/* The first byte is not ASCII and the last is a newline: a transfer that
 * treats the file as text breaks the magic, not something behind it. */
static const uint8_t segment_magic[8] = { 0x89, 'H', 'V', 'R',
					  'S',  'E', 'G', '\n' };
static const uint8_t trailer_magic[8] = { 'H', 'V', 'R', 'T',
					  'R', 'A', 'I', 'L' };
static const uint8_t page_magic[4] = { 'H', 'V', 'R', 'X' };

#define SEGMENT_VERSION 1u
#define DIGEST_SIZE 16u

static void digest_of(const uint8_t *bytes, size_t length,
		      const uint8_t *identity, uint8_t digest_out[16])
{
	struct hvri_part parts[2] = {
		{ identity, identity != NULL ? HVRI_IDENTITY_SIZE : 0 },
		{ bytes, length },
	};

	hvri_xxh3(parts, HVRI_ARRAY_LEN(parts), digest_out);
}

static bool digest_kind_known(uint8_t kind, const uint8_t *digest)
{
	uint8_t set = 0;

	if (kind == HVRI_DIGEST_SHA256)
		return true;
	for (size_t i = 0; i < HVRI_DIGEST_MAX; i++)
		set |= digest[i];
	return kind == HVRI_DIGEST_NONE && set == 0;
}

void hvri_segment_identity_encode(const struct hvri_segment_identity *identity,
				  uint8_t out[HVRI_IDENTITY_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_IDENTITY_SIZE);

	hvri_write_uuid(&writer, &identity->vm);
	hvri_write_uuid(&writer, &identity->disk);
	hvri_write_uuid(&writer, &identity->epoch);
	hvri_write_uuid(&writer, &identity->cut);
	hvri_write_u64(&writer, identity->from_point);
	hvri_write_u64(&writer, identity->to_point);
}

void hvri_segment_header_encode(const struct hvri_segment_header *header,
				uint8_t out[HVRI_SEGMENT_HEADER_SIZE])
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_SEGMENT_HEADER_SIZE);
	uint8_t identity[HVRI_IDENTITY_SIZE];

	hvri_segment_identity_encode(&header->identity, identity);
	hvri_write_bytes(&writer, segment_magic, sizeof(segment_magic));
	hvri_write_u16(&writer, SEGMENT_VERSION);
	hvri_write_u16(&writer, HVRI_SEGMENT_HEADER_SIZE);
	hvri_write_u32(&writer, header->flags);
	hvri_write_bytes(&writer, identity, sizeof(identity));
	hvri_write_u64(&writer, header->disk_size);
	hvri_write_u32(&writer, header->block_size);
	hvri_write_u8(&writer, header->base_digest_kind);
	hvri_write_pad(&writer, 3);
	hvri_write_u64(&writer, header->utc_ns);
	hvri_write_bytes(&writer, header->base_digest, HVRI_DIGEST_MAX);
	hvri_write_pad(&writer, writer.left - DIGEST_SIZE);
	digest_of(out, writer.written, NULL, writer.at);
}

int32_t hvri_segment_header_check(const struct hvri_segment_header *header)
{
	uint32_t block = header->block_size;

	if (header->flags != 0)
		return HVREPL_E_FORMAT_TOO_NEW;
	if (header->disk_size == 0 ||
	    header->disk_size > HVRI_SEGMENT_DISK_MAX ||
	    block < HVRI_SEGMENT_BLOCK_MIN || block > HVRI_SEGMENT_BLOCK_MAX ||
	    (block & (block - 1)) != 0 ||
	    !digest_kind_known(header->base_digest_kind, header->base_digest))
		return HVREPL_E_CORRUPT;
	return HVREPL_OK;
}

int32_t
hvri_segment_header_decode(const uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE],
			   struct hvri_segment_header *header_out)
{
	struct hvri_reader reader =
		hvri_reader_over(bytes, HVRI_SEGMENT_HEADER_SIZE);
	struct hvri_segment_header header;
	uint8_t magic[8], digest[DIGEST_SIZE];
	uint16_t version;

	memset(&header, 0, sizeof(header));
	hvri_read_bytes(&reader, magic, sizeof(magic));
	if (memcmp(magic, segment_magic, sizeof(magic)) != 0)
		return HVREPL_E_CORRUPT;
	/* Before the digest: a later version may keep it elsewhere. */
	version = hvri_read_u16(&reader);
	if (version > SEGMENT_VERSION)
		return HVREPL_E_FORMAT_TOO_NEW;
	digest_of(bytes, HVRI_SEGMENT_HEADER_SIZE - DIGEST_SIZE, NULL, digest);
	if (version == 0 ||
	    hvri_read_u16(&reader) != HVRI_SEGMENT_HEADER_SIZE ||
	    memcmp(digest, bytes + HVRI_SEGMENT_HEADER_SIZE - DIGEST_SIZE,
		   DIGEST_SIZE) != 0)
		return HVREPL_E_CORRUPT;
	header.flags = hvri_read_u32(&reader);
	hvri_read_uuid(&reader, &header.identity.vm);
	hvri_read_uuid(&reader, &header.identity.disk);
	hvri_read_uuid(&reader, &header.identity.epoch);
	hvri_read_uuid(&reader, &header.identity.cut);
	header.identity.from_point = hvri_read_u64(&reader);
	header.identity.to_point = hvri_read_u64(&reader);
	header.disk_size = hvri_read_u64(&reader);
	header.block_size = hvri_read_u32(&reader);
	header.base_digest_kind = hvri_read_u8(&reader);
	hvri_read_pad(&reader, 3, true);
	header.utc_ns = hvri_read_u64(&reader);
	hvri_read_bytes(&reader, header.base_digest, HVRI_DIGEST_MAX);
	hvri_read_pad(&reader, reader.left - DIGEST_SIZE, true);
	hvri_read_pad(&reader, DIGEST_SIZE, false);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_CORRUPT));
	HVRI_TRY(hvri_segment_header_check(&header));
	*header_out = header;
	return HVREPL_OK;
}

void hvri_segment_page_encode(const struct hvri_segment_header *header,
			      const struct hvri_segment_page *page,
			      const struct hvri_segment_entry *entries,
			      uint8_t *out)
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_PAGE_ENCODED(page->count));
	uint8_t identity[HVRI_IDENTITY_SIZE];

	hvri_segment_identity_encode(&header->identity, identity);
	hvri_write_bytes(&writer, page_magic, sizeof(page_magic));
	hvri_write_u32(&writer, page->count);
	hvri_write_u32(&writer, page->first_sequence);
	hvri_write_pad(&writer, 4);
	hvri_write_u64(&writer, page->previous);
	hvri_write_pad(&writer, 8);
	for (uint32_t i = 0; i < page->count; i++) {
		hvri_write_u64(&writer, entries[i].position);
		hvri_write_u32(&writer, entries[i].length);
		hvri_write_bytes(&writer, entries[i].stored_digest, 16);
	}
	digest_of(out, writer.written, identity, writer.at);
}

int32_t hvri_segment_page_measure(const uint8_t bytes[HVRI_PAGE_HEADER_SIZE],
				  uint32_t *length_out)
{
	struct hvri_reader reader =
		hvri_reader_over(bytes, HVRI_PAGE_HEADER_SIZE);
	uint8_t magic[4];
	uint32_t count;

	hvri_read_bytes(&reader, magic, sizeof(magic));
	count = hvri_read_u32(&reader);
	(void)hvri_read_u32(&reader);
	hvri_read_pad(&reader, 4, true);
	(void)hvri_read_u64(&reader);
	hvri_read_pad(&reader, 8, true);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_CORRUPT));
	if (memcmp(magic, page_magic, sizeof(magic)) != 0 || count == 0 ||
	    count > HVRI_PAGE_ENTRIES)
		return HVREPL_E_CORRUPT;
	*length_out = HVRI_PAGE_ENCODED(count);
	return HVREPL_OK;
}

int32_t hvri_segment_page_decode(const struct hvri_segment_header *header,
				 const uint8_t *bytes, size_t length,
				 struct hvri_segment_page *page_out)
{
	struct hvri_segment_page page;
	struct hvri_reader reader;
	uint8_t identity[HVRI_IDENTITY_SIZE], digest[DIGEST_SIZE];
	uint32_t measured;

	if (length < HVRI_PAGE_HEADER_SIZE)
		return HVREPL_E_TRUNCATED;
	HVRI_TRY(hvri_segment_page_measure(bytes, &measured));
	if (measured != length)
		return measured > length ? HVREPL_E_TRUNCATED
					 : HVREPL_E_CORRUPT;
	hvri_segment_identity_encode(&header->identity, identity);
	digest_of(bytes, length - DIGEST_SIZE, identity, digest);
	if (memcmp(digest, bytes + length - DIGEST_SIZE, DIGEST_SIZE) != 0)
		return HVREPL_E_CORRUPT;
	reader = hvri_reader_over(bytes + 4, length - 4);
	page.count = hvri_read_u32(&reader);
	page.first_sequence = hvri_read_u32(&reader);
	hvri_read_pad(&reader, 4, true);
	page.previous = hvri_read_u64(&reader);
	page.entries = bytes + HVRI_PAGE_HEADER_SIZE;
	*page_out = page;
	return HVREPL_OK;
}

struct hvri_segment_entry
hvri_segment_page_entry(const struct hvri_segment_page *page, uint32_t i)
{
	struct hvri_reader reader = hvri_reader_over(
		page->entries + (size_t)i * HVRI_PAGE_ENTRY_SIZE,
		HVRI_PAGE_ENTRY_SIZE);
	struct hvri_segment_entry entry;

	entry.position = hvri_read_u64(&reader);
	entry.length = hvri_read_u32(&reader);
	hvri_read_bytes(&reader, entry.stored_digest, 16);
	return entry;
}

void hvri_segment_trailer_encode(const struct hvri_segment_trailer *trailer,
				 uint8_t out[HVRI_SEGMENT_TRAILER_SIZE])
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_SEGMENT_TRAILER_SIZE);

	hvri_write_bytes(&writer, trailer_magic, sizeof(trailer_magic));
	hvri_write_u32(&writer, trailer->chunk_count);
	hvri_write_u8(&writer, trailer->result_digest_kind);
	hvri_write_pad(&writer, 3);
	hvri_write_u64(&writer, trailer->raw_bytes);
	hvri_write_u64(&writer, trailer->index_position);
	hvri_write_u64(&writer, trailer->index_length);
	hvri_write_bytes(&writer, trailer->root, 32);
	hvri_write_bytes(&writer, trailer->result_digest, HVRI_DIGEST_MAX);
	hvri_write_pad(&writer, writer.left - DIGEST_SIZE);
	digest_of(out, writer.written, NULL, writer.at);
}

bool hvri_segment_trailer_begins(const uint8_t bytes[4])
{
	return memcmp(bytes, trailer_magic, 4) == 0;
}

int32_t
hvri_segment_trailer_decode(const uint8_t bytes[HVRI_SEGMENT_TRAILER_SIZE],
			    struct hvri_segment_trailer *trailer_out)
{
	struct hvri_reader reader =
		hvri_reader_over(bytes, HVRI_SEGMENT_TRAILER_SIZE);
	struct hvri_segment_trailer trailer;
	uint8_t magic[8], digest[DIGEST_SIZE];

	memset(&trailer, 0, sizeof(trailer));
	hvri_read_bytes(&reader, magic, sizeof(magic));
	digest_of(bytes, HVRI_SEGMENT_TRAILER_SIZE - DIGEST_SIZE, NULL, digest);
	if (memcmp(magic, trailer_magic, sizeof(magic)) != 0 ||
	    memcmp(digest, bytes + HVRI_SEGMENT_TRAILER_SIZE - DIGEST_SIZE,
		   DIGEST_SIZE) != 0)
		return HVREPL_E_CORRUPT;
	trailer.chunk_count = hvri_read_u32(&reader);
	trailer.result_digest_kind = hvri_read_u8(&reader);
	hvri_read_pad(&reader, 3, true);
	trailer.raw_bytes = hvri_read_u64(&reader);
	trailer.index_position = hvri_read_u64(&reader);
	trailer.index_length = hvri_read_u64(&reader);
	hvri_read_bytes(&reader, trailer.root, 32);
	hvri_read_bytes(&reader, trailer.result_digest, HVRI_DIGEST_MAX);
	hvri_read_pad(&reader, reader.left - DIGEST_SIZE, true);
	hvri_read_pad(&reader, DIGEST_SIZE, false);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_CORRUPT));
	if (!digest_kind_known(trailer.result_digest_kind,
			       trailer.result_digest))
		return HVREPL_E_CORRUPT;
	*trailer_out = trailer;
	return HVREPL_OK;
}

int32_t hvri_segment_root_begin(struct hvri_segment_root *root,
				const struct hvri_segment_header *header)
{
	root->sha.context = NULL;
	return hvri_segment_root_again(root, header);
}

int32_t hvri_segment_root_again(struct hvri_segment_root *root,
				const struct hvri_segment_header *header)
{
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE];
	int32_t rc;

	HVRI_TRY(hvri_sha256_again(&root->sha));
	hvri_segment_header_encode(header, bytes);
	rc = hvri_sha256_add(&root->sha, bytes, sizeof(bytes));
	if (rc < 0)
		hvri_sha256_free(&root->sha);
	return rc;
}

int32_t hvri_segment_root_add(struct hvri_segment_root *root,
			      const uint8_t stored_digest[16])
{
	return hvri_sha256_add(&root->sha, stored_digest, 16);
}

int32_t hvri_segment_root_end(struct hvri_segment_root *root,
			      uint8_t root_out[32])
{
	return hvri_sha256_end(&root->sha, root_out);
}

void hvri_segment_root_free(struct hvri_segment_root *root)
{
	hvri_sha256_free(&root->sha);
}
