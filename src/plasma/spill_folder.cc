#include "plasma/spill_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "common/logging.h"
#include "plasma/byte_size.h"

namespace rayc::plasma {
namespace {

constexpr char kPrefix[] = "rayc-spill-";
constexpr char kLockName[] = "lock";
constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

std::string NewName() {
  uint64_t random = 0;
  if (::getrandom(&random, sizeof(random), 0) != sizeof(random)) {
    random = static_cast<uint64_t>(::time(nullptr));  // mkdir says so if the name is taken
  }
  char text[64];
  std::snprintf(text, sizeof(text), "%s%d-%016llx", kPrefix, static_cast<int>(::getpid()),
                static_cast<unsigned long long>(random));
  return text;
}

// Without "." and "..".
std::vector<std::string> NamesIn(int folder_fd) {
  std::vector<std::string> names;
  // A descriptor of its own: the position in the listing belongs to the open file.
  const int fd = ::openat(folder_fd, ".", kFolderFlags);
  DIR* const listing = fd < 0 ? nullptr : ::fdopendir(fd);
  if (listing == nullptr) {
    if (fd >= 0) {
      ::close(fd);
    }
    return names;
  }
  while (const dirent* const entry = ::readdir(listing)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") {
      names.push_back(name);
    }
  }
  ::closedir(listing);
  return names;
}

// The lock goes last: a folder that has none counts as one that is being made, for a while.
void RemoveFolder(int parent_fd, const std::string& name, int folder_fd) {
  for (const std::string& file : NamesIn(folder_fd)) {
    if (file != kLockName) {
      ::unlinkat(folder_fd, file.c_str(), 0);
    }
  }
  ::unlinkat(folder_fd, kLockName, 0);
  ::unlinkat(parent_fd, name.c_str(), AT_REMOVEDIR);
}

void RemoveIfStale(int parent_fd, const std::string& name, const std::string& parent) {
  const UniqueFd folder(::openat(parent_fd, name.c_str(), kFolderFlags | O_NOFOLLOW));
  struct stat info {};
  if (!folder.valid() || ::fstat(folder.get(), &info) != 0 || info.st_uid != ::geteuid()) {
    return;
  }
  const UniqueFd lock(::openat(folder.get(), kLockName, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (lock.valid()) {
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      return;  // its store lives
    }
  } else {
    // A store that starts right now has made the folder and not yet the lock.
    constexpr time_t kBeingMadeSeconds = 60;
    if (errno != ENOENT || ::time(nullptr) - info.st_ctime < kBeingMadeSeconds) {
      return;
    }
  }
  RAYC_LOG(kInfo) << "removing " << parent << "/" << name << ", left behind by a killed store";
  RemoveFolder(parent_fd, name, folder.get());
}

}  // namespace

SpillFolder::SpillFolder(int parent_fd, std::string name, std::string path, UniqueFd fd)
    : parent_fd_(parent_fd), name_(std::move(name)), path_(std::move(path)), fd_(std::move(fd)) {}

SpillFolder::~SpillFolder() { RemoveFolder(parent_fd_.get(), name_, fd_.get()); }

Result<std::unique_ptr<SpillFolder>> SpillFolder::Make(const std::string& parent) {
  const std::string wrong = "cannot spill to " + parent;
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error) {
    return Err(Status::FromErrno(wrong, error.value()));
  }
  UniqueFd parent_fd(::open(parent.c_str(), kFolderFlags));
  if (!parent_fd.valid()) {
    return Err(Status::FromErrno(wrong, errno));
  }
  for (const std::string& name : NamesIn(parent_fd.get())) {
    if (name.starts_with(kPrefix)) {
      RemoveIfStale(parent_fd.get(), name, parent);
    }
  }
  std::string name = NewName();
  if (::mkdirat(parent_fd.get(), name.c_str(), 0700) != 0) {
    return Err(Status::FromErrno(wrong, errno));
  }
  UniqueFd fd(::openat(parent_fd.get(), name.c_str(), kFolderFlags | O_NOFOLLOW));
  if (!fd.valid()) {
    const int open_error = errno;
    ::unlinkat(parent_fd.get(), name.c_str(), AT_REMOVEDIR);
    return Err(Status::FromErrno(wrong, open_error));
  }
  std::string path = parent + "/" + name;
  std::unique_ptr<SpillFolder> folder(
      new SpillFolder(parent_fd.Release(), std::move(name), std::move(path), std::move(fd)));
  folder->lock_fd_.Reset(::openat(folder->fd_.get(), kLockName,
                                  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!folder->lock_fd_.valid() || ::flock(folder->lock_fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    return Err(Status::FromErrno(wrong + ": its lock", errno));
  }
  return folder;
}

Status SpillFolder::CheckRoom(uint64_t bytes, double full_fraction) const {
  struct statvfs info {};
  if (::fstatvfs(fd_.get(), &info) != 0) {
    return Status::FromErrno("statvfs", errno);
  }
  const auto total = static_cast<double>(info.f_blocks) * static_cast<double>(info.f_frsize);
  const auto free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  if (total > 0 && total - free + static_cast<double>(bytes) > full_fraction * total) {
    char limit[32];
    std::snprintf(limit, sizeof(limit), "%.0f%%", full_fraction * 100);
    return {StatusCode::kOutOfDisk, "the file system would be more than " + std::string(limit) +
                                        " full (" + FormatBytes(static_cast<uint64_t>(free)) +
                                        " of " + FormatBytes(static_cast<uint64_t>(total)) +
                                        " are free)"};
  }
  return Status::Ok();
}

Result<UniqueFd> SpillFolder::Create(uint64_t file) const {
  UniqueFd fd(::openat(fd_.get(), std::to_string(file).c_str(),
                       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) {
    return Err(Status::FromErrno("cannot make a file", errno));
  }
  return fd;
}

Result<UniqueFd> SpillFolder::Open(uint64_t file) const {
  UniqueFd fd(::openat(fd_.get(), std::to_string(file).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) {
    return Err(Status::FromErrno("cannot open " + PathOf(file), errno));
  }
  return fd;
}

Status SpillFolder::Remove(uint64_t file) const {
  if (::unlinkat(fd_.get(), std::to_string(file).c_str(), 0) != 0) {
    return Status::FromErrno("cannot remove " + PathOf(file), errno);
  }
  return Status::Ok();
}

}  // namespace rayc::plasma
