/* SPDX-License-Identifier: Apache-2.0 */
/* Single steps: what one event must and must not do. */
#include "replication/relationship.h"

#include "base/env.h"
#include "replication/lineage.h"
#include "sitesrig.h"

#include <string.h>

static const struct hvri_message *sent(uint32_t type)
{
	for (uint32_t i = 0; i < u.send_count; i++)
		if (u.sends[i].type == type)
			return &u.sends[i];
	return NULL;
}

static struct hvri_message grant(uint64_t point)
{
	struct hvri_message m = sites_message_to(&w, 1, HVRI_MESSAGE_GRANT);
	const struct hvri_record *rec = &w.site[1].r.record;

	m.u.handover.epoch = sites_fresh(&w);
	m.u.handover.parent = rec->current;
	m.u.handover.ordinal = hvri_lineage_next_ordinal(&rec->lineage);
	m.u.handover.point = point;
	return m;
}

START_TEST(a_grant_is_taken_only_at_exactly_its_point)
{
	struct hvri_record *rec = &w.site[1].r.record;
	struct hvri_message m = grant(rec->position.number + 1);
	const struct hvri_epoch *epoch;

	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_uint_eq(rec->ownership, HVREPL_OWNERSHIP_STANDBY);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_REFUSED));
	/* Durable before it is said, though the epoch was never seen. */
	ck_assert(u.persist);
	epoch = hvri_lineage_look(&rec->lineage, &m.u.handover.epoch);
	ck_assert_uint_eq(epoch->outcome, HVREPL_OUTCOME_REFUSED);
	/* Refused once, refused for ever, at the right point too. */
	m.u.handover.point = rec->position.number;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_REFUSED));
	ck_assert_uint_eq(rec->ownership, HVREPL_OWNERSHIP_STANDBY);

	m = grant(rec->position.number);
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_uint_eq(rec->ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_OWNED));
	ck_assert(u.persist);
	/* Said again, it is answered again and nothing else. */
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_OWNED));
	ck_assert_uint_eq(u.action_count, 0);
}
END_TEST

START_TEST(a_cancel_of_an_epoch_never_seen_is_refused_durably)
{
	struct hvri_record *rec = &w.site[1].r.record;
	struct hvri_message m = grant(rec->position.number);

	m.type = HVRI_MESSAGE_CANCEL_REQUEST;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert(u.persist);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_REFUSED));
	m.type = HVRI_MESSAGE_GRANT;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_ptr_null(sent(HVRI_MESSAGE_OWNED));
	ck_assert_uint_eq(rec->ownership, HVREPL_OWNERSHIP_STANDBY);
}
END_TEST

START_TEST(messages_of_another_incarnation_are_not_acted_on)
{
	static struct hvri_record before;
	struct hvri_message m = grant(w.site[1].r.record.position.number);

	before = w.site[1].r.record;
	m.to_incarnation++;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_mem_eq(&before, &w.site[1].r.record, sizeof(before));
	m.to_incarnation--;
	m.from_incarnation++;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_mem_eq(&before, &w.site[1].r.record, sizeof(before));
	ck_assert_uint_eq(u.send_count + u.action_count, 0);
	/* Nor before HELLO in this session. */
	m.from_incarnation--;
	w.site[1].r.greeted = false;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_mem_eq(&before, &w.site[1].r.record, sizeof(before));
}
END_TEST

START_TEST(an_owner_that_writes_does_not_join)
{
	struct hvri_message m;

	/* Both wrote; B presses on without a discard. */
	sites_cut_link(&w);
	sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	sites_settle(&w, 100);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(w.site[0].r.record.ownership,
			  HVREPL_OWNERSHIP_DIVERGED);
	m = sites_message_to(&w, 0, HVRI_MESSAGE_JOIN);
	m.u.join.epoch = w.site[1].r.record.current;
	sites_step(&w, 0, &m, 0xf, &u);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_ANSWER));
	ck_assert_int_eq(sent(HVRI_MESSAGE_ANSWER)->answer.code,
			 HVREPL_E_PEER_REFUSED);
	ck_assert_uint_eq(u.action_count, 0);
	ck_assert(w.site[0].r.armed);
}
END_TEST

