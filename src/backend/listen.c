/* SPDX-License-Identifier: Apache-2.0 */
/* Incoming TLS connections: so many handshakes at once, none for ever. */
#include "backend/connection.h"
#include "backend/fileio.h"
#include "backend/mechanism.h"

#include <errno.h>
#include <hvrepl/authorisation.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 128
#define HANDSHAKES_DEFAULT 64u
#define HANDSHAKES_LIMIT 4096u
#define HANDSHAKES_SOURCE_DEFAULT 16u
#define ACCEPTS_AT_ONCE 16
/* Out of descriptors or memory: some may have come free by then. */
#define PAUSE_NS 200000000ull

struct place {
	struct hvri_connection *connection; /* NULL: free. */
	struct hvri_tcp_source source;
};

struct hvrepl_listener {
	struct hvri_loop_member member;
	hvrepl_loop *loop;
	hvrepl_tls *tls;
	struct hvrepl_tls_listen options; /* Names are ours. */
	char **peers;
	int fd;
	uint32_t port;
	hvrepl_loop_watch *watch;
	hvrepl_loop_timer *pause;
	uint32_t handshakes;
	bool paused;
	/* A callback that closes us finds the memory still there. */
	uint32_t in_callback;
	bool closed;
	struct place places[]; /* handshakes_max */
};

static void free_listener(hvrepl_listener *listener)
{
	for (uint32_t i = 0; listener->peers != NULL &&
			     i < listener->options.peer_count; i++)
		free(listener->peers[i]);
	free(listener->peers);
	hvrepl_tls_destroy(listener->tls);
	free(listener);
}

static void watch_again(hvrepl_listener *listener)
{
	bool wanted = !listener->paused &&
		      listener->handshakes < listener->options.handshakes_max;

	if (hvrepl_loop_watch_change(listener->watch,
				     wanted ? HVREPL_LOOP_READ : 0) == HVREPL_OK ||
	    !wanted)
		return;
	/* There may be no handshake whose end would have us look again. */
	listener->paused = true;
	hvrepl_loop_timer_set(listener->pause, hvrepl_loop_now() + PAUSE_NS);
}

static void leave_callback(hvrepl_listener *listener)
{
	if (--listener->in_callback == 0 && listener->closed)
		free_listener(listener);
}

/* Its place is free. */
static void gone(void *user, struct hvri_connection *connection)
{
	hvrepl_listener *listener = user;

	for (uint32_t i = 0; i < listener->options.handshakes_max; i++)
		if (listener->places[i].connection == connection)
			listener->places[i].connection = NULL;
	listener->handshakes--;
	watch_again(listener);
}

static void settled(void *user, struct hvri_connection *connection,
		    const struct hvrepl_channel *channel,
		    const struct hvrepl_connect_result *result)
{
	hvrepl_listener *listener = user;

	/* Who failed keeps the place for as long as it has a socket: somebody who
	 * only fails, and does not hang up, has no more of them than places. */
	if (channel != NULL)
		gone(listener, connection);
	listener->in_callback++;
	if (channel != NULL)
		listener->options.accepted(listener->options.user, channel,
					   result);
	else if (listener->options.refused != NULL)
		listener->options.refused(listener->options.user, result);
	leave_callback(listener);
}

/* So many of this one's are under way already: it gets no further, and takes
 * nobody else's place. */
static bool has_its_share(const hvrepl_listener *listener,
			  const struct hvri_tcp_source *source)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < listener->options.handshakes_max; i++)
		count += listener->places[i].connection != NULL &&
			 hvri_tcp_same_source(&listener->places[i].source,
					      source);
	return count >= listener->options.handshakes_per_source;
}

static void turn_away(hvrepl_listener *listener, int fd,
		      const struct hvri_connection_setup *setup)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_connect_result result = {
		.struct_size = sizeof(result),
		.code = HVREPL_E_LIMIT,
		.step = HVREPL_STEP_TCP,
		.address = setup->address,
		.source = setup->source,
		.error = &error,
	};

	close(fd);
	if (listener->options.refused == NULL)
		return;
	hvri_sys_fail(&error, HVREPL_E_LIMIT, 0,
		      "%u handshakes of this address are under way: is "
		      "somebody knocking without coming in?",
		      listener->options.handshakes_per_source);
	/* incoming() keeps the listener for whoever closes it here. */
	listener->options.refused(listener->options.user, &result);
}

