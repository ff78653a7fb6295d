/* SPDX-License-Identifier: Apache-2.0 */
/* One proof by Kerberos against a real KDC, tokens handed over in memory. */
#define _GNU_SOURCE
#include "backend/gss/gss.h"
#include "kdc.h"
#include "testing.h"

#include <com_err.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EAST "hvrepl/east.test@HVREPL.TEST"
#define WEST "hvrepl/west.test@HVREPL.TEST"
#define GONE "hvrepl/gone.test@HVREPL.TEST"
#define SPEAKS(gss, text)                                          \
	ck_assert_msg(strstr((gss).error.sentence, text) != NULL, \
		      "said: %s", (gss).error.sentence)

static struct kdc kdc;
static struct hvri_kerberos *east, *west;
static struct hvri_gss caller, called;
/* As two TLS connections would have them. */
static const uint8_t one[HVREPL_EXPORTER_SIZE] = { 1, 2, 3 };
static const uint8_t other[HVREPL_EXPORTER_SIZE] = { 1, 2, 4 };
static const uint8_t no_key[HVREPL_PROOF_KEY_SIZE];

static struct hvri_kerberos *credentials(const char *keytab,
					 const char *ccache,
					 const char *principal)
{
	struct hvrepl_kerberos_options options = HVREPL_KERBEROS_OPTIONS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_kerberos *kerberos;
	char path[TEMPDIR_PATH_MAX];

	options.keytab = keytab == NULL ? NULL : kdc_keytab(&kdc, keytab, path);
	options.ccache = ccache;
	options.principal = principal;
	ck_assert_msg(hvri_kerberos_new(&options, &kerberos, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
	return kerberos;
}

static void setup(void)
{
	east = credentials("east.test", NULL, EAST);
	west = credentials("west.test", NULL, WEST);
	hvri_gss_init(&caller, east, WEST, one);
	hvri_gss_init(&called, west, NULL, one);
}

static void teardown(void)
{
	hvri_gss_free(&caller);
	hvri_gss_free(&called);
	hvri_kerberos_free(east);
	hvri_kerberos_free(west);
}

static void hand_over(const struct hvri_gss *from, struct hvri_gss *to)
{
	memcpy(to->token, from->token, from->token_length);
	to->token_length = from->token_length;
}

static void begin(void)
{
	ck_assert_msg(hvri_gss_begin(&caller) == HVREPL_OK, "%s",
		      caller.error.sentence);
	hand_over(&caller, &called);
}

static void proved(void)
{
	begin();
	ck_assert_msg(hvri_gss_answer(&called) == HVREPL_OK, "%s",
		      called.error.sentence);
	hand_over(&called, &caller);
	ck_assert_msg(hvri_gss_finish(&caller) == HVREPL_OK, "%s",
		      caller.error.sentence);
}

static void refused(uint32_t refusal, const char *text)
{
	ck_assert_int_eq(hvri_gss_answer(&called), HVREPL_E_UNAUTHENTICATED);
	ck_assert_msg(called.refusal == refusal, "%u: %s", called.refusal,
		      called.error.sentence);
	SPEAKS(called, text);
	ck_assert_mem_eq(called.key, no_key, sizeof(no_key));
}

START_TEST(both_sides_prove_themselves_and_have_one_key)
{
	proved();
	ck_assert_str_eq(called.peer, EAST);
	ck_assert_str_eq(called.self, WEST);
	ck_assert_str_eq(caller.self, EAST);
	ck_assert_mem_eq(caller.key, called.key, sizeof(caller.key));
	ck_assert_mem_ne(caller.key, no_key, sizeof(no_key));
	ck_assert_mem_ne(caller.key, one, sizeof(one));
	ck_assert_uint_gt(caller.lifetime_ns, 9 * 3600 * 1000000000ull);
	ck_assert_uint_le(caller.lifetime_ns, 10 * 3600 * 1000000000ull);
}
END_TEST

START_TEST(two_proofs_over_one_connection_have_different_keys)
{
	uint8_t before[HVREPL_PROOF_KEY_SIZE];

	proved();
	memcpy(before, caller.key, sizeof(before));
	teardown();
	setup();
	proved();
	ck_assert_mem_ne(before, caller.key, sizeof(before));
}
END_TEST

START_TEST(tickets_are_kept_and_renewed_on_demand)
{
	unsigned asked;

	begin();
	asked = kdc_logged(&kdc, "ISSUE");
	hvri_gss_free(&caller);
	hvri_gss_init(&caller, east, WEST, one);
	begin();
	ck_assert_uint_eq(kdc_logged(&kdc, "ISSUE"), asked);
	hvri_gss_free(&caller);
	hvri_gss_init(&caller, east, WEST, one);
	caller.fresh = true;
	begin();
	ck_assert_uint_eq(kdc_logged(&kdc, "ISSUE"), asked + 2);
}
END_TEST

START_TEST(a_peer_that_the_kdc_does_not_know_is_named)
{
	hvri_gss_init(&caller, east, "hvrepl/none.test@HVREPL.TEST", one);
	ck_assert_int_lt(hvri_gss_begin(&caller), 0);
	SPEAKS(caller, "does not know the peer hvrepl/none.test@HVREPL.TEST");
}
END_TEST

START_TEST(we_are_named_when_the_kdc_has_lost_us)
{
	hvri_kerberos_free(east);
	east = credentials("gone.test", NULL, GONE);
	kdc_admin(&kdc, "delprinc -force hvrepl/gone.test");
	hvri_gss_init(&caller, east, WEST, one);
	ck_assert_int_eq(hvri_gss_begin(&caller), HVREPL_E_UNAUTHENTICATED);
	SPEAKS(caller, "does not know us as " GONE);
}
END_TEST

START_TEST(a_ticket_for_another_principal_is_refused)
{
	hvri_gss_init(&caller, east, "hvrepl/north.test@HVREPL.TEST", one);
	begin();
	refused(HVRI_REFUSE_KEY, "fits no key of " WEST);
}
END_TEST

START_TEST(a_keytab_that_is_behind_the_kdc_is_named)
{
	/* Its key was changed at the KDC and not exported again. */
	hvri_kerberos_free(east);
	east = credentials("stale.test", NULL, "hvrepl/stale.test");
	hvri_gss_init(&caller, east, WEST, one);
	ck_assert_int_lt(hvri_gss_begin(&caller), 0);
	SPEAKS(caller, "stale.test.keytab is not the KDC's: export it again");
	/* The other way round: it is called. */
	hvri_kerberos_free(west);
	west = credentials("stale.test", NULL, "hvrepl/stale.test");
	hvri_kerberos_free(east);
	east = credentials("east.test", NULL, EAST);
	hvri_gss_init(&caller, east, "hvrepl/stale.test@HVREPL.TEST", one);
	hvri_gss_init(&called, west, NULL, one);
	begin();
	refused(HVRI_REFUSE_KEY, "export the key again");
}
END_TEST

START_TEST(bad_keytabs_are_refused_when_they_are_named)
{
	struct hvrepl_kerberos_options options = HVREPL_KERBEROS_OPTIONS_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvri_kerberos *none;
	char path[TEMPDIR_PATH_MAX];

	options.keytab = kdc_keytab(&kdc, "nowhere", path);
	options.principal = EAST;
	ck_assert_int_eq(hvri_kerberos_new(&options, &none, &error),
			 HVREPL_E_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(error.sentence, "nowhere.keytab"));
	options.keytab = tempdir_join(&kdc.dir, "krb5.conf", path);
	ck_assert_int_eq(hvri_kerberos_new(&options, &none, &error),
			 HVREPL_E_INVALID);
	options.keytab = kdc_keytab(&kdc, "west.test", path);
	ck_assert_int_eq(hvri_kerberos_new(&options, &none, &error),
			 HVREPL_E_INVALID);
	ck_assert_msg(strstr(error.sentence, "no key of " EAST " but of " WEST),
		      "%s", error.sentence);
	options.principal = "with space";
	ck_assert_int_eq(hvri_kerberos_new(&options, &none, &error),
			 HVREPL_E_INVALID);
	options.principal = EAST;
	options.service = "a/b";
	ck_assert_int_eq(hvri_kerberos_new(&options, &none, &error),
			 HVREPL_E_INVALID);
	/* Its only key is none of AES. */
	options.service = NULL;
	options.principal = "hvrepl/weak.test";
	options.keytab = kdc_keytab(&kdc, "weak.test", path);
	ck_assert_int_eq(hvri_kerberos_new(&options, &none, &error),
			 HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(error.sentence, "no AES key"));
}
END_TEST

START_TEST(names_have_one_spelling)
{
	char name[HVREPL_PEER_NAME_MAX + 1];
	static const char *const bad[] = { "", "a b", "a@b@c", "x/\n", "\xc3" };

	ck_assert_int_eq(hvri_kerberos_canonical(east, "West.Test", name), 0);
	ck_assert_str_eq(name, WEST);
	ck_assert_int_eq(hvri_kerberos_canonical(east, "hvrepl/west.test",
						 name), 0);
	ck_assert_str_eq(name, WEST);
	ck_assert_int_eq(hvri_kerberos_canonical(east, WEST, name), 0);
	ck_assert_str_eq(name, WEST);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(hvri_kerberos_canonical(east, bad[i], name),
				 HVREPL_E_INVALID);
}
END_TEST

START_TEST(a_proof_for_another_connection_is_refused)
{
	begin();
	memcpy(called.binding, other, sizeof(other));
	refused(HVRI_REFUSE_BINDING, "bound to another TLS connection");
}
END_TEST

/* An initiator that is not ours. */
static void foreign(uint32_t flags, gss_channel_bindings_t bindings,
		    krb5_enctype enctype)
{
	char path[TEMPDIR_PATH_MAX];
	gss_key_value_element_desc store[] = {
		{ "client_keytab", kdc_keytab(&kdc, "east.test", path) },
		{ "ccache", "MEMORY:foreign" },
	};
	gss_key_value_set_desc set = { 2, store };
	gss_buffer_desc name = { strlen(EAST), (void *)(uintptr_t)EAST };
	gss_buffer_desc peer = { strlen(WEST), (void *)(uintptr_t)WEST };
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	gss_OID type = (gss_OID)(uintptr_t)GSS_KRB5_NT_PRINCIPAL_NAME;
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	gss_name_t self, target;
	gss_cred_id_t cred;
	uint32_t major, minor;

	ck_assert_uint_eq(gss_import_name(&minor, &name, type, &self), 0);
	ck_assert_uint_eq(gss_import_name(&minor, &peer, type, &target), 0);
	ck_assert_uint_eq(gss_acquire_cred_from(&minor, self, GSS_C_INDEFINITE,
						GSS_C_NO_OID_SET,
						GSS_C_INITIATE, &set, &cred,
						NULL, NULL), 0);
	if (enctype != 0)
		ck_assert_uint_eq(gss_krb5_set_allowable_enctypes(
					  &minor, cred, 1, &enctype), 0);
	major = gss_init_sec_context(&minor, cred, &context, target,
				     (gss_OID)(uintptr_t)gss_mech_krb5, flags,
				     0, bindings, GSS_C_NO_BUFFER, NULL, &out,
				     NULL, NULL);
	ck_assert_msg(!GSS_ERROR(major), "%x %s", major, error_message(minor));
	memcpy(called.token, out.value, out.length);
	called.token_length = (uint32_t)out.length;
	gss_release_buffer(&minor, &out);
	gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
	gss_release_cred(&minor, &cred);
	gss_release_name(&minor, &self);
	gss_release_name(&minor, &target);
}

#define ALL_FLAGS                                                    \
	(GSS_C_MUTUAL_FLAG | GSS_C_REPLAY_FLAG | GSS_C_SEQUENCE_FLAG | \
	 GSS_C_CONF_FLAG | GSS_C_INTEG_FLAG)

static gss_channel_bindings_t bound_to(const uint8_t *exporter)
{
	static struct gss_channel_bindings_struct bindings;
	static uint8_t bytes[13 + HVREPL_EXPORTER_SIZE];

	memcpy(bytes, "tls-exporter:", 13);
	memcpy(bytes + 13, exporter, HVREPL_EXPORTER_SIZE);
	bindings.application_data.value = bytes;
	bindings.application_data.length = sizeof(bytes);
	return &bindings;
}

START_TEST(a_proof_that_is_bound_to_nothing_is_refused)
{
	foreign(ALL_FLAGS, GSS_C_NO_CHANNEL_BINDINGS, 0);
	refused(HVRI_REFUSE_UNBOUND, "not bound to this TLS connection");
}
END_TEST

START_TEST(a_proof_without_a_protection_is_refused)
{
	/* The foreign initiator is good as long as it asks for all. */
	foreign(ALL_FLAGS, bound_to(one), 0);
	ck_assert_int_eq(hvri_gss_answer(&called), HVREPL_OK);
	hvri_gss_free(&called);
	hvri_gss_init(&called, west, NULL, one);
	foreign(ALL_FLAGS - GSS_C_MUTUAL_FLAG, bound_to(one), 0);
	refused(HVRI_REFUSE_FLAGS, "not mutual");
	foreign(ALL_FLAGS - GSS_C_SEQUENCE_FLAG, bound_to(one), 0);
	refused(HVRI_REFUSE_FLAGS, "lacks a protection");
	foreign(ALL_FLAGS - GSS_C_REPLAY_FLAG, bound_to(one), 0);
	refused(HVRI_REFUSE_FLAGS, "lacks a protection");
	foreign(ALL_FLAGS | GSS_C_DCE_STYLE, bound_to(one), 0);
	refused(HVRI_REFUSE_TOKEN, "no krb5 token");
}
END_TEST

START_TEST(a_session_key_that_is_not_aes_is_refused)
{
	foreign(ALL_FLAGS, bound_to(one), ENCTYPE_ARCFOUR_HMAC);
	refused(HVRI_REFUSE_ENCTYPE, "no AES key");
}
END_TEST

START_TEST(a_proof_serves_once)
{
	begin();
	ck_assert_int_eq(hvri_gss_answer(&called), HVREPL_OK);
	hvri_gss_free(&called);
	hvri_gss_init(&called, west, NULL, one);
	hand_over(&caller, &called);
	refused(HVRI_REFUSE_REPLAY, "seen before");
}
END_TEST

START_TEST(a_changed_token_proves_nothing)
{
	begin();
	for (uint32_t at = 0; at < caller.token_length; at += 5) {
		hand_over(&caller, &called);
		called.token[at] ^= 0x10;
		if (hvri_gss_answer(&called) == HVREPL_OK)
			/* Some bytes of a ticket bear no meaning, as the
			 * version of its key; what they prove is the same. */
			ck_assert_str_eq(called.peer, EAST);
		else
			ck_assert_uint_ne(called.refusal, 0);
		hvri_gss_free(&called);
		hvri_gss_init(&called, west, NULL, one);
	}
	for (uint32_t length = 0; length < caller.token_length; length += 9) {
		hand_over(&caller, &called);
		called.token_length = length;
		refused(HVRI_REFUSE_TOKEN, "damaged");
	}
}
END_TEST

START_TEST(a_changed_answer_proves_nothing)
{
	uint32_t length, unread = 0;
	int32_t rc;

	begin();
	ck_assert_int_eq(hvri_gss_answer(&called), HVREPL_OK);
	length = called.token_length;
	for (uint32_t at = 0; at < length; at += 3) {
		hvri_gss_free(&caller);
		hvri_gss_init(&caller, east, WEST, one);
		begin();
		hvri_gss_free(&called);
		hvri_gss_init(&called, west, NULL, one);
		hand_over(&caller, &called);
		ck_assert_int_eq(hvri_gss_answer(&called), HVREPL_OK);
		hand_over(&called, &caller);
		caller.token[at] ^= 0x04;
		/* The version of the key bears no meaning here either; where it
		 * lies depends on the lengths before it. */
		rc = hvri_gss_finish(&caller);
		if (rc == HVREPL_OK) {
			unread++;
			ck_assert_mem_eq(caller.key, called.key,
					 sizeof(caller.key));
		} else {
			ck_assert_int_eq(rc, HVREPL_E_UNAUTHENTICATED);
		}
	}
	ck_assert_uint_le(unread, 2);
}
END_TEST

START_TEST(another_mechanism_is_refused_before_it_is_parsed)
{
	static const uint8_t spnego[] = { 0x60, 0x0a, 0x06, 0x06, 0x2b, 0x06,
					  0x01, 0x05, 0x05, 0x02, 0xa0, 0x00 };
	uint8_t token[HVRI_GSS_TOKEN_MAX + 1];

	memcpy(called.token, spnego, sizeof(spnego));
	called.token_length = sizeof(spnego);
	refused(HVRI_REFUSE_TOKEN, "no krb5 token");
	begin();
	memcpy(token, caller.token, caller.token_length);
	ck_assert(hvri_gss_token_is(token, caller.token_length,
				    HVRI_GSS_AP_REQ));
	ck_assert(!hvri_gss_token_is(token, caller.token_length,
				     HVRI_GSS_AP_REP));
	ck_assert(!hvri_gss_token_is(token, caller.token_length + 1,
				     HVRI_GSS_AP_REQ));
	token[13] ^= 1; /* The mechanism. */
	ck_assert(!hvri_gss_token_is(token, caller.token_length,
				     HVRI_GSS_AP_REQ));
}
END_TEST

static void fill_cache(const char *cache, unsigned seconds)
{
	char command[3 * TEMPDIR_PATH_MAX], path[TEMPDIR_PATH_MAX];

	snprintf(command, sizeof(command), "kinit -k -t %s -c %s -l %us %s",
		 kdc_keytab(&kdc, "east.test", path), cache, seconds, EAST);
	ck_assert_int_eq(system(command), 0);
}

/* With tickets that the application looks after, of a few seconds. */
static bool proved_by(struct hvri_kerberos *given)
{
	hvri_gss_free(&caller);
	hvri_gss_init(&caller, given, WEST, one);
	hvri_gss_free(&called);
	hvri_gss_init(&called, west, NULL, one);
	if (hvri_gss_begin(&caller) != HVREPL_OK)
		return false;
	hand_over(&caller, &called);
	if (hvri_gss_answer(&called) != HVREPL_OK)
		return false;
	hand_over(&called, &caller);
	return hvri_gss_finish(&caller) == HVREPL_OK;
}

/* From now on the realm allows clocks to differ by two seconds, not by a minute: a
 * token may be long on its way on a slow machine where it is to be taken. */
static void be_strict(void)
{
	char command[3 * TEMPDIR_PATH_MAX], path[TEMPDIR_PATH_MAX];

	snprintf(command, sizeof(command),
		 "sed 's/clockskew = .*/clockskew = 2/' %.400s/krb5.conf "
		 ">%.400s/strict.conf", kdc.dir.path, kdc.dir.path);
	ck_assert_int_eq(system(command), 0);
	setenv("KRB5_CONFIG", tempdir_join(&kdc.dir, "strict.conf", path), 1);
}

START_TEST(late_tokens_and_expired_tickets_are_refused)
{
	char cache[TEMPDIR_PATH_MAX + 8];
	struct timespec pause = { 1, 500000000 };
	struct hvri_kerberos *given;
	struct hvri_gss brief;
	unsigned seconds = 3;

	snprintf(cache, sizeof(cache), "FILE:%.400s/given", kdc.dir.path);
	given = credentials(NULL, cache, NULL);
	hvri_gss_init(&caller, given, WEST, one);
	ck_assert_int_eq(hvri_gss_begin(&caller), HVREPL_E_UNAUTHENTICATED);
	SPEAKS(caller, "/given");
	fill_cache(cache, seconds);
	while (!proved_by(given)) { /* They are over: the machine is slow. */
		ck_assert_msg(seconds < 48, "%s %s", caller.error.sentence,
			      called.error.sentence);
		seconds *= 2;
		fill_cache(cache, seconds);
	}
	ck_assert_str_eq(called.peer, EAST);
	hvri_gss_free(&caller);
	/* A token of a good ticket, and one of a ticket of two seconds, which may
	 * be over before there is one. */
	hvri_gss_init(&caller, east, WEST, one);
	begin();
	hvri_gss_init(&brief, east, "hvrepl/brief.test@HVREPL.TEST", one);
	for (int i = 0; i < 20 && hvri_gss_begin(&brief) != HVREPL_OK; i++) {
		hvri_gss_free(&brief);
		hvri_gss_init(&brief, east, "hvrepl/brief.test@HVREPL.TEST",
			      one);
	}
	ck_assert_uint_gt(brief.token_length, 0);
	pause.tv_sec += (time_t)seconds;
	nanosleep(&pause, NULL);
	be_strict();
	hvri_gss_free(&called);
	hvri_gss_init(&called, west, NULL, one);
	hand_over(&caller, &called);
	refused(HVRI_REFUSE_CLOCK, "clock and ours differ");
	hvri_kerberos_free(west);
	west = credentials("brief.test", NULL, "hvrepl/brief.test");
	hvri_gss_init(&called, west, NULL, one);
	hand_over(&brief, &called);
	ck_assert_int_eq(hvri_gss_answer(&called), HVREPL_E_UNAUTHENTICATED);
	/* Whichever MIT looks at first: late it is. */
	ck_assert(called.refusal == HVRI_REFUSE_EXPIRED ||
		  called.refusal == HVRI_REFUSE_CLOCK);
	hvri_gss_free(&brief);
	hvri_gss_free(&caller);
	hvri_gss_init(&caller, given, WEST, one);
	ck_assert_int_eq(hvri_gss_begin(&caller), HVREPL_E_UNAUTHENTICATED);
	SPEAKS(caller, "expired");
	hvri_kerberos_free(given);
	kdc_use(&kdc);
}
END_TEST

START_TEST(a_kdc_that_is_down_is_named_and_tickets_outlive_it)
{
	static const char *const principals[] = { "hvrepl/east.test",
						  "hvrepl/west.test", NULL };
	struct kdc shared = kdc;

	/* One that this test may end. */
	teardown();
	kdc_make(&kdc, principals);
	setup();
	begin();
	kdc_stop(&kdc);
	hvri_gss_free(&caller);
	hvri_gss_init(&caller, east, WEST, one);
	proved(); /* With the ticket we have. */
	hvri_gss_free(&caller);
	hvri_gss_init(&caller, east, WEST, one);
	caller.fresh = true;
	ck_assert_int_eq(hvri_gss_begin(&caller), HVREPL_E_UNAVAILABLE);
	SPEAKS(caller, "no KDC answers");
	/* A vain try to renew costs nothing. */
	hvri_gss_init(&caller, east, WEST, one);
	begin();
	kdc_remove(&kdc);
	kdc = shared;
	kdc_use(&kdc);
}
END_TEST

int main(void)
{
	static const char *const principals[] = {
		"hvrepl/east.test", "hvrepl/west.test", "hvrepl/north.test",
		"hvrepl/gone.test", "hvrepl/stale.test",
		"hvrepl/brief.test=-maxlife 2sec",
		"hvrepl/weak.test=-e arcfour-hmac:normal", NULL,
	};
	Suite *suite = suite_create("Kerberos");
	TCase *tc = tcase_create("proofs");
	int failed;

	setenv("KDC_ENCTYPES", "aes256-cts-hmac-sha384-192 "
	       "aes128-cts-hmac-sha256-128 arcfour-hmac", 1);
	setenv("KDC_CLOCKSKEW", "60", 1);
	kdc_make(&kdc, principals);
	kdc_admin(&kdc, "cpw -randkey hvrepl/stale.test");
	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, both_sides_prove_themselves_and_have_one_key);
	tcase_add_test(tc, two_proofs_over_one_connection_have_different_keys);
	tcase_add_test(tc, tickets_are_kept_and_renewed_on_demand);
	tcase_add_test(tc, a_peer_that_the_kdc_does_not_know_is_named);
	tcase_add_test(tc, we_are_named_when_the_kdc_has_lost_us);
	tcase_add_test(tc, a_ticket_for_another_principal_is_refused);
	tcase_add_test(tc, a_keytab_that_is_behind_the_kdc_is_named);
	tcase_add_test(tc, bad_keytabs_are_refused_when_they_are_named);
	tcase_add_test(tc, names_have_one_spelling);
	tcase_add_test(tc, a_proof_for_another_connection_is_refused);
	tcase_add_test(tc, a_proof_that_is_bound_to_nothing_is_refused);
	tcase_add_test(tc, a_proof_without_a_protection_is_refused);
	tcase_add_test(tc, a_session_key_that_is_not_aes_is_refused);
	tcase_add_test(tc, a_proof_serves_once);
	tcase_add_test(tc, a_changed_token_proves_nothing);
	tcase_add_test(tc, a_changed_answer_proves_nothing);
	tcase_add_test(tc, another_mechanism_is_refused_before_it_is_parsed);
	tcase_add_test(tc, late_tokens_and_expired_tickets_are_refused);
	tcase_add_test(tc, a_kdc_that_is_down_is_named_and_tickets_outlive_it);
	suite_add_tcase(suite, tc);
	failed = test_run(suite);
	kdc_remove(&kdc);
	return failed;
}
