/* SPDX-License-Identifier: Apache-2.0 */
/* Breadth first: the first counterexample found is a shortest one. Only digests
 * of what was seen are kept, and encodings of the level being expanded. */
#include "search.h"

#include "base/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEPS_MAX 256u

/* ---- Sets. ---- */

void search_set_init(struct search_set *set, uint64_t size)
{
	set->size = size;
	set->count = 0;
	set->keys = calloc(size, sizeof(*set->keys));
	set->values = calloc(size, sizeof(*set->values));
	if (set->keys == NULL || set->values == NULL)
		abort();
}

void search_set_free(struct search_set *set)
{
	free(set->keys);
	free(set->values);
	memset(set, 0, sizeof(*set));
}

static void grow(struct search_set *set)
{
	struct search_set larger;

	search_set_init(&larger, set->size * 2);
	for (uint64_t i = 0; i < set->size; i++)
		if (set->values[i] != 0)
			*search_set_at(&larger, set->keys[i]) = set->values[i];
	search_set_free(set);
	*set = larger;
}

uint32_t *search_set_at(struct search_set *set, const uint64_t key[2])
{
	uint64_t i;

	if (set->count * 2 > set->size)
		grow(set);
	i = key[0] & (set->size - 1);
	while (set->values[i] != 0) {
		if (set->keys[i][0] == key[0] && set->keys[i][1] == key[1])
			return &set->values[i];
		i = (i + 1) & (set->size - 1);
	}
	/* The caller gives it a value. */
	set->keys[i][0] = key[0];
	set->keys[i][1] = key[1];
	set->count++;
	return &set->values[i];
}

static void digest(const uint8_t *bytes, size_t length, uint64_t key_out[2])
{
	struct hvri_part part = { bytes, length };
	uint8_t sum[16];

	hvri_xxh3(&part, 1, sum);
	memcpy(key_out, sum, sizeof(sum));
}

void search_key(const struct model_world *w, uint64_t key_out[2])
{
	static uint8_t bytes[MODEL_ENCODED_MAX];

	digest(bytes, model_encode(w, bytes), key_out);
}

/* ---- A level: encodings one after the other. ---- */

struct level {
	uint8_t *bytes;
	size_t length, size;
	uint32_t first, count; /* Numbers of its states. */
};

static void level_add(struct level *level, const uint8_t *bytes, size_t length)
{
	uint32_t n = (uint32_t)length;

	if (level->length + length + sizeof(n) > level->size) {
		level->size = HVRI_MAX(level->size * 2, UINT64_C(1) << 20);
		level->bytes = realloc(level->bytes, level->size);
		if (level->bytes == NULL)
			abort();
	}
	memcpy(level->bytes + level->length, &n, sizeof(n));
	memcpy(level->bytes + level->length + sizeof(n), bytes, length);
	level->length += length + sizeof(n);
	level->count++;
}

/* ---- The search. ---- */

struct search {
	const struct search_options *options;
	struct search_result *result;
	struct search_set seen;
	uint32_t *parents;
	struct model_step *steps;
	uint32_t count, size;
	struct level now, next;
	time_t begin;
	uint32_t broken_at; /* State, whose step broke it. */
	struct model_step broken_step;
};

static bool out_of_bounds(struct search *s)
{
	const struct search_options *o = s->options;

	return (o->states_max != 0 && s->count >= o->states_max) ||
	       (o->seconds_max != 0 &&
		time(NULL) - s->begin >= (time_t)o->seconds_max);
}

static void found(struct search *s, struct model_world *w, uint32_t parent,
		  const struct model_step *step)
{
	static uint8_t bytes[MODEL_ENCODED_MAX];
	uint64_t key[2];
	uint32_t *value;
	size_t length;

	s->result->transitions++;
	if (step->crash_at != 0)
		s->result->crash_transitions++;
	if (model_broken == NULL)
		model_check(w);
	if (model_broken != NULL) {
		s->broken_at = parent;
		s->broken_step = *step;
		return;
	}
	model_canonical(w);
	length = model_encode(w, bytes);
	digest(bytes, length, key);
	value = search_set_at(&s->seen, key);
	if (*value != 0)
		return;
	if (s->count == s->size) {
		s->size = HVRI_MAX(s->size * 2, 1u << 16);
		s->parents = realloc(s->parents,
				     s->size * sizeof(*s->parents));
		s->steps = realloc(s->steps, s->size * sizeof(*s->steps));
		if (s->parents == NULL || s->steps == NULL)
			abort();
	}
	s->parents[s->count] = parent;
	s->steps[s->count] = *step;
	*value = ++s->count;
	level_add(&s->next, bytes, length);
}

