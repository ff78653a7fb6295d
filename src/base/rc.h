/* SPDX-License-Identifier: Apache-2.0 */
/* How functions report failure inside the library. */
#ifndef HVRI_BASE_RC_H
#define HVRI_BASE_RC_H

#include <hvrepl/error.h>

#include <stdbool.h>

/* A function that can fail returns a code and nothing else; what it produces
 * goes through an `_out` parameter, untouched on failure. */
#define HVRI_MUST_CHECK __attribute__((warn_unused_result))

#if defined(__GNUC__)
#define HVRI_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define HVRI_PRINTF(fmt, first)
#endif

/* Only in a function that owns nothing yet. */
#define HVRI_TRY(expr)                   \
	do {                             \
		int32_t hvri_rc_ = (expr);   \
		if (hvri_rc_ < 0)        \
			return hvri_rc_; \
	} while (0)

#define HVRI_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HVRI_MAX(a, b) ((a) > (b) ? (a) : (b))
#define HVRI_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Is it a failure that this version has words for? */
bool hvri_code_known(int32_t code);

/* Fill `error` (may be NULL) with code, class and a sentence, return `code`.
 * The sentence is one line and says what the reader can do. */
int32_t hvri_fail(struct hvrepl_error *error, int32_t code, const char *format,
		  ...) HVRI_PRINTF(3, 4);

/* As hvri_fail(), with the sentence of the code itself; keeps a sentence that
 * is already there for the same code, so that the lowest layer's words win. */
int32_t hvri_fail_plain(struct hvrepl_error *error, int32_t code);
#endif
