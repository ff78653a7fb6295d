/* SPDX-License-Identifier: Apache-2.0 */
/* The backends with the n-th allocation failing, for every n. */
#define _GNU_SOURCE
#include "kdc.h"
#include "tlsrig.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* Linked with --wrap: what the backends allocate comes here. So does what
 * Check allocates: no assertion while fail_at is set. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);

/* Allocations that still succeed; -1: all. Kerberos has threads of its own. */
static atomic_long fail_at = -1;
static atomic_uint failures;
static struct kdc kdc;

static bool fails(void)
{
	if (fail_at < 0 || atomic_fetch_sub(&fail_at, 1) > 0)
		return false;
	failures++;
	errno = ENOMEM; /* As the real ones. */
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return fails() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
	char *copy = __wrap_malloc(strlen(text) + 1);

	return copy == NULL ? NULL : strcpy(copy, text);
}

/* Repeat until nothing failed any more; says how often something did. */
static unsigned each_allocation(int32_t (*scenario)(void))
{
	for (unsigned n = 0;; n++) {
		int32_t rc;

		ck_assert_uint_lt(n, 1000);
		fail_at = (long)n;
		failures = 0;
		rc = scenario();
		fail_at = -1;
		if (failures == 0) {
			ck_assert_int_eq(rc, HVREPL_OK);
			return n;
		}
		ck_assert_msg(rc == HVREPL_E_NOMEM, "allocation %u: %s", n,
			      hvrepl_error_name(rc));
	}
}

static char path[TEMPDIR_PATH_MAX];

static int32_t use_disk(void)
{
	struct hvrepl_disk disk;
	int32_t rc = hvrepl_file_disk_open(path, 0, &disk, NULL);

	if (rc == HVREPL_OK)
		disk.release(disk.user);
	return rc;
}

START_TEST(a_disk_that_cannot_be_opened_leaves_nothing_locked)
{
	tempdir_join(&dir, "disk", path);
	ck_assert_int_eq(hvrepl_file_disk_create(path, 512, NULL), HVREPL_OK);
	ck_assert_uint_ge(each_allocation(use_disk), 1);
}
END_TEST

static int32_t count_one(void *argument, const char *id, uint64_t size)
{
	(void)id, (void)size;
	++*(unsigned *)argument;
	return HVREPL_OK;
}

static int32_t use_storage(void)
{
	struct hvrepl_storage storage;
	unsigned count = 0;
	void *object;
	int32_t rc = hvrepl_dir_storage_open(path, HVREPL_DIR_CREATE, &storage,
					     NULL);

	if (rc < 0)
		return rc;
	rc = storage.ops->open(storage.user, "one", HVREPL_OBJECT_CREATE,
			       &object);
	if (rc == HVREPL_E_EXISTS)
		rc = storage.ops->open(storage.user, "one", 0, &object);
	if (rc == HVREPL_OK) {
		storage.ops->close(storage.user, object);
		rc = storage.ops->list(storage.user, "", count_one, &count);
		if (rc == HVREPL_OK && count != 1)
			rc = HVREPL_E_CORRUPT;
	}
	storage.release(storage.user);
	return rc;
}

START_TEST(storage_stays_whole_without_memory)
{
	tempdir_join(&dir, "store", path);
	ck_assert_uint_ge(each_allocation(use_storage), 4);
}
END_TEST

static int32_t count_key(void *argument, const char *key)
{
	(void)key;
	++*(unsigned *)argument;
	return HVREPL_OK;
}

static int32_t use_state(void)
{
	struct hvrepl_state state;
	uint64_t version = 0;
	uint32_t length = 8;
	unsigned count = 0;
	char buffer[8];
	int32_t rc = hvrepl_dir_state_open(path, HVREPL_DIR_CREATE, &state,
					   NULL);

	if (rc < 0)
		return rc;
	rc = state.ops->get(state.user, "key", buffer, &length, &version);
	if (rc == HVREPL_OK || rc == HVREPL_E_NOT_FOUND)
		rc = state.ops->put(state.user, NULL, "key", "value", 5,
				    version);
	if (rc == HVREPL_OK)
		rc = state.ops->list(state.user, "", count_key, &count);
	state.release(state.user);
	return rc;
}

START_TEST(state_stays_whole_without_memory)
{
	tempdir_join(&dir, "state", path);
	ck_assert_uint_ge(each_allocation(use_state), 3);
}
END_TEST

static void nothing(void *argument)
{
	(void)argument;
}

