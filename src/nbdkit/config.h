/* SPDX-License-Identifier: Apache-2.0 */
/* A site's configuration file, read and checked. */
#ifndef SITE_CONFIG_H
#define SITE_CONFIG_H

#include <hvrepl/backends.h>
#include <hvrepl/hvrepl.h>
#include <stdbool.h>
#include <stddef.h>

#define SITE_NAME_MAX 63
#define SITE_DISKS_MAX 64
#define SITE_QUOTA_MIN (64ull << 20)

#define SITE_START_ALLOW 0u
#define SITE_START_REFUSE 1u

struct site_peer {
	char *name;    /* What its certificate must prove, or its principal. */
	char *address; /* NULL: it calls us. */
	uint16_t port;
	char *pin, *backup_pin; /* Of its key; both or none. */
};

struct site_authorisation {
	char *peer;        /* Or a pattern. */
	char *trust_group; /* NULL: none. */
	char *storage;     /* Directory of its replicas; NULL: the site's. */
	uint32_t verbs;    /* HVREPL_VERB_* */
	bool deny;         /* Nothing, whatever a pattern says. */
	/* Quotas; 0: none. */
	uint32_t relationships, points;
	uint64_t bytes, rate;
};

struct site_policy {
	char *name;
	uint64_t interval_ms; /* Between recovery points. */
	uint32_t points;      /* Kept beside the newest, 0 to 24. */
	uint64_t quota;       /* Bytes of points, where it is a replica; 0: none. */
	uint32_t points_min;  /* Kept though space is short. */
};

struct site_disk {
	char *name;
	char *path;     /* Absolute, or relative to the working directory. */
	bool exclusive; /* Nobody else writes it while we are away (T9). */
};

struct site_vm {
	char *name;
	const struct site_policy *policy;
	char *capture; /* Directory for the segment of every cut, or NULL. */
	uint64_t capture_interval_ms; /* 0: only on request. */
	struct site_disk *disks;
	size_t disk_count;
};

struct site_config {
	char *file;
	char *name;
	char *state;    /* Directory: relationships, epochs. */
	char *storage;  /* Directory: tracker files, logs, points. */
	char *replicas; /* Directory: disks made for replicas; may be NULL. */
	char *audit;    /* Directory of the audit; NULL: none. */
	char *control;  /* Unix socket of the control interface. */
	char *nbd;      /* "unix:PATH" or "HOST:PORT". */
	uint64_t start_wait_ms;
	uint64_t retry_ms, retry_max_ms; /* Between connection attempts. */
	uint32_t start_without_peer; /* SITE_START_* */
	uint32_t compression;        /* zstd level; 100: off. */
	uint64_t spool;              /* Bytes of memory per VM. */
	char *authority;   /* PEM files; all three or none. */
	char *certificate;
	char *key;
	char *crl;          /* File or directory of revocation lists, or NULL. */
	uint32_t tls_flags; /* HVREPL_TLS_ALLOW_* */
	char *keytab;    /* Kerberos instead of those; NULL: not. */
	char *principal; /* NULL: by the host's name. */
	char *service;   /* NULL: hvrepl. */
	char *tickets;   /* Credential cache to call with; NULL: the keytab. */
	char *listen_address; /* NULL: nobody can call us. */
	uint16_t listen_port;
	struct site_peer *peers;
	size_t peer_count;
	struct site_authorisation *authorisations;
	size_t authorisation_count;
	struct site_policy *policies; /* [0]: the default, and of replicas. */
	size_t policy_count;
	struct site_vm *vms;
	size_t vm_count;
};

/*
 * Read and check `path`. On failure the sentence names file, line and what to
 * write instead, and *out is untouched. Not for two threads at once.
 */
int32_t site_config_load(const char *path, struct site_config **out,
			 struct hvrepl_error *error);
/* NULL is fine. */
void site_config_free(struct site_config *config);

#endif
