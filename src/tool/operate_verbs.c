/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that ask a site for an operation on a VM and follow its job. */
#include "client.h"
#include "print.h"

#include <stdlib.h>
#include <string.h>

#define JOB_POLL_MS 500

static const char *text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value == NULL ? "" : value;
}

/* The job as it ended: printed, and the exit code that goes with it. */
static int job_ended(const struct tool_run *run, json_t *job)
{
	int32_t code = (int32_t)json_integer_value(json_object_get(job, "code"));
	int status;

	if (code < 0) {
		status = tool_fail(run, tool_exit_code(code), code, "%s",
				   text(job, "sentence"));
		json_decref(job);
		return status;
	}
	if (run->json)
		return tool_print_json(job);
	printf("%s of %s: %s\n", text(job, "operation"), text(job, "vm"),
	       text(job, "sentence")[0] != 0 ? text(job, "sentence") : "done");
	json_decref(job);
	return TOOL_OK;
}

int tool_follow_job(const struct tool_run *run, const char *number,
		    uint64_t limit)
{
	struct tool_progress progress;
	uint64_t spent = 0;
	char path[96], what[128];
	json_t *job;
	int status;

	snprintf(what, sizeof(what), "%s of %s", run->verb->name,
		 run->operands[0]);
	tool_progress_begin(&progress, what);
	for (;;) {
		snprintf(path, sizeof(path), "/v1/jobs/%.32s?wait_ms=%d", number,
			 JOB_POLL_MS);
		status = tool_request(run, path, NULL, &job);
		if (status != TOOL_OK) {
			tool_progress_end(&progress);
			return status;
		}
		if (json_is_true(json_object_get(job, "done")))
			break;
		tool_progress_update(
			&progress,
			(uint64_t)json_integer_value(
				json_object_get(job, "bytes")),
			(uint64_t)json_integer_value(
				json_object_get(job, "total_bytes")));
		json_decref(job);
		spent += JOB_POLL_MS;
		if (spent >= limit) {
			tool_progress_end(&progress);
			return tool_fail(run, TOOL_TIMEOUT, HVREPL_E_TIMEOUT,
					 "Job %s goes on; the time limit passed. Ask 'hvrepl status %s'.",
					 number, run->operands[0]);
		}
	}
	tool_progress_end(&progress);
	return job_ended(run, job);
}

/* Takes body. */
static int operate(const struct tool_run *run, const char *operation,
		   json_t *body)
{
	char *path = tool_vm_path(run->operands[0], "/operations");
	uint64_t limit = UINT64_MAX;
	json_t *answer;
	int status;

	if (!tool_option_duration(run, "timeout", &limit)) {
		free(path);
		json_decref(body);
		return TOOL_USAGE;
	}
	if (path == NULL || body == NULL ||
	    json_object_set_new(body, "operation", json_string(operation)) != 0) {
		free(path);
		json_decref(body);
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Not enough memory.");
	}
	status = tool_request_patiently(run, path, body, limit, &answer);
	free(path);
	if (status != TOOL_OK)
		return status;
	if (tool_option(run, "no-wait") != NULL) {
		if (run->json)
			return tool_print_json(answer);
		printf("Job %s has started.\n", text(answer, "job"));
		json_decref(answer);
		return TOOL_OK;
	}
	status = tool_follow_job(run, text(answer, "job"), limit);
	json_decref(answer);
	return status;
}

static bool point_of(const struct tool_run *run, json_t *body)
{
	const char *value = tool_option(run, "point");
	char *end;
	unsigned long long point;

	if (value == NULL)
		return true;
	point = strtoull(value, &end, 10);
	if (value[0] < '1' || value[0] > '9' || *end != 0 ||
	    point > INT64_MAX) {
		tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			  "--point takes the number of a recovery point, not '%s'. 'hvrepl points VM' lists them.",
			  value);
		return false;
	}
	json_object_set_new(body, "point", json_integer((json_int_t)point));
	return true;
}

#define OPERATE_OPTIONS \
	TOOL_CLIENT_OPTIONS, \
	{ "no-wait", NULL, "Return when the job has started" }, \
	{ "timeout", "TIME", "Stop waiting after it (exit code 4); the job goes on" }

static const struct tool_option plain_options[] = {
	OPERATE_OPTIONS,
	{ NULL, NULL, NULL },
};

static int run_plain(struct tool_run *run)
{
	return operate(run, run->verb->name, json_object());
}

#define PLAIN(symbol, verb, heading, line, more)                             \
	const struct tool_verb tool_verb_##symbol = {                        \
		.name = verb,                                                \
		.group = heading,                                            \
		.operands = "VM",                                            \
		.summary = line,                                             \
		.details = more,                                             \
		.options = plain_options,                                    \
		.operands_min = 1,                                           \
		.operands_max = 1,                                           \
		.run = run_plain,                                            \
	}

PLAIN(start_initial, "start-initial", TOOL_GROUP_REPLICATION,
	"Start initial replication over the network", NULL);
PLAIN(suspend, "suspend", TOOL_GROUP_REPLICATION,
	"Stop shipping; changes stay tracked", NULL);
PLAIN(resume, "resume", TOOL_GROUP_REPLICATION, "Go on after a suspend", NULL);
PLAIN(resync, "resync", TOOL_GROUP_REPLICATION,
	"Compare both sides by digest and ship what differs",
	"Recovery points that exist stay.");
