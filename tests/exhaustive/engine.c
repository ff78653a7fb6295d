/* SPDX-License-Identifier: Apache-2.0 */
/* One workload, its crash points, and the states of each; see exhaustive.h. */
#define _POSIX_C_SOURCE 200809L /* fork(). */

#include "exhaustive.h"

#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECES_MAX 4096u
#define SINGLES_MAX 256u
#define SECOND_WHOLE 4u
#define SEEN_SIZE (1u << 14)

static const struct room *room;
static const struct effort *effort;
static const struct workload *now;
static char where_first[TEXT_MAX]; /* Without the second crash. */
static uint64_t seen[SEEN_SIZE];
/* States and crash points of this workload so far, for what is done only now
 * and then. */
static uint64_t turn, point;

static void write_fates(char *text, size_t room_left, const uint8_t *fates,
			unsigned count)
{
	if (fates == NULL) {
		snprintf(text, room_left, "process");
		return;
	}
	if (count + 2 > room_left)
		count = (unsigned)room_left - 2;
	text[0] = 'p';
	for (unsigned i = 0; i < count; i++)
		text[i + 1] = (char)('0' + fates[i]);
	text[count + 1] = 0;
}

static void say_workload(void)
{
	int used = snprintf(where_first, sizeof(where_first), "%s:%u:",
			    room->name, now->prefix);

	for (unsigned i = 0; i < now->count; i++)
		used += snprintf(where_first + used,
				 sizeof(where_first) - (size_t)used, "%s%u",
				 i > 0 ? "," : "", now->ops[i]);
	snprintf(totals->where, sizeof(totals->where), "%.200s", where_first);
}

static void say_state(uint64_t io, const uint8_t *fates, unsigned count)
{
	size_t used;

	say_workload();
	used = strlen(where_first);
	used += (size_t)snprintf(where_first + used, sizeof(where_first) - used,
				 ":%llu:", (unsigned long long)io);
	write_fates(where_first + used, sizeof(where_first) / 2 - used, fates,
		    count);
	memcpy(totals->where, where_first, sizeof(where_first));
}

static void say_second(uint64_t io, const uint8_t *fates, unsigned count)
{
	size_t used = strlen(where_first);

	memcpy(totals->where, where_first, used);
	used += (size_t)snprintf(totals->where + used,
				 sizeof(totals->where) - used,
				 ":%llu:", (unsigned long long)io);
	write_fates(totals->where + used, sizeof(totals->where) - used, fates,
		    count);
}

/* False: this outcome was looked at already. */
static bool is_new(uint64_t digest)
{
	uint64_t at = digest % SEEN_SIZE;

	digest |= 1;
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t *place = &seen[(at + tries) % SEEN_SIZE];

		if (*place == digest)
			return false;
		if (*place == 0) {
			*place = digest;
			return true;
		}
	}
	return true;
}

/* Apart, if the room wants it so: what is done there is not done here. */
struct doing {
	const struct sim_state *state;
	const uint8_t *fates;
	uint64_t io;
	unsigned operation;
	bool thorough;
};

static void in_its_place(void (*what)(const struct doing *doing),
			 const struct doing *doing)
{
	int status = 0;
	pid_t pid;

	if (!room->apart) {
		what(doing);
		return;
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		what(doing);
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		_exit(2);
	}
	/* It has said what is wrong, unless it was a signal that ended it. */
	if (status != 0)
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 4);
}

/* The library opens what is there, and all must hold. */
static void recover_and_check(const struct doing *doing)
{
	struct sim *sim = room->sim();
	uint64_t before = sim->io_count;

	room->recall();
	if (!room->recover())
		violated(33, "recovery says that it crashed, and did not");
	totals->recovery_io = sim->io_count - before;
	room->check(doing->thorough);
	room->leave();
	totals->recoveries++;
}

/* ---- A crash inside the recovery. ---- */

