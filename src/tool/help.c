/* SPDX-License-Identifier: Apache-2.0 */
/* `help` and `completion`: both are read off the table of verbs. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

static const char *const groups[] = {
	TOOL_GROUP_SITE,     TOOL_GROUP_REPLICATION, TOOL_GROUP_FAILOVER,
	TOOL_GROUP_WATCH,    TOOL_GROUP_LOGS,	     TOOL_GROUP_CERT,
	TOOL_GROUP_ABOUT,
};

#define GROUP_COUNT (sizeof(groups) / sizeof(groups[0]))

static const struct tool_option common[] = {
	{ "json", NULL, "Answer, or the error, as one JSON value on stdout" },
	{ "help", NULL, "Show this" },
	{ NULL, NULL, NULL },
};

void tool_print_overview(FILE *to)
{
	fputs("Usage: hvrepl VERB [OPTION...] [OPERAND...]\n"
	      "Replication and failover of virtual machine disks.\n",
	      to);
	for (size_t g = 0; g < GROUP_COUNT; g++) {
		bool headed = false;

		for (size_t i = 0; tool_verbs[i] != NULL; i++) {
			if (strcmp(tool_verbs[i]->group, groups[g]) != 0)
				continue;
			if (!headed)
				fprintf(to, "\n%s:\n", groups[g]);
			headed = true;
			fprintf(to, "  %-18s %s\n", tool_verbs[i]->name,
				tool_verbs[i]->summary);
		}
	}
	fputs("\n'hvrepl help VERB' says more; hvrepl(1) lists the exit codes.\n",
	      to);
}

static void print_options(FILE *to, const struct tool_option *options)
{
	char left[64];

	for (; options != NULL && options->name != NULL; options++) {
		snprintf(left, sizeof(left), "--%s%s%s", options->name,
			 options->argument != NULL ? " " : "",
			 options->argument != NULL ? options->argument : "");
		fprintf(to, "  %-22s %s\n", left, options->summary);
	}
}

static json_t *verb_json(const struct tool_verb *verb);

static json_t *verbs_json(void)
{
	json_t *verbs = json_array();

	for (size_t i = 0; tool_verbs[i] != NULL; i++)
		json_array_append_new(verbs, verb_json(tool_verbs[i]));
	return json_pack("{s:o}", "verbs", verbs);
}

int tool_help(bool json, const struct tool_verb *verb)
{
	if (json)
		return tool_print_json(verb != NULL ? verb_json(verb) :
						      verbs_json());
	if (verb != NULL)
		tool_print_verb(stdout, verb);
	else
		tool_print_overview(stdout);
	return TOOL_OK;
}

void tool_print_verb(FILE *to, const struct tool_verb *verb)
{
	fprintf(to, "Usage: hvrepl %s [OPTION...]%s%s\n%s.\n", verb->name,
		verb->operands[0] != 0 ? " " : "", verb->operands,
		verb->summary);
	if (verb->details != NULL)
		fprintf(to, "\n%s\n", verb->details);
	fputs("\nOptions:\n", to);
	print_options(to, verb->options);
	print_options(to, common);
}

static json_t *verb_json(const struct tool_verb *verb)
{
	json_t *options = json_array();

	for (const struct tool_option *option = verb->options;
	     option != NULL && option->name != NULL; option++)
		json_array_append_new(
			options,
			json_pack("{s:s,s:s?,s:s}", "name", option->name,
				  "argument", option->argument, "summary",
				  option->summary));
	return json_pack("{s:s,s:s,s:s,s:s,s:o}", "name", verb->name, "group",
			 verb->group, "operands", verb->operands, "summary",
			 verb->summary, "options", options);
}

static int run_help(struct tool_run *run)
{
	const struct tool_verb *verb;
	int words;

	if (run->operand_count == 0)
		return tool_help(run->json, NULL);
	verb = tool_verb_find(run->operand_count, run->operands, &words);
	if (verb == NULL || words != run->operand_count)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_NOT_FOUND,
				 "There is no verb '%s%s%s'. 'hvrepl help' lists them.",
				 run->operands[0],
				 run->operand_count > 1 ? " " : "",
				 run->operand_count > 1 ? run->operands[1] : "");
	return tool_help(run->json, verb);
}

const struct tool_verb tool_verb_help = {
	.name = "help",
	.group = TOOL_GROUP_ABOUT,
	.operands = "[VERB]",
	.summary = "Show the verbs, or one verb's options",
	.operands_max = 2,
	.run = run_help,
};

/* Second words of a two-word verb are offered after its first word. */
static void print_words(FILE *to, size_t skip_to_second, const char *first)
{
	const char *last = "";
	size_t last_length = 0;

	for (size_t i = 0; tool_verbs[i] != NULL; i++) {
		const char *name = tool_verbs[i]->name;
		const char *space = strchr(name, ' ');
		size_t length = space == NULL ? strlen(name) :
						(size_t)(space - name);

		if (skip_to_second) {
			if (space != NULL && strlen(first) == length &&
			    memcmp(first, name, length) == 0)
				fprintf(to, " %s", space + 1);
		} else if (length != last_length ||
			   memcmp(name, last, length) != 0) {
			fprintf(to, " %.*s", (int)length, name);
		}
		last = name;
		last_length = length;
	}
}

