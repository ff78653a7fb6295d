/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as people read them. */
#ifndef HVRI_BASE_SIZE_H
#define HVRI_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

#define HVRI_SIZE_TEXT 32u
/* "512 bytes", "1.5 MiB", "100 GiB". */
void hvri_size_text(uint64_t bytes, char text_out[HVRI_SIZE_TEXT]);
#endif
