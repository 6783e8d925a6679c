// Gives memory back to the system when the store stays mostly empty: some seconds after the last
// deletion, if much more is resident than in use. In small steps, so that the loop, which may be a
// raylet's, is never held up. Costs nothing while nothing is deleted. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "common/event_loop.h"
#include "plasma/allocator.h"
#include "plasma/arena.h"

namespace rayc::plasma {

struct ArenaTrimmerOptions {
  int64_t quiet_ms = 5000;  // since the last creation
  // Resident but unused memory that is not worth the work; more than is made ahead of use.
  uint64_t kept_free_bytes = 64U << 20;
  uint64_t step_bytes = 16U << 20;
};

class ArenaTrimmer {
 public:
  using Options = ArenaTrimmerOptions;

  struct Hooks {
    std::function<void()> quiet;  // the store has been quiet: what is unused may be called back
    std::function<void(uint64_t offset, uint64_t bytes)> given_back;
  };

  // All outlive the trimmer.
  ArenaTrimmer(EventLoop& loop, const Arena& arena, const Allocator& allocator, Options options,
               Hooks hooks);
  ~ArenaTrimmer();

  void OnCreated();
  void OnFreed();

 private:
  void Schedule(int64_t delay_ms);
  void OnTimer();
  void GiveBackOneStep();

  EventLoop& loop_;
  const Arena& arena_;
  const Allocator& allocator_;
  const Options options_;
  const Hooks hooks_;
  EventLoop::TimerId timer_ = 0;  // 0: none is set
  int64_t last_created_ms_ = 0;
  bool trimming_ = false;
  uint64_t cursor_ = 0;  // while trimming: what lies below is done
};

}  // namespace rayc::plasma
