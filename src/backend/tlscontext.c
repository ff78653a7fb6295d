/* SPDX-License-Identifier: Apache-2.0 */
/* TLS credentials: reading, checking and replacing the files. */
#include "backend/fileio.h"
#include "backend/gss/gss.h"
#include "backend/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HANDSHAKE_TIMEOUT_NS (10ull * 1000000000u)
#define REKEY_BYTES (64ull << 30)
#define REKEY_RECORDS (4ull << 20)
#define REKEY_NS (3600ull * 1000000000u)
/* Records per read(): fewer calls into the kernel when a lot arrives. */
#define READ_BUFFER (4u * (HVRI_TLS_RECORD + 256u))

struct hvrepl_tls {
	atomic_int references;
	pthread_mutex_t mutex;
	struct hvri_tls_context *current;
	struct hvrepl_tls_options options; /* Paths are ours. */
	struct hvri_kerberos *kerberos;    /* Then there are no paths. */
};

const struct hvrepl_tls_options *hvri_tls_options(const hvrepl_tls *tls)
{
	return &tls->options;
}

struct hvri_kerberos *hvri_tls_kerberos(const hvrepl_tls *tls)
{
	return tls->kerberos;
}

bool hvri_tls_peer_name(const hvrepl_tls *tls, const char *name,
			char out[HVREPL_PEER_NAME_MAX + 1])
{
	return tls->kerberos == NULL ?
		       hvri_tls_canonical(name, out) :
		       hvri_kerberos_canonical(tls->kerberos, name, out) ==
			       HVREPL_OK;
}

hvrepl_tls *hvri_tls_hold(hvrepl_tls *tls)
{
	atomic_fetch_add(&tls->references, 1);
	return tls;
}

struct hvri_tls_context *hvri_tls_current(hvrepl_tls *tls)
{
	struct hvri_tls_context *context;

	pthread_mutex_lock(&tls->mutex);
	context = tls->current;
	atomic_fetch_add(&context->references, 1);
	pthread_mutex_unlock(&tls->mutex);
	return context;
}

void hvri_tls_context_drop(struct hvri_tls_context *context)
{
	if (context == NULL ||
	    atomic_fetch_sub(&context->references, 1) > 1)
		return;
	SSL_CTX_free(context->client);
	SSL_CTX_free(context->server);
	BIO_meth_free(context->socket);
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

static SSL_CTX *new_context(bool server, bool kerberos)
{
	const char *alpn = kerberos ? HVRI_TLS_ALPN_KERBEROS : HVRI_TLS_ALPN;
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
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
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
	return ctx;
}

static const char *openssl_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	return reason != NULL ? reason : "no reason given";
}

static int32_t unreadable(struct hvrepl_error *error, const char *what,
			  const char *path)
{
	const char *reason = openssl_reason();
	FILE *file = fopen(path, "re");
	int failed = file == NULL ? errno : 0;

	if (file != NULL)
		fclose(file);
	ERR_clear_error();
	if (failed != 0)
		return hvri_sys_fail(error,
				     hvri_sys_code(failed, HVREPL_E_INVALID),
				     failed, "cannot read the %s %s: %s", what,
				     path, strerror(failed));
	return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
			     "%s is not a usable PEM %s: %s", path, what,
			     reason);
}

static int32_t load_into(SSL_CTX *ctx, const struct hvrepl_tls_options *files,
			 struct hvrepl_error *error)
{
	ERR_clear_error();
	if (SSL_CTX_load_verify_file(ctx, files->ca_file) != 1)
		return unreadable(error, "CA file", files->ca_file);
	if (SSL_CTX_use_certificate_chain_file(ctx, files->cert_file) != 1)
		return unreadable(error, "certificate", files->cert_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, files->key_file,
					SSL_FILETYPE_PEM) != 1) {
		if (ERR_GET_REASON(ERR_peek_last_error()) ==
		    X509_R_KEY_VALUES_MISMATCH) {
			ERR_clear_error();
			return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
					     "the key in %s does not belong to "
					     "the certificate in %s",
					     files->key_file, files->cert_file);
		}
		return unreadable(error, "key", files->key_file);
	}
	return HVREPL_OK;
}

