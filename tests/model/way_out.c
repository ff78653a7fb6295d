/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No dead end: from a state at rest, few legal operations lead back to where
 * both sites replicate (connected, and everything that is due done in between).
 * Every node on a way that was found is remembered with what it still needs.
 */
#include "search.h"

#include "replication/names.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX 20000u
#define STEPS_MAX 256u

/* Value: operations needed + 1, +1000 when force is among them. */
static struct search_set known;

void way_out_reset(void)
{
	if (known.keys != NULL)
		search_set_free(&known);
	search_set_init(&known, 1u << 12);
}

struct node {
	uint8_t *bytes;
	size_t length;
	uint64_t key[2];
	uint32_t parent;
	uint32_t depth;
	bool forced;
};

static const struct model_bounds *unlimited(void)
{
	static struct model_bounds all;

	all = *model_bounds;
	all.operations = 255;
	all.crashes = 0;
	all.restores = 0;
	all.channel = MODEL_WIRE;
	all.late = 0;
	all.allowed = 0;
	for (uint32_t op = HVREPL_OPERATION_SUSPEND;
	     op < HVREPL_OPERATION_COUNT; op++)
		if (op != HVREPL_OPERATION_SUSPEND &&
		    op != HVREPL_OPERATION_REMOVE &&
		    op != HVREPL_OPERATION_VERIFY &&
		    op != HVREPL_OPERATION_CUT_NOW)
			all.allowed |= 1u << op;
	all.allowed |= 1u << HVREPL_OPERATION_START_INITIAL;
	return &all;
}

static bool protected_now(const struct model_world *w)
{
	static struct model_world copy;

	model_copy(&copy, w);
	return model_protected(&copy);
}

static void make_node(struct node *node, struct model_world *w, uint32_t parent,
		      uint32_t depth, bool forced)
{
	static uint8_t bytes[MODEL_ENCODED_MAX];

	w->operations = w->crashes = w->restores = w->lates = w->links = 0;
	model_canonical(w);
	memset(node, 0, sizeof(*node));
	node->length = model_encode(w, bytes);
	node->bytes = malloc(node->length);
	if (node->bytes == NULL)
		abort();
	memcpy(node->bytes, bytes, node->length);
	search_key(w, node->key);
	node->parent = parent;
	node->depth = depth;
	node->forced = forced;
}

static uint32_t found_way(struct node *nodes, uint32_t at, uint32_t more,
			  bool forced, bool *forced_out)
{
	uint32_t last = nodes[at].depth;

	*forced_out = forced || nodes[at].forced;
	for (uint32_t k = at;; k = nodes[k].parent) {
		uint32_t *value = search_set_at(&known, nodes[k].key);
		/* Force may be behind this node or before it. */
		bool behind = forced || (nodes[at].forced && !nodes[k].forced);

		if (*value == 0)
			*value = 1 + more + (last - nodes[k].depth) +
				 (behind ? 1000 : 0);
		if (k == 0)
			break;
	}
	return last + more;
}

static uint32_t look(const struct model_world *w, bool with_force,
		     bool *forced_out)
{
	static struct model_world from, to;
	struct node *nodes = calloc(NODES_MAX, sizeof(*nodes));
	struct search_set seen;
	uint32_t count = 0, result = WAY_NONE;

	if (nodes == NULL)
		abort();
	search_set_init(&seen, 1u << 10);
	model_copy(&to, w);
	model_settle_all(&to);
	make_node(&nodes[count++], &to, 0, 0, false);
	*search_set_at(&seen, nodes[0].key) = 1;
	for (uint32_t k = 0; k < count && result == WAY_NONE; k++) {
		struct model_step steps[STEPS_MAX];
		uint32_t n, *value = search_set_at(&known, nodes[k].key);

		if (*value != 0) {
			uint32_t more = (*value - 1) % 1000;

			if (nodes[k].depth + more <= WAY_MAX) {
				result = found_way(nodes, k, more,
						   *value > 1000, forced_out);
				break;
			}
		} else {
			known.count--; /* Nothing was put there. */
		}
		model_decode(nodes[k].bytes, nodes[k].length, &from);
		if (protected_now(&from)) {
			result = found_way(nodes, k, 0, false, forced_out);
			break;
		}
		if (nodes[k].depth >= WAY_MAX)
			continue;
		n = model_steps(&from, steps, STEPS_MAX);
		for (uint32_t i = 0; i < n && count < NODES_MAX; i++) {
			uint32_t *place;

			if (steps[i].kind != MODEL_OPERATE ||
			    (steps[i].operation == HVREPL_OPERATION_FORCE &&
			     !with_force))
				continue;
			model_copy(&to, &from);
			if (!model_take(&to, &steps[i], NULL))
				continue;
			model_settle_all(&to);
			make_node(&nodes[count], &to, k, nodes[k].depth + 1,
				  nodes[k].forced || steps[i].operation ==
							HVREPL_OPERATION_FORCE);
			place = search_set_at(&seen, nodes[count].key);
			if (*place != 0) {
				free(nodes[count].bytes);
				continue;
			}
			*place = 1;
			count++;
		}
	}
	for (uint32_t k = 0; k < count; k++)
		free(nodes[k].bytes);
	free(nodes);
	search_set_free(&seen);
	return result;
}

uint32_t way_out(const struct model_world *w, bool *forced_out)
{
	const struct model_bounds *bounds = model_bounds;
	uint64_t hits = model_bound_hits;
	uint32_t result;

	model_bounds = unlimited();
	result = look(w, false, forced_out);
	if (result > WAY_MAX)
		result = look(w, true, forced_out);
	model_bounds = bounds;
	model_bound_hits = hits;
	return result;
}
