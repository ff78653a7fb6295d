/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All sequences of operations up to a length, each brought to rest before the
 * next, with one crash at any boundary of any of them. Sequences that lead to
 * the same state go on together and are counted as what they are.
 */
#include "sequences.h"

#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 256u
#define RECORDED_MAX 256u

struct node {
	uint8_t *bytes;
	size_t length;
	uint64_t ways; /* Sequences that end here. */
	uint32_t trail; /* The first of them. */
};

/* How a state was come by: told of one that breaks a promise. */
struct trail {
	uint32_t before; /* 0: the beginning. */
	struct model_step operation, crash;
};

static struct trail *trails;
static uint32_t trail_count, trail_size;

static uint32_t trail_add(uint32_t before, const struct model_step *operation,
			  const struct model_step *crash)
{
	if (trail_count == trail_size) {
		trail_size = HVRI_MAX(trail_size * 2, 1024u);
		trails = realloc(trails, trail_size * sizeof(*trails));
		if (trails == NULL)
			abort();
	}
	trails[trail_count] = (struct trail){ .before = before,
					      .operation = *operation };
	if (crash)
		trails[trail_count].crash = *crash;
	return ++trail_count;
}

static void show_trail(uint32_t at)
{
	uint32_t order[64], n = 0;

	for (; at != 0 && n < HVRI_ARRAY_LEN(order);
	     at = trails[at - 1].before)
		order[n++] = at;
	while (n-- > 0) {
		const struct trail *t = &trails[order[n] - 1];

		printf("    %s\n", model_step_text(&t->operation));
		if (t->crash.crash_at != 0)
			printf("        on its way: %s\n",
			       model_step_text(&t->crash));
	}
}

struct nodes {
	struct node *at;
	uint32_t count, size;
	struct search_set index;
};

static void nodes_init(struct nodes *nodes)
{
	memset(nodes, 0, sizeof(*nodes));
	search_set_init(&nodes->index, 1u << 10);
}

static void nodes_free(struct nodes *nodes)
{
	for (uint32_t i = 0; i < nodes->count; i++)
		free(nodes->at[i].bytes);
	free(nodes->at);
	search_set_free(&nodes->index);
}

static void nodes_add(struct nodes *nodes, struct model_world *w, uint64_t ways,
		      uint32_t before, const struct model_step *operation,
		      const struct model_step *crash)
{
	static uint8_t bytes[MODEL_ENCODED_MAX];
	uint64_t key[2];
	uint32_t *value;
	struct node *node;

	w->operations = 0;
	model_canonical(w);
	search_key(w, key);
	value = search_set_at(&nodes->index, key);
	if (*value != 0) {
		nodes->at[*value - 1].ways += ways;
		return;
	}
	if (nodes->count == nodes->size) {
		nodes->size = HVRI_MAX(nodes->size * 2, 64u);
		nodes->at = realloc(nodes->at,
				    nodes->size * sizeof(*nodes->at));
		if (nodes->at == NULL)
			abort();
	}
	node = &nodes->at[nodes->count++];
	node->length = model_encode(w, bytes);
	node->bytes = malloc(node->length);
	if (node->bytes == NULL)
		abort();
	memcpy(node->bytes, bytes, node->length);
	node->ways = ways;
	node->trail = operation ? trail_add(before, operation, crash) : 0;
	*value = nodes->count;
}

/* What people see of both sites. */
struct summary {
	uint8_t mode[2], state[2], ownership[2], content[2], newest[2];
	bool gate[2];
};

static struct summary summary_of(const struct model_world *w)
{
	struct summary s;

	memset(&s, 0, sizeof(s));
	for (uint32_t i = 0; i < 2; i++) {
		const struct model_site *x = &w->site[i];

		s.mode[i] = x->r.record.mode;
		s.state[i] = (uint8_t)hvri_relationship_state(&x->r);
		s.ownership[i] = (uint8_t)hvri_relationship_ownership(&x->r);
		s.content[i] = x->overlay ? x->over : x->live;
		s.newest[i] = x->point_count ?
				      x->points[x->point_count - 1].content :
				      0;
		s.gate[i] = x->gate;
	}
	return s;
}

static bool same(const struct summary *a, const struct summary *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void write_where_armed(struct model_world *w)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct model_step write = { .kind = MODEL_WRITE,
					    .site = (uint8_t)i };

		if (w->site[i].gate && w->write_count < model_bounds->writes)
			model_take(w, &write, NULL);
	}
}

/* Ask, and let everything come to rest. */
static bool ask(struct model_world *w, const struct model_step *operation)
{
	if (!model_take(w, operation, NULL))
		return false;
	model_settle_all(w);
	return true;
}

