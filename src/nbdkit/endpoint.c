/* SPDX-License-Identifier: Apache-2.0 */
/* Brings a site's node up and down: threads, peers, authorisations, VMs. */
#include "endpoint.h"

#include "directory.h"
#include "trust.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CLOSE_SECONDS 30
#define TOKEN_SLACK_NS 30000000000u

static void on_wake(void *user)
{
	struct endpoint *endpoint = user;

	hvrepl_loop_wake(endpoint->control_loop);
}

uint64_t endpoint_now(const struct endpoint *endpoint)
{
	return endpoint->env->monotonic_ns(endpoint->env->user);
}

struct endpoint_job *endpoint_find_job(struct endpoint *endpoint, uint64_t id)
{
	for (uint32_t i = 0; i < ENDPOINT_JOBS; i++)
		if (id != 0 && endpoint->jobs[i].id == id)
			return &endpoint->jobs[i];
	return NULL;
}

struct endpoint_job *endpoint_add_job(struct endpoint *endpoint, uint64_t id,
				      const struct hvrepl_uuid *vm,
				      uint32_t type)
{
	struct endpoint_job *job = endpoint_find_job(endpoint, id);

	/* Its end may have been told before its start was. */
	if (job == NULL) {
		job = &endpoint->jobs[endpoint->job_next++ % ENDPOINT_JOBS];
		memset(job, 0, sizeof(*job));
		job->id = id;
		job->vm = *vm;
	}
	job->type = type;
	return job;
}

struct endpoint_measure *endpoint_measure(struct endpoint *endpoint,
					  const struct hvrepl_uuid *vm)
{
	struct endpoint_measure *measure = endpoint->measures;

	while (measure != NULL && memcmp(&measure->vm, vm, sizeof(*vm)) != 0)
		measure = measure->next;
	if (measure != NULL)
		return measure;
	measure = calloc(1, sizeof(*measure));
	if (measure == NULL)
		return NULL;
	measure->vm = *vm;
	measure->next = endpoint->measures;
	endpoint->measures = measure;
	return measure;
}

static void take_point(struct endpoint *endpoint,
		       const struct hvrepl_event *event)
{
	struct hvrepl_vm_status status = HVREPL_VM_STATUS_INIT;
	struct endpoint_measure *measure;
	uint64_t latency;

	if (hvrepl_vm_get_status(endpoint->node, &event->vm, &status) < 0 ||
	    status.last_point != event->value)
		return;
	measure = endpoint_measure(endpoint, &event->vm);
	if (measure == NULL)
		return;
	latency = event->utc_ns > status.last_point_utc_ns ?
			  event->utc_ns - status.last_point_utc_ns : 0;
	measure->points++;
	measure->last_ns = latency;
	measure->sum_ns += latency;
	if (latency > measure->max_ns)
		measure->max_ns = latency;
	measure->last_bytes = status.sent_bytes - measure->sent_before;
	measure->sent_before = status.sent_bytes;
	if (measure->last_bytes > measure->max_bytes)
		measure->max_bytes = measure->last_bytes;
}

static void take_event(struct endpoint *endpoint,
		       const struct hvrepl_event *event)
{
	struct endpoint_job *job = endpoint_find_job(endpoint, event->job);

	switch (event->type) {
	case HVREPL_EVENT_PROGRESS:
		if (job != NULL) {
			job->bytes = event->value;
			job->total_bytes = event->total;
		}
		break;
	case HVREPL_EVENT_JOB_DONE:
		if (job == NULL)
			job = endpoint_add_job(endpoint, event->job, &event->vm,
					       0);
		job->done = true;
		job->code = event->code;
		memcpy(job->sentence, event->sentence, sizeof(job->sentence));
		break;
	case HVREPL_EVENT_POINT:
		take_point(endpoint, event);
		break;
	case HVREPL_EVENT_CLOSED:
		endpoint->closed = true;
		break;
	default:
		break;
	}
	if (endpoint_audit_event(endpoint, event) && event->sentence[0] != 0)
		endpoint->log(endpoint,
			      event->severity >= HVREPL_SEVERITY_WARNING ?
				      HVREPL_LOG_WARNING : HVREPL_LOG_NOTICE,
			      event->sentence);
}