START_TEST(a_failover_ends_handovers_that_were_only_begun)
{
	struct hvri_record *rec = &w.site[1].r.record;
	struct hvri_message m = grant(0);

	m.type = HVRI_MESSAGE_HANDOVER_CHECK;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert(hvri_lineage_look(&rec->lineage, &m.u.handover.epoch));
	sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	ck_assert_uint_eq(rec->ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert_uint_eq(hvri_lineage_look(&rec->lineage, &m.u.handover.epoch)
				  ->outcome,
			  HVREPL_OUTCOME_REFUSED);
}
END_TEST

START_TEST(a_cut_that_does_not_follow_is_declined)
{
	struct hvri_message m = sites_message_to(&w, 1, HVRI_MESSAGE_CUT_BEGIN);
	struct hvri_record *rec = &w.site[1].r.record;

	m.u.cut.kind = HVRI_CUT_DELTA;
	m.u.cut.closed = true;
	m.u.cut.from = rec->position;
	m.u.cut.point = rec->position;
	m.u.cut.point.number += 2;
	m.u.cut.point.cut = sites_fresh(&w);
	m.u.cut.from.number++;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_CUT_DECLINE));
	m.u.cut.from = rec->position;
	m.u.cut.point.epoch = sites_fresh(&w);
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_CUT_DECLINE));
	m.u.cut.point.epoch = rec->current;
	sites_step(&w, 1, &m, 0, &u); /* Not authorised. */
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_CUT_DECLINE));
	ck_assert_int_eq(sent(HVRI_MESSAGE_CUT_DECLINE)->answer.code,
			 HVREPL_E_DENIED);
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_uint_eq(u.action_count, 1);
	ck_assert_uint_eq(u.actions[0].type, HVRI_ACTION_RECEIVE);
	/* One taken in before is confirmed again. */
	m.u.cut.point = rec->position;
	sites_step(&w, 1, &m, 0xf, &u);
	ck_assert_ptr_nonnull(sent(HVRI_MESSAGE_DURABLE));
}
END_TEST

START_TEST(every_operation_asked_twice_does_no_harm)
{
	for (uint32_t op = 1; op < HVREPL_OPERATION_COUNT; op++) {
		if (op == HVREPL_OPERATION_REMOVE)
			continue;
		for (uint32_t site = 0; site < 2; site++) {
			sites_operate(&w, site, op, 0, NULL);
			sites_operate(&w, site, op, 0, NULL);
			sites_settle(&w, 2000);
			sites_operate(&w, site, op, 0, NULL);
			sites_settle(&w, 2000);
			ck_assert_ptr_null(w.broken);
		}
	}
}
END_TEST

START_TEST(removed_at_one_site_it_is_removed_at_the_other)
{
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_REMOVE, 0, NULL),
			 HVREPL_OK);
	sites_settle(&w, 2000);
	ck_assert(!w.site[0].has_record && !w.site[1].has_record);
	ck_assert_int_eq(w.site[0].last_code, HVREPL_OK);
	/* Again: it is so already. */
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_REMOVE, 0, NULL),
			 HVREPL_OK);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_REMOVE, 0, NULL),
			 HVREPL_OK);
	/* And it can be set up anew. */
	sites_replicating(&w);
	ck_assert(sites_is_replicating(&w));
}
END_TEST

START_TEST(suspended_at_either_site_nothing_is_cut)
{
	for (uint32_t site = 0; site < 2; site++) {
		uint64_t cuts;

		sites_operate(&w, site, HVREPL_OPERATION_SUSPEND, 0, NULL);
		sites_settle(&w, 2000);
		ck_assert_uint_eq(sites_state(&w, site),
				  HVREPL_STATE_SUSPENDED);
		cuts = w.site[0].r.statistics.cuts;
		sites_wait(&w, UINT64_C(20000000000));
		ck_assert_uint_le(w.site[0].r.statistics.cuts, cuts + 1);
		ck_assert(sites_write(&w, 0)); /* Tracking never stops. */
		sites_operate(&w, site, HVREPL_OPERATION_RESUME, 0, NULL);
		sites_settle(&w, 2000);
		ck_assert(sites_is_replicating(&w));
	}
}
END_TEST

START_TEST(a_replica_that_lost_points_is_compared_as_a_whole)
{
	bool compared = false;

	/* Its store is put back to an older point. */
	sites_crash(&w, 1);
	w.site[1].point_count -= 2;
	sites_start(&w, 1);
	sites_connect(&w);
	for (int k = 0; k < 40 && !compared; k++) {
		sites_settle(&w, 1);
		compared = w.site[0].r.record.untrusted;
	}
	ck_assert(compared);
	sites_wait(&w, UINT64_C(5000000000));
	ck_assert(sites_is_replicating(&w));
	ck_assert(!w.site[0].r.record.untrusted);
}
END_TEST

