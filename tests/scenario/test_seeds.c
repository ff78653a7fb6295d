/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random stories of two sites: guests, operators and every fault at once, one
 * story a seed, against an oracle that knows what each point and each owner
 * must hold. HVREPL_SEEDS says how many, HVREPL_FIRST_SEED where to begin.
 */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_SIZE (128u << 10)
#define SECTORS (DISK_SIZE / 512)
#define SECOND 1000000000ull
#define MS 1000000ull
#define IMAGES_MAX 1024u
#define EPOCHS_MAX 128u

struct content {
	uint8_t bytes[PAIR_DISKS][DISK_SIZE];
	bool unsure[PAIR_DISKS][SECTORS]; /* A crash or error left it open. */
};

/* What the owner's disks held at the instant of a cut. */
struct image {
	struct hvrepl_uuid epoch;
	uint64_t number;
	struct content content;
};

/* What a guest left behind at the site in an epoch. */
struct ending {
	struct hvrepl_uuid epoch;
	struct content content;
};

struct teller {
	struct pair_site *site;
	struct content shadow; /* What its guest sees, since `epoch`. */
	bool unflushed[PAIR_DISKS][SECTORS];
	bool has_shadow, on_base;
	struct hvrepl_uuid epoch; /* In which it could write last. */
	uint64_t last_cut;
	struct ending endings[EPOCHS_MAX];
	unsigned ending_count;
	uint32_t asked; /* The last operation accepted here. */
	unsigned revived; /* Counts both sites. */
	uint64_t restart_at;
	struct hvrepl_uuid seen_epochs[16];
	uint64_t seen_numbers[16];
	unsigned seen_count;
};

static struct pair pair;
static struct teller tellers[2];
static struct image *images[IMAGES_MAX];
static unsigned image_count, hooks;
static uint64_t rng, seed;
static uint64_t clear_faults_at;
static bool tracing;

static const char *const operations[] = {
	"", "enable", "start-initial", "suspend", "resume", "resync", "planned",
	"unplanned", "change-point", "cancel", "commit", "reverse", "discard",
	"force", "remove", "verify", "cut-now",
};

#define SAY(...)                                                        \
	do {                                                            \
		if (tracing) {                                          \
			printf("[%9.3f] ", (double)pair.now_ns / 1e9);   \
			printf(__VA_ARGS__);                            \
			printf("\n");                                   \
			fflush(stdout);                                 \
		}                                                       \
	} while (0)

static uint64_t dice(uint64_t sides)
{
	return test_random(&rng) % sides;
}

static bool equal(const struct hvrepl_uuid *a, const struct hvrepl_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool look(struct pair_site *site, struct hvrepl_vm_status *status)
{
	*status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	return site->node != NULL &&
	       hvrepl_vm_get_status(site->node, &pair_vm, status) == HVREPL_OK;
}

/* ---- Looking without being hit by the faults that wait. ---- */

static uint64_t held_fail_at, held_count;
static bool held_fail_on;

static void hold(struct pair_site *site)
{
	held_fail_at = site->sim.fail_at;
	held_count = site->sim.call_count;
	held_fail_on = site->sim.fail_on;
	site->sim.fail_at = UINT64_MAX;
	site->sim.fail_on = false;
}

static void let_go(struct pair_site *site)
{
	site->sim.fail_at = held_fail_at;
	site->sim.call_count = held_count;
	site->sim.fail_on = held_fail_on;
}

static hvrepl_guest_disk *door(struct pair_site *site, unsigned disk)
{
	hvrepl_guest_disk *guest = NULL;

	if (site->node == NULL ||
	    hvrepl_vm_open_disk(site->node, &pair_vm, &pair_disk_ids[disk],
				&guest) < 0)
		return NULL;
	return guest;
}

/* What the guest would read; false when it cannot. */
static bool read_disks(struct teller *t, struct content *into)
{
	bool good = true;

	hold(t->site);
	for (unsigned i = 0; i < PAIR_DISKS && good; i++) {
		hvrepl_guest_disk *guest = door(t->site, i);

		good = guest != NULL &&
		       hvrepl_guest_read(guest, 0, into->bytes[i],
					 DISK_SIZE) == HVREPL_OK;
	}
	let_go(t->site);
	return good;
}

/* Sectors that are known must be equal. */
static void compare(const struct content *seen, const struct content *known,
		    const char *what, struct pair_site *site, uint64_t number)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++)
		for (unsigned s = 0; s < SECTORS; s++)
			ck_assert_msg(
				known->unsure[i][s] ||
					memcmp(seen->bytes[i] + s * 512,
					       known->bytes[i] + s * 512,
					       512) == 0,
				"seed %llu: %s %llu at %s: disk %u differs at "
				"sector %u",
				(unsigned long long)seed, what,
				(unsigned long long)number, site->name, i, s);
}

