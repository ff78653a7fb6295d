/* SPDX-License-Identifier: Apache-2.0 */
/* Bulk through a session beside a bare TLS 1.3 pipe of our own: two threads each, one
 * a side, bytes counted where they arrive. */
#include "bench.h"
#include "driver/link.h"
#include "pki.h"

#include <arpa/inet.h>
#include <hvrepl/backends.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 5u
#define BULK (256ull << 20)
#define PIECE (256u << 10) /* A chunk as it is on the wire, about. */

static struct tempdir dir;
static uint8_t content[PIECE];

static void path_of(const char *name, char out[TEMPDIR_PATH_MAX])
{
	snprintf(out, TEMPDIR_PATH_MAX, "%.400s/%s", dir.path, name);
}

/* ---- The bare pipe. ---- */

static SSL *bare_end(int fd, bool server)
{
	const char *name = server ? "replica.test" : "primary.test";
	char cert[TEMPDIR_PATH_MAX], key[TEMPDIR_PATH_MAX], file[64];
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() :
					    TLS_client_method());
	SSL *ssl;

	snprintf(file, sizeof(file), "%s.pem", name);
	path_of(file, cert);
	snprintf(file, sizeof(file), "%s.key", name);
	path_of(file, key);
	bench_must(ctx == NULL ? -1 : 0, "SSL_CTX_new");
	bench_must(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) - 1,
		   "TLS 1.3");
	/* As a session's, whose first choice it is. */
	bench_must(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384") - 1,
		   "cipher");
	bench_must(SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM) -
			   1, cert);
	bench_must(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) - 1,
		   key);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, 256 << 10);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_fd(ssl, fd);
	return ssl;
}

static void *bare_sender(void *argument)
{
	SSL *ssl = bare_end(*(int *)argument, false);
	size_t written;

	bench_must(SSL_connect(ssl) - 1, "SSL_connect");
	for (uint64_t sent = 0; sent < BULK; sent += sizeof(content))
		bench_must(SSL_write_ex(ssl, content, sizeof(content),
					&written) - 1, "SSL_write");
	SSL_shutdown(ssl);
	SSL_free(ssl);
	return NULL;
}

static double bare(void)
{
	static uint8_t got[1 << 20];
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t length = sizeof(at);
	int listening = socket(AF_INET, SOCK_STREAM, 0), near, far;
	uint64_t counted = 0, start = 0;
	pthread_t thread;
	size_t piece;
	SSL *ssl;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bench_must(bind(listening, (struct sockaddr *)&at, sizeof(at)), "bind");
	bench_must(listen(listening, 1), "listen");
	bench_must(getsockname(listening, (struct sockaddr *)&at, &length),
		   "getsockname");
	far = socket(AF_INET, SOCK_STREAM, 0);
	bench_must(connect(far, (struct sockaddr *)&at, sizeof(at)), "connect");
	near = accept(listening, NULL, NULL);
	bench_must(near, "accept");
	bench_must(-pthread_create(&thread, NULL, bare_sender, &far), "thread");
	ssl = bare_end(near, true);
	bench_must(SSL_accept(ssl) - 1, "SSL_accept");
	start = bench_now();
	while (counted < BULK) {
		bench_must(SSL_read_ex(ssl, got, sizeof(got), &piece) - 1,
			   "SSL_read");
		counted += piece;
	}
	start = bench_now() - start;
	pthread_join(thread, NULL);
	SSL_free(ssl);
	close(near);
	close(far);
	close(listening);
	return (double)counted / (1 << 20) * 1e9 / (double)start;
}

/* ---- The session. ---- */

static struct end {
	struct hvri_link link; /* First: found by its address. */
	struct hvri_source source;
	struct hvri_env env;
	struct hvri_queue home;
	struct hvri_timers timers;
	hvrepl_loop *loop;
	hvrepl_tls *tls;
	uint64_t bytes, started_ns, ended_ns; /* Of content. */
	bool initiator, closed;
} ends[2]; /* Who sends; who receives. */

static void wake(void *user)
{
	hvrepl_loop_wake(((struct end *)user)->loop);
}

static int32_t process(void *user, uint32_t budget)
{
	struct end *end = user;

	hvri_timers_run(&end->timers, bench_now(), budget);
	hvri_queue_run(&end->home, budget);
	return !hvri_queue_empty(&end->home);
}

static uint64_t deadline(void *user)
{
	return hvri_timers_next(&((struct end *)user)->timers);
}

static int32_t pull(struct hvri_source *source, struct hvri_frame *frame,
		    struct hvrepl_iovec *iov, uint32_t iov_max)
{
	struct end *end = &ends[0];

	(void)source, (void)iov_max;
	if (end->bytes >= BULK)
		return 0;
	frame->type = HVRI_FRAME_CHUNK;
	frame->length = sizeof(content);
	iov[0] = (struct hvrepl_iovec){ content, sizeof(content) };
	end->bytes += sizeof(content);
	return 1;
}

static void sent(struct hvri_source *source, bool ok)
{
	(void)source;
	bench_must(ok ? 0 : -1, "a frame was not sent");
}

static void up(struct hvri_link *link)
{
	struct end *end = (struct end *)link;

	end->started_ns = bench_now();
	if (end->initiator)
		hvri_link_want(link, &end->source);
}

