/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM inside a node: what was decided about it (relationship) and what it
 * is done with (disks, trackers, store, the cut that ships, the one coming in).
 *
 * Handles (`view`, trackers) are made and ended by jobs of the lane; the
 * control thread uses them for actions that the step keeps apart from those.
 * `store` is set on the control thread. What is shown is kept apart (points).
 */
#ifndef HVRI_DRIVER_VM_H
#define HVRI_DRIVER_VM_H

#include "driver/guest.h"
#include "driver/lane.h"
#include "driver/live.h"
#include "driver/node.h"
#include "replication/relationship.h"
#include "store/store.h"
#include "tracker/cut.h"

/* The replica reports what is durable after so much, or so long (T4). */
#define HVRI_REPORT_BYTES (64ull << 20)
#define HVRI_REPORT_NS 1000000000ull
/* Messages of its session that wait for a VM's turn, as what they take: a record that is
 * being put holds them up, or a storage that cannot be opened. A peer of ours has a
 * handful on the way, beside the ranges of a map, which get half of it. */
#define HVRI_VM_HEARD_MAX (64u << 20)
#define HVRI_VM_RANGES_MAX (32u << 20)
/* Headers of segments that wait for the lane: credit does not count them. A peer of ours
 * has one a disk on the way. */
#define HVRI_VM_SEGMENTS_MAX 256u

/* An event waiting for its turn. */
struct hvri_vm_event {
	struct hvri_vm_event *next;
	struct hvri_event event;
	/* MESSAGE: encoded bytes behind the struct, decoded at its turn. */
	uint8_t *message;
	size_t message_length;
	uint64_t session; /* MESSAGE: serial of the session it came in. */
	bool credit; /* `message` is a CREDIT frame: it waits its turn too. */
	/* Give the memory back; NULL: embedded somewhere. */
	void (*release)(struct hvri_vm *vm, struct hvri_vm_event *event);
	bool queued;
};

/* One of the relationship's timers. */
struct hvri_vm_timer {
	struct hvri_alarm timer; /* First. */
	struct hvri_vm *vm;
	struct hvri_vm_event event;
};

struct hvri_vm_disk {
	struct hvri_vm *vm;
	uint32_t index;
	struct hvrepl_disk_spec spec;
	struct hvri_disk base;   /* The site's disk. */
	struct hvri_disk overlay; /* Of the failover's view, while it stands. */
	struct hvri_live live;   /* Where trackers and guests read and write. */
	hvrepl_tracker *tracker;
	struct hvrepl_guest_disk guest;
	/* Of a VM that is gone, whose guest has a door: see hvri_vm_leave_doors(). The next
	 * one's, and how many there are of this one. */
	struct hvri_vm_disk *kept;
	uint32_t kept_count;
};

/* The owner's cut, from naming to settling. */
struct hvri_shipment {
	hvrepl_cut *cut;
	struct hvrepl_uuid id;
	struct hvri_lane_job read_job;
	struct hvri_alarm poll; /* Writes from before the cut are leaving. */
	bool reading, read_waits, read_again;
	int32_t read_code;
	bool settling;
	int32_t settle_code;
	struct hvri_item look_item; /* The spool has something new. */
	bool look_queued;           /* Atomic. */
	/* Sending. */
	struct hvri_source source;
	bool active;   /* Between SHIP and the end. */
	bool in_flight; /* A chunk is borrowed by the link. */
	uint32_t disk, sequence;
	uint8_t phase;
	uint64_t credit, spent; /* Bytes of CHUNK payload, this session. */
	uint64_t bytes;         /* Shipped of this cut, all sessions. */
	uint32_t completed; /* Disks that were sent to their end once... */
	uint32_t disk_chunks[HVRI_DISKS_MAX];  /* ...their chunks... */
	uint8_t end_roots[HVRI_DISKS_MAX][32]; /* ...and roots. */
	struct hvri_segment_root root; /* Kept from cut to cut. */
	uint32_t root_disk, root_next;
	bool root_open;
	uint8_t payload[HVRI_SEGMENT_FRAME_SIZE];
};

