/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segment: hvrepl's own form of a log, and of its parts. The same chunk
 * bytes lie in a cut's spool, in a segment file, on the wire and in a store's
 * container: packed once at the primary, unpacked once when read.
 *
 *   header | chunk ... | index page | chunk ... | index page | trailer
 *
 * An index page follows every HVRI_PAGE_ENTRIES chunks and the last chunk, so
 * that neither writer nor reader holds more than one page. Chunks apply in
 * order; where two overlap the later one wins.
 *
 * Pure: bytes <-> structs. docs/formats.md has every byte.
 */
#ifndef HVRI_FORMAT_SEGMENT_H
#define HVRI_FORMAT_SEGMENT_H

#include "base/digest.h"
#include "base/env.h"

/* Raw bytes of one chunk (S2): as written, and the most the format allows. */
#define HVRI_CHUNK_RAW_WRITTEN (64u << 10)
#define HVRI_CHUNK_RAW_MAX (256u << 10)
/* Extents of one chunk; of a zero or discard chunk too. */
#define HVRI_CHUNK_EXTENTS_MAX 1024u

#define HVRI_CHUNK_DATA 1u
#define HVRI_CHUNK_ZERO 2u    /* Reads as zeroes; no payload. */
#define HVRI_CHUNK_DISCARD 3u /* Content given up; applied as zeroes. */

#define HVRI_CODEC_STORED 0u
#define HVRI_CODEC_ZSTD 1u

/* Who the bytes belong to: part of every digest (design section 8). */
struct hvri_segment_identity {
	struct hvrepl_uuid vm;
	struct hvrepl_uuid disk;
	struct hvrepl_uuid epoch;
	struct hvrepl_uuid cut; /* Random per cut (T6). */
	uint64_t from_point;
	uint64_t to_point;
};
/* As the digests see it, and as it lies in the header. */
#define HVRI_IDENTITY_SIZE 80u
void hvri_segment_identity_encode(const struct hvri_segment_identity *identity,
				  uint8_t out[HVRI_IDENTITY_SIZE]);

/* Limits of the format; decoders refuse what lies beyond. */
#define HVRI_SEGMENT_DISK_MAX ((uint64_t)INT64_MAX)
#define HVRI_SEGMENT_BLOCK_MIN 512u
#define HVRI_SEGMENT_BLOCK_MAX (64u << 10)

#define HVRI_SEGMENT_HEADER_SIZE 256u
struct hvri_segment_header {
	struct hvri_segment_identity identity;
	uint64_t disk_size; /* Bytes; 1 to HVRI_SEGMENT_DISK_MAX. */
	/* Power of two. Extents begin at a multiple of it, and end at one or
	 * at the end of the disk. */
	uint32_t block_size;
	uint32_t flags;      /* None yet: must be zero. */
	uint64_t utc_ns;     /* When the cut was made; a label. */
	/* Whole content at from_point: NONE, or SHA256 by format/content.h. */
	uint8_t base_digest_kind;
	uint8_t base_digest[HVRI_DIGEST_MAX];
};

void hvri_segment_header_encode(const struct hvri_segment_header *header,
				uint8_t out[HVRI_SEGMENT_HEADER_SIZE]);
/* Every range; the same codes as decoding. For who makes headers. */
HVRI_MUST_CHECK int32_t
hvri_segment_header_check(const struct hvri_segment_header *header);
/* CORRUPT, FORMAT_TOO_NEW; checks the header's own digest and every range. */
HVRI_MUST_CHECK int32_t
hvri_segment_header_decode(const uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE],
			   struct hvri_segment_header *header_out);

/* A decoded chunk; points into the encoded bytes. */
struct hvri_chunk {
	uint32_t sequence; /* 0, 1, 2... within the segment. */
	uint8_t kind;      /* HVRI_CHUNK_* */
	uint8_t codec;     /* HVRI_CODEC_* */
	uint16_t extent_count;
	uint32_t raw_length;    /* Sum of the extents for DATA, else 0. */
	uint32_t stored_length; /* Bytes of payload. */
	const uint8_t *extents; /* Encoded; see hvri_chunk_extent(). */
	const uint8_t *payload;
	uint8_t stored_digest[16]; /* Over identity, header, extents, payload. */
	uint8_t raw_digest[16];    /* Over identity, extents, raw bytes. */
};

/* Fixed part of an encoded chunk: enough to know its whole length. */
#define HVRI_CHUNK_HEADER_SIZE 56u
/* Longest encoded chunk. */
#define HVRI_CHUNK_ENCODED_MAX                                     \
	(HVRI_CHUNK_HEADER_SIZE + HVRI_CHUNK_EXTENTS_MAX * 16u +   \
	 HVRI_CHUNK_RAW_MAX)

/* Whole encoded length, from the fixed part alone; checks every limit first.
 * CORRUPT when the part is not that of a chunk. */
HVRI_MUST_CHECK int32_t
hvri_chunk_measure(const uint8_t bytes[HVRI_CHUNK_HEADER_SIZE],
		   uint32_t *length_out);
/* True when the bytes begin like a chunk (and not like an index page). */
bool hvri_chunk_begins(const uint8_t bytes[4]);
/* Decode all of one chunk: extents ascending, apart, inside the disk, lengths
 * consistent, and the stored digest (S1). Nothing is decompressed. */
HVRI_MUST_CHECK int32_t
hvri_chunk_decode(const struct hvri_segment_header *header,
		  const uint8_t *bytes, size_t length,
		  struct hvri_chunk *chunk_out);
/* Bytes all extents of a decoded chunk cover. */
uint64_t hvri_chunk_covered(const struct hvri_chunk *chunk);
/* The i-th extent of a decoded chunk. */
struct hvrepl_extent hvri_chunk_extent(const struct hvri_chunk *chunk,
				       uint32_t i);
