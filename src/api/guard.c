/* SPDX-License-Identifier: Apache-2.0 */
/* The table of public functions and the check that a control handle makes. */
#include "api/guard.h"

#define SAFE true
#define OUTSIDE false
#define ENDS true
#define KEEPS false

static const struct hvri_function_row rows[] = {
#define X(name, plane, callback, life) \
	[HVRI_FN(name)] = { #name, HVRI_PLANE_##plane, callback, life },
#include "api/functions.def"
#undef X
};

_Static_assert(HVRI_ARRAY_LEN(rows) == HVRI_FUNCTION_COUNT, "a row each");

const struct hvri_function_row *hvri_function_row(enum hvri_function function)
{
	return &rows[function];
}

int32_t hvri_guard_enter(struct hvri_guard *guard, enum hvri_function function)
{
	if (rows[function].callback_safe)
		return HVREPL_OK;
	/* Atomic, so that a second thread is refused and not half let in. */
	if (__atomic_exchange_n(&guard->inside, 1, __ATOMIC_ACQUIRE) != 0)
		return HVREPL_E_REENTRANT;
	return HVREPL_OK;
}

void hvri_guard_leave(struct hvri_guard *guard, enum hvri_function function)
{
	if (!rows[function].callback_safe)
		__atomic_store_n(&guard->inside, 0, __ATOMIC_RELEASE);
}