/* What is coming in, from RECEIVE to its end. */
struct hvri_reception {
	bool open;
	struct hvri_cut_begin begin;
	uint32_t generation; /* Jobs of an older one are void. */
	uint32_t broken; /* The lane's: generation whose frames come too late. */
	uint64_t granted, arrived, consumed;
	uint32_t segments; /* HVRI_VM_SEGMENTS_MAX */
	struct hvri_session *lender; /* Whose credit that is; NULL: none's. */
	uint64_t rate_turn; /* Since when it waits for its peer's rate; 0: not. */
	uint32_t next_disk;  /* Disks before it are complete. */
	bool failed;
	bool completing;
	uint64_t appended, reported; /* Bytes since RECEIVE. */
	struct hvri_alarm report;
	bool flushing;
	struct hvri_lane_job flush_job;
	int32_t flush_code;
	uint64_t durable_chunks;
	struct hvri_vm_event durable_event, end_event, found_event;
	struct hvrepl_error end_error; /* What end_event's sentence points at. */
};

/* Digests of the peer's newest point for the next cut's window (L3). */
struct hvri_filter;
struct hvri_comparison;

struct hvri_vm {
	struct hvri_vm *next;
	struct hvrepl_node *node;
	struct hvri_relationship relationship;
	struct hvri_update update; /* Being performed. */
	struct hvri_vm_event *first, **last;
	size_t heard_bytes; /* Of `first`, what came in a session. */
	bool opened;     /* Disks, trackers, store are; START was fed. */
	bool inside;     /* Performing or deciding is on the stack. */
	bool performing;
	bool asked; /* hvri_vm_operate() is on the stack, and needs it. */
	/* Of what is performed: by whose message, empty: this site's doing; and that
	 * it changes the record. */
	char asker[HVREPL_PEER_NAME_MAX + 1];
	bool decided;
	uint8_t perform_phase;
	uint32_t perform_index;
	struct hvri_alarm perform_retry;
	/* The record in the state store. */
	bool own; /* The application brought its disks (add_vm). */
	char peer_name[HVREPL_PEER_NAME_MAX + 1]; /* Bound to; empty: none. */
	struct hvri_binding binding;
	uint64_t version;
	uint8_t *blob; /* While a put is under way, or is to be tried again. */
	uint32_t blob_length; /* Of what is put; 0: it removes the record. */
	struct hvrepl_op put_op;
	struct hvri_item put_item;
	int32_t put_result;
	/* Of the last put, which may have happened, where it is tried again; or OK. */
	int32_t put_code;
	bool putting;
	struct hvri_session *session; /* Up, of the relationship's peer. */
	uint64_t told_session; /* Serial the relationship was told of; 0: none. */
	/* Data. */
	char name[HVREPL_NAME_MAX + 1];
	uint64_t cycle_ns;
	uint32_t points_max;
	/* Of its points here; 0: none. Atomic, as the lane reads it; `quota_new`:
	 * set while the lane had the store. */
	uint64_t quota;
	uint32_t points_min;
	bool quota_new;
	bool full; /* As of the last upkeep: nothing is received. */
	uint32_t disk_count;
	struct hvri_vm_disk *disks;
	bool has_doors; /* One was opened: it is good until the node is destroyed. */
	struct hvri_storage storage;
	bool has_storage;
	hvrepl_group *group;
	hvrepl_store *store;
	hvrepl_view *view; /* The failover's. */
	bool armed;        /* Guest writes are admitted. */
	struct hvri_task *arming; /* NULL once a fence, or an end, overtook it. */
	struct hvri_lane lane;     /* Store, trackers' files, overlay. */
	struct hvri_lane cut_lane; /* Reading of cuts. */
	struct hvri_vm_timer timers[HVRI_TIMER_COUNT];
	struct hvri_vm_event session_event, start_event, void_event;
	struct hvri_alarm pump; /* The cut group's deadline. */
	struct hvri_lane_job pump_job;
	bool pumping;
	struct hvri_item pump_item;
	bool pump_queued; /* Atomic. */
	struct hvri_alarm save; /* Tracker files are due (T9). */
	struct hvri_lane_job maintain_job;
	struct hvri_alarm maintain;
	bool maintaining, maintain_more;
	bool maintain_full; /* Found by it; `full` once it is done. */
	bool reopening;  /* `store` is in a task, to be opened again. */
	/* Of OPEN_OVERLAY and DROP_OVERLAY; the newest is what is to be. */
	uint32_t overlay_turn;
	bool store_lost; /* Opening it again failed; tried once more. */
	int32_t store_code; /* Why; `open_sentence` says it. */
	bool store_held; /* Upkeep would be in the way. */
	bool keeps_points; /* Of the store, for a failover: hvri_standby_keep(). */
	int32_t maintain_code;
	uint64_t doubted, told_doubt; /* Newest point in doubt (S1). */
	struct hvri_vm_event doubt_event;
	struct hvri_shipment ship;
	struct hvri_reception reception;
	struct hvri_filter *filter;
	struct hvri_comparison *comparison;
	struct hvri_start start;
	/* Points as last listed, for who asks. */
	struct hvrepl_point points[HVREPL_POINTS_MAX + 8];
	uint32_t point_count;
	uint64_t sent_bytes, received_bytes;
	uint32_t tasks;    /* Of actions under way. */
	bool closing, shutting, shut, finished, forget;
	int32_t open_code; /* Why it could not be opened. */
	char open_sentence[HVREPL_SENTENCE_MAX];
};

