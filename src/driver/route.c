/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and their frames to the VMs they are about. */
#include "driver/vm.h"

#include <stdio.h>
#include <string.h>

static void release_allocated(struct hvri_vm *vm, struct hvri_vm_event *event)
{
	hvri_free(&vm->node->env, event,
		  sizeof(*event) + event->message_length);
}

static bool is_peer(const struct hvri_vm *vm,
		    const struct hvri_session *session)
{
	return !vm->forget &&
	       hvri_uuid_equal(&vm->relationship.record.peer,
			       &session->link.peer.node) &&
	       hvri_node_same_trust(vm->node, session->link.info.peer,
				    vm->peer_name);
}

void hvri_vms_session_up(struct hvrepl_node *node, struct hvri_session *session)
{
	for (struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next) {
		if (!is_peer(vm, session))
			continue;
		vm->session = session;
		hvri_vm_session_changed(vm);
		hvri_vm_go_on(vm);
	}
}

void hvri_vms_session_down(struct hvrepl_node *node,
			   struct hvri_session *session)
{
	for (struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next) {
		if (vm->session != session)
			continue;
		vm->session = NULL;
		hvri_ship_stop(vm);
		hvri_receive_session_down(vm);
		hvri_compare_session_down(vm);
		hvri_vm_session_changed(vm);
		hvri_vm_go_on(vm);
	}
}

static int32_t answer_unknown(struct hvri_session *session,
			      const struct hvrepl_uuid *id, uint32_t answer)
{
	struct hvri_message message = { .type = answer };
	uint8_t bytes[512];
	size_t length;

	HVRI_TRY(hvri_message_encode(&message, bytes, sizeof(bytes), &length));
	return hvri_link_send(&session->link, HVRI_FRAME_MESSAGE, id, bytes,
			      length);
}

/* A message for a VM this node does not have: ENABLE makes it. */
static int32_t unknown_vm(struct hvrepl_node *node,
			  struct hvri_session *session,
			  const struct hvrepl_uuid *id, const uint8_t *payload,
			  size_t length, struct hvri_vm **vm_out)
{
	struct hvri_message_storage *storage;
	struct hvri_message message;
	uint32_t answer = 0;
	struct hvri_vm *vm = NULL;
	int32_t rc;

	storage = hvri_alloc(&node->env, sizeof(*storage));
	if (storage == NULL)
		return HVREPL_E_NOMEM;
	rc = hvri_message_decode(payload, length, storage, &message);
	if (rc == HVREPL_OK) {
		answer = hvri_relationship_unknown_answer(message.type);
		if (answer == 0 &&
		    (!node->has_vmm ||
		     (hvri_node_verbs(node, session->link.info.peer) &
		      HVREPL_VERB_ENABLE) == 0))
			answer = HVRI_MESSAGE_UNKNOWN;
	}
	hvri_free(&node->env, storage, sizeof(*storage));
	if (rc < 0)
		return rc;
	if (answer == HVRI_MESSAGE_TYPE_COUNT)
		return HVREPL_OK;
	if (answer != 0)
		return answer_unknown(session, id, answer);
	HVRI_TRY(hvri_vm_create(node, id, &vm));
	snprintf(vm->peer_name, sizeof(vm->peer_name), "%s",
		 session->link.info.peer);
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

static int32_t queue_message(struct hvri_vm *vm, struct hvri_session *session,
			     const uint8_t *payload, size_t length)
{
	struct hvri_vm_event *event =
		hvri_alloc(&vm->node->env, sizeof(*event) + length);

	if (event == NULL)
		return HVREPL_E_NOMEM;
	event->event.type = HVRI_EVENT_MESSAGE;
	event->message = (uint8_t *)(event + 1);
	event->message_length = length;
	event->session = session->serial;
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

	if (vm == NULL) {
		if (frame->type != HVRI_FRAME_MESSAGE)
			return HVREPL_OK; /* Of a VM removed meanwhile. */
		HVRI_TRY(unknown_vm(node, session, &frame->vm, payload,
				    frame->length, &vm));
		if (vm == NULL)
			return HVREPL_OK;
	}
	if (vm->session != session) {
		/* Not its peer, or bound to another trust group. */
		if (frame->type == HVRI_FRAME_MESSAGE)
			return answer_unknown(session, &frame->vm,
					      HVRI_MESSAGE_UNKNOWN);
		return HVREPL_OK;
	}
	switch (frame->type) {
	case HVRI_FRAME_MESSAGE:
		return queue_message(vm, session, payload, frame->length);
	case HVRI_FRAME_CREDIT:
		return hvri_ship_credit(vm, payload, frame->length);
	case HVRI_FRAME_DIGEST_ASK:
	case HVRI_FRAME_DIGESTS:
		return hvri_compare_frame(vm, frame, payload);
	default:
		return hvri_receive_frame(vm, frame, payload, slab);
	}
}
