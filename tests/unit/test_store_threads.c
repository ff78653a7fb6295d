/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real threads: points are read while others come, merge and go, and a guest
 * writes and flushes while its failover is committed under it.
 */
#include "store/internal.h"
#include "store/view.h"
#include "testing.h"
#include "waits.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (192u << 10)
#define POINTS 24u
#define OBJECTS 512u

/* ---- disks and objects in memory, safe for threads ---- */

struct memory_disk {
	pthread_mutex_t mutex;
	uint8_t bytes[SIZE];
	/* Or NULL: what comes after a write, and what a flush gives. */
	void (*wrote)(void);
	int32_t (*flushed)(void);
};

static int32_t disk_info(void *user, struct hvrepl_disk_info *out)
{
	(void)user;
	out->size = SIZE;
	out->block_size = 512;
	return HVREPL_OK;
}

static int32_t disk_readv(void *user, hvrepl_op *op, uint64_t offset,
			  const struct hvrepl_iovec *iov, uint32_t count)
{
	struct memory_disk *disk = user;

	(void)op;
	pthread_mutex_lock(&disk->mutex);
	for (uint32_t i = 0; i < count; i++) {
		memcpy(iov[i].base, disk->bytes + offset, iov[i].length);
		offset += iov[i].length;
	}
	pthread_mutex_unlock(&disk->mutex);
	return HVREPL_OK;
}

static int32_t disk_writev(void *user, hvrepl_op *op, uint64_t offset,
			   const struct hvrepl_iovec *iov, uint32_t count)
{
	struct memory_disk *disk = user;

	(void)op;
	pthread_mutex_lock(&disk->mutex);
	for (uint32_t i = 0; i < count; i++) {
		memcpy(disk->bytes + offset, iov[i].base, iov[i].length);
		offset += iov[i].length;
	}
	pthread_mutex_unlock(&disk->mutex);
	if (disk->wrote != NULL)
		disk->wrote();
	return HVREPL_OK;
}

static int32_t disk_flush(void *user, hvrepl_op *op)
{
	struct memory_disk *disk = user;

	(void)op;
	return disk->flushed == NULL ? HVREPL_OK : disk->flushed();
}

static const struct hvrepl_disk_ops disk_ops = {
	.struct_size = sizeof(disk_ops),
	.info = disk_info,
	.readv = disk_readv,
	.writev = disk_writev,
	.flush = disk_flush,
};

struct object {
	char id[HVREPL_OBJECT_ID_MAX + 1];
	bool exists;
	uint8_t *bytes;
	uint64_t size, room;
};

static struct {
	pthread_mutex_t mutex;
	struct object objects[OBJECTS];
} box = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static struct object *find(const char *id)
{
	for (unsigned i = 0; i < OBJECTS; i++)
		if (box.objects[i].exists &&
		    strcmp(box.objects[i].id, id) == 0)
			return &box.objects[i];
	return NULL;
}

static int32_t box_open(void *user, const char *id, uint32_t flags,
			void **object_out)
{
	bool create = (flags & HVREPL_OBJECT_CREATE) != 0;
	struct object *object;
	int32_t rc = HVREPL_OK;

	(void)user;
	pthread_mutex_lock(&box.mutex);
	object = find(id);
	if (create == (object != NULL)) {
		rc = create ? HVREPL_E_EXISTS : HVREPL_E_NOT_FOUND;
	} else if (create) {
		object = box.objects;
		while (object->exists || object->bytes != NULL)
			object++;
		object->exists = true;
		strncpy(object->id, id, HVREPL_OBJECT_ID_MAX);
	}
	pthread_mutex_unlock(&box.mutex);
	*object_out = object;
	return rc;
}

static void box_close(void *user, void *object)
{
	(void)user;
	(void)object;
}

static int32_t box_size(void *user, void *object, uint64_t *size_out)
{
	(void)user;
	pthread_mutex_lock(&box.mutex);
	*size_out = ((struct object *)object)->size;
	pthread_mutex_unlock(&box.mutex);
	return HVREPL_OK;
}

