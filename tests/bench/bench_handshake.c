/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions proved a second, by certificate and by Kerberos, and what the frames
 * of the latter cost in bulk; both ends on one thread of this process. */
#include "bench.h"
#include "kdc.h"
#include "tlsrig.h"
#include "tlsstream.h"

#define ROUNDS 9u
#define HANDSHAKES 40u
#define BULK (256u << 20)

static struct kdc kdc;
static hvrepl_tls *ends[2][2]; /* Certificates, Kerberos; who calls, who is
				* called. */
static const char *const peers[2] = { "replica.test", "hvrepl/west.test" };

/* What a failed check of the rig does here. */
void __wrap__mark_point(const char *file, int line);
void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
			      const char *message, ...)
	__attribute__((noreturn));

void __wrap__mark_point(const char *file, int line)
{
	(void)file, (void)line;
}

void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
			      const char *message, ...)
{
	(void)message;
	fprintf(stderr, "%s:%d: %s\n", file, line, expr);
	exit(1);
}

static hvrepl_tls *kerberos(const char *name)
{
	struct hvrepl_kerberos_options options = HVREPL_KERBEROS_OPTIONS_INIT;
	char path[TEMPDIR_PATH_MAX], principal[80];
	hvrepl_tls *tls;

	snprintf(principal, sizeof(principal), "hvrepl/%s", name);
	options.keytab = kdc_keytab(&kdc, name, path);
	options.principal = principal;
	bench_must(hvrepl_kerberos_create(&options, &tls, NULL), "kerberos");
	return tls;
}

static void use(unsigned kind)
{
	hvrepl_listener_close(listener);
	primary = ends[kind][0];
	replica = ends[kind][1];
	start_listening("127.0.0.1", 0);
}

static void prove(unsigned kind)
{
	dial("127.0.0.1", hvrepl_listener_port(listener), peers[kind], 0);
	await(2);
	bench_must(client.code, client.sentence);
	bench_must(server.code, server.sentence);
}

static void let_go(void)
{
	client.channel.release(client.channel.user);
	server.channel.release(server.channel.user);
	client.channel.ops = server.channel.ops = NULL;
}

static double handshakes_a_second(unsigned kind)
{
	uint64_t start;

	use(kind);
	prove(kind); /* Tickets are there from now on. */
	let_go();
	start = bench_now();
	for (unsigned i = 0; i < HANDSHAKES; i++) {
		prove(kind);
		let_go();
	}
	return HANDSHAKES * 1e9 / (double)(bench_now() - start);
}

static void start_stream(void *argument)
{
	receive_more(argument);
	send_more(argument);
}

static double bulk(unsigned kind)
{
	struct stream stream;
	uint64_t start;

	use(kind);
	prove(kind);
	stream_init(&stream, &client, &server, BULK, 270000, 1 << 20);
	start = bench_now();
	bench_must(hvrepl_loop_post(loop, start_stream, &stream), "post");
	bench_must(hvrepl_loop_run(loop), "run");
	start = bench_now() - start;
	stream_check(&stream); /* Counted, and compared, where it arrived. */
	let_go();
	return (double)BULK / (1 << 20) * 1e9 / (double)start;
}

int main(void)
{
	static const char *const principals[] = { "hvrepl/east.test",
						  "hvrepl/west.test", NULL };
	double values[2][ROUNDS];

	setenv("KDC_CLOCKSKEW", "60", 1);
	kdc_make(&kdc, principals);
	setup();
	ends[0][0] = primary;
	ends[0][1] = replica;
	ends[1][0] = kerberos("east.test");
	ends[1][1] = kerberos("west.test");
	for (unsigned i = 0; i < ROUNDS; i++)
		for (unsigned kind = 0; kind < 2; kind++)
			values[kind][i] = handshakes_a_second(kind);
	bench_paired("handshake: by Kerberos, with a ticket", values[1],
		     "1/s", "by certificate", values[0], ROUNDS, NULL);
	for (unsigned i = 0; i < ROUNDS / 3; i++)
		for (unsigned kind = 0; kind < 2; kind++)
			values[kind][i] = bulk(kind);
	bench_paired("handshake: bulk after it, Kerberos", values[1], "MiB/s",
		     "certificates", values[0], ROUNDS / 3, ">= 0.9");
	hvrepl_tls_destroy(ends[0][0]);
	hvrepl_tls_destroy(ends[0][1]);
	teardown();
	kdc_remove(&kdc);
	return 0;
}
