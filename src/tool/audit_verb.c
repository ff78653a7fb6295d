/* SPDX-License-Identifier: Apache-2.0 */
/* `audit verify`: every digest, number and link of a site's audit. */
#include "tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hvrepl/backends.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct tool_option options[] = {
	{ "show", NULL, "Print every record, oldest first" },
	{ NULL, NULL, NULL },
};

static int32_t show(void *user, const struct hvrepl_audit_record *record)
{
	const char *kind = hvrepl_audit_kind_name(record->kind);

	(void)user;
	printf("%" PRIu64 " %" PRIu64 " %s %s%s%s%s\n", record->number,
	       record->utc_ns, kind == NULL ? "?" : kind,
	       hvrepl_error_name(record->code), record->actor[0] != 0 ? " " : "",
	       record->actor, record->sentence[0] != 0 ? ": " : "");
	printf("    %s\n", record->sentence);
	return HVREPL_OK;
}

static void hex(const uint8_t digest[32], char out[65])
{
	for (unsigned i = 0; i < 32; i++)
		sprintf(out + 2 * i, "%02x", digest[i]);
}

/* ---- The files as they are, without a lock: the daemon may go on. ---- */

static int32_t file_open(void *user, const char *id, uint32_t flags,
			 void **object_out)
{
	int fd;

	if ((flags & HVREPL_OBJECT_READ_ONLY) == 0)
		return HVREPL_E_READ_ONLY;
	fd = openat(dirfd(user), id, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? HVREPL_E_NOT_FOUND :
					 HVREPL_E_STORAGE_IO;
	*object_out = (void *)(intptr_t)(fd + 1);
	return HVREPL_OK;
}

static int fd_of(void *object)
{
	return (int)(intptr_t)object - 1;
}

static void file_close(void *user, void *object)
{
	(void)user;
	close(fd_of(object));
}

static int32_t file_size(void *user, void *object, uint64_t *size_out)
{
	struct stat st;

	(void)user;
	if (fstat(fd_of(object), &st) != 0)
		return HVREPL_E_STORAGE_IO;
	*size_out = (uint64_t)st.st_size;
	return HVREPL_OK;
}

static int32_t file_read(void *user, hvrepl_op *op, void *object,
			 uint64_t offset, void *buffer, size_t length)
{
	(void)user, (void)op;
	return pread(fd_of(object), buffer, length, (off_t)offset) ==
			       (ssize_t)length ?
		       HVREPL_OK :
		       HVREPL_E_STORAGE_IO;
}

static int32_t no_write(void *user, hvrepl_op *op, void *object,
			uint64_t offset, const struct hvrepl_iovec *iov,
			uint32_t iov_count)
{
	(void)user, (void)op, (void)object, (void)offset, (void)iov;
	(void)iov_count;
	return HVREPL_E_READ_ONLY;
}

static int32_t no_flush(void *user, hvrepl_op *op, void *object)
{
	(void)user, (void)op, (void)object;
	return HVREPL_E_READ_ONLY;
}

static int32_t no_resize(void *user, void *object, uint64_t size)
{
	(void)user, (void)object, (void)size;
	return HVREPL_E_READ_ONLY;
}

static int32_t no_remove(void *user, const char *id)
{
	(void)user, (void)id;
	return HVREPL_E_READ_ONLY;
}

static int32_t list(void *user, const char *prefix,
		    int32_t (*found)(void *argument, const char *id,
				     uint64_t size),
		    void *argument)
{
	struct dirent *entry;
	int32_t rc = HVREPL_OK;

	rewinddir(user);
	while (rc >= 0 && (errno = 0, entry = readdir(user)) != NULL)
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			rc = found(argument, entry->d_name, 0);
	return rc < 0 ? rc : errno != 0 ? HVREPL_E_STORAGE_IO : HVREPL_OK;
}

static const struct hvrepl_storage_ops files = {
	.struct_size = sizeof(files),
	.open = file_open,
	.close = file_close,
	.size = file_size,
	.read = file_read,
	.write = no_write,
	.flush = no_flush,
	.resize = no_resize,
	.remove = no_remove,
	.list = list,
};

static void let_go(void *user)
{
	closedir(user);
}

static int run_audit_verify(struct tool_run *run)
{
	struct hvrepl_audit_info info = HVREPL_AUDIT_INFO_INIT;
	struct hvrepl_env env = HVREPL_ENV_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_storage storage = { &files, NULL, let_go };
	DIR *dir = opendir(run->operands[0]);
	bool all = tool_option(run, "show") != NULL && !run->json;
	char digest[65];
	int32_t rc;

	(void)hvrepl_default_env(&env);
	if (dir == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOT_FOUND,
				 "%s cannot be opened: %s", run->operands[0],
				 strerror(errno));
	storage.user = dir;
	rc = hvrepl_audit_verify(&env, &storage, all ? show : NULL, NULL, &info,
				 &error);
	if (rc < 0)
		return tool_fail_error(run, &error);
	hex(info.digest, digest);
	if (run->json)
		return tool_print_json(json_pack("{s:I,s:s}", "records",
						 (json_int_t)info.records,
						 "digest", digest));
	printf("%" PRIu64 " records, none changed, none missing. The last one's digest: %s\n",
	       info.records, digest);
	return TOOL_OK;
}

const struct tool_verb tool_verb_audit_verify = {
	.name = "audit verify",
	.group = TOOL_GROUP_LOGS,
	.operands = "DIR",
	.summary = "Check that a site's audit is whole and unchanged",
	.details = "DIR is 'audit' of the site's configuration, or a copy. Changes nothing; a daemon\n"
		   "may go on writing. The first record that is not good is named by number and\n"
		   "byte, with exit status 5.",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_audit_verify,
};
