/* SPDX-License-Identifier: Apache-2.0 */
/* Options of sockets and the text of addresses. */
#include "backend/tcp.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#define KEEPALIVE_IDLE_S 15
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES 3
#define UNACKNOWLEDGED_MAX_MS 30000

void hvri_tcp_format(const struct sockaddr *address, socklen_t length,
		     char text_out[HVRI_ADDRESS_TEXT])
{
	char host[INET6_ADDRSTRLEN + 1], port[8];

	if (getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(text_out, HVRI_ADDRESS_TEXT, "?");
	else if (address->sa_family == AF_INET6)
		snprintf(text_out, HVRI_ADDRESS_TEXT, "[%s]:%s", host, port);
	else
		snprintf(text_out, HVRI_ADDRESS_TEXT, "%s:%s", host, port);
}

/* Such an address counts with all its bits. */
static bool is_whole(const struct in6_addr *six)
{
	return IN6_IS_ADDR_V4MAPPED(six) || IN6_IS_ADDR_LINKLOCAL(six) ||
	       IN6_IS_ADDR_LOOPBACK(six);
}

void hvri_tcp_source(const struct sockaddr *address, socklen_t length,
		     struct hvri_tcp_source *source_out)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff,
					    0xff };
	struct sockaddr_in four;
	struct sockaddr_in6 six;

	memset(source_out, 0, sizeof(*source_out));
	if (address->sa_family == AF_INET && (size_t)length >= sizeof(four)) {
		memcpy(&four, address, sizeof(four));
		memcpy(source_out->bytes, mapped, sizeof(mapped));
		memcpy(source_out->bytes + sizeof(mapped), &four.sin_addr, 4);
	} else if (address->sa_family == AF_INET6 &&
		   (size_t)length >= sizeof(six)) {
		memcpy(&six, address, sizeof(six));
		memcpy(source_out->bytes, &six.sin6_addr, 16);
		if (!is_whole(&six.sin6_addr))
			memset(source_out->bytes + 8, 0, 8);
	}
}

bool hvri_tcp_same_source(const struct hvri_tcp_source *a,
			  const struct hvri_tcp_source *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void hvri_tcp_source_format(const struct hvri_tcp_source *source,
			    char text_out[HVRI_ADDRESS_TEXT])
{
	static const struct hvri_tcp_source none;
	char host[INET6_ADDRSTRLEN];
	struct in6_addr six;

	text_out[0] = 0;
	if (hvri_tcp_same_source(source, &none))
		return;
	memcpy(&six, source->bytes, sizeof(six));
	if (IN6_IS_ADDR_V4MAPPED(&six))
		(void)inet_ntop(AF_INET, source->bytes + 12, text_out,
				HVRI_ADDRESS_TEXT);
	else if (inet_ntop(AF_INET6, &six, host, sizeof(host)) != NULL)
		snprintf(text_out, HVRI_ADDRESS_TEXT, "%s%s", host,
			 is_whole(&six) ? "" : "/64");
}

static void set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

void hvri_tcp_tune(int fd)
{
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
	/* Keepalive is silent while there is something unacknowledged. */
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MAX_MS);
}
