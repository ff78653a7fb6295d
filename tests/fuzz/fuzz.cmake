# SPDX-License-Identifier: Apache-2.0
# The fuzz targets: replayed in every build, under libFuzzer with HVREPL_FUZZ.
set(fuzz_targets frame segment message manifest tracker_codec zstd handshake
	tracker_file tracker_model store relationship extents primary replica config rules nodes
	verdict story kerberos pattern proof certificate)
# What Check would report ends a fuzz target: see fuzz.c.
set(fuzz_wrap -Wl,--wrap=_ck_assert_failed,--wrap=_mark_point
	# What is under the frames of a proof is the input: see target_proof.c.
	-Wl,--wrap=hvri_tls_receive,--wrap=hvri_tls_send
	-Wl,--wrap=hvri_tls_exporter)

add_library(hvrepl-fuzz STATIC EXCLUDE_FROM_ALL)
file(GLOB sources CONFIGURE_DEPENDS fuzz/target_*.c)
# The simulator without its program: target_story.c tells its stories.
target_sources(hvrepl-fuzz PRIVATE fuzz/fuzz.c fuzz/targets.c ${sources}
	sim/beds.c $<TARGET_OBJECTS:sim-objects>)
target_include_directories(hvrepl-fuzz PUBLIC fuzz)
target_link_libraries(hvrepl-fuzz PUBLIC
	hvrepl-site hvrepl-backends-static hvrepl-testlib)

if(HVREPL_FUZZ)
	# Of the library only: what the beds compare would drown it.
	foreach(under_test hvrepl-objects hvrepl-backends-objects hvrepl-site)
		target_compile_options(${under_test} PRIVATE
			-fsanitize=fuzzer-no-link)
	endforeach()
	add_custom_target(fuzzers)
	foreach(name ${fuzz_targets})
		string(REPLACE _ - target fuzz-${name})
		add_executable(${target} EXCLUDE_FROM_ALL fuzz/libfuzzer.c)
		target_compile_definitions(${target} PRIVATE
			FUZZ_TARGET=fuzz_${name})
		target_link_libraries(${target} PRIVATE hvrepl-fuzz)
		target_link_options(${target} PRIVATE
			-fsanitize=fuzzer ${fuzz_wrap})
		add_dependencies(fuzzers ${target})
	endforeach()
else()
	add_executable(fuzz-corpora fuzz/replay.c)
	target_link_libraries(fuzz-corpora PRIVATE hvrepl-fuzz)
	target_link_options(fuzz-corpora PRIVATE ${fuzz_wrap})
	# A second of damage beside them, where the sanitizers are.
	set(damage 0)
	if(HVREPL_SANITIZE MATCHES "address")
		set(damage 1000)
	endif()
	foreach(name ${fuzz_targets})
		string(REPLACE _ - target ${name})
		add_test(NAME fuzz/${target} COMMAND fuzz-corpora
			${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus ${target}
			--damage ${damage})
		set_tests_properties(fuzz/${target} PROPERTIES
			LABELS "unit" TIMEOUT 300)
	endforeach()
endif()
