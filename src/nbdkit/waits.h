/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are answered when something has happened, or time is up. */
#ifndef SITE_WAITS_H
#define SITE_WAITS_H

#include <stdbool.h>
#include <stdint.h>

struct control_request;

/*
 * Answer the request if what it waits for is there, or if `expired`, and say
 * whether it was answered. On the control thread.
 */
typedef bool wait_look(struct control_request *request, void *argument,
		       bool expired);

struct wait {
	struct wait *next;
	struct control_request *request;
	wait_look *look;
	void *argument; /* Freed with free(). */
	uint64_t deadline_ns;
};

/* One thread's; zero is empty. */
struct waits {
	struct wait *first;
};

/* Looks at once. Takes `argument`. */
void waits_add(struct waits *waits, struct control_request *request,
	       uint64_t now_ns, uint64_t limit_ns, wait_look *look,
	       void *argument);
/* Something may have happened: look at all of them. */
void waits_turn(struct waits *waits, uint64_t now_ns);
/* The next deadline; UINT64_MAX when there is none. */
uint64_t waits_deadline(const struct waits *waits);
/* Answer all of them as expired. */
void waits_end(struct waits *waits);

#endif
