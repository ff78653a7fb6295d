/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's control interface: HTTP/1.1 and JSON on a Unix socket. */
#ifndef SITE_CONTROL_H
#define SITE_CONTROL_H

#include <hvrepl/hvrepl.h>
#include <jansson.h>
#include <stdbool.h>

#define CONTROL_PARAMETERS_MAX 3

/* A connection that brings nothing and takes nothing for so long is closed, so that those
 * which somebody forgot do not keep others out. Not while its request is answered. Tests
 * say less before control_start(). */
extern unsigned control_idle_s;

struct control;
/* One request; answered exactly once, from any thread, now or later. */
struct control_request;

struct control_route {
	const char *method;  /* "GET" or "POST". */
	const char *pattern; /* "/v1/vms/{vm}/cut": {} takes one piece. */
	/* Runs on the server's thread and must not block. */
	void (*handle)(struct control_request *request, void *user);
};

/*
 * Listen on `path` (mode 0600; a stale socket is replaced, one that somebody
 * listens on is BUSY) and serve `routes` (ends with a NULL method; borrowed).
 * Only root and this process's own uid are let in.
 */
int32_t control_start(const char *path, const struct control_route *routes,
		      void *user, struct control **out,
		      struct hvrepl_error *error);
/* New requests are answered CLOSED from here on. */
void control_quiesce(struct control *control);
/* Every request has been answered before this is called. NULL is fine. */
void control_stop(struct control *control);

/* The n-th {} of the pattern, percent-decoded. */
const char *control_parameter(const struct control_request *request, int n);
/* ?name=value, or NULL. */
const char *control_query(const struct control_request *request,
			  const char *name);
/* The body as a JSON object; empty when there was none. Borrowed. */
const json_t *control_body(const struct control_request *request);

/* A member that a body may have. */
struct control_field {
	const char *name; /* NULL ends a list. */
	json_type type;   /* JSON_STRING or JSON_INTEGER; null is as if absent. */
};
/* False after refusing a body with other members, or of another type: what somebody
 * asked for is not to be taken for what he did not say. */
bool control_check_body(struct control_request *request,
			const struct control_field *fields);
/* The same of ?name=value; `names` ends with NULL. */
bool control_check_query(struct control_request *request,
			 const char *const *names);

/* As given to control_start(). */
void *control_user(const struct control_request *request);

/* Answer 200 with `value`, which is taken. */
void control_reply(struct control_request *request, json_t *value);
/* Answer with {"error":{...}}; the HTTP status follows the code. */
void control_fail(struct control_request *request, int32_t code,
		  const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void control_fail_error(struct control_request *request,
			const struct hvrepl_error *error);

/* {"error":{"code","name","class","sentence"}}; also what the tool prints. */
json_t *control_error_json(int32_t code, const char *sentence);

#endif
