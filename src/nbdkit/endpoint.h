/* SPDX-License-Identifier: Apache-2.0 */
/* A site's replication endpoint: the node, its threads, its network. */
#ifndef SITE_ENDPOINT_H
#define SITE_ENDPOINT_H

#include "config.h"
#include "waits.h"

#include <hvrepl/backends.h>
#include <hvrepl/hvrepl.h>
#include <pthread.h>
#include <stdbool.h>

/* One job, as its events told it. */
struct endpoint_job {
	uint64_t id;
	struct hvrepl_uuid vm;
	uint32_t type; /* HVREPL_OPERATION_*; 0: started elsewhere. */
	bool done;
	int32_t code;
	uint64_t bytes, total_bytes;
	char sentence[HVREPL_SENTENCE_MAX];
};

/* How long points of a VM took from cut to acknowledgement. */
struct endpoint_measure {
	struct endpoint_measure *next;
	struct hvrepl_uuid vm;
	uint64_t points;
	uint64_t last_ns, sum_ns, max_ns;
	uint64_t last_bytes, max_bytes, sent_before;
};

struct endpoint;

struct endpoint_peer {
	struct endpoint *endpoint;
	const struct site_peer *config;
};

#define ENDPOINT_JOBS 256u

/* All of it is the control thread's once that runs. */
struct endpoint {
	const struct site_config *config;
	struct site_config *rights; /* Reloaded: its entries count; or NULL. */
	const struct hvrepl_env *env;
	void (*log)(void *user, uint32_t level, const char *message);
	hvrepl_node *node;
	hvrepl_loop *control_loop, *network_loop;
	hvrepl_loop_attachment *attachment;
	hvrepl_tls *tls;
	hvrepl_listener *listener;
	/* Of peers, as they count: trust.c. The strings are ours. */
	struct hvrepl_tls_pin *pins;
	uint32_t pin_count;
	struct endpoint_peer *peers;
	const char **peer_names; /* And patterns. */
	uint32_t peer_name_count;
	pthread_t control_thread, network_thread;
	bool control_runs, network_runs;
	bool closed; /* The node has drained. */
	uint64_t token_slack_ns;
	uint64_t trust_due_ns; /* trust.c */
	uint32_t trust_stage;  /* What was logged of the certificate's end; */
	uint64_t trust_reads;  /* ...and of files that were read. */
	char trust_error[HVREPL_SENTENCE_MAX];
	struct endpoint_job jobs[ENDPOINT_JOBS]; /* A ring. */
	uint32_t job_next;
	struct endpoint_measure *measures;
	struct endpoint_place *places; /* replica.c */
	pthread_mutex_t audit_mutex; /* Both threads append. */
	hvrepl_audit *audit;         /* NULL: not open yet. */
	int32_t audit_code, audit_open_code; /* Of the last attempt. */
	bool audit_told; /* That it fails; rights are narrowed. */
	struct waits waits;
};

/* `config` and `env` are borrowed until endpoint_free(). */
int32_t endpoint_open(const struct site_config *config,
		      const struct hvrepl_env *env,
		      void (*log)(void *user, uint32_t level,
				  const char *message),
		      struct endpoint **out, struct hvrepl_error *error);
/* Answers what waits, drains the node, ends the threads. NULL is fine. */
void endpoint_close(struct endpoint *endpoint);

/* Run function(endpoint, argument) on the control thread and wait for it. */
int32_t endpoint_call(struct endpoint *endpoint,
		      void (*function)(struct endpoint *endpoint,
				       void *argument),
		      void *argument);

/* Control thread: status of the VM of that name; NOT_FOUND. */
int32_t endpoint_find_vm(struct endpoint *endpoint, const char *name,
			 struct hvrepl_vm_status *status);
struct endpoint_job *endpoint_find_job(struct endpoint *endpoint, uint64_t id);
struct endpoint_job *endpoint_add_job(struct endpoint *endpoint, uint64_t id,
				      const struct hvrepl_uuid *vm,
				      uint32_t type);
struct endpoint_measure *endpoint_measure(struct endpoint *endpoint,
					  const struct hvrepl_uuid *vm);
/* A VM may have recovery points this seldom: its disks' tokens, too (T9). */
void endpoint_allow_interval(struct endpoint *endpoint, uint64_t interval_ms);
/* Control thread: now, as the env has it. */
uint64_t endpoint_now(const struct endpoint *endpoint);

/* endpoint_audit.c, any thread: one record; OK without an audit. */
int32_t endpoint_audit(struct endpoint *endpoint, uint32_t kind, int32_t code,
		       const struct hvrepl_uuid *vm, const char *actor,
		       const char *sentence);
/* Any thread, before there are connections: new keys and new proofs. */
void endpoint_audit_watch(struct endpoint *endpoint);
/* Why it cannot be written; OK: it can, or there is none. */
int32_t endpoint_audit_code(struct endpoint *endpoint);
/* Control thread: what follows from that. */
void endpoint_audit_turn(struct endpoint *endpoint);
/* False: the log has it from another event, or not at all. */
bool endpoint_audit_event(struct endpoint *endpoint,
			  const struct hvrepl_event *event);
/* Before what a peer asks for and costs data: refused if it cannot be noted. Of
 * hvrepl_node_config. */
int32_t endpoint_audit_permit(void *user, const struct hvrepl_event *event);
/* Before an operation: refused if it costs data and cannot be noted. */
int32_t endpoint_audit_operation(struct endpoint *endpoint, uint32_t operation,
				 const char *name,
				 const struct hvrepl_vm_status *vm,
				 struct hvrepl_error *error);

/* endpoint_rights.c: the configuration whose entries count. */
const struct site_config *endpoint_rights(const struct endpoint *endpoint);
/* The entry of that very name or pattern; NULL: none. */
const struct site_authorisation *
endpoint_entry_of(const struct site_config *config, const char *peer);
/* Control thread: the entries of `now`, without those that
 * only `before` has; NULL: nothing was before. */
int32_t endpoint_take_rights(struct endpoint *endpoint,
			     const struct site_config *before,
			     const struct site_config *now,
			     struct hvrepl_error *error);

/* replica.c: where a replica's disks and storage lie at this site. */
extern const struct hvrepl_vmm_ops endpoint_vmm;
void endpoint_forget_places(struct endpoint *endpoint);

/* site.c: the same names give the same id on every start. */
int32_t site_make_id(const char *kind, const char *site, const char *vm,
		     const char *disk, struct hvrepl_uuid *id_out);
/* 32 hexadecimal digits. */
void site_format_hex(const struct hvrepl_uuid *id, char text_out[33]);
/* Fill `error` and return `code`. The sentence gets the text of errno `number`
 * at its end, unless that is 0: who shows it adds nothing. */
int32_t site_fail(struct hvrepl_error *error, int32_t code, int number,
		  const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