static struct content *find_image(const struct hvrepl_uuid *epoch,
				  uint64_t number)
{
	for (unsigned i = 0; i < image_count; i++)
		if (images[i]->number == number &&
		    equal(&images[i]->epoch, epoch))
			return &images[i]->content;
	return NULL;
}

static struct content *find_ending(const struct teller *t,
				   const struct hvrepl_uuid *epoch)
{
	for (unsigned i = 0; i < t->ending_count; i++)
		if (equal(&t->endings[i].epoch, epoch))
			return (struct content *)&t->endings[i].content;
	return NULL;
}

static void keep_image(const struct hvrepl_uuid *epoch, uint64_t number,
		       const struct content *content)
{
	struct image *image;

	if (image_count == IMAGES_MAX || find_image(epoch, number) != NULL)
		return;
	image = malloc(sizeof(*image));
	if (image == NULL)
		abort();
	image->epoch = *epoch;
	image->number = number;
	image->content = *content;
	images[image_count++] = image;
}

static bool epoch_of(struct pair_site *site, const struct hvrepl_uuid *id,
		     struct hvrepl_epoch *epoch)
{
	for (uint32_t i = 0;; i++) {
		*epoch = (struct hvrepl_epoch)HVREPL_EPOCH_INIT;
		if (hvrepl_vm_get_epoch(site->node, &pair_vm, i, epoch) < 0)
			return false;
		if (equal(&epoch->id, id))
			return true;
	}
}

/* Content of point `number` as known in `epoch` or an ancestor of it. */
static struct content *find_point(struct pair_site *site,
				  struct hvrepl_uuid epoch, uint64_t number)
{
	struct hvrepl_epoch e;

	for (unsigned depth = 0; depth < EPOCHS_MAX; depth++) {
		struct content *found = find_image(&epoch, number);

		if (found != NULL)
			return found;
		if (!epoch_of(site, &epoch, &e))
			return NULL;
		epoch = e.parent;
	}
	return NULL;
}

/* ---- The oracle; no guest write runs between two looks at a site. ---- */

static struct content scratch;

/* The site's guest may write in an epoch in which it could not before. */
static void new_owner(struct teller *t, const struct hvrepl_vm_status *status)
{
	struct teller *other = &tellers[t == &tellers[0]];
	struct hvrepl_epoch epoch;
	struct content *must = NULL;
	bool own = t->asked == HVREPL_OPERATION_FORCE;

	if (t->has_shadow && t->ending_count < EPOCHS_MAX) {
		struct ending *ending = find_ending(t, &t->epoch) != NULL ?
						NULL :
						&t->endings[t->ending_count++];

		if (ending != NULL) {
			ending->epoch = t->epoch;
			ending->content = t->shadow;
		}
	}
	if (!epoch_of(t->site, &status->epoch, &epoch))
		ck_abort_msg("seed %llu: an epoch out of nowhere",
			     (unsigned long long)seed);
	if (!read_disks(t, &scratch))
		return;
	memset(scratch.unsure, 0, sizeof(scratch.unsure));
	if (own && t->has_shadow && equal(&t->epoch, &epoch.parent))
		must = &t->shadow;
	else if (own)
		own = false; /* Forced before it wrote: nothing to know. */
	else if (find_ending(t, &status->epoch) != NULL)
		must = find_ending(t, &status->epoch); /* Cancelled back. */
	else if (t->has_shadow || epoch.fork_point != 0)
		must = find_point(t->site, epoch.parent, epoch.fork_point);
	SAY("%s writes in epoch %02x%02x (parent %02x%02x at %llu%s), %s",
	    t->site->name, status->epoch.bytes[0], status->epoch.bytes[1],
	    epoch.parent.bytes[0], epoch.parent.bytes[1],
	    (unsigned long long)epoch.fork_point,
	    epoch.planned ? ", planned" : "",
	    must != NULL ? "content known" : "content not known");
	if (must != NULL)
		compare(&scratch, must, own ? "forced disks" : "failover to",
			t->site, epoch.fork_point);
	if (epoch.planned && !own && other->has_shadow &&
	    equal(&other->epoch, &epoch.parent))
		compare(&scratch, &other->shadow, "planned failover", t->site,
			epoch.fork_point);
	t->shadow = scratch;
	t->has_shadow = true;
	t->epoch = status->epoch;
	t->last_cut = epoch.fork_point;
	memset(t->unflushed, 0, sizeof(t->unflushed));
}

