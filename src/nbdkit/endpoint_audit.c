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

/* What the network thread saw: the node tells it with the rest, on the control
 * thread, for a disk may be slow and connections must not wait for it. */
static void note_count(struct endpoint *endpoint, uint32_t kind,
		       const char *peer, const char *format, uint64_t count)
	__attribute__((format(printf, 4, 0)));
static void note_count(struct endpoint *endpoint, uint32_t kind,
		       const char *peer, const char *format, uint64_t count)
{
	struct hvrepl_note seen = HVREPL_NOTE_INIT;
	char line[HVREPL_SENTENCE_MAX];

	snprintf(line, sizeof(line), format, peer, (unsigned long long)count);
	seen.kind = kind;
	seen.peer = peer;
	seen.sentence = line;
	(void)hvrepl_node_note(endpoint->node, &seen);
}

/* Network thread, both. */
static void on_rekeyed(void *user, const char *peer, uint64_t count)
{
	note_count(user, HVREPL_AUDIT_REKEY, peer,
		   "new keys for what is sent to %.120s, time %llu of its connection",
		   count);
}

static void on_proved(void *user, const char *peer, uint64_t count)
{
	note_count(user, HVREPL_AUDIT_AUTHENTICATION, peer,
		   "%.120s proved itself anew, time %llu of its connection",
		   count);
}

/* With it its session does; what that says is only that nobody is proved. */
static void on_proof_ended(void *user, const char *peer,
			   const struct hvrepl_error *why)
{
	struct endpoint *endpoint = user;
	struct hvrepl_note seen = HVREPL_NOTE_INIT;

	seen.kind = why->code == HVREPL_E_LIMIT ? HVREPL_AUDIT_LIMIT :
						  HVREPL_AUDIT_AUTHENTICATION;
	seen.severity = HVREPL_SEVERITY_WARNING;
	seen.code = why->code;
	seen.peer = peer;
	seen.sentence = why->sentence;
	(void)hvrepl_node_note(endpoint->node, &seen);
}

void endpoint_audit_watch(struct endpoint *endpoint)
{
	struct hvrepl_tls_notes notes = HVREPL_TLS_NOTES_INIT;

	notes.rekeyed = on_rekeyed;
	notes.proved = on_proved;
	notes.ended = on_proof_ended;
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
	char line[HVREPL_SENTENCE_MAX];

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

static const char *actor_of(const struct hvrepl_event *event)
{
	return event->actor[0] != 0 ? event->actor : NULL;
}

bool endpoint_audit_event(struct endpoint *endpoint,
			  const struct hvrepl_event *event)
{
	uint32_t kind = HVREPL_AUDIT_JOB;

	if (event->type == HVREPL_EVENT_AUDIT)
		kind = (uint32_t)event->value;
	else if (event->type != HVREPL_EVENT_JOB_DONE)
		/* As often as a peer likes; the audit's events are bounded. */
		return event->type != HVREPL_EVENT_SESSION;
	(void)endpoint_audit(endpoint, kind, event->code, &event->vm,
			     actor_of(event), event->sentence);
	/* Jobs have events of their own for the log; new keys are nothing new. */
	return kind != HVREPL_AUDIT_OPERATION && kind != HVREPL_AUDIT_REKEY;
}

int32_t endpoint_audit_permit(void *user, const struct hvrepl_event *event)
{
	return endpoint_audit(user, HVREPL_AUDIT_OPERATION, HVREPL_OK,
			      &event->vm, actor_of(event), event->sentence);
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
