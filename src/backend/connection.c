/* SPDX-License-Identifier: Apache-2.0 */
/* Drives one TLS connection on its loop and is the channel over it. */
#include "backend/connection.h"

#include "backend/fileio.h"
#include "backend/proof.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes sent in one go before other connections get their turn. */
#define SEND_BUDGET (1024u * 1024u)
/* How long a closed connection may take to deliver what it has accepted. */
#define LINGER_NS (5ull * 1000000000u)
#define ALERT_NS 1000000000ull
#define DISCARD_PIECE 16384
#define DISCARD_PIECES 64

enum phase { HANDSHAKE, OPEN, CLOSING, DRAINING, DEAD };

struct hvri_connection {
	struct hvri_loop_member member;
	struct hvri_loop_post kick;
	struct hvri_connection_setup setup;
	struct hvri_tls_session session;
	struct hvri_proof *proof; /* NULL: certificates prove. */
	struct hvri_tls_living living;
	enum phase phase; /* Loop thread. */
	hvrepl_loop_watch *watch;
	hvrepl_loop_timer *timer;
	uint64_t proof_deadline_ns; /* As the timer has it when open. */
	struct hvri_tls_told told;
	uint8_t exporter[HVREPL_EXPORTER_SIZE];

	/* Under the mutex, because operations come from any thread. What an
	 * operation points to is the loop's while `op` is set. */
	pthread_mutex_t mutex;
	uint32_t references; /* Loop, channel, a kick under way. */
	hvrepl_loop *loop;   /* NULL: dead. */
	bool kicked, close_asked;
	bool distrusted; /* A reload no longer believes the peer. */
	int32_t failure; /* What later operations get. */
	hvrepl_op *send_op;
	struct hvri_tls_out out;
	hvrepl_op *receive_op;
	void *buffer;
	size_t room, *received_out;
};

/* Operations that ended, to be completed when nothing is held any more. */
struct ended {
	hvrepl_op *ops[2];
	int32_t results[2];
	unsigned count;
};

static void hold(struct hvri_connection *c)
{
	pthread_mutex_lock(&c->mutex);
	c->references++;
	pthread_mutex_unlock(&c->mutex);
}

