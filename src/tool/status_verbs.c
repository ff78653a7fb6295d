/* SPDX-License-Identifier: Apache-2.0 */
/* `status` and `cut`: what a running site says, and a cut on request. */
#include "client.h"
#include "print.h"

#include <stdlib.h>
#include <string.h>

static const struct tool_option client_options[] = {
	TOOL_CLIENT_OPTIONS,
	{ NULL, NULL, NULL },
};

static uint64_t number(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value == NULL ? "" : value;
}

static void print_vms(const json_t *vms)
{
	struct tool_table *table =
		tool_table_begin("VM|DISK|>SIZE|>CHANGED|WRITES|>POINT");
	char size[TOOL_TEXT_MAX], changed[TOOL_TEXT_MAX];
	const json_t *vm, *disk;
	size_t i, j;

	json_array_foreach(vms, i, vm) {
		json_array_foreach(json_object_get(vm, "disks"), j, disk) {
			tool_table_row(table, "%s|%s|%s|%s|%s|%llu",
				       text(vm, "name"), text(disk, "name"),
				       tool_bytes(number(disk, "size"), size),
				       tool_bytes(number(disk, "changed_bytes"),
						  changed),
				       json_is_true(json_object_get(
					       disk, "fenced")) ?
					       "refused" : "allowed",
				       (unsigned long long)number(
					       vm, "captured_point"));
		}
	}
	tool_table_end(table, stdout);
}

static int run_status(struct tool_run *run)
{
	const char *vm = run->operand_count > 0 ? run->operands[0] : NULL;
	char *path = vm == NULL ? strdup("/v1/status") : tool_vm_path(vm, "");
	json_t *answer, *vms;
	int status;

	if (path == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Not enough memory.");
	status = tool_request(run, path, NULL, &answer);
	free(path);
	if (status != TOOL_OK)
		return status;
	if (run->json)
		return tool_print_json(answer);
	if (vm == NULL) {
		printf("Site %s, hvrepl %s\n", text(answer, "site"),
		       text(answer, "version"));
		print_vms(json_object_get(answer, "vms"));
	} else {
		vms = json_pack("[O]", answer);
		print_vms(vms);
		json_decref(vms);
	}
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_status = {
	.name = "status",
	.group = TOOL_GROUP_WATCH,
	.operands = "[VM]",
	.summary = "Show the site's VMs, or one of them",
	.options = client_options,
	.operands_max = 1,
	.run = run_status,
};

static int run_cut(struct tool_run *run)
{
	char *path = tool_vm_path(run->operands[0], "/cut");
	char changed[TOOL_TEXT_MAX], stored[TOOL_TEXT_MAX];
	json_t *answer;
	int status;

	if (path == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Not enough memory.");
	status = tool_request(run, path, json_object(), &answer);
	free(path);
	if (status != TOOL_OK)
		return status;
	if (run->json)
		return tool_print_json(answer);
	printf("Point %llu: %s changed, %s stored in %s\n",
	       (unsigned long long)number(answer, "point"),
	       tool_bytes(number(answer, "changed_bytes"), changed),
	       tool_bytes(number(answer, "stored_bytes"), stored),
	       text(answer, "directory"));
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_cut = {
	.name = "cut",
	.group = TOOL_GROUP_REPLICATION,
	.operands = "VM",
	.summary = "Cut a VM's disks at one instant into segment files",
	.details = "The site's configuration names the directory: capture = \"DIRECTORY\".\n"
		   "Each cut becomes a directory DIRECTORY/POINT with one DISK.segment per disk;\n"
		   "the first holds the whole disks. 'hvrepl log apply' puts them on a copy.",
	.options = client_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_cut,
};
