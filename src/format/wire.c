/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: header, and the payloads that open a session or carry data. */
#include "format/wire.h"

#include "base/cursor.h"
#include "base/name.h"
#include "base/plant.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define MAGIC 0x5648u /* "HV" */
#define CHECKED_PART 24u /* Header bytes before the check. */

static void check_value(const uint8_t *header, const struct hvri_frame *frame,
			const void *payload, uint8_t out[8])
{
	struct hvri_part parts[2] = { { header, CHECKED_PART },
				      { payload, frame->length } };
	uint8_t digest[16];

	/* A chunk carries its own digests: its bytes are hashed once. */
	hvri_xxh3(parts, frame->type == HVRI_FRAME_CHUNK ? 1 : 2, digest);
	memcpy(out, digest, 8);
}

void hvri_frame_encode(const struct hvri_frame *frame, const void *payload,
		       uint8_t out[HVRI_FRAME_HEADER_SIZE])
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_FRAME_HEADER_SIZE);
	uint8_t check[8];

	hvri_write_u16(&writer, MAGIC);
	hvri_write_u8(&writer, HVRI_WIRE_VERSION);
	hvri_write_u8(&writer, frame->type);
	hvri_write_u32(&writer, frame->length);
	hvri_write_uuid(&writer, &frame->vm);
	check_value(out, frame, payload, check);
	hvri_write_bytes(&writer, check, sizeof(check));
}

/* Longest payload of a type; -1: no such type. */
static int64_t length_max(uint8_t type, bool early)
{
	switch (type) {
	case HVRI_FRAME_HELLO:
	case HVRI_FRAME_BINDER:
	case HVRI_FRAME_BYE:
		return HVRI_FRAME_EARLY_MAX;
	case HVRI_FRAME_PING:
	case HVRI_FRAME_PONG:
	case HVRI_FRAME_TRIAL:
	case HVRI_FRAME_TRIAL_ANSWER:
	case HVRI_FRAME_TRIAL_DATA:
	case HVRI_FRAME_TRIAL_RESULT:
	case HVRI_FRAME_MESSAGE:
	case HVRI_FRAME_SEGMENT:
	case HVRI_FRAME_SEGMENT_END:
	case HVRI_FRAME_CREDIT:
	case HVRI_FRAME_DIGEST_ASK:
	case HVRI_FRAME_DIGESTS:
		return early ? -1 : (int64_t)HVRI_FRAME_CONTROL_MAX;
	case HVRI_FRAME_CHUNK:
		return early ? -1 : (int64_t)HVRI_FRAME_CHUNK_MAX;
	default:
		return -1;
	}
}

int32_t hvri_frame_decode(const uint8_t bytes[HVRI_FRAME_HEADER_SIZE],
			  bool early, struct hvri_frame *frame_out)
{
	struct hvri_reader reader =
		hvri_reader_over(bytes, HVRI_FRAME_HEADER_SIZE);
	struct hvri_frame frame;

	if (hvri_read_u16(&reader) != MAGIC)
		return HVREPL_E_PROTOCOL;
	if (hvri_read_u8(&reader) != HVRI_WIRE_VERSION)
		return HVREPL_E_PEER_VERSION;
	frame.type = hvri_read_u8(&reader);
	frame.length = hvri_read_u32(&reader);
	hvri_read_uuid(&reader, &frame.vm);
	if ((int64_t)frame.length > length_max(frame.type, early) &&
	    !HVRI_PLANT(length_wraps))
		return HVREPL_E_PROTOCOL;
	*frame_out = frame;
	return HVREPL_OK;
}

int32_t hvri_frame_check(const uint8_t header[HVRI_FRAME_HEADER_SIZE],
			 const struct hvri_frame *frame, const void *payload)
{
	uint8_t check[8];

	check_value(header, frame, payload, check);
	return memcmp(check, header + CHECKED_PART, sizeof(check)) == 0 ?
		       HVREPL_OK :
		       HVREPL_E_PROTOCOL;
}

/* Printable UTF-8, or replaced; it gets its end. */
static void clean(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] == 0)
			text[i] = '?';
	text[length] = 0;
	if (!HVRI_PLANT(text_as_it_came))
		hvri_text_clean(text);
}

