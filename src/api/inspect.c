/* SPDX-License-Identifier: Apache-2.0 */
/* The public function that describes files. */
#include <hvrepl/inspect.h>

#include "base/abi.h"
#include "transfer/inspect.h"

int32_t hvrepl_inspect(const struct hvrepl_env *env,
		       const struct hvrepl_log_source *source, uint32_t flags,
		       const struct hvrepl_visitor *visitor,
		       struct hvrepl_error *error)
{
	struct hvrepl_visitor mine;
	struct hvri_env copy;
	int32_t rc;

	if (source == NULL)
		return hvri_fail_plain(error, HVREPL_E_INVALID);
	rc = hvri_env_copy(&copy, env, error);
	if (rc == HVREPL_OK)
		rc = hvri_abi_copy_in(&mine, sizeof(mine),
				      HVRI_SIZE_UP_TO(struct hvrepl_visitor,
						      value),
				      visitor);
	if (rc == HVREPL_OK && (mine.reserved != 0 ||
				(flags & ~HVREPL_INSPECT_DETAILS) != 0))
		rc = HVREPL_E_TOO_NEW;
	if (rc == HVREPL_OK && (mine.begin == NULL || mine.end == NULL ||
				mine.value == NULL))
		rc = HVREPL_E_INVALID;
	if (rc < 0) {
		if (source->release != NULL)
			source->release(source->user);
		return hvri_fail_plain(error, rc);
	}
	return hvri_inspect(&copy, source, flags, &mine, error);
}
