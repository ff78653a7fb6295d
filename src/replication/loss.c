/* SPDX-License-Identifier: Apache-2.0 */
/* What a failover without the peer gives up, and how that is said. */
#include "replication/loss.h"

#include "base/size.h"
#include "replication/internal.h"

#include <stdio.h>

#define UNKNOWN HVREPL_BYTES_UNKNOWN
/* The rate forgets by halves after so many cycles. */
#define RATE_CYCLES 16u
/* Bytes that make no difference. */
#define SMALL UINT64_C(65536)
#define DAY (86400 * HVRI_SECOND)

static uint64_t add(uint64_t a, uint64_t b)
{
	return a == UNKNOWN || b == UNKNOWN || a > UINT64_MAX - b ? UNKNOWN :
								     a + b;
}

static uint64_t since(uint64_t then, uint64_t now)
{
	return then != 0 && now > then ? now - then : 0;
}

void hvri_loss_heard(struct hvri_relationship *r, uint64_t bytes)
{
	r->said.known = true;
	r->said.bytes = bytes;
	r->said.at_ns = r->now_ns;
}

void hvri_loss_offered(struct hvri_relationship *r, uint64_t bytes)
{
	hvri_loss_heard(r, r->said.known ? HVRI_MAX(r->said.bytes, bytes) :
					   bytes);
}

void hvri_loss_arrived(struct hvri_relationship *r,
		       const struct hvri_point *before,
		       const struct hvri_point *point, uint64_t bytes)
{
	uint64_t limit = r->record.policy.cycle_ns;

	r->said.bytes -= HVRI_MIN(r->said.bytes, bytes);
	/* The first content, or a resynchronization after it, is no rate. */
	if (before->number == 0 || before->utc_ns == 0 ||
	    point->utc_ns <= before->utc_ns ||
	    !hvri_uuid_equal(&before->epoch, &point->epoch))
		return;
	r->said.last_bytes = bytes;
	r->said.last_ns = point->utc_ns - before->utc_ns;
	r->said.rate_ns = add(r->said.rate_ns, r->said.last_ns);
	r->said.rate_bytes = add(r->said.rate_bytes, bytes);
	limit = limit > UINT64_MAX / RATE_CYCLES ? UINT64_MAX :
						   limit * RATE_CYCLES;
	if (r->said.rate_ns > limit) {
		r->said.rate_ns /= 2;
		r->said.rate_bytes /= 2;
	}
}

/* Bytes written in `ns` at `bytes` per `per_ns`. */
static uint64_t written(uint64_t bytes, uint64_t per_ns, uint64_t ns)
{
	double result;

	if (ns == 0 || (bytes == 0 && per_ns != 0))
		return 0;
	if (per_ns == 0 || bytes == UNKNOWN)
		return UNKNOWN;
	result = (double)bytes / (double)per_ns * (double)ns;
	return result < 9e18 ? (uint64_t)result : UNKNOWN;
}

uint64_t hvri_loss_period_ns(const struct hvri_record *rec)
{
	return HVRI_MAX(HVRI_MIN(rec->policy.cycle_ns / 2, 10 * HVRI_SECOND),
			HVRI_SECOND);
}

void hvri_loss_now(const struct hvri_relationship *r,
		   const struct hvri_point *point,
		   const struct hvri_point_facts *facts, uint64_t now_ns,
		   uint64_t utc_ns, struct hvri_loss *loss)
{
	const struct hvri_said *said = &r->said;
	uint64_t bytes = said->rate_bytes, per_ns = said->rate_ns;
	uint64_t silent = 0, tail;

	/* None seen since the site was started: those on record. */
	if (per_ns == 0) {
		bytes = facts->recent_bytes;
		per_ns = facts->recent_ns;
	}
	*loss = (struct hvri_loss){
		.point = point->number,
		.point_utc_ns = point->utc_ns,
		.utc_ns = utc_ns,
		.skipped_bytes = facts->skipped_bytes,
		.said_bytes = said->known ? said->bytes : UNKNOWN,
	};
	/* It was counted before it was sent: a cut's when it was cut. */
	if (said->known)
		silent = add(since(said->at_ns, now_ns),
			     hvri_loss_period_ns(&r->record));
	else if (facts->newest_utc_ns != 0)
		silent = since(facts->newest_utc_ns, utc_ns);
	tail = written(bytes, per_ns, silent);
	/* A burst that began lately is not averaged away. */
	if (said->last_ns != 0)
		tail = HVRI_MAX(tail, written(said->last_bytes, said->last_ns,
					      silent));
	if (!said->known && facts->newest_utc_ns == 0)
		tail = UNKNOWN;
	loss->tail_bytes = said->known ? add(said->bytes, tail) : tail;
}

