/* SPDX-License-Identifier: Apache-2.0 */
/* `inspect`: what a file of hvrepl's says, for people and for scripts. */
#include "logfile.h"
#include "text.h"

#include <hvrepl/backends.h>
#include <stdlib.h>
#include <string.h>

static const struct tool_option options[] = {
	{ "details", NULL, "Also each chunk, record or range" },
	{ NULL, NULL, NULL },
};

#define DEPTH_MAX 8

/* The walk as JSON: the path of open nodes, the outermost first. */
struct tree {
	json_t *path[DEPTH_MAX];
	unsigned depth; /* Of the innermost. */
};

static int32_t put(struct tree *tree, const char *key, json_t *value)
{
	json_t *node = tree->path[tree->depth];
	int failed;

	if (value == NULL)
		return HVREPL_E_NOMEM;
	if (key != NULL)
		failed = json_object_set_new(node, key, value);
	else
		failed = json_array_append_new(node, value);
	return failed ? HVREPL_E_NOMEM : HVREPL_OK;
}

static int32_t on_begin(void *user, const char *key, uint32_t node)
{
	struct tree *tree = user;
	json_t *value = node == HVREPL_NODE_LIST ? json_array()
						 : json_object();
	int32_t rc;

	if (tree->depth + 1 == DEPTH_MAX) {
		json_decref(value);
		return HVREPL_E_LIMIT;
	}
	rc = put(tree, key, value);
	if (rc == HVREPL_OK)
		tree->path[++tree->depth] = value;
	return rc;
}

static int32_t on_end(void *user)
{
	((struct tree *)user)->depth--;
	return HVREPL_OK;
}

static json_t *hex(const uint8_t *bytes, size_t length)
{
	char text[2 * 256 + 1] = "";

	if (length > 256)
		length = 256;
	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return json_string(text);
}

/* Of a damaged file it may be any bytes. */
static json_t *text_of(const struct hvrepl_value *value)
{
	char *text = strndup((const char *)value->bytes, value->length);
	json_t *json = text == NULL ? NULL : text_json(text);

	free(text);
	return json;
}

static int32_t on_value(void *user, const char *key,
			const struct hvrepl_value *value)
{
	struct hvrepl_uuid uuid;
	char text[LOG_UUID_TEXT];

	switch (value->type) {
	case HVREPL_VALUE_NUMBER:
		/* JSON numbers of this size are not safe everywhere. */
		if (value->number > INT64_MAX) {
			snprintf(text, sizeof(text), "%llu",
				 (unsigned long long)value->number);
			return put(user, key, json_string(text));
		}
		return put(user, key,
			   json_integer((json_int_t)value->number));
	case HVREPL_VALUE_BOOL:
		return put(user, key, json_boolean(value->number != 0));
	case HVREPL_VALUE_TEXT:
		return put(user, key, text_of(value));
	case HVREPL_VALUE_UUID:
		memcpy(uuid.bytes, value->bytes, sizeof(uuid.bytes));
		return put(user, key,
			   json_string(log_uuid_text(&uuid, text)));
	default:
		return put(user, key, hex(value->bytes, value->length));
	}
}

static void print_node(const json_t *node, int indent);

static void print_value(const char *key, const json_t *value, int indent)
{
	printf("%*s%s", indent, "", key != NULL ? key : "-");
	if (json_is_object(value) || json_is_array(value)) {
		printf("\n");
		print_node(value, indent + 2);
	} else if (json_is_string(value)) {
		printf(": %s\n", json_string_value(value));
	} else if (json_is_boolean(value)) {
		printf(": %s\n", json_is_true(value) ? "yes" : "no");
	} else {
		printf(": %lld\n", (long long)json_integer_value(value));
	}
}

static void print_node(const json_t *node, int indent)
{
	/* The iterator does not change what it walks over. */
	json_t *mutable_node = (json_t *)(uintptr_t)node, *value;
	const char *key;
	size_t i;

	if (json_is_object(node)) {
		json_object_foreach(mutable_node, key, value)
			print_value(key, value, indent);
		return;
	}
	json_array_foreach(node, i, value)
		print_value(NULL, value, indent);
}

static int run_inspect(struct tool_run *run)
{
	struct hvrepl_env env = HVREPL_ENV_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_visitor visitor = HVREPL_VISITOR_INIT;
	struct hvrepl_log_source source;
	struct log_input input;
	struct tree tree = { { NULL }, 0 };
	bool details = tool_option(run, "details") != NULL;
	int status = log_input_open(run, &input, run->operands[0]);
	int32_t rc;

	if (status != TOOL_OK)
		return status;
	(void)hvrepl_default_env(&env);
	source = log_input_source(&input);
	tree.path[0] = json_object();
	visitor.user = &tree;
	visitor.begin = on_begin;
	visitor.end = on_end;
	visitor.value = on_value;
	rc = tree.path[0] == NULL
		     ? HVREPL_E_NOMEM
		     : hvrepl_inspect(&env, &source,
				      details ? HVREPL_INSPECT_DETAILS : 0,
				      &visitor, &error);
	log_input_close(&input);
	/* A damaged file is described all the same, and has its exit code. */
	if (rc < 0 && json_object_get(tree.path[0], "valid") == NULL) {
		json_decref(tree.path[0]);
		tool_error_reason(&error, input.sys_errno);
		return tool_fail_error(run, &error);
	}
	if (run->json) {
		tool_print_json(tree.path[0]);
	} else {
		print_node(tree.path[0], 0);
		json_decref(tree.path[0]);
	}
	return tool_exit_code(rc);
}

const struct tool_verb tool_verb_inspect = {
	.name = "inspect",
	.group = TOOL_GROUP_LOGS,
	.operands = "FILE",
	.summary = "Describe and check a file that hvrepl made",
	.details = "Reads every byte and changes none. A damaged file is "
		   "described as far as it can\nbe read, with 'damage' and "
		   "exit status 5.",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_inspect,
};
