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
  const auto fit = by_size_.lower_bound({taken, 0});
  if (fit == by_size_.end()) {
    return std::nullopt;
  }
  const auto [run_bytes, offset] = *fit;
  by_size_.erase(fit);
  by_offset_.erase(offset);
  if (run_bytes > taken) {
    Insert(offset + taken, run_bytes - taken);
  }
  used_bytes_ += taken;
  return offset;
}

void Allocator::Free(uint64_t offset, uint64_t bytes) {
  uint64_t freed = RoundUp(bytes);
  RAYC_CHECK(freed <= used_bytes_ && offset <= capacity_bytes_ - freed) << offset << " " << bytes;
  used_bytes_ -= freed;
  const auto next = by_offset_.lower_bound(offset);
  RAYC_CHECK(next == by_offset_.end() || offset + freed <= next->first)
      << "freed twice: " << offset;
  if (next != by_offset_.begin()) {
    const auto previous = std::prev(next);
    const uint64_t previous_end = previous->first + previous->second;
    RAYC_CHECK(previous_end <= offset) << "freed twice: " << offset;
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

}  // namespace rayc::plasma
