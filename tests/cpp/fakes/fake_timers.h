// Timers that run when the test lets time pass.
#pragma once

#include <functional>
#include <map>
#include <utility>

#include "gcs/timers.h"

namespace rayc::testing {

class FakeTimers final : public gcs::Timers {
 public:
  Id RunAfter(int64_t delay_ms, std::function<void()> function) override {
    const Id id = next_id_++;
    waiting_[{now_ms_ + delay_ms, id}] = std::move(function);
    return id;
  }
  void Cancel(Id id) override {
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      if (it->first.second == id) {
        waiting_.erase(it);
        return;
      }
    }
  }
  void AdvanceMs(int64_t delta_ms) {
    now_ms_ += delta_ms;
    while (!waiting_.empty() && waiting_.begin()->first.first <= now_ms_) {
      const auto function = std::move(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
      function();
    }
  }
  size_t waiting() const { return waiting_.size(); }

 private:
  int64_t now_ms_ = 0;
  Id next_id_ = 1;
  std::map<std::pair<int64_t, Id>, std::function<void()>> waiting_;  // by due time
};

}  // namespace rayc::testing
