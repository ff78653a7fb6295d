/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a realm with kdc.sh and runs krb5kdc as a child of the test. */
#include "kdc.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SCRIPT HVREPL_TESTS "/lib/kdc.sh"
#define PRINCIPALS_MAX 16

static void must(int fine, const char *what)
{
	if (fine)
		return;
	fprintf(stderr, "the test's KDC: %s failed\n", what);
	exit(1);
}

static pid_t spawn(const char *const *argv, const char *log)
{
	pid_t parent = getpid(), pid = fork();

	must(pid >= 0, "fork");
	if (pid == 0) {
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

		/* It must not outlive a test that was killed. */
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent || fd < 0)
			_exit(1);
		(void)dup2(fd, 1);
		(void)dup2(fd, 2);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return pid;
}

static void run(const struct kdc *kdc, const char *const *argv)
{
	char log[TEMPDIR_PATH_MAX];
	int status;
	pid_t pid = spawn(argv, tempdir_join(&kdc->dir, "run.log", log));

	must(waitpid(pid, &status, 0) == pid && status == 0, argv[0]);
}

void kdc_make(struct kdc *kdc, const char *const *principals)
{
	const char *argv[PRINCIPALS_MAX + 3] = { SCRIPT, kdc->dir.path };

	tempdir_make(&kdc->dir);
	for (unsigned i = 0; principals[i] != NULL; i++) {
		must(i < PRINCIPALS_MAX, "so many principals");
		argv[2 + i] = principals[i];
	}
	run(kdc, argv);
	kdc_use(kdc);
	kdc_start(kdc);
}

void kdc_use(const struct kdc *kdc)
{
	char path[TEMPDIR_PATH_MAX];

	setenv("KRB5_CONFIG", tempdir_join(&kdc->dir, "krb5.conf", path), 1);
	setenv("KRB5_KDC_PROFILE", tempdir_join(&kdc->dir, "kdc.conf", path),
	       1);
}

static int reachable(const char *address, unsigned port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	must(inet_pton(AF_INET, address, &to.sin_addr) == 1, "its address");
	rc = connect(fd, (struct sockaddr *)&to, sizeof(to));
	close(fd);
	return rc == 0;
}

void kdc_start(struct kdc *kdc)
{
	static const char *const argv[] = { "/usr/sbin/krb5kdc", "-r",
					    "HVREPL.TEST", "-n", NULL };
	char path[TEMPDIR_PATH_MAX], address[16];
	FILE *file = fopen(tempdir_join(&kdc->dir, "address", path), "r");
	unsigned port = 0;

	must(file != NULL && fscanf(file, "%15s %u", address, &port) == 2,
	     "its address and port");
	fclose(file);
	kdc->pid = spawn(argv, tempdir_join(&kdc->dir, "run.log", path));
	for (int i = 0; i < 3000 && !reachable(address, port); i++)
		nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
	must(reachable(address, port), "krb5kdc");
}

void kdc_stop(struct kdc *kdc)
{
	if (kdc->pid == 0)
		return;
	kill(kdc->pid, SIGTERM);
	waitpid(kdc->pid, NULL, 0);
	kdc->pid = 0;
}

void kdc_remove(struct kdc *kdc)
{
	kdc_stop(kdc);
	tempdir_remove(&kdc->dir);
}

const char *kdc_keytab(const struct kdc *kdc, const char *name,
		       char path[TEMPDIR_PATH_MAX])
{
	snprintf(path, TEMPDIR_PATH_MAX, "%.400s/%.60s.keytab", kdc->dir.path,
		 name);
	return path;
}

unsigned kdc_logged(const struct kdc *kdc, const char *text)
{
	char path[TEMPDIR_PATH_MAX], line[1024];
	FILE *file = fopen(tempdir_join(&kdc->dir, "kdc.log", path), "r");
	unsigned found = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		found += strstr(line, text) != NULL;
	if (file != NULL)
		fclose(file);
	return found;
}

void kdc_admin(const struct kdc *kdc, const char *command)
{
	const char *const argv[] = { "/usr/sbin/kadmin.local", "-r",
				     "HVREPL.TEST", "-q", command, NULL };

	run(kdc, argv);
}
