/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM's replication between two sites: everything that is decided about it.
 *
 *   hvri_relationship_step(relationship, event, update)
 *
 * Pure: no I/O, no clock, no memory taken. What happened comes in as one event
 * (with the time and fresh ids inside it); what is to be done comes back as an
 * update. The contract with the driver:
 *
 *  1. The driver performs an update in this order: `persist`, then `actions` in
 *     order, then `sends` in order, `timers`, `notices`, `jobs`. Until
 *     `persist` is durable nothing after it may happen, and no other event is
 *     fed (events wait; peers' messages may be lost with their session). A
 *     persist that fails is tried again; one that finds another writer ends
 *     the relationship: fence its disks, drop the object, start over from the
 *     state store.
 *  2. An action with a token is started and ends in exactly one DONE event with
 *     that token, at once or later, unless the object is dropped. Actions of
 *     one update may run beside each other except where stated; an action is
 *     never started before the DONE of FENCE, ARM, OPEN_OVERLAY, DROP_OVERLAY,
 *     FOLD-cancelling, ADOPT that came before it (the step sees to that). But
 *     OPEN_OVERLAY and DROP_OVERLAY overtake each other: where an operator does
 *     not wait, the newest is what is to be, and of an older one nothing may
 *     happen after it.
 *  3. All actions may be repeated: after a crash the START step asks again for
 *     what may not have finished.
 *  4. Guest writes are admitted from ARM on until FENCE is started; after START
 *     they are not.
 *  5. Messages are sent in order within a session, to its peer, with the two
 *     incarnations as filled in; ones that cannot be sent are dropped.
 *     Connecting, retrying (L4) and authorising sessions is the driver's.
 */
#ifndef HVRI_REPLICATION_RELATIONSHIP_H
#define HVRI_REPLICATION_RELATIONSHIP_H

#include "format/message.h"

#include <hvrepl/authorisation.h>
#include <hvrepl/event.h>

/* Between recovery points, whoever says so. */
#define HVRI_CYCLE_MIN_NS UINT64_C(100000000)
#define HVRI_CYCLE_MAX_NS UINT64_C(86400000000000)

/* ---- What happened. ---- */

enum hvri_event_type {
	HVRI_EVENT_START = 1,    /* start: first event after create / load. */
	HVRI_EVENT_OPERATION,    /* operation: an operator asks, here. */
	HVRI_EVENT_SESSION_UP,   /* A session with the peer's node stands. */
	HVRI_EVENT_SESSION_DOWN, /* It ended; its messages are gone. */
	HVRI_EVENT_MESSAGE,      /* message, authorised */
	HVRI_EVENT_TIMER,        /* timer */
	HVRI_EVENT_DONE,         /* done: an action with a token ended. */
	HVRI_EVENT_CYCLE_SET,    /* cycle_ns: the interval from now on. */
	HVRI_EVENT_SAVE,         /* What the driver adds to the record. */
	/* Owner's data plane. */
	HVRI_EVENT_CUT_VOIDED,   /* cut, code: given up after CUT's DONE. */
	HVRI_EVENT_TRACKING_LOST, /* code: the whole disk must be compared. */
	/* Standby: what the store holds is in doubt: a log is damaged (S1). */
	HVRI_EVENT_POINTS_DOUBTED,
	/* Standby's data plane, between RECEIVE's DONE and the end. */
	HVRI_EVENT_CHUNK_DURABLE,  /* cut, chunk: [0, chunk) survive a crash.
				    * Optional: the data plane may do this. */
	HVRI_EVENT_POINT_COMPLETE, /* cut: all disks durable, head names it. */
	HVRI_EVENT_RECEIVE_FAILED, /* cut, code, sentence: dropped. */
	HVRI_EVENT_TYPE_COUNT
};

/* What the driver found when it opened disks, tracker files and store. */
struct hvri_start {
	uint64_t incarnation; /* Fresh and random; never 0. */
	/* The tracker file's stamp (see HVRI_ACTION_ARM). Present as soon as
	 * there is one; several disks: the newest. */
	bool stamped;
	uint64_t stamp_generation;
	/* Record that the stamp is of; one of another setting-up says nothing.
	 * None: not known, counts. */
	struct hvrepl_uuid stamp_record;
	bool unclean;   /* The tracker was open when we ended: hot regions. */
	bool untrusted; /* The whole disk must be compared (T8, T9). */
	/* The store's disks were changed outside, or a log is damaged: its points
	 * are in doubt, and so is what runs on them. The next one is not. */
	bool doubted;
	struct hvri_point newest; /* The store's newest point, if FORM_STORE. */
	bool has_points;          /* `newest` is one. */
	/* FORM_STORE without points: durable frontier of the base. */
	struct hvri_frontier frontier;
	/* As this site says now; 0: as was said when the VM was enabled (O3). */
	uint64_t start_wait_ns;
	uint32_t start_without_peer;
};

/* What the store has on record about points (see replication/loss.h). */
struct hvri_point_facts {
	/* Of all points newer than the one meant, their changed bytes;
	 * HVREPL_BYTES_UNKNOWN. */
	uint64_t skipped_bytes;
	uint64_t newest_utc_ns; /* Of the newest point here; 0: not known. */
	/* Changed bytes of the newest points, and over how long; 0 ns: none. */
	uint64_t recent_bytes, recent_ns;
};

struct hvri_operator {
	uint32_t operation; /* HVREPL_OPERATION_* */
	uint64_t job;       /* Id for it; never 0, never used before. */
	uint64_t point;     /* UNPLANNED, CHANGE_POINT, VERIFY: number; 0: newest. */
	/* UNPLANNED, CHANGE_POINT, VERIFY: `point` as the store knows it; the
	 * driver fills it for 0 too. number 0: the store has no such point. */
	struct hvri_point resolved;
	struct hvri_point_facts facts; /* UNPLANNED, CHANGE_POINT: of it. */
	struct hvrepl_uuid epoch;       /* DISCARD: losing epoch or tail's cut. */
	const struct hvri_setup *setup; /* ENABLE */
	struct hvrepl_uuid peer;        /* ENABLE: id of the peer's site. */
	/* PLANNED: what the peer may do here, once it has the VM. */
	uint32_t authorised; /* HVREPL_VERB_* */
};

/* How an action ended. Members that an action does not name are ignored. */
struct hvri_done {
	uint64_t token;
	int32_t code;
	const char *sentence;    /* On failure; may be NULL. Borrowed. */
	struct hvrepl_uuid cut;  /* CUT: its id (T6). */
	uint64_t utc_ns;         /* CUT: when. */
	/* CUT: where it ends, when that is beyond the action's frontier. */
	struct hvri_frontier frontier;
	uint64_t bytes;          /* CUT: raw bytes in it. COMPARE: differing.
				  * VERIFY: differing. EXPORT: sum. */
	uint64_t count;          /* EXPORT: ranges. */
	uint64_t chunk;          /* RECEIVE: first chunk wanted. */
	bool hot;                /* EXPORT: some ranges were hot regions. */
	uint8_t digest[16];      /* EXPORT: hvri_ranges_digest() over all. */
};

struct hvri_event {
	uint32_t type;
	uint64_t now_ns; /* Monotonic. */
	uint64_t utc_ns;
	/* TIMER STATUS: bytes changed here that are in no cut;
	 * HVREPL_BYTES_UNKNOWN: cannot be said just now. */
	uint64_t changed_bytes;
	struct hvrepl_uuid fresh[3]; /* Random, never used before. */
	union {
		struct hvri_start start;
		struct hvri_operator operation;
		struct {
			const struct hvri_message *message;
			/* HVREPL_VERB_* that the session's peer may do here,
			 * and the entry that says so; NULL: none. */
			uint32_t authorised;
			const char *entry;
			/* Of those, what is not permitted just now. */
			uint32_t withheld;
			/* ENABLE: why a quota is against it; NULL: none is. */
			const char *quota;
		} message;
		uint32_t timer; /* enum hvri_timer */
		uint64_t cycle_ns;
		struct hvri_done done;
		struct {
			struct hvrepl_uuid cut;
			uint64_t chunk;
			int32_t code;
			const char *sentence; /* May be NULL. */
			/* POINT_COMPLETE of what was not being received: the
			 * store's newest point; number 0: none. */
			struct hvri_point found;
		} data;
	} u;
};

/* ---- What is to be done. ---- */

enum hvri_action_type {
	/*
	 * Owner. CUT (token): cut all disks at one instant (T5: the step keeps
	 * at most one open). Changes at or beyond `frontier` stay out and stay
	 * dirty; a frontier past the last disk means all. A window, which
	 * begins at `from_frontier`, may end further on than asked, where
	 * it meets holes: DONE says where. The numbers go into
	 * the chunks' identity: epoch, from, number. DONE as soon as the cut
	 * stands; reading goes on by itself. BUSY: T5, counted as a miss.
	 */
	HVRI_ACTION_CUT = 1,
	/* Send the cut's chunks from `chunk` on, to the end. */
	HVRI_ACTION_SHIP,
	/* Stop sending: the peer stopped receiving, and begins anew with the next
	 * SHIP, its credit too. */
	HVRI_ACTION_HOLD,
	/* The cut's chunks [0, chunk) are durable at the peer: let them go. */
	HVRI_ACTION_RELEASE,
	/* Stop sending; settle: code OK = acknowledged, negative = its changes
	 * count as changed again. Unknown cuts are fine. */
	HVRI_ACTION_SETTLE,
	/* (token) From now on no guest write is admitted; DONE when those in
	 * flight have ended and the disks are flushed. */
	HVRI_ACTION_FENCE,
	/* (token) Stamp (epoch, generation) into the tracker file durably, then
	 * admit guest writes. DONE after the first admitted moment. */
	HVRI_ACTION_ARM,
	/* (token) Compare live content with the peer's newest point by digest,
	 * from `from_frontier` to `frontier`, and mark what differs; what is
	 * equal and was not written since may be cleared. */
	HVRI_ACTION_COMPARE,
	/* Mark the ranges of `message` as changed; before returning. */
	HVRI_ACTION_MARK,
	/* (token) The tracker holds changes relative to nobody: forget what is
	 * marked and start anew with everything marked (a new replica). */
	HVRI_ACTION_MARK_ALL,

	/* Either. EXPORT (token): send everything unacknowledged as RANGES,
	 * sequence from 0 (the fence was done). */
	HVRI_ACTION_EXPORT,
	/* (token) The live disk, fenced and flushed, becomes base of the store
	 * as `point`, its only one; `pin`: keep it (HVREPL_PIN_TAIL). The
	 * tracker file stays, for EXPORT, until the next point. If the store's
	 * base is it already: DONE at once. */
	HVRI_ACTION_ADOPT,
	/* (token) Forget the pin of tail `point`; DONE when that is durable.
	 * Not there, or not pinned, is fine. */
	HVRI_ACTION_UNPIN,

	/* Standby. CREATE_REPLICA (token): disks and store for record.disks. */
	HVRI_ACTION_CREATE_REPLICA,
	/* (token) Take in `cut`, which applies to cut->from; partial data of
	 * other cuts goes (T6). DONE: chunk = first one wanted. Then events
	 * CHUNK_DURABLE, and POINT_COMPLETE or RECEIVE_FAILED. INITIAL: straight
	 * into base; closed: makes the first point. */
	HVRI_ACTION_RECEIVE,
	/* Stop taking in; `drop`: forget what is not a point. If it has become
	 * one meanwhile, POINT_COMPLETE still follows. */
	HVRI_ACTION_STOP_RECEIVE,
	/* (token) Stop receiving, open (or create) the durable overlay of
	 * name `epoch` on `point` under a tracker seeded as S7 says; one of
	 * another name is dropped first. Fenced until ARM. NOT_FOUND: there is
	 * no such overlay, and the point is gone. */
	HVRI_ACTION_OPEN_OVERLAY,
	/* (token) Throw overlays away; the store receives again. Nothing there
	 * is fine. */
	HVRI_ACTION_DROP_OVERLAY,
	/* (token) Fold the overlay into base while the VM runs (S8). DONE when
	 * the disk is plain again. After a crash OPEN_OVERLAY and FOLD come
	 * again; if the disk is plain already, both are DONE at once. */
	HVRI_ACTION_FOLD,
	/* (token) Could this site take the VM over and be replicated back?
	 * Space, health, authorisation of `reverse`. */
	HVRI_ACTION_CHECK_REVERSE,

	/* (token) Digest of `point` at both sites (driver's own exchange). */
	HVRI_ACTION_VERIFY,
	/* (token) Owner: take the tracker away, file and stamp too; the VM goes
	 * on. Standby: remove the store, hand the disks back. */
	HVRI_ACTION_REMOVE,
	/* Delete the record; drop the object after this update. */
	HVRI_ACTION_FORGET,
	HVRI_ACTION_TYPE_COUNT
};

struct hvri_action {
	uint32_t type;
	uint64_t token; /* 0: no DONE. */
	struct hvri_point point; /* CUT: number and epoch to use; ADOPT,
				  * OPEN_OVERLAY, UNPIN, VERIFY. */
	uint64_t from;           /* CUT: number it follows. */
	struct hvrepl_uuid cut;  /* SHIP, RELEASE, SETTLE, STOP_RECEIVE. */
	uint64_t chunk;          /* SHIP, RELEASE. */
	int32_t code;            /* SETTLE */
	struct hvri_frontier from_frontier, frontier; /* CUT, COMPARE. */
	struct hvrepl_uuid epoch; /* ARM; OPEN_OVERLAY: name of the overlay. */
	uint64_t generation;      /* ARM */
	bool pin, drop;           /* ADOPT; STOP_RECEIVE. */
	bool doubted;             /* ADOPT: the point is in doubt (T9). */
	struct hvri_cut_begin begin; /* RECEIVE */
	const struct hvri_message *message; /* MARK: the event's. */
};

/* Timers; setting one replaces it. */
enum hvri_timer {
	HVRI_TIMER_CYCLE = 1,  /* The next cut falls due. */
	HVRI_TIMER_START_WAIT, /* O3 */
	HVRI_TIMER_RESEND,     /* An answer is overdue. */
	HVRI_TIMER_RETRY,      /* A storage fault is tried again (L4). */
	HVRI_TIMER_STATUS,     /* The peer is told what it does not have. */
	HVRI_TIMER_COUNT
};

struct hvri_timer_set {
	uint32_t timer;
	uint64_t at_ns; /* Monotonic; 0: none. */
};

/* For the application: the payload of struct hvrepl_event. */
struct hvri_notice {
	uint32_t type;     /* HVREPL_EVENT_STATE, _POINT, _PROGRESS, _AUDIT. */
	uint32_t severity; /* HVREPL_SEVERITY_* */
	int32_t code;
	uint64_t value; /* Of PROGRESS: the driver's to fill in. */
	char sentence[HVRI_SENTENCE_MAX + 1];
};

struct hvri_job_end {
	uint64_t id;
	int32_t code;
	char sentence[HVRI_SENTENCE_MAX + 1];
};

#define HVRI_UPDATE_ACTIONS 16u
#define HVRI_UPDATE_SENDS 12u
#define HVRI_UPDATE_TIMERS 8u
#define HVRI_UPDATE_NOTICES 7u
#define HVRI_UPDATE_JOBS 4u

struct hvri_update {
	/* OPERATION: OK = accepted (its job ends in `jobs`, now or later), or
	 * why it was refused; then nothing else is set. */
	int32_t code;
	char sentence[HVRI_SENTENCE_MAX + 1];

	bool persist; /* relationship->record, whole. */
	uint32_t action_count;
	struct hvri_action actions[HVRI_UPDATE_ACTIONS];
	uint32_t send_count;
	struct hvri_message sends[HVRI_UPDATE_SENDS];
	uint32_t timer_count;
	struct hvri_timer_set timers[HVRI_UPDATE_TIMERS];
	uint32_t notice_count;
	struct hvri_notice notices[HVRI_UPDATE_NOTICES];
	uint32_t job_count;
	struct hvri_job_end jobs[HVRI_UPDATE_JOBS];
	uint32_t denied; /* HVREPL_VERB_* the peer asked for and lacks. */
	/* An operation that the peer asked for, and not once more: begun (OK),
	 * or why not. 0: none. */
	uint32_t asked_operation;
	int32_t asked_code;
	char asked_sentence[HVRI_SENTENCE_MAX + 1];
	bool overflow; /* Never set: the arrays are large enough (tested). */
};

/* ---- The object. Owned by the driver, changed by the step only. ---- */

/* What a FENCE was asked for. */
enum hvri_fence_purpose {
	HVRI_FENCE_NOTHING,
	HVRI_FENCE_HANDOVER,
	HVRI_FENCE_CANCEL,
	HVRI_FENCE_CHANGE,
	HVRI_FENCE_JOIN
};

/* The owner's open cut; one at a time (T5). */
enum hvri_cut_stage {
	HVRI_CUT_NONE,
	HVRI_CUT_NAMING,   /* CUT asked for. */
	HVRI_CUT_OFFERED,  /* Named; the peer has not accepted in this session. */
	HVRI_CUT_SHIPPING,
};

struct hvri_open_cut {
	uint8_t stage; /* enum hvri_cut_stage */
	uint64_t job;  /* CUT_NOW that was waiting when it began. */
	struct hvri_cut_begin begin;
};

/* How far a planned failover is at the owner, before it relinquishes. */
enum hvri_handover_stage {
	HVRI_HANDOVER_NONE,
	HVRI_HANDOVER_CHECKING,
	HVRI_HANDOVER_FENCING,
	HVRI_HANDOVER_FINAL, /* The last cut is under way. */
};

/* Tokens of what is under way; 0: nothing. */
struct hvri_pending {
	uint64_t cut, fence, arm, overlay, drop, fold, adopt, export_ranges,
		compare, receive, create, check, verify, remove, mark_all,
		unpin;
};

/* What the owner said it has and we have not; and how fast it changes. */
struct hvri_said {
	bool known;
	uint64_t bytes;
	uint64_t at_ns; /* When it said so. */
	uint64_t rate_bytes, rate_ns; /* 0 ns: no rate yet. */
	uint64_t last_bytes, last_ns; /* Of the newest point alone. */
};

struct hvri_statistics { /* Since the object was made. */
	uint64_t cuts, missed, points, bytes;
	uint64_t last_point_utc_ns;
	uint64_t last_contact_ns;
};

/* A store has at most one cut that it may show later as a point after all, and another
 * one that is under way; room for twice that. */
#define HVRI_BEGUN_MAX 4u

struct hvri_relationship {
	struct hvri_record record; /* Durable once the update is performed. */
	bool started;
	bool session; /* Stands. */
	bool greeted; /* HELLO was exchanged in this session (O2). */
	bool hello_answered;
	bool contact; /* The peer was heard since START. */
	bool waited;  /* start_wait has passed. */
	uint32_t without_peer; /* HVRI_START_*: what then. */
	bool armed;
	bool arm_failed;  /* Not again before the RETRY timer. */
	bool fenced;      /* FENCE is done and nothing was armed since. */
	bool armed_before; /* Before the fence of a handover under way. */
	bool overlay_open;
	bool drop_again; /* DROP_OVERLAY failed: once more at RETRY. */
	bool peer_ready; /* Standby in our epoch, where we believe it to be. */
	bool refusing;   /* Standby: the owner's frames are not for us. */
	bool doubted; /* The store's points; until one was received. */
	/* Standby: doubted while it may have been compared, and the owner was not told
	 * so yet by declining a cut; and the cut that was declined for it. */
	bool doubt_untold;
	struct hvrepl_uuid doubted_cut;
	/* Owner: what that start of the peer has in doubt is being compared. */
	bool doubt_met;
	bool cycle_due;
	bool holding; /* No cut before the RETRY timer. */
	bool base_marked; /* INITIAL: MARK_ALL was done or is not needed. */
	bool forgotten;
	uint8_t fence_for;      /* enum hvri_fence_purpose */
	uint8_t handover_stage; /* enum hvri_handover_stage */
	uint32_t retries;
	uint64_t incarnation, peer_incarnation;
	uint32_t hellos_sent; /* Since the start. */
	uint32_t hello_seen;  /* Number of the newest acted on, of that peer's. */
	uint64_t next_token;
	uint64_t next_point;
	struct hvri_pending pending;
	struct hvri_open_cut cut;        /* As owner. */
	/* As owner: cuts that the peer began to take in and did not acknowledge, oldest
	 * first; number 0: none. It may show yet that it has them (hvri_named_here). */
	struct hvri_point begun_there[HVRI_BEGUN_MAX];
	/* INITIAL, as owner: the window that the peer is known to stand at, which it
	 * acknowledged, or told when all was marked for it. None: neither since the
	 * start. */
	struct hvrepl_uuid window_there;
	/* INITIAL, as standby: the newest window that came in whole since the start. */
	struct hvrepl_uuid window_here;
	struct hvri_cut_begin receiving; /* As standby; number 0: nothing. */
	bool adopt_stale; /* What ADOPT does now was meant for an older join. */
	bool export_again; /* What differs could not be told the owner. */
	bool taking_in; /* Asked for in this session; with `receiving`. */
	bool begun; /* RECEIVE of it was answered OK, in whatever session. */
	/* The last one that was not received to its end: it failed, or was left. */
	struct hvri_cut_begin failed;
	struct hvri_frontier comparing;  /* End of the COMPARE under way. */
	bool joined;                     /* JOIN_READY was accepted. */
	struct hvri_join peer_join;      /* Its content. */
	struct hvri_join ranges;         /* RANGES received: sums, digest. */
	uint32_t ranges_next;            /* Sequence expected. */
	uint64_t discard_refused; /* The peer's job of the DISCARD refused last. */
	/* Jobs that need no record: a restart ends them. */
	uint64_t forward_job, cancel_job, verify_job, cut_job;
	bool cut_asked; /* cut_job is the peer's; it gets the answer. */
	struct hvri_handover checking; /* HANDOVER_CHECK being looked into. */
	uint64_t resend_at;
	struct hvri_point change_to;     /* CHANGE_POINT, until fenced. */
	struct hvri_point_facts change_facts;
	struct hvri_status peer_status;
	/* The peer's claim, without its lineage. */
	uint8_t peer_ownership, peer_mode, peer_phase;
	bool peer_armed;
	struct hvrepl_uuid peer_current, peer_joining;
	struct hvri_point peer_position;
	struct hvri_frontier peer_frontier;
	uint32_t rule; /* Row of the last verdict, for explanations. */
	struct hvri_statistics statistics;
	uint64_t now_ns, utc_ns; /* Of the last event. */
	struct hvri_claim claim_out; /* What a HELLO of an update points at. */
	struct hvri_setup setup_out;
	struct hvri_status status_sent;
	struct hvri_said said;      /* As standby. */
	uint64_t changed_bytes;     /* As owner: as of the last TIMER STATUS. */
	/* Seen, not decided: filled in before each event, and before health. */
	bool points_open; /* A point is read here, besides the failover's. */
	bool full;        /* No room for another point. */
	bool storage_failed; /* The store failed a flush. */
	/* The peer, by its last claim, stands by, or is about to, with disks that are
	 * not known to be what it handed over (T9). */
	bool peer_in_doubt;
	bool lost_by_claim;  /* `untrusted` is about the claim that stands. */
	uint64_t status_at;         /* When it is next; 0: not set. */
	bool status_due;            /* Say it though nothing is new. */
	uint32_t shown_reasons;
	uint8_t shown_state, shown_ownership, shown_mode, shown_health;
};

/* A relationship that is not there yet: OPERATION enable (primary) or message
 * ENABLE (replica) makes its record. START comes first all the same. */
void hvri_relationship_init(struct hvri_relationship *relationship,
			    const struct hvrepl_uuid *site,
			    const struct hvrepl_uuid *vm);
/* From a decoded record. */
void hvri_relationship_load(struct hvri_relationship *relationship,
			    const struct hvri_record *record);
/* `update` is set from scratch. */
void hvri_relationship_step(struct hvri_relationship *relationship,
			    const struct hvri_event *event,
			    struct hvri_update *update);
/* Fill in the incarnations of a message the driver sends itself (RANGES). */
void hvri_relationship_address(const struct hvri_relationship *relationship,
			       struct hvri_message *message);

/* The verb by which a peer's message costs data here, or makes a replica, if it is
 * acted on; 0: it costs nothing, or comes once more. `what_out`: in words. */
uint32_t hvri_relationship_costs(const struct hvri_relationship *relationship,
				 const struct hvri_message *message,
				 const char **what_out);

/* ---- What is shown. ---- */

uint32_t hvri_relationship_state(const struct hvri_relationship *relationship);
/* As stored, except that the new side of a divergence shows it too. */
uint32_t hvri_relationship_ownership(const struct hvri_relationship *relationship);
/* Bit n: HVREPL_OPERATION_n would be accepted now. */
uint32_t hvri_relationship_allowed(const struct hvri_relationship *relationship);
/* What `operation` would answer now: OK, or a code and a sentence. */
int32_t hvri_relationship_may(const struct hvri_relationship *relationship,
			      uint32_t operation,
			      char sentence_out[HVRI_SENTENCE_MAX + 1]);

struct hvri_health {
	uint32_t level;   /* HVREPL_HEALTH_* */
	uint32_t reasons; /* HVREPL_REASON_* */
	char sentence[HVRI_SENTENCE_MAX + 1]; /* The gravest reason. */
};
void hvri_relationship_health(const struct hvri_relationship *relationship,
			      uint64_t now_ns, uint64_t utc_ns,
			      struct hvri_health *health_out);
/* HVREPL_SEVERITY_* of an event that tells that level. */
uint32_t hvri_health_severity(uint32_t level);

/* Is the peer's ENABLE / REMOVE / anything else for a relationship this node
 * does not have: what to answer with (UNKNOWN, REMOVED), or 0 when ENABLE. */
uint32_t hvri_relationship_unknown_answer(uint32_t message_type);
#endif
