/* SPDX-License-Identifier: Apache-2.0 */
/* Minutes of who is noted: so many events of a kind, then a number. */
#include "driver/meter.h"

#include "base/rc.h"

#include <string.h>

static bool has_left_out(const struct hvri_minute *minute)
{
	for (uint32_t kind = 0; kind < HVRI_METER_KINDS; kind++)
		if (minute->left_out[kind] > 0)
			return true;
	return false;
}

/* One of which nothing was left out ends without a word. */
static bool is_free(const struct hvri_minute *minute, uint64_t now_ns)
{
	return minute->until_ns == 0 ||
	       (now_ns >= minute->until_ns && !has_left_out(minute));
}

static struct hvri_minute *minute_of(struct hvri_meter *meter,
				     const struct hvri_metered *of,
				     uint64_t now_ns)
{
	struct hvri_minute *minutes =
		&meter->minutes[of->source ? HVRI_METERED_MAX + 1 : 0];
	struct hvri_minute *others = &minutes[HVRI_METERED_MAX];
	struct hvri_minute *found = NULL;

	for (uint32_t i = 0; i < HVRI_METERED_MAX; i++) {
		struct hvri_minute *minute = &minutes[i];

		if (minute->until_ns != 0 &&
		    strcmp(minute->of.name, of->name) == 0) {
			found = minute;
			break;
		}
		if (found == NULL && is_free(minute, now_ns))
			found = minute;
	}
	if (found == NULL)
		found = others;
	if (is_free(found, now_ns)) {
		memset(found, 0, sizeof(*found));
		if (found != others)
			found->of = *of;
		found->of.source = of->source;
		found->until_ns = now_ns + HVRI_METER_NS;
	}
	return found;
}

bool hvri_meter_take(struct hvri_meter *meter, const struct hvri_metered *of,
		     uint32_t kind, uint64_t now_ns)
{
	struct hvri_minute *minute = minute_of(meter, of, now_ns);

	if (minute->noted[kind] < HVRI_NOTES_MAX) {
		minute->noted[kind]++;
		return true;
	}
	minute->left_out[kind]++;
	return false;
}

void hvri_meter_missed(struct hvri_meter *meter, const struct hvri_metered *of,
		       uint32_t kind, uint64_t now_ns)
{
	minute_of(meter, of, now_ns)->left_out[kind]++;
}

bool hvri_meter_over(struct hvri_meter *meter, uint64_t now_ns,
		     struct hvri_minute *minute_out)
{
	for (uint32_t i = 0; i < HVRI_ARRAY_LEN(meter->minutes); i++) {
		struct hvri_minute *minute = &meter->minutes[i];

		if (minute->until_ns == 0 || now_ns < minute->until_ns ||
		    !has_left_out(minute))
			continue;
		*minute_out = *minute;
		memset(minute, 0, sizeof(*minute));
		return true;
	}
	return false;
}

uint64_t hvri_meter_deadline(const struct hvri_meter *meter)
{
	uint64_t first = UINT64_MAX;

	for (uint32_t i = 0; i < HVRI_ARRAY_LEN(meter->minutes); i++) {
		const struct hvri_minute *minute = &meter->minutes[i];

		if (has_left_out(minute) && minute->until_ns < first)
			first = minute->until_ns;
	}
	return first;
}
