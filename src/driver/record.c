/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's record in the state store: what the driver adds, and the put. */
#include "base/cursor.h"
#include "base/plant.h"
#include "driver/status.h"
#include "driver/vm.h"

#include <stdio.h>
#include <string.h>

#define PUT_RETRY_NS 200000000ull
#define BLOB_MAGIC 0x314d5648u /* "HVM1" */
#define FLAG_OWN 1u
#define FLAG_BOUND 2u /* What it is bound to follows the peer's name. */
#define FLAG_GROUP 4u /* Its trust group was decided, also if that is none. */

static void key_of(const struct hvri_vm *vm, char key[HVREPL_STATE_KEY_MAX + 1])
{
	char text[HVRI_UUID_TEXT];

	hvri_uuid_format(&vm->relationship.record.vm, text);
	snprintf(key, HVREPL_STATE_KEY_MAX + 1, "vm/%s", text);
}

static void read_binding(struct hvri_reader *reader,
			 struct hvri_binding *binding)
{
	hvri_read_bytes(reader, binding->trust_group,
			sizeof(binding->trust_group));
	hvri_read_bytes(reader, binding->storage_root,
			sizeof(binding->storage_root));
	hvri_read_uuid(reader, &binding->storage_id);
	if (binding->trust_group[HVREPL_TRUST_GROUP_MAX] != 0 ||
	    binding->storage_root[HVREPL_STORAGE_ROOT_MAX] != 0)
		reader->bad = true;
}

static void write_binding(struct hvri_writer *writer,
			  const struct hvri_binding *binding)
{
	hvri_write_bytes(writer, binding->trust_group,
			 sizeof(binding->trust_group));
	hvri_write_bytes(writer, binding->storage_root,
			 sizeof(binding->storage_root));
	hvri_write_uuid(writer, &binding->storage_id);
}

static uint32_t flags_of(const struct hvri_vm *vm)
{
	const struct hvri_binding *binding = &vm->binding;
	uint32_t flags = vm->own ? FLAG_OWN : 0;

	if (binding->trust_group[0] != 0 || binding->storage_root[0] != 0 ||
	    !hvri_uuid_is_none(&binding->storage_id))
		flags |= FLAG_BOUND;
	if (binding->group_decided)
		flags |= FLAG_GROUP;
	return flags;
}

static int32_t decode(struct hvri_vm *vm, const uint8_t *blob, uint32_t length)
{
	struct hvri_reader reader = hvri_reader_over(blob, length);
	struct hvri_record *record;
	uint32_t flags;
	int32_t rc;

	if (hvri_read_u32(&reader) != BLOB_MAGIC)
		return HVREPL_E_CORRUPT;
	flags = hvri_read_u32(&reader);
	if ((flags & ~(FLAG_OWN | FLAG_BOUND | FLAG_GROUP)) != 0)
		return HVREPL_E_FORMAT_TOO_NEW;
	hvri_read_bytes(&reader, vm->peer_name, sizeof(vm->peer_name));
	memset(&vm->binding, 0, sizeof(vm->binding));
	if ((flags & FLAG_BOUND) != 0)
		read_binding(&reader, &vm->binding);
	/* A record from before there was the flag: a group in it counts. */
	vm->binding.group_decided = (flags & FLAG_GROUP) != 0 ||
				    vm->binding.trust_group[0] != 0;
	vm->cycle_ns = hvri_read_u64(&reader);
	vm->points_max = hvri_read_u32(&reader);
	if (reader.bad || vm->peer_name[HVREPL_PEER_NAME_MAX] != 0)
		return HVREPL_E_CORRUPT;
	record = hvri_alloc(&vm->node->env, sizeof(*record));
	if (record == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_record_decode(reader.at, reader.left, record);
	if (rc == HVREPL_OK &&
	    !hvri_uuid_equal(&record->vm, &vm->relationship.record.vm))
		rc = HVREPL_E_CORRUPT;
	if (rc == HVREPL_OK) {
		vm->own = (flags & FLAG_OWN) != 0;
		hvri_relationship_load(&vm->relationship, record);
		snprintf(vm->name, sizeof(vm->name), "%s", record->vm_name);
	}
	hvri_free(&vm->node->env, record, sizeof(*record));
	return rc;
}

int32_t hvri_vm_load(struct hvri_vm *vm)
{
	struct hvrepl_node *node = vm->node;
	char key[HVREPL_STATE_KEY_MAX + 1];
	uint32_t length = HVRI_VM_BLOB_MAX;
	uint8_t *blob = hvri_alloc_raw(&node->env, HVRI_VM_BLOB_MAX);
	int32_t rc;

	if (blob == NULL)
		return HVREPL_E_NOMEM;
	key_of(vm, key);
	rc = node->state.get(node->state_user, key, blob, &length,
			     &vm->version);
	if (rc >= 0 && length > HVRI_VM_BLOB_MAX)
		rc = HVREPL_E_CORRUPT;
	if (rc >= 0)
		rc = decode(vm, blob, length);
	hvri_free(&node->env, blob, HVRI_VM_BLOB_MAX);
	return rc;
}

static void put_complete(struct hvrepl_op *op, int32_t result)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)op -
						offsetof(struct hvri_vm,
							 put_op));

	vm->put_result = result;
	hvri_queue_put(&vm->node->home, &vm->put_item);
}

