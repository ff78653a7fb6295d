/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trial of a session: what the other site's storage has left, and how fast
 * bytes get there. Frames of the session itself, to a peer of
 * HVRI_FEATURE_TRIAL. Pure: bytes <-> structs.
 *
 *   asks          TRIAL ------------------>
 *                 <----------------- TRIAL_ANSWER   bytes that may come
 *                 TRIAL_DATA ------------->         begin, filler..., end
 *                 <----------------- TRIAL_RESULT   counted where they came
 */
#ifndef HVRI_FORMAT_TRIAL_H
#define HVRI_FORMAT_TRIAL_H

#include "format/message.h"
#include "format/wire.h"

#define HVRI_TRIAL_BYTES_MAX (8u << 20) /* Filler of one trial. */
#define HVRI_TRIAL_SENTENCE_MAX HVRI_SENTENCE_MAX

struct hvri_trial_ask {
	uint64_t number; /* Of the asking node: 1, 2, 3... */
	uint64_t bytes;  /* Filler that it wants to send; 0: none. */
	/* A VM that would be replicated to there; 0, 0: none in particular. */
	uint64_t disk_bytes;
	uint32_t disk_count;
	uint32_t points; /* That it would ask to be kept. */
};
#define HVRI_TRIAL_ASK_SIZE 32u
void hvri_trial_ask_encode(const struct hvri_trial_ask *ask,
			   uint8_t out[HVRI_TRIAL_ASK_SIZE]);
/* PROTOCOL: another length, beyond a limit, or half a VM. So are all here. */
HVRI_MUST_CHECK int32_t hvri_trial_ask_decode(const void *payload,
					      size_t length,
					      struct hvri_trial_ask *ask_out);

struct hvri_trial_answer {
	uint64_t number;
	int32_t code;     /* Of the storage: OK, or why not. */
	uint32_t wait_ms; /* Not 0: too soon, and nothing was looked at. */
	/* HVREPL_BYTES_UNKNOWN: not told. */
	uint64_t free_bytes, total_bytes;
	uint64_t bytes; /* Filler that may come. */
	char sentence[HVRI_TRIAL_SENTENCE_MAX + 1];
};
#define HVRI_TRIAL_ANSWER_HEAD 40u
#define HVRI_TRIAL_ANSWER_MAX (HVRI_TRIAL_ANSWER_HEAD + HVRI_TRIAL_SENTENCE_MAX)
/* Its length. */
uint32_t hvri_trial_answer_encode(const struct hvri_trial_answer *answer,
				  uint8_t out[HVRI_TRIAL_ANSWER_MAX]);
HVRI_MUST_CHECK int32_t
hvri_trial_answer_decode(const void *payload, size_t length,
			 struct hvri_trial_answer *answer_out);

enum hvri_trial_part {
	HVRI_TRIAL_BEGIN = 1, /* Empty: the time begins with it. */
	HVRI_TRIAL_FILLER,    /* One byte at least. */
	HVRI_TRIAL_END,       /* Empty. */
};
struct hvri_trial_data {
	uint64_t number;
	uint8_t part;    /* enum hvri_trial_part */
	uint32_t length; /* Of the filler behind the prefix. */
};
#define HVRI_TRIAL_DATA_PREFIX 16u
#define HVRI_TRIAL_FILLER_MAX (HVRI_FRAME_CONTROL_MAX - HVRI_TRIAL_DATA_PREFIX)
void hvri_trial_data_encode(const struct hvri_trial_data *data,
			    uint8_t out[HVRI_TRIAL_DATA_PREFIX]);
HVRI_MUST_CHECK int32_t
hvri_trial_data_decode(const void *payload, size_t length,
		       struct hvri_trial_data *data_out);

struct hvri_trial_result {
	uint64_t number;
	uint64_t bytes; /* Filler that came. */
	uint64_t ns;    /* From begin to end; 0: no begin came. */
};
#define HVRI_TRIAL_RESULT_SIZE 24u
void hvri_trial_result_encode(const struct hvri_trial_result *result,
			      uint8_t out[HVRI_TRIAL_RESULT_SIZE]);
HVRI_MUST_CHECK int32_t
hvri_trial_result_decode(const void *payload, size_t length,
			 struct hvri_trial_result *result_out);
#endif
