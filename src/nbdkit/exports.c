/* SPDX-License-Identifier: Apache-2.0 */
/* Finds and opens exports, and passes their I/O to what is behind them. */
#include "exports.h"

#include "endpoint.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * nbdkit does not close what a client has open when it is told to end. A view
 * that stays open keeps its store from closing, so the plugin closes the rest.
 */
static struct {
	pthread_mutex_t lock;
	struct export *first;
} opened = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void enlist(struct export *export)
{
	pthread_mutex_lock(&opened.lock);
	export->next = opened.first;
	export->link = &opened.first;
	if (export->next != NULL)
		export->next->link = &export->next;
	opened.first = export;
	pthread_mutex_unlock(&opened.lock);
}

static void strike_off(struct export *export)
{
	pthread_mutex_lock(&opened.lock);
	if (export->link != NULL)
		*export->link = export->next;
	if (export->link != NULL && export->next != NULL)
		export->next->link = export->link;
	export->link = NULL;
	pthread_mutex_unlock(&opened.lock);
}

/* VM/DISK or VM/DISK@POINT, taken apart. */
struct name {
	char vm[SITE_NAME_MAX + 1];
	char disk[SITE_NAME_MAX + 1];
	uint64_t point; /* 0: the disk itself. */
};

static bool parse(const char *text, struct name *name)
{
	const char *slash = strchr(text, '/');
	const char *at;
	size_t disk;
	char *end;

	memset(name, 0, sizeof(*name));
	if (slash == NULL || slash - text > SITE_NAME_MAX)
		return false;
	memcpy(name->vm, text, (size_t)(slash - text));
	at = strchr(slash, '@');
	disk = at == NULL ? strlen(slash + 1) : (size_t)(at - slash) - 1;
	if (disk == 0 || disk > SITE_NAME_MAX)
		return false;
	memcpy(name->disk, slash + 1, disk);
	if (at == NULL)
		return true;
	if (at[1] < '1' || at[1] > '9')
		return false;
	name->point = strtoull(at + 1, &end, 10);
	return *end == 0;
}

static struct guest_disk *find_tracked(struct site *site,
				       const struct name *name)
{
	struct site_vm_state *vm = site_find_vm(site, name->vm);

	for (size_t i = 0; vm != NULL && i < vm->config->disk_count; i++)
		if (strcmp(vm->config->disks[i].name, name->disk) == 0)
			return &vm->disks[i];
	return NULL;
}

struct opening {
	const struct name *name;
	struct export *export;
	int32_t rc;
	struct hvrepl_error *error;
};

static int32_t open_point(struct endpoint *endpoint, struct opening *opening,
			  const struct hvrepl_uuid *vm, uint32_t index)
{
	struct export *export = opening->export;
	struct hvrepl_disk_info info = { .struct_size = sizeof(info) };
	int32_t rc = hvrepl_vm_open_view(endpoint->node, vm,
					 opening->name->point, &export->view,
					 opening->error);

	if (rc < 0)
		return rc;
	rc = hvrepl_view_disk(export->view, index, &export->disk);
	if (rc == HVREPL_OK)
		rc = export->disk.ops->info(export->disk.user, &info);
	export->size = info.size;
	export->block_size = info.block_size;
	return rc;
}

static int32_t open_guest(struct endpoint *endpoint, struct opening *opening,
			  const struct hvrepl_uuid *vm,
			  const struct hvrepl_uuid *disk)
{
	struct hvrepl_guest_info info = HVREPL_GUEST_INFO_INIT;
	struct export *export = opening->export;
	int32_t rc = hvrepl_vm_open_disk(endpoint->node, vm, disk,
					 &export->guest);

	if (rc == HVREPL_OK)
		rc = hvrepl_guest_get_info(export->guest, &info);
	export->size = info.size;
	export->block_size = info.block_size;
	return rc;
}

/* Control thread. */
static void open_replicated(struct endpoint *endpoint, void *argument)
{
	struct opening *opening = argument;
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	struct hvrepl_disk_spec spec;

	opening->rc = endpoint_find_vm(endpoint, opening->name->vm, &vm);
	for (uint32_t i = 0; opening->rc == HVREPL_OK; i++) {
		opening->rc = hvrepl_vm_get_disk(endpoint->node, &vm.id, i,
						 &spec);
		if (opening->rc < 0 ||
		    strcmp(spec.name, opening->name->disk) != 0)
			continue;
		opening->rc = opening->name->point != 0 ?
				      open_point(endpoint, opening, &vm.id, i) :
				      open_guest(endpoint, opening, &vm.id,
						 &spec.id);
		return;
	}
}

int32_t export_open(struct site *site, const char *text, struct export **out,
		    struct hvrepl_error *error)
{
	struct export *export = calloc(1, sizeof(*export));
	struct opening opening = { .rc = HVREPL_E_NOT_FOUND };
	struct name name;
	int32_t rc = HVREPL_E_NOT_FOUND;

	if (export == NULL)
		return site_fail(error, HVREPL_E_NOMEM, 0,
				 "Not enough memory.");
	if (parse(text, &name)) {
		if (name.point == 0)
			export->tracked = find_tracked(site, &name);
		if (export->tracked != NULL) {
			export->size = export->tracked->info.size;
			export->block_size = export->tracked->info.block_size;
			rc = HVREPL_OK;
		} else if (site->endpoint != NULL) {
			opening.name = &name;
			opening.export = export;
			opening.error = error;
			rc = endpoint_call(site->endpoint, open_replicated,
					   &opening);
			if (rc == HVREPL_OK)
				rc = opening.rc;
		}
	}
	if (rc < 0) {
		if (error->code == HVREPL_OK)
			site_fail(error, rc, 0,
				  "There is no export '%.128s'; exports are called VM/DISK or VM/DISK@POINT.",
				  text);
		export_close(export);
		return rc;
	}
	enlist(export);
	*out = export;
	return HVREPL_OK;
}

