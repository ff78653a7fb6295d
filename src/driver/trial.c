/* SPDX-License-Identifier: Apache-2.0 */
/* Trials of a session performed: frames, credit, alarms, what storage has left. */
#include "base/abi.h"
#include "driver/node.h"
#include "driver/vm.h"

#include <stdio.h>
#include <string.h>

/* This site's of a peer. */
struct hvri_trial {
	struct hvri_trial_asker asker;
	struct hvri_trial_answer answer; /* As it came. */
	struct hvri_source source;
	struct hvri_alarm alarm;
	struct hvri_session *session;
	void (*done)(void *user, const struct hvrepl_trial_result *result);
	void *user;
	bool in_flight; /* A frame of its own lies with the channel. */
	bool finished;
	uint8_t frame[HVRI_TRIAL_DATA_PREFIX + HVRI_TRIAL_FILLER_MAX];
};

static struct hvri_trial *trial_of_source(struct hvri_source *source)
{
	return (struct hvri_trial *)((char *)source -
				     offsetof(struct hvri_trial, source));
}

static struct hvri_session *session_of_alarm(struct hvri_alarm *alarm)
{
	return (struct hvri_session *)((char *)alarm -
				       offsetof(struct hvri_session,
						trial_alarm));
}

/* ---- The peer's trial of this site. ---- */

static int32_t send_result(struct hvri_session *session,
			   const struct hvri_trial_update *update)
{
	uint8_t payload[HVRI_TRIAL_RESULT_SIZE];

	hvri_trial_result_encode(&update->result, payload);
	return hvri_link_send(&session->link, HVRI_FRAME_TRIAL_RESULT, NULL,
			      payload, sizeof(payload));
}

static struct hvri_trial_update step(struct hvri_session *session,
				     struct hvri_trial_event *event)
{
	struct hvri_trial_update update;

	event->now_ns = hvri_now(&session->node->env);
	update = hvri_trial_host_step(&session->trial, event);
	if (update.deadline_ns != 0)
		hvri_alarm_set(&session->node->timers, &session->trial_alarm,
			       update.deadline_ns);
	if (update.returned > 0)
		hvri_lend_trial_back(session, update.returned);
	return update;
}

static void on_due(struct hvri_alarm *alarm)
{
	struct hvri_session *session = session_of_alarm(alarm);
	struct hvri_trial_event event = { .type = HVRI_TRIAL_DUE };
	struct hvri_trial_update update = step(session, &event);

	if (update.has_result && send_result(session, &update) < 0)
		hvri_link_close(&session->link, HVREPL_E_NOMEM, NULL);
}

void hvri_trial_session_init(struct hvri_session *session)
{
	hvri_alarm_init(&session->trial_alarm, on_due);
}

/* Is there a place for replicas of this peer, and what is left in it? */
static int32_t look_at_root(struct hvrepl_node *node,
			    const struct hvri_entry *entry,
			    struct hvri_trial_answer *answer)
{
	uint64_t free_bytes = 0, total_bytes = 0;
	int32_t rc;

	if (!node->has_vmm) {
		snprintf(answer->sentence, sizeof(answer->sentence),
			 "the other site takes no replicas");
		return HVREPL_E_UNSUPPORTED;
	}
	if ((entry->verbs & (HVREPL_VERB_ENABLE | HVREPL_VERB_RECEIVE)) == 0) {
		snprintf(answer->sentence, sizeof(answer->sentence),
			 "the other site's authorisation entry '%.100s' lacks "
			 "the verbs 'enable' and 'receive': add them there if "
			 "VMs are to be replicated to it",
			 entry->peer);
		return HVREPL_E_DENIED;
	}
	if (node->vmm.root_space == NULL) {
		snprintf(answer->sentence, sizeof(answer->sentence),
			 "the other site does not tell what its storage has "
			 "left");
		return HVREPL_E_UNSUPPORTED;
	}
	rc = node->vmm.root_space(node->user, entry->storage_root, &free_bytes,
				  &total_bytes);
	if (rc < 0) {
		snprintf(answer->sentence, sizeof(answer->sentence),
			 "the other site cannot keep replicas in the storage "
			 "of its entry '%.80s' (%.60s): its own log says why",
			 entry->peer, hvrepl_strerror(rc));
		return rc;
	}
	hvri_rights_clip(node, entry, &free_bytes, &total_bytes);
	answer->free_bytes = free_bytes;
	answer->total_bytes = total_bytes;
	return HVREPL_OK;
}

