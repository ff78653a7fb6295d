/* SPDX-License-Identifier: Apache-2.0 */
/* The control interface: server and client over a real Unix socket. */
#include "client.h"
#include "control.h"
#include "tempdir.h"
#include "testing.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct tempdir directory;
static char path[TEMPDIR_PATH_MAX];
static struct control *control;
static struct control_request *parked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t parked_now = PTHREAD_COND_INITIALIZER;

static void get_now(struct control_request *request, void *user)
{
	const char *word = control_query(request, "word");

	(void)user;
	control_reply(request,
		      json_pack("{s:s,s:s}", "name",
				control_parameter(request, 0), "word",
				word == NULL ? "" : word));
}

static void post_echo(struct control_request *request, void *user)
{
	(void)user;
	control_reply(request, json_deep_copy(control_body(request)));
}

static void get_late(struct control_request *request, void *user)
{
	(void)user;
	pthread_mutex_lock(&lock);
	parked = request;
	pthread_cond_signal(&parked_now);
	pthread_mutex_unlock(&lock);
}

static void get_refused(struct control_request *request, void *user)
{
	(void)user;
	control_fail(request, HVREPL_E_STATE, "Not now. Suspend it first.");
}

static const struct control_route routes[] = {
	{ "GET", "/v1/things/{thing}", get_now },
	{ "POST", "/v1/echo", post_echo },
	{ "GET", "/v1/late", get_late },
	{ "POST", "/v1/refused", get_refused },
	{ NULL, NULL, NULL },
};

static void setup(void)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	tempdir_make(&directory);
	tempdir_join(&directory, "control.sock", path);
	ck_assert_msg(control_start(path, routes, NULL, &control, &error) ==
			      HVREPL_OK, "%s", error.sentence);
}

static void teardown(void)
{
	control_stop(control);
	control = NULL;
	tempdir_remove(&directory);
}

static const struct tool_option options[] = {
	TOOL_CLIENT_OPTIONS,
	{ NULL, NULL, NULL },
};
static const struct tool_verb verb = { .name = "test", .options = options };

static int ask(const char *where, json_t *body, json_t **answer)
{
	struct tool_run run = { .verb = &verb };

	run.values[1] = path;
	return tool_request(&run, where, body, answer);
}

START_TEST(a_request_is_routed_with_its_parameters)
{
	json_t *answer = NULL;
	char *where = tool_vm_path("a b", "");

	ck_assert_str_eq(where, "/v1/vms/a%20b");
	free(where);
	ck_assert_int_eq(ask("/v1/things/a%20b?word=x%26y", NULL, &answer),
			 TOOL_OK);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "name")),
			 "a b");
	ck_assert_str_eq(json_string_value(json_object_get(answer, "word")),
			 "x&y");
	json_decref(answer);
}
END_TEST

START_TEST(a_body_arrives_whole)
{
	char *text = calloc(1, 50001);
	json_t *answer = NULL, *body;

	memset(text, 'x', 50000);
	body = json_pack("{s:s}", "text", text);
	ck_assert_int_eq(ask("/v1/echo", json_incref(body), &answer), TOOL_OK);
	ck_assert(json_equal(answer, body));
	json_decref(answer);
	json_decref(body);
	free(text);
}
END_TEST

START_TEST(a_body_that_is_too_long_is_refused)
{
	char *text = calloc(1, 100001);
	json_t *answer = NULL;

	memset(text, 'x', 100000);
	ck_assert_int_eq(ask("/v1/echo", json_pack("{s:s}", "text", text),
			     &answer), TOOL_FAILED);
	ck_assert_ptr_null(answer);
	free(text);
}
END_TEST

START_TEST(errors_keep_their_code_and_exit_status)
{
	json_t *answer = NULL;

	ck_assert_int_eq(ask("/v1/nothing", NULL, &answer), TOOL_FAILED);
	ck_assert_int_eq(ask("/v1/refused", json_object(), &answer),
			 TOOL_FAILED);
	/* The right path, the wrong method. */
	ck_assert_int_eq(ask("/v1/refused", NULL, &answer), TOOL_FAILED);
	ck_assert_ptr_null(answer);
}
END_TEST

struct late {
	json_t *answer;
	int status;
};

static void *ask_late(void *argument)
{
	struct late *late = argument;

	late->status = ask("/v1/late", NULL, &late->answer);
	return NULL;
}

START_TEST(a_suspended_request_is_answered_from_another_thread)
{
	struct late late = { NULL, -1 };
	json_t *answer = NULL;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, ask_late, &late), 0);
	pthread_mutex_lock(&lock);
	while (parked == NULL)
		pthread_cond_wait(&parked_now, &lock);
	pthread_mutex_unlock(&lock);
	/* Others are served meanwhile. */
	ck_assert_int_eq(ask("/v1/things/x", NULL, &answer), TOOL_OK);
	json_decref(answer);
	control_reply(parked, json_pack("{s:i}", "point", 7));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(late.status, TOOL_OK);
	ck_assert_int_eq(json_integer_value(
				 json_object_get(late.answer, "point")), 7);
	json_decref(late.answer);
}
END_TEST

START_TEST(a_quiet_interface_refuses_new_requests)
{
	json_t *answer = NULL;

	control_quiesce(control);
	ck_assert_int_eq(ask("/v1/things/x", NULL, &answer), TOOL_FAILED);
}
END_TEST

START_TEST(only_the_owner_can_reach_the_socket)
{
	struct stat seen;

	ck_assert_int_eq(stat(path, &seen), 0);
	ck_assert_uint_eq(seen.st_mode & 0777, 0600);
}
END_TEST

START_TEST(a_second_daemon_is_refused_and_a_dead_ones_socket_replaced)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct control *second = NULL;
	char dead[TEMPDIR_PATH_MAX];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ck_assert_int_eq(control_start(path, routes, NULL, &second, &error),
			 HVREPL_E_BUSY);
	ck_assert_ptr_nonnull(strstr(error.sentence, "another daemon"));
	tempdir_join(&directory, "dead.sock", dead);
	strcpy(address.sun_path, dead);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address,
			      sizeof(address)), 0);
	close(fd);
	ck_assert_int_eq(control_start(dead, routes, NULL, &second, &error),
			 HVREPL_OK);
	control_stop(second);
	ck_assert_int_ne(access(dead, F_OK), 0);
}
END_TEST

START_TEST(nobody_there_is_an_exit_code_of_its_own)
{
	json_t *answer = NULL;

	control_stop(control);
	control = NULL;
	ck_assert_int_eq(ask("/v1/things/x", NULL, &answer), TOOL_UNREACHABLE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control interface");
	TCase *tcase = tcase_create("control");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_request_is_routed_with_its_parameters);
	tcase_add_test(tcase, a_body_arrives_whole);
	tcase_add_test(tcase, a_body_that_is_too_long_is_refused);
	tcase_add_test(tcase, errors_keep_their_code_and_exit_status);
	tcase_add_test(tcase,
		       a_suspended_request_is_answered_from_another_thread);
	tcase_add_test(tcase, a_quiet_interface_refuses_new_requests);
	tcase_add_test(tcase, only_the_owner_can_reach_the_socket);
	tcase_add_test(tcase,
		       a_second_daemon_is_refused_and_a_dead_ones_socket_replaced);
	tcase_add_test(tcase, nobody_there_is_an_exit_code_of_its_own);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
