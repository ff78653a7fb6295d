/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sites in one process: production nodes over fake disks, storage, state
 * and a fake link, under a virtual clock. Everything runs on the test's thread
 * and in the same order every time.
 */
#ifndef PAIR_H
#define PAIR_H

#include "sim.h"
#include "sparsedisk.h"
#include "testing.h"

#include <hvrepl/hvrepl.h>

#define PAIR_DISKS 2u
#define PAIR_KEYS 540u /* One a VM, and the node's. */
#define PAIR_EVENTS 256u

#define PAIR_JOBS 64u

/* A data job that another thread would do. */
struct pair_job {
	void (*run)(void *argument);
	void *argument;
	uint64_t at_ns; /* Not before. */
};

struct pair_blob {
	char key[HVREPL_STATE_KEY_MAX + 1];
	uint8_t *bytes;
	uint32_t length;
	uint64_t version;
};

/* A VM beside the usual one, with disks and a storage of its own at the site. */
#define PAIR_MORE_VMS 530u
struct pair_more {
	struct hvrepl_uuid id; /* None: free. */
	struct sim_disk *disk;
	struct sim_storage *storage;
};

struct pair_site {
	struct pair *pair;
	const char *name;
	struct test_env env;
	struct sim sim;
	struct sim_disk *disks[PAIR_DISKS];
	struct sparse_disk *sparse[PAIR_DISKS]; /* In their place, or NULL. */
	struct sim_storage *storage;
	struct pair_blob blobs[PAIR_KEYS];
	struct pair_blob saved[PAIR_KEYS]; /* Of a backup. */
	uint64_t puts;       /* State writes so far. */
	uint64_t put_fails_at; /* The n-th fails; UINT64_MAX: none. */
	/* Of every put, of every one that removes; OK: they are done. */
	int32_t put_code, removal_code;
	int32_t get_code; /* Of every state read; OK: it is done. */
	bool put_happens; /* Those that fail have happened all the same. */
	struct test_refusals *refusals; /* Of what the host gives; or NULL. */
	hvrepl_node *node;   /* NULL: down. */
	bool brings_vm;      /* The primary's own VM, not a replica. */
	bool connects;
	uint64_t job;        /* Last one that ended, and how. */
	int32_t job_code;
	char job_sentence[HVREPL_SENTENCE_MAX];
	char start_sentence[HVREPL_SENTENCE_MAX]; /* A start without memory. */
	uint64_t points;     /* POINT events. */
	uint64_t events;     /* All of them. */
	bool closed_seen;    /* EVENT_CLOSED of this node. */
	unsigned restarts;   /* Deaths so far. */
	uint64_t utc_offset; /* Wrong by so much; wraps. */
	uint32_t start_without_peer; /* HVREPL_START_*, from the next start on. */
	bool keeps_power;    /* A kill is never one of power. */
	bool dead;           /* Killed: its writes no longer count. */
	uint64_t valid_from, valid_until; /* What it shows; 0: nothing. */
	/* Data jobs are done at once unless they are held, or take time: each
	 * up to so long, as its seed says. */
	bool holds_jobs;
	uint64_t jobs_take_ns, jobs_random;
	struct pair_more *more; /* PAIR_MORE_VMS; NULL: none. */
	/* What is said to deeds of peers that cost data; how many there were. */
	int32_t permit_code;
	unsigned permits;
	char permit_sentence[HVREPL_SENTENCE_MAX];
	/* What its storage roots have, or how looking fails; the last asked. */
	uint64_t root_free, root_total;
	int32_t root_code;
	unsigned root_asked;
	char root[HVREPL_STORAGE_ROOT_MAX + 1];
	struct pair_job jobs[PAIR_JOBS];
	unsigned job_count;
};


struct pair_pipe; /* One connection. */
struct pair_end;

struct pair {
	struct pair_site a, b;
	struct pair_site *c; /* A third, whose peer is b; NULL: none. */
	uint64_t disk_size;
	bool link_up;
	struct pair_pipe *pipes;
	uint64_t now_ns;
	size_t piece; /* Most bytes a receive gets; 0: all. */
	uint64_t moved; /* Bytes that crossed the link. */
	/* A site whose disks crashed is killed and comes back by itself. */
	bool revives, power_loss;
	unsigned revived;
	uint64_t cut_after; /* Break the link when `moved` gets here. */
	uint64_t flip_at;   /* One byte goes wrong on the way then. */
	uint64_t delivered, split_at; /* No receive goes over that byte. */
	uint64_t refuse_at, refused;  /* The connection of that number is. */
	/* Index 0: towards a, 1: towards b. Bytes take so long; or come not at
	 * all, and nobody is told. */
	uint64_t delay_ns[2];
	bool stalled[2];
	uint64_t turns, deliveries; /* Of nodes; of bytes. */
	uint32_t secrets;
	unsigned broken_links; /* Counted by who breaks them. */
	bool may_fail_to_start; /* Then the site is down again. */
	bool tracing; /* PAIR_TRACE in the environment. */
	/* A record put and bytes sent are I/O of their site too, that its sim
	 * counts and can crash at; a site that crashed says nothing more. */
	bool exact;
	/* All that is sent; `from` or `to` NULL: an intruder. Optional. */
	void (*tap)(struct pair *pair, struct pair_site *from,
		    struct pair_site *to, const uint8_t *bytes, size_t length);
	/* One frame on its way to `to`: what is to arrive instead is put with
	 * pair_deliver(), nothing or several times. Optional. */
	void (*tamper)(struct pair *pair, struct pair_site *to,
		       struct pair_end *end, const uint8_t *bytes,
		       size_t length);
	/* All events. Optional. */
	void (*seen)(struct pair_site *site, const struct hvrepl_event *event);
};

