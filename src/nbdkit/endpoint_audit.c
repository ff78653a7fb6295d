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

void endpoint_audit_event(struct endpoint *endpoint,
			  const struct hvrepl_event *event)
{
	uint32_t kind;

	switch (event->type) {
	case HVREPL_EVENT_SESSION:
		kind = HVREPL_AUDIT_AUTHENTICATION;
		break;
	case HVREPL_EVENT_JOB_DONE:
		kind = HVREPL_AUDIT_JOB;
		break;
	case HVREPL_EVENT_AUDIT:
		kind = event->code == HVREPL_E_DENIED ? HVREPL_AUDIT_DENIED :
		       event->code == HVREPL_E_LIMIT ? HVREPL_AUDIT_LIMIT :
						       HVREPL_AUDIT_OWNERSHIP;
		break;
	default:
		return;
	}
	(void)endpoint_audit(endpoint, kind, event->code, &event->vm, NULL,
			     event->sentence);
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
