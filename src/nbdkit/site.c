/* SPDX-License-Identifier: Apache-2.0 */
/* Brings a site up from its configuration, and down again. */
#include "site.h"

#include "directory.h"
#include "endpoint.h"


#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Twice what a keeper lets pass between saves, and some. */
static const uint64_t token_slack_ns = 30000000000u;

int32_t site_fail(struct hvrepl_error *error, int32_t code, int number,
		  const char *format, ...)
{
	size_t length;
	va_list args;

	va_start(args, format);
	vsnprintf(error->sentence, sizeof(error->sentence), format, args);
	va_end(args);
	length = strlen(error->sentence);
	if (number != 0)
		snprintf(error->sentence + length,
			 sizeof(error->sentence) - length, ": %s",
			 strerror(number));
	error->code = code;
	error->error_class = hvrepl_error_class(code);
	error->sys_errno = number;
	return code;
}

int32_t site_make_id(const char *kind, const char *site, const char *vm,
		     const char *disk, struct hvrepl_uuid *id_out)
{
	char text[4 * (SITE_NAME_MAX + 1) + 32];
	unsigned char digest[EVP_MAX_MD_SIZE];
	int length = snprintf(text, sizeof(text), "hvrepl %s %s/%s/%s", kind,
			      site, vm, disk);

	if (EVP_Digest(text, (size_t)length, digest, NULL, EVP_sha256(),
		       NULL) != 1)
		return HVREPL_E_NOMEM;
	memcpy(id_out->bytes, digest, sizeof(id_out->bytes));
	/* RFC 9562: version 8, made by a rule of our own. */
	id_out->bytes[6] = (uint8_t)((id_out->bytes[6] & 0x0f) | 0x80);
	id_out->bytes[8] = (uint8_t)((id_out->bytes[8] & 0x3f) | 0x80);
	return HVREPL_OK;
}

void site_format_hex(const struct hvrepl_uuid *id, char text_out[33])
{
	for (size_t i = 0; i < sizeof(id->bytes); i++)
		text_out += sprintf(text_out, "%02x", id->bytes[i]);
}

static void on_wake(void *user)
{
	struct site_vm_state *vm = user;

	pump_wake(vm->site->pump);
	keeper_wake(vm->keeper);
}

static void on_log(void *user, uint32_t level, const char *message)
{
	struct site *site = user;

	site->log(site, level, message);
}

static int32_t open_storage(struct site_vm_state *vm,
			    struct hvrepl_error *error)
{
	const struct site_config *config = vm->site->config;
	struct hvrepl_storage storage;
	char *path;
	int32_t rc;

	if (directory_make(config->storage) != 0)
		return site_fail(error, HVREPL_E_STORAGE_IO, errno,
			    "The storage directory %.160s cannot be made",
			    config->storage);
	if (asprintf(&path, "%s/%s", config->storage, vm->config->name) < 0)
		return site_fail(error, HVREPL_E_NOMEM, 0, "Not enough memory.");
	rc = hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE, &storage, error);
	if (rc == HVREPL_E_BUSY)
		site_fail(error, rc, 0,
		     "Another daemon has the storage %.128s. Stop it first, or give this site its own.",
		     path);
	free(path);
	if (rc < 0)
		return rc;
	rc = shared_storage(&storage, &vm->storage);
	return rc < 0 ? site_fail(error, rc, 0, "Not enough memory.") : rc;
}

static int32_t open_group(struct site_vm_state *vm, struct hvrepl_error *error)
{
	struct hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_storage spill = shared_ref(&vm->storage);
	uint32_t level = vm->site->config->compression;

	options.level = level == 100 ? HVREPL_LEVEL_STORE : (int32_t)level;
	options.spool_memory = vm->site->config->spool;
	options.spill = &spill;
	options.wake = on_wake;
	options.wake_user = vm;
	return hvrepl_group_create(&vm->site->env, &options, error, &vm->group);
}

