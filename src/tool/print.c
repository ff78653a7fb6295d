/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, sizes, times and progress, as people read them. */
#include "print.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS_MAX 12
#define LIVE_MS 200
#define PLAIN_MS 5000
#define SAMPLE_MS 500

const char *tool_bytes(uint64_t bytes, char out[TOOL_TEXT_MAX])
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, TOOL_TEXT_MAX, "%u B", (unsigned)bytes);
		return out;
	}
	while (value >= 1023.95 && unit + 2 < sizeof(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(out, TOOL_TEXT_MAX, "%.1f %ciB", value, units[unit]);
	return out;
}

const char *tool_time(uint64_t ms, char out[TOOL_TEXT_MAX])
{
	unsigned long long s = ms / 1000;

	if (ms < 10000)
		snprintf(out, TOOL_TEXT_MAX, "%llu.%llu s", s,
			 (unsigned long long)(ms % 1000 / 100));
	else if (s < 60)
		snprintf(out, TOOL_TEXT_MAX, "%llu s", s);
	else if (s < 3600)
		snprintf(out, TOOL_TEXT_MAX, "%llu:%02llu", s / 60, s % 60);
	else
		snprintf(out, TOOL_TEXT_MAX, "%llu:%02llu:%02llu", s / 3600,
			 s / 60 % 60, s % 60);
	return out;
}

struct tool_table {
	char **rows; /* Cells separated by '|'; the first row is the headings. */
	size_t count, capacity;
	size_t columns;
	size_t widths[COLUMNS_MAX];
	bool right[COLUMNS_MAX];
};

/* Columns a terminal gives the text: bytes that do not continue a character. */
static size_t width(const char *text, size_t length)
{
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += ((unsigned char)text[i] & 0xc0) != 0x80;
	return count;
}

/* Takes row. */
static void add_row(struct tool_table *table, char *row)
{
	size_t column = 0;

	if (row == NULL)
		return;
	if (table->count == table->capacity) {
		size_t capacity = table->capacity == 0 ? 16 :
							 table->capacity * 2;
		char **larger = realloc(table->rows,
					capacity * sizeof(*larger));

		if (larger == NULL) {
			free(row);
			return;
		}
		table->rows = larger;
		table->capacity = capacity;
	}
	table->rows[table->count++] = row;
	for (const char *cell = row; column < COLUMNS_MAX; column++) {
		size_t length = strcspn(cell, "|");
		size_t wide = width(cell, length);

		if (wide > table->widths[column])
			table->widths[column] = wide;
		if (cell[length] == 0)
			break;
		cell += length + 1;
	}
}

struct tool_table *tool_table_begin(const char *headings)
{
	struct tool_table *table = calloc(1, sizeof(*table));
	char *row = strdup(headings);
	char *to = row;

	if (table == NULL || row == NULL) {
		free(table);
		free(row);
		return NULL;
	}
	for (const char *from = headings; *from != 0; from++) {
		bool first = from == headings || from[-1] == '|';

		if (first && *from == '>')
			table->right[table->columns] = true;
		else
			*to++ = *from;
		table->columns += *from == '|';
	}
	*to = 0;
	table->columns++;
	add_row(table, row);
	return table;
}

void tool_table_row(struct tool_table *table, const char *format, ...)
{
	va_list args;
	char *row;

	if (table == NULL)
		return;
	va_start(args, format);
	if (vasprintf(&row, format, args) < 0)
		row = NULL;
	va_end(args);
	add_row(table, row);
}

void tool_table_end(struct tool_table *table, FILE *to)
{
	if (table == NULL)
		return;
	for (size_t i = 0; i < table->count; i++) {
		const char *cell = table->rows[i];

		for (size_t c = 0; c < table->columns; c++) {
			size_t length = strcspn(cell, "|");
			int pad = (int)(table->widths[c] - width(cell, length));
			bool last = c + 1 == table->columns;

			fprintf(to, "%*s%.*s", table->right[c] ? pad : 0, "",
				(int)length, cell);
			if (!last)
				fprintf(to, "%*s", 2 + (table->right[c] ? 0 : pad),
					"");
			cell += length + (cell[length] != 0);
		}
		fputc('\n', to);
		free(table->rows[i]);
	}
	free(table->rows);
	free(table);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void tool_progress_begin(struct tool_progress *progress, const char *what)
{
	memset(progress, 0, sizeof(*progress));
	progress->what = what;
	progress->to = stderr;
	progress->live = isatty(STDERR_FILENO) == 1;
	progress->start_ms = now_ms();
	progress->shown_ms = progress->start_ms;
	progress->sampled_ms = progress->start_ms;
}

void tool_progress_text(const struct tool_progress *progress, uint64_t done,
			uint64_t total, char *out, size_t size)
{
	char a[TOOL_TEXT_MAX], b[TOOL_TEXT_MAX], c[TOOL_TEXT_MAX];
	char d[TOOL_TEXT_MAX];
	char whole[64] = "", speed[64] = "";

	if (total != 0)
		snprintf(whole, sizeof(whole), " of %s (%u %%)",
			 tool_bytes(total, b),
			 (unsigned)((double)done * 100 / (double)total));
	if (progress->rate >= 1 && total > done)
		snprintf(speed, sizeof(speed), ", %s/s, %s left",
			 tool_bytes((uint64_t)progress->rate, c),
			 tool_time((uint64_t)((double)(total - done) * 1000 /
					      progress->rate), d));
	else if (progress->rate >= 1)
		snprintf(speed, sizeof(speed), ", %s/s",
			 tool_bytes((uint64_t)progress->rate, c));
	if (done == 0 && total == 0) {
		snprintf(out, size, "%s: under way for %s", progress->what,
			 tool_time(now_ms() - progress->start_ms, a));
		return;
	}
	snprintf(out, size, "%s: %s%s%s", progress->what, tool_bytes(done, a),
		 whole, speed);
}

void tool_progress_update(struct tool_progress *progress, uint64_t done,
			  uint64_t total)
{
	uint64_t now = now_ms();
	uint64_t elapsed = now - progress->sampled_ms;
	char text[256];

	if (elapsed >= SAMPLE_MS) {
		double rate = done < progress->sampled_bytes ? 0 :
			(double)(done - progress->sampled_bytes) * 1000 /
				(double)elapsed;

		/* Half of it is forgotten in about three seconds. */
		progress->rate = progress->rate < 1 ? rate :
			progress->rate * 0.89 + rate * 0.11;
		progress->sampled_ms = now;
		progress->sampled_bytes = done;
	}
	if (now - progress->shown_ms < (progress->live ? LIVE_MS : PLAIN_MS))
		return;
	progress->shown_ms = now;
	progress->printed = true;
	tool_progress_text(progress, done, total, text, sizeof(text));
	/* CSI K: what a longer line left behind goes. */
	fprintf(progress->to, progress->live ? "\r%s\033[K" : "%s\n", text);
	fflush(progress->to);
}

void tool_progress_end(struct tool_progress *progress)
{
	if (progress->live && progress->printed) {
		fputs("\r\033[K", progress->to);
		fflush(progress->to);
	}
	progress->printed = false;
}
