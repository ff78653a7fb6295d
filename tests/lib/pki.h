/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for tests: CAs and leaves with whatever fault is wanted. */
#ifndef PKI_H
#define PKI_H

#include "tempdir.h"

#define PKI_SERVER 1u
#define PKI_CLIENT 2u
#define PKI_BOTH 3u
#define PKI_NO_EXTENSION 4u /* No extended key usage at all. */

struct pki_ca; /* A key and its certificate. */

/* New CA; writes DIR/NAME.pem. */
struct pki_ca *pki_ca_new(const struct tempdir *dir, const char *name);
/* One whose certificate `parent` signed; for chains append NAME.pem to a leaf. */
struct pki_ca *pki_ca_below(const struct pki_ca *parent,
			    const struct tempdir *dir, const char *name);
void pki_ca_free(struct pki_ca *ca);

/* DIR/NAME.pem and DIR/NAME.key, signed by `ca`, valid from now + first to
 * now + last seconds. `alternatives` is OpenSSL's syntax ("DNS:a,IP:127.0.0.1")
 * or NULL for none. */
void pki_leaf(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name, const char *alternatives, unsigned usages,
	      long first, long last);
/* As usual: good for an hour, both usages, DNS:NAME. */
void pki_good(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name);
/* As pki_good(), with an RSA key of 1024 bits. */
void pki_weak(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *name);
/* The same key and names with other dates: DIR/NAME.pem is replaced. */
void pki_renew(const struct pki_ca *ca, const struct tempdir *dir,
	       const char *name, const char *alternatives, long first,
	       long last);
/* DIR/FILE: a list of `ca`, that names the `count` certificates DIR/NAME.pem,
 * from now + first to now + last seconds. */
void pki_list(const struct pki_ca *ca, const struct tempdir *dir,
	      const char *file, const char *const *names, unsigned count,
	      long first, long last);
/* What says of a list, in a critical extension, that it is not all of it: for
 * attribute certificates, what nobody knows, what changed since list 1. */
enum pki_part { PKI_PART_ATTRIBUTES, PKI_PART_UNKNOWN, PKI_PART_DELTA };
/* DIR/FILE, a list of `ca`, says so, signed again. */
void pki_list_part(const struct pki_ca *ca, const struct tempdir *dir,
		   const char *file, enum pki_part part);
/* DIR/TO gets DIR/FROM at its end; it need not be there. */
void pki_append(const struct tempdir *dir, const char *to, const char *from);
/* "sha256:..." of the key of DIR/NAME.pem. */
#define PKI_PIN 72
void pki_pin(const struct tempdir *dir, const char *name, char out[PKI_PIN]);
#endif
