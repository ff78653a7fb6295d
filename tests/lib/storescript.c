/* SPDX-License-Identifier: Apache-2.0 */
/* Running scripts with crashes; see storescript.h. */
#include "storescript.h"

#include "store/view.h"

#include <string.h>

static struct world w;
static uint8_t blob_said, blob_tried;

static uint64_t middle(void)
{
	uint32_t n = 0;

	while (world_kept(&w, n) != NULL)
		n++;
	return world_kept(&w, n / 2)->key;
}

static int32_t drop_one(void)
{
	struct world_point *point = world_kept(&w, 1);

	if (point == NULL || point == world_newest(&w) ||
	    point->key == w.failover_key)
		return HVREPL_OK;
	return world_drop(&w, point->key);
}

static int32_t compact(void)
{
	uint32_t more = 1;

	while (more != 0)
		HVRI_TRY(hvri_store_compact(w.store, &more));
	return HVREPL_OK;
}

static int32_t some_steps(void)
{
	uint32_t more = 1;

	if (w.store->state.phase != HVRI_MANIFEST_REPLICA)
		return HVREPL_OK;
	HVRI_TRY(hvrepl_store_commit_begin(w.store, NULL));
	for (unsigned i = 0; i < 6 && w.store->state.materialised == 0; i++) {
		HVRI_TRY(hvrepl_store_commit_advance(w.store, &more, NULL));
		HVRI_TRY(world_guest_write(&w));
	}
	return HVREPL_OK;
}

static int32_t commit(void)
{
	uint32_t more = 1, steps = 0;

	if (w.store->state.phase == HVRI_MANIFEST_BASE_ONLY)
		return HVREPL_OK;
	HVRI_TRY(hvrepl_store_commit_begin(w.store, NULL));
	while (more != 0) {
		w.direct = true;
		HVRI_TRY(hvrepl_store_commit_advance(w.store, &more, NULL));
		HVRI_TRY(world_guest_write(&w));
		if (steps++ % 3 == 0)
			HVRI_TRY(world_guest_flush(&w));
	}
	return world_guest_flush(&w);
}

static int32_t set_blob(void)
{
	blob_tried++;
	HVRI_TRY(hvri_store_set_blob(w.store, &blob_tried, 1));
	blob_said = blob_tried;
	return HVREPL_OK;
}

static int32_t cancel(void)
{
	if (w.store->state.commit == HVRI_COMMIT_NONE) {
		w.failover = false;
		return HVREPL_OK;
	}
	return world_cancel(&w);
}

static int32_t merge(uint64_t target)
{
	if (w.store->state.merge_target == 0 &&
	    w.store->state.base >= target)
		return HVREPL_OK;
	return world_merge(&w, target);
}

static int32_t reopen(void)
{
	w.sim.crashed = true;
	world_abandon(&w);
	sim_restart(&w.sim, false);
	HVRI_TRY(world_open(&w, false));
	if (!w.failover || w.store->state.phase != HVRI_MANIFEST_REPLICA)
		return HVREPL_OK;
	HVRI_TRY(world_failover(&w, 0));
	/* What was not flushed may be gone. */
	return world_guest_look(&w);
}

static int32_t step(int what)
{
	switch (what) {
	case FIRST:
		return w.point_count > 0     ? HVREPL_OK :
		       w.cut.pending	     ? world_send_cut(&w) :
					       world_first_point(&w, false);
	case ADOPT:
		return w.point_count > 0 ? HVREPL_OK :
					   world_first_point(&w, true);
	case SEND:
		return world_send(&w);
	case MERGE:
		return merge(world_newest(&w)->key);
	case MERGE_TO:
		return merge(middle());
	case MAINTAIN:
		return world_maintain(&w);
	case DROP:
		return drop_one();
	case COMPACT:
		return compact();
	case FAILOVER:
		return world_failover(&w, w.failover ? 0 : middle());
	case WRITE:
		if (w.view == NULL) /* Committed, and opened again since. */
			return HVREPL_OK;
		for (unsigned i = 0; i < 4; i++)
			HVRI_TRY(world_guest_write(&w));
		return HVREPL_OK;
	case FLUSH:
		return w.view == NULL ? HVREPL_OK : world_guest_flush(&w);
	case COMMIT:
		return commit();
	case STEPS:
		return some_steps();
	case CANCEL:
		return cancel();
	case BLOB:
		return set_blob();
	case PIN:
		return world_pin(&w, world_kept(&w, 0), true);
	case PART:
		if (!w.cut.pending)
			world_make_cut(&w);
		return world_send_part(&w);
	case WHOLE:
		if (!w.cut.pending)
			world_make_cut(&w);
		return world_send_segments(&w);
	case REOPEN:
		return reopen();
	default:
		return HVREPL_OK;
	}
}

