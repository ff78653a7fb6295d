/* SPDX-License-Identifier: Apache-2.0 */
/* Writers, pump and cutter on real threads: every cut is one instant (T2, T3). */
#include "threadbed.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define WRITERS 3u
#define BLOCKS 96u /* A writer's own. */
#define WRITES 20000u

struct yard;

struct writer {
	struct yard *yard;
	uint32_t index;
	uint64_t random;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool completed;
	int32_t result;
	uint32_t done; /* Writes ended. */
	uint32_t block[WRITES + 1];
	uint64_t begun[WRITES + 1], ended[WRITES + 1]; /* Ticks. */
};

struct yard {
	struct disk disk;
	struct store store;
	struct hvrepl_env env;
	hvrepl_group *group;
	hvrepl_tracker *tracker;
	struct writer writer[WRITERS];
	uint64_t tick;
	bool stop;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool woken;
	uint8_t replica[DISK_SIZE];
	uint32_t shipped;
};

static void wake(void *user)
{
	struct yard *yard = user;

	pthread_mutex_lock(&yard->mutex);
	yard->woken = true;
	pthread_cond_signal(&yard->cond);
	pthread_mutex_unlock(&yard->mutex);
}

static void *pump(void *argument)
{
	struct yard *yard = argument;

	while (!__atomic_load_n(&yard->stop, __ATOMIC_ACQUIRE)) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 500000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		pthread_mutex_lock(&yard->mutex);
		while (!yard->woken &&
		       pthread_cond_timedwait(&yard->cond, &yard->mutex,
					      &until) != ETIMEDOUT)
			;
		yard->woken = false;
		pthread_mutex_unlock(&yard->mutex);
		hvrepl_group_process(yard->group);
	}
	return NULL;
}

static void completed(struct hvrepl_ticket *ticket, int32_t result)
{
	struct writer *writer = ticket->user;

	pthread_mutex_lock(&writer->mutex);
	writer->completed = true;
	writer->result = result;
	pthread_cond_signal(&writer->cond);
	pthread_mutex_unlock(&writer->mutex);
}

static int32_t begin(struct writer *writer, struct hvrepl_ticket *ticket,
		     uint64_t offset)
{
	int32_t rc;

	writer->completed = false;
	rc = hvrepl_tracker_write_begin(writer->yard->tracker, offset, BLOCK,
					HVREPL_WRITE_DATA, ticket);
	if (rc != HVREPL_PENDING)
		return rc;
	pthread_mutex_lock(&writer->mutex);
	while (!writer->completed)
		pthread_cond_wait(&writer->cond, &writer->mutex);
	pthread_mutex_unlock(&writer->mutex);
	return writer->result;
}

/* Write number k of writer w fills a block with (w, k). */
static void *write_all(void *argument)
{
	struct writer *writer = argument;
	struct yard *yard = writer->yard;
	struct hvrepl_ticket ticket = HVREPL_TICKET_INIT;

	ticket.complete = completed;
	ticket.user = writer;
	for (uint32_t k = 1; k <= WRITES; k++) {
		uint32_t block = (uint32_t)(test_random(&writer->random) %
					    (k % 4 == 0 ? BLOCKS : 8));
		uint64_t at = (writer->index * BLOCKS + block) * BLOCK;
		uint32_t fill[BLOCK / 4];

		for (size_t i = 0; i < BLOCK / 4; i++)
			fill[i] = writer->index << 24 | k;
		writer->block[k] = block;
		writer->begun[k] = __atomic_load_n(&yard->tick,
						   __ATOMIC_SEQ_CST);
		ck_assert_int_eq(begin(writer, &ticket, at), HVREPL_OK);
		memcpy(yard->disk.bytes + at, fill, BLOCK);
		ck_assert_int_eq(hvrepl_tracker_write_end(yard->tracker,
							  &ticket, HVREPL_OK),
				 HVREPL_OK);
		writer->ended[k] = __atomic_add_fetch(&yard->tick, 1,
						      __ATOMIC_SEQ_CST);
		__atomic_store_n(&writer->done, k, __ATOMIC_RELEASE);
	}
	return NULL;
}

