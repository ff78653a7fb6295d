# SPDX-License-Identifier: Apache-2.0
# The library with bugs that can be switched on (base/plant.h), for the tests that must
# find them; built for nothing else. Only what the switches are in is compiled again.

# Headers with a switch, or that bring one along.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*.h)
set(plant_pattern "HVRI_PLANT|HVRI_YIELD|HVREPL_PLANT")
set(before)
while(NOT before STREQUAL plant_pattern)
	set(before "${plant_pattern}")
	foreach(header ${headers})
		file(STRINGS ${header} found REGEX "${plant_pattern}")
		file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR}/src ${header})
		string(REPLACE "." "\\." name "#include \"${name}\"")
		string(FIND "${plant_pattern}" "${name}" known)
		if(found AND known EQUAL -1)
			string(APPEND plant_pattern "|${name}")
		endif()
	endforeach()
endwhile()

# planted_among(OUT SOURCE...): those that HVREPL_PLANT makes another object of.
function(planted_among out)
	set(planted)
	foreach(source ${ARGN})
		file(STRINGS ${source} found REGEX "${plant_pattern}")
		if(found)
			list(APPEND planted ${source})
		endif()
	endforeach()
	set(${out} ${planted} PARENT_SCOPE)
endfunction()

get_target_property(sources hvrepl-objects SOURCES)
planted_among(planted ${sources})
list(TRANSFORM planted REPLACE ".*/([^/]+/[^/]+)$" "/\\1" OUTPUT_VARIABLE objects)
string(REPLACE "." "\\." objects "${objects}")
string(REPLACE ";" "|" objects "${objects}")
add_library(hvrepl-planted STATIC EXCLUDE_FROM_ALL ${planted} lib/planted/plant.c
	"$<FILTER:$<TARGET_OBJECTS:hvrepl-objects>,EXCLUDE,(${objects})\\.o$>")
target_compile_definitions(hvrepl-planted PRIVATE HVREPL_BUILDING
	PUBLIC HVREPL_PLANT)
target_include_directories(hvrepl-planted PUBLIC
	${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(hvrepl-planted PUBLIC
	PkgConfig::ZSTD PkgConfig::CRYPTO PkgConfig::XXHASH Threads::Threads)
add_library(hvrepl-planted-testlib STATIC EXCLUDE_FROM_ALL
	$<TARGET_OBJECTS:hvrepl-testlib-objects>)
set_target_properties(hvrepl-planted-testlib PROPERTIES LINKER_LANGUAGE C)
target_include_directories(hvrepl-planted-testlib PUBLIC
	${CMAKE_CURRENT_SOURCE_DIR}/lib)
target_link_libraries(hvrepl-planted-testlib PUBLIC
	hvrepl-planted PkgConfig::CHECK)

# add_twins(NAME PLANTED_NAME LIBRARY PLANTED_LIBRARY SOURCE...): two programs, on request
# only; NAME-objects are what both have.
function(add_twins name planted_name library planted_library)
	planted_among(planted ${ARGN})
	set(common ${ARGN})
	list(REMOVE_ITEM common ${planted})
	add_library(${name}-objects OBJECT EXCLUDE_FROM_ALL ${common})
	target_link_libraries(${name}-objects PRIVATE ${library})
	add_executable(${name} EXCLUDE_FROM_ALL
		${planted} $<TARGET_OBJECTS:${name}-objects>)
	target_link_libraries(${name} PRIVATE ${library})
	add_executable(${planted_name} EXCLUDE_FROM_ALL
		${planted} $<TARGET_OBJECTS:${name}-objects>)
	target_link_libraries(${planted_name} PRIVATE ${planted_library})
endfunction()
