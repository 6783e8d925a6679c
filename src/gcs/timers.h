// The seam through which the GCS waits: managers take a Timers&, tests pass one that they advance
// by hand. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>

#include "common/event_loop.h"

namespace rayc::gcs {

class Timers {
 public:
  using Id = uint64_t;
  virtual ~Timers() = default;
  virtual Id RunAfter(int64_t delay_ms, std::function<void()> function) = 0;
  virtual void Cancel(Id id) = 0;  // of one that has run: nothing
};

// On an event loop that outlives it; what still waits is cancelled by the destructor.
class LoopTimers final : public Timers {
 public:
  explicit LoopTimers(EventLoop& loop) : loop_(loop) {}
  ~LoopTimers() override {
    for (const auto& [id, timer] : waiting_) {
      loop_.CancelTimer(timer);
    }
  }
  LoopTimers(const LoopTimers&) = delete;
  LoopTimers& operator=(const LoopTimers&) = delete;

  Id RunAfter(int64_t delay_ms, std::function<void()> function) override {
    const Id id = next_id_++;
    waiting_[id] = loop_.RunAfter(delay_ms, [this, id, function = std::move(function)] {
      waiting_.erase(id);
      function();
    });
    return id;
  }
  void Cancel(Id id) override {
    const auto it = waiting_.find(id);
    if (it != waiting_.end()) {
      loop_.CancelTimer(it->second);
      waiting_.erase(it);
    }
  }

 private:
  EventLoop& loop_;
  Id next_id_ = 1;
  std::unordered_map<Id, EventLoop::TimerId> waiting_;
};

}  // namespace rayc::gcs
