/* SPDX-License-Identifier: Apache-2.0 */
/* Files that hold logs. */
#include "logfile.h"

#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int32_t output_append(void *user, hvrepl_op *op, const void *bytes,
			     size_t length)
{
	struct log_output *output = user;
	const char *at = bytes;

	(void)op;
	while (length > 0) {
		ssize_t wrote = write(output->fd, at, length);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0) {
			output->sys_errno = wrote < 0 ? errno : EIO;
			return output->sys_errno == ENOSPC ||
					       output->sys_errno == EDQUOT
				       ? HVREPL_E_NO_SPACE
				       : HVREPL_E_STORAGE_IO;
		}
		at += wrote;
		length -= (size_t)wrote;
	}
	return HVREPL_OK;
}

static int32_t output_flush(void *user, hvrepl_op *op)
{
	struct log_output *output = user;

	(void)op;
	if (fsync(output->fd) == 0)
		return HVREPL_OK;
	output->sys_errno = errno;
	return HVREPL_E_STORAGE_IO;
}

struct hvrepl_log_sink log_output_sink(struct log_output *output)
{
	static const struct hvrepl_log_sink_ops ops = {
		.struct_size = sizeof(ops),
		.append = output_append,
		.flush = output_flush,
	};

	return (struct hvrepl_log_sink){ &ops, output, NULL };
}

int log_output_open(const struct tool_run *run, struct log_output *output,
		    const char *path, bool replace)
{
	struct stat st;

	memset(output, 0, sizeof(*output));
	output->fd = -1;
	if (lstat(path, &st) == 0 && (!replace || !S_ISREG(st.st_mode)))
		return tool_fail(run, TOOL_FAILED, HVREPL_E_EXISTS,
				 "'%s' is there already: give another name%s.",
				 path, S_ISREG(st.st_mode) ? ", or --force" :
							     "");
	output->path = strdup(path);
	if (asprintf(&output->part, "%s.part-XXXXXX", path) < 0)
		output->part = NULL;
	if (output->path == NULL || output->part == NULL) {
		log_output_close(output);
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Out of memory.");
	}
	output->fd = mkostemp(output->part, O_CLOEXEC);
	if (output->fd < 0) {
		int reason = errno;

		free(output->part);
		output->part = NULL;
		log_output_close(output);
		return tool_fail(run, TOOL_FAILED, HVREPL_E_STORAGE_IO,
				 "'%s' cannot be made: %s.", path,
				 strerror(reason));
	}
	/* mkstemp is strict; a log is as private as the umask says. */
	{
		mode_t mask = umask(0);

		(void)umask(mask);
		(void)fchmod(output->fd, 0666 & ~mask);
	}
	return TOOL_OK;
}

int log_output_commit(const struct tool_run *run, struct log_output *output)
{
	/* The new name must outlast a crash too. */
	if (rename(output->part, output->path) != 0 ||
	    directory_sync_parent(output->path) != 0)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_STORAGE_IO,
				 "'%s' cannot be given its name: %s.",
				 output->path, strerror(errno));
	free(output->part);
	output->part = NULL;
	return TOOL_OK;
}

void log_output_close(struct log_output *output)
{
	if (output->fd >= 0)
		close(output->fd);
	if (output->part != NULL)
		(void)unlink(output->part);
	free(output->part);
	free(output->path);
	memset(output, 0, sizeof(*output));
	output->fd = -1;
}

static int32_t input_size(void *user, uint64_t *size_out)
{
	struct log_input *input = user;
	struct stat st;

	if (fstat(input->fd, &st) != 0)
		return HVREPL_E_STORAGE_IO;
	*size_out = (uint64_t)st.st_size;
	return HVREPL_OK;
}

static int32_t input_read(void *user, hvrepl_op *op, uint64_t offset,
			  void *buffer, size_t length)
{
	struct log_input *input = user;
	char *at = buffer;

	(void)op;
	while (length > 0) {
		ssize_t got = pread(input->fd, at, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			input->sys_errno = got < 0 ? errno : EIO;
			return HVREPL_E_STORAGE_IO;
		}
		at += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return HVREPL_OK;
}

int log_input_open(const struct tool_run *run, struct log_input *input,
		   const char *path)
{
	struct stat st;

	input->sys_errno = 0;
	input->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (input->fd < 0)
		return tool_fail(run, TOOL_FAILED,
				 errno == ENOENT ? HVREPL_E_NOT_FOUND
						 : HVREPL_E_STORAGE_IO,
				 "'%s' cannot be read: %s.", path,
				 strerror(errno));
	if (fstat(input->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		log_input_close(input);
		return tool_fail(run, TOOL_FAILED, HVREPL_E_INVALID,
				 "'%s' is not a file.", path);
	}
	return TOOL_OK;
}

struct hvrepl_log_source log_input_source(struct log_input *input)
{
	static const struct hvrepl_log_source_ops ops = {
		.struct_size = sizeof(ops),
		.size = input_size,
		.read = input_read,
	};

	return (struct hvrepl_log_source){ &ops, input, NULL };
}

void log_input_close(struct log_input *input)
{
	if (input->fd >= 0)
		close(input->fd);
	input->fd = -1;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool parse_uuid(const char *text, struct hvrepl_uuid *uuid_out)
{
	size_t at = 0;

	for (size_t i = 0; i < 16; i++) {
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) &&
		    text[at++] != '-')
			return false;
		high = hex_digit(text[at]);
		low = high < 0 ? -1 : hex_digit(text[at + 1]);
		if (low < 0)
			return false;
		uuid_out->bytes[i] = (uint8_t)(16 * high + low);
		at += 2;
	}
	return text[at] == 0;
}

bool log_option_uuid(const struct tool_run *run, const char *name,
		     struct hvrepl_uuid *uuid_out)
{
	const char *text = tool_option(run, name);

	memset(uuid_out, 0, sizeof(*uuid_out));
	if (text == NULL || parse_uuid(text, uuid_out))
		return true;
	tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
		  "--%s takes an id such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8, not '%s'.",
		  name, text);
	return false;
}

const char *log_uuid_text(const struct hvrepl_uuid *uuid,
			  char out[LOG_UUID_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = digits[uuid->bytes[i] >> 4];
		out[at++] = digits[uuid->bytes[i] & 15];
	}
	out[at] = 0;
	return out;
}

const char *log_digest_text(const uint8_t *digest, char out[LOG_DIGEST_TEXT])
{
	for (size_t i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return out;
}
