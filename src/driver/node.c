/* SPDX-License-Identifier: Apache-2.0 */
/* The node's life: making, processing, closing. */
#include "driver/node.h"

#include "base/abi.h"
#include "driver/status.h"
#include "driver/vm.h"
#include "driver/quota.h"

#include <stdio.h>
#include <string.h>

#define SECOND_NS 1000000000ull
#define KEY_NODE "node"
#define NODE_BLOB 24u
#define NODE_MAGIC 0x314e5648u /* "HVN1" */

void hvri_node_event(struct hvrepl_node *node, const struct hvrepl_event *event)
{
	if (hvri_events_put(&node->events, event) < 0)
		hvri_log(&node->env, HVREPL_LOG_ERROR, "event lost: %s",
			 event->sentence);
}

struct hvri_vm *hvri_node_find_vm(struct hvrepl_node *node,
				  const struct hvrepl_uuid *id)
{
	struct hvri_vm *vm = node->vms;

	while (vm != NULL &&
	       (vm->finished ||
		!hvri_uuid_equal(&vm->relationship.record.vm, id)))
		vm = vm->next;
	return vm;
}

/* ---- Identity of the node, made once. ---- */

static int32_t load_identity(struct hvrepl_node *node)
{
	uint8_t blob[NODE_BLOB];
	uint32_t length = sizeof(blob);
	uint64_t version = 0;
	int32_t rc = node->state.get(node->state_user, KEY_NODE, blob, &length,
				     &version);

	if (rc == HVREPL_OK) {
		if (length != sizeof(blob) || memcmp(blob, "HVN1", 4) != 0)
			return HVREPL_E_CORRUPT;
		memcpy(node->id.bytes, blob + 8, 16);
		return HVREPL_OK;
	}
	if (hvrepl_error_class(rc) == HVREPL_CLASS_INTEGRITY)
		return rc;
	if (rc != HVREPL_E_NOT_FOUND)
		return HVREPL_E_STATE_IO;
	HVRI_TRY(hvri_uuid_new(&node->env, &node->id));
	memset(blob, 0, sizeof(blob));
	memcpy(blob, "HVN1", 4);
	memcpy(blob + 8, node->id.bytes, 16);
	{
		struct hvri_op_wait wait;

		hvri_op_wait_init(&wait);
		rc = node->state.put(node->state_user, &wait.op, KEY_NODE, blob,
				     sizeof(blob), 0);
		rc = hvri_op_wait_end(&wait, rc);
	}
	return rc < 0 ? HVREPL_E_STATE_IO : HVREPL_OK;
}

/* ---- VMs that the state store knows. ---- */

struct found_vms {
	struct hvrepl_node *node;
	struct hvrepl_uuid *ids;
	size_t count, capacity;
};

static int32_t found_vm(void *argument, const char *key)
{
	struct found_vms *found = argument;
	struct hvrepl_uuid id;
	void *ids = found->ids;

	if (strncmp(key, "vm/", 3) != 0 || hvri_uuid_parse(key + 3, &id) < 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_grow(&found->node->env, &ids, &found->capacity,
			   found->count + 1, 1u << 20, sizeof(id)));
	found->ids = ids;
	found->ids[found->count++] = id;
	return HVREPL_OK;
}

int32_t hvri_vm_bring(struct hvri_vm *vm, const struct hvrepl_disk_spec *specs,
		      uint32_t flags, struct hvrepl_disk *disks_out,
		      struct hvrepl_storage *storage_out)
{
	struct hvrepl_node *node = vm->node;
	const struct hvri_record *record = &vm->relationship.record;
	struct hvrepl_replica replica = {
		.struct_size = sizeof(replica),
		.flags = flags,
		.vm = record->vm,
		.storage_root = vm->binding.storage_root,
		.trust_group = vm->binding.trust_group,
		.peer = vm->peer_name,
		.vm_name = record->vm_name,
		.specs = specs,
		.disk_count = record->disk_count,
	};

	if (node->vmm.open_replica_at == NULL)
		return node->vmm.open_replica(
			node->user, &record->vm, record->vm_name, vm->peer_name,
			specs, record->disk_count, flags, disks_out,
			storage_out);
	if ((flags & HVREPL_VM_OPEN_CREATE) != 0)
		HVRI_TRY(hvri_uuid_new(&node->env, &vm->binding.storage_id));
	replica.storage_id = vm->binding.storage_id;
	return node->vmm.open_replica_at(node->user, &replica, disks_out,
					 storage_out);
}

