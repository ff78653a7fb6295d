/* SPDX-License-Identifier: Apache-2.0 */
/* The control interface's server: libmicrohttpd under a table of routes. */
#include "control.h"

#include "text.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BODY_MAX 65536u
#define PATH_MAX_LENGTH 1024u
#define CONNECTIONS_MAX 256u

unsigned control_idle_s = 30;

struct control {
	struct MHD_Daemon *daemon;
	const struct control_route *routes;
	void *user;
	char *path;
	dev_t device; /* Of the socket: another daemon's is not unlinked. */
	ino_t inode;
	pthread_mutex_t gate; /* Held while a handler runs; guards closing. */
	bool closing;
};

struct control_request {
	struct control *control;
	struct MHD_Connection *connection;
	const struct control_route *route;
	char *parameters[CONTROL_PARAMETERS_MAX];
	char *body;
	size_t body_length;
	json_t *object;
	bool started; /* The handler has been called. */
	bool too_long; /* Its path. */

	pthread_mutex_t lock; /* Guards what follows. */
	bool suspended;
	unsigned status; /* 0 until answered. */
	char *answer;    /* NULL: there was no memory for it. */
};

json_t *control_error_json(int32_t code, const char *sentence)
{
	static const char *const classes[] = { "none",	   "caller", "resource",
					       "callback", "peer",   "integrity",
					       "unavailable" };
	uint32_t class_number = hvrepl_error_class(code);

	return json_pack("{s:{s:i,s:s,s:s,s:o}}", "error", "code", (int)code,
			 "name", hvrepl_error_name(code), "class",
			 class_number < 7 ? classes[class_number] : "unknown",
			 "sentence", text_json(sentence));
}

static unsigned http_status(int32_t code)
{
	switch (code) {
	case HVREPL_OK:
		return MHD_HTTP_OK;
	case HVREPL_E_INVALID:
	case HVREPL_E_RANGE:
		return MHD_HTTP_BAD_REQUEST;
	case HVREPL_E_NOT_FOUND:
		return MHD_HTTP_NOT_FOUND;
	case HVREPL_E_DENIED:
		return MHD_HTTP_FORBIDDEN;
	case HVREPL_E_TIMEOUT:
		return MHD_HTTP_GATEWAY_TIMEOUT;
	case HVREPL_E_CLOSED:
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	case HVREPL_E_STATE:
	case HVREPL_E_BUSY:
	case HVREPL_E_EXISTS:
	case HVREPL_E_FENCED:
	case HVREPL_E_DIVERGED:
		return MHD_HTTP_CONFLICT;
	default:
		return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

/* Takes value. The first answer wins; a second would be a bug here. */
static void answer(struct control_request *request, unsigned status,
		   json_t *value)
{
	char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT);

	json_decref(value);
	pthread_mutex_lock(&request->lock);
	request->status = status;
	request->answer = text;
	/* Under the lock: the request may be gone right after it. */
	if (request->suspended)
		MHD_resume_connection(request->connection);
	pthread_mutex_unlock(&request->lock);
}

void control_reply(struct control_request *request, json_t *value)
{
	answer(request, MHD_HTTP_OK, value);
}

void control_fail(struct control_request *request, int32_t code,
		  const char *format, ...)
{
	char sentence[HVREPL_SENTENCE_MAX * 2];
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	answer(request, http_status(code), control_error_json(code, sentence));
}

void control_fail_error(struct control_request *request,
			const struct hvrepl_error *error)
{
	control_fail(request, error->code, "%s",
		     error->sentence[0] != 0 ? error->sentence :
					       hvrepl_strerror(error->code));
}

const char *control_parameter(const struct control_request *request, int n)
{
	return request->parameters[n];
}

const char *control_query(const struct control_request *request,
			  const char *name)
{
	return MHD_lookup_connection_value(request->connection,
					   MHD_GET_ARGUMENT_KIND, name);
}

void *control_user(const struct control_request *request)
{
	return request->control->user;
}

const json_t *control_body(const struct control_request *request)
{
	return request->object;
}

/* The members there may be, as a sentence has them. */
static void list_fields(const struct control_field *fields, char *out,
			size_t size)
{
	size_t used = 0;

	out[0] = 0;
	for (; fields->name != NULL && used < size; fields++)
		used += (size_t)snprintf(out + used, size - used, "%s'%s'",
					 used == 0 ? "" : ", ", fields->name);
}

bool control_check_body(struct control_request *request,
			const struct control_field *fields)
{
	char names[256];
	const char *key;
	json_t *value;

	json_object_foreach(request->object, key, value) {
		const struct control_field *field = fields;

		while (field->name != NULL && strcmp(field->name, key) != 0)
			field++;
		if (field->name == NULL) {
			list_fields(fields, names, sizeof(names));
			control_fail(request, HVREPL_E_INVALID,
				     "The request's body has '%.64s', and may have %s.",
				     key, names);
			return false;
		}
		if (json_typeof(value) != field->type && !json_is_null(value)) {
			control_fail(request, HVREPL_E_INVALID,
				     "'%s' of the request's body is not a %s.", key,
				     field->type == JSON_STRING ? "string" :
								  "whole number");
			return false;
		}
	}
	return true;
}

struct queried {
	const char *const *names;
	const char *wrong;
	bool empty; /* The name is right, but there is no value. */
};

static enum MHD_Result look_at_query(void *user, enum MHD_ValueKind kind,
				     const char *key, const char *value)
{
	struct queried *queried = user;
	size_t i = 0;

	(void)kind;
	while (queried->names[i] != NULL && strcmp(queried->names[i], key) != 0)
		i++;
	queried->empty = queried->names[i] != NULL;
	if (queried->empty && value != NULL)
		return MHD_YES;
	queried->wrong = key;
	return MHD_NO;
}

bool control_check_query(struct control_request *request,
			 const char *const *names)
{
	struct queried queried = { .names = names };

	MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND,
				  look_at_query, &queried);
	if (queried.wrong == NULL)
		return true;
	control_fail(request, HVREPL_E_INVALID,
		     queried.empty ? "'%.64s' of the request has no value." :
				     "The request asks for '%.64s', which there is not.",
		     queried.wrong);
	return false;
}