static int32_t box_read(void *user, hvrepl_op *op, void *handle,
			uint64_t offset, void *buffer, size_t length)
{
	struct object *object = handle;

	(void)user;
	(void)op;
	pthread_mutex_lock(&box.mutex);
	memcpy(buffer, object->bytes + offset, length);
	pthread_mutex_unlock(&box.mutex);
	return HVREPL_OK;
}

static void set_size(struct object *object, uint64_t size)
{
	if (size > object->room) {
		object->bytes = realloc(object->bytes, size * 2);
		object->room = size * 2;
	}
	if (size > object->size)
		memset(object->bytes + object->size, 0, size - object->size);
	object->size = size;
}

static int32_t box_write(void *user, hvrepl_op *op, void *handle,
			 uint64_t offset, const struct hvrepl_iovec *iov,
			 uint32_t count)
{
	struct object *object = handle;

	(void)user;
	(void)op;
	pthread_mutex_lock(&box.mutex);
	for (uint32_t i = 0; i < count; i++) {
		if (offset + iov[i].length > object->size)
			set_size(object, offset + iov[i].length);
		memcpy(object->bytes + offset, iov[i].base, iov[i].length);
		offset += iov[i].length;
	}
	pthread_mutex_unlock(&box.mutex);
	return HVREPL_OK;
}

static int32_t box_flush(void *user, hvrepl_op *op, void *object)
{
	(void)user;
	(void)op;
	(void)object;
	return HVREPL_OK;
}

static int32_t box_resize(void *user, void *object, uint64_t size)
{
	(void)user;
	pthread_mutex_lock(&box.mutex);
	set_size(object, size);
	pthread_mutex_unlock(&box.mutex);
	return HVREPL_OK;
}

static int32_t box_remove(void *user, const char *id)
{
	struct object *object;

	(void)user;
	pthread_mutex_lock(&box.mutex);
	object = find(id);
	/* Its bytes stay for who has it open. */
	if (object != NULL)
		object->exists = false;
	pthread_mutex_unlock(&box.mutex);
	return object == NULL ? HVREPL_E_NOT_FOUND : HVREPL_OK;
}

static int32_t box_list(void *user, const char *prefix,
			int32_t (*found)(void *argument, const char *id,
					 uint64_t size),
			void *argument)
{
	(void)user;
	(void)prefix;
	(void)found;
	(void)argument;
	return HVREPL_OK;
}

static const struct hvrepl_storage_ops box_ops = {
	.struct_size = sizeof(box_ops),
	.open = box_open,
	.close = box_close,
	.size = box_size,
	.read = box_read,
	.write = box_write,
	.flush = box_flush,
	.resize = box_resize,
	.remove = box_remove,
	.list = box_list,
};

/* ---- the play ---- */

static struct test_env env;
static struct memory_disk base = { .mutex = PTHREAD_MUTEX_INITIALIZER };
static hvrepl_store *store;
static uint8_t images[POINTS + 1][SIZE]; /* By number; written, then told. */
static uint64_t newest;			 /* Atomic: numbers up to it exist. */
static uint32_t stop, reads;		 /* Atomic. */

static void open_store(void)
{
	struct hvrepl_storage storage = { &box_ops, NULL, NULL };
	struct hvrepl_store_disk disk = { .base = { &disk_ops, &base, NULL } };
	struct hvrepl_store_options options = HVREPL_STORE_OPTIONS_INIT;
	struct hvri_store_point_commit commit = { .number = 1 };

	test_env_init(&env, 5);
	options.flags = HVREPL_STORE_CREATE;
	options.points_max = 5;
	options.container_bytes = 65536;
	options.cache_bytes = 1;
	test_fill(images[1], SIZE, 9);
	memcpy(base.bytes, images[1], SIZE);
	ck_assert_int_eq(hvrepl_store_open(&env.env, &storage, &disk, 1,
					   &options, &store, NULL),
			 HVREPL_OK);
	store->piece_bytes = 16384;
	store->switch_bytes = 16384;
	ck_assert_int_eq(hvri_store_adopt(store, &commit, NULL, NULL),
			 HVREPL_OK);
	__atomic_store_n(&newest, 1, __ATOMIC_RELEASE);
}

