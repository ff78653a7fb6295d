/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit program: moves an image and does nothing else. Read, zstd,
 * AES-256-GCM, loopback TCP, decrypt, decompress, write, and one fdatasync at
 * the end; two connections, each with a thread at either end. No digests, no
 * resume, no flow control, no recovery point: what the machine could do.
 *
 *   bench-limit FROM TO LEVEL     (LEVEL 100: not compressed)
 *
 * Prints wall seconds, CPU seconds and bytes on the wire.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define RAW 65536u /* As hvrepl's chunks. */
#define TAG 16u
#define STORED 100
#define CONNECTIONS 2

struct header {
	uint64_t offset;
	uint32_t raw, stored; /* 0 and 0: the end. */
	uint8_t tag[TAG];
};

static int from, to, level;
static off_t size;
static uint64_t wire[CONNECTIONS];
static const uint8_t key[32] = { 1, 2, 3 };

static void must(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(EXIT_FAILURE);
}

static void give(int fd, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	while (length > 0) {
		ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

		must(sent > 0, "send");
		at += sent;
		length -= (size_t)sent;
	}
}

static void take(int fd, void *bytes, size_t length)
{
	must(recv(fd, bytes, length, MSG_WAITALL) == (ssize_t)length, "recv");
}

/* Seals or opens `length` bytes where they lie. */
static void crypt_chunk(EVP_CIPHER_CTX *context, bool seal,
			struct header *header, uint8_t *bytes)
{
	uint8_t nonce[12] = { 0 };
	int length = (int)header->stored, ignored;

	memcpy(nonce, &header->offset, sizeof(header->offset));
	must(EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key, nonce,
			       seal) == 1, "cipher");
	must(EVP_CipherUpdate(context, bytes, &length, bytes, length) == 1,
	     "cipher");
	if (!seal)
		must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG,
					 header->tag) == 1, "tag");
	must(EVP_CipherFinal_ex(context, bytes + length, &ignored) == 1,
	     "authentication");
	if (seal)
		must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG,
					 header->tag) == 1, "tag");
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return length == 0 ||
	       (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = port };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&address,
				sizeof(address)) == 0, "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int sockets[CONNECTIONS][2]; /* Sender's, receiver's. */

static void *sender(void *argument)
{
	int which = (int)(intptr_t)argument, fd = sockets[which][0];
	size_t room = ZSTD_compressBound(RAW);
	uint8_t *raw = aligned_alloc(4096, RAW), *packed = malloc(room);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	struct header header = { 0 };

	must(raw != NULL && packed != NULL && context != NULL && zstd != NULL,
	     "memory");
	/* Every other chunk, holes left out. */
	for (off_t at = which * (off_t)RAW; at < size;
	     at += CONNECTIONS * (off_t)RAW) {
		off_t data = lseek(from, at, SEEK_DATA);
		uint8_t *bytes = raw;
		ssize_t got;

		if (data < 0)
			break;
		if (data >= at + (off_t)RAW)
			continue;
		got = pread(from, raw, RAW, at);
		must(got > 0, "read");
		if (is_zero(raw, (size_t)got))
			continue;
		header.offset = (uint64_t)at;
		header.raw = header.stored = (uint32_t)got;
		if (level != STORED) {
			size_t rc = ZSTD_compressCCtx(zstd, packed, room, raw,
						      (size_t)got, level);

			if (!ZSTD_isError(rc) && rc < (size_t)got) {
				header.stored = (uint32_t)rc;
				bytes = packed;
			}
		}
		crypt_chunk(context, true, &header, bytes);
		give(fd, &header, sizeof(header));
		give(fd, bytes, header.stored);
		wire[which] += sizeof(header) + header.stored;
	}
	memset(&header, 0, sizeof(header));
	give(fd, &header, sizeof(header));
	EVP_CIPHER_CTX_free(context);
	ZSTD_freeCCtx(zstd);
	free(packed);
	free(raw);
	return NULL;
}

static void *receiver(void *argument)
{
	int fd = sockets[(int)(intptr_t)argument][1];
	uint8_t *raw = aligned_alloc(4096, RAW), *packed = malloc(RAW);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	ZSTD_DCtx *zstd = ZSTD_createDCtx();
	struct header header;

	must(raw != NULL && packed != NULL && context != NULL && zstd != NULL,
	     "memory");
	for (;;) {
		const uint8_t *bytes = packed;

		take(fd, &header, sizeof(header));
		if (header.raw == 0)
			break;
		must(header.raw <= RAW && header.stored <= header.raw,
		     "length");
		take(fd, packed, header.stored);
		crypt_chunk(context, false, &header, packed);
		if (header.stored < header.raw) {
			must(ZSTD_decompressDCtx(zstd, raw, RAW, packed,
						 header.stored) == header.raw,
			     "decompress");
			bytes = raw;
		}
		must(pwrite(to, bytes, header.raw, (off_t)header.offset) ==
			     (ssize_t)header.raw, "write");
	}
	EVP_CIPHER_CTX_free(context);
	ZSTD_freeDCtx(zstd);
	free(packed);
	free(raw);
	return NULL;
}

static double seconds(const struct timespec *time)
{
	return (double)time->tv_sec + (double)time->tv_nsec / 1e9;
}

static double cpu(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void join_sockets(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(listener >= 0 &&
		     bind(listener, (struct sockaddr *)&address, length) == 0 &&
		     listen(listener, CONNECTIONS) == 0 &&
		     getsockname(listener, (struct sockaddr *)&address,
				 &length) == 0, "listen");
	for (int i = 0; i < CONNECTIONS; i++) {
		sockets[i][0] = connect_to(address.sin_port);
		sockets[i][1] = accept(listener, NULL, NULL);
		must(sockets[i][1] >= 0, "accept");
	}
	close(listener);
}

int main(int argc, char **argv)
{
	pthread_t threads[CONNECTIONS][2];
	struct timespec begun, ended;
	struct stat st;

	if (argc != 4) {
		fprintf(stderr, "bench-limit FROM TO LEVEL\n");
		return 2;
	}
	from = open(argv[1], O_RDONLY);
	must(from >= 0 && fstat(from, &st) == 0, argv[1]);
	size = st.st_size;
	level = atoi(argv[3]);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	to = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
	must(to >= 0 && ftruncate(to, size) == 0, argv[2]);
	join_sockets();
	for (intptr_t i = 0; i < CONNECTIONS; i++)
		must(pthread_create(&threads[i][1], NULL, receiver,
				    (void *)i) == 0 &&
		     pthread_create(&threads[i][0], NULL, sender,
				    (void *)i) == 0, "thread");
	for (int i = 0; i < CONNECTIONS; i++) {
		pthread_join(threads[i][0], NULL);
		pthread_join(threads[i][1], NULL);
	}
	must(fdatasync(to) == 0, "fdatasync");
	clock_gettime(CLOCK_MONOTONIC, &ended);
	printf("%.3f %.3f %llu\n", seconds(&ended) - seconds(&begun), cpu(),
	       (unsigned long long)(wire[0] + wire[1]));
	return 0;
}
