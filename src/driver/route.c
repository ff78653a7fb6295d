/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and their frames to the VMs they are about. */
#include "driver/vm.h"

#include "base/plant.h"

#include <stdio.h>
#include <string.h>

static void release_allocated(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	vm->heard_bytes -= sizeof(*event) + event->message_length;
	hvri_free(&vm->node->env, event,
		  sizeof(*event) + event->message_length);
}

static bool is_its_node(const struct hvri_vm *vm,
			const struct hvri_session *session)
{
	return !vm->forget && hvri_uuid_equal(&vm->relationship.record.peer,
					      &session->link.peer.node);
}

static bool is_peer(const struct hvri_vm *vm,
		    const struct hvri_session *session)
{
	return is_its_node(vm, session) &&
	       hvri_node_same_trust(vm->node, session->link.info.peer, vm);
}

static void note_denied(struct hvri_vm *vm, const struct hvri_session *session,
			const char *why)
{
	const char *peer = session->link.info.peer;

	hvri_note_of(vm->node, peer, HVREPL_AUDIT_DENIED,
		     HVREPL_SEVERITY_WARNING, HVREPL_E_DENIED,
		     &vm->relationship.record.vm, "denied %.40s: VM %.30s is %s",
		     peer, vm->name, why);
}

/* Its node, but not by the VM's trust group: that is for an operator. */
static void note_stranger(struct hvri_vm *vm, const struct hvri_session *session)
{
	struct hvrepl_authorisation_status status;
	char why[HVREPL_SENTENCE_MAX];

	(void)!hvri_node_authorisation(vm->node, session->link.info.peer,
				       &status);
	snprintf(why, sizeof(why),
		 "bound to trust group '%.30s', its entry has '%.30s'; change "
		 "the entry, or the VM's trust group",
		 vm->binding.trust_group, status.trust_group);
	note_denied(vm, session, why);
}

/* Its node and of its trust group, and another one that is both was first: who
 * comes second is not heard, and an operator is to know. */
static void note_second(struct hvri_vm *vm, const struct hvri_session *session)
{
	char why[HVREPL_SENTENCE_MAX];

	snprintf(why, sizeof(why),
		 "with %.40s, of its trust group, which was first to say that "
		 "it is that node; if it is not, give its entry another trust "
		 "group",
		 vm->session->link.info.peer);
	note_denied(vm, session, why);
}

static void join(struct hvri_vm *vm, struct hvri_session *session)
{
	vm->session = session;
	hvri_vm_session_changed(vm);
	hvri_vm_go_on(vm);
}

static void meet(struct hvri_vm *vm, struct hvri_session *session)
{
	hvri_vm_bind_late(vm, session->link.info.peer);
	if (vm->session == session)
		return;
	/* What a VM before it had to say as it came was its end. */
	if (!session->up && !HVRI_PLANT(meets_what_ended))
		return;
	if (!is_its_node(vm, session))
		return;
	if (!is_peer(vm, session))
		note_stranger(vm, session);
	else if (vm->session != NULL)
		note_second(vm, session);
	else
		join(vm, session);
}

void hvri_vms_session_up(struct hvrepl_node *node, struct hvri_session *session)
{
	for (struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next)
		meet(vm, session);
}

void hvri_vm_meet_sessions(struct hvri_vm *vm)
{
	struct hvri_session *session;

	/* Its peer by name first, whoever came last. */
	for (session = vm->node->sessions; session != NULL;
	     session = session->next)
		if (session->up)
			hvri_vm_bind_late(vm, session->link.info.peer);
	hvri_vm_find_session(vm);
	for (session = vm->node->sessions; session != NULL;
	     session = session->next)
		if (session->up)
			meet(vm, session);
}

static void leave(struct hvri_vm *vm)
{
	vm->session = NULL;
	hvri_vm_unhear(vm);
	hvri_ship_stop(vm);
	hvri_receive_session_down(vm);
	hvri_compare_session_down(vm);
	hvri_vm_session_changed(vm);
	hvri_vm_go_on(vm);
}

/* A VM without a session gets one of that identity; NULL: of any. */
static void join_of(struct hvri_vm *vm, const char *peer)
{
	for (struct hvri_session *session = vm->node->sessions;
	     vm->session == NULL && session != NULL; session = session->next)
		if (session->up && is_peer(vm, session) &&
		    (peer == NULL ||
		     strcmp(session->link.info.peer, peer) == 0))
			join(vm, session);
}

void hvri_vms_session_down(struct hvrepl_node *node,
			   struct hvri_session *session)
{
	for (struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next)
		if (vm->session == session) {
			leave(vm);
			/* Who waits does not get it by its reconnect. */
			join_of(vm, session->link.info.peer);
			hvri_vm_find_session(vm);
		}
}