int32_t hvri_vm_open_known(struct hvri_vm *vm)
{
	struct hvrepl_node *node = vm->node;
	const struct hvri_record *record = &vm->relationship.record;
	struct hvrepl_disk_spec specs[HVRI_DISKS_MAX];
	struct hvrepl_disk disks[HVRI_DISKS_MAX];
	struct hvrepl_storage storage;

	memset(disks, 0, sizeof(disks));
	memset(&storage, 0, sizeof(storage));
	for (uint32_t i = 0; i < record->disk_count; i++) {
		specs[i].id = record->disks[i].id;
		specs[i].size = record->disks[i].size;
		snprintf(specs[i].name, sizeof(specs[i].name), "%s",
			 record->disks[i].name);
	}
	if (!node->has_vmm)
		return HVREPL_E_UNSUPPORTED;
	if (record->form != HVRI_FORM_NONE) {
		HVRI_TRY(hvri_vm_bring(vm, specs, 0, disks, &storage));
		HVRI_TRY(hvri_vm_take_disks(vm, specs, disks,
					    record->disk_count, &storage,
					    NULL));
	}
	return hvri_vm_open(vm);
}

static int32_t load_vms(struct hvrepl_node *node, struct hvrepl_error *error)
{
	char id[HVRI_UUID_TEXT] = "";
	struct found_vms found = { .node = node };
	int32_t rc = node->state.list(node->state_user, "vm/", found_vm,
				      &found);

	for (size_t i = 0; i < found.count && rc >= 0; i++) {
		struct hvri_vm *vm;

		rc = hvri_vm_create(node, &found.ids[i], &vm);
		if (rc < 0)
			break;
		rc = hvri_vm_load(vm);
		if (rc < 0) {
			/* Damage is for the operator, not for a guess: without
			 * its record a VM could be written at both sites. */
			hvri_uuid_format(&found.ids[i], id);
			break;
		}
		if (vm->own)
			hvri_vm_free(vm); /* hvrepl_node_add_vm() brings it. */
	}
	hvri_free(&node->env, found.ids,
		  found.capacity * sizeof(struct hvrepl_uuid));
	/* A backup of a record costs its site the VM for a while: nobody is
	 * sent for it because memory was short or the store did not answer. */
	if (rc == HVREPL_E_NOMEM || rc == HVREPL_E_STATE_IO)
		return hvri_fail(error, rc,
				 "the record 'vm/%s' in the state store cannot "
				 "be read now (%s): start again when that is "
				 "mended; nothing was changed",
				 id, hvrepl_strerror(rc));
	if (rc < 0)
		return hvri_fail(error, rc,
				 "the record 'vm/%s' in the state store cannot "
				 "be read (%s): put it back from a backup; "
				 "nothing was changed",
				 id, hvrepl_strerror(rc));
	/* Only now, as a node that cannot be made has no job under way: nobody
	 * could wait for one that this thread is to do later. */
	for (struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next) {
		vm->open_code = hvri_vm_open_known(vm);
		if (vm->open_code < 0)
			hvri_alarm_set(&node->timers, &vm->perform_retry,
				       hvri_now(&node->env) + SECOND_NS);
	}
	return HVREPL_OK;
}

/* ---- Making. ---- */

static void wake_node(void *user)
{
	struct hvrepl_node *node = user;

	if (node->wake != NULL)
		node->wake(node->user);
}

static int32_t check(const struct hvrepl_node_config *config,
		     struct hvrepl_error *error)
{
	if (config->flags != 0 || config->start_without_peer > 1)
		return hvri_fail(error, HVREPL_E_TOO_NEW,
				 "a flag of the node's config is not known");
	if (config->reserved != 0)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "reserved of the node's config must be zero");
	if (config->site == NULL || config->site[0] == 0 ||
	    strlen(config->site) > HVREPL_NAME_MAX)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "site needs a name of 1 to %u bytes",
				 HVREPL_NAME_MAX);
	if (config->compression_level > 19 && config->compression_level != 100)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "compression_level is 0 to 19, or 100 for off");
	return HVREPL_OK;
}

