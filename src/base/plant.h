/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs planted on purpose, so that the tests which look for bugs are tested:
 *
 *   if (!HVRI_PLANT(name))
 *           what_the_rule_says();
 *
 * Only the test library hvrepl-planted is built with HVREPL_PLANT; there the
 * bug called `name` is in while hvri_plant points at that name. Everywhere else
 * the macro is the constant false, and nothing of it is left in the code.
 */
#ifndef HVRI_BASE_PLANT_H
#define HVRI_BASE_PLANT_H

#ifdef HVREPL_PLANT
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Set before the code under test runs; NULL: no bug. */
extern const char *hvri_plant;
/* A second one at the same time, where one rule stands behind another. */
extern const char *hvri_plant_too;
#define HVRI_PLANT(name)                                              \
	(hvri_plant != NULL &&                                        \
	 (strcmp(hvri_plant, #name) == 0 ||                           \
	  (hvri_plant_too != NULL && strcmp(hvri_plant_too, #name) == 0)))
/* Between two steps of a path that takes no lock: what another thread may do
 * there is done there, when a test says so. */
extern void (*hvri_yield)(void);
#define HVRI_YIELD_IF(unlocked)                         \
	do {                                            \
		if ((unlocked) && hvri_yield != NULL)   \
			hvri_yield();                   \
	} while (0)
#define HVRI_YIELD() HVRI_YIELD_IF(true)
#else
#include <stdbool.h>
#define HVRI_PLANT(name) false
#define HVRI_YIELD_IF(unlocked) ((void)0)
#define HVRI_YIELD() ((void)0)
#endif
#endif
