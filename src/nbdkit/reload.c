/* SPDX-License-Identifier: Apache-2.0 */
/* An edited configuration while the site runs: intervals, quotas and rights
 * change, the rest is said to need a restart. */
#include "endpoint_routes.h"

#include "trust.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

static bool same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_site(const struct site_config *a, const struct site_config *b)
{
	return same(a->name, b->name) && same(a->state, b->state) &&
	       same(a->storage, b->storage) &&
	       same(a->replicas, b->replicas) && same(a->audit, b->audit) &&
	       same(a->control, b->control) && same(a->nbd, b->nbd) &&
	       a->start_wait_ms == b->start_wait_ms &&
	       a->start_without_peer == b->start_without_peer &&
	       a->retry_ms == b->retry_ms &&
	       a->retry_max_ms == b->retry_max_ms &&
	       a->compression == b->compression && a->spool == b->spool;
}

static bool same_peers(const struct site_config *a, const struct site_config *b)
{
	bool equal = a->peer_count == b->peer_count;

	for (size_t i = 0; equal && i < a->peer_count; i++)
		equal = same(a->peers[i].name, b->peers[i].name) &&
			same(a->peers[i].address, b->peers[i].address) &&
			a->peers[i].port == b->peers[i].port;
	return equal;
}

static bool same_entry(const struct site_authorisation *x,
		       const struct site_authorisation *y)
{
	return x != NULL && y != NULL && x->verbs == y->verbs &&
	       x->deny == y->deny && same(x->trust_group, y->trust_group) &&
	       same(x->storage, y->storage) &&
	       x->relationships == y->relationships && x->points == y->points &&
	       x->bytes == y->bytes && x->rate == y->rate;
}

/* The listener is told who may knock when it is made: a new pattern lets in
 * nobody before a restart, one that went lets in nobody at once. */
static bool has_new_pattern(const struct site_config *now,
			    const struct site_config *fresh)
{
	for (size_t i = 0; i < fresh->authorisation_count; i++)
		if (fresh->authorisations[i].peer[0] == '*' &&
		    endpoint_entry_of(now, fresh->authorisations[i].peer) == NULL)
			return true;
	return false;
}

static void add_entry(json_t *changed, const char *peer)
{
	json_array_append_new(changed, json_pack("{s:s}", "authorise", peer));
}

/* Entries that are others now. `fresh` is the endpoint's from then on, for the
 * next reload to compare with: the file of the start stays in use otherwise. */
static int32_t take_rights(struct endpoint *endpoint, struct site_config *fresh,
			   json_t *changed, struct hvrepl_error *error)
{
	const struct site_config *before = endpoint_rights(endpoint);
	int32_t rc = endpoint_take_rights(endpoint, before, fresh, error);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < before->authorisation_count; i++)
		if (endpoint_entry_of(fresh, before->authorisations[i].peer) == NULL)
			add_entry(changed, before->authorisations[i].peer);
	for (size_t i = 0; i < fresh->authorisation_count; i++)
		if (!same_entry(endpoint_entry_of(before, fresh->authorisations[i].peer),
				&fresh->authorisations[i]))
			add_entry(changed, fresh->authorisations[i].peer);
	site_config_free(endpoint->rights);
	endpoint->rights = fresh;
	return HVREPL_OK;
}

/* All of a VM that is not its interval or quota. */
static bool same_vm(const struct site_vm *a, const struct site_vm *b)
{
	bool equal = same(a->capture, b->capture) &&
		     a->capture_interval_ms == b->capture_interval_ms &&
		     a->policy->points == b->policy->points &&
		     a->disk_count == b->disk_count;

	for (size_t i = 0; equal && i < a->disk_count; i++)
		equal = same(a->disks[i].name, b->disks[i].name) &&
			same(a->disks[i].path, b->disks[i].path) &&
			a->disks[i].exclusive == b->disks[i].exclusive;
	return equal;
}

static const struct site_vm *vm_named(const struct site_config *config,
				      const char *name)
{
	for (size_t i = 0; i < config->vm_count; i++)
		if (strcmp(config->vms[i].name, name) == 0)
			return &config->vms[i];
	return NULL;
}

static void add_vm_section(json_t *names, const char *vm)
{
	json_array_append_new(names, json_sprintf("vm \"%s\"", vm));
}

