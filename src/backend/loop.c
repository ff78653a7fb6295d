/* SPDX-License-Identifier: Apache-2.0 */
/* epoll, timers, posted functions and doors, all on one thread. */
#include "backend/loop.h"

#include "backend/fileio.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define BUDGET_DEFAULT 64u
#define WAIT_MAX_MS 3600000
#define NS_PER_MS 1000000u

struct hvrepl_loop_watch {
	struct hvrepl_loop_watch *next_gone;
	hvrepl_loop *loop;
	int fd;
	uint32_t events;
	bool removed;
	void (*ready)(void *user, uint32_t events);
	void *user;
};

struct hvrepl_loop_timer {
	struct hvrepl_loop_timer *next;
	hvrepl_loop *loop;
	uint64_t at_ns;
	bool removed;
	void (*fired)(void *user);
	void *user;
};

struct hvrepl_loop_attachment {
	struct hvrepl_loop_attachment *next;
	hvrepl_loop *loop;
	bool removed, more;
	struct hvrepl_loop_door door;
};

struct hvrepl_loop {
	int epoll_fd, event_fd;
	atomic_bool running, stopping;
	/* Set by whoever wants attention; only the first one writes event_fd. */
	atomic_bool woken;
	_Atomic pthread_t thread; /* Valid while running. */
	pthread_mutex_t mutex;
	struct hvri_loop_post *posts, **posts_end;
	struct hvrepl_loop_timer *timers;
	struct hvrepl_loop_attachment *attachments;
	struct hvrepl_loop_watch *gone; /* Events in hand may name them. */
	struct hvri_loop_member *members;
};

uint64_t hvrepl_loop_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t hvri_loop_in(uint64_t ns)
{
	uint64_t now = hvrepl_loop_now();

	return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

bool hvri_loop_runs(const hvrepl_loop *loop)
{
	return atomic_load(&loop->running);
}

bool hvri_loop_is_current(const hvrepl_loop *loop)
{
	return atomic_load(&loop->running) &&
	       pthread_equal(atomic_load(&loop->thread), pthread_self());
}

int32_t hvrepl_loop_create(hvrepl_loop **loop_out, struct hvrepl_error *error)
{
	struct epoll_event event = { .events = EPOLLIN };
	hvrepl_loop *loop;
	int saved;

	if (loop_out == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "loop_out is needed");
	loop = calloc(1, sizeof(*loop));
	if (loop == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	loop->posts_end = &loop->posts;
	loop->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->event_fd >= 0 && loop->epoll_fd >= 0 &&
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, &event) ==
		    0) {
		pthread_mutex_init(&loop->mutex, NULL);
		*loop_out = loop;
		return HVREPL_OK;
	}
	saved = errno;
	if (loop->event_fd >= 0)
		close(loop->event_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop);
	return hvri_sys_fail(error, HVREPL_E_UNAVAILABLE, saved,
			     "cannot make an event loop: %s", strerror(saved));
}

void hvrepl_loop_wake(hvrepl_loop *loop)
{
	const uint64_t one = 1;

	/* On the loop's own thread the flag is seen before the next wait. */
	if (!atomic_exchange(&loop->woken, true) &&
	    !hvri_loop_is_current(loop))
		while (write(loop->event_fd, &one, sizeof(one)) < 0 &&
		       errno == EINTR)
			;
}

void hvrepl_loop_stop(hvrepl_loop *loop)
{
	atomic_store(&loop->stopping, true);
	hvrepl_loop_wake(loop);
}

void hvri_loop_post(hvrepl_loop *loop, struct hvri_loop_post *post)
{
	post->next = NULL;
	pthread_mutex_lock(&loop->mutex);
	*loop->posts_end = post;
	loop->posts_end = &post->next;
	pthread_mutex_unlock(&loop->mutex);
	hvrepl_loop_wake(loop);
}

int32_t hvrepl_loop_post(hvrepl_loop *loop, void (*function)(void *argument),
			 void *argument)
{
	struct hvri_loop_post *post = calloc(1, sizeof(*post));

	if (post == NULL)
		return HVREPL_E_NOMEM;
	post->function = function;
	post->argument = argument;
	post->ours = true;
	hvri_loop_post(loop, post);
	return HVREPL_OK;
}

/* Those posted before the call; what they post waits for the next round. */
static bool run_posts(hvrepl_loop *loop)
{
	struct hvri_loop_post *posts;
	bool any;

	pthread_mutex_lock(&loop->mutex);
	posts = loop->posts;
	loop->posts = NULL;
	loop->posts_end = &loop->posts;
	pthread_mutex_unlock(&loop->mutex);
	any = posts != NULL;
	while (posts != NULL) {
		struct hvri_loop_post post = *posts;

		/* It may be posted again, or freed, inside its function. */
		if (post.ours)
			free(posts);
		posts = post.next;
		post.function(post.argument);
	}
	return any;
}

