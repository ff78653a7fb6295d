/* SPDX-License-Identifier: Apache-2.0 */
/* A site's configuration: what is read from it, and what each mistake says. */
#include "config.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[] = "/tmp/hvrepl-config-XXXXXX";
static char path[64];

#define ZEROES "000000000000000000000000000000000000000000000000000000000000000"
static const char whole[] =
	"site \"east\" {\n"                                      /* 1 */
	"  state = \"state\"\n"                                  /* 2 */
	"  storage = \"/srv/storage\"\n"                         /* 3 */
	"  replicas = \"replicas\"\n"                            /* 4 */
	"  control = \"c.sock\"\n"                               /* 5 */
	"  nbd = \"n.sock\"\n"                                   /* 6 */
	"  start-wait = \"500ms\"\n"                             /* 7 */
	"  start-without-peer = \"refuse\"\n"                    /* 8 */
	"  spool = \"16M\" retry = \"50ms\" retry-max = \"2m\"\n" /* 9 */
	"}\n"                                                    /* 10 */
	"certificates {\n"                                       /* 11 */
	"  authority = \"ca.pem\"\n"                             /* 12 */
	"  certificate = \"east.pem\"\n"                         /* 13 */
	"  key = \"east.key\" crl = \"lists\" revocation-stale = \"accept\"\n" /* 14 */
	"}\n"                                                    /* 15 */
	"listen { address = \"127.0.0.1\" port = 7411 }\n"       /* 16 */
	"peer \"west\" { address = \"10.0.0.2\" port = 7411 }\n" /* 17 */
	"peer \"north\" { pin = \"sha256:" ZEROES "a\" backup-pin = \"sha256:" ZEROES "b\" }\n" /* 18 */
	"authorise \"west\" { verbs = {\"enable\", \"receive\"}\n" /* 19 */
	"  trust-group = \"pair\" }\n"                           /* 20 */
	"policy \"fast\" { interval = \"1s\" points = 24 quota = \"2T\" points-min = 3 }\n" /* 21 */
	"vm \"web\" {\n"                                         /* 22 */
	"  policy = \"fast\"\n"                                  /* 23 */
	"  capture = \"cuts\"\n"                                 /* 24 */
	"  capture-interval = \"2s\"\n"                          /* 25 */
	"  disk \"root\" { path = \"root.img\" }\n"              /* 26 */
	"  disk \"data\" { path = \"/d.img\" exclusive = true }\n" /* 27 */
	"}\n";                                                   /* 28 */

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/site.conf", directory);
}

static void teardown(void)
{
	unlink(path);
	rmdir(directory);
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
}

static int32_t load_bytes(const char *text, size_t length,
			  struct site_config **out, struct hvrepl_error *error)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(text, 1, length, file), length);
	fclose(file);
	return site_config_load(path, out, error);
}

/* `whole` with one piece of text replaced. */
static int32_t load_with(const char *from, const char *to,
			 struct site_config **out, struct hvrepl_error *error)
{
	const char *at = strstr(whole, from);
	char text[4096];

	ck_assert_ptr_nonnull(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - whole), whole, to,
		 at + strlen(from));
	return load_bytes(text, strlen(text), out, error);
}

