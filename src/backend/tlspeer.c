/* SPDX-License-Identifier: Apache-2.0 */
/* A peer of a node that is dialled over TLS when the node wants it. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <hvrepl/backends/node.h>
#include <stdlib.h>
#include <string.h>

/* Everything here runs on the loop's thread. */
struct peer {
	uint32_t references; /* The node, an attempt under way. */
	hvrepl_loop *loop;
	hvrepl_tls *tls;
	hvrepl_node *node; /* NULL: it has let us go. */
	struct hvrepl_tls_peer options; /* Strings are ours. */
};

static void drop(struct peer *peer)
{
	if (--peer->references > 0)
		return;
	hvrepl_tls_destroy(peer->tls);
	free((char *)(uintptr_t)peer->options.name);
	free((char *)(uintptr_t)peer->options.host);
	free(peer);
}

static void done(void *user, const struct hvrepl_channel *channel,
		 const struct hvrepl_connect_result *result)
{
	struct peer *peer = user;

	if (peer->node != NULL && peer->options.attempted != NULL)
		peer->options.attempted(peer->options.user, result);
	/* It may have gone meanwhile, also in that call. */
	if (peer->node == NULL) {
		if (channel != NULL)
			channel->release(channel->user);
		drop(peer);
		return;
	}
	if (channel != NULL)
		(void)hvrepl_node_connected(peer->node, channel,
					    HVREPL_CHANNEL_INITIATOR);
	else
		(void)hvrepl_node_connect_failed(peer->node,
						 peer->options.name,
						 result->code);
	drop(peer);
}

static int32_t dial(void *user)
{
	struct peer *peer = user;
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;
	int32_t rc;

	connect.port = peer->options.port;
	connect.host = peer->options.host;
	connect.peer = peer->options.name;
	connect.connect_timeout_ns = peer->options.connect_timeout_ns;
	connect.done = done;
	connect.user = peer;
	peer->references++;
	rc = hvrepl_tls_connect(peer->loop, peer->tls, &connect, NULL);
	if (rc < 0)
		drop(peer);
	return rc;
}

static void let_go(void *user)
{
	struct peer *peer = user;

	peer->node = NULL;
	drop(peer);
}

int32_t hvrepl_tls_add_peer(hvrepl_loop *loop, hvrepl_tls *tls,
			    hvrepl_node *node,
			    const struct hvrepl_tls_peer *options,
			    struct hvrepl_error *error)
{
	struct hvrepl_peer_config config = { .struct_size = sizeof(config) };
	char canonical[HVREPL_PEER_NAME_MAX + 1];
	struct peer *peer;

	if (loop == NULL || tls == NULL || node == NULL || options == NULL ||
	    options->struct_size != sizeof(*options) ||
	    options->name == NULL || options->port < 1 ||
	    options->port > 65535)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a peer needs a name and a port from 1 to "
				     "65535");
	/* What the channel proves is in this spelling, and the node compares
	 * byte by byte. */
	if (!hvri_tls_peer_name(tls, options->name, canonical))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "%.100s is no name that %s knows",
				     options->name, hvri_tls_names_by(tls));
	if (hvri_tls_mechanism(tls) != NULL && options->host == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "with %s a peer needs a host beside its "
				     "name", hvri_tls_mechanism(tls)->word);
	peer = calloc(1, sizeof(*peer));
	if (peer == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	peer->references = 1;
	peer->loop = loop;
	peer->tls = hvri_tls_hold(tls);
	peer->node = node;
	peer->options = *options;
	peer->options.name = strdup(canonical);
	peer->options.host = strdup(options->host != NULL ? options->host :
							    canonical);
	if (peer->options.name == NULL || peer->options.host == NULL) {
		drop(peer);
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	}
	config.name = peer->options.name;
	config.connect = dial;
	config.user = peer;
	config.release = let_go;
	return hvrepl_node_add_peer(node, &config, error);
}