START_TEST(a_failover_from_a_backup_is_compared_as_a_whole)
{
	const struct hvri_record *old = &w.site[0].r.record;

	/* Its store is put back to an older point, and nobody notices before it
	 * fails over: what was acknowledged since is marked at neither site. */
	sites_cut_link(&w);
	sites_crash(&w, 1);
	w.site[1].point_count -= 2;
	sites_start(&w, 1);
	sites_settle(&w, 100);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0,
				       NULL),
			 HVREPL_OK);
	sites_settle(&w, 100);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(old->ownership, HVREPL_OWNERSHIP_DIVERGED);
	ck_assert(old->untrusted);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_DISCARD, 0,
				       &w.site[1].r.record.current),
			 HVREPL_OK);
	sites_settle(&w, 2000);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_REVERSE, 0,
				       NULL),
			 HVREPL_OK);
	sites_settle(&w, 4000);
	sites_wait(&w, UINT64_C(5000000000));
	ck_assert(sites_is_replicating(&w));
	ck_assert(!old->untrusted);
	ck_assert_ptr_null(w.broken);
}
END_TEST

/* What the other site skipped it has, and sends: that needs no compare. */
START_TEST(a_failover_to_an_older_point_is_not_compared)
{
	uint64_t older = w.site[1].r.record.position.number - 1;

	sites_cut_link(&w);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, older,
				       NULL),
			 HVREPL_OK);
	sites_settle(&w, 100);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert_uint_eq(w.site[0].r.record.ownership,
			  HVREPL_OWNERSHIP_DIVERGED);
	ck_assert(!w.site[0].r.record.untrusted);
}
END_TEST

/* The last cut of a handover is a delta: it needs its base (O4). */
START_TEST(a_vm_is_not_handed_over_onto_a_replica_that_lost_points)
{
	struct one_site *a = &w.site[0];

	sites_write(&w, 0);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_PLANNED, 0,
				       NULL),
			 HVREPL_OK);
	for (int k = 0;
	     k < 400 && a->r.handover_stage != HVRI_HANDOVER_FENCING; k++)
		sites_settle(&w, 1);
	ck_assert_uint_eq(a->r.handover_stage, HVRI_HANDOVER_FENCING);
	sites_cut_link(&w);
	sites_settle(&w, 1000);
	ck_assert_uint_eq(a->r.handover_stage, HVRI_HANDOVER_FINAL);
	ck_assert(!a->gate);
	/* The replica comes back as a backup had it. */
	sites_crash(&w, 1);
	w.site[1].point_count -= 2;
	sites_start(&w, 1);
	sites_connect(&w);
	sites_settle(&w, 4000);
	ck_assert_int_eq(a->last_code, HVREPL_E_UNTRUSTED);
	ck_assert_uint_eq(a->r.record.ownership, HVREPL_OWNERSHIP_OWNER);
	ck_assert(a->gate && !w.site[1].gate);
	sites_wait(&w, UINT64_C(5000000000));
	ck_assert(sites_is_replicating(&w));
	ck_assert(!a->r.record.untrusted);
}
END_TEST

/* Its store reads what it holds only when it is opened again, which a failover
 * may be the first to do. */
START_TEST(a_point_found_under_a_failover_counts_after_the_cancel)
{
	struct hvri_relationship *r = &w.site[1].r;
	struct hvri_event e;
	struct hvri_point found;

	memset(&e, 0, sizeof(e));
	r->receiving.point = r->record.position;
	r->receiving.point.number++;
	r->receiving.point.cut = sites_fresh(&w);
	r->receiving.from = r->record.position;
	r->receiving.kind = HVRI_CUT_DELTA;
	found = r->receiving.point;
	e.type = HVRI_EVENT_RECEIVE_FAILED;
	e.u.data.cut = found.cut;
	e.u.data.code = HVREPL_E_NO_SPACE;
	sites_feed(&w, 1, &e);
	sites_cut_link(&w);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED,
				       r->record.position.number, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(r->record.form, HVRI_FORM_OVERLAY);
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.code = HVREPL_OK;
	sites_feed(&w, 1, &e);
	ck_assert_uint_eq(r->record.position.number, found.number);
	ck_assert(hvri_uuid_equal(&r->record.position.cut, &found.cut));
}
END_TEST

