/* SPDX-License-Identifier: Apache-2.0 */
/* The command line after the verb: getopt_long over the verb's own table. */
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_VALUE 256 /* Beyond any char, so that it never is one. */

static int bad(const struct tool_run *run, const char *what, const char *value)
{
	return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			 "%s '%s'. See 'hvrepl help %s'.", what, value,
			 run->verb->name);
}

/*
 * The word getopt_long stopped at. With a bundle or "--option=value" optind
 * has moved past it; with an option of its own it points behind it.
 */
static const char *culprit(int argc, char **argv)
{
	return optind > 0 && optind <= argc ? argv[optind - 1] : "";
}

int tool_parse(struct tool_run *run, int argc, char **argv)
{
	struct option table[TOOL_OPTIONS_MAX + 3] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
	};
	const struct tool_option *options = run->verb->options;
	size_t count = 0;
	int c;

	for (; options != NULL && options[count].name != NULL; count++) {
		table[count + 2].name = options[count].name;
		table[count + 2].has_arg = options[count].argument != NULL;
		table[count + 2].val = FIRST_VALUE + (int)count;
	}
	/* --json decides how errors look, so it counts wherever it stands. */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			run->json = true;
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", table, NULL)) != -1) {
		switch (c) {
		case 'j':
			run->json = true;
			break;
		case 'h':
			tool_help(run->json, run->verb);
			run->verb = NULL;
			return TOOL_OK;
		case ':':
			return bad(run, "A value is missing after",
				   culprit(argc, argv));
		case '?':
			return bad(run, "There is no option",
				   culprit(argc, argv));
		default:
			run->values[c - FIRST_VALUE] =
				optarg == NULL ? "" : optarg;
			break;
		}
	}
	run->operands = argv + optind;
	run->operand_count = argc - optind;
	if (run->operand_count < run->verb->operands_min)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "'%s' needs %s. See 'hvrepl help %s'.",
				 run->verb->name, run->verb->operands,
				 run->verb->name);
	if (run->verb->operands_max >= 0 &&
	    run->operand_count > run->verb->operands_max)
		return bad(run, "One word too many:",
			   run->operands[run->verb->operands_max]);
	return TOOL_OK;
}

const char *tool_option(const struct tool_run *run, const char *name)
{
	const struct tool_option *options = run->verb->options;

	for (size_t i = 0; options != NULL && options[i].name != NULL; i++)
		if (strcmp(options[i].name, name) == 0)
			return run->values[i];
	return NULL;
}

bool tool_option_text(const struct tool_run *run, const char *name,
		      json_t *body)
{
	const char *value = tool_option(run, name);

	if (value == NULL ||
	    json_object_set_new(body, name, json_string(value)) == 0)
		return true;
	tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
		  "--%s takes text in UTF-8, and '%s' is none.", name, value);
	return false;
}

/* A number without sign, and what follows it. */
static bool number(const char *text, uint64_t *value_out, const char **rest)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*value_out = strtoull(text, &end, 10);
	*rest = end;
	return errno == 0;
}

static bool scaled(const char *text, const char *const *units,
		   const uint64_t *factors, uint64_t *value_out)
{
	uint64_t value, result;
	const char *rest;

	if (!number(text, &value, &rest))
		return false;
	for (size_t i = 0; units[i] != NULL; i++) {
		if (strcmp(rest, units[i]) != 0)
			continue;
		if (__builtin_mul_overflow(value, factors[i], &result))
			return false;
		*value_out = result;
		return true;
	}
	return false;
}

bool tool_option_size(const struct tool_run *run, const char *name,
		      uint64_t *value_inout)
{
	static const char *const units[] = { "", "K", "M", "G", "T", NULL };
	static const uint64_t factors[] = { 1, 1ull << 10, 1ull << 20,
					    1ull << 30, 1ull << 40 };
	const char *text = tool_option(run, name);

	if (text == NULL || scaled(text, units, factors, value_inout))
		return true;
	tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
		  "--%s takes a number such as 4096, 64K or 2G, not '%s'.",
		  name, text);
	return false;
}

bool tool_option_duration(const struct tool_run *run, const char *name,
			  uint64_t *ms_inout)
{
	static const char *const units[] = { "", "s", "ms", "m", "h", NULL };
	static const uint64_t factors[] = { 1000, 1000, 1, 60000, 3600000 };
	const char *text = tool_option(run, name);

	if (text == NULL || scaled(text, units, factors, ms_inout))
		return true;
	tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
		  "--%s takes a time such as 30, 500ms or 5m, not '%s'.",
		  name, text);
	return false;
}
