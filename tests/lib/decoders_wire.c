/* SPDX-License-Identifier: Apache-2.0 */
/* Decoders of what a peer sends: frames, and the payloads they carry. */
#include "decoders.h"

#include "base/digest.h"
#include "format/trial.h"
#include "format/wire.h"
#include "testing.h"

#include <string.h>

#define must decoder_must
#define HEAD HVRI_FRAME_HEADER_SIZE

static size_t payload_of(uint8_t type, uint8_t *out, uint64_t *random)
{
	struct hvri_hello hello = { .version_min = 1, .version_max = 1,
				    .site = "east" };
	struct hvri_bye bye = { .code = HVREPL_E_DENIED,
				.sentence = "not on the list" };
	struct hvri_segment_end end = { .disk = 1, .chunk_count = 7 };
	struct hvri_credit credit = { .bytes = 1u << 20 };
	struct hvri_digest_ask ask = { .count = 3, .offset = 1u << 20 };
	struct hvri_digests digests = { .count = 2 };
	struct hvri_trial_ask trial = { .number = 1, .bytes = 4096,
					.disk_bytes = 1u << 30,
					.disk_count = 2, .points = 8 };
	struct hvri_trial_answer answer = { .number = 1, .code = HVREPL_E_LIMIT,
					    .bytes = 4096,
					    .sentence = "raise that" };
	struct hvri_trial_data data = { .number = 1 };
	struct hvri_trial_result result = { .number = 1, .bytes = 4096,
					    .ns = 1000 };

	switch (type) {
	case HVRI_FRAME_TRIAL:
		hvri_trial_ask_encode(&trial, out);
		return HVRI_TRIAL_ASK_SIZE;
	case HVRI_FRAME_TRIAL_ANSWER:
		return hvri_trial_answer_encode(&answer, out);
	case HVRI_FRAME_TRIAL_DATA:
		data.part = (uint8_t)(1 + test_random(random) % 3);
		data.length = data.part == HVRI_TRIAL_FILLER ? 24 : 0;
		hvri_trial_data_encode(&data, out);
		test_fill(out + HVRI_TRIAL_DATA_PREFIX, data.length, 1);
		return HVRI_TRIAL_DATA_PREFIX + data.length;
	case HVRI_FRAME_TRIAL_RESULT:
		hvri_trial_result_encode(&result, out);
		return HVRI_TRIAL_RESULT_SIZE;
	case HVRI_FRAME_HELLO:
		hello.incarnation = test_random(random);
		hvri_hello_encode(&hello, out);
		return HVRI_HELLO_SIZE;
	case HVRI_FRAME_BYE:
		return hvri_bye_encode(&bye, out);
	case HVRI_FRAME_SEGMENT_END:
		hvri_segment_end_encode(&end, out);
		return HVRI_SEGMENT_END_SIZE;
	case HVRI_FRAME_CREDIT:
		hvri_credit_encode(&credit, out);
		return HVRI_CREDIT_SIZE;
	case HVRI_FRAME_DIGEST_ASK:
		hvri_digest_ask_encode(&ask, out);
		return HVRI_DIGEST_ASK_SIZE;
	case HVRI_FRAME_DIGESTS:
		hvri_digests_encode(&digests, out);
		test_fill(out + HVRI_DIGESTS_PREFIX_SIZE, 32, 1);
		return HVRI_DIGESTS_PREFIX_SIZE + 32;
	default:
		return 0;
	}
}

static size_t sample_frame(uint8_t *out, uint64_t *random)
{
	static const uint8_t types[] = {
		HVRI_FRAME_HELLO,	HVRI_FRAME_BYE,
		HVRI_FRAME_PING,	HVRI_FRAME_SEGMENT_END,
		HVRI_FRAME_CREDIT,	HVRI_FRAME_DIGEST_ASK,
		HVRI_FRAME_DIGESTS,	HVRI_FRAME_TRIAL,
		HVRI_FRAME_TRIAL_ANSWER, HVRI_FRAME_TRIAL_DATA,
		HVRI_FRAME_TRIAL_RESULT,
	};
	struct hvri_frame frame = {
		.type = types[test_random(random) % HVRI_ARRAY_LEN(types)]
	};

	frame.length = (uint32_t)payload_of(frame.type, out + HEAD, random);
	hvri_frame_encode(&frame, out + HEAD, out);
	return HEAD + frame.length;
}

static void sign_frame(uint8_t *bytes, size_t length, uint64_t *random)
{
	struct hvri_part parts[2];
	uint8_t digest[16];

	if (length < HEAD)
		return;
	/* The length is that of what follows, mostly. */
	for (unsigned i = 0; i < 4 && test_random(random) % 8 != 0; i++)
		bytes[4 + i] = (uint8_t)((length - HEAD) >> (8 * i));
	parts[0] = (struct hvri_part){ bytes, 24 };
	parts[1] = (struct hvri_part){ bytes + HEAD, length - HEAD };
	hvri_xxh3(parts, bytes[3] == HVRI_FRAME_CHUNK ? 1 : 2, digest);
	memcpy(bytes + 24, digest, 8);
}