static void drop(struct hvri_connection *c)
{
	uint32_t left;

	pthread_mutex_lock(&c->mutex);
	left = --c->references;
	pthread_mutex_unlock(&c->mutex);
	if (left > 0)
		return;
	hvri_proof_free(c->proof);
	hvri_tls_session_free(&c->session);
	hvrepl_tls_destroy(c->setup.tls);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

static void end_op(struct hvri_connection *c, struct ended *ended,
		   hvrepl_op **op, int32_t result)
{
	pthread_mutex_lock(&c->mutex);
	if (*op != NULL) {
		ended->ops[ended->count] = *op;
		ended->results[ended->count++] = result;
		*op = NULL;
	}
	pthread_mutex_unlock(&c->mutex);
}

static int32_t complete(struct ended *ended, hvrepl_op *mine)
{
	int32_t result = HVREPL_PENDING;

	for (unsigned i = 0; i < ended->count; i++)
		if (ended->ops[i] == mine)
			result = ended->results[i];
		else
			hvrepl_op_complete(ended->ops[i], ended->results[i]);
	return result;
}

/* Once, of one that failed: it was told and has no socket any more. */
static void tell_gone(struct hvri_connection *c)
{
	if (c->setup.gone != NULL && c->phase == DEAD && c->setup.settled == NULL)
		c->setup.gone(c->setup.user, c);
}

/* No more of the socket. `failure` is what operations get from now on. */
static void fail(struct hvri_connection *c, int32_t failure,
		 struct ended *ended)
{
	if (c->phase == DEAD)
		return;
	c->phase = DEAD;
	hvrepl_loop_watch_remove(c->watch);
	hvrepl_loop_timer_free(c->timer);
	hvri_loop_leave(&c->member);
	hvri_tls_living_leave(c->setup.tls, &c->living);
	close(c->setup.fd);
	if (c->proof != NULL)
		hvri_proof_stop(c->proof);
	pthread_mutex_lock(&c->mutex);
	c->loop = NULL;
	if (c->failure == HVREPL_OK)
		c->failure = failure;
	failure = c->failure;
	pthread_mutex_unlock(&c->mutex);
	end_op(c, ended, &c->send_op, failure);
	end_op(c, ended, &c->receive_op, failure);
	tell_gone(c);
	drop(c); /* The loop's reference; our caller holds another. */
}

static void watch(struct hvri_connection *c, uint32_t events,
		  struct ended *ended)
{
	if (c->phase != DEAD &&
	    hvrepl_loop_watch_change(c->watch, events) < 0)
		fail(c, HVREPL_E_UNAVAILABLE, ended);
}

/* Deliver the rest, but not for ever. The handshake's failure alert too: a
 * socket closed with unread bytes is reset, and the peer never reads why. */
static void drain(struct hvri_connection *c, uint64_t patience_ns,
		  struct ended *ended)
{
	if (shutdown(c->setup.fd, SHUT_WR) < 0) {
		fail(c, HVREPL_E_DISCONNECTED, ended);
		return;
	}
	c->phase = DRAINING;
	hvrepl_loop_timer_set(c->timer, hvrepl_loop_now() + patience_ns);
}

static void drive_draining(struct hvri_connection *c, struct ended *ended)
{
	uint8_t piece[DISCARD_PIECE];

	for (int i = 0; i < DISCARD_PIECES; i++) {
		ssize_t got = recv(c->setup.fd, piece, sizeof(piece),
				   MSG_DONTWAIT);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (got <= 0) {
			fail(c, HVREPL_E_CLOSED, ended);
			return;
		}
	}
	watch(c, HVREPL_LOOP_READ, ended);
}

static void drive_closing(struct hvri_connection *c, struct ended *ended)
{
	int32_t rc = hvri_tls_shutdown(&c->session);

	if (rc == HVREPL_PENDING) {
		watch(c, c->session.want, ended);
	} else if (rc < 0) {
		fail(c, HVREPL_E_CLOSED, ended);
	} else {
		drain(c, LINGER_NS, ended);
		if (c->phase == DRAINING)
			drive_draining(c, ended);
	}
}

static int32_t receive(struct hvri_connection *c, size_t *got)
{
	return c->proof == NULL ?
		       hvri_tls_receive(&c->session, c->buffer, c->room, got) :
		       hvri_proof_receive(c->proof, c->buffer, c->room, got);
}

static int32_t send_more(struct hvri_connection *c)
{
	return c->proof == NULL ?
		       hvri_tls_send(&c->session, &c->out, SEND_BUDGET) :
		       hvri_proof_send(c->proof, &c->out, SEND_BUDGET);
}

/* No more of the session, in good order: what has been accepted is delivered. */
static void end_open(struct hvri_connection *c, int32_t end,
		     struct ended *ended)
{
	end_op(c, ended, &c->send_op, end);
	end_op(c, ended, &c->receive_op, end);
	hvri_tls_living_leave(c->setup.tls, &c->living);
	c->phase = CLOSING;
	hvrepl_loop_timer_set(c->timer, hvrepl_loop_now() + LINGER_NS);
	drive_closing(c, ended);
}

/* The connection is good and what proved its peer is not: the application is told
 * why, and the peer may be hearing it. */
static void end_unproved(struct hvri_connection *c, int32_t end,
			 struct ended *ended)
{
	const struct hvrepl_tls_notes *notes = hvri_tls_notes(c->setup.tls);
	const struct hvrepl_error *why = c->proof == NULL ?
						 NULL : hvri_proof_why(c->proof);

	if (why == NULL) {
		fail(c, end, ended);
		return;
	}
	pthread_mutex_lock(&c->mutex);
	c->failure = end;
	pthread_mutex_unlock(&c->mutex);
	hvri_proof_stop(c->proof);
	if (notes->ended != NULL)
		notes->ended(notes->user, c->session.peer, why);
	end_open(c, end, ended);
}

/* The next proof: its token, and when it is due. */
static void drive_proof(struct hvri_connection *c, uint32_t *events,
			struct ended *ended)
{
	uint64_t deadline;
	int32_t rc = hvri_proof_pump(c->proof);

	if (rc < 0) {
		end_unproved(c, rc, ended);
		return;
	}
	if (rc == HVREPL_PENDING)
		*events |= c->session.want;
	deadline = hvri_proof_deadline(c->proof);
	if (deadline != c->proof_deadline_ns) {
		c->proof_deadline_ns = deadline;
		hvrepl_loop_timer_set(c->timer, deadline);
	}
}

static void drive_open(struct hvri_connection *c, struct ended *ended)
{
	uint32_t events = 0;
	hvrepl_op *sending, *receiving;
	int32_t end = HVREPL_OK;

	pthread_mutex_lock(&c->mutex);
	sending = c->send_op;
	receiving = c->receive_op;
	if (c->distrusted)
		end = HVREPL_E_UNAUTHENTICATED;
	else if (c->close_asked)
		end = HVREPL_E_CLOSED;
	if (end < 0)
		c->failure = end;
	pthread_mutex_unlock(&c->mutex);
	if (end < 0) {
		end_open(c, end, ended);
		return;
	}
	if (receiving != NULL) {
		size_t got = 0;
		int32_t rc = receive(c, &got);

		if (rc < 0) {
			end_unproved(c, rc, ended);
			return;
		}
		if (rc == HVREPL_PENDING) {
			events |= c->session.want;
		} else {
			*c->received_out = got;
			end_op(c, ended, &c->receive_op, HVREPL_OK);
		}
	}
	if (sending != NULL) {
		int32_t rc = send_more(c);

		if (rc < 0) {
			end_unproved(c, rc, ended);
			return;
		}
		if (rc == HVREPL_PENDING)
			events |= c->session.want;
		else
			end_op(c, ended, &c->send_op, HVREPL_OK);
	}
	if (c->proof != NULL)
		drive_proof(c, &events, ended);
	if (c->phase != OPEN)
		return;
	hvri_tls_tell(c->setup.tls, &c->session,
		      c->proof == NULL ? 0 : hvri_proof_count(c->proof),
		      &c->told);
	watch(c, events, ended);
}

static const struct hvrepl_channel_ops connection_ops;
static void channel_release(void *user);

static void settle(struct hvri_connection *c, int32_t code,
		   const struct hvrepl_error *error)
{
	struct hvrepl_channel channel = { &connection_ops, c, channel_release };
	struct hvrepl_connect_result result = {
		.struct_size = sizeof(result),
		.code = code,
		.step = code == HVREPL_OK ? HVREPL_STEP_DONE : c->session.step,
		.check = code == HVREPL_OK ?
				 HVREPL_CHECK_NONE :
				 hvri_tls_check_of(c->session.verify_error),
		.duration_ns = hvrepl_loop_now() - c->setup.started_ns,
		.round_trip_ns = c->setup.round_trip_ns,
		.address = c->setup.address,
		.source = c->setup.source,
		.error = code == HVREPL_OK ? NULL : error,
	};
	hvri_settled settled = c->setup.settled;

	c->setup.settled = NULL;
	c->session.known = NULL;
	if (settled == NULL)
		return;
	if (code == HVREPL_OK)
		hold(c);
	settled(c->setup.user, c, code == HVREPL_OK ? &channel : NULL, &result);
	tell_gone(c);
}

static void handshake_failed(struct hvri_connection *c, int32_t code,
			     const struct hvrepl_error *error,
			     struct ended *ended)
{
	pthread_mutex_lock(&c->mutex);
	c->failure = code;
	pthread_mutex_unlock(&c->mutex);
	if (code == HVREPL_E_TIMEOUT)
		fail(c, code, ended);
	else
		drain(c, ALERT_NS, ended);
	settle(c, code, error);
	if (c->phase == DRAINING)
		drive_draining(c, ended);
}

static void drive_handshake(struct hvri_connection *c, struct ended *ended)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	int32_t rc = hvri_tls_handshake(&c->session, &error);

	if (rc == HVREPL_PENDING) {
		watch(c, c->session.want, ended);
		return;
	}
	if (rc == HVREPL_OK && c->proof != NULL) {
		rc = hvri_proof_step(c->proof, &error);
		if (rc == HVREPL_PENDING) {
			watch(c, c->session.want, ended);
			return;
		}
		if (rc == HVREPL_OK)
			memcpy(c->exporter, hvri_proof_exporter(c->proof),
			       sizeof(c->exporter));
	} else if (rc == HVREPL_OK) {
		rc = hvri_tls_exporter(&c->session, c->exporter);
		if (rc < 0)
			hvri_sys_fail(&error, rc, 0,
				      "TLS gave no value to bind the session "
				      "to");
		else
			rc = hvri_tls_living_join(c->setup.tls, &c->living,
						  &c->session, &error);
	}
	if (rc < 0) {
		handshake_failed(c, rc, &error, ended);
		return;
	}
	c->phase = OPEN;
	c->proof_deadline_ns = c->proof == NULL ?
				       UINT64_MAX :
				       hvri_proof_deadline(c->proof);
	hvrepl_loop_timer_set(c->timer, c->proof_deadline_ns);
	watch(c, 0, ended);
	c->setup.gone = NULL;
	settle(c, HVREPL_OK, NULL);
}

