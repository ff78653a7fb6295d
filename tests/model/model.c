/* SPDX-License-Identifier: Apache-2.0 */
/* Command line of the search: `ownership` with its bounds, one run. */
#include "search.h"
#include "sequences.h"

#include "base/plant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct model_bounds bounds;
static struct search_options options = { .show = true };

static uint32_t sequences;

static bool setting(const char *text)
{
	const struct {
		const char *name;
		uint8_t *at;
	} small[] = {
		{ "ops=", &bounds.operations },	 { "crashes=", &bounds.crashes },
		{ "writes=", &bounds.writes },	 { "restores=", &bounds.restores },
		{ "points=", &bounds.points },	 { "channel=", &bounds.channel },
		{ "traffic=", &bounds.traffic }, { "late=", &bounds.late },
		{ "links=", &bounds.links },
	};
	const struct {
		const char *name;
		bool *at;
	} flags[] = {
		{ "greeting", &bounds.greeting }, { "order", &bounds.order },
		{ "refuse", &bounds.refuse },
		{ "wayout", &options.way_out }, { "verbose", &options.verbose },
		{ "progress", &options.progress },
	};

	for (size_t i = 0; i < HVRI_ARRAY_LEN(small); i++)
		if (strncmp(text, small[i].name, strlen(small[i].name)) == 0) {
			*small[i].at = (uint8_t)atoi(text +
						     strlen(small[i].name));
			return true;
		}
	for (size_t i = 0; i < HVRI_ARRAY_LEN(flags); i++)
		if (strcmp(text, flags[i].name) == 0) {
			*flags[i].at = true;
			return true;
		}
	if (strncmp(text, "allow=", 6) == 0)
		bounds.allowed = (uint32_t)strtoul(text + 6, NULL, 0);
	else if (strncmp(text, "later=", 6) == 0)
		bounds.later = (uint32_t)strtoul(text + 6, NULL, 0);
	else if (strncmp(text, "sequences=", 10) == 0)
		sequences = (uint32_t)atoi(text + 10);
	else if (strncmp(text, "states=", 7) == 0)
		options.states_max = strtoull(text + 7, NULL, 0);
	else if (strncmp(text, "seconds=", 8) == 0)
		options.seconds_max = (uint32_t)atoi(text + 8);
#ifdef HVREPL_PLANT
	else if (strncmp(text, "plant=", 6) == 0)
		hvri_plant = text + 6;
	else if (strncmp(text, "too=", 4) == 0)
		hvri_plant_too = text + 4;
#endif
	else
		return false;
	return true;
}

static int all_sequences(void)
{
	struct sequences_result r;

	bounds.operations = 255;
	sequences_run(sequences, &r);
	printf("%llu sequences up to %u operations, %llu with one crash inside "
	       "the last, %s; %llu states at rest, at most %u operations to "
	       "protected\n",
	       (unsigned long long)r.sequences, sequences,
	       (unsigned long long)r.crashes,
	       r.broken == NULL && r.bound_hits == 0 ? "complete" :
						       "NOT COMPLETE",
	       (unsigned long long)r.states, r.farthest);
	printf("crash where it was asked: %llu went on to the end, %llu as if "
	       "not asked, %llu the same when asked again, %llu otherwise\n",
	       (unsigned long long)r.finished,
	       (unsigned long long)r.rolled_back, (unsigned long long)r.again,
	       (unsigned long long)r.otherwise);
	if (r.broken != NULL)
		printf("BROKEN: %s\n", r.broken);
	return r.broken != NULL;
}

int main(int argc, char **argv)
{
	struct search_result r;
	clock_t begin = clock();

	bounds = (struct model_bounds){
		.operations = 2, .crashes = 1, .writes = 2, .points = 2,
		.channel = 12, .links = 255, .traffic = 2, .allowed = 0x3fe0,
		.later = 1u << HVRI_ACTION_FENCE,
	};
	for (int i = 1; i < argc; i++)
		if (!setting(argv[i])) {
			fprintf(stderr, "model: unknown setting %s\n", argv[i]);
			return 2;
		}
	model_bounds = &bounds;
	if (sequences != 0)
		return all_sequences();
	search_run(&options, &r);
	printf("%llu states, %llu transitions (%llu of them crash inside), "
	       "diameter %u, %s; %llu transitions beyond the channel\n",
	       (unsigned long long)r.states, (unsigned long long)r.transitions,
	       (unsigned long long)r.crash_transitions, r.diameter,
	       r.complete ? "complete" : "NOT COMPLETE",
	       (unsigned long long)r.bound_hits);
	printf("at rest %llu, at most %u operations to protected, %llu only by "
	       "force; %.1f s\n",
	       (unsigned long long)r.quiet, r.farthest,
	       (unsigned long long)r.forced,
	       (double)(clock() - begin) / CLOCKS_PER_SEC);
	if (r.broken != NULL)
		printf("BROKEN after %u steps: %s\n", r.steps, r.broken);
	return r.broken != NULL;
}