static uint32_t number_at(const struct yard *yard, uint32_t w, uint32_t block)
{
	uint32_t first, last;
	const uint8_t *at = yard->replica + (w * BLOCKS + block) * BLOCK;

	memcpy(&first, at, 4);
	memcpy(&last, at + BLOCK - 4, 4);
	ck_assert_uint_eq(first, last);
	ck_assert(first == 0 || first >> 24 == w);
	return first & 0xffffff;
}

/* The replica holds, of every writer, all writes up to some number; and what
 * ended before a write that it holds began. */
static void check_instant(const struct yard *yard, bool final)
{
	uint32_t newest[WRITERS] = { 0 };
	uint64_t begun = 0;

	for (uint32_t w = 0; w < WRITERS; w++) {
		const struct writer *writer = &yard->writer[w];
		uint32_t want[BLOCKS] = { 0 };

		for (uint32_t b = 0; b < BLOCKS; b++)
			newest[w] = HVRI_MAX(newest[w], number_at(yard, w, b));
		for (uint32_t k = 1; k <= newest[w]; k++)
			want[writer->block[k]] = k;
		for (uint32_t b = 0; b < BLOCKS; b++)
			ck_assert_uint_eq(number_at(yard, w, b), want[b]);
		if (newest[w] > 0)
			begun = HVRI_MAX(begun, writer->begun[newest[w]]);
		ck_assert(!final || newest[w] == WRITES);
	}
	for (uint32_t w = 0; w < WRITERS; w++) {
		const struct writer *writer = &yard->writer[w];
		uint32_t done = __atomic_load_n(&writer->done,
						__ATOMIC_ACQUIRE);

		if (newest[w] < done)
			ck_assert_uint_gt(writer->ended[newest[w] + 1], begun);
	}
}

static void apply(struct yard *yard, hvrepl_cut *cut)
{
	const struct hvri_segment_header *header = hvri_cut_header(cut, 0);
	uint8_t *raw = malloc(HVRI_CHUNK_RAW_MAX);
	const uint8_t *bytes;
	uint32_t length;

	for (uint32_t s = 0;
	     hvri_cut_chunk(cut, 0, s, &bytes, &length) == HVREPL_OK; s++) {
		struct hvri_chunk chunk;
		uint32_t at = 0;

		ck_assert_int_eq(hvri_chunk_decode(header, bytes, length,
						   &chunk),
				 HVREPL_OK);
		ck_assert_int_eq(chunk.kind, HVRI_CHUNK_DATA);
		ck_assert_int_eq(hvri_chunk_unpack(header, &chunk, raw),
				 HVREPL_OK);
		for (uint32_t i = 0; i < chunk.extent_count; i++) {
			struct hvrepl_extent e = hvri_chunk_extent(&chunk, i);

			memcpy(yard->replica + e.offset, raw + at, e.length);
			at += (uint32_t)e.length;
		}
	}
	free(raw);
}

/* What is being read of a cut when it is voided is thrown away, and no writer waits for
 * that: the sanitizer would see the two. */
#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

/* A second thread that reads the same cut. */
static void *read_too(void *argument)
{
	uint32_t progress = 0;

	while (hvrepl_cut_advance(argument, 1, &progress) == HVREPL_OK &&
	       progress != HVREPL_CUT_DONE)
		sched_yield();
	return NULL;
}

/* One cut, read by this thread, applied and acknowledged; some are failed
 * or voided instead. */
static void cut_once(struct yard *yard, uint32_t number)
{
	hvrepl_cut *cut;
	uint32_t progress = HVREPL_CUT_WAITING;
	int32_t rc = hvrepl_group_cut(yard->group, 0, NULL, &cut);
	bool voided = number % 7 == 3;
	bool helped = number % 4 == 0 && !(voided && UNDER_TSAN);
	pthread_t helper;

	if (rc == HVREPL_E_BUSY) {
		hvrepl_group_process(yard->group);
		return;
	}
	ck_assert_int_eq(rc, HVREPL_OK);
	if (helped)
		pthread_create(&helper, NULL, read_too, cut);
	if (voided)
		hvrepl_cut_void(cut);
	do {
		rc = hvrepl_cut_advance(cut, 1, &progress);
		if (progress == HVREPL_CUT_WAITING)
			sched_yield();
	} while (rc == HVREPL_OK && progress != HVREPL_CUT_DONE);
	if (helped)
		pthread_join(helper, NULL);
	if (rc == HVREPL_OK && number % 7 == 5)
		rc = HVREPL_E_DISCONNECTED;
	if (rc == HVREPL_OK) {
		apply(yard, cut);
		yard->shipped++;
	}
	ck_assert_int_eq(hvrepl_cut_close(cut, rc), HVREPL_OK);
	if (rc == HVREPL_OK)
		check_instant(yard, false);
}