void export_close(struct export *export)
{
	strike_off(export);
	if (export->disk.release != NULL)
		export->disk.release(export->disk.user);
	hvrepl_view_close(export->view);
	free(export);
}

void export_close_all(void)
{
	while (opened.first != NULL)
		export_close(opened.first);
}

struct listing {
	int (*each)(void *argument, const char *name);
	void *argument;
	int result;
};

static void list_one(struct listing *listing, const char *vm,
		     const char *disk, uint64_t point)
{
	char name[2 * SITE_NAME_MAX + 32];

	if (listing->result != 0)
		return;
	if (point == 0)
		snprintf(name, sizeof(name), "%s/%s", vm, disk);
	else
		snprintf(name, sizeof(name), "%s/%s@%llu", vm, disk,
			 (unsigned long long)point);
	listing->result = listing->each(listing->argument, name);
}

/* Control thread. */
static void list_replicated(struct endpoint *endpoint, void *argument)
{
	struct listing *listing = argument;
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	struct hvrepl_point point = HVREPL_POINT_INIT;
	struct hvrepl_disk_spec spec;

	for (uint32_t v = 0; hvrepl_node_get_vm(endpoint->node, v, &vm) ==
			     HVREPL_OK; v++) {
		for (uint32_t d = 0; hvrepl_vm_get_disk(endpoint->node, &vm.id,
							d, &spec) == HVREPL_OK;
		     d++) {
			list_one(listing, vm.name, spec.name, 0);
			for (uint32_t p = 0;
			     hvrepl_vm_get_point(endpoint->node, &vm.id, p,
						 &point) == HVREPL_OK; p++)
				list_one(listing, vm.name, spec.name,
					 point.number);
		}
	}
}

int export_list(struct site *site,
		int (*each)(void *argument, const char *name), void *argument)
{
	struct listing listing = { each, argument, 0 };

	for (size_t v = 0; v < site->vm_count; v++) {
		const struct site_vm *vm = site->vms[v].config;

		for (size_t d = 0; d < vm->disk_count; d++)
			list_one(&listing, vm->name, vm->disks[d].name, 0);
	}
	if (site->endpoint != NULL)
		endpoint_call(site->endpoint, list_replicated, &listing);
	return listing.result;
}

/* Behind the other two the same check is made. */
static int32_t check_view(const struct export *export, uint64_t length,
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
	int32_t rc;

	if (export->tracked != NULL)
		return guest_read(export->tracked, buffer, length, offset);
	if (export->guest != NULL)
		return hvrepl_guest_read(export->guest, offset, buffer,
					 (size_t)length);
	rc = check_view(export, length, offset);
	if (rc < 0 || length == 0)
		return rc;
	return export->disk.ops->readv(export->disk.user, NULL, offset, &iov,
				       1);
}

static int32_t then_flush(struct export *export, int32_t rc, bool durable)
{
	return rc == HVREPL_OK && durable ? hvrepl_guest_flush(export->guest) :
					    rc;
}

int32_t export_write(struct export *export, const void *buffer,
		     uint64_t length, uint64_t offset, bool durable)
{
	if (export->tracked != NULL)
		return guest_write(export->tracked, buffer, length, offset,
				   durable);
	if (export->guest == NULL)
		return HVREPL_E_READ_ONLY;
	return then_flush(export,
			  hvrepl_guest_write(export->guest, offset, buffer,
					     (size_t)length), durable);
}

int32_t export_zero(struct export *export, uint64_t length, uint64_t offset,
		    bool durable)
{
	if (export->tracked != NULL)
		return guest_zero(export->tracked, length, offset, durable);
	if (export->guest == NULL)
		return HVREPL_E_READ_ONLY;
	return then_flush(export,
			  hvrepl_guest_zero(export->guest, offset, length),
			  durable);
}

int32_t export_discard(struct export *export, uint64_t length,
		       uint64_t offset, bool durable)
{
	if (export->tracked != NULL)
		return guest_discard(export->tracked, length, offset, durable);
	if (export->guest == NULL)
		return HVREPL_E_READ_ONLY;
	return then_flush(export,
			  hvrepl_guest_discard(export->guest, offset, length),
			  durable);
}

int32_t export_flush(struct export *export)
{
	if (export->tracked != NULL)
		return guest_flush(export->tracked);
	return export->guest != NULL ? hvrepl_guest_flush(export->guest) :
				       HVREPL_OK;
}

int32_t export_allocated(struct export *export, uint64_t offset,
			 uint64_t length, struct hvrepl_extent *extents_out,
			 uint32_t *count_inout, uint64_t *end_out)
{
	const struct hvrepl_disk *disk =
		export->tracked != NULL ? &export->tracked->disk :
		export->view != NULL	? &export->disk : NULL;

	if (export->guest != NULL)
		return hvrepl_guest_allocated(export->guest, offset, length,
					      extents_out, count_inout,
					      end_out);
	if (disk == NULL || disk->ops->allocated == NULL)
		return HVREPL_E_UNSUPPORTED;
	return disk->ops->allocated(disk->user, offset, length, extents_out,
				    count_inout, end_out);
}
