/* SPDX-License-Identifier: Apache-2.0 */
/* What the control interface answers. */
#include "site.h"

#include <stdlib.h>

static json_t *disk_json(const struct site_vm_state *vm, size_t index)
{
	static const char *const recoveries[] = { "created", "clean", "hot",
						  "whole" };
	struct hvrepl_tracker_info info = { .struct_size = sizeof(info) };

	if (hvrepl_tracker_get_info(vm->disks[index].tracker, &info) < 0)
		return NULL;
	return json_pack(
		"{s:s,s:I,s:I,s:I,s:s,s:b,s:b,s:I,s:I,s:I}", "name",
		vm->config->disks[index].name, "size", (json_int_t)info.disk_size,
		"changed_bytes", (json_int_t)info.dirty_bytes, "block_size",
		(json_int_t)info.block_size, "recovery",
		info.recovery <= HVREPL_RECOVERY_WHOLE ?
			recoveries[info.recovery] : "unknown",
		"fenced", (int)info.fenced, "untrusted", (int)info.untrusted,
		"hot_regions", (json_int_t)info.hot_regions, "waits",
		(json_int_t)info.waits, "copies", (json_int_t)info.copies);
}

static json_t *vm_json(const struct site_vm_state *vm)
{
	json_t *disks = json_array();

	for (size_t i = 0; i < vm->config->disk_count; i++)
		json_array_append_new(disks, disk_json(vm, i));
	return json_pack("{s:s,s:o,s:I}", "name", vm->config->name, "disks",
			 disks, "captured_point", (json_int_t)vm->captured);
}

static void get_status(struct control_request *request, void *user)
{
	struct site *site = user;
	json_t *vms = json_array();

	for (size_t i = 0; i < site->vm_count; i++)
		json_array_append_new(vms, vm_json(&site->vms[i]));
	control_reply(request,
		      json_pack("{s:s,s:s,s:o}", "site", site->config->name,
				"version", hvrepl_version_string(), "vms", vms));
}

/* The VM that the pattern's first {} names; NULL after saying so. */
static struct site_vm_state *vm_of(struct control_request *request,
				   struct site *site)
{
	struct site_vm_state *vm =
		site_find_vm(site, control_parameter(request, 0));

	if (vm == NULL)
		control_fail(request, HVREPL_E_NOT_FOUND,
			     "There is no VM '%s' at site '%s'. 'hvrepl status' lists them.",
			     control_parameter(request, 0), site->config->name);
	return vm;
}

static void get_vm(struct control_request *request, void *user)
{
	struct site_vm_state *vm = vm_of(request, user);

	if (vm != NULL)
		control_reply(request, vm_json(vm));
}

static void cut_done(void *argument, int32_t rc,
		     const struct capture_result *result,
		     const struct hvrepl_error *error)
{
	struct control_request *request = argument;

	if (rc < 0)
		control_fail_error(request, error);
	else
		control_reply(request,
			      json_pack("{s:I,s:s,s:I,s:I}", "point",
					(json_int_t)result->point, "directory",
					result->directory, "changed_bytes",
					(json_int_t)result->changed_bytes,
					"stored_bytes",
					(json_int_t)result->stored_bytes));
}

static void post_cut(struct control_request *request, void *user)
{
	struct site_vm_state *vm = vm_of(request, user);

	if (vm != NULL)
		keeper_ask(vm->keeper, cut_done, request);
}

const struct control_route site_routes[] = {
	{ "GET", "/v1/status", get_status },
	{ "GET", "/v1/vms/{vm}", get_vm },
	{ "POST", "/v1/vms/{vm}/cut", post_cut },
	{ NULL, NULL, NULL },
};