/* A crash left sectors open: what the guest finds now is what there is. */
static void settle(struct teller *t)
{
	bool open = false;

	for (unsigned i = 0; i < PAIR_DISKS && !open; i++)
		open = memchr(t->shadow.unsure[i], 1, SECTORS) != NULL;
	if (!open || !read_disks(t, &scratch))
		return;
	compare(&scratch, &t->shadow, "disks after a crash", t->site, 0);
	t->shadow = scratch;
	memset(t->shadow.unsure, 0, sizeof(t->shadow.unsure));
	/* It stays as open as it was until a flush has succeeded. */
}

static void watch_owner(struct teller *t, const struct hvrepl_vm_status *s)
{
	bool crashed = t->revived != pair.revived;

	if (crashed) {
		t->revived = pair.revived;
		for (unsigned i = 0; i < PAIR_DISKS; i++)
			for (unsigned k = 0; k < SECTORS; k++)
				t->shadow.unsure[i][k] |= t->unflushed[i][k];
	}
	if (s->writable && !t->site->sim.crashed &&
	    (!t->has_shadow || !equal(&t->epoch, &s->epoch)))
		new_owner(t, s);
	if (t->has_shadow && equal(&t->epoch, &s->epoch)) {
		for (uint64_t n = t->last_cut + 1; n <= s->last_cut; n++)
			keep_image(&s->epoch, n, &t->shadow);
		if (s->last_cut > t->last_cut)
			t->last_cut = s->last_cut;
	}
	if (s->writable && t->has_shadow && equal(&t->epoch, &s->epoch) &&
	    !t->site->sim.crashed) {
		settle(t);
		if (hooks % 4 == 0 && read_disks(t, &scratch))
			compare(&scratch, &t->shadow, "guest's disks", t->site,
				0);
		/* An overlay holds what differs, until it is folded. */
		t->on_base = s->mode == HVREPL_MODE_PRIMARY;
		for (unsigned i = 0; i < PAIR_DISKS; i++)
			t->on_base &= memcmp(sim_disk_bytes(t->site->disks[i]),
					     t->shadow.bytes[i],
					     DISK_SIZE) == 0;
	}
	/* Nothing of a loser is overwritten (O6, S7). */
	if (t->has_shadow && t->on_base && !s->writable &&
	    equal(&t->epoch, &s->epoch) && s->open_code >= 0 &&
	    (s->ownership == HVREPL_OWNERSHIP_SUPERSEDED ||
	     s->ownership == HVREPL_OWNERSHIP_DIVERGED ||
	     s->ownership == HVREPL_OWNERSHIP_RELINQUISHED) &&
	    s->state != 0) {
		for (unsigned i = 0; i < PAIR_DISKS; i++)
			memcpy(scratch.bytes[i],
			       sim_disk_bytes(t->site->disks[i]), DISK_SIZE);
		compare(&scratch, &t->shadow, "fenced site's disks", t->site,
			0);
	}
}

static bool read_point(struct pair_site *site, uint64_t number,
		       struct content *into)
{
	hvrepl_view *view = NULL;
	int32_t rc;

	rc = hvrepl_vm_open_view(site->node, &pair_vm, number, &view, NULL);
	for (unsigned i = 0; i < PAIR_DISKS && rc >= 0; i++) {
		struct hvrepl_iovec iov = { into->bytes[i], DISK_SIZE };
		struct hvrepl_disk handle;

		rc = hvrepl_view_disk(view, i, &handle);
		if (rc < 0)
			break;
		rc = handle.ops->readv(handle.user, NULL, 0, &iov, 1);
		handle.release(handle.user);
	}
	if (view != NULL)
		ck_assert_int_eq(hvrepl_view_close(view), HVREPL_OK);
	ck_assert_msg(rc > -500 || rc <= -600,
		      "seed %llu: point %llu at %s is damaged: %d",
		      (unsigned long long)seed, (unsigned long long)number,
		      site->name, rc);
	return rc >= 0;
}

static unsigned points_known, points_unknown;

