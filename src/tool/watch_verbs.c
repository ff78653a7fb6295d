/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that look: `points`, `measure`, `wait`, `test-connection`. */
#include "client.h"
#include "print.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct tool_option client_options[] = {
	TOOL_CLIENT_OPTIONS,
	{ NULL, NULL, NULL },
};

static uint64_t number(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value == NULL ? "" : value;
}

/* Takes path. */
static int ask(const struct tool_run *run, char *path, json_t *body,
	       json_t **answer)
{
	int status;

	if (path == NULL) {
		json_decref(body);
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Not enough memory.");
	}
	status = tool_request(run, path, body, answer);
	free(path);
	return status;
}

static const char *age(uint64_t utc_ns, char out[TOOL_TEXT_MAX])
{
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return tool_time(now_ns > utc_ns ? (now_ns - utc_ns) / 1000000u : 0,
			 out);
}

static int run_points(struct tool_run *run)
{
	char old[TOOL_TEXT_MAX], size[TOOL_TEXT_MAX];
	struct tool_table *table;
	const json_t *point;
	json_t *answer;
	size_t i;
	int status = ask(run, tool_vm_path(run->operands[0], "/points"), NULL,
			 &answer);

	if (status != TOOL_OK)
		return status;
	if (run->json)
		return tool_print_json(answer);
	table = tool_table_begin(">POINT|>AGE|>STORED|EPOCH|");
	json_array_foreach(json_object_get(answer, "points"), i, point)
		tool_table_row(table, "%llu|%s|%s|%.8s|%s",
			       (unsigned long long)number(point, "point"),
			       age(number(point, "utc_ns"), old),
			       tool_bytes(number(point, "stored_bytes"), size),
			       text(point, "epoch"),
			       json_is_true(json_object_get(point, "tail")) ?
				       "unacknowledged end of a lost epoch" :
			       json_is_true(json_object_get(point, "in_doubt")) ?
				       "in doubt" :
			       json_is_true(json_object_get(point, "pinned")) ?
				       "pinned" : "");
	tool_table_end(table, stdout);
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_points = {
	.name = "points",
	.group = TOOL_GROUP_WATCH,
	.operands = "VM",
	.summary = "List the recovery points held at this site",
	.details = "Each can be read over NBD as the export VM/DISK@POINT, but for those that are\n"
		   "in doubt: this site's disks were changed outside or are damaged. A failover\n"
		   "takes one of them only where --point names it.",
	.options = client_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_points,
};

static int run_measure(struct tool_run *run)
{
	char a[TOOL_TEXT_MAX], b[TOOL_TEXT_MAX], c[TOOL_TEXT_MAX];
	json_t *answer;
	int status = ask(run, tool_vm_path(run->operands[0], "/measure"), NULL,
			 &answer);

	if (status != TOOL_OK)
		return status;
	if (run->json)
		return tool_print_json(answer);
	printf("a recovery point every %s\n",
	       tool_time(number(answer, "interval_ns") / 1000000u, a));
	printf("cuts %llu, missed %llu, recovery points %llu\n",
	       (unsigned long long)number(answer, "cuts"),
	       (unsigned long long)number(answer, "missed"),
	       (unsigned long long)number(answer, "points"));
	printf("sent %s, received %s, pending %s\n",
	       tool_bytes(number(answer, "sent_bytes"), a),
	       tool_bytes(number(answer, "received_bytes"), b),
	       tool_bytes(number(answer, "pending_bytes"), c));
	printf("sent for a point: last %s, most %s\n",
	       tool_bytes(number(answer, "last_point_bytes"), a),
	       tool_bytes(number(answer, "max_point_bytes"), b));
	printf("from cut to acknowledgement: last %s, average %s, longest %s\n",
	       tool_time(number(answer, "last_latency_ns") / 1000000u, a),
	       tool_time(number(answer, "average_latency_ns") / 1000000u, b),
	       tool_time(number(answer, "max_latency_ns") / 1000000u, c));
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_measure = {
	.name = "measure",
	.group = TOOL_GROUP_WATCH,
	.operands = "VM",
	.summary = "Show counts, sizes and latency of a VM's replication",
	.details = "Counted since the daemon started.",
	.options = client_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_measure,
};

static const struct tool_option wait_options[] = {
	TOOL_CLIENT_OPTIONS,
	{ "state", "STATE", "Until the VM's state is this, such as Replicating" },
	{ "ownership", "WORD", "Until it is owner, standby, superseded or diverged" },
	{ "point", "N", "Until recovery point N is acknowledged or held" },
	{ "timeout", "TIME", "Give up after it, with exit code 4 (default: 1h)" },
	{ NULL, NULL, NULL },
};

#define WAIT_PIECE_MS 500u

/* How far a transfer is that the wait may be for. Not TOOL_OK: the answer of the
 * status was an error, and has been printed. */
static int show_transfer(const struct tool_run *run,
			  struct tool_progress *progress)
{
	char *path = tool_vm_path(run->operands[0], "");
	json_t *vm;
	int status = ask(run, path, NULL, &vm);

	if (status != TOOL_OK)
		return status;
	if (number(vm, "total_bytes") != 0 && !run->json)
		tool_progress_update(progress, number(vm, "progress_bytes"),
				     number(vm, "total_bytes"));
	json_decref(vm);
	return TOOL_OK;
}

/* Ask in pieces, so that there is something to see meanwhile. */
static int wait_for(const struct tool_run *run, const char *query,
		    uint64_t limit, json_t **answer_out)
{
	struct tool_progress progress;
	char what[128], tail[560];
	uint64_t left = limit;
	int status;

	snprintf(what, sizeof(what), "waiting for %.100s", run->operands[0]);
	tool_progress_begin(&progress, what);
	for (;;) {
		uint64_t piece = left < WAIT_PIECE_MS ? left : WAIT_PIECE_MS;
		char *path;

		snprintf(tail, sizeof(tail), "/wait?timeout_ms=%llu%s",
			 (unsigned long long)piece, query);
		path = tool_vm_path(run->operands[0], tail);
		left -= piece;
		if (path == NULL || left == 0) {
			tool_progress_end(&progress);
			return ask(run, path, NULL, answer_out);
		}
		status = tool_ask_again(run, path, answer_out);
		free(path);
		if (status == TOOL_TIMEOUT) {
			status = show_transfer(run, &progress);
			if (status == TOOL_OK)
				continue;
		}
		break;
	}
	tool_progress_end(&progress);
	return status;
}

static int run_wait(struct tool_run *run)
{
	static const char *const words[] = { "state", "ownership", "point" };
	uint64_t limit = 3600000;
	char query[512] = "";
	size_t used = 0;
	json_t *answer;
	int status;

	if (!tool_option_duration(run, "timeout", &limit))
		return TOOL_USAGE;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const char *value = tool_option(run, words[i]);

		if (value == NULL)
			continue;
		if (strspn(value, "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789") !=
			    strlen(value) || strlen(value) > 64)
			return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
					 "'%s' is not a value of --%s.", value,
					 words[i]);
		used += (size_t)snprintf(query + used, sizeof(query) - used,
					 "&%s=%s", words[i], value);
	}
	if (used == 0)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "Say what to wait for: --state, --ownership or --point.");
	status = wait_for(run, query, limit, &answer);
	if (status != TOOL_OK)
		return status;
	if (run->json)
		return tool_print_json(answer);
	printf("%s is %s, %s, at point %llu\n", text(answer, "name"),
	       text(answer, "ownership"), text(answer, "state"),
	       (unsigned long long)number(answer, "last_point"));
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_wait = {
	.name = "wait",
	.group = TOOL_GROUP_WATCH,
	.operands = "VM",
	.summary = "Wait for a state or a recovery point, with a time limit",
	.details = "Shows how far a transfer is meanwhile.",
	.options = wait_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_wait,
};

