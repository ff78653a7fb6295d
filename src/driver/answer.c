/* SPDX-License-Identifier: Apache-2.0 */
/* DIGEST_ASK answered: one after the other, in order, in bounded pieces. */
#include "driver/compare.h"

#include <openssl/crypto.h>
#include <string.h>

static void next_answer(struct hvri_vm *vm);

/* The scan is the first ask's. */
static struct hvri_vm *vm_of_job(struct hvri_lane_job *job)
{
	return ((struct hvri_comparison *)((char *)job -
					   offsetof(struct hvri_comparison,
						    job)))
		->scan.vm;
}

static void free_answer(struct hvri_vm *vm, struct hvri_waiting_ask *answer)
{
	OPENSSL_cleanse(&answer->ask, sizeof(answer->ask));
	hvri_free(&vm->node->env, answer, sizeof(*answer));
}

static struct hvri_waiting_ask *take_first(struct hvri_comparison *comparison)
{
	struct hvri_waiting_ask *answer = comparison->first;

	comparison->first = answer->next;
	if (comparison->first == NULL)
		comparison->last = &comparison->first;
	(void)__atomic_sub_fetch(&comparison->waiting, 1, __ATOMIC_SEQ_CST);
	return answer;
}

/* Send what became of the first ask. */
static void send_answer(struct hvri_vm *vm, int32_t code)
{
	struct hvri_comparison *comparison = vm->comparison;
	struct hvri_waiting_ask *answer = take_first(comparison);
	struct hvri_digests digests = {
		.disk = answer->ask.disk,
		.offset = answer->ask.offset,
		.point = answer->ask.point,
		.code = code,
	};
	size_t length = HVRI_DIGESTS_PREFIX_SIZE;
	struct hvri_session *session = vm->session;
	uint8_t *payload = comparison->scan.frame;
	int32_t rc;

	if (session != NULL && session->serial == answer->session) {
		if (code == HVREPL_OK) {
			digests.count = answer->ask.count;
			digests.point = comparison->scan.point.number;
			length += (size_t)digests.count * HVRI_DIGEST_SIZE;
		}
		hvri_digests_encode(&digests, payload);
		rc = hvri_link_send(&session->link, HVRI_FRAME_DIGESTS,
				    &vm->relationship.record.vm, payload,
				    length);
		if (rc < 0)
			hvri_link_close(&session->link, rc, NULL);
	}
	free_answer(vm, answer);
}

static bool answer_work(struct hvri_lane_job *job)
{
	return hvri_scan_piece(&vm_of_job(job)->comparison->scan);
}

static void answer_done(struct hvri_lane_job *job)
{
	struct hvri_vm *vm = vm_of_job(job);
	int32_t code = hvri_scan_end(&vm->comparison->scan);

	vm->comparison->answering = false;
	send_answer(vm, code);
	next_answer(vm);
	hvri_vm_settled(vm);
}

static void next_answer(struct hvri_vm *vm)
{
	struct hvri_comparison *comparison = vm->comparison;

	while (comparison->first != NULL && !comparison->answering) {
		int32_t rc = comparison->first->refused;

		if (rc == HVREPL_OK)
			rc = hvri_scan_begin(&comparison->scan, vm,
					     &comparison->first->ask);
		if (rc < 0) {
			send_answer(vm, rc);
			continue;
		}
		comparison->answering = true;
		comparison->job.work = answer_work;
		comparison->job.done = answer_done;
		hvri_lane_submit(&vm->lane, &comparison->job);
	}
	if (!comparison->answering)
		hvri_scan_idle(vm);
}

void hvri_answer_drop(struct hvri_vm *vm)
{
	struct hvri_comparison *comparison = vm->comparison;
	struct hvri_waiting_ask *scanned = NULL;

	if (comparison->answering)
		scanned = take_first(comparison);
	while (comparison->first != NULL)
		free_answer(vm, take_first(comparison));
	if (scanned == NULL) {
		hvri_scan_idle(vm);
		return;
	}
	/* Its session does not fit when it is done. */
	scanned->next = NULL;
	*comparison->last = scanned;
	comparison->last = &scanned->next;
	(void)__atomic_add_fetch(&comparison->waiting, 1, __ATOMIC_SEQ_CST);
}

/* An owner compares with what it has sent; who has it sent reads a running VM's
 * disks, and does so to verify only. */
static int32_t may_ask(struct hvri_vm *vm)
{
	uint32_t verb = vm->relationship.record.form == HVRI_FORM_STORE ?
				HVREPL_VERB_RECEIVE : HVREPL_VERB_VERIFY;

	if ((hvri_node_verbs(vm->node, vm->session->link.info.peer) & verb) != 0)
		return HVREPL_OK;
	hvri_session_denied(vm->session, verb, &vm->relationship.record.vm);
	return HVREPL_E_DENIED;
}

int32_t hvri_answer_ask(struct hvri_vm *vm, const uint8_t *payload,
			size_t length)
{
	struct hvri_comparison *comparison = hvri_comparison_of(vm);
	struct hvri_waiting_ask *answer;
	int32_t rc;

	if (comparison == NULL)
		return HVREPL_E_NOMEM;
	if (comparison->waiting >= HVRI_ASKS_MAX)
		return HVREPL_E_PROTOCOL;
	answer = hvri_alloc(&vm->node->env, sizeof(*answer));
	if (answer == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_digest_ask_decode(payload, length, &answer->ask);
	if (rc < 0) {
		free_answer(vm, answer);
		return rc;
	}
	answer->session = vm->session->serial;
	answer->refused = may_ask(vm);
	*comparison->last = answer;
	comparison->last = &answer->next;
	(void)__atomic_add_fetch(&comparison->waiting, 1, __ATOMIC_SEQ_CST);
	next_answer(vm);
	return HVREPL_OK;
}
