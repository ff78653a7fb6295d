/* SPDX-License-Identifier: Apache-2.0 */
/* Two sites' ends of TLS over a loopback port, for the tests of channels. */
#ifndef TLSRIG_H
#define TLSRIG_H

#include "base/op.h"
#include "pki.h"
#include "testing.h"
#include "threadcount.h"

#include <hvrepl/backends.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Included by one file of a program: everything here is its own. */
#define SECOND 1000000000ull

static struct tempdir dir;
static struct pki_ca *ca;
static hvrepl_loop *loop;
static hvrepl_tls *primary, *replica;
static hvrepl_listener *listener;
static struct hvrepl_tls_options primary_options;

/* One end of a connection and what happened there. */
static struct side {
	struct hvrepl_channel channel; /* ops NULL: none yet. */
	unsigned settled;
	int32_t code;
	uint32_t step;
	char sentence[HVREPL_SENTENCE_MAX];
	char address[64];
	uint64_t duration_ns, round_trip_ns;
} client, server;

static unsigned awaited; /* Settlements until the loop stops. */

static inline void note_settled(struct side *side,
			 const struct hvrepl_channel *channel,
			 const struct hvrepl_connect_result *result)
{
	side->settled++;
	side->code = result->code;
	side->step = result->step;
	snprintf(side->sentence, sizeof(side->sentence), "%s",
		 result->error != NULL ? result->error->sentence : "");
	snprintf(side->address, sizeof(side->address), "%s", result->address);
	side->duration_ns = result->duration_ns;
	side->round_trip_ns = result->round_trip_ns;
	if (channel != NULL)
		side->channel = *channel;
	if (awaited > 0 && --awaited == 0)
		hvrepl_loop_stop(loop);
}

static inline void on_done(void *user, const struct hvrepl_channel *channel,
		    const struct hvrepl_connect_result *result)
{
	(void)user;
	note_settled(&client, channel, result);
}

static inline void on_accepted(void *user, const struct hvrepl_channel *channel,
			const struct hvrepl_connect_result *result)
{
	(void)user;
	note_settled(&server, channel, result);
}

static inline void on_refused(void *user, const struct hvrepl_connect_result *result)
{
	(void)user;
	note_settled(&server, NULL, result);
}

static inline hvrepl_tls *credentials(const char *name,
			       struct hvrepl_tls_options *options)
{
	static char paths[6][TEMPDIR_PATH_MAX];
	char(*path)[TEMPDIR_PATH_MAX] =
		paths + (strcmp(name, "primary.test") == 0 ? 0 : 3);
	hvrepl_tls *tls;

	snprintf(path[0], sizeof(path[0]), "%.400s/ca.pem", dir.path);
	snprintf(path[1], sizeof(path[1]), "%.400s/%s.pem", dir.path, name);
	snprintf(path[2], sizeof(path[2]), "%.400s/%s.key", dir.path, name);
	options->ca_file = path[0];
	options->cert_file = path[1];
	options->key_file = path[2];
	ck_assert_int_eq(hvrepl_tls_create(options, &tls, NULL), HVREPL_OK);
	return tls;
}

static inline void start_listening(const char *address, uint32_t handshakes_max)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	count_threads();
	listen.address = address;
	listen.handshakes_max = handshakes_max;
	listen.accepted = on_accepted;
	listen.refused = on_refused;
	ck_assert_msg(hvrepl_tls_listen(loop, replica, &listen, &listener,
					&error) == HVREPL_OK,
		      "%s", error.sentence);
}

static inline void set_up(uint64_t handshake_timeout_ns)
{
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;

	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	primary_options = options;
	primary = credentials("primary.test", &primary_options);
	options.handshake_timeout_ns = handshake_timeout_ns;
	replica = credentials("replica.test", &options);
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}

static inline void setup(void)
{
	tempdir_make(&dir);
	ca = pki_ca_new(&dir, "ca");
	pki_good(ca, &dir, "primary.test");
	pki_good(ca, &dir, "replica.test");
	set_up(0);
}

static inline void tear_down(void)
{
	if (client.channel.ops != NULL)
		client.channel.release(client.channel.user);
	if (server.channel.ops != NULL)
		server.channel.release(server.channel.user);
	hvrepl_listener_close(listener);
	listener = NULL;
	hvrepl_loop_destroy(loop);
	hvrepl_tls_destroy(primary);
	hvrepl_tls_destroy(replica);
	await_threads();
}

static inline void teardown(void)
{
	tear_down();
	pki_ca_free(ca);
	tempdir_remove(&dir);
}

static inline void dial(const char *host, uint32_t port, const char *peer,
		 uint64_t timeout_ns)
{
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;

	connect.host = host;
	connect.port = port;
	connect.peer = peer;
	connect.connect_timeout_ns = timeout_ns;
	connect.done = on_done;
	ck_assert_msg(hvrepl_tls_connect(loop, primary, &connect, &error) ==
			      HVREPL_OK,
		      "%s", error.sentence);
}

static inline void await(unsigned settlements)
{
	awaited = settlements;
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
}

static inline void join_sides(void)
{
	start_listening("127.0.0.1", 0);
	dial("127.0.0.1", hvrepl_listener_port(listener), "replica.test", 0);
	await(2);
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_int_eq(server.code, HVREPL_OK);
}

static inline void stop_loop(void *user)
{
	(void)user;
	hvrepl_loop_stop(loop);
}

static inline void run_for(uint64_t ns)
{
	hvrepl_loop_timer *timer;

	ck_assert_int_eq(hvrepl_loop_timer_create(loop, stop_loop, NULL,
						  &timer), 0);
	hvrepl_loop_timer_set(timer, hvrepl_loop_now() + ns);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	hvrepl_loop_timer_free(timer);
}
#endif
