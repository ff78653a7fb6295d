/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sites, a wire and an operator as one value that can be copied, encoded
 * and compared: the state of the search. The sites are the library's own
 * relationships (hvri_relationship_step); what is modelled is the driver's
 * contract in relationship.h: disks, store, tracker, session, crash.
 *
 * A disk has one block for each guest write there may be, and a block is
 * written once: content is a set of writes, one bit each.
 */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "replication/relationship.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_WRITES 4u /* At most; model_bounds.writes of them are used. */
#define MODEL_PROBE (1u << 7) /* A block for asking whether it replicates. */
#define MODEL_ALL 0xffu
#define MODEL_BLOCK 4096u
#define MODEL_BLOCKS 8u
#define MODEL_POINTS 4u
#define MODEL_QUEUE 10u
#define MODEL_WIRE 16u
#define MODEL_NOW UINT64_C(1000) /* The clock stands; timers fire at any time. */
#define MODEL_UTC UINT64_C(1700000000000000000)

/* What the search is limited to; printed with every result. */
struct model_bounds {
	uint8_t operations, crashes, writes, restores;
	uint8_t points;   /* Kept in a store, at most MODEL_POINTS. */
	uint8_t channel;  /* Messages under way to one site. */
	uint8_t traffic;  /* Timers fire, guests write and operators act while
			   * at most so many are under way, in all. */
	uint8_t links;    /* Times the link is cut; 255: any number. */
	bool greeting;    /* A session begins with both sites greeted. */
	bool order;       /* What goes to the first site arrives first. */
	uint8_t late;     /* So many messages may be overtaken or come twice,
			   * within their session. */
	bool refuse;      /* start_without_peer = refuse. */
	uint32_t allowed; /* Operations, bit n: HVREPL_OPERATION_n. */
	uint32_t later;   /* Actions that end later, bit n: HVRI_ACTION_n. */
};

struct model_point {
	struct hvri_point id;
	uint8_t content, changed;
};

/* Something that will happen at a site: the end of an action. */
struct model_due {
	uint8_t type;   /* HVRI_EVENT_DONE, POINT_COMPLETE, RECEIVE_FAILED. */
	uint8_t action; /* DONE: of this action. */
	uint64_t token;
	int32_t code;
	struct hvrepl_uuid cut;
	uint64_t bytes, count;
	uint8_t digest[16];
};

struct model_site {
	struct hvri_relationship r;
	struct hvri_record durable;
	struct hvri_record backup; /* An older `durable`, when has_backup. */
	bool has_backup;

	/* Disk, tracker, store: survive a crash. */
	uint8_t live, dirty, over, base;
	bool overlay;
	struct hvrepl_uuid overlay_name; /* Kept when folded, until a store receives. */
	uint32_t point_count;
	struct model_point points[MODEL_POINTS];
	uint64_t stamp;
	uint8_t tail; /* The disk when it was kept as a tail. */

	/* Do not. */
	bool gate; /* Guest writes are admitted. */
	bool cut_open;
	struct hvrepl_uuid cut_id;
	uint8_t cut_content, cut_dirty;
	uint32_t due_count;
	struct model_due due[MODEL_QUEUE];
	uint8_t timers; /* Bit n: timer n is set. */
};

struct model_message {
	struct hvri_message m; /* Pointers are NULL in a stored state. */
	bool data;             /* A cut's chunks instead. */
	struct hvrepl_uuid cut;
	uint8_t content, dirty;
	struct hvri_claim claim; /* When has_claim. */
	bool has_claim;
	uint8_t extents[16 * MODEL_BLOCKS];
};

struct model_write {
	struct hvrepl_uuid epoch; /* In which it was done. */
	uint8_t site;
};

