/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of what the peer has, so that a cut on top of it leaves that out. */
#include "driver/compare.h"

#include <openssl/crypto.h>
#include <string.h>

/* Of digests held: enough for 256 GiB of changed granules. What does not fit
 * is shipped without having been compared. */
#define FILTER_MAX (64ull << 20)

struct hvri_filter {
	struct hvri_env env;
	struct hvri_point point; /* The peer's that the digests are of. */
	uint8_t key[HVRI_GMAC_KEY];
	uint32_t references; /* Atomic: the VM, and cuts that use it. */
	bool used;           /* By a cut: it does not change any more. */
	uint64_t bytes;
	struct hvri_filter_run **runs; /* In order of disk and offset. */
	size_t count, capacity;
	uint8_t *zeroes; /* A granule of them. */
	hvri_mutex mutex;
	struct hvri_gmac gmac; /* Under the mutex. */
};

int32_t hvri_filter_new(const struct hvri_env *env,
			const struct hvri_point *point,
			struct hvri_filter **filter_out)
{
	struct hvri_filter *filter = hvri_alloc(env, sizeof(*filter));
	int32_t rc;

	if (filter == NULL)
		return HVREPL_E_NOMEM;
	filter->env = *env;
	filter->point = *point;
	filter->references = 1;
	hvri_mutex_init(&filter->mutex);
	filter->zeroes = hvri_alloc(env, HVRI_DIGEST_GRANULE);
	rc = filter->zeroes == NULL ? HVREPL_E_NOMEM :
				      hvri_random(env, filter->key,
						  sizeof(filter->key));
	if (rc >= 0)
		rc = hvri_gmac_init(&filter->gmac, filter->key);
	if (rc < 0) {
		hvri_filter_drop(filter);
		return rc;
	}
	*filter_out = filter;
	return HVREPL_OK;
}

static size_t size_of(const struct hvri_filter_run *run)
{
	return sizeof(*run) + (size_t)run->count * HVRI_DIGEST_SIZE;
}

void hvri_filter_runs_free(struct hvri_filter *filter,
			   struct hvri_filter_run *runs)
{
	while (runs != NULL) {
		struct hvri_filter_run *gone = runs;

		runs = gone->next;
		filter->bytes -= size_of(gone);
		hvri_free(&filter->env, gone, size_of(gone));
	}
}

struct hvri_filter *hvri_filter_hold(struct hvri_filter *filter)
{
	(void)__atomic_add_fetch(&filter->references, 1, __ATOMIC_RELAXED);
	return filter;
}

void hvri_filter_drop(struct hvri_filter *filter)
{
	struct hvri_env env;

	if (filter == NULL ||
	    __atomic_sub_fetch(&filter->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < filter->count; i++) {
		filter->runs[i]->next = NULL;
		hvri_filter_runs_free(filter, filter->runs[i]);
	}
	env = filter->env;
	hvri_free(&env, filter->runs,
		  filter->capacity * sizeof(struct hvri_filter_run *));
	hvri_free(&env, filter->zeroes, HVRI_DIGEST_GRANULE);
	hvri_gmac_free(&filter->gmac);
	hvri_mutex_destroy(&filter->mutex);
	OPENSSL_cleanse(filter->key, sizeof(filter->key));
	hvri_free(&env, filter, sizeof(*filter));
}

static bool same_point(const struct hvri_point *a, const struct hvri_point *b)
{
	return a->number == b->number && hvri_uuid_equal(&a->epoch, &b->epoch) &&
	       hvri_uuid_equal(&a->cut, &b->cut);
}

bool hvri_filter_takes(const struct hvri_filter *filter,
		       const struct hvri_point *point)
{
	return !filter->used && same_point(&filter->point, point);
}

const uint8_t *hvri_filter_key(const struct hvri_filter *filter)
{
	return filter->key;
}

struct hvri_filter_run *hvri_filter_run_new(struct hvri_filter *filter,
					    const struct hvri_digests *digests)
{
	size_t length = (size_t)digests->count * HVRI_DIGEST_SIZE;
	struct hvri_filter_run *run;

	if (filter->bytes + sizeof(*run) + length > FILTER_MAX)
		return NULL;
	run = hvri_alloc(&filter->env, sizeof(*run) + length);
	if (run == NULL)
		return NULL;
	run->disk = digests->disk;
	run->offset = digests->offset;
	run->count = digests->count;
	memcpy(run->digests, digests->digests, length);
	filter->bytes += size_of(run);
	return run;
}

static bool before(const struct hvri_filter_run *run, uint32_t disk,
		   uint64_t offset)
{
	uint64_t end = run->offset + (uint64_t)run->count * HVRI_DIGEST_GRANULE;

	return run->disk < disk || (run->disk == disk && end <= offset);
}

void hvri_filter_add(struct hvri_filter *filter, struct hvri_filter_run *runs)
{
	while (runs != NULL) {
		struct hvri_filter_run *run = runs;

		if ((filter->count > 0 &&
		     !before(filter->runs[filter->count - 1], run->disk,
			     run->offset)) ||
		    hvri_grow(&filter->env, (void **)&filter->runs,
			      &filter->capacity, filter->count + 1,
			      SIZE_MAX / sizeof(struct hvri_filter_run *),
			      sizeof(struct hvri_filter_run *)) < 0)
			break;
		runs = run->next;
		run->next = NULL;
		filter->runs[filter->count++] = run;
	}
	/* Not taken: shipped without a look. */
	hvri_filter_runs_free(filter, runs);
}

static const uint8_t *find(const struct hvri_filter *filter, uint32_t disk,
			   uint64_t offset)
{
	size_t low = 0, high = filter->count;
	const struct hvri_filter_run *run;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (before(filter->runs[middle], disk, offset))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == filter->count)
		return NULL;
	run = filter->runs[low];
	if (run->disk != disk || run->offset > offset)
		return NULL;
	return run->digests + (offset - run->offset) / HVRI_DIGEST_GRANULE *
				      HVRI_DIGEST_SIZE;
}

/* While a cut is spooled, on any thread. */
static bool same(void *user, uint32_t disk, uint64_t offset, const void *bytes,
		 size_t length)
{
	struct hvri_filter *filter = user;
	const uint8_t *theirs = find(filter, disk, offset);
	uint8_t mine[HVRI_DIGEST_SIZE];
	int32_t rc;

	if (theirs == NULL || hvri_digest_none(theirs))
		return false;
	hvri_lock(&filter->mutex);
	rc = hvri_gmac_block(&filter->gmac, disk, offset,
			     bytes != NULL ? bytes : filter->zeroes, length,
			     mine);
	hvri_unlock(&filter->mutex);
	return rc == HVREPL_OK && CRYPTO_memcmp(mine, theirs, sizeof(mine)) == 0;
}

static void release(void *user)
{
	hvri_filter_drop(user);
}

void hvri_filter_apply(struct hvri_vm *vm, hvrepl_cut *cut)
{
	const struct hvri_segment_header *header = hvri_cut_header(cut, 0);
	struct hvri_filter *filter = vm->filter;

	if (filter == NULL)
		return;
	/* A voided cut is made again on the same point: the filter stays until
	 * the peer has moved on. */
	if (header == NULL ||
	    header->identity.from_point != filter->point.number ||
	    !same_point(&filter->point, &vm->relationship.record.last_acked)) {
		vm->filter = NULL;
		hvri_filter_drop(filter);
		return;
	}
	filter->used = true;
	hvri_cut_set_filter(cut, same, release, hvri_filter_hold(filter));
}