static void close_store(void)
{
	ck_assert_int_eq(hvrepl_store_destroy(store), HVREPL_OK);
	for (unsigned i = 0; i < OBJECTS; i++)
		free(box.objects[i].bytes);
	ck_assert_int_eq(env.alloc_live, 0);
}

static void send(uint64_t number, uint64_t *random)
{
	struct hvri_env own;
	struct hvri_segment_header header = {
		.identity = { .cut = { { (uint8_t)number } },
			      .from_point = number - 1,
			      .to_point = number },
		.disk_size = SIZE,
		.block_size = 4096,
	};
	struct hvri_store_point_commit commit = { .number = number };
	static uint8_t out[HVRI_CHUNK_ENCODED_MAX];
	uint8_t bytes[HVRI_SEGMENT_HEADER_SIZE], root[32];
	struct hvri_segment_root sum;
	struct hvri_packer *packer;
	uint32_t next, length, count = 0;

	own.app = env.env;
	commit.cut = header.identity.cut;
	memcpy(images[number], images[number - 1], SIZE);
	hvri_segment_header_encode(&header, bytes);
	ck_assert_int_eq(hvri_packer_create(&own, 1, &packer), HVREPL_OK);
	ck_assert_int_eq(hvri_segment_root_begin(&sum, &header), HVREPL_OK);
	ck_assert_int_eq(hvri_store_segment_begin(store, 0, bytes, &next, NULL),
			 HVREPL_OK);
	for (uint64_t at = 0; at < SIZE; at += 4096) {
		struct hvrepl_extent extent = { at, 4096 };
		struct hvri_chunk chunk;

		if (test_random(random) % 3 != 0)
			continue;
		test_fill(images[number] + at, 4096, test_random(random));
		ck_assert_int_eq(hvri_chunk_pack(packer, &header, count++,
						 HVRI_CHUNK_DATA, &extent, 1,
						 images[number] + at, out,
						 &length),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_chunk_decode(&header, out, length,
						   &chunk),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_segment_root_add(&sum,
						       chunk.stored_digest),
				 HVREPL_OK);
		ck_assert_int_eq(hvri_store_segment_append(store, 0, out,
							   length),
				 HVREPL_OK);
	}
	ck_assert_int_eq(hvri_segment_root_end(&sum, root), HVREPL_OK);
	hvri_segment_root_free(&sum);
	hvri_packer_destroy(packer);
	ck_assert_int_eq(hvri_store_segment_end(store, 0, count, root),
			 HVREPL_OK);
	ck_assert_int_eq(hvri_store_point_commit(store, &commit, NULL, NULL),
			 HVREPL_OK);
	__atomic_store_n(&newest, number, __ATOMIC_RELEASE);
}

/* Views of whatever point is there, read whole. */
static void *read_points(void *argument)
{
	uint64_t random = (uint64_t)(uintptr_t)argument;
	uint8_t *bytes = malloc(SIZE);

	while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
		uint64_t top = __atomic_load_n(&newest, __ATOMIC_ACQUIRE);
		uint64_t number = 1 + test_random(&random) % top;
		hvrepl_view *view;
		int32_t rc;

		rc = hvrepl_view_open(store, number, HVREPL_VIEW_READ_ONLY,
				      &view, NULL);
		if (rc == HVREPL_E_NOT_FOUND) /* Given up meanwhile. */
			continue;
		for (uint64_t at = 0; at < SIZE && rc == HVREPL_OK;
		     at += 12288)
			rc = hvri_view_read(view, 0, at, bytes + at, 12288);
		if (rc < 0 || memcmp(bytes, images[number], SIZE) != 0)
			abort();
		if (hvrepl_view_close(view) < 0)
			abort();
		__atomic_add_fetch(&reads, 1, __ATOMIC_RELAXED);
	}
	free(bytes);
	return NULL;
}

