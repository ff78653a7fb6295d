/* SPDX-License-Identifier: Apache-2.0 */
/* Other threads note what they see while the node is processed: each is told or
 * counted, and none twice. */
#include "guestshadow.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 3u
#define NOTES 500u

static unsigned told, left_out;

static void seen(struct pair_site *site, const struct hvrepl_event *event)
{
	const char *number = strstr(event->sentence, "left out: ");

	if (site != &pair.b || event->type != HVREPL_EVENT_AUDIT ||
	    strncmp(event->actor, "192.0.2.", 8) != 0)
		return;
	if (event->value == HVREPL_AUDIT_LIMIT && number != NULL)
		left_out += (unsigned)strtoul(number + 10, NULL, 10);
	else
		told++;
}

static void *note_them(void *argument)
{
	const unsigned *index = argument;
	struct hvrepl_note note = HVREPL_NOTE_INIT;
	char source[32];

	snprintf(source, sizeof(source), "192.0.2.%u", *index);
	note.kind = HVREPL_AUDIT_AUTHENTICATION;
	note.code = HVREPL_E_UNAUTHENTICATED;
	note.source = source;
	note.sentence = "knocked";
	for (unsigned i = 0; i < NOTES; i++)
		ck_assert_int_eq(hvrepl_node_note(pair.b.node, &note),
				 HVREPL_OK);
	return NULL;
}

START_TEST(what_threads_note_is_told_or_counted)
{
	pthread_t threads[THREADS];
	unsigned index[THREADS];

	told = left_out = 0;
	pair.seen = seen;
	for (unsigned i = 0; i < THREADS; i++) {
		index[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, note_them,
						&index[i]), 0);
	}
	/* Time stands still: it is only looked at. */
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_ge(hvrepl_node_process(pair.b.node, 0), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pair_run(&pair, 61 * SECOND);
	ck_assert_uint_eq(told, 60 * THREADS);
	ck_assert_uint_eq(told + left_out, NOTES * THREADS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("note threads");
	TCase *tc = tcase_create("note threads");

	tcase_add_checked_fixture(tc, shadow_setup, shadow_teardown);
	tcase_add_test(tc, what_threads_note_is_told_or_counted);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
