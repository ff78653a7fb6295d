/* SPDX-License-Identifier: Apache-2.0 */
/* `status` and `cut`: what a running site says, and a cut on request. */
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

static void print_captured(const json_t *vms)
{
	struct tool_table *table =
		tool_table_begin("CAPTURED VM|DISK|>SIZE|>CHANGED|>POINT");
	char size[TOOL_TEXT_MAX], changed[TOOL_TEXT_MAX];
	const json_t *vm, *disk;
	size_t i, j;

	json_array_foreach(vms, i, vm) {
		json_array_foreach(json_object_get(vm, "disks"), j, disk) {
			tool_table_row(table, "%s|%s|%s|%s|%llu",
				       text(vm, "name"), text(disk, "name"),
				       tool_bytes(number(disk, "size"), size),
				       tool_bytes(number(disk, "changed_bytes"),
						  changed),
				       (unsigned long long)number(
					       vm, "captured_point"));
		}
	}
	tool_table_end(table, stdout);
}

static const char *age(const json_t *vm, char out[TOOL_TEXT_MAX])
{
	uint64_t then = number(vm, "last_point_utc_ns");
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (then == 0)
		return "-";
	return tool_time(now_ns > then ? (now_ns - then) / 1000000u : 0, out);
}

/* What a failover would lose, where that may be asked soon; or has lost. */
static void print_loss(const json_t *vm)
{
	const json_t *loss = json_object_get(vm, "loss");
	const json_t *bytes = json_object_get(loss, "bytes");
	const json_t *said = json_object_get(loss, "said_bytes");
	bool standby = strcmp(text(vm, "ownership"), "standby") == 0;
	char old[TOOL_TEXT_MAX], size[TOOL_TEXT_MAX];

	if (!json_is_object(loss) ||
	    (standby && json_is_true(json_object_get(vm, "connected"))))
		return;
	printf("%s: %s everything after point %llu, %s old, ", text(vm, "name"),
	       standby ? "a failover now loses" : "the failover lost",
	       (unsigned long long)number(loss, "point"),
	       tool_time(number(loss, "age_ns") / 1000000u, old));
	if (json_is_integer(bytes))
		printf("about %s\n", tool_bytes(number(loss, "bytes"), size));
	else if (json_is_integer(said))
		printf("at least %s\n",
		       tool_bytes(number(loss, "said_bytes"), size));
	else
		printf("how much is not known\n");
}

static void print_replicated(const json_t *vms)
{
	struct tool_table *table = tool_table_begin(
		"VM|MODE|STATE|OWNERSHIP|HEALTH|>POINT|>AGE|>CHANGED|WRITES");
	char old[TOOL_TEXT_MAX], changed[TOOL_TEXT_MAX];
	const json_t *vm;
	size_t i;

	json_array_foreach(vms, i, vm)
		tool_table_row(
			table, "%s|%s|%s|%s|%s|%llu|%s|%s|%s", text(vm, "name"),
			text(vm, "mode"), text(vm, "state"),
			text(vm, "ownership"), text(vm, "health"),
			(unsigned long long)number(vm, "last_point"),
			age(vm, old),
			tool_bytes(number(vm, "changed_bytes"), changed),
			json_is_true(json_object_get(vm, "writable")) ?
				"allowed" : "refused");
	tool_table_end(table, stdout);
	json_array_foreach(vms, i, vm)
		if (text(vm, "sentence")[0] != 0)
			printf("%s: %s\n", text(vm, "name"),
			       text(vm, "sentence"));
	json_array_foreach(vms, i, vm)
		print_loss(vm);
}

static void print_peers(const json_t *peers)
{
	struct tool_table *table =
		tool_table_begin("PEER|SESSION|LAST ERROR|>SENT|>RECEIVED");
	char sent[TOOL_TEXT_MAX], received[TOOL_TEXT_MAX];
	const json_t *peer;
	size_t i;

	json_array_foreach(peers, i, peer)
		tool_table_row(table, "%s|%s|%s|%s|%s", text(peer, "name"),
			       json_is_true(json_object_get(peer, "connected")) ?
				       "up" : "down",
			       text(peer, "last_error"),
			       tool_bytes(number(peer, "sent_bytes"), sent),
			       tool_bytes(number(peer, "received_bytes"),
					  received));
	tool_table_end(table, stdout);
}

