/* SPDX-License-Identifier: Apache-2.0 */
/* The `hvrepl` command: finds the verb, parses its options, runs it. */
#include "tool.h"

#include <string.h>

static int print_version(bool json)
{
	if (json)
		return tool_print_json(json_pack(
			"{s:s,s:i}", "version", hvrepl_version_string(),
			"number", (int)hvrepl_version()));
	printf("hvrepl %s\n", hvrepl_version_string());
	return TOOL_OK;
}

static int unknown_verb(struct tool_run *run, int argc, char **argv)
{
	const struct tool_verb *near = tool_verb_suggest(argc, argv);

	if (near != NULL)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_NOT_FOUND,
				 "There is no verb '%s'. Did you mean '%s'? 'hvrepl help' lists all.",
				 argv[0], near->name);
	return tool_fail(run, TOOL_USAGE, HVREPL_E_NOT_FOUND,
			 "There is no verb '%s'. 'hvrepl help' lists them.",
			 argv[0]);
}

int main(int argc, char **argv)
{
	struct tool_run run = { 0 };
	int words;
	int status;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--json") == 0)
			run.json = true;
	if (argc < 2) {
		tool_print_overview(stderr);
		return TOOL_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0)
		return print_version(run.json);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return tool_help(run.json, NULL);
	run.verb = tool_verb_find(argc - 1, argv + 1, &words);
	if (run.verb == NULL)
		return unknown_verb(&run, argc - 1, argv + 1);
	status = tool_parse(&run, argc - words, argv + words);
	if (status != TOOL_OK || run.verb == NULL)
		return status;
	status = run.verb->run(&run);
	/* A full disk behind '> file' must not look like success. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == TOOL_OK)
		return tool_fail(NULL, TOOL_FAILED, HVREPL_E_STORAGE_IO,
				 "The answer could not be written to standard output.");
	return status;
}