extern const struct hvrepl_uuid pair_vm;
extern const struct hvrepl_uuid pair_disk_ids[PAIR_DISKS];

void pair_init(struct pair *pair, uint64_t seed, uint64_t disk_size);
/* With disks of any size that hold what is written, and do not crash. */
void pair_init_sparse(struct pair *pair, uint64_t seed, uint64_t disk_size);
void pair_free(struct pair *pair);
void pair_start(struct pair *pair, struct pair_site *site);
/* Clean end. */
void pair_stop(struct pair *pair, struct pair_site *site);
/* The process dies; with `power_loss` its unflushed writes too. */
void pair_kill(struct pair *pair, struct pair_site *site, bool power_loss);
/* One more, down as yet; b lets it in. */
void pair_add_third(struct pair *pair, const char *name, uint64_t seed);
/* From now on it may have VMs beside the usual one. */
void pair_more_vms(struct pair_site *site);
/* A VM of one disk, the site's own, that it has beside the usual one. */
void pair_add_vm(struct pair_site *site, unsigned number);
/* What that one is asked for; its job's code as it ends. */
int32_t pair_operate_more(struct pair *pair, struct pair_site *site,
			  unsigned number, uint32_t type);
/* Both sites up and connected, and so many more VMs enabled from a to b. */
void pair_enable_more(struct pair *pair, unsigned count);
/* Ask only. */
int32_t pair_ask_more(struct pair_site *site, unsigned number, uint32_t type);
/* Both directions, from now on. */
void pair_link(struct pair *pair, bool up);
/* From tamper(): these bytes come next at that end. */
void pair_deliver(struct pair_end *end, const void *bytes, size_t length);
/* Whose bytes come in at that end; NULL: an intruder's. */
struct pair_site *pair_sender(struct pair_end *end);
struct pair_site *pair_other(struct pair_site *site);
/* What the other site may do here: HVREPL_VERB_*. */
void pair_rights(struct pair_site *site, uint32_t verbs);
void pair_link_break(struct pair *pair); /* Connections only. */
/* A connection from elsewhere that says `bytes` and listens to nothing. */
void pair_intrude(struct pair *pair, struct pair_site *to, const char *peer,
		  bool no_secret, const void *bytes, size_t length);
/* Somebody in the middle: a channel to each of the two, who take each other for
 * the peer, and what one says goes on to the other, `most` bytes each way. `from`
 * connects, and with `both_call` `to` does as well; the same twice: its own words
 * come back. */
void pair_relay(struct pair *pair, struct pair_site *from, struct pair_site *to,
		bool both_call, size_t most);
/* Jobs that are held are done, and those that they begin, before the node's
 * thread gets a turn. */
void pair_do_jobs(struct pair_site *site);
/* For pair.c, and what is split off it. */
void pair_site_init(struct pair *pair, struct pair_site *site, const char *name,
		    uint64_t seed);
struct pair_more *pair_find_more(struct pair_site *site,
				 const struct hvrepl_uuid *vm);
int32_t pair_operate_vm(struct pair *pair, struct pair_site *site,
			const struct hvrepl_uuid *vm, uint32_t type,
			uint64_t point);
int32_t pair_ask_vm(struct pair_site *site, const struct hvrepl_uuid *vm,
		    uint32_t type, uint64_t point,
		    const struct hvrepl_uuid *epoch);
int32_t pair_execute(void *user, void (*job)(void *argument), void *argument);
bool pair_jobs_turn(struct pair_site *site);
uint64_t pair_jobs_next(const struct pair_site *site);
int32_t pair_connect(void *user);
bool pair_link_turn(struct pair *pair);
uint64_t pair_link_next(const struct pair *pair);
/* All that a site keeps: disks, storage, state. Bring back while it is down. */
void pair_backup(struct pair_site *site);
void pair_restore(struct pair_site *site);
/* The records alone: its disks and storages stay as they are. */
void pair_restore_records(struct pair_site *site);
/* Run until nothing is due before `ns` from now have passed. */
void pair_run(struct pair *pair, uint64_t ns);
/* Run until done() or `ns` have passed; whether it is done. */
bool pair_until(struct pair *pair, uint64_t ns,
		bool (*done)(struct pair *pair));
/* Ask; the code of the refusal, or run until the job ended: its code. */
int32_t pair_operate(struct pair *pair, struct pair_site *site, uint32_t type,
		     uint64_t point);
/* Ask only. */
int32_t pair_ask(struct pair_site *site, uint32_t type, uint64_t point,
		 const struct hvrepl_uuid *epoch);
void pair_status(struct pair_site *site, struct hvrepl_vm_status *status);
/* What a guest uses; closed with the site. */
hvrepl_guest_disk *pair_door(struct pair_site *site, unsigned disk);
/* Guest I/O; the result. */
int32_t pair_write(struct pair_site *site, unsigned disk, uint64_t offset,
		   const void *bytes, size_t length);
int32_t pair_read(struct pair_site *site, unsigned disk, uint64_t offset,
		  void *bytes, size_t length);
int32_t pair_flush(struct pair_site *site, unsigned disk);
/* All of a disk as of a recovery point held at the site. */
void pair_read_point(struct pair_site *site, uint64_t point, unsigned disk,
		     void *bytes);
uint64_t pair_newest_point(struct pair_site *site);
#endif