/* A failover that was being opened or thrown away when it crashed. */
static void settle_failover(void)
{
	uint32_t commit_state = w.store->state.commit;
	uint32_t more = 1;

	if (commit_state == HVRI_COMMIT_RESTORING) {
		while (more != 0)
			ck_assert_int_eq(hvrepl_store_cancel(w.store, &more,
							     NULL),
					 HVREPL_OK);
		w.failover = false;
		w.direct = false;
		return;
	}
	if (w.store->state.phase == HVRI_MANIFEST_BASE_ONLY) {
		world_check_guest(&w, true);
		return;
	}
	if (commit_state == HVRI_COMMIT_NONE) {
		w.failover = false;
		return;
	}
	ck_assert_int_eq(world_failover(&w, 0), HVREPL_OK);
	world_check_guest(&w, true);
}

static void check_blob(void)
{
	uint8_t blob = 0;
	uint32_t length = 1;

	ck_assert_int_eq(hvri_store_blob(w.store, &blob, &length), HVREPL_OK);
	ck_assert(blob == blob_said || blob == blob_tried);
	blob_said = blob_tried = blob;
}

/* Open again, crashing inside the recovery `again` I/Os later, if it takes
 * that many. */
static void recover(bool power_loss, uint64_t again)
{
	bool created;
	int32_t rc;

	world_abandon(&w);
	sim_restart(&w.sim, power_loss);
	if (again != UINT64_MAX) {
		w.sim.crash_at = w.sim.io_count + again;
		rc = world_open(&w, false);
		if (w.sim.crashed) {
			world_abandon(&w);
			sim_restart(&w.sim, !power_loss);
		} else {
			w.sim.crash_at = UINT64_MAX;
			ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NOT_FOUND);
			world_close(&w);
		}
	}
	rc = world_open(&w, false);
	created = rc != HVREPL_E_NOT_FOUND;
	if (!created) {
		/* Creating it had not ended. */
		ck_assert_uint_eq(w.point_count, 0);
		rc = world_open(&w, true);
	}
	ck_assert_msg(rc == HVREPL_OK, "recovery gives %d", rc);
	ck_assert(!w.store->base_changed && w.store->state.doubt_to == 0);
	world_settle(&w);
	world_check(&w);
	check_blob();
	if (w.failover || w.store->state.commit != HVRI_COMMIT_NONE)
		settle_failover();
	world_check(&w);
}

static void start(uint64_t seed, const struct hvrepl_store_options *options)
{
	world_init(&w, seed);
	world_run_clock(&w, 1000000u);
	w.change_blocks = 4;
	if (options != NULL) {
		w.options.points_max = options->points_max;
		w.options.base_at = options->base_at;
		w.options.container_bytes = options->container_bytes;
		w.options.capacity = options->capacity;
		w.options.reserve = options->reserve;
		w.options.high_water = options->high_water;
		w.options.points_min = options->points_min;
	}
	blob_said = blob_tried = 0;
}

/* One run that crashes at I/O `at`; false when the script ended before. */
static bool run(const uint8_t *script, uint64_t at, bool power_loss,
		uint64_t again, const struct hvrepl_store_options *options)
{
	bool crashed = false;
	int32_t rc;

	start(at * 2 + power_loss, options);
	/* Our own writes must never pass for those of others, however old the
	 * last stamp is (T9). */
	world_run_clock(&w, 1000000000u);
	w.sim.crash_at = at;
	rc = world_open(&w, true);
	for (unsigned i = 0; script[i] != END; i++) {
		if (rc == HVREPL_OK)
			rc = step(script[i]);
		if (w.sim.crashed) {
			crashed = true;
			recover(power_loss, again);
			rc = step(script[i]);
		}
		ck_assert_msg(rc == HVREPL_OK, "step %u gives %d", i, rc);
	}
	world_settle(&w);
	world_check(&w);
	if (w.failover)
		world_check_guest(&w, false);
	/* A call that fails by itself does not crash. */
	crashed |= w.sim.io_count > at;
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
	return crashed;
}

void script_everywhere(const uint8_t *script,
		       const struct hvrepl_store_options *options)
{
	for (int power_loss = 0; power_loss < 2; power_loss++)
		for (uint64_t at = 0;; at += test_stride()) {
			uint64_t again = at % 3 == 0 ? UINT64_MAX :
						       at * 7 % 31;

			if (!run(script, at, power_loss != 0, again, options))
				break;
		}
}

static void finish(void)
{
	world_settle(&w);
	world_check(&w);
	if (w.failover)
		world_check_guest(&w, false);
	world_free(&w);
	ck_assert_int_eq(w.env.alloc_live, 0);
}

