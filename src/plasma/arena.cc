#include "plasma/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "plasma/byte_size.h"
#include "plasma/parallel.h"

namespace rayc::plasma {
namespace {

uint64_t PageBytes() {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

constexpr int kMadvPopulateWrite = 23;  // MADV_POPULATE_WRITE; older headers lack it

// Two threads make and map pages in little more than half the time of one.
constexpr size_t kPartBytesMin = 16UL << 20;

constexpr uint64_t kChunkBytes = Arena::kChunkBytes;

uint64_t ChunkBegin(uint64_t offset) { return offset & ~(kChunkBytes - 1); }
uint64_t ChunkEnd(uint64_t offset) { return ChunkBegin(offset + kChunkBytes - 1); }

// How many pages of a chunk, or of the part of it that is there, exist.
uint64_t ResidentPages(uint8_t* base, uint64_t bytes) {
  unsigned char resident[kChunkBytes / 4096];
  if (::mincore(base, bytes, resident) != 0) {
    return 0;
  }
  return static_cast<uint64_t>(std::count_if(resident,
                                             resident + (bytes + PageBytes() - 1) / PageBytes(),
                                             [](unsigned char page) { return (page & 1) != 0; }));
}

}  // namespace

Arena::Arena(UniqueFd fd, uint64_t bytes, uint8_t* base)
    : fd_(std::move(fd)),
      bytes_(bytes),
      base_(base),
      prepared_(base == nullptr ? nullptr
                                : std::make_unique<std::atomic<bool>[]>(bytes / kChunkBytes + 1)) {}

uint64_t Arena::RoundUpToPages(uint64_t bytes) {
  return (bytes + PageBytes() - 1) & ~(PageBytes() - 1);
}

Result<std::shared_ptr<const Arena>> Arena::Create(uint64_t bytes) {
  UniqueFd fd(::memfd_create("rayc-plasma", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) {
    return Err(Status::FromErrno("memfd_create", errno));
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return Err(Status::OutOfMemory("cannot make an object store of " + FormatBytes(bytes) + ": " +
                                   std::strerror(errno)));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Err(Status::FromErrno("cannot seal the memfd", errno));
  }
  return std::shared_ptr<const Arena>(new Arena(std::move(fd), bytes, nullptr));
}

Result<std::shared_ptr<const Arena>> Arena::Map(UniqueFd fd, uint64_t bytes) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) {
    return Err(Status::FromErrno("fstat of the arena", errno));
  }
  if (bytes == 0 || static_cast<uint64_t>(info.st_size) < bytes) {
    return Err(Status::Internal("the arena is smaller than its store says"));
  }
  void* const base =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (base == MAP_FAILED) {
    return Err(Status::OutOfMemory("cannot map the object store of " + FormatBytes(bytes) + ": " +
                                   std::strerror(errno)));
  }
  ::madvise(base, bytes, MADV_DONTDUMP);  // a core file of a client need not hold the whole store
  return std::shared_ptr<const Arena>(new Arena(UniqueFd(), bytes, static_cast<uint8_t*>(base)));
}

Arena::~Arena() {
  if (base_ != nullptr) {
    ::munmap(base_, bytes_);
  }
}

void Arena::Prepare(uint64_t offset, uint64_t bytes) const {
  if (bytes == 0 || !Holds(offset, bytes)) {
    return;
  }
  const uint64_t end = std::min(ChunkEnd(offset + bytes), bytes_);
  uint64_t run = ChunkBegin(offset);  // where a run of chunks begins that are to be prepared
  for (uint64_t chunk = run; chunk < end; chunk += kChunkBytes) {
    if (IsPrepared(chunk)) {
      PrepareChunks(run, chunk);
      run = chunk + kChunkBytes;
    }
  }
  PrepareChunks(run, end);
}

bool Arena::IsPrepared(uint64_t chunk) const {
  const uint64_t bytes = std::min(kChunkBytes, bytes_ - chunk);
  return prepared_[chunk / kChunkBytes].load(std::memory_order_relaxed) &&
         ResidentPages(At(chunk), bytes) * PageBytes() >= bytes;
}

void Arena::PrepareChunks(uint64_t begin, uint64_t end) const {
  if (begin >= end) {
    return;
  }
  InParts(end - begin, kPartBytesMin, kChunkBytes, [this, begin](size_t from, size_t to) {
    // Without memory, or before Linux 5.14, the writer's own faults do the rest.
    ::madvise(At(begin + from), to - from, kMadvPopulateWrite);
  });
  for (uint64_t chunk = begin; chunk < end; chunk += kChunkBytes) {
    prepared_[chunk / kChunkBytes].store(true, std::memory_order_relaxed);
  }
}

Status Arena::MakePages(uint64_t offset, uint64_t bytes) const {
  if (bytes == 0 || !Holds(offset, bytes)) {
    return Status::Ok();
  }
  return ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(bytes)) == 0
             ? Status::Ok()
             : Status::FromErrno("cannot make pages of the arena", errno);
}

uint64_t Arena::ResidentBytes() const {
  constexpr uint64_t kStatBlockBytes = 512;
  struct stat info {};
  return ::fstat(fd_.get(), &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * kStatBlockBytes
                                        : 0;
}

Status Arena::GiveBack(uint64_t offset, uint64_t bytes) const {
  const uint64_t begin = RoundUpToPages(offset);
  const uint64_t end = (offset + bytes) & ~(PageBytes() - 1);
  if (end > begin && ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 static_cast<off_t>(begin), static_cast<off_t>(end - begin)) != 0) {
    return Status::FromErrno("cannot give memory back", errno);
  }
  return Status::Ok();
}

}  // namespace rayc::plasma