/* Do what can be done. The caller holds a reference and completes `ended`. */
static void drive(struct hvri_connection *c, struct ended *ended)
{
	switch (c->phase) {
	case HANDSHAKE:
		drive_handshake(c, ended);
		break;
	case OPEN:
		drive_open(c, ended);
		break;
	case CLOSING:
		drive_closing(c, ended);
		break;
	case DRAINING:
		drive_draining(c, ended);
		break;
	case DEAD:
		break;
	}
}

static void ready(void *user, uint32_t events)
{
	struct hvri_connection *c = user;
	struct ended ended = { .count = 0 };

	(void)events;
	hold(c);
	drive(c, &ended);
	(void)complete(&ended, NULL);
	drop(c);
}

static void kicked(void *argument)
{
	struct hvri_connection *c = argument;
	struct ended ended = { .count = 0 };

	pthread_mutex_lock(&c->mutex);
	c->kicked = false;
	pthread_mutex_unlock(&c->mutex);
	drive(c, &ended);
	(void)complete(&ended, NULL);
	drop(c);
}

static void timed_out(void *user)
{
	struct hvri_connection *c = user;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct ended ended = { .count = 0 };

	hold(c);
	if (c->phase == HANDSHAKE) {
		hvri_tls_explain_late(&c->session, &error);
		handshake_failed(c, HVREPL_E_TIMEOUT, &error, &ended);
	} else if (c->phase == OPEN && c->proof != NULL) {
		int32_t rc = hvri_proof_due(c->proof);

		c->proof_deadline_ns = 0; /* The timer has gone off. */
		if (rc < 0)
			end_unproved(c, rc, &ended);
		else
			drive(c, &ended);
	} else {
		fail(c, HVREPL_E_CLOSED, &ended);
	}
	(void)complete(&ended, NULL);
	drop(c);
}