void hvri_read_sentence(struct hvri_reader *reader, char *out, size_t max)
{
	size_t length = reader->left;

	/* Of more nothing is taken, and a reader with bytes left is no good. */
	if (length > max)
		length = 0;
	hvri_read_bytes(reader, out, length);
	clean(out, length);
}

/* A label from outside: cut at the first zero. */
static void read_label(struct hvri_reader *reader, char *out, size_t size)
{
	hvri_read_bytes(reader, out, size);
	out[size - 1] = 0;
	clean(out, strlen(out));
	memset(out + strlen(out), 0, size - strlen(out));
}

void hvri_hello_encode(const struct hvri_hello *hello,
		       uint8_t out[HVRI_HELLO_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_HELLO_SIZE);

	hvri_write_u32(&writer, hello->version_min);
	hvri_write_u32(&writer, hello->version_max);
	hvri_write_u64(&writer, hello->features);
	hvri_write_uuid(&writer, &hello->node);
	hvri_write_u64(&writer, hello->incarnation);
	hvri_write_bytes(&writer, hello->nonce, sizeof(hello->nonce));
	hvri_write_bytes(&writer, hello->site, sizeof(hello->site));
	hvri_write_pad(&writer, writer.left);
}

int32_t hvri_hello_decode(const void *payload, size_t length,
			  struct hvri_hello *hello_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_hello hello;

	hello.version_min = hvri_read_u32(&reader);
	hello.version_max = hvri_read_u32(&reader);
	hello.features = hvri_read_u64(&reader);
	hvri_read_uuid(&reader, &hello.node);
	hello.incarnation = hvri_read_u64(&reader);
	hvri_read_bytes(&reader, hello.nonce, sizeof(hello.nonce));
	read_label(&reader, hello.site, sizeof(hello.site));
	hvri_read_pad(&reader, HVRI_HELLO_SIZE - 136, false);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	if (hello.version_min > hello.version_max)
		return HVREPL_E_PROTOCOL;
	if (hello.version_min > HVRI_WIRE_VERSION ||
	    hello.version_max < HVRI_WIRE_VERSION)
		return HVREPL_E_PEER_VERSION;
	*hello_out = hello;
	return HVREPL_OK;
}

int32_t hvri_binder(const uint8_t exporter[32], bool of_initiator,
		    const uint8_t initiator[HVRI_HELLO_SIZE],
		    const uint8_t acceptor[HVRI_HELLO_SIZE],
		    uint8_t binder_out[32])
{
	static const char label[] = "hvrepl/1 binder";
	static const uint8_t none[32];
	uint8_t text[sizeof(label) + 1 + 2 * HVRI_HELLO_SIZE];
	struct hvri_writer writer = hvri_writer_over(text, sizeof(text));

	hvri_write_bytes(&writer, label, sizeof(label));
	hvri_write_u8(&writer, of_initiator ? 1 : 2);
	hvri_write_bytes(&writer, initiator, HVRI_HELLO_SIZE);
	hvri_write_bytes(&writer, acceptor, HVRI_HELLO_SIZE);
	if (HVRI_PLANT(binder_unbound))
		exporter = none;
	if (HMAC(EVP_sha256(), exporter, 32, text, writer.written, binder_out,
		 NULL) == NULL)
		return HVREPL_E_NOMEM;
	return HVREPL_OK;
}

uint32_t hvri_bye_encode(const struct hvri_bye *bye,
			 uint8_t out[HVRI_BYE_SIZE_MAX])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_BYE_SIZE_MAX);

	hvri_write_u32(&writer, (uint32_t)bye->code);
	hvri_write_bytes(&writer, bye->sentence, strlen(bye->sentence));
	return (uint32_t)writer.written;
}

int32_t hvri_bye_decode(const void *payload, size_t length,
			struct hvri_bye *bye_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_bye bye = { .code = (int32_t)hvri_read_u32(&reader) };

	hvri_read_sentence(&reader, bye.sentence, HVRI_BYE_SENTENCE_MAX);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	*bye_out = bye;
	return HVREPL_OK;
}

