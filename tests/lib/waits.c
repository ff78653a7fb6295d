/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapped functions; see waits.h. */
#include "waits.h"

#include <pthread.h>
#include <sched.h>

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __real_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);

static unsigned waiting; /* Atomic. */

unsigned waits_now(void)
{
	return __atomic_load_n(&waiting, __ATOMIC_ACQUIRE);
}

void waits_await(void)
{
	while (waits_now() == 0)
		(void)sched_yield();
}

unsigned waits_for_flush(struct hvri_flushes *flushes)
{
	const struct hvri_flush_call *call;
	unsigned count = 0;

	hvri_lock(&flushes->mutex);
	for (call = flushes->first; call != NULL; call = call->next)
		count++;
	hvri_unlock(&flushes->mutex);
	return count;
}

#define WRAP_LOCK(name, try, type)                                       \
	int __wrap_##name(type *lock)                                    \
	{                                                                \
		int rc = try(lock);                                      \
		if (rc == 0)                                             \
			return 0;                                        \
		(void)__atomic_add_fetch(&waiting, 1, __ATOMIC_RELEASE); \
		rc = __real_##name(lock);                                \
		(void)__atomic_sub_fetch(&waiting, 1, __ATOMIC_RELEASE); \
		return rc;                                               \
	}

WRAP_LOCK(pthread_mutex_lock, pthread_mutex_trylock, pthread_mutex_t)
WRAP_LOCK(pthread_rwlock_rdlock, pthread_rwlock_tryrdlock, pthread_rwlock_t)
WRAP_LOCK(pthread_rwlock_wrlock, pthread_rwlock_trywrlock, pthread_rwlock_t)

/* The lock is held until it waits: who takes it then finds it waiting. */
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	int rc;

	(void)__atomic_add_fetch(&waiting, 1, __ATOMIC_RELEASE);
	rc = __real_pthread_cond_wait(cond, mutex);
	(void)__atomic_sub_fetch(&waiting, 1, __ATOMIC_RELEASE);
	return rc;
}
