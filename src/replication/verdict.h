/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict (protocols O6): who stands how when two sites meet. A table over
 * both records; first match. Whose data is unique is told apart from it.
 */
#ifndef HVRI_REPLICATION_VERDICT_H
#define HVRI_REPLICATION_VERDICT_H

#include "format/message.h"

/* How my current epoch lies to the peer's. */
enum hvri_relation {
	HVRI_RELATION_SAME,
	HVRI_RELATION_OLD, /* The peer's descends from mine: I decide. */
	HVRI_RELATION_NEW, /* Mine descends from the peer's: it decides. */
	HVRI_RELATION_SIBLING,
	HVRI_RELATION_UNRELATED,
	HVRI_RELATION_COUNT
};

/* Facts with two values. */
#define HVRI_FACT_ROLLED_BACK (1u << 0) /* Peer knows more of my own epochs. */
#define HVRI_FACT_STALE (1u << 1)     /* Claimed path holds an abandoned one. */
#define HVRI_FACT_MINE (1u << 2)      /* My current epoch is owned by me. */
#define HVRI_FACT_THEIRS (1u << 3)    /* The peer's is not owned by me. */
#define HVRI_FACT_CHILD (1u << 4)     /* It holds my relinquished child. */
#define HVRI_FACT_BEYOND (1u << 5)    /* My position is beyond its fork. */
#define HVRI_FACT_DISCARDED (1u << 6) /* I durably discarded its epoch. */
#define HVRI_FACT_ARMED (1u << 7)     /* I am, or was before a job's fence. */
#define HVRI_FACT_PEER_ARMED (1u << 8)
#define HVRI_FACT_ECHO (1u << 9)      /* Its standing verdict is about mine. */
#define HVRI_FACT_HELD (1u << 10)     /* I hold "superseded" for this pair. */
#define HVRI_FACT_PEER_BACK (1u << 11) /* It was restored: claims nothing. */
#define HVRI_FACT_COUNT 12u

struct hvri_verdict_facts {
	uint8_t relation;       /* enum hvri_relation */
	uint8_t ownership;      /* HVREPL_OWNERSHIP_*, mine as shown. */
	uint8_t peer_ownership; /* The peer's. */
	uint32_t set;           /* HVRI_FACT_* */
};

enum hvri_standing {
	HVRI_STANDING_NOTHING,     /* No bearing on my ownership. */
	HVRI_STANDING_ROLLED_BACK, /* Not armed; replica, or force. */
	HVRI_STANDING_STALE,       /* Ignored. */
	HVRI_STANDING_NORMAL,
	HVRI_STANDING_UNRELATED,   /* No common epoch: frames refused. */
	HVRI_STANDING_OWNED,       /* The handover was taken: standby. */
	HVRI_STANDING_FOLLOW,      /* Standby: the peer's epoch is mine now. */
	HVRI_STANDING_REFUSE,      /* Standby beyond its fork: frames refused. */
	HVRI_STANDING_KEEP,        /* I stay owner. */
	HVRI_STANDING_SUPERSEDED,
	HVRI_STANDING_DIVERGED,
	HVRI_STANDING_ADOPT_SUPERSEDED, /* New side: the peer is superseded. */
	HVRI_STANDING_ADOPT_DIVERGED,
	HVRI_STANDING_COUNT
};

/* Index of the first row that matches; the table is total. */
uint32_t hvri_verdict_row(const struct hvri_verdict_facts *facts);
uint32_t hvri_verdict_row_count(void);
bool hvri_verdict_row_matches(uint32_t row,
			      const struct hvri_verdict_facts *facts);
enum hvri_standing hvri_verdict_standing(uint32_t row);
/* The rule in words, for explanations. */
const char *hvri_verdict_rule(uint32_t row);

/* As stored, except that the new side of a divergence, which stays the owner,
 * shows it too. */
uint8_t hvri_shown_ownership(const struct hvri_record *record);

/* Facts from my record (the peer's lineage already merged into it) and the
 * peer's claim. `knows_more` was computed before merging. */
void hvri_verdict_look(const struct hvri_record *mine, bool armed,
		       const struct hvri_claim *peer, bool knows_more,
		       struct hvri_verdict_facts *facts_out);

/* Who wrote since the common ancestor. */
#define HVRI_DATA_MINE (1u << 0) /* I may hold writes the peer lacks. */
#define HVRI_DATA_PEER (1u << 1)
struct hvri_verdict_data {
	uint32_t unique;      /* HVRI_DATA_*, untrusted counts as yes. */
	uint64_t mine_from, mine_to; /* My cuts beyond the fork, by number. */
	uint64_t peer_from, peer_to;
	bool firm; /* One side is durably fenced: "no divergence" may be said. */
};
void hvri_verdict_data(const struct hvri_record *mine,
		       const struct hvri_claim *peer,
		       struct hvri_verdict_data *data_out);
#endif
