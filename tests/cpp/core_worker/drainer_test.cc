#include "core_worker/drainer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace rayc::core_worker {
namespace {

constexpr int kLongMs = 60'000;

TEST(DrainerTest, DefaultHolderServesTheLoop) {
  EventLoop loop;
  Drainer drainer(loop);
  drainer.Start();
  std::atomic<bool> ran{false};
  loop.Post([&] {
    ran.store(true);
    ran.notify_all();
  });
  ran.wait(false);
}

TEST(DrainerTest, WaiterServesTheLoopItself) {
  EventLoop loop;
  Drainer drainer(loop);  // no default holder
  std::atomic<bool> done{false};
  loop.Post([&] { done.store(true); });
  EXPECT_EQ(drainer.WaitUntil(done, -1, kLongMs), Drainer::Outcome::kDone);
}

TEST(DrainerTest, TimesOutAndLooksAtSignalsInSlices) {
  EventLoop loop;
  Drainer drainer(loop);
  const std::atomic<bool> done{false};
  EXPECT_EQ(drainer.WaitUntil(done, 0, kLongMs), Drainer::Outcome::kTimeout);
  EXPECT_EQ(drainer.WaitUntil(done, 5, kLongMs), Drainer::Outcome::kTimeout);
  EXPECT_EQ(drainer.WaitUntil(done, -1, 5), Drainer::Outcome::kInterrupted);
}

TEST(DrainerTest, WaiterThatDoesNotDrainIsWokenByTheOneThatDoes) {
  EventLoop loop;
  Drainer drainer(loop);
  drainer.Start();
  std::atomic<bool> first{false};
  std::atomic<bool> second{false};
  std::thread one(
      [&] { EXPECT_EQ(drainer.WaitUntil(first, -1, kLongMs), Drainer::Outcome::kDone); });
  std::thread two(
      [&] { EXPECT_EQ(drainer.WaitUntil(second, -1, kLongMs), Drainer::Outcome::kDone); });
  loop.RunAfter(20, [&] {
    second.store(true);
    drainer.Notify();
  });
  two.join();
  loop.RunAfter(20, [&] {
    first.store(true);
    drainer.Notify();
  });
  one.join();
}

TEST(DrainerTest, NotifyFromAThreadOutsideEndsTheWait) {
  EventLoop loop;
  Drainer drainer(loop);
  drainer.Start();
  for (int i = 0; i < 200; ++i) {
    std::atomic<bool> done{false};
    std::thread setter([&] {
      done.store(true);
      drainer.Notify();
    });
    EXPECT_EQ(drainer.WaitUntil(done, -1, kLongMs), Drainer::Outcome::kDone);
    setter.join();
  }
}

// Many threads wait for many events, posted from outside: each wait must end.
TEST(DrainerTest, ManyWaitersNeverMissTheirEvent) {
  EventLoop loop;
  Drainer drainer(loop);
  drainer.Start();
  constexpr int kThreads = 6;
  constexpr int kRounds = 500;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const auto done = std::make_shared<std::atomic<bool>>(false);
        const auto set = [&drainer, done] {
          done->store(true);
          drainer.Notify();
        };
        if ((i + t) % 50 == 0) {
          loop.RunAfter(3, set);  // long enough for the default holder to take over
        } else {
          loop.Post(set);
        }
        ASSERT_EQ(drainer.WaitUntil(*done, -1, kLongMs), Drainer::Outcome::kDone);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(DrainerTest, StopEndsTheDefaultHolderInEveryState) {
  for (int delay_ms : {0, 1, 5, 40}) {
    EventLoop loop;
    Drainer drainer(loop);
    drainer.Start();
    std::atomic<bool> done{false};
    drainer.WaitUntil(done, delay_ms, kLongMs);
    drainer.Stop();
  }
}

}  // namespace
}  // namespace rayc::core_worker
