#include "plasma/allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace rayc::plasma {
namespace {

TEST(AllocatorTest, RoundsUpAndNeverGivesNothing) {
  EXPECT_EQ(Allocator::RoundUp(0), 64U);
  EXPECT_EQ(Allocator::RoundUp(1), 64U);
  EXPECT_EQ(Allocator::RoundUp(64), 64U);
  EXPECT_EQ(Allocator::RoundUp(65), 128U);
}

TEST(AllocatorTest, WholeCapacityIsOneObjectAndComesBack) {
  Allocator allocator(4096);
  EXPECT_FALSE(allocator.Allocate(4097));
  EXPECT_FALSE(allocator.Allocate(~0ULL));
  ASSERT_EQ(allocator.Allocate(4096), 0U);
  EXPECT_EQ(allocator.free_bytes(), 0U);
  EXPECT_FALSE(allocator.Allocate(0));
  EXPECT_TRUE(allocator.Free(0, 4096));
  EXPECT_EQ(allocator.largest_free_run_bytes(), 4096U);
}

TEST(AllocatorTest, FreedMemoryIsUsedAgainBeforeFreshMemory) {
  Allocator allocator(1 << 20);
  const auto first = allocator.Allocate(1000);
  const auto second = allocator.Allocate(1000);
  EXPECT_TRUE(allocator.Free(*first, Allocator::RoundUp(1000)));
  EXPECT_EQ(allocator.Allocate(1000), first);
  EXPECT_TRUE(allocator.Free(*second, Allocator::RoundUp(1000)));
  EXPECT_EQ(allocator.Allocate(1000), second);
}

TEST(AllocatorTest, TakesTheSmallestRunThatFits) {
  Allocator allocator(6400);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(allocator.Allocate(64));
  }
  EXPECT_TRUE(allocator.Free(640, 64));
  for (uint64_t i = 20; i < 25; ++i) EXPECT_TRUE(allocator.Free(64 * i, 64));
  for (uint64_t i = 40; i < 42; ++i) EXPECT_TRUE(allocator.Free(64 * i, 64));
  EXPECT_EQ(allocator.Allocate(128), 64U * 40);
  EXPECT_EQ(allocator.Allocate(64), 64U * 10);
  EXPECT_EQ(allocator.Allocate(320), 64U * 20);
}

// The model: which 64-byte units are taken. Checked after each step of a random history.
class AllocatorHistory : public testing::TestWithParam<uint32_t> {};

TEST_P(AllocatorHistory, AgreesWithTheModel) {
  constexpr uint64_t kUnits = 512;
  constexpr int kSteps = 4000;
  std::mt19937 random(GetParam());
  Allocator allocator(kUnits * 64);
  std::vector<bool> taken(kUnits, false);
  std::map<uint64_t, uint64_t> objects;  // offset -> bytes
  const auto mark = [&](uint64_t offset, uint64_t bytes, bool value) {
    for (uint64_t unit = offset / 64; unit < (offset + Allocator::RoundUp(bytes)) / 64; ++unit) {
      ASSERT_NE(taken[unit], value) << "unit " << unit;
      taken[unit] = value;
    }
  };
  for (int step = 0; step < kSteps; ++step) {
    if (objects.empty() || random() % 5 < 3) {
      const uint64_t bytes = random() % 10 == 0 ? random() % 6400 : random() % 500;
      uint64_t longest = 0;
      uint64_t best = kUnits + 1;  // the shortest free run that fits
      const uint64_t needed = Allocator::RoundUp(bytes) / 64;
      for (uint64_t unit = 0, run = 0; unit <= kUnits; ++unit) {
        if (unit < kUnits && !taken[unit]) {
          ++run;
          continue;
        }
        longest = std::max(longest, run);
        if (run >= needed) best = std::min(best, run);
        run = 0;
      }
      ASSERT_EQ(allocator.largest_free_run_bytes(), longest * 64);
      const auto offset = allocator.Allocate(bytes);
      ASSERT_EQ(offset.has_value(), needed <= longest);
      if (offset) {
        ASSERT_EQ(*offset % 64, 0U);
        uint64_t run = 0;
        for (uint64_t unit = *offset / 64; unit < kUnits && !taken[unit]; ++unit) ++run;
        ASSERT_EQ(run, best);
        mark(*offset, bytes, true);
        objects.emplace(*offset, bytes);
      }
    } else {
      auto it = objects.begin();
      std::advance(it, random() % objects.size());
      EXPECT_TRUE(allocator.Free(it->first, Allocator::RoundUp(it->second)));
      mark(it->first, it->second, false);
      objects.erase(it);
    }
    ASSERT_EQ(allocator.used_bytes(),
              64U * static_cast<uint64_t>(std::count(taken.begin(), taken.end(), true)));
  }
  // The free runs, in order, are the model's.
  uint64_t at = 0;
  while (const auto run = allocator.FreeRunFrom(at)) {
    for (uint64_t unit = at / 64; unit < run->offset / 64; ++unit) ASSERT_TRUE(taken[unit]);
    at = run->offset + run->bytes;
    for (uint64_t unit = run->offset / 64; unit < at / 64; ++unit) ASSERT_FALSE(taken[unit]);
  }
  for (const auto& [offset, bytes] : objects)
    EXPECT_TRUE(allocator.Free(offset, Allocator::RoundUp(bytes)));
  EXPECT_EQ(allocator.largest_free_run_bytes(), kUnits * 64);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AllocatorHistory, testing::Range(1U, 9U));

}  // namespace
}  // namespace rayc::plasma