static int32_t on_token(void *user, const uint8_t *saved, uint32_t saved_length,
			uint64_t saved_utc_ns, const uint8_t *now,
			uint32_t now_length)
{
	(void)user;
	return hvrepl_file_token_check((void *)(uintptr_t)&token_slack_ns,
				       saved, saved_length, saved_utc_ns, now,
				       now_length);
}

/* A mark that cannot be durable in time must not fail the guest's write: an
 * object beside the tracker file says that a crash costs a whole compare. The
 * directory's callbacks are synchronous. */
static int32_t on_trust(void *user, hvrepl_op *op, uint32_t trusted)
{
	const struct guest_disk *guest = user;
	const struct hvrepl_storage_ops *ops = guest->storage->ops;
	void *object;
	int32_t rc;

	if (trusted != 0) {
		rc = ops->remove(guest->storage->user, guest->untrusted_id);
		return rc == HVREPL_E_NOT_FOUND ? HVREPL_OK :
		       rc < 0			? rc :
						  ops->sync(guest->storage->user);
	}
	rc = ops->open(guest->storage->user, guest->untrusted_id,
		       HVREPL_OBJECT_CREATE, &object);
	if (rc == HVREPL_E_EXISTS)
		return HVREPL_OK;
	if (rc < 0)
		return rc;
	rc = ops->flush(guest->storage->user, op, object);
	ops->close(guest->storage->user, object);
	return rc;
}

static uint32_t untrusted_flag(const struct guest_disk *guest)
{
	const struct hvrepl_storage_ops *ops = guest->storage->ops;
	void *object;
	int32_t rc = ops->open(guest->storage->user, guest->untrusted_id,
			       HVREPL_OBJECT_READ_ONLY, &object);

	if (rc == HVREPL_OK)
		ops->close(guest->storage->user, object);
	/* What cannot be read may say so. */
	return rc == HVREPL_E_NOT_FOUND ? 0 : HVREPL_TRACKER_UNTRUSTED;
}

static int32_t attach(struct site_vm_state *vm, size_t index, uint32_t flags,
		      struct hvrepl_error *error)
{
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	const struct site_disk *config = &vm->config->disks[index];
	struct guest_disk *guest = &vm->disks[index];
	struct hvrepl_storage storage;
	char object_id[HVREPL_OBJECT_ID_MAX + 1];
	int32_t rc;

	rc = hvrepl_file_disk_open(config->path,
				   config->exclusive ? HVREPL_FILE_EXCLUSIVE : 0,
				   &guest->disk, error);
	if (rc < 0)
		return rc;
	guest->info.struct_size = sizeof(guest->info);
	rc = guest->disk.ops->info(guest->disk.user, &guest->info);
	if (rc < 0) {
		guest->disk.release(guest->disk.user);
		return site_fail(error, rc, errno, "The size of %.160s is not known",
			    config->path);
	}
	site_format_hex(&vm->disk_ids[index], object_id);
	guest->storage = &vm->storage;
	strcpy(guest->untrusted_id, object_id); /* 32 hexadecimal digits. */
	strcat(guest->untrusted_id, ".untrusted");
	strcat(object_id, ".hvt");
	options.flags = flags | untrusted_flag(guest);
	options.vm = vm->id;
	options.disk = vm->disk_ids[index];
	options.object_id = object_id;
	options.token_check = on_token;
	options.trust = on_trust;
	options.user = guest;
	rc = site_make_id("owner", vm->site->config->name, "", "", &options.owner);
	storage = shared_ref(&vm->storage);
	return hvrepl_tracker_attach(vm->group, &guest->disk, &storage,
				     &options, error, &guest->tracker);
}