static void second_state(const struct sim_state *state, uint64_t io,
			 const uint8_t *fates, unsigned count)
{
	say_second(io, fates, count);
	(void)sim_state_put(room->sim(), state, fates);
	in_its_place(recover_and_check, &(struct doing){ .thorough = false });
	totals->seconds++;
}

/* Crashed at I/O `io` of it: the state, or NULL when it ended before. */
static struct sim_state *crash_recovery(const struct sim_state *state,
					const uint8_t *fates, uint64_t io)
{
	struct sim *sim = room->sim();

	(void)sim_state_put(sim, state, fates);
	room->recall();
	sim->crash_at = sim->io_count + io;
	if (room->recover()) {
		room->leave();
		return NULL;
	}
	return sim_state_take(sim);
}

static void second_crash(const struct doing *doing)
{
	uint64_t io = doing->io;
	struct sim_state *second =
		crash_recovery(doing->state, doing->fates, io);
	static uint8_t fate[PIECES_MAX];
	unsigned count, singles;

	if (second == NULL)
		return;
	count = sim_state_pieces(second);
	if (count > PIECES_MAX)
		violated(44, "%u pieces pending in a recovery", count);
	second_state(second, io, NULL, count);
	if (count <= SECOND_WHOLE) {
		for (unsigned mask = 0; mask < 1u << count; mask++) {
			for (unsigned i = 0; i < count; i++)
				fate[i] = mask >> i & 1;
			second_state(second, io, fate, count);
		}
	} else {
		memset(fate, SIM_LOST, count);
		second_state(second, io, fate, count);
		memset(fate, SIM_KEPT, count);
		second_state(second, io, fate, count);
		singles = count < 16 ? count : 16;
		for (unsigned i = 0; i < singles; i++) {
			unsigned at = i * count / singles;

			fate[at] = i % 2 == 0 ? SIM_LOST : SIM_GARBAGE;
			second_state(second, io, fate, count);
			fate[at] = SIM_KEPT;
		}
	}
	sim_state_free(second);
}

/* ---- One crash point. ---- */

static void first_state(const struct sim_state *state, uint64_t io,
			const uint8_t *fates, unsigned count)
{
	uint64_t digest = sim_state_put(room->sim(), state, fates), used;
	struct doing doing = { .state = state, .fates = fates };

	if (fates != NULL && !is_new(digest)) {
		totals->same++;
		return;
	}
	say_state(io, fates, count);
	turn++;
	doing.thorough = effort->thorough != 0 && turn % effort->thorough == 0;
	in_its_place(recover_and_check, &doing);
	used = totals->recovery_io;
	totals->states++;
	if (effort->deep == 0 || turn % effort->deep != 0)
		return;
	for (doing.io = 0; doing.io < used; doing.io++)
		in_its_place(second_crash, &doing);
}

static void all_subsets(const struct sim_state *state, uint64_t io,
			unsigned count, uint8_t *fates)
{
	for (unsigned mask = 0; mask < 1u << count; mask++) {
		/* None, all, and one in so many of what is between. */
		if (mask != 0 && mask + 1 != 1u << count && effort->thin > 1 &&
		    (mask * 2654435761u >> 16) % effort->thin != 0)
			continue;
		for (unsigned i = 0; i < count; i++)
			fates[i] = mask >> i & 1;
		first_state(state, io, fates, count);
	}
}

static void some_subsets(const struct sim_state *state, uint64_t io,
			 unsigned count, uint8_t *fates)
{
	unsigned singles = count < SINGLES_MAX ? count : SINGLES_MAX;
	uint64_t random = io * 2 + 1;

	memset(fates, SIM_LOST, count);
	first_state(state, io, fates, count);
	memset(fates, SIM_KEPT, count);
	first_state(state, io, fates, count);
	for (unsigned i = 0; i < singles; i += effort->thin) {
		unsigned at = i * count / singles;

		memset(fates, SIM_LOST, count);
		fates[at] = SIM_KEPT;
		first_state(state, io, fates, count);
		memset(fates, SIM_KEPT, count);
		fates[at] = SIM_LOST;
		first_state(state, io, fates, count);
	}
	for (unsigned n = 0; n < effort->samples / effort->thin; n++) {
		for (unsigned i = 0; i < count; i++)
			fates[i] = test_random(&random) >> 33 & 1;
		first_state(state, io, fates, count);
	}
}