void hvri_vm_find_session(struct hvri_vm *vm)
{
	if (vm->session != NULL && !is_peer(vm, vm->session))
		leave(vm);
	join_of(vm, vm->peer_name);
	join_of(vm, NULL);
}

/* Of a VM that has no relationship here; bound to who asked (O2). `why` NULL: it is
 * no refusal. */
static int32_t answer(struct hvri_session *session,
		      const struct hvrepl_uuid *id,
		      const struct hvri_message *asked, uint32_t type,
		      int32_t code, const char *why)
{
	struct hvri_message message = {
		.type = type,
		.from_incarnation = session->node->incarnation,
		.to_incarnation = asked->from_incarnation,
	};
	uint8_t bytes[512];
	size_t length;

	if (why != NULL) {
		message.answer.about = (uint8_t)asked->type;
		message.answer.code = code;
		snprintf(message.answer.sentence,
			 sizeof(message.answer.sentence), "%s", why);
	}
	HVRI_TRY(hvri_message_encode(&message, bytes, sizeof(bytes), &length));
	return hvri_link_send(&session->link, HVRI_FRAME_MESSAGE, id, bytes,
			      length);
}

/* A message about a VM that is somebody else's, or bound to another trust
 * group: said to who greets or wants to enable it. One that nobody replicates
 * here is as if it were not there: a peer that it was replicated with, and that
 * asks to remove it or whether it is known, hears that. */
static int32_t answer_stranger(struct hvri_vm *vm, struct hvri_session *session,
			       const struct hvri_message *message)
{
	bool none = vm->relationship.record.mode == HVREPL_MODE_NONE;
	uint32_t type = hvri_relationship_unknown_answer(message->type);

	if (none && type != 0)
		return answer(session, &vm->relationship.record.vm, message,
			      type, HVREPL_OK, NULL);
	if (none && vm->own && message->type == HVRI_MESSAGE_ENABLE)
		return answer(session, &vm->relationship.record.vm, message,
			      HVRI_MESSAGE_ANSWER, HVREPL_E_DENIED,
			      "the other site has a VM of its own by this id: "
			      "take it away there, or give this VM another id");
	if (message->type != HVRI_MESSAGE_HELLO &&
	    message->type != HVRI_MESSAGE_ENABLE)
		return HVREPL_OK;
	return answer(session, &vm->relationship.record.vm, message,
		      HVRI_MESSAGE_ANSWER, HVREPL_E_DENIED,
		      "at the other site the VM belongs to another peer or "
		      "trust group: change the authorisation entry there, or "
		      "the VM's trust group");
}

/* One that has its peer's disks, or is getting them, stays that peer's: whoever else
 * it were bound to would get what lies in the other's place. */
bool hvri_vm_is_left_over(const struct hvri_vm *vm)
{
	return vm->relationship.record.mode == HVREPL_MODE_NONE && !vm->own &&
	       vm->opened && !vm->forget && !vm->closing &&
	       vm->version == 0 && vm->disk_count == 0 &&
	       vm->relationship.pending.create == 0 && !vm->inside &&
	       !vm->performing && !vm->asked && vm->first == NULL &&
	       hvri_vm_idle(vm);
}

static bool may_enable(struct hvri_session *session,
		       const struct hvrepl_uuid *id,
		       char why[HVRI_SENTENCE_MAX + 1])
{
	const struct hvri_entry *entry =
		hvri_node_entry(session->node, session->link.info.peer);

	snprintf(why, HVRI_SENTENCE_MAX + 1, "the other site takes no replicas");
	if (!session->node->has_vmm)
		return false;
	if (entry != NULL && (entry->verbs & HVREPL_VERB_ENABLE) != 0)
		return true;
	snprintf(why, HVRI_SENTENCE_MAX + 1,
		 "the other site's authorisation entry '%.100s' lacks the verb "
		 "'enable': add it there, then try again",
		 entry == NULL ? "" : entry->peer);
	hvri_session_denied(session, HVREPL_VERB_ENABLE, id);
	return false;
}

/* A message for a VM this node does not have: ENABLE makes it. Who may not have it gets
 * nothing made; whether what it asks for makes sense, the step decides. */
static int32_t unknown_vm(struct hvrepl_node *node,
			  struct hvri_session *session,
			  const struct hvrepl_uuid *id,
			  const struct hvri_message *message,
			  struct hvri_vm **vm_out)
{
	uint32_t type = hvri_relationship_unknown_answer(message->type);
	const char *peer = session->link.info.peer;
	char why[HVRI_SENTENCE_MAX + 1];
	struct hvri_vm *vm = NULL;

