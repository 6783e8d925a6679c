#include "plasma/allocator.h"

#include <algorithm>
#include <iterator>

#include "common/logging.h"

namespace rayc::plasma {

Allocator::Allocator(uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {
  RAYC_CHECK(capacity_bytes % kAlignment == 0) << capacity_bytes;
  if (capacity_bytes > 0) {
    Insert(0, capacity_bytes);
  }
}

uint64_t Allocator::RoundUp(uint64_t bytes) {
  return std::max(kAlignment, (bytes + kAlignment - 1) & ~(kAlignment - 1));
}

void Allocator::Insert(uint64_t offset, uint64_t bytes) {
  by_offset_.emplace(offset, bytes);
  by_size_.emplace(bytes, offset);
}

std::optional<uint64_t> Allocator::Allocate(uint64_t bytes) {
  if (bytes > capacity_bytes_) {
    return std::nullopt;
  }
  const uint64_t taken = RoundUp(bytes);
  const auto run = AllocateBetween(taken, taken);
  return run ? std::optional(run->offset) : std::nullopt;
}

std::optional<Allocator::Run> Allocator::AllocateBetween(uint64_t bytes_min, uint64_t bytes_max) {
  const auto fit = by_size_.lower_bound({bytes_min, 0});
  if (fit == by_size_.end()) {
    return std::nullopt;
  }
  const auto [run_bytes, offset] = *fit;
  const uint64_t taken = std::min(run_bytes, bytes_max);
  by_size_.erase(fit);
  by_offset_.erase(offset);
  if (run_bytes > taken) {
    Insert(offset + taken, run_bytes - taken);
  }
  used_bytes_ += taken;
  return Run{offset, taken};
}

bool Allocator::Free(uint64_t offset, uint64_t bytes) {
  uint64_t freed = bytes;
  if (bytes == 0 || bytes % kAlignment != 0 || offset % kAlignment != 0 || freed > used_bytes_ ||
      offset > capacity_bytes_ - freed) {
    return false;
  }
  const auto next = by_offset_.lower_bound(offset);
  if (next != by_offset_.end() && offset + freed > next->first) {
    return false;
  }
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second > offset) {
      return false;
    }
  }
  used_bytes_ -= freed;
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    const uint64_t previous_end = previous->first + previous->second;
    if (previous_end == offset) {
      offset = previous->first;
      freed += previous->second;
      by_size_.erase({previous->second, previous->first});
      by_offset_.erase(previous);
    }
  }
  if (next != by_offset_.end() && offset + freed == next->first) {
    freed += next->second;
    by_size_.erase({next->second, next->first});
    by_offset_.erase(next);
  }
  Insert(offset, freed);
  return true;
}

uint64_t Allocator::largest_free_run_bytes() const {
  return by_size_.empty() ? 0 : by_size_.rbegin()->first;
}

std::optional<Allocator::Run> Allocator::FreeRunFrom(uint64_t offset) const {
  auto run = by_offset_.upper_bound(offset);
  if (run != by_offset_.begin()) {
    const auto previous = std::prev(run);
    if (previous->first + previous->second > offset) {
      run = previous;
    }
  }
  if (run == by_offset_.end()) {
    return std::nullopt;
  }
  return Run{run->first, run->second};
}

std::optional<Allocator::Run> Allocator::LargestFreeRun() const {
  if (by_size_.empty()) {
    return std::nullopt;
  }
  const auto largest = by_size_.lower_bound({by_size_.rbegin()->first, 0});
  return Run{largest->second, largest->first};
}

std::string Allocator::Check() const {
  uint64_t free = 0;
  uint64_t end = 0;
  for (const auto& [offset, bytes] : by_offset_) {
    if (free > 0 && offset <= end) return "free runs touch at " + std::to_string(offset);
    if (!by_size_.contains({bytes, offset})) return "a free run is known by its place alone";
    free += bytes;
    end = offset + bytes;
  }
  if (end > capacity_bytes_) return "a free run reaches out of the arena";
  if (by_size_.size() != by_offset_.size()) return "a free run is known by its size alone";
  if (free != free_bytes()) return "the allocator counts other bytes than it has";
  return {};
}

}  // namespace rayc::plasma