static void print_words(const char *label, const json_t *words)
{
	const json_t *word;
	size_t i;

	if (json_array_size(words) == 0)
		return;
	printf("%s", label);
	json_array_foreach(words, i, word)
		printf("%s%s", i == 0 ? " " : ", ", json_string_value(word));
	putchar('\n');
}

static bool same_text(const json_t *a, const char *name, const json_t *b,
		      const char *other)
{
	return text(a, name)[0] != 0 && strcmp(text(a, name), text(b, other)) == 0;
}

static const json_t *current_epoch(const json_t *epochs)
{
	const json_t *epoch;
	size_t i;

	json_array_foreach(epochs, i, epoch)
		if (json_is_true(json_object_get(epoch, "current")))
			return epoch;
	return NULL;
}

/* The other site's history that stands against `mine`: its child, its parent or
 * its sibling, and of several the one known last. */
static const json_t *rival_epoch(const json_t *epochs, const json_t *mine)
{
	const json_t *epoch, *found = NULL;
	size_t i;

	json_array_foreach(epochs, i, epoch) {
		const char *outcome = text(epoch, "outcome");

		if (same_text(epoch, "owner", mine, "owner") ||
		    (strcmp(outcome, "open") != 0 &&
		     strcmp(outcome, "committed") != 0))
			continue;
		if (same_text(epoch, "parent", mine, "id") ||
		    same_text(epoch, "id", mine, "parent") ||
		    same_text(epoch, "parent", mine, "parent"))
			found = epoch;
	}
	return found;
}

/* Both sites wrote: both histories, and what each choice loses (O6). */
static void print_diverged(const json_t *vm)
{
	const json_t *epochs = json_object_get(vm, "epochs");
	const json_t *mine = current_epoch(epochs);
	const json_t *theirs = mine == NULL ? NULL : rival_epoch(epochs, mine);
	const char *name = text(vm, "name"), *peer = text(vm, "peer");
	char changed[TOOL_TEXT_MAX];
	bool older;

	if (theirs == NULL)
		return;
	older = same_text(theirs, "parent", mine, "id");
	tool_bytes(number(vm, "changed_bytes"), changed);
	printf("Both sites have written since recovery point %llu. Each goes on; nothing is\n"
	       "shipped or overwritten until you choose which history loses:\n",
	       (unsigned long long)number(older ? theirs : mine, "fork_point"));
	printf("  epoch %s  this site: %s changed here\n", text(mine, "id"),
	       changed);
	printf("  epoch %s  %s: 'hvrepl status %s' there says how much\n",
	       text(theirs, "id"), peer, name);
	if (older)
		printf("To keep what %s wrote, and lose the %s here: at %s 'hvrepl commit %s', then\n"
		       "  'hvrepl discard %s --epoch %s'.\n"
		       "To keep what was written here, and lose what %s wrote: at %s 'hvrepl cancel %s'.\n",
		       peer, changed, peer, name, name, text(mine, "id"), peer,
		       peer, name);
	else
		printf("To keep what was written here, and lose what %s wrote: 'hvrepl commit %s', then\n"
		       "  'hvrepl discard %s --epoch %s'.\n"
		       "To keep what %s wrote, and lose the %s here: 'hvrepl cancel %s', before a commit.\n",
		       peer, name, name, text(theirs, "id"), peer, changed,
		       name);
	printf("What a discarded epoch wrote stays readable as a recovery point of its site until\n"
	       "that is discarded too; what a cancel throws away is gone.\n");
}

