/* SPDX-License-Identifier: Apache-2.0 */
/* A cut becomes a directory of segments, whole or not at all. */
#include "site.h"

#include "directory.h"
#include "endpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hvrepl/cut.h>
#include <hvrepl/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * CAPTURE/0000000012/DISK.segment. The directory is filled under a name that
 * starts with a dot and renamed when all of it is durable, so a point has all
 * disks or is not there. Point 1 holds the whole disks.
 */
#define POINT_FORMAT "%010llu"
#define EXTENTS 256
#define PIECE (1u << 20)

struct file_sink {
	int fd;
};

static int32_t sink_append(void *user, hvrepl_op *op, const void *bytes,
			   size_t length)
{
	struct file_sink *sink = user;
	const char *from = bytes;

	(void)op;
	while (length > 0) {
		ssize_t count = write(sink->fd, from, length);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return errno == ENOSPC || errno == EDQUOT ?
				       HVREPL_E_NO_SPACE : HVREPL_E_STORAGE_IO;
		from += count;
		length -= (size_t)count;
	}
	return HVREPL_OK;
}

static int32_t sink_flush(void *user, hvrepl_op *op)
{
	struct file_sink *sink = user;

	(void)op;
	return fsync(sink->fd) == 0 ? HVREPL_OK : HVREPL_E_STORAGE_IO;
}

static void sink_release(void *user)
{
	struct file_sink *sink = user;

	close(sink->fd);
	free(sink);
}

static const struct hvrepl_log_sink_ops sink_ops = {
	.struct_size = sizeof(sink_ops),
	.append = sink_append,
	.flush = sink_flush,
};

static int sync_directory(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -1 : fsync(fd);

	if (fd >= 0)
		close(fd);
	return rc;
}

static void remove_directory(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (list == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(list)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(list), entry->d_name, 0);
	closedir(list);
	unlinkat(parent, name, AT_REMOVEDIR);
}

