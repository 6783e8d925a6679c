// One bounded log file, made with the first byte that is written to it. Owned by LogForwarder; loop
// thread only. Errors of the disk are swallowed: losing a log must not hurt the task.
#pragma once

#include <string>
#include <string_view>

#include "common/unique_fd.h"

namespace rayc::raylet {

class LogFile {
 public:
  static constexpr size_t kBytesMax = 16UL << 20;  // then one line says so, and no more is kept

  // Nothing is made until the path is known and something was written.
  void SetPath(std::string path);
  void Write(std::string_view bytes);
  bool exists() const { return made_; }
  const std::string& path() const { return path_; }

 private:
  static constexpr size_t kPendingBytesMax = 64UL << 10;

  std::string path_;
  std::string pending_;  // written before the path was known
  UniqueFd fd_;
  size_t written_ = 0;
  bool made_ = false;
  bool failed_ = false;
};

}  // namespace rayc::raylet
