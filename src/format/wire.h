/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between two nodes, and the payload of those that carry data or open a
 * session. The relationship's own messages are payload of MESSAGE frames and
 * have a codec of their own. Pure: bytes <-> structs.
 */
#ifndef HVRI_FORMAT_WIRE_H
#define HVRI_FORMAT_WIRE_H

#include "base/cursor.h"
#include "format/segment.h"

#define HVRI_WIRE_VERSION 1u

#define HVRI_FRAME_HEADER_SIZE 32u
/* Payload limits: before both binders were checked, of control frames, and of
 * CHUNK frames. */
#define HVRI_FRAME_EARLY_MAX 4096u
#define HVRI_FRAME_CONTROL_MAX (64u << 10)
#define HVRI_FRAME_CHUNK_MAX (HVRI_CHUNK_ENCODED_MAX + 8u)

enum hvri_frame_type {
	HVRI_FRAME_HELLO = 1,  /* First from both sides. */
	HVRI_FRAME_BINDER = 2, /* Second: proves that both saw the same. */
	HVRI_FRAME_BYE = 3,    /* Last: why the session ends. */
	HVRI_FRAME_PING = 4,   /* Nothing for a while; answered by PONG. */
	HVRI_FRAME_PONG = 5,
	HVRI_FRAME_TRIAL = 6,        /* A trial of the session: trial.h. */
	HVRI_FRAME_TRIAL_ANSWER = 7,
	HVRI_FRAME_TRIAL_DATA = 8,
	HVRI_FRAME_TRIAL_RESULT = 9,
	HVRI_FRAME_MESSAGE = 16,     /* Relationship message. */
	HVRI_FRAME_SEGMENT = 32,     /* A disk's part of a cut begins. */
	HVRI_FRAME_CHUNK = 33,
	HVRI_FRAME_SEGMENT_END = 34,
	HVRI_FRAME_CREDIT = 35,      /* Bytes of chunks that may come (F1). */
	HVRI_FRAME_DIGEST_ASK = 36,  /* Digests of a range, please. */
	HVRI_FRAME_DIGESTS = 37,
};

struct hvri_frame {
	uint8_t type; /* HVRI_FRAME_* */
	uint32_t length; /* Bytes of payload. */
	struct hvrepl_uuid vm; /* None for frames of the session itself. */
};

/* Header of a frame whose payload is given (CHUNK: only its length counts). */
void hvri_frame_encode(const struct hvri_frame *frame, const void *payload,
		       uint8_t out[HVRI_FRAME_HEADER_SIZE]);
/* PROTOCOL: not a frame, an unknown type, or longer than its type may be.
 * `early`: the session is not authenticated yet; only HELLO, BINDER and BYE
 * pass. Says nothing about the payload yet. */
HVRI_MUST_CHECK int32_t
hvri_frame_decode(const uint8_t bytes[HVRI_FRAME_HEADER_SIZE], bool early,
		  struct hvri_frame *frame_out);
/* Does the payload belong to the header? CHUNK has digests of its own. */
HVRI_MUST_CHECK int32_t
hvri_frame_check(const uint8_t header[HVRI_FRAME_HEADER_SIZE],
		 const struct hvri_frame *frame, const void *payload);

#define HVRI_HELLO_SIZE 160u
/* What a node understands beyond the version's minimum; bits it does not know
 * are ignored. */
#define HVRI_FEATURE_UNSHIPPED (UINT64_C(1) << 0) /* The end of STATUS. */
#define HVRI_FEATURE_HELLO_NUMBER (UINT64_C(1) << 1) /* Of a claim's HELLO. */
#define HVRI_FEATURE_REMOVE_EPOCH (UINT64_C(1) << 2) /* The body of REMOVE. */
#define HVRI_FEATURE_TRIAL (UINT64_C(1) << 3) /* Its four frames. */
#define HVRI_FEATURE_DISCARD_JOB (UINT64_C(1) << 4) /* The end of DISCARD. */
#define HVRI_FEATURES                                         \
	(HVRI_FEATURE_UNSHIPPED | HVRI_FEATURE_HELLO_NUMBER | \
	 HVRI_FEATURE_REMOVE_EPOCH | HVRI_FEATURE_TRIAL |     \
	 HVRI_FEATURE_DISCARD_JOB)
struct hvri_hello {
	uint32_t version_min, version_max;
	uint64_t features;
	struct hvrepl_uuid node;
	uint64_t incarnation; /* New at each start (O2). */
	uint8_t nonce[32];
	char site[64]; /* A label. */
};
void hvri_hello_encode(const struct hvri_hello *hello,
		       uint8_t out[HVRI_HELLO_SIZE]);
