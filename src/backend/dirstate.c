/* SPDX-License-Identifier: Apache-2.0 */
/* A directory as state store: each key a checksummed file, replaced whole. */
#include "backend/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <hvrepl/backends/local.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * File of a key: '=' and the key, each '/' as '+'. Little-endian:
 *   0 magic  8 format  12 blob length  16 version  24 key length  28 zero
 *  32 SHA-256 of bytes 0 to 31, key and blob  64 key  then the blob
 */
#define MAGIC "hvrstate"
#define FORMAT 1u
#define HEADER 64u
#define SUM_AT 32u
#define FILE_MAX_SIZE (HEADER + HVREPL_STATE_KEY_MAX + HVREPL_STATE_BLOB_MAX)
#define TEMP_NAME ".put" /* One put at a time. */
#define FLAGS_KNOWN (HVREPL_DIR_CREATE | HVREPL_DIR_READ_ONLY)

struct dir_state {
	pthread_mutex_t mutex;
	int dir_fd, lock_fd;
	bool read_only, poisoned;
	uint8_t file[FILE_MAX_SIZE];
};

typedef char file_name[HVREPL_STATE_KEY_MAX + 2];

static int32_t io_code(int sys_errno)
{
	return hvri_sys_code(sys_errno, HVREPL_E_STATE_IO);
}

static void put_le(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static bool key_is_valid(const char *key)
{
	size_t length = key == NULL ? 0 : strlen(key);

	return length > 0 && length <= HVREPL_STATE_KEY_MAX &&
	       strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789._-/") ==
		       length;
}

static void name_of_key(const char *key, file_name name)
{
	size_t length = strlen(key);

	name[0] = '=';
	for (size_t i = 0; i <= length; i++)
		name[i + 1] = key[i] == '/' ? '+' : key[i];
}

static int32_t checksum(const uint8_t *file, size_t length,
			uint8_t sum_out[32])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	int fine = context != NULL &&
		   EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
		   EVP_DigestUpdate(context, file, SUM_AT) == 1 &&
		   EVP_DigestUpdate(context, file + HEADER,
				    length - HEADER) == 1 &&
		   EVP_DigestFinal_ex(context, sum_out, NULL) == 1;

	EVP_MD_CTX_free(context);
	return fine ? HVREPL_OK : HVREPL_E_NOMEM;
}

struct blob {
	const uint8_t *bytes; /* In state->file. */
	uint32_t length;
	uint64_t version;
};

static int32_t parse(const uint8_t *file, size_t length, const char *key,
		     struct blob *out)
{
	size_t key_length = strlen(key);
	uint8_t sum[32];
	int32_t rc;

	if (length < HEADER || memcmp(file, MAGIC, 8) != 0)
		return HVREPL_E_CORRUPT;
	rc = checksum(file, length, sum);
	if (rc < 0)
		return rc;
	if (memcmp(sum, file + SUM_AT, sizeof(sum)) != 0)
		return HVREPL_E_CORRUPT;
	if (get_le(file + 8, 4) != FORMAT)
		return HVREPL_E_FORMAT_TOO_NEW;
	out->length = (uint32_t)get_le(file + 12, 4);
	out->version = get_le(file + 16, 8);
	out->bytes = file + HEADER + key_length;
	/* A file under another key's name is no answer for this one. */
	if (get_le(file + 24, 4) != key_length || out->version == 0 ||
	    length != HEADER + key_length + out->length ||
	    memcmp(file + HEADER, key, key_length) != 0)
		return HVREPL_E_CORRUPT;
	return HVREPL_OK;
}

/* The file of `key` into state->file. */
static int32_t load(struct dir_state *state, const char *key, struct blob *out)
{
	struct hvrepl_iovec iov = { state->file, 0 };
	file_name name;
	struct stat st;
	int32_t rc;
	int fd;

	name_of_key(key, name);
	fd = openat(state->dir_fd, name,
		    O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return io_code(errno);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		rc = HVREPL_E_STATE_IO;
	} else if ((uint64_t)st.st_size > FILE_MAX_SIZE) {
		rc = HVREPL_E_CORRUPT;
	} else {
		iov.length = (size_t)st.st_size;
		rc = hvri_fd_read(fd, 0, &iov, 1, HVREPL_E_STATE_IO);
		if (rc == HVREPL_OK)
			rc = parse(state->file, iov.length, key, out);
	}
	close(fd);
	return rc;
}

