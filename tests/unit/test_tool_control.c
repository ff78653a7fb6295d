/* SPDX-License-Identifier: Apache-2.0 */
/* The control interface: server and client over a real Unix socket. */
#include "client.h"
#include "control.h"
#include "tempdir.h"
#include "testing.h"
#include "text.h"

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

static unsigned typed;

static void post_typed(struct control_request *request, void *user)
{
	static const struct control_field fields[] = {
		{ "word", JSON_STRING },
		{ "number", JSON_INTEGER },
		{ NULL, JSON_NULL },
	};

	(void)user;
	if (!control_check_body(request, fields))
		return;
	typed++;
	control_reply(request, json_object());
}

static void get_asked(struct control_request *request, void *user)
{
	static const char *const names[] = { "a", "b", NULL };

	(void)user;
	if (control_check_query(request, names))
		control_reply(request, json_object());
}

static void get_nothing(struct control_request *request, void *user)
{
	(void)user;
	control_reply(request, json_string("\xff"));
}

static const struct control_route routes[] = {
	{ "POST", "/v1/typed", post_typed },
	{ "GET", "/v1/asked", get_asked },
	{ "GET", "/v1/unanswerable", get_nothing },
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

/* ---- What no client of ours sends. ---- */

static int connect_to(const char *where, int flags)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);

	strcpy(address.sun_path, where);
	ck_assert_int_ge(fd, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The error's code in the answer to these bytes, which must be JSON. */
static json_int_t code_of(const char *method, const char *where,
			  const char *body)
{
	static char request[8192], answer[8192];
	size_t used = 0;
	json_t *value;
	json_int_t code;
	ssize_t got;
	int length, fd = connect_to(path, 0);

	length = snprintf(request, sizeof(request),
			  "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
			  "Content-Length: %zu\r\n\r\n%s",
			  method, where, strlen(body), body);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, request, (size_t)length), length);
	while ((got = read(fd, answer + used, sizeof(answer) - 1 - used)) > 0)
		used += (size_t)got;
	close(fd);
	answer[used] = 0;
	ck_assert_ptr_nonnull(strstr(answer, "\r\n\r\n"));
	value = json_loads(strstr(answer, "\r\n\r\n") + 4, 0, NULL);
	ck_assert_msg(value != NULL, "%s", answer);
	code = json_integer_value(
		json_object_get(json_object_get(value, "error"), "code"));
	json_decref(value);
	return code;
}

START_TEST(bytes_that_are_no_text_are_refused_in_words)
{
	ck_assert_int_eq(code_of("GET", "/v1/%ff", ""), HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(code_of("GET", "/v1/refused/%c3", ""),
			 HVREPL_E_NOT_FOUND);
	ck_assert_int_eq(code_of("POST", "/v1/echo", "{\"a\":\"\xff\"}"),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(code_of("GET", "/v1/asked?%ff=1", ""),
			 HVREPL_E_INVALID);
}
END_TEST

START_TEST(a_path_that_is_too_long_is_refused_in_words)
{
	static char where[4096];

	memset(where, 'x', sizeof(where) - 1);
	memcpy(where, "/v1/things/", 11);
	ck_assert_int_eq(code_of("GET", where, ""), HVREPL_E_INVALID);
}
END_TEST

START_TEST(an_answer_that_cannot_be_made_is_an_error)
{
	ck_assert_int_eq(code_of("GET", "/v1/unanswerable", ""),
			 HVREPL_E_NOMEM);
}
END_TEST

START_TEST(a_body_of_another_type_is_not_taken_for_one_that_says_nothing)
{
	typed = 0;
#define REFUSED(body) \
	ck_assert_int_eq(code_of("POST", "/v1/typed", body), HVREPL_E_INVALID)
	REFUSED("{\"number\":\"5\"}");
	REFUSED("{\"number\":5.0}");
	REFUSED("{\"word\":5}");
	REFUSED("{\"word\":\"x\",\"numbre\":5}");
	REFUSED("[]");
	REFUSED("{\"word\":\"x\",\"word\":\"y\"}");
	ck_assert_uint_eq(typed, 0);
	ck_assert_int_eq(code_of("POST", "/v1/typed",
				 "{\"word\":\"x\",\"number\":null}"), 0);
	ck_assert_int_eq(code_of("POST", "/v1/typed", ""), 0);
	ck_assert_uint_eq(typed, 2);
}
END_TEST

START_TEST(a_question_that_is_not_known_is_not_left_out)
{
	ck_assert_int_eq(code_of("GET", "/v1/asked?a=1&b=2", ""), 0);
	ck_assert_int_eq(code_of("GET", "/v1/asked", ""), 0);
	ck_assert_int_eq(code_of("GET", "/v1/asked?a=1&c=2", ""),
			 HVREPL_E_INVALID);
	ck_assert_int_eq(code_of("GET", "/v1/asked?a", ""), HVREPL_E_INVALID);
}
END_TEST

START_TEST(a_name_that_is_too_long_is_not_cut_to_another_ones)
{
	static char name[1200];
	json_t *answer = NULL;
	char *where;

	memset(name, 'x', sizeof(name) - 1);
	where = tool_vm_path(name, "/wait");
	memcpy(where, "/v1/things/", 11);
	ck_assert_int_eq(ask(where, NULL, &answer), TOOL_FAILED);
	ck_assert_ptr_null(answer);
	free(where);
}
END_TEST

START_TEST(a_name_of_dots_is_a_name)
{
	json_t *answer = NULL;

	ck_assert_int_eq(ask("/v1/things/..", NULL, &answer), TOOL_OK);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "name")),
			 "..");
	json_decref(answer);
}
END_TEST

