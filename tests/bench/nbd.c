/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD client and its servers; see nbd.h. */
#define _GNU_SOURCE
#include "nbd.h"

#include "bench.h"
#include "testing.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPTION_MAGIC UINT64_C(0x49484156454f5054)
#define REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define REQUEST_MAGIC 0x25609513u
#define SIMPLE_MAGIC 0x67446698u
#define OPTION_GO 7u
#define REPLY_ACK 1u
#define REPLY_INFO 3u
#define WRITE 1u
#define FLUSH 3u
#define FLUSH_SLOT NBD_DEPTH_MAX

struct request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t handle, offset;
	uint32_t length;
} __attribute__((packed));

struct reply {
	uint32_t magic, error;
	uint64_t handle;
} __attribute__((packed));

static void die(const char *what)
{
	fprintf(stderr, "NBD: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static bool take(int fd, void *buffer, size_t length)
{
	return recv(fd, buffer, length, MSG_WAITALL) == (ssize_t)length;
}

static bool give(int fd, struct iovec *iov, int count)
{
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = (size_t)count };

	while (message.msg_iovlen > 0) {
		ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (sent < 0)
			return false;
		while (message.msg_iovlen > 0 &&
		       (size_t)sent >= message.msg_iov->iov_len) {
			sent -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (message.msg_iovlen > 0) {
			message.msg_iov->iov_base =
				(uint8_t *)message.msg_iov->iov_base + sent;
			message.msg_iov->iov_len -= (size_t)sent;
		}
	}
	return true;
}

/* Newstyle: the option GO, then transmission. */
static bool negotiate(struct nbd *nbd, const char *export)
{
	struct {
		uint32_t flags;
		uint64_t magic;
		uint32_t option, length, name_length;
	} __attribute__((packed)) go;
	struct {
		uint64_t magic;
		uint32_t option, type, length;
	} __attribute__((packed)) answer;
	uint16_t none = 0;
	uint8_t bytes[512];
	uint32_t length = (uint32_t)strlen(export);
	struct iovec iov[3] = { { &go, sizeof(go) },
				{ (void *)(uintptr_t)export, length },
				{ &none, sizeof(none) } };

	if (!take(nbd->socket, bytes, 18))
		return false;
	go.flags = htobe32(3); /* Fixed newstyle, no zeroes. */
	go.magic = htobe64(OPTION_MAGIC);
	go.option = htobe32(OPTION_GO);
	go.length = htobe32(4 + length + 2);
	go.name_length = htobe32(length);
	if (!give(nbd->socket, iov, 3))
		return false;
	for (;;) {
		if (!take(nbd->socket, &answer, sizeof(answer)))
			return false;
		length = be32toh(answer.length);
		if (answer.magic != htobe64(REPLY_MAGIC) ||
		    length > sizeof(bytes) ||
		    (length > 0 && !take(nbd->socket, bytes, length)))
			return false;
		if (be32toh(answer.type) == REPLY_ACK)
			return true;
		if (be32toh(answer.type) != REPLY_INFO)
			return false;
		if (length == 12 && bytes[0] == 0 && bytes[1] == 0) {
			memcpy(&nbd->size, bytes + 2, sizeof(nbd->size));
			nbd->size = be64toh(nbd->size);
		}
	}
}

static bool ask(struct nbd *nbd, uint16_t type, uint64_t slot, uint64_t offset)
{
	struct request request = { .magic = htobe32(REQUEST_MAGIC),
				   .type = htobe16(type),
				   .handle = slot,
				   .offset = htobe64(offset),
				   .length = htobe32(type == WRITE ? NBD_BLOCK :
								     0) };
	struct iovec iov[2] = { { &request, sizeof(request) },
				{ nbd->data, NBD_BLOCK } };

	return give(nbd->socket, iov, type == WRITE ? 2 : 1);
}

static bool answered(struct nbd *nbd, uint64_t *slot_out)
{
	struct reply reply;

	if (!take(nbd->socket, &reply, sizeof(reply)) ||
	    reply.magic != htobe32(SIMPLE_MAGIC) || reply.error != 0)
		return false;
	*slot_out = reply.handle;
	return true;
}

static bool try_open(struct nbd *nbd, const char *path, const char *export)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint64_t slot;

	nbd->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (nbd->socket < 0)
		die("socket");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	/* A site may still be finding out whether it owns the VM. */
	if (connect(nbd->socket, (struct sockaddr *)&address,
		    sizeof(address)) == 0 &&
	    negotiate(nbd, export) && ask(nbd, WRITE, 0, 0) &&
	    answered(nbd, &slot))
		return true;
	close(nbd->socket);
	return false;
}

void nbd_open(struct nbd *nbd, const char *path, const char *export)
{
	static const struct timespec pause = { 0, 20000000 };

	memset(nbd, 0, sizeof(*nbd));
	nbd->random = 7;
	test_fill(nbd->data, sizeof(nbd->data), 1);
	/* Compresses to about a half, as real content does. */
	for (size_t i = 0; i < sizeof(nbd->data); i++)
		nbd->data[i] &= 0x0f;
	for (int tries = 0; tries < 1000; tries++) {
		if (try_open(nbd, path, export))
			return;
		nanosleep(&pause, NULL);
	}
	die(export);
}

static void send_write(struct nbd *nbd, const struct nbd_load *load,
		       uint64_t slot)
{
	uint64_t offset = test_random(&nbd->random) % (load->span / NBD_BLOCK) *
			  NBD_BLOCK;

	/* Each write differs from what was there. */
	memcpy(nbd->data, &nbd->random, sizeof(nbd->random));
	nbd->started[slot] = bench_now();
	if (!ask(nbd, WRITE, slot, offset))
		die("write");
}

uint64_t nbd_run(struct nbd *nbd, const struct nbd_load *load)
{
	uint64_t sent = 0, done = 0, slot;
	bool over = false;

	for (uint32_t i = 0; i < load->depth &&
			     (load->count == 0 || sent < load->count);
	     i++, sent++)
		send_write(nbd, load, i);
	while (done < sent) {
		uint64_t now;

		if (!answered(nbd, &slot) || slot >= NBD_DEPTH_MAX)
			die("write's answer");
		now = bench_now();
		if (load->latency_ms != NULL)
			load->latency_ms[done] =
				(double)(now - nbd->started[slot]) / 1e6;
		done++;
		if (load->flush_every != 0 && done % load->flush_every == 0) {
			uint64_t flushed;

			/* Only with depth 1: nothing else is under way. */
			if (!ask(nbd, FLUSH, FLUSH_SLOT, 0) ||
			    !answered(nbd, &flushed))
				die("flush");
		}
		over |= (load->until_ns != 0 && now >= load->until_ns) ||
			(load->count != 0 && sent >= load->count);
		if (!over) {
			send_write(nbd, load, slot);
			sent++;
		}
	}
	return done;
}

void nbd_close(struct nbd *nbd)
{
	struct request request = { .magic = htobe32(REQUEST_MAGIC),
				   .type = htobe16(2) };
	struct iovec iov = { &request, sizeof(request) };

	(void)give(nbd->socket, &iov, 1);
	close(nbd->socket);
}

pid_t nbd_serve(const char *const *arguments)
{
	pid_t server = fork();

	if (server < 0)
		die("fork");
	if (server == 0) {
		/* What it says when all is well is not of interest. */
		int log = open("/dev/null", O_WRONLY);

		if (getenv("HVREPL_BENCH_LOUD") == NULL) {
			dup2(log, STDERR_FILENO);
			dup2(log, STDOUT_FILENO);
		}
		execvp(arguments[0], (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	return server;
}

void nbd_stop(pid_t server)
{
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
}

double nbd_cpu(pid_t server)
{
	unsigned long user = 0, system = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)server);
	file = fopen(path, "r");
	if (file == NULL ||
	    fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &system) != 2)
		die(path);
	fclose(file);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}