START_TEST(points_are_read_while_others_come_merge_and_go)
{
	pthread_t threads[3];
	uint64_t random = 77;
	uint32_t more;

	open_store();
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, read_points,
						(void *)(uintptr_t)(i + 5)),
				 0);
	for (uint64_t number = 2; number <= POINTS; number++) {
		send(number, &random);
		do {
			ck_assert_int_eq(hvrepl_store_maintain(store, &more,
							       NULL),
					 HVREPL_OK);
		} while (more != 0);
	}
	while (__atomic_load_n(&reads, __ATOMIC_RELAXED) < 50)
		sched_yield();
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	close_store();
}
END_TEST

struct guest {
	hvrepl_view *view;
	uint64_t from, to; /* Its own half of the disk. */
	uint8_t image[SIZE];
	uint32_t writes;
};

static void *run_guest(void *argument)
{
	struct guest *guest = argument;
	uint64_t random = guest->from + 3;
	uint8_t bytes[8192];

	while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0 ||
	       guest->writes < 200) {
		uint64_t sectors = (guest->to - guest->from) / 512;
		uint64_t at = test_random(&random) % sectors;
		uint64_t count = 1 + test_random(&random) % 16;

		count = count < sectors - at ? count : sectors - at;
		at = guest->from + at * 512;
		test_fill(guest->image + at, count * 512, test_random(&random));
		if (hvri_view_write(guest->view, 0, at, guest->image + at,
				    count * 512) < 0)
			abort();
		if (test_random(&random) % 8 == 0 &&
		    hvri_view_flush(guest->view, 0) < 0)
			abort();
		if (hvri_view_read(guest->view, 0, at, bytes, count * 512) <
			    0 ||
		    memcmp(bytes, guest->image + at, count * 512) != 0)
			abort();
		at = guest->from + test_random(&random) % sectors * 512;
		if (hvri_view_read(guest->view, 0, at, bytes, 512) < 0 ||
		    memcmp(bytes, guest->image + at, 512) != 0)
			abort();
		guest->writes++;
	}
	return NULL;
}

START_TEST(a_guest_writes_while_its_failover_is_committed)
{
	static struct guest guests[2];
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	pthread_t threads[2];
	uint64_t random = 78;
	hvrepl_view *view;
	uint32_t more = 1;

	open_store();
	store->refreeze_bytes = 32768;
	for (uint64_t number = 2; number < 8; number++)
		send(number, &random);
	ck_assert_int_eq(hvrepl_view_open(store, 4 + (uint64_t)_i * 3,
					  HVREPL_VIEW_FAILOVER, &view, NULL),
			 HVREPL_OK);
	for (unsigned i = 0; i < 2; i++) {
		guests[i].view = view;
		guests[i].from = i * (SIZE / 2);
		guests[i].to = guests[i].from + SIZE / 2;
		memcpy(guests[i].image, images[4 + _i * 3], SIZE);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_guest,
						&guests[i]),
				 0);
	}
	ck_assert_int_eq(hvrepl_store_commit_begin(store, &error), HVREPL_OK);
	while (more != 0)
		ck_assert_int_eq(hvrepl_store_commit_advance(store, &more,
							     &error),
				 HVREPL_OK);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_mem_eq(base.bytes + guests[i].from,
				 guests[i].image + guests[i].from, SIZE / 2);
	ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	close_store();
}
END_TEST

/* ---- The last switch of a commit and its guest flush the same base. ---- */

static hvrepl_view *half; /* The guest writes to the base below `direct`. */
static pthread_t guest_thread;
static uint32_t flushes, guest_ended, advanced; /* Atomic. */
static int32_t guest_code;

