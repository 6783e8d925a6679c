#include "plasma/allocator.h"

#include <algorithm>
#include <iterator>

#include "common/logging.h"

namespace rayc::plasma {
namespace {

// Free runs are worth keeping for objects of this size.
constexpr uint64_t kLargeBytes = 8ULL << 20;
constexpr uint64_t kRoomyBytes = 64ULL << 10;
// How many runs are compared.
constexpr int kLooksMax = 256;

// How many objects of kLargeBytes find no room any more when `bytes` are taken from a run.
uint64_t LargeLost(uint64_t run_bytes, uint64_t bytes) {
  return run_bytes / kLargeBytes - (run_bytes - bytes) / kLargeBytes;
}

}  // namespace

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
  if (bytes >= kRoomyBytes) {
    roomy_.emplace(offset, bytes);
  }
}

void Allocator::Erase(uint64_t offset, uint64_t bytes) {
  by_offset_.erase(offset);
  by_size_.erase({bytes, offset});
  if (bytes >= kRoomyBytes) {
    roomy_.erase(offset);
  }
}

Allocator::Run Allocator::Take(uint64_t offset, uint64_t run_bytes, uint64_t bytes_max) {
  const uint64_t taken = std::min(run_bytes, bytes_max);
  Erase(offset, run_bytes);
  if (run_bytes > taken) {
    Insert(offset + taken, run_bytes - taken);
  }
  used_bytes_ += taken;
  return Run{offset, taken};
}

// Of the runs that lose the least room for large objects, the one with the least left over beside
// that room.
Allocator::BySize::const_iterator Allocator::BestFit(uint64_t bytes) const {
  auto best = by_size_.lower_bound({bytes, 0});
  if (best == by_size_.end() || best->first < kLargeBytes || bytes >= kLargeBytes) {
    return best;
  }
  auto run = best;
  for (int looks = 0; ++run != by_size_.end() && looks < kLooksMax; ++looks) {
    const auto price = [bytes](uint64_t run_bytes) {
      return std::pair(LargeLost(run_bytes, bytes), run_bytes % kLargeBytes);
    };
    if (price(run->first) < price(best->first)) {
      best = run;
    }
  }
  return best;
}

std::optional<uint64_t> Allocator::Allocate(uint64_t bytes) {
  if (bytes > capacity_bytes_) {
    return std::nullopt;
  }
  const uint64_t taken = RoundUp(bytes);
  const auto fit = BestFit(taken);
  if (fit == by_size_.end()) {
    return std::nullopt;
  }
  return Take(fit->second, fit->first, taken).offset;
}

std::optional<Allocator::Run> Allocator::AllocateBetween(uint64_t bytes_min, uint64_t bytes_max) {
  int looks = 0;
  for (auto run = roomy_.begin(); run != roomy_.end() && looks < kLooksMax; ++run, ++looks) {
    if (run->second >= bytes_min) {
      return Take(run->first, run->second, bytes_max);
    }
  }
  const auto fit = by_size_.lower_bound({bytes_min, 0});
  if (fit == by_size_.end()) {
    return std::nullopt;
  }
  return Take(fit->second, fit->first, bytes_max);
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
      Erase(previous->first, previous->second);
    }
  }
  if (next != by_offset_.end() && offset + freed == next->first) {
    freed += next->second;
    Erase(next->first, next->second);
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
