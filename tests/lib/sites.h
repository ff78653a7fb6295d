/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sites and a wire, for tests of the relationship: a driver that performs
 * updates on disks of a few blocks, and checks after each step what must never
 * happen. Everything is drawn from a seed.
 */
#ifndef SITES_H
#define SITES_H

#include "replication/relationship.h"
#include "testing.h"

#define SITES_BLOCKS 12u
#define SITES_BLOCK 4096u
#define SITES_ALL ((1u << SITES_BLOCKS) - 1) /* A bit for each block. */
#define SITES_POINTS 24u
#define SITES_QUEUE 64u
#define SITES_WIRE 256u

/* A recovery point: content, and what changed since the one before. */
struct sites_point {
	struct hvri_point id;
	uint32_t content[SITES_BLOCKS];
	uint32_t changed; /* Bit n: block n. */
};

/* Something that will happen at a site. */
struct sites_pending {
	struct hvri_event event;
	bool point_commit; /* POINT_COMPLETE: the store takes it in first. */
};

struct one_site {
	char name;
	bool up;
	struct hvri_relationship r;
	struct hvri_record durable; /* As persisted. */
	struct hvri_record backup;  /* An older one, to be restored. */
	bool has_backup;
	uint32_t tail[SITES_BLOCKS]; /* The disk when it was adopted. */
	struct hvrepl_uuid tail_id;
	bool has_record;

	/* The disk. Survives a crash. */
	uint32_t live[SITES_BLOCKS];
	uint32_t dirty; /* Tracker, of the live disk or the overlay. */
	bool untracked; /* It has no file: none is of a store that receives. */
	bool overlay;
	struct hvrepl_uuid overlay_name; /* Kept when folded, as a store does. */
	bool folded; /* The store is base only: no points, no overlay. */
	uint32_t over[SITES_BLOCKS];
	uint32_t base[SITES_BLOCKS]; /* Before the first point. */
	struct hvri_frontier frontier;
	struct sites_point points[SITES_POINTS];
	uint32_t point_count;
	uint64_t stamp;
	bool stamped;
	bool changed; /* Its disks are found changed outside at the next start. */

	/* Does not survive. */
	bool gate; /* Guest writes are admitted. */
	bool cut_open;
	struct hvrepl_uuid cut_id;
	uint32_t cut_content[SITES_BLOCKS], cut_dirty;
	struct sites_pending queue[SITES_QUEUE];
	uint32_t queue_count;
	uint64_t timers[HVRI_TIMER_COUNT];
	uint64_t last_job;
	int32_t refusal;   /* Of the last operation; OK: accepted. */
	int32_t last_code; /* Of the last job that ended. */
	char last_sentence[HVRI_SENTENCE_MAX + 1];
	uint32_t jobs_ended;
	uint32_t told_health; /* By its last notice since it was set up. */
};

struct sites_message {
	uint8_t to;
	bool data; /* A whole cut, not a control message. */
	uint32_t length;
	uint8_t *bytes;
	struct hvrepl_uuid cut;
	uint32_t content[SITES_BLOCKS], dirty;
};

struct sites {
	struct test_env env;
	struct one_site site[2];
	struct sites_message wire[SITES_WIRE];
	uint32_t wire_count;
	bool session;
	bool hostile;  /* Messages of a session come twice and in any order. */
	bool only_planned; /* Nobody asked for a failover without the peer. */
	bool conceded;
	bool restored; /* A record was: some promises end there. */
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

void sites_init(struct sites *w, uint64_t seed);
void sites_free(struct sites *w);
/* Enabled, initial replication done, replicating. */
void sites_replicating(struct sites *w);
/* One random thing of those that are due; false: nothing was. */
bool sites_any(struct sites *w);
/* All that is due, in order, until nothing is, at most `limit` things. */
void sites_settle(struct sites *w, uint32_t limit);
/* Move the clock and fire timers. */
void sites_wait(struct sites *w, uint64_t ns);
void sites_connect(struct sites *w);
void sites_cut_link(struct sites *w);
void sites_crash(struct sites *w, uint32_t site);
/* Take a copy of the record; crash and come back with that copy. */
void sites_backup(struct sites *w, uint32_t site);
void sites_restore(struct sites *w, uint32_t site);
/* ...and with its disks and its store, as all of it was then. */
void sites_bring_back(struct sites *w, uint32_t site,
		      const struct one_site *then);
void sites_start(struct sites *w, uint32_t site);
/* OK when accepted. */
int32_t sites_operate(struct sites *w, uint32_t site, uint32_t operation,
		      uint64_t point, const struct hvrepl_uuid *epoch);
/* A message to a site, as its peer would send it. */
struct hvri_message sites_message_to(const struct sites *w, uint32_t site,
				     uint32_t type);
/* That it hears this, from a peer with these rights, and nothing else: what it
 * decides is in *update_out, and is not done. */
void sites_step(struct sites *w, uint32_t site, const struct hvri_message *m,
		uint32_t verbs, struct hvri_update *update_out);
/* A guest write, if it is admitted. */
bool sites_write(struct sites *w, uint32_t site);
uint32_t sites_state(struct sites *w, uint32_t site);
/* Both sites replicate, and a fresh write reaches a point. */
bool sites_is_replicating(struct sites *w);
/* What an operator would do next; false: nothing to do. */
bool sites_operator(struct sites *w);
uint64_t sites_random(struct sites *w, uint64_t below);
/* What the guest sees at a site. */
const uint32_t *sites_content(const struct one_site *site);
/* Both sites in one line. */
void sites_trace_state(struct sites *w);
void sites_trace(struct sites *w, const char *format, ...)
	HVRI_PRINTF(2, 3);

/* Between the files of the world. */
void sites_feed(struct sites *w, uint32_t site, struct hvri_event *event);
void sites_broken(struct sites *w, const char *what);
void sites_deliver(struct sites *w, uint32_t k, bool keep);
void sites_wire_remove(struct sites *w, uint32_t k);
void sites_check(struct sites *w);
void sites_check_health(struct sites *w, const struct one_site *site);
struct sites_point *sites_find(struct one_site *site, const struct hvri_point *id);
struct sites_point *sites_newest(struct one_site *site);
struct hvrepl_uuid sites_fresh(struct sites *w);
#endif