static int32_t look(struct hvri_session *session,
		    const struct hvri_trial_ask *ask,
		    struct hvri_trial_answer *answer)
{
	struct hvrepl_node *node = session->node;
	const struct hvri_entry *entry =
		hvri_node_entry(node, session->link.info.peer);
	int32_t rc;

	if (entry == NULL)
		return HVREPL_E_DENIED; /* Its session is being closed. */
	rc = look_at_root(node, entry, answer);
	if (rc == HVREPL_E_DENIED)
		hvri_session_denied(session,
				    HVREPL_VERB_ENABLE | HVREPL_VERB_RECEIVE,
				    NULL);
	if (rc < 0)
		return rc;
	if (ask->disk_count == 0)
		return HVREPL_OK;
	HVRI_TRY(hvri_rights_fit(node, entry, NULL, ask->disk_bytes,
				 ask->points, answer->sentence));
	if (ask->disk_bytes <= answer->free_bytes)
		return HVREPL_OK;
	snprintf(answer->sentence, sizeof(answer->sentence),
		 "the VM's disks have %llu bytes and the other site's storage "
		 "has %llu left: make room there before they fill up",
		 (unsigned long long)ask->disk_bytes,
		 (unsigned long long)answer->free_bytes);
	return HVREPL_E_NO_SPACE;
}

static uint64_t rested(const struct hvrepl_node *node,
		       const struct hvri_entry *entry)
{
	return entry == NULL || entry->trial_ns == 0 ?
		       UINT64_MAX :
		       hvri_now(&node->env) - entry->trial_ns;
}

static int32_t on_ask(struct hvri_session *session, const uint8_t *payload,
		      size_t length)
{
	struct hvrepl_node *node = session->node;
	struct hvri_entry *entry =
		hvri_node_entry(node, session->link.info.peer);
	struct hvri_trial_answer answer = { .free_bytes = HVREPL_BYTES_UNKNOWN,
					    .total_bytes =
						    HVREPL_BYTES_UNKNOWN };
	struct hvri_trial_event event = { .type = HVRI_TRIAL_ASKED };
	struct hvri_trial_update update;
	uint8_t bytes[HVRI_TRIAL_ANSWER_MAX];
	uint64_t lent = 0;
	struct hvri_trial_ask ask;

	HVRI_TRY(hvri_trial_ask_decode(payload, length, &ask));
	event.number = answer.number = ask.number;
	event.rested_ns = rested(node, entry);
	if (event.rested_ns >= HVRI_TRIAL_PAUSE_NS)
		lent = hvri_lend_trial(session, ask.bytes);
	event.bytes = lent;
	update = step(session, &event);
	if (update.lent < lent)
		hvri_lend_trial_back(session, lent - update.lent);
	answer.bytes = update.lent;
	answer.wait_ms = update.wait_ms;
	if (answer.wait_ms != 0) {
		HVRI_TRY(hvri_link_odd(&session->link));
	} else {
		if (entry != NULL)
			entry->trial_ns = HVRI_MAX(hvri_now(&node->env), 1);
		answer.code = look(session, &ask, &answer);
	}
	length = hvri_trial_answer_encode(&answer, bytes);
	return hvri_link_send(&session->link, HVRI_FRAME_TRIAL_ANSWER, NULL,
			      bytes, length);
}

static int32_t on_data(struct hvri_session *session, const uint8_t *payload,
		       size_t length)
{
	struct hvri_trial_event event = { .type = HVRI_TRIAL_CAME };
	struct hvri_trial_update update;

	HVRI_TRY(hvri_trial_data_decode(payload, length, &event.data));
	update = step(session, &event);
	HVRI_TRY(update.code);
	return update.has_result ? send_result(session, &update) : HVREPL_OK;
}

/* ---- This site's trial of a peer. ---- */

static void release(struct hvrepl_node *node, struct hvri_trial *trial)
{
	if (trial->finished && !trial->in_flight)
		hvri_free(&node->env, trial, sizeof(*trial));
}

static int32_t outcome(const struct hvri_trial *trial, char *sentence,
		       size_t size)
{
	int32_t code = trial->asker.code;

	sentence[0] = 0;
	/* It answered, and its count is lost with the session: as it is. */
	if (trial->answer.wait_ms != 0) {
		snprintf(sentence, size,
			 "this was tried just now; try again in %u s",
			 trial->answer.wait_ms / 1000 + 1);
		return HVREPL_E_BUSY;
	}
	if (code == HVREPL_E_TIMEOUT)
		snprintf(sentence, size,
			 "the other site %s within %u s: look at its load, and "
			 "at what the network between loses",
			 trial->asker.round_trip_ns == 0 ?
				 "gave no answer" :
				 "did not say what had come",
			 (unsigned)(HVRI_TRIAL_WAIT_NS / 1000000000u));
	else if (code == HVREPL_E_PEER_VERSION)
		snprintf(sentence, size,
			 "the other site is too old to tell of its storage and "
			 "to count what comes: it needs a newer version");
	else if (code < 0)
		snprintf(sentence, size,
			 "the session ended meanwhile; try again when it is up");
	return code;
}