START_TEST(everything_that_is_written_is_read)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *c = NULL;
	char text[128];
	int32_t rc = load_bytes(whole, strlen(whole), &c, &error);

	ck_assert_msg(rc == HVREPL_OK, "%s", error.sentence);
	ck_assert_str_eq(c->name, "east");
	snprintf(text, sizeof(text), "%s/state", directory);
	ck_assert_str_eq(c->state, text);
	ck_assert_str_eq(c->storage, "/srv/storage");
	snprintf(text, sizeof(text), "unix:%s/n.sock", directory);
	ck_assert_str_eq(c->nbd, text);
	ck_assert_uint_eq(c->start_wait_ms, 500);
	ck_assert_uint_eq(c->start_without_peer, SITE_START_REFUSE);
	ck_assert_uint_eq(c->spool, 16u << 20);
	ck_assert_uint_eq(c->retry_ms, 50);
	ck_assert_uint_eq(c->retry_max_ms, 120000);
	ck_assert_uint_eq(c->compression, 1);
	ck_assert_uint_eq(c->listen_port, 7411);
	ck_assert_uint_eq(c->peer_count, 2);
	ck_assert_str_eq(c->peers[0].name, "west");
	ck_assert_str_eq(c->peers[0].address, "10.0.0.2");
	ck_assert_ptr_null(c->peers[1].address);
	ck_assert_str_eq(c->peers[1].pin, "sha256:" ZEROES "a");
	ck_assert_str_eq(c->peers[1].backup_pin, "sha256:" ZEROES "b");
	ck_assert_ptr_null(c->peers[0].pin);
	ck_assert_ptr_nonnull(strstr(c->crl, "/lists"));
	ck_assert_uint_eq(c->tls_flags, HVREPL_TLS_ALLOW_STALE);
	ck_assert_uint_eq(c->authorisation_count, 1);
	ck_assert_uint_eq(c->authorisations[0].verbs,
			  HVREPL_VERB_ENABLE | HVREPL_VERB_RECEIVE);
	ck_assert_str_eq(c->authorisations[0].trust_group, "pair");
	ck_assert_uint_eq(c->vm_count, 1);
	ck_assert_str_eq(c->vms[0].name, "web");
	ck_assert_uint_eq(c->vms[0].policy->interval_ms, 1000);
	ck_assert_uint_eq(c->vms[0].policy->quota, 2ull << 40);
	ck_assert_uint_eq(c->vms[0].policy->points_min, 3);
	ck_assert_uint_eq(c->policies[0].quota, 0); /* Of replicas here. */
	ck_assert_uint_eq(c->vms[0].policy->points, 24);
	ck_assert_uint_eq(c->vms[0].capture_interval_ms, 2000);
	ck_assert_uint_eq(c->vms[0].disk_count, 2);
	ck_assert_str_eq(c->vms[0].disks[1].path, "/d.img");
	ck_assert(c->vms[0].disks[1].exclusive);
	ck_assert(!c->vms[0].disks[0].exclusive);
	site_config_free(c);
}
END_TEST

static const struct mistake {
	const char *from, *to;
	int line; /* 0: the file as a whole. */
	const char *says;
} mistakes[] = {
	{ "start-wait", "start-weight", 7, "Known here: state, storage" },
	{ "\"500ms\"", "\"soon\"", 7, "not a time" },
	/* More than the clock's nanoseconds hold: it would be any time, and a former
	 * owner must not write early. */
	{ "\"500ms\"", "\"5124096h\"", 7, "1ms to 24h" },
	{ "\"500ms\"", "\"0\"", 7, "1ms to 24h" },
	{ "\"2s\"", "\"5124096h\"", 25, "a year" },
	{ "\"state\"", "\"state\" state = \"other\"", 2, "given twice" },
	{ "\"root.img\"", "\"root.img\" path = \"r.img\"", 26, "given twice" },
	{ "\"50ms\"", "\"9ms\"", 9, "A retry is 10ms to 1h" },
	{ "\"50ms\"", "\"3m\"", 9, "retry-max is at least retry" },
	{ "\"2m\"", "\"61m\"", 9, "at most 1h" },
	{ "\"16M\"", "\"16X\"", 9, "not a size" },
	{ "\"16M\"", "\"99999999999999999999\"", 9, "not a size" },
	{ "\"refuse\"", "\"perhaps\"", 8, "\"allow\" or \"refuse\"" },
	{ "  state = \"state\"\n", "", 9, "lacks 'state'" },
	{ "\"state\"", "\"\"", 2, "is empty" },
	{ "site \"east\"", "site \"ea/st\"", 0, "cannot name a site" },
	{ "port = 7411", "port = 70000", 16, "from 1 to 65535" },
	{ "port = 7411", "port = many", 16, "" },
	{ "\"n.sock\"", "\"host:port\"", 6, "HOST:PORT" },
	{ "\"receive\"", "\"recieve\"", 19, "no verb \"recieve\"" },
	{ "\"receive\"", "\"none\"", 19, "not one verb among others" },
	{ "authorise \"west\"", "authorise \"*.com\"", 20, "public suffix" },
	{ "authorise \"west\"", "authorise \"w*.test.org\"", 20,
	  "one whole label" },
	{ "\"pair\"", "\"pair\" rate = \"1K\"", 20, "64K to 512G" },
	{ "\"pair\"", "\"pair\" points = 25", 20, "from 0 to 24" },
	{ "\"pair\"", "\"pair\" bytes = \"many\"", 20, "not a size" },
	{ "verbs = {\"enable\", \"receive\"}", "", 0, "allows nothing" },
	{ "points = 24", "points = 25", 21, "from 0 to 24" },
	{ "\"1s\"", "\"1ms\"", 21, "100ms to 24h" },
	{ "policy = \"fast\"", "policy = \"slow\"", 23, "Add: policy \"slow\"" },
	{ "  capture = \"cuts\"\n", "", 24, "needs capture" },
	{ "path = \"root.img\"", "", 26, "lacks 'path'" },
	{ "\"root.img\"", "\"/d.img\"", 0, "the same file" },
	{ "disk \"data\"", "disk \"root\"", 0, "" },
	{ "peer \"west\"", "peer \"east\"", 17, "own name" },
	{ "vm \"web\" {", "vm \"web\" ", 0, "" },
	{ "  key = \"east.key\" ", "", 15, "lacks 'key'" },
	{ "\"accept\"", "\"perhaps\"", 14, "\"refuse\" or \"accept\"" },
	{ "crl = \"lists\"", "", 14, "means nothing without lists" },
	{ " backup-pin = \"sha256:" ZEROES "b\"", "", 18, "needs both pin" },
	{ ZEROES "b", ZEROES "a", 18, "is its pin" },
	{ "pin = \"sha256:" ZEROES "a\"", "pin = \"" ZEROES "\"", 18,
	  "64 hexadecimal digits" },
	{ ZEROES "b", ZEROES, 18, "64 hexadecimal digits" },
};