void hvri_vm_say_put(const struct hvri_vm *vm, char *sentence, size_t size)
{
	snprintf(sentence, size,
		 "this site's record of it cannot be written (%s): %s; nothing is "
		 "decided until then",
		 hvrepl_strerror(vm->put_code),
		 vm->put_code == HVREPL_E_POISONED ?
			 "mend where the site's state lies, and restart the site" :
			 "free space, or mend where the site's state lies");
}

/* Once as it begins to fail, and once as it is over. */
static void tell_put(struct hvri_vm *vm, int32_t code)
{
	bool failed = vm->put_code < 0;

	vm->put_code = code;
	if (failed != (code < 0))
		hvri_vm_tell_health(vm, code,
				    "this site's record of it is written again; ");
}

void hvri_vm_drop_blob(struct hvri_vm *vm)
{
	hvri_free(&vm->node->env, vm->blob, HVRI_VM_BLOB_MAX);
	vm->blob = NULL;
}

/* The version moved, and what failed before may have moved it: OK where the store has
 * what is put, BUSY where it has anything else, or why that cannot be told now. */
static int32_t whose_version(const struct hvri_vm *vm)
{
	struct hvrepl_node *node = vm->node;
	char key[HVREPL_STATE_KEY_MAX + 1];
	uint32_t length = HVRI_VM_BLOB_MAX;
	uint64_t version = 0;
	uint8_t *bytes;
	int32_t rc;

	if (vm->put_code == HVREPL_OK || HVRI_PLANT(own_put_is_anothers))
		return HVREPL_E_BUSY;
	bytes = hvri_alloc_raw(&node->env, HVRI_VM_BLOB_MAX);
	if (bytes == NULL)
		return HVREPL_E_NOMEM;
	key_of(vm, key);
	rc = node->state.get(node->state_user, key, bytes, &length, &version);
	if (rc == HVREPL_E_NOT_FOUND)
		rc = vm->blob_length == 0 ? HVREPL_OK : HVREPL_E_BUSY;
	else if (rc == HVREPL_OK &&
		 (length != vm->blob_length || version != vm->version + 1 ||
		  memcmp(bytes, vm->blob, length) != 0))
		rc = HVREPL_E_BUSY;
	else if (rc == HVREPL_E_LIMIT)
		rc = HVREPL_E_BUSY; /* Longer than any of ours. */
	hvri_free(&node->env, bytes, HVRI_VM_BLOB_MAX);
	return rc;
}

static void put_done(struct hvri_item *item)
{
	struct hvri_vm *vm = (struct hvri_vm *)((char *)item -
						offsetof(struct hvri_vm,
							 put_item));

	vm->putting = false;
	if (vm->put_result == HVREPL_E_BUSY)
		vm->put_result = whose_version(vm);
	if (vm->put_result == HVREPL_OK || vm->put_result == HVREPL_E_BUSY)
		hvri_vm_drop_blob(vm);
	if (vm->put_result != HVREPL_E_BUSY)
		tell_put(vm, vm->put_result);
	if (vm->put_result == HVREPL_OK && vm->forget) {
		vm->version = 0; /* It was the removal. */
		hvri_vm_settled(vm);
		return;
	} else if (vm->put_result == HVREPL_OK) {
		vm->version++;
		vm->update.persist = false;
	} else if (vm->put_result == HVREPL_E_BUSY) {
		/* Another writer has this record: whoever that is, it is not
		 * us who decide now (contract, 1). */
		hvri_log(&vm->node->env, HVREPL_LOG_ERROR,
			 "VM %s: another process writes its record; fenced",
			 vm->name);
		hvri_vm_doors(vm, true, false);
		hvri_vm_close(vm);
		return;
	} else {
		hvri_alarm_set(&vm->node->timers, &vm->perform_retry,
			       hvri_now(&vm->node->env) + PUT_RETRY_NS);
		/* Not where its removal is what failed: that would be tried again
		 * at once, and for ever. */
		if (vm->closing)
			hvri_vm_settled(vm);
		return;
	}
	hvri_vm_go_on(vm);
}

