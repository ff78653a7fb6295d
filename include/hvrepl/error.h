/* SPDX-License-Identifier: Apache-2.0 */
/* Result codes, their classes, and the sentence that goes with a failure. */
#ifndef HVREPL_ERROR_H
#define HVREPL_ERROR_H

#include <hvrepl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Zero is success, negative is failure. The value of a code is fixed once
 * released; new codes may appear in any minor release, so a caller that meets
 * an unknown one looks at hvrepl_error_class().
 */
#define HVREPL_OK 0
#define HVREPL_PENDING 1 /* Only ever returned BY a callback, or by
			  * hvrepl_tracker_write_begin(). */

/* -1xx: the caller */
#define HVREPL_E_INVALID (-100)   /* An argument is missing or out of range. */
#define HVREPL_E_STATE (-101)     /* Not in this state; see the sentence. */
#define HVREPL_E_TOO_NEW (-102)   /* A member this version lacks is set. */
#define HVREPL_E_REENTRANT (-103) /* Not from inside a callback. */
#define HVREPL_E_BUSY (-104)      /* Still in use, or owned by another. */
#define HVREPL_E_NOT_FOUND (-105)
#define HVREPL_E_EXISTS (-106)
#define HVREPL_E_RANGE (-107)       /* Beyond the end of the disk. */
#define HVREPL_E_READ_ONLY (-108)
#define HVREPL_E_UNSUPPORTED (-109) /* An optional callback is missing. */
#define HVREPL_E_CLOSED (-110)
#define HVREPL_E_CANCELLED (-111)
#define HVREPL_E_FENCED (-112)      /* This site does not own the VM now. */
#define HVREPL_E_WRONG_DISK (-113)  /* Not the disk this log was made for. */

/* -2xx: resources */
#define HVREPL_E_NOMEM (-200)
#define HVREPL_E_NO_SPACE (-201)
#define HVREPL_E_LIMIT (-202)       /* A configured limit was reached. */

/* -3xx: an application callback failed */
#define HVREPL_E_CALLBACK (-300)
#define HVREPL_E_DISK_IO (-301)
#define HVREPL_E_STORAGE_IO (-302)
#define HVREPL_E_STATE_IO (-303)
#define HVREPL_E_POISONED (-304)    /* An earlier flush failed: reopen. */

/* -4xx: the peer */
#define HVREPL_E_PROTOCOL (-400)
#define HVREPL_E_PEER_VERSION (-401)
#define HVREPL_E_PEER_REFUSED (-402)
#define HVREPL_E_UNAUTHENTICATED (-403)
#define HVREPL_E_DENIED (-404)      /* No authorisation entry allows it. */

/* -5xx: integrity */
#define HVREPL_E_CORRUPT (-500)     /* Malformed, or digest mismatch. */
#define HVREPL_E_TRUNCATED (-501)   /* Ends too early. */
#define HVREPL_E_FORMAT_TOO_NEW (-502)
#define HVREPL_E_UNTRUSTED (-503)   /* Compare of the whole disk needed. */
#define HVREPL_E_DIVERGED (-504)    /* Both sides wrote; operator decides. */

/* -6xx: unavailable */
#define HVREPL_E_UNAVAILABLE (-600)
#define HVREPL_E_TIMEOUT (-601)
#define HVREPL_E_DISCONNECTED (-602)
#define HVREPL_E_VOIDED (-603)      /* The cut was given up; see T3. */

#define HVREPL_CLASS_NONE 0u
#define HVREPL_CLASS_CALLER 1u
#define HVREPL_CLASS_RESOURCE 2u
#define HVREPL_CLASS_CALLBACK 3u
#define HVREPL_CLASS_PEER 4u
#define HVREPL_CLASS_INTEGRITY 5u
#define HVREPL_CLASS_UNAVAILABLE 6u

#define HVREPL_SENTENCE_MAX 256u

/**
 * What went wrong, filled by functions that take one. Optional everywhere.
 * Set `struct_size` (HVREPL_ERROR_INIT) before the call.
 */
struct hvrepl_error {
	uint32_t struct_size;
	int32_t code;          /* HVREPL_E_* */
	uint32_t error_class;  /* HVREPL_CLASS_* */
	int32_t callback_code; /* What the application's callback returned. */
	int32_t sys_errno;     /* From the backends; 0 when none. */
	uint32_t reserved;
	char sentence[HVREPL_SENTENCE_MAX]; /* UTF-8, whole: says what to do, and
					      * the text of sys_errno too. */
};
#define HVREPL_ERROR_INIT { sizeof(struct hvrepl_error), 0, 0, 0, 0, 0, { 0 } }

/** Class of any code, known or not. 0 for HVREPL_OK. Any thread. @since 0.1 */
HVREPL_API uint32_t hvrepl_error_class(int32_t code);

/**
 * One static line of English for a code; never NULL, never freed.
 * Any thread; callback-safe. @since 0.1
 */
HVREPL_API const char *hvrepl_strerror(int32_t code);

/** The code's name ("HVREPL_E_INVALID"); "HVREPL_E_?" when unknown. */
HVREPL_API const char *hvrepl_error_name(int32_t code);

#ifdef __cplusplus
}
#endif
#endif
