#include "raylet/line_splitter.h"

#include <utility>

namespace rayc::raylet {
namespace {

// Where to cut `text` so that no character of UTF-8 is split, at most at `limit`.
size_t CutAt(std::string_view text, size_t limit) {
  for (size_t at = limit; at > limit - 4; --at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U) {
      return at;
    }
  }
  return limit;  // not UTF-8
}

}  // namespace

void LineSplitter::Feed(std::string_view bytes, std::vector<std::string>& lines) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    partial_.append(bytes.substr(0, end));
    while (partial_.size() > kLineBytesMax) {
      const size_t cut = CutAt(partial_, kLineBytesMax);
      lines.push_back(partial_.substr(0, cut));
      partial_.erase(0, cut);
    }
    if (end == std::string_view::npos) {
      return;
    }
    lines.push_back(std::exchange(partial_, {}));
    bytes.remove_prefix(end + 1);
  }
}

void LineSplitter::Flush(std::vector<std::string>& lines) {
  if (!partial_.empty()) {
    lines.push_back(std::exchange(partial_, {}));
  }
}

}  // namespace rayc::raylet
