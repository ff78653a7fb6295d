/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sites and a wire, for tests of the relationship: a driver that performs
 * updates on disks of a few blocks, and checks after each step what must never
 * happen. Everything is drawn from a seed.
 */
#ifndef WORLD_H
#define WORLD_H

#include "replication/relationship.h"
#include "testing.h"

#define WORLD_BLOCKS 12u
#define WORLD_BLOCK 4096u
#define WORLD_POINTS 24u
#define WORLD_QUEUE 64u
#define WORLD_WIRE 256u

/* A recovery point: content, and what changed since the one before. */
struct world_point {
	struct hvri_point id;
	uint32_t content[WORLD_BLOCKS];
	uint32_t changed; /* Bit n: block n. */
};

/* Something that will happen at a site. */
struct world_pending {
	struct hvri_event event;
	bool point_commit; /* POINT_COMPLETE: the store takes it in first. */
};

struct world_site {
	char name;
	bool up;
	struct hvri_relationship r;
	struct hvri_record durable; /* As persisted. */
	bool has_record;

	/* The disk. Survives a crash. */
	uint32_t live[WORLD_BLOCKS];
	uint32_t dirty; /* Tracker, of the live disk or the overlay. */
	bool overlay;
	struct hvrepl_uuid overlay_name;
	uint32_t over[WORLD_BLOCKS];
	uint32_t base[WORLD_BLOCKS]; /* Before the first point. */
	struct hvri_frontier frontier;
	struct world_point points[WORLD_POINTS];
	uint32_t point_count;
	uint64_t stamp;
	bool stamped;

	/* Does not survive. */
	bool gate; /* Guest writes are admitted. */
	bool cut_open;
	struct hvrepl_uuid cut_id;
	uint32_t cut_content[WORLD_BLOCKS], cut_dirty;
	struct world_pending queue[WORLD_QUEUE];
	uint32_t queue_count;
	uint64_t timers[HVRI_TIMER_COUNT];
	uint64_t last_job;
	int32_t refusal;   /* Of the last operation; OK: accepted. */
	int32_t last_code; /* Of the last job that ended. */
	char last_sentence[HVRI_SENTENCE_MAX + 1];
	uint32_t jobs_ended;
};

struct world_message {
	uint8_t to;
	bool data; /* A whole cut, not a control message. */
	uint32_t length;
	uint8_t *bytes;
	struct hvrepl_uuid cut;
	uint32_t content[WORLD_BLOCKS], dirty;
};

struct world {
	struct test_env env;
	struct world_site site[2];
	struct world_message wire[WORLD_WIRE];
	uint32_t wire_count;
	bool session;
	bool hostile;  /* Messages of a session come twice and in any order. */
	bool only_planned; /* Nobody asked for a failover without the peer. */
	bool conceded;
	uint64_t random;
	uint64_t next_write, next_uuid;
	uint64_t utc_ns;
	uint32_t points_max;
	const char *broken; /* The first thing that must not happen. */
	char trace[16384];
	size_t trace_length;
	bool tracing;
	bool log; /* To stderr. */
	struct {
		struct hvrepl_uuid epoch;
		uint8_t writers;
	} writers[64];
	uint32_t writer_count;
};

void world_init(struct world *w, uint64_t seed);
void world_free(struct world *w);
/* Enabled, initial replication done, replicating. */
void world_replicating(struct world *w);
/* One random thing of those that are due; false: nothing was. */
bool world_any(struct world *w);
/* All that is due, in order, until nothing is, at most `limit` things. */
void world_settle(struct world *w, uint32_t limit);
/* Move the clock and fire timers. */
void world_wait(struct world *w, uint64_t ns);
void world_connect(struct world *w);
void world_cut_link(struct world *w);
void world_crash(struct world *w, uint32_t site);
void world_start(struct world *w, uint32_t site);
/* OK when accepted. */
int32_t world_operate(struct world *w, uint32_t site, uint32_t operation,
		      uint64_t point, const struct hvrepl_uuid *epoch);
/* A guest write, if it is admitted. */
bool world_write(struct world *w, uint32_t site);
uint32_t world_state(struct world *w, uint32_t site);
/* Both sites replicate, and a fresh write reaches a point. */
bool world_is_replicating(struct world *w);
/* What an operator would do next; false: nothing to do. */
bool world_operator(struct world *w);
uint64_t world_random(struct world *w, uint64_t below);
/* What the guest sees at a site. */
const uint32_t *world_content(const struct world_site *site);
/* Both sites in one line. */
void world_trace_state(struct world *w);
void world_trace(struct world *w, const char *format, ...)
	HVRI_PRINTF(2, 3);

/* Between the two files of the world. */
void world_feed(struct world *w, uint32_t site, struct hvri_event *event);
void world_broken(struct world *w, const char *what);
void world_deliver(struct world *w, uint32_t k, bool keep);
void world_wire_remove(struct world *w, uint32_t k);
struct world_point *world_newest(struct world_site *site);
struct hvrepl_uuid world_fresh(struct world *w);
#endif
