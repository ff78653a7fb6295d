/* SPDX-License-Identifier: Apache-2.0 */
/* How a failure is said: a sentence for people, an object for scripts. */
#include "tool.h"

#include "text.h"

#include <stdarg.h>
#include <string.h>

const char *tool_class_name(uint32_t error_class)
{
	static const char *const names[] = { "none",	 "caller", "resource",
					     "callback", "peer",   "integrity",
					     "unavailable" };

	if (error_class >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[error_class];
}

int tool_exit_code(int32_t code)
{
	if (code >= 0)
		return TOOL_OK;
	if (code == HVREPL_E_TIMEOUT)
		return TOOL_TIMEOUT;
	/* Nothing is damaged: the operator is to choose. */
	if (code == HVREPL_E_DIVERGED)
		return TOOL_FAILED;
	if (code == HVREPL_E_WRONG_DISK ||
	    hvrepl_error_class(code) == HVREPL_CLASS_INTEGRITY)
		return TOOL_DAMAGED;
	return TOOL_FAILED;
}

int tool_print_json(json_t *value)
{
	if (value == NULL)
		return tool_fail(&(struct tool_run){ .json = true }, TOOL_FAILED,
				 HVREPL_E_NOMEM, "Not enough memory.");
	json_dumpf(value, stdout, JSON_COMPACT);
	fputc('\n', stdout);
	json_decref(value);
	return TOOL_OK;
}

static void say(const struct tool_run *run, int32_t code, const char *sentence)
{
	if (run != NULL && run->json) {
		json_t *value = json_pack(
			"{s:{s:i,s:s,s:s,s:o}}", "error", "code", (int)code,
			"name", hvrepl_error_name(code), "class",
			tool_class_name(hvrepl_error_class(code)), "sentence",
			text_json(sentence));

		if (value != NULL)
			json_dumpf(value, stdout, JSON_COMPACT);
		else
			fputs("{\"error\":{\"code\":-200,\"name\":\"HVREPL_E_NOMEM\",\"class\":\"resource\",\"sentence\":\"Not enough memory.\"}}",
			      stdout);
		fputc('\n', stdout);
		json_decref(value);
		return;
	}
	fflush(stdout);
	fprintf(stderr, "hvrepl: %s\n", sentence);
}

int tool_fail(const struct tool_run *run, int exit_code, int32_t code,
	      const char *format, ...)
{
	char sentence[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	say(run, code, sentence);
	return exit_code;
}

int tool_fail_error(const struct tool_run *run,
		    const struct hvrepl_error *error)
{
	/* Whoever filled it in has put the text of an errno in already. */
	say(run, error->code,
	    error->sentence[0] != 0 ? error->sentence :
				      hvrepl_strerror(error->code));
	return tool_exit_code(error->code);
}

void tool_error_reason(struct hvrepl_error *error, int sys_errno)
{
	size_t length;

	if (sys_errno == 0 || error->sys_errno != 0)
		return;
	if (error->sentence[0] == 0)
		snprintf(error->sentence, sizeof(error->sentence), "%s",
			 hvrepl_strerror(error->code));
	length = strlen(error->sentence);
	snprintf(error->sentence + length, sizeof(error->sentence) - length,
		 ": %s", strerror(sys_errno));
	error->sys_errno = sys_errno;
}
