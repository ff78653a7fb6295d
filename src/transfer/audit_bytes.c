/* SPDX-License-Identifier: Apache-2.0 */
/* The audit's records and headers: bytes and structs, the chain. Pure. */
#include "transfer/audit_log.h"

#include "base/cursor.h"
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

#define MAGIC "HVAUDIT1"
#define FORMAT 1u
#define FIXED 84u  /* Of a record, before its texts. */
#define DIGEST 32u
#define RECORD_MIN ((FIXED + DIGEST + 7u) / 8u * 8u)

const char *hvrepl_audit_kind_name(uint32_t kind)
{
	static const char *const names[] = {
		[HVREPL_AUDIT_OPENED] = "opened",
		[HVREPL_AUDIT_REPAIRED] = "repaired",
		[HVREPL_AUDIT_AUTHENTICATION] = "authentication",
		[HVREPL_AUDIT_DENIED] = "denied",
		[HVREPL_AUDIT_RIGHTS] = "rights",
		[HVREPL_AUDIT_OPERATION] = "operation",
		[HVREPL_AUDIT_JOB] = "job",
		[HVREPL_AUDIT_OWNERSHIP] = "ownership",
		[HVREPL_AUDIT_LIMIT] = "limit",
		[HVREPL_AUDIT_REKEY] = "rekey",
	};

	return kind < HVRI_ARRAY_LEN(names) ? names[kind] : NULL;
}

void hvri_audit_id(uint32_t segment, char id[HVRI_AUDIT_ID])
{
	snprintf(id, HVRI_AUDIT_ID, "audit.%08x", segment);
}

static int32_t sha256(const void *bytes, size_t length, uint8_t out[DIGEST])
{
	struct hvri_sha256 sha = { NULL };
	int32_t rc = hvri_sha256_begin(&sha);

	if (rc == HVREPL_OK)
		rc = hvri_sha256_add(&sha, bytes, length);
	if (rc == HVREPL_OK)
		rc = hvri_sha256_end(&sha, out);
	hvri_sha256_free(&sha);
	return rc;
}

int32_t hvri_audit_make_header(uint32_t segment,
			       const struct hvri_audit_chain *chain,
			       uint8_t out[HVRI_AUDIT_HEADER])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_AUDIT_HEADER);

	hvri_write_bytes(&writer, MAGIC, 8);
	hvri_write_u32(&writer, FORMAT);
	hvri_write_u32(&writer, segment);
	hvri_write_u64(&writer, chain->records + 1);
	hvri_write_bytes(&writer, chain->digest, DIGEST);
	hvri_write_pad(&writer, 8);
	return sha256(out, HVRI_AUDIT_HEADER - DIGEST,
		      out + HVRI_AUDIT_HEADER - DIGEST);
}

static size_t cut(const char *text, size_t most)
{
	size_t length = text == NULL ? 0 : strlen(text);

	if (length <= most)
		return length;
	/* Not in the middle of a character. */
	while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
		most--;
	return most;
}

int32_t hvri_audit_make(const struct hvrepl_audit_record *record,
			struct hvri_audit_chain *chain,
			uint8_t out[HVRI_AUDIT_RECORD_MAX], size_t *length_out)
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_AUDIT_RECORD_MAX);
	size_t actor = cut(record->actor, HVREPL_AUDIT_ACTOR_MAX);
	size_t sentence = cut(record->sentence, HVREPL_SENTENCE_MAX - 1);
	size_t length = (FIXED + actor + sentence + DIGEST + 7) / 8 * 8;

	hvri_write_u32(&writer, (uint32_t)length);
	hvri_write_u32(&writer, record->kind);
	hvri_write_u64(&writer, record->number);
	hvri_write_u64(&writer, record->utc_ns);
	hvri_write_uuid(&writer, &record->vm);
	hvri_write_u32(&writer, (uint32_t)record->code);
	hvri_write_u32(&writer, (uint32_t)actor);
	hvri_write_u32(&writer, (uint32_t)sentence);
	hvri_write_bytes(&writer, chain->digest, DIGEST);
	hvri_write_bytes(&writer, record->actor, actor);
	hvri_write_bytes(&writer, record->sentence, sentence);
	hvri_write_pad(&writer, length - DIGEST - writer.written);
	if (writer.bad)
		return HVREPL_E_LIMIT;
	HVRI_TRY(sha256(out, length - DIGEST, out + length - DIGEST));
	memcpy(chain->digest, out + length - DIGEST, DIGEST);
	chain->records = record->number;
	*length_out = length;
	return HVREPL_OK;
}

/* A whole record with a digest that fits, wherever it belongs: its length, or 0.
 * Negative: it cannot be told, which is no damage. */
static int32_t whole(const uint8_t *bytes, size_t left, size_t *length_out)
{
	struct hvri_reader reader = hvri_reader_over(bytes, left);
	uint32_t length = hvri_read_u32(&reader);
	uint8_t digest[DIGEST];

	*length_out = 0;
	if (left < RECORD_MIN || length < RECORD_MIN ||
	    length > HVRI_AUDIT_RECORD_MAX || length % 8 != 0 || length > left)
		return HVREPL_OK;
	HVRI_TRY(sha256(bytes, length - DIGEST, digest));
	if (memcmp(digest, bytes + length - DIGEST, DIGEST) == 0)
		*length_out = length;
	return HVREPL_OK;
}

