/* SPDX-License-Identifier: Apache-2.0 */
/* Locks and condition variables; the only place that names the platform's. */
#ifndef HVRI_BASE_SYNC_H
#define HVRI_BASE_SYNC_H

#include <pthread.h>

typedef pthread_mutex_t hvri_mutex;
typedef pthread_cond_t hvri_cond;
typedef pthread_rwlock_t hvri_rwlock;

#define HVRI_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER

/* Default attributes: these calls cannot fail on the platforms we build for. */
static inline void hvri_mutex_init(hvri_mutex *mutex)
{
	/* What pthread_mutex_init(mutex, NULL) does, without the call: each
	 * guest write makes and ends a few of them. */
	*mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
static inline void hvri_mutex_destroy(hvri_mutex *mutex)
{
	(void)pthread_mutex_destroy(mutex);
}
static inline void hvri_lock(hvri_mutex *mutex)
{
	(void)pthread_mutex_lock(mutex);
}
static inline void hvri_unlock(hvri_mutex *mutex)
{
	(void)pthread_mutex_unlock(mutex);
}
static inline void hvri_cond_init(hvri_cond *cond)
{
	*cond = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}
static inline void hvri_cond_destroy(hvri_cond *cond)
{
	(void)pthread_cond_destroy(cond);
}
/* Not to be taken shared twice by one thread: who waits for it alone comes
 * first, or those who share it could keep him out for ever. */
static inline void hvri_rwlock_init(hvri_rwlock *lock)
{
#ifdef __GLIBC__
	pthread_rwlockattr_t attributes;

	(void)pthread_rwlockattr_init(&attributes);
	(void)pthread_rwlockattr_setkind_np(
		&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(lock, &attributes);
	(void)pthread_rwlockattr_destroy(&attributes);
#else
	(void)pthread_rwlock_init(lock, NULL);
#endif
}
static inline void hvri_rwlock_destroy(hvri_rwlock *lock)
{
	(void)pthread_rwlock_destroy(lock);
}
static inline void hvri_lock_shared(hvri_rwlock *lock)
{
	(void)pthread_rwlock_rdlock(lock);
}
static inline void hvri_lock_alone(hvri_rwlock *lock)
{
	(void)pthread_rwlock_wrlock(lock);
}
static inline void hvri_rwlock_unlock(hvri_rwlock *lock)
{
	(void)pthread_rwlock_unlock(lock);
}
static inline void hvri_wait(hvri_cond *cond, hvri_mutex *mutex)
{
	(void)pthread_cond_wait(cond, mutex);
}
static inline void hvri_wake_all(hvri_cond *cond)
{
	(void)pthread_cond_broadcast(cond);
}
#endif
