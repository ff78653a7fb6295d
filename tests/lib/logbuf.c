/* SPDX-License-Identifier: Apache-2.0 */
/* A log in memory. */
#include "logbuf.h"

#include <stdlib.h>
#include <string.h>

void logbuf_init(struct logbuf *buffer)
{
	memset(buffer, 0, sizeof(*buffer));
	buffer->fail_append_at = SIZE_MAX;
	buffer->fail_read_at = SIZE_MAX;
	buffer->fail_code = HVREPL_E_CALLBACK;
}

void logbuf_free(struct logbuf *buffer)
{
	free(buffer->bytes);
	buffer->bytes = NULL;
	buffer->length = buffer->capacity = 0;
}

static void run_hook(struct logbuf *buffer)
{
	if (buffer->hook != NULL)
		buffer->hook(buffer->hook_argument);
}

static int32_t append(void *user, hvrepl_op *op, const void *bytes,
		      size_t length)
{
	struct logbuf *buffer = user;

	(void)op;
	run_hook(buffer);
	if (buffer->append_count++ == buffer->fail_append_at)
		return buffer->fail_code;
	if (buffer->length + length > buffer->capacity) {
		buffer->capacity = 2 * (buffer->length + length);
		buffer->bytes = realloc(buffer->bytes, buffer->capacity);
		if (buffer->bytes == NULL)
			abort();
	}
	memcpy(buffer->bytes + buffer->length, bytes, length);
	buffer->length += length;
	return HVREPL_OK;
}

static int32_t flush(void *user, hvrepl_op *op)
{
	struct logbuf *buffer = user;

	/* Finished through the operation, to go both ways in every test. */
	buffer->flush_count++;
	hvrepl_op_complete(op, HVREPL_OK);
	return HVREPL_PENDING;
}

static int32_t size(void *user, uint64_t *size_out)
{
	*size_out = ((struct logbuf *)user)->length;
	return HVREPL_OK;
}

static int32_t read_at(void *user, hvrepl_op *op, uint64_t offset, void *out,
		       size_t length)
{
	struct logbuf *buffer = user;

	run_hook(buffer);
	if (buffer->read_count++ == buffer->fail_read_at)
		return buffer->fail_code;
	if (offset > buffer->length || length > buffer->length - offset)
		abort(); /* The library promises to stay inside. */
	memcpy(out, buffer->bytes + offset, length);
	hvrepl_op_complete(op, HVREPL_OK);
	return HVREPL_PENDING;
}

static void released(void *user)
{
	((struct logbuf *)user)->released++;
}

struct hvrepl_log_sink logbuf_sink(struct logbuf *buffer)
{
	static const struct hvrepl_log_sink_ops ops = {
		.struct_size = sizeof(ops), .append = append, .flush = flush
	};

	return (struct hvrepl_log_sink){ &ops, buffer, released };
}

struct hvrepl_log_source logbuf_source(struct logbuf *buffer)
{
	static const struct hvrepl_log_source_ops ops = {
		.struct_size = sizeof(ops), .size = size, .read = read_at
	};

	return (struct hvrepl_log_source){ &ops, buffer, released };
}
