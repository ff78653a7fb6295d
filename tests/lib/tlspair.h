/* SPDX-License-Identifier: Apache-2.0 */
/* Two TLS sessions over a socket pair, with certificates of a test's own. */
#ifndef TLSPAIR_H
#define TLSPAIR_H

#include "backend/tls.h"
#include "pki.h"
#include "testing.h"

#include <hvrepl/backends.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Included by one file of a program: everything here is its own. */
static struct tempdir dir;
static struct pki_ca *ca, *evil;

static inline void setup(void)
{
	tempdir_make(&dir);
	ca = pki_ca_new(&dir, "ca");
	evil = pki_ca_new(&dir, "evil");
	pki_good(ca, &dir, "primary.test");
	pki_good(ca, &dir, "replica.test");
}

static inline void teardown(void)
{
	pki_ca_free(ca);
	pki_ca_free(evil);
	tempdir_remove(&dir);
}

static inline struct hvrepl_tls_options options_for(const char *name,
					     const char *authority)
{
	static char paths[8][3][TEMPDIR_PATH_MAX];
	static unsigned next;
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;
	char(*path)[TEMPDIR_PATH_MAX] = paths[next++ % 8];

	snprintf(path[0], sizeof(path[0]), "%.400s/%s.pem", dir.path, authority);
	snprintf(path[1], sizeof(path[1]), "%.400s/%s.pem", dir.path, name);
	snprintf(path[2], sizeof(path[2]), "%.400s/%s.key", dir.path, name);
	options.ca_file = path[0];
	options.cert_file = path[1];
	options.key_file = path[2];
	return options;
}

static inline hvrepl_tls *credentials(const char *name, const char *authority)
{
	struct hvrepl_tls_options options = options_for(name, authority);
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *tls;

	ck_assert_msg(hvrepl_tls_create(&options, &tls, &error) == HVREPL_OK,
		      "%s", error.sentence);
	return tls;
}

/* Two sessions over a socket pair, and how each ended. */
struct link {
	int fds[2];
	struct hvri_tls_session client, server;
	int32_t client_rc, server_rc;
	struct hvrepl_error client_error, server_error;
};

static inline void open_link(struct link *link, hvrepl_tls *client, hvrepl_tls *server,
		      const char *expected, const char *const *known,
		      uint32_t known_count)
{
	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, link->fds),
			 0);
	ck_assert_int_eq(hvri_tls_session_init(&link->client, client,
					       link->fds[0], expected, NULL, 0),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_tls_session_init(&link->server, server,
					       link->fds[1], NULL, known,
					       known_count),
			 HVREPL_OK);
	link->client_rc = link->server_rc = HVREPL_PENDING;
	link->client_error = link->server_error =
		(struct hvrepl_error)HVREPL_ERROR_INIT;
}

static inline void shake(struct link *link)
{
	for (int i = 0; i < 20; i++) {
		if (link->client_rc == HVREPL_PENDING)
			link->client_rc = hvri_tls_handshake(
				&link->client, &link->client_error);
		if (link->client_rc < 0)
			shutdown(link->fds[0], SHUT_WR);
		if (link->server_rc == HVREPL_PENDING)
			link->server_rc = hvri_tls_handshake(
				&link->server, &link->server_error);
		if (link->server_rc < 0)
			shutdown(link->fds[1], SHUT_WR);
	}
}

static inline void close_link(struct link *link)
{
	hvri_tls_session_free(&link->client);
	hvri_tls_session_free(&link->server);
	close(link->fds[0]);
	close(link->fds[1]);
}

static inline void try_pair(struct link *link, hvrepl_tls *client, hvrepl_tls *server,
		     const char *expected)
{
	open_link(link, client, server, expected, NULL, 0);
	shake(link);
	close_link(link);
	hvrepl_tls_destroy(client);
	hvrepl_tls_destroy(server);
}

#define assert_says(ERROR, WORDS)                                     \
	ck_assert_msg(strstr((ERROR).sentence, WORDS) != NULL, "%s", \
		      (ERROR).sentence)

/* So many seconds later by this verifier's clock. */
static inline void set_clock_forward(hvrepl_tls *tls, long seconds)
{
	struct hvri_tls_context *context = hvri_tls_current(tls);
	time_t then = time(NULL) + seconds;

	X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(context->client), then);
	X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(context->server), then);
	hvri_tls_context_drop(context);
}
#endif