/* A sector that tore, among others that came and among none. */
static void torn_sectors(const struct sim_state *state, uint64_t io,
			 unsigned count, uint8_t *fates)
{
	unsigned singles = count < SINGLES_MAX ? count : SINGLES_MAX;

	for (unsigned i = 0; i < singles; i += effort->thin) {
		unsigned at = i * count / singles;

		memset(fates, SIM_KEPT, count);
		fates[at] = SIM_GARBAGE;
		first_state(state, io, fates, count);
		memset(fates, SIM_LOST, count);
		fates[at] = SIM_GARBAGE;
		first_state(state, io, fates, count);
	}
}

/* Run the workload until I/O `io`; past the last one: until its end. */
static void run_until(uint64_t io)
{
	struct sim *sim;

	say_workload();
	room->start(now->prefix);
	sim = room->sim();
	sim->crash_at = io;
	for (unsigned i = 0; i < now->count && !sim->crashed; i++)
		if (room->op(now->ops[i]) != DONE)
			violated(37, "an operation has no meaning any more");
	sim->crashed = true;
	room->kill();
}

/* A state that goes on: the operation is done again, and all that follows. */
static void goes_on(const struct doing *doing)
{
	room->recall();
	if (!room->recover())
		violated(33, "recovery says that it crashed");
	room->go_on(doing->operation);
}

static void crash_point(uint64_t io)
{
	static uint8_t fates[PIECES_MAX];
	struct sim_state *state;
	unsigned count;

	run_until(io);
	room->remember();
	state = sim_state_take(room->sim());
	count = sim_state_pieces(state);
	if (count > PIECES_MAX)
		violated(44, "%u pieces pending", count);
	if (count > totals->pieces_most)
		totals->pieces_most = count;
	memset(seen, 0, sizeof(seen));
	first_state(state, io, NULL, count);
	if (count <= effort->whole) {
		totals->whole_points++;
		all_subsets(state, io, count, fates);
	} else {
		totals->sampled_points++;
		some_subsets(state, io, count, fates);
	}
	torn_sectors(state, io, count, fates);
	if (effort->go_on != 0 && ++point % effort->go_on == 0) {
		uint64_t random = io * 2 + 1;
		bool process = point / effort->go_on % 3 == 0;

		for (unsigned i = 0; i < count; i++)
			fates[i] = test_random(&random) >> 33 & 1;
		say_state(io, process ? NULL : fates, count);
		(void)sim_state_put(room->sim(), state, process ? NULL : fates);
		in_its_place(goes_on, &(struct doing){
				.operation = now->ops[now->count - 1] });
		totals->went_on++;
	}
	totals->points++;
	room->end();
	sim_state_free(state);
}

bool explore(const struct workload *workload)
{
	uint64_t from = 0, to;

	now = workload;
	room = room_at(workload->room);
	effort = effort_at(workload->room);
	turn = point = 0;
	say_workload();
	room->start(now->prefix);
	for (unsigned i = 0; i < now->count; i++) {
		from = room->sim()->io_count;
		if (room->op(now->ops[i]) != DONE) {
			room->finish();
			room->end();
			totals->pruned++;
			return false;
		}
	}
	to = room->sim()->io_count;
	room->finish();
	room->end();
	totals->workloads++;
	/* The last one is a crash after all of it. */
	for (uint64_t io = from; io <= to; io++)
		if (io == to || io % effort->points == 0)
			crash_point(io);
	return true;
}

/* ---- One state again. ---- */