static int32_t on_process(void *user, uint32_t budget)
{
	struct endpoint *endpoint = user;
	struct hvrepl_event event = HVREPL_EVENT_INIT;
	int32_t more = hvrepl_node_process(endpoint->node, budget);

	while (hvrepl_node_next_event(endpoint->node, &event) == 1)
		take_event(endpoint, &event);
	endpoint_audit_turn(endpoint);
	waits_turn(&endpoint->waits, endpoint_now(endpoint));
	if (!endpoint->closed)
		trust_turn(endpoint);
	if (endpoint->closed)
		hvrepl_loop_stop(endpoint->control_loop);
	/* A negative code would end the loop, and with it the site. */
	if (more < 0 && !endpoint->closed)
		endpoint->log(endpoint, HVREPL_LOG_ERROR,
			      hvrepl_strerror(more));
	return more > 0;
}

static uint64_t on_deadline(void *user)
{
	struct endpoint *endpoint = user;
	uint64_t node = hvrepl_node_deadline(endpoint->node);
	uint64_t wait = waits_deadline(&endpoint->waits);
	uint64_t trust = trust_deadline(endpoint);

	wait = trust < wait ? trust : wait;
	return node < wait ? node : wait;
}

static void *control_main(void *argument)
{
	struct endpoint *endpoint = argument;

	hvrepl_loop_run(endpoint->control_loop);
	return NULL;
}

static void *network_main(void *argument)
{
	struct endpoint *endpoint = argument;

	hvrepl_loop_run(endpoint->network_loop);
	return NULL;
}

static void on_connected(void *user, const struct hvrepl_channel *channel,
			 const struct hvrepl_connect_result *result)
{
	struct endpoint_peer *peer = user;
	char line[HVREPL_SENTENCE_MAX + 128];

	if (result->code == HVREPL_OK) {
		hvrepl_node_connected(peer->endpoint->node, channel,
				      HVREPL_CHANNEL_INITIATOR);
		return;
	}
	snprintf(line, sizeof(line), "peer %s: %s: %s", peer->config->name,
		 hvrepl_step_name(result->step),
		 result->error != NULL ? result->error->sentence :
					 hvrepl_strerror(result->code));
	peer->endpoint->log(peer->endpoint, HVREPL_LOG_DEBUG, line);
	hvrepl_node_connect_failed(peer->endpoint->node, peer->config->name,
				   result->code);
}

static int32_t on_connect(void *user)
{
	struct endpoint_peer *peer = user;
	struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;

	connect.host = peer->config->address;
	connect.port = peer->config->port;
	connect.peer = peer->config->name;
	connect.done = on_connected;
	connect.user = peer;
	return hvrepl_tls_connect(peer->endpoint->network_loop,
				  peer->endpoint->tls, &connect, NULL);
}

static void on_accepted(void *user, const struct hvrepl_channel *channel,
			const struct hvrepl_connect_result *result)
{
	struct endpoint *endpoint = user;

	(void)result;
	hvrepl_node_connected(endpoint->node, channel, 0);
}

static void on_refused(void *user, const struct hvrepl_connect_result *result)
{
	struct endpoint *endpoint = user;
	struct hvrepl_note note = HVREPL_NOTE_INIT;
	char line[HVREPL_SENTENCE_MAX + 128];

	snprintf(line, sizeof(line), "%s was refused at %s: %s",
		 result->address, hvrepl_step_name(result->step),
		 result->error != NULL ? result->error->sentence :
					 hvrepl_strerror(result->code));
	/* A stranger may try as often as it likes: the node tells so much of it,
	 * and the log and the audit have that. */
	note.kind = result->code == HVREPL_E_LIMIT ? HVREPL_AUDIT_LIMIT :
						     HVREPL_AUDIT_AUTHENTICATION;
	note.severity = HVREPL_SEVERITY_WARNING;
	note.code = result->code;
	note.source = result->source[0] != 0 ? result->source : "unknown";
	note.sentence = line;
	(void)hvrepl_node_note(endpoint->node, &note);
}

void endpoint_allow_interval(struct endpoint *endpoint, uint64_t interval_ms)
{
	uint64_t slack_ns = 2000000u * interval_ms + TOKEN_SLACK_NS;

	if (slack_ns > endpoint->token_slack_ns)
		endpoint->token_slack_ns = slack_ns;
}

/* T9: the node saves the disks' tokens with each cut, so that a token later
 * than the longest interval and some is somebody else's doing. */
static int32_t on_token(void *user, const uint8_t *saved, uint32_t saved_length,
			uint64_t saved_utc_ns, const uint8_t *now,
			uint32_t now_length)
{
	struct endpoint *endpoint = user;

	return hvrepl_file_token_check(&endpoint->token_slack_ns, saved,
				       saved_length, saved_utc_ns, now,
				       now_length);
}

