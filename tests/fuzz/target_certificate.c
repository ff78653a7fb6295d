/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer's certificate: whatever bytes it is, its names have one spelling and no
 * star, and it is believed only if the CA signed just that. Of those that the CA did
 * sign (made here, from the input: names, usages, dates) exactly those are believed
 * that a second writing of the rule believes, and as whom it says.
 */
#include "backend/tls.h"
#include "fuzz.h"

#include <hvrepl/authorisation.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define NOW 1800000000 /* What the clock says; 2027. */
#define NAMES_MAX 8u
#define KNOWN_MAX 3u
#define TEXT_MAX 300u

/* Two authorities of one name; the first is believed. */
static struct {
	EVP_PKEY *key;
	X509 *cert;
} authorities[2];
static EVP_PKEY *leaf_key;
static X509_STORE *store;
static struct hvri_tls_sources sources;
static struct hvri_tls_context context;

static void extend(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	fuzz_must(extension != NULL && X509_add_ext(cert, extension, -1) == 1,
		  "an extension");
	X509_EXTENSION_free(extension);
}

static X509 *new_cert(const char *name, EVP_PKEY *key, long first, long last)
{
	X509 *cert = X509_new();

	fuzz_must(cert != NULL && X509_set_version(cert, 2) == 1 &&
			  ASN1_INTEGER_set(X509_get_serialNumber(cert), 7) ==
				  1 &&
			  ASN1_TIME_set(X509_getm_notBefore(cert),
					NOW + first) != NULL &&
			  ASN1_TIME_set(X509_getm_notAfter(cert), NOW + last) !=
				  NULL &&
			  X509_set_pubkey(cert, key) == 1 &&
			  X509_NAME_add_entry_by_txt(
				  X509_get_subject_name(cert), "CN",
				  MBSTRING_UTF8, (const unsigned char *)name,
				  -1, -1, 0) == 1,
		  "a certificate");
	return cert;
}

static void sign(X509 *cert, unsigned authority)
{
	fuzz_must(X509_set_issuer_name(
			  cert, X509_get_subject_name(
					authorities[authority].cert)) == 1 &&
			  X509_sign(cert, authorities[authority].key,
				    EVP_sha256()) > 0,
		  "a signature");
}

/* Made once. Which keys they are decides nothing. */
static void begin(void)
{
	if (store != NULL)
		return;
	for (unsigned i = 0; i < 2; i++) {
		authorities[i].key = EVP_EC_gen("P-256");
		fuzz_must(authorities[i].key != NULL, "a key");
		authorities[i].cert = new_cert("authority", authorities[i].key,
					       -3600, 3600);
		extend(authorities[i].cert, NID_basic_constraints,
		       "critical,CA:TRUE");
		sign(authorities[i].cert, i);
	}
	leaf_key = EVP_EC_gen("P-256");
	store = X509_STORE_new();
	fuzz_must(leaf_key != NULL && store != NULL &&
			  X509_STORE_add_cert(store, authorities[0].cert) == 1,
		  "a store");
	context.sources = &sources;
}

static bool verify(struct hvri_tls_session *session, X509 *cert)
{
	X509_STORE_CTX *look = X509_STORE_CTX_new();
	bool believed;

	session->context = &context;
	fuzz_must(look != NULL &&
			  X509_STORE_CTX_init(look, store, cert, NULL) == 1,
		  "no memory");
	X509_STORE_CTX_set_time(look, 0, NOW);
	believed = hvri_tls_verify(session, look, false);
	fuzz_must(believed == (session->verify_error == X509_V_OK),
		  "refused without a reason, or believed with one");
	X509_STORE_CTX_free(look);
	ERR_clear_error();
	return believed;
}

static void check_names(const struct hvri_tls_names *names)
{
	char again[HVREPL_PEER_NAME_MAX + 1];

	fuzz_must(names->count <= HVRI_TLS_NAMES_MAX &&
			  names->dns_count <= names->count,
		  "more names than there may be");
	for (uint32_t i = 0; i < names->count; i++) {
		const char *name = names->names[i];

		fuzz_must(memchr(name, 0, HVREPL_PEER_NAME_MAX + 1) != NULL &&
				  name[0] != 0,
			  "a name without end, or none");
		fuzz_must(strpbrk(name, "* /\\\"'") == NULL, "such a name");
		fuzz_must(hvri_tls_canonical(name, again) &&
				  strcmp(name, again) == 0,
			  "a name has two spellings");
	}
}

/* ---- Any bytes. ---- */

static X509 *good_leaf(void)
{
	X509 *cert = new_cert("west", leaf_key, -60, 60);

	extend(cert, NID_subject_alt_name, "DNS:west.test");
	extend(cert, NID_ext_key_usage, "serverAuth,clientAuth");
	sign(cert, 0);
	return cert;
}

/* The signature is of these bytes; around it a certificate may be encoded in more
 * ways than one. */