/* Decompress a DATA chunk into raw_out (raw_length bytes: its extents' bytes
 * one after the other) and check the raw digest (S1). */
HVRI_MUST_CHECK int32_t
hvri_chunk_unpack(const struct hvri_segment_header *header,
		  const struct hvri_chunk *chunk, uint8_t *raw_out);

/* Makes chunks; holds a zstd context. One thread at a time. */
struct hvri_packer;
/* level: zstd level, or 0 to store uncompressed. */
HVRI_MUST_CHECK int32_t hvri_packer_create(const struct hvri_env *env,
					   int32_t level,
					   struct hvri_packer **packer_out);
/* What compressing takes; else the first chunk of DATA takes it, and fails where there
 * is no memory for it. For those who would give up more by then. */
HVRI_MUST_CHECK int32_t hvri_packer_ready(struct hvri_packer *packer);
void hvri_packer_destroy(struct hvri_packer *packer);
/* Encode one chunk of `kind` with these extents. For DATA, `raw` holds their
 * bytes one after the other, at most HVRI_CHUNK_RAW_WRITTEN. `out` has room
 * for HVRI_CHUNK_ENCODED_MAX; *length_out gets the encoded length. Payload that
 * does not shrink is stored. */
HVRI_MUST_CHECK int32_t
hvri_chunk_pack(struct hvri_packer *packer,
		const struct hvri_segment_header *header, uint32_t sequence,
		uint8_t kind, const struct hvrepl_extent *extents,
		uint32_t extent_count, const uint8_t *raw, uint8_t *out,
		uint32_t *length_out);
/* All zero? Rejects on the first set word. */
bool hvri_is_zero(const void *bytes, size_t length);

/* One entry of an index page: where a chunk starts, and what root it feeds. */
struct hvri_segment_entry {
	uint64_t position; /* Bytes from the start of the segment. */
	uint32_t length;   /* Encoded length. */
	uint8_t stored_digest[16];
};
#define HVRI_PAGE_ENTRIES 1024u
#define HVRI_PAGE_HEADER_SIZE 32u
#define HVRI_PAGE_ENTRY_SIZE 28u
#define HVRI_PAGE_ENCODED(count) \
	(HVRI_PAGE_HEADER_SIZE + (count) * HVRI_PAGE_ENTRY_SIZE + 16u)
#define HVRI_PAGE_ENCODED_MAX HVRI_PAGE_ENCODED(HVRI_PAGE_ENTRIES)
struct hvri_segment_page {
	uint32_t first_sequence;
	uint32_t count;    /* 1 to HVRI_PAGE_ENTRIES. */
	uint64_t previous; /* Position of the page before, 0: none. */
	/* Encoded; see hvri_segment_page_entry(). Decoding sets it. */
	const uint8_t *entries;
};
/* `out` has room for HVRI_PAGE_ENCODED(page->count) bytes. */
void hvri_segment_page_encode(const struct hvri_segment_header *header,
			      const struct hvri_segment_page *page,
			      const struct hvri_segment_entry *entries,
			      uint8_t *out);
/* Whole encoded length, from the fixed part alone. */
HVRI_MUST_CHECK int32_t
hvri_segment_page_measure(const uint8_t bytes[HVRI_PAGE_HEADER_SIZE],
			  uint32_t *length_out);
HVRI_MUST_CHECK int32_t
hvri_segment_page_decode(const struct hvri_segment_header *header,
			 const uint8_t *bytes, size_t length,
			 struct hvri_segment_page *page_out);
struct hvri_segment_entry
hvri_segment_page_entry(const struct hvri_segment_page *page, uint32_t i);

/* The root is SHA-256 over the encoded header and the stored digests of all
 * chunks in order. */
#define HVRI_SEGMENT_TRAILER_SIZE 128u
struct hvri_segment_trailer {
	uint32_t chunk_count;
	uint64_t raw_bytes;      /* Sum of raw_length. */
	uint64_t index_position; /* Of the last page; 0 without chunks. */
	uint64_t index_length;   /* Of the last page; 0 without chunks. */
	uint8_t root[32];
	/* Whole content at to_point: NONE, or SHA256 by format/content.h. */
	uint8_t result_digest_kind;
	uint8_t result_digest[HVRI_DIGEST_MAX];
};
void hvri_segment_trailer_encode(const struct hvri_segment_trailer *trailer,
				 uint8_t out[HVRI_SEGMENT_TRAILER_SIZE]);
/* True when the bytes begin like a trailer. */
bool hvri_segment_trailer_begins(const uint8_t bytes[4]);
HVRI_MUST_CHECK int32_t
hvri_segment_trailer_decode(const uint8_t bytes[HVRI_SEGMENT_TRAILER_SIZE],
			    struct hvri_segment_trailer *trailer_out);

/* Running root of a segment. */
struct hvri_segment_root {
	struct hvri_sha256 sha;
};
HVRI_MUST_CHECK int32_t
hvri_segment_root_begin(struct hvri_segment_root *root,
			const struct hvri_segment_header *header);
/* The same, with one that was begun before, or is all zero. */
HVRI_MUST_CHECK int32_t
hvri_segment_root_again(struct hvri_segment_root *root,
			const struct hvri_segment_header *header);
HVRI_MUST_CHECK int32_t hvri_segment_root_add(struct hvri_segment_root *root,
					      const uint8_t stored_digest[16]);
HVRI_MUST_CHECK int32_t hvri_segment_root_end(struct hvri_segment_root *root,
					      uint8_t root_out[32]);
void hvri_segment_root_free(struct hvri_segment_root *root);
#endif