static void begin(hvrepl_listener *listener, int fd,
		  const struct sockaddr *address, socklen_t length)
{
	struct hvri_tcp_source source;
	struct hvri_connection_setup setup = {
		.loop = listener->loop,
		.tls = listener->tls,
		.fd = fd,
		.known = (const char *const *)listener->peers,
		.known_count = listener->options.peer_count,
		.started_ns = hvrepl_loop_now(),
		.settled = settled,
		.gone = gone,
		.user = listener,
	};
	uint32_t at = 0;

	hvri_tcp_format(address, length, setup.address);
	hvri_tcp_source(address, length, &source);
	hvri_tcp_source_format(&source, setup.source);
	if (has_its_share(listener, &source)) {
		turn_away(listener, fd, &setup);
		return;
	}
	while (listener->places[at].connection != NULL)
		at++;
	listener->places[at].source = source;
	/* Without memory for it the peer sees a closed connection. */
	if (hvri_connection_start(&setup, &listener->places[at].connection) ==
	    HVREPL_OK)
		listener->handshakes++;
}

static void pause_listening(hvrepl_listener *listener)
{
	listener->paused = true;
	watch_again(listener);
	hvrepl_loop_timer_set(listener->pause, hvrepl_loop_now() + PAUSE_NS);
}

static void pause_over(void *user)
{
	hvrepl_listener *listener = user;

	listener->paused = false;
	watch_again(listener);
}

static void incoming(void *user, uint32_t events)
{
	hvrepl_listener *listener = user;

	(void)events;
	listener->in_callback++; /* Whoever is told may close us. */
	for (int i = 0; i < ACCEPTS_AT_ONCE && !listener->closed &&
			listener->handshakes < listener->options.handshakes_max;
	     i++) {
		struct sockaddr_storage address;
		socklen_t length = sizeof(address);
		int fd = accept4(listener->fd, (struct sockaddr *)&address,
				 &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			begin(listener, fd, (struct sockaddr *)&address,
			      length);
		} else if (errno == EMFILE || errno == ENFILE ||
			   errno == ENOMEM || errno == ENOBUFS) {
			pause_listening(listener);
			break;
		} else if (errno == EAGAIN) {
			break;
		}
		/* Other failures concern one connection that is gone. */
	}
	if (!listener->closed)
		watch_again(listener);
	leave_callback(listener);
}

void hvrepl_listener_close(hvrepl_listener *listener)
{
	if (listener == NULL || listener->closed)
		return;
	listener->closed = true;
	hvri_loop_leave(&listener->member);
	hvrepl_loop_watch_remove(listener->watch);
	hvrepl_loop_timer_free(listener->pause);
	close(listener->fd);
	for (uint32_t i = 0; i < listener->options.handshakes_max; i++)
		if (listener->places[i].connection != NULL)
			hvri_connection_abort(listener->places[i].connection);
	if (listener->in_callback == 0)
		free_listener(listener);
}

static void loop_gone(struct hvri_loop_member *member)
{
	hvrepl_listener_close((hvrepl_listener *)member);
}

uint32_t hvrepl_listener_port(const hvrepl_listener *listener)
{
	return listener->port;
}

static int32_t copy_peers(hvrepl_listener *listener,
			  const struct hvrepl_tls_listen *options)
{
	char canonical[HVREPL_PEER_NAME_MAX + 1];
	const char *name;

	listener->options.peer_count = 0;
	if (options->peers == NULL)
		return HVREPL_OK;
	listener->peers = calloc(options->peer_count + 1u, sizeof(char *));
	if (listener->peers == NULL)
		return HVREPL_E_NOMEM;
	for (uint32_t i = 0; i < options->peer_count; i++) {
		name = options->peers[i];
		/* Names of hosts have patterns, and principals have none. */
		if (name != NULL && name[0] == '*' &&
		    !hvri_tls_is_kerberos(listener->tls) &&
		    hvrepl_peer_pattern_check(name, NULL) == HVREPL_OK)
			snprintf(canonical, sizeof(canonical), "%s", name);
		else if (name == NULL ||
			 !hvri_tls_peer_name(listener->tls, name, canonical))
			return HVREPL_E_INVALID;
		listener->peers[i] = strdup(canonical);
		if (listener->peers[i] == NULL)
			return HVREPL_E_NOMEM;
		listener->options.peer_count++;
	}
	return HVREPL_OK;
}