static const struct tool_option test_options[] = {
	TOOL_CLIENT_OPTIONS,
	{ "vm", "VM", "Whether this VM of here would fit there" },
	{ NULL, NULL, NULL },
};

/* What the other site's storage has, and how fast bytes got there. */
static void print_trial(const json_t *answer)
{
	const json_t *storage = json_object_get(answer, "storage");
	const json_t *bandwidth = json_object_get(answer, "bandwidth");
	char left[TOOL_TEXT_MAX], all[TOOL_TEXT_MAX], rate[TOOL_TEXT_MAX];
	uint64_t ns = number(bandwidth, "duration_ns");

	if (json_is_integer(json_object_get(storage, "free_bytes")))
		printf("Storage there: %s of %s left%s%s.\n",
		       tool_bytes(number(storage, "free_bytes"), left),
		       tool_bytes(number(storage, "total_bytes"), all),
		       text(storage, "sentence")[0] != 0 ? "; " : "",
		       text(storage, "sentence"));
	else if (storage != NULL)
		printf("Storage there: not known: %s.\n",
		       text(storage, "sentence"));
	if (ns != 0)
		printf("Bandwidth to there: %s/s and more (%s counted there; a round trip of the session %.1f ms).\n",
		       tool_bytes((uint64_t)((double)number(bandwidth,
							    "bytes") *
					     1e9 / (double)ns),
				  rate),
		       tool_bytes(number(bandwidth, "bytes"), left),
		       (double)number(answer, "session_round_trip_ns") / 1e6);
	else if (bandwidth != NULL)
		printf("Bandwidth to there: not measured: %s.\n",
		       text(bandwidth, "sentence"));
}

