/* SPDX-License-Identifier: Apache-2.0 */
/* The audit: an append-only chain of who did what, in objects of a storage. */
#ifndef HVREPL_AUDIT_H
#define HVREPL_AUDIT_H

#include <hvrepl/env.h>
#include <hvrepl/error.h>
#include <hvrepl/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A record names its number, and the digest of the one before: none can be
 * changed, taken out or put in without every later one telling. Who can write
 * the storage can make a whole chain anew, or cut its end off: note the last
 * digest elsewhere (hvrepl_audit_get_info()) where that matters.
 */
typedef struct hvrepl_audit hvrepl_audit;

#define HVREPL_AUDIT_OPENED 1u         /* By the audit itself. */
#define HVREPL_AUDIT_REPAIRED 2u       /* By itself: a torn end was dropped. */
#define HVREPL_AUDIT_AUTHENTICATION 3u /* A peer proved itself, or did not. */
#define HVREPL_AUDIT_DENIED 4u
#define HVREPL_AUDIT_RIGHTS 5u         /* An entry was changed. */
#define HVREPL_AUDIT_OPERATION 6u      /* Asked for; code: taken or refused. */
#define HVREPL_AUDIT_JOB 7u            /* An operation ended. */
#define HVREPL_AUDIT_OWNERSHIP 8u      /* Epochs, verdicts, what was given up. */
#define HVREPL_AUDIT_LIMIT 9u
#define HVREPL_AUDIT_REKEY 10u

/** "opened", "repaired", "authentication", "denied", "rights", "operation", "job",
 * "ownership", "limit", "rekey" of an HVREPL_AUDIT_*; NULL beyond. Static. Any thread;
 * callback-safe. @since 0.1 */
HVREPL_API const char *hvrepl_audit_kind_name(uint32_t kind);

#define HVREPL_AUDIT_ACTOR_MAX 255u /* Bytes, without the zero. */

struct hvrepl_audit_record {
	uint32_t struct_size; /* sizeof(struct hvrepl_audit_record) */
	uint32_t kind;        /* HVREPL_AUDIT_* */
	int32_t code;         /* HVREPL_OK or why not. */
	uint32_t reserved;    /* Must be zero. */
	uint64_t number;      /* 1, 2, 3...; given by append. */
	uint64_t utc_ns;      /* By the env's clock; given by append. */
	struct hvrepl_uuid vm; /* All zero: none. */
	/** Peer or operator; cut to HVREPL_AUDIT_ACTOR_MAX bytes; NULL: none. */
	const char *actor;
	const char *sentence; /* Cut to HVREPL_SENTENCE_MAX - 1 bytes. */
};
#define HVREPL_AUDIT_RECORD_INIT                                            \
	{ sizeof(struct hvrepl_audit_record), 0, 0, 0, 0, 0, { { 0 } }, 0, 0 }

struct hvrepl_audit_info {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t broken;      /* 1: the last append failed. */
	uint64_t records;     /* Number of the last one; 0: none. */
	uint8_t digest[32];   /* Of that one. */
};
#define HVREPL_AUDIT_INFO_INIT \
	{ sizeof(struct hvrepl_audit_info), 0, 0, { 0 } }

/**
 * Open the audit that lies in `storage`, or begin one. An end that a crash left
 * torn is dropped and a record says so; a damaged record before the end is
 * CORRUPT, and nothing is changed. The storage is taken, also on failure, and
 * used by nobody else; `env` is copied: allocator and UTC clock.
 * @return OK; CORRUPT, FORMAT_TOO_NEW with a sentence that says where;
 *         STORAGE_IO, NO_SPACE, BUSY, NOMEM, INVALID.
 * @threadsafety Any thread; blocks on the storage. @since 0.1
 */
HVREPL_API int32_t hvrepl_audit_open(const struct hvrepl_env *env,
				     const struct hvrepl_storage *storage,
				     hvrepl_audit **audit_out,
				     struct hvrepl_error *error);
/**
 * Append one record and flush. OK: it is durable, in this order. On failure it
 * is not there, or it is and another follows; the next append looks at what the
 * storage holds before it writes.
 * @return OK; INVALID; STORAGE_IO, NO_SPACE, CORRUPT, NOMEM.
 * @threadsafety Any thread, one after the other; blocks. @since 0.1
 */
HVREPL_API int32_t
hvrepl_audit_append(hvrepl_audit *audit,
		    const struct hvrepl_audit_record *record);
/** OK or INVALID. Any thread. @since 0.1 */
HVREPL_API int32_t hvrepl_audit_get_info(hvrepl_audit *audit,
					 struct hvrepl_audit_info *info);
/** Lets the storage go. NULL is fine. */
HVREPL_API void hvrepl_audit_close(hvrepl_audit *audit);

/**
 * Read an audit from its first object to its end and check every digest, number
 * and link; changes nothing. `seen` is called for each good record, its strings
 * borrowed for the call; a negative code from it ends the reading and is
 * returned. Optional. The storage is taken, also on failure.
 * @return OK; CORRUPT or TRUNCATED (the end is torn), with a sentence that names
 *         the first record that is not good by number, object and byte;
 *         NOT_FOUND: there is none.
 * @threadsafety Any thread; blocks. @since 0.1
 */
HVREPL_API int32_t
hvrepl_audit_verify(const struct hvrepl_env *env,
		    const struct hvrepl_storage *storage,
		    int32_t (*seen)(void *user,
				    const struct hvrepl_audit_record *record),
		    void *user, struct hvrepl_audit_info *info,
		    struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