static int open_capture(struct site_vm_state *vm, struct hvrepl_error *error)
{
	const char *path = vm->config->capture;
	int fd;

	if (directory_make(path) != 0) {
		site_fail(error, HVREPL_E_STORAGE_IO, errno,
		     "The capture directory %.160s cannot be made", path);
		return -1;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		site_fail(error, HVREPL_E_STORAGE_IO, errno,
		     "The capture directory %.160s cannot be opened", path);
	return fd;
}

int32_t capture_prepare(struct site_vm_state *vm, struct hvrepl_error *error)
{
	int fd = open_capture(vm, error);
	const struct dirent *entry;
	DIR *list = fd < 0 ? NULL : fdopendir(dup(fd));

	if (fd < 0)
		return HVREPL_E_STORAGE_IO;
	vm->captured = 0;
	while (list != NULL && (entry = readdir(list)) != NULL) {
		unsigned long long point;
		int end = 0;

		if (sscanf(entry->d_name, ".%10llu.new%n", &point, &end) == 1 &&
		    end > 0 && entry->d_name[end] == 0)
			remove_directory(fd, entry->d_name);
		else if (sscanf(entry->d_name, "%10llu%n", &point, &end) == 1 &&
			 entry->d_name[end] == 0 && point > vm->captured)
			vm->captured = point;
	}
	if (list != NULL)
		closedir(list);
	close(fd);
	return list == NULL ? site_fail(error, HVREPL_E_NOMEM, 0,
				   "Not enough memory.") : HVREPL_OK;
}

/* Content of [offset, end) of the cut, in pieces, into the segment. */
static int32_t copy_extent(hvrepl_cut *cut, uint32_t disk,
			   hvrepl_log_writer *writer, uint64_t offset,
			   uint64_t end, void *buffer,
			   struct keeper *keeper)
{
	while (offset < end) {
		size_t length = end - offset < PIECE ? (size_t)(end - offset) :
						       PIECE;
		int32_t rc = hvrepl_cut_read(cut, disk, offset, buffer, length);

		if (rc == HVREPL_E_BUSY) {
			rc = keeper_pause(keeper);
			if (rc < 0)
				return rc;
			continue;
		}
		if (rc == HVREPL_OK)
			rc = keeper_check(keeper);
		if (rc == HVREPL_OK)
			rc = hvrepl_log_writer_add(writer, offset, buffer,
						   length);
		if (rc < 0)
			return rc;
		offset += length;
	}
	return HVREPL_OK;
}

static int32_t copy_disk(hvrepl_cut *cut, uint32_t disk,
			 const struct hvrepl_cut_disk *about,
			 hvrepl_log_writer *writer, struct keeper *keeper)
{
	struct hvrepl_extent extents[EXTENTS];
	void *buffer = aligned_alloc(4096, PIECE);
	int32_t rc = buffer == NULL ? HVREPL_E_NOMEM : HVREPL_OK;

	for (uint64_t at = 0; rc == HVREPL_OK && at < about->limit;) {
		uint32_t count = EXTENTS;
		uint64_t end = at;

		rc = hvrepl_cut_next_extents(cut, disk, at, extents, &count,
					     &end);
		if (rc == HVREPL_E_BUSY) {
			rc = keeper_pause(keeper);
			continue;
		}
		for (uint32_t i = 0; rc == HVREPL_OK && i < count; i++)
			rc = copy_extent(cut, disk, writer, extents[i].offset,
					 extents[i].offset + extents[i].length,
					 buffer, keeper);
		at = end;
	}
	free(buffer);
	return rc;
}

/* A cut lists its disks in an order of its own. */
static const char *disk_name(const struct site_vm_state *vm,
			     const struct hvrepl_uuid *id)
{
	for (size_t i = 0; i < vm->config->disk_count; i++)
		if (memcmp(&vm->disk_ids[i], id, sizeof(*id)) == 0)
			return vm->config->disks[i].name;
	return "unknown";
}

static int32_t write_segment(struct site_vm_state *vm, hvrepl_cut *cut,
			     const struct hvrepl_cut_info *info, uint32_t index,
			     int directory, struct capture_result *result,
			     struct hvrepl_error *error)
{
	struct hvrepl_log_info about = HVREPL_LOG_INFO_INIT;
	struct hvrepl_log_summary summary = HVREPL_LOG_SUMMARY_INIT;
	struct hvrepl_cut_disk disk = { .struct_size = sizeof(disk) };
	struct hvrepl_log_sink sink = { &sink_ops, NULL, sink_release };
	struct file_sink *file = calloc(1, sizeof(*file));
	hvrepl_log_writer *writer = NULL;
	char name[SITE_NAME_MAX + 16];
	int32_t rc;

	if (file == NULL)
		return site_fail(error, HVREPL_E_NOMEM, 0, "Not enough memory.");
	rc = hvrepl_cut_get_disk(cut, index, &disk);
	snprintf(name, sizeof(name), "%s.segment", disk_name(vm, &disk.disk));
	file->fd = openat(directory, name,
			  O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (rc < 0 || file->fd < 0) {
		rc = site_fail(error, rc < 0 ? rc : HVREPL_E_STORAGE_IO, errno,
			  "The segment %s cannot be created", name);
		if (file->fd >= 0)
			close(file->fd);
		free(file);
		return rc;
	}
	sink.user = file;
	about.block_size = disk.block_size;
	about.vm = disk.vm;
	about.disk = disk.disk;
	about.cut = info->id;
	about.from_point = result->point - 1;
	about.to_point = result->point;
	about.disk_size = disk.disk_size;
	about.utc_ns = info->utc_ns;
	rc = hvrepl_log_writer_create(&vm->site->env, &about,
				      HVREPL_LOG_LEVEL_DEFAULT, &sink, &writer,
				      error);
	if (rc < 0)
		return rc;
	rc = copy_disk(cut, index, &disk, writer, vm->keeper);
	if (rc == HVREPL_OK)
		rc = hvrepl_log_writer_finish(writer, HVREPL_LOG_DIGEST_NONE,
					      NULL, &summary);
	hvrepl_log_writer_destroy(writer);
	result->stored_bytes += summary.length;
	if (rc < 0)
		site_fail(error, rc, 0, "The segment %s was not written: %s", name,
		     hvrepl_strerror(rc));
	return rc;
}

static int32_t write_point(struct site_vm_state *vm, hvrepl_cut *cut,
			   const struct hvrepl_cut_info *info, int parent,
			   struct capture_result *result,
			   struct hvrepl_error *error)
{
	char temporary[sizeof(result->directory) + 8];
	int32_t rc = HVREPL_OK;
	int directory;

	snprintf(result->directory, sizeof(result->directory), POINT_FORMAT,
		 (unsigned long long)result->point);
	snprintf(temporary, sizeof(temporary), ".%s.new", result->directory);
	if (mkdirat(parent, temporary, 0700) != 0)
		return site_fail(error, HVREPL_E_STORAGE_IO, errno,
			    "The directory %s cannot be made", temporary);
	directory = openat(parent, temporary,
			   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		rc = site_fail(error, HVREPL_E_STORAGE_IO, errno,
			  "The directory %s cannot be opened", temporary);
	for (uint32_t i = 0; rc == HVREPL_OK && i < info->disk_count; i++)
		rc = write_segment(vm, cut, info, i, directory, result, error);
	if (directory >= 0)
		close(directory);
	if (rc == HVREPL_OK && (sync_directory(parent, temporary) != 0 ||
				renameat(parent, temporary, parent,
					 result->directory) != 0))
		rc = site_fail(error, HVREPL_E_STORAGE_IO, errno,
			  "The point %s could not be put in place",
			  result->directory);
	/* From the rename on its number is taken, whatever comes after. */
	if (rc == HVREPL_OK) {
		vm->captured = result->point;
		if (fsync(parent) != 0)
			return site_fail(error, HVREPL_E_STORAGE_IO, errno,
				    "The point %s may not survive a power loss; its changes come again with the next",
				    result->directory);
	}
	if (rc < 0)
		remove_directory(parent, temporary);
	return rc;
}

/* All of the cut into the spool, so that the disks are free of it. */
static int32_t spool(struct site_vm_state *vm, hvrepl_cut *cut)
{
	uint32_t progress = HVREPL_CUT_MORE;
	int32_t rc;

	do {
		rc = hvrepl_cut_advance(cut, 0, &progress);
		if (rc == HVREPL_OK)
			rc = progress == HVREPL_CUT_WAITING ?
				     keeper_pause(vm->keeper) :
				     keeper_check(vm->keeper);
	} while (rc == HVREPL_OK && progress != HVREPL_CUT_DONE);
	return rc;
}

int32_t capture_cut(struct site_vm_state *vm, struct capture_result *result,
		    struct hvrepl_error *error)
{
	struct hvrepl_cut_info info = { .struct_size = sizeof(info) };
	hvrepl_cut *cut = NULL;
	int32_t rc, closed;
	int parent;

	if (vm->config->capture == NULL)
		return site_fail(error, HVREPL_E_UNSUPPORTED, 0,
			    "VM '%s' has no capture directory. Write capture = \"DIRECTORY\" into its section.",
			    vm->config->name);
	parent = open_capture(vm, error);
	if (parent < 0)
		return error->code;
	rc = hvrepl_group_cut(vm->group, 0, error, &cut);
	if (rc < 0) {
		close(parent);
		return rc;
	}
	result->point = vm->captured + 1;
	rc = spool(vm, cut);
	if (rc == HVREPL_OK)
		rc = hvrepl_cut_get_info(cut, &info);
	if (rc == HVREPL_OK) {
		result->changed_bytes = info.changed_bytes;
		rc = write_point(vm, cut, &info, parent, result, error);
	} else {
		hvrepl_cut_get_info(cut, &info);
		site_fail(error, rc, 0,
		     "The cut was given up (%s); its changes stay tracked. Try again.",
		     hvrepl_strerror(info.reason < 0 ? info.reason : rc));
	}
	close(parent);
	closed = hvrepl_cut_close(cut, rc);
	/* The point stands; its changes merely come again with the next. */
	if (rc == HVREPL_OK && closed < 0)
		vm->site->log(vm->site, HVREPL_LOG_NOTICE,
			      "A cut was voided after it was captured.");
	return rc;
}
