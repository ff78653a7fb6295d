/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection over a non-blocking socket: prove, send, receive, rekey. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

#define SOCKET_KIND 0x7d
/* Bytes from the socket that may bring nothing before others have their turn; a
 * record is whole within so many. */
#define BARREN_MAX 32768u

/*
 * OpenSSL reads and writes the socket through this, not through its own socket
 * BIO, which raises SIGPIPE.
 */
static int socket_write(BIO *bio, const char *bytes, size_t length,
			size_t *written_out)
{
	struct hvri_tls_session *session = BIO_get_data(bio);
	ssize_t done;

	BIO_clear_retry_flags(bio);
	do
		done = send(session->fd, bytes, length, MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	if (done < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			BIO_set_retry_write(bio);
		return 0;
	}
	*written_out = (size_t)done;
	return 1;
}

static int socket_read(BIO *bio, char *bytes, size_t length, size_t *read_out)
{
	struct hvri_tls_session *session = BIO_get_data(bio);
	ssize_t done;

	BIO_clear_retry_flags(bio);
	/* Changes of keys bring no byte, and OpenSSL goes on reading as long as there
	 * are any: on the loop's thread, past every time limit. What is left makes the
	 * socket ready again, and others have their turn. */
	if (session->barren >= BARREN_MAX) {
		BIO_set_retry_read(bio);
		return 0;
	}
	do
		done = recv(session->fd, bytes, length, 0);
	while (done < 0 && errno == EINTR);
	if (done <= 0) {
		if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			BIO_set_retry_read(bio);
		else if (done == 0)
			BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
		return 0;
	}
	session->barren += (size_t)done;
	*read_out = (size_t)done;
	return 1;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
	(void)number, (void)pointer;
	if (command == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *hvri_tls_socket_method(void)
{
	/* The kind only has to be unlike OpenSSL's own; a number from
	 * BIO_get_new_index() would have to be kept in a global. */
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | SOCKET_KIND,
					  "hvrepl socket");

	if (method == NULL || BIO_meth_set_write_ex(method, socket_write) != 1 ||
	    BIO_meth_set_read_ex(method, socket_read) != 1 ||
	    BIO_meth_set_ctrl(method, socket_control) != 1) {
		BIO_meth_free(method);
		return NULL;
	}
	return method;
}

int32_t hvri_tls_session_init(struct hvri_tls_session *session, hvrepl_tls *tls,
			      int fd, const char *expected,
			      const char *const *known, uint32_t known_count)
{
	const struct hvrepl_tls_options *options = hvri_tls_options(tls);
	uint8_t address[16];
	BIO *bio;

	memset(session, 0, sizeof(*session));
	session->server = expected == NULL;
	session->fd = fd;
	session->known = known;
	session->known_count = known_count;
	session->step = HVREPL_STEP_TLS;
	session->rekey_bytes = options->rekey_bytes;
	session->rekey_records = options->rekey_records;
	session->rekey_ns = options->rekey_ns;
	session->keyed_ns = hvrepl_loop_now();
	session->mechanism = hvri_tls_mechanism(tls);
	if (expected != NULL &&
	    !hvri_tls_peer_name(tls, expected, session->expected))
		return HVREPL_E_INVALID;
	hvri_tls_look(tls);
	session->context = hvri_tls_current(tls);
	session->ssl = SSL_new(session->server ? session->context->server :
						 session->context->client);
	bio = BIO_new(session->context->socket);
	if (session->ssl == NULL || bio == NULL) {
		BIO_free(bio);
		hvri_tls_session_free(session);
		return HVREPL_E_NOMEM;
	}
	BIO_set_data(bio, session);
	BIO_set_init(bio, 1);
	SSL_set_bio(session->ssl, bio, bio);
	SSL_set_app_data(session->ssl, session);
	if (session->mechanism != NULL)
		SSL_set_verify(session->ssl, SSL_VERIFY_NONE, NULL);
	else
		SSL_set_verify(session->ssl,
			       SSL_VERIFY_PEER |
				       SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			       NULL);
	if (session->server) {
		SSL_set_accept_state(session->ssl);
	} else {
		SSL_set_connect_state(session->ssl);
		/* Addresses are not sent as server names (RFC 6066), and a
		 * principal or another identity is none. */
		if (session->mechanism == NULL &&
		    inet_pton(AF_INET, session->expected, address) != 1 &&
		    inet_pton(AF_INET6, session->expected, address) != 1)
			(void)SSL_set_tlsext_host_name(session->ssl,
						       session->expected);
	}
	return HVREPL_OK;
}

void hvri_tls_session_free(struct hvri_tls_session *session)
{
	SSL_free(session->ssl);
	hvri_tls_context_drop(session->context);
	session->ssl = NULL;
	session->context = NULL;
	OPENSSL_cleanse(session->record, sizeof(session->record));
}

/* PENDING with session->want, or how it failed. */
static int32_t wait_or_fail(struct hvri_tls_session *session, int result,
			    struct hvrepl_error *error)
{
	int saved = errno;
	int why = SSL_get_error(session->ssl, result);

	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
		session->want = why == SSL_ERROR_WANT_READ ? HVREPL_LOOP_READ :
							     HVREPL_LOOP_WRITE;
		return HVREPL_PENDING;
	}
	if (error != NULL || !session->greeting_done)
		return hvri_tls_explain(session, why, saved, error);
	ERR_clear_error();
	return HVREPL_E_DISCONNECTED;
}

static bool has_alpn(const struct hvri_tls_session *session)
{
	const char *ours = hvri_tls_alpn(session->mechanism);
	const unsigned char *chosen;
	unsigned int length;

	SSL_get0_alpn_selected(session->ssl, &chosen, &length);
	return length == (unsigned char)ours[0] &&
	       memcmp(chosen, ours + 1, length) == 0;
}

static int32_t say_greeting(struct hvri_tls_session *session,
			    struct hvrepl_error *error)
{
	int result;

	ERR_clear_error();
	result = SSL_write(session->ssl, HVRI_TLS_GREETING,
			   HVRI_TLS_GREETING_LENGTH);
	return result > 0 ? HVREPL_OK : wait_or_fail(session, result, error);
}

/* Our certificate is accepted when the server says so. */
static int32_t hear_greeting(struct hvri_tls_session *session,
			     struct hvrepl_error *error)
{
	session->step = HVREPL_STEP_ACCEPTANCE;
	while (session->greeting_at < HVRI_TLS_GREETING_LENGTH) {
		char byte;
		int result;

		ERR_clear_error();
		result = SSL_read(session->ssl, &byte, 1);
		if (result <= 0)
			return wait_or_fail(session, result, error);
		if (byte != HVRI_TLS_GREETING[session->greeting_at])
			return hvri_sys_fail(error, HVREPL_E_PROTOCOL, 0,
					     "the peer did not greet as hvrepl "
					     "does: is that the right port?");
		session->greeting_at++;
	}
	return HVREPL_OK;
}

int32_t hvri_tls_handshake(struct hvri_tls_session *session,
			   struct hvrepl_error *error)
{
	int32_t rc;

	session->barren = 0;
	if (!SSL_is_init_finished(session->ssl)) {
		int result;

		ERR_clear_error();
		errno = 0;
		result = SSL_do_handshake(session->ssl);
		if (result != 1)
			return wait_or_fail(session, result, error);
	}
	if (!has_alpn(session))
		return hvri_tls_other_protocol(session, error);
	if (session->mechanism != NULL) {
		session->greeting_done = true;
		return HVREPL_OK;
	}
	rc = session->server ? say_greeting(session, error) :
			       hear_greeting(session, error);
	if (rc == HVREPL_OK) {
		session->greeting_done = true;
		session->step = HVREPL_STEP_DONE;
	}
	return rc;
}

int32_t hvri_tls_exporter(struct hvri_tls_session *session,
			  uint8_t out[HVREPL_EXPORTER_SIZE])
{
	/* RFC 9266: this label, no context. */
	static const char label[] = "EXPORTER-Channel-Binding";

	if (SSL_export_keying_material(session->ssl, out, HVREPL_EXPORTER_SIZE,
				       label, sizeof(label) - 1,
				       (const unsigned char *)"", 0, 1) != 1)
		return HVREPL_E_UNAUTHENTICATED;
	return HVREPL_OK;
}

/* Before a key has encrypted more than is good for it. Each side sees to the
 * keys it sends with, so no change is asked of the peer. */
static int32_t rekey_when_due(struct hvri_tls_session *session)
{
	uint64_t now;

	if (session->sent_bytes < session->rekey_bytes &&
	    session->sent_records < session->rekey_records) {
		now = hvrepl_loop_now();
		if (now - session->keyed_ns < session->rekey_ns)
			return HVREPL_OK;
	}
	if (SSL_key_update(session->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
		ERR_clear_error();
		return HVREPL_E_DISCONNECTED;
	}
	session->sent_bytes = session->sent_records = 0;
	session->keyed_ns = hvrepl_loop_now();
	session->rekeys++;
	return HVREPL_OK;
}

/* The next record: in place when a piece is long enough, else gathered. */
static const void *next_record(struct hvri_tls_session *session,
			       struct hvri_tls_out *out, size_t *length_out)
{
	while (out->count > 0 && session->record_length < HVRI_TLS_RECORD) {
		size_t left = out->iov->length - out->skip;
		size_t room = HVRI_TLS_RECORD - session->record_length;
		const uint8_t *from = (const uint8_t *)out->iov->base +
				      out->skip;
		size_t piece = left < room ? left : room;

		if (session->record_length == 0 && left >= HVRI_TLS_RECORD) {
			*length_out = HVRI_TLS_RECORD;
			return from;
		}
		if (piece > 0)
			memcpy(session->record + session->record_length, from,
			       piece);
		session->record_length += piece;
		out->skip += piece;
		if (out->skip == out->iov->length) {
			out->iov++, out->count--;
			out->skip = 0;
		}
	}
	*length_out = session->record_length;
	return session->record;
}

void hvri_tls_gather(struct hvri_tls_session *session,
		     struct hvri_tls_out *out)
{
	size_t length;

	(void)next_record(session, out, &length);
}

int32_t hvri_tls_send(struct hvri_tls_session *session,
		      struct hvri_tls_out *out, size_t budget)
{
	for (;;) {
		size_t length = session->record_length;
		const void *bytes = session->record;
		size_t written = 0;
		int result;

		/* A record that was gathered and is not yet out goes first,
		 * unchanged: OpenSSL may have encrypted it already. */
		if (length == 0) {
			bytes = next_record(session, out, &length);
			if (length == 0)
				return HVREPL_OK;
		}
		if (budget == 0) {
			session->want = HVREPL_LOOP_WRITE;
			return HVREPL_PENDING;
		}
		ERR_clear_error();
		errno = 0;
		session->barren = 0;
		result = SSL_write_ex(session->ssl, bytes, length, &written);
		if (result != 1)
			return wait_or_fail(session, result, NULL);
		if (bytes == session->record) {
			session->record_length = 0;
		} else {
			out->skip += written;
			if (out->skip == out->iov->length) {
				out->iov++, out->count--;
				out->skip = 0;
			}
		}
		session->sent_bytes += written;
		session->sent_records++;
		budget -= written < budget ? written : budget;
		if (rekey_when_due(session) < 0)
			return HVREPL_E_DISCONNECTED;
	}
}

int32_t hvri_tls_receive(struct hvri_tls_session *session, void *buffer,
			 size_t length, size_t *received_out)
{
	size_t got = 0;

	while (got < length) {
		size_t piece = 0;
		int result;

		ERR_clear_error();
		errno = 0;
		session->barren = 0;
		result = SSL_read_ex(session->ssl, (uint8_t *)buffer + got,
				     length - got, &piece);
		got += piece;
		if (result == 1)
			continue;
		/* What came is handed over first; why no more came is found
		 * out again by the next call. */
		if (got > 0)
			break;
		if (SSL_get_error(session->ssl, result) ==
		    SSL_ERROR_ZERO_RETURN) {
			*received_out = 0;
			return HVREPL_OK;
		}
		return wait_or_fail(session, result, NULL);
	}
	*received_out = got;
	return HVREPL_OK;
}

int32_t hvri_tls_shutdown(struct hvri_tls_session *session)
{
	int result;

	ERR_clear_error();
	errno = 0;
	session->barren = 0;
	result = SSL_shutdown(session->ssl);
	return result >= 0 ? HVREPL_OK : wait_or_fail(session, result, NULL);
}