static void loop_gone(struct hvri_loop_member *member)
{
	struct hvri_connection *c = (struct hvri_connection *)member;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct ended ended = { .count = 0 };
	bool unsettled = c->phase == HANDSHAKE;

	hold(c);
	fail(c, HVREPL_E_CLOSED, &ended);
	if (unsettled) {
		hvri_sys_fail(&error, HVREPL_E_CANCELLED, 0,
			      "the event loop was destroyed");
		settle(c, HVREPL_E_CANCELLED, &error);
	}
	(void)complete(&ended, NULL);
	drop(c);
}

/* A call of the authenticator has ended on its thread. */
static void proof_wakes(void *user)
{
	ready(user, 0);
}

static void on_distrusted(struct hvri_tls_living *living);

int32_t hvri_connection_start(const struct hvri_connection_setup *setup,
			      struct hvri_connection **connection_out)
{
	const uint64_t limit_ns = hvri_tls_options(setup->tls)->handshake_timeout_ns;
	struct hvri_connection *c = calloc(1, sizeof(*c));
	int32_t rc;

	if (c == NULL) {
		close(setup->fd);
		return HVREPL_E_NOMEM;
	}
	c->setup = *setup;
	c->setup.tls = hvri_tls_hold(setup->tls);
	pthread_mutex_init(&c->mutex, NULL);
	c->references = 1;
	c->loop = setup->loop;
	c->member.loop_gone = loop_gone;
	c->living.distrusted = on_distrusted;
	c->kick = (struct hvri_loop_post){ .function = kicked, .argument = c };
	rc = hvri_tls_session_init(&c->session, setup->tls, setup->fd,
				   setup->expected, setup->known,
				   setup->known_count);
	if (rc == HVREPL_OK && hvri_tls_mechanism(setup->tls) != NULL)
		rc = hvri_proof_create(&c->session, setup->tls, setup->loop,
				       proof_wakes, c, &c->proof);
	if (rc == HVREPL_OK)
		rc = hvrepl_loop_timer_create(setup->loop, timed_out, c,
					      &c->timer);
	/* A socket that has just connected can be written: the first event
	 * starts the client's handshake. */
	if (rc == HVREPL_OK)
		rc = hvrepl_loop_watch_fd(setup->loop, setup->fd,
					  setup->expected == NULL ?
						  HVREPL_LOOP_READ :
						  HVREPL_LOOP_WRITE,
					  ready, c, &c->watch);
	if (rc < 0) {
		hvrepl_loop_timer_free(c->timer);
		close(setup->fd);
		drop(c);
		return rc;
	}
	hvri_loop_join(setup->loop, &c->member);
	hvri_tcp_tune(setup->fd);
	hvrepl_loop_timer_set(c->timer, hvri_loop_in(limit_ns));
	*connection_out = c;
	return HVREPL_OK;
}