static void look_for_way_out(struct search *s, const struct model_world *w,
			     uint32_t number)
{
	uint32_t operations;
	bool forced = false;

	s->result->quiet++;
	operations = way_out(w, &forced);
	if (model_broken == NULL && operations > WAY_MAX)
		model_break("a dead end: no 6 operations lead to protected");
	if (model_broken != NULL) {
		s->broken_at = number;
		s->broken_step = (struct model_step){ .kind = MODEL_NOTHING };
		return;
	}
	s->result->farthest = HVRI_MAX(s->result->farthest, operations);
	s->result->forced += forced;
}

static void expand(struct search *s, const struct model_world *from,
		   uint32_t number)
{
	static struct model_world w;
	struct model_step steps[STEPS_MAX];
	uint32_t count = model_steps(from, steps, STEPS_MAX);

	for (uint32_t i = 0; i < count && model_broken == NULL; i++) {
		struct model_step step = steps[i];
		uint32_t boundaries = 0;
		bool taken;

		model_copy(&w, from);
		taken = model_take(&w, &step, &boundaries);
		if (taken || model_broken != NULL)
			found(s, &w, number, &step);
		if (!taken || from->crashes >= model_bounds->crashes ||
		    step.kind == MODEL_CRASH)
			continue;
		for (uint32_t k = 1; k <= boundaries && model_broken == NULL;
		     k++) {
			step.crash_at = (uint8_t)k;
			model_copy(&w, from);
			if (model_take(&w, &step, NULL) ||
			    model_broken != NULL)
				found(s, &w, number, &step);
		}
	}
	if (s->options->way_out && model_broken == NULL && model_quiet(from))
		look_for_way_out(s, from, number);
}

static void show(struct search *s)
{
	static struct model_world w;
	struct model_step path[1024];
	uint32_t count = 0;
	const char *broken = model_broken;

	if (s->broken_step.kind != MODEL_NOTHING)
		path[count++] = s->broken_step;
	for (uint32_t at = s->broken_at; at != 0 && count < 1024;
	     at = s->parents[at])
		path[count++] = s->steps[at];
	s->result->steps = count;
	if (!s->options->show)
		return;
	model_broken = NULL;
	model_init(&w);
	model_canonical(&w);
	for (uint32_t i = count; i-- > 0;) {
		printf("  %2u. %s\n", count - i, model_step_text(&path[i]));
		model_tracing = s->options->verbose;
		model_take(&w, &path[i], NULL);
		model_tracing = false;
		if (i > 0)
			model_canonical(&w);
		if (s->options->verbose || i == 0)
			model_show(&w);
	}
	model_broken = broken;
}

void search_run(const struct search_options *options,
		struct search_result *result)
{
	static struct model_world w;
	struct search *s = calloc(1, sizeof(*s));
	const struct model_step nothing = { .kind = MODEL_NOTHING };
	bool stopped = false;

	if (s == NULL)
		abort();
	memset(result, 0, sizeof(*result));
	s->options = options;
	s->result = result;
	s->begin = time(NULL);
	search_set_init(&s->seen, 1u << 16);
	model_broken = NULL;
	model_bound_hits = 0;
	way_out_reset();
	model_init(&w);
	found(s, &w, 0, &nothing);
	result->transitions = 0;
	while (s->next.count > 0 && model_broken == NULL && !stopped) {
		size_t at = 0;

		free(s->now.bytes);
		s->now = s->next;
		memset(&s->next, 0, sizeof(s->next));
		s->next.first = s->count;
		for (uint32_t i = 0; i < s->now.count && model_broken == NULL;
		     i++) {
			uint32_t length;

			memcpy(&length, s->now.bytes + at, sizeof(length));
			at += sizeof(length);
			model_decode(s->now.bytes + at, length, &w);
			at += length;
			expand(s, &w, s->now.first + i);
			if ((i & 63) == 0 && out_of_bounds(s)) {
				stopped = true;
				break;
			}
		}
		if (options->progress)
			fprintf(stderr, "level %u: %u new, %u states, %ld s\n",
				result->diameter, s->next.count, s->count,
				(long)(time(NULL) - s->begin));
		if (s->next.count > 0)
			result->diameter++;
	}
	result->states = s->count;
	result->bound_hits = model_bound_hits;
	result->complete = !stopped && model_broken == NULL &&
			   model_bound_hits == 0;
	result->broken = model_broken;
	if (model_broken != NULL)
		show(s);
	free(s->now.bytes);
	free(s->next.bytes);
	free(s->parents);
	free(s->steps);
	search_set_free(&s->seen);
	free(s);
}