static void guest_change(uint64_t at)
{
	uint8_t bytes[4096];

	memset(bytes, 0x5a, sizeof(bytes));
	ck_assert_int_eq(hvri_view_write(half, 0, at, bytes, sizeof(bytes)),
			 HVREPL_OK);
}

static int32_t advance(void)
{
	uint32_t more;

	return hvrepl_store_commit_advance(store, &more, NULL);
}

static void half_way(void)
{
	open_store();
	ck_assert_int_eq(hvrepl_view_open(store, 1, HVREPL_VIEW_FAILOVER, &half,
					  NULL),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_store_commit_begin(store, NULL), HVREPL_OK);
	while (store->frozen == NULL)
		ck_assert_int_eq(advance(), HVREPL_OK);
	for (uint64_t at = 0; at < SIZE; at += 8192)
		guest_change(at);
	ck_assert_int_eq(hvri_view_flush(half, 0), HVREPL_OK);
	while (store->state.disks[0].direct == 0)
		ck_assert_int_eq(advance(), HVREPL_OK);
	ck_assert_uint_lt(store->state.disks[0].direct, SIZE);
	guest_change(0);
	flushes = guest_ended = advanced = 0;
}

static void end_half_way(void)
{
	base.wrote = NULL;
	base.flushed = NULL;
	ck_assert_int_eq(hvrepl_view_close(half), HVREPL_OK);
	close_store();
}

