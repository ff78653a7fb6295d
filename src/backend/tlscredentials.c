/* SPDX-License-Identifier: Apache-2.0 */
/* TLS credentials as the application holds them: made, read again, shown. */
#include "backend/fileio.h"
#include "backend/gss/gss.h"
#include "backend/tls.h"

#include <openssl/err.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE_TIMEOUT_NS (10ull * 1000000000u)
#define REKEY_BYTES (64ull << 30)
#define REKEY_RECORDS (4ull << 20)
#define REKEY_NS (3600ull * 1000000000u)
#define LOOK_NS 1000000000ull
/* Of the options as they were first; what followed may be left out. */
#define OPTIONS_FIRST offsetof(struct hvrepl_tls_options, crl)
#define KERBEROS_FIRST offsetof(struct hvrepl_kerberos_options, renewed)

/*
 * `reading` is held while files are read and the context is replaced, so that
 * two readers do not put an older state over a newer one; `mutex` only for a
 * moment. The registry's mutex stands for itself.
 */
struct hvrepl_tls {
	atomic_int references;
	pthread_mutex_t reading;
	pthread_mutex_t mutex; /* Guards what follows. */
	struct hvri_tls_context *current;
	uint64_t reads;
	uint64_t tried_signature; /* Of lists that could not be taken. */
	uint64_t looked_ns;
	struct hvrepl_error last;
	bool last_of_lists; /* The failure was of lists alone. */
	struct hvri_tls_registry registry;
	struct hvrepl_tls_options options; /* Limits; no pointer of it is used. */
	struct hvri_mechanism *mechanism;  /* Then there are no files. */
	struct hvrepl_tls_notes notes;     /* Set before connections. */
};

const struct hvrepl_tls_options *hvri_tls_options(const hvrepl_tls *tls)
{
	return &tls->options;
}

const struct hvrepl_tls_notes *hvri_tls_notes(const hvrepl_tls *tls)
{
	return &tls->notes;
}

void hvri_tls_tell(const hvrepl_tls *tls, const struct hvri_tls_session *session,
		   uint64_t proofs, struct hvri_tls_told *told)
{
	const struct hvrepl_tls_notes *notes = &tls->notes;

	if (session->rekeys > told->rekeys) {
		told->rekeys = session->rekeys;
		if (notes->rekeyed != NULL)
			notes->rekeyed(notes->user, session->peer,
				       told->rekeys);
	}
	if (proofs > told->proofs) {
		/* The first one is the connection itself. */
		if (proofs > 1 && notes->proved != NULL)
			notes->proved(notes->user, session->peer, proofs);
		told->proofs = proofs;
	}
}

int32_t hvrepl_tls_set_notes(hvrepl_tls *tls,
			     const struct hvrepl_tls_notes *notes)
{
	struct hvrepl_tls_notes own;

	if (tls == NULL || notes == NULL ||
	    notes->struct_size < offsetof(struct hvrepl_tls_notes, ended) ||
	    notes->reserved != 0 ||
	    hvri_tls_copy_sized(notes, notes->struct_size, &own, sizeof(own),
				NULL) < 0)
		return HVREPL_E_INVALID;
	tls->notes = own;
	return HVREPL_OK;
}

struct hvri_mechanism *hvri_tls_mechanism(const hvrepl_tls *tls)
{
	return tls->mechanism;
}

bool hvri_tls_is_kerberos(const hvrepl_tls *tls)
{
	return tls->mechanism != NULL &&
	       tls->mechanism->channel == HVREPL_MECHANISM_KERBEROS;
}

struct hvri_tls_registry *hvri_tls_registry(hvrepl_tls *tls)
{
	return &tls->registry;
}

const char *hvri_tls_names_by(const hvrepl_tls *tls)
{
	if (tls->mechanism == NULL)
		return "a certificate (a DNS name, an IPv4 or IPv6 address)";
	if (hvri_tls_is_kerberos(tls))
		return "Kerberos (a principal: hvrepl/host@REALM)";
	return tls->mechanism->name;
}

