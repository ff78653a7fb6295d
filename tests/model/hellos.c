/* SPDX-License-Identifier: Apache-2.0 */
/* Equal states become equal bytes: numbers of HELLOs under way say only which are
 * not newer than the one acted on last, and in which order the others are. */
#include "world.h"

#include "base/env.h"

static void each_hello(struct model_world *w, uint32_t from,
		       void (*visit_one)(void *context, uint32_t *number),
		       void *context)
{
	for (uint32_t k = 0; k < w->wire_count[!from]; k++)
		if (w->wire[!from][k].m.number != 0)
			visit_one(context, &w->wire[!from][k].m.number);
	if (w->has_late[!from] && w->late[!from].m.number != 0)
		visit_one(context, &w->late[!from].m.number);
}

struct hello_numbers {
	uint32_t seen, count, from[MODEL_WIRE + 1];
};

static void gather_hello(void *context, uint32_t *value)
{
	struct hello_numbers *h = context;
	uint32_t k = h->count;

	if (*value <= h->seen)
		return;
	for (uint32_t i = 0; i < k; i++)
		if (h->from[i] == *value)
			return;
	for (h->count++; k > 0 && h->from[k - 1] > *value; k--)
		h->from[k] = h->from[k - 1];
	h->from[k] = *value;
}

static void rename_hello(void *context, uint32_t *value)
{
	const struct hello_numbers *h = context;
	uint32_t k = 0;

	while (k < h->count && h->from[k] <= *value)
		k++;
	*value = 1 + k;
}

void model_hello_numbers(struct model_world *w, uint32_t from)
{
	struct hvri_relationship *x = &w->site[from].r, *y = &w->site[!from].r;
	struct hello_numbers h = { .seen = y->hello_seen };

	/* Of an older start: the next one begins anew. */
	if (y->peer_incarnation != x->incarnation)
		h.seen = 0;
	each_hello(w, from, gather_hello, &h);
	each_hello(w, from, rename_hello, &h);
	y->hello_seen = 1;
	x->hellos_sent = 1 + h.count;
}
