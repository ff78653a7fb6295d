/* SPDX-License-Identifier: Apache-2.0 */
/* `test-connection`: which step to a peer fails, who may do what, what the other
 * site's storage has left, and how fast bytes get there. */
#include "endpoint_routes.h"
#include "text.h"

#include <hvrepl/backends.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For the session to come up, and for a trial before this one. */
#define SESSION_NS 15000000000u
/* A little more than the pause between two trials that a site asks for. */
#define PAUSE_NS 5200000000u

/* A test on its way: first the network's answer, then the session's, then what
 * a trial of that finds. */
struct test {
	struct endpoint *endpoint;
	struct control_request *request;
	const struct site_peer *peer;
	json_t *answer;
	bool connected;
	bool cut_short; /* A trial of it was: the other site counts that one. */
	uint64_t until_ns; /* No longer for a session that is up. */
	/* A VM that is to be replicated to there, if one was named. */
	uint64_t disk_bytes;
	uint32_t disk_count, points;
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
	return json_pack("{s:s,s:o,s:o}", "entry", status.entry, "verbs", verbs,
			 "sentence", text_json(status.sentence));
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
			 "name, TCP, TLS and what proves either side are good, but there is no session: %s",
			 hvrepl_strerror(code));
	}
	json_object_set_new(test->answer, "connected", json_false());
	json_object_set_new(test->answer, "step", json_string(step));
	json_object_set_new(test->answer, "name",
			    json_string(hvrepl_error_name(code)));
	json_object_set_new(test->answer, "sentence", text_json(sentence));
}

static void wait_for_session(void *argument);
static void wait_for_pause(void *argument);

static void reply(struct test *test)
{
	control_reply(test->request, test->answer);
	free(test);
}

static json_t *bytes_json(uint64_t bytes)
{
	return bytes == HVREPL_BYTES_UNKNOWN ?
		       json_null() :
		       json_integer((json_int_t)bytes);
}

/* Not a fault of the connection: a site need not take replicas, and an older one
 * cannot tell. With a VM named it is what was asked. */
static bool storage_fails(const struct test *test, int32_t code)
{
	if (code == HVREPL_E_DENIED || code == HVREPL_E_UNSUPPORTED)
		return test->disk_count > 0;
	return code < 0;
}

/* Control thread, inside the node's turn. */
static void trial_done(void *user, const struct hvrepl_trial_result *result)
{
	struct test *test = user;
	bool told = result->code == HVREPL_OK;

	/* Up for a moment only: who was let in here may be refused there. */
	if (result->code == HVREPL_E_DISCONNECTED &&
	    endpoint_now(test->endpoint) < test->until_ns) {
		test->cut_short = true;
		if (hvrepl_loop_post(test->endpoint->control_loop,
				     wait_for_session, test) == HVREPL_OK)
			return;
	}
	/* Not somebody else's: once. */
	if (result->code == HVREPL_E_BUSY && test->cut_short) {
		test->cut_short = false;
		if (hvrepl_loop_post(test->endpoint->control_loop,
				     wait_for_pause, test) == HVREPL_OK)
			return;
	}
	json_object_set_new(test->answer, "session_round_trip_ns",
			    json_integer((json_int_t)result->round_trip_ns));
	json_object_set_new(
		test->answer, "storage",
		json_pack("{s:s,s:o,s:o,s:o}", "name",
			  hvrepl_error_name(told ? result->storage_code :
						   result->code),
			  "free_bytes", bytes_json(result->free_bytes),
			  "total_bytes", bytes_json(result->total_bytes),
			  "sentence",
			  text_json(told ? result->storage_sentence :
					   result->sentence)));
	json_object_set_new(
		test->answer, "bandwidth",
		json_pack("{s:s,s:I,s:I,s:o}", "name",
			  hvrepl_error_name(result->code), "bytes",
			  (json_int_t)result->bytes, "duration_ns",
			  (json_int_t)result->duration_ns, "sentence",
			  text_json(told && result->bytes == 0 ?
				  "the other site had no credit to spare for it: try again when less is replicated" :
				  result->sentence)));
	if (told && storage_fails(test, result->storage_code)) {
		json_object_set_new(test->answer, "step",
				    json_string("storage"));
		json_object_set_new(
			test->answer, "name",
			json_string(hvrepl_error_name(result->storage_code)));
		json_object_set_new(test->answer, "sentence",
				    text_json(result->storage_sentence));
	} else if (result->code == HVREPL_E_TIMEOUT ||
		   result->code == HVREPL_E_DISCONNECTED) {
		json_object_set_new(test->answer, "step",
				    json_string("bandwidth"));
		json_object_set_new(test->answer, "name",
				    json_string(hvrepl_error_name(
					    result->code)));
		json_object_set_new(test->answer, "sentence",
				    text_json(result->sentence));
	}
	reply(test);
}

/* OK: trial_done() answers. */
static int32_t try_session(struct test *test)
{
	struct hvrepl_trial trial = HVREPL_TRIAL_INIT;

	trial.peer = test->peer->name;
	trial.disk_count = test->disk_count;
	trial.disk_bytes = test->disk_bytes;
	trial.points_max = test->points;
	trial.done = trial_done;
	trial.user = test;
	return hvrepl_node_try_peer(test->endpoint->node, &trial, NULL);
}