static void say_recovery(struct site_vm_state *vm, size_t index)
{
	static const char *const found[] = {
		"is tracked from now on", "was closed cleanly",
		"was not closed cleanly; its hot regions count as changed",
		"cannot be trusted; all of it counts as changed",
	};
	struct hvrepl_tracker_info info = { .struct_size = sizeof(info) };
	char line[256];

	if (hvrepl_tracker_get_info(vm->disks[index].tracker, &info) < 0 ||
	    info.recovery > HVREPL_RECOVERY_WHOLE)
		return;
	snprintf(line, sizeof(line), "%s/%s %s (%llu bytes)", vm->config->name,
		 vm->config->disks[index].name, found[info.recovery],
		 (unsigned long long)info.dirty_bytes);
	vm->site->log(vm->site, HVREPL_LOG_NOTICE, line);
}

static int32_t open_disk(struct site_vm_state *vm, size_t index,
			 struct hvrepl_error *error)
{
	int32_t rc = attach(vm, index, 0, error);

	/* Points there are, but no map of what changed since the last one. */
	if (rc == HVREPL_E_NOT_FOUND && error->sys_errno == 0)
		rc = attach(vm, index,
			    vm->captured == 0 ? HVREPL_TRACKER_CREATE :
						HVREPL_TRACKER_REBUILD,
			    error);
	if (rc == HVREPL_E_CORRUPT || rc == HVREPL_E_TRUNCATED)
		site_fail(error, rc, 0,
		     "The tracker file of %s/%s in %.100s is damaged. Restore it, or delete it: then the whole disk counts as changed.",
		     vm->config->name, vm->config->disks[index].name,
		     vm->site->config->storage);
	if (rc == HVREPL_OK && vm->config->capture != NULL && vm->captured == 0)
		rc = hvrepl_tracker_mark_all(vm->disks[index].tracker);
	if (rc == HVREPL_OK)
		say_recovery(vm, index);
	return rc;
}

static int32_t open_vm(struct site_vm_state *vm, struct hvrepl_error *error)
{
	size_t count = vm->config->disk_count;
	int32_t rc = site_make_id("vm", vm->site->config->name, vm->config->name, "",
			     &vm->id);

	vm->disks = calloc(count, sizeof(*vm->disks));
	vm->disk_ids = calloc(count, sizeof(*vm->disk_ids));
	vm->keeper = keeper_create(vm);
	if (vm->disks == NULL || vm->disk_ids == NULL || vm->keeper == NULL)
		return site_fail(error, HVREPL_E_NOMEM, 0, "Not enough memory.");
	for (size_t i = 0; rc == HVREPL_OK && i < count; i++)
		rc = site_make_id("disk", vm->site->config->name, vm->config->name,
			     vm->config->disks[i].name, &vm->disk_ids[i]);
	if (rc == HVREPL_OK)
		rc = open_storage(vm, error);
	if (rc == HVREPL_OK && vm->config->capture != NULL)
		rc = capture_prepare(vm, error);
	if (rc == HVREPL_OK)
		rc = open_group(vm, error);
	for (size_t i = 0; rc == HVREPL_OK && i < count; i++)
		rc = open_disk(vm, i, error);
	return rc;
}

static void pause_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

static void close_vm(struct site_vm_state *vm)
{
	char line[256];

	keeper_stop(vm->keeper);
	for (size_t i = 0; vm->disks != NULL && i < vm->config->disk_count; i++) {
		int32_t rc = HVREPL_E_BUSY;

		for (int tries = 0; rc == HVREPL_E_BUSY && tries < 500; tries++) {
			rc = hvrepl_tracker_detach(vm->disks[i].tracker,
						   HVREPL_DETACH_CLEAN);
			if (rc == HVREPL_E_BUSY) {
				hvrepl_group_process(vm->group);
				pause_ms(10);
			}
		}
		if (rc == HVREPL_OK)
			continue;
		/* As after a crash: safe, but a compare will follow. */
		snprintf(line, sizeof(line),
			 "%s/%s could not be closed cleanly: %s",
			 vm->config->name, vm->config->disks[i].name,
			 hvrepl_strerror(rc));
		vm->site->log(vm->site, HVREPL_LOG_WARNING, line);
		hvrepl_tracker_detach(vm->disks[i].tracker, 0);
	}
	for (int tries = 0; tries < 500; tries++) {
		if (hvrepl_group_destroy(vm->group) != HVREPL_E_BUSY)
			break;
		pause_ms(10);
	}
	keeper_free(vm->keeper);
	if (vm->storage.release != NULL)
		vm->storage.release(vm->storage.user);
	free(vm->disks);
	free(vm->disk_ids);
}

