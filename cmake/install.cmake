# SPDX-License-Identifier: Apache-2.0
# What `cmake --install build --prefix P` puts into P; P may be moved later.
include(CMakePackageConfigHelpers)

set_target_properties(hvrepl-backends PROPERTIES EXPORT_NAME backends)
set_target_properties(hvrepl hvrepl-backends PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS hvrepl hvrepl-backends EXPORT hvreplTargets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
	INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/hvrepl
	DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# From the directory of the .pc files back to the prefix, for any depth of
# CMAKE_INSTALL_LIBDIR ("lib", "lib/x86_64-linux-gnu").
file(RELATIVE_PATH HVREPL_PC_UP
	"/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" HVREPL_PC_UP "${HVREPL_PC_UP}")
foreach(name hvrepl hvrepl-backends)
	configure_file(pkgconfig/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
	install(FILES ${PROJECT_BINARY_DIR}/${name}.pc
		DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/hvrepl)
install(EXPORT hvreplTargets NAMESPACE hvrepl:: DESTINATION ${package})
configure_package_config_file(cmake/hvreplConfig.cmake.in
	${PROJECT_BINARY_DIR}/hvreplConfig.cmake INSTALL_DESTINATION ${package})
# Before 1.0 a minor release may break the ABI.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hvreplConfigVersion.cmake
	COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/hvreplConfig.cmake
	${PROJECT_BINARY_DIR}/hvreplConfigVersion.cmake DESTINATION ${package})