/* More than one may have been given up before: the store says which is its newest. */
START_TEST(of_points_found_under_a_failover_the_stores_newest_counts)
{
	struct hvri_relationship *r = &w.site[1].r;
	struct hvri_event e;
	struct hvri_point newest = r->record.position;

	sites_cut_link(&w);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED,
				       r->record.position.number, NULL),
			 HVREPL_OK);
	ck_assert_uint_eq(r->record.form, HVRI_FORM_OVERLAY);
	newest.number += 2;
	newest.cut = sites_fresh(&w);
	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_POINT_COMPLETE;
	e.u.data.cut = newest.cut;
	e.u.data.found = newest;
	sites_feed(&w, 1, &e);
	ck_assert(hvri_uuid_equal(&r->record.position.cut, &newest.cut));
	/* One that is not beyond it is no news. */
	e.u.data.found.number--;
	e.u.data.found.cut = sites_fresh(&w);
	e.u.data.cut = e.u.data.found.cut;
	sites_feed(&w, 1, &e);
	ck_assert(hvri_uuid_equal(&r->record.position.cut, &newest.cut));
}
END_TEST

START_TEST(a_site_restored_to_a_failover_that_it_cancelled_follows_again)
{
	const struct hvri_record *rec = &w.site[1].r.record;

	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0,
				       NULL),
			 HVREPL_OK);
	sites_settle(&w, 2000);
	sites_backup(&w, 1);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_CANCEL, 0, NULL),
			 HVREPL_OK);
	sites_settle(&w, 2000);
	sites_cut_link(&w);
	sites_restore(&w, 1);
	ck_assert_uint_eq(rec->form, HVRI_FORM_OVERLAY);
	sites_connect(&w);
	sites_settle(&w, 4000);
	sites_wait(&w, UINT64_C(5000000000));
	ck_assert_uint_eq(rec->form, HVRI_FORM_STORE);
	ck_assert(sites_is_replicating(&w));
	ck_assert(!rec->rolled_back && !rec->untrusted);
	/* And may be failed over to as any other. */
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0,
				       NULL),
			 HVREPL_OK);
	sites_settle(&w, 2000);
	ck_assert(w.site[1].gate);
	ck_assert_ptr_null(w.broken);
}
END_TEST

START_TEST(lost_tracking_leads_to_a_compare_by_itself)
{
	struct hvri_event e;

	memset(&e, 0, sizeof(e));
	e.type = HVRI_EVENT_TRACKING_LOST;
	/* What was changed and is no longer known to be. */
	sites_write(&w, 0);
	w.site[0].dirty = 0;
	sites_feed(&w, 0, &e);
	ck_assert_uint_eq(sites_state(&w, 0), HVREPL_STATE_RESYNCHRONIZING);
	sites_wait(&w, UINT64_C(5000000000));
	ck_assert(sites_is_replicating(&w));
	ck_assert_ptr_null(w.broken);
}
END_TEST

START_TEST(a_former_owner_waits_for_contact_before_it_arms)
{
	sites_crash(&w, 0);
	sites_start(&w, 0);
	ck_assert(!w.site[0].gate);
	sites_wait(&w, UINT64_C(9000000000));
	ck_assert(!w.site[0].gate);
	sites_wait(&w, UINT64_C(2000000000));
	ck_assert(w.site[0].gate);
	/* Or not at all, where policy says so. */
	w.site[0].r.record.policy.start_without_peer = HVRI_START_REFUSE;
	w.site[0].durable = w.site[0].r.record;
	sites_crash(&w, 0);
	sites_start(&w, 0);
	sites_wait(&w, UINT64_C(60000000000));
	ck_assert(!w.site[0].gate);
	sites_connect(&w);
	sites_settle(&w, 2000);
	ck_assert(w.site[0].gate);
}
END_TEST

/* It had no replica when the backup was made; its epoch may be over by now. */
START_TEST(a_failed_over_site_waits_for_contact_when_it_starts_again)
{
	sites_cut_link(&w);
	ck_assert_int_eq(sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0,
				       NULL),
			 HVREPL_OK);
	sites_settle(&w, 100);
	ck_assert(w.site[1].gate);
	sites_crash(&w, 1);
	sites_start(&w, 1);
	sites_settle(&w, 100);
	ck_assert(!w.site[1].gate);
	sites_wait(&w, UINT64_C(9000000000));
	ck_assert(!w.site[1].gate);
	sites_wait(&w, UINT64_C(2000000000));
	ck_assert(w.site[1].gate);
	/* Before the first point nobody else can have taken over. */
	sites_free(&w);
	sites_init(&w, 3);
	sites_connect(&w);
	sites_settle(&w, 100);
	ck_assert_int_eq(sites_operate(&w, 0, HVREPL_OPERATION_ENABLE, 0, NULL),
			 HVREPL_OK);
	sites_settle(&w, 100);
	sites_crash(&w, 0);
	sites_start(&w, 0);
	sites_settle(&w, 100);
	ck_assert(w.site[0].gate);
}
END_TEST

