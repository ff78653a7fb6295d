/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation lists, the application's word, and pins: who is kept out. */
#define _GNU_SOURCE
#include "tlspair.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char list_path[TEMPDIR_PATH_MAX];

/* Credentials of `name` that look at DIR/FILE. */
static hvrepl_tls *looking_at(const char *name, const char *file,
			      uint32_t flags)
{
	struct hvrepl_tls_options options = options_for(name, "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *tls;

	options.crl = tempdir_join(&dir, file, list_path);
	options.flags = flags;
	ck_assert_msg(hvrepl_tls_create(&options, &tls, &error) == HVREPL_OK,
		      "%s", error.sentence);
	return tls;
}

/* Ours is called by `peer`, and calls it. */
static void meet(struct link *link, hvrepl_tls *ours, const char *peer,
		 bool ours_is_server)
{
	hvrepl_tls *theirs = credentials(peer, "ca");

	if (ours_is_server)
		open_link(link, theirs, ours, "replica.test", NULL, 0);
	else
		open_link(link, ours, theirs, peer, NULL, 0);
	shake(link);
	close_link(link);
	hvrepl_tls_destroy(theirs);
}

/* What our side says of that peer; the link's other side in *link. */
static int32_t judge(struct link *link, hvrepl_tls *ours, const char *peer,
		     uint32_t *check_out)
{
	meet(link, ours, peer, true);
	*check_out = hvri_tls_check_of(link->server.verify_error);
	return link->server_rc;
}

START_TEST(a_revoked_certificate_is_refused_on_either_side)
{
	static const char *const revoked[] = { "primary.test" };
	hvrepl_tls *ours;
	struct link link;
	uint32_t check;

	pki_good(ca, &dir, "other.test");
	pki_list(ca, &dir, "list.crl", revoked, 1, -60, 3600);
	ours = looking_at("replica.test", "list.crl", 0);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOKED);
	ck_assert_uint_eq(link.server.step, HVREPL_STEP_CERTIFICATE);
	assert_says(link.server_error, "primary.test was revoked (serial ");
	ck_assert_int_eq(link.client_rc, HVREPL_E_PEER_REFUSED);
	assert_says(link.client_error, "it was revoked");
	meet(&link, ours, "primary.test", false);
	ck_assert_int_eq(link.client_rc, HVREPL_E_UNAUTHENTICATED);
	assert_says(link.client_error, "primary.test was revoked");
	ck_assert_int_eq(judge(&link, ours, "other.test", &check), HVREPL_OK);
	hvrepl_tls_destroy(ours);
}
END_TEST

START_TEST(without_word_from_its_ca_a_peer_is_refused_unless_that_is_allowed)
{
	static const char *const revoked[] = { "primary.test" };
	hvrepl_tls *ours;
	struct link link;
	uint32_t check;

	pki_list(evil, &dir, "list.crl", NULL, 0, -60, 3600);
	ours = looking_at("replica.test", "list.crl", 0);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOCATION_UNKNOWN);
	assert_says(link.server_error, "no revocation list of /CN=ca");
	ck_assert_int_eq(link.client_rc, HVREPL_E_PEER_REFUSED);
	assert_says(link.client_error, "not accepted there");
	hvrepl_tls_destroy(ours);
	ours = looking_at("replica.test", "list.crl", HVREPL_TLS_ALLOW_UNKNOWN);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check), HVREPL_OK);
	hvrepl_tls_destroy(ours);
	/* That is no pardon. */
	pki_list(ca, &dir, "list.crl", revoked, 1, -60, 3600);
	ours = looking_at("replica.test", "list.crl", HVREPL_TLS_ALLOW_UNKNOWN);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOKED);
	hvrepl_tls_destroy(ours);
}
END_TEST

