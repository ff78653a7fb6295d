/* SPDX-License-Identifier: Apache-2.0 */
/* A site while it runs: its VMs' disks under tracking, cuts, control. */
#ifndef SITE_SITE_H
#define SITE_SITE_H

#include "config.h"
#include "control.h"
#include "guest.h"

#include <hvrepl/backends.h>

struct endpoint;
struct keeper;
struct pump;
struct site;

struct site_vm_state {
	const struct site_vm *config;
	struct hvrepl_uuid id;
	struct site *site;
	struct hvrepl_storage storage; /* VM's directory; one reference ours. */
	hvrepl_group *group;
	struct guest_disk *disks;      /* Beside config->disks. */
	struct hvrepl_uuid *disk_ids;
	struct keeper *keeper;
	_Atomic uint64_t captured; /* Newest point in the capture directory. */
};

/* `vms` are those that are captured; the endpoint has the others. */
struct site {
	const struct site_config *config; /* Borrowed. */
	struct hvrepl_env env;
	hvrepl_pool *pool;
	struct site_vm_state *vms;
	size_t vm_count;
	struct control *control;
	struct endpoint *endpoint; /* NULL: the site only captures. */
	struct pump *pump;
	void (*log)(void *user, uint32_t level, const char *message);
};

/*
 * Start everything `config` (borrowed until site_close) says. On failure the
 * sentence says what to do and nothing is left running.
 */
int32_t site_open(const struct site_config *config,
		  void (*log)(void *user, uint32_t level, const char *message),
		  struct site **out, struct hvrepl_error *error);
/* No guest I/O may run any more. NULL is fine. */
void site_close(struct site *site);

/* NULL when there is none. */
struct site_vm_state *site_find_vm(struct site *site, const char *name);

/*
 * pump.c: one thread that calls hvrepl_group_process() when it is due. Created
 * before the groups, because they wake it; freed after they are gone.
 */
struct pump *pump_create(struct site *site);
int32_t pump_start(struct pump *pump);
void pump_wake(struct pump *pump);
void pump_stop(struct pump *pump); /* Joins; also fine when not started. */
void pump_free(struct pump *pump);

/* capture.c: what one cut of a VM became. */
struct capture_result {
	uint64_t point;
	uint64_t changed_bytes; /* Of all disks, as the cut gave them. */
	uint64_t stored_bytes;  /* Of all segments. */
	char directory[64];     /* Inside the VM's capture directory. */
};
/* Find the newest point there is; makes the directory when it is missing. */
int32_t capture_prepare(struct site_vm_state *vm, struct hvrepl_error *error);
/*
 * Cut the VM and make the cut's segments durable as one new directory; only
 * then are the changes forgotten. On failure they stay tracked. On the VM's
 * keeper thread only.
 */
int32_t capture_cut(struct site_vm_state *vm, struct capture_result *result,
		    struct hvrepl_error *error);

/* keeper.c: one thread a VM for what takes its time: cuts, saves. As pump. */
struct keeper *keeper_create(struct site_vm_state *vm);
int32_t keeper_start(struct keeper *keeper);
/* The group has moved; what waits for it looks again. Any thread. */
void keeper_wake(struct keeper *keeper);
/* Sleep until keeper_wake() or 50 ms; on the keeper's thread. CANCELLED when
 * the site is closing: what is under way is given up. */
int32_t keeper_pause(struct keeper *keeper);
/* The same without the sleep. */
int32_t keeper_check(struct keeper *keeper);
/* Ask for a cut; done() is called once on the keeper's thread. */
typedef void keeper_done(void *argument, int32_t rc,
			 const struct capture_result *result,
			 const struct hvrepl_error *error);
void keeper_ask(struct keeper *keeper, keeper_done *done, void *argument);
/* What is asked for is answered, with CLOSED if need be. */
void keeper_stop(struct keeper *keeper);
void keeper_free(struct keeper *keeper);

/* shared.c: several takers of one storage; the last one releases it. */
int32_t shared_storage(const struct hvrepl_storage *storage,
		       struct hvrepl_storage *shared_out);
/* One more reference to what shared_storage() made. */
struct hvrepl_storage shared_ref(const struct hvrepl_storage *shared);

/* routes.c */
extern const struct control_route site_routes[];

#endif