static int32_t fill(struct hvrepl_node *node,
		    const struct hvrepl_node_config *config,
		    struct hvrepl_error *error)
{
	int32_t rc;

	rc = hvri_abi_copy_in(&node->state, sizeof(node->state),
			      HVRI_SIZE_UP_TO(struct hvrepl_state_ops, list),
			      config->state.ops);
	if (rc < 0 || node->state.get == NULL || node->state.put == NULL ||
	    node->state.list == NULL)
		return hvri_fail(error, rc < 0 ? rc : HVREPL_E_INVALID,
				 "the state table needs get, put and list");
	if (config->vmm != NULL) {
		HVRI_TRY(hvri_abi_copy_in(
			&node->vmm, sizeof(node->vmm),
			HVRI_SIZE_UP_TO(struct hvrepl_vmm_ops, removed),
			config->vmm));
		if (node->vmm.open_replica == NULL &&
		    node->vmm.open_replica_at == NULL)
			return hvri_fail(error, HVREPL_E_INVALID,
					 "the vmm table needs open_replica_at or "
					 "open_replica");
		node->has_vmm = true;
	}
	node->start_wait_ns = config->start_wait_ns != 0 ?
				      config->start_wait_ns : 10 * SECOND_NS;
	node->start_without_peer = config->start_without_peer;
	node->retry_min_ns = config->retry_min_ns != 0 ? config->retry_min_ns :
							 SECOND_NS;
	node->retry_max_ns = config->retry_max_ns != 0 ? config->retry_max_ns :
							 60 * SECOND_NS;
	node->level = config->compression_level == 100 ?
			      HVREPL_LEVEL_STORE :
			      (int32_t)config->compression_level;
	node->spool_memory = config->spool_memory;
	HVRI_TRY(hvri_quota_check(config->replica_quota, error));
	node->replica_quota = config->replica_quota;
	node->replica_points_min = config->replica_points_min;
	snprintf(node->site, sizeof(node->site), "%s", config->site);
	HVRI_TRY(hvri_random(&node->env, &node->incarnation,
			     sizeof(node->incarnation)));
	node->incarnation |= 1ull << 16; /* Never 0; see job ids. */
	node->scratch = hvri_alloc(&node->env, HVRI_MESSAGE_ENCODED_MAX);
	if (node->scratch == NULL)
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	rc = load_identity(node);
	if (hvrepl_error_class(rc) == HVREPL_CLASS_INTEGRITY)
		return hvri_fail(error, rc,
				 "the record '" KEY_NODE "' in the state store "
				 "cannot be read (%s): put it back from a "
				 "backup; nothing was changed",
				 hvrepl_strerror(rc));
	if (rc < 0)
		return hvri_fail(error, rc,
				 "the state store cannot be read or written: "
				 "mend it and start again");
	return load_vms(node, error);
}

static void free_node(struct hvrepl_node *node)
{
	struct hvri_env env = node->env;

	while (node->vms != NULL)
		hvri_vm_free(node->vms);
	hvri_vm_free_doors(node);
	hvri_peer_free_all(node);
	hvri_rights_free(node);
	hvri_notes_free(node);
	hvri_events_free(&node->events);
	hvri_queue_free(&node->home);
	hvri_free(&env, node->scratch, HVRI_MESSAGE_ENCODED_MAX);
	if (node->state_release != NULL)
		node->state_release(node->state_user);
	if (node->release != NULL)
		node->release(node->user);
	hvri_free(&env, node, sizeof(*node));
}

void hvri_node_config_drop(const struct hvrepl_node_config *config)
{
	if (config->state.release != NULL)
		config->state.release(config->state.user);
	if (config->release != NULL)
		config->release(config->user);
}