START_TEST(each_mistake_names_its_line_and_what_to_write)
{
	const struct mistake *m = &mistakes[_i];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *c = NULL;
	char place[32];

	ck_assert_int_eq(load_with(m->from, m->to, &c, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_null(c);
	ck_assert_int_eq(error.code, HVREPL_E_INVALID);
	snprintf(place, sizeof(place), "site.conf:%d:", m->line);
	ck_assert_msg(m->line == 0 || strstr(error.sentence, place) != NULL,
		      "'%s' should name %s", error.sentence, place);
	ck_assert_msg(strstr(error.sentence, m->says) != NULL,
		      "'%s' should say '%s'", error.sentence, m->says);
	ck_assert_uint_gt(strlen(error.sentence), 20);
}
END_TEST

START_TEST(an_entry_takes_patterns_places_and_quotas)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const struct site_authorisation *entry;
	struct site_config *c = NULL;

	ck_assert_msg(load_with("authorise \"west\" { verbs = {\"enable\", "
				"\"receive\"}\n  trust-group = \"pair\" }\n",
				"authorise \"*.dr.example.org\" {\n"
				"  verbs = {\"delete-points\", \"verify\"}\n"
				"  storage = \"of-dr\" relationships = 5\n"
				"  points = 7 bytes = \"3T\" rate = \"64K\" }\n"
				"authorise \"bad.dr.example.org\" {\n"
				"  verbs = {\"none\"} }\n",
				&c, &error) == HVREPL_OK,
		      "%s", error.sentence);
	ck_assert_uint_eq(c->authorisation_count, 2);
	entry = &c->authorisations[0];
	ck_assert_str_eq(entry->peer, "*.dr.example.org");
	ck_assert_uint_eq(entry->verbs, HVREPL_VERB_DELETE_POINTS |
						HVREPL_VERB_VERIFY);
	ck_assert(!entry->deny);
	ck_assert_ptr_nonnull(strstr(entry->storage, "/of-dr"));
	ck_assert_uint_eq(entry->relationships, 5);
	ck_assert_uint_eq(entry->points, 7);
	ck_assert_uint_eq(entry->bytes, 3ull << 40);
	ck_assert_uint_eq(entry->rate, 65536);
	ck_assert(c->authorisations[1].deny);
	ck_assert_uint_eq(c->authorisations[1].verbs, 0);
	site_config_free(c);
}
END_TEST

static const char kerberos[] =
	"site \"east\" { state = \"s\" storage = \"t\"\n"        /* 1 */
	"  control = \"c.sock\" nbd = \"n.sock\" }\n"             /* 2 */
	"kerberos {\n"                                           /* 3 */
	"  keytab = \"east.keytab\"\n"                           /* 4 */
	"  principal = \"hvrepl/east.test@R\"\n"                 /* 5 */
	"}\n"                                                    /* 6 */
	"peer \"hvrepl/west.test@R\" { }\n"                      /* 7 */
	"authorise \"hvrepl/west.test@R\" { verbs = {\"receive\"} }\n";

START_TEST(peers_are_principals_with_kerberos)
{
	static const struct mistake wrong[] = {
		{ "  keytab = \"east.keytab\"\n", "", 5, "lacks 'keytab'" },
		{ "peer \"hvrepl/west.test@R\"", "peer \"west\"", 7,
		  "no whole principal" },
		{ "peer \"hvrepl/west.test@R\"", "peer \"hvrepl/west.test\"",
		  7, "no whole principal" },
		{ "peer \"hvrepl/west.test@R\"", "peer \"a b@R\"", 7,
		  "no whole principal" },
		{ "peer \"hvrepl/west.test@R\"", "peer \"hvrepl/w%2f@R\"", 7,
		  "no whole principal" },
		{ "peer \"hvrepl/west.test@R\"",
		  "peer \"hvrepl/east.test@R\"", 7, "own name" },
		{ "authorise \"hvrepl/west.test@R\"", "authorise \"*@R@S\"",
		  8, "is a pattern. With Kerberos" },
		{ "kerberos {\n",
		  "certificates { authority = \"a\" certificate = \"b\" key = "
		  "\"c\" }\nkerberos {\n",
		  7, "in one way" },
		{ "kerberos {\n", "kerberos {\n  ticket = \"x\"\n", 4,
		  "Known here: keytab, principal, service, tickets" },
	};
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *c = NULL;
	char text[1024], place[32];

	ck_assert_msg(load_bytes(kerberos, strlen(kerberos), &c, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
	ck_assert_ptr_nonnull(strstr(c->keytab, "/east.keytab"));
	ck_assert_str_eq(c->principal, "hvrepl/east.test@R");
	ck_assert_ptr_null(c->service);
	ck_assert_ptr_null(c->tickets);
	ck_assert_ptr_null(c->authority);
	ck_assert_str_eq(c->peers[0].name, "hvrepl/west.test@R");
	ck_assert_str_eq(c->authorisations[0].peer, "hvrepl/west.test@R");
	site_config_free(c);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const char *at = strstr(kerberos, wrong[i].from);

		ck_assert_ptr_nonnull(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - kerberos),
			 kerberos, wrong[i].to, at + strlen(wrong[i].from));
		c = NULL;
		ck_assert_int_eq(load_bytes(text, strlen(text), &c, &error),
				 HVREPL_E_INVALID);
		ck_assert_ptr_null(c);
		snprintf(place, sizeof(place), "site.conf:%d:", wrong[i].line);
		ck_assert_msg(strstr(error.sentence, place) != NULL &&
				      strstr(error.sentence,
					     wrong[i].says) != NULL,
			      "%zu: %s", i, error.sentence);
	}
}
END_TEST

START_TEST(a_missing_file_is_not_found)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *c = NULL;

	ck_assert_int_eq(site_config_load(path, &c, &error),
			 HVREPL_E_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(error.sentence, "cannot be read"));
	ck_assert_int_eq(site_config_load(path, &c, NULL), HVREPL_E_INVALID);
}
END_TEST

