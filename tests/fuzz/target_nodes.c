/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes: two production nodes; guests, operators and faults (links, kills,
 * power, I/O, state, memory) in an order that the input decides. One writer an
 * epoch; a guest finds what it wrote; every point, and every failover, is what
 * the owner's disks held at its cut.
 */
#include "fuzz.h"

#include "base/rc.h"
#include "pair.h"

#include <stdlib.h>
#include <string.h>

#define DISK_SIZE (64u << 10)
#define SECOND 1000000000ull
#define IMAGES_MAX 48u
#define STEPS_MAX 160u
#define SEEN_MAX 32u

struct content {
	uint8_t bytes[PAIR_DISKS][DISK_SIZE];
};

struct image {
	struct hvrepl_uuid epoch;
	uint64_t number;
	struct content content;
};

/* A guest flushes after each write: what it knows survives a crash. */
struct guest {
	struct pair_site *site;
	struct content shadow;
	bool known;
	struct hvrepl_uuid epoch;
	uint64_t last_cut;
	bool forced; /* The operator took what was there. */
	struct hvrepl_uuid seen[SEEN_MAX]; /* Epochs it could write in. */
	unsigned seen_count;
};

static struct pair pair;
static struct guest guests[2];
static struct image *images[IMAGES_MAX];
static unsigned image_count;
static struct content scratch;

