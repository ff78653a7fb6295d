/* SPDX-License-Identifier: Apache-2.0 */
/* A log in a file, as sink and as source; and ids and digests as text. */
#ifndef TOOL_LOGFILE_H
#define TOOL_LOGFILE_H

#include "tool.h"

/* A file being made: it has its name only when it is whole and durable. */
struct log_output {
	char *path, *part; /* `part`: what it is called until then. */
	int fd;
	int sys_errno; /* Of the append or flush that failed. */
};

/* TOOL_OK, or the exit code after saying why. `path` must not exist, unless
 * `replace`. */
int log_output_open(const struct tool_run *run, struct log_output *output,
		    const char *path, bool replace);
struct hvrepl_log_sink log_output_sink(struct log_output *output);
/* Give it its name. TOOL_OK, or the exit code after saying why. */
int log_output_commit(const struct tool_run *run, struct log_output *output);
/* Frees; removes what was not committed. */
void log_output_close(struct log_output *output);

struct log_input {
	int fd;
	int sys_errno;
};
int log_input_open(const struct tool_run *run, struct log_input *input,
		   const char *path);
struct hvrepl_log_source log_input_source(struct log_input *input);
void log_input_close(struct log_input *input);

/* --name as an id in RFC 4122 text; none when absent. False after saying
 * why. */
bool log_option_uuid(const struct tool_run *run, const char *name,
		     struct hvrepl_uuid *uuid_out);
#define LOG_UUID_TEXT 37
const char *log_uuid_text(const struct hvrepl_uuid *uuid,
			  char out[LOG_UUID_TEXT]);
#define LOG_DIGEST_TEXT 65
const char *log_digest_text(const uint8_t *digest, char out[LOG_DIGEST_TEXT]);
#endif