static bool is_ours(X509 *cert)
{
	static unsigned char *ours;
	static int ours_length;
	unsigned char *theirs = NULL;
	int length;
	bool same;

	if (ours == NULL) {
		X509 *good = good_leaf();

		ours_length = i2d_re_X509_tbs(good, &ours);
		X509_free(good);
	}
	length = i2d_re_X509_tbs(cert, &theirs);
	same = length > 0 && length == ours_length &&
	       memcmp(theirs, ours, (size_t)length) == 0;
	OPENSSL_free(theirs);
	return same;
}

static void raw(const uint8_t *bytes, size_t length)
{
	const unsigned char *at = bytes;
	X509 *cert = d2i_X509(NULL, &at, (long)length);
	struct hvri_tls_session session = { .server = true };
	struct hvri_tls_names names;
	uint8_t digest[32];

	if (cert == NULL) {
		ERR_clear_error();
		return;
	}
	if (hvri_tls_names_of(cert, &names) == HVREPL_OK) {
		check_names(&names);
		hvri_tls_names_free(&names);
	}
	(void)hvri_tls_has_both_usages(cert);
	(void)hvri_tls_not_after(cert);
	(void)hvri_tls_key_digest(cert, digest);
	if (verify(&session, cert)) {
		fuzz_must(is_ours(cert), "what the CA did not sign is believed");
		fuzz_must(strcmp(session.peer, "west.test") == 0,
			  "as somebody else");
	}
	X509_free(cert);
}

/* ---- What the CA signed, whatever it was asked for. ---- */

struct made {
	X509 *cert;
	bool ours, in_time, usages;
	char names[NAMES_MAX][HVREPL_PEER_NAME_MAX + 1];
	bool address[NAMES_MAX];
	unsigned count;
};

static const uint8_t *text_of(struct fuzz_in *in, size_t *length_out)
{
	*length_out = fuzz_u8(in) + (fuzz_u8(in) == 255 ? 45u : 0u);
	return fuzz_take(in, length_out);
}

static void add_name(GENERAL_NAMES *all, int type, const uint8_t *bytes,
		     size_t length)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *text = type == GEN_IPADD ? ASN1_OCTET_STRING_new() :
						ASN1_IA5STRING_new();

	fuzz_must(name != NULL && text != NULL &&
			  ASN1_STRING_set(text, bytes, (int)length) == 1 &&
			  sk_GENERAL_NAME_push(all, name) > 0,
		  "no memory");
	GENERAL_NAME_set0_value(name, type, text);
}

/* A name that the rule takes from it, if any. */
static void note_name(struct made *made, int type, const uint8_t *bytes,
		      size_t length)
{
	char *out = made->names[made->count], text[TEXT_MAX + 1];

	if (type == GEN_IPADD && (length == 4 || length == 16)) {
		char colons[64] = "";

		for (size_t i = 0; i < length; i += length == 4 ? 1 : 2)
			snprintf(colons + strlen(colons),
				 sizeof(colons) - strlen(colons),
				 length == 4 ? "%s%u" : "%s%x",
				 i == 0	     ? "" :
				 length == 4 ? "." :
					       ":",
				 length == 4 ? bytes[i] :
					       bytes[i] << 8 | bytes[i + 1]);
		if (hvri_tls_canonical(colons, out))
			made->address[made->count++] = true;
	}
	if (type != GEN_DNS || length == 0 || length > HVREPL_PEER_NAME_MAX ||
	    memchr(bytes, 0, length) != NULL)
		return;
	memcpy(text, bytes, length);
	text[length] = 0;
	if (hvri_tls_canonical(text, out))
		made->address[made->count++] = false;
}

static void make(struct fuzz_in *in, struct made *made)
{
	static const int types[] = { GEN_DNS, GEN_DNS, GEN_IPADD, GEN_EMAIL,
				     GEN_URI };
	static const long dates[][2] = { { -60, 60 }, { -60, 60 }, { -60, -1 },
					 { 1, 60 } };
	static const char *const usages[] = { "serverAuth,clientAuth",
					      "clientAuth,serverAuth,codeSigning",
					      "serverAuth", "clientAuth" };
	GENERAL_NAMES *all = GENERAL_NAMES_new();
	uint8_t how = fuzz_u8(in), date = fuzz_u8(in) % 4;
	uint8_t usage = fuzz_u8(in) % 5, count = fuzz_u8(in) % (NAMES_MAX + 1);

	memset(made, 0, sizeof(*made));
	fuzz_must(all != NULL, "no memory");
	made->ours = how % 8 != 0;
	made->in_time = date < 2;
	made->usages = usage < 2;
	made->cert = new_cert("leaf", leaf_key, dates[date][0], dates[date][1]);
	for (unsigned i = 0; i < count; i++) {
		int type = types[fuzz_u8(in) % 5];
		size_t length;
		const uint8_t *bytes = text_of(in, &length);

		if (type == GEN_IPADD && length > 4)
			length = length < 16 ? 4 : 16;
		add_name(all, type, bytes, length);
		note_name(made, type, bytes, length);
	}
	if (count > 0)
		fuzz_must(X509_add1_ext_i2d(made->cert, NID_subject_alt_name,
					    all, 0, 0) == 1,
			  "names");
	GENERAL_NAMES_free(all);
	if (usage < 4)
		extend(made->cert, NID_ext_key_usage, usages[usage]);
	sign(made->cert, made->ours ? 0 : 1);
}