static int32_t make_node(struct endpoint *endpoint, struct hvrepl_error *error)
{
	const struct site_config *config = endpoint->config;
	struct hvrepl_node_config node = HVREPL_NODE_CONFIG_INIT;
	int32_t rc;

	for (size_t i = 0; i < config->policy_count; i++)
		endpoint_allow_interval(endpoint,
					config->policies[i].interval_ms);
	rc = hvrepl_dir_state_open(config->state, HVREPL_DIR_CREATE,
				   &node.state, error);
	if (rc == HVREPL_E_BUSY)
		return site_fail(error, rc, 0,
				 "Another daemon has the state directory %.128s. Stop it first, or give this site its own.",
				 config->state);
	if (rc < 0)
		return rc;
	node.env = endpoint->env;
	node.site = config->name;
	node.vmm = config->replicas == NULL ? NULL : &endpoint_vmm;
	node.wake = on_wake;
	node.token_check = on_token;
	node.permit = endpoint_audit_permit;
	node.user = endpoint;
	node.start_wait_ns = config->start_wait_ms * 1000000u;
	node.start_without_peer = config->start_without_peer;
	node.retry_min_ns = config->retry_ms * 1000000u;
	node.retry_max_ns = config->retry_max_ms * 1000000u;
	node.compression_level = config->compression;
	node.spool_memory = config->spool;
	/* A replica has no section here. */
	node.replica_quota = config->policies[0].quota;
	node.replica_points_min = config->policies[0].points_min;
	return hvrepl_node_create(&node, &endpoint->node, error);
}

static int32_t add_peers(struct endpoint *endpoint, struct hvrepl_error *error)
{
	const struct site_config *config = endpoint->config;
	int32_t rc = HVREPL_OK;

	endpoint->peers = calloc(config->peer_count + 1,
				 sizeof(*endpoint->peers));
	/* Who is listened to: the peers, and whom a pattern lets in. */
	endpoint->peer_names = calloc(config->peer_count +
					      config->authorisation_count + 1,
				      sizeof(*endpoint->peer_names));
	if (endpoint->peers == NULL || endpoint->peer_names == NULL)
		return site_fail(error, HVREPL_E_NOMEM, 0,
				 "Not enough memory.");
	for (size_t i = 0; rc == HVREPL_OK && i < config->peer_count; i++) {
		struct hvrepl_peer_config peer = HVREPL_PEER_CONFIG_INIT;

		endpoint->peers[i].endpoint = endpoint;
		endpoint->peers[i].config = &config->peers[i];
		endpoint->peer_names[i] = config->peers[i].name;
		peer.name = config->peers[i].name;
		peer.connect = config->peers[i].address == NULL ? NULL :
								  on_connect;
		peer.user = &endpoint->peers[i];
		rc = hvrepl_node_add_peer(endpoint->node, &peer, error);
	}
	endpoint->peer_name_count = (uint32_t)config->peer_count;
	for (size_t i = 0; i < config->authorisation_count; i++)
		if (config->authorisations[i].peer[0] == '*')
			endpoint->peer_names[endpoint->peer_name_count++] =
				config->authorisations[i].peer;
	if (rc == HVREPL_OK)
		rc = endpoint_take_rights(endpoint, NULL, config, error);
	return rc;
}

static int32_t open_disks(const struct site_config *config,
			  const struct site_vm *vm,
			  struct hvrepl_vm_config *out,
			  struct hvrepl_disk_spec *specs,
			  struct hvrepl_error *error)
{
	struct hvrepl_disk_info info = { .struct_size = sizeof(info) };
	int32_t rc = HVREPL_OK;

	while (rc == HVREPL_OK && out->disk_count < vm->disk_count) {
		const struct site_disk *disk = &vm->disks[out->disk_count];
		struct hvrepl_disk_spec *spec = &specs[out->disk_count];

		rc = hvrepl_file_disk_open(disk->path,
					   disk->exclusive ?
						   HVREPL_FILE_EXCLUSIVE : 0,
					   &out->disks[out->disk_count], error);
		if (rc < 0)
			return rc;
		rc = out->disks[out->disk_count].ops->info(
			out->disks[out->disk_count].user, &info);
		out->disk_count++;
		if (rc < 0)
			return site_fail(error, rc, errno,
					 "The size of %.160s is not known",
					 disk->path);
		rc = site_make_id("disk", config->name, vm->name, disk->name,
				  &spec->id);
		spec->size = info.size;
		snprintf(spec->name, sizeof(spec->name), "%s", disk->name);
	}
	return rc;
}

static int32_t open_storage(const struct site_config *config,
			    const struct site_vm *vm,
			    struct hvrepl_storage *out,
			    struct hvrepl_error *error)
{
	char *path;
	int32_t rc;

