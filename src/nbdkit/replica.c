/* SPDX-License-Identifier: Apache-2.0 */
/* Where replicas lie: ROOT/ID/DISK-ID.img, logs in ROOT/ID/storage. ROOT is the
 * authorisation entry's storage, or the site's replicas; ID was drawn here. Of
 * an older version it is the VM's. */
#include "directory.h"
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

/* Of each replica that was opened, for who is told that it has ended. */
struct endpoint_place {
	struct endpoint_place *next;
	struct hvrepl_uuid vm;
	char directory[];
};

static void remember(struct endpoint *endpoint, const struct hvrepl_uuid *vm,
		     const char *directory)
{
	struct endpoint_place *place =
		malloc(sizeof(*place) + strlen(directory) + 1);

	if (place == NULL)
		return;
	place->vm = *vm;
	strcpy(place->directory, directory);
	place->next = endpoint->places;
	endpoint->places = place;
}

void endpoint_forget_places(struct endpoint *endpoint)
{
	while (endpoint->places != NULL) {
		struct endpoint_place *next = endpoint->places->next;

		free(endpoint->places);
		endpoint->places = next;
	}
}

static int32_t open_replica(void *user, const struct hvrepl_replica *replica,
			    struct hvrepl_disk *disks_out,
			    struct hvrepl_storage *storage_out)
{
	static const struct hvrepl_uuid none;
	struct endpoint *endpoint = user;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const char *replicas = replica->storage_root[0] != 0 ?
				       replica->storage_root :
				       endpoint->config->replicas;
	char *directory = NULL;
	char hex[33], line[768];
	int32_t rc;

	site_format_hex(memcmp(&replica->storage_id, &none, sizeof(none)) != 0 ?
				&replica->storage_id : &replica->vm,
			hex);
	if (directory_make(replicas) != 0)
		rc = site_fail(&error, HVREPL_E_STORAGE_IO, errno,
			       "The directory of replicas %.128s cannot be made",
			       replicas);
	else if (asprintf(&directory, "%s/%s", replicas, hex) < 0)
		rc = site_fail(&error, HVREPL_E_NOMEM, 0, "Not enough memory.");
	else
		rc = open_all(directory, replica->specs, replica->disk_count,
			      replica->flags, disks_out, storage_out, &error);
	if (rc < 0) {
		say(endpoint, &error);
	} else {
		remember(endpoint, &replica->vm, directory);
		snprintf(line, sizeof(line),
			 "VM %s of %s gets a replica here, in %.400s",
			 replica->vm_name, replica->peer, directory);
		if ((replica->flags & HVREPL_VM_OPEN_CREATE) != 0)
			endpoint->log(endpoint, HVREPL_LOG_NOTICE, line);
	}
	free(directory);
	return rc;
}

static void removed(void *user, const struct hvrepl_uuid *vm)
{
	struct endpoint *endpoint = user;
	const struct endpoint_place *place = endpoint->places;
	char hex[33], line[768];

	site_format_hex(vm, hex);
	while (place != NULL && memcmp(&place->vm, vm, sizeof(*vm)) != 0)
		place = place->next;
	snprintf(line, sizeof(line),
		 "Replication of %s has ended; its disks stay%s%.400s. Delete them when nobody needs them.",
		 hex, place != NULL ? ", in " : "",
		 place != NULL ? place->directory : "");
	endpoint->log(endpoint, HVREPL_LOG_NOTICE, line);
}

static int32_t root_space(void *user, const char *storage_root,
			  uint64_t *free_out, uint64_t *total_out)
{
	struct endpoint *endpoint = user;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const char *replicas = storage_root[0] != 0 ?
				       storage_root :
				       endpoint->config->replicas;
	struct statvfs left;
	struct stat st;
	int reason = 0;

	/* As a replica's disks would find it. */
	if (directory_make(replicas) != 0 || stat(replicas, &st) != 0 ||
	    statvfs(replicas, &left) != 0)
		reason = errno;
	else if (!S_ISDIR(st.st_mode))
		reason = ENOTDIR;
	else if ((left.f_flag & ST_RDONLY) != 0)
		reason = EROFS;
	else if (faccessat(AT_FDCWD, replicas, W_OK | X_OK, AT_EACCESS) != 0)
		reason = errno;
	if (reason != 0) {
		site_fail(&error, HVREPL_E_STORAGE_IO, reason,
			  "Replicas cannot be kept in %.160s", replicas);
		say(endpoint, &error);
		return HVREPL_E_STORAGE_IO;
	}
	*free_out = (uint64_t)left.f_bavail * left.f_frsize;
	*total_out = (uint64_t)left.f_blocks * left.f_frsize;
	return HVREPL_OK;
}

const struct hvrepl_vmm_ops endpoint_vmm = {
	.struct_size = sizeof(endpoint_vmm),
	.open_replica_at = open_replica,
	.removed = removed,
	.root_space = root_space,
};