static bool find_peer(const struct test *test, struct hvrepl_peer_status *peer)
{
	uint32_t i = 0;

	while (hvrepl_node_get_peer(test->endpoint->node, i++, peer) ==
	       HVREPL_OK)
		if (hvrepl_peer_pattern_matches(peer->name, test->peer->name))
			return true;
	return false;
}

/* Has the session come up, or an attempt come to nothing? */
static bool look_at_session(struct control_request *request, void *argument,
			    bool expired)
{
	struct test *test = *(struct test **)argument;
	struct hvrepl_peer_status peer = HVREPL_PEER_STATUS_INIT;
	int32_t rc = HVREPL_E_DISCONNECTED;

	(void)request;
	if (!find_peer(test, &peer)) {
		reply(test);
		return true;
	}
	if (peer.connected) {
		rc = try_session(test);
		if (rc == HVREPL_OK)
			return true;
	}
	/* Where it only broke it comes again; a peer that refuses says so. */
	if (!expired &&
	    (rc == HVREPL_E_BUSY ||
	     (rc == HVREPL_E_DISCONNECTED &&
	      (peer.failures == 0 ||
	       (test->cut_short && peer.code == HVREPL_E_DISCONNECTED)))))
		return false;
	say_refused(test, peer.connected || peer.code >= 0 ? rc : peer.code);
	reply(test);
	return true;
}

static void wait_for(struct test *test, uint64_t limit_ns, wait_look *look)
{
	struct test **box = malloc(sizeof(struct test *));

	if (box == NULL || test->endpoint->node == NULL) {
		free(box);
		reply(test);
		return;
	}
	*box = test;
	waits_add(&test->endpoint->waits, test->request,
		  endpoint_now(test->endpoint), limit_ns, look, box);
}

/* Control thread. */
static void wait_for_session(void *argument)
{
	struct test *test = argument;
	uint64_t now = endpoint_now(test->endpoint);

	wait_for(test, test->until_ns > now ? test->until_ns - now : 0,
		 look_at_session);
}

static bool look_at_pause(struct control_request *request, void *argument,
			  bool expired)
{
	struct test *test = *(struct test **)argument;
	int32_t rc;

	(void)request;
	if (!expired)
		return false;
	rc = try_session(test);
	if (rc == HVREPL_OK)
		return true;
	say_refused(test, rc);
	reply(test);
	return true;
}

/* Control thread. */
static void wait_for_pause(void *argument)
{
	wait_for(argument, PAUSE_NS, look_at_pause);
}

/* Control thread. TLS may be good and the peer still not want us. */
static void test_session(void *argument)
{
	struct test *test = argument;

	if (test->endpoint->node == NULL) {
		reply(test);
		return;
	}
	json_object_set_new(test->answer, "authorisation", rights_json(test));
	if (!test->connected) {
		reply(test);
		return;
	}
	/* What an attempt of before came to says nothing now. */
	hvrepl_node_connect_now(test->endpoint->node);
	test->until_ns = endpoint_now(test->endpoint) + SESSION_NS;
	wait_for_session(test);
}

/* One attempt of its own, so that every step is said. Network thread. */
static void test_done(void *user, const struct hvrepl_channel *channel,
		      const struct hvrepl_connect_result *result)
{
	struct test *test = user;

	test->connected = result->code == HVREPL_OK;
	test->answer = json_pack(
		"{s:b,s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:o}", "connected",
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
		text_json(result->error != NULL ? result->error->sentence : ""));
	if (channel != NULL) {
		channel->ops->close(channel->user);
		channel->release(channel->user);
	}
	if (hvrepl_loop_post(test->endpoint->control_loop, test_session,
			     test) < 0)
		reply(test);
}

/* The VM that is named, as far as its fitting there goes. Control thread. */
static bool take_vm(struct test *test, const char *name)
{
	struct hvrepl_vm_status vm = HVREPL_VM_STATUS_INIT;
	const struct site_config *config = test->endpoint->config;
	struct hvrepl_disk_spec spec;

	if (endpoint_find_vm(test->endpoint, name, &vm) < 0)
		return false;
	while (hvrepl_vm_get_disk(test->endpoint->node, &vm.id,
				  test->disk_count, &spec) == HVREPL_OK) {
		test->disk_count++;
		test->disk_bytes += spec.size;
	}
	for (size_t i = 0; i < config->vm_count; i++)
		if (strcmp(config->vms[i].name, name) == 0)
			test->points = config->vms[i].policy->points;
	return true;
}

void endpoint_post_test(struct endpoint *endpoint,
			struct control_request *request)
{
	static const struct control_field fields[] = {
		{ "vm", JSON_STRING },
		{ NULL, JSON_NULL },
	};
	const char *vm = json_string_value(
		json_object_get(control_body(request), "vm"));
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	const char *name = control_parameter(request, 0);
	const struct site_peer *peer = NULL;
	struct test *test;

	if (!control_check_body(request, fields))
		return;
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
	if (vm != NULL && !take_vm(test, vm)) {
		control_fail(request, HVREPL_E_NOT_FOUND,
			     "There is no replicated VM '%s' here. 'hvrepl status' shows them.",
			     vm);
		free(test);
		return;
	}
	connect.done = test_done;
	connect.user = test;
	if (hvrepl_tls_connect(endpoint->network_loop, endpoint->tls, &connect,
			       &error) < 0) {
		control_fail_error(request, &error);
		free(test);
	}
}
