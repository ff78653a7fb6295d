/* SPDX-License-Identifier: Apache-2.0 */
/* A reader on each side of the channels of tlsrig.h, as nodes have them, and waiting for
 * what becomes of them, however long the machine takes. */
#ifndef TLSREADERS_H
#define TLSREADERS_H

#include "tlsrig.h"

#define UNTIL(condition)                                        \
	do {                                                    \
		for (int i = 0; i < 20000 && !(condition); i++) \
			run_for(SECOND / 100);                  \
		ck_assert(condition);                           \
	} while (0)

/* The client's, the server's. */
static struct reader {
	struct hvrepl_op op;
	uint8_t byte;
	size_t got;
	int32_t rc; /* PENDING: it waits. */
} readers[2];

static inline void read_ended(struct hvrepl_op *op, int32_t result)
{
	((struct reader *)op)->rc = result;
}

static inline void start_reader(struct reader *reader, const struct side *side)
{
	*reader = (struct reader){ .op.complete = read_ended };
	reader->rc = side->channel.ops->receive(side->channel.user, &reader->op,
						&reader->byte, 1, &reader->got);
}

static inline void start_readers(void *only_server)
{
	if (only_server == NULL)
		start_reader(&readers[0], &client);
	start_reader(&readers[1], &server);
}

static inline void read_on_both_sides(void)
{
	ck_assert_int_eq(hvrepl_loop_post(loop, start_readers, NULL), 0);
	run_for(0);
}

static inline void read_at_server(void)
{
	ck_assert_int_eq(hvrepl_loop_post(loop, start_readers, &server), 0);
	run_for(0);
}

static inline bool both_wait(void)
{
	return readers[0].rc == HVREPL_PENDING &&
	       readers[1].rc == HVREPL_PENDING;
}

static inline bool none_waits(void)
{
	return readers[0].rc != HVREPL_PENDING &&
	       readers[1].rc != HVREPL_PENDING;
}
#endif