START_TEST(health_names_the_gravest_reason)
{
	struct hvri_health h;

	hvri_relationship_health(&w.site[0].r, w.env.now_ns, w.utc_ns, &h);
	ck_assert_uint_eq(h.level, HVREPL_HEALTH_NORMAL);
	ck_assert_uint_eq(h.reasons, 0);
	ck_assert_str_eq(h.sentence, "normal");
	hvri_relationship_health(&w.site[0].r, w.env.now_ns,
				 w.utc_ns + UINT64_C(7200000000000), &h);
	ck_assert_uint_eq(h.level, HVREPL_HEALTH_WARNING);
	ck_assert_uint_eq(h.reasons, HVREPL_REASON_POINT_OLD);
	sites_cut_link(&w);
	hvri_relationship_health(&w.site[0].r, w.env.now_ns, w.utc_ns, &h);
	ck_assert_uint_eq(h.reasons, HVREPL_REASON_DISCONNECTED);
	sites_operate(&w, 1, HVREPL_OPERATION_UNPLANNED, 0, NULL);
	sites_settle(&w, 100);
	sites_write(&w, 0);
	sites_connect(&w);
	sites_settle(&w, 2000);
	for (uint32_t i = 0; i < 2; i++) {
		hvri_relationship_health(&w.site[i].r, w.env.now_ns, w.utc_ns,
					 &h);
		ck_assert_uint_eq(h.level, HVREPL_HEALTH_CRITICAL);
		ck_assert(h.reasons & HVREPL_REASON_DIVERGED);
		ck_assert_ptr_nonnull(strstr(h.sentence, "both sites wrote"));
	}
}
END_TEST

START_TEST(a_full_replica_and_an_open_point_that_holds_a_commit_are_reasons)
{
	struct hvri_health h;

	w.site[0].r.full = w.site[1].r.full = true;
	w.site[0].r.points_open = w.site[1].r.points_open = true;
	hvri_relationship_health(&w.site[0].r, w.env.now_ns, w.utc_ns, &h);
	ck_assert_uint_eq(h.reasons, 0); /* An owner receives nothing. */
	hvri_relationship_health(&w.site[1].r, w.env.now_ns, w.utc_ns, &h);
	ck_assert_uint_eq(h.reasons, HVREPL_REASON_REPLICA_FULL);
	ck_assert_uint_eq(h.level, HVREPL_HEALTH_CRITICAL);
	ck_assert_ptr_nonnull(strstr(h.sentence, "raise the quota"));
	w.site[1].r.record.form = HVRI_FORM_FOLDING;
	w.site[1].r.full = false;
	hvri_relationship_health(&w.site[1].r, w.env.now_ns, w.utc_ns, &h);
	ck_assert_uint_eq(h.reasons, HVREPL_REASON_POINT_VIEWED);
	ck_assert_ptr_nonnull(strstr(h.sentence, "close what reads it"));
	w.site[0].r.storage_failed = w.site[1].r.storage_failed = true;
	hvri_relationship_health(&w.site[0].r, w.env.now_ns, w.utc_ns, &h);
	ck_assert_uint_eq(h.reasons, 0); /* Its store is opened again by itself. */
	hvri_relationship_health(&w.site[1].r, w.env.now_ns, w.utc_ns, &h);
	ck_assert_uint_eq(h.reasons, HVREPL_REASON_STORAGE_FAILED |
					     HVREPL_REASON_POINT_VIEWED);
	ck_assert_ptr_nonnull(strstr(h.sentence, "restart the site"));
}
END_TEST

