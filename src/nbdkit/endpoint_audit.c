/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The site's audit: what is asked for before it is done, what became of it, and
 * who was let in or not. While it cannot be written, what costs data is refused,
 * to operators here and to peers; failovers are not, as a disaster does not wait
 * for a disk.
 */
#include "endpoint.h"

#include <hvrepl/backends.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t open_it(struct endpoint *endpoint)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_storage storage;
	char line[HVREPL_SENTENCE_MAX + 64];
	int32_t rc = hvrepl_dir_storage_open(endpoint->config->audit,
					     HVREPL_DIR_CREATE, &storage,
					     &error);

	if (rc == HVREPL_OK)
		rc = hvrepl_audit_open(endpoint->env, &storage,
				       &endpoint->audit, &error);
	if (rc < 0 && rc != endpoint->audit_open_code) {
		snprintf(line, sizeof(line), "the audit cannot be opened: %s",
			 error.sentence);
		endpoint->log(endpoint, HVREPL_LOG_ERROR, line);
	}
	endpoint->audit_open_code = rc;
	return rc;
}

int32_t endpoint_audit(struct endpoint *endpoint, uint32_t kind, int32_t code,
		       const struct hvrepl_uuid *vm, const char *actor,
		       const char *sentence)
{
	struct hvrepl_audit_record record = HVREPL_AUDIT_RECORD_INIT;
	int32_t rc = HVREPL_OK;

	if (endpoint->config->audit == NULL)
		return HVREPL_OK;
	record.kind = kind;
	record.code = code;
	record.actor = actor;
	record.sentence = sentence;
	if (vm != NULL)
		record.vm = *vm;
	pthread_mutex_lock(&endpoint->audit_mutex);
	if (endpoint->audit == NULL)
		rc = open_it(endpoint);
	if (rc == HVREPL_OK)
		rc = hvrepl_audit_append(endpoint->audit, &record);
	endpoint->audit_code = rc;
	pthread_mutex_unlock(&endpoint->audit_mutex);
	return rc;
}

static const char *const metered[ENDPOINT_METERS] = {
	[ENDPOINT_STRANGERS] = "connections that were refused",
	[ENDPOINT_PEERS] = "sessions, denials and limits of peers",
};

/* The minute is over, or the site ends: how many were left out in it. */
static void end_minute(struct endpoint *endpoint, enum endpoint_meter_of of,
		       uint64_t now)
{
	struct endpoint_meter *meter = &endpoint->meters[of];
	char line[HVREPL_SENTENCE_MAX];
	uint64_t left_out;

	pthread_mutex_lock(&endpoint->audit_mutex);
	left_out = meter->left_out;
	if (meter->until_ns == 0 || now < meter->until_ns)
		left_out = 0;
	else
		*meter = (struct endpoint_meter){ 0 };
	pthread_mutex_unlock(&endpoint->audit_mutex);
	if (left_out == 0)
		return;
	snprintf(line, sizeof(line),
		 "%llu more %s within a minute are not noted one by one",
		 (unsigned long long)left_out, metered[of]);
	endpoint->log(endpoint, HVREPL_LOG_WARNING, line);
	(void)endpoint_audit(endpoint, HVREPL_AUDIT_LIMIT, HVREPL_E_LIMIT, NULL,
			     NULL, line);
}

bool endpoint_audit_metered(struct endpoint *endpoint,
			    enum endpoint_meter_of of, uint32_t kind,
			    int32_t code, const struct hvrepl_uuid *vm,
			    const char *actor, const char *sentence)
{
	struct endpoint_meter *meter = &endpoint->meters[of];
	uint64_t now = endpoint_now(endpoint);
	bool noted, first_left;

	end_minute(endpoint, of, now);
	pthread_mutex_lock(&endpoint->audit_mutex);
	if (meter->until_ns == 0)
		meter->until_ns = now + ENDPOINT_NOTES_NS;
	noted = meter->noted < ENDPOINT_NOTES_MAX;
	if (noted)
		meter->noted++;
	else
		meter->left_out++;
	first_left = !noted && meter->left_out == 1;
	pthread_mutex_unlock(&endpoint->audit_mutex);
	if (noted)
		(void)endpoint_audit(endpoint, kind, code, vm, actor, sentence);
	/* Its deadline is a new one: by another thread's doing, perhaps. */
	if (first_left && endpoint->control_loop != NULL)
		hvrepl_loop_wake(endpoint->control_loop);
	return noted;
}

