# How everything of rayc is compiled. Included once, before any target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(RAYC_CCACHE ccache)
if(RAYC_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${RAYC_CCACHE}")
endif()

# What each target of rayc is compiled and linked with.
add_library(rayc_options INTERFACE)
target_include_directories(rayc_options INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_compile_options(rayc_options INTERFACE -Wall -Wextra -Wno-unused-parameter)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(rayc_options INTERFACE -Wthread-safety)
else()
  # Debian's libstdc++ then marks no symbol STB_GNU_UNIQUE: those are shared by every library of a
  # process, also by two that were each compiled hidden.
  add_compile_options(-fno-gnu-unique)
  # At -O3 GCC 12 sees overlapping copies where a literal and a std::string are added.
  target_compile_options(rayc_options INTERFACE -Wno-restrict)
endif()
if(RAYC_SANITIZE)
  # gcc's own instrumentation confuses it here.
  target_compile_options(rayc_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
if(RAYC_WERROR)
  target_compile_options(rayc_options INTERFACE -Werror)
endif()
target_compile_definitions(rayc_options INTERFACE RAYC_VERSION="${RAYC_VERSION}")

# So that the linker can leave out what a program or extension does not use.
add_compile_options($<$<CONFIG:Release>:-ffunction-sections> $<$<CONFIG:Release>:-fdata-sections>)

if(RAYC_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1 -O1)
  add_link_options(-fsanitize=address,undefined)
elseif(RAYC_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -g1)
  add_link_options(-fsanitize=thread)
elseif(NOT RAYC_SANITIZE STREQUAL "")
  message(FATAL_ERROR "RAYC_SANITIZE is '${RAYC_SANITIZE}': address, thread or nothing")
endif()

# rayc_library(<folder> SOURCES ... LINK ...): the static library rayc_<folder> of src/<folder>.
function(rayc_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(rayc_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(rayc_${name} PUBLIC rayc_options ${ARG_LINK})
endfunction()

# rayc_program(<name> SOURCES ... LINK ...): a program, installed into the package's folder bin/.
function(rayc_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE rayc_options ${ARG_LINK})
  target_link_options(${name} PRIVATE $<$<CONFIG:Release>:-s> -Wl,--gc-sections)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  install(TARGETS ${name} RUNTIME DESTINATION rayc/bin)
endfunction()
