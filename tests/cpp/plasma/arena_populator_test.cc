#include "plasma/arena_populator.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "plasma/arena.h"

namespace rayc::plasma {
namespace {

constexpr uint64_t kMib = 1ULL << 20;
constexpr uint64_t kChunk = Arena::kChunkBytes;

std::shared_ptr<const Arena> MakeArena(uint64_t bytes) {
  auto arena = Arena::Create(bytes);
  EXPECT_TRUE(arena.has_value());
  return *arena;
}

std::shared_ptr<const Arena> Mapped(const Arena& arena) {
  auto mapped = Arena::Map(UniqueFd(::dup(arena.fd())), arena.bytes());
  EXPECT_TRUE(mapped.has_value());
  return *mapped;
}

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

bool Settles(const Arena& arena, uint64_t bytes) {
  const bool reached = Eventually([&] { return arena.ResidentBytes() >= bytes; });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return reached && arena.ResidentBytes() <= bytes + kChunk;
}

TEST(ArenaPagesTest, PreparedMemoryIsThereAndKeepsWhatItHeld) {
  const auto arena = MakeArena(16 * kMib + 4096);
  const auto client = Mapped(*arena);
  std::memset(client->At(3 * kMib), 7, kMib);
  client->Prepare(3 * kMib + kMib / 2, 10 * kMib);
  EXPECT_GE(arena->ResidentBytes(), 10 * kMib);
  EXPECT_LE(arena->ResidentBytes(), 14 * kMib);
  EXPECT_EQ(*client->At(3 * kMib), 7);
  EXPECT_EQ(*client->At(4 * kMib - 1), 7);
  EXPECT_EQ(*client->At(4 * kMib), 0);
  client->Prepare(0, arena->bytes());
  EXPECT_EQ(arena->ResidentBytes(), arena->bytes());
  client->Prepare(arena->bytes(), 1);  // not in it
  client->Prepare(0, 0);
}

TEST(ArenaPagesTest, MemoryThatWasGivenBackIsMadeAgain) {
  const auto arena = MakeArena(16 * kMib);
  const auto client = Mapped(*arena);
  client->Prepare(0, 16 * kMib);
  std::memset(client->At(0), 1, 16 * kMib);
  ASSERT_TRUE(arena->GiveBack(4 * kMib, 8 * kMib).ok());
  EXPECT_EQ(arena->ResidentBytes(), 8 * kMib);
  client->Prepare(4 * kMib, 8 * kMib);
  EXPECT_EQ(arena->ResidentBytes(), 16 * kMib);
  EXPECT_EQ(*client->At(4 * kMib), 0);
  EXPECT_EQ(*client->At(4 * kMib - 1), 1);
}

TEST(ArenaPagesTest, TheStoreMakesPagesWithoutAMapping) {
  const auto arena = MakeArena(16 * kMib + 4096);
  const auto client = Mapped(*arena);
  *client->At(5 * kMib) = 9;
  ASSERT_TRUE(arena->MakePages(5 * kMib, 3 * kMib).ok());
  EXPECT_GE(arena->ResidentBytes(), 3 * kMib);
  EXPECT_LE(arena->ResidentBytes(), 4 * kMib);
  ASSERT_TRUE(arena->MakePages(0, arena->bytes()).ok());
  EXPECT_EQ(arena->ResidentBytes(), arena->bytes());
  EXPECT_EQ(*client->At(5 * kMib), 9);
  EXPECT_EQ(*client->At(0), 0);
}

TEST(ArenaPopulatorTest, DoesNothingUnasked) {
  const auto arena = MakeArena(64 * kMib);
  const ArenaPopulator populator(arena, {});
  EXPECT_EQ(arena->ResidentBytes(), 0U);
}

TEST(ArenaPopulatorTest, AStockIsKeptWhereMemoryWillBeUsedNext) {
  const auto arena = MakeArena(64 * kMib);
  ArenaPopulator populator(arena, {.ahead_bytes = 16 * kMib, .start_delay_ms = 0, .quiet_ms = 0});
  populator.KeepAhead(0, 64 * kMib);
  EXPECT_TRUE(Settles(*arena, 16 * kMib));
  populator.KeepAhead(2 * kMib, 64 * kMib);  // not yet worth waking for
  EXPECT_TRUE(Settles(*arena, 16 * kMib));
  populator.KeepAhead(8 * kMib, 64 * kMib);
  EXPECT_TRUE(Settles(*arena, 24 * kMib));
  populator.KeepAhead(56 * kMib, 64 * kMib);  // no further than the end
  EXPECT_TRUE(Settles(*arena, 32 * kMib));
}

TEST(ArenaPopulatorTest, StartUpComesFirst) {
  const auto arena = MakeArena(64 * kMib);
  ArenaPopulator populator(arena, {.start_delay_ms = 300});
  populator.KeepAhead(0, 64 * kMib);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(arena->ResidentBytes(), 0U);
  EXPECT_TRUE(Settles(*arena, 56 * kMib));
}

TEST(ArenaPopulatorTest, WhatWasGivenBackIsNotMade) {
  const auto arena = MakeArena(64 * kMib);
  ArenaPopulator populator(arena, {.ahead_bytes = 16 * kMib, .start_delay_ms = 300});
  populator.KeepAhead(0, 64 * kMib);
  populator.OnGivenBack(0, 64 * kMib);
  populator.KeepAhead(32 * kMib, 40 * kMib);  // the last call counts
  EXPECT_TRUE(Settles(*arena, 8 * kMib));
  // Nothing is known of what lies there any more: it is made again for the next who writes.
  populator.OnGivenBack(32 * kMib, 8 * kMib);
  ASSERT_TRUE(arena->GiveBack(32 * kMib, 8 * kMib).ok());
  populator.KeepAhead(32 * kMib, 40 * kMib);
  EXPECT_TRUE(Settles(*arena, 8 * kMib));
}

TEST(ArenaPopulatorTest, EndsInTheMiddle) {
  const auto arena = MakeArena(1024 * kMib);
  ArenaPopulator populator(arena, {.ahead_bytes = 1024 * kMib, .start_delay_ms = 0, .quiet_ms = 0});
  populator.KeepAhead(0, 1024 * kMib);
}

}  // namespace
}  // namespace rayc::plasma
