/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Kerberos acceptor that strangers talk to, and the names they have. Nobody
 * here has the key, so nobody is proved, whatever the token; a token's outside
 * is accepted in exactly one encoding. A name has one spelling or none.
 */
#include "backend/gss/gss.h"
#include "fuzz.h"

#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELF "hvrepl/west.test@FUZZ.TEST"

/* Made once: a key that no input holds. */
static struct hvri_kerberos *credentials(void)
{
	static struct hvri_kerberos *made;
	static uint8_t key[32] = "nobody who fuzzes knows this key";
	struct hvrepl_kerberos_options options = HVREPL_KERBEROS_OPTIONS_INIT;
	krb5_keytab_entry entry = { .vno = 1, .timestamp = 1 };
	krb5_context context;
	krb5_keytab keytab;

	if (made != NULL)
		return made;
	setenv("KRB5_CONFIG", "/dev/null", 1);
	fuzz_must(krb5_init_context(&context) == 0, "krb5");
	/* It is there as long as it is open: to the end. */
	fuzz_must(krb5_kt_resolve(context, "MEMORY:fuzz", &keytab) == 0 &&
			  krb5_parse_name(context, SELF, &entry.principal) == 0,
		  "keytab");
	entry.key.enctype = ENCTYPE_AES256_CTS_HMAC_SHA1_96;
	entry.key.length = sizeof(key);
	entry.key.contents = key;
	fuzz_must(krb5_kt_add_entry(context, keytab, &entry) == 0, "key");
	krb5_free_principal(context, entry.principal);
	krb5_free_context(context);
	options.keytab = "MEMORY:fuzz";
	options.principal = SELF;
	fuzz_must(hvri_kerberos_new(&options, &made, NULL) == HVREPL_OK,
		  "credentials");
	return made;
}

static size_t put_length(uint8_t *out, size_t length)
{
	size_t at = 0;

	if (length >= 0x100)
		out[at++] = 0x82, out[at++] = (uint8_t)(length >> 8);
	else if (length >= 0x80)
		out[at++] = 0x81;
	out[at++] = (uint8_t)length;
	return at;
}

/* Behind `tag` and a length what is in `in`; `out` may be `in`. */
static size_t wrap(uint8_t tag, const uint8_t *in, size_t length, uint8_t *out)
{
	uint8_t head[8] = { tag };
	size_t size = 1 + put_length(head + 1, length);

	memmove(out + size, in, length);
	memcpy(out, head, size);
	return size + length;
}

static size_t frame_token(unsigned kind, const uint8_t *inner, size_t length,
			  uint8_t *out)
{
	static const uint8_t krb5[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
					0xf7, 0x12, 0x01, 0x02, 0x02 };
	size_t at = sizeof(krb5);

	memmove(out + at + 2, inner, length);
	memcpy(out, krb5, at);
	out[at] = (uint8_t)(kind >> 8);
	out[at + 1] = (uint8_t)kind;
	return wrap(0x60, out, at + 2 + length, out);
}

/* Encoded again from what is inside it is the same, or it was refused. */
static void check_outside(const uint8_t *bytes, size_t length)
{
	static uint8_t again[HVRI_GSS_TOKEN_MAX + 32];
	const unsigned kinds[] = { HVRI_GSS_AP_REQ, HVRI_GSS_AP_REP };

	for (size_t i = 0; i < 2; i++) {
		bool same = false;

		/* The head is 2, 3 or 4 bytes, then 13 of krb5. */
		for (size_t head = 15; head <= 17 && head <= length &&
				       length <= HVRI_GSS_TOKEN_MAX; head++) {
			size_t size = frame_token(kinds[i], bytes + head,
						  length - head, again);

			same |= size == length &&
				memcmp(again, bytes, size) == 0;
		}
		fuzz_must(same == hvri_gss_token_is(bytes, length, kinds[i]),
			  "the outside of a token");
	}
}

static void knock(const uint8_t *bytes, size_t length)
{
	static const uint8_t binding[HVREPL_EXPORTER_SIZE] = { 1 };
	static const uint8_t none[HVREPL_EXPORTER_SIZE];
	static struct hvri_gss gss;

	check_outside(bytes, length);
	if (length > HVRI_GSS_TOKEN_MAX)
		return;
	hvri_gss_init(&gss, credentials(), NULL, binding);
	memcpy(gss.token, bytes, length);
	gss.token_length = (uint32_t)length;
	fuzz_must(hvri_gss_answer(&gss) < 0, "a stranger is proved");
	fuzz_must(gss.refusal >= HVRI_REFUSE_TOKEN &&
			  gss.refusal <= HVRI_REFUSE_OURS &&
			  gss.error.code < 0 && gss.error.sentence[0] != 0,
		  "a refusal without a reason");
	fuzz_must(memcmp(gss.key, none, sizeof(none)) == 0 &&
			  gss.peer[0] == 0,
		  "something is left of a refused proof");
	hvri_gss_free(&gss);
}

