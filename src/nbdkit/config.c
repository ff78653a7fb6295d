/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a site's configuration with libconfuse and says what is wrong. */
#include "config_values.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPTURE_INTERVAL_MAX_MS (8784ull * 3600000u)

#define FILE_MAX (1u << 20)

/* libconfuse hands its callbacks no pointer of ours. */
static struct loader *loading;

static bool was_seen(const struct loader *loader, const cfg_opt_t *option)
{
	for (size_t i = 0; i < loader->line_count; i++)
		if (loader->lines[i].option == option)
			return true;
	return false;
}

/* Runs for every value as it is parsed: remembers the line, checks text. */
static int remember(cfg_t *cfg, cfg_opt_t *option)
{
	struct loader *loader = loading;

	if (loader->line_count == CONFIG_LINES_MAX) {
		config_fail_at(loader, cfg->line, "More than %d settings in one file.",
			CONFIG_LINES_MAX);
		return -1;
	}
	/* The parser would take the last one, and say nothing. A list is remembered for
	 * each of its values. */
	if ((option->flags & CFGF_LIST) == 0 && was_seen(loader, option)) {
		config_fail_at(loader, cfg->line,
			"'%s' is given twice. Take one of the two away.",
			option->name);
		return -1;
	}
	loader->lines[loader->line_count].option = option;
	loader->lines[loader->line_count++].line = cfg->line;
	if (option->type == CFGT_STR && cfg_opt_size(option) > 0) {
		const char *value = cfg_opt_getnstr(
			option, cfg_opt_size(option) - 1);

		if (value != NULL && value[0] == 0) {
			config_fail_at(loader, cfg->line,
				"'%s' is empty. Give it a value or take the line away.",
				option->name);
			return -1;
		}
	}
	return 0;
}

static void list_options(cfg_t *cfg, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (const cfg_opt_t *option = cfg->opts;
	     option != NULL && option->name != NULL && option->name[0] != 0 &&
	     used + strlen(option->name) + 3 < size;
	     option++)
		used += (size_t)snprintf(text + used, size - used, "%s%s",
					 used == 0 ? "" : ", ", option->name);
}

static void on_error(cfg_t *cfg, const char *format, va_list args)
{
	char known[160], text[HVREPL_SENTENCE_MAX];

	vsnprintf(text, sizeof(text), format, args);
	if (strncmp(text, "no such option", 14) == 0) {
		list_options(cfg, known, sizeof(known));
		config_fail_at(loading, cfg->line, "%.80s. Known here: %s.", text,
			known);
	} else {
		config_fail_at(loading, cfg->line, "%s.", text);
	}
}