/* Tells, once; the trial is over. */
static void finish(struct hvrepl_node *node, struct hvri_trial *trial)
{
	struct hvrepl_trial_result result = {
		.struct_size = sizeof(result),
		.storage_code = trial->answer.code,
		.free_bytes = trial->answer.free_bytes,
		.total_bytes = trial->answer.total_bytes,
		.round_trip_ns = trial->asker.round_trip_ns,
		.bytes = trial->asker.bytes,
		.duration_ns = trial->asker.ns,
		.storage_sentence = trial->answer.sentence,
	};
	char sentence[HVREPL_SENTENCE_MAX];

	hvri_alarm_set(&node->timers, &trial->alarm, HVRI_NEVER);
	hvri_source_leave(&trial->source);
	node->trial = NULL;
	result.code = outcome(trial, sentence, sizeof(sentence));
	result.sentence = sentence;
	trial->done(trial->user, &result);
	trial->finished = true;
	release(node, trial);
}

static void on_wait_over(struct hvri_alarm *alarm)
{
	struct hvri_trial *trial =
		(struct hvri_trial *)((char *)alarm -
				      offsetof(struct hvri_trial, alarm));

	if (trial->asker.state != HVRI_TRIAL_DONE)
		hvri_trial_asker_gone(&trial->asker, HVREPL_E_TIMEOUT);
	finish(trial->session->node, trial);
}

static int32_t pull(struct hvri_source *source, struct hvri_frame *frame,
		    struct hvrepl_iovec *iov, uint32_t iov_max)
{
	struct hvri_trial *trial = trial_of_source(source);
	struct hvri_trial_data data;

	(void)iov_max;
	if (!hvri_trial_asker_pull(&trial->asker,
				   hvri_now(&trial->session->node->env), &data))
		return 0;
	hvri_trial_data_encode(&data, trial->frame);
	*frame = (struct hvri_frame){
		.type = HVRI_FRAME_TRIAL_DATA,
		.length = HVRI_TRIAL_DATA_PREFIX + data.length,
	};
	iov[0].base = trial->frame;
	iov[0].length = frame->length;
	trial->in_flight = true;
	return 1;
}

static void sent(struct hvri_source *source, bool ok)
{
	struct hvri_trial *trial = trial_of_source(source);

	(void)ok; /* The link breaks by itself. */
	trial->in_flight = false;
	release(trial->session->node, trial);
}

static int32_t on_answer(struct hvri_session *session, const uint8_t *payload,
			 size_t length)
{
	struct hvri_trial *trial = session->node->trial;
	struct hvri_trial_answer answer;

	HVRI_TRY(hvri_trial_answer_decode(payload, length, &answer));
	if (trial == NULL || trial->session != session ||
	    answer.number != trial->asker.number)
		return answer.number <= session->node->trials ?
			       hvri_link_odd(&session->link) :
			       HVREPL_E_PROTOCOL;
	HVRI_TRY(hvri_trial_asker_answered(&trial->asker, &answer,
					   hvri_now(&session->node->env)));
	trial->answer = answer;
	if (trial->asker.state == HVRI_TRIAL_DONE)
		finish(session->node, trial);
	else
		hvri_link_want(&session->link, &trial->source);
	return HVREPL_OK;
}

static int32_t on_result(struct hvri_session *session, const uint8_t *payload,
			 size_t length)
{
	struct hvri_trial *trial = session->node->trial;
	struct hvri_trial_result result;

	HVRI_TRY(hvri_trial_result_decode(payload, length, &result));
	if (trial == NULL || trial->session != session ||
	    result.number != trial->asker.number)
		return result.number <= session->node->trials ?
			       hvri_link_odd(&session->link) :
			       HVREPL_E_PROTOCOL;
	HVRI_TRY(hvri_trial_asker_counted(&trial->asker, &result));
	finish(session->node, trial);
	return HVREPL_OK;
}