bool hvri_tls_peer_name(const hvrepl_tls *tls, const char *name,
			char out[HVREPL_PEER_NAME_MAX + 1])
{
	return tls->mechanism == NULL ?
		       hvri_tls_canonical(name, out) :
		       hvri_mechanism_canonical(tls->mechanism, name, out);
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

static int32_t no_memory(struct hvrepl_error *error)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "cannot set up TLS: %s",
		      reason != NULL ? reason : "out of memory");
	ERR_clear_error();
	return HVREPL_E_NOMEM;
}

static int32_t load_mechanism(const struct hvri_mechanism *mechanism,
			      struct hvri_tls_context **out,
			      struct hvrepl_error *error)
{
	int32_t rc = mechanism->check == NULL ?
			     HVREPL_OK :
			     mechanism->check(mechanism->user, error);
	struct hvri_tls_context *context;

	if (rc < 0)
		return rc;
	context = hvri_tls_context_new(mechanism);
	if (context == NULL || !hvri_mechanism_certificate(context->server)) {
		hvri_tls_context_drop(context);
		return no_memory(error);
	}
	memcpy(context->name, mechanism->self, sizeof(context->name));
	*out = context;
	return HVREPL_OK;
}

/* All files of `sources`; with `lists_only`, own certificate and CA as they are
 * in that context. */
static int32_t load(struct hvri_tls_sources *sources,
		    const struct hvri_tls_context *lists_only,
		    struct hvri_tls_context **out, struct hvrepl_error *error)
{
	struct hvri_tls_context *context = hvri_tls_context_new(NULL);
	int32_t rc;

	if (context == NULL)
		return no_memory(error);
	context->sources = hvri_tls_sources_hold(sources);
	if (lists_only == NULL) {
		rc = hvri_tls_material_read(sources, &context->material, error);
		if (rc == HVREPL_OK)
			rc = hvri_tls_context_check_time(context, error);
	} else {
		rc = hvri_tls_material_copy(&lists_only->material,
					    &context->material) ?
			     HVREPL_OK : no_memory(error);
	}
	if (rc == HVREPL_OK)
		rc = hvri_tls_lists_read(sources, &context->lists, error);
	if (rc == HVREPL_OK)
		rc = hvri_tls_context_load(context, error);
	if (rc < 0)
		hvri_tls_context_drop(context);
	else
		*out = context;
	return rc;
}

static void take_limits(struct hvrepl_tls_options *to,
			const struct hvrepl_tls_options *from)
{
	to->handshake_timeout_ns = from->handshake_timeout_ns != 0 ?
					   from->handshake_timeout_ns :
					   HANDSHAKE_TIMEOUT_NS;
	to->rekey_bytes = from->rekey_bytes != 0 ? from->rekey_bytes :
						   REKEY_BYTES;
	to->rekey_records = from->rekey_records != 0 ? from->rekey_records :
						       REKEY_RECORDS;
	to->rekey_ns = from->rekey_ns != 0 ? from->rekey_ns : REKEY_NS;
}

int32_t hvri_tls_copy_sized(const void *from, size_t size, void *out,
			    size_t out_size, struct hvrepl_error *error)
{
	for (size_t i = out_size; i < size; i++)
		if (((const unsigned char *)from)[i] != 0)
			return hvri_sys_fail(error, HVREPL_E_TOO_NEW, 0,
					     "an option is set that this "
					     "version does not know");
	memset(out, 0, out_size);
	memcpy(out, from, size < out_size ? size : out_size);
	return HVREPL_OK;
}

static int32_t copy_in(const struct hvrepl_tls_options *from,
		       struct hvrepl_tls_options *out,
		       struct hvrepl_error *error)
{
	size_t size = from == NULL ? 0 : from->struct_size;

	if (size < OPTIONS_FIRST || from->reserved != 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "ca_file, cert_file and key_file are "
				     "needed");
	return hvri_tls_copy_sized(from, size, out, sizeof(*out), error);
}

