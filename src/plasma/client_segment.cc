#include "plasma/client_segment.h"

#include <utility>

#include "common/shared_memory.h"
#include "plasma/step_point.h"

namespace rayc::plasma {

struct ClientSegment::Layout {
  alignas(64) std::atomic<uint64_t> region;
  alignas(64) std::atomic<uint32_t> notes_head;
  alignas(64) std::atomic<uint32_t> notes_tail;
  std::atomic<uint32_t> notes_lost;
  alignas(64) std::atomic<uint64_t> notes[kNotes];
  alignas(64) std::atomic<uint32_t> pins_used;
  alignas(64) std::atomic<uint64_t> pins[kPinsMax];
};

ClientSegment::ClientSegment(UniqueFd fd, uint8_t* base, uint64_t bytes)
    : fd_(std::move(fd)),
      base_(base),
      bytes_(bytes),
      region_(&reinterpret_cast<Layout*>(base)->region),
      notes_head_(&reinterpret_cast<Layout*>(base)->notes_head),
      notes_tail_(&reinterpret_cast<Layout*>(base)->notes_tail),
      notes_lost_(&reinterpret_cast<Layout*>(base)->notes_lost),
      notes_(reinterpret_cast<Layout*>(base)->notes),
      pins_used_(&reinterpret_cast<Layout*>(base)->pins_used),
      pins_(reinterpret_cast<Layout*>(base)->pins) {}

ClientSegment::~ClientSegment() { UnmapSharedMemory(base_, bytes_); }

Result<std::shared_ptr<ClientSegment>> ClientSegment::Create() {
  auto memory = MakeSharedMemory("rayc-plasma-client", sizeof(Layout));
  if (!memory) {
    return Err(memory.error());
  }
  return std::shared_ptr<ClientSegment>(
      new ClientSegment(std::move(memory->fd), memory->base, memory->bytes));
}

Result<std::shared_ptr<ClientSegment>> ClientSegment::Map(UniqueFd fd) {
  auto memory = MapSharedMemory(std::move(fd), sizeof(Layout));
  if (!memory) {
    return Err(memory.error());
  }
  return std::shared_ptr<ClientSegment>(new ClientSegment(UniqueFd(), memory->base, memory->bytes));
}

void ClientSegment::SetPin(uint32_t place, EntryRef ref) const {
  // First the bound, then the pin: a store that misses the new bound has changed the entry's word
  // before we read it.
  if (pins_used_->load(std::memory_order_relaxed) <= place) {
    pins_used_->store(place + 1, std::memory_order_seq_cst);
  }
  pins_[place].store(ref.Pack(), std::memory_order_seq_cst);
  StepPoint("pin written");
}

void ClientSegment::ClearPin(uint32_t place) const {
  pins_[place].store(0, std::memory_order_seq_cst);
  StepPoint("pin cleared");
}

ClientSegment::NotedObject ClientSegment::UnpackNote(uint64_t word) {
  return {static_cast<Note>((word >> 24) & 0xff),
          {static_cast<uint32_t>(word & 0xffffff), static_cast<uint32_t>(word >> 32)}};
}

bool ClientSegment::PushNote(NotedObject noted) const {
  const uint32_t tail = notes_tail_->load(std::memory_order_relaxed);
  if (tail - notes_head_->load(std::memory_order_acquire) >= kNotes) {
    notes_lost_->store(1, std::memory_order_seq_cst);
    return false;
  }
  notes_[tail % kNotes].store(noted.ref.entry | (static_cast<uint64_t>(noted.note) << 24) |
                                  (static_cast<uint64_t>(noted.ref.generation) << 32),
                              std::memory_order_release);
  StepPoint("note written");
  notes_tail_->store(tail + 1, std::memory_order_seq_cst);
  StepPoint("note published");
  return true;
}

void ClientSegment::OpenRegion(uint64_t begin) const {
  region_->store(begin + 1, std::memory_order_seq_cst);
}

std::optional<uint64_t> ClientSegment::TakeFromRegion(uint64_t end, uint64_t bytes) const {
  uint64_t word = region_->load(std::memory_order_acquire);
  // Misaligned: damaged.
  while (word != 0 && (word - 1) % 64 == 0 && word - 1 <= end && bytes <= end - (word - 1)) {
    if (region_->compare_exchange_weak(word, word + bytes, std::memory_order_seq_cst)) {
      StepPoint("room taken");
      return word - 1;
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> ClientSegment::CloseRegion() const {
  const uint64_t word = region_->exchange(0, std::memory_order_seq_cst);
  return word == 0 ? std::nullopt : std::optional(word - 1);
}

std::optional<uint64_t> ClientSegment::RegionPosition() const {
  const uint64_t word = region_->load(std::memory_order_seq_cst);
  return word == 0 ? std::nullopt : std::optional(word - 1);
}

}  // namespace rayc::plasma
