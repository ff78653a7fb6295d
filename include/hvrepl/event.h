/* SPDX-License-Identifier: Apache-2.0 */
/* What a node tells the application; pulled, never called back. */
#ifndef HVREPL_EVENT_H
#define HVREPL_EVENT_H

#include <hvrepl/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVREPL_EVENT_NONE 0u
#define HVREPL_EVENT_OVERFLOW 1u /* value = status events that were dropped. */
#define HVREPL_EVENT_CLOSED 2u   /* The node may be destroyed now. */
#define HVREPL_EVENT_SESSION 3u  /* value = 1 up, 0 down; code says why. */
#define HVREPL_EVENT_STATE 4u    /* A VM's mode, state or ownership moved. */
#define HVREPL_EVENT_POINT 5u    /* value = recovery point now available. */
#define HVREPL_EVENT_PROGRESS 6u /* value = bytes done, total = of how many. */
#define HVREPL_EVENT_JOB_DONE 7u /* job, code, sentence. Never dropped. */
#define HVREPL_EVENT_AUDIT 8u    /* sentence. Never dropped. */
#define HVREPL_EVENT_HEALTH 9u   /* value = HVREPL_HEALTH_*. */

#define HVREPL_SEVERITY_INFO 0u
#define HVREPL_SEVERITY_WARNING 1u
#define HVREPL_SEVERITY_CRITICAL 2u

/** Fixed header and payload; fields an event does not name are zero. */
struct hvrepl_event {
	uint32_t struct_size; /* Set by the caller; HVREPL_EVENT_INIT. */
	uint32_t type;        /* HVREPL_EVENT_*; skip what you do not know. */
	uint32_t severity;    /* HVREPL_SEVERITY_* */
	int32_t code;         /* HVREPL_E_* where something failed. */
	uint64_t utc_ns;      /* When, by the env's clock. */
	uint64_t seq;         /* 1, 2, 3... per node; a gap was dropped. */
	struct hvrepl_uuid vm;
	uint64_t job;
	uint64_t value, total;
	char sentence[HVREPL_SENTENCE_MAX]; /* UTF-8. */
};
#define HVREPL_EVENT_INIT \
	{ sizeof(struct hvrepl_event), 0, 0, 0, 0, 0, { { 0 } }, 0, 0, 0, { 0 } }

#ifdef __cplusplus
}
#endif
#endif
