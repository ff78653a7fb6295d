/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tracking costs a guest that writes through NBD: our plugin against the
 * same plugin without tracking, alternated in slots of one run. In memory,
 * except for the crash-safe marks, which are about flushes.
 */
#include "bench.h"
#include "nbd.h"
#include "tempdir.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DISK (256ull << 20)
#define ROUNDS 16u
#define WARM_NS 50000000ull
#define SLOT_NS 200000000ull
#define CUT_ROUNDS 4u
#define CUT_SLOT_NS 2500000000ull
#define REWRITTEN (64ull << 20)
#define MARK_DISK (1ull << 30) /* 64 regions of 16 MiB... */
#define MARK_SLICES 20u        /* ...in 20 times 250 writes. */
#define MARK_SLICE 250u
#define MARK_DISKS 7u
#define MARK_NS 15000000000ull /* No further disk after that. */

enum { BARE, TRACKED, FILE_PLUGIN, SERVERS };

static struct tempdir place;

/* Good for the next fifteen calls. */
static const char *path_of(const char *name)
{
	static char paths[16][TEMPDIR_PATH_MAX];
	static unsigned next;

	return tempdir_join(&place, name, paths[next++ % 16]);
}

static void make_disk(const char *name, uint64_t size, bool filled)
{
	static uint8_t zeroes[1 << 20];
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	bench_must(fd, name);
	bench_must(ftruncate(fd, (off_t)size), name);
	/* So that no slot pays for the file's first pages. */
	for (uint64_t at = 0; filled && at < size; at += sizeof(zeroes))
		bench_must(pwrite(fd, zeroes, sizeof(zeroes), (off_t)at), name);
	close(fd);
}

/* A site with one VM; `vm` is the inside of its section. */
static pid_t serve(const char *plugin, const char *name, const char *vm)
{
	char file[64], socket[TEMPDIR_PATH_MAX], config[TEMPDIR_PATH_MAX + 8];
	const char *arguments[] = { "nbdkit", "-f", "-U", socket, plugin,
				    config, NULL };
	FILE *out;

	snprintf(file, sizeof(file), "%s.conf", name);
	snprintf(config, sizeof(config), "config=%s", path_of(file));
	out = fopen(path_of(file), "w");
	if (out == NULL)
		bench_must(-1, file);
	fprintf(out,
		"site \"%s\" {\n state = \"%s.state\"\n storage = \"%s.storage\"\n"
		" control = \"%s.ctl\"\n nbd = \"%s.nbd\"\n}\n"
		"vm \"web\" {\n%s\n}\n", name, name, name, name, name, vm);
	fclose(out);
	snprintf(file, sizeof(file), "%s.nbd", name);
	tempdir_join(&place, file, socket);
	return nbd_serve(arguments);
}

static const char *socket_of(const char *name)
{
	char file[64];

	snprintf(file, sizeof(file), "%s.nbd", name);
	return path_of(file);
}

struct pair {
	pid_t servers[SERVERS];
	struct nbd clients[SERVERS];
	unsigned count;
};

/* Sites called `name` and bare-NAME: each measurement has its own, new. */
static void start(struct pair *pair, const char *name, const char *tracked_vm,
		  const char *bare_vm, bool file_plugin)
{
	char bare[32];

	snprintf(bare, sizeof(bare), "bare-%s", name);
	pair->count = file_plugin ? SERVERS : FILE_PLUGIN;
	pair->servers[BARE] = serve(getenv("HVREPL_BENCH_BARE"), bare, bare_vm);
	pair->servers[TRACKED] =
		serve(getenv("HVREPL_BENCH_PLUGIN"), name, tracked_vm);
	if (file_plugin) {
		const char *arguments[] = { "nbdkit", "-f", "-U",
					    socket_of("file"), "file",
					    path_of("file.img"), NULL };

		pair->servers[FILE_PLUGIN] = nbd_serve(arguments);
	}
}

static void stop(struct pair *pair)
{
	for (unsigned i = 0; i < pair->count; i++)
		nbd_stop(pair->servers[i]);
}

static void close_both(struct pair *pair)
{
	nbd_close(&pair->clients[BARE]);
	nbd_close(&pair->clients[TRACKED]);
}

