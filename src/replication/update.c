/* SPDX-License-Identifier: Apache-2.0 */
/* Making an update: actions, messages, timers, notices and ends of jobs. */
#include "replication/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void hvri_update_begin(struct hvri_update *update)
{
	/* Not all of its 15 KB for each event: the arrays are cleared place by
	 * place, as they are used. */
	update->code = HVREPL_OK;
	update->sentence[0] = 0;
	update->persist = false;
	update->action_count = 0;
	update->send_count = 0;
	update->timer_count = 0;
	update->notice_count = 0;
	update->job_count = 0;
	update->denied = 0;
	update->asked_operation = 0;
	update->asked_code = HVREPL_OK;
	update->asked_sentence[0] = 0;
	update->overflow = false;
}

void hvri_save(struct hvri_step *s)
{
	s->u->persist = true;
}

void hvri_touch(struct hvri_step *s)
{
	s->u->persist = true;
	s->touched = true;
	s->say_hello = true;
}

struct hvrepl_uuid hvri_fresh(struct hvri_step *s)
{
	/* A step uses three at most (tested by the overflow flag). */
	if (s->fresh_used >= HVRI_ARRAY_LEN(s->e->fresh)) {
		s->u->overflow = true;
		return s->e->fresh[0];
	}
	return s->e->fresh[s->fresh_used++];
}

struct hvri_action *hvri_act(struct hvri_step *s, uint32_t type)
{
	struct hvri_update *u = s->u;
	struct hvri_action *action;

	if (u->action_count >= HVRI_UPDATE_ACTIONS) {
		u->overflow = true;
		u->action_count--;
	}
	action = &u->actions[u->action_count++];
	memset(action, 0, sizeof(*action));
	action->type = type;
	return action;
}

struct hvri_action *hvri_act_token(struct hvri_step *s, uint32_t type,
				   uint64_t *pending)
{
	struct hvri_action *action = hvri_act(s, type);

	action->token = ++s->r->next_token;
	*pending = action->token;
	return action;
}

struct hvri_message *hvri_send(struct hvri_step *s, uint32_t type)
{
	struct hvri_update *u = s->u;
	struct hvri_message *m;

	if (u->send_count >= HVRI_UPDATE_SENDS) {
		u->overflow = true;
		u->send_count--;
	}
	m = &u->sends[u->send_count];
	memset(m, 0, sizeof(*m));
	m->type = type;
	hvri_relationship_address(s->r, m);
	/* What cannot be sent is written into a place that does not count. */
	if (s->r->session &&
	    (s->r->greeted || type == HVRI_MESSAGE_ENABLE ||
	     type == HVRI_MESSAGE_ENABLED || type == HVRI_MESSAGE_REMOVE ||
	     type == HVRI_MESSAGE_REMOVED || type == HVRI_MESSAGE_ANSWER))
		u->send_count++;
	return m;
}

void hvri_sentence(char *out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* Most are text as it stands, and made whenever a status is. */
	if (strcmp(format, "%s") == 0) {
		const char *text = va_arg(args, const char *);
		size_t length = strnlen(text, HVRI_SENTENCE_MAX);

		memcpy(out, text, length);
		out[length] = 0;
	} else {
		vsnprintf(out, HVRI_SENTENCE_MAX + 1, format, args);
	}
	va_end(args);
}

void hvri_send_answer(struct hvri_step *s, uint8_t about,
		      const struct hvrepl_uuid *epoch, uint64_t job,
		      int32_t code, const char *sentence)
{
	struct hvri_message *m = hvri_send(s, HVRI_MESSAGE_ANSWER);

	m->answer.about = about;
	m->answer.job = job;
	m->answer.code = code;
	if (epoch)
		m->answer.epoch = *epoch;
	hvri_sentence(m->answer.sentence, "%s",
		      sentence ? sentence : hvrepl_strerror(code));
}

void hvri_timer(struct hvri_step *s, uint32_t timer, uint64_t delay_ns)
{
	struct hvri_update *u = s->u;
	uint64_t now = s->e->now_ns;
	/* Beyond the end of the clock is never, and not at once. */
	uint64_t at = delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;

	for (uint32_t i = 0; i < u->timer_count; i++)
		if (u->timers[i].timer == timer) {
			u->timers[i].at_ns = at;
			return;
		}
	if (u->timer_count >= HVRI_UPDATE_TIMERS) {
		u->overflow = true;
		return;
	}
	u->timers[u->timer_count].timer = timer;
	u->timers[u->timer_count++].at_ns = at;
}

