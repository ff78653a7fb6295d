/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are answered when something has happened, or time is up. */
#include "waits.h"

#include "control.h"

#include <stdlib.h>

void waits_add(struct waits *waits, struct control_request *request,
	       uint64_t now_ns, uint64_t limit_ns, wait_look *look,
	       void *argument)
{
	struct wait *wait;

	if (look(request, argument, limit_ns == 0)) {
		free(argument);
		return;
	}
	wait = calloc(1, sizeof(*wait));
	if (wait == NULL) {
		look(request, argument, true);
		free(argument);
		return;
	}
	wait->request = request;
	wait->look = look;
	wait->argument = argument;
	if (__builtin_add_overflow(now_ns, limit_ns, &wait->deadline_ns))
		wait->deadline_ns = UINT64_MAX;
	wait->next = waits->first;
	waits->first = wait;
}

void waits_turn(struct waits *waits, uint64_t now_ns)
{
	struct wait **link = &waits->first;

	while (*link != NULL) {
		struct wait *wait = *link;

		if (!wait->look(wait->request, wait->argument,
				now_ns >= wait->deadline_ns)) {
			link = &wait->next;
			continue;
		}
		*link = wait->next;
		free(wait->argument);
		free(wait);
	}
}

uint64_t waits_deadline(const struct waits *waits)
{
	uint64_t next = UINT64_MAX;

	for (const struct wait *wait = waits->first; wait != NULL;
	     wait = wait->next)
		if (wait->deadline_ns < next)
			next = wait->deadline_ns;
	return next;
}

void waits_end(struct waits *waits)
{
	waits_turn(waits, UINT64_MAX);
}