/* Each point once when it is new, all of them now and then. */
static void watch_points(struct teller *t, bool all)
{
	struct hvrepl_uuid epochs[16];
	uint64_t numbers[16];
	unsigned count = 0;

	if (t->site->sim.crashed)
		return;
	for (uint32_t i = 0;; i++) {
		struct hvrepl_point point = HVREPL_POINT_INIT;
		const struct content *must;
		bool old = false;

		if (hvrepl_vm_get_point(t->site->node, &pair_vm, i, &point) < 0)
			break;
		for (unsigned k = 0; k < t->seen_count; k++)
			old |= t->seen_numbers[k] == point.number &&
			       equal(&t->seen_epochs[k], &point.epoch);
		must = find_image(&point.epoch, point.number);
		if ((point.pins & HVREPL_PIN_TAIL) != 0) {
			must = find_ending(t, &point.epoch);
			if (must == NULL && t->has_shadow &&
			    equal(&t->epoch, &point.epoch))
				must = &t->shadow;
		}
		if (!old)
			SAY("%s: point %llu of %02x%02x%s%s", t->site->name,
			    (unsigned long long)point.number,
			    point.epoch.bytes[0], point.epoch.bytes[1],
			    (point.pins & HVREPL_PIN_TAIL) != 0 ? " tail" : "",
			    must == NULL ? " not known" : "");
		if (!old || all) {
			hold(t->site);
			if (must == NULL)
				points_unknown++;
			else if (read_point(t->site, point.number, &scratch)) {
				points_known++;
				compare(&scratch, must,
					(point.pins & HVREPL_PIN_TAIL) != 0 ?
						"tail" :
						"point",
					t->site, point.number);
			}
			let_go(t->site);
		}
		if (count < 16) {
			epochs[count] = point.epoch;
			numbers[count++] = point.number;
		}
	}
	memcpy(t->seen_epochs, epochs, sizeof(epochs[0]) * count);
	memcpy(t->seen_numbers, numbers, sizeof(numbers[0]) * count);
	t->seen_count = count;
}

static struct hvrepl_vm_status shown[2];

static void watch(bool all)
{
	struct hvrepl_vm_status s[2];
	bool up[2];

	hooks++;
	for (int i = 0; i < 2; i++) {
		up[i] = look(tellers[i].site, &s[i]) && s[i].mode != 0;
		if (up[i] && (s[i].state != shown[i].state ||
			      s[i].ownership != shown[i].ownership ||
			      s[i].writable != shown[i].writable ||
			      !equal(&s[i].epoch, &shown[i].epoch)))
			SAY("%s: mode %u state %u ownership %u writable %u "
			    "epoch %02x%02x cut %llu %s",
			    tellers[i].site->name, s[i].mode, s[i].state,
			    s[i].ownership, s[i].writable, s[i].epoch.bytes[0],
			    s[i].epoch.bytes[1],
			    (unsigned long long)s[i].last_cut, s[i].sentence);
		if (up[i])
			shown[i] = s[i];
	}
	/* One writer an epoch. */
	ck_assert_msg(!(up[0] && up[1] && s[0].writable && s[1].writable &&
			equal(&s[0].epoch, &s[1].epoch)),
		      "seed %llu: two writers in one epoch",
		      (unsigned long long)seed);
	for (int i = 0; i < 2; i++)
		if (up[i])
			watch_owner(&tellers[i], &s[i]);
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].open_code >= 0)
			watch_points(&tellers[i], all);
	/* What was acknowledged is there. */
	for (int i = 0; i < 2; i++) {
		const struct hvrepl_vm_status *owner = &s[i], *copy = &s[1 - i];

		if (!up[i] || !up[1 - i] || !owner->writable ||
		    owner->mode != HVREPL_MODE_PRIMARY || copy->state == 0 ||
		    copy->ownership != HVREPL_OWNERSHIP_STANDBY ||
		    copy->mode != HVREPL_MODE_REPLICA ||
		    !equal(&owner->epoch, &copy->epoch) ||
		    tellers[1 - i].site->sim.crashed ||
		    owner->last_point == 0)
			continue;
		ck_assert_msg(copy->point_count > 0 &&
				      copy->last_point >= owner->last_point,
			      "seed %llu: point %llu was acknowledged, the "
			      "replica's newest is %llu of %u",
			      (unsigned long long)seed,
			      (unsigned long long)owner->last_point,
			      (unsigned long long)copy->last_point,
			      copy->point_count);
	}
}

/* ---- The story. ---- */

static void restart_due(bool now)
{
	for (int i = 0; i < 2; i++) {
		struct teller *t = &tellers[i];

		if (t->site->node != NULL ||
		    (!now && pair.now_ns < t->restart_at))
			continue;
		SAY("%s starts", t->site->name);
		pair_start(&pair, t->site);
	}
}

static void calm(void)
{
	struct pair_site *sites[2] = { &pair.a, &pair.b };

	for (int i = 0; i < 2; i++) {
		sites[i]->sim.fail_at = UINT64_MAX;
		sites[i]->sim.fail_on = false;
		sites[i]->put_fails_at = UINT64_MAX;
		sites[i]->env.alloc_fail_at = -1;
	}
}