static void yard_open(struct yard *yard, bool pumped)
{
	struct hvrepl_group_options group = HVREPL_GROUP_OPTIONS_INIT;
	struct hvrepl_tracker_options options = HVREPL_TRACKER_OPTIONS_INIT;
	struct hvrepl_disk disk = { &disk_ops, &yard->disk, NULL };
	struct hvrepl_storage store = { &store_ops, &yard->store, NULL };

	_Static_assert(WRITERS * BLOCKS * BLOCK == DISK_SIZE, "all of it");
	pthread_mutex_init(&yard->store.mutex, NULL);
	pthread_mutex_init(&yard->mutex, NULL);
	pthread_cond_init(&yard->cond, NULL);
	yard->env = real_env();
	group.cool_after_ns = 500000;
	group.write_wait_ns = UINT64_C(60000000000);
	group.level = HVREPL_LEVEL_STORE;
	if (pumped) {
		group.wake = wake;
		group.wake_user = yard;
	}
	ck_assert_int_eq(hvrepl_group_create(&yard->env, &group, NULL,
					     &yard->group),
			 HVREPL_OK);
	options.flags = HVREPL_TRACKER_CREATE;
	options.object_id = "disk.hvt";
	options.region_size = 262144;
	ck_assert_int_eq(hvrepl_tracker_attach(yard->group, &disk, &store,
					       &options, NULL, &yard->tracker),
			 HVREPL_OK);
	for (uint32_t w = 0; w < WRITERS; w++) {
		yard->writer[w].yard = yard;
		yard->writer[w].index = w;
		yard->writer[w].random = w * 2 + 1;
		pthread_mutex_init(&yard->writer[w].mutex, NULL);
		pthread_cond_init(&yard->writer[w].cond, NULL);
	}
}

/* _i 0: a pump thread. 1: the writers are the pump. */
START_TEST(every_cut_is_one_instant_while_threads_write)
{
	struct yard *yard = calloc(1, sizeof(*yard));
	pthread_t thread[WRITERS], pumping;
	bool writing = true;

	yard_open(yard, _i == 0);
	pthread_create(&pumping, NULL, pump, yard);
	for (uint32_t w = 0; w < WRITERS; w++)
		pthread_create(&thread[w], NULL, write_all, &yard->writer[w]);
	for (uint32_t n = 0; writing; n++) {
		writing = false;
		for (uint32_t w = 0; w < WRITERS; w++)
			writing |= __atomic_load_n(&yard->writer[w].done,
						   __ATOMIC_ACQUIRE) < WRITES;
		cut_once(yard, n);
	}
	for (uint32_t w = 0; w < WRITERS; w++)
		pthread_join(thread[w], NULL);
	__atomic_store_n(&yard->stop, true, __ATOMIC_RELEASE);
	pthread_join(pumping, NULL);
	for (uint32_t before = yard->shipped; yard->shipped == before;)
		cut_once(yard, 0);
	check_instant(yard, true);
	ck_assert_uint_ge(yard->shipped, 3);
	ck_assert_int_eq(memcmp(yard->replica, yard->disk.bytes, DISK_SIZE), 0);
	ck_assert_int_eq(hvrepl_tracker_detach(yard->tracker,
					       HVREPL_DETACH_CLEAN),
			 HVREPL_OK);
	ck_assert_int_eq(hvrepl_group_destroy(yard->group), HVREPL_OK);
	free(yard);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tracker threads");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 240);
	tcase_add_loop_test(tcase, every_cut_is_one_instant_while_threads_write,
			    0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