/* An action with a token, on its way to DONE. */
struct hvri_task {
	struct hvri_lane_job job; /* First. */
	struct hvri_vm *vm;
	struct hvri_action action;
	struct hvri_vm_event event;
	struct hvri_done done; /* Filled by work or finish. */
	char sentence[HVREPL_SENTENCE_MAX];
	/* Control thread, before DONE is fed: install what was made. */
	void (*finish)(struct hvri_task *task);
	struct hvri_alarm retry;
	/* What single actions carry along. */
	hvrepl_store *store;
	hvrepl_view *view;
	hvrepl_cut *cut;
	uint32_t disk, sequence, messages, generation;
	uint64_t at;
	uint8_t *bytes;
	size_t length, room;
	bool again;      /* Set by finish: not done yet. */
	bool reopen;     /* `store` failed a flush: see hvri_standby_detach_failed. */
	bool of_closing; /* Goes on though the VM closes. */
	uint32_t turn;   /* Of overlay_turn; 0: it cannot be overtaken. */
};

/* ---- vm.c ---- */
HVRI_MUST_CHECK int32_t hvri_vm_create(struct hvrepl_node *node,
				       const struct hvrepl_uuid *id,
				       struct hvri_vm **vm_out);
/* What a START says of this node. */
void hvri_vm_start_fill(struct hvri_vm *vm);
/* Feed START, with what `start` says, in front of everything else. */
void hvri_vm_begin(struct hvri_vm *vm);
/* The session with the peer came or went. */
void hvri_vm_session_changed(struct hvri_vm *vm);
/* Events are fed in order, one at a time, each after the one before was
 * performed. An embedded event that is queued already is not queued again. */
void hvri_vm_feed(struct hvri_vm *vm, struct hvri_vm_event *event);
/* One to feed that frees itself after its turn; NULL: no memory. */
struct hvri_vm_event *hvri_vm_event_new(struct hvri_vm *vm, uint32_t type);
/* Its session is gone, and with it what waits of what that said. */
void hvri_vm_unhear(struct hvri_vm *vm);
/* Go on with performing, or with the next event. */
void hvri_vm_go_on(struct hvri_vm *vm);
/* Nothing of it is under way, on whatever thread. */
bool hvri_vm_idle(const struct hvri_vm *vm);
/* Shut, or left over, and nothing of it is under way any more. */
void hvri_vm_free(struct hvri_vm *vm);
/* Start the end: stop everything, close cleanly. */
void hvri_vm_close(struct hvri_vm *vm);
/* Something ended: go on closing. */
void hvri_vm_settled(struct hvri_vm *vm);
HVRI_MUST_CHECK int32_t hvri_vm_operate(struct hvri_vm *vm,
					const struct hvrepl_operation *operation,
					const struct hvri_setup *setup,
					const struct hvrepl_uuid *peer,
					const char *peer_name,
					uint64_t *job_out,
					struct hvrepl_error *error);

