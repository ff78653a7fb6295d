/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs and the parsing of a command line against it. */
#include "testing.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_text(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_gt(fread(text, 1, (1 << 20) - 1, file), 0);
	fclose(file);
	return text;
}

START_TEST(every_verb_says_what_it_does)
{
	for (size_t i = 0; tool_verbs[i] != NULL; i++) {
		const struct tool_verb *verb = tool_verbs[i];
		size_t count = 0;

		ck_assert_ptr_nonnull(verb->run);
		ck_assert_ptr_nonnull(verb->operands);
		ck_assert_uint_gt(strlen(verb->summary), 8);
		ck_assert_msg(verb->summary[strlen(verb->summary) - 1] != '.',
			      "%s", verb->name);
		ck_assert_uint_gt(strlen(verb->group), 0);
		for (; verb->options != NULL &&
		       verb->options[count].name != NULL; count++)
			ck_assert_uint_gt(
				strlen(verb->options[count].summary), 4);
		ck_assert_uint_le(count, TOOL_OPTIONS_MAX);
	}
}
END_TEST

START_TEST(every_verb_shows_up_in_help)
{
	char *text = NULL;
	size_t length;
	FILE *to = open_memstream(&text, &length);

	tool_print_overview(to);
	fclose(to);
	for (size_t i = 0; tool_verbs[i] != NULL; i++) {
		char line[64];

		snprintf(line, sizeof(line), "\n  %-18s ", tool_verbs[i]->name);
		ck_assert_msg(strstr(text, line) != NULL, "%s",
			      tool_verbs[i]->name);
	}
	free(text);
}
END_TEST

START_TEST(every_verb_and_option_is_in_the_man_page)
{
	char *page = read_text(MAN_PAGE);

	for (size_t i = 0; tool_verbs[i] != NULL; i++) {
		const struct tool_verb *verb = tool_verbs[i];
		char line[64];

		snprintf(line, sizeof(line), "\n*%s*", verb->name);
		ck_assert_msg(strstr(page, line) != NULL,
			      "docs/man/hvrepl.1.scd lacks a line that starts with *%s*",
			      verb->name);
		for (size_t j = 0; verb->options != NULL &&
				   verb->options[j].name != NULL; j++) {
			snprintf(line, sizeof(line), "*--%s*",
				 verb->options[j].name);
			ck_assert_msg(strstr(page, line) != NULL,
				      "docs/man/hvrepl.1.scd lacks %s of %s",
				      line, verb->name);
		}
	}
	free(page);
}
END_TEST

START_TEST(verbs_are_found_by_whole_words_only)
{
	char *help[] = { "help", "me", NULL };
	char *half[] = { "hel", NULL };
	int words;

	ck_assert_str_eq(tool_verb_find(2, help, &words)->name, "help");
	ck_assert_int_eq(words, 1);
	ck_assert_ptr_null(tool_verb_find(1, half, &words));
	ck_assert_str_eq(tool_verb_suggest(1, half)->name, "help");
}
END_TEST

static int seen_nothing(struct tool_run *run)
{
	(void)run;
	return TOOL_OK;
}

static const struct tool_option sample_options[] = {
	{ "to", "DISK", "Where to" },
	{ "force", NULL, "Even so" },
	{ "size", "BYTES", "How much" },
	{ "limit", "TIME", "How long" },
	{ NULL, NULL, NULL },
};

static const struct tool_verb sample = {
	.name = "sample", .group = "", .operands = "FILE", .summary = "",
	.options = sample_options, .operands_min = 1, .operands_max = 2,
	.run = seen_nothing,
};

START_TEST(options_and_operands_are_told_apart)
{
	char *argv[] = { "sample", "a",	     "--to=x", "--force",
			 "--size", "64K", "b",	    "--limit", "500ms", NULL };
	struct tool_run run = { .verb = &sample };
	uint64_t size = 1, limit = 1;

	ck_assert_int_eq(tool_parse(&run, 9, argv), TOOL_OK);
	ck_assert_int_eq(run.operand_count, 2);
	ck_assert_str_eq(run.operands[0], "a");
	ck_assert_str_eq(run.operands[1], "b");
	ck_assert_str_eq(tool_option(&run, "to"), "x");
	ck_assert_str_eq(tool_option(&run, "force"), "");
	ck_assert(tool_option_size(&run, "size", &size));
	ck_assert_uint_eq(size, 65536);
	ck_assert(tool_option_duration(&run, "limit", &limit));
	ck_assert_uint_eq(limit, 500);
	ck_assert(!run.json);
}
END_TEST