void hvri_connection_abort(struct hvri_connection *c)
{
	struct ended ended = { .count = 0 };

	c->setup.settled = NULL;
	c->setup.gone = NULL;
	if (c->phase != DRAINING)
		fail(c, HVREPL_E_CANCELLED, &ended);
}

/* Have the loop look at it. Called with the mutex, and a loop. */
static void kick(struct hvri_connection *c)
{
	if (c->kicked)
		return;
	c->kicked = true;
	c->references++;
	hvri_loop_post(c->loop, &c->kick);
}

/* An operation was put in under the mutex, which is given up here. On the
 * loop's own thread it is tried at once. */
static int32_t submitted(struct hvri_connection *c, hvrepl_op *op)
{
	struct ended ended = { .count = 0 };
	int32_t result;

	if (!hvri_loop_is_current(c->loop)) {
		kick(c);
		pthread_mutex_unlock(&c->mutex);
		return HVREPL_PENDING;
	}
	c->references++;
	pthread_mutex_unlock(&c->mutex);
	drive(c, &ended);
	result = complete(&ended, op);
	drop(c);
	return result;
}

/* Noted by whoever reloads, acted on by the loop. */
static void on_distrusted(struct hvri_tls_living *living)
{
	struct hvri_connection *c =
		(struct hvri_connection *)((char *)living -
					   offsetof(struct hvri_connection,
						    living));

	pthread_mutex_lock(&c->mutex);
	c->distrusted = true;
	if (c->loop != NULL)
		kick(c);
	pthread_mutex_unlock(&c->mutex);
}

static int32_t may_submit(const struct hvri_connection *c, hvrepl_op *under_way)
{
	if (c->close_asked)
		return HVREPL_E_CLOSED;
	if (c->failure != HVREPL_OK)
		return c->failure;
	return under_way != NULL ? HVREPL_E_STATE : HVREPL_OK;
}

static int32_t channel_send(void *user, hvrepl_op *op,
			    const struct hvrepl_iovec *iov, uint32_t iov_count)
{
	struct hvri_connection *c = user;
	int32_t rc;

	pthread_mutex_lock(&c->mutex);
	rc = may_submit(c, c->send_op);
	if (rc < 0) {
		pthread_mutex_unlock(&c->mutex);
		return rc;
	}
	c->out = (struct hvri_tls_out){ iov, iov_count, 0 };
	c->send_op = op;
	return submitted(c, op);
}

static int32_t channel_receive(void *user, hvrepl_op *op, void *buffer,
			       size_t length, size_t *received_out)
{
	struct hvri_connection *c = user;
	int32_t rc = length == 0 ? HVREPL_E_INVALID : HVREPL_OK;

	pthread_mutex_lock(&c->mutex);
	if (rc == HVREPL_OK)
		rc = may_submit(c, c->receive_op);
	if (rc < 0) {
		pthread_mutex_unlock(&c->mutex);
		return rc;
	}
	c->buffer = buffer;
	c->room = length;
	c->received_out = received_out;
	c->receive_op = op;
	return submitted(c, op);
}

static int32_t channel_info(void *user, struct hvrepl_channel_info *out)
{
	const struct hvri_connection *c = user;

	out->mechanism = c->proof != NULL ?
				 hvri_tls_mechanism(c->setup.tls)->channel :
				 HVREPL_MECHANISM_X509;
	memcpy(out->peer, c->session.peer, sizeof(out->peer));
	memcpy(out->exporter, c->exporter, sizeof(out->exporter));
	if (out->struct_size >= sizeof(*out)) {
		out->peer_from_utc_ns = c->session.peer_from_utc_ns;
		out->peer_until_utc_ns = c->session.peer_expires_utc_ns;
	}
	return HVREPL_OK;
}

static void channel_close(void *user)
{
	struct hvri_connection *c = user;

	pthread_mutex_lock(&c->mutex);
	if (c->close_asked || c->loop == NULL) {
		c->close_asked = true;
		pthread_mutex_unlock(&c->mutex);
		return;
	}
	c->close_asked = true;
	(void)submitted(c, NULL);
}

static void channel_release(void *user)
{
	struct hvri_connection *c = user;

	channel_close(c);
	drop(c);
}

static const struct hvrepl_channel_ops connection_ops = {
	.struct_size = sizeof(connection_ops),
	.info = channel_info,
	.send = channel_send,
	.receive = channel_receive,
	.close = channel_close,
};
