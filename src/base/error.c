/* SPDX-License-Identifier: Apache-2.0 */
/* Code -> name, class, sentence; and filling struct hvrepl_error. */
#include "base/rc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CODES(X)                                                              \
	X(OK, "no error")                                                     \
	X(E_INVALID, "an argument is missing or out of range")                \
	X(E_STATE, "not possible in this state")                              \
	X(E_TOO_NEW, "a member is set that this version does not know")       \
	X(E_REENTRANT, "not to be called from inside a callback")             \
	X(E_BUSY, "still in use, or owned by another process")                \
	X(E_NOT_FOUND, "there is no such thing")                              \
	X(E_EXISTS, "it is there already")                                    \
	X(E_RANGE, "beyond the end of the disk")                              \
	X(E_READ_ONLY, "it is read-only")                                     \
	X(E_UNSUPPORTED, "an optional callback that this needs is missing")   \
	X(E_CLOSED, "the handle is closed")                                   \
	X(E_CANCELLED, "cancelled")                                           \
	X(E_FENCED, "this site does not own the VM now")                      \
	X(E_WRONG_DISK, "not the disk this was made for")                     \
	X(E_NOMEM, "out of memory")                                           \
	X(E_NO_SPACE, "no space left")                                        \
	X(E_LIMIT, "a configured limit was reached")                          \
	X(E_CALLBACK, "an application callback failed")                       \
	X(E_DISK_IO, "the disk failed")                                       \
	X(E_STORAGE_IO, "the storage failed")                                 \
	X(E_STATE_IO, "the state store failed")                               \
	X(E_POISONED, "an earlier flush failed; close and open again")        \
	X(E_PROTOCOL, "the peer broke the protocol")                          \
	X(E_PEER_VERSION, "no protocol version in common with the peer: upgrade the older site") \
	X(E_PEER_REFUSED, "the peer refused")                                 \
	X(E_UNAUTHENTICATED, "the peer has not proved who it is")             \
	X(E_DENIED, "no authorisation entry allows it")                       \
	X(E_CORRUPT, "malformed, or its digest does not match")               \
	X(E_TRUNCATED, "it ends too early")                                   \
	X(E_FORMAT_TOO_NEW, "written by a newer version")                     \
	X(E_UNTRUSTED, "what the disk holds is in doubt: it must be compared " \
		       "as a whole first, or be asked for by its point")      \
	X(E_DIVERGED, "both sites wrote; name the epoch that is to lose")     \
	X(E_UNAVAILABLE, "not available now")                                 \
	X(E_TIMEOUT, "took too long")                                         \
	X(E_DISCONNECTED, "the connection is lost")                           \
	X(E_VOIDED, "the cut was given up; the next one covers its changes")

static const struct {
	int32_t code;
	const char *name;
	const char *sentence;
} codes[] = {
#define X(NAME, SENTENCE) { HVREPL_##NAME, "HVREPL_" #NAME, SENTENCE },
	CODES(X)
#undef X
};

uint32_t hvrepl_error_class(int32_t code)
{
	if (code > -100)
		return code < 0 ? HVREPL_CLASS_CALLER : HVREPL_CLASS_NONE;
	return (uint32_t)(-(int64_t)code / 100);
}

const char *hvrepl_strerror(int32_t code)
{
	for (size_t i = 0; i < HVRI_ARRAY_LEN(codes); i++)
		if (codes[i].code == code)
			return codes[i].sentence;
	return "an error this version has no words for";
}

const char *hvrepl_error_name(int32_t code)
{
	for (size_t i = 0; i < HVRI_ARRAY_LEN(codes); i++)
		if (codes[i].code == code)
			return codes[i].name;
	return "HVREPL_E_?";
}

bool hvri_code_known(int32_t code)
{
	for (size_t i = 0; i < HVRI_ARRAY_LEN(codes); i++)
		if (codes[i].code == code)
			return code < 0;
	return false;
}

/* Never past what the caller said it has; the sentence is cut to fit. */
static void fill(struct hvrepl_error *error, int32_t code,
		 const char *sentence)
{
	struct hvrepl_error full = HVREPL_ERROR_INIT;
	uint32_t size = error->struct_size;

	full.code = code;
	full.error_class = hvrepl_error_class(code);
	if (size > offsetof(struct hvrepl_error, callback_code))
		full.callback_code = error->callback_code;
	if (size > offsetof(struct hvrepl_error, sys_errno))
		full.sys_errno = error->sys_errno;
	full.struct_size = size;
	snprintf(full.sentence, sizeof(full.sentence), "%s", sentence);
	memcpy(error, &full, HVRI_MIN(size, sizeof(full)));
}

int32_t hvri_fail(struct hvrepl_error *error, int32_t code, const char *format,
		  ...)
{
	char sentence[HVREPL_SENTENCE_MAX];
	va_list args;

	if (error == NULL || error->struct_size < sizeof(uint32_t))
		return code;
	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	fill(error, code, sentence);
	return code;
}

int32_t hvri_fail_plain(struct hvrepl_error *error, int32_t code)
{
	if (error == NULL || error->struct_size < sizeof(uint32_t))
		return code;
	if (error->struct_size >= sizeof(*error) && error->code == code &&
	    error->sentence[0] != 0)
		return code;
	fill(error, code, hvrepl_strerror(code));
	return code;
}