/* ---- record.c: the record in the state store. ---- */
#define HVRI_VM_BLOB_MAX (HVRI_RECORD_ENCODED_MAX + 1024u)
/* NOT_FOUND; fills own, peer_name, version and the relationship. */
HVRI_MUST_CHECK int32_t hvri_vm_load(struct hvri_vm *vm);
/* Start the put; ends in hvri_vm_go_on(). */
HVRI_MUST_CHECK int32_t hvri_vm_save(struct hvri_vm *vm, bool remove);
/* What was put, or is to be put again, is needed no more. */
void hvri_vm_drop_blob(struct hvri_vm *vm);
/* What `put_code` means for who operates this site. */
void hvri_vm_say_put(const struct hvri_vm *vm, char *sentence, size_t size);

/* "Untrusted" of one disk (T8), beside the record: is it, and the tracker's
 * callback that says so, on whatever thread it pumps. */
bool hvri_disk_untrusted(const struct hvri_vm_disk *disk);
int32_t hvri_disk_trust(void *user, hvrepl_op *op, uint32_t trusted);

/* ---- perform.c ---- */
/* Perform one action: OK, or NOMEM and nothing happened. */
HVRI_MUST_CHECK int32_t hvri_vm_perform(struct hvri_vm *vm,
					const struct hvri_action *action);
/* The cut that a task made to look into it, if there is one. */
void hvri_task_drop_cut(struct hvri_task *task);
HVRI_MUST_CHECK int32_t hvri_task_new(struct hvri_vm *vm,
				      const struct hvri_action *action,
				      bool (*work)(struct hvri_lane_job *job),
				      void (*finish)(struct hvri_task *task),
				      struct hvri_task **task_out);
void hvri_task_submit(struct hvri_task *task);
/* Without the lane: finish and DONE at its turn. */
void hvri_task_end(struct hvri_task *task, int32_t code);
/* In finish: BUSY means that something is still leaving; work runs again after
 * a pause. True: that is so, finish returns. */
bool hvri_task_waits(struct hvri_task *task, uint64_t pause_ns);
/* Something newer of its kind was asked for: it changes nothing any more. */
bool hvri_task_overtaken(const struct hvri_task *task);
void hvri_task_error(struct hvri_task *task, int32_t code,
		     const struct hvrepl_error *error);

/* ---- open.c: opening and closing what a VM consists of. ---- */
HVRI_MUST_CHECK int32_t hvri_vm_take_disks(struct hvri_vm *vm,
					   const struct hvrepl_disk_spec *specs,
					   struct hvrepl_disk *disks,
					   uint32_t disk_count,
					   const struct hvrepl_storage *storage,
					   struct hvrepl_error *error);
/* Have the application bring a replica's disks and storage; they are the
 * caller's on success. CREATE: they are new. */
HVRI_MUST_CHECK int32_t hvri_vm_bring(struct hvri_vm *vm,
				      const struct hvrepl_disk_spec *specs,
				      uint32_t flags,
				      struct hvrepl_disk *disks_out,
				      struct hvrepl_storage *storage_out);
/* A replica that the state store knows: disks from the application, then as
 * hvri_vm_open(). On failure it may be tried again. */
HVRI_MUST_CHECK int32_t hvri_vm_open_known(struct hvri_vm *vm);
/* As the record's form says; ends in START being fed. */
HVRI_MUST_CHECK int32_t hvri_vm_open(struct hvri_vm *vm);
/* Submit the job that closes cleanly what open made. */
HVRI_MUST_CHECK int32_t hvri_vm_shut(struct hvri_vm *vm);
HVRI_MUST_CHECK int32_t hvri_vm_attach_trackers(struct hvri_vm *vm,
						uint32_t flags,
						struct hvrepl_error *error);
HVRI_MUST_CHECK int32_t hvri_vm_detach_trackers(struct hvri_vm *vm,
						uint32_t flags);
HVRI_MUST_CHECK int32_t hvri_vm_remove_tracker_files(struct hvri_vm *vm);
HVRI_MUST_CHECK int32_t hvri_vm_open_store(struct hvri_vm *vm, uint32_t flags,
					   hvrepl_store **store_out,
					   struct hvrepl_error *error);
