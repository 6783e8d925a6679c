// The seam through which time enters: decision logic takes a Clock&, tests pass a FakeClock.
#pragma once

#include <chrono>
#include <cstdint>

namespace rayc {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic, in milliseconds since an arbitrary start.
  virtual int64_t NowMs() const = 0;
};

class SteadyClock final : public Clock {
 public:
  int64_t NowMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

class FakeClock final : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_; }
  void AdvanceMs(int64_t delta_ms) { now_ms_ += delta_ms; }

 private:
  int64_t now_ms_ = 0;
};

}  // namespace rayc