static void pass(uint64_t ns)
{
	unsigned slices = ns > SECOND ? 12 : 4;

	for (unsigned i = 0; i < slices; i++) {
		pair_run(&pair, ns / slices);
		if (pair.now_ns >= clear_faults_at) {
			calm();
			clear_faults_at = UINT64_MAX;
		}
		watch(false);
		restart_due(false);
	}
}

static void guest_writes(struct teller *t, unsigned writes)
{
	struct hvrepl_vm_status status;

	watch(false); /* Before it changes anything. */
	if (!look(t->site, &status) || !status.writable || !t->has_shadow ||
	    !equal(&t->epoch, &status.epoch))
		return;
	for (unsigned i = 0; i < writes; i++) {
		unsigned disk = (unsigned)dice(PAIR_DISKS);
		unsigned first = (unsigned)dice(SECTORS), count;
		hvrepl_guest_disk *guest = door(t->site, disk);
		int32_t rc;

		if (dice(3) > 0)
			first %= 48; /* The same ones again. */
		count = 1 + (unsigned)dice(SECTORS - first < 20 ?
						   SECTORS - first :
						   20);
		if (guest == NULL)
			return;
		if (dice(12) == 0) {
			memset(scratch.bytes[0], 0, count * 512);
			rc = hvrepl_guest_zero(guest, first * 512ull,
					       count * 512ull);
		} else {
			test_fill(scratch.bytes[0], count * 512,
				  test_random(&rng));
			rc = hvrepl_guest_write(guest, first * 512ull,
						scratch.bytes[0], count * 512);
		}
		if (rc == HVREPL_E_FENCED)
			return;
		for (unsigned s = first; s < first + count; s++) {
			if (rc < 0)
				t->shadow.unsure[disk][s] = true;
			else
				t->shadow.unsure[disk][s] = false;
			t->unflushed[disk][s] = true;
		}
		if (rc >= 0)
			memcpy(t->shadow.bytes[disk] + first * 512,
			       scratch.bytes[0], count * 512);
		else if (!t->site->sim.crashed)
			settle(t);
	}
}

static void guest_flush(struct teller *t)
{
	for (unsigned i = 0; i < PAIR_DISKS; i++) {
		hvrepl_guest_disk *guest = door(t->site, i);

		if (guest != NULL && hvrepl_guest_flush(guest) == HVREPL_OK)
			memset(t->unflushed[i], 0, sizeof(t->unflushed[i]));
	}
}

static void ask(struct teller *t, uint32_t operation)
{
	struct hvrepl_uuid epoch = { { 0 } };
	uint64_t point = 0;
	int32_t rc;

	if (t->site->node == NULL)
		return;
	if (operation == HVREPL_OPERATION_DISCARD) {
		struct hvrepl_epoch e = HVREPL_EPOCH_INIT;
		uint32_t count = 0;

		while (hvrepl_vm_get_epoch(t->site->node, &pair_vm, count,
					   &e) == HVREPL_OK)
			count++;
		if (count > 0)
			(void)hvrepl_vm_get_epoch(t->site->node, &pair_vm,
						  (uint32_t)dice(count), &e);
		epoch = e.id;
	}
	if ((operation == HVREPL_OPERATION_UNPLANNED ||
	     operation == HVREPL_OPERATION_CHANGE_POINT) &&
	    t->seen_count > 0 && dice(2) == 0)
		point = t->seen_numbers[dice(t->seen_count)];
	rc = pair_ask(t->site, operation, point, &epoch);
	SAY("%s: %s %llu -> %d %s", t->site->name, operations[operation],
	    (unsigned long long)point, rc, rc < 0 ? t->site->job_sentence : "");
	if (rc >= 0)
		t->asked = operation;
	/* A cut of it is named before a guest writes again. */
	pair_run(&pair, 1);
	watch(false);
}

static void random_operation(bool faithful)
{
	struct teller *t = &tellers[dice(2)];
	struct hvrepl_vm_status status;
	uint32_t allowed[HVREPL_OPERATION_COUNT], count = 0;
	uint32_t operation = 1 + (uint32_t)dice(HVREPL_OPERATION_COUNT - 1);

	if (!look(t->site, &status))
		return;
	for (uint32_t i = 1; i < HVREPL_OPERATION_COUNT; i++)
		if (status.allowed >> i & 1 && i != HVREPL_OPERATION_REMOVE)
			allowed[count++] = i;
	if (count > 0 && (faithful || dice(5) > 0))
		operation = allowed[dice(count)];
	if (operation == HVREPL_OPERATION_REMOVE)
		return;
	ask(t, operation);
}

