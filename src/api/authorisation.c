/* SPDX-License-Identifier: Apache-2.0 */
/* The public door of authorisation entries, patterns and trust groups. */
#include "api/guard.h"
#include "base/abi.h"
#include "base/name.h"
#include "driver/node.h"

#include <hvrepl/node.h>
#include <string.h>

int32_t hvrepl_peer_pattern_check(const char *pattern,
				  struct hvrepl_error *error)
{
	if (pattern == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "pattern must not be NULL");
	return hvri_pattern_check(pattern, error);
}

int32_t hvrepl_peer_pattern_matches(const char *pattern, const char *name)
{
	return pattern != NULL && name != NULL &&
	       hvri_pattern_matches(pattern, name);
}

int32_t hvrepl_peer_name_fold(const char *name, char *out)
{
	if (name == NULL || out == NULL || !hvri_name_ok(name))
		return HVREPL_E_INVALID;
	memcpy(out, name, strlen(name) + 1);
	return hvri_name_fold(out);
}

int32_t hvrepl_node_authorise(hvrepl_node *node,
			      const struct hvrepl_authorisation *entry)
{
	int32_t rc;

	if (node == NULL || entry == NULL)
		return HVREPL_E_INVALID;
	HVRI_TRY(hvri_guard_enter(&node->guard,
				  HVRI_FN(hvrepl_node_authorise)));
	rc = hvri_node_authorise(node, entry);
	hvri_guard_leave(&node->guard, HVRI_FN(hvrepl_node_authorise));
	return rc;
}

int32_t hvrepl_node_get_authorisation(hvrepl_node *node, const char *peer,
				      struct hvrepl_authorisation_status *status)
{
	struct hvrepl_authorisation_status full;
	int32_t rc;

	if (node == NULL || peer == NULL || !hvri_abi_sized(status))
		return HVREPL_E_INVALID;
	rc = hvri_node_authorisation(node, peer, &full);
	hvri_abi_copy_out(status, &full, sizeof(full));
	return rc;
}

int32_t hvrepl_vm_set_trust_group(hvrepl_node *node,
				  const struct hvrepl_uuid *vm,
				  const char *trust_group,
				  struct hvrepl_error *error)
{
	int32_t rc;

	if (node == NULL || vm == NULL || trust_group == NULL)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "node, vm and trust_group must not be NULL");
	rc = hvri_guard_enter(&node->guard, HVRI_FN(hvrepl_vm_set_trust_group));
	if (rc < 0)
		return hvri_fail(error, rc, "%s", hvrepl_strerror(rc));
	rc = hvri_vm_set_trust_group(node, vm, trust_group, error);
	hvri_guard_leave(&node->guard, HVRI_FN(hvrepl_vm_set_trust_group));
	return rc;
}
