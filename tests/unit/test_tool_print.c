/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, times, tables and progress as the command prints them. */
#include "print.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

START_TEST(sizes_have_the_unit_people_expect)
{
	char out[TOOL_TEXT_MAX];

	ck_assert_str_eq(tool_bytes(0, out), "0 B");
	ck_assert_str_eq(tool_bytes(1023, out), "1023 B");
	ck_assert_str_eq(tool_bytes(1024, out), "1.0 KiB");
	ck_assert_str_eq(tool_bytes(1536u << 10, out), "1.5 MiB");
	ck_assert_str_eq(tool_bytes((1u << 20) - 1, out), "1.0 MiB");
	ck_assert_str_eq(tool_bytes(UINT64_MAX, out), "16.0 EiB");
}
END_TEST

START_TEST(times_grow_from_tenths_to_hours)
{
	char out[TOOL_TEXT_MAX];

	ck_assert_str_eq(tool_time(0, out), "0.0 s");
	ck_assert_str_eq(tool_time(450, out), "0.4 s");
	ck_assert_str_eq(tool_time(59999, out), "59 s");
	ck_assert_str_eq(tool_time(185000, out), "3:05");
	ck_assert_str_eq(tool_time(3723000, out), "1:02:03");
}
END_TEST

START_TEST(tables_align_columns_and_count_characters)
{
	struct tool_table *table = tool_table_begin("NAME|>SIZE|STATE");
	char *text = NULL;
	size_t length;
	FILE *to = open_memstream(&text, &length);

	tool_table_row(table, "%s|%d|%s", "web", 5, "ok");
	tool_table_row(table, "%s|%d|%s", "b\xc3\xbcro", 12345678, "fine");
	tool_table_end(table, to);
	fclose(to);
	ck_assert_str_eq(text, "NAME      SIZE  STATE\n"
			       "web          5  ok\n"
			       "b\xc3\xbcro  12345678  fine\n");
	free(text);
}
END_TEST

START_TEST(progress_says_bytes_rate_and_time_left)
{
	struct tool_progress progress;
	char text[128];

	tool_progress_begin(&progress, "web");
	/* A job that cannot say how far it is: not "0 B" for ever. */
	tool_progress_text(&progress, 0, 0, text, sizeof(text));
	ck_assert_str_eq(text, "web: under way for 0.0 s");
	tool_progress_text(&progress, 512, 0, text, sizeof(text));
	ck_assert_str_eq(text, "web: 512 B");
	progress.rate = 1 << 20;
	tool_progress_text(&progress, 1 << 20, 3 << 20, text, sizeof(text));
	ck_assert_str_eq(text,
			 "web: 1.0 MiB of 3.0 MiB (33 %), 1.0 MiB/s, 2.0 s left");
	tool_progress_text(&progress, 3 << 20, 3 << 20, text, sizeof(text));
	ck_assert_str_eq(text, "web: 3.0 MiB of 3.0 MiB (100 %), 1.0 MiB/s");
}
END_TEST

START_TEST(a_live_line_is_rewritten_and_wiped_at_the_end)
{
	struct tool_progress progress;
	char *text = NULL;
	size_t length;

	tool_progress_begin(&progress, "web");
	progress.to = open_memstream(&text, &length);
	progress.live = true;
	progress.shown_ms -= 60000;
	tool_progress_update(&progress, 10, 20);
	tool_progress_end(&progress);
	fclose(progress.to);
	ck_assert_ptr_nonnull(strstr(text, "\rweb: 10 B of 20 B"));
	ck_assert_str_eq(text + strlen(text) - 4, "\r\033[K");
	ck_assert_ptr_null(strchr(text, '\n'));
	free(text);
}
END_TEST

START_TEST(without_a_terminal_lines_are_plain)
{
	struct tool_progress progress;
	char *text = NULL;
	size_t length;

	tool_progress_begin(&progress, "web");
	progress.to = open_memstream(&text, &length);
	progress.live = false;
	tool_progress_update(&progress, 10, 20);
	progress.shown_ms -= 60000;
	tool_progress_update(&progress, 20, 20);
	tool_progress_end(&progress);
	fclose(progress.to);
	ck_assert_ptr_null(strchr(text, '\033'));
	ck_assert_ptr_nonnull(strchr(text, '\n'));
	ck_assert_ptr_eq(strchr(text, '\n'), strrchr(text, '\n'));
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tool print");
	TCase *tcase = tcase_create("print");

	tcase_add_test(tcase, sizes_have_the_unit_people_expect);
	tcase_add_test(tcase, times_grow_from_tenths_to_hours);
	tcase_add_test(tcase, tables_align_columns_and_count_characters);
	tcase_add_test(tcase, progress_says_bytes_rate_and_time_left);
	tcase_add_test(tcase, a_live_line_is_rewritten_and_wiped_at_the_end);
	tcase_add_test(tcase, without_a_terminal_lines_are_plain);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
