# Finds what rayc is built with, all of it from the packages in third_party/debian-packages.txt, with
# version bounds. No source is copied into the project. Each dependency is a target rayc_dep_<name>.

# FlatBuffers: the messages between processes. Header-only at run time; flatc generates code at build
# time, and its version must be that of the headers, which the generated code checks itself.
find_package(FlatBuffers 2.0.8 QUIET CONFIG)
find_program(RAYC_FLATC flatc REQUIRED)
find_path(RAYC_FLATBUFFERS_INCLUDE flatbuffers/flatbuffers.h REQUIRED)
add_library(rayc_dep_flatbuffers INTERFACE)
target_include_directories(rayc_dep_flatbuffers SYSTEM INTERFACE "${RAYC_FLATBUFFERS_INCLUDE}")

# spdlog and fmt: logging. Compiled once, in src/common/logging.cc.
find_path(RAYC_SPDLOG_INCLUDE spdlog/spdlog.h REQUIRED)
file(STRINGS "${RAYC_SPDLOG_INCLUDE}/spdlog/version.h" spdlog_major REGEX "SPDLOG_VER_MAJOR [0-9]+")
file(STRINGS "${RAYC_SPDLOG_INCLUDE}/spdlog/version.h" spdlog_minor REGEX "SPDLOG_VER_MINOR [0-9]+")
string(REGEX MATCH "[0-9]+" spdlog_major "${spdlog_major}")
string(REGEX MATCH "[0-9]+" spdlog_minor "${spdlog_minor}")
if("${spdlog_major}.${spdlog_minor}" VERSION_LESS 1.9)
  message(FATAL_ERROR "spdlog ${spdlog_major}.${spdlog_minor} found, 1.9 or newer needed (libspdlog-dev)")
endif()
add_library(rayc_dep_spdlog INTERFACE)
target_include_directories(rayc_dep_spdlog SYSTEM INTERFACE "${RAYC_SPDLOG_INCLUDE}")
target_compile_definitions(rayc_dep_spdlog INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)

# tl::expected: Result<T>. robin-map: hash maps of the hot paths.
find_path(RAYC_EXPECTED_INCLUDE tl/expected.hpp REQUIRED)
find_path(RAYC_ROBIN_INCLUDE tsl/robin_map.h REQUIRED)
add_library(rayc_dep_containers INTERFACE)
target_include_directories(rayc_dep_containers SYSTEM INTERFACE "${RAYC_EXPECTED_INCLUDE}" "${RAYC_ROBIN_INCLUDE}")

if(RAYC_BUILD_TESTS)
  find_package(GTest 1.12 REQUIRED)
endif()
