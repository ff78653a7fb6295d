/* SPDX-License-Identifier: Apache-2.0 */
/* `site run`, `check` and `reload`: a site's configuration and its daemon. */
#include "client.h"
#include "print.h"

#include "config.h"
#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PLUGIN "nbdkit-hvrepl-plugin.so"

static const struct tool_option config_options[] = {
	{ "config", "FILE", "The site's configuration (required)" },
	{ NULL, NULL, NULL },
};

static struct site_config *load(const struct tool_run *run)
{
	const char *file = tool_option(run, "config");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *config = NULL;

	if (file == NULL)
		tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			  "'%s' needs --config FILE.", run->verb->name);
	else if (site_config_load(file, &config, &error) < 0)
		tool_fail_error(run, &error);
	return config;
}

static int run_check(struct tool_run *run)
{
	struct site_config *config = load(run);
	size_t disks = 0;

	if (config == NULL)
		return TOOL_USAGE;
	for (size_t i = 0; i < config->vm_count; i++)
		disks += config->vms[i].disk_count;
	if (run->json)
		tool_print_json(json_pack(
			"{s:s,s:o,s:o,s:I,s:I,s:I}", "site", config->name,
			"control", text_json(config->control), "nbd",
			text_json(config->nbd), "vms",
			(json_int_t)config->vm_count, "disks", (json_int_t)disks,
			"peers", (json_int_t)config->peer_count));
	else
		printf("Site %s: %zu VMs with %zu disks, %zu peers. The configuration is good.\n",
		       config->name, config->vm_count, disks,
		       config->peer_count);
	site_config_free(config);
	return TOOL_OK;
}

const struct tool_verb tool_verb_site_check = {
	.name = "site check",
	.group = TOOL_GROUP_SITE,
	.operands = "",
	.summary = "Read a configuration and say what is wrong with it",
	.options = config_options,
	.run = run_check,
};

static const struct tool_option reload_options[] = {
	TOOL_CLIENT_OPTIONS,
	{ NULL, NULL, NULL },
};

static uint64_t milliseconds(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static int run_reload(struct tool_run *run)
{
	char now[TOOL_TEXT_MAX], before[TOOL_TEXT_MAX];
	const json_t *changed, *restart, *item;
	json_t *answer;
	size_t i;
	int status = tool_request(run, "/v1/reload", json_object(), &answer);

	if (status != TOOL_OK)
		return status;
	if (run->json)
		return tool_print_json(answer);
	changed = json_object_get(answer, "changed");
	restart = json_object_get(answer, "needs_restart");
	json_array_foreach(changed, i, item) {
		const json_t *entry = json_object_get(item, "authorise");

		if (entry != NULL) {
			printf("authorise \"%s\": as the file says from now on; sessions that lose by it end.\n",
			       json_string_value(entry));
			continue;
		}
		printf("%s: a recovery point every %s from now on (was %s).\n",
		       json_string_value(json_object_get(item, "vm")),
		       tool_time(milliseconds(item, "interval_ms"), now),
		       tool_time(milliseconds(item, "before_ms"), before));
	}
	if (json_array_size(changed) == 0)
		printf("No interval and no authorisation has changed.\n");
	tool_print_trust(json_object_get(answer, "trust"));
	json_array_foreach(restart, i, item)
		printf("%s%s%s", i == 0 ? "Changed, but read only when the site starts: " :
					  ", ", json_string_value(item),
		       i + 1 == json_array_size(restart) ? ".\n" : "");
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_site_reload = {
	.name = "site reload",
	.group = TOOL_GROUP_SITE,
	.operands = "",
	.summary = "Let a running site read its configuration again",
	.details = "The intervals of its policies count at once, for the VMs of this configuration,\n"
		   "and quotas. Certificates, revocation lists and pins are read again: new connections\n"
		   "use them, sessions go on unless their peer is no longer trusted. Guests are not\n"
		   "disturbed. Other changes are named and wait for the next start. A file with a mistake\n"
		   "changes nothing.",
	.options = reload_options,
	.run = run_reload,
};

/* Beside this program, in a build tree and in any prefix. */
static char *find_plugin(void)
{
	static const char *const places[] = {
		HVREPL_PLUGIN_PLACE,
		"lib/nbdkit/plugins",
	};
	char self[4096];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *path;

	if (length < 0)
		return NULL;
	self[length] = 0;
	/* PREFIX/bin/hvrepl */
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(self, '/');

		if (slash == NULL)
			return NULL;
		*slash = 0;
	}
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (asprintf(&path, "%s/%s/" PLUGIN, self, places[i]) < 0)
			return NULL;
		if (access(path, R_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* A socket that nobody listens on is left over from a crash. */
static void remove_stale(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat seen;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path) ||
	    lstat(path, &seen) != 0 || !S_ISSOCK(seen.st_mode))
		return;
	strcpy(address.sun_path, path);
	/* One that hangs, with as many waiting as can, is not stale. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

static int run_run(struct tool_run *run)
{
	struct site_config *config = load(run);
	char *plugin = NULL, *parameter = NULL, *colon;
	const char *arguments[16];
	size_t n = 0;

	if (config == NULL)
		return TOOL_USAGE;
	plugin = find_plugin();
	if (plugin == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOT_FOUND,
				 "%s is not where this program was installed. Install hvrepl anew.",
				 PLUGIN);
	if (asprintf(&parameter, "config=%s", config->file) < 0)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Not enough memory.");
	arguments[n++] = "nbdkit";
	arguments[n++] = "-f";
	if (tool_option(run, "verbose") != NULL)
		arguments[n++] = "-v";
	if (strncmp(config->nbd, "unix:", 5) == 0) {
		remove_stale(config->nbd + 5);
		arguments[n++] = "--unix";
		arguments[n++] = config->nbd + 5;
	} else {
		colon = strrchr(config->nbd, ':');
		*colon = 0;
		arguments[n++] = "--ipaddr";
		arguments[n++] = config->nbd;
		arguments[n++] = "--port";
		arguments[n++] = colon + 1;
	}
	if (tool_option(run, "pidfile") != NULL) {
		arguments[n++] = "--pidfile";
		arguments[n++] = tool_option(run, "pidfile");
	}
	arguments[n++] = plugin;
	arguments[n++] = parameter;
	arguments[n++] = "outlive-parent=1";
	arguments[n] = NULL;
	fflush(stdout);
	execvp("nbdkit", (char **)(uintptr_t)arguments);
	return tool_fail(run, TOOL_FAILED, HVREPL_E_NOT_FOUND,
			 "nbdkit cannot be started: %s. Install the package nbdkit.",
			 strerror(errno));
}

static const struct tool_option run_options[] = {
	{ "config", "FILE", "The site's configuration (required)" },
	{ "pidfile", "FILE", "Written when the NBD socket is ready" },
	{ "verbose", NULL, "Debug messages of nbdkit and the plugin" },
	{ NULL, NULL, NULL },
};

const struct tool_verb tool_verb_site_run = {
	.name = "site run",
	.group = TOOL_GROUP_SITE,
	.operands = "",
	.summary = "Run a site: serve its disks over NBD and replicate them",
	.details = "Stays in the foreground as nbdkit with the hvrepl plugin; SIGTERM ends it\n"
		   "cleanly. Exports are called VM/DISK.",
	.options = run_options,
	.run = run_run,
};
