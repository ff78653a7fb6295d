/* SPDX-License-Identifier: Apache-2.0 */
/* The nbdkit plugin: a site's disks as exports VM/DISK on one socket. */
#define NBDKIT_API_VERSION 2
#include "exports.h"

#include <errno.h>
#include <nbdkit-plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define EXTENTS 128

static char *config_path;
static bool outlive_parent;
static struct site_config *config;
static struct site *site;

static int plugin_config(const char *key, const char *value)
{
	int on;

	if (strcmp(key, "outlive-parent") == 0) {
		on = nbdkit_parse_bool(value);
		outlive_parent = on == 1;
		return on < 0 ? -1 : 0;
	}
	if (strcmp(key, "config") != 0) {
		nbdkit_error("there is no parameter '%s'; write config=FILE",
			     key);
		return -1;
	}
	free(config_path);
	config_path = nbdkit_realpath(value);
	return config_path == NULL ? -1 : 0;
}

static int plugin_config_complete(void)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	if (config_path == NULL) {
		nbdkit_error("write config=FILE, the site's configuration");
		return -1;
	}
	if (site_config_load(config_path, &config, &error) < 0) {
		nbdkit_error("%s", error.sentence);
		return -1;
	}
	return 0;
}

static void on_log(void *user, uint32_t level, const char *message)
{
	(void)user;
	if (level >= HVREPL_LOG_DEBUG)
		nbdkit_debug("%s", message);
	else
		fprintf(stderr, "hvrepl: %s\n", message);
}

/* Threads and locks are made here: none of them would survive the fork. */
static int plugin_after_fork(void)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	/* nbdkit -f asks to be ended with whoever started it. A site serves on
	 * when the shell that started it has gone. */
	if (outlive_parent)
		prctl(PR_SET_PDEATHSIG, 0);
	if (site_open(config, on_log, &site, &error) < 0) {
		errno = error.sys_errno;
		nbdkit_error("%s", error.sentence);
		return -1;
	}
	fprintf(stderr, "hvrepl: site %s is up\n", config->name);
	return 0;
}

static void plugin_cleanup(void)
{
	export_close_all();
	site_close(site);
	site = NULL;
}

static void plugin_unload(void)
{
	site_config_free(config);
	free(config_path);
}

static int add_export(void *exports, const char *name)
{
	return nbdkit_add_export(exports, name, NULL);
}

static int plugin_list_exports(int readonly, int is_tls,
			       struct nbdkit_exports *exports)
{
	(void)readonly;
	(void)is_tls;
	return export_list(site, add_export, exports);
}

static void *plugin_open(int readonly)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct export *export = NULL;

	(void)readonly;
	if (export_open(site, nbdkit_export_name(), &export, &error) < 0) {
		nbdkit_error("%s", error.sentence);
		nbdkit_set_error(ENOENT);
		return NULL;
	}
	return export;
}

static void plugin_close(void *handle)
{
	export_close(handle);
}

static int64_t plugin_get_size(void *handle)
{
	const struct export *export = handle;

	return (int64_t)export->size;
}

static int plugin_block_size(void *handle, uint32_t *minimum,
			     uint32_t *preferred, uint32_t *maximum)
{
	const struct export *export = handle;

	*minimum = export->block_size;
	*preferred = export->block_size > 4096 ? export->block_size : 4096;
	*maximum = 32u << 20;
	return 0;
}

/* Who owns the VM may change while a client is connected: a disk is offered
 * for writing, and each write is judged for itself. */
static int plugin_can_write(void *handle)
{
	const struct export *export = handle;

	return export->view == NULL;
}

static int always(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int result(int32_t rc)
{
	if (rc == HVREPL_OK)
		return 0;
	nbdkit_set_error(guest_errno(rc));
	nbdkit_debug("%s", hvrepl_strerror(rc));
	return -1;
}

static int plugin_pread(void *handle, void *buffer, uint32_t count,
			uint64_t offset, uint32_t flags)
{
	(void)flags;
	return result(export_read(handle, buffer, count, offset));
}

static int plugin_pwrite(void *handle, const void *buffer, uint32_t count,
			 uint64_t offset, uint32_t flags)
{
	return result(export_write(handle, buffer, count, offset,
				  (flags & NBDKIT_FLAG_FUA) != 0));
}

static int plugin_zero(void *handle, uint32_t count, uint64_t offset,
		       uint32_t flags)
{
	return result(export_zero(handle, count, offset,
				 (flags & NBDKIT_FLAG_FUA) != 0));
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset,
		       uint32_t flags)
{
	return result(export_discard(handle, count, offset,
				    (flags & NBDKIT_FLAG_FUA) != 0));
}

static int plugin_flush(void *handle, uint32_t flags)
{
	(void)flags;
	return result(export_flush(handle));
}

static int add(struct nbdkit_extents *extents, uint64_t from, uint64_t to,
	       bool hole)
{
	return from == to ? 0 :
			    nbdkit_add_extent(extents, from, to - from,
					      hole ? NBDKIT_EXTENT_HOLE |
							     NBDKIT_EXTENT_ZERO :
						     0);
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset,
			  uint32_t flags, struct nbdkit_extents *extents)
{
	struct hvrepl_extent found[EXTENTS];
	uint32_t room = EXTENTS;
	uint64_t at = offset, end = offset;
	int32_t rc = export_allocated(handle, offset, count, found, &room,
				      &end);

	(void)flags;
	/* Where the file system cannot tell, everything may be data. */
	if (rc == HVREPL_E_UNSUPPORTED)
		return add(extents, offset, offset + count, false);
	if (rc < 0)
		return result(rc);
	for (uint32_t i = 0; i < room; i++) {
		if (add(extents, at, found[i].offset, true) != 0)
			return -1;
		at = found[i].offset + found[i].length;
		if (add(extents, found[i].offset, at, false) != 0)
			return -1;
	}
	return at < end ? add(extents, at, end, true) : 0;
}

static struct nbdkit_plugin plugin = {
	.name = "hvrepl",
	.longname = "hvrepl site",
	.version = "0.1.0",
	.description = "Serves the disks of a replication site",
	.config_help = "config=FILE          (required) The site's configuration.\n"
		       "outlive-parent=BOOL  Serve on when the starting process ends.",
	.magic_config_key = "config",
	.unload = plugin_unload,
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.after_fork = plugin_after_fork,
	.cleanup = plugin_cleanup,
	.list_exports = plugin_list_exports,
	.open = plugin_open,
	.close = plugin_close,
	.get_size = plugin_get_size,
	.block_size = plugin_block_size,
	.can_write = plugin_can_write,
	.can_flush = always,
	.can_trim = always,
	.can_zero = always,
	.can_multi_conn = always,
	.can_fua = plugin_can_fua,
	.can_extents = always,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.zero = plugin_zero,
	.trim = plugin_trim,
	.flush = plugin_flush,
	.extents = plugin_extents,
};

/* The macro defines it and nothing declares it. */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