static int32_t check_own(SSL_CTX *ctx, const char *path,
			 struct hvri_tls_context *context,
			 struct hvrepl_error *error)
{
	X509 *cert = SSL_CTX_get0_certificate(ctx);
	struct hvri_tls_names names = { 0 };
	STACK_OF(X509) *chain = NULL;
	int32_t rc;

	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the certificate in %s has expired: get a "
				     "new one", path);
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the certificate in %s is not valid yet: "
				     "check this machine's clock", path);
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
	SSL_CTX_get0_chain_certs(ctx, &chain);
	for (int i = 0; i < sk_X509_num(chain); i++) {
		uint64_t end = hvri_tls_not_after(sk_X509_value(chain, i));

		if (end < context->expires_utc_ns)
			context->expires_utc_ns = end;
	}
	return HVREPL_OK;
}

static int32_t load_files(const struct hvrepl_tls_options *files,
			  struct hvri_tls_context *context,
			  struct hvrepl_error *error)
{
	int32_t rc = load_into(context->client, files, error);

	if (rc == HVREPL_OK)
		rc = load_into(context->server, files, error);
	if (rc == HVREPL_OK)
		rc = check_own(context->client, files->cert_file, context,
			       error);
	return rc;
}

static int32_t load_kerberos(const struct hvri_kerberos *kerberos,
			     struct hvri_tls_context *context,
			     struct hvrepl_error *error)
{
	int32_t rc = hvri_kerberos_check(kerberos, error);

	if (rc < 0)
		return rc;
	memcpy(context->name, kerberos->principal, sizeof(context->name));
	if (hvri_gss_certificate(context->server))
		return HVREPL_OK;
	rc = hvri_sys_fail(error, HVREPL_E_NOMEM, 0,
			   "cannot make a certificate: %s", openssl_reason());
	ERR_clear_error();
	return rc;
}

static int32_t load(const hvrepl_tls *tls, struct hvri_tls_context **out,
		    struct hvrepl_error *error)
{
	struct hvri_tls_context *context = calloc(1, sizeof(*context));
	bool kerberos = tls->kerberos != NULL;
	int32_t rc;

