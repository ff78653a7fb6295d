/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th call of one kind that a test's library makes fails. Programs that use it
 * are linked with ${failing_wrap} (tests/CMakeLists.txt).
 */
#ifndef SHORTAGE_H
#define SHORTAGE_H

#include "sim.h"
#include "testing.h"

enum shortage_kind {
	SHORT_MEMORY,
	SHORT_CRYPTO,  /* Of libcrypto and libzstd. */
	SHORT_IO,      /* Of a disk or an object. */
	SHORT_FLUSHES, /* ...flushes alone. */
	SHORT_ANSWERS, /* What storage is asked beside I/O. */
	SHORT_ENTROPY,
	SHORT_OWN, /* Nothing here: the test makes it fail. */
};

/* Lent: the env and the sim that a test has anew for each n. */
struct shortage {
	struct test_env *env;
	struct sim *sim;
	int32_t code; /* Of I/O that fails. */
	enum shortage_kind kind;
	struct test_refusals refusals;
};

/* From now on; I/O that a test did before does not count. */
void shortage_begin(struct shortage *shortage, enum shortage_kind kind,
		    uint64_t n);
/* Nothing fails any more. False: there was no such call. */
bool shortage_end(struct shortage *shortage);
#endif