struct model_world {
	struct model_site site[2];
	uint32_t wire_count[2]; /* To site n. */
	struct model_message wire[2][MODEL_WIRE];
	uint32_t has_late[2]; /* One more to site n that is out of order. */
	struct model_message late[2];
	bool session;
	uint8_t write_count;
	struct model_write writes[MODEL_WRITES];
	/* Used up of the bounds. */
	uint8_t operations, crashes, restores, lates, links;
	/* What was asked for so far, as far as promises depend on it. */
	bool unplanned; /* A failover without the peer, or force. */
	bool conceded, restored;
	uint64_t next_id, next_job, next_incarnation;
};

/* One transition; in a trace and when replayed it means the same. */
enum model_kind {
	MODEL_NOTHING,
	MODEL_CRASH,
	MODEL_WRITE,
	MODEL_TIMER,   /* argument: which */
	MODEL_DUE,     /* argument: which */
	MODEL_DELIVER, /* argument: enum model_delivery */
	MODEL_OPERATE, /* operation; argument: which point or epoch */
	MODEL_CONNECT,
	MODEL_CUT_LINK,
	MODEL_BACKUP,
	MODEL_RESTORE,
};
enum model_delivery {
	MODEL_FIRST,      /* The first one on the wire arrives. */
	MODEL_FIRST_COPY, /* ...and will once more, some time. */
	MODEL_OVERTAKEN,  /* It will, some time. */
	MODEL_LATE,       /* That one arrives. */
};
struct model_step {
	uint8_t kind, site, operation, argument;
	/* Not 0: the site that acts crashes at this boundary, counted over
	 * everything that becomes durable in the step. */
	uint8_t crash_at;
};

extern const struct model_bounds *model_bounds;
/* The first thing that must not be so, since it was set to NULL. */
extern const char *model_broken;
/* A bound kept the search from looking further. */
extern uint64_t model_bound_hits;
extern bool model_tracing;

/* Replicating, nothing under way. */
void model_init(struct model_world *w);
/* All steps that may be next, at most `size`; crash_at is 0 in all of them. */
uint32_t model_steps(const struct model_world *w, struct model_step *out,
		     uint32_t size);
/* False: it could not be taken (refused). *boundaries_out: how many places to
 * crash it has. */
bool model_take(struct model_world *w, const struct model_step *step,
		uint32_t *boundaries_out);
/* Looks at all that must hold in every state. */
void model_check(const struct model_world *w);
/* Nothing is under way. */
bool model_quiet(const struct model_world *w);
/* Everything that is due, in order; true: it ended. */
bool model_settle(struct model_world *w);
/* Connect, settle, and let every timer fire some times. */
void model_settle_all(struct model_world *w);
/* Both sites replicate and a fresh write reaches a point. Changes w. */
bool model_protected(struct model_world *w);
/* From now on every step is noted with the state before it, until it is called
 * with NULL; returns how many were. The caller frees their bytes. */
struct model_recorded {
	struct model_step step;
	uint8_t *bytes;
	size_t length;
	uint32_t boundaries;
};
uint32_t model_record(struct model_recorded *out, uint32_t size);
extern uint32_t model_last_crash; /* Site. */
const char *model_step_text(const struct model_step *step);
void model_show(const struct model_world *w);

/* world.c and drive.c. */
void model_feed(struct model_world *w, uint32_t site, struct hvri_event *event);
void model_break(const char *what);
struct hvrepl_uuid model_id(uint64_t n);
struct model_point *model_newest(struct model_site *site);
void model_connect(struct model_world *w);
void model_cut_link(struct model_world *w);
void model_crash(struct model_world *w, uint32_t site);
void model_start(struct model_world *w, uint32_t site);
bool model_halted(void);

/* canon.c, hellos.c: equal states become equal bytes. */
void model_canonical(struct model_world *w);
/* Of HELLOs that `from` sends. */
void model_hello_numbers(struct model_world *w, uint32_t from);
#define MODEL_ENCODED_MAX 65536u
size_t model_encode(const struct model_world *w, uint8_t *out);
void model_decode(const uint8_t *bytes, size_t length, struct model_world *w);
void model_copy(struct model_world *to, const struct model_world *from);
#endif