/* Writes a second, and the server's CPU microseconds for each. */
static double slot(struct pair *pair, unsigned server, uint32_t depth,
		   uint64_t span, uint64_t ns, double *cpu_us)
{
	struct nbd_load load = { .depth = depth, .span = span };
	double cpu = nbd_cpu(pair->servers[server]);
	uint64_t begun = bench_now(), writes;

	load.until_ns = begun + ns;
	writes = nbd_run(&pair->clients[server], &load);
	ns = bench_now() - begun;
	*cpu_us += (nbd_cpu(pair->servers[server]) - cpu) * 1e6 /
		   (double)writes;
	return (double)writes * 1e9 / (double)ns;
}

static void steady(void)
{
	static const uint32_t depths[] = { 1, 16 };
	const char *sockets[] = { socket_of("bare-steady"),
				  socket_of("steady"), socket_of("file") };
	struct pair pair;
	double cpu_us[SERVERS];

	make_disk("on.img", DISK, true);
	make_disk("off.img", DISK, true);
	make_disk("file.img", DISK, true);
	start(&pair, "steady", " disk \"root\" { path = \"on.img\" }",
	      " disk \"root\" { path = \"off.img\" }", true);
	for (unsigned d = 0; d < 2; d++) {
		double iops[SERVERS][ROUNDS];
		char name[96];

		memset(cpu_us, 0, sizeof(cpu_us));
		for (unsigned r = 0; r < ROUNDS; r++)
			for (unsigned i = 0; i < SERVERS; i++) {
				/* Who comes first changes. */
				unsigned who = (i + r) % SERVERS;
				double warm = 0;

				/* How nbdkit's threads fall onto the processors
				 * lasts as long as a connection: a new one each
				 * time. Then warm: regions hot, threads there. */
				nbd_open(&pair.clients[who], sockets[who],
					 who == FILE_PLUGIN ? "" : "web/root");
				slot(&pair, who, depths[d], DISK, WARM_NS, &warm);
				iops[who][r] = slot(&pair, who, depths[d], DISK,
						    SLOT_NS, &cpu_us[who]);
				nbd_close(&pair.clients[who]);
			}
		snprintf(name, sizeof(name),
			 "write path: stock file plugin, depth %u", depths[d]);
		bench_paired(name, iops[FILE_PLUGIN], "IOPS",
			     "plugin, not tracking", iops[BARE], ROUNDS, NULL);
		snprintf(name, sizeof(name), "write path: tracking, depth %u",
			 depths[d]);
		bench_paired(name, iops[TRACKED], "IOPS", "plugin, not tracking",
			     iops[BARE], ROUNDS, ">= 0.97");
		snprintf(name, sizeof(name),
			 "write path: the daemon's CPU a write, depth %u",
			 depths[d]);
		bench_against(name, cpu_us[TRACKED] / ROUNDS, "us",
			      "plugin, not tracking", cpu_us[BARE] / ROUNDS,
			      NULL);
	}
	stop(&pair);
}

/* A small set rewritten all the time while a cut is made each second. */
static void under_cuts(void)
{
	double iops[2][CUT_ROUNDS], cpu_us[2] = { 0 };
	struct pair pair;

	bench_must(mkdir(path_of("cuts"), 0700), "cuts");
	start(&pair, "cutting",
	      " capture = \"cuts\"\n capture-interval = \"1s\"\n"
	      " disk \"root\" { path = \"on.img\" }",
	      " disk \"root\" { path = \"off.img\" }", false);
	nbd_open(&pair.clients[BARE], socket_of("bare-cutting"), "web/root");
	nbd_open(&pair.clients[TRACKED], socket_of("cutting"), "web/root");
	slot(&pair, TRACKED, 16, REWRITTEN, CUT_SLOT_NS, &cpu_us[TRACKED]);
	cpu_us[TRACKED] = 0;
	for (unsigned r = 0; r < CUT_ROUNDS; r++) {
		/* Its cut of the slot before must not burden the other. */
		bench_must(kill(pair.servers[TRACKED], SIGSTOP), "stop");
		iops[BARE][r] = slot(&pair, BARE, 16, REWRITTEN, CUT_SLOT_NS,
				     &cpu_us[BARE]);
		bench_must(kill(pair.servers[TRACKED], SIGCONT), "continue");
		iops[TRACKED][r] = slot(&pair, TRACKED, 16, REWRITTEN,
					CUT_SLOT_NS, &cpu_us[TRACKED]);
	}
	bench_paired("write path: 64 MiB rewritten, a cut each second, depth 16",
		     iops[TRACKED], "IOPS", "plugin, not tracking", iops[BARE],
		     CUT_ROUNDS, ">= 0.8");
	bench_against("write path: the same, the daemon's CPU a write",
		      cpu_us[TRACKED] / CUT_ROUNDS, "us", "plugin, not tracking",
		      cpu_us[BARE] / CUT_ROUNDS, NULL);
	close_both(&pair);
	stop(&pair);
}