static void print_one(const json_t *vm)
{
	struct tool_table *table;
	const json_t *epoch, *disk;
	char size[TOOL_TEXT_MAX];
	size_t i;

	table = tool_table_begin("DISK|>SIZE");
	json_array_foreach(json_object_get(vm, "disks"), i, disk)
		tool_table_row(table, "%s|%s", text(disk, "name"),
			       tool_bytes(number(disk, "size"), size));
	tool_table_end(table, stdout);
	table = tool_table_begin("EPOCH|>FORK POINT|OUTCOME|");
	json_array_foreach(json_object_get(vm, "epochs"), i, epoch)
		tool_table_row(table, "%s|%llu|%s|%s%s", text(epoch, "id"),
			       (unsigned long long)number(epoch, "fork_point"),
			       text(epoch, "outcome"),
			       json_is_true(json_object_get(epoch, "current")) ?
				       "current here" : "",
			       json_is_true(json_object_get(epoch, "planned")) ?
				       " planned" : "");
	tool_table_end(table, stdout);
	if (strcmp(text(vm, "ownership"), "diverged") == 0)
		print_diverged(vm);
	print_words("Why:", json_object_get(vm, "reasons"));
	print_words("Possible now:", json_object_get(vm, "allowed_operations"));
}

static void print_site(const json_t *answer)
{
	printf("Site %s, hvrepl %s\n", text(answer, "site"),
	       text(answer, "version"));
	if (json_array_size(json_object_get(answer, "captured")) > 0)
		print_captured(json_object_get(answer, "captured"));
	if (json_array_size(json_object_get(answer, "vms")) > 0)
		print_replicated(json_object_get(answer, "vms"));
	if (json_array_size(json_object_get(answer, "peers")) > 0)
		print_peers(json_object_get(answer, "peers"));
	tool_print_trust(json_object_get(answer, "trust"));
}

static int run_status(struct tool_run *run)
{
	const char *vm = run->operand_count > 0 ? run->operands[0] : NULL;
	char *path = vm == NULL ? strdup("/v1/status") : tool_vm_path(vm, "");
	json_t *answer, *vms;
	int status;

	if (path == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Not enough memory.");
	status = tool_request(run, path, NULL, &answer);
	free(path);
	if (status != TOOL_OK)
		return status;
	if (run->json)
		return tool_print_json(answer);
	vms = json_pack("[O]", answer);
	if (vm == NULL) {
		print_site(answer);
	} else if (json_object_get(answer, "mode") == NULL) {
		print_captured(vms);
	} else {
		print_replicated(vms);
		print_one(answer);
	}
	json_decref(vms);
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_status = {
	.name = "status",
	.group = TOOL_GROUP_WATCH,
	.operands = "[VM]",
	.summary = "Show the site's VMs, or one of them",
	.options = client_options,
	.operands_max = 1,
	.run = run_status,
};

static int run_cut(struct tool_run *run)
{
	char *path = tool_vm_path(run->operands[0], "/cut");
	char changed[TOOL_TEXT_MAX], stored[TOOL_TEXT_MAX];
	json_t *answer;
	int status;

	if (path == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Not enough memory.");
	status = tool_request_patiently(run, path, json_object(), UINT64_MAX,
					&answer);
	free(path);
	if (status != TOOL_OK)
		return status;
	if (json_object_get(answer, "job") != NULL) {
		status = tool_follow_job(run, text(answer, "job"), UINT64_MAX);
		json_decref(answer);
		return status;
	}
	if (run->json)
		return tool_print_json(answer);
	printf("Point %llu: %s changed, %s stored in %s\n",
	       (unsigned long long)number(answer, "point"),
	       tool_bytes(number(answer, "changed_bytes"), changed),
	       tool_bytes(number(answer, "stored_bytes"), stored),
	       text(answer, "directory"));
	json_decref(answer);
	return TOOL_OK;
}

const struct tool_verb tool_verb_cut = {
	.name = "cut",
	.group = TOOL_GROUP_REPLICATION,
	.operands = "VM",
	.summary = "Cut a VM's disks at one instant: a recovery point now",
	.details = "Of a replicated VM the point is shipped to its peer. Of one whose section says\n"
		   "capture = \"DIRECTORY\" it becomes a directory DIRECTORY/POINT with one\n"
		   "DISK.segment per disk; the first holds the whole disks. 'hvrepl log apply' puts\n"
		   "them on a copy.",
	.options = client_options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_cut,
};
