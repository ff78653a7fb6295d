/* SPDX-License-Identifier: Apache-2.0 */
/* Names of peers and the patterns of authorisation entries. */
#include "base/name.h"

#include "testing.h"

#include <hvrepl/authorisation.h>
#include <string.h>

#define LONG_LABEL "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789-"

static void expect_refused(const char *pattern, const char *words)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	ck_assert_msg(hvrepl_peer_pattern_check(pattern, &error) ==
			      HVREPL_E_INVALID,
		      "%s", pattern);
	ck_assert_msg(strstr(error.sentence, words) != NULL, "%s: %s", pattern,
		      error.sentence);
	ck_assert_int_eq(hvrepl_peer_pattern_matches(pattern, "a.example.com"),
			 0);
}

START_TEST(a_wildcard_is_one_whole_label_at_the_front_of_two_more)
{
	ck_assert_int_eq(hvrepl_peer_pattern_check("*.example.com", NULL),
			 HVREPL_OK);
	expect_refused("*", "one whole label");
	expect_refused("*.", "no pattern of host names");
	expect_refused("w*.example.com", "one whole label");
	expect_refused("*w.example.com", "one whole label");
	expect_refused("a.*.example.com", "one whole label");
	expect_refused("*.*.example.com", "one whole label");
	expect_refused("*.com", "public suffix");
	expect_refused("*.com.", "public suffix");
	expect_refused("*.a..com", "no pattern of host names");
	expect_refused("*.2.3.4", "addresses");
	expect_refused("*.west@REALM.TEST", "no pattern of host names");
	expect_refused("hvrepl/*@REALM", "one whole label");
	expect_refused("", "1 to 255 bytes");
	expect_refused("a\nb", "control characters");
	expect_refused("\xc3(", "UTF-8");
	expect_refused("*.a.b..", "no pattern of host names");
	expect_refused("*.a{b.test", "no pattern of host names");
	ck_assert_int_eq(hvrepl_peer_pattern_check("*.a_b.test", NULL),
			 HVREPL_OK);
	/* A label that only looks like the end of an address. */
	ck_assert_int_eq(hvrepl_peer_pattern_check("*.10.2-3", NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_peer_pattern_check("*.10.2a", NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_peer_pattern_check(NULL, NULL),
			 HVREPL_E_INVALID);
}
END_TEST

static void folds(const char *name, const char *to, int32_t is)
{
	char out[HVREPL_PEER_NAME_MAX + 1];

	ck_assert_int_eq(hvrepl_peer_name_fold(name, out), is);
	ck_assert_str_eq(out, to);
	ck_assert_int_eq(hvrepl_peer_pattern_matches(name, to), 1);
	ck_assert_int_eq(hvrepl_peer_pattern_matches(to, name), 1);
}

START_TEST(a_name_has_one_spelling)
{
	char out[HVREPL_PEER_NAME_MAX + 1] = "";

	folds("East.Example.COM.", "east.example.com", 1);
	folds("192.0.2.7", "192.0.2.7", 1);
	folds("2001:DB8:0:0::1", "2001:db8::1", 1);
	folds("0:0:0:0:0:0:0:1", "::1", 1);
	folds("::ffff:c000:207", "::ffff:192.0.2.7", 1); /* The longer one. */
	/* What is no host's is what its bytes are. */
	folds("hvrepl/West@REALM", "hvrepl/West@REALM", 0);
	folds("fe80::1%Eth0", "fe80::1%Eth0", 0);
	folds("a..B", "a..B", 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("2001:db8::1",
						     "2001:db8::2"), 0);
	ck_assert_int_eq(hvrepl_peer_name_fold("*.example.com", out),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_peer_name_fold("", out), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_peer_name_fold(NULL, out), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_peer_name_fold("east", NULL),
			 HVREPL_E_INVALID);
	ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(a_wildcard_lets_in_the_hosts_of_one_domain_and_nobody_else)
{
	static const struct {
		const char *name;
		int in;
	} names[] = {
		{ "west.example.com", 1 },  { "WEST.Example.COM", 1 },
		{ "west.example.com.", 1 }, { "a.west.example.com", 0 },
		{ "example.com", 0 },       { ".example.com", 0 },
		{ "*.example.com", 0 },     { "westexample.com", 0 },
		{ "west.example.com.evil.test", 0 },
		{ "west.example.co", 0 },   { "west/x.example.com", 0 },
		{ "", 0 },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_msg(hvrepl_peer_pattern_matches("*.example.com",
							  names[i].name) ==
				      names[i].in,
			      "%s", names[i].name);
}
END_TEST

/* Two principals that differ in case are two, and so are two URIs. */
START_TEST(only_names_of_hosts_have_no_case)
{
	ck_assert_int_eq(hvrepl_peer_pattern_matches("Site-A", "site-a"), 1);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("a/B@R", "a/b@R"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("a/b@R", "a/b@R"), 1);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("x://a/B", "x://a/b"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("\xc3\x9c", "\xc3\xbc"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("a", NULL), 0);
}
END_TEST

START_TEST(the_longest_name_passes_and_one_byte_more_does_not)
{
	char name[257];

	memset(name, 'a', sizeof(name));
	name[255] = 0;
	ck_assert_int_eq(hvrepl_peer_pattern_check(name, NULL), HVREPL_OK);
	ck_assert(hvri_name_ok(name));
	name[255] = 'a';
	name[256] = 0;
	expect_refused(name, "1 to 255 bytes");
	ck_assert(!hvri_name_ok(name));
	ck_assert_int_eq(hvrepl_peer_pattern_matches(
				 "*." LONG_LABEL ".test",
				 LONG_LABEL "." LONG_LABEL ".test"),
			 1);
}
END_TEST

START_TEST(a_name_is_well_formed_utf_8_without_controls)
{
	static const struct {
		const char *name;
		bool ok;
	} names[] = {
		{ "\xc2\xa0", true },	 { "\xdf\xbf", true },
		{ "\xe0\xa0\x80", true },	 { "\xed\x9f\xbf", true },
		{ "\xef\xbf\xbd", true },	 { "\xf0\x90\x80\x80", true },
		{ "\xf4\x8f\xbf\xbf", true },
		{ "\x7f", false },	 { "\xc2\x80", false },
		{ "\xc2\x9f", false },	 { "\x80", false },
		{ "\xc1\xbf", false },	 { "\xc2", false },
		{ "\xe0\x9f\xbf", false }, { "\xed\xa0\x80", false },
		{ "\xe1\x80", false },	 { "\xf0\x8f\xbf\xbf", false },
		{ "\xf4\x90\x80\x80", false },
		{ "\xf5\x80\x80\x80", false },
		{ "\xf1\x80\x80(", false },
		{ "\xff", false },	 { "", false },
		{ "a*", false },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_msg(hvri_name_ok(names[i].name) == names[i].ok,
			      "name %zu", i);
}
END_TEST

START_TEST(one_host_is_not_another_of_the_same_length)
{
	ck_assert_int_eq(hvrepl_peer_pattern_matches("site-a", "site-b"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("site-a", "site-ab"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("site-a.", "SITE-A"), 1);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("site", "a/b"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("a/b", "site"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("*.a.test", "x.b.test"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("*.a.test", "x@a.test"), 0);
	ck_assert_int_eq(hvrepl_peer_pattern_matches("*.a.test", "host"), 0);
}
END_TEST

START_TEST(each_verb_has_a_name)
{
	ck_assert_str_eq(hvrepl_verb_name(0), "enable");
	ck_assert_str_eq(hvrepl_verb_name(HVREPL_VERB_COUNT - 1), "verify");
	ck_assert_ptr_null(hvrepl_verb_name(HVREPL_VERB_COUNT));
	ck_assert_uint_eq(HVREPL_VERB_ALL, (1u << HVREPL_VERB_COUNT) - 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("name");
	TCase *tcase = tcase_create("name");

	tcase_add_test(tcase, a_name_has_one_spelling);
	tcase_add_test(tcase,
		       a_wildcard_is_one_whole_label_at_the_front_of_two_more);
	tcase_add_test(
		tcase,
		a_wildcard_lets_in_the_hosts_of_one_domain_and_nobody_else);
	tcase_add_test(tcase, only_names_of_hosts_have_no_case);
	tcase_add_test(tcase,
		       the_longest_name_passes_and_one_byte_more_does_not);
	tcase_add_test(tcase, a_name_is_well_formed_utf_8_without_controls);
	tcase_add_test(tcase, one_host_is_not_another_of_the_same_length);
	tcase_add_test(tcase, each_verb_has_a_name);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
