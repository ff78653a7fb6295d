/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, clock, entropy, log and jobs through the application's table. */
#include "base/env.h"

#include "base/abi.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_LINE_MAX 512

int32_t hvri_env_copy(struct hvri_env *env_out, const struct hvrepl_env *app,
		      struct hvrepl_error *error)
{
	struct hvri_env env;
	int32_t rc;

	rc = hvri_abi_copy_in(&env.app, sizeof(env.app),
			      HVRI_SIZE_UP_TO(struct hvrepl_env, execute), app);
	if (rc < 0)
		return hvri_fail(error, rc, "the env table is %s",
				 rc == HVREPL_E_TOO_NEW ? "newer than this library" :
							  "missing or too small");
	if (env.app.reserved != 0)
		return hvri_fail(error, HVREPL_E_TOO_NEW,
				 "env.reserved must be zero");
	if (env.app.monotonic_ns == NULL || env.app.utc_ns == NULL ||
	    env.app.random == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "env needs monotonic_ns, utc_ns and random");
	if ((env.app.alloc == NULL) != (env.app.free == NULL))
		return hvri_fail(error, HVREPL_E_INVALID,
				 "env needs both of alloc and free, or neither");
	*env_out = env;
	return HVREPL_OK;
}

static void *alloc_aligned(const struct hvri_env *env, size_t size,
			   size_t alignment)
{
	void *memory;

	if (env->app.alloc != NULL)
		return env->app.alloc(env->app.user, size, alignment);
	if (posix_memalign(&memory, alignment, size) != 0)
		return NULL;
	return memory;
}

void *hvri_alloc_raw(const struct hvri_env *env, size_t size)
{
	return alloc_aligned(env, size, _Alignof(max_align_t));
}

void *hvri_alloc(const struct hvri_env *env, size_t size)
{
	void *memory = hvri_alloc_raw(env, size);

	if (memory != NULL)
		memset(memory, 0, size);
	return memory;
}

void *hvri_alloc_array(const struct hvri_env *env, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes == 0)
		return NULL;
	return hvri_alloc(env, bytes);
}

void *hvri_alloc_io(const struct hvri_env *env, size_t size)
{
	return alloc_aligned(env, size, HVRI_PAGE);
}

void hvri_free(const struct hvri_env *env, void *memory, size_t size)
{
	if (memory == NULL)
		return;
	if (env->app.free != NULL)
		env->app.free(env->app.user, memory, size);
	else
		free(memory);
}

int32_t hvri_grow(const struct hvri_env *env, void **array_inout,
		  size_t *capacity_inout, size_t wanted, size_t max,
		  size_t size)
{
	size_t capacity = *capacity_inout;
	void *larger;

	if (wanted <= capacity)
		return HVREPL_OK;
	if (wanted > max)
		return HVREPL_E_LIMIT;
	while (capacity < wanted)
		capacity = capacity == 0 ? 8 : capacity * 2;
	capacity = HVRI_MIN(capacity, max);
	larger = hvri_alloc_array(env, capacity, size);
	if (larger == NULL)
		return HVREPL_E_NOMEM;
	if (*array_inout != NULL)
		memcpy(larger, *array_inout, *capacity_inout * size);
	hvri_free(env, *array_inout, *capacity_inout * size);
	*array_inout = larger;
	*capacity_inout = capacity;
	return HVREPL_OK;
}

uint64_t hvri_now(const struct hvri_env *env)
{
	return env->app.monotonic_ns(env->app.user);
}

uint64_t hvri_utc(const struct hvri_env *env)
{
	return env->app.utc_ns(env->app.user);
}

int32_t hvri_random(const struct hvri_env *env, void *buffer, size_t length)
{
	if (env->app.random(env->app.user, buffer, length) < 0)
		return HVREPL_E_CALLBACK;
	return HVREPL_OK;
}

void hvri_log(const struct hvri_env *env, uint32_t level, const char *format,
	      ...)
{
	char line[LOG_LINE_MAX];
	va_list args;

	if (env->app.log == NULL)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	env->app.log(env->app.user, level, line);
}

void hvri_execute(const struct hvri_env *env, void (*job)(void *argument),
		  void *argument)
{
	if (env->app.execute == NULL ||
	    env->app.execute(env->app.user, job, argument) < 0)
		job(argument);
}

int32_t hvri_uuid_new(const struct hvri_env *env, struct hvrepl_uuid *uuid_out)
{
	struct hvrepl_uuid uuid;

	HVRI_TRY(hvri_random(env, uuid.bytes, sizeof(uuid.bytes)));
	/* RFC 4122 section 4.4: version 4, variant 10. */
	uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40);
	uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80);
	*uuid_out = uuid;
	return HVREPL_OK;
}

bool hvri_uuid_equal(const struct hvrepl_uuid *a, const struct hvrepl_uuid *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool hvri_uuid_is_none(const struct hvrepl_uuid *uuid)
{
	static const struct hvrepl_uuid none;

	return hvri_uuid_equal(uuid, &none);
}

void hvri_uuid_format(const struct hvrepl_uuid *uuid,
		      char text_out[HVRI_UUID_TEXT])
{
	static const char hex[] = "0123456789abcdef";
	char *to = text_out;

	for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = hex[uuid->bytes[i] >> 4];
		*to++ = hex[uuid->bytes[i] & 15];
	}
	*to = 0;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int32_t hvri_uuid_parse(const char *text, struct hvrepl_uuid *uuid_out)
{
	struct hvrepl_uuid uuid;
	int high, low;

	for (size_t i = 0; i < sizeof(uuid.bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*text++ != '-')
				return HVREPL_E_INVALID;
		high = nibble(*text);
		if (high < 0)
			return HVREPL_E_INVALID;
		low = nibble(*++text);
		if (low < 0)
			return HVREPL_E_INVALID;
		text++;
		uuid.bytes[i] = (uint8_t)(high << 4 | low);
	}
	if (*text != 0)
		return HVREPL_E_INVALID;
	*uuid_out = uuid;
	return HVREPL_OK;
}
