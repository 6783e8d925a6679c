// Memory that one client and the store share, and nobody else sees: the client's pins, what it
// wants the store to look at, and how far it has used up its region. Each word has one writer, the
// client, but for the region's, which the store may close.
//
// Whatever the client dies in the middle of, the store reads here what it held. In the client's
// process several threads may call: ClientPins and ClientRegion lock. The store's side: loop
// thread only, and everything it reads is untrusted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "common/status.h"
#include "common/unique_fd.h"
#include "plasma/shared_index.h"

namespace rayc::plasma {

class ClientSegment {
 public:
  static constexpr uint32_t kPinsMax = 1U << 20;

  enum class Note : uint8_t {
    kCheck = 1,   // the object is dead, and may be unpinned by now
    kSealed = 2,  // for subscribers
  };
  struct NotedObject {
    Note note;
    EntryRef ref;
  };

  static Result<std::shared_ptr<ClientSegment>> Create();
  static Result<std::shared_ptr<ClientSegment>> Map(UniqueFd fd);
  ~ClientSegment();
  ClientSegment(const ClientSegment&) = delete;
  ClientSegment& operator=(const ClientSegment&) = delete;

  int fd() const { return fd_.get(); }

  // ---- pins. `place` < kPinsMax is the caller's alone.
  // The pin holds only if the entry's word still says the same after this.
  void SetPin(uint32_t place, EntryRef ref) const;
  void ClearPin(uint32_t place) const;
  // The store's: visit(EntryRef) for each.
  template <typename Visit>
  void ForEachPin(const Visit& visit) const {
    uint32_t places = pins_used_->load(std::memory_order_seq_cst);
    places = places < kPinsMax ? places : kPinsMax;
    for (uint32_t i = 0; i < places; ++i) {
      const uint64_t pin = pins_[i].load(std::memory_order_seq_cst);
      if (pin != 0) {
        visit(EntryRef::Unpack(pin));
      }
    }
  }

  // ---- notes to the store, in order. One thread of the client at a time.
  // False if there is no room; the store then looks at everything (and a seal goes unreported).
  bool PushNote(NotedObject noted) const;
  // The store's. False if notes were lost.
  template <typename Visit>
  bool DrainNotes(const Visit& visit) const {
    const uint32_t tail = notes_tail_->load(std::memory_order_seq_cst);
    uint32_t head = notes_head_->load(std::memory_order_relaxed);
    for (uint32_t left = kNotes; head != tail && left > 0; ++head, --left) {
      visit(UnpackNote(notes_[head % kNotes].load(std::memory_order_acquire)));
    }
    notes_head_->store(tail, std::memory_order_release);
    return notes_lost_->exchange(0, std::memory_order_seq_cst) == 0;
  }

  // ---- the region [begin, end) of the arena that the client allocates from.
  void OpenRegion(uint64_t begin) const;
  // The client's: room of `bytes` (a multiple of 64) in its region that ends at `end`; null if it
  // is too small or was closed.
  std::optional<uint64_t> TakeFromRegion(uint64_t end, uint64_t bytes) const;
  // Either side's: nothing is taken any more. What was left begins here; null if it was closed.
  std::optional<uint64_t> CloseRegion() const;
  std::optional<uint64_t> RegionPosition() const;

 private:
  static constexpr uint32_t kNotes = 4096;  // a power of two
  struct Layout;

  ClientSegment(UniqueFd fd, uint8_t* base, uint64_t bytes);
  static NotedObject UnpackNote(uint64_t word);

  const UniqueFd fd_;
  uint8_t* const base_;
  const uint64_t bytes_;
  std::atomic<uint64_t>* const region_;  // position + 1; 0: closed
  std::atomic<uint32_t>* const notes_head_;
  std::atomic<uint32_t>* const notes_tail_;
  std::atomic<uint32_t>* const notes_lost_;
  std::atomic<uint64_t>* const notes_;
  std::atomic<uint32_t>* const pins_used_;  // places from this one on were never used
  std::atomic<uint64_t>* const pins_;
};

}  // namespace rayc::plasma