static int open_socket(const struct addrinfo *at, uint32_t *port_out)
{
	int fd = socket(at->ai_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int on = 1, off = 0;
	struct sockaddr_storage bound;
	socklen_t length = sizeof(bound);
	int saved;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (at->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off,
				 sizeof(off));
	if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 &&
	    listen(fd, BACKLOG) == 0 &&
	    getsockname(fd, (struct sockaddr *)&bound, &length) == 0) {
		*port_out = bound.ss_family == AF_INET6 ?
			ntohs(((struct sockaddr_in6 *)&bound)->sin6_port) :
			ntohs(((struct sockaddr_in *)&bound)->sin_port);
		return fd;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int32_t bind_socket(hvrepl_listener *listener, const char *address,
			   uint32_t port, struct hvrepl_error *error)
{
	/* "::" takes IPv4 too; where there is no IPv6, "0.0.0.0". */
	const char *const hosts[] = { address != NULL ? address : "::",
				      address != NULL ? NULL : "0.0.0.0" };
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	char text[8];
	int saved = 0;

	snprintf(text, sizeof(text), "%u", port);
	for (size_t i = 0; i < HVRI_COUNT_OF(hosts) && hosts[i] != NULL; i++) {
		struct addrinfo *found;

		if (getaddrinfo(hosts[i], text, &hints, &found) != 0)
			return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
					     "%s is not an IPv4 or IPv6 "
					     "address", hosts[i]);
		listener->fd = open_socket(found, &listener->port);
		saved = errno;
		freeaddrinfo(found);
		if (listener->fd >= 0)
			return HVREPL_OK;
		if (saved != EAFNOSUPPORT && saved != EADDRNOTAVAIL)
			break;
	}
	if (saved == EADDRINUSE)
		return hvri_sys_fail(error, HVREPL_E_BUSY, saved,
				     "port %u is in use: another site runs, or "
				     "choose another port", port);
	return hvri_sys_fail(error, HVREPL_E_UNAVAILABLE, saved,
			     "cannot listen on port %u: %s", port,
			     strerror(saved));
}

static int32_t set_up(hvrepl_listener *listener,
		      const struct hvrepl_tls_listen *options,
		      struct hvrepl_error *error)
{
	int32_t rc = copy_peers(listener, options);

	if (rc < 0)
		return hvri_sys_fail(error, rc, 0,
				     rc == HVREPL_E_NOMEM ?
					     "out of memory" :
					     "one of the peers has no name that "
					     "%s knows",
				     hvri_tls_names_by(listener->tls));
	rc = bind_socket(listener, options->address, options->port, error);
	if (rc < 0)
		return rc;
	rc = hvrepl_loop_timer_create(listener->loop, pause_over, listener,
				      &listener->pause);
	if (rc == HVREPL_OK)
		rc = hvrepl_loop_watch_fd(listener->loop, listener->fd,
					  HVREPL_LOOP_READ, incoming, listener,
					  &listener->watch);
	if (rc < 0)
		hvri_sys_fail(error, rc, 0, "the event loop takes no more");
	return rc;
}

/* By its size, and with what is left out made definite. */
static int32_t take_options(const struct hvrepl_tls_listen *from,
			    struct hvrepl_tls_listen *out,
			    struct hvrepl_error *error)
{
	const size_t first = offsetof(struct hvrepl_tls_listen,
				      handshakes_per_source);
	int32_t rc;

	if (from == NULL || from->struct_size < first ||
	    from->accepted == NULL || from->port > 65535 ||
	    from->handshakes_max > HANDSHAKES_LIMIT)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "accepted and a port from 0 to 65535 are "
				     "needed, and at most %u handshakes",
				     HANDSHAKES_LIMIT);
	rc = hvri_tls_copy_sized(from, from->struct_size, out, sizeof(*out),
				 error);
	if (rc < 0)
		return rc;
	if (out->peers == NULL && out->peer_count > 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "%u peers are meant and none is given: "
				     "without any, everybody the CA vouches for "
				     "would be let in", out->peer_count);
	if (out->reserved != 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "what is reserved must be zero");
	if (out->handshakes_max == 0)
		out->handshakes_max = HANDSHAKES_DEFAULT;
	if (out->handshakes_per_source == 0)
		out->handshakes_per_source = HANDSHAKES_SOURCE_DEFAULT;
	return HVREPL_OK;
}

int32_t hvrepl_tls_listen(hvrepl_loop *loop, hvrepl_tls *tls,
			  const struct hvrepl_tls_listen *options,
			  hvrepl_listener **listener_out,
			  struct hvrepl_error *error)
{
	const struct hvri_mechanism *mechanism;
	struct hvrepl_tls_listen own;
	hvrepl_listener *listener;
	int32_t rc;

	if (loop == NULL || tls == NULL || listener_out == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a loop, credentials and a place for the "
				     "listener are needed");
	rc = take_options(options, &own, error);
	if (rc < 0)
		return rc;
	mechanism = hvri_tls_mechanism(tls);
	if (mechanism != NULL && mechanism->cannot_listen != NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0, "%s",
				     mechanism->cannot_listen);
	listener = calloc(1, sizeof(*listener) +
				     own.handshakes_max * sizeof(struct place));
	if (listener == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	listener->loop = loop;
	listener->tls = hvri_tls_hold(tls);
	listener->options = own;
	listener->fd = -1;
	listener->member.loop_gone = loop_gone;
	rc = set_up(listener, &own, error);
	if (rc < 0) {
		hvrepl_loop_timer_free(listener->pause);
		if (listener->fd >= 0)
			close(listener->fd);
		free_listener(listener);
		return rc;
	}
	hvri_loop_join(loop, &listener->member);
	*listener_out = listener;
	return HVREPL_OK;
}
