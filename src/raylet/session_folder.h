// The session's folder as its raylet uses it: made complete, locked as long as this process lives
// (whoever finds the lock free may remove the folder), and removed at the end. Owned by Raylet.
#pragma once

#include <string>

#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc::raylet {

class SessionFolder {
 public:
  explicit SessionFolder(std::string path) : path_(std::move(path)) {}

  // Takes the lock; makes sockets/ and logs/ where they are missing.
  Status Open();
  void Remove();

 private:
  const std::string path_;
  UniqueFd lock_;
};

}  // namespace rayc::raylet
