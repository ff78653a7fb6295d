/* SPDX-License-Identifier: Apache-2.0 */
/* What the connections need of the loop beyond its public functions. */
#ifndef HVRI_BACKEND_LOOP_H
#define HVRI_BACKEND_LOOP_H

#include <hvrepl/backends/loop.h>
#include <stdbool.h>

/* Is this the loop's thread? True for everybody while it does not run. */
bool hvri_loop_is_here(const hvrepl_loop *loop);

/* Something that has to know when its loop goes; embedded. Loop thread. */
struct hvri_loop_member {
	struct hvri_loop_member *next, **link; /* link NULL: not in. */
	/* Called once, after taking it out. */
	void (*loop_gone)(struct hvri_loop_member *member);
};
void hvri_loop_join(hvrepl_loop *loop, struct hvri_loop_member *member);
void hvri_loop_leave(struct hvri_loop_member *member);
#endif
