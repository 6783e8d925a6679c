#include "plasma/copy.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace rayc::plasma {
namespace {

constexpr size_t kMib = 1UL << 20;

// No two bytes near each other are alike in a way that a shifted copy would pass for.
std::vector<uint8_t> Pattern(size_t bytes) {
  std::vector<uint8_t> pattern(bytes);
  uint32_t state = 1;
  for (uint8_t& byte : pattern) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return pattern;
}

// Copies with guard bytes on both sides.
void ExpectCopied(size_t bytes, size_t to_offset, size_t from_offset) {
  constexpr uint8_t kGuard = 0xA5;
  constexpr size_t kGuardBytes = 128;
  const std::vector<uint8_t> from = Pattern(from_offset + bytes);
  std::vector<uint8_t> to(to_offset + bytes + 2 * kGuardBytes, kGuard);
  uint8_t* const target = to.data() + kGuardBytes + to_offset;
  CopyBytes(target, from.data() + from_offset, bytes);
  ASSERT_TRUE(
      std::equal(target, target + bytes, from.begin() + static_cast<ptrdiff_t>(from_offset)))
      << bytes;
  for (size_t i = 0; i < kGuardBytes; ++i) {
    ASSERT_EQ(target[-1 - static_cast<ptrdiff_t>(i)], kGuard) << bytes;
    ASSERT_EQ(target[bytes + i], kGuard) << bytes;
  }
}

TEST(CopyTest, CopiesAnySizeToAnyAlignment) {
  for (const size_t bytes : {0UL, 1UL, 63UL, 4097UL, kMib - 1, kMib, kMib + 1, 3 * kMib + 255}) {
    for (const size_t to_offset : {0UL, 1UL, 63UL}) {
      for (const size_t from_offset : {0UL, 7UL}) {
        ExpectCopied(bytes, to_offset, from_offset);
      }
    }
  }
}

TEST(CopyTest, CopiesLargeOnesInParts) {
  ExpectCopied(40 * kMib, 0, 0);
  ExpectCopied(33 * kMib + 12345, 17, 3);
}

TEST(CopyTest, NothingIsCopiedFromNowhere) { CopyBytes(nullptr, nullptr, 0); }

TEST(CopyTest, OneCpuIsEnough) {
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(::sched_getcpu(), &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
    ExpectCopied(33 * kMib, 0, 0);
  }).join();
}

// A fork of a process that has copied with threads has none of them.
TEST(CopyTest, AForkedChildCopies) {
  const std::vector<uint8_t> from = Pattern(33 * kMib);
  std::vector<uint8_t> to(from.size());
  CopyBytes(to.data(), from.data(), from.size());
  std::memset(to.data(), 0, to.size());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    CopyBytes(to.data(), from.data(), from.size());
    ::_exit(to == from ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(CopyTest, ManyThreadsCopyAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] { ExpectCopied(17 * kMib, 5, 0); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace
}  // namespace rayc::plasma
