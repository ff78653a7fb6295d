/* SPDX-License-Identifier: Apache-2.0 */
/* TLS options made our own: paths, pins, whom to ask. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_FLAGS (HVREPL_TLS_ALLOW_UNKNOWN | HVREPL_TLS_ALLOW_STALE)
#define PINS_MAX 1024u

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_pin(const char *text, uint8_t out[32])
{
	static const char kind[] = "sha256:";

	if (text == NULL || strncmp(text, kind, sizeof(kind) - 1) != 0)
		return false;
	text += sizeof(kind) - 1;
	if (strlen(text) != 64)
		return false;
	for (int i = 0; i < 32; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void hvri_tls_pin_text(const uint8_t digest[32], char out[HVRI_TLS_PIN_TEXT])
{
	static const char digits[] = "0123456789abcdef";

	memcpy(out, "sha256:", 7);
	for (int i = 0; i < 32; i++) {
		out[7 + 2 * i] = digits[digest[i] >> 4];
		out[8 + 2 * i] = digits[digest[i] & 15];
	}
	out[71] = 0;
}

bool hvri_tls_key_digest(const X509 *cert, uint8_t out[32])
{
	unsigned char *der = NULL;
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool fine = length > 0 && SHA256(der, (size_t)length, out) != NULL;

	OPENSSL_free(der);
	return fine;
}

static int32_t take_pin(struct hvri_tls_pin *pin,
			const struct hvrepl_tls_pin *from,
			struct hvrepl_error *error)
{
	if (from->peer == NULL || !hvri_tls_canonical(from->peer, pin->peer))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a pin needs the name of its peer");
	if (from->pin == NULL || from->backup_pin == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the pin of %.128s needs a backup pin: of "
				     "a key that is kept aside for when the "
				     "first is lost", pin->peer);
	if (!parse_pin(from->pin, pin->keys[0]) ||
	    !parse_pin(from->backup_pin, pin->keys[1]))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a pin of %.100s is not \"sha256:\" and 64 "
				     "hexadecimal digits; 'hvrepl cert show' "
				     "prints it", pin->peer);
	if (memcmp(pin->keys[0], pin->keys[1], 32) == 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the backup pin of %.128s is its pin: name "
				     "another key, kept elsewhere", pin->peer);
	return HVREPL_OK;
}

static int32_t take_pins(struct hvri_tls_sources *sources,
			 const struct hvrepl_tls_options *options,
			 struct hvrepl_error *error)
{
	int32_t rc = HVREPL_OK;

	if (options->pin_count == 0)
		return HVREPL_OK;
	if (options->pins == NULL || options->pin_count > PINS_MAX)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "pins are missing, or more than %u",
				     PINS_MAX);
	sources->pins = calloc(options->pin_count, sizeof(*sources->pins));
	if (sources->pins == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	for (uint32_t i = 0; rc == HVREPL_OK && i < options->pin_count; i++) {
		struct hvri_tls_pin *pin = &sources->pins[i];

		rc = take_pin(pin, &options->pins[i], error);
		if (rc == HVREPL_OK &&
		    hvri_tls_pin_of(sources, pin->peer) != NULL)
			rc = hvri_sys_fail(error, HVREPL_E_INVALID, 0,
					   "%.128s has pins twice: one pin and "
					   "one backup pin a peer", pin->peer);
		sources->pin_count += rc == HVREPL_OK;
	}
	return rc;
}

static char *copy(const char *text, bool *fine)
{
	char *result = text == NULL ? NULL : strdup(text);

	*fine &= text == NULL || result != NULL;
	return result;
}

int32_t hvri_tls_sources_new(const struct hvrepl_tls_options *options,
			     struct hvri_tls_sources **out,
			     struct hvrepl_error *error)
{
	struct hvri_tls_sources *sources;
	bool fine = true;
	int32_t rc;

	if (options->ca_file == NULL || options->cert_file == NULL ||
	    options->key_file == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "ca_file, cert_file and key_file are "
				     "needed");
	if ((options->flags & ~KNOWN_FLAGS) != 0)
		return hvri_sys_fail(error, HVREPL_E_TOO_NEW, 0,
				     "a flag is set that this version does not "
				     "know");
	sources = calloc(1, sizeof(*sources));
	if (sources == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	atomic_init(&sources->references, 1);
	sources->ca = copy(options->ca_file, &fine);
	sources->cert = copy(options->cert_file, &fine);
	sources->key = copy(options->key_file, &fine);
	sources->crl = copy(options->crl, &fine);
	sources->revocation = options->revocation;
	sources->distrusted = options->distrusted;
	sources->user = options->user;
	sources->flags = options->flags;
	rc = fine ? take_pins(sources, options, error) :
		    hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	if (rc < 0)
		hvri_tls_sources_drop(sources);
	else
		*out = sources;
	return rc;
}

struct hvri_tls_sources *hvri_tls_sources_hold(struct hvri_tls_sources *sources)
{
	atomic_fetch_add(&sources->references, 1);
	return sources;
}

void hvri_tls_sources_drop(struct hvri_tls_sources *sources)
{
	if (sources == NULL || atomic_fetch_sub(&sources->references, 1) > 1)
		return;
	free(sources->ca);
	free(sources->cert);
	free(sources->key);
	free(sources->crl);
	free(sources->pins);
	free(sources);
}

const struct hvri_tls_pin *
hvri_tls_pin_of(const struct hvri_tls_sources *sources, const char *peer)
{
	for (uint32_t i = 0; i < sources->pin_count; i++)
		if (strcmp(sources->pins[i].peer, peer) == 0)
			return &sources->pins[i];
	return NULL;
}