	if (context == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	atomic_init(&context->references, 1);
	context->client = new_context(false, kerberos);
	context->server = new_context(true, kerberos);
	context->socket = hvri_tls_socket_method();
	if (context->client == NULL || context->server == NULL ||
	    context->socket == NULL)
		rc = hvri_sys_fail(error, HVREPL_E_NOMEM, 0,
				   "cannot set up TLS: %s", openssl_reason());
	else if (kerberos)
		rc = load_kerberos(tls->kerberos, context, error);
	else
		rc = load_files(&tls->options, context, error);
	if (rc < 0) {
		hvri_tls_context_drop(context);
		return rc;
	}
	*out = context;
	return HVREPL_OK;
}

static bool copy_path(const char **path)
{
	if (*path != NULL) {
		*path = strdup(*path);
		return *path != NULL;
	}
	return true;
}

static int32_t copy_options(struct hvrepl_tls_options *to,
			    const struct hvrepl_tls_options *from)
{
	bool fine;

	*to = *from;
	fine = copy_path(&to->ca_file);
	fine &= copy_path(&to->cert_file);
	fine &= copy_path(&to->key_file);
	if (to->handshake_timeout_ns == 0)
		to->handshake_timeout_ns = HANDSHAKE_TIMEOUT_NS;
	if (to->rekey_bytes == 0)
		to->rekey_bytes = REKEY_BYTES;
	if (to->rekey_records == 0)
		to->rekey_records = REKEY_RECORDS;
	if (to->rekey_ns == 0)
		to->rekey_ns = REKEY_NS;
	return fine ? HVREPL_OK : HVREPL_E_NOMEM;
}

int32_t hvrepl_tls_create(const struct hvrepl_tls_options *options,
			  hvrepl_tls **tls_out, struct hvrepl_error *error)
{
	if (options == NULL || options->struct_size != sizeof(*options) ||
	    options->reserved != 0 || options->ca_file == NULL ||
	    options->cert_file == NULL || options->key_file == NULL ||
	    tls_out == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "ca_file, cert_file and key_file are "
				     "needed");
	return hvri_tls_new(options, NULL, tls_out, error);
}

int32_t hvrepl_kerberos_create(const struct hvrepl_kerberos_options *options,
			       hvrepl_tls **tls_out, struct hvrepl_error *error)
{
	struct hvrepl_tls_options tls = HVREPL_TLS_OPTIONS_INIT;
	struct hvri_kerberos *kerberos;
	int32_t rc;

	if (options == NULL || options->struct_size != sizeof(*options) ||
	    options->reserved != 0 ||
	    (options->keytab == NULL && options->ccache == NULL) ||
	    tls_out == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a keytab or a ccache is needed");
	rc = hvri_kerberos_new(options, &kerberos, error);
	if (rc < 0)
		return rc;
	tls.handshake_timeout_ns = options->handshake_timeout_ns;
	tls.rekey_bytes = options->rekey_bytes;
	tls.rekey_records = options->rekey_records;
	tls.rekey_ns = options->rekey_ns;
	return hvri_tls_new(&tls, kerberos, tls_out, error);
}

int32_t hvri_tls_new(const struct hvrepl_tls_options *options,
		     struct hvri_kerberos *kerberos, hvrepl_tls **tls_out,
		     struct hvrepl_error *error)
{
	hvrepl_tls *tls = calloc(1, sizeof(*tls));
	int32_t rc;

	if (tls == NULL) {
		hvri_kerberos_free(kerberos);
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	}
	tls->kerberos = kerberos;
	atomic_init(&tls->references, 1);
	pthread_mutex_init(&tls->mutex, NULL);
	rc = copy_options(&tls->options, options);
	if (rc == HVREPL_OK)
		rc = load(tls, &tls->current, error);
	else
		hvri_sys_fail(error, rc, 0, "out of memory");
	if (rc < 0) {
		hvrepl_tls_destroy(tls);
		return rc;
	}
	*tls_out = tls;
	return HVREPL_OK;
}

int32_t hvrepl_tls_reload(hvrepl_tls *tls, struct hvrepl_error *error)
{
	struct hvri_tls_context *fresh, *old;
	int32_t rc = load(tls, &fresh, error);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&tls->mutex);
	old = tls->current;
	tls->current = fresh;
	pthread_mutex_unlock(&tls->mutex);
	hvri_tls_context_drop(old);
	return HVREPL_OK;
}

uint64_t hvrepl_tls_expires(hvrepl_tls *tls)
{
	struct hvri_tls_context *context = hvri_tls_current(tls);
	uint64_t expires = context->expires_utc_ns;

	hvri_tls_context_drop(context);
	return expires;
}

void hvrepl_tls_name(hvrepl_tls *tls, char *name_out, size_t size)
{
	struct hvri_tls_context *context = hvri_tls_current(tls);

	if (size > 0)
		snprintf(name_out, size, "%s", context->name);
	hvri_tls_context_drop(context);
}

void hvrepl_tls_destroy(hvrepl_tls *tls)
{
	if (tls == NULL || atomic_fetch_sub(&tls->references, 1) > 1)
		return;
	hvri_tls_context_drop(tls->current);
	free((char *)(uintptr_t)tls->options.ca_file);
	free((char *)(uintptr_t)tls->options.cert_file);
	free((char *)(uintptr_t)tls->options.key_file);
	hvri_kerberos_free(tls->kerberos);
	pthread_mutex_destroy(&tls->mutex);
	free(tls);
}
