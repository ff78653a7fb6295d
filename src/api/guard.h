/* SPDX-License-Identifier: Apache-2.0 */
/* Which public function may be called from where; one row per function. */
#ifndef HVRI_API_GUARD_H
#define HVRI_API_GUARD_H

#include "base/guard.h"
#include "base/rc.h"

#include <stdbool.h>

/*
 * The table is api/functions.def; tests/abi compares it with the symbols the
 * library exports, so a new public function needs a row to land.
 *
 * How a function of the control plane uses it:
 *
 *	int32_t hvrepl_node_process(hvrepl_node *node, uint32_t budget)
 *	{
 *		int32_t rc;
 *
 *		if (node == NULL)
 *			return HVREPL_E_INVALID;
 *		HVRI_TRY(hvri_guard_enter(&node->guard,
 *					  HVRI_FN(hvrepl_node_process)));
 *		rc = hvri_node_process(node, budget);
 *		hvri_guard_leave(&node->guard, HVRI_FN(hvrepl_node_process));
 *		return rc;
 *	}
 *
 * A function marked SAFE passes always. Any other one is refused with
 * REENTRANT while a function of the same node is on the stack: called from
 * inside a callback, or from a second thread (control handles are used by one
 * thread at a time). A function marked ENDS must not call leave() after it
 * freed the guard. Functions of the data plane have thread-safe handles, do
 * not call enter(), and stand here so that the list is complete.
 */
#define HVRI_FN(name) HVRI_FN_##name

enum hvri_plane {
	HVRI_PLANE_ANY,     /* No handle, or only a library operation. */
	HVRI_PLANE_DATA,    /* Tracker, cut, log, store, view: any thread. */
	HVRI_PLANE_CONTROL, /* Node and what hangs on it: one thread. */
};

enum hvri_function {
#define X(name, plane, callback, life) HVRI_FN(name),
#include "api/functions.def"
#undef X
	HVRI_FUNCTION_COUNT
};

struct hvri_function_row {
	const char *name;
	enum hvri_plane plane;
	bool callback_safe; /* May be called from inside a callback. */
	bool destroys;      /* The handle is gone afterwards. */
};

const struct hvri_function_row *hvri_function_row(enum hvri_function function);

/* OK, or REENTRANT with nothing taken. */
HVRI_MUST_CHECK int32_t hvri_guard_enter(struct hvri_guard *guard,
					 enum hvri_function function);
void hvri_guard_leave(struct hvri_guard *guard, enum hvri_function function);
#endif
