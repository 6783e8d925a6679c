#include "raylet/log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace rayc::raylet {
namespace {

void WriteSome(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd, bytes.data(), bytes.size());
    if (done <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<size_t>(done));
  }
}

}  // namespace

void LogFile::SetPath(std::string path) {
  path_ = std::move(path);
  if (!pending_.empty()) {
    Write(std::exchange(pending_, {}));
  }
}

void LogFile::Write(std::string_view bytes) {
  if (bytes.empty() || failed_ || written_ >= kBytesMax) {
    return;
  }
  if (path_.empty()) {
    pending_.append(
        bytes.substr(0, kPendingBytesMax - std::min(kPendingBytesMax, pending_.size())));
    return;
  }
  if (!fd_.valid()) {
    fd_.Reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd_.valid()) {
      failed_ = true;
      return;
    }
    made_ = true;
  }
  bytes = bytes.substr(0, kBytesMax - written_);
  written_ += bytes.size();
  WriteSome(fd_.get(), bytes);
  if (written_ >= kBytesMax) {
    WriteSome(fd_.get(), "\n[this log has reached its limit; what follows is not kept]\n");
    fd_.Reset();
  }
}

}  // namespace rayc::raylet
