#include "raylet/session_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

namespace rayc::raylet {

Status SessionFolder::Open() {
  const std::string lock_path = path_ + "/lock";
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.valid()) {
    return Status::FromErrno("cannot open " + lock_path, errno);
  }
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status::AlreadyExists("another raylet runs in " + path_);
  }
  lock_ = std::move(lock);
  for (const char* name : {"/sockets", "/logs"}) {
    if (::mkdir((path_ + name).c_str(), 0700) != 0 && errno != EEXIST) {
      return Status::FromErrno("cannot make " + path_ + name, errno);
    }
  }
  return Status::Ok();
}

void SessionFolder::Remove() {
  // Only what we hold, and what looks like a session: never a folder that was named by mistake.
  const size_t slash = path_.rfind('/');
  if (!lock_.valid() || path_.compare(slash + 1, 8, "session_") != 0) {
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace rayc::raylet
