/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as people read them. */
#include "base/size.h"

#include "base/env.h"

#include <stdio.h>

void hvri_size_text(uint64_t bytes, char text[HVRI_SIZE_TEXT])
{
	static const char units[][6] = { "bytes", "KiB", "MiB", "GiB",
					 "TiB",	  "PiB", "EiB" };
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1024 && unit + 1 < HVRI_ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, HVRI_SIZE_TEXT, "%.*f %s",
		 unit > 0 && value < 100 ? 1 : 0, value, units[unit]);
}