static bool has(const struct made *made, const char *name)
{
	for (unsigned i = 0; i < made->count; i++)
		if (strcmp(made->names[i], name) == 0)
			return true;
	return false;
}

/* Is it let in by that entry of the list, and may it be as `peer`? */
static bool lets_in(const struct made *made, const char *known,
		    const char *peer)
{
	char exact[HVREPL_PEER_NAME_MAX + 1];

	if (hvri_tls_canonical(known, exact) && has(made, exact))
		return peer == NULL || strcmp(peer, exact) == 0;
	for (unsigned i = 0; i < made->count; i++)
		if (known[0] == '*' && !made->address[i] &&
		    hvrepl_peer_pattern_matches(known, made->names[i]) == 1 &&
		    (peer == NULL || strcmp(peer, made->names[i]) == 0))
			return true;
	return false;
}

static void signed_by_the_ca(struct fuzz_in *in)
{
	static char text[KNOWN_MAX][TEXT_MAX + 1];
	const char *known[KNOWN_MAX];
	struct hvri_tls_session session = { .server = fuzz_u8(in) % 2 == 0 };
	struct hvri_tls_names names;
	static struct made made;
	uint32_t count = fuzz_u8(in) % (KNOWN_MAX + 1);
	bool by_name = false, believed;

	for (uint32_t i = 0; i < count; i++) {
		size_t length;
		const uint8_t *bytes = text_of(in, &length);

		if (length > TEXT_MAX)
			length = TEXT_MAX;
		memcpy(text[i], bytes, length);
		text[i][length] = 0;
		known[i] = text[i];
	}
	if (session.server && count > 0) {
		session.known = known;
		session.known_count = count;
	} else if (!session.server &&
		   (count == 0 || !hvri_tls_canonical(text[0], session.expected))) {
		strcpy(session.expected, "west.test");
	}
	make(in, &made);
	fuzz_must(hvri_tls_names_of(made.cert, &names) == HVREPL_OK, "names");
	check_names(&names);
	fuzz_must(names.count == made.count, "a name is lost, or made up");
	hvri_tls_names_free(&names);
	believed = verify(&session, made.cert);
	if (!session.server)
		by_name = has(&made, session.expected);
	else if (session.known == NULL)
		by_name = made.count > 0;
	for (uint32_t i = 0; session.known != NULL && i < count; i++)
		by_name |= lets_in(&made, known[i], NULL);
	fuzz_must(believed == (made.ours && made.in_time && made.usages &&
			       by_name),
		  "believed, or not, against the rule");
	if (believed) {
		bool fits = session.known == NULL && has(&made, session.peer);

		for (uint32_t i = 0; session.known != NULL && i < count; i++)
			fits |= lets_in(&made, known[i], session.peer);
		fuzz_must(fits, "it is taken for somebody else");
	}
	X509_free(made.cert);
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };

	begin();
	if (fuzz_u8(&in) % 2 == 0)
		raw(in.at, in.left);
	else
		signed_by_the_ca(&in);
}

static void seeds(void)
{
	/* Server; one known; ours, in time, both usages, two names. */
	static const uint8_t pattern[] = "\1\0\1\6\0*.a.bc\1\0\0\2"
					 "\0\6\0w.a.bc\2\4\0\1\2\3\4";
	static const uint8_t client[] = "\1\1\1\4\0West\1\0\0\1\0\4\0wEsT";
	static const uint8_t nobody[] = "\1\0\0\1\0\1\3\0\3\0*.x\3\3\0a@b\0\2\0"
					"a\0";
	uint8_t bytes[2048] = { 0 };
	unsigned char *at = bytes + 1;
	X509 *good;

	begin();
	fuzz_seed(pattern, sizeof(pattern) - 1);
	fuzz_seed(client, sizeof(client) - 1);
	fuzz_seed(nobody, sizeof(nobody) - 1);
	good = good_leaf();
	fuzz_must(i2d_X509(good, NULL) < (int)sizeof(bytes) - 1, "room");
	fuzz_seed(bytes, 1 + (size_t)i2d_X509(good, &at));
	X509_free(good);
}

extern const struct fuzz_target fuzz_certificate;
const struct fuzz_target fuzz_certificate = { "certificate", one, seeds, NULL };
