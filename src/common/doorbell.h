// How the peers that share memory with this process tell it that there is something to see, with no
// system call while it is awake. Each of them gets a number (a slot) and two descriptors: a page
// with a bit a slot, and the eventfd that ends the sleep of the owner's event loop.
//
//   the owner, before it sleeps       the peer, after it has written
//     says that it sleeps               sets its bit
//     looks at all bits again           wakes the owner if that said that it sleeps
//
// Both steps of each are sequentially consistent, so one of the two sees the other. A peer that
// dies between its two steps, or one that writes nonsense into the page, costs a delay: the owner
// looks at everything once a second, and when a connection ends.
//
// Threads: the owner's functions by one thread at a time; Raise by any.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc {

struct DoorbellPage {
  static constexpr uint32_t kWords = 32;

  // Odd while the owner sleeps, or is about to; another number for each sleep.
  alignas(64) std::atomic<uint32_t> sleeps;
  alignas(64) std::array<std::atomic<uint64_t>, kWords> raised;
};

class Doorbell {
 public:
  static constexpr uint32_t kSlots = DoorbellPage::kWords * 64;

  static Result<std::unique_ptr<Doorbell>> Make();
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  int memory_fd() const { return memory_.get(); }

  // Of the slots below 64 * words.
  bool AnyRaised(uint32_t words) const {
    for (uint32_t word = 0; word < words; ++word) {
      if (page_->raised[word].load() != 0) {
        return true;
      }
    }
    return false;
  }
  // Lowers what is raised, and calls on_slot(slot) for each. Whether there was any.
  template <typename OnSlot>
  bool Take(uint32_t words, OnSlot&& on_slot) {
    bool any = false;
    for (uint32_t word = 0; word < words; ++word) {
      if (page_->raised[word].load(std::memory_order_relaxed) == 0) {
        continue;
      }
      for (uint64_t bits = page_->raised[word].exchange(0); bits != 0; bits &= bits - 1) {
        any = true;
        on_slot(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
      }
    }
    return any;
  }
  void Raise(uint32_t slot) { page_->raised[slot / 64].fetch_or(uint64_t{1} << slot % 64); }

  // Around a sleep; AnyRaised is to be asked after FallAsleep.
  void FallAsleep() { page_->sleeps.store(turn_ += 1 + turn_ % 2); }
  void WakeUp() { page_->sleeps.store(turn_ += turn_ % 2); }

 private:
  Doorbell(UniqueFd memory, DoorbellPage* page) : memory_(std::move(memory)), page_(page) {}

  UniqueFd memory_;
  DoorbellPage* page_;
  uint32_t turn_ = 0;  // ours: what peers write there is not believed
};

// The doorbell of a peer.
class PeerDoorbell {
 public:
  static Result<std::unique_ptr<PeerDoorbell>> Map(UniqueFd memory, UniqueFd event);
  ~PeerDoorbell();
  PeerDoorbell(const PeerDoorbell&) = delete;
  PeerDoorbell& operator=(const PeerDoorbell&) = delete;

  // One thread at a time.
  void Ring(uint32_t slot);

 private:
  PeerDoorbell(DoorbellPage* page, UniqueFd event) : page_(page), event_(std::move(event)) {}

  DoorbellPage* page_;
  UniqueFd event_;
  uint32_t ended_sleep_ = 0;  // the last sleep that we have ended: once is enough
};

}  // namespace rayc
