#include "plasma/byte_size.h"

#include <cctype>
#include <charconv>
#include <cstdio>

namespace rayc::plasma {
namespace {

constexpr std::string_view kUnits = "KMGT";
constexpr double kUnitStep = 1024;

}  // namespace

std::optional<uint64_t> ParseByteSize(std::string_view text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (parsed.ec != std::errc()) {
    return std::nullopt;
  }
  std::string_view suffix(parsed.ptr, static_cast<size_t>(end - parsed.ptr));
  if (!suffix.empty()) {
    const int letter = std::toupper(static_cast<unsigned char>(suffix.front()));
    const size_t unit = kUnits.find(static_cast<char>(letter));
    if (unit != std::string_view::npos) {
      for (size_t i = 0; i <= unit; ++i) {
        number *= kUnitStep;
      }
      suffix.remove_prefix(1);
      if (suffix == "iB" || suffix == "ib") {
        suffix.remove_prefix(1);
      }
    }
    if (suffix == "B" || suffix == "b") {
      suffix.remove_prefix(1);
    }
  }
  constexpr double kBytesMax = 9.2e18;
  if (!suffix.empty() || !(number >= 1) || number > kBytesMax) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(number);
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < static_cast<uint64_t>(kUnitStep)) {
    return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
  }
  auto number = static_cast<double>(bytes);
  size_t unit = 0;
  for (number /= kUnitStep; number >= kUnitStep && unit + 1 < kUnits.size(); ++unit) {
    number /= kUnitStep;
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %ciB", number, kUnits[unit]);
  return text;
}

}  // namespace rayc::plasma
