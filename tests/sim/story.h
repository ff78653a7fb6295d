/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's inside: one story a seed, told by two production nodes in
 * one thread under a virtual clock, and an oracle that knows what every point
 * and every owner must hold. See docs/testing.md.
 */
#ifndef STORY_H
#define STORY_H

#include "pair.h"

#include <stdio.h>
#include <string.h>

#define SECTOR 512u
/* The last block of 4 KiB, and the last granule of 64 KiB, are cut short. */
#define DISK_SIZE (127u * SECTOR)
#define SECTORS (DISK_SIZE / SECTOR)
#define SECOND 1000000000ull
#define MS 1000000ull
#define IMAGES_MAX 1024u
#define EPOCHS_MAX 128u
#define NO_POINTS 64u

/* ---- Kinds of stories, and what may go wrong in them. ---- */

enum profile {
	PROFILE_DISK,      /* The link is good; disks and processes are not. */
	PROFILE_OPERATOR,  /* Anything is asked at any time. */
	PROFILE_ADVERSARY, /* Strangers, replays, bytes that change. */
	PROFILE_ALL,
	PROFILE_TRACKER,   /* One tracker group: writers in every order. */
	PROFILE_STORE,     /* One store beside a naive model. */
	PROFILE_THREADS,   /* Trackers; others come in the middle of a write. */
	PROFILE_LATE,      /* All, with data jobs that other threads do late. */
	PROFILE_LIFE,      /* One store: policy, pins, damage, and a guest that
			    * stays through a commit and after it. */
	PROFILE_RELAY,     /* As adversaries; one stands between the sites. */
	PROFILE_BACKUP,    /* All, longer; sites are brought back from backups. */
	PROFILE_OUTSIDE,   /* Somebody else writes to disks of sites that are down. */
	PROFILE_COUNT,
};

enum fault {
	FAULT_LINK,     /* Down and up, cut mid-frame, bytes in pieces. */
	FAULT_SLOW,     /* Bytes take their time. */
	FAULT_STALL,    /* One way is dead and nobody says so. */
	FAULT_KILL,     /* Process or power, between two steps. */
	FAULT_CRASH,    /* The same, at an I/O. */
	FAULT_IO,       /* EIO or ENOSPC, once or from then on. */
	FAULT_FLUSH,    /* Flushes that fail, in three ways. */
	FAULT_PUT,      /* The state store fails. */
	FAULT_MEMORY,   /* An allocation fails, or all. */
	FAULT_FULL,     /* The storage is full for a while. */
	FAULT_ROT,      /* A bit of an object flips. */
	FAULT_STRAY,    /* A write of an object is lost or lands elsewhere. */
	FAULT_RESTORE,  /* A site comes back as a backup had it. */
	FAULT_CLOCK,    /* The wall clock jumps. */
	FAULT_FLIP,     /* A byte changes on the link. */
	FAULT_STRANGER, /* Unknown peers, garbage, replays. */
	FAULT_RIGHTS,   /* Authorisation is taken and given back. */
	FAULT_COUNT,
};
extern const char *const fault_names[FAULT_COUNT];
extern const char *const profile_names[PROFILE_COUNT];

/* ---- Guarantees: each is a check that a run exercises. ---- */

#define GUARANTEES 45u /* 1 to 44, numbered as docs/testing.md does. */
extern const char *const guarantees[GUARANTEES]; /* NULL: not shown here. */

/* What a worker tells its parent; in shared memory. */
struct tally {
	uint64_t seed, stories, events, virtual_ns;
	uint64_t hash;          /* Of the last story. */
	uint64_t hash_sum;      /* Of all of them. */
	uint64_t proved[GUARANTEES];
	uint64_t faults[FAULT_COUNT];
	uint64_t degraded;      /* Ended damaged and said so. */
	uint64_t restarts;      /* Stories that needed one to be well again. */
	uint64_t replayed, unsteady; /* Told twice; with another hash. */
	uint64_t limit;         /* Steps and faults after this one are left out. */
	uint64_t step;
	uint32_t broken;        /* Guarantee; 0: none. */
	bool done;
	char message[400];
};
extern struct tally *tally;