static int32_t ask(struct hvri_trial *trial,
		   const struct hvrepl_trial *config)
{
	struct hvrepl_node *node = trial->session->node;
	struct hvri_trial_ask asked = {
		.number = ++node->trials,
		.bytes = HVRI_TRIAL_BYTES_MAX,
		.disk_bytes = config->disk_bytes,
		.disk_count = config->disk_count,
		.points = config->points_max,
	};
	uint8_t payload[HVRI_TRIAL_ASK_SIZE];

	hvri_trial_asker_begin(&trial->asker, &asked, hvri_now(&node->env));
	if ((trial->session->link.peer.features & HVRI_FEATURE_TRIAL) == 0) {
		/* Told by the alarm: never from inside this call. */
		hvri_trial_asker_gone(&trial->asker, HVREPL_E_PEER_VERSION);
		return HVREPL_OK;
	}
	hvri_trial_ask_encode(&asked, payload);
	return hvri_link_send(&trial->session->link, HVRI_FRAME_TRIAL, NULL,
			      payload, sizeof(payload));
}

static int32_t begin(struct hvri_session *session,
		     const struct hvrepl_trial *config)
{
	struct hvrepl_node *node = session->node;
	struct hvri_trial *trial;
	uint64_t now = hvri_now(&node->env);
	int32_t rc;

	trial = hvri_alloc(&node->env, sizeof(*trial));
	if (trial == NULL)
		return HVREPL_E_NOMEM;
	trial->session = session;
	trial->done = config->done;
	trial->user = config->user;
	trial->source.pull = pull;
	trial->source.sent = sent;
	hvri_alarm_init(&trial->alarm, on_wait_over);
	trial->answer.free_bytes = trial->answer.total_bytes =
		HVREPL_BYTES_UNKNOWN;
	/* Nothing on the way is to make it less than it is. */
	rc = hvri_random(&node->env, trial->frame, sizeof(trial->frame));
	if (rc == HVREPL_OK)
		rc = ask(trial, config);
	if (rc < 0) {
		hvri_free(&node->env, trial, sizeof(*trial));
		return rc;
	}
	node->trial = trial;
	hvri_alarm_set(&node->timers, &trial->alarm,
		       trial->asker.state == HVRI_TRIAL_DONE ?
			       now :
			       now + HVRI_TRIAL_WAIT_NS);
	return HVREPL_OK;
}

int32_t hvri_node_try_peer(struct hvrepl_node *node,
			   const struct hvrepl_trial *config,
			   struct hvrepl_error *error)
{
	struct hvri_session *session;
	struct hvrepl_trial trial;
	int32_t rc;

	rc = hvri_abi_copy_in(&trial, sizeof(trial),
			      HVRI_SIZE_UP_TO(struct hvrepl_trial, user),
			      config);
	if (rc < 0)
		return hvri_fail_plain(error, rc);
	if (trial.peer == NULL || trial.done == NULL || trial.reserved != 0 ||
	    trial.disk_count > HVREPL_VM_DISKS_MAX ||
	    (trial.disk_count == 0) != (trial.disk_bytes == 0) ||
	    (trial.disk_count == 0 && trial.points_max != 0))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "a trial needs a peer and done; a VM of its has "
				 "1 to %u disks with bytes",
				 HVREPL_VM_DISKS_MAX);
	if (node->closing)
		return hvri_fail_plain(error, HVREPL_E_CLOSED);
	if (node->trial != NULL)
		return hvri_fail(error, HVREPL_E_BUSY,
				 "another trial is under way: try again in some "
				 "seconds");
	session = hvri_node_session_named(node, trial.peer);
	if (session == NULL)
		return hvri_fail(error, HVREPL_E_DISCONNECTED,
				 "no session with %.100s is up", trial.peer);
	rc = begin(session, &trial);
	return rc < 0 ? hvri_fail_plain(error, rc) : HVREPL_OK;
}

/* ---- Both. ---- */

int32_t hvri_trial_frame(struct hvri_session *session,
			 const struct hvri_frame *frame,
			 const uint8_t *payload)
{
	switch (frame->type) {
	case HVRI_FRAME_TRIAL:
		return on_ask(session, payload, frame->length);
	case HVRI_FRAME_TRIAL_ANSWER:
		return on_answer(session, payload, frame->length);
	case HVRI_FRAME_TRIAL_DATA:
		return on_data(session, payload, frame->length);
	default:
		return on_result(session, payload, frame->length);
	}
}

void hvri_trial_session_down(struct hvri_session *session)
{
	struct hvri_trial_event event = { .type = HVRI_TRIAL_DOWN };
	struct hvri_trial *trial = session->node->trial;

	(void)step(session, &event);
	if (trial == NULL || trial->session != session)
		return;
	if (trial->asker.state != HVRI_TRIAL_DONE)
		hvri_trial_asker_gone(&trial->asker, HVREPL_E_DISCONNECTED);
	finish(session->node, trial);
}