START_TEST(a_list_past_its_end_keeps_all_out_unless_that_is_allowed)
{
	static const char *const revoked[] = { "primary.test" };
	const struct { uint32_t flags; bool other_in; } cases[] = {
		{ 0, false },
		{ HVREPL_TLS_ALLOW_UNKNOWN, false },
		{ HVREPL_TLS_ALLOW_STALE, true },
	};
	struct link link;
	uint32_t check;

	pki_good(ca, &dir, "other.test");
	pki_list(ca, &dir, "list.crl", revoked, 1, -3600, -60);
	for (size_t i = 0; i < 3; i++) {
		hvrepl_tls *ours = looking_at("replica.test", "list.crl",
					      cases[i].flags);
		int32_t rc = judge(&link, ours, "other.test", &check);

		ck_assert_int_eq(rc, cases[i].other_in ?
					     HVREPL_OK :
					     HVREPL_E_UNAUTHENTICATED);
		if (rc < 0) {
			ck_assert_uint_eq(check,
					  HVREPL_CHECK_REVOCATION_STALE);
			assert_says(link.server_error, "past its end");
			/* Their certificate is not what has expired. */
			assert_says(link.client_error, "not accepted there");
		}
		ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
				 HVREPL_E_UNAUTHENTICATED);
		ck_assert_uint_eq(check, rc < 0 ?
						 HVREPL_CHECK_REVOCATION_STALE :
						 HVREPL_CHECK_REVOKED);
		hvrepl_tls_destroy(ours);
	}
	/* One that is not valid yet says nothing either; nor one of somebody
	 * who calls himself as the CA does. */
	pki_list(ca, &dir, "list.crl", NULL, 0, 600, 3600);
	for (int i = 0; i < 2; i++) {
		hvrepl_tls *ours = looking_at("replica.test", "list.crl",
					      HVREPL_TLS_ALLOW_STALE);
		struct pki_ca *same_name;
		struct tempdir elsewhere;

		ck_assert_int_eq(judge(&link, ours, "other.test", &check),
				 HVREPL_E_UNAUTHENTICATED);
		ck_assert_uint_eq(check, HVREPL_CHECK_REVOCATION_UNKNOWN);
		assert_says(link.server_error,
			    i == 0 ? "not valid yet" : "not signed by that CA");
		hvrepl_tls_destroy(ours);
		tempdir_make(&elsewhere);
		same_name = pki_ca_new(&elsewhere, "ca");
		pki_list(same_name, &dir, "list.crl", NULL, 0, -60, 3600);
		pki_ca_free(same_name);
		tempdir_remove(&elsewhere);
	}
}
END_TEST

START_TEST(a_part_of_a_list_is_no_word_and_is_called_so)
{
	static const enum pki_part parts[] = { PKI_PART_ATTRIBUTES,
					       PKI_PART_UNKNOWN };

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		hvrepl_tls *ours;
		struct link link;
		uint32_t check;

		pki_list(ca, &dir, "list.crl", NULL, 0, -60, 3600);
		pki_list_part(ca, &dir, "list.crl", parts[i]);
		ours = looking_at("replica.test", "list.crl", 0);
		ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
				 HVREPL_E_UNAUTHENTICATED);
		ck_assert_uint_eq(check, HVREPL_CHECK_REVOCATION_UNKNOWN);
		assert_says(link.server_error, "get that CA's full list");
		hvrepl_tls_destroy(ours);
	}
}
END_TEST

/* By a delta alone, whoever was revoked before it would be let in. */
START_TEST(a_delta_list_is_not_taken_and_the_list_before_stays_in_force)
{
	static const char *const revoked[] = { "primary.test" };
	struct hvrepl_tls_options options = options_for("replica.test", "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *ours, *other;
	struct link link;
	uint32_t check;

	pki_list(ca, &dir, "list.crl", revoked, 1, -60, 3600);
	ours = looking_at("replica.test", "list.crl", 0);
	pki_list(ca, &dir, "list.crl", NULL, 0, -30, 3600);
	pki_list_part(ca, &dir, "list.crl", PKI_PART_DELTA);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), HVREPL_E_INVALID);
	assert_says(error, "list.crl is a delta list");
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOKED);
	hvrepl_tls_destroy(ours);
	options.crl = list_path;
	ck_assert_int_eq(hvrepl_tls_create(&options, &other, &error),
			 HVREPL_E_INVALID);
}
END_TEST

