/* SPDX-License-Identifier: Apache-2.0 */
/* An attempt to reach a peer: name, addresses in turn, then the handshake. */
#include "backend/connection.h"
#include "backend/detach.h"
#include "backend/fileio.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_NS (10ull * 1000000000u)
/* Even the last of many addresses gets so long. */
#define ADDRESS_MIN_NS 1000000000ull

struct dial;

/* A name being looked up on its own thread, which may outlive the attempt:
 * nothing can cut a resolver short. */
struct lookup {
	pthread_mutex_t mutex;
	struct dial *dial; /* NULL: nobody waits any more. */
	struct hvri_loop_post answer;
	uint32_t references; /* Thread, attempt. */
	char *host;
	char port[8];
	int failed; /* EAI_* */
	struct addrinfo *addresses;
};

struct dial {
	struct hvri_loop_member member;
	struct hvri_loop_post start;
	hvrepl_loop *loop;
	hvrepl_tls *tls;
	struct hvrepl_tls_connect options; /* Strings are ours. */
	uint64_t started_ns, deadline_ns;
	uint64_t syn_ns; /* When the present address was tried. */
	struct lookup *lookup;
	struct addrinfo *next; /* Address to try next. */
	int fd;                /* Being connected; -1: none. */
	hvrepl_loop_watch *watch;
	hvrepl_loop_timer *timer;
	char address[HVRI_ADDRESS_TEXT];
	struct hvrepl_error error; /* Of the last address. */
};

static void lookup_drop(struct lookup *lookup)
{
	uint32_t left;

	pthread_mutex_lock(&lookup->mutex);
	left = --lookup->references;
	pthread_mutex_unlock(&lookup->mutex);
	if (left > 0)
		return;
	if (lookup->addresses != NULL)
		freeaddrinfo(lookup->addresses);
	pthread_mutex_destroy(&lookup->mutex);
	free(lookup->host);
	free(lookup);
}

static void dial_free(struct dial *dial)
{
	hvri_loop_leave(&dial->member);
	hvrepl_loop_watch_remove(dial->watch);
	hvrepl_loop_timer_free(dial->timer);
	if (dial->fd >= 0)
		close(dial->fd);
	if (dial->lookup != NULL) {
		pthread_mutex_lock(&dial->lookup->mutex);
		dial->lookup->dial = NULL;
		pthread_mutex_unlock(&dial->lookup->mutex);
		lookup_drop(dial->lookup);
	}
	hvrepl_tls_destroy(dial->tls);
	free((char *)(uintptr_t)dial->options.host);
	free((char *)(uintptr_t)dial->options.peer);
	free(dial);
}

static void give_up(struct dial *dial, uint32_t step, int32_t code)
{
	struct hvrepl_connect_result result = {
		.struct_size = sizeof(result),
		.code = code,
		.step = step,
		.duration_ns = hvrepl_loop_now() - dial->started_ns,
		.address = dial->address,
		.source = "",
		.error = &dial->error,
	};

	dial->options.done(dial->options.user, NULL, &result);
	dial_free(dial);
}

static void settled(void *user, struct hvri_connection *connection,
		    const struct hvrepl_channel *channel,
		    const struct hvrepl_connect_result *result)
{
	struct dial *dial = user;

	(void)connection;
	dial->options.done(dial->options.user, channel, result);
	dial_free(dial);
}

static void connected(struct dial *dial)
{
	struct hvri_connection_setup setup = {
		.loop = dial->loop,
		.tls = dial->tls,
		.fd = dial->fd,
		.expected = dial->options.peer,
		.started_ns = dial->started_ns,
		.round_trip_ns = hvrepl_loop_now() - dial->syn_ns,
		.settled = settled,
		.user = dial,
	};
	struct hvri_connection *connection;
	int32_t rc;

	hvrepl_loop_watch_remove(dial->watch);
	dial->watch = NULL;
	hvrepl_loop_timer_set(dial->timer, UINT64_MAX);
	memcpy(setup.address, dial->address, sizeof(setup.address));
	dial->fd = -1;
	rc = hvri_connection_start(&setup, &connection);
	if (rc < 0) {
		hvri_sys_fail(&dial->error, rc, 0,
			      "cannot set up TLS for %s", dial->address);
		give_up(dial, HVREPL_STEP_TLS, rc);
		return;
	}
	/* From here the connection answers for it, also when the loop goes. */
	hvri_loop_leave(&dial->member);
}

static const char *what_to_do(int sys_errno)
{
	switch (sys_errno) {
	case ECONNREFUSED:
		return "nothing listens there: is the site running, and the "
		       "port right?";
	case ENETUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
		return "this machine has no route there: check its network and "
		       "the peer's address";
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case EACCES:
	case EPERM:
		return "a router or firewall on the way, or the last network "
		       "itself, says that the host cannot be reached: is it up, "
		       "is its address right, may we go there?";
	case ETIMEDOUT:
		return "no answer: the machine is down or a firewall is in "
		       "between";
	default:
		return strerror(sys_errno);
	}
}

