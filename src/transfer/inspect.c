/* SPDX-License-Identifier: Apache-2.0 */
/* Which kind of file it is, and how its description reaches a visitor. */
#include "transfer/inspect.h"

#include <string.h>

#define MAGIC_SIZE 8u

static const struct kind {
	const char *name;
	uint8_t magic[MAGIC_SIZE];
	size_t magic_size;
	int32_t (*inspect)(struct hvri_walk *walk, struct hvrepl_error *error);
} kinds[] = {
	{ "segment", { 0x89, 'H', 'V', 'R', 'S', 'E', 'G', '\n' }, 8,
	  hvri_inspect_segment },
	{ "apply-record", { 'H', 'V', 'R', 'A', 'P', 'P', 'L', 'Y' }, 8,
	  hvri_inspect_apply_record },
};

void hvri_walk_begin(struct hvri_walk *walk, const char *key, uint32_t node)
{
	if (walk->failed >= 0)
		walk->failed = walk->visitor->begin(walk->visitor->user, key,
						    node);
}

void hvri_walk_end(struct hvri_walk *walk)
{
	if (walk->failed >= 0)
		walk->failed = walk->visitor->end(walk->visitor->user);
}

static void give(struct hvri_walk *walk, const char *key, uint32_t type,
		 uint64_t number, const void *bytes, size_t length)
{
	struct hvrepl_value value = { sizeof(value), type, number, bytes,
				      length };

	if (walk->failed >= 0)
		walk->failed = walk->visitor->value(walk->visitor->user, key,
						    &value);
}

void hvri_walk_number(struct hvri_walk *walk, const char *key, uint64_t value)
{
	give(walk, key, HVREPL_VALUE_NUMBER, value, NULL, 0);
}

void hvri_walk_bool(struct hvri_walk *walk, const char *key, bool value)
{
	give(walk, key, HVREPL_VALUE_BOOL, value, NULL, 0);
}

void hvri_walk_text(struct hvri_walk *walk, const char *key, const char *text)
{
	give(walk, key, HVREPL_VALUE_TEXT, 0, text, strlen(text));
}

void hvri_walk_uuid(struct hvri_walk *walk, const char *key,
		    const struct hvrepl_uuid *uuid)
{
	give(walk, key, HVREPL_VALUE_UUID, 0, uuid->bytes,
	     sizeof(uuid->bytes));
}

void hvri_walk_bytes(struct hvri_walk *walk, const char *key,
		     const void *bytes, size_t length)
{
	give(walk, key, HVREPL_VALUE_BYTES, 0, bytes, length);
}

void hvri_walk_extent(struct hvri_walk *walk, uint64_t offset, uint64_t length)
{
	hvri_walk_begin(walk, NULL, HVREPL_NODE_OBJECT);
	hvri_walk_number(walk, "offset", offset);
	hvri_walk_number(walk, "length", length);
	hvri_walk_end(walk);
}

int32_t hvri_walk_read(const struct hvri_walk *walk, uint64_t offset,
		       void *buffer, size_t length)
{
	if (offset > walk->size || length > walk->size - offset)
		return HVREPL_E_TRUNCATED;
	if (length == 0)
		return HVREPL_OK;
	return hvri_log_source_read(walk->source, offset, buffer, length);
}

static const struct kind *find_kind(const uint8_t magic[MAGIC_SIZE])
{
	for (size_t i = 0; i < HVRI_ARRAY_LEN(kinds); i++)
		if (memcmp(magic, kinds[i].magic, kinds[i].magic_size) == 0)
			return &kinds[i];
	return NULL;
}

static int32_t walk_all(struct hvri_walk *walk, struct hvrepl_error *error)
{
	struct hvrepl_error damage = HVREPL_ERROR_INIT;
	uint8_t magic[MAGIC_SIZE] = { 0 };
	const struct kind *kind;
	int32_t rc;

	HVRI_TRY(hvri_log_source_size(walk->source, &walk->size));
	HVRI_TRY(hvri_walk_read(walk, 0, magic,
				(size_t)HVRI_MIN(walk->size, MAGIC_SIZE)));
	kind = find_kind(magic);
	if (kind == NULL)
		return hvri_fail(error, HVREPL_E_UNSUPPORTED,
				 "this is no file of hvrepl's, or its first "
				 "bytes are damaged");
	hvri_walk_text(walk, "kind", kind->name);
	hvri_walk_number(walk, "length", walk->size);
	rc = kind->inspect(walk, &damage);
	if (walk->failed < 0)
		return hvri_fail_plain(error, walk->failed);
	if (rc < 0) {
		(void)hvri_fail_plain(&damage, rc);
		if (hvrepl_error_class(rc) != HVREPL_CLASS_INTEGRITY)
			return hvri_fail(error, rc, "%s", damage.sentence);
		hvri_walk_text(walk, "damage", damage.sentence);
	}
	hvri_walk_bool(walk, "valid", rc == HVREPL_OK);
	if (walk->failed < 0)
		return hvri_fail_plain(error, walk->failed);
	return rc < 0 ? hvri_fail(error, rc, "%s", damage.sentence)
		      : HVREPL_OK;
}

int32_t hvri_inspect(const struct hvri_env *env,
		     const struct hvrepl_log_source *source, uint32_t flags,
		     const struct hvrepl_visitor *visitor,
		     struct hvrepl_error *error)
{
	struct hvri_log_source taken;
	struct hvri_walk walk = { .env = env,
				  .source = &taken,
				  .flags = flags,
				  .visitor = visitor };
	int32_t rc;

	HVRI_TRY(hvri_log_source_take(&taken, source, error));
	rc = walk_all(&walk, error);
	hvri_log_source_drop(&taken);
	return rc < 0 ? hvri_fail_plain(error, rc) : HVREPL_OK;
}