void site_close(struct site *site)
{
	if (site == NULL)
		return;
	if (site->control != NULL)
		control_quiesce(site->control);
	/* Stopping the keepers answers what was asked of them. */
	for (size_t i = 0; i < site->vm_count; i++)
		keeper_stop(site->vms[i].keeper);
	endpoint_close(site->endpoint);
	control_stop(site->control);
	pump_stop(site->pump);
	for (size_t i = 0; i < site->vm_count; i++)
		close_vm(&site->vms[i]);
	hvrepl_pool_destroy(site->pool);
	pump_free(site->pump);
	free(site->vms);
	free(site);
}

/* A site that only captures needs neither node nor state. */
static bool needs_endpoint(const struct site_config *config)
{
	bool replicated = config->vm_count == 0;

	for (size_t i = 0; i < config->vm_count; i++)
		replicated |= config->vms[i].capture == NULL;
	return replicated || config->peer_count > 0 ||
	       config->listen_address != NULL;
}

int32_t site_open(const struct site_config *config,
		  void (*log)(void *user, uint32_t level, const char *message),
		  struct site **out, struct hvrepl_error *error)
{
	struct site *site = calloc(1, sizeof(*site));
	int32_t rc;

	if (site == NULL)
		return site_fail(error, HVREPL_E_NOMEM, 0, "Not enough memory.");
	site->config = config;
	site->log = log;
	site->env = (struct hvrepl_env)HVREPL_ENV_INIT;
	site->vms = calloc(config->vm_count + 1, sizeof(*site->vms));
	site->pump = pump_create(site);
	rc = site->vms == NULL || site->pump == NULL ?
		     site_fail(error, HVREPL_E_NOMEM, 0, "Not enough memory.") :
		     hvrepl_pool_create(0, &site->pool, error);
	if (rc == HVREPL_OK)
		rc = hvrepl_pool_env(site->pool, on_log, site, &site->env);
	for (size_t i = 0; rc == HVREPL_OK && i < config->vm_count; i++) {
		struct site_vm_state *vm = &site->vms[site->vm_count];

		if (config->vms[i].capture == NULL)
			continue;
		vm->config = &config->vms[i];
		vm->site = site;
		site->vm_count++;
		rc = open_vm(vm, error);
	}
	if (rc == HVREPL_OK)
		rc = pump_start(site->pump);
	for (size_t i = 0; rc == HVREPL_OK && i < site->vm_count; i++)
		rc = keeper_start(site->vms[i].keeper);
	if (rc == HVREPL_OK && needs_endpoint(config))
		rc = endpoint_open(config, &site->env, log, &site->endpoint,
				   error);
	if (rc == HVREPL_OK)
		rc = control_start(config->control, site_routes, site,
				   &site->control, error);
	if (rc < 0) {
		if (error->code == HVREPL_OK)
			site_fail(error, rc, 0, "The site could not start: %s",
			     hvrepl_strerror(rc));
		site_close(site);
		return rc;
	}
	*out = site;
	return HVREPL_OK;
}

struct site_vm_state *site_find_vm(struct site *site, const char *name)
{
	for (size_t i = 0; i < site->vm_count; i++)
		if (strcmp(site->vms[i].config->name, name) == 0)
			return &site->vms[i];
	return NULL;
}
