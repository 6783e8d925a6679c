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

namespace rayc::plasma {
namespace {

uint64_t PageBytes() {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

constexpr int kMadvCollapse = 25;       // MADV_COLLAPSE; older headers lack it
constexpr int kMadvPopulateWrite = 23;  // MADV_POPULATE_WRITE

constexpr uint64_t kChunkBytes = Arena::kChunkBytes;

uint64_t ChunkBegin(uint64_t offset) { return offset & ~(kChunkBytes - 1); }
uint64_t ChunkEnd(uint64_t offset) { return ChunkBegin(offset + kChunkBytes - 1); }

// Maps part of the memfd so that large pages fit: the
// address is a multiple of kChunkBytes, as `offset` is. Null: errno says why.
uint8_t* MapAligned(int fd, uint64_t offset, uint64_t bytes) {
  const uint64_t reserved_bytes = bytes + kChunkBytes;
  void* const reserved = ::mmap(nullptr, reserved_bytes, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    return nullptr;
  }
  auto* const begin = static_cast<uint8_t*>(reserved);
  const uint64_t gap = -reinterpret_cast<uintptr_t>(begin) & (kChunkBytes - 1);
  uint8_t* const base = begin + gap;
  const bool mapped =
      ::mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
             static_cast<off_t>(offset)) != MAP_FAILED;
  const int error = errno;
  if (!mapped) {
    ::munmap(reserved, reserved_bytes);
    errno = error;
    return nullptr;
  }
  if (gap > 0) {
    ::munmap(begin, gap);
  }
  const uint64_t mapped_bytes = Arena::RoundUpToPages(bytes);
  ::munmap(base + mapped_bytes, reserved_bytes - gap - mapped_bytes);
  return base;
}

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

// A chunk that exists in small pages for the greater part stays so: to make a large page of them
// takes four times as long as to map them, and a copy to them is nearly as fast.
bool MostlyResident(uint8_t* base, uint64_t bytes) {
  return ResidentPages(base, bytes) * PageBytes() * 2 >= bytes;
}

// One page of each of the chunks exists already: makes a large page of each. False if one failed.
bool Collapse(uint8_t* base, uint64_t bytes) { return ::madvise(base, bytes, kMadvCollapse) == 0; }

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
  uint8_t* const base = MapAligned(fd.get(), 0, bytes);
  if (base == nullptr) {
    return Err(Status::OutOfMemory("cannot map the object store of " + FormatBytes(bytes) + ": " +
                                   std::strerror(errno)));
  }
  ::madvise(base, bytes, MADV_DONTDUMP);  // a core file of a client need not hold the whole store
  return std::shared_ptr<const Arena>(new Arena(UniqueFd(), bytes, base));
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
  uint64_t run = ChunkBegin(offset);  // where a run of chunks begins that are treated alike
  ChunkState state = StateOf(run);
  for (uint64_t chunk = run + kChunkBytes; chunk < end; chunk += kChunkBytes) {
    if (const ChunkState next = StateOf(chunk); next != state) {
      PrepareChunks(state, run, chunk);
      run = chunk;
      state = next;
    }
  }
  PrepareChunks(state, run, end);
}

Arena::ChunkState Arena::StateOf(uint64_t chunk) const {
  const uint64_t bytes = std::min(kChunkBytes, bytes_ - chunk);
  const uint64_t resident = ResidentPages(At(chunk), bytes) * PageBytes();
  if (resident >= bytes && prepared_[chunk / kChunkBytes].load(std::memory_order_relaxed)) {
    return ChunkState::kPrepared;
  }
  return bytes < kChunkBytes || resident * 2 >= bytes ? ChunkState::kToBeMapped
                                                      : ChunkState::kToBeMade;
}

void Arena::PrepareChunks(ChunkState state, uint64_t begin, uint64_t end) const {
  if (state == ChunkState::kPrepared) {
    return;
  }
  if (state == ChunkState::kToBeMade) {
    for (uint64_t chunk = begin; chunk < end; chunk += kChunkBytes) {
      __atomic_load_n(At(chunk), __ATOMIC_RELAXED);  // an empty chunk is not collapsed
    }
  }
  // One call for all chunks: each call makes every CPU flush its lists of pages.
  if (state == ChunkState::kToBeMapped || !Collapse(At(begin), end - begin)) {
    ::madvise(At(begin), end - begin, kMadvPopulateWrite);
  }
  for (uint64_t chunk = begin; chunk < end; chunk += kChunkBytes) {
    prepared_[chunk / kChunkBytes].store(true, std::memory_order_relaxed);
  }
}

Status Arena::MakePages(uint64_t offset, uint64_t bytes) const {
  if (bytes == 0 || !Holds(offset, bytes)) {
    return Status::Ok();
  }
  const uint64_t begin = ChunkBegin(offset);
  const uint64_t end = std::min(ChunkEnd(offset + bytes), bytes_);
  // Mapped for this moment: the store needs no page tables. Where that fails, small pages will do.
  if (uint8_t* const base = MapAligned(fd_.get(), begin, end - begin); base != nullptr) {
    MakeLargePages(begin, end, base);
    ::munmap(base, end - begin);
  }
  // What is still missing. Says when there is no memory left, where a touch would be a SIGBUS.
  return Allocate(offset, bytes);
}

void Arena::MakeLargePages(uint64_t begin, uint64_t end, uint8_t* base) const {
  uint64_t run = begin;  // of chunks that have a page, and are to be collapsed
  uint64_t chunk = begin;
  for (; chunk + kChunkBytes <= end; chunk += kChunkBytes) {
    if (MostlyResident(base + (chunk - begin), kChunkBytes) || !Allocate(chunk, PageBytes()).ok()) {
      if (chunk > run) {
        Collapse(base + (run - begin), chunk - run);
      }
      run = chunk + kChunkBytes;
    }
  }
  if (chunk > run) {
    Collapse(base + (run - begin), chunk - run);
  }
}

Status Arena::Allocate(uint64_t offset, uint64_t bytes) const {
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