uint64_t hvri_loss_said(const struct hvri_loss *loss)
{
	return add(loss->said_bytes, loss->skipped_bytes);
}

uint64_t hvri_loss_bytes(const struct hvri_loss *loss)
{
	return add(loss->tail_bytes, loss->skipped_bytes);
}

uint64_t hvri_loss_age_ns(const struct hvri_loss *loss)
{
	return since(loss->point_utc_ns, loss->utc_ns);
}

/* Of the day, and the day where it is not the last. */
static void time_text(uint64_t utc_ns, bool with_day, char *out, size_t size)
{
	uint64_t seconds = utc_ns / HVRI_SECOND, days = seconds / 86400;
	/* Days since 1 March of the year 0, in periods of 400 years. */
	uint64_t shifted = days + 719468, era = shifted / 146097;
	uint64_t of_era = shifted % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 -
			 of_era / 146096) /
			365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t month = (5 * of_year + 2) / 153; /* 0: March. */
	char day[40] = "";

	if (with_day) /* A clock of 64 bits ends in the year 2554. */
		snprintf(day, sizeof(day), "%u-%02u-%02u ",
			 (unsigned)(year + era * 400 + (month >= 10)),
			 (unsigned)(month < 10 ? month + 3 : month - 9),
			 (unsigned)(of_year - (153 * month + 2) / 5 + 1));
	snprintf(out, size, "%s%02u:%02u:%02u UTC", day,
		 (unsigned)(seconds / 3600 % 24), (unsigned)(seconds / 60 % 60),
		 (unsigned)(seconds % 60));
}

static void age_text(uint64_t ns, char *out, size_t size)
{
	uint64_t seconds = ns / HVRI_SECOND;

	if (seconds < 120)
		snprintf(out, size, "%u s", (unsigned)seconds);
	else if (seconds < 7200)
		snprintf(out, size, "%u min", (unsigned)(seconds / 60));
	else if (seconds < 2 * 86400)
		snprintf(out, size, "%u h", (unsigned)(seconds / 3600));
	else
		snprintf(out, size, "%llu days",
			 (unsigned long long)(seconds / 86400));
}

static void bytes_text(const struct hvri_loss *loss, char *out, size_t size)
{
	uint64_t least = hvri_loss_said(loss), most = hvri_loss_bytes(loss);
	char first[HVRI_SIZE_TEXT], second[HVRI_SIZE_TEXT];

	hvri_size_text(least, first);
	hvri_size_text(most, second);
	if (least == UNKNOWN && most == UNKNOWN)
		snprintf(out, size, "how much is not known");
	else if (most == UNKNOWN)
		snprintf(out, size, "at least %s", first);
	else if (least == UNKNOWN || most - HVRI_MIN(least, most) <=
					     HVRI_MAX(least / 2, SMALL))
		snprintf(out, size, "about %s", second);
	else if (least == 0)
		snprintf(out, size, "about %s at its recent rate", second);
	else
		snprintf(out, size,
			 "about %s: %s it told of, the rest at its recent rate",
			 second, first);
}

void hvri_loss_text(const struct hvri_loss *loss, char text[HVRI_LOSS_TEXT])
{
	char when[64] = "unknown time", age[32], bytes[112];

	if (loss->point_utc_ns != 0)
		time_text(loss->point_utc_ns, hvri_loss_age_ns(loss) >= DAY,
			  when, sizeof(when));
	age_text(hvri_loss_age_ns(loss), age, sizeof(age));
	bytes_text(loss, bytes, sizeof(bytes));
	snprintf(text, HVRI_LOSS_TEXT,
		 "everything after point %llu of %s, %s old, %s",
		 (unsigned long long)loss->point, when, age, bytes);
}