static int control(hvrepl_loop_watch *watch, int operation, uint32_t events)
{
	struct epoll_event event = { .data.ptr = watch };

	if ((events & HVREPL_LOOP_READ) != 0)
		event.events |= EPOLLIN;
	if ((events & HVREPL_LOOP_WRITE) != 0)
		event.events |= EPOLLOUT;
	return epoll_ctl(watch->loop->epoll_fd, operation, watch->fd, &event);
}

int32_t hvrepl_loop_watch_change(hvrepl_loop_watch *watch, uint32_t events)
{
	int operation = EPOLL_CTL_MOD;

	if (events == watch->events)
		return HVREPL_OK;
	/* Out of the set when nothing is wanted: a hang-up would be reported
	 * over and over. */
	if (events == 0)
		operation = EPOLL_CTL_DEL;
	else if (watch->events == 0)
		operation = EPOLL_CTL_ADD;
	if (control(watch, operation, events) < 0)
		return HVREPL_E_UNAVAILABLE;
	watch->events = events;
	return HVREPL_OK;
}

int32_t hvrepl_loop_watch_fd(hvrepl_loop *loop, int fd, uint32_t events,
			     void (*ready)(void *user, uint32_t events),
			     void *user, hvrepl_loop_watch **watch_out)
{
	hvrepl_loop_watch *watch = calloc(1, sizeof(*watch));
	int32_t rc;

	if (watch == NULL)
		return HVREPL_E_NOMEM;
	watch->loop = loop;
	watch->fd = fd;
	watch->ready = ready;
	watch->user = user;
	rc = hvrepl_loop_watch_change(watch, events);
	if (rc < 0) {
		free(watch);
		return rc;
	}
	*watch_out = watch;
	return HVREPL_OK;
}

void hvrepl_loop_watch_remove(hvrepl_loop_watch *watch)
{
	if (watch == NULL || watch->removed)
		return;
	(void)hvrepl_loop_watch_change(watch, 0);
	watch->removed = true;
	watch->next_gone = watch->loop->gone;
	watch->loop->gone = watch;
}

int32_t hvrepl_loop_timer_create(hvrepl_loop *loop, void (*fired)(void *user),
				 void *user, hvrepl_loop_timer **timer_out)
{
	hvrepl_loop_timer *timer = calloc(1, sizeof(*timer));

	if (timer == NULL)
		return HVREPL_E_NOMEM;
	timer->loop = loop;
	timer->at_ns = UINT64_MAX;
	timer->fired = fired;
	timer->user = user;
	timer->next = loop->timers;
	loop->timers = timer;
	*timer_out = timer;
	return HVREPL_OK;
}

void hvrepl_loop_timer_set(hvrepl_loop_timer *timer, uint64_t at_ns)
{
	timer->at_ns = at_ns;
}

void hvrepl_loop_timer_free(hvrepl_loop_timer *timer)
{
	if (timer == NULL)
		return;
	timer->removed = true;
	timer->at_ns = UINT64_MAX;
}

int32_t hvrepl_loop_attach(hvrepl_loop *loop,
			   const struct hvrepl_loop_door *door,
			   hvrepl_loop_attachment **attachment_out)
{
	hvrepl_loop_attachment *attachment = NULL;
	int32_t rc = HVREPL_OK;

	if (door == NULL || door->struct_size != sizeof(*door))
		return HVREPL_E_INVALID;
	if (door->process == NULL || door->deadline == NULL ||
	    attachment_out == NULL)
		rc = HVREPL_E_INVALID;
	if (rc == HVREPL_OK) {
		attachment = calloc(1, sizeof(*attachment));
		rc = attachment == NULL ? HVREPL_E_NOMEM : HVREPL_OK;
	}
	if (rc < 0) {
		if (door->release != NULL)
			door->release(door->user);
		return rc;
	}
	attachment->loop = loop;
	attachment->door = *door;
	if (attachment->door.budget == 0)
		attachment->door.budget = BUDGET_DEFAULT;
	attachment->more = true;
	attachment->next = loop->attachments;
	loop->attachments = attachment;
	*attachment_out = attachment;
	hvrepl_loop_wake(loop);
	return HVREPL_OK;
}

void hvrepl_loop_detach(hvrepl_loop_attachment *attachment)
{
	if (attachment != NULL)
		attachment->removed = true;
}

/* What was removed while lists were walked goes here, between the rounds. */
static void sweep(hvrepl_loop *loop)
{
	/* First: whoever is released lets go of timers and watches there. */
	for (hvrepl_loop_attachment **at = &loop->attachments; *at != NULL;) {
		hvrepl_loop_attachment *attachment = *at;

		if (attachment->removed) {
			*at = attachment->next;
			if (attachment->door.release != NULL)
				attachment->door.release(
					attachment->door.user);
			free(attachment);
		} else {
			at = &attachment->next;
		}
	}
	while (loop->gone != NULL) {
		hvrepl_loop_watch *watch = loop->gone;

		loop->gone = watch->next_gone;
		free(watch);
	}
	for (hvrepl_loop_timer **at = &loop->timers; *at != NULL;) {
		hvrepl_loop_timer *timer = *at;

		if (timer->removed) {
			*at = timer->next;
			free(timer);
		} else {
			at = &timer->next;
		}
	}
}