static void random_fault(unsigned kinds)
{
	struct teller *t = &tellers[dice(2)];
	struct pair_site *site = t->site;

	switch (dice(8)) {
	case 0:
		if (!(kinds & 1))
			return;
		SAY("link %s", pair.link_up ? "down" : "up");
		pair_link(&pair, !pair.link_up);
		return;
	case 1:
		if (!(kinds & 1))
			return;
		pair.cut_after = pair.moved + dice(30000);
		SAY("link breaks after %llu",
		    (unsigned long long)(pair.cut_after - pair.moved));
		return;
	case 2:
		if (!(kinds & 1))
			return;
		pair.piece = dice(2) ? 0 : 1 + (size_t)dice(2000);
		return;
	case 3:
		if (!(kinds & 2) || site->node == NULL)
			return;
		pair.revived++;
		pair.power_loss = dice(2) == 0;
		SAY("%s dies%s", site->name, pair.power_loss ? ", power" : "");
		pair_kill(&pair, site, pair.power_loss);
		t->restart_at = pair.now_ns + dice(20) * dice(2) * SECOND;
		return;
	case 4:
		if (!(kinds & 4))
			return;
		pair.power_loss = dice(2) == 0;
		site->sim.crash_at = site->sim.io_count + dice(120);
		SAY("%s will crash%s", site->name,
		    pair.power_loss ? ", power" : "");
		return;
	case 5:
	case 6:
		if (!(kinds & 8))
			return;
		site->sim.fail_at = site->sim.call_count + dice(60);
		site->sim.fail_code = dice(2) ? HVREPL_E_DISK_IO :
						HVREPL_E_NO_SPACE;
		site->sim.fail_on = dice(3) == 0;
		clear_faults_at = pair.now_ns + dice(5) * SECOND;
		SAY("%s: I/O will fail %d%s", site->name, site->sim.fail_code,
		    site->sim.fail_on ? " and go on" : "");
		return;
	default:
		if (kinds & 16) {
			site->put_fails_at = site->puts + dice(4);
			SAY("%s: a put will fail", site->name);
		}
		if (kinds & 32) {
			site->env.alloc_fail_at = (long)dice(200);
			clear_faults_at = pair.now_ns + SECOND;
			SAY("%s: an allocation will fail", site->name);
		}
	}
}

/* What an operator asks who wants the VM to run and be protected. */
static void sensible_operation(unsigned round)
{
	static const uint32_t order[] = {
		HVREPL_OPERATION_COMMIT,  HVREPL_OPERATION_RESUME,
		HVREPL_OPERATION_DISCARD, HVREPL_OPERATION_REVERSE,
		HVREPL_OPERATION_START_INITIAL, HVREPL_OPERATION_RESYNC,
		HVREPL_OPERATION_ENABLE,
	};
	struct hvrepl_vm_status s[2];
	bool up[2];

	for (int i = 0; i < 2; i++)
		up[i] = look(tellers[i].site, &s[i]);
	for (unsigned k = 0; k < sizeof(order) / sizeof(order[0]); k++)
		for (int turn = 0; turn < 2; turn++) {
			uint32_t operation = order[k];
			int i = (turn + (int)(round / 2)) % 2;

			if (!up[i] ||
			    (s[i].job != 0 &&
			     operation != HVREPL_OPERATION_RESUME) ||
			    !(s[i].allowed >> operation & 1))
				continue;
			/* A healthy pair needs neither. */
			if ((operation == HVREPL_OPERATION_RESYNC ||
			     operation == HVREPL_OPERATION_DISCARD) &&
			    s[i].state == HVREPL_STATE_REPLICATING)
				continue;
			if (operation == HVREPL_OPERATION_ENABLE && i == 1)
				continue;
			/* Allowed, but there is nothing to do. */
			if (operation == HVREPL_OPERATION_COMMIT &&
			    s[i].state !=
				    HVREPL_STATE_FAILED_OVER_WAITING_COMPLETION)
				continue;
			if (operation == HVREPL_OPERATION_RESUME &&
			    s[i].state != HVREPL_STATE_SUSPENDED &&
			    s[i].state != HVREPL_STATE_RESYNC_SUSPENDED &&
			    s[i].state != HVREPL_STATE_ERROR &&
			    s[i].state != HVREPL_STATE_WAITING_FOR_RESYNC)
				continue;
			if (operation == HVREPL_OPERATION_DISCARD) {
				int32_t rc;

				/* The one that committed wins. */
				if (!up[1 - i] ||
				    s[i].ownership !=
					    HVREPL_OWNERSHIP_DIVERGED)
					continue;
				rc = pair_ask(tellers[i].site, operation, 0,
					      &s[1 - i].epoch);
				SAY("%s: discard the other -> %d %s",
				    tellers[i].site->name, rc,
				    rc < 0 ? tellers[i].site->job_sentence :
					     "");
				if (rc >= 0)
					return;
				continue;
			}
			ask(&tellers[i], operation);
			if (tellers[i].site->job_code == HVREPL_PENDING)
				return;
		}
	/* The end of an older history keeps an overlay from folding. */
	if (round > 40 && round % 8 == 1)
		for (int i = 0; i < 2; i++) {
			struct hvrepl_point point = HVREPL_POINT_INIT;

			for (uint32_t k = 0;
			     up[i] && hvrepl_vm_get_point(tellers[i].site->node,
							  &pair_vm, k,
							  &point) == HVREPL_OK;
			     k++)
				if ((point.pins & HVREPL_PIN_TAIL) != 0)
					(void)pair_ask(tellers[i].site,
						       HVREPL_OPERATION_DISCARD,
						       0, &point.cut);
		}
	/* A superseded site that holds the end of an older history folds after
	 * force only; then the operator decides anew. */
	if (round > 100 && round % 40 == 1)
		for (int i = 0; i < 2; i++)
			if (up[i] &&
			    s[i].ownership == HVREPL_OWNERSHIP_SUPERSEDED &&
			    s[i].allowed >> HVREPL_OPERATION_FORCE & 1) {
				ask(&tellers[i], HVREPL_OPERATION_FORCE);
				return;
			}
	/* Nothing helps: force or fail over where nobody writes. */
	if (round % 16 != 15 || (up[0] && s[0].writable) ||
	    (up[1] && s[1].writable))
		return;
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].allowed >> HVREPL_OPERATION_CANCEL & 1 &&
		    round % 32 == 15) {
			ask(&tellers[i], HVREPL_OPERATION_CANCEL);
			return;
		}
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].allowed >> HVREPL_OPERATION_FORCE & 1) {
			ask(&tellers[i], HVREPL_OPERATION_FORCE);
			return;
		}
	for (int i = 0; i < 2; i++)
		if (up[i] && s[i].allowed >> HVREPL_OPERATION_UNPLANNED & 1) {
			ask(&tellers[i], HVREPL_OPERATION_UNPLANNED);
			return;
		}
}

