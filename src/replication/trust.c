/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and lists warn before they end; a renewal that failed does. */
#include "replication/trust.h"

#include "replication/internal.h"

#include <stdio.h>

#define HOUR (3600 * HVRI_SECOND)
#define DAY (24 * HOUR)
/* Ahead of the end. Of what lives less than 90 days the same parts of it: a list
 * of one week would else never be without a warning. */
#define WARN_AHEAD (30 * DAY)
#define CRITICAL_AHEAD (7 * DAY)
#define WHOLE_LIFE (90 * DAY)

enum stage { FINE, SOON, NOW, ENDED };

static enum stage stage_of(const struct hvri_validity *v, uint64_t utc_ns)
{
	uint64_t life = WHOLE_LIFE, left;

	if (v->until_ns == 0)
		return FINE;
	if (utc_ns >= v->until_ns)
		return ENDED;
	left = v->until_ns - utc_ns;
	if (v->from_ns != 0 && v->from_ns < v->until_ns)
		life = HVRI_MIN(life, v->until_ns - v->from_ns);
	/* Of 90 days at most: nothing here overflows. */
	if (left <= life / (WHOLE_LIFE / DAY) * (CRITICAL_AHEAD / DAY))
		return NOW;
	return left <= life / (WHOLE_LIFE / DAY) * (WARN_AHEAD / DAY) ? SOON :
									FINE;
}

/* "in 12 days", "in 5 hours", "in 3 minutes". */
static void say_left(char out[32], uint64_t left_ns)
{
	const uint64_t units[] = { DAY, HOUR, 60 * HVRI_SECOND };
	static const char *const names[] = { "day", "hour", "minute" };
	unsigned i = 0;
	unsigned long long count;

	while (i < 2 && left_ns < 2 * units[i])
		i++;
	count = left_ns / units[i];
	snprintf(out, 32, "in %llu %s%s", count, names[i],
		 count == 1 ? "" : "s");
}

static void add(struct hvri_health *health, uint32_t reason, uint32_t level,
		const char *sentence)
{
	health->reasons |= reason;
	if (level <= health->level)
		return;
	health->level = level;
	hvri_sentence(health->sentence, "%s", sentence);
}

static void look(const struct hvri_validity *v, uint64_t utc_ns,
		 uint32_t reason, const char *what, const char *what_to_do,
		 struct hvri_health *health)
{
	enum stage stage = stage_of(v, utc_ns);
	char sentence[HVRI_SENTENCE_MAX + 1], left[32] = "";

	if (stage == FINE)
		return;
	if (stage != ENDED)
		say_left(left, v->until_ns - utc_ns);
	hvri_sentence(sentence, "%s %s%s: %s", what,
		      stage == ENDED ? "has ended" : "ends ", left, what_to_do);
	add(health, reason,
	    stage == SOON ? HVREPL_HEALTH_WARNING : HVREPL_HEALTH_CRITICAL,
	    sentence);
}

void hvri_trust_health(const struct hvri_trust *trust, uint64_t utc_ns,
		       struct hvri_health *health)
{
	char sentence[HVRI_SENTENCE_MAX + 1], left[32];
	uint64_t ends = trust->session_until_ns;

	if (health->level == HVREPL_HEALTH_NONE)
		return;
	if (ends != 0) {
		uint64_t time = ends > utc_ns ? ends - utc_ns : 0;

		say_left(left, time);
		hvri_sentence(sentence,
			      "the ticket for the other site could not be "
			      "renewed, and the session %s%s: see the log, and "
			      "whether the KDC answers",
			      time == 0 ? "has ended" : "ends ",
			      time == 0 ? "" : left);
		add(health, HVREPL_REASON_TICKET_NOT_RENEWED,
		    time <= HOUR ? HVREPL_HEALTH_CRITICAL :
				   HVREPL_HEALTH_WARNING,
		    sentence);
	}
	look(&trust->own, utc_ns, HVREPL_REASON_CERTIFICATE_ENDS,
	     "this site's certificate", "renew it here and reload", health);
	look(&trust->peer, utc_ns, HVREPL_REASON_PEER_CERTIFICATE_ENDS,
	     "the other site's certificate", "renew it there", health);
	look(&trust->list, utc_ns, HVREPL_REASON_REVOCATION_LIST_ENDS,
	     "a revocation list here", "get the CA's next one", health);
}