START_TEST(a_daemon_that_hangs_is_neither_waited_for_nor_replaced)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct control *second = NULL;
	char hung[TEMPDIR_PATH_MAX];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), waiting[64];
	size_t count = 0;

	tempdir_join(&directory, "hung.sock", hung);
	strcpy(address.sun_path, hung);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address,
			      sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	/* As many as it takes; it accepts none. */
	while (count < 64 &&
	       (waiting[count] = connect_to(hung, SOCK_NONBLOCK)) >= 0)
		count++;
	ck_assert_uint_lt(count, 64);
	ck_assert_int_eq(control_start(hung, routes, NULL, &second, &error),
			 HVREPL_E_BUSY);
	ck_assert_int_eq(access(hung, F_OK), 0);
	while (count > 0)
		close(waiting[--count]);
	close(fd);
}
END_TEST

static void setup_hasty(void)
{
	control_idle_s = 1;
	setup();
}

START_TEST(connections_that_say_nothing_do_not_keep_others_out)
{
	static const char half[] = "POST /v1/echo HTTP/1.1\r\nContent-Le";
	json_t *answer = NULL;
	int silent[300];

	/* More than it takes, and fewer than may wait besides; some have said half of
	 * what they want, as far as a slow machine has not closed them by then. */
	for (int i = 0; i < 300; i++) {
		silent[i] = connect_to(path, 0);
		ck_assert_int_ge(silent[i], 0);
		if (i % 2 == 0)
			(void)send(silent[i], half, sizeof(half) - 1,
				   MSG_NOSIGNAL);
	}
	/* The same may happen to who asks, who then asks again. */
	while (ask("/v1/things/x", NULL, &answer) != TOOL_OK)
		;
	json_decref(answer);
	for (int i = 0; i < 300; i++)
		close(silent[i]);
}
END_TEST

static bool is_parked(void)
{
	bool is;

	pthread_mutex_lock(&lock);
	is = parked != NULL;
	pthread_mutex_unlock(&lock);
	return is;
}

/* Who is held up by the machine between connecting and asking was idle, and asks again;
 * not so once the request has come. */
static void *ask_late_again(void *argument)
{
	struct late *late = argument;

	do
		ask_late(late);
	while (late->status != TOOL_OK && !is_parked());
	return NULL;
}

START_TEST(a_request_that_waits_for_its_answer_is_not_idle)
{
	struct late late = { NULL, -1 };
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, ask_late_again, &late),
			 0);
	pthread_mutex_lock(&lock);
	while (parked == NULL)
		pthread_cond_wait(&parked_now, &lock);
	pthread_mutex_unlock(&lock);
	/* As long as an idle one may be, and longer. */
	sleep(control_idle_s + 1);
	control_reply(parked, json_object());
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(late.status, TOOL_OK);
	json_decref(late.answer);
}
END_TEST

START_TEST(any_bytes_can_be_shown)
{
	static const char *const pairs[][2] = {
		{ "", "" },
		{ "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z",
		  "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z" },
		{ "cut\xe2\x82", "cut??" },
		{ "\xff/\xc3\xa4/\xed\xa0\x80", "?/\xc3\xa4/???" },
		{ "\xc0\x80", "??" },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		json_t *value = text_json(pairs[i][0]);

		ck_assert_str_eq(json_string_value(value), pairs[i][1]);
		json_decref(value);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control interface");
	TCase *hasty = tcase_create("hasty");
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
	tcase_add_test(tcase, bytes_that_are_no_text_are_refused_in_words);
	tcase_add_test(tcase, a_path_that_is_too_long_is_refused_in_words);
	tcase_add_test(tcase, an_answer_that_cannot_be_made_is_an_error);
	tcase_add_test(tcase,
		       a_body_of_another_type_is_not_taken_for_one_that_says_nothing);
	tcase_add_test(tcase, a_question_that_is_not_known_is_not_left_out);
	tcase_add_test(tcase, a_name_that_is_too_long_is_not_cut_to_another_ones);
	tcase_add_test(tcase, a_name_of_dots_is_a_name);
	tcase_add_test(tcase,
		       a_daemon_that_hangs_is_neither_waited_for_nor_replaced);
	tcase_add_test(tcase, any_bytes_can_be_shown);
	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(hasty, setup_hasty, teardown);
	tcase_set_timeout(hasty, 120);
	tcase_add_test(hasty, a_request_that_waits_for_its_answer_is_not_idle);
	tcase_add_test(hasty,
		       connections_that_say_nothing_do_not_keep_others_out);
	suite_add_tcase(suite, hasty);
	return test_run(suite);
}