/* What a crash leaves is less than a record, and none begins behind `from`. */
static int32_t torn_or_worse(const struct hvri_audit_reading *reading,
			     size_t from)
{
	size_t length;

	if (reading->length > from + HVRI_AUDIT_RECORD_MAX)
		return HVREPL_E_CORRUPT;
	for (; from + RECORD_MIN <= reading->length; from += 8) {
		HVRI_TRY(whole(reading->bytes + from, reading->length - from,
			       &length));
		if (length != 0)
			return HVREPL_E_CORRUPT;
	}
	return HVREPL_E_TRUNCATED;
}

/* The header of a format that this version does not know. */
static int32_t too_new(const struct hvri_audit_reading *reading, bool *out)
{
	struct hvri_reader reader =
		hvri_reader_over(reading->bytes, reading->length);
	uint8_t magic[8], digest[DIGEST];
	uint32_t format;

	hvri_read_bytes(&reader, magic, sizeof(magic));
	format = hvri_read_u32(&reader);
	HVRI_TRY(sha256(reading->bytes, HVRI_AUDIT_HEADER - DIGEST, digest));
	*out = memcmp(magic, MAGIC, sizeof(magic)) == 0 && format > FORMAT &&
	       memcmp(digest, reading->bytes + HVRI_AUDIT_HEADER - DIGEST,
		      DIGEST) == 0;
	return HVREPL_OK;
}

int32_t hvri_audit_read_header(struct hvri_audit_reading *reading,
			       uint32_t segment)
{
	struct hvri_reader reader =
		hvri_reader_over(reading->bytes, reading->length);
	struct hvri_audit_chain chain;
	uint8_t wanted[HVRI_AUDIT_HEADER];
	bool newer;

	if (reading->length < HVRI_AUDIT_HEADER)
		return HVREPL_E_TRUNCATED;
	hvri_read_pad(&reader, 16, false);
	chain.records = hvri_read_u64(&reader) - 1;
	hvri_read_bytes(&reader, chain.digest, DIGEST);
	HVRI_TRY(hvri_audit_make_header(segment, &chain, wanted));
	if (memcmp(wanted, reading->bytes, HVRI_AUDIT_HEADER) == 0) {
		reading->chain = chain;
		reading->at = HVRI_AUDIT_HEADER;
		return HVREPL_OK;
	}
	HVRI_TRY(too_new(reading, &newer));
	/* It became durable with the first record or not at all: one write, and
	 * a record begins in the sector that it is in. */
	return newer ? HVREPL_E_FORMAT_TOO_NEW :
		       torn_or_worse(reading, HVRI_AUDIT_HEADER);
}

int32_t hvri_audit_next(struct hvri_audit_reading *reading,
			struct hvrepl_audit_record *record_out,
			char text[HVRI_AUDIT_RECORD_MAX])
{
	const uint8_t *bytes = reading->bytes + reading->at;
	size_t left = reading->length - reading->at;
	struct hvrepl_audit_record record = HVREPL_AUDIT_RECORD_INIT;
	struct hvri_reader reader = hvri_reader_over(bytes, left);
	uint8_t before[DIGEST];
	uint32_t actor, sentence;
	size_t length;

	if (left == 0)
		return HVREPL_E_NOT_FOUND;
	HVRI_TRY(whole(bytes, left, &length));
	if (length == 0)
		return torn_or_worse(reading, reading->at + 8);
	hvri_read_pad(&reader, 4, false);
	record.kind = hvri_read_u32(&reader);
	record.number = hvri_read_u64(&reader);
	record.utc_ns = hvri_read_u64(&reader);
	hvri_read_uuid(&reader, &record.vm);
	record.code = (int32_t)hvri_read_u32(&reader);
	actor = hvri_read_u32(&reader);
	sentence = hvri_read_u32(&reader);
	hvri_read_bytes(&reader, before, DIGEST);
	/* A digest of its own that fits, and another place in the chain, is no
	 * accident. */
	if (record.number != reading->chain.records + 1 ||
	    memcmp(before, reading->chain.digest, DIGEST) != 0 ||
	    actor > HVREPL_AUDIT_ACTOR_MAX || sentence >= HVREPL_SENTENCE_MAX ||
	    FIXED + actor + sentence + DIGEST > length)
		return HVREPL_E_CORRUPT;
	hvri_read_bytes(&reader, text, actor);
	text[actor] = 0;
	hvri_read_bytes(&reader, text + actor + 1, sentence);
	text[actor + 1 + sentence] = 0;
	record.actor = text;
	record.sentence = text + actor + 1;
	reading->at += length;
	reading->chain.records = record.number;
	memcpy(reading->chain.digest, bytes + length - DIGEST, DIGEST);
	*record_out = record;
	return HVREPL_OK;
}