int32_t hvrepl_tls_create(const struct hvrepl_tls_options *options,
			  hvrepl_tls **tls_out, struct hvrepl_error *error)
{
	struct hvrepl_tls_options copy;
	int32_t rc = copy_in(options, &copy, error);

	if (rc == HVREPL_OK && tls_out == NULL)
		rc = hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				   "there is no place for the credentials");
	return rc < 0 ? rc : hvri_tls_new(&copy, NULL, tls_out, error);
}

int32_t hvrepl_kerberos_create(const struct hvrepl_kerberos_options *options,
			       hvrepl_tls **tls_out, struct hvrepl_error *error)
{
	struct hvrepl_tls_options tls;
	size_t size = options == NULL ? 0 : options->struct_size;
	struct hvrepl_kerberos_options copy;
	struct hvri_mechanism *mechanism;
	struct hvri_kerberos *kerberos;
	int32_t rc;

	if (size < KERBEROS_FIRST || options->reserved != 0 ||
	    (options->keytab == NULL && options->ccache == NULL) ||
	    tls_out == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a keytab or a ccache is needed");
	rc = hvri_tls_copy_sized(options, size, &copy, sizeof(copy),
					 error);
	if (rc == HVREPL_OK)
		rc = hvri_kerberos_new(&copy, &kerberos, error);
	if (rc < 0)
		return rc;
	mechanism = hvri_kerberos_mechanism(kerberos);
	if (mechanism == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	tls = hvri_tls_limits(copy.handshake_timeout_ns, copy.rekey_bytes,
			      copy.rekey_records, copy.rekey_ns);
	return hvri_tls_new(&tls, mechanism, tls_out, error);
}

struct hvrepl_tls_options hvri_tls_limits(uint64_t handshake_timeout_ns,
					  uint64_t rekey_bytes,
					  uint64_t rekey_records,
					  uint64_t rekey_ns)
{
	struct hvrepl_tls_options tls = HVREPL_TLS_OPTIONS_INIT;

	tls.handshake_timeout_ns = handshake_timeout_ns;
	tls.rekey_bytes = rekey_bytes;
	tls.rekey_records = rekey_records;
	tls.rekey_ns = rekey_ns;
	return tls;
}

int32_t hvri_tls_new(const struct hvrepl_tls_options *options,
		     struct hvri_mechanism *mechanism, hvrepl_tls **tls_out,
		     struct hvrepl_error *error)
{
	hvrepl_tls *tls = calloc(1, sizeof(*tls));
	struct hvri_tls_sources *sources = NULL;
	int32_t rc = HVREPL_OK;

	if (tls == NULL) {
		hvri_mechanism_free(mechanism);
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	}
	tls->mechanism = mechanism;
	tls->reads = 1;
	atomic_init(&tls->references, 1);
	pthread_mutex_init(&tls->reading, NULL);
	pthread_mutex_init(&tls->mutex, NULL);
	pthread_mutex_init(&tls->registry.mutex, NULL);
	take_limits(&tls->options, options);
	if (mechanism != NULL)
		rc = load_mechanism(mechanism, &tls->current, error);
	else
		rc = hvri_tls_sources_new(options, &sources, error);
	if (rc == HVREPL_OK && mechanism == NULL)
		rc = load(sources, NULL, &tls->current, error);
	hvri_tls_sources_drop(sources);
	if (rc < 0) {
		hvrepl_tls_destroy(tls);
		return rc;
	}
	*tls_out = tls;
	return HVREPL_OK;
}

/* Under `reading`: new connections use `fresh` from here on (taken), and those
 * that live are looked at again. */
static void put_in_force(hvrepl_tls *tls, struct hvri_tls_context *fresh,
			 bool lists, struct hvri_tls_session *scratch)
{
	struct hvri_tls_context *old;

	atomic_fetch_add(&fresh->references, 1);
	pthread_mutex_lock(&tls->mutex);
	old = tls->current;
	tls->current = fresh;
	tls->reads++;
	tls->tried_signature = 0;
	/* New lists do not mend a certificate that could not be read. */
	if (!lists || tls->last_of_lists)
		tls->last.code = HVREPL_OK;
	pthread_mutex_unlock(&tls->mutex);
	hvri_tls_context_drop(old);
	if (tls->mechanism == NULL)
		hvri_tls_living_recheck(tls, fresh, scratch);
	hvri_tls_context_drop(fresh);
}

/* Nothing but a change of the files mends it; all else (memory, descriptors, a
 * disk that cannot be read) may pass while they stay as they are. */
static bool is_of_the_files(int32_t rc, const struct hvrepl_error *why)
{
	return rc == HVREPL_E_NOT_FOUND || rc == HVREPL_E_LIMIT ||
	       (rc == HVREPL_E_INVALID && why->sys_errno == 0);
}

/* The end of reading: with OK `fresh` is taken, unless that fails. `signature`
 * of the lists, when they alone were read. */
static int32_t settle(hvrepl_tls *tls, int32_t rc,
		      struct hvri_tls_context *fresh, uint64_t signature,
		      struct hvrepl_error *why, struct hvrepl_error *error)
{
	struct hvri_tls_session *scratch = NULL;

	if (rc == HVREPL_OK) {
		/* Before anything is changed, as it may not be had. */
		scratch = malloc(sizeof(*scratch));
		if (scratch == NULL) {
			hvri_tls_context_drop(fresh);
			rc = hvri_sys_fail(why, HVREPL_E_NOMEM, 0,
					   "out of memory");
		}
	}
	if (rc == HVREPL_OK) {
		put_in_force(tls, fresh, signature != 0, scratch);
		free(scratch);
		return rc;
	}
	pthread_mutex_lock(&tls->mutex);
	tls->last = *why;
	tls->last.code = rc;
	tls->tried_signature = is_of_the_files(rc, why) ? signature : 0;
	tls->last_of_lists = signature != 0;
	pthread_mutex_unlock(&tls->mutex);
	return hvri_sys_fail(error, rc, why->sys_errno, "%s", why->sentence);
}

static int32_t read_again(hvrepl_tls *tls, struct hvri_tls_sources *sources,
			  struct hvrepl_error *error)
{
	struct hvrepl_error why = HVREPL_ERROR_INIT;
	struct hvri_tls_context *fresh = NULL;
	int32_t rc;

	rc = tls->mechanism != NULL ?
		     load_mechanism(tls->mechanism, &fresh, &why) :
		     load(sources, NULL, &fresh, &why);
	return settle(tls, rc, fresh, 0, &why, error);
}

int32_t hvrepl_tls_reload(hvrepl_tls *tls, struct hvrepl_error *error)
{
	int32_t rc;

	pthread_mutex_lock(&tls->reading);
	/* `current` changes only under `reading`. */
	rc = read_again(tls, tls->current->sources, error);
	pthread_mutex_unlock(&tls->reading);
	return rc;
}

int32_t hvrepl_tls_replace(hvrepl_tls *tls,
			   const struct hvrepl_tls_options *options,
			   struct hvrepl_error *error)
{
	struct hvri_tls_sources *sources;
	struct hvrepl_tls_options copy;
	int32_t rc;

	if (tls->mechanism != NULL)
		return hvri_sys_fail(error, HVREPL_E_STATE, 0,
				     "these credentials are of %s: make new ones",
				     tls->mechanism->word);
	rc = copy_in(options, &copy, error);
	if (rc == HVREPL_OK)
		rc = hvri_tls_sources_new(&copy, &sources, error);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&tls->reading);
	rc = read_again(tls, sources, error);
	pthread_mutex_unlock(&tls->reading);
	hvri_tls_sources_drop(sources);
	return rc;
}

/* The files are those in use again, as when their directory was away: nothing
 * is wrong with lists any more, and what goes wrong next is said. */
static void lists_are_back(hvrepl_tls *tls)
{
	pthread_mutex_lock(&tls->mutex);
	tls->tried_signature = 0;
	if (tls->last_of_lists)
		tls->last.code = HVREPL_OK;
	pthread_mutex_unlock(&tls->mutex);
}

int32_t hvrepl_tls_refresh(hvrepl_tls *tls, struct hvrepl_error *error)
{
	struct hvrepl_error why = HVREPL_ERROR_INIT;
	struct hvri_tls_context *fresh = NULL;
	struct hvri_tls_sources *sources;
	uint64_t signature;
	int32_t rc = 0;

	if (tls->mechanism != NULL)
		return 0;
	pthread_mutex_lock(&tls->reading);
	sources = tls->current->sources;
	if (sources->crl != NULL) {
		signature = hvri_tls_lists_signature(sources->crl);
		if (signature == 0)
			signature = 1; /* Cannot be looked at: say so once. */
		if (signature == tls->current->lists.signature) {
			lists_are_back(tls);
		} else if (signature != tls->tried_signature) {
			rc = load(sources, tls->current, &fresh, &why);
			rc = settle(tls, rc, fresh, signature, &why, error);
			rc = rc == HVREPL_OK ? 1 : rc;
		}
	}
	pthread_mutex_unlock(&tls->reading);
	return rc;
}

void hvri_tls_look(hvrepl_tls *tls)
{
	uint64_t now = hvrepl_loop_now();
	bool due;

	pthread_mutex_lock(&tls->mutex);
	due = now - tls->looked_ns >= LOOK_NS || tls->looked_ns == 0;
	if (due)
		tls->looked_ns = now;
	pthread_mutex_unlock(&tls->mutex);
	/* What fails is in hvrepl_tls_get_info(). */
	if (due)
		(void)hvrepl_tls_refresh(tls, NULL);
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

int32_t hvrepl_tls_get_info(hvrepl_tls *tls, struct hvrepl_tls_info *info)
{
	struct hvrepl_tls_info full = HVREPL_TLS_INFO_INIT;
	struct hvri_tls_context *context;
	uint8_t digest[32];

	if (tls == NULL || info == NULL ||
	    info->struct_size < sizeof(uint32_t))
		return HVREPL_E_INVALID;
	context = hvri_tls_current(tls);
	full.struct_size = info->struct_size;
	full.from_utc_ns = context->from_utc_ns;
	full.until_utc_ns = context->expires_utc_ns;
	if (context->lists.crls != NULL)
		full.lists = (uint32_t)sk_X509_CRL_num(context->lists.crls);
	full.list_from_utc_ns = context->lists.from_utc_ns;
	full.list_until_utc_ns = context->lists.until_utc_ns;
	memcpy(full.list_issuer, context->lists.issuer,
	       sizeof(full.list_issuer));
	memcpy(full.name, context->name, sizeof(full.name));
	if (context->material.cert != NULL &&
	    hvri_tls_key_digest(context->material.cert, digest))
		hvri_tls_pin_text(digest, full.pin);
	hvri_tls_context_drop(context);
	pthread_mutex_lock(&tls->mutex);
	full.reads = tls->reads;
	full.last_code = tls->last.code;
	if (full.last_code < 0)
		memcpy(full.sentence, tls->last.sentence,
		       sizeof(full.sentence));
	pthread_mutex_unlock(&tls->mutex);
	memcpy(info, &full,
	       full.struct_size < sizeof(full) ? full.struct_size :
						 sizeof(full));
	return HVREPL_OK;
}

void hvrepl_tls_destroy(hvrepl_tls *tls)
{
	if (tls == NULL || atomic_fetch_sub(&tls->references, 1) > 1)
		return;
	hvri_tls_context_drop(tls->current);
	hvri_mechanism_free(tls->mechanism);
	pthread_mutex_destroy(&tls->registry.mutex);
	pthread_mutex_destroy(&tls->mutex);
	pthread_mutex_destroy(&tls->reading);
	free(tls);
}
