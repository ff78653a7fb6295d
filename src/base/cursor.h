/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reading and writing of little-endian bytes. The first access out of
 * bounds makes the cursor bad; everything after it reads zero or writes
 * nothing, so a codec checks once, at its end. No length from outside is used
 * in arithmetic before it was compared with what is left.
 */
#ifndef HVRI_BASE_CURSOR_H
#define HVRI_BASE_CURSOR_H

#include "base/rc.h"

#include <stdbool.h>

struct hvri_reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

struct hvri_writer {
	uint8_t *at;
	size_t left;
	size_t written;
	bool bad;
};

struct hvri_reader hvri_reader_over(const void *bytes, size_t length);
uint8_t hvri_read_u8(struct hvri_reader *reader);
uint16_t hvri_read_u16(struct hvri_reader *reader);
uint32_t hvri_read_u32(struct hvri_reader *reader);
uint64_t hvri_read_u64(struct hvri_reader *reader);
void hvri_read_bytes(struct hvri_reader *reader, void *out, size_t length);
void hvri_read_uuid(struct hvri_reader *reader, struct hvrepl_uuid *out);
/* `length` bytes in place, or NULL (and bad). */
const uint8_t *hvri_read_span(struct hvri_reader *reader, size_t length);
/* Skip `length` bytes; `zero` makes a non-zero one bad. */
void hvri_read_pad(struct hvri_reader *reader, size_t length, bool zero);
/* OK, or `code` when bad or when bytes are left over. */
HVRI_MUST_CHECK int32_t hvri_reader_end(const struct hvri_reader *reader,
					int32_t code);

struct hvri_writer hvri_writer_over(void *bytes, size_t length);
void hvri_write_u8(struct hvri_writer *writer, uint8_t value);
void hvri_write_u16(struct hvri_writer *writer, uint16_t value);
void hvri_write_u32(struct hvri_writer *writer, uint32_t value);
void hvri_write_u64(struct hvri_writer *writer, uint64_t value);
void hvri_write_bytes(struct hvri_writer *writer, const void *bytes,
		      size_t length);
void hvri_write_uuid(struct hvri_writer *writer,
		     const struct hvrepl_uuid *uuid);
void hvri_write_pad(struct hvri_writer *writer, size_t length);
#endif
