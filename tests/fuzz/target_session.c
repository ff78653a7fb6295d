/* SPDX-License-Identifier: Apache-2.0 */
/*
 * primary, replica: two production nodes, from the first greeting to failover
 * and back, and a peer gone bad: what one of them is sent is dropped, repeated,
 * replayed, reordered, changed with its checks made right, or invented, as the
 * input says. The channel is authentic; the peer is not honest.
 *
 * The site under attack keeps its promises to its own guest and its own
 * operator: nobody changes the disks under a guest that may write, a point
 * that was there is there after a power loss with the same bytes, memory is
 * bounded, and it starts again and can be asked.
 */
#include "fuzz.h"

#include "format/message.h"
#include "format/wire.h"
#include "pair.h"

#include <stdlib.h>
#include <string.h>

#define HEAD HVRI_FRAME_HEADER_SIZE
#define DISK_SIZE (64u << 10)
#define SECOND 1000000000ull
#define OLD_FRAMES 16u
#define FRAME_MAX (HEAD + HVRI_FRAME_CHUNK_MAX)
#define POINTS_MAX 32u
/* Slabs, stores and a peer that floods: far below what a host minds. */
#define MEMORY_MAX (48u << 20)

struct old_frame {
	uint8_t *bytes;
	size_t length;
};

struct known_point {
	struct hvrepl_uuid epoch, cut;
	uint64_t number;
	uint8_t bytes[PAIR_DISKS][DISK_SIZE];
};

static struct pair pair;
static struct pair_site *victim;
static struct fuzz_in plan; /* What happens to frames. */
static struct old_frame old[OLD_FRAMES], held;
static unsigned old_count;
static unsigned quiet; /* Frames until the next decision. */
static uint8_t shadow[PAIR_DISKS][DISK_SIZE];
static struct hvrepl_uuid shadow_epoch;
static bool shadow_known;
static struct known_point *points[POINTS_MAX];
static unsigned point_count;

static void copy_frame(struct old_frame *to, const uint8_t *bytes,
		       size_t length)
{
	free(to->bytes);
	to->bytes = malloc(length > 0 ? length : 1);
	fuzz_must(to->bytes != NULL, "no memory");
	memcpy(to->bytes, bytes, length);
	to->length = length;
}

/* The header's check, and a chunk's own digest over what it holds now. */
static void sign(uint8_t *bytes, size_t length)
{
	struct hvri_part parts[2] = { { bytes, 24 },
				      { bytes + HEAD, length - HEAD } };
	uint8_t digest[16];

	hvri_xxh3(parts, bytes[3] == HVRI_FRAME_CHUNK ? 1 : 2, digest);
	memcpy(bytes + 24, digest, 8);
}

static void send_changed(struct pair_end *end, const uint8_t *bytes,
			 size_t length)
{
	uint8_t *copy = malloc(length);

	fuzz_must(copy != NULL, "no memory");
	memcpy(copy, bytes, length);
	for (unsigned n = 1 + fuzz_u8(&plan) % 4; n-- > 0;) {
		/* Mostly in the payload; its length is right again after. */
		size_t at = length > HEAD && fuzz_u8(&plan) % 8 != 0 ?
				    HEAD + fuzz_u16(&plan) % (length - HEAD) :
				    fuzz_u8(&plan) % HEAD;

		copy[at] ^= (uint8_t)(1 + fuzz_u8(&plan) % 255);
	}
	if (length - HEAD < UINT32_MAX && fuzz_u8(&plan) % 8 != 0)
		for (unsigned i = 0; i < 4; i++)
			copy[4 + i] = (uint8_t)((length - HEAD) >> (8 * i));
	sign(copy, length);
	pair_deliver(end, copy, length);
	free(copy);
}

