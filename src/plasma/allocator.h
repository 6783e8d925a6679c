// Which parts of the arena are free; neighbours are joined when freed. Objects get the best fit,
// and break up room for large objects last; regions of many small ones get the lowest place, so
// that those gather there. Among runs that are as good the lowest is taken: memory which was
// touched already is used again first. Pure: it never sees the memory itself. One thread, the
// store's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace rayc::plasma {

class Allocator {
 public:
  static constexpr uint64_t kAlignment = 64;

  struct Run {
    uint64_t offset;
    uint64_t bytes;
  };

  // `capacity_bytes` is a multiple of kAlignment.
  explicit Allocator(uint64_t capacity_bytes);

  // What an object of `bytes` takes: a multiple of kAlignment, never 0. `bytes` <= 2^63.
  static uint64_t RoundUp(uint64_t bytes);

  // Null if no free run is large enough.
  std::optional<uint64_t> Allocate(uint64_t bytes);
  // For a region. The lowest run of at least bytes_min, and bytes_max of it at most: it fills the
  // gaps between what is large.
  std::optional<Run> AllocateBetween(uint64_t bytes_min, uint64_t bytes_max);
  // Any part of what was allocated, by multiples of kAlignment. False, and nothing is done, if some
  // of it is free already or outside.
  bool Free(uint64_t offset, uint64_t bytes);

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  uint64_t used_bytes() const { return used_bytes_; }
  uint64_t free_bytes() const { return capacity_bytes_ - used_bytes_; }
  uint64_t largest_free_run_bytes() const;
  // The first free run that ends behind `offset`.
  std::optional<Run> FreeRunFrom(uint64_t offset) const;
  // The largest one; of several the lowest.
  std::optional<Run> LargestFreeRun() const;
  // Empty if its two views agree; else what is wrong.
  std::string Check() const;

 private:
  using BySize = std::set<std::pair<uint64_t, uint64_t>>;

  void Insert(uint64_t offset, uint64_t bytes);
  void Erase(uint64_t offset, uint64_t bytes);
  BySize::const_iterator BestFit(uint64_t bytes) const;
  // Takes bytes_max of it at most.
  Run Take(uint64_t offset, uint64_t run_bytes, uint64_t bytes_max);

  const uint64_t capacity_bytes_;
  uint64_t used_bytes_ = 0;
  // The same runs twice; no two of them touch.
  std::map<uint64_t, uint64_t> by_offset_;  // offset -> bytes
  BySize by_size_;                          // (bytes, offset)
  std::map<uint64_t, uint64_t> roomy_;      // those of them that are large enough for regions
};

}  // namespace rayc::plasma
