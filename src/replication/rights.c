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

	if ((s->e->u.message.withheld & verb) != 0) {
		hvri_sentence(sentence,
			      "the other site does nothing now that costs data "
			      "for its peers: it cannot write its audit, or was "
			      "asked too often; its log says which");
		return false;
	}
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

static uint32_t operation_costs(const struct hvri_record *rec,
				const struct hvri_operation *in,
				const char **what_out)
{
	if (rec->job.asked_by_peer && rec->job.id == in->job)
		return 0; /* Its own repetition. */
	switch (in->operation) {
	case HVREPL_OPERATION_DISCARD:
		*what_out = "a discard of";
		return HVREPL_VERB_OVERWRITE;
	case HVREPL_OPERATION_CANCEL:
		*what_out = "cancelling the failover of";
		return hvri_has_overlay(rec) ? HVREPL_VERB_OVERWRITE : 0;
	case HVREPL_OPERATION_COMMIT:
		*what_out = "committing the failover of";
		return HVREPL_VERB_DELETE_POINTS;
	default:
		return 0;
	}
}

uint32_t hvri_relationship_costs(const struct hvri_relationship *relationship,
				 const struct hvri_message *message,
				 const char **what_out)
{
	const struct hvri_record *rec = &relationship->record;

	*what_out = "";
	switch (message->type) {
	case HVRI_MESSAGE_ENABLE:
		*what_out = "a replica of";
		return rec->mode == HVREPL_MODE_NONE &&
				       relationship->pending.create == 0 ?
			       HVREPL_VERB_ENABLE :
			       0;
	case HVRI_MESSAGE_REMOVE:
		*what_out = "the removal of the replica of";
		return rec->ownership == HVREPL_OWNERSHIP_STANDBY ||
				       rec->mode == HVREPL_MODE_NONE ?
			       HVREPL_VERB_DELETE_POINTS :
			       0;
	case HVRI_MESSAGE_DISCARD:
		*what_out = "a discard of what this site wrote of";
		if (rec->ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
		    hvri_uuid_equal(&rec->discard_loser,
				    &message->u.discard.loser) &&
		    hvri_uuid_equal(&rec->discard_winner,
				    &message->u.discard.winner))
			return 0; /* It was done. */
		return HVREPL_VERB_OVERWRITE;
	case HVRI_MESSAGE_JOIN:
		*what_out = "a reverse over what is in doubt of";
		return rec->untrusted || rec->rolled_back ?
			       HVREPL_VERB_OVERWRITE :
			       0;
	case HVRI_MESSAGE_CUT_BEGIN:
		*what_out = "content over the doubted replica of";
		if (relationship->doubted)
			return HVREPL_VERB_OVERWRITE;
		*what_out = "a reverse over what is in doubt of";
		return (rec->untrusted || rec->rolled_back) &&
				       hvri_offer_adopts(relationship,
							 &message->u.cut) ?
			       HVREPL_VERB_OVERWRITE :
			       0;
	case HVRI_MESSAGE_OPERATION:
		return operation_costs(rec, &message->u.operation, what_out);
	default:
		return 0;
	}
}
