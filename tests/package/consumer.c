/* SPDX-License-Identifier: Apache-2.0 */
/* A program outside the tree that uses the installed library and backends. */
#include <hvrepl/backends.h>
#include <hvrepl/hvrepl.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct hvrepl_env env = HVREPL_ENV_INIT;
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct hvrepl_storage storage;
	int32_t rc;

	if (argc != 2 || hvrepl_version() != HVREPL_VERSION_NUMBER)
		return 1;
	rc = hvrepl_default_env(&env);
	if (rc < 0 || env.monotonic_ns(env.user) == 0)
		return 1;
	rc = hvrepl_dir_storage_open(argv[1], HVREPL_DIR_CREATE, &storage,
				     &error);
	if (rc < 0) {
		fprintf(stderr, "%s\n", error.sentence);
		return 1;
	}
	storage.release(storage.user);
	printf("%s\n", hvrepl_version_string());
	return 0;
}
