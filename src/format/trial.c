/* SPDX-License-Identifier: Apache-2.0 */
/* Payloads of a trial's frames: see trial.h. */
#include "format/trial.h"

#include "base/cursor.h"

#include <string.h>

void hvri_trial_ask_encode(const struct hvri_trial_ask *ask,
			   uint8_t out[HVRI_TRIAL_ASK_SIZE])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_TRIAL_ASK_SIZE);

	hvri_write_u64(&writer, ask->number);
	hvri_write_u64(&writer, ask->bytes);
	hvri_write_u64(&writer, ask->disk_bytes);
	hvri_write_u32(&writer, ask->disk_count);
	hvri_write_u32(&writer, ask->points);
}

int32_t hvri_trial_ask_decode(const void *payload, size_t length,
			      struct hvri_trial_ask *ask_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_trial_ask ask;

	ask.number = hvri_read_u64(&reader);
	ask.bytes = hvri_read_u64(&reader);
	ask.disk_bytes = hvri_read_u64(&reader);
	ask.disk_count = hvri_read_u32(&reader);
	ask.points = hvri_read_u32(&reader);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	if (ask.number == 0 || ask.bytes > HVRI_TRIAL_BYTES_MAX ||
	    ask.disk_count > HVRI_DISKS_MAX ||
	    (ask.disk_count == 0) != (ask.disk_bytes == 0) ||
	    (ask.disk_count == 0 && ask.points != 0))
		return HVREPL_E_PROTOCOL;
	*ask_out = ask;
	return HVREPL_OK;
}

uint32_t hvri_trial_answer_encode(const struct hvri_trial_answer *answer,
				  uint8_t out[HVRI_TRIAL_ANSWER_MAX])
{
	struct hvri_writer writer = hvri_writer_over(out, HVRI_TRIAL_ANSWER_MAX);

	hvri_write_u64(&writer, answer->number);
	hvri_write_u32(&writer, (uint32_t)answer->code);
	hvri_write_u32(&writer, answer->wait_ms);
	hvri_write_u64(&writer, answer->free_bytes);
	hvri_write_u64(&writer, answer->total_bytes);
	hvri_write_u64(&writer, answer->bytes);
	hvri_write_bytes(&writer, answer->sentence, strlen(answer->sentence));
	return (uint32_t)writer.written;
}

int32_t hvri_trial_answer_decode(const void *payload, size_t length,
				 struct hvri_trial_answer *answer_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_trial_answer answer = { .number = hvri_read_u64(&reader) };

	answer.code = (int32_t)hvri_read_u32(&reader);
	answer.wait_ms = hvri_read_u32(&reader);
	answer.free_bytes = hvri_read_u64(&reader);
	answer.total_bytes = hvri_read_u64(&reader);
	answer.bytes = hvri_read_u64(&reader);
	hvri_read_sentence(&reader, answer.sentence, HVRI_TRIAL_SENTENCE_MAX);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	if (answer.number == 0 || answer.code > 0 ||
	    answer.bytes > HVRI_TRIAL_BYTES_MAX ||
	    (answer.wait_ms != 0 && answer.bytes != 0))
		return HVREPL_E_PROTOCOL;
	*answer_out = answer;
	return HVREPL_OK;
}

void hvri_trial_data_encode(const struct hvri_trial_data *data,
			    uint8_t out[HVRI_TRIAL_DATA_PREFIX])
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_TRIAL_DATA_PREFIX);

	hvri_write_u64(&writer, data->number);
	hvri_write_u8(&writer, data->part);
	hvri_write_pad(&writer, 7);
}

int32_t hvri_trial_data_decode(const void *payload, size_t length,
			       struct hvri_trial_data *data_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_trial_data data;

	data.number = hvri_read_u64(&reader);
	data.part = hvri_read_u8(&reader);
	hvri_read_pad(&reader, 7, true);
	if (reader.bad || reader.left > HVRI_TRIAL_FILLER_MAX ||
	    data.number == 0 || data.part < HVRI_TRIAL_BEGIN ||
	    data.part > HVRI_TRIAL_END ||
	    (data.part == HVRI_TRIAL_FILLER) != (reader.left > 0))
		return HVREPL_E_PROTOCOL;
	data.length = (uint32_t)reader.left;
	*data_out = data;
	return HVREPL_OK;
}

void hvri_trial_result_encode(const struct hvri_trial_result *result,
			      uint8_t out[HVRI_TRIAL_RESULT_SIZE])
{
	struct hvri_writer writer =
		hvri_writer_over(out, HVRI_TRIAL_RESULT_SIZE);

	hvri_write_u64(&writer, result->number);
	hvri_write_u64(&writer, result->bytes);
	hvri_write_u64(&writer, result->ns);
}

int32_t hvri_trial_result_decode(const void *payload, size_t length,
				 struct hvri_trial_result *result_out)
{
	struct hvri_reader reader = hvri_reader_over(payload, length);
	struct hvri_trial_result result;

	result.number = hvri_read_u64(&reader);
	result.bytes = hvri_read_u64(&reader);
	result.ns = hvri_read_u64(&reader);
	HVRI_TRY(hvri_reader_end(&reader, HVREPL_E_PROTOCOL));
	if (result.number == 0 || result.bytes > HVRI_TRIAL_BYTES_MAX)
		return HVREPL_E_PROTOCOL;
	*result_out = result;
	return HVREPL_OK;
}