/* A guarantee was looked at and held. */
#define PROVE(n) ((void)tally->proved[n]++)
/* It did not hold: the story ends here, and with it the process. */
void violated(unsigned guarantee, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
#define HOLDS(n, condition, ...)                    \
	do {                                        \
		if (!(condition))                   \
			violated(n, __VA_ARGS__);   \
		PROVE(n);                           \
	} while (0)

extern bool tracing;
#define SAY(...)                                                        \
	do {                                                            \
		if (tracing) {                                          \
			printf("[%9.3f] ", (double)pair.now_ns / 1e9);  \
			printf(__VA_ARGS__);                            \
			printf("\n");                                   \
		}                                                       \
	} while (0)

/* ---- What disks hold: one hash a sector. ---- */

struct content {
	uint64_t sector[PAIR_DISKS][SECTORS];
	bool unsure[PAIR_DISKS][SECTORS]; /* A crash or error left it open. */
};

/* What the owner's disks held at the instant of a cut. */
struct image {
	struct image *older; /* Of the same bucket. */
	struct hvrepl_uuid epoch;
	uint64_t number;
	struct content content;
};

/* What a guest left behind at the site in an epoch. */
struct ending {
	struct hvrepl_uuid epoch;
	struct content content;
};

/* Writes without memory that a cut may have come before; more are not told. */
#define INSTANTS_MAX 16

/* A guest and what it must find; one at each site. */
struct guest {
	struct content shadow; /* What it sees, since `epoch`. */
	/* What it saw before each write that it made while the site had no memory at
	 * all: a cut is made then, and named when there is some again. */
	struct content instant[INSTANTS_MAX];
	unsigned instant_count;
	uint64_t instants_ns; /* When the newest write was. */
	bool unflushed[PAIR_DISKS][SECTORS];
	bool has_shadow, on_base;
	unsigned reverts[PAIR_DISKS]; /* Of the disks, seen. */
	unsigned overlay_reverts;     /* ...and of its overlays. */
	bool owed[PAIR_DISKS]; /* Its next flush has to fail. */
	struct hvrepl_uuid epoch; /* In which it could write last. */
	uint64_t last_cut;
	struct ending *endings[EPOCHS_MAX];
	unsigned ending_count;
};

struct teller {
	struct pair_site *site;
	struct guest guest, saved; /* `saved`: when the backup was made. */
	bool has_backup, restored, returning;
	/* Where its record was then, whether its guest had written there or not. */
	struct hvrepl_uuid saved_epoch;
	uint64_t saved_cut;
	bool brought_back; /* Once in this story. */
	bool unmet; /* It was, and has not met the other site since. */
	bool of_backup; /* It was, and its guest has not written since. */
	/* What its guest had left when the VM was handed over at that cut of the
	 * epoch, though a backup has taken it since. */
	bool has_handed;
	struct content handed;
	struct hvrepl_uuid handed_epoch;
	uint64_t handed_cut;
	bool hurt;       /* Its medium lost or changed bytes silently. */
	bool power;      /* The last crash was one of power. */
	uint32_t asked;  /* The last operation accepted here. */
	uint64_t asked_point;
	unsigned revived; /* Of pair.revived, seen. */
	uint64_t restart_at;
	struct hvrepl_uuid seen_epochs[NO_POINTS];
	uint64_t seen_numbers[NO_POINTS];
	unsigned seen_count;
	struct hvrepl_uuid newest_epoch; /* Point numbers only grow in one. */
	uint64_t newest;
	uint64_t both_since; /* Both write and hear each other. */
	uint64_t puts, clear_at;
	bool tame; /* Nothing but handovers so far, and no backup. */
	unsigned heard_life; /* In which it has heard of its peer. */
	bool forced; /* By an operator, and not writing yet. */
	bool wrote_epoch; /* To be looked for after a restart. */
	bool wrote; /* It could, at the last look. */
	uint64_t failed_then, up_since;
	uint64_t idle_since; /* It should write, and does not. */
	/* Where its disks were changed outside, at any time. */
	bool outside[PAIR_DISKS][SECTORS];
	bool changed; /* They were. */
	struct hvrepl_uuid changed_epoch; /* Its own as they were last. */
	bool trouble; /* Its storage failed, and took no point since. */
	bool revoked, flush_failed, full, oom;
	/* A commit asked here: its job, and whether that ended well. */
	struct hvrepl_uuid commit_epoch;
	uint64_t commit_job;
	bool committed;
	/* Points that could not be read for damage. */
	struct hvrepl_uuid damaged_epochs[NO_POINTS];
	uint64_t damaged_numbers[NO_POINTS];
	unsigned damaged_count;
	unsigned handles; /* Disks and storages given to the node. */
};

extern struct pair pair;
extern struct teller tellers[2];
extern enum profile profile;
extern uint64_t seed;
extern uint64_t story_random; /* State of the dice; a fuzzer feeds it. */
extern bool lost_caches; /* Power may go after a flush that failed. */
extern bool discarded; /* An operator gave up an epoch in this story. */
extern bool handovers_only; /* Nobody fails over, forces or discards. */
extern uint32_t armed; /* Bit n: fault n may happen. */
extern uint32_t suppressed; /* Drawn, and left out: for shrinking. */
extern unsigned focus; /* The guarantee a check of tests/lib speaks for. */

uint64_t dice(uint64_t sides);
bool same(const struct hvrepl_uuid *a, const struct hvrepl_uuid *b);
bool look(struct pair_site *site, struct hvrepl_vm_status *status);
hvrepl_guest_disk *door(struct pair_site *site, unsigned disk);
void mix(uint64_t value); /* Into the trace's hash. */

/* shadow.c */
uint64_t sector_hash(const void *bytes);
void shadow_begin(void);
void shadow_end(void);
/* What the guest would read; false when it cannot. */
bool read_disks(struct teller *t, struct content *into);
/* `doubted`: as it is listed. False: it cannot be read. */
bool read_point(struct teller *t, uint64_t number, bool doubted,
		struct content *into);
void read_base(struct teller *t, struct content *into);
bool is_content(const struct content *seen, const struct content *known);
void compare(unsigned guarantee, const struct content *seen,
	     const struct content *known, const char *what,
	     const struct teller *t, uint64_t number);
struct content *find_image(const struct hvrepl_uuid *epoch, uint64_t number);
struct content *find_ending(const struct teller *t,
			    const struct hvrepl_uuid *epoch);
/* Content of point `number` as known in `epoch` or an ancestor of it. */
struct content *find_point(struct pair_site *site, struct hvrepl_uuid epoch,
			   uint64_t number);
/* Cut `number` of this epoch was named just now. */
void keep_image(const struct hvrepl_uuid *epoch, uint64_t number,
		const struct guest *guest);
/* Of the instants that the cut may be of, its point is this one, from now on. */
void choose_image(const struct hvrepl_uuid *epoch, uint64_t number,
		  const struct content *seen);
/* A site that comes back from a backup may use these numbers again. */
void blur_images(const struct hvrepl_uuid *epoch, uint64_t after);
/* ... if any of those was named. */
void blur_named(const struct hvrepl_uuid *epoch, uint64_t after);
/* How many of `instant` a cut that is named now may be of; more than INSTANTS_MAX: it
 * cannot be said. */
unsigned guest_instants(const struct guest *guest);
void keep_ending(struct guest *guest);
bool epoch_of(struct pair_site *site, const struct hvrepl_uuid *id,
	      struct hvrepl_epoch *epoch);
void copy_guest(struct guest *to, const struct guest *from);
void free_guest(struct guest *guest);
/* Its disks were changed outside just now: what stands on them is what is there, or not
 * to be read. */
void note_outside(struct teller *t, unsigned disk, unsigned first, unsigned count);
/* Where they ever were, what was read is what there is. */
void open_outside(const struct teller *t, struct content *seen);
/* Was a point of that number listed then? */
bool stood_on_what_was(const struct teller *t, uint64_t number);
/* A point of this site was unreadable before. */
bool was_damaged(const struct teller *t, const struct hvrepl_uuid *epoch,
		 uint64_t number);
void note_damaged(struct teller *t, const struct hvrepl_uuid *epoch,
		  uint64_t number);
/* Looking without being hit by the faults that wait. */
void hold(struct pair_site *site);
void let_go(struct pair_site *site);

/* oracle.c: no guest write runs between two looks at a site. */
void watch(bool all);
/* As it was looked at last. */
const struct hvrepl_uuid *epoch_shown(const struct teller *t);
/* A crash left sectors open: what the guest finds now is what there is. */
void settle(struct teller *t);
/* A flush that was none of the guest's has failed, and took what it wrote: it
 * learns that by its next one. */
void note_reverts(struct teller *t);
void note_handed(struct teller *t);
void oracle_begin(void);
void oracle_event(struct pair_site *site, const struct hvrepl_event *event);
/* The damaged may stay broken, if they say so. */
bool excused(void);

/* guest.c */
void guest_writes(struct teller *t, unsigned writes);
void guest_flush(struct teller *t);

/* operator.c */
void ask(struct teller *t, uint32_t operation);
void random_operation(bool faithful);
/* Faults end; an operator brings it back, and the last point is right. */
void heal(void);

/* faults.c */
void random_fault(void);
void accident(void); /* A site ends, somehow. */
void calm(void);
void restart_due(bool now);
void swarm(void); /* Draw what may happen in this story. */

/* adversary.c */
void adversary_begin(void);
void adversary_end(void);
void adversary_act(void);
/* Somebody between the two passes a handshake on. */
void adversary_relay(void);

/* story.c */
void pass(uint64_t ns);
void story(uint64_t n, enum profile kind);
/* TRACKER, or THREADS: that only the planted program has (HVRI_YIELD). */
void story_of_tracker(uint64_t n, enum profile kind); /* beds.c */
void story_of_store(uint64_t n);
void story_of_life(uint64_t n);
enum profile profile_of(uint64_t n);
#endif
