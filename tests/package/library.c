/* SPDX-License-Identifier: Apache-2.0 */
/* A program outside the tree that uses the installed library alone. */
#include <hvrepl/hvrepl.h>

#include <string.h>

int main(void)
{
	if (hvrepl_version() != HVREPL_VERSION_NUMBER)
		return 1;
	return strcmp(hvrepl_error_name(HVREPL_E_NOMEM), "HVREPL_E_NOMEM") != 0;
}