uint64_t endpoint_audit_deadline(struct endpoint *endpoint)
{
	uint64_t first = UINT64_MAX;

	pthread_mutex_lock(&endpoint->audit_mutex);
	for (unsigned i = 0; i < ENDPOINT_METERS; i++)
		if (endpoint->meters[i].left_out > 0 &&
		    endpoint->meters[i].until_ns < first)
			first = endpoint->meters[i].until_ns;
	pthread_mutex_unlock(&endpoint->audit_mutex);
	return first;
}

void endpoint_audit_end(struct endpoint *endpoint)
{
	for (unsigned i = 0; i < ENDPOINT_METERS; i++)
		end_minute(endpoint, i, UINT64_MAX);
}

/* What the network thread saw: written by the control thread, for a disk may be
 * slow and connections must not wait for it. */
struct seen {
	struct endpoint *endpoint;
	uint32_t kind;
	char peer[HVREPL_PEER_NAME_MAX + 1];
	char line[HVREPL_SENTENCE_MAX];
};

static void write_seen(void *argument)
{
	struct seen *seen = argument;

	/* How often it proves itself is the peer's doing; new keys are ours. */
	if (seen->kind == HVREPL_AUDIT_REKEY)
		(void)endpoint_audit(seen->endpoint, seen->kind, HVREPL_OK,
				     NULL, seen->peer, seen->line);
	else
		(void)endpoint_audit_metered(seen->endpoint, ENDPOINT_PEERS,
					     seen->kind, HVREPL_OK, NULL,
					     seen->peer, seen->line);
	free(seen);
}

static void post_seen(struct endpoint *endpoint, uint32_t kind,
		      const char *peer, const char *format, uint64_t count)
	__attribute__((format(printf, 4, 0)));
static void post_seen(struct endpoint *endpoint, uint32_t kind,
		      const char *peer, const char *format, uint64_t count)
{
	struct seen *seen = calloc(1, sizeof(*seen));

	if (seen == NULL) {
		endpoint->log(endpoint, HVREPL_LOG_ERROR,
			      "Not enough memory to note a peer's new keys or proof.");
		return;
	}
	seen->endpoint = endpoint;
	seen->kind = kind;
	snprintf(seen->peer, sizeof(seen->peer), "%s", peer);
	snprintf(seen->line, sizeof(seen->line), format, peer,
		 (unsigned long long)count);
	if (hvrepl_loop_post(endpoint->control_loop, write_seen, seen) < 0)
		write_seen(seen);
}

/* Network thread, both. */
static void on_rekeyed(void *user, const char *peer, uint64_t count)
{
	post_seen(user, HVREPL_AUDIT_REKEY, peer,
		  "new keys for what is sent to %.120s, time %llu of its connection",
		  count);
}

static void on_proved(void *user, const char *peer, uint64_t count)
{
	post_seen(user, HVREPL_AUDIT_AUTHENTICATION, peer,
		  "%.120s proved itself anew, time %llu of its connection",
		  count);
}

void endpoint_audit_watch(struct endpoint *endpoint)
{
	struct hvrepl_tls_notes notes = HVREPL_TLS_NOTES_INIT;

	notes.rekeyed = on_rekeyed;
	notes.proved = on_proved;
	notes.user = endpoint;
	if (endpoint->tls != NULL)
		(void)hvrepl_tls_set_notes(endpoint->tls, &notes);
}

