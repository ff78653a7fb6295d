/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration's entries at the node: at the start and while it runs. */
#include "endpoint.h"

#include <string.h>

const struct site_config *endpoint_rights(const struct endpoint *endpoint)
{
	return endpoint->rights != NULL ? endpoint->rights : endpoint->config;
}

static int32_t authorise(struct endpoint *endpoint,
			 const struct site_authorisation *from,
			 struct hvrepl_error *error)
{
	struct hvrepl_authorisation entry = HVREPL_AUTHORISATION_INIT;
	int32_t rc;

	entry.verbs = from->verbs;
	/* What costs data is not done while it cannot be noted. */
	if (endpoint->audit_told)
		entry.verbs &= ~(HVREPL_VERB_OVERWRITE |
				 HVREPL_VERB_DELETE_POINTS);
	entry.flags = from->deny ? HVREPL_AUTHORISATION_DENY : 0;
	entry.peer = from->peer;
	entry.trust_group = from->trust_group;
	entry.storage_root = from->storage;
	entry.relationships_max = from->relationships;
	entry.points_max = from->points;
	entry.bytes_max = from->bytes;
	entry.rate_max = from->rate;
	rc = hvrepl_node_authorise(endpoint->node, &entry);
	if (rc < 0)
		site_fail(error, rc, 0,
			  "The authorisation of '%s' was not taken: %s",
			  entry.peer, hvrepl_strerror(rc));
	return rc;
}

/* As the node tells entries apart. */
static bool same_peer(const char *a, const char *b)
{
	if (a[0] == '*' && b[0] == '*') { /* "*." and a host's name, both. */
		a += 2;
		b += 2;
	}
	return b[0] != '*' && a[0] != '*' &&
	       hvrepl_peer_pattern_matches(a, b) == 1;
}

const struct site_authorisation *
endpoint_entry_of(const struct site_config *config, const char *peer)
{
	for (size_t i = 0; i < config->authorisation_count; i++)
		if (same_peer(config->authorisations[i].peer, peer))
			return &config->authorisations[i];
	return NULL;
}

int32_t endpoint_take_rights(struct endpoint *endpoint,
			     const struct site_config *before,
			     const struct site_config *now,
			     struct hvrepl_error *error)
{
	int32_t rc = HVREPL_OK;

	/* What goes goes first, and needs no memory. */
	for (size_t i = 0; before != NULL && rc == HVREPL_OK &&
			   i < before->authorisation_count; i++) {
		struct site_authorisation gone = {
			.peer = before->authorisations[i].peer,
		};

		if (endpoint_entry_of(now, gone.peer) == NULL)
			rc = authorise(endpoint, &gone, error);
	}
	for (size_t i = 0; rc == HVREPL_OK && i < now->authorisation_count; i++)
		rc = authorise(endpoint, &now->authorisations[i], error);
	return rc;
}
