/* SPDX-License-Identifier: Apache-2.0 */
/* libhvrepl-backends: files, threads, sockets and TLS for those without. */
#ifndef HVREPL_BACKENDS_H
#define HVREPL_BACKENDS_H

/*
 * Everything libhvrepl itself does not do: open files and sockets, start
 * threads, read clocks. All of it goes in through the callback tables of
 * libhvrepl, and none of it is needed by an application that brings its own.
 * Linux. Not fork-safe after the first create or open.
 */
#include <hvrepl/backends/authenticator.h>
#include <hvrepl/backends/kerberos.h>
#include <hvrepl/backends/local.h>
#include <hvrepl/backends/loop.h>
#include <hvrepl/backends/memory.h>
#include <hvrepl/backends/node.h>
#include <hvrepl/backends/pool.h>
#include <hvrepl/backends/tls.h>

#endif