static int32_t use_pool_and_loop(void)
{
	hvrepl_loop_timer *timer;
	hvrepl_loop *own = NULL;
	hvrepl_pool *pool = NULL;
	int32_t rc = hvrepl_pool_create(1, &pool, NULL);

	if (rc == HVREPL_OK)
		rc = hvrepl_loop_create(&own, NULL);
	if (rc == HVREPL_OK)
		rc = hvrepl_loop_post(own, nothing, NULL);
	if (rc == HVREPL_OK)
		rc = hvrepl_loop_timer_create(own, nothing, NULL, &timer);
	hvrepl_loop_destroy(own);
	hvrepl_pool_destroy(pool);
	return rc;
}

START_TEST(pool_and_loop_say_that_there_is_no_memory)
{
	ck_assert_uint_ge(each_allocation(use_pool_and_loop), 4);
}
END_TEST

static int32_t use_memory_pair(void)
{
	struct hvrepl_memory_pair_options options =
		HVREPL_MEMORY_PAIR_OPTIONS_INIT;
	struct hvrepl_iovec iov = { path, 100 };
	struct hvrepl_channel ends[2];
	int32_t rc;

	options.names[0] = "a";
	options.names[1] = "b";
	rc = hvrepl_memory_pair_create(&options, ends, NULL);
	if (rc < 0)
		return rc;
	rc = ends[0].ops->send(ends[0].user, (hvrepl_op *)&iov, &iov, 1);
	ends[0].release(ends[0].user);
	ends[1].release(ends[1].user);
	return rc;
}

START_TEST(a_memory_pair_breaks_rather_than_losing_bytes)
{
	ck_assert_uint_ge(each_allocation(use_memory_pair), 2);
}
END_TEST

static const char *list_file;

static int32_t use_credentials(void)
{
	static const struct hvrepl_tls_pin pin = {
		"replica.test",
		"sha256:000102030405060708090a0b0c0d0e0f"
		"101112131415161718191a1b1c1d1e1f",
		"sha256:100102030405060708090a0b0c0d0e0f"
		"101112131415161718191a1b1c1d1e1f",
	};
	struct hvrepl_tls_options options = HVREPL_TLS_OPTIONS_INIT;
	hvrepl_tls *tls = NULL;
	int32_t rc;

	options.ca_file = primary_options.ca_file;
	options.cert_file = primary_options.cert_file;
	options.key_file = primary_options.key_file;
	options.crl = list_file;
	options.pins = &pin;
	options.pin_count = 1;
	rc = hvrepl_tls_create(&options, &tls, NULL);
	hvrepl_tls_destroy(tls);
	return rc;
}

START_TEST(credentials_are_whole_or_refused)
{
	char file[TEMPDIR_PATH_MAX];

	pki_list(ca, &dir, "list.crl", NULL, 0, -60, 3600);
	list_file = tempdir_join(&dir, "list.crl", file);
	ck_assert_uint_ge(each_allocation(use_credentials), 8);
}
END_TEST

/* Not one list of a directory is left out: its revocations would be, too. */
START_TEST(a_directory_of_lists_is_read_whole_or_refused)
{
	char file[TEMPDIR_PATH_MAX];

	list_file = tempdir_join(&dir, "lists", file);
	ck_assert_int_eq(mkdir(list_file, 0700), 0);
	pki_list(ca, &dir, "lists/one.crl", NULL, 0, -60, 3600);
	pki_list(ca, &dir, "lists/two.crl", NULL, 0, -60, 3600);
	ck_assert_uint_ge(each_allocation(use_credentials), 10);
}
END_TEST

/* Refused, and what is used now stays; or taken. */
START_TEST(a_reload_is_whole_or_changes_nothing)
{
	struct hvrepl_tls_info info = HVREPL_TLS_INFO_INIT;
	uint64_t reads = 1;
	unsigned refused = 0;

	join_sides();
	for (unsigned n = 0; n == 0 || failures > 0; n++) {
		int32_t rc;

		ck_assert_uint_lt(n, 1000);
		fail_at = (long)n;
		failures = 0;
		rc = hvrepl_tls_reload(replica, NULL);
		fail_at = -1;
		ck_assert(rc == HVREPL_OK || rc == HVREPL_E_NOMEM);
		ck_assert(rc == HVREPL_OK || failures > 0);
		refused += rc < 0;
		reads += rc == HVREPL_OK;
		ck_assert_int_eq(hvrepl_tls_get_info(replica, &info),
				 HVREPL_OK);
		ck_assert_uint_eq(info.reads, reads);
	}
	ck_assert_uint_ge(refused, 3);
}
END_TEST

