/* SPDX-License-Identifier: Apache-2.0 */
/* Single values of a configuration, and the sentence when one is wrong. */
#include "config_values.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void vfail_at(struct loader *loader, int32_t code, int line,
		     const char *format, va_list args)
{
	struct hvrepl_error *error = loader->error;
	const char *base = strrchr(loader->path, '/');
	char text[HVREPL_SENTENCE_MAX];

	if (loader->failed)
		return; /* The first mistake is the one to mend first. */
	loader->failed = true;
	if (error == NULL)
		return;
	vsnprintf(text, sizeof(text), format, args);
	error->code = code;
	error->error_class = hvrepl_error_class(code);
	base = base == NULL ? loader->path : base + 1;
	if (line > 0)
		snprintf(error->sentence, sizeof(error->sentence),
			 "%.64s:%d: %.170s", base, line, text);
	else
		snprintf(error->sentence, sizeof(error->sentence),
			 "%.64s: %.170s", base, text);
}

void config_fail_at(struct loader *loader, int line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfail_at(loader, HVREPL_E_INVALID, line, format, args);
	va_end(args);
}

void config_fail_file(struct loader *loader, int32_t code, const char *format,
		      ...)
{
	va_list args;

	va_start(args, format);
	vfail_at(loader, code, 0, format, args);
	va_end(args);
}

int config_line_of(const struct loader *loader, cfg_t *section,
		   const char *name)
{
	const cfg_opt_t *option = cfg_getopt(section, name);

	for (size_t i = loader->line_count; i-- > 0;)
		if (loader->lines[i].option == option)
			return loader->lines[i].line;
	return 0;
}

static bool scaled(const char *text, const char *const *units,
		   const uint64_t *factors, uint64_t *value_out)
{
	uint64_t value;
	char *rest;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoull(text, &rest, 10);
	if (errno != 0)
		return false;
	for (size_t i = 0; units[i] != NULL; i++)
		if (strcmp(rest, units[i]) == 0)
			return !__builtin_mul_overflow(value, factors[i],
						       value_out);
	return false;
}

void config_duration(struct loader *loader, cfg_t *section,
			 const char *name, uint64_t *ms_out)
{
	static const char *const units[] = { "s", "ms", "m", "h", "", NULL };
	static const uint64_t factors[] = { 1000, 1, 60000, 3600000, 1000 };
	const char *text = cfg_getstr(section, name);

	if (text != NULL && !scaled(text, units, factors, ms_out))
		config_fail_at(loader, config_line_of(loader, section, name),
			"'%s' is not a time. Write for example %s = \"30s\" (ms, s, m or h).",
			text, name);
}

void config_size(struct loader *loader, cfg_t *section, const char *name,
		     uint64_t *bytes_out)
{
	static const char *const units[] = { "", "K", "M", "G", "T", NULL };
	static const uint64_t factors[] = { 1, 1u << 10, 1u << 20,
					    1u << 30, 1ull << 40 };
	const char *text = cfg_getstr(section, name);

	if (text != NULL && !scaled(text, units, factors, bytes_out))
		config_fail_at(loader, config_line_of(loader, section, name),
			"'%s' is not a size. Write for example %s = \"64M\" (K, M, G or T).",
			text, name);
}

long config_int(struct loader *loader, cfg_t *section, const char *name,
		    long low, long high)
{
	long value = cfg_getint(section, name);

	if (value < low || value > high) {
		config_fail_at(loader, config_line_of(loader, section, name),
			"%s = %ld is out of range. Write a number from %ld to %ld.",
			name, value, low, high);
		return low;
	}
	return value;
}

char *config_copy(struct loader *loader, const char *text)
{
	char *result = text == NULL ? NULL : strdup(text);

	if (text != NULL && result == NULL)
		config_fail_file(loader, HVREPL_E_NOMEM, "Not enough memory.");
	return result;
}

/* Paths are relative to the file, so that a site can be moved as a whole. */
char *config_path(struct loader *loader, cfg_t *section, const char *name)
{
	const char *text = cfg_getstr(section, name);
	char *result;

	if (text == NULL || text[0] == '/')
		return config_copy(loader, text);
	if (asprintf(&result, "%s%s", loader->directory, text) < 0) {
		config_fail_file(loader, HVREPL_E_NOMEM, "Not enough memory.");
		return NULL;
	}
	return result;
}

void config_check_name(struct loader *loader, cfg_t *section, const char *kind)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	const char *name = cfg_title(section);
	size_t length = strlen(name);

	if (length == 0 || length > SITE_NAME_MAX ||
	    strspn(name, allowed) != length || name[0] == '.')
		config_fail_at(loader, section->line,
			"'%.64s' cannot name a %s. Use 1 to %d letters, digits, '.', '_' or '-', not '.' first.",
			name, kind, SITE_NAME_MAX);
}

/* Whole, so that it is the very text that the peer proves: no realm to be
 * filled in, nothing to be unescaped. */
static bool is_principal(const char *name)
{
	const char *at = strchr(name, '@');
	size_t length = strlen(name);

	if (at == NULL || at == name || at[1] == 0 || length > HVREPL_PEER_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '\\' ||
		    name[i] == '%' || (name[i] == '@' && name + i != at))
			return false;
	return true;
}

void config_check_peer(struct loader *loader, cfg_t *section, bool principals)
{
	if (!principals)
		config_check_name(loader, section, "peer");
	else if (!is_principal(cfg_title(section)))
		config_fail_at(loader, section->line,
			"'%.64s' is no whole principal. With Kerberos a peer is named as it proves itself: \"hvrepl/HOST@REALM\".",
			cfg_title(section));
}

void *config_array(struct loader *loader, size_t count, size_t size)
{
	void *array = calloc(count + 1, size);

	if (array == NULL)
		config_fail_file(loader, HVREPL_E_NOMEM, "Not enough memory.");
	return array;
}

void config_need(struct loader *loader, cfg_t *section, const char *name,
		 const char *example)
{
	if (cfg_size(section, name) == 0 ||
	    (cfg_getopt(section, name)->type == CFGT_STR &&
	     cfg_getstr(section, name) == NULL))
		config_fail_at(loader, section->line,
			"The section '%s%s%s' that ends here lacks '%s'. Write for example %s = \"%s\".",
			cfg_name(section), cfg_title(section) ? " " : "",
			cfg_title(section) ? cfg_title(section) : "", name,
			name, example);
}
