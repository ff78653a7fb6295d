/* SPDX-License-Identifier: Apache-2.0 */
/* What every verb of the `hvrepl` command shares: table, options, errors. */
#ifndef TOOL_TOOL_H
#define TOOL_TOOL_H

#include <hvrepl/hvrepl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Exit codes, for scripts; hvrepl(1) lists them, so they never change. */
#define TOOL_OK 0
#define TOOL_FAILED 1      /* Refused, or failed; nothing was half done. */
#define TOOL_USAGE 2       /* The command line or a config file is wrong. */
#define TOOL_UNREACHABLE 3 /* No daemon answers on the control socket. */
#define TOOL_TIMEOUT 4     /* The time limit passed first. */
#define TOOL_DAMAGED 5     /* Data is damaged, or is not what it should be. */

#define TOOL_OPTIONS_MAX 20

struct tool_option {
	const char *name;     /* Long name, without the dashes. */
	const char *argument; /* "FILE"; NULL when it takes none. */
	const char *summary;
};

struct tool_run;

/* One verb. Each lies in its own file and is listed once in verbs.c. */
struct tool_verb {
	const char *name;     /* One or two words: "log create". */
	const char *group;    /* TOOL_GROUP_*: heading in help. */
	const char *operands; /* "OUT", "VM [POINT]", "" for none. */
	const char *summary;  /* One line, no full stop. */
	const char *details;  /* More for `hvrepl help VERB`, or NULL. */
	const struct tool_option *options; /* Ends with a NULL name, or NULL. */
	int operands_min;
	int operands_max;     /* -1: any number. */
	int (*run)(struct tool_run *run); /* Returns a TOOL_* exit code. */
};

#define TOOL_GROUP_LOGS "Logs and files"
#define TOOL_GROUP_SITE "Site"
#define TOOL_GROUP_WATCH "Looking"
#define TOOL_GROUP_REPLICATION "Replication"
#define TOOL_GROUP_FAILOVER "Failover"
#define TOOL_GROUP_CERT "Certificates"
#define TOOL_GROUP_ABOUT "About"

/* One invocation, parsed. */
struct tool_run {
	const struct tool_verb *verb;
	bool json;           /* --json: exactly one JSON value on stdout. */
	char **operands;     /* operand_count of them. */
	int operand_count;
	const char *values[TOOL_OPTIONS_MAX]; /* Beside verb->options. */
};

/* verbs.c */
extern const struct tool_verb *const tool_verbs[]; /* Ends with NULL. */
/* The verb that argv starts with, and how many words it took; or NULL. */
const struct tool_verb *tool_verb_find(int argc, char **argv, int *words_out);
/* The verb whose name is nearest to what was typed, or NULL. */
const struct tool_verb *tool_verb_suggest(int argc, char **argv);

/* options.c */
/* Parse what follows the verb; TOOL_OK, or TOOL_USAGE after saying why. */
int tool_parse(struct tool_run *run, int argc, char **argv);
/* --name as a member of a request's body, when it was given. False after saying that it
 * is no UTF-8: left away, it would be as if it had not been named. */
bool tool_option_text(const struct tool_run *run, const char *name,
		      json_t *body);
/* Value of --name; NULL when absent, "" for one that takes no argument. */
const char *tool_option(const struct tool_run *run, const char *name);
/* --name as a number with optional K, M, G or T; false after saying why. */
bool tool_option_size(const struct tool_run *run, const char *name,
		      uint64_t *value_inout);
/* --name as seconds, or with ms, s, m or h; in milliseconds. */
bool tool_option_duration(const struct tool_run *run, const char *name,
			  uint64_t *ms_inout);

/* report.c */
/*
 * Say what went wrong and what to do next: a sentence on stderr, or with
 * --json {"error":{"code","name","class","sentence"}} on stdout. `code` is
 * HVREPL_E_*. Returns exit_code.
 */
int tool_fail(const struct tool_run *run, int exit_code, int32_t code,
	      const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for an error the library filled in; the exit code follows it. */
int tool_fail_error(const struct tool_run *run,
		    const struct hvrepl_error *error);
/* What the system said about our own I/O, put behind what the library says;
 * nothing when it is 0 or the error has a reason of its own. */
void tool_error_reason(struct hvrepl_error *error, int sys_errno);
/* Exit code for an HVREPL_E_* code. */
int tool_exit_code(int32_t code);
/* "caller", "resource", "callback", "peer", "integrity", "unavailable". */
const char *tool_class_name(uint32_t error_class);
/* Print `value` as one line on stdout and release it. Returns TOOL_OK; NULL is said to
 * be for want of memory, and TOOL_FAILED. */
int tool_print_json(json_t *value);

/* trust.c */
#define TOOL_ENDS_MAX 64
/* "ends in 12 days (2026-12-08 10:00 UTC)", "has ended (...)"; returns `out`. */
const char *tool_ends(uint64_t until_s, char out[TOOL_ENDS_MAX]);
/* What /v1/status has as "trust"; nothing for null. */
void tool_print_trust(const json_t *trust);

/* help.c */
/* All verbs, or with `verb` that one; with `json` as a JSON value. On stdout. */
int tool_help(bool json, const struct tool_verb *verb);
void tool_print_overview(FILE *to);
void tool_print_verb(FILE *to, const struct tool_verb *verb);

#endif