/* As it is now; what failed is put as it was, so that it is known again. */
static int32_t make_blob(struct hvri_vm *vm)
{
	struct hvri_writer writer;
	size_t length = 0;
	int32_t rc;

	vm->blob = hvri_alloc_raw(&vm->node->env, HVRI_VM_BLOB_MAX);
	if (vm->blob == NULL)
		return HVREPL_E_NOMEM;
	writer = hvri_writer_over(vm->blob, HVRI_VM_BLOB_MAX);
	hvri_write_u32(&writer, BLOB_MAGIC);
	hvri_write_u32(&writer, flags_of(vm));
	hvri_write_bytes(&writer, vm->peer_name, sizeof(vm->peer_name));
	if ((flags_of(vm) & FLAG_BOUND) != 0)
		write_binding(&writer, &vm->binding);
	hvri_write_u64(&writer, vm->cycle_ns);
	hvri_write_u32(&writer, vm->points_max);
	rc = hvri_record_encode(&vm->relationship.record, writer.at,
				writer.left, &length);
	vm->blob_length = (uint32_t)(writer.written + length);
	if (rc < 0)
		hvri_vm_drop_blob(vm);
	return rc;
}

int32_t hvri_vm_save(struct hvri_vm *vm, bool remove)
{
	struct hvrepl_node *node = vm->node;
	char key[HVREPL_STATE_KEY_MAX + 1];
	int32_t rc;

	if (vm->blob == NULL)
		HVRI_TRY(make_blob(vm));
	if (remove)
		vm->blob_length = 0;
	key_of(vm, key);
	vm->putting = true;
	vm->put_op.complete = put_complete;
	vm->put_item.run = put_done;
	if (HVRI_PLANT(epoch_not_saved) && !remove &&
	    vm->relationship.record.phase == HVRI_PHASE_FAILED_OVER) {
		vm->version--; /* As if it were there. */
		put_complete(&vm->put_op, HVREPL_OK);
		return HVREPL_OK;
	}
	rc = node->state.put(node->state_user, &vm->put_op, key, vm->blob,
			     vm->blob_length, vm->version);
	if (rc != HVREPL_PENDING)
		put_complete(&vm->put_op, rc);
	return HVREPL_OK;
}

/* ---- "Untrusted" (T8). ---- */

static void trust_key(const struct hvri_vm_disk *disk,
		      char key[HVREPL_STATE_KEY_MAX + 1])
{
	char text[HVRI_UUID_TEXT];

	hvri_uuid_format(&disk->vm->relationship.record.vm, text);
	snprintf(key, HVREPL_STATE_KEY_MAX + 1, "untrusted/%s/%u", text,
		 disk->index);
}

static int32_t trust_version(const struct hvri_vm_disk *disk, const char *key,
			     uint64_t *version_out)
{
	struct hvrepl_node *node = disk->vm->node;
	uint8_t blob[8];
	uint32_t length = sizeof(blob);

	*version_out = 0;
	return node->state.get(node->state_user, key, blob, &length,
			       version_out);
}

bool hvri_disk_untrusted(const struct hvri_vm_disk *disk)
{
	char key[HVREPL_STATE_KEY_MAX + 1];
	uint64_t version;

	trust_key(disk, key);
	/* What cannot be read may say so: a compare more is no loss. */
	return trust_version(disk, key, &version) != HVREPL_E_NOT_FOUND;
}

int32_t hvri_disk_trust(void *user, hvrepl_op *op, uint32_t trusted)
{
	const struct hvri_vm_disk *disk = user;
	struct hvrepl_node *node = disk->vm->node;
	char key[HVREPL_STATE_KEY_MAX + 1];
	uint64_t version = 0;
	int32_t rc;

	trust_key(disk, key);
	rc = trust_version(disk, key, &version);
	if (rc == HVREPL_E_NOT_FOUND && trusted != 0)
		return HVREPL_OK;
	if (rc == HVREPL_OK && trusted == 0)
		return HVREPL_OK;
	if (rc < 0 && rc != HVREPL_E_NOT_FOUND)
		return rc;
	return node->state.put(node->state_user, op, key, "untrusted",
			       trusted != 0 ? 0 : 8, version);
}
