// A store's own sub-folder of one of the folders it may spill to: rayc-spill-<pid>-<random>, for
// its user only, with a lock file that is held with flock as long as the store lives. A sub-folder
// whose lock is free belongs to a store that was killed.
//
// Everything goes by the folder's descriptor: a path that changes its meaning meanwhile changes
// nothing here. Immutable after Make; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc::plasma {

class SpillFolder {
 public:
  // In `parent`, which is made if it is not there; removes what killed stores of this user left in
  // it.
  static Result<std::unique_ptr<SpillFolder>> Make(const std::string& parent);
  ~SpillFolder();  // removes it with all that is in it
  SpillFolder(const SpillFolder&) = delete;
  SpillFolder& operator=(const SpillFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string PathOf(uint64_t file) const { return path_ + "/" + std::to_string(file); }

  // kOutOfDisk if `bytes` more would leave the file system more than `full_fraction` used.
  Status CheckRoom(uint64_t bytes, double full_fraction) const;
  Result<UniqueFd> Create(uint64_t file) const;
  Result<UniqueFd> Open(uint64_t file) const;  // to be read
  Status Remove(uint64_t file) const;

 private:
  SpillFolder(int parent_fd, std::string name, std::string path, UniqueFd fd);

  const UniqueFd parent_fd_;
  const std::string name_;
  const std::string path_;
  const UniqueFd fd_;
  UniqueFd lock_fd_;
};

}  // namespace rayc::plasma