/* Seconds that MARK_SLICE writes took. */
static double slice(struct nbd *client)
{
	struct nbd_load load = { .depth = 1, .flush_every = 8,
				 .span = MARK_DISK, .count = MARK_SLICE };
	uint64_t begun = bench_now();

	nbd_run(client, &load);
	return (double)(bench_now() - begun) / 1e9;
}

/* On a real file system: marks made durable before a region's first write. The
 * marks fall into the first few hundred writes, so a disk's whole warm-up is one
 * measurement. */
static void marks(void)
{
	double iops[2][2][MARK_DISKS];
	uint64_t begun = bench_now();
	struct pair pair;
	char vms[2][512] = { "", "" };
	size_t disks = 0;

	for (unsigned d = 0; d < MARK_DISKS; d++)
		for (unsigned i = 0; i < 2; i++) {
			char name[32];
			size_t used = strlen(vms[i]);

			snprintf(name, sizeof(name), "mark%u-%u.img", i, d);
			make_disk(name, MARK_DISK, false);
			snprintf(vms[i] + used, sizeof(vms[i]) - used,
				 " disk \"d%u\" { path = \"%s\" }\n", d, name);
		}
	start(&pair, "marking", vms[TRACKED], vms[BARE], false);
	for (unsigned d = 0;
	     d < MARK_DISKS && bench_now() - begun < MARK_NS; d++, disks++) {
		double seconds[2][2] = { { 0 } };
		char export[32];

		snprintf(export, sizeof(export), "web/d%u", d);
		nbd_open(&pair.clients[BARE], socket_of("bare-marking"), export);
		nbd_open(&pair.clients[TRACKED], socket_of("marking"), export);
		for (unsigned s = 0; s < 2 * MARK_SLICES; s++)
			for (unsigned i = 0; i < 2; i++) {
				unsigned who = (i + s) % 2;

				/* By then every region has its mark. */
				seconds[who][s / MARK_SLICES] +=
					slice(&pair.clients[who]);
			}
		close_both(&pair);
		for (unsigned i = 0; i < 2; i++)
			for (unsigned warm = 0; warm < 2; warm++)
				iops[i][warm][d] = MARK_SLICES * MARK_SLICE /
						   seconds[i][warm];
	}
	bench_paired("write path: flush every 8 writes, while regions warm up",
		     iops[TRACKED][0], "IOPS", "plugin, not tracking",
		     iops[BARE][0], disks, ">= 0.85");
	bench_paired("write path: flush every 8 writes, regions warm",
		     iops[TRACKED][1], "IOPS", "plugin, not tracking",
		     iops[BARE][1], disks, ">= 0.95");
	stop(&pair);
}

static void enter(const char *base)
{
	if (base != NULL)
		bench_must(setenv("TMPDIR", base, 1), "setenv");
	tempdir_make(&place);
	bench_must(chdir(place.path), "chdir");
}

static void leave(void)
{
	bench_must(chdir("/"), "chdir");
	tempdir_remove(&place);
}

int main(void)
{
	const char *base = getenv("TMPDIR");
	char kept[TEMPDIR_PATH_MAX];

	signal(SIGPIPE, SIG_IGN);
	if (getenv("HVREPL_BENCH_PLUGIN") == NULL ||
	    getenv("HVREPL_BENCH_BARE") == NULL) {
		fprintf(stderr, "tests/run bench says where the plugins are\n");
		return EXIT_FAILURE;
	}
	snprintf(kept, sizeof(kept), "%s", base != NULL ? base : "/tmp");
	enter(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL);
	steady();
	under_cuts();
	leave();
	enter(kept);
	marks();
	leave();
	return EXIT_SUCCESS;
}
