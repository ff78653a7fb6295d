/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VERIFY: do both sites hold the same content? A piece at a time: the peer's
 * digests of the newest point, then our own of the same granules, then what
 * differs and can be told to differ is counted. An owner's granules that were
 * written since the point are skipped, and a piece during which the point moved
 * on is done again: there is no false alarm.
 */
#include "driver/compare.h"
#include "driver/status.h"

#include <stdio.h>
#include <string.h>

#define AGAIN_NS 50000000ull
/* Pieces that had to be done again, in a row: some minutes of it. */
#define AGAIN_MAX 6000u

struct verify {
	struct hvri_run run; /* First: freed as this. */
	uint32_t disk;
	uint64_t offset;
	uint32_t again;
	struct hvri_alarm retry;
	uint64_t differing, skipped, compared, unread;
	struct hvri_scan scan; /* Of our own content. */
	uint8_t theirs[HVRI_DIGESTS_MAX * HVRI_DIGEST_SIZE];
};

static void verify_next(struct verify *verify);

static void verify_free(struct hvri_run *run)
{
	struct verify *verify = (struct verify *)run;

	hvri_alarm_set(&run->vm->node->timers, &verify->retry, HVRI_NEVER);
	hvri_free(&run->vm->node->env, verify, sizeof(*verify));
}

static void on_retry(struct hvri_alarm *timer)
{
	verify_next((struct verify *)((char *)timer -
				      offsetof(struct verify, retry)));
}

/* The sites are just moving to the next point. */
static void once_more(struct verify *verify)
{
	struct hvri_vm *vm = verify->run.vm;

	if (++verify->again > AGAIN_MAX) {
		hvri_run_end(&verify->run, HVREPL_E_TIMEOUT,
			     "the recovery points moved on faster than they "
			     "could be compared: suspend replication and "
			     "verify again");
		return;
	}
	hvri_alarm_set(&vm->node->timers, &verify->retry,
		       hvri_now(&vm->node->env) + AGAIN_NS);
}

/* The job is one of its own: the VM may transfer at the same time. */
static void tell_progress(const struct verify *verify)
{
	const struct hvri_vm *vm = verify->run.vm;
	struct hvrepl_event event = HVREPL_EVENT_INIT;

	event.type = HVREPL_EVENT_PROGRESS;
	event.vm = vm->relationship.record.vm;
	event.job = vm->relationship.verify_job;
	event.value = hvri_vm_bytes_before(vm, verify->disk, verify->offset);
	event.total = hvri_vm_bytes_before(vm, vm->disk_count, 0);
	hvri_node_event(vm->node, &event);
}

static bool scan_work(struct hvri_lane_job *job)
{
	return hvri_scan_piece(
		&((struct verify *)((char *)job -
				    offsetof(struct verify, run.job)))
			 ->scan);
}

static void tally(struct verify *verify)
{
	struct hvri_vm *vm = verify->run.vm;

	for (uint32_t i = 0; i < verify->scan.count; i++) {
		const uint8_t *theirs = verify->theirs + i * HVRI_DIGEST_SIZE;
		const uint8_t *mine = hvri_scan_digest(&verify->scan, i);
		uint32_t length = hvri_granule_bytes(
			vm, verify->disk,
			verify->offset + (uint64_t)i * HVRI_DIGEST_GRANULE);

		if (hvri_digest_none(mine) || hvri_digest_none(theirs))
			verify->skipped += length;
		else if (hvri_digest_unread(mine) || hvri_digest_unread(theirs))
			verify->unread += length;
		else if (memcmp(mine, theirs, HVRI_DIGEST_SIZE) != 0)
			verify->differing += length;
		else
			verify->compared += length;
	}
	verify->offset +=
		(uint64_t)verify->scan.count * HVRI_DIGEST_GRANULE;
	verify->again = 0;
	if (verify->offset >= vm->disks[verify->disk].spec.size) {
		verify->disk++;
		verify->offset = 0;
	}
	tell_progress(verify);
}

static void scan_done(struct hvri_lane_job *job)
{
	struct verify *verify =
		(struct verify *)((char *)job -
				  offsetof(struct verify, run.job));
	int32_t rc = hvri_scan_end(&verify->scan);

	if (hvri_run_back(&verify->run))
		return;
	/* A view's point may have been dropped since. */
	if (rc == HVREPL_E_BUSY || rc == HVREPL_E_NOT_FOUND) {
		once_more(verify);
	} else if (rc < 0) {
		hvri_run_end(&verify->run, rc,
			     "this site's content could not be read");
	} else {
		tally(verify);
		verify_next(verify);
	}
}

