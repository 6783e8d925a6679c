// Makes pages of the arena ahead of use, in a thread of its own at low priority: a page that is
// first touched by a writer costs it more than the copy does.
//
// A stock is kept where memory will be used next, after start and after each grant, of
// `ahead_bytes`: under 64 MB, as it is made for nobody yet. The rest of a large object is its
// writer's to make (Arena::Prepare): a thread that makes it ahead of him gains nothing, both being
// bound by the same locks of the kernel and the same memory.
//
// Any thread calls; the arena outlives the populator. Costs nothing while nothing is asked for.
#pragma once

#include <cstdint>
#include <memory>

#include "plasma/arena.h"

namespace rayc::plasma {

struct ArenaPopulatorOptions {
  uint64_t ahead_bytes = 56ULL << 20;
  int64_t start_delay_ms = 200;  // start-up comes first
  int64_t quiet_ms = 100;        // since the last grant: who was given memory is writing to it now
};

class ArenaPopulator {
 public:
  using Options = ArenaPopulatorOptions;
  ArenaPopulator(std::shared_ptr<const Arena> arena, Options options);
  ~ArenaPopulator();  // ends the thread at once
  ArenaPopulator(const ArenaPopulator&) = delete;
  ArenaPopulator& operator=(const ArenaPopulator&) = delete;

  // New memory will be taken from here on: keeps options.ahead_bytes of it made. The last call
  // counts. `end`: no further than this.
  void KeepAhead(uint64_t offset, uint64_t end);
  // What was given back to the system is not made any more.
  void OnGivenBack(uint64_t offset, uint64_t bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rayc::plasma
