/* SPDX-License-Identifier: Apache-2.0 */
/* Threads for calls that nothing can cut short. */
#ifndef HVRI_BACKEND_DETACH_H
#define HVRI_BACKEND_DETACH_H

/* Run function(argument) on a thread that nobody joins and that takes no
 * signals; it may outlive everything, for the library is never unloaded.
 * Errno or 0. */
int hvri_detach(void *(*function)(void *argument), void *argument);
#endif