/* Length of the piece of `url` for the braces at `pattern`: up to the next
 * slash, or with a star, as {peer*}, up to what ends the pattern. A principal
 * has slashes, and libmicrohttpd has decoded them. */
static size_t piece_length(const char *pattern, const char *url)
{
	const char *rest = strchr(pattern, '}') + 1;
	size_t length = strlen(url), tail = strlen(rest);

	if (rest[-2] != '*')
		return strcspn(url, "/");
	return length > tail ? length - tail : 0;
}

/* Takes the pieces of `url` that stand where `pattern` has {}. */
static bool match(struct control_request *request, const char *pattern,
		  const char *url)
{
	int count = 0;

	while (*pattern != 0) {
		size_t length;

		if (*pattern != '{') {
			if (*pattern++ != *url++)
				return false;
			continue;
		}
		length = piece_length(pattern, url);
		if (length == 0 || count == CONTROL_PARAMETERS_MAX)
			return false;
		free(request->parameters[count]);
		request->parameters[count] = strndup(url, length);
		if (request->parameters[count] == NULL)
			return false;
		/* libmicrohttpd decoded the rest of the URL already. */
		count++;
		url += length;
		pattern = strchr(pattern, '}') + 1;
	}
	return *url == 0;
}

static int32_t find_route(struct control_request *request, const char *method,
			  const char *url)
{
	int32_t rc = HVREPL_E_NOT_FOUND;

	for (const struct control_route *route = request->control->routes;
	     route->method != NULL; route++) {
		if (!match(request, route->pattern, url))
			continue;
		if (strcmp(route->method, method) == 0) {
			request->route = route;
			return HVREPL_OK;
		}
		rc = HVREPL_E_INVALID;
	}
	return rc;
}