void hvri_segment_end_encode(const struct hvri_segment_end *end,
			     uint8_t out[HVRI_SEGMENT_END_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_SEGMENT_END_SIZE);

	hvri_write_u32(&writer, end->disk);
	hvri_write_u32(&writer, end->chunk_count);
	hvri_write_uuid(&writer, &end->cut);
	hvri_write_bytes(&writer, end->root, sizeof(end->root));
}

int32_t hvri_segment_end_decode(const void *payload, size_t length,
				struct hvri_segment_end *end_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_segment_end end;

	end.disk = hvri_read_u32(&reader);
	end.chunk_count = hvri_read_u32(&reader);
	hvri_read_uuid(&reader, &end.cut);
	hvri_read_bytes(&reader, end.root, sizeof(end.root));
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	*end_out = end;
	return HVREPL_OK;
}

void hvri_credit_encode(const struct hvri_credit *credit,
			uint8_t out[HVRI_CREDIT_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_CREDIT_SIZE);

	hvri_write_uuid(&writer, &credit->cut);
	hvri_write_u64(&writer, credit->bytes);
}

int32_t hvri_credit_decode(const void *payload, size_t length,
			   struct hvri_credit *credit_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_credit credit;

	hvri_read_uuid(&reader, &credit.cut);
	credit.bytes = hvri_read_u64(&reader);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	*credit_out = credit;
	return HVREPL_OK;
}

void hvri_digest_ask_encode(const struct hvri_digest_ask *ask,
			    uint8_t out[HVRI_DIGEST_ASK_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_DIGEST_ASK_SIZE);

	hvri_write_u32(&writer, ask->disk);
	hvri_write_u32(&writer, ask->count);
	hvri_write_u64(&writer, ask->offset);
	hvri_write_u64(&writer, ask->point);
	hvri_write_bytes(&writer, ask->key, sizeof(ask->key));
}

static bool granules_ok(uint64_t offset, uint32_t count)
{
	return offset % HVRI_DIGEST_GRANULE == 0 && count <= HVRI_DIGESTS_MAX &&
	       offset <= UINT64_MAX - (uint64_t)HVRI_DIGESTS_MAX *
						HVRI_DIGEST_GRANULE;
}

int32_t hvri_digest_ask_decode(const void *payload, size_t length,
			       struct hvri_digest_ask *ask_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_digest_ask ask;

	ask.disk = hvri_read_u32(&reader);
	ask.count = hvri_read_u32(&reader);
	ask.offset = hvri_read_u64(&reader);
	ask.point = hvri_read_u64(&reader);
	hvri_read_bytes(&reader, ask.key, sizeof(ask.key));
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	if (ask.count == 0 || !granules_ok(ask.offset, ask.count))
		return HVREPL_E_PROTOCOL;
	*ask_out = ask;
	return HVREPL_OK;
}

void hvri_digests_encode(const struct hvri_digests *digests,
			 uint8_t out[HVRI_DIGESTS_PREFIX_SIZE])
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_DIGESTS_PREFIX_SIZE);

	hvri_write_u32(&writer, digests->disk);
	hvri_write_u32(&writer, (uint32_t)digests->code);
	hvri_write_u64(&writer, digests->offset);
	hvri_write_u64(&writer, digests->point);
	hvri_write_u32(&writer, digests->count);
	hvri_write_u32(&writer, 0);
}

int32_t hvri_digests_decode(const void *payload, size_t length,
			    struct hvri_digests *digests_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_digests digests;

	digests.disk = hvri_read_u32(&reader);
	digests.code = (int32_t)hvri_read_u32(&reader);
	digests.offset = hvri_read_u64(&reader);
	digests.point = hvri_read_u64(&reader);
	digests.count = hvri_read_u32(&reader);
	hvri_read_pad(&reader, 4, true);
	if (!granules_ok(digests.offset, digests.count))
		return HVREPL_E_PROTOCOL;
	digests.digests = hvri_read_span(&reader, (size_t)digests.count * 16);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	if (digests.code > 0 || (digests.code != 0 && digests.count != 0))
		return HVREPL_E_PROTOCOL;
	*digests_out = digests;
	return HVREPL_OK;
}
