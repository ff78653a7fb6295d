/* SPDX-License-Identifier: Apache-2.0 */
/* Log callbacks: checked tables, waiting, and one set of codes. */
#include "transfer/stream.h"

#include "base/abi.h"
#include "base/op.h"

static int32_t translate(int32_t rc)
{
	static const int32_t passing[] = {
		HVREPL_E_STORAGE_IO, HVREPL_E_NO_SPACE, HVREPL_E_NOMEM,
		HVREPL_E_UNAVAILABLE,
	};

	if (rc >= 0)
		return HVREPL_OK;
	for (size_t i = 0; i < HVRI_ARRAY_LEN(passing); i++)
		if (rc == passing[i])
			return rc;
	return HVREPL_E_CALLBACK;
}

int32_t hvri_log_source_take(struct hvri_log_source *source_out,
			     const struct hvrepl_log_source *source,
			     struct hvrepl_error *error)
{
	struct hvri_log_source taken = { .user = source->user,
					 .release = source->release };
	int32_t rc = hvri_abi_copy_in(
		&taken.ops, sizeof(taken.ops),
		HVRI_SIZE_UP_TO(struct hvrepl_log_source_ops, read),
		source->ops);

	if (rc == HVREPL_OK && taken.ops.reserved != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK &&
	    (taken.ops.size == NULL || taken.ops.read == NULL))
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		hvri_fail(error, rc,
			  "the log source table is incomplete: give size and "
			  "read, and its struct_size");
		hvri_log_source_drop(&taken);
		return rc;
	}
	*source_out = taken;
	return HVREPL_OK;
}

void hvri_log_source_drop(struct hvri_log_source *source)
{
	void (*release)(void *user) = source->release;

	source->release = NULL;
	if (release != NULL)
		release(source->user);
}

int32_t hvri_log_source_size(const struct hvri_log_source *source,
			     uint64_t *size_out)
{
	uint64_t size = 0;

	HVRI_TRY(translate(source->ops.size(source->user, &size)));
	*size_out = size;
	return HVREPL_OK;
}

int32_t hvri_log_source_read(const struct hvri_log_source *source,
			     uint64_t offset, void *buffer, size_t length)
{
	struct hvri_op_wait wait;
	int32_t rc;

	hvri_op_wait_init(&wait);
	rc = source->ops.read(source->user, &wait.op, offset, buffer, length);
	return translate(hvri_op_wait_end(&wait, rc));
}

int32_t hvri_log_sink_take(struct hvri_log_sink *sink_out,
			   const struct hvrepl_log_sink *sink,
			   struct hvrepl_error *error)
{
	struct hvri_log_sink taken = { .user = sink->user,
				       .release = sink->release };
	int32_t rc = hvri_abi_copy_in(
		&taken.ops, sizeof(taken.ops),
		HVRI_SIZE_UP_TO(struct hvrepl_log_sink_ops, flush), sink->ops);

	if (rc == HVREPL_OK && taken.ops.reserved != 0)
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK && taken.ops.append == NULL)
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		hvri_fail(error, rc,
			  "the log sink table is incomplete: give append, and "
			  "its struct_size");
		hvri_log_sink_drop(&taken);
		return rc;
	}
	*sink_out = taken;
	return HVREPL_OK;
}

void hvri_log_sink_drop(struct hvri_log_sink *sink)
{
	void (*release)(void *user) = sink->release;

	sink->release = NULL;
	if (release != NULL)
		release(sink->user);
}

int32_t hvri_log_sink_append(const struct hvri_log_sink *sink,
			     const void *bytes, size_t length)
{
	struct hvri_op_wait wait;
	int32_t rc;

	hvri_op_wait_init(&wait);
	rc = sink->ops.append(sink->user, &wait.op, bytes, length);
	return translate(hvri_op_wait_end(&wait, rc));
}

int32_t hvri_log_sink_flush(const struct hvri_log_sink *sink)
{
	struct hvri_op_wait wait;
	int32_t rc;

	if (sink->ops.flush == NULL)
		return HVREPL_OK;
	hvri_op_wait_init(&wait);
	rc = sink->ops.flush(sink->user, &wait.op);
	return translate(hvri_op_wait_end(&wait, rc));
}
