/* SPDX-License-Identifier: Apache-2.0 */
/* `site check`: a site's configuration, read and judged. */
#include "tool.h"

#include "config.h"

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
			"{s:s,s:s,s:s,s:I,s:I,s:I}", "site", config->name,
			"control", config->control, "nbd", config->nbd, "vms",
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
