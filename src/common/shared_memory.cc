#include "common/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace rayc {
namespace {

Result<SharedMemory> MapAll(UniqueFd fd, uint64_t bytes) {
  void* const base =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (base == MAP_FAILED) {
    return Err(Status::FromErrno("cannot map shared memory", errno));
  }
  ::madvise(base, bytes, MADV_DONTDUMP);
  return SharedMemory{std::move(fd), static_cast<uint8_t*>(base), bytes};
}

}  // namespace

Result<SharedMemory> MakeSharedMemory(const char* name, uint64_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) {
    return Err(Status::FromErrno("memfd_create", errno));
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return Err(Status::FromErrno("cannot size a memfd", errno));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Err(Status::FromErrno("cannot seal a memfd", errno));
  }
  return MapAll(std::move(fd), bytes);
}

Result<SharedMemory> MapSharedMemory(UniqueFd fd, uint64_t bytes_min) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) {
    return Err(Status::FromErrno("fstat of shared memory", errno));
  }
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes < bytes_min) {
    return Err(Status::Internal("shared memory is smaller than its maker says"));
  }
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return Err(Status::Internal("shared memory that its maker can shrink"));
  }
  return MapAll(std::move(fd), bytes);
}

void UnmapSharedMemory(uint8_t* base, uint64_t bytes) { ::munmap(base, bytes); }

}  // namespace rayc