static bool is_protected(struct teller **owner, struct teller **copy)
{
	struct hvrepl_vm_status s[2];

	if (!look(tellers[0].site, &s[0]) || !look(tellers[1].site, &s[1]))
		return false;
	for (int i = 0; i < 2; i++)
		if (s[i].writable && s[i].state == HVREPL_STATE_REPLICATING &&
		    s[i].ownership == HVREPL_OWNERSHIP_OWNER &&
		    s[1 - i].state == HVREPL_STATE_REPLICATING &&
		    s[1 - i].ownership == HVREPL_OWNERSHIP_STANDBY &&
		    s[0].connected && s[1].connected) {
			*owner = &tellers[i];
			*copy = &tellers[1 - i];
			return true;
		}
	return false;
}

/* All faults end; an operator brings it back, and the last point is right. */
static void heal(void)
{
	struct teller *owner = NULL, *copy = NULL;
	struct hvrepl_vm_status s, c;
	unsigned round = 0;

	SAY("---- healing");
	calm();
	clear_faults_at = UINT64_MAX;
	pair.cut_after = UINT64_MAX;
	pair.piece = 0;
	pair.a.sim.crash_at = pair.b.sim.crash_at = UINT64_MAX;
	pass(MS);
	restart_due(true);
	pair_link(&pair, true);
	for (; round < 400 && !is_protected(&owner, &copy); round++) {
		/* The longest pause after a storage fault is 30 minutes (L4). */
		pass(round < 200 ? SECOND / 2 : 20 * SECOND);
		if (pair.a.node != NULL)
			(void)hvrepl_node_connect_now(pair.a.node);
		if (round % 2 == 1)
			sensible_operation(round);
	}
	if (owner == NULL) {
		(void)look(&pair.a, &s);
		(void)look(&pair.b, &c);
		ck_abort_msg("seed %llu: no way back: a %u/%u/%u w%u job %llx "
			     "allowed %x open %d (%s), b %u/%u/%u w%u job %llx "
			     "allowed %x open %d (%s)",
			     (unsigned long long)seed, s.mode, s.state,
			     s.ownership, s.writable, (unsigned long long)s.job,
			     s.allowed, s.open_code, s.sentence, c.mode,
			     c.state, c.ownership, c.writable,
			     (unsigned long long)c.job, c.allowed, c.open_code,
			     c.sentence);
	}
	pass(SECOND / 10);
	guest_writes(owner, 5);
	guest_flush(owner);
	pair_status(owner->site, &s);
	pair_status(copy->site, &c);
	for (unsigned i = 0; i < 120; i++) {
		struct hvrepl_vm_status now;

		pass(i < 20 ? SECOND / 2 : 20 * SECOND);
		pair_status(copy->site, &now);
		if (now.last_point > s.last_cut && now.last_point >
		    c.last_point)
			break;
		ck_assert_msg(i < 119, "seed %llu: no point after healing",
			      (unsigned long long)seed);
	}
	watch(true);
	ck_assert_msg(read_disks(owner, &scratch),
		      "seed %llu: the owner cannot read",
		      (unsigned long long)seed);
	compare(&scratch, &owner->shadow, "final disks", owner->site, 0);
	pair_status(copy->site, &c);
	hold(copy->site);
	ck_assert_msg(read_point(copy->site, c.last_point, &scratch),
		      "seed %llu: the final point cannot be read",
		      (unsigned long long)seed);
	let_go(copy->site);
	compare(&scratch, &owner->shadow, "final point", copy->site,
		c.last_point);
}

