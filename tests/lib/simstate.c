/* SPDX-License-Identifier: Apache-2.0 */
/* Instants of a sim and what a power loss makes of them; see simstate.h. */
#include "simstate.h"

#include "simimage.h"
#include "testing.h"

#include <stdio.h>

struct image_state {
	struct sim_image *image;
	uint8_t *now, *durable;
	uint64_t size, durable_size;
	struct sim_pending *first;
	bool whole, late, exists, durable_exists;
	unsigned pieces;
};

struct sim_state {
	unsigned count, pieces;
	struct image_state images[];
};

static uint8_t *copy_of(const uint8_t *bytes, uint64_t size)
{
	uint8_t *copy = sim_must(malloc(size + 1));

	memcpy(copy, bytes, size);
	return copy;
}

static unsigned sectors_of(const struct sim_pending *one)
{
	if (one->resize)
		return 1;
	if (one->length == 0)
		return 0;
	return (unsigned)((one->offset + one->length - 1) / SIM_SECTOR -
			  one->offset / SIM_SECTOR + 1);
}

static struct sim_pending *copy_pending(const struct sim_pending *from)
{
	struct sim_pending *first = NULL, **last = &first;

	for (; from != NULL; from = from->next) {
		uint64_t length = from->resize ? 0 : from->length;
		struct sim_pending *one = sim_must(malloc(sizeof(*one) + length));

		memcpy(one, from, sizeof(*one) + length);
		one->next = NULL;
		*last = one;
		last = &one->next;
	}
	return first;
}

static void free_pending(struct sim_pending *first)
{
	while (first != NULL) {
		struct sim_pending *gone = first;

		first = gone->next;
		free(gone);
	}
}

struct sim_state *sim_state_take(const struct sim *sim)
{
	struct sim_state *state;
	unsigned count = 0;

	for (struct sim_image *i = sim->images; i != NULL; i = i->next)
		count++;
	state = sim_must(calloc(1, sizeof(*state) +
					   count * sizeof(state->images[0])));
	for (struct sim_image *i = sim->images; i != NULL; i = i->next) {
		struct image_state *s = &state->images[state->count++];

		*s = (struct image_state){
			.image = i,
			.now = copy_of(i->now, i->size),
			.durable = copy_of(sim_durable(i), i->durable_size),
			.size = i->size,
			.durable_size = i->durable_size,
			.first = copy_pending(i->first),
			.whole = i->whole,
			.late = i->late,
			.exists = i->exists,
			.durable_exists = i->durable_exists,
			.pieces = i->exists != i->durable_exists,
		};
		for (struct sim_pending *one = s->first; one != NULL;
		     one = one->next)
			s->pieces += sectors_of(one);
		state->pieces += s->pieces;
	}
	return state;
}

void sim_state_free(struct sim_state *state)
{
	if (state == NULL)
		return;
	for (unsigned i = 0; i < state->count; i++) {
		free(state->images[i].now);
		free(state->images[i].durable);
		free_pending(state->images[i].first);
	}
	free(state);
}

unsigned sim_state_pieces(const struct sim_state *state)
{
	return state->pieces;
}

void sim_state_name(const struct sim_state *state, unsigned i, char *text,
		    size_t room)
{
	for (unsigned n = 0; n < state->count; n++) {
		const struct image_state *s = &state->images[n];
		const char *id = s->image->storage != NULL ? s->image->id :
							     "disk";

		if (i >= s->pieces) {
			i -= s->pieces;
			continue;
		}
		for (struct sim_pending *one = s->first; one != NULL;
		     one = one->next) {
			if (i >= sectors_of(one)) {
				i -= sectors_of(one);
				continue;
			}
			if (one->resize)
				snprintf(text, room, "%s resized to %llu", id,
					 (unsigned long long)one->length);
			else
				snprintf(text, room, "%s sector %llu", id,
					 (unsigned long long)(
						 one->offset / SIM_SECTOR + i));
			return;
		}
		snprintf(text, room, "%s %s", id,
			 s->exists ? "made" : "removed");
		return;
	}
	snprintf(text, room, "?");
}

static uint64_t mix(uint64_t digest, const uint8_t *bytes, uint64_t length)
{
	for (uint64_t i = 0; i < length; i += 8) {
		uint64_t word = 0;

		memcpy(&word, bytes + i, length - i < 8 ? length - i : 8);
		digest = (digest ^ word) * 0x9e3779b97f4a7c15ull;
		digest ^= digest >> 29;
	}
	return digest;
}