static int32_t frame_came(struct hvri_link *link, const struct hvri_frame *frame,
			  const uint8_t *payload, struct hvri_slab *slab)
{
	struct end *end = (struct end *)link;

	(void)payload, (void)slab;
	end->bytes += frame->length;
	if (end->bytes < BULK)
		return HVREPL_OK;
	end->ended_ns = bench_now();
	hvri_link_close(link, HVREPL_E_CLOSED, NULL);
	return HVREPL_OK;
}

static void closed(struct hvri_link *link)
{
	struct end *end = (struct end *)link;

	end->closed = true;
	hvrepl_loop_stop(end->loop);
}

static const struct hvri_link_calls calls = { up, frame_came, closed };

static void begin(struct end *end, const struct hvrepl_channel *channel,
		  const struct hvrepl_connect_result *result)
{
	struct hvri_hello hello = { .version_min = HVRI_WIRE_VERSION,
				    .version_max = HVRI_WIRE_VERSION };

	bench_must(result->code, "TLS");
	memset(hello.node.bytes, end->initiator ? 1 : 2, sizeof(hello.node));
	bench_must(hvri_link_start(&end->link, &end->env, &end->home,
				   &end->timers, channel, end->initiator,
				   &hello, &calls),
		   "session");
}

static void settled(void *user, const struct hvrepl_channel *channel,
		    const struct hvrepl_connect_result *result)
{
	begin(user, channel, result);
}

static void *run(void *user)
{
	bench_must(hvrepl_loop_run(((struct end *)user)->loop), "loop");
	return NULL;
}

static void end_open(struct end *end, const struct hvrepl_env *env,
		     const char *name, bool initiator)
{
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;
	struct hvrepl_loop_door door = HVREPL_LOOP_DOOR_INIT;
	char ca[TEMPDIR_PATH_MAX], cert[TEMPDIR_PATH_MAX];
	char key[TEMPDIR_PATH_MAX], file[64];
	hvrepl_loop_attachment *attachment;

	memset(end, 0, sizeof(*end));
	end->initiator = initiator;
	bench_must(hvri_env_copy(&end->env, env, NULL), "env");
	hvri_queue_init(&end->home, wake, end);
	end->source.pull = pull;
	end->source.sent = sent;
	path_of("ca.pem", ca);
	snprintf(file, sizeof(file), "%s.pem", name);
	path_of(file, cert);
	snprintf(file, sizeof(file), "%s.key", name);
	path_of(file, key);
	options.ca_file = ca;
	options.cert_file = cert;
	options.key_file = key;
	bench_must(hvrepl_tls_create(&options, &end->tls, NULL), "tls");
	bench_must(hvrepl_loop_create(&end->loop, NULL), "loop");
	door.user = end;
	door.process = process;
	door.deadline = deadline;
	bench_must(hvrepl_loop_attach(end->loop, &door, &attachment), "door");
}

static void end_close(struct end *end)
{
	hvri_link_free(&end->link);
	hvrepl_loop_destroy(end->loop);
	hvrepl_tls_destroy(end->tls);
	hvri_queue_free(&end->home);
}

static double session(const struct hvrepl_env *env)
{
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;
	hvrepl_listener *listener;
	pthread_t thread;
	double rate;

	end_open(&ends[0], env, "primary.test", true);
	end_open(&ends[1], env, "replica.test", false);
	listen.address = "127.0.0.1";
	listen.accepted = settled;
	listen.user = &ends[1];
	bench_must(hvrepl_tls_listen(ends[1].loop, ends[1].tls, &listen,
				     &listener, NULL),
		   "listen");
	connect.host = "127.0.0.1";
	connect.port = hvrepl_listener_port(listener);
	connect.peer = "replica.test";
	connect.done = settled;
	connect.user = &ends[0];
	bench_must(hvrepl_tls_connect(ends[0].loop, ends[0].tls, &connect,
				      NULL),
		   "connect");
	bench_must(-pthread_create(&thread, NULL, run, &ends[0]), "thread");
	run(&ends[1]);
	pthread_join(thread, NULL);
	rate = (double)ends[1].bytes / (1 << 20) * 1e9 /
	       (double)(ends[1].ended_ns - ends[1].started_ns);
	hvrepl_listener_close(listener);
	end_close(&ends[0]);
	end_close(&ends[1]);
	return rate;
}

int main(void)
{
	struct hvrepl_env env = HVREPL_ENV_INIT;
	double values[ROUNDS], others[ROUNDS];
	struct pki_ca *ca;

	tempdir_make(&dir);
	ca = pki_ca_new(&dir, "ca");
	pki_good(ca, &dir, "primary.test");
	pki_good(ca, &dir, "replica.test");
	bench_must(hvrepl_default_env(&env), "env");
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 2654435761u >> 24);
	(void)session(&env); /* Both warm. */
	(void)bare();
	for (unsigned i = 0; i < ROUNDS; i++) {
		values[i] = session(&env);
		others[i] = bare();
	}
	bench_paired("session: bulk, counted at the receiver", values, "MiB/s",
		     "bare TLS 1.3 pipe", others, ROUNDS, NULL);
	pki_ca_free(ca);
	tempdir_remove(&dir);
	return 0;
}