	if (directory_make(config->storage) != 0)
		return site_fail(error, HVREPL_E_STORAGE_IO, errno,
				 "The storage directory %.160s cannot be made",
				 config->storage);
	if (asprintf(&path, "%s/%s", config->storage, vm->name) < 0)
		return site_fail(error, HVREPL_E_NOMEM, 0,
				 "Not enough memory.");
	rc = hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE, out, error);
	if (rc == HVREPL_E_BUSY)
		site_fail(error, rc, 0,
			  "Another daemon has the storage %.128s. Stop it first, or give this site its own.",
			  path);
	free(path);
	return rc;
}

static int32_t add_vm(struct endpoint *endpoint, const struct site_vm *vm,
		      struct hvrepl_error *error)
{
	struct hvrepl_disk disks[SITE_DISKS_MAX];
	struct hvrepl_disk_spec *specs = calloc(vm->disk_count, sizeof(*specs));
	struct hvrepl_vm_config config = HVREPL_VM_CONFIG_INIT;
	int32_t rc;

	if (specs == NULL)
		return site_fail(error, HVREPL_E_NOMEM, 0,
				 "Not enough memory.");
	config.name = vm->name;
	config.specs = specs;
	config.disks = disks;
	config.points_max = vm->policy->points;
	config.cycle_ns = vm->policy->interval_ms * 1000000u;
	config.quota = vm->policy->quota;
	config.points_min = vm->policy->points_min;
	rc = site_make_id("vm", endpoint->config->name, vm->name, "",
			  &config.id);
	if (rc == HVREPL_OK)
		rc = open_disks(endpoint->config, vm, &config, specs, error);
	if (rc == HVREPL_OK)
		rc = open_storage(endpoint->config, vm, &config.storage, error);
	if (rc == HVREPL_OK) {
		/* Takes disks and storage, also when it fails. */
		rc = hvrepl_node_add_vm(endpoint->node, &config, error);
	} else {
		while (config.disk_count > 0) {
			config.disk_count--;
			disks[config.disk_count].release(
				disks[config.disk_count].user);
		}
	}
	free(specs);
	return rc;
}

static int32_t start_network(struct endpoint *endpoint,
			     struct hvrepl_error *error)
{
	const struct site_config *config = endpoint->config;
	struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;

	if (config->listen_address == NULL)
		return HVREPL_OK;
	listen.port = config->listen_port;
	listen.address = config->listen_address;
	listen.peers = endpoint->peer_names;
	listen.peer_count = endpoint->peer_name_count;
	listen.accepted = on_accepted;
	listen.refused = on_refused;
	listen.user = endpoint;
	return hvrepl_tls_listen(endpoint->network_loop, endpoint->tls, &listen,
				 &endpoint->listener, error);
}

static int32_t start_threads(struct endpoint *endpoint,
			     struct hvrepl_error *error)
{
	struct hvrepl_loop_door door = HVREPL_LOOP_DOOR_INIT;
	int32_t rc;

	door.user = endpoint;
	door.process = on_process;
	door.deadline = on_deadline;
	rc = hvrepl_loop_attach(endpoint->control_loop, &door,
				&endpoint->attachment);
	if (rc < 0)
		return site_fail(error, rc, 0, "Not enough memory.");
	if (pthread_create(&endpoint->network_thread, NULL, network_main,
			   endpoint) == 0)
		endpoint->network_runs = true;
	if (endpoint->network_runs &&
	    pthread_create(&endpoint->control_thread, NULL, control_main,
			   endpoint) == 0)
		endpoint->control_runs = true;
	return endpoint->control_runs ?
		       HVREPL_OK :
		       site_fail(error, HVREPL_E_UNAVAILABLE, 0,
				 "No thread could be started.");
}

int32_t endpoint_open(const struct site_config *config,
		      const struct hvrepl_env *env,
		      void (*log)(void *user, uint32_t level,
				  const char *message),
		      struct endpoint **out, struct hvrepl_error *error)
{
	struct endpoint *endpoint = calloc(1, sizeof(*endpoint));
	int32_t rc;