START_TEST(every_certificate_below_the_anchor_is_looked_up)
{
	static const char *const middle_name[] = { "middle" };
	static const char *const leaf_name[] = { "leaf.test" };
	struct pki_ca *middle = pki_ca_below(ca, &dir, "middle");
	hvrepl_tls *ours;
	struct link link;
	uint32_t check;
	char path[TEMPDIR_PATH_MAX];

	pki_good(middle, &dir, "leaf.test");
	pki_append(&dir, "leaf.test.pem", "middle.pem");
	ck_assert_int_eq(mkdir(tempdir_join(&dir, "lists", path), 0700), 0);
	/* Only the anchor's list, only the intermediate's, both. */
	pki_list(ca, &dir, "lists/ca.crl", NULL, 0, -60, 3600);
	ours = looking_at("replica.test", "lists", 0);
	ck_assert_int_eq(judge(&link, ours, "leaf.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOCATION_UNKNOWN);
	assert_says(link.server_error, "no revocation list of /CN=middle");
	pki_list(middle, &dir, "lists/middle.pem", NULL, 0, -60, 3600);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, NULL), 1);
	ck_assert_int_eq(judge(&link, ours, "leaf.test", &check), HVREPL_OK);
	ck_assert_int_eq(unlink(tempdir_join(&dir, "lists/ca.crl", path)), 0);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, NULL), 1);
	ck_assert_int_eq(judge(&link, ours, "leaf.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	assert_says(link.server_error, "no revocation list of /CN=ca");
	/* The intermediate's own end. */
	pki_list(ca, &dir, "lists/ca.crl", middle_name, 1, -60, 3600);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, NULL), 1);
	ck_assert_int_eq(judge(&link, ours, "leaf.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOKED);
	assert_says(link.server_error, "/CN=middle");
	/* And the leaf's, by the intermediate. */
	pki_list(ca, &dir, "lists/ca.crl", NULL, 0, -60, 3600);
	pki_list(middle, &dir, "lists/middle.pem", leaf_name, 1, -60, 3600);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, NULL), 1);
	ck_assert_int_eq(judge(&link, ours, "leaf.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOKED);
	hvrepl_tls_destroy(ours);
	pki_ca_free(middle);
}
END_TEST

START_TEST(a_changed_list_counts_and_a_damaged_one_leaves_the_old_in_force)
{
	static const char *const revoked[] = { "primary.test" };
	struct hvrepl_tls_info info = HVREPL_TLS_INFO_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char path[TEMPDIR_PATH_MAX];
	hvrepl_tls *ours;
	struct link link;
	uint32_t check;
	FILE *file;

	pki_list(ca, &dir, "list.crl", NULL, 0, -60, 1800);
	ours = looking_at("replica.test", "list.crl", 0);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, NULL), 0);
	pki_list(ca, &dir, "list.crl", revoked, 1, -60, 3600);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, NULL), 1);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
	ck_assert_uint_eq(info.lists, 1);
	ck_assert_uint_eq(info.reads, 2);
	ck_assert_str_eq(info.list_issuer, "/CN=ca");
	ck_assert_uint_eq(info.list_until_utc_ns - info.list_from_utc_ns,
			  3660000000000u);
	/* Half a file, as a copy under way leaves it. */
	file = fopen(tempdir_join(&dir, "list.crl", path), "r+");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(ftruncate(fileno(file), 100), 0);
	fclose(file);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), HVREPL_E_INVALID);
	assert_says(error, "is damaged");
	ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), 0); /* Once. */
	ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
	ck_assert_int_eq(info.last_code, HVREPL_E_INVALID);
	ck_assert_ptr_nonnull(strstr(info.sentence, "list.crl"));
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	/* A reload does not take half of what there is either. */
	ck_assert_int_eq(hvrepl_tls_reload(ours, &error), HVREPL_E_INVALID);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	pki_list(ca, &dir, "list.crl", NULL, 0, -60, 3600);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), 1);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
	ck_assert_int_eq(info.last_code, HVREPL_OK);
	/* New lists do not hide that the certificate could not be read. */
	ck_assert_int_eq(truncate(tempdir_join(&dir, "replica.test.pem", path),
				  10),
			 0);
	ck_assert_int_eq(hvrepl_tls_reload(ours, NULL), HVREPL_E_INVALID);
	pki_list(ca, &dir, "list.crl", NULL, 0, -60, 3600);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), 1);
	ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
	ck_assert_int_eq(info.last_code, HVREPL_E_INVALID);
	hvrepl_tls_destroy(ours);
}
END_TEST

/* No descriptor is to be had for a while: the list itself is in order. */
START_TEST(a_list_that_could_not_be_read_for_a_moment_is_tried_again)
{
	static const char *const revoked[] = { "primary.test" };
	struct hvrepl_tls_info info = HVREPL_TLS_INFO_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct rlimit limit, none;
	hvrepl_tls *ours;
	struct link link;
	uint32_t check;

	pki_list(ca, &dir, "list.crl", NULL, 0, -60, 1800);
	ours = looking_at("replica.test", "list.crl", 0);
	pki_list(ca, &dir, "list.crl", revoked, 1, -60, 3600);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
		ck_assert_int_lt(hvrepl_tls_refresh(ours, &error), 0);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_int_eq(error.sys_errno, EMFILE);
		error.sys_errno = 0;
	}
	ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
	ck_assert_int_lt(info.last_code, 0);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), 1);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_REVOKED);
	ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
	ck_assert_int_eq(info.last_code, HVREPL_OK);
	hvrepl_tls_destroy(ours);
}
END_TEST

