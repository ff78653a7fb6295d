/* SPDX-License-Identifier: Apache-2.0 */
/* Which kind of file it is, and how its description reaches a visitor. */
#include "transfer/inspect.h"

#include "format/hvt.h"
#include "format/manifest.h"

#include <string.h>

#define MAGIC_SIZE 8u

static const struct kind {
	const char *name;
	uint8_t magic[MAGIC_SIZE];
	uint64_t second; /* Where a second header lies; 0: nowhere. */
	int32_t (*inspect)(struct hvri_walk *walk, struct hvrepl_error *error);
} kinds[] = {
	{ "segment", { 0x89, 'H', 'V', 'R', 'S', 'E', 'G', '\n' }, 0,
	  hvri_inspect_segment },
	{ "apply-record", { 'H', 'V', 'R', 'A', 'P', 'P', 'L', 'Y' }, 0,
	  hvri_inspect_apply_record },
	{ "tracker", { 'H', 'V', 'R', 'T', 'R', 'A', 'C', 'K' },
	  HVRI_HVT_SLOT_STRIDE, hvri_inspect_tracker },
	{ "store-head", { 'H', 'V', 'R', 'H', 'E', 'A', 'D', '1' },
	  HVRI_HEAD_SLOT_STEP, hvri_inspect_store_head },
	/* Type of the first record: a checkpoint. */
	{ "store-log", { 'H', 'V', 'R', 'M', 1, 0, 1, 0 }, 0,
	  hvri_inspect_store_log },
	{ "store-log", { 'H', 'V', 'R', 'M', 2, 0, 1, 0 }, 0,
	  hvri_inspect_store_log },
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

/* By the first bytes, or by those of a second header, should the first one be
 * torn. NULL when there is none. */
static int32_t find_kind(const struct hvri_walk *walk,
			 const struct kind **kind_out)
{
	uint8_t magic[MAGIC_SIZE];

	*kind_out = NULL;
	for (size_t i = 0; i < 2 * HVRI_ARRAY_LEN(kinds); i++) {
		const struct kind *kind = &kinds[i / 2];
		uint64_t at = i % 2 == 0 ? 0 : kind->second;

		if ((i % 2 == 1 && at == 0) || walk->size < at + MAGIC_SIZE)
			continue;
		HVRI_TRY(hvri_walk_read(walk, at, magic, sizeof(magic)));
		if (memcmp(magic, kind->magic, sizeof(magic)) != 0)
			continue;
		*kind_out = kind;
		return HVREPL_OK;
	}
	return HVREPL_OK;
}

static int32_t walk_all(struct hvri_walk *walk, struct hvrepl_error *error)
{
	struct hvrepl_error damage = HVREPL_ERROR_INIT;
	const struct kind *kind;
	int32_t rc;

	HVRI_TRY(hvri_log_source_size(walk->source, &walk->size));
	HVRI_TRY(find_kind(walk, &kind));
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
