/* SPDX-License-Identifier: Apache-2.0 */
/* Talking to the daemon: one request over its control socket. */
#ifndef TOOL_CLIENT_H
#define TOOL_CLIENT_H

#include "tool.h"

/* Every verb that talks to a daemon starts its options with these two. */
#define TOOL_CLIENT_OPTIONS \
	{ "config", "FILE", "The site's configuration; its control socket is used" }, \
	{ "socket", "PATH", "The daemon's control socket" }

/*
 * GET (body NULL) or POST `path`. TOOL_OK with *answer_out to be released, or
 * another exit code after the error, the daemon's own included, was printed.
 * Takes `body`.
 */
int tool_request(const struct tool_run *run, const char *path, json_t *body,
		 json_t **answer_out);
/* The same where the daemon says BUSY: asked again until it says something else, at
 * most for `limit` ms, and 10 s. */
int tool_request_patiently(const struct tool_run *run, const char *path,
			   json_t *body, uint64_t limit, json_t **answer_out);
/* GET `path`; a daemon's TIMEOUT is TOOL_TIMEOUT and says nothing, so that the
 * caller can ask again. */
int tool_ask_again(const struct tool_run *run, const char *path,
		   json_t **answer_out);
/* operate_verbs.c: show a job's progress until it ends, or `limit` ms. */
int tool_follow_job(const struct tool_run *run, const char *number,
		    uint64_t limit);
/* Percent-encoded, to be freed; NULL when out of memory. */
char *tool_escape(const char *text);
/* "/v1/vms/NAME/tail", NAME escaped; NULL when out of memory. */
char *tool_vm_path(const char *vm, const char *tail);

#endif
