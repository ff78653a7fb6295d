/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd payloads of chunks: any bytes where a frame should be, in a chunk whose
 * digests are right. What is unpacked is exactly one frame that declares the
 * chunk's length, needs no dictionary, and holds what another decoder (zstd's
 * streaming one, behind our own reading of the frame header) says it holds.
 */
#include "fuzz.h"

#include "format/chunk.h"
#include "mutate.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* Both decoders take windows up to this; no buffer is larger than the content. */
#define WINDOW_LOG 31

static struct hvri_segment_header header_of(void)
{
	struct hvri_segment_header header;

	memset(&header, 0, sizeof(header));
	header.identity.vm.bytes[3] = 7;
	header.identity.to_point = 1;
	header.disk_size = HVRI_CHUNK_RAW_MAX + 1;
	header.block_size = 512;
	return header;
}

/* What RFC 8878 says of a frame header; false: it does not declare a size, or
 * names a dictionary, or is no zstd frame. */
static bool declares(const uint8_t *at, size_t length, uint64_t *size_out)
{
	static const uint8_t widths[] = { 0, 2, 4, 8 };
	static const uint8_t names[] = { 0, 1, 2, 4 };
	uint64_t size = 0;
	uint8_t flags, width, name;
	bool single;

	if (length < 6 || memcmp(at, "\x28\xb5\x2f\xfd", 4) != 0)
		return false;
	flags = at[4];
	single = (flags & 0x20) != 0;
	width = single && flags >> 6 == 0 ? 1 : widths[flags >> 6];
	name = names[flags & 3];
	at += single ? 5 : 6;
	length -= single ? 5 : 6;
	if (width == 0 || length < (size_t)name + width)
		return false;
	for (uint8_t i = 0; i < name; i++)
		if (at[i] != 0)
			return false;
	for (uint8_t i = 0; i < width; i++)
		size |= (uint64_t)at[name + i] << (8 * i);
	*size_out = size + (width == 2 ? 256 : 0);
	return true;
}

/* By the streaming decoder; bytes made, or SIZE_MAX. `end_out`: the payload
 * was one frame and nothing else. */
static size_t streamed(const uint8_t *payload, size_t length, uint8_t *out,
		       size_t room, bool *end_out)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	ZSTD_inBuffer in = { payload, length, 0 };
	ZSTD_outBuffer to = { out, room, 0 };
	size_t rc = 1;

	fuzz_must(stream != NULL, "no memory");
	(void)ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, WINDOW_LOG);
	while (!ZSTD_isError(rc) && rc != 0) {
		size_t before = in.pos + to.pos;

		rc = ZSTD_decompressStream(stream, &to, &in);
		if (in.pos + to.pos == before && rc != 0)
			break;
	}
	*end_out = rc == 0 && in.pos == length;
	ZSTD_freeDStream(stream);
	return ZSTD_isError(rc) ? SIZE_MAX : to.pos;
}

/* raw length (3 bytes), then the payload. */
static void one(const uint8_t *bytes, size_t length)
{
	struct hvri_segment_header header = header_of();
	struct fuzz_in in = { bytes, length };
	uint32_t raw_length = fuzz_u16(&in) | (uint32_t)fuzz_u8(&in) << 16;
	uint8_t identity[HVRI_IDENTITY_SIZE], *encoded, *raw, *reference;
	struct hvri_chunk chunk;
	uint64_t declared = 0;
	uint32_t measured = 0;
	size_t total, made;
	bool whole = false;
	int32_t rc;

	raw_length = raw_length % (HVRI_CHUNK_RAW_MAX + 2);
	total = HVRI_CHUNK_HEADER_SIZE + HVRI_CHUNK_EXTENT_SIZE + in.left;
	encoded = calloc(1, total);
	/* Exactly as long as declared: a byte more is seen. */
	raw = malloc(raw_length > 0 ? raw_length : 1);
	reference = calloc(1, raw_length + 1);
	fuzz_must(encoded != NULL && raw != NULL && reference != NULL,
		  "no memory");
	memcpy(encoded, HVRI_CHUNK_MAGIC, 4);
	encoded[4] = HVRI_CHUNK_DATA;
	encoded[5] = HVRI_CODEC_ZSTD;
	encoded[6] = 1;
	for (unsigned i = 0; i < 4; i++) {
		encoded[12 + i] = (uint8_t)(raw_length >> (8 * i));
		encoded[16 + i] = (uint8_t)(in.left >> (8 * i));
		encoded[HVRI_CHUNK_HEADER_SIZE + 8 + i] = encoded[12 + i];
	}
	/* A length that is no block's ends at the end of the disk. */
	header.disk_size = raw_length % 512 == 0 ? HVRI_CHUNK_RAW_MAX :
						   raw_length;
	memcpy(encoded + total - in.left, in.at, in.left);
	hvri_segment_identity_encode(&header.identity, identity);
	made = SIZE_MAX;
	if (declares(in.at, in.left, &declared) && declared == raw_length)
		made = streamed(in.at, in.left, reference, raw_length + 1,
				&whole);
	else
		/* All the same it gets a digest that would be right. */
		(void)!ZSTD_isError(ZSTD_decompress(reference, raw_length + 1,
						    in.at, in.left));
	hvri_chunk_raw_digest(identity, encoded + HVRI_CHUNK_HEADER_SIZE, 1,
			      reference, raw_length,
			      encoded + HVRI_CHUNK_RAW_DIGEST);
	hvri_chunk_stored_digest(identity, encoded, total,
				 encoded + HVRI_CHUNK_STORED_DIGEST);

	rc = hvri_chunk_measure(encoded, &measured);
	fuzz_must(rc < 0 || measured == total, "measured something else");
	fuzz_must((rc == HVREPL_OK) ==
			  (raw_length > 0 && raw_length <= HVRI_CHUNK_RAW_MAX &&
			   in.left > 0 && in.left < raw_length),
		  "limits of a chunk");
	if (rc == HVREPL_OK) {
		rc = hvri_chunk_decode(&header, encoded, total, &chunk);
		fuzz_must(rc == HVREPL_OK, "a chunk in form is not decoded");
		rc = hvri_chunk_unpack(&header, &chunk, raw);
		if (rc == HVREPL_OK) {
			fuzz_must(made != SIZE_MAX,
				  "unpacked what does not declare its size");
			fuzz_must(made == raw_length && whole,
				  "unpacked more or less than one frame");
			fuzz_must(memcmp(raw, reference, raw_length) == 0,
				  "unpacked something else");
		} else {
			fuzz_must(!whole || made != raw_length,
				  "a good frame is refused");
		}
	}
	free(reference);
	free(raw);
	free(encoded);
}