static void print_bash(FILE *to)
{
	fprintf(to, "# bash completion of hvrepl; made by 'hvrepl completion bash'.\n"
	       "_hvrepl()\n{\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}\n"
	       "\tlocal options=\n"
	       "\tCOMPREPLY=()\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"--help --version");
	print_words(to, false, NULL);
	fprintf(to, "\" -- \"$word\"))\n\t\treturn\n\tfi\n"
	       "\tif [ \"$COMP_CWORD\" -eq 2 ]; then\n\t\tcase $verb in\n");
	for (size_t i = 0; tool_verbs[i] != NULL; i++) {
		const char *name = tool_verbs[i]->name;
		const char *space = strchr(name, ' ');
		char first[64];

		if (space == NULL)
			continue;
		snprintf(first, sizeof(first), "%.*s", (int)(space - name),
			 name);
		if (i > 0 && strncmp(tool_verbs[i - 1]->name, name,
				     (size_t)(space - name) + 1) == 0)
			continue;
		fprintf(to, "\t\t%s)\n\t\t\tCOMPREPLY=($(compgen -W \"", first);
		print_words(to, true, first);
		fprintf(to, "\" -- \"$word\"))\n\t\t\treturn ;;\n");
	}
	fprintf(to, "\t\tesac\n\tfi\n\tcase \"$verb ${COMP_WORDS[2]}\" in\n");
	for (int two = 1; two >= 0; two--) {
		for (size_t i = 0; tool_verbs[i] != NULL; i++) {
			const struct tool_option *o = tool_verbs[i]->options;
			bool spaced = strchr(tool_verbs[i]->name, ' ') != NULL;

			if (spaced != (two == 1))
				continue;
			fprintf(to, "\t\"%s%s\"*) options=\"--json --help",
			       tool_verbs[i]->name, two ? "" : " ");
			for (; o != NULL && o->name != NULL; o++)
				fprintf(to, " --%s", o->name);
			fprintf(to, "\" ;;\n");
		}
	}
	fprintf(to, "\tesac\n"
	       "\tcase $word in\n"
	       "\t-*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
	       "\t*) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
	       "\tesac\n}\n"
	       "complete -o filenames -F _hvrepl hvrepl\n");
}

static int run_completion(struct tool_run *run)
{
	json_t *answer;
	char *script = NULL;
	size_t length = 0;
	FILE *to;

	if (strcmp(run->operands[0], "bash") != 0)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_UNSUPPORTED,
				 "Completion is made for 'bash' only, not for '%s'.",
				 run->operands[0]);
	if (!run->json) {
		print_bash(stdout);
		return TOOL_OK;
	}
	to = open_memstream(&script, &length);
	if (to == NULL)
		return tool_print_json(NULL);
	print_bash(to);
	answer = fclose(to) == 0 ? json_pack("{s:s}", "bash", script) : NULL;
	free(script);
	return tool_print_json(answer);
}

const struct tool_verb tool_verb_completion = {
	.name = "completion",
	.group = TOOL_GROUP_ABOUT,
	.operands = "bash",
	.summary = "Print a shell's completion script",
	.details = "Use: source <(hvrepl completion bash)",
	.operands_min = 1,
	.operands_max = 1,
	.run = run_completion,
};