	if (type != 0)
		return answer(session, id, message, type, HVREPL_OK, NULL);
	if (message->type != HVRI_MESSAGE_ENABLE)
		return HVREPL_OK;
	if (!may_enable(session, id, why))
		return answer(session, id, message, HVRI_MESSAGE_ANSWER,
			      HVREPL_E_DENIED, why);
	if (hvri_rights_admit(node, peer, NULL, message->setup, why) < 0) {
		hvri_note_over_quota(node, peer, id, message->setup->vm_name);
		return answer(session, id, message, HVRI_MESSAGE_ANSWER,
			      HVREPL_E_LIMIT, why);
	}
	HVRI_TRY(hvri_vm_create(node, id, &vm));
	hvri_vm_bind(vm, peer);
	vm->session = session;
	vm->opened = true;
	hvri_vm_start_fill(vm);
	vm->start_event.event.type = HVRI_EVENT_START;
	vm->start_event.event.u.start = vm->start;
	hvri_vm_feed(vm, &vm->start_event);
	hvri_vm_session_changed(vm);
	hvri_vm_go_on(vm);
	*vm_out = vm;
	return HVREPL_OK;
}

/* A message that is not for the VM's own session. *vm_inout: whose it becomes;
 * NULL: nobody's. */
static int32_t not_of_its_session(struct hvrepl_node *node,
				  struct hvri_session *session,
				  const struct hvrepl_uuid *id,
				  const uint8_t *payload, size_t length,
				  struct hvri_vm **vm_inout)
{
	struct hvri_message_storage *storage;
	struct hvri_message message;
	struct hvri_vm *vm = *vm_inout;
	int32_t rc;

	*vm_inout = NULL;
	/* Since this turn began: as if it were gone already. */
	if (vm != NULL && hvri_vm_is_left_over(vm)) {
		hvri_vm_free(vm);
		vm = NULL;
	}
	storage = hvri_alloc_raw(&node->env, sizeof(*storage));
	if (storage == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_message_decode(payload, length, storage, &message);
	if (rc == HVREPL_OK && vm == NULL) {
		rc = unknown_vm(node, session, id, &message, vm_inout);
	} else if (rc == HVREPL_OK) {
		rc = answer_stranger(vm, session, &message);
	}
	hvri_free(&node->env, storage, sizeof(*storage));
	return rc;
}

/* What the relationship hears, in the order in which it came. Credit too: a
 * pause heard before it stops what is sent, and its credit with it. */
static int32_t queue_message(struct hvri_vm *vm, struct hvri_session *session,
			     const uint8_t *payload, size_t length, bool credit)
{
	struct hvri_vm_event *event;

	/* A map may have more of them than may wait: those that come too soon are
	 * missing in its sums, and it is asked for again. */
	if (!credit &&
	    vm->heard_bytes + sizeof(*event) + length > HVRI_VM_RANGES_MAX &&
	    hvri_message_type(payload, length) == HVRI_MESSAGE_RANGES)
		return HVREPL_OK;
	if (vm->heard_bytes + sizeof(*event) + length > HVRI_VM_HEARD_MAX &&
	    !HVRI_PLANT(hears_without_end))
		return HVREPL_E_LIMIT;
	event = hvri_alloc(&vm->node->env, sizeof(*event) + length);
	if (event == NULL)
		return HVREPL_E_NOMEM;
	vm->heard_bytes += sizeof(*event) + length;
	event->event.type = HVRI_EVENT_MESSAGE;
	event->message = (uint8_t *)(event + 1);
	event->message_length = length;
	event->session = session->serial;
	event->credit = credit;
	event->release = release_allocated;
	memcpy(event->message, payload, length);
	hvri_vm_feed(vm, event);
	return HVREPL_OK;
}

int32_t hvri_vms_frame(struct hvrepl_node *node, struct hvri_session *session,
		       const struct hvri_frame *frame, const uint8_t *payload,
		       struct hvri_slab *slab)
{
	struct hvri_vm *vm = hvri_node_find_vm(node, &frame->vm);
	int32_t rc;

	if (vm == NULL || vm->session != session) {
		/* Removed meanwhile; not its peer, or of another trust group. */
		if (frame->type != HVRI_FRAME_MESSAGE)
			return HVREPL_OK;
		HVRI_TRY(not_of_its_session(node, session, &frame->vm, payload,
					    frame->length, &vm));
		if (vm == NULL)
			return HVREPL_OK;
	}
	switch (frame->type) {
	case HVRI_FRAME_MESSAGE:
		rc = queue_message(vm, session, payload, frame->length, false);
		/* More of them may come before this turn ends. */
		if (hvri_vm_is_left_over(vm))
			hvri_vm_free(vm);
		return rc;
	case HVRI_FRAME_CREDIT:
		return queue_message(vm, session, payload, frame->length,
				     true);
	case HVRI_FRAME_DIGEST_ASK:
	case HVRI_FRAME_DIGESTS:
		return hvri_compare_frame(vm, frame, payload);
	default:
		return hvri_receive_frame(vm, frame, payload, slab);
	}
}
