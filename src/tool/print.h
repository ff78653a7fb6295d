/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, sizes, times and progress, as people read them. */
#ifndef TOOL_PRINT_H
#define TOOL_PRINT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TOOL_TEXT_MAX 24

/* "512 B", "1.5 MiB"; returns `out`. */
const char *tool_bytes(uint64_t bytes, char out[TOOL_TEXT_MAX]);
/* "0.4 s", "12 s", "3:05", "1:02:03"; returns `out`. */
const char *tool_time(uint64_t ms, char out[TOOL_TEXT_MAX]);

/* Rows of cells, aligned when it ends. All text is copied. */
struct tool_table;
/* Headings separated by '|'; one that starts with '>' aligns right. NULL when
 * out of memory, which the other calls bear. */
struct tool_table *tool_table_begin(const char *headings);
/* Cells separated by '|', printf style. */
void tool_table_row(struct tool_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Print it and free it. */
void tool_table_end(struct tool_table *table, FILE *to);

/*
 * Progress on stderr: one live line on a terminal, else a plain line every few
 * seconds: bytes, rate, time left. Rates are smoothed over some seconds.
 */
struct tool_progress {
	const char *what; /* "initial replication of web"; borrowed. */
	FILE *to;
	bool live;
	bool printed;
	uint64_t start_ms, shown_ms, sampled_ms;
	uint64_t sampled_bytes;
	double rate; /* Bytes a second. */
};
void tool_progress_begin(struct tool_progress *progress, const char *what);
/* total 0: not known. Cheap enough for every piece. */
void tool_progress_update(struct tool_progress *progress, uint64_t done,
			  uint64_t total);
/* Clears the live line; nothing when nothing was shown. */
void tool_progress_end(struct tool_progress *progress);

/* The text of one update, without what is around it; for tests. */
void tool_progress_text(const struct tool_progress *progress, uint64_t done,
			uint64_t total, char *out, size_t size);

#endif
