/* SPDX-License-Identifier: Apache-2.0 */
/* A small event loop for applications that have none: epoll on one thread. */
#ifndef HVREPL_BACKENDS_LOOP_H
#define HVREPL_BACKENDS_LOOP_H

#include <hvrepl/error.h>
#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A loop runs on the thread that calls hvrepl_loop_run() until somebody stops
 * it. Functions marked "loop thread" are called there, or anywhere while the
 * loop does not run. Several loops share nothing.
 */
typedef struct hvrepl_loop hvrepl_loop;

/** Make a loop. NOMEM or UNAVAILABLE (no descriptors). Any thread. @since 0.1 */
HVREPL_API int32_t hvrepl_loop_create(hvrepl_loop **loop_out,
				      struct hvrepl_error *error);

/**
 * Run on this thread until hvrepl_loop_stop(). Returns OK then, STATE when it
 * runs already, or the negative code of a door's process().
 */
HVREPL_API int32_t hvrepl_loop_run(hvrepl_loop *loop);

/** Make run() return soon; a run() that has yet to begin returns at once.
 * Any thread; callback-safe. */
HVREPL_API void hvrepl_loop_stop(hvrepl_loop *loop);

/**
 * Free a loop that does not run. Functions still posted run here first, then
 * its connections break, attempts end with CANCELLED and listeners close;
 * channels that nodes still hold work no more (CLOSED). Doors are released and
 * timers freed; watches are to be removed by then. NULL is fine.
 */
HVREPL_API void hvrepl_loop_destroy(hvrepl_loop *loop);

/** CLOCK_MONOTONIC in nanoseconds, as hvrepl_default_env() has it. */
HVREPL_API uint64_t hvrepl_loop_now(void);

/** Look at the doors (below) soon. Any thread; callback-safe; cheap. */
HVREPL_API void hvrepl_loop_wake(hvrepl_loop *loop);

/** Run function(argument) once on the loop's thread. OK or NOMEM. Any thread. */
HVREPL_API int32_t hvrepl_loop_post(hvrepl_loop *loop,
				    void (*function)(void *argument),
				    void *argument);

/** Something that is driven by calls, such as a node. */
struct hvrepl_loop_door {
	uint32_t struct_size; /* sizeof(struct hvrepl_loop_door) */
	uint32_t budget;      /* Given to process(); 0: 64. */
	void *user;
	/** Do what is due: 1 when more is, 0 when not; negative ends run(). */
	int32_t (*process)(void *user, uint32_t budget);
	/** When it is next due, CLOCK_MONOTONIC ns; UINT64_MAX: never. */
	uint64_t (*deadline)(void *user);
	/** Optional: once, when neither is called any more; on failure too. It may
	 * free timers and remove watches of the loop, also while that is destroyed. */
	void (*release)(void *user);
};
#define HVREPL_LOOP_DOOR_INIT \
	{ sizeof(struct hvrepl_loop_door), 0, 0, 0, 0, 0 }

typedef struct hvrepl_loop_attachment hvrepl_loop_attachment;

/**
 * From now on process() is called on the loop's thread after each wake, when
 * the deadline has come and as long as it says that there is more.
 * @param door  Copied; `user` taken, see release().
 * @return OK, INVALID or NOMEM. Loop thread.
 */
HVREPL_API int32_t hvrepl_loop_attach(hvrepl_loop *loop,
				      const struct hvrepl_loop_door *door,
				      hvrepl_loop_attachment **attachment_out);
/** End that; process() is not called any more. Loop thread, also from inside
 * process(). NULL is fine. */
HVREPL_API void hvrepl_loop_detach(hvrepl_loop_attachment *attachment);

#define HVREPL_LOOP_READ (1u << 0)
#define HVREPL_LOOP_WRITE (1u << 1)
/** Given to ready() whatever was asked for: error or hang-up. */
#define HVREPL_LOOP_FAILED (1u << 2)

typedef struct hvrepl_loop_watch hvrepl_loop_watch;

/**
 * Call ready(user, events) while `fd` is ready (level-triggered).
 * @param fd      Stays the caller's; remove the watch before closing it.
 * @param events  HVREPL_LOOP_READ, WRITE; 0: nothing at all, FAILED neither.
 * @return OK, NOMEM or UNAVAILABLE. Loop thread.
 */
HVREPL_API int32_t hvrepl_loop_watch_fd(hvrepl_loop *loop, int fd,
					uint32_t events,
					void (*ready)(void *user,
						      uint32_t events),
					void *user,
					hvrepl_loop_watch **watch_out);
/** Other events from now on. OK or UNAVAILABLE. Loop thread. */
HVREPL_API int32_t hvrepl_loop_watch_change(hvrepl_loop_watch *watch,
					    uint32_t events);
/** ready() is not called any more. Loop thread, also from inside it. NULL is
 * fine. */
HVREPL_API void hvrepl_loop_watch_remove(hvrepl_loop_watch *watch);

typedef struct hvrepl_loop_timer hvrepl_loop_timer;

/** A timer that is not set. OK or NOMEM. Loop thread. */
HVREPL_API int32_t hvrepl_loop_timer_create(hvrepl_loop *loop,
					    void (*fired)(void *user),
					    void *user,
					    hvrepl_loop_timer **timer_out);
/** Fire once at `at_ns` (CLOCK_MONOTONIC); UINT64_MAX: not. Loop thread. */
HVREPL_API void hvrepl_loop_timer_set(hvrepl_loop_timer *timer,
				      uint64_t at_ns);
/** Loop thread, also from inside fired(). NULL is fine. */
HVREPL_API void hvrepl_loop_timer_free(hvrepl_loop_timer *timer);

#ifdef __cplusplus
}
#endif
#endif