static void check_rest(struct sequences_result *r, const struct model_world *w,
		       uint32_t before, const struct model_step *operation,
		       const struct model_step *crash)
{
	bool forced = false;
	uint32_t operations;

	model_check(w);
	operations = way_out(w, &forced);
	if (operations > WAY_MAX)
		model_break("a dead end: no 6 operations lead to protected");
	else
		r->farthest = HVRI_MAX(r->farthest, operations);
	if (model_broken != NULL) {
		show_trail(trail_add(before, operation, crash));
		model_show(w);
	}
}

/* Crash where the operation was asked for: as if it had not been, or had been,
 * or asked again it comes to the same. */
static void check_again(struct sequences_result *r, const struct model_world *w,
			const struct model_step *operation,
			const struct summary *before,
			const struct summary *after)
{
	static struct model_world again;
	struct summary now = summary_of(w);

	if (same(&now, after)) {
		r->finished++;
		return;
	}
	if (same(&now, before))
		r->rolled_back++;
	model_copy(&again, w);
	if (ask(&again, operation))
		now = summary_of(&again);
	if (same(&now, after) || same(&now, before))
		r->again++;
	else
		r->otherwise++;
}

static void with_crashes(struct sequences_result *r, struct nodes *next,
			 const struct model_recorded *steps, uint32_t count,
			 const struct node *from,
			 const struct summary *before,
			 const struct summary *after)
{
	static struct model_world w;

	for (uint32_t j = 0; j < count && model_broken == NULL; j++)
		for (uint32_t k = 1; k <= steps[j].boundaries; k++) {
			struct model_step step = steps[j].step;

			step.crash_at = (uint8_t)k;
			model_decode(steps[j].bytes, steps[j].length, &w);
			if (!model_take(&w, &step, NULL))
				continue;
			model_settle_all(&w);
			r->crashes += from->ways;
			if (model_last_crash == steps[0].step.site)
				check_again(r, &w, &steps[0].step, before,
					    after);
			check_rest(r, &w, from->trail, &steps[0].step, &step);
			write_where_armed(&w);
			nodes_add(next, &w, from->ways, from->trail,
				  &steps[0].step, &step);
			if (model_broken != NULL)
				return;
		}
}

static void expand(struct sequences_result *r, const struct node *node,
		   struct nodes *next)
{
	static struct model_world from, w;
	struct model_step steps[STEPS_MAX];
	uint32_t count;
	struct summary before;

	model_decode(node->bytes, node->length, &from);
	before = summary_of(&from);
	count = model_steps(&from, steps, STEPS_MAX);
	for (uint32_t i = 0; i < count && model_broken == NULL; i++) {
		static struct model_recorded recorded[RECORDED_MAX];
		uint32_t n;
		struct summary after;
		bool taken;

		if (steps[i].kind != MODEL_OPERATE)
			continue;
		model_copy(&w, &from);
		model_record(recorded, RECORDED_MAX);
		taken = ask(&w, &steps[i]);
		n = model_record(NULL, 0);
		if (taken) {
			after = summary_of(&w);
			r->sequences += node->ways;
			if (from.crashes == 0 && model_bounds->crashes > 0)
				with_crashes(r, next, recorded, n, node,
					     &before, &after);
			check_rest(r, &w, node->trail, &steps[i], NULL);
			write_where_armed(&w);
			nodes_add(next, &w, node->ways, node->trail, &steps[i],
				  NULL);
		}
		for (uint32_t k = 0; k < n; k++)
			free(recorded[k].bytes);
	}
}

void sequences_run(uint32_t length, struct sequences_result *r)
{
	static struct model_world w;
	struct nodes now, next;

	memset(r, 0, sizeof(*r));
	model_broken = NULL;
	model_bound_hits = 0;
	way_out_reset();
	model_init(&w);
	write_where_armed(&w);
	model_settle_all(&w);
	nodes_init(&now);
	nodes_add(&now, &w, 1, 0, NULL, NULL);
	for (uint32_t k = 0; k < length && model_broken == NULL; k++) {
		nodes_init(&next);
		for (uint32_t i = 0; i < now.count && model_broken == NULL; i++)
			expand(r, &now.at[i], &next);
		nodes_free(&now);
		now = next;
		r->states += now.count;
		printf("    length %u: %llu sequences, %llu with a crash, %u "
		       "states at the end\n",
		       k + 1, (unsigned long long)r->sequences,
		       (unsigned long long)r->crashes, now.count);
		fflush(stdout);
	}
	nodes_free(&now);
	free(trails);
	trails = NULL;
	trail_count = trail_size = 0;
	r->broken = model_broken;
	r->bound_hits = model_bound_hits;
}
