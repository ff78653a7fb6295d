/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of the record of an apply under way. */
#include "format/apply_record.h"

#include "base/cursor.h"
#include "base/digest.h"

#include <string.h>

static const uint8_t record_magic[8] = { 'H', 'V', 'R', 'A',
					 'P', 'P', 'L', 'Y' };

#define RECORD_VERSION 1u
#define DIGEST_SIZE 16u

static void digest_of(const uint8_t bytes[HVRI_APPLY_RECORD_SIZE],
		      uint8_t digest_out[DIGEST_SIZE])
{
	struct hvri_part part = { bytes, HVRI_APPLY_RECORD_SIZE - DIGEST_SIZE };

	hvri_xxh3(&part, 1, digest_out);
}

void hvri_apply_record_encode(const struct hvri_apply_record *record,
			      uint8_t out[HVRI_APPLY_RECORD_SIZE])
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_APPLY_RECORD_SIZE);

	hvri_write_bytes(&writer, record_magic, sizeof(record_magic));
	hvri_write_u16(&writer, RECORD_VERSION);
	hvri_write_u16(&writer, HVRI_APPLY_RECORD_SIZE);
	hvri_write_pad(&writer, 4);
	hvri_write_u64(&writer, record->disk_size);
	hvri_write_u32(&writer, record->granule);
	hvri_write_pad(&writer, 4);
	hvri_write_bytes(&writer, record->chain, sizeof(record->chain));
	hvri_write_bytes(&writer, record->salt, sizeof(record->salt));
	hvri_write_bytes(&writer, record->kept, sizeof(record->kept));
	hvri_write_pad(&writer, writer.left - DIGEST_SIZE);
	digest_of(out, writer.at);
}

int32_t hvri_apply_record_decode(const uint8_t bytes[HVRI_APPLY_RECORD_SIZE],
				 struct hvri_apply_record *record_out)
{
	struct hvri_reader reader =
		hvri_reader_over(bytes, HVRI_APPLY_RECORD_SIZE);
	struct hvri_apply_record record;
	uint8_t magic[8], digest[DIGEST_SIZE];
	uint16_t version, size;

	hvri_read_bytes(&reader, magic, sizeof(magic));
	version = hvri_read_u16(&reader);
	size = hvri_read_u16(&reader);
	if (memcmp(magic, record_magic, sizeof(magic)) != 0)
		return HVREPL_E_CORRUPT;
	if (version > RECORD_VERSION)
		return HVREPL_E_FORMAT_TOO_NEW;
	digest_of(bytes, digest);
	if (version == 0 || size != HVRI_APPLY_RECORD_SIZE ||
	    memcmp(digest, bytes + HVRI_APPLY_RECORD_SIZE - DIGEST_SIZE,
		   DIGEST_SIZE) != 0)
		return HVREPL_E_CORRUPT;
	hvri_read_pad(&reader, 4, true);
	record.disk_size = hvri_read_u64(&reader);
	record.granule = hvri_read_u32(&reader);
	hvri_read_pad(&reader, 4, true);
	hvri_read_bytes(&reader, record.chain, sizeof(record.chain));
	hvri_read_bytes(&reader, record.salt, sizeof(record.salt));
	hvri_read_bytes(&reader, record.kept, sizeof(record.kept));
	hvri_read_pad(&reader, reader.left - DIGEST_SIZE, true);
	hvri_read_pad(&reader, DIGEST_SIZE, false);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_CORRUPT));
	*record_out = record;
	return HVREPL_OK;
}
