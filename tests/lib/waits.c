/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapped functions; see waits.h. */
#include "waits.h"

#include <pthread.h>
#include <sched.h>

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
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

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int rc;

	if (pthread_mutex_trylock(mutex) == 0)
		return 0;
	(void)__atomic_add_fetch(&waiting, 1, __ATOMIC_RELEASE);
	rc = __real_pthread_mutex_lock(mutex);
	(void)__atomic_sub_fetch(&waiting, 1, __ATOMIC_RELEASE);
	return rc;
}

/* The lock is held until it waits: who takes it then finds it waiting. */
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	int rc;

	(void)__atomic_add_fetch(&waiting, 1, __ATOMIC_RELEASE);
	rc = __real_pthread_cond_wait(cond, mutex);
	(void)__atomic_sub_fetch(&waiting, 1, __ATOMIC_RELEASE);
	return rc;
}