static bool same(const struct hvrepl_uuid *a, const struct hvrepl_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool look(struct pair_site *site, struct hvrepl_vm_status *status)
{
	*status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	return site->node != NULL && !site->sim.crashed &&
	       hvrepl_vm_get_status(site->node, &pair_vm, status) == HVREPL_OK;
}

static void calm(struct pair_site *site)
{
	site->sim.fail_at = UINT64_MAX;
	site->sim.fail_on = false;
	site->put_fails_at = UINT64_MAX;
	site->env.alloc_fail_at = -1;
}

static bool read_disks(struct pair_site *site, struct content *into)
{
	for (unsigned d = 0; d < PAIR_DISKS; d++)
		if (pair_read(site, d, 0, into->bytes[d], DISK_SIZE) !=
		    HVREPL_OK)
			return false;
	return true;
}

/* What was read may lie behind a flush that failed: from here on it is kept. */
static bool flush_disks(struct pair_site *site)
{
	for (unsigned d = 0; d < PAIR_DISKS; d++)
		if (pair_flush(site, d) != HVREPL_OK)
			return false;
	return true;
}

static struct image *find_image(const struct hvrepl_uuid *epoch,
				uint64_t number)
{
	for (unsigned i = 0; i < image_count; i++)
		if (images[i]->number == number &&
		    same(&images[i]->epoch, epoch))
			return images[i];
	return NULL;
}

static void keep_image(const struct guest *guest, uint64_t number)
{
	struct image *image;

	if (image_count == IMAGES_MAX ||
	    find_image(&guest->epoch, number) != NULL)
		return;
	image = malloc(sizeof(*image));
	fuzz_must(image != NULL, "no memory");
	image->epoch = guest->epoch;
	image->number = number;
	image->content = guest->shadow;
	images[image_count++] = image;
}

/* What the site may write on now must be the point its epoch forks from. */
static void new_owner(struct guest *guest, const struct hvrepl_vm_status *s)
{
	struct hvrepl_epoch epoch = HVREPL_EPOCH_INIT;
	struct image *must = NULL;
	bool fresh = guest->seen_count < SEEN_MAX;

	/* Back in an epoch after a cancel: not where that one began. */
	for (unsigned i = 0; i < guest->seen_count; i++)
		fresh &= !same(&guest->seen[i], &s->epoch);
	if (fresh)
		guest->seen[guest->seen_count++] = s->epoch;
	for (uint32_t i = 0; hvrepl_vm_get_epoch(guest->site->node, &pair_vm, i,
						 &epoch) == HVREPL_OK;
	     i++)
		if (same(&epoch.id, &s->epoch)) {
			must = find_image(&epoch.parent, epoch.fork_point);
			break;
		}
	guest->known = read_disks(guest->site, &guest->shadow) &&
		       flush_disks(guest->site);
	/* The first look at a new epoch: no guest has written in it. */
	if (guest->known && must != NULL && !guest->forced && fresh)
		fuzz_must(memcmp(&guest->shadow, &must->content,
				 sizeof(must->content)) == 0,
			  "a failover is not to the point it names");
	guest->epoch = s->epoch;
	guest->last_cut = s->last_cut;
}

static void look_at(struct guest *guest)
{
	struct hvrepl_vm_status s;

	/* Also after a restart: nobody writes here in that epoch meanwhile. */
	if (!look(guest->site, &s) || !s.writable)
		return;
	if (!guest->known || !same(&guest->epoch, &s.epoch)) {
		new_owner(guest, &s);
		return;
	}
	if (read_disks(guest->site, &scratch))
		fuzz_must(memcmp(&scratch, &guest->shadow, sizeof(scratch)) ==
				  0,
			  "a guest does not find what it wrote");
	/* Nobody wrote since the cut: writes come between looks only. */
	for (uint64_t n = guest->last_cut + 1; n <= s.last_cut; n++)
		keep_image(guest, n);
	guest->last_cut = s.last_cut;
}

/* `sure`: nothing is wrong any more, so every point can be read. */
static void check_points(struct pair_site *site, bool sure)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;

	if (site->node == NULL || site->sim.crashed)
		return;
	for (uint32_t i = 0; hvrepl_vm_get_point(site->node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++) {
		struct image *must = find_image(&point.epoch, point.number);
		hvrepl_view *view = NULL;

		int32_t rc = hvrepl_vm_open_view(site->node, &pair_vm,
						 point.number, &view, NULL);

		fuzz_must(rc == HVREPL_OK || !sure, "a point is not opened");
		if (rc < 0)
			continue;
		if ((point.pins & HVREPL_PIN_TAIL) != 0)
			must = NULL;
		for (unsigned d = 0; d < PAIR_DISKS; d++) {
			struct hvrepl_iovec iov = { scratch.bytes[d],
						    DISK_SIZE };
			struct hvrepl_disk disk;

			rc = hvrepl_view_disk(view, d, &disk);
			fuzz_must(rc == HVREPL_OK, "a view without disk");
			rc = disk.ops->readv(disk.user, NULL, 0, &iov, 1);
			disk.release(disk.user);
			fuzz_must(rc == HVREPL_OK || !sure,
				  "a point is not read");
			fuzz_must(rc < 0 || must == NULL ||
					  memcmp(scratch.bytes[d],
						 must->content.bytes[d],
						 DISK_SIZE) == 0,
				  "a point is not the instant of its cut");
		}
		fuzz_must(hvrepl_view_close(view) == HVREPL_OK, "view");
	}
}

static void look_at_all(void)
{
	struct hvrepl_vm_status s[2];
	bool up[2];

	for (unsigned i = 0; i < 2; i++)
		up[i] = look(guests[i].site, &s[i]);
	fuzz_must(!(up[0] && up[1] && s[0].writable && s[1].writable &&
		    same(&s[0].epoch, &s[1].epoch)),
		  "two writers in one epoch");
	for (unsigned i = 0; i < 2; i++)
		look_at(&guests[i]);
}

static void guest_writes(struct guest *guest, struct fuzz_in *in)
{
	struct hvrepl_vm_status s;
	uint8_t bytes[4096];
	unsigned disk = fuzz_u8(in) % PAIR_DISKS;
	uint64_t at = fuzz_u8(in) % (DISK_SIZE / 512) * 512ull;
	size_t length = 512 + fuzz_u8(in) % 8 * 512u;
	uint8_t fill = fuzz_u8(in);

	look_at(guest);
	if (!look(guest->site, &s) || !s.writable || !guest->known)
		return;
	length = HVRI_MIN(length, DISK_SIZE - at);
	test_fill(bytes, sizeof(bytes), fill);
	if (fill == 0)
		memset(bytes, 0, sizeof(bytes));
	memcpy(guest->shadow.bytes[disk] + at, bytes, length);
	/* A write that failed may be there or not: it looks again. */
	if (pair_write(guest->site, disk, at, bytes, length) != HVREPL_OK ||
	    pair_flush(guest->site, disk) != HVREPL_OK)
		guest->known = false;
}

static void ask(struct guest *guest, uint32_t operation, struct fuzz_in *in)
{
	struct hvrepl_operation what;
	struct hvrepl_epoch epoch = HVREPL_EPOCH_INIT;
	struct hvrepl_point point = HVREPL_POINT_INIT;
	uint8_t which = fuzz_u8(in);
	uint64_t job = 0;

	if (guest->site->node == NULL ||
	    (operation == HVREPL_OPERATION_REMOVE && which % 8 != 0))
		return;
	look_at_all();
	memset(&what, 0, sizeof(what));
	what.struct_size = sizeof(what);
	what.type = operation;
	what.vm = pair_vm;
	what.peer = (guest->site == &pair.a ? &pair.b : &pair.a)->name;
	if (hvrepl_vm_get_epoch(guest->site->node, &pair_vm, which % 4u,
				&epoch) == HVREPL_OK)
		what.epoch = epoch.id;
	if ((operation == HVREPL_OPERATION_UNPLANNED ||
	     operation == HVREPL_OPERATION_CHANGE_POINT) &&
	    hvrepl_vm_get_point(guest->site->node, &pair_vm, which / 4 % 8u,
				&point) == HVREPL_OK)
		what.point = point.number;
	if (hvrepl_node_operate(guest->site->node, &what, &job, NULL) ==
	    HVREPL_OK)
		guest->forced = operation == HVREPL_OPERATION_FORCE ||
				operation == HVREPL_OPERATION_CANCEL;
	/* Its cut is named before a guest writes again. */
	pair_run(&pair, 1);
	look_at_all();
}

static void fault(struct guest *guest, struct fuzz_in *in)
{
	struct pair_site *site = guest->site;
	uint8_t what = fuzz_u8(in);

	switch (what % 8) {
	case 0:
		pair_link(&pair, !pair.link_up);
		break;
	case 1:
		pair.cut_after = pair.moved + fuzz_u16(in);
		break;
	case 2:
		pair.piece = what & 8 ? 1u + fuzz_u8(in) * 8u : 0;
		break;
	case 3:
		if (site->node == NULL)
			break;
		calm(site);
		pair_kill(&pair, site, what & 8);
		break;
	case 4:
		pair.power_loss = what & 8;
		site->sim.crash_at = site->sim.io_count + fuzz_u8(in);
		break;
	case 5:
		site->sim.fail_at = site->sim.call_count + fuzz_u8(in) % 64u;
		site->sim.fail_code = what & 8 ? HVREPL_E_DISK_IO :
						 HVREPL_E_NO_SPACE;
		site->sim.fail_on = (what & 0x30) == 0;
		break;
	case 6:
		site->put_fails_at = site->puts + fuzz_u8(in) % 4u;
		break;
	default:
		site->env.alloc_fail_at = fuzz_u8(in);
		break;
	}
}

static void start_all(void)
{
	for (unsigned i = 0; i < 2; i++)
		if (guests[i].site->node == NULL) {
			calm(guests[i].site);
			pair_start(&pair, guests[i].site);
		}
}

/* A site whose disks crashed is dead; it comes back without its faults. */
static void revive(void)
{
	for (unsigned i = 0; i < 2; i++) {
		struct pair_site *site = guests[i].site;

		if (site->node == NULL || !site->sim.crashed)
			continue;
		calm(site);
		pair_kill(&pair, site, pair.power_loss);
		pair_start(&pair, site);
	}
}

static void step(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in);
	struct guest *guest = &guests[what >> 7];

	switch (what % 16) {
	case 0:
	case 1:
		fault(guest, in);
		break;
	case 2:
		start_all();
		break;
	case 3:
	case 4:
		ask(guest, 1 + fuzz_u8(in) % (HVREPL_OPERATION_COUNT - 1), in);
		break;
	case 5:
		ask(guest, HVREPL_OPERATION_CUT_NOW, in);
		break;
	case 6:
		calm(&pair.a);
		calm(&pair.b);
		pair_link(&pair, true);
		break;
	case 7:
		calm(guest->site);
		check_points(guest->site, false);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		guest_writes(guest, in);
		break;
	default:
		pair_run(&pair, fuzz_u8(in) * (SECOND / 64));
		break;
	}
	revive();
	look_at_all();
}