	if (endpoint == NULL)
		return site_fail(error, HVREPL_E_NOMEM, 0,
				 "Not enough memory.");
	endpoint->config = config;
	endpoint->env = env;
	endpoint->log = log;
	pthread_mutex_init(&endpoint->audit_mutex, NULL);
	/* A site without an audit it can write starts: it may be the one that
	 * is to take over. */
	(void)endpoint_audit(endpoint, HVREPL_AUDIT_RIGHTS, HVREPL_OK, NULL,
			     NULL, "the site starts, with the entries of its configuration");
	rc = hvrepl_loop_create(&endpoint->control_loop, error);
	if (rc == HVREPL_OK)
		rc = hvrepl_loop_create(&endpoint->network_loop, error);
	if (rc == HVREPL_OK)
		rc = trust_make(endpoint, error);
	endpoint_audit_watch(endpoint);
	if (rc == HVREPL_OK)
		rc = make_node(endpoint, error);
	if (rc == HVREPL_OK)
		rc = add_peers(endpoint, error);
	for (size_t i = 0; rc == HVREPL_OK && i < config->vm_count; i++)
		if (config->vms[i].capture == NULL)
			rc = add_vm(endpoint, &config->vms[i], error);
	if (rc == HVREPL_OK)
		rc = start_network(endpoint, error);
	if (rc == HVREPL_OK)
		rc = start_threads(endpoint, error);
	if (rc < 0) {
		endpoint_close(endpoint);
		return rc;
	}
	*out = endpoint;
	return HVREPL_OK;
}

static void begin_close(void *argument)
{
	struct endpoint *endpoint = argument;

	waits_end(&endpoint->waits);
	hvrepl_node_close(endpoint->node);
}

/* Everything is as safe as after a crash, but nothing may hang a shutdown. */
static void join_or_die(struct endpoint *endpoint)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLOSE_SECONDS;
	if (pthread_timedjoin_np(endpoint->control_thread, NULL, &until) == 0)
		return;
	endpoint->log(endpoint, HVREPL_LOG_ERROR,
		      "The node did not drain in time; ending as after a crash.");
	_exit(1);
}

void endpoint_close(struct endpoint *endpoint)
{
	if (endpoint == NULL)
		return;
	if (endpoint->control_runs) {
		hvrepl_loop_post(endpoint->control_loop, begin_close, endpoint);
		join_or_die(endpoint);
	} else if (endpoint->node != NULL) {
		begin_close(endpoint);
		while (!endpoint->closed) {
			if (on_process(endpoint, 0) == 0)
				nanosleep(&(struct timespec){ 0, 1000000 },
					  NULL);
		}
	}
	/* Channels may need their loop until the node has let them go. */
	if (endpoint->network_runs) {
		hvrepl_loop_stop(endpoint->network_loop);
		pthread_join(endpoint->network_thread, NULL);
	}
	hvrepl_listener_close(endpoint->listener);
	hvrepl_loop_detach(endpoint->attachment);
	hvrepl_loop_destroy(endpoint->network_loop);
	hvrepl_node_destroy(endpoint->node);
	/* What is still posted runs in the loop's end and finds no node. */
	endpoint->node = NULL;
	hvrepl_loop_destroy(endpoint->control_loop);
	hvrepl_tls_destroy(endpoint->tls);
	while (endpoint->measures != NULL) {
		struct endpoint_measure *next = endpoint->measures->next;

		free(endpoint->measures);
		endpoint->measures = next;
	}
	hvrepl_audit_close(endpoint->audit);
	pthread_mutex_destroy(&endpoint->audit_mutex);
	endpoint_forget_places(endpoint);
	site_config_free(endpoint->rights);
	trust_free(endpoint);
	free(endpoint->peers);
	free(endpoint->peer_names);
	free(endpoint);
}

struct call {
	struct endpoint *endpoint;
	void (*function)(struct endpoint *endpoint, void *argument);
	void *argument;
	sem_t done;
};

static void run_call(void *argument)
{
	struct call *call = argument;

	call->function(call->endpoint, call->argument);
	sem_post(&call->done);
}

int32_t endpoint_call(struct endpoint *endpoint,
		      void (*function)(struct endpoint *endpoint,
				       void *argument),
		      void *argument)
{
	struct call call = { endpoint, function, argument, { { 0 } } };
	int32_t rc;

	sem_init(&call.done, 0, 0);
	rc = hvrepl_loop_post(endpoint->control_loop, run_call, &call);
	if (rc == HVREPL_OK)
		while (sem_wait(&call.done) != 0)
			;
	sem_destroy(&call.done);
	return rc;
}

int32_t endpoint_find_vm(struct endpoint *endpoint, const char *name,
			 struct hvrepl_vm_status *status)
{
	for (uint32_t i = 0;; i++) {
		int32_t rc = hvrepl_node_get_vm(endpoint->node, i, status);

		if (rc < 0 || strcmp(status->name, name) == 0)
			return rc;
	}
}
