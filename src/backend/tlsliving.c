/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that live: looked at again when trust was read again. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/* A peer as it was proved, held beside the registry while it is looked at. */
struct snapshot {
	uint64_t id;
	X509 *leaf;
	STACK_OF(X509) *chain;
	bool server;
	char peer[HVREPL_PEER_NAME_MAX + 1];
};

static bool still_good(const struct snapshot *peer,
		       struct hvri_tls_context *context,
		       struct hvri_tls_session *scratch,
		       struct hvrepl_error *error)
{
	X509_STORE_CTX *store = X509_STORE_CTX_new();
	bool good = false;

	memset(scratch, 0, sizeof(*scratch));
	scratch->context = context;
	scratch->server = peer->server;
	memcpy(scratch->peer, peer->peer, sizeof(scratch->peer));
	if (store != NULL &&
	    X509_STORE_CTX_init(store, context->store, peer->leaf,
				peer->chain) == 1 &&
	    X509_STORE_CTX_set_default(store, peer->server ? "ssl_client" :
							     "ssl_server") ==
		    1) {
		X509_VERIFY_PARAM_set_auth_level(
			X509_STORE_CTX_get0_param(store),
			SSL_CTX_get_security_level(context->server));
		good = hvri_tls_verify(scratch, store, true);
	} else {
		scratch->verify_error = X509_V_ERR_OUT_OF_MEM;
	}
	if (!good)
		hvri_tls_explain_theirs(scratch, error);
	X509_STORE_CTX_free(store);
	ERR_clear_error();
	return good;
}

/* The entry is found again by its id: it may be gone by now. */
static void distrust(struct hvri_tls_registry *registry, uint64_t id)
{
	struct hvri_tls_living *at;

	pthread_mutex_lock(&registry->mutex);
	for (at = registry->first; at != NULL && at->id != id; at = at->next)
		;
	if (at != NULL)
		at->distrusted(at);
	pthread_mutex_unlock(&registry->mutex);
}

static void take_snapshot(struct snapshot *to,
			  const struct hvri_tls_living *living)
{
	X509_up_ref(living->leaf);
	to->id = living->id;
	to->leaf = living->leaf;
	/* Without its intermediates, for want of memory, it is not believed. */
	to->chain = living->chain == NULL ? NULL :
					    X509_chain_up_ref(living->chain);
	to->server = living->server;
	memcpy(to->peer, living->peer, sizeof(to->peer));
}

static void free_snapshot(struct snapshot *peer)
{
	X509_free(peer->leaf);
	sk_X509_pop_free(peer->chain, X509_free);
}

/* The one that joined next after `id`; false: none. */
static bool next_snapshot(struct hvri_tls_registry *registry, uint64_t id,
			  struct snapshot *to)
{
	struct hvri_tls_living *next = NULL;

	pthread_mutex_lock(&registry->mutex);
	for (struct hvri_tls_living *at = registry->first; at != NULL;
	     at = at->next)
		if (at->id > id && (next == NULL || at->id < next->id))
			next = at;
	if (next != NULL)
		take_snapshot(to, next);
	pthread_mutex_unlock(&registry->mutex);
	return next != NULL;
}

void hvri_tls_living_recheck(hvrepl_tls *tls, struct hvri_tls_context *context,
			     struct hvri_tls_session *scratch)
{
	struct hvri_tls_registry *registry = hvri_tls_registry(tls);
	const struct hvri_tls_sources *sources = context->sources;
	struct snapshot peer = { 0 };

	while (next_snapshot(registry, peer.id, &peer)) {
		struct hvrepl_error error = HVREPL_ERROR_INIT;

		if (!still_good(&peer, context, scratch, &error)) {
			if (sources->distrusted != NULL)
				sources->distrusted(sources->user, peer.peer,
						    &error);
			distrust(registry, peer.id);
		}
		free_snapshot(&peer);
	}
}

int32_t hvri_tls_living_join(hvrepl_tls *tls, struct hvri_tls_living *living,
			     struct hvri_tls_session *session,
			     struct hvrepl_error *error)
{
	struct hvri_tls_registry *registry = hvri_tls_registry(tls);
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(session->ssl);
	struct hvri_tls_context *now;
	struct snapshot self;
	int32_t rc = HVREPL_OK;

	living->leaf = SSL_get1_peer_certificate(session->ssl);
	living->chain = chain == NULL ? NULL : X509_chain_up_ref(chain);
	if (living->leaf == NULL || (chain != NULL && living->chain == NULL)) {
		hvri_tls_living_leave(tls, living);
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	}
	living->server = session->server;
	memcpy(living->peer, session->peer, sizeof(living->peer));
	pthread_mutex_lock(&registry->mutex);
	living->id = ++registry->last_id;
	living->previous = NULL;
	living->next = registry->first;
	if (living->next != NULL)
		living->next->previous = living;
	registry->first = living;
	pthread_mutex_unlock(&registry->mutex);
	/* A reload that began before this has not seen us; one that begins
	 * after it will. */
	now = hvri_tls_current(tls);
	if (now != session->context) {
		struct hvri_tls_session *scratch = malloc(sizeof(*scratch));

		take_snapshot(&self, living);
		if (scratch == NULL)
			rc = hvri_sys_fail(error, HVREPL_E_NOMEM, 0,
					   "out of memory");
		else if (!still_good(&self, now, scratch, error))
			rc = HVREPL_E_UNAUTHENTICATED;
		if (rc == HVREPL_E_UNAUTHENTICATED) {
			session->step = HVREPL_STEP_CERTIFICATE;
			session->verify_error = scratch->verify_error;
		}
		free_snapshot(&self);
		free(scratch);
	}
	hvri_tls_context_drop(now);
	if (rc < 0)
		hvri_tls_living_leave(tls, living);
	return rc;
}

void hvri_tls_living_leave(hvrepl_tls *tls, struct hvri_tls_living *living)
{
	struct hvri_tls_registry *registry = hvri_tls_registry(tls);

	if (living->id != 0) {
		pthread_mutex_lock(&registry->mutex);
		if (living->previous != NULL)
			living->previous->next = living->next;
		else
			registry->first = living->next;
		if (living->next != NULL)
			living->next->previous = living->previous;
		pthread_mutex_unlock(&registry->mutex);
	}
	living->id = 0;
	living->next = living->previous = NULL;
	X509_free(living->leaf);
	sk_X509_pop_free(living->chain, X509_free);
	living->leaf = NULL;
	living->chain = NULL;
}