/* Everything is well, and was begun anew: nothing is left to excuse. */
static void check_end(void)
{
	for (unsigned i = 0; i < 2; i++) {
		struct pair_site *site = guests[i].site;
		struct hvrepl_vm_status s;

		if (look(site, &s) && s.mode != HVREPL_MODE_NONE) {
			fuzz_must(s.open_code >= 0, "a VM is not opened");
			check_points(site, true);
		}
	}
}

static void one(const uint8_t *bytes, size_t length)
{
	struct fuzz_in in = { bytes, length };

	memset(guests, 0, sizeof(guests));
	pair_init(&pair, 1, DISK_SIZE);
	guests[0].site = &pair.a;
	guests[1].site = &pair.b;
	start_all();
	pair_run(&pair, SECOND / 8);
	ask(&guests[0], HVREPL_OPERATION_ENABLE, &(struct fuzz_in){ NULL, 0 });
	pair_run(&pair, SECOND / 8);
	ask(&guests[0], HVREPL_OPERATION_START_INITIAL,
	    &(struct fuzz_in){ NULL, 0 });
	pair_run(&pair, SECOND);
	for (unsigned i = 0; in.left > 0 && i < STEPS_MAX; i++)
		step(&in);
	calm(&pair.a);
	calm(&pair.b);
	pair_link(&pair, true);
	start_all();
	for (unsigned i = 0; i < 2; i++) {
		pair_kill(&pair, guests[i].site, i == 0);
		pair_start(&pair, guests[i].site);
	}
	for (unsigned i = 0; i < 4; i++) {
		pair_run(&pair, SECOND / 2);
		look_at_all();
	}
	check_end();
	pair_free(&pair);
	while (image_count > 0)
		free(images[--image_count]);
}

static void seeds(void)
{
	/* Writes, points, planned failover, writes, commit, reverse. */
	static const uint8_t there_and_back[] = {
		8, 0, 4, 3, 7,	12, 128, 9, 1, 8,   2, 9,  13, 128, 3,	5, 0,
		12, 255, 136, 0, 2, 2, 11, 12, 64, 131, 9, 0, 12, 255, 131, 10,
		0, 12, 255, 137, 1, 9, 4, 12, 12, 255, 7, 135,
	};

	fuzz_seed(there_and_back, sizeof(there_and_back));
	for (uint64_t i = 0; i < 16; i++)
		fuzz_seed_random(i + 1, 60 + 20 * i);
}

extern const struct fuzz_target fuzz_nodes;
const struct fuzz_target fuzz_nodes = { "nodes", one, seeds, NULL };