/* A listener, an attempt and both handshakes: whatever fails, both ends are
 * told and nothing hangs. The caller of listen or connect, or the attempt's
 * result, says which. */
static void each_attempt(const char *peer)
{
	unsigned failed = 0, n = 0;

	do {
		struct hvrepl_tls_listen listen = HVREPL_TLS_LISTEN_INIT;
		struct hvrepl_tls_connect connect = HVREPL_TLS_CONNECT_INIT;
		int32_t rc;

		ck_assert_uint_lt(n, 1000);
		memset(&client, 0, sizeof(client));
		memset(&server, 0, sizeof(server));
		listen.address = "127.0.0.1";
		listen.accepted = on_accepted;
		fail_at = (long)n++;
		failures = 0;
		rc = hvrepl_tls_listen(loop, replica, &listen, &listener, NULL);
		if (rc == HVREPL_OK) {
			connect.host = "127.0.0.1";
			connect.port = hvrepl_listener_port(listener);
			connect.peer = peer;
			connect.done = on_done;
			rc = hvrepl_tls_connect(loop, primary, &connect, NULL);
		}
		if (rc == HVREPL_OK) {
			/* The server may settle first; then the client. */
			while (client.settled == 0) {
				awaited = 1;
				(void)hvrepl_loop_run(loop);
			}
			rc = client.code;
		}
		fail_at = -1;
		ck_assert_uint_le(client.settled, 1);
		ck_assert((rc == HVREPL_OK) == (client.channel.ops != NULL));
		failed += rc < 0;
		if (failures == 0)
			ck_assert_int_eq(rc, HVREPL_OK);
		if (client.channel.ops != NULL)
			client.channel.release(client.channel.user);
		if (server.channel.ops != NULL)
			server.channel.release(server.channel.user);
		hvrepl_listener_close(listener);
		listener = NULL;
		memset(&client, 0, sizeof(client));
		memset(&server, 0, sizeof(server));
	} while (failures > 0);
	ck_assert_uint_ge(failed, 8);
}

START_TEST(every_attempt_ends_without_memory_too)
{
	each_attempt("replica.test");
}
END_TEST

static int32_t make_kerberos(const char *name, hvrepl_tls **tls_out)
{
	struct hvrepl_kerberos_options options = HVREPL_KERBEROS_OPTIONS_INIT;
	char keytab[TEMPDIR_PATH_MAX], principal[80];

	snprintf(principal, sizeof(principal), "hvrepl/%s", name);
	options.keytab = kdc_keytab(&kdc, name, keytab);
	options.principal = principal;
	return hvrepl_kerberos_create(&options, tls_out, NULL);
}

static int32_t use_kerberos(void)
{
	hvrepl_tls *tls = NULL;
	int32_t rc = make_kerberos("east.test", &tls);

	hvrepl_tls_destroy(tls);
	return rc;
}

START_TEST(kerberos_ends_without_memory_too)
{
	ck_assert_uint_ge(each_allocation(use_kerberos), 4);
	hvrepl_tls_destroy(primary);
	hvrepl_tls_destroy(replica);
	ck_assert_int_eq(make_kerberos("east.test", &primary), HVREPL_OK);
	ck_assert_int_eq(make_kerberos("west.test", &replica), HVREPL_OK);
	each_attempt("hvrepl/west.test");
}
END_TEST

int main(void)
{
	static const char *const principals[] = { "hvrepl/east.test",
						  "hvrepl/west.test", NULL };
	Suite *suite = suite_create("backends without memory");
	TCase *tc = tcase_create("n-th allocation");
	int status;

	setenv("KDC_CLOCKSKEW", "60", 1);
	kdc_make(&kdc, principals);

	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_disk_that_cannot_be_opened_leaves_nothing_locked);
	tcase_add_test(tc, storage_stays_whole_without_memory);
	tcase_add_test(tc, state_stays_whole_without_memory);
	tcase_add_test(tc, pool_and_loop_say_that_there_is_no_memory);
	tcase_add_test(tc, a_memory_pair_breaks_rather_than_losing_bytes);
	tcase_add_test(tc, credentials_are_whole_or_refused);
	tcase_add_test(tc, a_directory_of_lists_is_read_whole_or_refused);
	tcase_add_test(tc, a_reload_is_whole_or_changes_nothing);
	tcase_add_test(tc, every_attempt_ends_without_memory_too);
	tcase_add_test(tc, kerberos_ends_without_memory_too);
	suite_add_tcase(suite, tc);
	status = test_run(suite);
	kdc_remove(&kdc);
	return status;
}