void hvri_notice(struct hvri_step *s, uint32_t type, uint32_t severity,
		 int32_t code, uint64_t value, const char *format, ...)
{
	struct hvri_notice *notice;
	va_list args;

	if (s->u->notice_count >= HVRI_UPDATE_NOTICES) {
		s->u->overflow = true;
		return;
	}
	notice = &s->u->notices[s->u->notice_count++];
	notice->type = type;
	notice->severity = severity;
	notice->code = code;
	notice->value = value;
	va_start(args, format);
	vsnprintf(notice->sentence, sizeof(notice->sentence), format, args);
	va_end(args);
}

static void end_job(struct hvri_step *s, uint64_t id, int32_t code,
		    const char *format, va_list args)
{
	struct hvri_job_end *job;

	if (s->u->job_count >= HVRI_UPDATE_JOBS) {
		s->u->overflow = true;
		return;
	}
	job = &s->u->jobs[s->u->job_count++];
	job->id = id;
	job->code = code;
	vsnprintf(job->sentence, sizeof(job->sentence), format, args);
}

void hvri_job_end_id(struct hvri_step *s, uint64_t id, int32_t code,
		     const char *format, ...)
{
	va_list args;

	if (id == 0)
		return;
	va_start(args, format);
	if (id == s->asked_job) {
		char sentence[HVRI_SENTENCE_MAX + 1];

		vsnprintf(sentence, sizeof(sentence), format, args);
		hvri_send_answer(s, HVRI_MESSAGE_OPERATION, NULL, id, code,
				 sentence);
	} else {
		end_job(s, id, code, format, args);
	}
	va_end(args);
}

void hvri_job_end(struct hvri_step *s, int32_t code, const char *format, ...)
{
	struct hvri_job *job = &s->rec->job;
	char sentence[HVRI_SENTENCE_MAX + 1];
	va_list args;

	if (job->id == 0)
		return;
	va_start(args, format);
	if (job->asked_by_peer) {
		vsnprintf(sentence, sizeof(sentence), format, args);
		/* A request for a handover is answered by its epoch. */
		if (job->operation == HVREPL_OPERATION_PLANNED)
			hvri_send_answer(s, HVRI_MESSAGE_HANDOVER_REQUEST,
					 &job->epoch, 0, code, sentence);
		else
			hvri_send_answer(s, HVRI_MESSAGE_OPERATION, NULL,
					 job->id, code, sentence);
	} else {
		end_job(s, job->id, code, format, args);
	}
	va_end(args);
	memset(job, 0, sizeof(*job));
	hvri_save(s);
}

void hvri_cut_job_end(struct hvri_step *s, int32_t code, const char *format,
		      ...)
{
	struct hvri_relationship *r = s->r;
	char sentence[HVRI_SENTENCE_MAX + 1];
	va_list args;

	if (r->cut_job == 0)
		return;
	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	if (r->cut_asked)
		hvri_send_answer(s, HVRI_MESSAGE_OPERATION, NULL, r->cut_job,
				 code, sentence);
	else
		hvri_job_end_id(s, r->cut_job, code, "%s", sentence);
	r->cut_job = 0;
}

bool hvri_job_is(const struct hvri_step *s, uint32_t operation)
{
	return s->rec->job.id != 0 && s->rec->job.operation == operation;
}

void hvri_job_begin(struct hvri_step *s, uint32_t operation, uint64_t id,
		    bool asked_by_peer)
{
	struct hvri_job *job = &s->rec->job;

	memset(job, 0, sizeof(*job));
	job->id = id;
	job->operation = operation;
	job->asked_by_peer = asked_by_peer || (id == s->asked_job && id != 0);
	hvri_save(s);
}

/*
 * What an owner was busy with ends when it no longer owns; where the VM may not
 * start in this epoch any more (`fenced`), so does what waited to start it. A
 * handover that was given away ends with its own answer.
 */
void hvri_job_overtaken(struct hvri_step *s, bool fenced)
{
	bool ends = false;

	hvri_cut_job_end(s, HVREPL_E_FENCED,
			 "ownership of the VM has changed meanwhile");
	switch (s->rec->job.operation) {
	case HVREPL_OPERATION_START_INITIAL:
	case HVREPL_OPERATION_RESYNC:
	case HVREPL_OPERATION_REVERSE:
	case HVREPL_OPERATION_DISCARD:
		ends = true;
		break;
	case HVREPL_OPERATION_PLANNED:
		ends = fenced && hvri_uuid_is_none(&s->rec->relinquished);
		break;
	case HVREPL_OPERATION_UNPLANNED:
	case HVREPL_OPERATION_CHANGE_POINT:
		ends = fenced;
		break;
	default:
		break;
	}
	if (ends)
		hvri_job_end(s, HVREPL_E_FENCED,
			     "ownership of the VM has changed meanwhile");
}
