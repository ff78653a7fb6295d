/* SPDX-License-Identifier: Apache-2.0 */
/* `log create`: what turns one image into another, as a log. */
#include "logfile.h"
#include "print.h"
#include "text.h"

#include <hvrepl/backends.h>
#include <string.h>

static const struct tool_option options[] = {
	{ "from", "OLD", "The image the log starts at (required)" },
	{ "to", "NEW", "The image it makes of it (required)" },
	{ "vm", "ID", "Id of the VM; none by default" },
	{ "disk", "ID", "Id of the disk; none by default" },
	{ "epoch", "ID", "Id of the epoch of ownership; none by default" },
	{ "block", "SIZE", "Compare in blocks of 512 to 64K; 4K by default" },
	{ "level", "N", "zstd level 1 to 19, or 0 to store; 1 by default" },
	{ "force", NULL, "Replace OUT if it is there" },
	{ NULL, NULL, NULL },
};

struct work {
	struct hvrepl_env env;
	struct hvrepl_log_info info;
	struct hvrepl_log_summary summary;
	struct hvrepl_error error;
	int32_t level;
};

static bool read_options(const struct tool_run *run, struct work *work)
{
	uint64_t block = 4096, level = HVREPL_LOG_LEVEL_DEFAULT;

	if (tool_option(run, "from") == NULL || tool_option(run, "to") == NULL) {
		tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			  "'log create' needs --from OLD and --to NEW.");
		return false;
	}
	if (!tool_option_size(run, "block", &block) ||
	    !tool_option_size(run, "level", &level) ||
	    !log_option_uuid(run, "vm", &work->info.vm) ||
	    !log_option_uuid(run, "disk", &work->info.disk) ||
	    !log_option_uuid(run, "epoch", &work->info.epoch))
		return false;
	if (block < 512 || block > 65536 || (block & (block - 1)) != 0) {
		tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			  "--block takes a power of two from 512 to 64K.");
		return false;
	}
	if (level > HVREPL_LOG_LEVEL_MAX) {
		tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			  "--level takes 0 to %d.", HVREPL_LOG_LEVEL_MAX);
		return false;
	}
	work->info.block_size = (uint32_t)block;
	work->info.to_point = 1;
	work->level = (int32_t)level;
	return true;
}

/* Both disks and the sink go to the library, whatever comes of it. */
static int32_t compare(const struct tool_run *run, struct work *work,
		       struct hvrepl_disk *from, struct hvrepl_disk *to,
		       struct log_output *output)
{
	struct hvrepl_log_sink sink = log_output_sink(output);
	struct hvrepl_log_progress progress = HVREPL_LOG_PROGRESS_INIT;
	hvrepl_log_compare *operation = NULL;
	struct tool_progress shown;
	int32_t rc;

	rc = hvrepl_log_compare_create(&work->env, &work->info, work->level,
				       from, to, &sink, &operation,
				       &work->error);
	tool_progress_begin(&shown, "Comparing");
	while (rc == HVREPL_OK && progress.phase != HVREPL_LOG_PHASE_DONE) {
		uint64_t first;

		rc = hvrepl_log_compare_advance(operation, &progress,
						&work->error);
		/* Two passes over the same disk. */
		first = progress.phase == HVREPL_LOG_PHASE_DISK
				? 0 : progress.total;
		if (rc == HVREPL_OK && !run->json)
			tool_progress_update(&shown, first + progress.done,
					     2 * progress.total);
	}
	tool_progress_end(&shown);
	if (rc == HVREPL_OK)
		rc = hvrepl_log_compare_summary(operation, &work->info,
						&work->summary);
	hvrepl_log_compare_destroy(operation);
	if (rc < 0)
		tool_error_reason(&work->error, output->sys_errno);
	return rc;
}

static int print_result(const struct tool_run *run, const struct work *work)
{
	const struct hvrepl_log_summary *summary = &work->summary;
	char cut[LOG_UUID_TEXT], root[LOG_DIGEST_TEXT];
	char data[TOOL_TEXT_MAX], zero[TOOL_TEXT_MAX], length[TOOL_TEXT_MAX];

	log_uuid_text(&work->info.cut, cut);
	log_digest_text(summary->root, root);
	if (run->json)
		return tool_print_json(json_pack(
			"{s:o,s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "file",
			text_json(run->operands[0]), "cut", cut, "root", root, "length",
			(json_int_t)summary->length, "chunks",
			(json_int_t)summary->chunk_count, "data_bytes",
			(json_int_t)summary->data_bytes, "zero_bytes",
			(json_int_t)summary->zero_bytes, "disk_size",
			(json_int_t)work->info.disk_size));
	printf("%s: %s of changed data and %s of zeroes in %s, cut %s.\n",
	       run->operands[0], tool_bytes(summary->data_bytes, data),
	       tool_bytes(summary->zero_bytes, zero),
	       tool_bytes(summary->length, length), cut);
	return TOOL_OK;
}

static int run_create(struct tool_run *run)
{
	struct work work = {
		.env = HVREPL_ENV_INIT,
		.info = HVREPL_LOG_INFO_INIT,
		.summary = HVREPL_LOG_SUMMARY_INIT,
		.error = HVREPL_ERROR_INIT,
	};
	struct hvrepl_disk from = { NULL, NULL, NULL }, to = from;
	struct log_output output;
	int status;
	int32_t rc;

	if (!read_options(run, &work))
		return TOOL_USAGE;
	(void)hvrepl_default_env(&work.env);
	status = log_output_open(run, &output, run->operands[0],
				 tool_option(run, "force") != NULL);
	if (status != TOOL_OK)
		return status;
	rc = hvrepl_file_disk_open(tool_option(run, "from"),
				   HVREPL_FILE_READ_ONLY, &from, &work.error);
	if (rc == HVREPL_OK) {
		rc = hvrepl_file_disk_open(tool_option(run, "to"),
					   HVREPL_FILE_READ_ONLY, &to,
					   &work.error);
		if (rc < 0)
			from.release(from.user);
	}
	if (rc == HVREPL_OK)
		rc = compare(run, &work, &from, &to, &output);
	if (rc < 0)
		status = tool_fail_error(run, &work.error);
	else
		status = log_output_commit(run, &output);
	log_output_close(&output);
	return status == TOOL_OK ? print_result(run, &work) : status;
}

const struct tool_verb tool_verb_log_create = {
	.name = "log create",
	.group = TOOL_GROUP_LOGS,
	.operands = "OUT",
	.summary = "Write what turns one image into another as a log",
	.details = "Both images have the same size and must not change "
		   "meanwhile. The log carries\nthe digests of both, so that it "
		   "applies to OLD and to nothing else.",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run_create,
};
