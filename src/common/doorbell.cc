#include "common/doorbell.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "common/shared_memory.h"

namespace rayc {
namespace {

constexpr uint64_t kPageBytes = 4096;
static_assert(sizeof(DoorbellPage) <= kPageBytes);

// A fork of this process is another process: it must not speak in our name.
DoorbellPage* KeepFromForks(uint8_t* base) {
  ::madvise(base, kPageBytes, MADV_DONTFORK);
  return reinterpret_cast<DoorbellPage*>(base);
}

}  // namespace

Result<std::unique_ptr<Doorbell>> Doorbell::Make() {
  auto memory = MakeSharedMemory("rayc-doorbell", kPageBytes);
  if (!memory) {
    return Err(memory.error());
  }
  return std::unique_ptr<Doorbell>(
      new Doorbell(std::move(memory->fd), KeepFromForks(memory->base)));
}

Doorbell::~Doorbell() { UnmapSharedMemory(reinterpret_cast<uint8_t*>(page_), kPageBytes); }

Result<std::unique_ptr<PeerDoorbell>> PeerDoorbell::Map(UniqueFd memory, UniqueFd event) {
  auto mapped = MapSharedMemory(std::move(memory), kPageBytes);
  if (!mapped) {
    return Err(mapped.error());
  }
  if (mapped->bytes != kPageBytes) {
    UnmapSharedMemory(mapped->base, mapped->bytes);
    return Err(Status::Internal("this is no doorbell"));
  }
  return std::unique_ptr<PeerDoorbell>(
      new PeerDoorbell(KeepFromForks(mapped->base), std::move(event)));
}

PeerDoorbell::~PeerDoorbell() { UnmapSharedMemory(reinterpret_cast<uint8_t*>(page_), kPageBytes); }

void PeerDoorbell::Ring(uint32_t slot) {
  page_->raised[slot / 64].fetch_or(uint64_t{1} << slot % 64);
  const uint32_t turn = page_->sleeps.load();
  if (turn % 2 == 1 && turn != ended_sleep_) {
    ended_sleep_ = turn;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof(one));
  }
}

}  // namespace rayc