static int run_test(struct tool_run *run)
{
	char *escaped = tool_escape(run->operands[0]);
	char *path = NULL;
	char took[TOOL_TEXT_MAX];
	json_t *answer, *body = json_object();
	int status;
	bool connected, failed;

	if (escaped != NULL &&
	    asprintf(&path, "/v1/peers/%s/test", escaped) < 0)
		path = NULL;
	free(escaped);
	if (!tool_option_text(run, "vm", body)) {
		free(path);
		json_decref(body);
		return TOOL_USAGE;
	}
	status = ask(run, path, body, &answer);
	if (status != TOOL_OK)
		return status;
	connected = json_is_true(json_object_get(answer, "connected"));
	failed = !connected || strcmp(text(answer, "step"), "done") != 0;
	if (run->json) {
		tool_print_json(answer);
		return failed ? TOOL_FAILED : TOOL_OK;
	}
	if (connected) {
		printf("%s at %s answers: name, route, TCP, TLS and %s are good (%s, a round trip %.1f ms).\n",
		       run->operands[0], text(answer, "address"),
		       strcmp(text(answer, "mechanism"), "kerberos") == 0 ?
			       "Kerberos" : "both certificates",
		       tool_time(number(answer, "duration_ns") / 1000000u,
				 took),
		       (double)number(answer, "round_trip_ns") / 1e6);
		printf("What it may do here: %s.\n",
		       text(json_object_get(answer, "authorisation"),
			    "sentence"));
		print_trial(answer);
	}
	if (failed)
		status = tool_fail(run, TOOL_FAILED, HVREPL_E_UNAVAILABLE,
				   "%s%s%s fails at the step \"%s\": %s",
				   run->operands[0],
				   text(answer, "address")[0] ? " at " : "",
				   text(answer, "address"), text(answer, "step"),
				   text(answer, "sentence"));
	json_decref(answer);
	return status;
}

const struct tool_verb tool_verb_test_connection = {
	.name = "test-connection",
	.group = TOOL_GROUP_WATCH,
	.operands = "PEER",
	.summary = "Connect to a peer and say which step fails",
	.details = "Steps: name lookup, route, TCP, TLS, the peer's certificate, its acceptance of ours;\n"
		   "with Kerberos: TLS, our ticket and the peer's proof, its acceptance of ours;\n"
		   "then authorisation (an entry there), versions, session, the storage there,\n"
		   "and the bandwidth: at most 8 MiB in 2 s, beside what is replicated.",
	.options = test_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_test,
};