PLAIN(cancel, "cancel", TOOL_GROUP_FAILOVER,
	"Take a failover back that is not committed",
	"What the VM wrote since the failover is thrown away.");
PLAIN(commit, "commit", TOOL_GROUP_FAILOVER,
	"Keep a failover: the other recovery points go", NULL);
PLAIN(reverse, "reverse", TOOL_GROUP_FAILOVER,
	"Replicate back to the former primary",
	"Only what differs is shipped, also after an unplanned failover.");
PLAIN(force, "force", TOOL_GROUP_FAILOVER,
	"Let this site write in a new epoch, whatever the other side does",
	"For a site that was superseded or handed its VM away and whose peer is lost.\n"
	"If the other side writes too, contact ends in 'diverged'.");
PLAIN(remove, "remove", TOOL_GROUP_REPLICATION,
	"End replication of a VM on both sides", NULL);

static const struct tool_option enable_options[] = {
	OPERATE_OPTIONS,
	{ "peer", "SITE", "To which site (default: the only peer)" },
	{ NULL, NULL, NULL },
};

static int run_enable(struct tool_run *run)
{
	json_t *body = json_object();

	if (!tool_option_text(run, "peer", body)) {
		json_decref(body);
		return TOOL_USAGE;
	}
	return operate(run, "enable", body);
}

const struct tool_verb tool_verb_enable = {
	.name = "enable",
	.group = TOOL_GROUP_REPLICATION,
	.operands = "VM",
	.summary = "Enable replication of a VM to a peer",
	.options = enable_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_enable,
};

static const struct tool_option failover_options[] = {
	OPERATE_OPTIONS,
	{ "planned", NULL, "Ship the last changes first; nothing is lost" },
	{ "unplanned", NULL, "The primary is gone: use what is here" },
	{ "point", "N", "Recovery point to use (unplanned; default: the newest)" },
	{ NULL, NULL, NULL },
};

static int run_failover(struct tool_run *run)
{
	bool planned = tool_option(run, "planned") != NULL;
	bool unplanned = tool_option(run, "unplanned") != NULL;
	json_t *body;

	if (planned == unplanned)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "Say --planned (both sites are up, nothing is lost) or --unplanned (the primary is gone).");
	if (planned && tool_option(run, "point") != NULL)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "A planned failover goes to the last change. Leave --point away, or say --unplanned.");
	body = json_object();
	if (!point_of(run, body)) {
		json_decref(body);
		return TOOL_USAGE;
	}
	return operate(run, planned ? "planned-failover" : "unplanned-failover",
		       body);
}

const struct tool_verb tool_verb_failover = {
	.name = "failover",
	.group = TOOL_GROUP_FAILOVER,
	.operands = "VM",
	.summary = "Run the VM's disks at the secondary site",
	.details = "An unplanned failover says what is lost: point, age, estimate. Then 'cancel',\n"
		   "'change-point' or 'commit', and after that 'reverse'.",
	.options = failover_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_failover,
};

static const struct tool_option point_options[] = {
	OPERATE_OPTIONS,
	{ "point", "N", "Recovery point; 'hvrepl points VM' lists them" },
	{ NULL, NULL, NULL },
};

static int run_change_point(struct tool_run *run)
{
	json_t *body;

	if (tool_option(run, "point") == NULL)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "'change-point' needs --point N. 'hvrepl points %s' lists them.",
				 run->operands[0]);
	body = json_object();
	if (!point_of(run, body)) {
		json_decref(body);
		return TOOL_USAGE;
	}
	return operate(run, "change-point", body);
}

const struct tool_verb tool_verb_change_point = {
	.name = "change-point",
	.group = TOOL_GROUP_FAILOVER,
	.operands = "VM",
	.summary = "Choose another recovery point before the commit",
	.details = "What the VM wrote since the failover is thrown away.",
	.options = point_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_change_point,
};

static int run_verify(struct tool_run *run)
{
	json_t *body = json_object();

	if (!point_of(run, body)) {
		json_decref(body);
		return TOOL_USAGE;
	}
	return operate(run, "verify", body);
}

const struct tool_verb tool_verb_verify = {
	.name = "verify",
	.group = TOOL_GROUP_WATCH,
	.operands = "VM",
	.summary = "Compare digests of a point on both sides",
	.options = point_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_verify,
};

static const struct tool_option discard_options[] = {
	OPERATE_OPTIONS,
	{ "epoch", "ID", "The epoch that is to lose; 'hvrepl status VM' shows both" },
	{ NULL, NULL, NULL },
};

static int run_discard(struct tool_run *run)
{
	json_t *body;

	if (tool_option(run, "epoch") == NULL)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "'discard' needs --epoch ID, the history that is to lose. 'hvrepl status %s' shows both.",
				 run->operands[0]);
	body = json_object();
	if (!tool_option_text(run, "epoch", body)) {
		json_decref(body);
		return TOOL_USAGE;
	}
	return operate(run, "discard", body);
}

const struct tool_verb tool_verb_discard = {
	.name = "discard",
	.group = TOOL_GROUP_FAILOVER,
	.operands = "VM",
	.summary = "Name the history that loses after both sites wrote",
	.options = discard_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_discard,
};
