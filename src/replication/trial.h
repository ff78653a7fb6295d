/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decides a trial of a session, at both its ends: step(event) -> update, time
 * inside the event. Frames, credit and alarms are the driver's.
 *
 * The host's end:   CLOSED --asked--> OPEN --begin--> RUNNING --end--> CLOSED
 *                                       \---- due ----/---> LATE --end--> CLOSED
 * LATE: the result was sent; what was still on its way is let go unread.
 */
#ifndef HVRI_REPLICATION_TRIAL_H
#define HVRI_REPLICATION_TRIAL_H

#include "format/trial.h"

/* The asking site sends filler for so long at most; */
#define HVRI_TRIAL_SEND_NS (2ull * 1000000000ull)
/* ...its host counts no longer than this, */
#define HVRI_TRIAL_HOST_NS (4ull * 1000000000ull)
/* ...and gives one entry the next one so long after the last began. */
#define HVRI_TRIAL_PAUSE_NS (5ull * 1000000000ull)
/* All of it, as the asking site waits. */
#define HVRI_TRIAL_WAIT_NS (10ull * 1000000000ull)

/* ---- The site that is asked. ---- */

enum hvri_trial_state {
	HVRI_TRIAL_CLOSED,
	HVRI_TRIAL_OPEN,
	HVRI_TRIAL_RUNNING,
	HVRI_TRIAL_LATE,
};

struct hvri_trial_host {
	uint8_t state; /* enum hvri_trial_state */
	uint64_t number;
	uint64_t granted, came; /* Bytes of filler. */
	uint64_t began_ns;      /* Its BEGIN came; 0: not yet. */
};

enum hvri_trial_event_type {
	HVRI_TRIAL_ASKED, /* number, bytes: as many as can be lent; rested_ns */
	HVRI_TRIAL_CAME,  /* data */
	HVRI_TRIAL_DUE,   /* The deadline of the last update. */
	HVRI_TRIAL_DOWN,  /* The session ended. */
};

struct hvri_trial_event {
	uint8_t type; /* enum hvri_trial_event_type */
	uint64_t now_ns;
	uint64_t number, bytes;
	uint64_t rested_ns; /* Since the entry's last one began. */
	struct hvri_trial_data data;
};

struct hvri_trial_update {
	int32_t code;      /* PROTOCOL: the peer broke the rules. */
	uint32_t wait_ms;  /* ASKED: too soon; come again then. */
	uint64_t lent;     /* ASKED: of `bytes`, taken. */
	uint64_t returned; /* ...and given back. */
	bool has_result;
	struct hvri_trial_result result; /* To be sent. */
	uint64_t deadline_ns; /* UINT64_MAX: none; 0: as it was. */
};

struct hvri_trial_update
hvri_trial_host_step(struct hvri_trial_host *host,
		     const struct hvri_trial_event *event);

/* ---- The site that asks. ---- */

enum hvri_trial_asker_state {
	HVRI_TRIAL_ASKING,
	HVRI_TRIAL_SENDING,
	HVRI_TRIAL_COUNTING, /* END was sent. */
	HVRI_TRIAL_DONE,
};

struct hvri_trial_asker {
	uint8_t state; /* enum hvri_trial_asker_state */
	uint64_t number;
	uint64_t wanted, granted, sent; /* Bytes of filler. */
	bool begun;
	uint64_t asked_ns, until_ns;
	/* What came of it, once DONE. */
	int32_t code; /* TIMEOUT, DISCONNECTED, or OK. */
	uint64_t round_trip_ns; /* 0: no answer came. */
	uint64_t bytes, ns;     /* As the other site counted. */
};

/* `ask` is what is to be sent. */
void hvri_trial_asker_begin(struct hvri_trial_asker *asker,
			    const struct hvri_trial_ask *ask, uint64_t now_ns);
/* PROTOCOL: not what was asked. One of an earlier trial is passed over. */
HVRI_MUST_CHECK int32_t
hvri_trial_asker_answered(struct hvri_trial_asker *asker,
			  const struct hvri_trial_answer *answer,
			  uint64_t now_ns);
/* There is room on the link: what to send; false: nothing more. */
bool hvri_trial_asker_pull(struct hvri_trial_asker *asker, uint64_t now_ns,
			   struct hvri_trial_data *data_out);
HVRI_MUST_CHECK int32_t
hvri_trial_asker_counted(struct hvri_trial_asker *asker,
			 const struct hvri_trial_result *result);
/* HVRI_TRIAL_WAIT_NS are over, or the session is. */
void hvri_trial_asker_gone(struct hvri_trial_asker *asker, int32_t code);
#endif
