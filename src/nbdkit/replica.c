/* SPDX-License-Identifier: Apache-2.0 */
/* Where replicas lie: REPLICAS/VM-ID/DISK-ID.img, logs in VM-ID/storage. */
#include "directory.h"
#include "endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(struct endpoint *endpoint, const struct hvrepl_error *error)
{
	endpoint->log(endpoint, HVREPL_LOG_ERROR, error->sentence);
}

/*
 * What lies there under the same id is an earlier replication's: it may be the
 * only copy of a failed-over VM, so it is kept under another name.
 */
static int32_t move_aside(const char *path, struct hvrepl_error *error)
{
	char *aside;
	int rc = -1;

	for (unsigned n = 1; n < 10000; n++) {
		if (asprintf(&aside, "%s.old-%u", path, n) < 0)
			return site_fail(error, HVREPL_E_NOMEM, 0,
					 "Not enough memory.");
		if (access(aside, F_OK) != 0) {
			rc = rename(path, aside);
			free(aside);
			break;
		}
		free(aside);
	}
	return rc == 0 || errno == ENOENT ?
		       HVREPL_OK :
		       site_fail(error, HVREPL_E_STORAGE_IO, errno,
				 "%.160s is in the way of a new replica. Move it",
				 path);
}

static int32_t open_disk(const char *directory,
			 const struct hvrepl_disk_spec *spec, uint32_t flags,
			 struct hvrepl_disk *disk_out,
			 struct hvrepl_error *error)
{
	char hex[33];
	char *path;
	int32_t rc = HVREPL_OK;

	site_format_hex(&spec->id, hex);
	if (asprintf(&path, "%s/%s.img", directory, hex) < 0)
		return site_fail(error, HVREPL_E_NOMEM, 0,
				 "Not enough memory.");
	if ((flags & HVREPL_VM_OPEN_CREATE) != 0)
		rc = hvrepl_file_disk_create(path, spec->size, error);
	/* No promise that nobody else writes it: an administrator can (T9). */
	if (rc == HVREPL_OK)
		rc = hvrepl_file_disk_open(path, 0, disk_out, error);
	free(path);
	return rc;
}

static int32_t open_all(const char *directory,
			const struct hvrepl_disk_spec *specs,
			uint32_t disk_count, uint32_t flags,
			struct hvrepl_disk *disks_out,
			struct hvrepl_storage *storage_out,
			struct hvrepl_error *error)
{
	uint32_t opened = 0;
	char *path;
	int32_t rc = HVREPL_OK;

	if ((flags & HVREPL_VM_OPEN_CREATE) != 0) {
		rc = move_aside(directory, error);
		/* The same flush makes the move durable. */
		if (rc == HVREPL_OK && directory_make(directory) != 0)
			rc = site_fail(error, HVREPL_E_STORAGE_IO, errno,
				       "%.160s cannot be made", directory);
	}
	while (rc == HVREPL_OK && opened < disk_count) {
		rc = open_disk(directory, &specs[opened], flags,
			       &disks_out[opened], error);
		opened += rc == HVREPL_OK;
	}
	if (rc == HVREPL_OK && asprintf(&path, "%s/storage", directory) < 0)
		rc = site_fail(error, HVREPL_E_NOMEM, 0, "Not enough memory.");
	else if (rc == HVREPL_OK) {
		rc = hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE,
					     storage_out, error);
		free(path);
	}
	while (rc < 0 && opened > 0) {
		opened--;
		disks_out[opened].release(disks_out[opened].user);
	}
	return rc;
}

static int32_t open_replica(void *user, const struct hvrepl_uuid *vm,
			    const char *vm_name, const char *peer,
			    const struct hvrepl_disk_spec *specs,
			    uint32_t disk_count, uint32_t flags,
			    struct hvrepl_disk *disks_out,
			    struct hvrepl_storage *storage_out)
{
	struct endpoint *endpoint = user;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const char *replicas = endpoint->config->replicas;
	char *directory = NULL;
	char hex[33], line[256];
	int32_t rc;

	site_format_hex(vm, hex);
	if (directory_make(replicas) != 0)
		rc = site_fail(&error, HVREPL_E_STORAGE_IO, errno,
			       "The directory of replicas %.128s cannot be made",
			       replicas);
	else if (asprintf(&directory, "%s/%s", replicas, hex) < 0)
		rc = site_fail(&error, HVREPL_E_NOMEM, 0, "Not enough memory.");
	else
		rc = open_all(directory, specs, disk_count, flags, disks_out,
			      storage_out, &error);
	if (rc < 0) {
		say(endpoint, &error);
	} else if ((flags & HVREPL_VM_OPEN_CREATE) != 0) {
		snprintf(line, sizeof(line),
			 "VM %s of %s gets a replica here, in %s", vm_name, peer,
			 hex);
		endpoint->log(endpoint, HVREPL_LOG_NOTICE, line);
	}
	free(directory);
	return rc;
}

static void removed(void *user, const struct hvrepl_uuid *vm)
{
	struct endpoint *endpoint = user;
	char hex[33], line[256];

	site_format_hex(vm, hex);
	snprintf(line, sizeof(line),
		 "Replication of %s has ended; its disks stay. Delete them when nobody needs them.",
		 hex);
	endpoint->log(endpoint, HVREPL_LOG_NOTICE, line);
}

const struct hvrepl_vmm_ops endpoint_vmm = {
	.struct_size = sizeof(endpoint_vmm),
	.open_replica = open_replica,
	.removed = removed,
};
