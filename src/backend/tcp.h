/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets as connections want them, and their addresses as people read them. */
#ifndef HVRI_BACKEND_TCP_H
#define HVRI_BACKEND_TCP_H

#include <stdint.h>
#include <sys/socket.h>

/* "192.0.2.7:4471", "[2001:db8::1]:4471". */
#define HVRI_ADDRESS_TEXT 64

void hvri_tcp_format(const struct sockaddr *address, socklen_t length,
		     char text_out[HVRI_ADDRESS_TEXT]);
/* No delay for small frames; a dead peer is noticed within about half a
 * minute. Failures only cost that. */
void hvri_tcp_tune(int fd);
#endif
