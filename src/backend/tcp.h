/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets as connections want them, and their addresses as people read them. */
#ifndef HVRI_BACKEND_TCP_H
#define HVRI_BACKEND_TCP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* "192.0.2.7:4471", "[2001:db8::1]:4471". */
#define HVRI_ADDRESS_TEXT 64

void hvri_tcp_format(const struct sockaddr *address, socklen_t length,
		     char text_out[HVRI_ADDRESS_TEXT]);
/* Who is behind an address, as far as limits go: an IPv4 address, also where it is
 * mapped into IPv6; of IPv6 the first 64 bits, for a host has all of those, or all
 * of it on the own link. All zero: none of these. */
struct hvri_tcp_source {
	uint8_t bytes[16];
};
void hvri_tcp_source(const struct sockaddr *address, socklen_t length,
		     struct hvri_tcp_source *source_out);
bool hvri_tcp_same_source(const struct hvri_tcp_source *a,
			  const struct hvri_tcp_source *b);
/* "192.0.2.7", "2001:db8::/64", "fe80::1"; "" for none. */
void hvri_tcp_source_format(const struct hvri_tcp_source *source,
			    char text_out[HVRI_ADDRESS_TEXT]);
/* No delay for small frames; a dead peer is noticed within about half a
 * minute. Failures only cost that. */
void hvri_tcp_tune(int fd);
#endif
