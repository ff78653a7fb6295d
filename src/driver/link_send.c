/* SPDX-License-Identifier: Apache-2.0 */
/* Sending on a link: control frames first, then data in turns (F1). */
#include "driver/link_send.h"

#include <string.h>

struct hvri_control_frame {
	struct hvri_control_frame *next;
	size_t size; /* Of the allocation. */
	size_t length;
	uint8_t bytes[];
};

static struct hvri_link *link_of_send_item(struct hvri_item *item)
{
	return (struct hvri_link *)((char *)item -
				    offsetof(struct hvri_link, send_item));
}

static void free_frames(struct hvri_link *link, struct hvri_control_frame *list)
{
	while (list != NULL) {
		struct hvri_control_frame *gone = list;

		list = gone->next;
		hvri_free(link->env, gone, gone->size);
	}
}

static void send_done(struct hvri_item *item)
{
	struct hvri_link *link = link_of_send_item(item);
	struct hvri_source *source = link->in_flight_source;
	int32_t rc = link->send_result;

	link->sending = false;
	free_frames(link, link->in_flight);
	link->in_flight = NULL;
	link->in_flight_source = NULL;
	if (source != NULL)
		source->sent(source, rc == HVREPL_OK);
	if (rc < 0)
		hvri_link_broke(link, rc);
	else
		hvri_link_pump(link);
	hvri_link_settled(link);
}

static void send_complete(struct hvrepl_op *op, int32_t result)
{
	struct hvri_link *link =
		(struct hvri_link *)((char *)op -
				     offsetof(struct hvri_link, send_op));

	link->send_result = result;
	hvri_queue_put(link->home, &link->send_item);
}

void hvri_link_send_init(struct hvri_link *link)
{
	link->send_op.complete = send_complete;
	link->send_item.run = send_done;
}

/* Waiting control frames into the iov; how many pieces. */
static uint32_t gather_control(struct hvri_link *link)
{
	struct hvri_control_frame **last = &link->in_flight;
	uint32_t count = 0;

	while (link->first != NULL && count < HVRI_LINK_IOV_MAX) {
		struct hvri_control_frame *frame = link->first;

		link->first = frame->next;
		link->control_bytes -= frame->length;
		link->iov[count].base = frame->bytes;
		link->iov[count].length = frame->length;
		count++;
		frame->next = NULL;
		*last = frame;
		last = &frame->next;
	}
	if (link->first == NULL)
		link->last = &link->first;
	return count;
}

/* One data frame of the next source that has one; how many pieces. */
static uint32_t gather_data(struct hvri_link *link)
{
	while (link->ring != NULL && !link->closing) {
		struct hvri_source *source = link->ring;
		struct hvri_frame frame;
		int32_t count = source->pull(source, &frame, link->iov + 1,
					     HVRI_LINK_IOV_MAX - 1);

		if (count <= 0) {
			/* pull() may have left the ring itself. */
			hvri_source_leave(source);
			continue;
		}
		/* The header's check of data frames other than CHUNK covers the
		 * payload, which then is one piece. */
		hvri_frame_encode(&frame, link->iov[1].base,
				  link->data_header);
		link->iov[0].base = link->data_header;
		link->iov[0].length = HVRI_FRAME_HEADER_SIZE;
		link->in_flight_source = source;
		if (link->ring == source)
			link->ring = source->next;
		return (uint32_t)count + 1;
	}
	return 0;
}

void hvri_link_pump(struct hvri_link *link)
{
	uint32_t count = 0;
	bool asked = false;
	int32_t rc;

	if (link->sending || link->gathering || link->channel_closed ||
	    link->state == HVRI_LINK_CLOSED)
		return;
	if (link->first == NULL && link->state == HVRI_LINK_UP &&
	    !link->closing) {
		/* Whoever is asked may send a control frame or close: it waits
		 * here then, for one send at a time. */
		asked = link->gathering = true;
		count = gather_data(link);
		link->gathering = false;
		if (link->channel_closed) {
			struct hvri_source *source = link->in_flight_source;

			link->in_flight_source = NULL;
			if (source != NULL)
				source->sent(source, false);
			return;
		}
	}
	if (count == 0 && link->first != NULL)
		count = gather_control(link);
	if (count == 0) {
		/* Closed by the one that was asked, without memory for a BYE:
		 * nothing else would notice. */
		if (asked && link->closing)
			hvri_link_settled(link);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		link->sent_bytes += link->iov[i].length;
	link->sending = true;
	rc = link->ops.send(link->channel, &link->send_op, link->iov, count);
	if (rc != HVREPL_PENDING)
		send_complete(&link->send_op, rc);
}

int32_t hvri_link_send(struct hvri_link *link, uint8_t type,
		       const struct hvrepl_uuid *vm, const void *payload,
		       size_t length)
{
	struct hvri_frame header = { .type = type, .length = (uint32_t)length };
	struct hvri_control_frame *frame;
	size_t size = sizeof(*frame) + HVRI_FRAME_HEADER_SIZE + length;

	if (link->closing || link->state == HVRI_LINK_CLOSED)
		return HVREPL_E_DISCONNECTED;
	if (link->control_bytes + size > HVRI_LINK_CONTROL_MAX)
		return HVREPL_E_LIMIT;
	frame = hvri_alloc(link->env, size);
	if (frame == NULL)
		return HVREPL_E_NOMEM;
	if (vm != NULL)
		header.vm = *vm;
	frame->size = size;
	frame->length = HVRI_FRAME_HEADER_SIZE + length;
	if (length > 0)
		memcpy(frame->bytes + HVRI_FRAME_HEADER_SIZE, payload, length);
	hvri_frame_encode(&header, frame->bytes + HVRI_FRAME_HEADER_SIZE,
			  frame->bytes);
	*link->last = frame;
	link->last = &frame->next;
	link->control_bytes += frame->length;
	hvri_link_pump(link);
	return HVREPL_OK;
}

void hvri_link_want(struct hvri_link *link, struct hvri_source *source)
{
	if (source->link != NULL || link->closing)
		return;
	source->link = link;
	if (link->ring == NULL) {
		source->next = source->previous = source;
		link->ring = source;
	} else {
		/* Behind all others: its turn comes last. */
		source->next = link->ring;
		source->previous = link->ring->previous;
		source->previous->next = source;
		link->ring->previous = source;
	}
	hvri_link_pump(link);
}

void hvri_source_leave(struct hvri_source *source)
{
	struct hvri_link *link = source->link;

	if (link == NULL)
		return;
	if (source->next == source) {
		link->ring = NULL;
	} else {
		source->next->previous = source->previous;
		source->previous->next = source->next;
		if (link->ring == source)
			link->ring = source->next;
	}
	source->link = NULL;
	source->next = source->previous = NULL;
}

void hvri_link_drop_output(struct hvri_link *link)
{
	free_frames(link, link->first);
	link->first = NULL;
	link->last = &link->first;
	link->control_bytes = 0;
	while (link->ring != NULL)
		hvri_source_leave(link->ring);
}
