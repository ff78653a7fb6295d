/* SPDX-License-Identifier: Apache-2.0 */
/* Authenticators: names, what a session is bound to, and the application's own. */
#include "backend/mechanism.h"

#include "backend/fileio.h"
#include "backend/tls.h"

#include <hvrepl/authorisation.h>
#include <hvrepl/backends/authenticator.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "hvrepl/1-"

bool hvri_mechanism_name(struct hvri_mechanism *mechanism, const char *name)
{
	size_t length = name == NULL ? 0 : strlen(name);

	if (length == 0 || length > HVREPL_MECHANISM_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != length)
		return false;
	memcpy(mechanism->name, name, length + 1);
	mechanism->alpn[0] = (char)(sizeof(PREFIX) - 1 + length);
	snprintf(mechanism->alpn + 1, sizeof(mechanism->alpn) - 1, PREFIX "%s",
		 name);
	return true;
}

void hvri_mechanism_free(struct hvri_mechanism *mechanism)
{
	if (mechanism == NULL)
		return;
	if (mechanism->release != NULL)
		mechanism->release(mechanism->user);
	free(mechanism);
}

bool hvri_mechanism_identity(const char *name)
{
	return name[0] != '*' &&
	       hvrepl_peer_pattern_check(name, NULL) == HVREPL_OK;
}

bool hvri_mechanism_canonical(const struct hvri_mechanism *mechanism,
			      const char *name,
			      char out[HVREPL_PEER_NAME_MAX + 1])
{
	char own[HVREPL_PEER_NAME_MAX + 1] = "";

	if (mechanism->ops.canonical == NULL) {
		if (strlen(name) > HVREPL_PEER_NAME_MAX)
			return false;
		strcpy(own, name);
	} else if (mechanism->ops.canonical(mechanism->user, name, own) !=
		   HVREPL_OK) {
		return false;
	}
	own[HVREPL_PEER_NAME_MAX] = 0;
	if (!hvri_mechanism_identity(own))
		return false;
	memcpy(out, own, sizeof(own));
	return true;
}

bool hvri_mechanism_exporter(const char *name,
			     const uint8_t binding[HVREPL_EXPORTER_SIZE],
			     const char *initiator, const char *acceptor,
			     const uint8_t key[HVREPL_PROOF_KEY_SIZE],
			     uint8_t out[HVREPL_EXPORTER_SIZE])
{
	uint8_t text[16 + HVREPL_MECHANISM_NAME_MAX +
		     2 * (2 + HVREPL_PEER_NAME_MAX) + HVREPL_PROOF_KEY_SIZE];
	const char *const names[] = { initiator, acceptor };
	size_t length = (size_t)snprintf((char *)text, sizeof(text),
					 "hvrepl/1 %s", name) + 1;
	unsigned written = 0;
	bool fine;

	for (size_t i = 0; i < 2; i++) {
		size_t size = strlen(names[i]);

		text[length++] = (uint8_t)size;
		text[length++] = (uint8_t)(size >> 8);
		memcpy(text + length, names[i], size);
		length += size;
	}
	memcpy(text + length, key, HVREPL_PROOF_KEY_SIZE);
	length += HVREPL_PROOF_KEY_SIZE;
	fine = HMAC(EVP_sha256(), binding, HVREPL_EXPORTER_SIZE, text, length,
		    out, &written) != NULL && written == HVREPL_EXPORTER_SIZE;
	OPENSSL_cleanse(text, sizeof(text));
	return fine;
}

/* ---- The application's own. ---- */

static int32_t take_ops(struct hvri_mechanism *mechanism,
			const struct hvrepl_authenticator *from,
			struct hvrepl_error *error)
{
	const struct hvrepl_authenticator_ops *ops = from->ops;
	int32_t rc;

	if (ops == NULL ||
	    ops->struct_size <
		    offsetof(struct hvrepl_authenticator_ops, canonical))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "an authenticator has begin, step and end");
	rc = hvri_tls_copy_sized(ops, ops->struct_size, &mechanism->ops,
				 sizeof(mechanism->ops), error);
	if (rc < 0)
		return rc;
	if (mechanism->ops.begin == NULL || mechanism->ops.step == NULL ||
	    mechanism->ops.end == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "an authenticator has begin, step and end");
	if ((mechanism->ops.flags & ~HVREPL_AUTHENTICATOR_BLOCKS) != 0)
		return hvri_sys_fail(error, HVREPL_E_TOO_NEW, 0,
				     "the authenticator has a flag that this "
				     "version does not know");
	return HVREPL_OK;
}

static int32_t fill(struct hvri_mechanism *mechanism,
		    const struct hvrepl_authenticator_options *options,
		    struct hvrepl_error *error)
{
	if (!hvri_mechanism_name(mechanism, options->mechanism) ||
	    strcmp(mechanism->name, "krb5") == 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a mechanism's name is 1 to %u of a to z, "
				     "0 to 9 and -, and not krb5",
				     HVREPL_MECHANISM_NAME_MAX);
	if (options->self != NULL &&
	    (!hvri_mechanism_identity(options->self)))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the own name is no identity: 1 to %u "
				     "bytes of UTF-8 without control "
				     "characters and '*'",
				     HVREPL_PEER_NAME_MAX);
	snprintf(mechanism->self, sizeof(mechanism->self), "%s",
		 options->self == NULL ? "" : options->self);
	mechanism->word = mechanism->name;
	mechanism->long_hint = "";
	mechanism->channel = HVREPL_MECHANISM_OTHER;
	mechanism->step = HVREPL_STEP_PROOF;
	mechanism->acceptance = HVREPL_STEP_PROOF_ACCEPTANCE;
	mechanism->renewal_failed = options->renewal_failed;
	mechanism->renewed = options->renewed;
	mechanism->notify = options->user;
	return take_ops(mechanism, &options->authenticator, error);
}

int32_t hvrepl_authenticator_create(
	const struct hvrepl_authenticator_options *options, hvrepl_tls **tls_out,
	struct hvrepl_error *error)
{
	struct hvrepl_tls_options tls;
	struct hvrepl_authenticator_options own;
	struct hvri_mechanism *mechanism;
	int32_t rc;

	/* Before that size there was none of it. */
	if (options == NULL || options->struct_size < sizeof(own))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a mechanism and its authenticator are "
				     "needed");
	memcpy(&own, options, sizeof(own));
	mechanism = calloc(1, sizeof(*mechanism));
	if (mechanism == NULL) {
		if (own.authenticator.release != NULL)
			own.authenticator.release(own.authenticator.user);
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	}
	atomic_init(&mechanism->threads, 0);
	mechanism->user = own.authenticator.user;
	mechanism->release = own.authenticator.release;
	rc = hvri_tls_copy_sized(options, options->struct_size, &own,
				 sizeof(own), error);
	if (rc == HVREPL_OK && (own.reserved != 0 || tls_out == NULL))
		rc = hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				   "what is reserved must be zero, and there "
				   "must be a place for the credentials");
	if (rc == HVREPL_OK)
		rc = fill(mechanism, &own, error);
	if (rc < 0) {
		hvri_mechanism_free(mechanism);
		return rc;
	}
	tls = hvri_tls_limits(own.handshake_timeout_ns, own.rekey_bytes,
			      own.rekey_records, own.rekey_ns);
	return hvri_tls_new(&tls, mechanism, tls_out, error);
}
