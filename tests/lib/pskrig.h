/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends that prove themselves by psk.h, for the tests of authenticators. */
#ifndef PSKRIG_H
#define PSKRIG_H

#include "psk.h"
#include "tlsrig.h"
#include "tlsstream.h"

static struct psk east, west;
static unsigned failed_renewals, mended_renewals;
static uint64_t patience_ns; /* For a handshake; 0: the usual. */

static inline void renewal_failed(void *user, const char *peer, uint64_t left_ns,
			   const struct hvrepl_error *error)
{
	ck_assert_ptr_eq(user, &east);
	ck_assert_str_eq(peer, "west");
	ck_assert(left_ns > 0 && left_ns <= east.lifetime_ns / 2);
	ck_assert_ptr_nonnull(strstr(error->sentence, "safe"));
	failed_renewals++;
}

static inline void renewed(void *user, const char *peer)
{
	ck_assert(user == &east && strcmp(peer, "west") == 0);
	mended_renewals++;
}

static inline int32_t make(const struct hvrepl_authenticator_ops *ops, void *user,
		    const char *mechanism, hvrepl_tls **out,
		    struct hvrepl_error *error)
{
	struct hvrepl_authenticator_options options =
		psk_options(ops, user, mechanism);

	/* Whatever it proves to be. */
	options.self = user == &east ? "east" : "west";
	options.renewal_failed = renewal_failed;
	options.renewed = renewed;
	options.user = user;
	options.handshake_timeout_ns = patience_ns;
	return hvrepl_authenticator_create(&options, out, error);
}

static inline hvrepl_tls *credentials_of(const struct hvrepl_authenticator_ops *ops,
				  struct psk *psk, const char *mechanism)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_tls *tls = NULL;

	ck_assert_msg(make(ops, psk, mechanism, &tls, &error) == HVREPL_OK,
		      "%s", error.sentence);
	return tls;
}

static inline void open_with(const struct hvrepl_authenticator_ops *ours,
		      const struct hvrepl_authenticator_ops *theirs)
{
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	primary = credentials_of(ours, &east, "psk-1");
	replica = credentials_of(theirs, &west, "psk-1");
	ck_assert_int_eq(hvrepl_loop_create(&loop, NULL), HVREPL_OK);
}

static inline void open_ends(void)
{
	memset(&east, 0, sizeof(east));
	memset(&west, 0, sizeof(west));
	strcpy(east.name, "east");
	strcpy(west.name, "west");
	memset(east.key, 0x4b, sizeof(east.key));
	memset(west.key, 0x4b, sizeof(west.key));
	failed_renewals = mended_renewals = 0;
	patience_ns = 0;
	open_with(&psk_ops, &psk_ops);
}

static inline void close_ends(void)
{
	tear_down();
	client.channel.ops = server.channel.ops = NULL;
	primary = replica = NULL;
	loop = NULL;
	ck_assert_uint_eq(east.begun, east.ended);
	ck_assert_uint_eq(west.begun, west.ended);
}

static inline void again_with(const struct hvrepl_authenticator_ops *ours,
		       const struct hvrepl_authenticator_ops *theirs)
{
	close_ends();
	open_with(ours, theirs);
}

static inline void call(const char *peer)
{
	dial("127.0.0.1", hvrepl_listener_port(listener), peer, 0);
}

static inline void try_to_join(void)
{
	start_listening("127.0.0.1", 0);
	call("west");
	await(2);
}

static inline void join(void)
{
	try_to_join();
	ck_assert_msg(client.code == HVREPL_OK, "%s", client.sentence);
	ck_assert_msg(server.code == HVREPL_OK, "%s", server.sentence);
}

static inline void steps(uint32_t ours, uint32_t theirs)
{
	ck_assert_msg(client.step == ours && server.step == theirs,
		      "%s at %u, %s at %u", client.sentence, client.step,
		      server.sentence, server.step);
	ck_assert_int_lt(client.code, 0);
	ck_assert_int_lt(server.code, 0);
}
#define SAID(side, text) \
	ck_assert_msg(strstr((side).sentence, text), "%s", (side).sentence)

static inline void infos(struct hvrepl_channel_info *a, struct hvrepl_channel_info *b)
{
	*a = *b = (struct hvrepl_channel_info){ .struct_size = sizeof(*a) };
	client.channel.ops->info(client.channel.user, a);
	server.channel.ops->info(server.channel.user, b);
}

static inline void transfer(size_t total, size_t piece)
{
	struct stream streams[2];

	stream_init(&streams[0], &client, &server, total, piece, piece / 2 + 1);
	stream_init(&streams[1], &server, &client, total, piece / 3 + 1, piece);
	ck_assert_int_eq(hvrepl_loop_post(loop, start_streams, streams), 0);
	ck_assert_int_eq(hvrepl_loop_run(loop), HVREPL_OK);
	stream_check(&streams[0]);
	stream_check(&streams[1]);
}

static inline struct hvrepl_authenticator_ops blocking(void)
{
	struct hvrepl_authenticator_ops ops = psk_ops;

	ops.flags = HVREPL_AUTHENTICATOR_BLOCKS;
	return ops;
}
#endif