START_TEST(no_message_of_a_peer_can_break_a_step)
{
	static uint8_t bytes[HVRI_MESSAGE_ENCODED_MAX];
	static struct hvri_message_storage storage;
	static struct hvri_claim claim;
	uint64_t seed = 11;

	/* Well-formed messages of random content, greeted and bound. */
	for (uint32_t k = 0; k < 20000; k++) {
		uint32_t site = k % 2;
		struct hvri_relationship *r = &w.site[site].r;
		struct hvri_message m, back;
		size_t length = 0;

		if (k % 50 == 0) {
			sites_free(&w);
			sites_init(&w, k);
			sites_replicating(&w);
		}
		m = sites_message_to(&w, site, 1 + (uint32_t)(test_random(&seed) %
						    (HVRI_MESSAGE_TYPE_COUNT -
						     1)));
		test_fill(&m.u, sizeof(m.u), k);
		if (m.type == HVRI_MESSAGE_CUT_BEGIN) {
			m.u.cut.kind = (uint8_t)(1 + k % 3);
			m.u.cut.closed = k % 2;
		} else if (m.type == HVRI_MESSAGE_DURABLE) {
			m.u.durable.closed = k % 2;
		} else if (m.type == HVRI_MESSAGE_STATUS) {
			m.u.status.refuses = k % 2;
		} else {
			m.u.join.exact = k % 2;
			m.u.join.untrusted = k % 3 == 0;
			m.u.join.hot = k % 5 == 0;
		}
		if (k % 3 == 0)
			memcpy(&m.u, &r->record.current, 16);
		if (m.type == HVRI_MESSAGE_RANGES) {
			m.u.ranges.count = 0;
			m.u.ranges.extents = bytes;
		}
		if (m.type == HVRI_MESSAGE_HELLO ||
		    m.type == HVRI_MESSAGE_ENABLE) {
			m.type = HVRI_MESSAGE_HELLO;
			m.number = ++w.site[!site].r.hellos_sent;
			claim = w.site[!site].r.claim_out;
			claim.ownership = (uint8_t)(test_random(&seed) % 5);
			claim.phase = (uint8_t)(test_random(&seed) %
						HVRI_PHASE_COUNT);
			claim.current = test_random(&seed) % 2 ?
						sites_fresh(&w) :
						r->record.current;
			claim.position.number = test_random(&seed);
			m.claim = &claim;
		}
		if (hvri_message_encode(&m, bytes, sizeof(bytes), &length) !=
			    HVREPL_OK ||
		    hvri_message_decode(bytes, length, &storage, &back) !=
			    HVREPL_OK)
			continue;
		sites_step(&w, site, &back, (uint32_t)test_random(&seed), &u);
		ck_assert(!u.overflow);
		/* Whatever it said, we own what we write to. */
		if (r->armed)
			ck_assert(r->record.ownership ==
					  HVREPL_OWNERSHIP_OWNER ||
				  r->record.ownership ==
					  HVREPL_OWNERSHIP_DIVERGED);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("relationship");
	TCase *tc = tcase_create("steps");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, a_grant_is_taken_only_at_exactly_its_point);
	tcase_add_test(tc, a_cancel_of_an_epoch_never_seen_is_refused_durably);
	tcase_add_test(tc, messages_of_another_incarnation_are_not_acted_on);
	tcase_add_test(tc, an_owner_that_writes_does_not_join);
	tcase_add_test(tc, a_failover_ends_handovers_that_were_only_begun);
	tcase_add_test(tc, a_cut_that_does_not_follow_is_declined);
	tcase_add_test(tc, every_operation_asked_twice_does_no_harm);
	tcase_add_test(tc, removed_at_one_site_it_is_removed_at_the_other);
	tcase_add_test(tc, suspended_at_either_site_nothing_is_cut);
	tcase_add_test(tc, a_replica_that_lost_points_is_compared_as_a_whole);
	tcase_add_test(tc,
		       a_vm_is_not_handed_over_onto_a_replica_that_lost_points);
	tcase_add_test(tc, a_failover_from_a_backup_is_compared_as_a_whole);
	tcase_add_test(tc, a_failover_to_an_older_point_is_not_compared);
	tcase_add_test(tc, a_point_found_under_a_failover_counts_after_the_cancel);
	tcase_add_test(
		tc, of_points_found_under_a_failover_the_stores_newest_counts);
	tcase_add_test(tc, a_site_restored_to_a_failover_that_it_cancelled_follows_again);
	tcase_add_test(tc, lost_tracking_leads_to_a_compare_by_itself);
	tcase_add_test(tc, a_former_owner_waits_for_contact_before_it_arms);
	tcase_add_test(tc, a_failed_over_site_waits_for_contact_when_it_starts_again);
	tcase_add_test(tc, health_names_the_gravest_reason);
	tcase_add_test(tc, a_full_replica_and_an_open_point_that_holds_a_commit_are_reasons);
	tcase_add_test(tc, no_message_of_a_peer_can_break_a_step);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
