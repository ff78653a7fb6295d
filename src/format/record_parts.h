/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a record that messages carry too, written the same way. */
#ifndef HVRI_FORMAT_RECORD_PARTS_H
#define HVRI_FORMAT_RECORD_PARTS_H

#include "base/cursor.h"
#include "format/record.h"

void hvri_put_point(struct hvri_writer *w, const struct hvri_point *point);
void hvri_get_point(struct hvri_reader *r, struct hvri_point *point);
void hvri_put_frontier(struct hvri_writer *w,
		       const struct hvri_frontier *frontier);
void hvri_get_frontier(struct hvri_reader *r, struct hvri_frontier *frontier);
void hvri_put_lineage(struct hvri_writer *w,
		      const struct hvri_lineage *lineage);
/* Bad when beyond limits, double, or with a child older than its parent. */
void hvri_get_lineage(struct hvri_reader *r, struct hvri_lineage *lineage);
void hvri_put_policy(struct hvri_writer *w, const struct hvri_policy *policy);
void hvri_get_policy(struct hvri_reader *r, struct hvri_policy *policy);
void hvri_put_disks(struct hvri_writer *w, const struct hvri_disk_info *disks,
		    uint32_t count);
void hvri_get_disks(struct hvri_reader *r, struct hvri_disk_info *disks,
		    uint32_t *count_out);
/* One byte, 0 or 1. */
bool hvri_get_bool(struct hvri_reader *r);
/* One byte smaller than `count`. */
uint8_t hvri_get_below(struct hvri_reader *r, uint32_t count);
/* A zero-ended text without control characters in a field of `size`. */
void hvri_get_text(struct hvri_reader *r, char *text, size_t size);
#endif