/* Another message of the same peer, with ids that are known to it. */
static void send_invented(struct pair_end *end, const uint8_t *bytes,
			  size_t length)
{
	static struct hvri_message_storage storage;
	static uint8_t out[HEAD + HVRI_MESSAGE_ENCODED_MAX];
	struct hvri_message message;
	struct hvri_frame frame;
	size_t encoded = 0, taken;
	uint8_t form;

	if (bytes[3] != HVRI_FRAME_MESSAGE ||
	    hvri_frame_decode(bytes, false, &frame) < 0 ||
	    hvri_message_decode(bytes + HEAD, length - HEAD, &storage,
				&message) < 0)
		return;
	if (message.claim == NULL)
		message.claim = &storage.claim;
	if (message.setup == NULL)
		message.setup = &storage.setup;
	form = fuzz_u8(&plan);
	message.type = 1 + fuzz_u8(&plan) % (HVRI_MESSAGE_TYPE_COUNT - 1);
	if (message.type == HVRI_MESSAGE_RANGES)
		message.u.ranges.count = 0;
	else
		for (unsigned n = form % 4; n-- > 0;) {
			size_t at = fuzz_u8(&plan) % sizeof(message.u);
			const uint8_t *from;

			taken = 1 + form / 4 % 16;
			/* By itself: it says how much there was. */
			from = fuzz_take(&plan, &taken);
			memcpy((uint8_t *)&message.u + at, from,
			       HVRI_MIN(taken, sizeof(message.u) - at));
		}
	/* Booleans must be such; the encoder takes their word. */
	if (message.type == HVRI_MESSAGE_CUT_BEGIN)
		message.u.cut.closed = form & 0x80;
	else if (message.type == HVRI_MESSAGE_DURABLE)
		message.u.durable.closed = form & 0x80;
	else if (message.type == HVRI_MESSAGE_STATUS)
		message.u.status.refuses = form & 0x80;
	else if (message.type == HVRI_MESSAGE_JOIN ||
		 message.type == HVRI_MESSAGE_JOIN_READY)
		message.u.join.exact = message.u.join.untrusted =
			message.u.join.hot = form & 0x80;
	if (hvri_message_encode(&message, out + HEAD, sizeof(out) - HEAD,
				&encoded) < 0)
		return;
	frame.length = (uint32_t)encoded;
	hvri_frame_encode(&frame, out + HEAD, out);
	pair_deliver(end, out, HEAD + encoded);
}

static void tamper(struct pair *of, struct pair_site *to, struct pair_end *end,
		   const uint8_t *bytes, size_t length)
{
	size_t taken;

	(void)of;
	if (to != victim || length < HEAD || plan.left == 0 ||
	    bytes[3] <= HVRI_FRAME_BINDER) {
		pair_deliver(end, bytes, length);
		return;
	}
	copy_frame(&old[old_count++ % OLD_FRAMES], bytes, length);
	if (quiet > 0) {
		quiet--;
		pair_deliver(end, bytes, length);
		return;
	}
	quiet = fuzz_u8(&plan) % 32;
	switch (fuzz_u8(&plan) % 10) {
	case 0: /* Lost. */
		break;
	case 1:
		pair_deliver(end, bytes, length);
		pair_deliver(end, bytes, length);
		break;
	case 2:
	case 3:
	case 4:
		send_changed(end, bytes, length);
		break;
	case 5:
	case 6:
		send_invented(end, bytes, length);
		pair_deliver(end, bytes, length);
		break;
	case 7: { /* From before, of an older session too. */
		struct old_frame *again =
			&old[fuzz_u8(&plan) %
			     HVRI_MIN(old_count, OLD_FRAMES)];

		pair_deliver(end, again->bytes, again->length);
		pair_deliver(end, bytes, length);
		break;
	}
	case 8: /* After the next one that is held. */
		if (held.bytes != NULL)
			pair_deliver(end, held.bytes, held.length);
		copy_frame(&held, bytes, length);
		break;
	default:
		taken = fuzz_u8(&plan);
		bytes = fuzz_take(&plan, &taken);
		pair_deliver(end, bytes, taken);
		break;
	}
}

/* ---- What the victim promised. ---- */

static bool look(struct pair_site *site, struct hvrepl_vm_status *status)
{
	*status = (struct hvrepl_vm_status)HVREPL_VM_STATUS_INIT;
	return site->node != NULL &&
	       hvrepl_vm_get_status(site->node, &pair_vm, status) == HVREPL_OK;
}

