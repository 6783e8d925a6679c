// The version of this library, as pyproject.toml has it (CMake passes it in).
#pragma once

namespace rayc {

#ifndef RAYC_VERSION
#define RAYC_VERSION "0.0.0"
#endif
inline constexpr char kVersion[] = RAYC_VERSION;

}  // namespace rayc