int32_t hvri_node_create(const struct hvrepl_node_config *config,
			 hvrepl_node **out, struct hvrepl_error *error)
{
	struct hvrepl_node *node = NULL;
	struct hvri_env env;
	int32_t rc = check(config, error);

	if (rc == HVREPL_OK)
		rc = hvri_env_copy(&env, config->env, error);
	if (rc == HVREPL_OK) {
		node = hvri_alloc(&env, sizeof(*node));
		if (node == NULL)
			rc = hvri_fail_plain(error, HVREPL_E_NOMEM);
	}
	if (rc < 0) {
		hvri_node_config_drop(config);
		return rc;
	}
	node->env = env;
	node->state_user = config->state.user;
	node->state_release = config->state.release;
	node->wake = config->wake;
	node->token_check = config->token_check;
	node->user = config->user;
	node->release = config->release;
	node->permit = config->permit;
	node->credit_left = HVRI_CREDIT_POOL;
	hvri_queue_init(&node->home, wake_node, node);
	hvri_events_init(&node->events, &node->env);
	hvri_notes_init(&node->notes);
	rc = fill(node, config, error);
	if (rc < 0) {
		free_node(node);
		return rc;
	}
	*out = node;
	return HVREPL_OK;
}

/* ---- Running. ---- */

static void drop_needless(struct hvrepl_node *node)
{
	struct hvri_vm *vm = node->vms;

	while (vm != NULL) {
		struct hvri_vm *next = vm->next;

		if (vm->finished || hvri_vm_is_left_over(vm))
			hvri_vm_free(vm);
		vm = next;
	}
}

int32_t hvri_node_process(struct hvrepl_node *node, uint32_t budget)
{
	uint32_t left = budget == 0 ? UINT32_MAX : budget, done;

	do {
		done = hvri_timers_run(&node->timers, hvri_now(&node->env),
				       left);
		done += hvri_queue_run(&node->home,
				       HVRI_MIN(left - done, 64u));
		left -= HVRI_MIN(done, left);
	} while (done > 0 && left > 0);
	drop_needless(node);
	hvri_node_settled(node);
	return !hvri_queue_empty(&node->home) ||
	       hvri_timers_next(&node->timers) <= hvri_now(&node->env);
}

uint64_t hvri_node_deadline(struct hvrepl_node *node)
{
	return hvri_queue_empty(&node->home) ?
		       hvri_timers_next(&node->timers) :
		       hvri_now(&node->env);
}

struct posted {
	struct hvri_item item;
	struct hvrepl_node *node;
	void (*function)(void *argument);
	void *argument;
};

static void run_posted(struct hvri_item *item)
{
	struct posted *posted = (struct posted *)item;
	struct posted copy = *posted;

	uint32_t inside = copy.node->guard.inside;

	hvri_free(&copy.node->env, posted, sizeof(*posted));
	/* It is the application's turn, not one of its callbacks. */
	copy.node->guard.inside = 0;
	copy.function(copy.argument);
	copy.node->guard.inside = inside;
}

int32_t hvri_node_post(struct hvrepl_node *node,
		       void (*function)(void *argument), void *argument)
{
	struct posted *posted = hvri_alloc(&node->env, sizeof(*posted));

	if (posted == NULL)
		return HVREPL_E_NOMEM;
	*posted = (struct posted){ { NULL, run_posted },
				   node,
				   function,
				   argument };
	hvri_queue_put(&node->home, &posted->item);
	return HVREPL_OK;
}

/* ---- Closing. ---- */

int32_t hvri_node_close(struct hvrepl_node *node)
{
	if (node->closing)
		return HVREPL_OK;
	node->closing = true;
	for (struct hvri_peer *peer = node->peers; peer != NULL;
	     peer = peer->next)
		hvri_alarm_set(&node->timers, &peer->retry, HVRI_NEVER);
	for (struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next)
		hvri_vm_close(vm);
	for (struct hvri_session *session = node->sessions; session != NULL;
	     session = session->next)
		hvri_link_close(&session->link, HVREPL_E_CLOSED,
				"this site is going down");
	hvri_node_settled(node);
	return HVREPL_OK;
}

void hvri_node_settled(struct hvrepl_node *node)
{
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	if (!node->closing || node->closed || node->sessions != NULL)
		return;
	for (struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next)
		if (!vm->finished)
			return;
	if (!hvri_notes_close(node))
		return;
	node->closed = true;
	event.type = HVREPL_EVENT_CLOSED;
	hvri_node_event(node, &event);
}

int32_t hvri_node_destroy(struct hvrepl_node *node)
{
	if (!node->closed || !hvri_queue_empty(&node->home))
		return HVREPL_E_BUSY;
	free_node(node);
	return HVREPL_OK;
}
