/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which operation is allowed where: (mode, state, ownership, operation) ->
 * allowed or not, what to do, what else must hold, and why not. Exactly one
 * rule for every combination.
 */
#ifndef HVRI_REPLICATION_RULES_H
#define HVRI_REPLICATION_RULES_H

#include "base/rc.h"

#include <hvrepl/relationship.h>
#include <stdbool.h>

enum hvri_plan {
	HVRI_PLAN_REFUSE,
	HVRI_PLAN_HERE,    /* This site does it. */
	HVRI_PLAN_NOTHING, /* It is so already: success. */
	HVRI_PLAN_FORWARD, /* The other site does it, asked by this one. */
	HVRI_PLAN_COUNT
};

/* What else must hold; looked at in this order. */
#define HVRI_NEED_SESSION (1u << 0)  /* Contact with the peer, now. */
#define HVRI_NEED_FREE (1u << 1)     /* No other job under way. */
#define HVRI_NEED_POINT (1u << 2)    /* A complete recovery point. */
#define HVRI_NEED_COMMITTED (1u << 3) /* The current epoch is committed. */
#define HVRI_NEED_OVERLAY (1u << 4)  /* The failover can still be undone. */
#define HVRI_NEED_UNPLANNED (1u << 5) /* It was not a planned failover. */
#define HVRI_NEED_PLAIN (1u << 6)    /* No overlay is being folded in. */
#define HVRI_NEED_GIVEN (1u << 7)    /* A child epoch was handed over. */
#define HVRI_NEED_TAIL (1u << 8)     /* An own end is kept as a point. */
#define HVRI_NEED_PEER_READY (1u << 9) /* The peer stands by in our epoch. */
#define HVRI_NEED_UNARMED (1u << 10)   /* The VM may not write here now. */
/* Contact, or a peer that does not know the VM and is asked to take it. */
#define HVRI_NEED_REACH (1u << 11)
#define HVRI_NEED_COUNT 12u

struct hvri_rule {
	uint32_t modes, states, ownerships; /* Sets: bit n = value n. */
	uint32_t operation;
	uint8_t plan;        /* enum hvri_plan */
	uint32_t needs;      /* HVRI_NEED_* */
	int32_t code;        /* REFUSE */
	const char *sentence; /* REFUSE: what to do instead. */
};

const struct hvri_rule *hvri_rule_find(uint32_t mode, uint32_t state,
				       uint32_t ownership, uint32_t operation);
/* The operations that are allowed where `has` is all that holds of the needs:
 * bit n = operation n. */
uint32_t hvri_rules_allowed(uint32_t mode, uint32_t state, uint32_t ownership,
			    uint32_t has);
/* For tests: rules that match besides the operation's last, general one. */
uint32_t hvri_rule_matches(uint32_t mode, uint32_t state, uint32_t ownership,
			   uint32_t operation);
/* Code and sentence for the lowest need of `missing`. */
int32_t hvri_rule_need(uint32_t missing, const char **sentence_out);
#endif