static void name(const char *text)
{
	char once[HVREPL_PEER_NAME_MAX + 1], twice[HVREPL_PEER_NAME_MAX + 1];

	if (hvri_kerberos_canonical(credentials(), text, once) < 0)
		return;
	fuzz_must(hvri_gss_is_plain(once, strlen(once)) &&
			  strchr(once, '@') != NULL,
		  "a principal that is not plain");
	fuzz_must(hvri_kerberos_canonical(credentials(), once, twice) ==
				  HVREPL_OK &&
			  strcmp(once, twice) == 0,
		  "a principal has two spellings");
}

static void one(const uint8_t *bytes, size_t length)
{
	char text[1024];

	if (length == 0)
		return;
	if (bytes[0] % 2 == 0) {
		knock(bytes + 1, length - 1);
		return;
	}
	snprintf(text, sizeof(text), "%.*s", (int)length - 1,
		 (const char *)bytes + 1);
	name(text);
}

/* [number] { ... } of what is at `at` behind what is at `out`. */
static size_t field(uint8_t number, uint8_t tag, const void *in, size_t length,
		    uint8_t *out)
{
	uint8_t inner[600];
	size_t size = wrap(tag, in, length, inner);

	return wrap((uint8_t)(0xa0 | number), inner, size, out);
}

static size_t encrypted(uint8_t number, uint8_t *out)
{
	static const uint8_t cipher[64] = { 7 };
	uint8_t body[128];
	size_t size = field(0, 0x02, "\x12", 1, body); /* AES-256, SHA-1. */

	size += field(1, 0x02, "\x01", 1, body + size);
	size += field(2, 0x04, cipher, sizeof(cipher), body + size);
	return field(number, 0x30, body, size, out);
}

/* A request as a client would send it, but for what only a KDC can say. */
static size_t request(uint8_t *out)
{
	uint8_t ticket[400], names[100], body[600];
	size_t size, length = wrap(0x1b, (const uint8_t *)"hvrepl", 6, names);

	length += wrap(0x1b, (const uint8_t *)"west.test", 9, names + length);
	size = field(0, 0x02, "\x01", 1, body);
	size += field(1, 0x30, names, length, body + size);
	length = field(0, 0x02, "\x05", 1, ticket);
	length += field(1, 0x1b, "FUZZ.TEST", 9, ticket + length);
	length += field(2, 0x30, body, size, ticket + length);
	length += encrypted(3, ticket + length);
	length = wrap(0x30, ticket, length, ticket);
	size = field(0, 0x02, "\x05", 1, body);
	size += field(1, 0x02, "\x0e", 1, body + size);
	size += field(2, 0x03, "\x00\x20\x00\x00\x00", 5, body + size);
	size += field(3, 0x61, ticket, length, body + size);
	size += encrypted(4, body + size);
	size = wrap(0x30, body, size, body);
	size = wrap(0x6e, body, size, body);
	return frame_token(HVRI_GSS_AP_REQ, body, size, out);
}

static void seeds(void)
{
	static const char *const names[] = {
		"hvrepl/west.test@FUZZ.TEST", "west.test", "West", "a/b/c@D",
		"a\\/b@R", "a@b@c", "@", "",
	};
	static const uint8_t spnego[] = { 0,	0x60, 0x0a, 0x06, 0x06,
					  0x2b, 0x06, 0x01, 0x05, 0x05,
					  0x02, 0xa0, 0x00 };
	uint8_t bytes[1024] = { 0 };

	fuzz_seed(bytes, 1 + request(bytes + 1));
	fuzz_seed(bytes, 1 + frame_token(HVRI_GSS_AP_REP, spnego, 3,
					 bytes + 1));
	fuzz_seed(spnego, sizeof(spnego));
	bytes[0] = 1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		memcpy(bytes + 1, names[i], strlen(names[i]));
		fuzz_seed(bytes, 1 + strlen(names[i]));
	}
}

extern const struct fuzz_target fuzz_kerberos;
const struct fuzz_target fuzz_kerberos = { "kerberos", one, seeds, NULL };
