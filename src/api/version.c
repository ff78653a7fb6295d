/* SPDX-License-Identifier: Apache-2.0 */
/* The version of the library that runs. */
#include <hvrepl/version.h>

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

uint32_t hvrepl_version(void)
{
	return HVREPL_VERSION_NUMBER;
}

const char *hvrepl_version_string(void)
{
	return TEXT(HVREPL_VERSION_MAJOR) "." TEXT(HVREPL_VERSION_MINOR) "." TEXT(
		HVREPL_VERSION_PATCH);
}
