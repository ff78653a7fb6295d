/* SPDX-License-Identifier: Apache-2.0 */
/* Credit (F1): how much of a VM's content may be on its way here. */
#include "driver/vm.h"

#include "base/plant.h"

#include <string.h>

/* What one peer has, by whatever sessions. A chunk may go beyond its credit, so
 * that a session's part can be less than nothing for a moment. */
static uint64_t lent_to(const struct hvrepl_node *node, const char *peer)
{
	int64_t lent = 0;

	for (const struct hvri_session *session = node->sessions;
	     session != NULL; session = session->next)
		if (strcmp(session->link.info.peer, peer) == 0)
			lent += (int64_t)session->lent;
	return lent < 0 ? 0 : (uint64_t)lent;
}

/* A peer never has more than is left for the others: one that takes all it gets
 * and sends nothing leaves half of the pool, the next such one a quarter, and
 * who sends gets it back. */
static uint64_t most_for(const struct hvrepl_node *node, const char *peer)
{
	uint64_t lent = lent_to(node, peer);

	return node->credit_left > lent ? (node->credit_left - lent) / 2 : 0;
}

/* The last chunk may go beyond what was granted. */
static uint64_t outstanding(const struct hvri_reception *reception)
{
	return reception->granted > reception->consumed ?
		       reception->granted - reception->consumed :
		       0;
}

static bool wants(const struct hvri_vm *vm)
{
	const struct hvri_reception *reception = &vm->reception;

	return reception->open && !reception->failed && vm->session != NULL &&
	       outstanding(reception) <= HVRI_CREDIT_VM / 2;
}

static void lend(struct hvri_vm *vm)
{
	struct hvri_reception *reception = &vm->reception;
	struct hvrepl_node *node = vm->node;
	struct hvri_session *session = vm->session;
	struct hvri_credit credit = { .cut = reception->begin.point.cut };
	uint64_t more, turn = reception->rate_turn;
	uint8_t payload[HVRI_CREDIT_SIZE];

	reception->rate_turn = 0;
	if (!wants(vm))
		return;
	more = HVRI_MIN(HVRI_CREDIT_VM - outstanding(reception),
			most_for(node, session->link.info.peer));
	if (more < HVRI_FRAME_CHUNK_MAX) {
		node->credit_wanted = true;
		return; /* What others give back asks again. */
	}
	more = hvri_rights_allow(node, session->link.info.peer, more);
	if (more == 0) {
		/* Over its rate; the next report asks again. */
		reception->rate_turn = turn != 0 ? turn : ++node->rate_turns;
		return;
	}
	node->credit_left -= more;
	session->lent += more;
	reception->lender = session;
	reception->granted += more;
	credit.bytes = reception->granted;
	hvri_credit_encode(&credit, payload);
	if (hvri_link_send(&session->link, HVRI_FRAME_CREDIT,
			   &vm->relationship.record.vm, payload,
			   sizeof(payload)) < 0)
		hvri_link_close(&session->link, HVREPL_E_NOMEM, NULL);
}

/* Who has waited longest for the rate that `vm` would go by; NULL: nobody, or there is
 * nothing to give. Who asks more often, or a moment before the others each time, would
 * have all of it. */
static struct hvri_vm *whose_turn(const struct hvri_vm *vm)
{
	struct hvrepl_node *node = vm->node;
	const struct hvri_entry *entry;
	struct hvri_vm *first = NULL;

	if (!wants(vm) || HVRI_PLANT(rate_without_turns))
		return NULL;
	entry = hvri_rights_rate_due(node, vm->session->link.info.peer);
	if (entry == NULL)
		return NULL;
	for (struct hvri_vm *other = node->vms; other != NULL;
	     other = other->next)
		if (other->reception.rate_turn != 0 && other->session != NULL &&
		    (first == NULL || other->reception.rate_turn <
					      first->reception.rate_turn) &&
		    hvri_node_entry(node, other->session->link.info.peer) ==
			    entry)
			first = other;
	return first;
}

void hvri_lend(struct hvri_vm *vm)
{
	struct hvri_vm *first = whose_turn(vm);

	if (first != NULL && first != vm)
		lend(first);
	lend(vm);
}

/* Those behind it in the list first, then those before it: with each return the
 * turn goes on. `vm` NULL: all of them. */
static void go_round(struct hvrepl_node *node, struct hvri_vm *vm)
{
	bool wanted = node->credit_wanted;

	node->credit_wanted = false;
	for (struct hvri_vm *other = vm != NULL ? vm->next : NULL;
	     wanted && other != NULL; other = other->next)
		hvri_lend(other);
	for (struct hvri_vm *other = node->vms;
	     wanted && other != vm && other != NULL; other = other->next)
		hvri_lend(other);
}

void hvri_lend_back(struct hvri_vm *vm, uint64_t bytes)
{
	vm->node->credit_left += bytes;
	if (vm->reception.lender != NULL)
		vm->reception.lender->lent -= bytes;
	go_round(vm->node, vm);
}

uint64_t hvri_lend_trial(struct hvri_session *session, uint64_t bytes)
{
	struct hvrepl_node *node = session->node;

	bytes = HVRI_MIN(bytes, most_for(node, session->link.info.peer));
	bytes = hvri_rights_allow(node, session->link.info.peer, bytes);
	node->credit_left -= bytes;
	session->lent += bytes;
	return bytes;
}

void hvri_lend_trial_back(struct hvri_session *session, uint64_t bytes)
{
	session->node->credit_left += bytes;
	session->lent -= bytes;
	go_round(session->node, NULL);
}

void hvri_lend_end(struct hvri_vm *vm)
{
	struct hvri_reception *reception = &vm->reception;
	uint64_t rest = reception->granted - reception->consumed;

	reception->granted = reception->consumed = 0;
	hvri_lend_back(vm, rest);
	reception->lender = NULL;
}