static void put(uint32_t raw_length, const uint8_t *payload, size_t length)
{
	uint8_t *bytes = malloc(3 + length);

	fuzz_must(bytes != NULL, "no memory");
	for (unsigned i = 0; i < 3; i++)
		bytes[i] = (uint8_t)(raw_length >> (8 * i));
	memcpy(bytes + 3, payload, length);
	fuzz_seed(bytes, 3 + length);
	free(bytes);
}

static void seed(int level, size_t raw_length, bool sum, bool size, int window,
		 const char *dictionary)
{
	size_t room = ZSTD_compressBound(raw_length) + 64, length;
	ZSTD_CCtx *context = ZSTD_createCCtx();
	uint8_t *raw = malloc(raw_length), *out = malloc(room);

	fuzz_must(context != NULL && raw != NULL && out != NULL, "no memory");
	/* Some of it random, some repeating, some the dictionary. */
	for (size_t i = 0; i < raw_length; i++)
		raw[i] = (uint8_t)(i % 3 == 0 ? i / 64 : 'x');
	test_fill(raw, raw_length / 8, raw_length);
	ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, sum);
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, size);
	if (window != 0)
		ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window);
	if (dictionary != NULL)
		ZSTD_CCtx_loadDictionary(context, dictionary,
					 strlen(dictionary));
	length = ZSTD_compress2(context, out, room, raw, raw_length);
	fuzz_must(!ZSTD_isError(length), "not compressed");
	put((uint32_t)raw_length, out, length);
	/* A bomb: it declares the length, and there is more of it. */
	put((uint32_t)raw_length / 2, out, length);
	memcpy(out + length, "\x50\x2a\x4d\x18\0\0\0\0", 8); /* One to skip. */
	put((uint32_t)raw_length, out, length + 8);
	if (length * 2 < room) {
		memcpy(out + length, out, length); /* Two frames. */
		put((uint32_t)raw_length, out, length * 2);
		put((uint32_t)raw_length * 2, out, length * 2);
	}
	ZSTD_freeCCtx(context);
	free(out);
	free(raw);
}

static void seeds(void)
{
	/* A skippable frame, and a header that asks for a window of 2 TiB. */
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 4, 0, 0,
					     0,    1,	 2,    3,    4 };
	static const uint8_t wide[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x80, 0xf8, 0,
					4,    0,    0,	  3,	0,    8,    0 };

	seed(1, 512, false, true, 0, NULL);
	seed(1, 4096, false, true, 0, NULL);
	seed(3, 65536, true, true, 0, NULL);
	seed(19, 65536, false, true, 10, NULL);
	seed(1, HVRI_CHUNK_RAW_MAX, false, true, 0, NULL);
	seed(1, 4096, false, false, 0, NULL);
	seed(1, 700, true, true, 0, NULL);
	seed(1, 4096, false, true, 0, "xx\1xx\2xx\3xx\4xx\5xx\6xx\7");
	put(512, skippable, sizeof(skippable));
	put(1024, wide, sizeof(wide));
}

/* ---- zstd's own code is not covered: what leads into it is given. ---- */

#define FRAMES_MAX 64u

static struct {
	uint8_t *bytes;
	size_t length;
} frames[FRAMES_MAX];
static unsigned frame_count;

static void keep(void *argument, const uint8_t *bytes, size_t length)
{
	(void)argument;
	fuzz_must(frame_count < FRAMES_MAX, "more frames than room");
	frames[frame_count].bytes = malloc(length);
	fuzz_must(frames[frame_count].bytes != NULL, "no memory");
	memcpy(frames[frame_count].bytes, bytes, length);
	frames[frame_count++].length = length;
}

/* Half of the time a real frame with a little damage in its place. */
static size_t mend(uint8_t *bytes, size_t length, size_t room, uint64_t *random)
{
	unsigned i;

	if (frame_count == 0) {
		fuzz_seeds_to(keep, NULL);
		seeds();
	}
	i = (unsigned)(test_random(random) % frame_count);
	if (test_random(random) % 2 == 0 || frames[i].length > room)
		return length;
	memcpy(bytes, frames[i].bytes, frames[i].length);
	length = frames[i].length;
	mutate(bytes, &length, room, random);
	return length;
}

extern const struct fuzz_target fuzz_zstd;
const struct fuzz_target fuzz_zstd = { "zstd", one, seeds, mend };
