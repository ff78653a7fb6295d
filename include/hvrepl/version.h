/* SPDX-License-Identifier: Apache-2.0 */
/* Version of the headers (macros) and of the library that runs (functions). */
#ifndef HVREPL_VERSION_H
#define HVREPL_VERSION_H

#include <hvrepl/types.h>

#define HVREPL_VERSION_MAJOR 0
#define HVREPL_VERSION_MINOR 1
#define HVREPL_VERSION_PATCH 0
#define HVREPL_VERSION_NUMBER                                         \
	(HVREPL_VERSION_MAJOR * 1000000u + HVREPL_VERSION_MINOR * 1000u + \
	 HVREPL_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/** HVREPL_VERSION_NUMBER of the library that runs. Any thread. @since 0.1 */
HVREPL_API uint32_t hvrepl_version(void);
/** "0.1.0"; static. Any thread. @since 0.1 */
HVREPL_API const char *hvrepl_version_string(void);

#ifdef __cplusplus
}
#endif
#endif
