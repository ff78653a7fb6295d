/* SPDX-License-Identifier: Apache-2.0 */
/* Where the checks of tests/lib end in a program without test cases, linked with
 * --wrap; see workers.h. */
#include "workers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void __wrap__mark_point(const char *file, int line);
void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
			      const char *message, ...)
	__attribute__((noreturn));

void __wrap__mark_point(const char *file, int line)
{
	(void)file, (void)line;
}

void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
			      const char *message, ...)
{
	char said[300] = "", text[600];
	va_list list;

	if (message != NULL) {
		va_start(list, message);
		vsnprintf(said, sizeof(said), message, list);
		va_end(list);
	}
	snprintf(text, sizeof(text), "%s:%d: %s %s",
		 strrchr(file, '/') != NULL ? strrchr(file, '/') + 1 : file,
		 line, expr, said);
	check_failed(text);
}