static void check_guest(void)
{
	static uint8_t bytes[DISK_SIZE];
	struct hvrepl_vm_status status;

	fuzz_must(victim->env.alloc_bytes < MEMORY_MAX,
		  "a peer takes too much memory");
	if (!look(victim, &status) || !status.writable) {
		/* An operator let it go, or it was taken over. */
		shadow_known = false;
		return;
	}
	if (!shadow_known ||
	    memcmp(&shadow_epoch, &status.epoch, sizeof(shadow_epoch)) != 0) {
		shadow_known = true;
		shadow_epoch = status.epoch;
		for (unsigned d = 0; d < PAIR_DISKS && shadow_known; d++)
			shadow_known = pair_read(victim, d, 0, shadow[d],
						 DISK_SIZE) == HVREPL_OK;
		return;
	}
	for (unsigned d = 0; d < PAIR_DISKS; d++)
		fuzz_must(pair_read(victim, d, 0, bytes, DISK_SIZE) ==
					  HVREPL_OK &&
				  memcmp(bytes, shadow[d], DISK_SIZE) == 0,
			  "a peer changes what a guest has written");
}

static void guest_write(struct fuzz_in *in, struct pair_site *site)
{
	uint8_t bytes[2048];
	uint32_t disk = fuzz_u8(in) % PAIR_DISKS;
	uint64_t at = fuzz_u8(in) % (DISK_SIZE / 512) * 512ull;
	size_t length = HVRI_MIN(sizeof(bytes), DISK_SIZE - at);
	struct hvrepl_vm_status status;

	/* The door of a VM that does not exist here cannot be opened. */
	if (!look(site, &status) || !status.writable)
		return;
	test_fill(bytes, sizeof(bytes), fuzz_u8(in));
	if (site == victim)
		check_guest();
	if (pair_write(site, disk, at, bytes, length) == HVREPL_OK &&
	    site == victim)
		memcpy(shadow[disk] + at, bytes, length);
}

static void read_points(bool again)
{
	struct hvrepl_point point = HVREPL_POINT_INIT;
	static uint8_t bytes[DISK_SIZE];
	unsigned found = 0;

	if (!again)
		while (point_count > 0)
			free(points[--point_count]);
	for (uint32_t i = 0; point_count < POINTS_MAX &&
			     hvrepl_vm_get_point(victim->node, &pair_vm, i,
						 &point) == HVREPL_OK;
	     i++) {
		struct known_point *known = NULL;
		hvrepl_view *view = NULL;
		bool fresh = !again;

		for (unsigned k = 0; k < point_count; k++)
			if (points[k]->number == point.number &&
			    memcmp(&points[k]->epoch, &point.epoch, 16) == 0)
				known = points[k];
		if (known == NULL && again)
			continue;
		if (hvrepl_vm_open_view(victim->node, &pair_vm, point.number,
					&view, NULL) != HVREPL_OK) {
			fuzz_must(!again, "a point is not opened any more");
			continue;
		}
		found += again;
		if (fresh) {
			known = calloc(1, sizeof(*known));
			fuzz_must(known != NULL, "no memory");
			known->epoch = point.epoch;
			known->number = point.number;
			points[point_count++] = known;
		}
		for (unsigned d = 0; d < PAIR_DISKS; d++) {
			struct hvrepl_iovec iov = { bytes, DISK_SIZE };
			struct hvrepl_disk disk;
			int32_t rc;

			fuzz_must(hvrepl_view_disk(view, d, &disk) == HVREPL_OK,
				  "a view without disk");
			rc = disk.ops->readv(disk.user, NULL, 0, &iov, 1);
			disk.release(disk.user);
			if (fresh)
				memcpy(known->bytes[d], bytes, DISK_SIZE);
			fuzz_must(rc == HVREPL_OK &&
					  memcmp(known->bytes[d], bytes,
						 DISK_SIZE) == 0,
				  "a point is not what it was");
		}
		fuzz_must(hvrepl_view_close(view) == HVREPL_OK, "view");
	}
	fuzz_must(!again || found == point_count, "a point is gone");
}

/* ---- What the operators and guests do meanwhile. ---- */

static void ask(struct pair_site *site, uint32_t operation)
{
	struct hvrepl_operation what;
	struct hvrepl_vm_status status;
	uint64_t job = 0;

	if (site->node == NULL)
		return;
	memset(&what, 0, sizeof(what));
	what.struct_size = sizeof(what);
	what.type = operation;
	what.vm = pair_vm;
	what.peer = (site == &pair.a ? &pair.b : &pair.a)->name;
	if (look(site, &status))
		what.epoch = status.epoch;
	if (site == victim)
		check_guest();
	(void)!hvrepl_node_operate(site->node, &what, &job, NULL);
}

