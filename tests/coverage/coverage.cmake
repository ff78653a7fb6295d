# SPDX-License-Identifier: Apache-2.0
# tests/run coverage: the branches of src/ are counted, with HVREPL_COVERAGE. There
# nothing is optimised, or gcc makes one branch of two conditions.
foreach(counted hvrepl-objects hvrepl-backends-objects hvrepl-site hvrepl-toolkit)
	target_compile_options(${counted} PRIVATE
		-O0 --coverage -fprofile-update=atomic)
endforeach()
target_sources(hvrepl-testlib PRIVATE coverage/exit.c)
target_link_options(hvrepl-testlib INTERFACE -Wl,--wrap=_exit,-u,__wrap__exit)