/* The same of a trial's. */
static int32_t trial_again(uint8_t type, const uint8_t *payload, size_t length,
			   uint8_t *again, size_t *again_length)
{
	struct hvri_trial_ask ask;
	static struct hvri_trial_answer answer;
	struct hvri_trial_data data;
	struct hvri_trial_result result;

	switch (type) {
	case HVRI_FRAME_TRIAL:
		HVRI_TRY(hvri_trial_ask_decode(payload, length, &ask));
		must(ask.bytes <= HVRI_TRIAL_BYTES_MAX, "wants too much");
		hvri_trial_ask_encode(&ask, again);
		return HVREPL_OK;
	case HVRI_FRAME_TRIAL_ANSWER:
		HVRI_TRY(hvri_trial_answer_decode(payload, length, &answer));
		must(answer.bytes <= HVRI_TRIAL_BYTES_MAX && answer.code <= 0,
		     "grants too much");
		must(memchr(answer.sentence, 0, sizeof(answer.sentence)) !=
			     NULL,
		     "a sentence without end");
		*again_length = HVRI_TRIAL_ANSWER_HEAD;
		(void)hvri_trial_answer_encode(&answer, again);
		return HVREPL_OK;
	case HVRI_FRAME_TRIAL_DATA:
		HVRI_TRY(hvri_trial_data_decode(payload, length, &data));
		must(data.length == length - HVRI_TRIAL_DATA_PREFIX,
		     "filler reaches outside");
		*again_length = HVRI_TRIAL_DATA_PREFIX;
		hvri_trial_data_encode(&data, again);
		return HVREPL_OK;
	default:
		HVRI_TRY(hvri_trial_result_decode(payload, length, &result));
		hvri_trial_result_encode(&result, again);
		return HVREPL_OK;
	}
}

/* Decode the payload, and write what was understood into `again`. */
static int32_t again_of(uint8_t type, const uint8_t *payload, size_t length,
			uint8_t *again, size_t *again_length)
{
	static struct hvri_hello hello;
	static struct hvri_bye bye;
	struct hvri_segment_end end;
	struct hvri_credit credit;
	struct hvri_digest_ask ask;
	struct hvri_digests digests;

	*again_length = length;
	switch (type) {
	case HVRI_FRAME_HELLO:
		HVRI_TRY(hvri_hello_decode(payload, length, &hello));
		must(memchr(hello.site, 0, sizeof(hello.site)) != NULL,
		     "a site without end");
		return HVREPL_OK;
	case HVRI_FRAME_BYE:
		HVRI_TRY(hvri_bye_decode(payload, length, &bye));
		must(memchr(bye.sentence, 0, sizeof(bye.sentence)) != NULL,
		     "a sentence without end");
		return HVREPL_OK;
	case HVRI_FRAME_SEGMENT_END:
		HVRI_TRY(hvri_segment_end_decode(payload, length, &end));
		hvri_segment_end_encode(&end, again);
		break;
	case HVRI_FRAME_CREDIT:
		HVRI_TRY(hvri_credit_decode(payload, length, &credit));
		hvri_credit_encode(&credit, again);
		break;
	case HVRI_FRAME_DIGEST_ASK:
		HVRI_TRY(hvri_digest_ask_decode(payload, length, &ask));
		must(ask.count > 0 && ask.count <= HVRI_DIGESTS_MAX,
		     "asks for too much");
		hvri_digest_ask_encode(&ask, again);
		break;
	case HVRI_FRAME_DIGESTS:
		HVRI_TRY(hvri_digests_decode(payload, length, &digests));
		must(digests.count <= HVRI_DIGESTS_MAX &&
			     HVRI_DIGESTS_PREFIX_SIZE +
					     16u * (size_t)digests.count ==
				     length,
		     "digests reach outside");
		hvri_digests_encode(&digests, again);
		*again_length = HVRI_DIGESTS_PREFIX_SIZE;
		break;
	case HVRI_FRAME_TRIAL:
	case HVRI_FRAME_TRIAL_ANSWER:
	case HVRI_FRAME_TRIAL_DATA:
	case HVRI_FRAME_TRIAL_RESULT:
		HVRI_TRY(trial_again(type, payload, length, again,
				     again_length));
		break;
	default:
		return HVREPL_OK;
	}
	must(memcmp(again, payload, *again_length) == 0,
	     "payload has two forms");
	return HVREPL_OK;
}

static int32_t decode_frame(const uint8_t *bytes, size_t length)
{
	uint8_t again[HVRI_TRIAL_ANSWER_MAX];
	struct hvri_frame frame;
	size_t again_length;

	if (length < HEAD)
		return HVREPL_E_TRUNCATED;
	/* What a stranger may send is less than what a peer may. */
	if (hvri_frame_decode(bytes, true, &frame) == HVREPL_OK)
		must(frame.type <= HVRI_FRAME_BYE &&
			     frame.length <= HVRI_FRAME_EARLY_MAX,
		     "a stranger gets in");
	HVRI_TRY(hvri_frame_decode(bytes, false, &frame));
	must(frame.length <= HVRI_FRAME_CHUNK_MAX, "frame is too long");
	if (frame.length != length - HEAD)
		return HVREPL_E_TRUNCATED;
	HVRI_TRY(hvri_frame_check(bytes, &frame, bytes + HEAD));
	return again_of(frame.type, bytes + HEAD, frame.length, again,
			&again_length);
}

const struct decoder decoders_wire[] = {
	{ "frame", sample_frame, sign_frame, decode_frame },
	{ NULL, NULL, NULL, NULL },
};
