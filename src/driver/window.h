/* SPDX-License-Identifier: Apache-2.0 */
/* How far a window of initial replication reaches (L1). */
#ifndef HVRI_DRIVER_WINDOW_H
#define HVRI_DRIVER_WINDOW_H

#include "base/io.h"
#include "format/record.h"

/*
 * A window is bounded by the bytes that are read while it is frozen, and holes
 * are not read: so one from `from` to `end` may reach further, until it holds
 * as many allocated bytes as it had addresses. Returns where it ends, not
 * before `end`, at a multiple of `block`, past the last disk when nothing is
 * left. What is a hole when the disks are asked may be written before the cut:
 * then the window holds more than it was given, never less than it names.
 * `disks`: `count` of them, borrowed; asks at most a few thousand times.
 */
struct hvri_frontier hvri_window_over_holes(const struct hvri_disk *const *disks,
					    uint32_t count, uint64_t block,
					    struct hvri_frontier from,
					    struct hvri_frontier end);
#endif