/* The sections. A '-' in a name is as good as a letter to libconfuse. */
static cfg_opt_t site_options[] = {
	CFG_STR("state", NULL, CFGF_NONE),
	CFG_STR("storage", NULL, CFGF_NONE),
	CFG_STR("replicas", NULL, CFGF_NONE),
	CFG_STR("audit", NULL, CFGF_NONE),
	CFG_STR("control", NULL, CFGF_NONE),
	CFG_STR("nbd", NULL, CFGF_NONE),
	CFG_STR("start-wait", "10s", CFGF_NONE),
	CFG_STR("start-without-peer", "allow", CFGF_NONE),
	CFG_STR("retry", "1s", CFGF_NONE),
	CFG_STR("retry-max", "60s", CFGF_NONE),
	CFG_INT("compression", 1, CFGF_NONE),
	CFG_STR("spool", "64M", CFGF_NONE),
	CFG_END()
};
static cfg_opt_t certificates_options[] = {
	CFG_STR("authority", NULL, CFGF_NONE),
	CFG_STR("certificate", NULL, CFGF_NONE),
	CFG_STR("key", NULL, CFGF_NONE),
	CFG_STR("crl", NULL, CFGF_NONE),
	CFG_STR("revocation-unknown", "refuse", CFGF_NONE),
	CFG_STR("revocation-stale", "refuse", CFGF_NONE),
	CFG_END()
};
static cfg_opt_t kerberos_options[] = {
	CFG_STR("keytab", NULL, CFGF_NONE),
	CFG_STR("principal", NULL, CFGF_NONE),
	CFG_STR("service", NULL, CFGF_NONE),
	CFG_STR("tickets", NULL, CFGF_NONE),
	CFG_END()
};
static cfg_opt_t listen_options[] = {
	CFG_STR("address", NULL, CFGF_NONE),
	CFG_INT("port", 0, CFGF_NONE),
	CFG_END()
};
static cfg_opt_t peer_options[] = {
	CFG_STR("address", NULL, CFGF_NONE),
	CFG_INT("port", 0, CFGF_NONE),
	CFG_STR("pin", NULL, CFGF_NONE),
	CFG_STR("backup-pin", NULL, CFGF_NONE),
	CFG_END()
};
static cfg_opt_t authorise_options[] = {
	CFG_STR_LIST("verbs", NULL, CFGF_NONE),
	CFG_STR("trust-group", NULL, CFGF_NONE),
	CFG_STR("storage", NULL, CFGF_NONE),
	CFG_INT("relationships", 0, CFGF_NONE),
	CFG_INT("points", 0, CFGF_NONE),
	CFG_STR("bytes", NULL, CFGF_NONE),
	CFG_STR("rate", NULL, CFGF_NONE),
	CFG_END()
};
static cfg_opt_t policy_options[] = {
	CFG_STR("interval", "30s", CFGF_NONE),
	CFG_INT("points", 0, CFGF_NONE),
	CFG_STR("quota", NULL, CFGF_NONE),
	CFG_INT("points-min", 0, CFGF_NONE),
	CFG_END()
};
static cfg_opt_t disk_options[] = {
	CFG_STR("path", NULL, CFGF_NONE),
	CFG_BOOL("exclusive", cfg_false, CFGF_NONE),
	CFG_END()
};
static cfg_opt_t vm_options[] = {
	CFG_STR("policy", NULL, CFGF_NONE),
	CFG_STR("capture", NULL, CFGF_NONE),
	CFG_STR("capture-interval", NULL, CFGF_NONE),
	CFG_SEC("disk", disk_options,
		CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_END()
};
static cfg_opt_t file_options[] = {
	CFG_SEC("site", site_options,
		CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_SEC("certificates", certificates_options, CFGF_NODEFAULT),
	CFG_SEC("kerberos", kerberos_options, CFGF_NODEFAULT),
	CFG_SEC("listen", listen_options, CFGF_NODEFAULT),
	CFG_SEC("peer", peer_options,
		CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_SEC("authorise", authorise_options,
		CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_SEC("policy", policy_options,
		CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_SEC("vm", vm_options,
		CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_END()
};

static char *get_nbd(struct loader *loader, cfg_t *site)
{
	const char *text = cfg_getstr(site, "nbd");
	const char *colon = text == NULL ? NULL : strrchr(text, ':');
	char *path, *result = NULL;
	char *end;
	long port;

	if (text == NULL || (text[0] != '/' && colon != NULL)) {
		port = colon == NULL ? 0 : strtol(colon + 1, &end, 10);
		if (text != NULL && (port < 1 || port > 65535 || *end != 0 ||
				     colon == text))
			config_fail_at(loader, config_line_of(loader, site, "nbd"),
				"nbd = \"%s\" is neither a socket path nor HOST:PORT.",
				text);
		return config_copy(loader, text);
	}
	path = config_path(loader, site, "nbd");
	if (path != NULL && asprintf(&result, "unix:%s", path) < 0)
		result = NULL;
	if (result == NULL)
		config_fail_file(loader, HVREPL_E_NOMEM, "Not enough memory.");
	free(path);
	return result;
}

static void take_retry(struct loader *loader, cfg_t *site)
{
	struct site_config *config = loader->config;

	config_duration(loader, site, "retry", &config->retry_ms);
	config_duration(loader, site, "retry-max", &config->retry_max_ms);
	if (config->retry_ms < 10 || config->retry_ms > 3600000)
		config_fail_at(loader, config_line_of(loader, site, "retry"),
			"A retry is 10ms to 1h. Write for example retry = \"1s\".");
	if (config->retry_max_ms < config->retry_ms ||
	    config->retry_max_ms > 3600000)
		config_fail_at(loader, config_line_of(loader, site, "retry-max"),
			"retry-max is at least retry and at most 1h. Write for example retry-max = \"60s\".");
}

static void take_site(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;
	cfg_t *site;
	const char *start;

	if (cfg_size(cfg, "site") != 1) {
		config_fail_at(loader, 0,
			"There must be exactly one section: site \"NAME\" { ... }.");
		return;
	}
	site = cfg_getnsec(cfg, "site", 0);
	config_check_name(loader, site, "site");
	config_need(loader, site, "state", "/var/lib/hvrepl/state");
	config_need(loader, site, "storage", "/var/lib/hvrepl/storage");
	config_need(loader, site, "control", "/run/hvrepl/control.sock");
	config_need(loader, site, "nbd", "/run/hvrepl/nbd.sock");
	config->name = config_copy(loader, cfg_title(site));
	config->state = config_path(loader, site, "state");
	config->storage = config_path(loader, site, "storage");
	config->replicas = config_path(loader, site, "replicas");
	config->audit = config_path(loader, site, "audit");
	config->control = config_path(loader, site, "control");
	config->nbd = get_nbd(loader, site);
	if (config->control != NULL && strlen(config->control) > 107)
		config_fail_at(loader, config_line_of(loader, site, "control"),
			"The socket path is longer than the system's 107 bytes. Choose a shorter one.");
	config_duration(loader, site, "start-wait", &config->start_wait_ms);
	if (config->start_wait_ms < 1 || config->start_wait_ms > 86400000)
		config_fail_at(loader, config_line_of(loader, site, "start-wait"),
			"A start-wait is 1ms to 24h. To wait for the peer without an end write start-without-peer = \"refuse\".");
	take_retry(loader, site);
	config_size(loader, site, "spool", &config->spool);
	config->compression = (uint32_t)cfg_getint(site, "compression");
	if (config->compression != 100)
		config->compression =
			(uint32_t)config_int(loader, site, "compression", 1, 19);
	start = cfg_getstr(site, "start-without-peer");
	if (strcmp(start, "refuse") == 0)
		config->start_without_peer = SITE_START_REFUSE;
	else if (strcmp(start, "allow") != 0)
		config_fail_at(loader, config_line_of(loader, site, "start-without-peer"),
			"start-without-peer is \"allow\" or \"refuse\", not \"%s\".",
			start);
}

static void take_kerberos(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;
	cfg_t *section = cfg_getsec(cfg, "kerberos");

	config_need(loader, section, "keytab", "site.keytab");
	config->keytab = config_path(loader, section, "keytab");
	config->principal = config_copy(loader, cfg_getstr(section, "principal"));
	config->service = config_copy(loader, cfg_getstr(section, "service"));
	config->tickets = config_copy(loader, cfg_getstr(section, "tickets"));
	if (config->authority != NULL)
		config_fail_at(loader, section->line,
			"The site has certificates and kerberos. A site proves itself in one way; take the other section away.");
}

static void take_network(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;
	cfg_t *section;

	config_take_certificates(loader, cfg);
	if (cfg_size(cfg, "kerberos") > 0)
		take_kerberos(loader, cfg);
	if (cfg_size(cfg, "listen") > 0) {
		section = cfg_getsec(cfg, "listen");
		config_need(loader, section, "address", "0.0.0.0");
		config->listen_address =
			config_copy(loader, cfg_getstr(section, "address"));
		config->listen_port =
			(uint16_t)config_int(loader, section, "port", 1, 65535);
	}
	config->peer_count = cfg_size(cfg, "peer");
	config->peers = config_array(loader, config->peer_count,
				  sizeof(*config->peers));
	for (unsigned i = 0; i < config->peer_count && !loader->failed; i++) {
		struct site_peer *peer = &config->peers[i];

		section = cfg_getnsec(cfg, "peer", i);
		config_check_peer(loader, section, config->keytab != NULL);
		peer->name = config_copy(loader, cfg_title(section));
		peer->address = config_copy(loader, cfg_getstr(section, "address"));
		if (peer->address != NULL)
			peer->port = (uint16_t)config_int(loader, section, "port",
						       1, 65535);
		config_take_pins(loader, section, peer);
		if (!loader->failed &&
		    (strcmp(peer->name, config->name) == 0 ||
		     (config->principal != NULL &&
		      strcmp(peer->name, config->principal) == 0)))
			config_fail_at(loader, section->line,
				"Peer '%s' has this site's own name. Name the other site.",
				peer->name);
	}
	if ((config->peer_count > 0 || config->listen_address != NULL) &&
	    config->authority == NULL && config->keytab == NULL)
		config_fail_at(loader, 0,
			"Sites talk over TLS with both sides proved. Add: certificates { authority = ... certificate = ... key = ... }, or kerberos { keytab = ... principal = ... }.");
}

static void take_quota(struct loader *loader, cfg_t *section,
		       struct site_policy *policy)
{
	config_size(loader, section, "quota", &policy->quota);
	policy->points_min =
		(uint32_t)config_int(loader, section, "points-min", 0, 24);
	if (policy->quota != 0 && policy->quota < SITE_QUOTA_MIN)
		config_fail_at(loader, config_line_of(loader, section, "quota"),
			"A quota of %llu bytes holds no recovery point. Write 64M or more, for example quota = \"100G\".",
			(unsigned long long)policy->quota);
	/* How many points a replica has is its owner's policy. */
	if (policy->points_min > policy->points &&
	    policy != &loader->config->policies[0])
		config_fail_at(loader, config_line_of(loader, section, "points-min"),
			"points-min = %u of points = %u. Write at most as many.",
			policy->points_min, policy->points);
}

static void take_policies(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;
	unsigned count = cfg_size(cfg, "policy");

	config->policies = config_array(loader, count + 1,
				     sizeof(*config->policies));
	if (config->policies == NULL)
		return;
	config->policies[0].name = config_copy(loader, "default");
	config->policies[0].interval_ms = 30000;
	config->policy_count = 1;
	for (unsigned i = 0; i < count && !loader->failed; i++) {
		cfg_t *section = cfg_getnsec(cfg, "policy", i);
		struct site_policy *policy = &config->policies[0];

		config_check_name(loader, section, "policy");
		/* One named "default" takes the built-in one's place. */
		if (strcmp(cfg_title(section), "default") != 0) {
			policy = &config->policies[config->policy_count++];
			policy->name = config_copy(loader, cfg_title(section));
		}
		config_duration(loader, section, "interval", &policy->interval_ms);
		if (policy->interval_ms < 100 ||
		    policy->interval_ms > 86400000)
			config_fail_at(loader, config_line_of(loader, section, "interval"),
				"An interval is 100ms to 24h. Write for example interval = \"30s\".");
		policy->points =
			(uint32_t)config_int(loader, section, "points", 0, 24);
		take_quota(loader, section, policy);
	}
}

static void take_disks(struct loader *loader, cfg_t *section,
		       struct site_vm *vm)
{
	vm->disk_count = cfg_size(section, "disk");
	if (vm->disk_count == 0 || vm->disk_count > SITE_DISKS_MAX)
		config_fail_at(loader, section->line,
			"VM '%s' has %zu disks. Write 1 to %d of: disk \"NAME\" { path = \"FILE\" }.",
			vm->name, vm->disk_count, SITE_DISKS_MAX);
	vm->disks = config_array(loader, vm->disk_count, sizeof(*vm->disks));
	for (unsigned i = 0; i < vm->disk_count && !loader->failed; i++) {
		cfg_t *disk = cfg_getnsec(section, "disk", i);

		config_check_name(loader, disk, "disk");
		config_need(loader, disk, "path", "/var/lib/vms/root.img");
		vm->disks[i].name = config_copy(loader, cfg_title(disk));
		vm->disks[i].path = config_path(loader, disk, "path");
		vm->disks[i].exclusive =
			cfg_getbool(disk, "exclusive") == cfg_true;
	}
}

/* Two trackers over one file would each miss what the other lets through. */
static void check_shared_paths(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;

	for (size_t i = 0; i < config->vm_count; i++)
		for (size_t j = 0; j <= i; j++)
			for (size_t a = 0; a < config->vms[i].disk_count; a++) {
				size_t end = j == i ? a :
						config->vms[j].disk_count;
				cfg_t *disk = cfg_getnsec(
					cfg_getnsec(cfg, "vm", (unsigned)i),
					"disk", (unsigned)a);

				for (size_t b = 0; b < end; b++)
					if (strcmp(config->vms[i].disks[a].path,
						   config->vms[j].disks[b].path) == 0)
						config_fail_at(loader,
							config_line_of(loader, disk,
								"path"),
							"Disks %s/%s and %s/%s are the same file. Give each its own.",
							config->vms[j].name,
							config->vms[j].disks[b].name,
							config->vms[i].name,
							config->vms[i].disks[a].name);
			}
}

static void take_vms(struct loader *loader, cfg_t *cfg)
{
	struct site_config *config = loader->config;

	config->vm_count = cfg_size(cfg, "vm");
	config->vms = config_array(loader, config->vm_count, sizeof(*config->vms));
	for (unsigned i = 0; i < config->vm_count && !loader->failed; i++) {
		cfg_t *section = cfg_getnsec(cfg, "vm", i);
		struct site_vm *vm = &config->vms[i];
		const char *policy = cfg_getstr(section, "policy");

		config_check_name(loader, section, "VM");
		vm->name = config_copy(loader, cfg_title(section));
		vm->policy = policy == NULL ? &config->policies[0] : NULL;
		for (size_t p = 0; p < config->policy_count; p++)
			if (policy != NULL &&
			    strcmp(policy, config->policies[p].name) == 0)
				vm->policy = &config->policies[p];
		if (vm->policy == NULL)
			config_fail_at(loader, config_line_of(loader, section, "policy"),
				"There is no policy \"%s\". Add: policy \"%s\" { interval = \"30s\" }.",
				policy, policy);
		vm->capture = config_path(loader, section, "capture");
		config_duration(loader, section, "capture-interval",
			     &vm->capture_interval_ms);
		if (vm->capture == NULL && vm->capture_interval_ms != 0)
			config_fail_at(loader,
				config_line_of(loader, section, "capture-interval"),
				"capture-interval needs capture = \"DIRECTORY\" too.");
		if (vm->capture_interval_ms > CAPTURE_INTERVAL_MAX_MS)
			config_fail_at(loader,
				config_line_of(loader, section, "capture-interval"),
				"A capture-interval is at most 8784h, a year.");
		take_disks(loader, section, vm);
	}
	if (!loader->failed)
		check_shared_paths(loader, cfg);
}

static void watch_options(cfg_t *cfg)
{
	static const char *const names[] = {
		"site|state", "site|storage", "site|replicas", "site|audit", "site|control",
		"site|nbd", "site|start-wait", "site|start-without-peer",
		"site|retry", "site|retry-max", "site|compression", "site|spool",
		"certificates|authority",
		"certificates|certificate", "certificates|key",
		"certificates|crl", "certificates|revocation-unknown",
		"certificates|revocation-stale", "peer|pin", "peer|backup-pin",
		"kerberos|keytab", "kerberos|principal", "kerberos|service",
		"kerberos|tickets",
		"listen|address", "listen|port", "peer|address", "peer|port",
		"authorise|verbs", "authorise|trust-group", "authorise|storage",
		"authorise|relationships", "authorise|points", "authorise|bytes",
		"authorise|rate", "policy|interval",
		"policy|points", "policy|quota", "policy|points-min", "vm|policy", "vm|capture",
		"vm|capture-interval", "vm|disk|path", "vm|disk|exclusive",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cfg_set_validate_func(cfg, names[i], remember);
}

/* The whole text, checked to be text; NULL after saying why. */
static char *read_file(struct loader *loader, size_t *length_out)
{
	FILE *file = fopen(loader->path, "re");
	char *text = malloc(FILE_MAX + 1);
	json_t *check;

	if (file == NULL || text == NULL) {
		config_fail_file(loader, errno == ENOENT ? HVREPL_E_NOT_FOUND :
						    HVREPL_E_INVALID,
			  "The configuration cannot be read: %s. Name an existing file.",
			  strerror(errno));
		if (file != NULL)
			fclose(file);
		free(text);
		return NULL;
	}
	*length_out = fread(text, 1, FILE_MAX + 1, file);
	fclose(file);
	if (*length_out == 0 || *length_out > FILE_MAX)
		config_fail_file(loader, HVREPL_E_INVALID,
			  "A configuration has 1 byte to 1 MiB of text; this file has not.");
	for (size_t i = 0, line = 1; i < *length_out && !loader->failed; i++) {
		line += text[i] == '\n';
		if ((unsigned char)text[i] < ' ' && text[i] != '\n' &&
		    text[i] != '\t' && text[i] != '\r')
			config_fail_at(loader, (int)line,
				"Byte 0x%02x is not text. The file is damaged; restore it.",
				(unsigned char)text[i]);
	}
	if (!loader->failed) {
		check = json_stringn(text, *length_out);
		if (check == NULL)
			config_fail_file(loader, HVREPL_E_INVALID,
				  "The file is not UTF-8. Save it as UTF-8, or restore it.");
		json_decref(check);
	}
	if (loader->failed) {
		free(text);
		return NULL;
	}
	return text;
}

static void load(struct loader *loader)
{
	size_t length;
	char *text = read_file(loader, &length);
	FILE *file;
	cfg_t *cfg;

	if (text == NULL)
		return;
	file = fmemopen(text, length, "r");
	cfg = cfg_init(file_options, CFGF_NONE);
	if (file == NULL || cfg == NULL) {
		config_fail_file(loader, HVREPL_E_NOMEM, "Not enough memory.");
		goto out;
	}
	loading = loader;
	cfg_set_error_function(cfg, on_error);
	watch_options(cfg);
	if (cfg_parse_fp(cfg, file) != CFG_SUCCESS) {
		config_fail_at(loader, cfg->line,
			"The file ends in the middle of something. Check brackets and quotes.");
		goto out;
	}
	take_site(loader, cfg);
	if (!loader->failed)
		take_network(loader, cfg);
	if (!loader->failed)
		config_take_authorisations(loader, cfg);
	if (!loader->failed)
		take_policies(loader, cfg);
	if (!loader->failed)
		take_vms(loader, cfg);
out:
	if (cfg != NULL)
		cfg_free(cfg);
	if (file != NULL)
		fclose(file);
	free(text);
	loading = NULL;
}

int32_t site_config_load(const char *path, struct site_config **out,
			 struct hvrepl_error *error)
{
	struct loader *loader = calloc(1, sizeof(*loader));
	struct site_config *config = calloc(1, sizeof(*config));
	char *directory = strdup(path);
	int32_t rc = HVREPL_OK;

	if (loader == NULL || config == NULL || directory == NULL) {
		rc = HVREPL_E_NOMEM;
	} else {
		char *slash = strrchr(directory, '/');

		directory[slash == NULL ? 0 : slash + 1 - directory] = 0;
		loader->path = path;
		loader->directory = directory;
		loader->error = error;
		loader->config = config;
		config->file = config_copy(loader, path);
		load(loader);
		if (loader->failed)
			rc = error != NULL ? error->code : HVREPL_E_INVALID;
	}
	if (rc == HVREPL_OK)
		*out = config;
	else
		site_config_free(config);
	free(directory);
	free(loader);
	return rc;
}

static void free_lists(struct site_config *config)
{
	for (size_t i = 0; config->peers != NULL && i < config->peer_count; i++) {
		free(config->peers[i].name);
		free(config->peers[i].address);
		free(config->peers[i].pin);
		free(config->peers[i].backup_pin);
	}
	for (size_t i = 0; i < config->policy_count; i++)
		free(config->policies[i].name);
	for (size_t i = 0; config->vms != NULL && i < config->vm_count; i++) {
		struct site_vm *vm = &config->vms[i];

		for (size_t j = 0; vm->disks != NULL && j < vm->disk_count; j++) {
			free(vm->disks[j].name);
			free(vm->disks[j].path);
		}
		free(vm->disks);
		free(vm->name);
		free(vm->capture);
	}
}

void site_config_free(struct site_config *config)
{
	if (config == NULL)
		return;
	free_lists(config);
	free(config->peers);
	config_free_authorisations(config);
	free(config->policies);
	free(config->vms);
	free(config->file);
	free(config->name);
	free(config->state);
	free(config->storage);
	free(config->replicas);
	free(config->audit);
	free(config->control);
	free(config->nbd);
	free(config->authority);
	free(config->certificate);
	free(config->key);
	free(config->crl);
	free(config->keytab);
	free(config->principal);
	free(config->service);
	free(config->tickets);
	free(config->listen_address);
	free(config);
}
