/* SPDX-License-Identifier: Apache-2.0 */
/* A cut as a log: where the tracker's spool meets the log writer. */
#include <hvrepl/log.h>

#include "base/abi.h"
#include "tracker/cut.h"
#include "transfer/log_writer.h"

static int32_t copy_chunks(hvrepl_cut *cut, uint32_t disk,
			   struct hvrepl_log_writer *writer)
{
	for (uint32_t sequence = 0;; sequence++) {
		const uint8_t *bytes;
		uint32_t length;
		int32_t rc = hvri_cut_chunk(cut, disk, sequence, &bytes,
					    &length);

		if (rc == HVREPL_E_NOT_FOUND)
			return hvri_log_writer_finish(writer, HVRI_DIGEST_NONE,
						      NULL);
		if (rc == HVREPL_PENDING)
			return HVREPL_E_BUSY;
		HVRI_TRY(rc);
		HVRI_TRY(hvri_log_writer_add_chunk(writer, bytes, length));
	}
}

static int32_t write_log(const struct hvri_env *env, hvrepl_cut *cut,
			 uint32_t disk, const struct hvrepl_log_sink *sink,
			 struct hvrepl_log_summary *summary_out,
			 struct hvrepl_error *error)
{
	struct hvrepl_log_writer *writer = NULL;
	struct hvrepl_log_summary summary;
	int32_t rc;

	HVRI_TRY(hvri_log_writer_create(env, hvri_cut_header(cut, disk), 0,
					sink, &writer, error));
	rc = copy_chunks(cut, disk, writer);
	if (rc == HVREPL_OK && summary_out != NULL) {
		hvri_log_writer_summary(writer, &summary);
		hvri_abi_copy_out(summary_out, &summary, sizeof(summary));
	}
	hvri_log_writer_destroy(writer);
	if (rc == HVREPL_E_BUSY)
		return hvri_fail(error, rc,
				 "the cut is still being read: advance it to "
				 "its end first");
	return rc;
}

int32_t hvrepl_log_from_cut(const struct hvrepl_env *env, hvrepl_cut *cut,
			    uint32_t disk, const struct hvrepl_log_sink *sink,
			    struct hvrepl_log_summary *summary_out,
			    struct hvrepl_error *error)
{
	struct hvri_env copy;
	int32_t rc;

	if (sink == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK &&
	    (cut == NULL || hvri_cut_header(cut, disk) == NULL))
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		if (sink->release != NULL)
			sink->release(sink->user);
		return hvri_fail_plain(error, rc);
	}
	rc = write_log(&copy, cut, disk, sink, summary_out, error);
	return rc < 0 ? hvri_fail_plain(error, rc) : HVREPL_OK;
}
