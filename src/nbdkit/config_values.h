/* SPDX-License-Identifier: Apache-2.0 */
/* Single values of a configuration, for config.c only. */
#ifndef SITE_CONFIG_VALUES_H
#define SITE_CONFIG_VALUES_H

#include "config.h"

#include <confuse.h>

#define CONFIG_LINES_MAX 4096

/* Where an option was set, for errors found after the file was parsed. */
struct where {
	const cfg_opt_t *option;
	int line;
};

struct loader {
	const char *path;
	const char *directory; /* Of the file, with its '/', or "". */
	struct hvrepl_error *error;
	struct site_config *config;
	struct where lines[CONFIG_LINES_MAX];
	size_t line_count;
	bool failed;
};

/* Only the first failure is kept: it is the one to mend first. */
void config_fail_at(struct loader *loader, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void config_fail_file(struct loader *loader, int32_t code, const char *format,
		      ...) __attribute__((format(printf, 3, 4)));
/* Line where the option was set; 0 when it was not. */
int config_line_of(const struct loader *loader, cfg_t *section,
		   const char *name);

/* Values that are absent leave *out alone. */
void config_duration(struct loader *loader, cfg_t *section, const char *name,
		     uint64_t *ms_out);
void config_size(struct loader *loader, cfg_t *section, const char *name,
		 uint64_t *bytes_out);
long config_int(struct loader *loader, cfg_t *section, const char *name,
		long low, long high);
/* Relative to the file, so that a site can be moved as a whole. */
char *config_path(struct loader *loader, cfg_t *section, const char *name);
void config_check_name(struct loader *loader, cfg_t *section,
		       const char *kind);
/* A peer's title: a name, or with `principals` a whole principal. */
void config_check_peer(struct loader *loader, cfg_t *section, bool principals);
void config_need(struct loader *loader, cfg_t *section, const char *name,
		 const char *example);

/* config_rights.c */
void config_take_authorisations(struct loader *loader, cfg_t *cfg);
void config_free_authorisations(struct site_config *config);
/* config_certificates.c */
void config_take_certificates(struct loader *loader, cfg_t *cfg);
void config_take_pins(struct loader *loader, cfg_t *section,
		      struct site_peer *peer);

/* NULL for NULL. */
char *config_copy(struct loader *loader, const char *text);
/* Zeroed; one more than asked for, so that none is no special case. */
void *config_array(struct loader *loader, size_t count, size_t size);

#endif
