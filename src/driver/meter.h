/* SPDX-License-Identifier: Apache-2.0 */
/* What others can have noted here as often as they like: how much of it is. */
#ifndef HVRI_DRIVER_METER_H
#define HVRI_DRIVER_METER_H

#include <hvrepl/audit.h>
#include <hvrepl/channel.h>
#include <stdbool.h>

/* Of one identity or source, audit events of one kind in a minute. */
#define HVRI_NOTES_MAX 60u
/* Identities, and as many sources, that are counted one by one at a time; what more of
 * them bring about is counted as if they were one. Addresses are cheap: however many
 * there are, they take no place of an identity. */
#define HVRI_METERED_MAX 32u

#define HVRI_METER_KINDS (HVREPL_AUDIT_REKEY + 1u)
#define HVRI_METER_NS (60ull * 1000000000ull)

/* Who brings something about. */
struct hvri_metered {
	bool source; /* Nobody is proved: where it came from. */
	char name[HVREPL_PEER_NAME_MAX + 1]; /* "": all the others. */
};

/* The minute of one of them; it begins with the first that is noted. */
struct hvri_minute {
	struct hvri_metered of;
	uint64_t until_ns; /* Monotonic; 0: none runs. */
	uint32_t noted[HVRI_METER_KINDS];
	uint64_t left_out[HVRI_METER_KINDS];
};

/* Zero to begin with. No lock of its own. Of identities, then of sources; each time the
 * last minute is the others'. */
struct hvri_meter {
	struct hvri_minute minutes[2 * (HVRI_METERED_MAX + 1)];
};

/* True: note it. False: it is counted, and hvri_meter_over() will tell. */
bool hvri_meter_take(struct hvri_meter *meter, const struct hvri_metered *of,
		     uint32_t kind, uint64_t now_ns);
/* Count as left out what was to be noted and could not be. */
void hvri_meter_missed(struct hvri_meter *meter, const struct hvri_metered *of,
		       uint32_t kind, uint64_t now_ns);
/* True: a minute of which something was left out is over; it is copied and a new
 * one may begin. Call again until there is none. UINT64_MAX: all are over. */
bool hvri_meter_over(struct hvri_meter *meter, uint64_t now_ns,
		     struct hvri_minute *minute_out);
/* When the next such minute is over; UINT64_MAX: none runs. */
uint64_t hvri_meter_deadline(const struct hvri_meter *meter);
#endif
