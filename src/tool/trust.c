/* SPDX-License-Identifier: Apache-2.0 */
/* What a site proves itself with and when it ends, as people read it. */
#include "tool.h"

#include <string.h>
#include <time.h>

#define DAY 86400ull

const char *tool_ends(uint64_t until_s, char out[TOOL_ENDS_MAX])
{
	uint64_t now = (uint64_t)time(NULL);
	uint64_t left = until_s > now ? until_s - now : 0;
	time_t at = (time_t)until_s;
	struct tm tm;
	char date[40] = "?";

	if (gmtime_r(&at, &tm) != NULL)
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &tm);
	if (left == 0)
		snprintf(out, TOOL_ENDS_MAX, "has ended (%s)", date);
	else if (left < 2 * DAY)
		snprintf(out, TOOL_ENDS_MAX, "ends in %llu hours (%s)",
			 (unsigned long long)(left / 3600), date);
	else
		snprintf(out, TOOL_ENDS_MAX, "ends in %llu days (%s)",
			 (unsigned long long)(left / DAY), date);
	return out;
}

static const char *text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value == NULL ? "" : value;
}

static uint64_t seconds(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name)) /
	       1000000000u;
}

void tool_print_trust(const json_t *trust)
{
	json_int_t lists =
		json_integer_value(json_object_get(trust, "lists"));
	char ends[TOOL_ENDS_MAX];

	if (!json_is_object(trust))
		return;
	if (strcmp(text(trust, "mechanism"), "kerberos") == 0)
		printf("Kerberos: proves itself as %s.\n", text(trust, "name"));
	else
		printf("Certificate: %s, %s.\n", text(trust, "name"),
		       tool_ends(seconds(trust, "until_utc_ns"), ends));
	if (lists > 0 && seconds(trust, "list_until_utc_ns") != 0)
		printf("Revocation lists: %lld; that of %s %s.\n",
		       (long long)lists, text(trust, "list_issuer"),
		       tool_ends(seconds(trust, "list_until_utc_ns"), ends));
	if (text(trust, "last_error")[0] != 0)
		printf("New files are not used: %s.\n",
		       text(trust, "last_error"));
}