START_TEST(lists_that_come_back_as_they_were_end_the_complaint)
{
	struct hvrepl_tls_info info = HVREPL_TLS_INFO_INIT;
	char lists[TEMPDIR_PATH_MAX], away[TEMPDIR_PATH_MAX];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char path[TEMPDIR_PATH_MAX];
	hvrepl_tls *ours;

	ck_assert_int_eq(mkdir(tempdir_join(&dir, "lists", lists), 0700), 0);
	pki_list(ca, &dir, "lists/ca.crl", NULL, 0, -60, 3600);
	ours = looking_at("replica.test", "lists", 0);
	tempdir_join(&dir, "away", away);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(rename(lists, away), 0);
		ck_assert_int_eq(hvrepl_tls_refresh(ours, &error),
				 HVREPL_E_NOT_FOUND);
		ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), 0);
		ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
		ck_assert_int_eq(info.last_code, HVREPL_E_NOT_FOUND);
		ck_assert_int_eq(rename(away, lists), 0);
		ck_assert_int_eq(hvrepl_tls_refresh(ours, &error), 0);
		ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
		ck_assert_int_eq(info.last_code, HVREPL_OK);
	}
	ck_assert_uint_eq(info.reads, 1);
	/* That says nothing of a certificate that could not be read. */
	ck_assert_int_eq(truncate(tempdir_join(&dir, "replica.test.pem", path),
				  10),
			 0);
	ck_assert_int_eq(hvrepl_tls_reload(ours, NULL), HVREPL_E_INVALID);
	ck_assert_int_eq(hvrepl_tls_refresh(ours, NULL), 0);
	ck_assert_int_eq(hvrepl_tls_get_info(ours, &info), HVREPL_OK);
	ck_assert_int_eq(info.last_code, HVREPL_E_INVALID);
	hvrepl_tls_destroy(ours);
}
END_TEST

START_TEST(a_directory_without_lists_is_refused_at_once)
{
	struct hvrepl_tls_options options = options_for("replica.test", "ca");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	char empty[TEMPDIR_PATH_MAX], path[TEMPDIR_PATH_MAX];
	char inside[TEMPDIR_PATH_MAX];
	hvrepl_tls *tls;

	options.crl = tempdir_join(&dir, "empty", empty);
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
			 HVREPL_E_NOT_FOUND);
	assert_says(error, "cannot read the revocation lists");
	ck_assert_int_eq(mkdir(empty, 0700), 0);
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
			 HVREPL_E_NOT_FOUND);
	assert_says(error, "there is no revocation list in");
	/* What is made beside a list does not count; what is none is named. */
	ck_assert_int_eq(rename(tempdir_join(&dir, "evil.pem", inside),
				tempdir_join(&dir, "empty/evil.pem~", path)),
			 0);
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(rename(path, tempdir_join(&dir, "empty/evil.pem",
						   inside)),
			 0);
	ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
			 HVREPL_E_INVALID);
	assert_says(error, "evil.pem is not a revocation list");
}
END_TEST

/* The application's word. */
static struct {
	int32_t answer[2]; /* By depth. */
	unsigned asked[2];
	char pin[HVRI_TLS_PIN_TEXT];
} word;

static int32_t answer(void *user,
		      const struct hvrepl_tls_certificate *certificate)
{
	const unsigned char *der = certificate->der;
	X509 *cert = d2i_X509(NULL, &der, (long)certificate->der_length);

	ck_assert_ptr_nonnull(cert);
	X509_free(cert);
	ck_assert_ptr_eq(user, &word);
	ck_assert_uint_lt(certificate->depth, 2);
	ck_assert_str_eq(certificate->peer, "leaf.test");
	if (certificate->depth == 0)
		hvri_tls_pin_text(certificate->pin, word.pin);
	word.asked[certificate->depth]++;
	return word.answer[certificate->depth];
}

