// Sizes in bytes as people write and read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rayc::plasma {

// "2G", "500M", "1.5g", "64KiB", "1048576": powers of 1,024. Null if it is none of these, is 0, or
// does not fit 63 bits.
std::optional<uint64_t> ParseByteSize(std::string_view text);

// "37 bytes", "1.5 MiB".
std::string FormatBytes(uint64_t bytes);

}  // namespace rayc::plasma
