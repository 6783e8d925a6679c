// How the workers and drivers of this node ended: a bounded memory, and those who wait for an
// entry. Owned by Node; loop thread only.
#pragma once

#include <deque>
#include <functional>
#include <unordered_map>
#include <vector>

#include "common/event_loop.h"
#include "common/ids.h"
#include "protocol/raylet_generated.h"

namespace rayc::raylet {

class DeathLog {
 public:
  using Answer = std::function<void(const fb::WorkerDeathT&)>;

  explicit DeathLog(EventLoop& loop) : loop_(loop) {}
  ~DeathLog();

  void Record(const WorkerId& worker, const fb::WorkerDeathT& death);
  // At once if it is known or was never here; else with the end of the worker, but not later than
  // kWaitMs: whoever asks has lost his connection to it, and a worker can outlive that.
  void Ask(const WorkerId& worker, bool is_alive, Answer answer);

 private:
  static constexpr int64_t kWaitMs = 2'000;
  static constexpr size_t kRecordsMax = 1'000;  // the oldest go: their owners have asked long ago

  struct Waiter {
    Answer answer;
    EventLoop::TimerId timer;
  };

  EventLoop& loop_;
  std::unordered_map<WorkerId, fb::WorkerDeathT> records_;
  std::deque<WorkerId> order_;
  std::unordered_map<WorkerId, std::vector<Waiter>> waiters_;
};

}  // namespace rayc::raylet
