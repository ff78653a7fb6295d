/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that are none of ours, for the tests of mechanisms inside TLS: they speak TLS
 * and nothing else, or stand in the middle of two sites. After tlsrig.h; RAW_ALPN is
 * the protocol they name, with its length before it as TLS has it. */
#ifndef MIDDLEMAN_H
#define MIDDLEMAN_H

#include "backend/proof.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static inline SSL *tls_over(int fd, bool server_side)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	SSL *ssl;

	ck_assert(!server_side || hvri_mechanism_certificate(ctx));
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_fd(ssl, fd);
	SSL_set_alpn_protos(ssl, (const uint8_t *)RAW_ALPN,
			    sizeof(RAW_ALPN) - 1);
	return ssl;
}

static inline int connect_to(uint32_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* He has TLS connections of his own to both sides and hands every byte on, so that
 * both see an honest exchange. */
static struct middleman {
	pthread_t thread;
	int listening;
	uint32_t port; /* Of the site that is called. */
} middleman;

static inline int which_alpn(SSL *ssl, const unsigned char **out,
			     unsigned char *length, const unsigned char *in,
			     unsigned int in_length, void *argument)
{
	(void)ssl, (void)in_length, (void)argument;
	*out = in + 1;
	*length = in[0];
	return SSL_TLSEXT_ERR_OK;
}

static inline bool hand_on(SSL *from, SSL *to)
{
	uint8_t bytes[20000];

	do {
		int got = SSL_read(from, bytes, sizeof(bytes));

		if (got <= 0 || SSL_write(to, bytes, got) <= 0)
			return false;
	} while (SSL_pending(from) > 0);
	return true;
}

static inline void *middleman_main(void *argument)
{
	int near = accept(middleman.listening, NULL, NULL);
	int far = connect_to(middleman.port);
	SSL *to_near = tls_over(near, true), *to_far = tls_over(far, false);
	struct pollfd fds[2] = { { near, POLLIN, 0 }, { far, POLLIN, 0 } };
	bool more = true;

	SSL_CTX_set_alpn_select_cb(SSL_get_SSL_CTX(to_near), which_alpn, NULL);
	ck_assert_int_eq(SSL_accept(to_near), 1);
	ck_assert_int_eq(SSL_connect(to_far), 1);
	/* Until one of them has enough. */
	while (more && poll(fds, 2, -1) > 0) {
		if (fds[0].revents != 0)
			more = hand_on(to_near, to_far);
		if (more && fds[1].revents != 0)
			more = hand_on(to_far, to_near);
	}
	SSL_free(to_near);
	SSL_free(to_far);
	close(near);
	close(far);
	return argument;
}

/* Between whoever calls the port that this returns, and our listener. */
static inline uint32_t middleman_starts(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t length = sizeof(at);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	middleman.port = hvrepl_listener_port(listener);
	middleman.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(middleman.listening, (struct sockaddr *)&at,
			      sizeof(at)), 0);
	ck_assert_int_eq(listen(middleman.listening, 1), 0);
	ck_assert_int_eq(getsockname(middleman.listening,
				     (struct sockaddr *)&at, &length), 0);
	ck_assert_int_eq(pthread_create(&middleman.thread, NULL, middleman_main,
					NULL), 0);
	return ntohs(at.sin_port);
}

static inline void middleman_ends(void)
{
	pthread_join(middleman.thread, NULL);
	close(middleman.listening);
}
#endif