/* Sections that differ and that only a start reads. */
static json_t *needs_restart(const struct site_config *now,
			     const struct site_config *fresh)
{
	json_t *names = json_array();

	if (!same_site(now, fresh))
		json_array_append_new(names, json_string("site"));
	/* Other files, lists and pins count at once; another way does not. */
	if ((now->authority == NULL) != (fresh->authority == NULL))
		json_array_append_new(names, json_string("certificates"));
	if (!same(now->keytab, fresh->keytab) ||
	    !same(now->principal, fresh->principal) ||
	    !same(now->service, fresh->service) ||
	    !same(now->tickets, fresh->tickets))
		json_array_append_new(names, json_string("kerberos"));
	if (!same(now->listen_address, fresh->listen_address) ||
	    now->listen_port != fresh->listen_port)
		json_array_append_new(names, json_string("listen"));
	if (!same_peers(now, fresh))
		json_array_append_new(names, json_string("peer"));
	if (has_new_pattern(now, fresh))
		json_array_append_new(names, json_string("authorise"));
	for (size_t i = 0; i < now->vm_count; i++)
		if (vm_named(fresh, now->vms[i].name) == NULL)
			add_vm_section(names, now->vms[i].name);
	for (size_t i = 0; i < fresh->vm_count; i++) {
		const struct site_vm *before =
			vm_named(now, fresh->vms[i].name);

		if (before == NULL || !same_vm(before, &fresh->vms[i]))
			add_vm_section(names, fresh->vms[i].name);
	}
	return names;
}

/* One VM's interval; an entry in `changed` when it has become another one. */
static int32_t take_interval(struct endpoint *endpoint,
			     const struct site_vm *fresh, json_t *changed,
			     struct hvrepl_error *error)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	uint64_t interval_ns = fresh->policy->interval_ms * 1000000u;
	int32_t rc;

	if (fresh->capture != NULL ||
	    endpoint_find_vm(endpoint, fresh->name, &vm) < 0 ||
	    vm.cycle_ns == interval_ns)
		return HVREPL_OK;
	rc = hvrepl_vm_set_cycle(endpoint->node, &vm.id, interval_ns, error);
	if (rc < 0)
		return rc;
	/* Tokens are now saved as seldom as that (T9). */
	endpoint_allow_interval(endpoint, fresh->policy->interval_ms);
	json_array_append_new(
		changed, json_pack("{s:s,s:I,s:I}", "vm", fresh->name,
				   "interval_ms",
				   (json_int_t)fresh->policy->interval_ms,
				   "before_ms",
				   (json_int_t)(vm.cycle_ns / 1000000u)));
	return HVREPL_OK;
}

/* Every VM's quota: of its policy, and a replica's of the policy "default". One
 * that is too small for what is kept changes nothing and is the answer. */
static int32_t take_quotas(struct endpoint *endpoint,
			   const struct site_config *fresh,
			   struct hvrepl_error *error)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	int32_t rc = HVREPL_OK;

	for (uint32_t i = 0;
	     rc == HVREPL_OK && hvrepl_node_get_vm(endpoint->node, i, &vm) ==
					HVREPL_OK;
	     i++) {
		const struct site_vm *own = vm_named(fresh, vm.name);
		const struct site_policy *policy =
			own != NULL ? own->policy : &fresh->policies[0];

		rc = hvrepl_vm_set_quota(endpoint->node, &vm.id, policy->quota,
					 policy->points_min, error);
	}
	return rc;
}

static void say_what_counts(struct hvrepl_error *error)
{
	struct hvrepl_error was = *error;

	snprintf(error->sentence, sizeof(error->sentence),
		 "certificates and rights of the file count now, its other "
		 "changes not all: %.160s",
		 was.sentence);
}

void endpoint_post_reload(struct endpoint *endpoint,
			  struct control_request *request)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *fresh = NULL;
	json_t *changed;
	int32_t rc = site_config_load(endpoint->config->file, &fresh, &error);

	if (rc < 0) {
		control_fail_error(request, &error);
		return;
	}
	changed = json_array();
	rc = trust_reload(endpoint, fresh, &error);
	/* Before what may be refused: a right that was taken away is gone. */
	if (rc == HVREPL_OK)
		rc = take_rights(endpoint, fresh, changed, &error);
	for (size_t i = 0; rc == HVREPL_OK && i < fresh->vm_count; i++)
		rc = take_interval(endpoint, &fresh->vms[i], changed, &error);
	if (rc == HVREPL_OK)
		rc = take_quotas(endpoint, fresh, &error);
	if (rc < 0) {
		json_decref(changed);
		if (endpoint->rights == fresh)
			say_what_counts(&error);
		control_fail_error(request, &error);
	} else {
		control_reply(request,
			      json_pack("{s:s,s:o,s:o,s:o,s:o}", "site",
					endpoint->config->name, "file",
					text_json(endpoint->config->file),
					"changed",
					changed, "trust",
					trust_json(endpoint), "needs_restart",
					needs_restart(endpoint->config,
						      fresh)));
	}
	if (endpoint->rights != fresh)
		site_config_free(fresh);
}
