/* SPDX-License-Identifier: Apache-2.0 */
/* The control interface's client, on libcurl over the Unix socket. */
#include "client.h"

#include "config.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SOCKET_DEFAULT "/run/hvrepl/control.sock"
#define ANSWER_MAX (64u << 20)
#define BUSY_PAUSE_MS 200u
#define BUSY_LIMIT_MS 10000u
#define AGAIN (-1) /* Beside the exit codes. */

struct answer {
	char *text;
	size_t length;
};

static size_t on_data(char *data, size_t size, size_t count, void *user)
{
	struct answer *answer = user;
	char *larger;

	if (size * count > ANSWER_MAX - answer->length)
		return 0;
	larger = realloc(answer->text, answer->length + size * count + 1);
	if (larger == NULL)
		return 0;
	memcpy(larger + answer->length, data, size * count);
	answer->text = larger;
	answer->length += size * count;
	return size * count;
}

/* --socket, else the socket of --config, else the environment's. */
static char *socket_path(const struct tool_run *run, int *status_out)
{
	const char *path = tool_option(run, "socket");
	const char *file = tool_option(run, "config");
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *config;
	char *result;

	if (path == NULL && file != NULL) {
		if (site_config_load(file, &config, &error) < 0) {
			tool_fail_error(run, &error);
			*status_out = TOOL_USAGE;
			return NULL;
		}
		result = strdup(config->control);
		site_config_free(config);
	} else {
		if (path == NULL)
			path = getenv("HVREPL_SOCKET");
		result = strdup(path == NULL ? SOCKET_DEFAULT : path);
	}
	if (result == NULL)
		*status_out = tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
					"Not enough memory.");
	return result;
}

/* An error the daemon gave is passed on as it is. */
static int pass_error(const struct tool_run *run, const json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");
	const char *sentence =
		json_string_value(json_object_get(error, "sentence"));
	int32_t code = (int32_t)json_integer_value(
		json_object_get(error, "code"));

	if (code >= 0 || sentence == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_PROTOCOL,
				 "What answers refuses and does not say why: it is not an hvrepl daemon. Check the path of its socket.");
	return tool_fail(run, tool_exit_code(code), code, "%s", sentence);
}

static bool is_error(const json_t *answer, int32_t code)
{
	const json_t *error = json_object_get(answer, "error");

	return code < 0 &&
	       json_integer_value(json_object_get(error, "code")) == code;
}

static int judge(const struct tool_run *run, const char *path, CURLcode result,
		 long status, const struct answer *answer, json_t **answer_out,
		 int32_t quiet)
{
	json_t *value;
	int exit_code;

	if (result != CURLE_OK)
		return tool_fail(run, TOOL_UNREACHABLE, HVREPL_E_UNAVAILABLE,
				 "No daemon answers on %s (%s). Start it with 'hvrepl site run', or name its socket with --socket or --config.",
				 path, curl_easy_strerror(result));
	value = json_loadb(answer->text == NULL ? "" : answer->text,
			   answer->length, 0, NULL);
	if (value == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_PROTOCOL,
				 "What answers on %s is not an hvrepl daemon. Check the path.",
				 path);
	if (status != 200) {
		exit_code = is_error(value, quiet) ? AGAIN :
						     pass_error(run, value);
		json_decref(value);
		return exit_code;
	}
	*answer_out = value;
	return TOOL_OK;
}

/* AGAIN, and nothing is said, where the daemon's error is `quiet`. */
static int request(const struct tool_run *run, const char *path, json_t *body,
		   json_t **answer_out, int32_t quiet)
{
	int exit_code = TOOL_FAILED;
	char *socket = socket_path(run, &exit_code);
	char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
	bool post = body != NULL;
	struct answer answer = { 0 };
	char url[1024];
	long status = 0;
	CURLcode result;
	CURL *curl;

	json_decref(body);
	if (socket == NULL) {
		free(text);
		return exit_code;
	}
	/* Cut, it would ask for something else. No name is as long as that. */
	if (snprintf(url, sizeof(url), "http://hvrepl%s", path) >=
	    (int)sizeof(url)) {
		free(socket);
		free(text);
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOT_FOUND,
				 "No VM and no peer has a name as long as that. 'hvrepl status' lists them.");
	}
	curl = curl_easy_init();
	if (curl == NULL || (post && text == NULL)) {
		exit_code = tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				      "Not enough memory.");
		goto out;
	}
	curl_easy_setopt(curl, CURLOPT_URL, url);
	/* A VM may be called "..". */
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	if (text != NULL)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
	result = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	exit_code = judge(run, socket, result, status, &answer, answer_out,
			  quiet);
out:
	curl_easy_cleanup(curl);
	free(answer.text);
	free(socket);
	free(text);
	return exit_code;
}

int tool_request(const struct tool_run *run, const char *path, json_t *body,
		 json_t **answer_out)
{
	return request(run, path, body, answer_out, HVREPL_OK);
}

int tool_request_patiently(const struct tool_run *run, const char *path,
			   json_t *body, uint64_t limit, json_t **answer_out)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_MS * 1000000 };
	uint64_t spent = 0;
	int status;

	for (;;) {
		bool last = spent >= limit || spent >= BUSY_LIMIT_MS;

		status = request(run, path, json_incref(body), answer_out,
				 last ? HVREPL_OK : HVREPL_E_BUSY);
		if (status != AGAIN)
			break;
		nanosleep(&pause, NULL);
		spent += BUSY_PAUSE_MS;
	}
	json_decref(body);
	return status;
}

int tool_ask_again(const struct tool_run *run, const char *path,
		   json_t **answer_out)
{
	int status = request(run, path, NULL, answer_out, HVREPL_E_TIMEOUT);

	return status == AGAIN ? TOOL_TIMEOUT : status;
}

char *tool_escape(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0);
	char *copy = escaped == NULL ? NULL : strdup(escaped);

	curl_free(escaped);
	return copy;
}

char *tool_vm_path(const char *vm, const char *tail)
{
	char *escaped = tool_escape(vm);
	char *path = NULL;

	if (escaped != NULL &&
	    asprintf(&path, "/v1/vms/%s%s", escaped, tail) < 0)
		path = NULL;
	free(escaped);
	return path;
}