static int32_t verify_answer(struct hvri_run *run,
			     const struct hvri_asked *asked,
			     const struct hvri_digests *digests)
{
	struct verify *verify = (struct verify *)run;
	struct hvri_digest_ask own = { .disk = asked->disk,
				       .offset = asked->offset,
				       .count = asked->count,
				       .point = asked->point };
	int32_t rc = digests->code;

	if (rc == HVREPL_OK) {
		memcpy(verify->theirs, digests->digests,
		       (size_t)digests->count * HVRI_DIGEST_SIZE);
		memcpy(own.key, run->key, sizeof(own.key));
		rc = hvri_scan_begin(&verify->scan, run->vm, &own);
		if (rc == HVREPL_OK) {
			hvri_run_submit(run, scan_work, scan_done);
			return HVREPL_OK;
		}
	}
	if (rc == HVREPL_E_BUSY || rc == HVREPL_E_NOT_FOUND)
		once_more(verify);
	else if (rc == HVREPL_E_UNTRUSTED)
		hvri_run_end(run, rc, "the two sites are known to differ: "
				      "resynchronize first, or let that go on");
	else
		hvri_run_end(run, rc, "the other site's content could not be "
				      "read");
	return HVREPL_OK;
}

/* What a store cannot read neither equals nor differs: it is said as such. */
static void end(struct verify *verify)
{
	char sentence[HVREPL_SENTENCE_MAX];

	if (verify->differing != 0 || verify->unread == 0) {
		hvri_run_end(&verify->run, HVREPL_OK, NULL);
		return;
	}
	snprintf(sentence, sizeof(sentence),
		 "%llu bytes of the recovery point cannot be read, the rest is "
		 "equal: resynchronize",
		 (unsigned long long)verify->unread);
	hvri_run_end(&verify->run, HVREPL_E_STORAGE_IO, sentence);
}

static void verify_next(struct verify *verify)
{
	struct hvri_run *run = &verify->run;
	struct hvri_vm *vm = run->vm;
	struct hvri_point point = hvri_scan_point(vm);
	int32_t rc;

	if (verify->disk >= vm->disk_count) {
		run->task->done.bytes = verify->differing;
		run->task->done.count = verify->skipped;
		hvri_log(&vm->node->env, HVREPL_LOG_NOTICE,
			 "VM %s verified: %llu bytes equal, %llu differ, %llu "
			 "changed since",
			 vm->name, (unsigned long long)verify->compared,
			 (unsigned long long)verify->differing,
			 (unsigned long long)verify->skipped);
		end(verify);
		return;
	}
	if (point.number == 0) {
		once_more(verify);
		return;
	}
	rc = hvri_run_ask(run, verify->disk, verify->offset,
			  hvri_granules(vm, verify->disk, verify->offset),
			  point.number);
	if (rc < 0)
		hvri_run_end(run, rc, NULL);
}

int32_t hvri_verify_start(struct hvri_vm *vm, const struct hvri_action *action)
{
	struct hvri_point point = hvri_scan_point(vm);
	struct verify *verify;
	struct hvri_task *task;
	int32_t rc;

	if (hvri_comparison_of(vm) == NULL)
		return HVREPL_E_NOMEM;
	verify = hvri_alloc(&vm->node->env, sizeof(*verify));
	if (verify == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_random(&vm->node->env, verify->run.key,
			 sizeof(verify->run.key));
	if (rc >= 0)
		rc = hvri_task_new(vm, action, NULL, NULL, &task);
	if (rc < 0) {
		hvri_free(&vm->node->env, verify, sizeof(*verify));
		return rc;
	}
	verify->run.answer = verify_answer;
	verify->run.free = verify_free;
	hvri_alarm_init(&verify->retry, on_retry);
	hvri_run_start(&verify->run, vm, task);
	if (vm->session == NULL || vm->closing)
		hvri_run_end(&verify->run, HVREPL_E_DISCONNECTED,
			     "there is no connection to the other site");
	else if (point.number == 0)
		hvri_run_end(&verify->run, HVREPL_E_STATE,
			     "there is no recovery point that both sites "
			     "could be compared at yet");
	else if (action->point.number != point.number)
		hvri_run_end(&verify->run, HVREPL_E_NOT_FOUND,
			     "only the newest recovery point can be compared "
			     "with the other site: verify without a number");
	else
		verify_next(verify);
	return HVREPL_OK;
}