void script_alloc_fails(const uint8_t *script)
{
	bool failed = true;

	for (long n = 0; failed; n += 1 + n / 40) {
		int32_t rc;

		start(11, NULL);
		w.env.alloc_fail_at = n;
		rc = world_open(&w, true);
		if (rc == HVREPL_E_NOMEM)
			rc = world_open(&w, true);
		for (unsigned i = 0; script[i] != END; i++) {
			if (rc == HVREPL_OK)
				rc = step(script[i]);
			if (rc == HVREPL_E_NOMEM && w.env.alloc_fail_at < 0)
				rc = step(script[i]);
			ck_assert_msg(rc == HVREPL_OK,
				      "allocation %ld, step %u gives %d", n, i,
				      rc);
		}
		failed = w.env.alloc_fail_at < 0;
		w.env.alloc_fail_at = -1;
		finish();
	}
}

/* After a callback that failed: go on, or open again. */
static int32_t go_on(int what)
{
	int32_t rc = w.store == NULL ? HVREPL_E_POISONED : step(what);

	if (rc == HVREPL_OK)
		return rc;
	world_close(&w);
	rc = world_open(&w, false);
	if (rc == HVREPL_E_NOT_FOUND)
		rc = world_open(&w, true);
	if (rc < 0)
		return rc;
	world_settle(&w);
	world_check(&w);
	if (w.failover || w.store->state.commit != HVRI_COMMIT_NONE)
		settle_failover();
	return step(what);
}

void script_io_fails(const uint8_t *script)
{
	static const int32_t codes[] = { HVREPL_E_DISK_IO, HVREPL_E_NO_SPACE,
					 HVREPL_E_STORAGE_IO };
	bool failed = true;

	for (uint64_t n = 0; failed; n += 1 + n / 100) {
		int32_t rc;

		start(13, NULL);
		w.sim.fail_at = n;
		w.sim.fail_code = codes[n % 3];
		rc = world_open(&w, true);
		if (rc < 0)
			rc = world_open(&w, true);
		for (unsigned i = 0; script[i] != END; i++) {
			if (rc == HVREPL_OK)
				rc = step(script[i]);
			if (rc < 0 && w.sim.fail_at == UINT64_MAX)
				rc = go_on(script[i]);
			ck_assert_msg(rc == HVREPL_OK,
				      "callback %llu, step %u gives %d",
				      (unsigned long long)n, i, rc);
		}
		failed = w.sim.fail_at == UINT64_MAX;
		w.sim.fail_at = UINT64_MAX;
		finish();
	}
}

/* All that was acknowledged is on the medium. */
static void finish_durable(void)
{
	/* A committed guest that is not looked at has no door to flush by. */
	bool power_loss = !w.failover || w.view != NULL;
	int32_t rc;

	if (w.view != NULL)
		ck_assert_int_eq(world_guest_flush(&w), HVREPL_OK);
	w.sim.crashed = true;
	world_abandon(&w);
	w.sim.survive_percent = 0;
	sim_restart(&w.sim, power_loss);
	rc = world_open(&w, false);
	ck_assert_msg(rc == HVREPL_OK, "without power it gives %d", rc);
	world_settle(&w);
	world_check(&w);
	check_blob();
	if (w.failover || w.store->state.commit != HVRI_COMMIT_NONE)
		settle_failover();
	world_check(&w);
}

bool script_with(const uint8_t *script, const struct script_fault *fault)
{
	/* What failed, and what the next step is told of it: POISONED; a flush
	 * that fails late fails a second time. */
	unsigned failures = fault->lose_power ? 2 : 3;
	bool reached = false;
	int32_t rc;

	start(13, NULL);
	w.aside = fault->aside;
	fault->arm(&w.env, &w.sim, fault->argument);
	w.full = w.sim.fail_at != UINT64_MAX &&
		 w.sim.fail_code == HVREPL_E_NO_SPACE;
	rc = world_open(&w, true);
	if (rc < 0) {
		reached = fault->disarm(&w.env, &w.sim);
		failures--;
		ck_assert_msg(reached, "opening gives %d", rc);
		rc = world_open(&w, true);
		if (rc == HVREPL_E_EXISTS)
			rc = world_open(&w, false);
	}
	for (unsigned i = 0; script[i] != END; i++) {
		ck_assert_msg(rc == HVREPL_OK, "before step %u it gives %d", i,
			      rc);
		rc = step(script[i]);
		while (rc < 0 && failures-- > 0) {
			reached |= fault->disarm(&w.env, &w.sim);
			ck_assert_msg(reached, "step %u gives %d", i, rc);
			if (w.view != NULL)
				(void)world_guest_look(&w);
			rc = go_on(script[i]);
		}
	}
	ck_assert_msg(rc == HVREPL_OK, "the last step gives %d", rc);
	reached |= fault->disarm(&w.env, &w.sim);
	world_settle(&w);
	world_check(&w);
	if (w.failover && w.store->state.phase == HVRI_MANIFEST_REPLICA)
		world_check_guest(&w, false);
	if (fault->lose_power)
		finish_durable();
	finish();
	return reached;
}