static int parse_line(struct tool_run *run, char *a, char *b, char *c)
{
	char *argv[] = { "sample", a, b, c, NULL };
	int argc = 1 + (a != NULL) + (b != NULL) + (c != NULL);

	memset(run, 0, sizeof(*run));
	run->verb = &sample;
	return tool_parse(run, argc, argv);
}

START_TEST(wrong_command_lines_are_usage_errors)
{
	struct tool_run run;
	uint64_t value = 7;

	ck_assert_int_eq(parse_line(&run, NULL, NULL, NULL), TOOL_USAGE);
	ck_assert_int_eq(parse_line(&run, "a", "b", "c"), TOOL_USAGE);
	ck_assert_int_eq(parse_line(&run, "a", "--no-such", NULL), TOOL_USAGE);
	ck_assert_int_eq(parse_line(&run, "a", "--to", NULL), TOOL_USAGE);
	ck_assert_int_eq(parse_line(&run, "a", "--force=1", NULL), TOOL_USAGE);
	ck_assert_int_eq(parse_line(&run, "a", "--size=1X", NULL), TOOL_OK);
	ck_assert(!tool_option_size(&run, "size", &value));
	ck_assert_int_eq(parse_line(&run, "a", "--size=-1", NULL), TOOL_OK);
	ck_assert(!tool_option_size(&run, "size", &value));
	ck_assert_int_eq(parse_line(&run, "a", "--size=99999999999T", NULL),
			 TOOL_OK);
	ck_assert(!tool_option_size(&run, "size", &value));
	ck_assert_uint_eq(value, 7);
	ck_assert_int_eq(parse_line(&run, "a", "--", "--to"), TOOL_OK);
	ck_assert_int_eq(run.operand_count, 2);
}
END_TEST

START_TEST(what_is_no_text_is_not_as_if_it_were_not_said)
{
	struct tool_run run;
	json_t *body = json_object();

	ck_assert_int_eq(parse_line(&run, "a", "--to=\xff", NULL), TOOL_OK);
	ck_assert(!tool_option_text(&run, "to", body));
	ck_assert_int_eq(parse_line(&run, "a", NULL, NULL), TOOL_OK);
	ck_assert(tool_option_text(&run, "to", body));
	ck_assert_uint_eq(json_object_size(body), 0);
	ck_assert_int_eq(parse_line(&run, "a", "--to=\xc3\xa4", NULL), TOOL_OK);
	ck_assert(tool_option_text(&run, "to", body));
	ck_assert_str_eq(json_string_value(json_object_get(body, "to")),
			 "\xc3\xa4");
	json_decref(body);
}
END_TEST

START_TEST(exit_codes_follow_the_class_of_the_error)
{
	ck_assert_int_eq(tool_exit_code(HVREPL_OK), TOOL_OK);
	ck_assert_int_eq(tool_exit_code(HVREPL_E_STATE), TOOL_FAILED);
	ck_assert_int_eq(tool_exit_code(HVREPL_E_TIMEOUT), TOOL_TIMEOUT);
	ck_assert_int_eq(tool_exit_code(HVREPL_E_CORRUPT), TOOL_DAMAGED);
	ck_assert_int_eq(tool_exit_code(HVREPL_E_WRONG_DISK), TOOL_DAMAGED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tool verbs");
	TCase *tcase = tcase_create("verbs");

	tcase_add_test(tcase, every_verb_says_what_it_does);
	tcase_add_test(tcase, every_verb_shows_up_in_help);
	tcase_add_test(tcase, every_verb_and_option_is_in_the_man_page);
	tcase_add_test(tcase, verbs_are_found_by_whole_words_only);
	tcase_add_test(tcase, options_and_operands_are_told_apart);
	tcase_add_test(tcase, wrong_command_lines_are_usage_errors);
	tcase_add_test(tcase, what_is_no_text_is_not_as_if_it_were_not_said);
	tcase_add_test(tcase, exit_codes_follow_the_class_of_the_error);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
