/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing a view's disks. */
#ifndef HVRI_STORE_VIEW_H
#define HVRI_STORE_VIEW_H

#include "store/internal.h"

HVRI_MUST_CHECK int32_t hvri_view_read(hvrepl_view *view, uint32_t disk,
				       uint64_t offset, void *buffer,
				       size_t length);
HVRI_MUST_CHECK int32_t hvri_view_write(hvrepl_view *view, uint32_t disk,
					uint64_t offset, const void *bytes,
					size_t length);
HVRI_MUST_CHECK int32_t hvri_view_zero(hvrepl_view *view, uint32_t disk,
				       uint64_t offset, uint64_t length);
/* What was written to this disk of it is durable then. */
HVRI_MUST_CHECK int32_t hvri_view_flush(hvrepl_view *view, uint32_t disk);
/* The view's content: read below the layers that a writer fills up from. */
int32_t hvri_view_below(void *view, uint32_t disk, uint64_t offset,
			void *buffer, size_t length);
#endif
