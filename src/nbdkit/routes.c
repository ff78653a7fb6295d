/* SPDX-License-Identifier: Apache-2.0 */
/* What the control interface answers. */
#include "endpoint_routes.h"
#include "site.h"

#include "trust.h"
#include "text.h"

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

static void reply_status(struct control_request *request, struct site *site,
			 json_t *replicated, json_t *peers, json_t *trust)
{
	json_t *vms = json_array();

	for (size_t i = 0; i < site->vm_count; i++)
		json_array_append_new(vms, vm_json(&site->vms[i]));
	control_reply(request,
		      json_pack("{s:s,s:s,s:o,s:o,s:o,s:o}", "site",
				site->config->name, "version",
				hvrepl_version_string(), "captured", vms, "vms",
				replicated, "peers", peers, "trust", trust));
}

static void status_there(struct endpoint *endpoint,
			 struct control_request *request)
{
	reply_status(request, control_user(request),
		     endpoint_vms_json(endpoint), endpoint_peers_json(endpoint),
		     trust_json(endpoint));
}

static void get_status(struct control_request *request, void *user)
{
	struct site *site = user;

	if (site->endpoint != NULL)
		endpoint_request(site->endpoint, request, status_there);
	else
		reply_status(request, site, json_array(), json_array(),
			     json_null());
}

/* Ask the endpoint, unless the VM is one that is captured or none is. */
static void ask_endpoint(struct control_request *request, struct site *site,
			 void (*run)(struct endpoint *endpoint,
				     struct control_request *request))
{
	const char *vm = control_parameter(request, 0);

	if (site_find_vm(site, vm) != NULL)
		control_fail(request, HVREPL_E_STATE,
			     "VM '%s' is captured, not replicated. Take 'capture' out of its section first.",
			     vm);
	else if (site->endpoint == NULL)
		control_fail(request, HVREPL_E_NOT_FOUND,
			     "There is no '%s' at site '%s'. 'hvrepl status' lists what there is.",
			     vm, site->config->name);
	else
		endpoint_request(site->endpoint, request, run);
}

static void get_vm(struct control_request *request, void *user)
{
	struct site_vm_state *vm =
		site_find_vm(user, control_parameter(request, 0));

	if (vm != NULL)
		control_reply(request, vm_json(vm));
	else
		ask_endpoint(request, user, endpoint_get_vm);
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
			      json_pack("{s:I,s:o,s:I,s:I}", "point",
					(json_int_t)result->point, "directory",
					text_json(result->directory),
					"changed_bytes",
					(json_int_t)result->changed_bytes,
					"stored_bytes",
					(json_int_t)result->stored_bytes));
}

/* Of a captured VM into its directory, of a replicated one to its replica. */
static void post_cut(struct control_request *request, void *user)
{
	struct site_vm_state *vm =
		site_find_vm(user, control_parameter(request, 0));

	if (vm != NULL)
		keeper_ask(vm->keeper, cut_done, request);
	else
		ask_endpoint(request, user, endpoint_post_cut);
}

/* Of a job or a peer: a captured VM may have its name. */
static void ask_node(struct control_request *request, struct site *site,
		     void (*run)(struct endpoint *endpoint,
				 struct control_request *request))
{
	if (site->endpoint == NULL)
		control_fail(request, HVREPL_E_NOT_FOUND,
			     "There is no '%s' at site '%s', which only captures. 'hvrepl status' lists what there is.",
			     control_parameter(request, 0), site->config->name);
	else
		endpoint_request(site->endpoint, request, run);
}

#define ASK_OF(whom, name)                                                \
	static void ask_##name(struct control_request *request, void *user) \
	{                                                                 \
		whom(request, user, endpoint_##name);                     \
	}
#define ASK(name) ASK_OF(ask_endpoint, name)
ASK(get_points)
ASK(get_measure)
ASK(get_wait)
ASK(post_operation)
ASK_OF(ask_node, get_job)
ASK_OF(ask_node, post_test)

static void post_reload(struct control_request *request, void *user)
{
	struct site *site = user;

	if (site->endpoint != NULL)
		endpoint_request(site->endpoint, request, endpoint_post_reload);
	else
		control_fail(request, HVREPL_E_UNSUPPORTED,
			     "Site '%s' only captures, and reads its configuration when it starts. Start it anew.",
			     site->config->name);
}

const struct control_route site_routes[] = {
	{ "GET", "/v1/status", get_status },
	{ "GET", "/v1/vms/{vm}", get_vm },
	{ "GET", "/v1/vms/{vm}/points", ask_get_points },
	{ "GET", "/v1/vms/{vm}/measure", ask_get_measure },
	{ "GET", "/v1/vms/{vm}/wait", ask_get_wait },
	{ "POST", "/v1/vms/{vm}/cut", post_cut },
	{ "POST", "/v1/vms/{vm}/operations", ask_post_operation },
	{ "GET", "/v1/jobs/{job}", ask_get_job },
	{ "POST", "/v1/peers/{peer*}/test", ask_post_test },
	{ "POST", "/v1/reload", post_reload },
	{ NULL, NULL, NULL },
};
