/* SPDX-License-Identifier: Apache-2.0 */
/* The sections authorise: who may do what here, read and checked. */
#include "config_values.h"

#include <hvrepl/authorisation.h>
#include <stdlib.h>
#include <string.h>

/* Its bit; 0: there is no such verb. */
static uint32_t verb_bit(const char *name)
{
	const char *known;

	for (uint32_t i = 0; (known = hvrepl_verb_name(i)) != NULL; i++)
		if (strcmp(name, known) == 0)
			return 1u << i;
	return 0;
}

static void take_verbs(struct loader *loader, cfg_t *section,
		       struct site_authorisation *entry)
{
	unsigned count = cfg_size(section, "verbs");
	int line = config_line_of(loader, section, "verbs");

	if (count == 0)
		config_fail_at(loader, section->line,
			"Without verbs the entry allows nothing. Write verbs = {\"enable\", \"receive\", \"reverse\"} or others, or {\"none\"}.");
	for (unsigned j = 0; j < count; j++) {
		const char *verb = cfg_getnstr(section, "verbs", j);
		uint32_t bit = verb_bit(verb);

		if (strcmp(verb, "none") == 0 && count == 1)
			entry->deny = true;
		else if (strcmp(verb, "none") == 0)
			config_fail_at(loader, line,
				"\"none\" is not one verb among others. Write it alone, or take it away.");
		else if (bit == 0)
			config_fail_at(loader, line,
				"There is no verb \"%.40s\". Known: enable, receive, reverse, overwrite, delete-points, verify; or none.",
				verb);
		entry->verbs |= bit;
	}
}

static void check_peer(struct loader *loader, cfg_t *section)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const char *title = cfg_title(section);

	if (strchr(title, '*') == NULL) {
		config_check_peer(loader, section,
				  loader->config->keytab != NULL);
	} else if (loader->config->keytab != NULL) {
		config_fail_at(loader, section->line,
			"'%.64s' is a pattern. With Kerberos every peer is named by its whole principal.",
			title);
	} else if (hvrepl_peer_pattern_check(title, &error) < 0) {
		config_fail_at(loader, section->line, "%s.", error.sentence);
	}
}

static void take_quotas(struct loader *loader, cfg_t *section,
			struct site_authorisation *entry)
{
	entry->relationships = (uint32_t)config_int(
		loader, section, "relationships", 0, 1000000);
	entry->points = (uint32_t)config_int(loader, section, "points", 0, 24);
	config_size(loader, section, "bytes", &entry->bytes);
	config_size(loader, section, "rate", &entry->rate);
	if (entry->rate != 0 &&
	    (entry->rate < HVREPL_RATE_MIN || entry->rate > 1ull << 39))
		config_fail_at(loader, config_line_of(loader, section, "rate"),
			"A rate is 64K to 512G bytes a second. Write for example rate = \"20M\".");
}

void config_take_authorisations(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;

	config->authorisation_count = cfg_size(cfg, "authorise");
	config->authorisations = config_array(loader, config->authorisation_count,
					   sizeof(*config->authorisations));
	for (unsigned i = 0;
	     i < config->authorisation_count && !loader->failed; i++) {
		struct site_authorisation *entry = &config->authorisations[i];
		cfg_t *section = cfg_getnsec(cfg, "authorise", i);

		check_peer(loader, section);
		entry->peer = config_copy(loader, cfg_title(section));
		entry->trust_group =
			config_copy(loader, cfg_getstr(section, "trust-group"));
		entry->storage = config_path(loader, section, "storage");
		if (entry->trust_group != NULL &&
		    strlen(entry->trust_group) > HVREPL_TRUST_GROUP_MAX)
			config_fail_at(loader,
				config_line_of(loader, section, "trust-group"),
				"A trust group's name has at most %u bytes. Choose a shorter one.",
				HVREPL_TRUST_GROUP_MAX);
		if (entry->storage != NULL &&
		    strlen(entry->storage) > HVREPL_STORAGE_ROOT_MAX)
			config_fail_at(loader,
				config_line_of(loader, section, "storage"),
				"The path is longer than %u bytes. Choose a shorter one.",
				HVREPL_STORAGE_ROOT_MAX);
		take_verbs(loader, section, entry);
		take_quotas(loader, section, entry);
	}
}

void config_free_authorisations(struct site_config *config)
{
	for (size_t i = 0; config->authorisations != NULL &&
			   i < config->authorisation_count; i++) {
		free(config->authorisations[i].peer);
		free(config->authorisations[i].trust_group);
		free(config->authorisations[i].storage);
	}
	free(config->authorisations);
}
