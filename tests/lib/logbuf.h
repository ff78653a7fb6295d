/* SPDX-License-Identifier: Apache-2.0 */
/* A log in memory: sink and source, one after the other or both. */
#ifndef LOGBUF_H
#define LOGBUF_H

#include <hvrepl/hvrepl.h>

struct logbuf {
	uint8_t *bytes;
	size_t length, capacity;
	size_t append_count, read_count, flush_count;
	unsigned released;
	size_t fail_append_at; /* n-th append fails; SIZE_MAX: none. */
	size_t fail_read_at;
	int32_t fail_code;
	/* Optional: called inside each callback. */
	void (*hook)(void *argument);
	void *hook_argument;
};

void logbuf_init(struct logbuf *buffer);
void logbuf_free(struct logbuf *buffer);
struct hvrepl_log_sink logbuf_sink(struct logbuf *buffer);
struct hvrepl_log_source logbuf_source(struct logbuf *buffer);
#endif