static int32_t state_get(void *user, const char *key, void *buffer,
			 uint32_t *length_inout, uint64_t *version_out)
{
	struct dir_state *state = user;
	struct blob blob = { 0 };
	int32_t rc;

	if (!key_is_valid(key))
		return HVREPL_E_INVALID;
	pthread_mutex_lock(&state->mutex);
	rc = load(state, key, &blob);
	if (rc == HVREPL_OK) {
		uint32_t room = *length_inout;

		*length_inout = blob.length;
		*version_out = blob.version;
		if (blob.length > room)
			rc = HVREPL_E_LIMIT;
		else
			memcpy(buffer, blob.bytes, blob.length);
	} else if (rc == HVREPL_E_NOT_FOUND) {
		*version_out = 0;
	}
	pthread_mutex_unlock(&state->mutex);
	return rc;
}

/* The name under which a flush failed may or may not be there after a power
 * loss, and no later flush tells. */
static int32_t sync_names(struct dir_state *state)
{
	int32_t rc;

	if (fsync(state->dir_fd) == 0)
		return HVREPL_OK;
	rc = io_code(errno);
	state->poisoned = true;
	return rc;
}

static size_t build(struct dir_state *state, const char *key, const void *bytes,
		    uint32_t length, uint64_t version, int32_t *rc_out)
{
	uint8_t *file = state->file;
	size_t key_length = strlen(key), size = HEADER + key_length + length;

	memset(file, 0, HEADER);
	memcpy(file, MAGIC, 8);
	put_le(file + 8, FORMAT, 4);
	put_le(file + 12, length, 4);
	put_le(file + 16, version, 8);
	put_le(file + 24, key_length, 4);
	memcpy(file + HEADER, key, key_length);
	memcpy(file + HEADER + key_length, bytes, length);
	*rc_out = checksum(file, size, file + SUM_AT);
	return size;
}

/* Always a file of our own: one that is there is somebody else's (another name of a
 * file elsewhere, with rights that are not ours), or could not be removed. */
static int make_temp(const struct dir_state *state)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
	int fd = openat(state->dir_fd, TEMP_NAME, flags, 0600);

	if (fd >= 0 || errno != EEXIST ||
	    unlinkat(state->dir_fd, TEMP_NAME, 0) < 0)
		return fd;
	return openat(state->dir_fd, TEMP_NAME, flags, 0600);
}

static int32_t write_temp(struct dir_state *state, size_t size)
{
	struct hvrepl_iovec iov = { state->file, size };
	int fd = make_temp(state);
	int32_t rc;

	if (fd < 0)
		return io_code(errno);
	rc = hvri_fd_write(fd, 0, &iov, 1, HVREPL_E_STATE_IO);
	if (rc == HVREPL_OK && fdatasync(fd) < 0)
		rc = io_code(errno);
	/* Some file systems report a lost write only here. */
	if (close(fd) < 0 && rc == HVREPL_OK)
		rc = io_code(errno);
	return rc;
}

static int32_t replace(struct dir_state *state, const char *key,
		       const void *bytes, uint32_t length, uint64_t version)
{
	file_name name;
	int32_t rc;
	size_t size = build(state, key, bytes, length, version, &rc);

	if (rc == HVREPL_OK)
		rc = write_temp(state, size);
	name_of_key(key, name);
	if (rc == HVREPL_OK &&
	    renameat(state->dir_fd, TEMP_NAME, state->dir_fd, name) < 0)
		rc = io_code(errno);
	if (rc < 0) {
		(void)unlinkat(state->dir_fd, TEMP_NAME, 0);
		return rc;
	}
	return sync_names(state);
}

static int32_t take_away(struct dir_state *state, const char *key)
{
	file_name name;

	name_of_key(key, name);
	if (unlinkat(state->dir_fd, name, 0) < 0)
		return io_code(errno);
	return sync_names(state);
}

