/* SPDX-License-Identifier: Apache-2.0 */
/* What operators and peers have done here: asked for before it is done where it
 * costs data, and noted. */
#include "driver/vm.h"
#include "replication/names.h"

#include <stdio.h>

#define MINUTE_NS (60ull * 1000000000ull)

/* By whom, and whether it was begun; how it ends, its job says. */
void hvri_note_operation(struct hvri_vm *vm, uint32_t operation,
			 const char *peer, int32_t code, const char *why)
{
	hvri_note_of(vm->node, peer, HVREPL_AUDIT_OPERATION,
		     code < 0 ? HVREPL_SEVERITY_WARNING : HVREPL_SEVERITY_INFO,
		     code, &vm->relationship.record.vm,
		     "%.30s of VM %.40s, asked for by %.60s%s%.100s",
		     hvri_operation_name(operation), vm->name,
		     peer == NULL ? "the operator" : peer,
		     code < 0 ? ", was refused: " : "", code < 0 ? why : "");
}

void hvri_note_over_quota(struct hvrepl_node *node, const char *peer,
			  const struct hvrepl_uuid *vm, const char *name)
{
	hvri_note_of(node, peer, HVREPL_AUDIT_LIMIT, HVREPL_SEVERITY_WARNING,
		     HVREPL_E_LIMIT, vm,
		     "enable of VM %.40s by %.60s goes over its entry's quota",
		     name, peer);
}

void hvri_note_message(struct hvri_vm *vm, const struct hvri_vm_event *event)
{
	const char *peer = vm->session->link.info.peer;

	hvri_session_denied(vm->session, vm->update.denied,
			    &vm->relationship.record.vm);
	/* What it lacks a verb for was noted as that. */
	if (vm->update.asked_operation != 0 && vm->update.denied == 0)
		hvri_note_operation(vm, vm->update.asked_operation, peer,
				    vm->update.asked_code,
				    vm->update.asked_sentence);
	if (event->event.u.message.quota != NULL)
		hvri_note_over_quota(
			vm->node, peer, &vm->relationship.record.vm,
			event->event.u.message.message->setup->vm_name);
}

/* One more within this minute? */
static bool one_more(struct hvri_entry *entry, uint64_t now)
{
	if (now - entry->deeds_ns >= MINUTE_NS || entry->deeds == 0) {
		entry->deeds_ns = now;
		entry->deeds = 0;
	}
	return entry->deeds++ < HVRI_DEEDS_MAX;
}

static const char *name_in(const struct hvri_vm *vm,
			   const struct hvri_message *message)
{
	return message->type == HVRI_MESSAGE_ENABLE ? message->setup->vm_name :
						      vm->name;
}

uint32_t hvri_withheld(struct hvri_vm *vm, const struct hvri_message *message)
{
	struct hvrepl_node *node = vm->node;
	const char *peer = vm->session->link.info.peer;
	struct hvri_entry *entry = hvri_node_entry(node, peer);
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	const char *what;
	uint32_t verb = hvri_relationship_costs(&vm->relationship, message,
						&what);

	if (node->permit == NULL || verb == 0 || entry == NULL ||
	    (entry->verbs & verb) == 0)
		return 0;
	if (!one_more(entry, hvri_now(&node->env))) {
		hvri_note_of(node, peer, HVREPL_AUDIT_LIMIT,
			     HVREPL_SEVERITY_WARNING, HVREPL_E_LIMIT,
			     &vm->relationship.record.vm,
			     "%.60s asks for %s VM %.40s: not done, as its entry "
			     "had %u deeds that cost data within a minute",
			     peer, what, name_in(vm, message), HVRI_DEEDS_MAX);
		return verb;
	}
	event.type = HVREPL_EVENT_AUDIT;
	event.value = HVREPL_AUDIT_OPERATION;
	event.utc_ns = hvri_utc(&node->env);
	event.vm = vm->relationship.record.vm;
	snprintf(event.actor, sizeof(event.actor), "%s", peer);
	snprintf(event.sentence, sizeof(event.sentence),
		 "%.60s asks for %s VM %.40s", peer, what,
		 name_in(vm, message));
	return node->permit(node->user, &event) < 0 ? verb : 0;
}
