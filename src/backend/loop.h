/* SPDX-License-Identifier: Apache-2.0 */
/* What the connections need of the loop beyond its public functions. */
#ifndef HVRI_BACKEND_LOOP_H
#define HVRI_BACKEND_LOOP_H

#include <hvrepl/backends/loop.h>
#include <stdbool.h>

/* Does the loop run, and on this thread? */
bool hvri_loop_is_current(const hvrepl_loop *loop);
/* So long from now; UINT64_MAX where that is beyond all time. */
uint64_t hvri_loop_in(uint64_t ns);
/* Does it, on any thread? */
bool hvri_loop_runs(const hvrepl_loop *loop);

/* A posted function whose memory is the poster's: posting cannot fail. In use
 * until its function begins. */
struct hvri_loop_post {
	struct hvri_loop_post *next;
	void (*function)(void *argument);
	void *argument;
	bool ours; /* Allocated by hvrepl_loop_post(). */
};
void hvri_loop_post(hvrepl_loop *loop, struct hvri_loop_post *post);

/* Something that has to know when its loop goes; embedded. Loop thread. */
struct hvri_loop_member {
	struct hvri_loop_member *next, **link; /* link NULL: not in. */
	/* Called once, after taking it out. */
	void (*loop_gone)(struct hvri_loop_member *member);
};
void hvri_loop_join(hvrepl_loop *loop, struct hvri_loop_member *member);
void hvri_loop_leave(struct hvri_loop_member *member);
#endif