/* The socket's mode keeps others out; this holds where a mount ignores it. */
static bool allowed(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (info == NULL || getsockopt(info->connect_fd, SOL_SOCKET,
				       SO_PEERCRED, &peer, &length) != 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void hand_over(struct control_request *request)
{
	struct control *control = request->control;
	bool closing;

	pthread_mutex_lock(&control->gate);
	closing = control->closing;
	if (!closing)
		request->route->handle(request, control->user);
	pthread_mutex_unlock(&control->gate);
	if (closing)
		control_fail(request, HVREPL_E_CLOSED,
			     "The daemon is shutting down. Start it again first.");
}

static void start(struct control_request *request, const char *method,
		  const char *url)
{
	json_error_t where;
	int32_t rc;

	if (!allowed(request->connection)) {
		control_fail(request, HVREPL_E_DENIED,
			     "Only root and the daemon's own user may control it.");
		return;
	}
	if (request->too_long) {
		control_fail(request, HVREPL_E_INVALID,
			     "The request's path is longer than %u bytes.",
			     PATH_MAX_LENGTH);
		return;
	}
	rc = find_route(request, method, url);
	if (rc < 0) {
		control_fail(request, rc,
			     "%s %s is not part of the control interface.",
			     method, url);
		return;
	}
	if (request->body_length > BODY_MAX) {
		control_fail(request, HVREPL_E_INVALID,
			     "The request's body is longer than %u bytes.",
			     BODY_MAX);
		return;
	}
	request->object = request->body_length == 0 ? json_object() :
		json_loadb(request->body, request->body_length,
			   JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(request->object)) {
		control_fail(request, HVREPL_E_INVALID,
			     "The request's body is not a JSON object.");
		return;
	}
	hand_over(request);
}

static enum MHD_Result send_answer(struct control_request *request)
{
	/* An answer that could not be made is an error, and says which. */
	static char nothing[] =
		"{\"error\":{\"code\":-200,\"name\":\"HVREPL_E_NOMEM\","
		"\"class\":\"resource\",\"sentence\":\"Not enough memory.\"}}";
	struct MHD_Response *response;
	enum MHD_Result result;
	char *text = request->answer == NULL ? nothing : request->answer;
	unsigned status = request->answer == NULL ?
				  MHD_HTTP_INTERNAL_SERVER_ERROR :
				  request->status;

	response = MHD_create_response_from_buffer(strlen(text), text,
						   MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
				"application/json");
	result = MHD_queue_response(request->connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static bool collect(struct control_request *request, const char *data,
		    size_t length)
{
	char *larger;

	/* One byte beyond the limit is kept, to tell it was passed. */
	if (request->body_length > BODY_MAX)
		return true;
	if (length > BODY_MAX + 1 - request->body_length)
		length = BODY_MAX + 1 - request->body_length;
	larger = realloc(request->body, request->body_length + length);
	if (larger == NULL)
		return false;
	memcpy(larger + request->body_length, data, length);
	request->body = larger;
	request->body_length += length;
	return true;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection,
				  const char *url, const char *method,
				  const char *version, const char *upload,
				  size_t *upload_size, void **state)
{
	struct control_request *request = *state;
	bool ready;

	(void)version;
	if (request == NULL) {
		request = calloc(1, sizeof(*request));
		if (request == NULL)
			return MHD_NO;
		pthread_mutex_init(&request->lock, NULL);
		request->control = user;
		request->connection = connection;
		request->too_long = strlen(url) > PATH_MAX_LENGTH;
		*state = request;
		return MHD_YES;
	}
	if (*upload_size != 0) {
		bool kept = collect(request, upload, *upload_size);

		*upload_size = 0;
		return kept ? MHD_YES : MHD_NO;
	}
	if (!request->started) {
		request->started = true;
		start(request, method, url);
	}
	pthread_mutex_lock(&request->lock);
	ready = request->status != 0;
	if (!ready) {
		request->suspended = true;
		MHD_suspend_connection(connection);
	}
	pthread_mutex_unlock(&request->lock);
	return ready ? send_answer(request) : MHD_YES;
}

static void on_completed(void *user, struct MHD_Connection *connection,
			 void **state, enum MHD_RequestTerminationCode why)
{
	struct control_request *request = *state;

	(void)user;
	(void)connection;
	(void)why;
	if (request == NULL)
		return;
	/* The thread that answered may still be inside the lock. */
	pthread_mutex_lock(&request->lock);
	pthread_mutex_unlock(&request->lock);
	pthread_mutex_destroy(&request->lock);
	for (int i = 0; i < CONTROL_PARAMETERS_MAX; i++)
		free(request->parameters[i]);
	json_decref(request->object);
	free(request->body);
	free(request->answer);
	free(request);
	*state = NULL;
}

static int32_t fail_socket(struct hvrepl_error *error, int32_t code,
			   const char *path, const char *what, int number)
{
	if (error == NULL)
		return code;
	error->code = code;
	error->error_class = hvrepl_error_class(code);
	error->sys_errno = number;
	snprintf(error->sentence, sizeof(error->sentence),
		 "The control socket %.100s %s%s%s", path, what,
		 number != 0 ? ": " : "", number != 0 ? strerror(number) : "");
	return code;
}

/* Somebody answers: leave it alone. Nobody: it is left over from a crash. */
static bool in_use(const struct sockaddr_un *address)
{
	/* One that hangs, with as many waiting as can, must not hang this one. */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool used = fd >= 0 && (connect(fd, (const struct sockaddr *)address,
					sizeof(*address)) == 0 ||
				errno == EAGAIN);

	if (fd >= 0)
		close(fd);
	return used;
}

static int32_t listen_at(const char *path, int *fd_out, struct stat *seen,
			 struct hvrepl_error *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return fail_socket(error, HVREPL_E_INVALID, path,
				   "has too long a path. Choose a shorter one",
				   0);
	strcpy(address.sun_path, path);
	if (in_use(&address))
		return fail_socket(error, HVREPL_E_BUSY, path,
				   "is served by another daemon. Stop that one first, or give this site its own",
				   0);
	if (lstat(path, seen) == 0 && S_ISSOCK(seen->st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* fchmod before bind sets the mode the socket is created with. */
	if (fd < 0 || fchmod(fd, 0600) != 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    chmod(path, 0600) != 0 || listen(fd, 64) != 0 ||
	    stat(path, seen) != 0) {
		int number = errno;

		if (fd >= 0)
			close(fd);
		return fail_socket(error, HVREPL_E_UNAVAILABLE, path,
				   "cannot be made. Check its directory", number);
	}
	*fd_out = fd;
	return HVREPL_OK;
}

int32_t control_start(const char *path, const struct control_route *routes,
		      void *user, struct control **out,
		      struct hvrepl_error *error)
{
	struct control *control = calloc(1, sizeof(*control));
	char *copy = strdup(path);
	struct stat seen;
	int fd = -1;
	int32_t rc = HVREPL_E_NOMEM;

	if (control == NULL || copy == NULL)
		goto failed;
	rc = listen_at(path, &fd, &seen, error);
	if (rc < 0)
		goto failed;
	pthread_mutex_init(&control->gate, NULL);
	control->routes = routes;
	control->user = user;
	control->path = copy;
	control->device = seen.st_dev;
	control->inode = seen.st_ino;
	control->daemon = MHD_start_daemon(
		MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD |
			MHD_ALLOW_SUSPEND_RESUME,
		0, NULL, NULL, on_request, control, MHD_OPTION_LISTEN_SOCKET,
		fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
		MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, control_idle_s,
		MHD_OPTION_END);
	if (control->daemon == NULL) {
		close(fd);
		unlink(path);
		rc = fail_socket(error, HVREPL_E_UNAVAILABLE, path,
				 "cannot be served", errno);
		pthread_mutex_destroy(&control->gate);
		goto failed;
	}
	*out = control;
	return HVREPL_OK;
failed:
	free(copy);
	free(control);
	return rc;
}

void control_quiesce(struct control *control)
{
	/* A handler that runs has handed its request on when this returns. */
	pthread_mutex_lock(&control->gate);
	control->closing = true;
	pthread_mutex_unlock(&control->gate);
}

void control_stop(struct control *control)
{
	struct stat seen;

	if (control == NULL)
		return;
	if (stat(control->path, &seen) == 0 &&
	    seen.st_dev == control->device && seen.st_ino == control->inode)
		unlink(control->path);
	MHD_stop_daemon(control->daemon);
	pthread_mutex_destroy(&control->gate);
	free(control->path);
	free(control);
}
