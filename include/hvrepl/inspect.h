/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into the files hvrepl makes, without changing them. */
#ifndef HVREPL_INSPECT_H
#define HVREPL_INSPECT_H

#include <hvrepl/env.h>
#include <hvrepl/error.h>
#include <hvrepl/log.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVREPL_VALUE_NUMBER 1u /* `number` */
#define HVREPL_VALUE_BOOL 2u   /* `number`, 0 or 1 */
#define HVREPL_VALUE_TEXT 3u   /* `bytes`, `length`: UTF-8, no final zero */
#define HVREPL_VALUE_UUID 4u   /* `bytes`, 16 in RFC 4122 order */
#define HVREPL_VALUE_BYTES 5u  /* `bytes`, `length`: a digest or a token */

/** One value that a visitor sees. Borrowed for the call. */
struct hvrepl_value {
	uint32_t struct_size; /* Set by the library. */
	uint32_t type;        /* HVREPL_VALUE_* */
	uint64_t number;
	const void *bytes;
	size_t length;
};
#define HVREPL_VALUE_INIT { sizeof(struct hvrepl_value), 0, 0, 0, 0 }

#define HVREPL_NODE_OBJECT 1u /* Values with keys. */
#define HVREPL_NODE_LIST 2u   /* Values without: key is NULL. */

/**
 * What walks over a description: a tree of objects, lists and values, given in
 * order. Keys are static strings of [a-z0-9_]. A negative code from a callback
 * ends the walk and is returned. Callbacks run on the calling thread.
 */
struct hvrepl_visitor {
	uint32_t struct_size; /* sizeof(struct hvrepl_visitor) */
	uint32_t reserved;    /* Must be zero. */
	void *user;
	int32_t (*begin)(void *user, const char *key, uint32_t node);
	int32_t (*end)(void *user);
	int32_t (*value)(void *user, const char *key,
			 const struct hvrepl_value *value);
};
#define HVREPL_VISITOR_INIT { sizeof(struct hvrepl_visitor), 0, 0, 0, 0, 0 }

/** Also each chunk, record or range, not only what they add up to. */
#define HVREPL_INSPECT_DETAILS (1u << 0)

/**
 * Describe a file that hvrepl made: what it is, what it says, and whether all
 * of it is good. Its kind is seen from its first bytes.
 *
 * Values are given at the top level of the visitor, without a begin() around
 * them: first "kind", last "valid". What can be read of a damaged file is given
 * too: then "valid" is false, "damage" says what is wrong, and the code of the
 * damage is returned.
 *
 * @param source   Taken; see hvrepl/log.h. Any object or file.
 * @param flags    HVREPL_INSPECT_*.
 * @param visitor  Borrowed for the call.
 * @param error    Optional.
 * @return OK; UNSUPPORTED when it is no file of hvrepl's (nothing is given
 *         then); CORRUPT, TRUNCATED, FORMAT_TOO_NEW; CALLBACK, NOMEM, INVALID.
 * @threadsafety Any thread.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_inspect(const struct hvrepl_env *env,
				  const struct hvrepl_log_source *source,
				  uint32_t flags,
				  const struct hvrepl_visitor *visitor,
				  struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
