/* SPDX-License-Identifier: Apache-2.0 */
/* A site's certificates or keytab while it runs: reload, revocation, ends. */
#include "trust.h"

#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Between two looks at the revocation lists' files. */
#define LOOK_NS 2000000000u
#define DAY 86400000000000ull

static void say(struct endpoint *endpoint, uint32_t level, const char *format,
		...) __attribute__((format(printf, 3, 4)));
static void say(struct endpoint *endpoint, uint32_t level, const char *format,
		...)
{
	char line[2 * HVREPL_SENTENCE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	endpoint->log(endpoint, level, line);
}

/* Control thread, or the network's when lists were read in a handshake. */
static void on_distrusted(void *user, const char *peer,
			  const struct hvrepl_error *error)
{
	say(user, HVREPL_LOG_WARNING, "the session with %s is closed: %s", peer,
	    error->sentence);
}

/* Pins of peers, their strings our own. */
struct pins {
	struct hvrepl_tls_pin *all;
	uint32_t count;
};

static void free_pins(struct pins *pins)
{
	for (uint32_t i = 0; i < pins->count; i++) {
		free((char *)(uintptr_t)pins->all[i].peer);
		free((char *)(uintptr_t)pins->all[i].pin);
		free((char *)(uintptr_t)pins->all[i].backup_pin);
	}
	free(pins->all);
	pins->all = NULL;
	pins->count = 0;
}

static bool add_pin(struct pins *pins, const char *peer, const char *pin,
		    const char *backup_pin)
{
	struct hvrepl_tls_pin *own = &pins->all[pins->count++];

	own->peer = strdup(peer);
	own->pin = strdup(pin);
	own->backup_pin = strdup(backup_pin);
	return own->peer != NULL && own->pin != NULL && own->backup_pin != NULL;
}

static bool names(const struct site_config *config, const char *peer)
{
	for (size_t i = 0; i < config->peer_count; i++)
		if (hvrepl_peer_pattern_matches(config->peers[i].name, peer) ==
		    1)
			return true;
	return false;
}

/* As `config` says. A peer of the start that it no longer names runs on until a
 * restart, and its pins with it: or whoever has a certificate of its name would
 * be let in by an edit that was to keep it out. */
static bool collect(const struct endpoint *endpoint,
		    const struct site_config *config, struct pins *pins)
{
	bool fine;

	pins->all = calloc(config->peer_count + endpoint->pin_count + 1,
			   sizeof(*pins->all));
	fine = pins->all != NULL;
	for (size_t i = 0; fine && i < config->peer_count; i++)
		if (config->peers[i].pin != NULL)
			fine = add_pin(pins, config->peers[i].name,
				       config->peers[i].pin,
				       config->peers[i].backup_pin);
	for (uint32_t i = 0; fine && i < endpoint->pin_count; i++) {
		const struct hvrepl_tls_pin *pin = &endpoint->pins[i];

		if (!names(config, pin->peer) &&
		    names(endpoint->config, pin->peer))
			fine = add_pin(pins, pin->peer, pin->pin,
				       pin->backup_pin);
	}
	return fine;
}

static int32_t fill(struct endpoint *endpoint, const struct site_config *config,
		    struct hvrepl_tls_options *tls, struct pins *pins)
{
	tls->ca_file = config->authority;
	tls->cert_file = config->certificate;
	tls->key_file = config->key;
	tls->crl = config->crl;
	tls->flags = config->tls_flags;
	tls->distrusted = on_distrusted;
	tls->user = endpoint;
	if (!collect(endpoint, config, pins)) {
		free_pins(pins);
		return HVREPL_E_NOMEM;
	}
	tls->pins = pins->all;
	tls->pin_count = pins->count;
	return HVREPL_OK;
}

/* They count now. */
static void keep_pins(struct endpoint *endpoint, struct pins *pins)
{
	struct pins old = { endpoint->pins, endpoint->pin_count };

	free_pins(&old);
	endpoint->pins = pins->all;
	endpoint->pin_count = pins->count;
	pins->all = NULL;
	pins->count = 0;
}

void trust_free(struct endpoint *endpoint)
{
	struct pins none = { NULL, 0 };

	keep_pins(endpoint, &none);
}

/* A renewal that failed, or did not after all, on its way to the node. */
struct renewal {
	struct endpoint *endpoint;
	uint64_t until_utc_ns;
	char peer[HVREPL_PEER_NAME_MAX + 1];
};

static void tell_renewal(void *argument)
{
	struct renewal *renewal = argument;

	if (renewal->endpoint->node != NULL)
		(void)hvrepl_node_set_renewal(renewal->endpoint->node,
					      renewal->peer,
					      renewal->until_utc_ns);
	free(renewal);
}

static void post_renewal(struct endpoint *endpoint, const char *peer,
			 uint64_t until_utc_ns)
{
	struct renewal *renewal = calloc(1, sizeof(*renewal));

	if (renewal == NULL)
		return;
	renewal->endpoint = endpoint;
	renewal->until_utc_ns = until_utc_ns;
	snprintf(renewal->peer, sizeof(renewal->peer), "%s", peer);
	if (hvrepl_loop_post(endpoint->control_loop, tell_renewal, renewal) < 0)
		free(renewal);
}

/* Time to mend it before the session ends. Network thread. */
static void on_renewal_failed(void *user, const char *peer, uint64_t left_ns,
			      const struct hvrepl_error *error)
{
	struct endpoint *endpoint = user;
	uint64_t now = endpoint->env->utc_ns(endpoint->env->user);

	say(endpoint, HVREPL_LOG_WARNING,
	    "the ticket for %.120s could not be renewed; the session with it ends in %llu s: %s",
	    peer, (unsigned long long)(left_ns / 1000000000u), error->sentence);
	post_renewal(endpoint, peer, now + left_ns);
}

static void on_renewed(void *user, const char *peer)
{
	say(user, HVREPL_LOG_NOTICE, "the ticket for %s was renewed after all",
	    peer);
	post_renewal(user, peer, 0);
}

int32_t trust_make(struct endpoint *endpoint, struct hvrepl_error *error)
{
	const struct site_config *config = endpoint->config;
	struct hvrepl_kerberos_options kerberos = HVREPL_KERBEROS_OPTIONS_INIT;
	struct hvrepl_tls_options tls = HVREPL_TLS_OPTIONS_INIT;
	struct pins pins = { NULL, 0 };
	int32_t rc;

	if (config->keytab != NULL) {
		kerberos.keytab = config->keytab;
		kerberos.principal = config->principal;
		kerberos.service = config->service;
		kerberos.ccache = config->tickets;
		kerberos.renewal_failed = on_renewal_failed;
		kerberos.renewed = on_renewed;
		kerberos.user = endpoint;
		return hvrepl_kerberos_create(&kerberos, &endpoint->tls, error);
	}
	if (config->authority == NULL)
		return HVREPL_OK;
	rc = fill(endpoint, config, &tls, &pins);
	if (rc < 0)
		return site_fail(error, rc, 0, "Not enough memory.");
	rc = hvrepl_tls_create(&tls, &endpoint->tls, error);
	if (rc == HVREPL_OK)
		keep_pins(endpoint, &pins);
	free_pins(&pins);
	return rc;
}

/* Health hears of it; so does the log, once a stage. */
static void tell(struct endpoint *endpoint)
{
	struct hvrepl_trust trust = HVREPL_TRUST_INIT;
	struct hvrepl_tls_info info = HVREPL_TLS_INFO_INIT;
	uint64_t now = endpoint->env->utc_ns(endpoint->env->user);
	uint64_t left;
	uint32_t stage;

	if (hvrepl_tls_get_info(endpoint->tls, &info) < 0)
		return;
	/* Lists are read in handshakes too, so what happened is seen here. */
	if (info.last_code < 0 &&
	    strcmp(info.sentence, endpoint->trust_error) != 0)
		say(endpoint, HVREPL_LOG_WARNING,
		    "new certificates or lists are not used: %s",
		    info.sentence);
	else if (info.reads > endpoint->trust_reads &&
		 endpoint->trust_reads != 0)
		say(endpoint, HVREPL_LOG_NOTICE,
		    "certificates and revocation lists were read again");
	endpoint->trust_reads = info.reads;
	memcpy(endpoint->trust_error, info.sentence,
	       sizeof(endpoint->trust_error));
	trust.from_utc_ns = info.from_utc_ns;
	trust.until_utc_ns = info.until_utc_ns;
	trust.list_from_utc_ns = info.list_from_utc_ns;
	trust.list_until_utc_ns = info.list_until_utc_ns;
	(void)hvrepl_node_set_trust(endpoint->node, &trust);
	if (info.until_utc_ns == 0)
		return;
	left = info.until_utc_ns > now ? info.until_utc_ns - now : 0;
	stage = left == 0 ? 3 : left <= 7 * DAY ? 2 : left <= 30 * DAY;
	if (stage != endpoint->trust_stage && stage > 0)
		say(endpoint, HVREPL_LOG_WARNING,
		    left == 0 ? "this site's certificate has ended: renew it, then 'hvrepl site reload'" :
				"this site's certificate ends in %llu days: renew it, then 'hvrepl site reload'",
		    (unsigned long long)(left / DAY));
	endpoint->trust_stage = stage;
}

int32_t trust_reload(struct endpoint *endpoint, const struct site_config *fresh,
		     struct hvrepl_error *error)
{
	struct hvrepl_tls_options tls = HVREPL_TLS_OPTIONS_INIT;
	struct pins pins = { NULL, 0 };
	int32_t rc;

	if (endpoint->tls == NULL ||
	    (endpoint->config->keytab == NULL) != (fresh->keytab == NULL) ||
	    (endpoint->config->keytab == NULL && fresh->authority == NULL))
		return HVREPL_OK;
	if (fresh->keytab != NULL) {
		rc = hvrepl_tls_reload(endpoint->tls, error);
	} else {
		rc = fill(endpoint, fresh, &tls, &pins);
		if (rc < 0)
			return site_fail(error, rc, 0, "Not enough memory.");
		rc = hvrepl_tls_replace(endpoint->tls, &tls, error);
		if (rc == HVREPL_OK)
			keep_pins(endpoint, &pins);
		free_pins(&pins);
	}
	if (rc == HVREPL_OK)
		tell(endpoint);
	return rc;
}

uint64_t trust_deadline(const struct endpoint *endpoint)
{
	return endpoint->tls != NULL ? endpoint->trust_due_ns : UINT64_MAX;
}

void trust_turn(struct endpoint *endpoint)
{
	if (endpoint->tls == NULL ||
	    endpoint_now(endpoint) < endpoint->trust_due_ns)
		return;
	endpoint->trust_due_ns = endpoint_now(endpoint) + LOOK_NS;
	(void)hvrepl_tls_refresh(endpoint->tls, NULL);
	tell(endpoint);
}

json_t *trust_json(struct endpoint *endpoint)
{
	struct hvrepl_tls_info info = HVREPL_TLS_INFO_INIT;

	if (endpoint->tls == NULL ||
	    hvrepl_tls_get_info(endpoint->tls, &info) < 0)
		return json_null();
	return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:o,s:o}",
			 "mechanism",
			 endpoint->config->keytab != NULL ? "kerberos" :
							    "certificates",
			 "name", info.name, "pin", info.pin, "from_utc_ns",
			 (json_int_t)info.from_utc_ns, "until_utc_ns",
			 (json_int_t)info.until_utc_ns, "lists",
			 (json_int_t)info.lists, "list_from_utc_ns",
			 (json_int_t)info.list_from_utc_ns, "list_until_utc_ns",
			 (json_int_t)info.list_until_utc_ns, "list_issuer",
			 text_json(info.list_issuer), "last_error",
			 text_json(info.sentence));
}