static const char *read_fates(const char *text, uint8_t **fates_out,
			      uint8_t *fates)
{
	*fates_out = NULL;
	if (*text == 'p' && strncmp(text, "process", 7) != 0) {
		*fates_out = fates;
		for (text++; *text >= '0' && *text <= '2'; text++)
			*fates++ = (uint8_t)(*text - '0');
	} else {
		text += strcspn(text, ":");
	}
	return *text == ':' ? text + 1 : text;
}

static void show_fates(const struct sim_state *state, const uint8_t *fates)
{
	static const char *const names[] = { "lost", "kept", "torn" };
	char text[300];

	for (unsigned i = 0; fates != NULL && i < sim_state_pieces(state);
	     i++) {
		sim_state_name(state, i, text, sizeof(text));
		printf("  %-4s %s\n", names[fates[i]], text);
	}
	if (fates == NULL)
		printf("  the process died, nothing is lost\n");
}

static bool read_workload(const char *text, struct workload *workload,
			  const char **rest)
{
	size_t length = strcspn(text, ":");
	char *end;

	for (workload->room = 0; room_at(workload->room) != NULL;
	     workload->room++)
		if (strlen(room_at(workload->room)->name) == length &&
		    strncmp(room_at(workload->room)->name, text, length) == 0)
			break;
	if (room_at(workload->room) == NULL || text[length] != ':')
		return false;
	workload->prefix = (unsigned)strtoul(text + length + 1, &end, 10);
	while (*end != 0 && workload->count < OPS_MAX) {
		workload->ops[workload->count++] =
			(unsigned)strtoul(end + 1, &end, 10);
		if (*end != ',')
			break;
	}
	*rest = *end == ':' ? end + 1 : end;
	return workload->count > 0;
}

void replay(const char *where)
{
	static struct workload workload;
	static uint8_t fates[PIECES_MAX], again[PIECES_MAX];
	struct sim_state *state, *second;
	uint8_t *first_fates, *second_fates;
	char *end;
	uint64_t io;

	if (!read_workload(where, &workload, &where)) {
		fprintf(stderr, "not a state: %s\n", where);
		exit(2);
	}
	now = &workload;
	room = room_at(workload.room);
	effort = effort_at(workload.room);
	printf("%s, %s:", room->name, room->prefix_names[workload.prefix]);
	for (unsigned i = 0; i < workload.count; i++)
		printf("%s %s", i > 0 ? "," : "",
		       room->op_names[workload.ops[i]]);
	printf("\n");
	if (*where == 0) {
		(void)explore(&workload);
		return;
	}
	io = strtoull(where, &end, 10);
	where = *end == ':' ? end + 1 : end;
	memset(fates, SIM_KEPT, sizeof(fates));
	memset(again, SIM_KEPT, sizeof(again));
	where = read_fates(where, &first_fates, fates);
	run_until(io);
	room->remember();
	state = sim_state_take(room->sim());
	printf("crash at I/O %llu\n", (unsigned long long)io);
	show_fates(state, first_fates);
	if (*where != 0) {
		io = strtoull(where, &end, 10);
		where = *end == ':' ? end + 1 : end;
		(void)read_fates(where, &second_fates, again);
		second = crash_recovery(state, first_fates, io);
		if (second != NULL) {
			printf("again at I/O %llu of the recovery\n",
			       (unsigned long long)io);
			show_fates(second, second_fates);
			(void)sim_state_put(room->sim(), second, second_fates);
			in_its_place(recover_and_check,
				     &(struct doing){ .thorough = true });
		}
		sim_state_free(second);
	} else {
		(void)sim_state_put(room->sim(), state, first_fates);
		in_its_place(recover_and_check,
			     &(struct doing){ .thorough = true });
		(void)sim_state_put(room->sim(), state, first_fates);
		in_its_place(goes_on, &(struct doing){
				.operation = workload.ops[workload.count - 1] });
	}
	room->end();
	sim_state_free(state);
	printf("no violation\n");
}
