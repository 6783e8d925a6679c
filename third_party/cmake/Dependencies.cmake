# Finds what rayc is built with, all of it from the packages in third_party/debian-packages.txt, each
# with the oldest version that is known to do. No source is copied into the project. Each dependency
# is a target rayc_dep_<name>. All are header-only here: why, third_party/README.md says.

# FlatBuffers: the messages between processes. flatc generates their code at build time, which
# refuses headers of another version than its own: say so here, rather than in a hundred errors.
find_package(FlatBuffers 2.0.6 REQUIRED CONFIG)
find_path(RAYC_FLATBUFFERS_INCLUDE flatbuffers/flatbuffers.h REQUIRED)
find_program(RAYC_FLATC flatc REQUIRED)
execute_process(COMMAND "${RAYC_FLATC}" --version OUTPUT_VARIABLE flatc_version)
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" flatc_version "${flatc_version}")
if(NOT flatc_version STREQUAL FlatBuffers_VERSION)
  message(FATAL_ERROR "flatc ${flatc_version} and FlatBuffers ${FlatBuffers_VERSION} found: they must "
                      "be of one version (Debian: flatbuffers-compiler, libflatbuffers-dev)")
endif()
add_library(rayc_dep_flatbuffers INTERFACE)
target_include_directories(rayc_dep_flatbuffers SYSTEM INTERFACE "${RAYC_FLATBUFFERS_INCLUDE}")

# spdlog and fmt: logging. Compiled once, in src/common/logging.cc.
find_package(spdlog 1.9 REQUIRED CONFIG)
find_package(fmt 8 REQUIRED CONFIG)
find_path(RAYC_SPDLOG_INCLUDE spdlog/spdlog.h REQUIRED)
add_library(rayc_dep_spdlog INTERFACE)
target_include_directories(rayc_dep_spdlog SYSTEM INTERFACE "${RAYC_SPDLOG_INCLUDE}")
target_compile_definitions(rayc_dep_spdlog INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)

# tl::expected: Result<T>. robin-map: hash maps of the hot paths.
find_package(tl-expected 1.0 REQUIRED CONFIG)
find_package(tsl-robin-map 1.0 REQUIRED CONFIG)
find_path(RAYC_EXPECTED_INCLUDE tl/expected.hpp REQUIRED)
find_path(RAYC_ROBIN_INCLUDE tsl/robin_map.h REQUIRED)
add_library(rayc_dep_containers INTERFACE)
target_include_directories(rayc_dep_containers SYSTEM INTERFACE "${RAYC_EXPECTED_INCLUDE}" "${RAYC_ROBIN_INCLUDE}")

if(RAYC_BUILD_TESTS)
  find_package(GTest 1.12 REQUIRED)
endif()