/* Nothing of the peer was reached, and that is known: not the same as a port that
 * refuses, or as silence. */
static bool is_of_the_route(int sys_errno)
{
	switch (sys_errno) {
	case ENETUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case EACCES:
	case EPERM:
		return true;
	default:
		return false;
	}
}

static void address_failed(struct dial *dial, int sys_errno)
{
	int32_t code = sys_errno == ETIMEDOUT ? HVREPL_E_TIMEOUT :
						HVREPL_E_UNAVAILABLE;

	hvrepl_loop_watch_remove(dial->watch);
	dial->watch = NULL;
	if (dial->fd >= 0)
		close(dial->fd);
	dial->fd = -1;
	hvri_sys_fail(&dial->error, code, sys_errno, "cannot connect to %s: %s",
		      dial->address, what_to_do(sys_errno));
}

static void writable(void *user, uint32_t events);

/* What is left of the time, shared out among the addresses left. */
static uint64_t patience(const struct dial *dial)
{
	uint64_t now = hvrepl_loop_now(), left = 0, addresses = 1;

	if (dial->deadline_ns > now)
		left = dial->deadline_ns - now;
	for (struct addrinfo *a = dial->next; a != NULL; a = a->ai_next)
		addresses++;
	if (addresses == 1)
		return left;
	left /= addresses;
	return left < ADDRESS_MIN_NS ? ADDRESS_MIN_NS : left;
}

static int begin_connect(struct dial *dial, const struct addrinfo *address)
{
	hvri_tcp_format(address->ai_addr, address->ai_addrlen, dial->address);
	dial->fd = socket(address->ai_family,
			  SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (dial->fd < 0)
		return errno;
	dial->syn_ns = hvrepl_loop_now();
	if (connect(dial->fd, address->ai_addr, address->ai_addrlen) < 0 &&
	    errno != EINPROGRESS && errno != EINTR)
		return errno;
	if (hvrepl_loop_watch_fd(dial->loop, dial->fd, HVREPL_LOOP_WRITE,
				 writable, dial, &dial->watch) < 0)
		return ENOMEM;
	return 0;
}

static void next_address(struct dial *dial)
{
	while (dial->next != NULL && hvrepl_loop_now() < dial->deadline_ns) {
		const struct addrinfo *address = dial->next;
		int failed;

		dial->next = address->ai_next;
		failed = begin_connect(dial, address);
		if (failed == 0) {
			hvrepl_loop_timer_set(dial->timer,
					      hvri_loop_in(patience(dial)));
			return;
		}
		address_failed(dial, failed);
	}
	if (dial->error.code == HVREPL_OK)
		hvri_sys_fail(&dial->error, HVREPL_E_TIMEOUT, 0,
			      "looking up %s took all the time there was",
			      dial->options.host);
	give_up(dial, is_of_the_route(dial->error.sys_errno) ? HVREPL_STEP_ROUTE :
							       HVREPL_STEP_TCP,
		dial->error.code);
}

static void writable(void *user, uint32_t events)
{
	struct dial *dial = user;
	socklen_t size = sizeof(int);
	int failed = 0;

	(void)events;
	if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &failed, &size) < 0)
		failed = errno;
	if (failed == 0) {
		connected(dial);
		return;
	}
	address_failed(dial, failed);
	next_address(dial);
}

static void timed_out(void *user)
{
	struct dial *dial = user;

	if (dial->fd >= 0) {
		address_failed(dial, ETIMEDOUT);
		next_address(dial);
		return;
	}
	hvri_sys_fail(&dial->error, HVREPL_E_TIMEOUT, 0,
		      "the name server did not answer for %s in time",
		      dial->options.host);
	give_up(dial, HVREPL_STEP_NAME, HVREPL_E_TIMEOUT);
}

static void looked_up(struct dial *dial)
{
	struct lookup *lookup = dial->lookup;

	if (lookup->failed == 0) {
		dial->next = lookup->addresses;
		next_address(dial);
		return;
	}
	hvri_sys_fail(&dial->error, HVREPL_E_UNAVAILABLE, 0,
		      "cannot look up %s: %s; check the name and the name "
		      "server",
		      dial->options.host, gai_strerror(lookup->failed));
	give_up(dial, HVREPL_STEP_NAME, HVREPL_E_UNAVAILABLE);
}

static void answered(void *argument)
{
	struct lookup *lookup = argument;
	struct dial *dial;

	pthread_mutex_lock(&lookup->mutex);
	dial = lookup->dial;
	pthread_mutex_unlock(&lookup->mutex);
	if (dial != NULL)
		looked_up(dial);
	lookup_drop(lookup); /* The thread's reference. */
}

static void look_up(struct lookup *lookup, int flags)
{
	struct addrinfo hints = { .ai_flags = flags | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };

	lookup->failed = getaddrinfo(lookup->host, lookup->port, &hints,
				     &lookup->addresses);
}