static void fire_timers(hvrepl_loop *loop)
{
	uint64_t now = hvrepl_loop_now();

	for (hvrepl_loop_timer *timer = loop->timers; timer != NULL;
	     timer = timer->next)
		if (!timer->removed && timer->at_ns <= now) {
			timer->at_ns = UINT64_MAX;
			timer->fired(timer->user);
		}
}

static int32_t open_doors(hvrepl_loop *loop, bool woken)
{
	uint64_t now = hvrepl_loop_now();

	for (hvrepl_loop_attachment *at = loop->attachments; at != NULL;
	     at = at->next) {
		int32_t rc;

		if (at->removed ||
		    (!woken && !at->more &&
		     at->door.deadline(at->door.user) > now))
			continue;
		rc = at->door.process(at->door.user, at->door.budget);
		if (rc < 0 && !at->removed)
			return rc;
		at->more = rc > 0;
	}
	return HVREPL_OK;
}

static int wait_ms(const hvrepl_loop *loop)
{
	uint64_t next = UINT64_MAX, now;

	if (atomic_load(&loop->woken) || atomic_load(&loop->stopping))
		return 0;
	for (const hvrepl_loop_attachment *at = loop->attachments; at != NULL;
	     at = at->next) {
		uint64_t due = at->more ? 0 : at->door.deadline(at->door.user);

		next = due < next ? due : next;
	}
	for (const hvrepl_loop_timer *at = loop->timers; at != NULL;
	     at = at->next)
		next = at->at_ns < next ? at->at_ns : next;
	if (next == UINT64_MAX)
		return -1;
	now = hvrepl_loop_now();
	if (next <= now)
		return 0;
	/* Rounded up: waking early would be waking twice. */
	next = (next - now + NS_PER_MS - 1) / NS_PER_MS;
	return next > WAIT_MAX_MS ? WAIT_MAX_MS : (int)next;
}

static void dispatch(hvrepl_loop *loop, const struct epoll_event *events,
		     int count)
{
	for (int i = 0; i < count; i++) {
		hvrepl_loop_watch *watch = events[i].data.ptr;
		uint32_t what = 0;
		uint64_t ignored;

		if (watch == NULL) {
			while (read(loop->event_fd, &ignored, 8) < 0 &&
			       errno == EINTR)
				;
			continue;
		}
		if ((events[i].events & EPOLLIN) != 0)
			what |= HVREPL_LOOP_READ;
		if ((events[i].events & EPOLLOUT) != 0)
			what |= HVREPL_LOOP_WRITE;
		if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0)
			what |= HVREPL_LOOP_FAILED;
		/* An earlier callback of this round may have changed it. */
		if (!watch->removed && watch->events != 0)
			watch->ready(watch->user, what);
	}
}

static int32_t run_once(hvrepl_loop *loop)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX,
			       wait_ms(loop));
	int32_t rc;
	bool woken;

	if (count < 0 && errno != EINTR)
		return HVREPL_E_UNAVAILABLE;
	dispatch(loop, events, count);
	fire_timers(loop);
	/* Cleared before looking: what is set from here on is seen next. */
	woken = atomic_exchange(&loop->woken, false);
	if (woken)
		(void)run_posts(loop);
	rc = open_doors(loop, woken);
	sweep(loop);
	return rc;
}

int32_t hvrepl_loop_run(hvrepl_loop *loop)
{
	int32_t rc = HVREPL_OK;

	if (atomic_load(&loop->running))
		return HVREPL_E_STATE;
	atomic_store(&loop->thread, pthread_self());
	atomic_store(&loop->running, true);
	/* Woken while nobody ran: the flag stands and wait_ms() sees it. */
	while (rc == HVREPL_OK && !atomic_load(&loop->stopping))
		rc = run_once(loop);
	atomic_store(&loop->stopping, false);
	atomic_store(&loop->running, false);
	return rc;
}

void hvri_loop_join(hvrepl_loop *loop, struct hvri_loop_member *member)
{
	member->next = loop->members;
	member->link = &loop->members;
	if (member->next != NULL)
		member->next->link = &member->next;
	loop->members = member;
}

void hvri_loop_leave(struct hvri_loop_member *member)
{
	if (member->link == NULL)
		return;
	*member->link = member->next;
	if (member->next != NULL)
		member->next->link = member->link;
	member->link = NULL;
}

void hvrepl_loop_destroy(hvrepl_loop *loop)
{
	if (loop == NULL)
		return;
	while (run_posts(loop))
		;
	while (loop->members != NULL) {
		struct hvri_loop_member *member = loop->members;

		hvri_loop_leave(member);
		member->loop_gone(member);
	}
	while (run_posts(loop))
		;
	for (hvrepl_loop_timer *at = loop->timers; at != NULL; at = at->next)
		at->removed = true;
	for (hvrepl_loop_attachment *at = loop->attachments; at != NULL;
	     at = at->next)
		at->removed = true;
	sweep(loop);
	close(loop->epoll_fd);
	close(loop->event_fd);
	pthread_mutex_destroy(&loop->mutex);
	free(loop);
}
