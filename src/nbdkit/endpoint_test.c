/* SPDX-License-Identifier: Apache-2.0 */
/* `test-connection`: which step to a peer fails, and who may do what. */
#include "endpoint_routes.h"

#include <hvrepl/backends.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A test on its way: first the network's answer, then the session's. */
struct test {
	struct endpoint *endpoint;
	struct control_request *request;
	const struct site_peer *peer;
	json_t *answer;
	bool connected;
};

/* What this site lets that peer do, by which entry. */
static json_t *rights_json(struct test *test)
{
	struct hvrepl_authorisation_status status =
		HVREPL_AUTHORISATION_STATUS_INIT;
	json_t *verbs = json_array();

	(void)hvrepl_node_get_authorisation(test->endpoint->node,
					    test->peer->name, &status);
	for (uint32_t i = 0; i < HVREPL_VERB_COUNT; i++)
		if ((status.verbs >> i & 1) != 0)
			json_array_append_new(
				verbs, json_string(hvrepl_verb_name(i)));
	return json_pack("{s:s,s:o,s:s}", "entry", status.entry, "verbs", verbs,
			 "sentence", status.sentence);
}

/* The connection is good and there is no session all the same: whose doing? */
static void say_refused(struct test *test, int32_t code)
{
	char sentence[2 * HVREPL_SENTENCE_MAX], name[HVREPL_PEER_NAME_MAX + 1];
	const char *step = "session";

	hvrepl_tls_name(test->endpoint->tls, name, sizeof(name));
	if (code == HVREPL_E_DENIED) {
		step = "authorisation";
		snprintf(sentence, sizeof(sentence),
			 "the other site believes who this one is and lets it do nothing: no entry there names %.100s, or it denies it. Add there: authorise \"%.100s\" { verbs = {...} }",
			 name, name);
	} else if (code == HVREPL_E_PEER_VERSION) {
		step = "versions";
		snprintf(sentence, sizeof(sentence), "%s",
			 hvrepl_strerror(code));
	} else {
		snprintf(sentence, sizeof(sentence),
			 "name, TCP, TLS and %s are good, but there is no session: %s",
			 test->endpoint->config->keytab != NULL ?
				 "Kerberos" : "both certificates",
			 hvrepl_strerror(code));
	}
	json_object_set_new(test->answer, "connected", json_false());
	json_object_set_new(test->answer, "step", json_string(step));
	json_object_set_new(test->answer, "name",
			    json_string(hvrepl_error_name(code)));
	json_object_set_new(test->answer, "sentence", json_string(sentence));
}

/* Control thread. TLS may be good and the peer still not want us. */
static void test_session(void *argument)
{
	struct test *test = argument;
	struct hvrepl_peer_status peer = HVREPL_PEER_STATUS_INIT;

	for (uint32_t i = 0;
	     test->endpoint->node != NULL &&
	     hvrepl_node_get_peer(test->endpoint->node, i, &peer) == HVREPL_OK;
	     i++)
		if (test->connected && !peer.connected && peer.code < 0 &&
		    hvrepl_peer_pattern_matches(peer.name, test->peer->name))
			say_refused(test, peer.code);
	if (test->endpoint->node != NULL)
		json_object_set_new(test->answer, "authorisation",
				    rights_json(test));
	control_reply(test->request, test->answer);
	free(test);
}

/* One attempt of its own, so that every step is said. Network thread. */
static void test_done(void *user, const struct hvrepl_channel *channel,
		      const struct hvrepl_connect_result *result)
{
	struct test *test = user;

	test->connected = result->code == HVREPL_OK;
	test->answer = json_pack(
		"{s:b,s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:s}", "connected",
		(int)test->connected, "mechanism",
		test->endpoint->config->keytab != NULL ? "kerberos" :
							 "certificates",
		"step", hvrepl_step_name(result->step), "check",
		hvrepl_check_name(result->check), "address",
		result->address == NULL ? "" : result->address, "duration_ns",
		(json_int_t)result->duration_ns, "round_trip_ns",
		(json_int_t)result->round_trip_ns, "name",
		result->code < 0 ? hvrepl_error_name(result->code) : "",
		"sentence",
		result->error != NULL ? result->error->sentence : "");
	if (channel != NULL) {
		channel->ops->close(channel->user);
		channel->release(channel->user);
	}
	if (hvrepl_loop_post(test->endpoint->control_loop, test_session,
			     test) < 0) {
		control_reply(test->request, test->answer);
		free(test);
	}
}

void endpoint_post_test(struct endpoint *endpoint,
			struct control_request *request)
{
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const char *name = control_parameter(request, 0);
	const struct site_peer *peer = NULL;
	struct test *test;

	for (size_t i = 0; i < endpoint->config->peer_count; i++)
		if (strcmp(endpoint->config->peers[i].name, name) == 0)
			peer = &endpoint->config->peers[i];
	if (peer == NULL || peer->address == NULL) {
		control_fail(request, HVREPL_E_NOT_FOUND,
			     "There is no peer '%s' with an address. Add: peer \"%s\" { address = \"HOST\" port = PORT }.",
			     name, name);
		return;
	}
	connect.host = peer->address;
	connect.port = peer->port;
	connect.peer = peer->name;
	test = calloc(1, sizeof(*test));
	if (test == NULL) {
		control_fail(request, HVREPL_E_NOMEM, "Not enough memory.");
		return;
	}
	test->endpoint = endpoint;
	test->request = request;
	test->peer = peer;
	connect.done = test_done;
	connect.user = test;
	if (hvrepl_tls_connect(endpoint->network_loop, endpoint->tls, &connect,
			       &error) < 0) {
		control_fail_error(request, &error);
		free(test);
	}
}