static int32_t put_locked(struct dir_state *state, const char *key,
			  const void *blob, uint32_t length, uint64_t expected)
{
	struct blob now = { 0 };
	int32_t rc;

	if (state->read_only)
		return HVREPL_E_READ_ONLY;
	if (state->poisoned)
		return HVREPL_E_POISONED;
	rc = load(state, key, &now);
	if (rc < 0 && rc != HVREPL_E_NOT_FOUND)
		return rc;
	if (now.version != expected || expected == UINT64_MAX)
		return HVREPL_E_BUSY;
	if (length > 0)
		return replace(state, key, blob, length, expected + 1);
	return rc == HVREPL_E_NOT_FOUND ? rc : take_away(state, key);
}

static int32_t state_put(void *user, hvrepl_op *op, const char *key,
			 const void *blob, uint32_t length, uint64_t expected)
{
	struct dir_state *state = user;
	int32_t rc;

	(void)op;
	if (!key_is_valid(key) || length > HVREPL_STATE_BLOB_MAX)
		return HVREPL_E_INVALID;
	pthread_mutex_lock(&state->mutex);
	rc = put_locked(state, key, blob, length, expected);
	pthread_mutex_unlock(&state->mutex);
	return rc;
}

static bool keeps(const char *name, const void *argument)
{
	(void)argument;
	return name[0] == '=' && strlen(name) <= HVREPL_STATE_KEY_MAX + 1;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int32_t state_list(void *user, const char *prefix,
			  int32_t (*found)(void *argument, const char *key),
			  void *argument)
{
	struct dir_state *state = user;
	struct hvri_dir_names names = { 0 };
	int32_t rc = hvri_dir_list(state->dir_fd, keeps, NULL,
				   HVREPL_E_STATE_IO, &names);

	for (size_t i = 0; i < names.count; i++)
		for (char *c = names.names[i]; *c != 0; c++)
			if (*c == '+')
				*c = '/';
	/* '+' and '/' do not sort alike. */
	if (names.count > 1)
		qsort(names.names, names.count, sizeof(char *), compare_keys);
	for (size_t i = 0; i < names.count && rc == HVREPL_OK; i++) {
		const char *key = names.names[i] + 1;

		if (!key_is_valid(key) ||
		    strncmp(key, prefix, strlen(prefix)) != 0)
			continue;
		rc = found(argument, key);
		if (rc > 0)
			rc = HVREPL_OK;
	}
	hvri_dir_names_free(&names);
	return rc;
}

static void state_release(void *user)
{
	struct dir_state *state = user;

	if (state->lock_fd >= 0)
		close(state->lock_fd);
	close(state->dir_fd);
	pthread_mutex_destroy(&state->mutex);
	free(state);
}

static const struct hvrepl_state_ops dir_state_ops = {
	.struct_size = sizeof(dir_state_ops),
	.get = state_get,
	.put = state_put,
	.list = state_list,
};

int32_t hvrepl_dir_state_open(const char *path, uint32_t flags,
			      struct hvrepl_state *state_out,
			      struct hvrepl_error *error)
{
	struct dir_state *state;
	int32_t rc;

	if (path == NULL || state_out == NULL || (flags & ~FLAGS_KNOWN) != 0)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "a path, known flags and state_out are "
				     "needed");
	state = calloc(1, sizeof(*state));
	if (state == NULL)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	state->read_only = (flags & HVREPL_DIR_READ_ONLY) != 0;
	rc = hvri_dir_open(path, (flags & HVREPL_DIR_CREATE) != 0,
			   state->read_only, HVREPL_E_STATE_IO, &state->dir_fd,
			   &state->lock_fd, error);
	if (rc < 0) {
		free(state);
		return rc;
	}
	pthread_mutex_init(&state->mutex, NULL);
	/* Left by a put that a crash cut off before its rename. */
	if (!state->read_only)
		(void)unlinkat(state->dir_fd, TEMP_NAME, 0);
	/* What an earlier process renamed last may not be durable, and this
	 * one is going to act on what it reads. */
	rc = state->read_only ? HVREPL_OK : sync_names(state);
	if (rc < 0) {
		state_release(state);
		return hvri_sys_fail(error, rc, errno,
				     "cannot flush the directory %s: %s", path,
				     strerror(errno));
	}
	state_out->ops = &dir_state_ops;
	state_out->user = state;
	state_out->release = state_release;
	return HVREPL_OK;
}