START_TEST(the_applications_word_counts_for_the_whole_chain)
{
	struct pki_ca *middle = pki_ca_below(ca, &dir, "middle");
	struct hvrepl_tls_options options;
	char pin[PKI_PIN];
	struct link link;
	uint32_t check;

	pki_good(middle, &dir, "leaf.test");
	pki_pin(&dir, "leaf.test", pin);
	pki_append(&dir, "leaf.test.pem", "middle.pem");
	for (int depth = 0; depth < 2; depth++) {
		static const int32_t answers[] = { HVREPL_TLS_GOOD,
						   HVREPL_TLS_REVOKED,
						   HVREPL_TLS_UNKNOWN, 77,
						   -1 };

		for (int i = 0; i < 10; i++) {
			bool allowed = i >= 5;
			hvrepl_tls *ours;
			int32_t rc;

			memset(&word, 0, sizeof(word));
			word.answer[depth] = answers[i % 5];
			options = options_for("replica.test", "ca");
			options.revocation = answer;
			options.user = &word;
			options.flags = allowed ? HVREPL_TLS_ALLOW_UNKNOWN : 0;
			ck_assert_int_eq(hvrepl_tls_create(&options, &ours,
							   NULL),
					 HVREPL_OK);
			rc = judge(&link, ours, "leaf.test", &check);
			if (i % 5 == 0 || (i % 5 > 1 && allowed)) {
				ck_assert_int_eq(rc, HVREPL_OK);
				ck_assert_uint_eq(word.asked[0], 1);
				ck_assert_uint_eq(word.asked[1], 1);
				ck_assert_str_eq(word.pin, pin);
			} else {
				ck_assert_int_eq(rc, HVREPL_E_UNAUTHENTICATED);
				ck_assert_uint_eq(
					check,
					i % 5 == 1 ?
						HVREPL_CHECK_REVOKED :
						HVREPL_CHECK_REVOCATION_UNKNOWN);
				assert_says(link.server_error,
					    depth == 0 ? "/CN=leaf.test" :
							 "/CN=middle");
			}
			hvrepl_tls_destroy(ours);
		}
	}
	pki_ca_free(middle);
}
END_TEST

static hvrepl_tls *pinned(const char *authority, const char *pin,
			  const char *backup)
{
	struct hvrepl_tls_options options =
		options_for("replica.test", authority);
	struct hvrepl_tls_pin pins[] = { { "else.test", pin, backup },
					 { "Primary.test", pin, backup } };
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *tls;

	options.pins = pins;
	options.pin_count = 2;
	ck_assert_msg(hvrepl_tls_create(&options, &tls, &error) == HVREPL_OK,
		      "%s", error.sentence);
	return tls;
}

START_TEST(a_peer_with_pins_has_one_of_the_two_keys)
{
	char first[PKI_PIN], second[PKI_PIN], third[PKI_PIN];
	hvrepl_tls *ours;
	struct link link;
	uint32_t check;

	pki_pin(&dir, "primary.test", first);
	pki_good(ca, &dir, "spare.test");
	pki_pin(&dir, "spare.test", second);
	ours = pinned("ca", first, second);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check), HVREPL_OK);
	/* A renewal with the same key; one that has no pins. */
	pki_renew(ca, &dir, "primary.test", "DNS:primary.test", -60, 7200);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check), HVREPL_OK);
	ck_assert_int_eq(judge(&link, ours, "spare.test", &check), HVREPL_OK);
	hvrepl_tls_destroy(ours);
	ours = pinned("ca", second, first);
	meet(&link, ours, "primary.test", false);
	ck_assert_int_eq(link.client_rc, HVREPL_OK);
	/* A new key, though the CA signed it. */
	pki_good(ca, &dir, "primary.test");
	pki_pin(&dir, "primary.test", third);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_PIN);
	assert_says(link.server_error, "neither its pin nor its backup pin");
	assert_says(link.server_error, third);
	ck_assert_int_eq(link.client_rc, HVREPL_E_PEER_REFUSED);
	meet(&link, ours, "primary.test", false);
	ck_assert_int_eq(link.client_rc, HVREPL_E_UNAUTHENTICATED);
	hvrepl_tls_destroy(ours);
	/* The right key of the wrong CA. */
	ours = pinned("evil", third, second);
	ck_assert_int_eq(judge(&link, ours, "primary.test", &check),
			 HVREPL_E_UNAUTHENTICATED);
	ck_assert_uint_eq(check, HVREPL_CHECK_CHAIN);
	hvrepl_tls_destroy(ours);
}
END_TEST