int32_t endpoint_audit_code(struct endpoint *endpoint)
{
	int32_t code;

	pthread_mutex_lock(&endpoint->audit_mutex);
	code = endpoint->audit_code;
	pthread_mutex_unlock(&endpoint->audit_mutex);
	return code;
}

void endpoint_audit_turn(struct endpoint *endpoint)
{
	const struct site_config *rights = endpoint_rights(endpoint);
	int32_t code = endpoint_audit_code(endpoint);
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	uint64_t now = endpoint_now(endpoint);
	char line[HVREPL_SENTENCE_MAX];

	for (unsigned i = 0; i < ENDPOINT_METERS; i++)
		end_minute(endpoint, i, now);
	if (endpoint->closed || (code < 0) == endpoint->audit_told)
		return;
	endpoint->audit_told = code < 0;
	if (code < 0)
		snprintf(line, sizeof(line),
			 "the audit cannot be written (%s): until it can, nothing that costs data is done here",
			 hvrepl_strerror(code));
	else
		snprintf(line, sizeof(line), "the audit is written again");
	endpoint->log(endpoint, code < 0 ? HVREPL_LOG_ERROR : HVREPL_LOG_NOTICE,
		      line);
	if (endpoint_take_rights(endpoint, NULL, rights, &error) < 0)
		endpoint->audit_told = !endpoint->audit_told; /* Once more. */
}

/* Of these a peer can cause as many as it likes. */
static bool is_of_peers(uint32_t kind)
{
	return kind == HVREPL_AUDIT_AUTHENTICATION ||
	       kind == HVREPL_AUDIT_DENIED || kind == HVREPL_AUDIT_LIMIT;
}

bool endpoint_audit_event(struct endpoint *endpoint,
			  const struct hvrepl_event *event)
{
	uint32_t kind = HVREPL_AUDIT_JOB;
	bool noted = true;

	if (event->type == HVREPL_EVENT_AUDIT)
		kind = (uint32_t)event->value;
	else if (event->type != HVREPL_EVENT_JOB_DONE)
		return true;
	if (is_of_peers(kind))
		noted = endpoint_audit_metered(endpoint, ENDPOINT_PEERS, kind,
					       event->code, &event->vm, NULL,
					       event->sentence);
	else
		(void)endpoint_audit(endpoint, kind, event->code, &event->vm,
				     NULL, event->sentence);
	/* Sessions and jobs have events of their own for the log. */
	return noted && kind != HVREPL_AUDIT_AUTHENTICATION &&
	       kind != HVREPL_AUDIT_OPERATION;
}

int32_t endpoint_audit_permit(void *user, const struct hvrepl_event *event)
{
	return endpoint_audit(user, HVREPL_AUDIT_OPERATION, HVREPL_OK,
			      &event->vm, NULL, event->sentence);
}

/* What is thrown away, or can no longer be taken back. */
static bool costs_data(uint32_t operation)
{
	return operation == HVREPL_OPERATION_REMOVE ||
	       operation == HVREPL_OPERATION_DISCARD ||
	       operation == HVREPL_OPERATION_COMMIT ||
	       operation == HVREPL_OPERATION_CANCEL ||
	       operation == HVREPL_OPERATION_CHANGE_POINT;
}

int32_t endpoint_audit_operation(struct endpoint *endpoint, uint32_t operation,
				 const char *name,
				 const struct hvrepl_vm_status *vm,
				 struct hvrepl_error *error)
{
	char sentence[HVREPL_SENTENCE_MAX];
	int32_t rc;

	snprintf(sentence, sizeof(sentence), "%.40s of VM %s was asked for",
		 name, vm->name);
	rc = endpoint_audit(endpoint, HVREPL_AUDIT_OPERATION, HVREPL_OK,
			    &vm->id, "operator", sentence);
	if (rc == HVREPL_OK || !costs_data(operation))
		return HVREPL_OK;
	return site_fail(error, rc, 0,
			 "The audit cannot be written (%s), and %.40s costs data: make room or mend %.80s, then try again",
			 hvrepl_strerror(rc), name, endpoint->config->audit);
}
