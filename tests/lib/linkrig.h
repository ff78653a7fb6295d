/* SPDX-License-Identifier: Apache-2.0 */
/* Two links in one process, over the memory pair, under a virtual clock. */
#ifndef LINKRIG_H
#define LINKRIG_H

#include "driver/link.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <string.h>

#define SECOND 1000000000ull
#define HEARD_MAX 512u

/* What one side is and saw. */
struct side {
	struct hvri_link link;
	struct test_env env;
	struct hvri_env inner;
	struct hvri_timers timers;
	bool started, up, closed;
	unsigned heard;
	uint8_t types[HEARD_MAX];
	uint32_t lengths[HEARD_MAX];
	uint8_t first_bytes[HEARD_MAX];
	int32_t answer; /* What frame() returns. */
	struct hvri_slab *held; /* The slab of the first frame. */
	const uint8_t *held_payload;
	bool hold;
};

static struct hvri_queue home;
static struct side a, b;
static struct hvrepl_channel ends[2];
static hvrepl_memory_pair *pair;

static inline struct side *side_of(struct hvri_link *link)
{
	return (struct side *)link;
}

static inline void on_up(struct hvri_link *link)
{
	ck_assert(!side_of(link)->up);
	side_of(link)->up = true;
}

static inline int32_t on_frame(struct hvri_link *link, const struct hvri_frame *frame,
			const uint8_t *payload, struct hvri_slab *slab)
{
	struct side *side = side_of(link);

	ck_assert(side->up);
	ck_assert_uint_lt(side->heard, HEARD_MAX);
	side->types[side->heard] = frame->type;
	side->lengths[side->heard] = frame->length;
	side->first_bytes[side->heard] = frame->length > 0 ? payload[0] : 0;
	side->heard++;
	if (side->hold && side->held == NULL) {
		hvri_slab_hold(slab);
		side->held = slab;
		side->held_payload = payload;
	}
	return side->answer;
}

static inline void on_closed(struct hvri_link *link)
{
	ck_assert(!side_of(link)->closed);
	side_of(link)->closed = true;
}

static const struct hvri_link_calls calls = { on_up, on_frame, on_closed,
					      NULL };

static inline void side_init(struct side *side, uint64_t seed)
{
	memset(side, 0, sizeof(*side));
	test_env_init(&side->env, seed);
	side->env.now_ns = SECOND;
	side->inner.app = side->env.env;
}

static inline void make_pair(uint64_t window, uint64_t receive_max)
{
	struct hvrepl_memory_pair_options options =
		HVREPL_MEMORY_PAIR_OPTIONS_INIT;

	options.names[0] = "primary";
	options.names[1] = "replica";
	options.window = window;
	options.receive_max = receive_max;
	memset(options.exporter, 0x5a, sizeof(options.exporter));
	ck_assert_int_eq(hvrepl_memory_pair_create(&options, ends, &pair),
			 HVREPL_OK);
}

static inline int32_t start(struct side *side, unsigned end)
{
	struct hvri_hello hello = { .version_min = HVRI_WIRE_VERSION,
				    .version_max = HVRI_WIRE_VERSION,
				    .incarnation = 7 };
	int32_t rc;

	memset(hello.node.bytes, side == &a ? 1 : 2, sizeof(hello.node));
	rc = hvri_link_start(&side->link, &side->inner, &home, &side->timers,
			     &ends[end], end == 0, &hello, &calls);
	side->started = rc == HVREPL_OK;
	ends[end].release = NULL; /* Taken. */
	return rc;
}

static inline void setup(void)
{
	hvri_queue_init(&home, NULL, NULL);
	side_init(&a, 1);
	side_init(&b, 2);
	make_pair(0, 0);
}

static inline void run(void)
{
	for (int i = 0; i < 100000; i++) {
		if (hvri_queue_run(&home, 16) == 0)
			return;
	}
	ck_abort_msg("it never comes to rest");
}

/* The clock of both sides; timers fire as they fall due. */
static inline void pass(uint64_t ns)
{
	while (ns > 0) {
		uint64_t step = HVRI_MIN(ns, SECOND / 2);

		a.env.now_ns += step;
		b.env.now_ns += step;
		ns -= step;
		(void)hvri_timers_run(&a.timers, a.env.now_ns, 8);
		(void)hvri_timers_run(&b.timers, b.env.now_ns, 8);
		run();
	}
}

static inline void side_end(struct side *side)
{
	if (side->started && !side->closed) {
		hvri_link_close(&side->link, HVREPL_E_CLOSED, NULL);
		run();
		/* A peer that does not read is not waited for for ever. */
		if (!side->closed)
			pass(HVRI_LINK_HANDSHAKE_NS + SECOND);
	}
	if (side->started) {
		ck_assert(side->closed);
		hvri_slab_drop(side->held);
		side->held = NULL;
		hvri_link_free(&side->link);
	}
	side->started = false;
	ck_assert_int_eq(side->env.alloc_live, 0);
}

static inline void teardown(void)
{
	for (unsigned i = 0; i < 2; i++)
		if (ends[i].release != NULL) {
			ends[i].ops->close(ends[i].user);
			run();
		}
	side_end(&a);
	side_end(&b);
	for (unsigned i = 0; i < 2; i++)
		if (ends[i].release != NULL)
			ends[i].release(ends[i].user);
	hvrepl_memory_pair_free(pair);
	hvri_queue_free(&home);
}

static inline void both_up(void)
{
	ck_assert_int_eq(start(&a, 0), HVREPL_OK);
	ck_assert_int_eq(start(&b, 1), HVREPL_OK);
	run();
	ck_assert(a.up && b.up);
}
#endif
