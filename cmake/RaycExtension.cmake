# How the extension modules of the Python package are made. Included by python/rayc/CMakeLists.txt.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)

# rayc_extension(<name> SOURCES ... LINK ... DESTINATION <folder>): an extension module that exports
# PyInit_<name> and nothing else, because it lives in the user's process beside other people's
# libraries. Installed into <folder>, a path inside the wheel.
function(rayc_extension name)
  cmake_parse_arguments(ARG "" "DESTINATION" "SOURCES;LINK" ${ARGN})
  python_add_library(${name} MODULE WITH_SOABI ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  set(exports "${CMAKE_SOURCE_DIR}/cmake/extension.exports")
  target_link_options(${name} PRIVATE
    "-Wl,--exclude-libs,ALL" "-Wl,--version-script=${exports}" "-Wl,--gc-sections")
  set_target_properties(${name} PROPERTIES LINK_DEPENDS "${exports}")
  install(TARGETS ${name} LIBRARY DESTINATION "${ARG_DESTINATION}")
endfunction()

# rayc_cythonize(<variable> <module> <file.pyx>): generates the C++ of a Cython module into the build
# folder; <variable> is its path. Cython writes down which .pxd and .pxi files it read, so that
# touching any of them (and nothing else) generates it again.
function(rayc_cythonize variable module pyx)
  get_filename_component(stem "${pyx}" NAME_WE)
  get_filename_component(pyx "${pyx}" ABSOLUTE)
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/${stem}.cpp")
  # As a module of this interpreter: its path stays the same when pip builds in a new environment.
  add_custom_command(
    OUTPUT "${generated}"
    COMMAND "${Python_EXECUTABLE}" -m cython -3 --cplus --depfile --module-name "${module}"
            -I "${CMAKE_SOURCE_DIR}/python" -o "${generated}" "${pyx}"
    DEPENDS "${pyx}"
    DEPFILE "${generated}.dep"
    COMMENT "Cython ${module}"
    VERBATIM)
  # What a generator wrote is not ours to be warned about.
  set_source_files_properties("${generated}" PROPERTIES COMPILE_OPTIONS "-w")
  set(${variable} "${generated}" PARENT_SCOPE)
endfunction()