static void *look_up_thread(void *argument)
{
	struct lookup *lookup = argument;
	bool waited_for;

	look_up(lookup, 0);
	pthread_mutex_lock(&lookup->mutex);
	waited_for = lookup->dial != NULL;
	/* Under the mutex: an attempt that is there keeps its loop there. */
	if (waited_for)
		hvri_loop_post(lookup->dial->loop, &lookup->answer);
	pthread_mutex_unlock(&lookup->mutex);
	if (!waited_for)
		lookup_drop(lookup);
	return NULL;
}

static int start_thread(struct lookup *lookup)
{
	int failed;

	lookup->references++;
	failed = hvri_detach(look_up_thread, lookup);
	if (failed != 0)
		lookup->references--;
	return failed;
}

static void start(void *argument)
{
	struct dial *dial = argument;
	struct lookup *lookup = dial->lookup;
	int failed;

	hvri_loop_join(dial->loop, &dial->member);
	if (hvrepl_loop_timer_create(dial->loop, timed_out, dial,
				     &dial->timer) < 0) {
		hvri_sys_fail(&dial->error, HVREPL_E_NOMEM, 0, "out of memory");
		give_up(dial, HVREPL_STEP_NAME, HVREPL_E_NOMEM);
		return;
	}
	hvrepl_loop_timer_set(dial->timer, dial->deadline_ns);
	look_up(lookup, AI_NUMERICHOST);
	if (lookup->failed != EAI_NONAME) {
		looked_up(dial);
		return;
	}
	failed = start_thread(lookup);
	if (failed != 0) {
		hvri_sys_fail(&dial->error, HVREPL_E_UNAVAILABLE, failed,
			      "cannot start a thread to look up %s: %s",
			      dial->options.host, strerror(failed));
		give_up(dial, HVREPL_STEP_NAME, HVREPL_E_UNAVAILABLE);
	}
}

static void loop_gone(struct hvri_loop_member *member)
{
	struct dial *dial = (struct dial *)member;

	hvri_sys_fail(&dial->error, HVREPL_E_CANCELLED, 0,
		      "the event loop was destroyed");
	give_up(dial, dial->fd >= 0 ? HVREPL_STEP_TCP : HVREPL_STEP_NAME,
		HVREPL_E_CANCELLED);
}

static int32_t fill(struct dial *dial, hvrepl_loop *loop, hvrepl_tls *tls,
		    const struct hvrepl_tls_connect *connect)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	dial->fd = -1;
	dial->loop = loop;
	dial->tls = hvri_tls_hold(tls);
	dial->options = *connect;
	dial->options.host = strdup(connect->host);
	dial->options.peer = strdup(connect->peer != NULL ? connect->peer :
							    connect->host);
	dial->started_ns = hvrepl_loop_now();
	dial->deadline_ns = hvri_loop_in(connect->connect_timeout_ns != 0 ?
						 connect->connect_timeout_ns :
						 CONNECT_TIMEOUT_NS);
	dial->member.loop_gone = loop_gone;
	dial->error = (struct hvrepl_error)HVREPL_ERROR_INIT;
	dial->start.function = start;
	dial->start.argument = dial;
	if (lookup == NULL)
		return HVREPL_E_NOMEM;
	pthread_mutex_init(&lookup->mutex, NULL);
	lookup->references = 1;
	lookup->dial = dial;
	lookup->answer.function = answered;
	lookup->answer.argument = lookup;
	lookup->host = strdup(connect->host);
	snprintf(lookup->port, sizeof(lookup->port), "%u", connect->port);
	dial->lookup = lookup;
	return dial->options.host != NULL && dial->options.peer != NULL &&
			       lookup->host != NULL ?
		       HVREPL_OK : HVREPL_E_NOMEM;
}

int32_t hvrepl_tls_connect(hvrepl_loop *loop, hvrepl_tls *tls,
			   const struct hvrepl_tls_connect *connect,
			   struct hvrepl_error *error)
{
	char canonical[HVREPL_PEER_NAME_MAX + 1];
	struct dial *dial;

	if (loop == NULL || tls == NULL || connect == NULL ||
	    connect->struct_size != sizeof(*connect) || connect->host == NULL ||
	    connect->done == NULL)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "host and done are needed");
	if (connect->port < 1 || connect->port > 65535)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "%u is no port: 1 to 65535",
				     connect->port);
	if (!hvri_tls_peer_name(tls,
				connect->peer != NULL ? connect->peer :
							connect->host,
				canonical))
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the peer's name is none that %s knows",
				     hvri_tls_names_by(tls));
	dial = calloc(1, sizeof(*dial));
	if (dial == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	if (fill(dial, loop, tls, connect) < 0) {
		dial_free(dial);
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	}
	hvri_loop_post(loop, &dial->start);
	return HVREPL_OK;
}
