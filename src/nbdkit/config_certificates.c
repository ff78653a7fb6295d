/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of a configuration: files, revocation, pins of peers. */
#include "config_values.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* "refuse" or "accept": what then stands in the flags. */
static void take_choice(struct loader *loader, cfg_t *section, const char *name,
			uint32_t flag)
{
	const char *text = cfg_getstr(section, name);

	if (strcmp(text, "accept") == 0)
		loader->config->tls_flags |= flag;
	else if (strcmp(text, "refuse") != 0)
		config_fail_at(loader, config_line_of(loader, section, name),
			"%s is \"refuse\" or \"accept\", not \"%s\".", name,
			text);
	if (loader->config->tls_flags != 0 && loader->config->crl == NULL)
		config_fail_at(loader, config_line_of(loader, section, name),
			"%s means nothing without lists. Add crl = \"FILE or DIRECTORY\" or take it away.",
			name);
}

void config_take_certificates(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;
	cfg_t *section;

	if (cfg_size(cfg, "certificates") == 0)
		return;
	section = cfg_getsec(cfg, "certificates");
	config_need(loader, section, "authority", "ca.pem");
	config_need(loader, section, "certificate", "site.pem");
	config_need(loader, section, "key", "site.key");
	config->authority = config_path(loader, section, "authority");
	config->certificate = config_path(loader, section, "certificate");
	config->key = config_path(loader, section, "key");
	config->crl = config_path(loader, section, "crl");
	take_choice(loader, section, "revocation-unknown",
		    HVREPL_TLS_ALLOW_UNKNOWN);
	take_choice(loader, section, "revocation-stale", HVREPL_TLS_ALLOW_STALE);
}

static bool is_pin(const char *text)
{
	if (strncmp(text, "sha256:", 7) != 0 || strlen(text) != 71)
		return false;
	for (text += 7; *text != 0; text++)
		if (!isxdigit((unsigned char)*text))
			return false;
	return true;
}

static char *take_pin(struct loader *loader, cfg_t *section, const char *name)
{
	const char *text = cfg_getstr(section, name);

	if (text != NULL && !is_pin(text))
		config_fail_at(loader, config_line_of(loader, section, name),
			"%s is \"sha256:\" and 64 hexadecimal digits; 'hvrepl cert show FILE' prints it.",
			name);
	return config_copy(loader, text);
}

void config_take_pins(struct loader *loader, cfg_t *section,
		      struct site_peer *peer)
{
	peer->pin = take_pin(loader, section, "pin");
	peer->backup_pin = take_pin(loader, section, "backup-pin");
	if (peer->pin == NULL && peer->backup_pin == NULL)
		return;
	if (loader->config->authority == NULL)
		config_fail_at(loader, section->line,
			"Peer '%s' has pins, which are of certificates, and the site has none.",
			peer->name);
	if (peer->pin == NULL || peer->backup_pin == NULL)
		config_fail_at(loader, section->line,
			"Peer '%s' needs both pin and backup-pin: the second is of a key kept aside for when the first is lost.",
			peer->name);
	else if (strcasecmp(peer->pin, peer->backup_pin) == 0)
		config_fail_at(loader, section->line,
			"The backup-pin of peer '%s' is its pin. Name another key, kept elsewhere.",
			peer->name);
}
