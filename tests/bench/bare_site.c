/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The site of a plugin that tracks nothing: with it in place of the real one
 * src/nbdkit/plugin.c becomes what the write path is measured against, the same
 * plugin on the same file disks. For benchmarks, and never installed.
 */
#include "exports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct site_config *bare_config;

int32_t site_open(const struct site_config *config,
		  void (*log)(void *user, uint32_t level, const char *message),
		  struct site **out, struct hvrepl_error *error)
{
	(void)log, (void)error;
	bare_config = config;
	*out = NULL;
	return HVREPL_OK;
}

void site_close(struct site *site)
{
	(void)site;
}

int32_t export_open(struct site *site, const char *name, struct export **out,
		    struct hvrepl_error *error)
{
	struct export *export = calloc(1, sizeof(*export));
	struct hvrepl_disk_info info = { .struct_size = sizeof(info) };
	const char *path = NULL;
	char text[256];
	int32_t rc;

	(void)site;
	for (size_t v = 0; v < bare_config->vm_count; v++) {
		const struct site_vm *vm = &bare_config->vms[v];

		for (size_t d = 0; d < vm->disk_count; d++) {
			snprintf(text, sizeof(text), "%s/%s", vm->name,
				 vm->disks[d].name);
			if (strcmp(text, name) == 0)
				path = vm->disks[d].path;
		}
	}
	if (export == NULL || path == NULL) {
		free(export);
		return HVREPL_E_NOT_FOUND;
	}
	rc = hvrepl_file_disk_open(path, HVREPL_FILE_EXCLUSIVE, &export->disk,
				   error);
	if (rc == HVREPL_OK)
		rc = export->disk.ops->info(export->disk.user, &info);
	if (rc < 0) {
		free(export);
		return rc;
	}
	export->size = info.size;
	export->block_size = info.block_size;
	*out = export;
	return HVREPL_OK;
}

void export_close(struct export *export)
{
	export->disk.release(export->disk.user);
	free(export);
}

void export_close_all(void)
{
}

int export_list(struct site *site,
		int (*each)(void *argument, const char *name), void *argument)
{
	(void)site, (void)each, (void)argument;
	return 0;
}

/* As the real ones check. */
static int32_t check(const struct export *export, uint64_t length,
		     uint64_t offset)
{
	if (length > export->size || offset > export->size - length)
		return HVREPL_E_RANGE;
	return ((length | offset) & (export->block_size - 1)) != 0 ?
		       HVREPL_E_INVALID : HVREPL_OK;
}

int32_t export_read(struct export *export, void *buffer, uint64_t length,
		    uint64_t offset)
{
	struct hvrepl_iovec iov = { buffer, (size_t)length };
	int32_t rc = check(export, length, offset);

	return rc < 0 ? rc :
			export->disk.ops->readv(export->disk.user, NULL, offset,
						&iov, 1);
}

int32_t export_write(struct export *export, const void *buffer,
		     uint64_t length, uint64_t offset, bool durable)
{
	struct hvrepl_iovec iov = { (void *)(uintptr_t)buffer,
				    (size_t)length };
	int32_t rc = check(export, length, offset);

	if (rc == HVREPL_OK)
		rc = export->disk.ops->writev(export->disk.user, NULL, offset,
					      &iov, 1);
	return rc == HVREPL_OK && durable ? export_flush(export) : rc;
}

int32_t export_zero(struct export *export, uint64_t length, uint64_t offset,
		    bool durable)
{
	(void)export, (void)length, (void)offset, (void)durable;
	return HVREPL_E_UNSUPPORTED;
}

int32_t export_discard(struct export *export, uint64_t length,
		       uint64_t offset, bool durable)
{
	(void)export, (void)length, (void)offset, (void)durable;
	return HVREPL_OK;
}

int32_t export_flush(struct export *export)
{
	return export->disk.ops->flush(export->disk.user, NULL);
}

int32_t export_allocated(struct export *export, uint64_t offset,
			 uint64_t length, struct hvrepl_extent *extents_out,
			 uint32_t *count_inout, uint64_t *end_out)
{
	return export->disk.ops->allocated(export->disk.user, offset, length,
					   extents_out, count_inout, end_out);
}
