/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded little-endian cursor: every access to peer bytes goes through it. */
#include "base/cursor.h"

#include <string.h>

struct hvri_reader hvri_reader_over(const void *bytes, size_t length)
{
	return (struct hvri_reader){ bytes, length, false };
}

const uint8_t *hvri_read_span(struct hvri_reader *reader, size_t length)
{
	const uint8_t *span = reader->at;

	if (reader->bad || length > reader->left) {
		reader->bad = true;
		return NULL;
	}
	reader->at += length;
	reader->left -= length;
	return span;
}

/* Inlined with a constant length, these are a few instructions each. */
static inline uint64_t read_le(struct hvri_reader *reader, size_t length)
{
	const uint8_t *span = hvri_read_span(reader, length);
	uint64_t value = 0;

	if (span == NULL)
		return 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(&value, span, length);
#else
	for (size_t i = length; i-- > 0;)
		value = value << 8 | span[i];
#endif
	return value;
}

uint8_t hvri_read_u8(struct hvri_reader *reader)
{
	return (uint8_t)read_le(reader, 1);
}

uint16_t hvri_read_u16(struct hvri_reader *reader)
{
	return (uint16_t)read_le(reader, 2);
}

uint32_t hvri_read_u32(struct hvri_reader *reader)
{
	return (uint32_t)read_le(reader, 4);
}

uint64_t hvri_read_u64(struct hvri_reader *reader)
{
	return read_le(reader, 8);
}

void hvri_read_bytes(struct hvri_reader *reader, void *out, size_t length)
{
	const uint8_t *span = hvri_read_span(reader, length);

	if (span == NULL)
		memset(out, 0, length);
	else
		memcpy(out, span, length);
}

void hvri_read_uuid(struct hvri_reader *reader, struct hvrepl_uuid *out)
{
	hvri_read_bytes(reader, out->bytes, sizeof(out->bytes));
}

void hvri_read_pad(struct hvri_reader *reader, size_t length, bool zero)
{
	const uint8_t *span = hvri_read_span(reader, length);

	if (span == NULL || !zero)
		return;
	for (size_t i = 0; i < length; i++)
		if (span[i] != 0)
			reader->bad = true;
}

int32_t hvri_reader_end(const struct hvri_reader *reader, int32_t code)
{
	return reader->bad || reader->left != 0 ? code : HVREPL_OK;
}

struct hvri_writer hvri_writer_over(void *bytes, size_t length)
{
	return (struct hvri_writer){ bytes, length, 0, false };
}

static uint8_t *write_span(struct hvri_writer *writer, size_t length)
{
	uint8_t *span = writer->at;

	if (writer->bad || length > writer->left) {
		writer->bad = true;
		return NULL;
	}
	writer->at += length;
	writer->left -= length;
	writer->written += length;
	return span;
}

static inline void write_le(struct hvri_writer *writer, uint64_t value,
			    size_t length)
{
	uint8_t *span = write_span(writer, length);

	if (span == NULL)
		return;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(span, &value, length);
#else
	for (size_t i = 0; i < length; i++, value >>= 8)
		span[i] = (uint8_t)value;
#endif
}

void hvri_write_u8(struct hvri_writer *writer, uint8_t value)
{
	write_le(writer, value, 1);
}

void hvri_write_u16(struct hvri_writer *writer, uint16_t value)
{
	write_le(writer, value, 2);
}

void hvri_write_u32(struct hvri_writer *writer, uint32_t value)
{
	write_le(writer, value, 4);
}

void hvri_write_u64(struct hvri_writer *writer, uint64_t value)
{
	write_le(writer, value, 8);
}

void hvri_write_bytes(struct hvri_writer *writer, const void *bytes,
		      size_t length)
{
	uint8_t *span = write_span(writer, length);

	if (span != NULL && length > 0)
		memcpy(span, bytes, length);
}

void hvri_write_uuid(struct hvri_writer *writer,
		     const struct hvrepl_uuid *uuid)
{
	hvri_write_bytes(writer, uuid->bytes, sizeof(uuid->bytes));
}

void hvri_write_pad(struct hvri_writer *writer, size_t length)
{
	uint8_t *span = write_span(writer, length);

	if (span != NULL && length > 0)
		memset(span, 0, length);
}