static void *flush_once(void *argument)
{
	*(int32_t *)argument = hvri_view_flush(half, 0);
	__atomic_store_n(&guest_ended, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void begin_flush(pthread_t *thread, int32_t *code)
{
	ck_assert_int_eq(pthread_create(thread, NULL, flush_once, code), 0);
}

/* The commit's comes first; the guest's, meanwhile, succeeds: an error is told once. */
static int32_t fail_under_the_guest(void)
{
	if (__atomic_fetch_add(&flushes, 1, __ATOMIC_ACQ_REL) > 0)
		return HVREPL_OK;
	begin_flush(&guest_thread, &guest_code);
	while (waits_now() == 0 &&
	       __atomic_load_n(&guest_ended, __ATOMIC_ACQUIRE) == 0)
		sched_yield();
	return HVREPL_E_DISK_IO;
}

START_TEST(a_flush_while_that_of_the_commit_fails_is_not_answered_well)
{
	half_way();
	base.flushed = fail_under_the_guest;
	ck_assert_int_eq(advance(), HVREPL_E_DISK_IO);
	pthread_join(guest_thread, NULL);
	ck_assert_uint_eq(flushes, 2);
	ck_assert_int_eq(guest_code, HVREPL_E_POISONED);
	/* It was told, and whoever flushed for it knows. */
	ck_assert(!hvri_store_take_base_lost(store, 0));
	ck_assert_int_eq(hvri_view_flush(half, 0), HVREPL_OK);
	end_half_way();
}
END_TEST

static pthread_t two_threads[2];
static int32_t two_codes[2];

static int32_t fail_under_two_guests(void)
{
	if (__atomic_fetch_add(&flushes, 1, __ATOMIC_ACQ_REL) > 0)
		return HVREPL_OK;
	for (unsigned i = 0; i < 2; i++)
		begin_flush(&two_threads[i], &two_codes[i]);
	while (waits_for_flush(&store->flushes[0].flushes) < 2 &&
	       __atomic_load_n(&guest_ended, __ATOMIC_ACQUIRE) == 0)
		sched_yield();
	return HVREPL_E_DISK_IO;
}

START_TEST(all_that_flush_while_the_commits_fails_are_told)
{
	half_way();
	base.flushed = fail_under_two_guests;
	ck_assert_int_eq(advance(), HVREPL_E_DISK_IO);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(two_threads[i], NULL);
		ck_assert_int_eq(two_codes[i], HVREPL_E_POISONED);
	}
	ck_assert_uint_eq(flushes, 2);
	ck_assert_int_eq(hvri_view_flush(half, 0), HVREPL_OK);
	end_half_way();
}
END_TEST

static int32_t fail_once(void)
{
	return __atomic_fetch_add(&flushes, 1, __ATOMIC_ACQ_REL) == 0 ?
		       HVREPL_E_DISK_IO :
		       HVREPL_OK;
}

/* Between two writes of the commit. */
static void guest_comes_in(void)
{
	base.wrote = NULL;
	begin_flush(&guest_thread, &guest_code);
	pthread_join(guest_thread, NULL);
}

/* The guest's comes first, and is told its error when the commit has come to its own. */
static int32_t fail_under_the_commit(void)
{
	if (__atomic_fetch_add(&flushes, 1, __ATOMIC_ACQ_REL) > 0)
		return HVREPL_OK;
	while (waits_now() == 0 &&
	       __atomic_load_n(&advanced, __ATOMIC_ACQUIRE) == 0)
		sched_yield();
	return HVREPL_E_DISK_IO;
}

static void guest_begins(void)
{
	base.wrote = NULL;
	begin_flush(&guest_thread, &guest_code);
	while (__atomic_load_n(&flushes, __ATOMIC_ACQUIRE) == 0)
		sched_yield();
}

/* With it may go what the commit wrote, of which the overlay has the other copy. _i 1:
 * it ends while the commit waits for its own. */
START_TEST(a_range_that_a_failed_flush_of_the_guest_may_have_taken_stays_in_the_overlay)
{
	uint64_t direct;
	int32_t rc;

	half_way();
	direct = store->state.disks[0].direct;
	base.flushed = _i == 0 ? fail_once : fail_under_the_commit;
	base.wrote = _i == 0 ? guest_comes_in : guest_begins;
	rc = advance();
	__atomic_store_n(&advanced, 1, __ATOMIC_RELEASE);
	if (_i == 1)
		pthread_join(guest_thread, NULL);
	ck_assert_int_eq(rc, HVREPL_E_DISK_IO);
	ck_assert_int_eq(guest_code, HVREPL_E_DISK_IO);
	ck_assert_uint_eq(flushes, 2);
	ck_assert(hvri_store_poisoned(store));
	ck_assert_uint_eq(store->state.disks[0].direct, direct);
	/* The guest has its own error, and that one was none of the commit's. */
	ck_assert(!hvri_store_take_base_lost(store, 0));
	ck_assert_int_eq(hvri_view_flush(half, 0), HVREPL_OK);
	end_half_way();
}
END_TEST

/* What the guest lost, and was told, is not the next range's loss. */
START_TEST(a_failed_flush_of_the_guest_between_two_ranges_ends_no_commit)
{
	uint64_t direct;

	half_way();
	direct = store->state.disks[0].direct;
	base.flushed = fail_once;
	ck_assert_int_eq(hvri_view_flush(half, 0), HVREPL_E_DISK_IO);
	ck_assert_int_eq(advance(), HVREPL_OK);
	ck_assert_uint_gt(store->state.disks[0].direct, direct);
	end_half_way();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store-threads");
	TCase *tcase = tcase_create("store-threads");

	tcase_add_test(tcase, points_are_read_while_others_come_merge_and_go);
	tcase_add_loop_test(tcase,
			    a_guest_writes_while_its_failover_is_committed, 0,
			    2);
	tcase_add_test(tcase,
		       a_flush_while_that_of_the_commit_fails_is_not_answered_well);
	tcase_add_test(tcase, all_that_flush_while_the_commits_fails_are_told);
	tcase_add_loop_test(
		tcase,
		a_range_that_a_failed_flush_of_the_guest_may_have_taken_stays_in_the_overlay,
		0, 2);
	tcase_add_test(
		tcase,
		a_failed_flush_of_the_guest_between_two_ranges_ends_no_commit);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
