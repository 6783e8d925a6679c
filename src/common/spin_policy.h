// How long a thread that waits for a peer looks for it before it sleeps. Ending a sleep costs tens
// of microseconds where the cores are those of a virtual machine, and a peer's answer often takes
// less. But who looks in vain takes the core from somebody: perhaps from that very peer.
//
// So the waits that were short before are expected to be short again, and where looking did not
// help although the wait was short, it is left out for a while, twice as long each time. Pure; one
// user.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rayc {

class SpinPolicy {
 public:
  static constexpr int64_t kSpinNs = 50'000;
  // A wait that takes longer says that the next will, too.
  static constexpr int64_t kShortWaitNs = 150'000;
  static constexpr int kMissesAllowed = 2;
  static constexpr int kSkippedMax = 1024;

  // cpus: on which the process may run. On one, nobody can answer while we look.
  explicit SpinPolicy(int cpus) : can_help_(cpus > 1) {}

  // For the wait that begins now.
  int64_t BudgetNs() {
    if (!can_help_ || !expects_short_) {
      return 0;
    }
    if (skipped_ > 0) {
      --skipped_;
      return 0;
    }
    return kSpinNs;
  }
  void OnFound() {
    misses_ = 0;
    expects_short_ = true;
  }
  // spun: whether it had looked before it slept; waited_ns: both together.
  void OnSlept(bool spun, int64_t waited_ns) {
    expects_short_ = waited_ns <= kShortWaitNs;
    if (spun && ++misses_ > kMissesAllowed) {
      skipped_ = std::min(1 << std::min(misses_, 20), kSkippedMax);
    }
  }

 private:
  const bool can_help_;
  bool expects_short_ = false;
  int misses_ = 0;   // in a row
  int skipped_ = 0;  // waits to come without looking
};

}  // namespace rayc
