/* SPDX-License-Identifier: Apache-2.0 */
/* A real KDC for one test program, on loopback. */
#ifndef KDC_H
#define KDC_H

#include "tempdir.h"

#include <sys/types.h>

struct kdc {
	struct tempdir dir; /* NAME.keytab of each principal, krb5.conf, ... */
	pid_t pid;          /* 0: it does not run. */
};

/* New realm HVREPL.TEST with these principals ("hvrepl/NAME" or with
 * "=OPTIONS" of addprinc, NULL-terminated), its KDC, and KRB5_CONFIG of this
 * process. Ends the program when that fails. Call it before threads. */
void kdc_make(struct kdc *kdc, const char *const *principals);
/* This process asks that one from now on. */
void kdc_use(const struct kdc *kdc);
void kdc_start(struct kdc *kdc);
/* By its process id, and waits: in the process that started it. */
void kdc_stop(struct kdc *kdc);
void kdc_remove(struct kdc *kdc);
/* DIR/NAME.keytab, in `path`. */
const char *kdc_keytab(const struct kdc *kdc, const char *name,
		       char path[TEMPDIR_PATH_MAX]);
/* Lines of the KDC's log with `text`. */
unsigned kdc_logged(const struct kdc *kdc, const char *text);
/* A line for kadmin.local. */
void kdc_admin(const struct kdc *kdc, const char *command);
#endif
