/* SPDX-License-Identifier: Apache-2.0 */
/* `log apply`: logs onto an image, checked first, repeatable after a crash. */
#include "logfile.h"
#include "print.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <hvrepl/backends.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD "apply"

static const struct tool_option options[] = {
	{ "to", "DISK", "The image or block device to change (required)" },
	{ "record", "DIR", "Where an apply under way is recorded; DISK.apply" },
	{ "any-base", NULL, "Accept a log that does not say what it starts at" },
	{ NULL, NULL, NULL },
};

struct work {
	struct hvrepl_env env;
	struct hvrepl_error error;
	struct hvrepl_log_progress progress;
	struct log_input *inputs;
	hvrepl_log_reader **readers;
	uint32_t count;
	char *record; /* Directory; NULL: none. */
};

/* Where the record lies: beside the disk, unless that is a device, whose
 * directory does not outlast a reboot. */
static int choose_record(const struct tool_run *run, struct work *work,
			 const char *disk)
{
	const char *given = tool_option(run, "record");
	struct stat st;

	if (given == NULL && stat(disk, &st) == 0 && !S_ISREG(st.st_mode))
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "'%s' is a device: say with --record DIR where the apply is recorded.",
				 disk);
	if (given != NULL)
		work->record = strdup(given);
	else if (asprintf(&work->record, "%s.apply", disk) < 0)
		work->record = NULL;
	if (work->record == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Out of memory.");
	return TOOL_OK;
}

static int open_logs(const struct tool_run *run, struct work *work)
{
	uint32_t count = (uint32_t)run->operand_count;

	work->inputs = calloc(count, sizeof(*work->inputs));
	work->readers = calloc(count, sizeof(*work->readers));
	if (work->inputs == NULL || work->readers == NULL)
		return tool_fail(run, TOOL_FAILED, HVREPL_E_NOMEM,
				 "Out of memory.");
	for (uint32_t i = 0; i < count; i++) {
		struct hvrepl_log_source source;
		int status = log_input_open(run, &work->inputs[i],
					    run->operands[i]);

		if (status != TOOL_OK)
			return status;
		work->count = i + 1;
		source = log_input_source(&work->inputs[i]);
		if (hvrepl_log_reader_open(&work->env, &source,
					   &work->readers[i],
					   &work->error) < 0)
			return tool_fail(run,
					 tool_exit_code(work->error.code),
					 work->error.code, "%s: %s",
					 run->operands[i],
					 work->error.sentence);
	}
	return TOOL_OK;
}

/* A chain may have more files than a shell lets a program open. */
static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static const char *phase_name(uint32_t phase)
{
	if (phase == HVREPL_LOG_PHASE_LOGS)
		return "Checking logs";
	return phase == HVREPL_LOG_PHASE_DISK ? "Checking disk" : "Applying";
}

static int32_t advance_all(const struct tool_run *run, struct work *work,
			   hvrepl_log_apply *apply)
{
	struct tool_progress shown;
	uint32_t phase = 0;
	int32_t rc = HVREPL_OK;

	tool_progress_begin(&shown, "");
	while (rc == HVREPL_OK &&
	       work->progress.phase != HVREPL_LOG_PHASE_DONE) {
		rc = hvrepl_log_apply_advance(apply, &work->progress,
					      &work->error);
		if (rc < 0 || run->json)
			continue;
		if (work->progress.phase != phase) {
			tool_progress_end(&shown);
			phase = work->progress.phase;
			tool_progress_begin(&shown, phase_name(phase));
		}
		tool_progress_update(&shown, work->progress.done,
				     work->progress.total);
	}
	tool_progress_end(&shown);
	return rc;
}

static int32_t apply_all(const struct tool_run *run, struct work *work,
			 const char *disk)
{
	struct hvrepl_log_apply_config config = HVREPL_LOG_APPLY_CONFIG_INIT;
	hvrepl_log_apply *apply = NULL;
	int32_t rc;

	rc = hvrepl_file_disk_open(disk, 0, &config.disk, &work->error);
	if (rc < 0)
		return rc;
	rc = hvrepl_dir_storage_open(work->record, HVREPL_DIR_CREATE,
				     &config.storage, &work->error);
	if (rc < 0) {
		config.disk.release(config.disk.user);
		return rc;
	}
	config.flags = tool_option(run, "any-base") != NULL
			       ? HVREPL_LOG_APPLY_ANY_BASE : 0;
	config.readers = work->readers;
	config.reader_count = work->count;
	config.record_id = RECORD;
	rc = hvrepl_log_apply_create(&work->env, &config, &apply,
				     &work->error);
	if (rc == HVREPL_OK)
		rc = advance_all(run, work, apply);
	hvrepl_log_apply_destroy(apply);
	return rc;
}

/* The directory goes with the record; what else lies in it stays. */
static void drop_record(const struct work *work)
{
	int fd = open(work->record, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (faccessat(fd, RECORD, F_OK, 0) != 0 && errno == ENOENT) {
		(void)unlinkat(fd, ".lock", 0);
		(void)rmdir(work->record);
	}
	close(fd);
}

static int print_result(const struct tool_run *run, const struct work *work,
			const char *disk)
{
	static const char *const names[] = { "", "applied", "completed",
					     "already-there" };
	uint32_t how = work->progress.outcome;
	char written[TOOL_TEXT_MAX];

	if (run->json)
		return tool_print_json(json_pack(
			"{s:o,s:s,s:i,s:I}", "disk", text_json(disk), "outcome",
			names[how], "logs", (int)work->count, "written",
			(json_int_t)work->progress.written));
	tool_bytes(work->progress.written, written);
	if (how == HVREPL_LOG_APPLY_ALREADY)
		printf("%s: already there, nothing written.\n", disk);
	else
		printf("%s: %s, %s written.\n", disk,
		       how == HVREPL_LOG_APPLY_RESUMED
			       ? "the interrupted apply is completed"
			       : "applied",
		       written);
	return TOOL_OK;
}

static int run_apply(struct tool_run *run)
{
	struct work work = {
		.env = HVREPL_ENV_INIT,
		.error = HVREPL_ERROR_INIT,
		.progress = HVREPL_LOG_PROGRESS_INIT,
	};
	const char *disk = tool_option(run, "to");
	int status;

	if (disk == NULL)
		return tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
				 "'log apply' needs --to DISK.");
	allow_files();
	(void)hvrepl_default_env(&work.env);
	status = choose_record(run, &work, disk);
	if (status == TOOL_OK)
		status = open_logs(run, &work);
	if (status == TOOL_OK) {
		if (apply_all(run, &work, disk) < 0)
			status = tool_fail_error(run, &work.error);
		drop_record(&work);
	}
	for (uint32_t i = 0; i < work.count; i++) {
		hvrepl_log_reader_destroy(work.readers[i]);
		log_input_close(&work.inputs[i]);
	}
	free(work.inputs);
	free(work.readers);
	free(work.record);
	return status == TOOL_OK ? print_result(run, &work, disk) : status;
}

const struct tool_verb tool_verb_log_apply = {
	.name = "log apply",
	.group = TOOL_GROUP_LOGS,
	.operands = "FILE...",
	.summary = "Apply logs to an image",
	.details = "Several logs form a chain, oldest first. All of it is "
		   "checked before the first\nwrite, and an image that is not "
		   "what the first log starts at is not touched.\nAfter a crash "
		   "the same command completes what was begun.",
	.options = options,
	.operands_min = 1,
	.operands_max = -1,
	.run = run_apply,
};