HVRI_MUST_CHECK int32_t hvri_hello_decode(const void *payload, size_t length,
					  struct hvri_hello *hello_out);
/* HMAC-SHA256 under the channel's exporter value over the role and both HELLO
 * payloads: a relayed, stripped or changed handshake does not verify. */
HVRI_MUST_CHECK int32_t hvri_binder(const uint8_t exporter[32],
				    bool of_initiator,
				    const uint8_t initiator[HVRI_HELLO_SIZE],
				    const uint8_t acceptor[HVRI_HELLO_SIZE],
				    uint8_t binder_out[32]);

/* The rest of a payload as a sentence, its control characters as '?'. Of more than
 * `max` bytes nothing is read, and hvri_reader_end() fails. `out` has max + 1. */
void hvri_read_sentence(struct hvri_reader *reader, char *out, size_t max);

#define HVRI_BYE_SENTENCE_MAX 200u
struct hvri_bye {
	int32_t code; /* HVREPL_E_* */
	char sentence[HVRI_BYE_SENTENCE_MAX + 1];
};
#define HVRI_BYE_SIZE_MAX (4u + HVRI_BYE_SENTENCE_MAX)
uint32_t hvri_bye_encode(const struct hvri_bye *bye,
			 uint8_t out[HVRI_BYE_SIZE_MAX]);
HVRI_MUST_CHECK int32_t hvri_bye_decode(const void *payload, size_t length,
					struct hvri_bye *bye_out);

/* SEGMENT: disk index, then the segment's header. */
#define HVRI_SEGMENT_FRAME_SIZE (4u + HVRI_SEGMENT_HEADER_SIZE)
/* CHUNK: disk index and zero, then the encoded chunk. */
#define HVRI_CHUNK_PREFIX_SIZE 8u

struct hvri_segment_end {
	uint32_t disk;
	uint32_t chunk_count;
	struct hvrepl_uuid cut;
	uint8_t root[32];
};
#define HVRI_SEGMENT_END_SIZE 56u
void hvri_segment_end_encode(const struct hvri_segment_end *end,
			     uint8_t out[HVRI_SEGMENT_END_SIZE]);
HVRI_MUST_CHECK int32_t
hvri_segment_end_decode(const void *payload, size_t length,
			struct hvri_segment_end *end_out);

/* CREDIT: bytes of CHUNK payload allowed since the cut was accepted, in all;
 * and the cut. */
struct hvri_credit {
	struct hvrepl_uuid cut;
	uint64_t bytes;
};
#define HVRI_CREDIT_SIZE 24u
void hvri_credit_encode(const struct hvri_credit *credit,
			uint8_t out[HVRI_CREDIT_SIZE]);
HVRI_MUST_CHECK int32_t hvri_credit_decode(const void *payload, size_t length,
					   struct hvri_credit *credit_out);

/* Granule of comparing two sites' disks. */
#define HVRI_DIGEST_GRANULE (64u << 10)
/* Granules of one DIGESTS frame: 128 MiB of disk in 32 KiB of payload. */
#define HVRI_DIGESTS_MAX 2048u

struct hvri_digest_ask {
	uint32_t disk;
	uint32_t count;  /* Granules, 1 to HVRI_DIGESTS_MAX. */
	uint64_t offset; /* Multiple of the granule. */
	uint64_t point;  /* Number at the replica that is meant. */
	uint8_t key[HVRI_GMAC_KEY]; /* Of this run (design section 8). */
};
#define HVRI_DIGEST_ASK_SIZE 56u
void hvri_digest_ask_encode(const struct hvri_digest_ask *ask,
			    uint8_t out[HVRI_DIGEST_ASK_SIZE]);
HVRI_MUST_CHECK int32_t hvri_digest_ask_decode(const void *payload,
					       size_t length,
					       struct hvri_digest_ask *ask_out);
/* DIGESTS: disk, code, offset, count; then count digests of 16 bytes. */
struct hvri_digests {
	uint32_t disk;
	int32_t code; /* Not OK: cannot answer; count is 0. */
	uint64_t offset;
	uint64_t point;
	uint32_t count;
	const uint8_t *digests; /* count * 16 bytes, borrowed. */
};
#define HVRI_DIGESTS_PREFIX_SIZE 32u
void hvri_digests_encode(const struct hvri_digests *digests,
			 uint8_t out[HVRI_DIGESTS_PREFIX_SIZE]);
HVRI_MUST_CHECK int32_t hvri_digests_decode(const void *payload, size_t length,
					    struct hvri_digests *digests_out);
#endif