/* One image's durable bytes with `size` of them, and zeroes behind. */
static void load(uint8_t *to, uint64_t was, const uint8_t *from, uint64_t size)
{
	memcpy(to, from, size);
	if (was > size)
		memset(to + size, 0, was - size);
}

static void keep_sector(struct sim_image *image, const struct sim_pending *one,
			uint64_t at, uint64_t piece, bool garbage)
{
	if (garbage)
		test_fill(sim_durable(image) + at, piece, at * 31 + one->length);
	else
		memcpy(sim_durable(image) + at, one->bytes + (at - one->offset),
		       piece);
	if (at + piece > image->durable_size)
		image->durable_size = at + piece;
}

/* Pending pieces of one image meet their fates, in the order of the writes. */
static void lose(const struct image_state *s, const uint8_t *fates)
{
	struct sim_image *image = s->image;

	for (struct sim_pending *one = s->first; one != NULL; one = one->next) {
		uint64_t at = one->offset, end = at + one->length;

		if (one->resize) {
			if (*fates++ == SIM_KEPT)
				sim_set_size(sim_durable(image),
					     &image->durable_size, one->length);
			continue;
		}
		while (at < end) {
			uint64_t next = (at / SIM_SECTOR + 1) * SIM_SECTOR;
			uint64_t piece = (next < end ? next : end) - at;

			if (*fates != SIM_LOST)
				keep_sector(image, one, at, piece,
					    *fates == SIM_GARBAGE);
			fates++;
			at += piece;
		}
	}
	if (s->exists != s->durable_exists && *fates == SIM_KEPT)
		image->durable_exists = image->exists;
}

static uint64_t digest_of(const struct image_state *s, uint64_t digest)
{
	struct sim_image *image = s->image;

	digest = mix(digest, (const uint8_t *)&image->durable_size, 8);
	digest ^= image->durable_exists;
	for (struct sim_pending *one = s->first; one != NULL; one = one->next) {
		uint64_t end = one->offset + one->length;

		if (one->resize || one->offset >= image->durable_size)
			continue;
		if (end > image->durable_size)
			end = image->durable_size;
		digest = mix(digest, sim_durable(image) + one->offset,
			     end - one->offset);
	}
	return digest;
}

static uint64_t put_image(const struct image_state *s, const uint8_t *fates,
			  uint64_t digest)
{
	struct sim_image *image = s->image;
	uint64_t was_durable = image->durable_size;

	sim_drop_pending(image);
	image->whole = s->whole;
	image->apart = true;
	image->late = s->late;
	image->exists = s->exists;
	image->durable_exists = s->durable_exists;
	load(sim_durable(image), was_durable, s->durable, s->durable_size);
	image->durable_size = s->durable_size;
	if (fates == NULL) {
		load(image->now, image->size, s->now, s->size);
		image->size = s->size;
		image->first = copy_pending(s->first);
		while (*image->last != NULL)
			image->last = &(*image->last)->next;
		return digest;
	}
	lose(s, fates);
	if (s->pieces > 0)
		digest = digest_of(s, digest);
	load(image->now, image->size, sim_durable(image), image->durable_size);
	image->size = image->durable_size;
	image->exists = image->durable_exists;
	image->late = false;
	return digest;
}

uint64_t sim_state_put(struct sim *sim, const struct sim_state *state,
		       const uint8_t *fates)
{
	uint64_t digest = 1;

	/* What was made since is not there. */
	while (sim->images != NULL &&
	       (state->count == 0 || sim->images != state->images[0].image)) {
		struct sim_image *gone = sim->images;

		sim->images = gone->next;
		sim_drop_pending(gone);
		free(gone->now);
		free(gone->medium);
		free(gone);
	}
	for (unsigned i = 0; i < state->count; i++) {
		const struct image_state *s = &state->images[i];

		sim_make_room(s->image, s->size > s->durable_size ?
						s->size :
						s->durable_size);
		digest = put_image(s, fates, digest);
		if (fates != NULL)
			fates += s->pieces;
	}
	sim->crash_at = UINT64_MAX;
	sim_restart(sim, false);
	return digest;
}