static void happen(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in);
	struct pair_site *site = what & 0x80 ? &pair.b : &pair.a;

	switch (what % 16) {
	case 0:
		pair_link(&pair, false);
		break;
	case 1:
		pair_link(&pair, true);
		break;
	case 2:
	case 3:
		ask(site, 1 + fuzz_u8(in) % (HVREPL_OPERATION_COUNT - 1));
		break;
	case 4:
		ask(site, HVREPL_OPERATION_CUT_NOW);
		break;
	case 5:
		pair.piece = what & 0x40 ? 1u + fuzz_u8(in) * 16u : 0;
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		guest_write(in, site);
		break;
	default:
		pair_run(&pair, fuzz_u8(in) * (SECOND / 64));
		break;
	}
	check_guest();
}

static void begin(bool attacks_primary)
{
	pair_init(&pair, 1, DISK_SIZE);
	victim = attacks_primary ? &pair.a : &pair.b;
	shadow_known = false;
	old_count = quiet = 0;
	pair_start(&pair, &pair.a);
	pair_start(&pair, &pair.b);
	pair_run(&pair, SECOND / 8);
	pair.tamper = tamper;
	ask(&pair.a, HVREPL_OPERATION_ENABLE);
	pair_run(&pair, SECOND / 8);
	ask(&pair.a, HVREPL_OPERATION_START_INITIAL);
	pair_run(&pair, SECOND);
}

static void session(const uint8_t *bytes, size_t length, bool attacks_primary)
{
	struct fuzz_in in = { bytes, length };
	struct fuzz_in story;
	struct hvrepl_vm_status status;
	size_t share = fuzz_u8(&in);
	bool opened;

	story.at = fuzz_take(&in, &share);
	story.left = share;
	plan = in;
	begin(attacks_primary);
	for (unsigned i = 0; story.left > 0 && i < 64; i++)
		happen(&story);
	/* The peer is itself again; then power fails here. */
	plan.left = 0;
	pair_run(&pair, SECOND);
	check_guest();
	pair_link(&pair, false);
	pair_run(&pair, SECOND / 4);
	opened = look(victim, &status) && status.open_code >= 0 &&
		 status.mode != HVREPL_MODE_NONE;
	read_points(false);
	pair_kill(&pair, victim, true);
	pair_start(&pair, victim);
	pair_run(&pair, SECOND);
	/* It can be asked, or it knows of no VM. */
	fuzz_must(look(victim, &status) || !opened, "a VM is forgotten");
	if (opened) {
		fuzz_must(status.open_code >= 0, "a VM is not opened again");
		read_points(true);
	}
	pair.tamper = NULL;
	pair_link(&pair, true);
	pair_run(&pair, SECOND);
	pair_free(&pair);
	while (point_count > 0)
		free(points[--point_count]);
	for (unsigned i = 0; i < OLD_FRAMES; i++) {
		free(old[i].bytes);
		old[i].bytes = NULL;
	}
	free(held.bytes);
	held.bytes = NULL;
}

static void one_primary(const uint8_t *bytes, size_t length)
{
	session(bytes, length, true);
}

static void one_replica(const uint8_t *bytes, size_t length)
{
	session(bytes, length, false);
}

static void seeds(void)
{
	for (uint64_t i = 0; i < 12; i++) {
		uint8_t bytes[600];

		test_fill(bytes, sizeof(bytes), i + 1);
		bytes[0] = (uint8_t)(20 + 8 * i);
		fuzz_seed(bytes, 100 + 40 * i);
	}
	/* An honest peer, and a VM that goes there and back. */
	fuzz_seed("\x10\x06\1\2\3\x0a\xff\x03\5\x0a\xff\x83\x09\x0a\xff\x83\x0a\x0a\xff",
		  19);
}

extern const struct fuzz_target fuzz_primary, fuzz_replica;
const struct fuzz_target fuzz_primary = { "primary", one_primary, seeds, NULL };
const struct fuzz_target fuzz_replica = { "replica", one_replica, seeds, NULL };
