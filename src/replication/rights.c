/* SPDX-License-Identifier: Apache-2.0 */
/* May the peer? What it asked for and may not is told to it, and noted. */
#include "replication/internal.h"

#include <hvrepl/authorisation.h>

static const char *word(uint32_t verb)
{
	uint32_t bit = 0;

	while (verb > 1) {
		verb >>= 1;
		bit++;
	}
	return hvrepl_verb_name(bit);
}

bool hvri_may(struct hvri_step *s, uint32_t verb,
	      char sentence[HVRI_SENTENCE_MAX + 1])
{
	const char *entry = s->e->u.message.entry;

	if ((s->e->u.message.authorised & verb) != 0)
		return true;
	s->u->denied |= verb;
	if (entry != NULL)
		hvri_sentence(sentence,
			      "the other site's authorisation entry '%.100s' "
			      "lacks the verb '%s': add it there, then try again",
			      entry, word(verb));
	else
		hvri_sentence(sentence,
			      "no authorisation entry of the other site names "
			      "this one: add one there with the verb '%s', then "
			      "try again",
			      word(verb));
	return false;
}

bool hvri_names_epoch(struct hvri_step *s, const struct hvrepl_uuid *epoch,
		      const char *what, char sentence[HVRI_SENTENCE_MAX + 1])
{
	char text[HVRI_UUID_TEXT];

	if (hvri_uuid_equal(epoch, &s->rec->current))
		return true;
	hvri_uuid_format(&s->rec->current, text);
	if (hvri_uuid_is_none(epoch))
		hvri_sentence(sentence,
			      "%s costs data and has to name the epoch it is "
			      "for: update the other site, or do it at the site "
			      "concerned", what);
	else
		hvri_sentence(sentence,
			      "%s names another epoch than the site concerned is "
			      "in, which is %s: look at both sites, then try "
			      "again", what, text);
	return false;
}