static void begin(uint64_t n)
{
	seed = n;
	rng = n * 0x9e3779b97f4a7c15ull + 1;
	(void)test_random(&rng);
	tracing = getenv("PAIR_TRACE") != NULL;
	memset(tellers, 0, sizeof(tellers));
	image_count = hooks = 0;
	clear_faults_at = UINT64_MAX;
	pair_init(&pair, n, DISK_SIZE);
	tellers[0].site = &pair.a;
	tellers[1].site = &pair.b;
	pair.revives = true;
	pair_start(&pair, &pair.b);
	pair_start(&pair, &pair.a);
	pass(SECOND);
}

static void finish(void)
{
	pair.revives = false;
	pair_free(&pair);
	for (unsigned i = 0; i < image_count; i++)
		free(images[i]);
	image_count = 0;
	SAY("%u points seen right, %u not known", points_known, points_unknown);
}

static void story(uint64_t n)
{
	unsigned kinds, steps;

	begin(n);
	kinds = (unsigned)dice(64);
	if (dice(2) == 0)
		kinds &= 1u << dice(5); /* One kind alone: easier to read. */
	steps = 10 + (unsigned)dice(40);
	guest_writes(&tellers[0], 10);
	ask(&tellers[0], HVREPL_OPERATION_ENABLE);
	pass(SECOND);
	ask(&tellers[0], HVREPL_OPERATION_START_INITIAL);
	pass(dice(4) * SECOND + MS);
	for (unsigned i = 0; i < steps; i++) {
		switch (dice(8)) {
		case 0:
		case 1:
			guest_writes(&tellers[0], 1 + (unsigned)dice(6));
			guest_writes(&tellers[1], 1 + (unsigned)dice(6));
			break;
		case 2:
			guest_flush(&tellers[dice(2)]);
			break;
		case 3:
		case 4:
			random_operation(false);
			break;
		case 5:
			random_fault(kinds);
			break;
		default:
			break;
		}
		switch (dice(8)) {
		case 0:
			pass(dice(14) * SECOND + MS);
			break;
		case 1:
		case 2:
			pass(dice(1500) * MS + MS);
			break;
		case 3:
			break;
		default:
			pass(dice(60) * MS + MS);
		}
	}
	heal();
	finish();
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(no_random_story_loses_data_or_ends_in_a_dead_end)
{
	uint64_t first = number_of("HVREPL_FIRST_SEED", 1);

	story(first + (uint64_t)_i);
}
END_TEST

/*
 * Stories that went wrong once: a drop of an overlay was repeated without a
 * pause (49); a cut asked for by the replica was never answered (57); a failed
 * flush ended receiving for good (94); a commit that seemed to fail was durable
 * (107); the name of a lost end was used for other bytes (129); a discard that
 * was refused stood in the way of the other site's, and the end of an older
 * history kept a superseded site from following for good (300, 325); a store
 * that had failed a flush could not become a replica (479); a VM whose disks
 * could not be opened once was never opened again (588).
 */
static const uint64_t told_before[] = { 49, 57, 94, 107, 129, 300, 325, 479, 588 };

START_TEST(a_story_that_went_wrong_once_does_not_again)
{
	story(told_before[_i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("seeds");
	TCase *tc = tcase_create("seeds");
	bool thorough = getenv("HVREPL_LONG") != NULL;

	tcase_add_loop_test(tc, no_random_story_loses_data_or_ends_in_a_dead_end,
			    0, (int)number_of("HVREPL_SEEDS",
					      thorough ? 2000 : 14));
	if (getenv("HVREPL_SEEDS") == NULL)
		tcase_add_loop_test(
			tc, a_story_that_went_wrong_once_does_not_again, 0,
			(int)(sizeof(told_before) / sizeof(told_before[0])));
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
