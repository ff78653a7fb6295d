/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a failover without the peer gives up: the writes after a point. Pure.
 *
 * The point and its age are known; bytes are an estimate, in three parts:
 *
 *  said     What the owner last told of (STATUS, CUT_BEGIN) less what arrived
 *           since: a lower bound, unless the owner wrote the same blocks again.
 *           A cut that was announced counts until it is a durable point.
 *  written  As if the owner had gone on writing since it last told of bytes, and
 *           for a period of its reports more: what it tells was counted before it
 *           was sent, a cut's bytes when it was cut, and an acknowledgement or
 *           the last bytes of a cut tell nothing of what was written since. At
 *           the rate of the points of late, their changed bytes over their time,
 *           or of the newest one if that is higher: whoever decides on a failover
 *           is better served by somewhat too much than by too little.
 *           With nothing said, because this site was started after the owner
 *           was lost: that rate since the newest point here.
 *  skipped  With an older point chosen, the changed bytes of the newer ones.
 *           Known exactly, except that a block changed twice counts twice.
 *
 * Without a rate, or for points whose size is not on record, the answer is
 * HVREPL_BYTES_UNKNOWN; it is never a guess at zero.
 */
#ifndef HVRI_REPLICATION_LOSS_H
#define HVRI_REPLICATION_LOSS_H

#include "replication/relationship.h"

/* As estimated now, for a failover to `point`. */
void hvri_loss_now(const struct hvri_relationship *relationship,
		   const struct hvri_point *point,
		   const struct hvri_point_facts *facts, uint64_t now_ns,
		   uint64_t utc_ns, struct hvri_loss *loss_out);
/* Sums, UNKNOWN when a part of them is. */
uint64_t hvri_loss_said(const struct hvri_loss *loss);
uint64_t hvri_loss_bytes(const struct hvri_loss *loss);
uint64_t hvri_loss_age_ns(const struct hvri_loss *loss);
/* How often the owner tells of what it has not shipped: twice a cycle, but
 * neither all the time nor hardly ever. */
uint64_t hvri_loss_period_ns(const struct hvri_record *record);
/* "everything after point 41 of 12:03:22 UTC, 3 s old, about 1.2 MiB" */
#define HVRI_LOSS_TEXT 192u
void hvri_loss_text(const struct hvri_loss *loss, char text_out[HVRI_LOSS_TEXT]);

/* ---- What the estimate is made from, kept by the step. ---- */

/* The owner spoke of `bytes` that have not arrived. */
void hvri_loss_heard(struct hvri_relationship *relationship, uint64_t bytes);
/* A cut of `bytes` is on its way. */
void hvri_loss_offered(struct hvri_relationship *relationship, uint64_t bytes);
/* It is a point now; `before` is the one it follows. */
void hvri_loss_arrived(struct hvri_relationship *relationship,
		       const struct hvri_point *before,
		       const struct hvri_point *point, uint64_t bytes);
#endif
