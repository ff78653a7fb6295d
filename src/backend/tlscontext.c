/* SPDX-License-Identifier: Apache-2.0 */
/* What all connections of some credentials share: SSL_CTX, store, rules. */
#include "backend/fileio.h"
#include "backend/gss/gss.h"
#include "backend/tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

/* Records per read(): fewer calls into the kernel when a lot arrives. */
#define READ_BUFFER (4u * (HVRI_TLS_RECORD + 256u))
/* All of it said here: openssl.cnf of the system changes nothing. */
#define CIPHERS                                                 \
	"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:"        \
	"TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256"
#define GROUPS_HYBRID "X25519MLKEM768:" GROUPS /* From OpenSSL 3.5. */
#define SECURITY_LEVEL 2 /* 112 bits: RSA 2048, no SHA-1. */

void hvri_tls_context_drop(struct hvri_tls_context *context)
{
	if (context == NULL ||
	    atomic_fetch_sub(&context->references, 1) > 1)
		return;
	SSL_CTX_free(context->client);
	SSL_CTX_free(context->server);
	BIO_meth_free(context->socket);
	X509_STORE_free(context->store);
	hvri_tls_material_free(&context->material);
	hvri_tls_lists_free(&context->lists);
	hvri_tls_sources_drop(context->sources);
	free(context);
}

/* No ALPN from the client never comes here; the session looks afterwards. */
static int choose_alpn(SSL *ssl, const unsigned char **out,
		       unsigned char *out_length, const unsigned char *in,
		       unsigned int in_length, void *argument)
{
	const unsigned char *ours = argument;
	unsigned char *chosen;

	(void)ssl;
	if (SSL_select_next_proto(&chosen, out_length, ours, ours[0] + 1u, in,
				  in_length) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool set_groups(SSL_CTX *ctx)
{
	if (SSL_CTX_set1_groups_list(ctx, GROUPS_HYBRID) == 1)
		return true;
	ERR_clear_error();
	return SSL_CTX_set1_groups_list(ctx, GROUPS) == 1;
}

const char *hvri_tls_alpn(const struct hvri_mechanism *mechanism)
{
	return mechanism == NULL ? HVRI_TLS_ALPN : mechanism->alpn;
}

static SSL_CTX *new_ctx(bool server, const struct hvri_mechanism *mechanism)
{
	const char *alpn = hvri_tls_alpn(mechanism);
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() :
					    TLS_client_method());

	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER);
	SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, CIPHERS) != 1 || !set_groups(ctx) ||
	    SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
	    SSL_CTX_set_max_early_data(ctx, 0) != 1 ||
	    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)alpn,
				    (unsigned int)strlen(alpn)) != 0) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	if (server)
		SSL_CTX_set_alpn_select_cb(ctx, choose_alpn,
					   (void *)(uintptr_t)alpn);
	if (mechanism == NULL)
		hvri_tls_verify_with(ctx);
	return ctx;
}

struct hvri_tls_context *
hvri_tls_context_new(const struct hvri_mechanism *mechanism)
{
	struct hvri_tls_context *context = calloc(1, sizeof(*context));

	if (context == NULL)
		return NULL;
	atomic_init(&context->references, 1);
	context->client = new_ctx(false, mechanism);
	context->server = new_ctx(true, mechanism);
	context->socket = hvri_tls_socket_method();
	if (context->client == NULL || context->server == NULL ||
	    context->socket == NULL) {
		hvri_tls_context_drop(context);
		return NULL;
	}
	return context;
}

/* OpenSSL takes a certificate apart when it is first looked at, and keeps that in
 * it: here, before other threads can see it. */
static void take_apart(STACK_OF(X509) *certs)
{
	for (int i = 0; i < sk_X509_num(certs); i++)
		(void)X509_check_purpose(sk_X509_value(certs, i), -1, 0);
}

static bool fill_store(struct hvri_tls_context *context)
{
	STACK_OF(X509) *anchors = context->material.anchors;
	STACK_OF(X509_CRL) *crls = context->lists.crls;

	take_apart(anchors);
	take_apart(context->material.chain);
	(void)X509_check_purpose(context->material.cert, -1, 0);
	context->store = X509_STORE_new();
	if (context->store == NULL)
		return false;
	for (int i = 0; i < sk_X509_num(anchors); i++)
		if (X509_STORE_add_cert(context->store,
					sk_X509_value(anchors, i)) != 1)
			return false;
	for (int i = 0; crls != NULL && i < sk_X509_CRL_num(crls); i++)
		if (X509_STORE_add_crl(context->store,
				       sk_X509_CRL_value(crls, i)) != 1)
			return false;
	return true;
}

static int32_t use_own(SSL_CTX *ctx, struct hvri_tls_context *context,
		       struct hvrepl_error *error)
{
	const struct hvri_tls_material *material = &context->material;
	const char *reason;

	SSL_CTX_set1_cert_store(ctx, context->store);
	if (SSL_CTX_use_cert_and_key(ctx, material->cert, material->key,
				     material->chain, 1) == 1)
		return HVREPL_OK;
	reason = ERR_reason_error_string(ERR_peek_last_error());
	hvri_sys_fail(error, HVREPL_E_INVALID, 0,
		      "the certificate in %s cannot be used: %s",
		      context->sources->cert,
		      reason != NULL ? reason : "no reason given");
	ERR_clear_error();
	return HVREPL_E_INVALID;
}

int32_t hvri_tls_context_check_time(const struct hvri_tls_context *context,
				    struct hvrepl_error *error)
{
	const char *path = context->sources->cert;
	const X509 *cert = context->material.cert;

	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the certificate in %s has expired: get a "
				     "new one", path);
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the certificate in %s is not valid yet: "
				     "check this machine's clock", path);
	return HVREPL_OK;
}

static int32_t check_own(struct hvri_tls_context *context,
			 struct hvrepl_error *error)
{
	const char *path = context->sources->cert;
	STACK_OF(X509) *chain = context->material.chain;
	X509 *cert = context->material.cert;
	struct hvri_tls_names names = { 0 };
	int32_t rc;

	if (!hvri_tls_has_both_usages(cert))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the certificate in %s needs the extended "
				     "key usages serverAuth and clientAuth",
				     path);
	rc = hvri_tls_names_of(cert, &names);
	if (rc < 0)
		return hvri_sys_fail(error, rc, 0, "out of memory");
	if (names.count == 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the certificate in %s has no subject "
				     "alternative name (DNS or IP)", path);
	snprintf(context->name, sizeof(context->name), "%s", names.names[0]);
	hvri_tls_names_free(&names);
	context->expires_utc_ns = hvri_tls_not_after(cert);
	context->from_utc_ns = hvri_tls_time(X509_get0_notBefore(cert));
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *above = sk_X509_value(chain, i);

		if (hvri_tls_not_after(above) >= context->expires_utc_ns)
			continue;
		context->expires_utc_ns = hvri_tls_not_after(above);
		context->from_utc_ns =
			hvri_tls_time(X509_get0_notBefore(above));
	}
	return HVREPL_OK;
}

int32_t hvri_tls_context_load(struct hvri_tls_context *context,
			      struct hvrepl_error *error)
{
	int32_t rc;

	ERR_clear_error();
	if (!fill_store(context)) {
		ERR_clear_error();
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	}
	rc = check_own(context, error);
	if (rc == HVREPL_OK)
		rc = use_own(context->client, context, error);
	if (rc == HVREPL_OK)
		rc = use_own(context->server, context, error);
	return rc;
}
