/* SPDX-License-Identifier: Apache-2.0 */
/* Names and Microsoft's two numberings of states. */
#include "replication/names.h"

#include "testing.h"

#include <string.h>

/* From the documentation of WMI and of PowerShell, not from our table. */
static const struct {
	const char *name;
	uint32_t wmi, powershell;
} documented[] = {
	{ "Disabled", 0, 0 },
	{ "ReadyForInitialReplication", 1, 1 },
	{ "InitialReplicationInProgress", 2, 2 },
	{ "WaitingForInitialReplication", 2, 3 },
	{ "Replicating", 3, 4 },
	{ "PreparedForFailover", 4, 5 },
	{ "FailedOverWaitingCompletion", 5, 6 },
	{ "FailedOver", 6, 7 },
	{ "Suspended", 7, 8 },
	{ "Error", 8, 9 },
	{ "WaitingForStartResynchronize", 9, 10 },
	{ "Resynchronizing", 10, 11 },
	{ "ResynchronizeSuspended", 11, 12 },
	{ "RecoveryInProgress", 12, 13 },
	{ "FailbackInProgress", 13, 14 },
	{ "FailbackComplete", 14, 15 },
	{ "WaitingForUpdateCompletion", 15, 16 },
	{ "UpdateError", 16, 17 },
	{ "WaitingForRepurposeCompletion", 18, 18 },
	{ "PreparedForSyncReplication", 19, 19 },
	{ "PreparedForGroupReverseReplication", 20, 20 },
	{ "FiredrillInProgress", 21, 21 },
};

START_TEST(states_have_both_of_microsofts_numbers)
{
	ck_assert_uint_eq(sizeof(documented) / sizeof(documented[0]),
			  HVREPL_STATE_COUNT);
	for (uint32_t i = 0; i < HVREPL_STATE_COUNT; i++) {
		uint32_t state = hvri_state_parse(documented[i].name);

		ck_assert_uint_lt(state, HVREPL_STATE_COUNT);
		ck_assert_str_eq(hvri_state_name(state), documented[i].name);
		ck_assert_uint_eq(hvri_state_to_wmi(state), documented[i].wmi);
		ck_assert_uint_eq(hvri_state_to_powershell(state),
				  documented[i].powershell);
	}
}
END_TEST

START_TEST(numbers_lead_back_to_their_state)
{
	for (uint32_t i = 0; i < HVREPL_STATE_COUNT; i++) {
		uint32_t mode = i == HVREPL_STATE_INITIAL_IN_PROGRESS ?
					HVREPL_MODE_PRIMARY :
					HVREPL_MODE_REPLICA;

		ck_assert_uint_eq(hvri_state_from_powershell(
					  hvri_state_to_powershell(i)),
				  i);
		ck_assert_uint_eq(hvri_state_from_wmi(hvri_state_to_wmi(i),
						      mode),
				  i);
	}
	ck_assert_uint_eq(hvri_state_from_wmi(17, 1), UINT32_MAX);
	ck_assert_uint_eq(hvri_state_from_powershell(22), UINT32_MAX);
	ck_assert_uint_eq(hvri_state_to_wmi(HVREPL_STATE_COUNT), 17);
	ck_assert_uint_eq(hvri_state_to_powershell(99), UINT32_MAX);
}
END_TEST

START_TEST(every_value_has_a_name_of_its_own)
{
	for (uint32_t i = 1; i < HVREPL_OPERATION_COUNT; i++) {
		ck_assert_str_ne(hvri_operation_name(i), "?");
		ck_assert_uint_eq(hvri_operation_parse(hvri_operation_name(i)),
				  i);
	}
	for (uint32_t i = 0; i < HVREPL_REASON_COUNT; i++)
		for (uint32_t k = 0; k < i; k++)
			ck_assert_str_ne(hvri_reason_name(1u << i),
					 hvri_reason_name(1u << k));
	for (uint32_t i = 0; i < HVREPL_MODE_COUNT; i++)
		ck_assert_str_ne(hvri_mode_name(i), "?");
	for (uint32_t i = 0; i < HVREPL_OWNERSHIP_COUNT; i++)
		ck_assert_str_ne(hvri_ownership_name(i), "?");
	for (uint32_t i = 0; i <= HVREPL_OUTCOME_REFUSED; i++)
		ck_assert_str_ne(hvri_outcome_name(i), "?");
	for (uint32_t i = 0; i <= HVREPL_HEALTH_CRITICAL; i++)
		ck_assert_str_ne(hvri_health_name(i), "?");
	ck_assert_str_eq(hvri_operation_name(0), "?");
	ck_assert_str_eq(hvri_state_name(HVREPL_STATE_COUNT), "?");
	ck_assert_str_eq(hvri_reason_name(3), "?");
	ck_assert_uint_eq(hvri_operation_parse("failover"), UINT32_MAX);
	ck_assert_uint_eq(hvri_state_parse(""), UINT32_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("names");
	TCase *tc = tcase_create("names");

	tcase_add_test(tc, states_have_both_of_microsofts_numbers);
	tcase_add_test(tc, numbers_lead_back_to_their_state);
	tcase_add_test(tc, every_value_has_a_name_of_its_own);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