/* Failover's view and overlay disks of `point` (0: the standing one). */
HVRI_MUST_CHECK int32_t hvri_vm_open_view(struct hvri_vm *vm, uint64_t point,
					  struct hvrepl_error *error);
void hvri_vm_tracker_object(uint32_t disk, char id_out[32]);
void hvri_vm_list_points(struct hvri_vm *vm);

/* ---- doors.c ---- */
/* Guests see the live disks: not at all, readable, or writable. */
void hvri_vm_doors(struct hvri_vm *vm, bool readable, bool writable);
/* The VM is gone. Doors that were given out stay with the node, shut; without any its
 * disks' memory goes. */
void hvri_vm_leave_doors(struct hvri_vm *vm);
/* As the node is destroyed. */
void hvri_vm_free_doors(struct hvrepl_node *node);

/* ---- owner.c ---- */
HVRI_MUST_CHECK int32_t hvri_owner_cut(struct hvri_vm *vm,
				       const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_owner_fence(struct hvri_vm *vm,
					 const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_owner_arm(struct hvri_vm *vm,
				       const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_owner_mark_all(struct hvri_vm *vm,
					    const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_owner_export(struct hvri_vm *vm,
					  const struct hvri_action *action);
void hvri_owner_mark(struct hvri_vm *vm, const struct hvri_action *action);
void hvri_owner_pump(struct hvri_vm *vm);
/* Save the trackers' tokens now and then while guests write (T9). */
void hvri_owner_save(struct hvri_vm *vm);

/* ---- ship.c ---- */
void hvri_ship_init(struct hvri_vm *vm);
void hvri_ship_start(struct hvri_vm *vm, const struct hvri_action *action);
void hvri_ship_release(struct hvri_vm *vm, const struct hvri_action *action);
void hvri_ship_settle(struct hvri_vm *vm, const struct hvri_action *action);
void hvri_ship_hold(struct hvri_vm *vm, const struct hvri_action *action);
void hvri_ship_stop(struct hvri_vm *vm); /* The session ended. */
void hvri_ship_read(struct hvri_vm *vm); /* Begin reading the new cut. */
int32_t hvri_ship_credit(struct hvri_vm *vm, const uint8_t *payload,
			 size_t length);
bool hvri_ship_idle(const struct hvri_vm *vm);

/* ---- deeds.c ---- */

/* In the audit: who asked for an operation, and why not, if not. `peer` NULL: the
 * operator. */
void hvri_note_operation(struct hvri_vm *vm, uint32_t operation,
			 const char *peer, int32_t code, const char *why);
/* An ENABLE that goes over its peer's quota, of a VM that it calls `name`. */
void hvri_note_over_quota(struct hvrepl_node *node, const char *peer,
			  const struct hvrepl_uuid *vm, const char *name);
/* ...and what a peer's message came to. */
void hvri_note_message(struct hvri_vm *vm, const struct hvri_vm_event *event);
/* Before a message is acted on: the verb that it needs, costs data by, and that the
 * application does not permit now. 0: none. */
uint32_t hvri_withheld(struct hvri_vm *vm, const struct hvri_message *message);

/* ---- lend.c ---- */

/* Credit for what the VM receives, as much as there is for it. */
void hvri_lend(struct hvri_vm *vm);
/* So many bytes of it were used. Others may have them. */
void hvri_lend_back(struct hvri_vm *vm, uint64_t bytes);
/* Nothing more comes by what it was given. */
void hvri_lend_end(struct hvri_vm *vm);
/* Of `bytes`, so many for a trial of the session; and given back. */
uint64_t hvri_lend_trial(struct hvri_session *session, uint64_t bytes);
void hvri_lend_trial_back(struct hvri_session *session, uint64_t bytes);

/* ---- receive.c ---- */
void hvri_receive_init(struct hvri_vm *vm);
HVRI_MUST_CHECK int32_t hvri_receive_start(struct hvri_vm *vm,
					   const struct hvri_action *action);
void hvri_receive_stop(struct hvri_vm *vm, const struct hvrepl_uuid *cut,
		       bool drop);
int32_t hvri_receive_frame(struct hvri_vm *vm, const struct hvri_frame *frame,
			   const uint8_t *payload, struct hvri_slab *slab);
/* A store that was opened again: its newest point. */
void hvri_receive_found(struct hvri_vm *vm, const struct hvrepl_uuid *cut);
void hvri_receive_session_down(struct hvri_vm *vm);

/* ---- standby.c, overlay.c: what a store's owner is told to do. ---- */
HVRI_MUST_CHECK int32_t hvri_standby_create(struct hvri_vm *vm,
					    const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_standby_adopt(struct hvri_vm *vm,
					   const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_standby_overlay(struct hvri_vm *vm,
					     const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_standby_drop(struct hvri_vm *vm,
					  const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_standby_fold(struct hvri_vm *vm,
					  const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_standby_check(struct hvri_vm *vm,
					   const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_standby_remove(struct hvri_vm *vm,
					    const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_standby_unpin(struct hvri_vm *vm,
					   const struct hvri_action *action);
/* A store that failed a flush knows what it holds only when it is opened again.
 * Control thread: take it away for that, if nothing uses it; the task's work and
 * finish then go through the other two first. */
void hvri_standby_detach_failed(struct hvri_task *task);
bool hvri_standby_reopen(struct hvri_task *task);   /* Work: true: return. */
bool hvri_standby_reopened(struct hvri_task *task); /* Finish: true: return. */
void hvri_standby_maintain(struct hvri_vm *vm);
/* A failover to `point` is about to be decided: upkeep, a piece of which may be
 * under way, drops nothing from now on. False: it is gone, or just going. */
HVRI_MUST_CHECK bool hvri_standby_keep(struct hvri_vm *vm, uint64_t point);
/* After a step: unless a failover is still on its way. */
void hvri_standby_let_go(struct hvri_vm *vm);
void hvri_standby_forget_tail(struct hvri_vm *vm);

/* ---- status.c ---- */
/* OK, or why nothing that its record keeps can be set just now. */
HVRI_MUST_CHECK int32_t hvri_vm_changeable(const struct hvri_vm *vm,
					   struct hvrepl_error *error);
/* What the relationship is to see of the store. */
void hvri_vm_look(struct hvri_vm *vm);
/* Changed here, in no cut; HVREPL_BYTES_UNKNOWN: cannot be said just now. */
uint64_t hvri_vm_changed_bytes(const struct hvri_vm *vm);
/* Of the points as last listed, for a failover to `point`. */
void hvri_vm_point_facts(const struct hvri_vm *vm,
			 const struct hvri_point *point,
			 struct hvri_point_facts *facts_out);

/* ---- compare.c: digests between the two sites. ---- */
HVRI_MUST_CHECK int32_t hvri_compare_start(struct hvri_vm *vm,
					   const struct hvri_action *action);
HVRI_MUST_CHECK int32_t hvri_verify_start(struct hvri_vm *vm,
					  const struct hvri_action *action);
int32_t hvri_compare_frame(struct hvri_vm *vm, const struct hvri_frame *frame,
			   const uint8_t *payload);
void hvri_compare_session_down(struct hvri_vm *vm);
void hvri_compare_free(struct hvri_vm *vm);
/* Leave out of `cut` what the peer's point has already. */
void hvri_filter_apply(struct hvri_vm *vm, hvrepl_cut *cut);

/* ---- route.c: all VMs of a node, for peer.c. ---- */
void hvri_vms_session_up(struct hvrepl_node *node,
			 struct hvri_session *session);
/* What an ENABLE made that came to nothing: no record, no disks, and none to come.
 * Nothing is lost with it, and nobody needs it; it is freed as soon as that is so, as a
 * peer can ask for any number of VMs. */
bool hvri_vm_is_left_over(const struct hvri_vm *vm);
/* It is new here: the sessions that stand already may be its peer's. */
void hvri_vm_meet_sessions(struct hvri_vm *vm);
/* What it is bound to changed: leave the session, or come to one; of several the one
 * of the identity that it is bound to. */
void hvri_vm_find_session(struct hvri_vm *vm);
void hvri_vms_session_down(struct hvrepl_node *node,
			   struct hvri_session *session);
int32_t hvri_vms_frame(struct hvrepl_node *node, struct hvri_session *session,
		       const struct hvri_frame *frame, const uint8_t *payload,
		       struct hvri_slab *slab);
#endif