/* Every prefix and every flipped bit: an error or a configuration, no crash. */
START_TEST(damage_never_crashes_the_reader)
{
	struct site_config *c;
	char text[sizeof(whole)];
	unsigned refused = 0;

	for (size_t i = 0; i < strlen(whole); i += 3) {
		c = NULL;
		refused += load_bytes(whole, i, &c, NULL) < 0;
		site_config_free(c);
		memcpy(text, whole, sizeof(text));
		text[i] = (char)(text[i] ^ (1 << (i % 8)));
		c = NULL;
		refused += load_bytes(text, strlen(whole), &c, NULL) < 0;
		site_config_free(c);
	}
	ck_assert_uint_gt(refused, strlen(whole) / 4);
}
END_TEST

START_TEST(bytes_that_are_no_text_are_refused)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *c = NULL;

	ck_assert_int_eq(load_with("east", "e\xff", &c, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "UTF-8"));
	ck_assert_int_eq(load_with("root.img", "\001", &c, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, ":26:"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("site configuration");
	TCase *tcase = tcase_create("config");
	int count = (int)(sizeof(mistakes) / sizeof(mistakes[0]));

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, everything_that_is_written_is_read);
	tcase_add_loop_test(tcase, each_mistake_names_its_line_and_what_to_write,
			    0, count);
	tcase_add_test(tcase, an_entry_takes_patterns_places_and_quotas);
	tcase_add_test(tcase, peers_are_principals_with_kerberos);
	tcase_add_test(tcase, a_missing_file_is_not_found);
	tcase_add_test(tcase, damage_never_crashes_the_reader);
	tcase_add_test(tcase, bytes_that_are_no_text_are_refused);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