START_TEST(pins_that_would_lock_a_site_out_are_refused)
{
	static const char a[] = "sha256:000102030405060708090a0b0c0d0e0f"
				"101112131415161718191A1B1C1D1E1F";
	static const char b[] = "sha256:ff0102030405060708090a0b0c0d0e0f"
				"101112131415161718191A1B1C1D1E1F";
	static const struct {
		struct hvrepl_tls_pin pins[2];
		const char *words;
	} cases[] = {
		{ { { "a.test", a, NULL } }, "needs a backup pin" },
		{ { { "a.test", NULL, b } }, "needs a backup pin" },
		{ { { "a.test", a, a } }, "is its pin" },
		{ { { "a.test", a, b + 1 } }, "64 hexadecimal digits" },
		{ { { "a.test", a + 7, b } }, "64 hexadecimal digits" },
		{ { { "a.test", a, "sha256:00" } }, "64 hexadecimal digits" },
		{ { { "*.test", a, b } }, "name of its peer" },
		{ { { "a.test", a, b }, { "A.test.", b, a } }, "twice" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hvrepl_tls_options options =
			options_for("replica.test", "ca");
		struct hvrepl_error error = HVREPL_ERROR_INIT;
		hvrepl_tls *tls;

		options.pins = cases[i].pins;
		options.pin_count = cases[i].pins[1].peer != NULL ? 2 : 1;
		ck_assert_int_eq(hvrepl_tls_create(&options, &tls, &error),
				 HVREPL_E_INVALID);
		assert_says(error, cases[i].words);
	}
}
END_TEST

START_TEST(options_of_another_size_are_understood)
{
	struct { struct hvrepl_tls_options options; uint64_t more; } newer = {
		options_for("replica.test", "ca"), 0
	};
	struct hvrepl_tls_options old = newer.options;
	struct hvrepl_tls_info info = { .struct_size = 8, .reads = 99 };
	hvrepl_tls *tls;

	/* Before there were lists: what lies behind is not looked at. */
	old.struct_size = offsetof(struct hvrepl_tls_options, crl);
	old.crl = (const char *)1;
	ck_assert_int_eq(hvrepl_tls_create(&old, &tls, NULL), HVREPL_OK);
	ck_assert_int_eq(hvrepl_tls_get_info(tls, &info), HVREPL_OK);
	ck_assert_uint_eq(info.reads, 99);
	hvrepl_tls_destroy(tls);
	newer.options.struct_size = sizeof(newer);
	ck_assert_int_eq(hvrepl_tls_create(&newer.options, &tls, NULL),
			 HVREPL_OK);
	hvrepl_tls_destroy(tls);
	newer.more = 1;
	ck_assert_int_eq(hvrepl_tls_create(&newer.options, &tls, NULL),
			 HVREPL_E_TOO_NEW);
	newer.options.struct_size = sizeof(newer.options);
	newer.options.flags = 1u << 31;
	ck_assert_int_eq(hvrepl_tls_create(&newer.options, &tls, NULL),
			 HVREPL_E_TOO_NEW);
	old.struct_size--;
	ck_assert_int_eq(hvrepl_tls_create(&old, &tls, NULL),
			 HVREPL_E_INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("TLS revocation");
	TCase *tc = tcase_create("trust");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_revoked_certificate_is_refused_on_either_side);
	tcase_add_test(tc, without_word_from_its_ca_a_peer_is_refused_unless_that_is_allowed);
	tcase_add_test(tc, a_list_past_its_end_keeps_all_out_unless_that_is_allowed);
	tcase_add_test(tc, a_part_of_a_list_is_no_word_and_is_called_so);
	tcase_add_test(tc, a_delta_list_is_not_taken_and_the_list_before_stays_in_force);
	tcase_add_test(tc, every_certificate_below_the_anchor_is_looked_up);
	tcase_add_test(tc, a_changed_list_counts_and_a_damaged_one_leaves_the_old_in_force);
	tcase_add_test(tc, a_list_that_could_not_be_read_for_a_moment_is_tried_again);
	tcase_add_test(tc, lists_that_come_back_as_they_were_end_the_complaint);
	tcase_add_test(tc, a_directory_without_lists_is_refused_at_once);
	tcase_add_test(tc, the_applications_word_counts_for_the_whole_chain);
	tcase_add_test(tc, a_peer_with_pins_has_one_of_the_two_keys);
	tcase_add_test(tc, pins_that_would_lock_a_site_out_are_refused);
	tcase_add_test(tc, options_of_another_size_are_understood);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
