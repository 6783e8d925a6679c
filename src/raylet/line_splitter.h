// Cuts a stream of bytes into lines. Pure; no IO. A line that grows past kLineBytesMax is cut
// there, between two characters of UTF-8, so that one without an end cannot fill the memory.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rayc::raylet {

class LineSplitter {
 public:
  static constexpr size_t kLineBytesMax = 64UL << 10;

  // Appends the lines that `bytes` completes, without their ends.
  void Feed(std::string_view bytes, std::vector<std::string>& lines);
  // Appends what has no end yet, if anything, as a line.
  void Flush(std::vector<std::string>& lines);
  bool HasPartial() const { return !partial_.empty(); }

 private:
  std::string partial_;
};

}  // namespace rayc::raylet
