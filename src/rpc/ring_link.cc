#include "rpc/ring_link.h"

#include <sys/mman.h>

#include <utility>

#include "common/shared_memory.h"

namespace rayc::rpc {
namespace {

constexpr uint64_t kControlBytes = 4096;
constexpr uint64_t kRingBytes = 256UL << 10;
constexpr uint64_t kLinkBytes = kControlBytes + 2 * kRingBytes;
static_assert(2 * sizeof(RingControl) <= kControlBytes);

RingControl* Control(uint8_t* base, bool of_maker) {
  return reinterpret_cast<RingControl*>(base) + (of_maker ? 0 : 1);
}

uint8_t* Data(uint8_t* base, bool of_maker) {
  return base + kControlBytes + (of_maker ? 0 : kRingBytes);
}

}  // namespace

RingLink::RingLink(UniqueFd fd, uint8_t* base, bool is_maker)
    : fd_(std::move(fd)),
      base_(base),
      writer_(Control(base, is_maker), Data(base, is_maker), kRingBytes),
      reader_(Control(base, !is_maker), Data(base, !is_maker), kRingBytes) {
  ::madvise(base, kLinkBytes, MADV_DONTFORK);  // a fork must not speak in our name
}

Result<std::unique_ptr<RingLink>> RingLink::Make() {
  auto memory = MakeSharedMemory("rayc-rings", kLinkBytes);
  if (!memory) {
    return Err(memory.error());
  }
  return std::unique_ptr<RingLink>(new RingLink(std::move(memory->fd), memory->base, true));
}

Result<std::unique_ptr<RingLink>> RingLink::Map(UniqueFd memory) {
  auto mapped = MapSharedMemory(std::move(memory), kLinkBytes);
  if (!mapped) {
    return Err(mapped.error());
  }
  if (mapped->bytes != kLinkBytes) {
    UnmapSharedMemory(mapped->base, mapped->bytes);
    return Err(Status::Internal("these are no rings"));
  }
  return std::unique_ptr<RingLink>(new RingLink(UniqueFd(), mapped->base, false));
}

RingLink::~RingLink() { UnmapSharedMemory(base_, kLinkBytes); }

}  // namespace rayc::rpc
