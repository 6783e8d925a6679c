#include "common/event_loop.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"

namespace rayc {
namespace {

struct Pipe {
  Pipe() {
    int fds[2];
    EXPECT_EQ(::pipe(fds), 0);
    reader.Reset(fds[0]);
    writer.Reset(fds[1]);
  }
  void Write() { EXPECT_EQ(::write(writer.get(), "x", 1), 1); }
  UniqueFd reader;
  UniqueFd writer;
};

// Runs the loop in the calling thread until `done` or for at most ten seconds.
template <typename Done>
bool RunUntil(EventLoop& loop, Done done) {
  const int64_t end_ms = SteadyClock().NowMs() + 10'000;
  while (!done()) {
    if (SteadyClock().NowMs() > end_ms) {
      return false;
    }
    loop.RunOnce(100);
  }
  return true;
}

TEST(EventLoopTest, TimersRunInTheOrderOfTheirTime) {
  EventLoop loop;
  std::string order;
  loop.RunAfter(30, [&] { order += 'c'; });
  loop.RunAfter(10, [&] { order += 'a'; });
  loop.RunAfter(20, [&] { order += 'b'; });
  const auto cancelled = loop.RunAfter(15, [&] { order += 'x'; });
  loop.CancelTimer(cancelled);
  loop.CancelTimer(12345);  // unknown: nothing
  const int64_t begin_ms = SteadyClock().NowMs();
  ASSERT_TRUE(RunUntil(loop, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, "abc");
  EXPECT_GE(SteadyClock().NowMs() - begin_ms, 29);
}

TEST(EventLoopTest, AVeryLateTimerDelaysNothing) {
  EventLoop loop;
  bool ran = false;
  loop.RunAfter(INT64_MAX, [] { FAIL(); });
  loop.RunAfter(int64_t{1} << 33, [] { FAIL(); });
  loop.RunAfter(1, [&] { ran = true; });
  EXPECT_TRUE(RunUntil(loop, [&] { return ran; }));
}

TEST(EventLoopTest, RunOnceReportsWhatHappened) {
  EventLoop loop;
  EXPECT_EQ(loop.RunOnce(0), EventLoop::Poll::kTimeout);
  loop.Post([] {});
  EXPECT_EQ(loop.RunOnce(-1), EventLoop::Poll::kProgress);
  loop.Wake();
  EXPECT_EQ(loop.RunOnce(-1), EventLoop::Poll::kProgress);
  EXPECT_EQ(loop.RunOnce(5), EventLoop::Poll::kTimeout);
}

TEST(EventLoopTest, PostsFromManyThreadsAllRunOnTheLoop) {
  EventLoop loop;
  constexpr int kThreads = 4;
  constexpr int kPosts = 2'000;
  int ran = 0;  // loop thread only
  bool in_order = true;
  std::vector<int> last(kThreads, -1);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop.Post([&, t, i] {
          in_order = in_order && last[t] == i - 1 && loop.OnLoop();
          last[t] = i;
          ++ran;
        });
      }
    });
  }
  EXPECT_TRUE(RunUntil(loop, [&] { return ran == kThreads * kPosts; }));
  EXPECT_TRUE(in_order);
  EXPECT_FALSE(loop.OnLoop());
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(EventLoopTest, APostFromACallbackRunsInTheNextTurnWithoutWaiting) {
  EventLoop loop;
  int stage = 0;
  loop.Post([&] {
    stage = 1;
    loop.Post([&] { stage = 2; });
  });
  loop.RunOnce(-1);
  EXPECT_EQ(stage, 1);
  loop.RunOnce(-1);
  EXPECT_EQ(stage, 2);
}

TEST(EventLoopTest, StopEndsRunFromAnotherThread) {
  EventLoop loop;
  std::thread thread([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    loop.Stop();
  });
  loop.Run();
  thread.join();
}

TEST(EventLoopTest, AnEarlierTimerFromAnotherThreadShortensTheWait) {
  EventLoop loop;
  bool ran = false;
  std::thread thread([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    loop.RunAfter(5, [&] { ran = true; });
  });
  loop.RunAfter(60'000, [] {});
  EXPECT_TRUE(RunUntil(loop, [&] { return ran; }));
  thread.join();
}

TEST(EventLoopTest, ReadyDescriptorsRunTheirCallbacksUntilRemoved) {
  EventLoop loop;
  Pipe pipe;
  int calls = 0;
  loop.AddFd(pipe.reader.get(), EPOLLIN, [&](uint32_t events) {
    EXPECT_NE(events & EPOLLIN, 0U);
    ++calls;
  });
  pipe.Write();
  loop.RunOnce(-1);
  loop.RunOnce(-1);  // level-triggered
  EXPECT_EQ(calls, 2);
  loop.ModifyFd(pipe.reader.get(), 0);
  loop.RunOnce(0);
  EXPECT_EQ(calls, 2);
  loop.ModifyFd(pipe.reader.get(), EPOLLIN);
  loop.RemoveFd(pipe.reader.get());
  loop.RemoveFd(pipe.reader.get());  // twice is nothing
  loop.ModifyFd(pipe.reader.get(), EPOLLIN);
  loop.RunOnce(0);
  EXPECT_EQ(calls, 2);
}

TEST(EventLoopTest, RemovalDuringDispatchHoldsForTheSameBatch) {
  EventLoop loop;
  Pipe a;
  Pipe b;
  int calls = 0;
  // Both are ready in one batch; whichever runs first takes the other away, and itself.
  const auto callback = [&](uint32_t /*events*/) {
    ++calls;
    loop.RemoveFd(a.reader.get());
    loop.RemoveFd(b.reader.get());
  };
  loop.AddFd(a.reader.get(), EPOLLIN, callback);
  loop.AddFd(b.reader.get(), EPOLLIN, callback);
  a.Write();
  b.Write();
  loop.RunOnce(-1);
  EXPECT_EQ(calls, 1);
}

TEST(EventLoopTest, AReusedNumberIsNotTakenForTheOldDescriptor) {
  EventLoop loop;
  Pipe first;
  auto second = std::make_unique<Pipe>();
  bool stale = false;
  loop.AddFd(first.reader.get(), EPOLLIN, [&](uint32_t /*events*/) {
    // The number of the other, which is ready in this same batch, now means something else.
    const int number = second->reader.get();
    loop.RemoveFd(number);
    second.reset();
    Pipe other;
    ASSERT_EQ(::dup2(other.reader.get(), number), number);
    loop.AddFd(number, EPOLLIN, [&](uint32_t /*events*/) { stale = true; });
    loop.RemoveFd(first.reader.get());
  });
  loop.AddFd(second->reader.get(), EPOLLIN, [](uint32_t /*events*/) { FAIL(); });
  const int number = second->reader.get();
  first.Write();
  second->Write();
  loop.RunOnce(-1);
  EXPECT_FALSE(stale);
  loop.RemoveFd(number);
  ::close(number);
}

// What a callback owns may use the loop when it goes; no lock is held then.
TEST(EventLoopTest, CallbacksMayOwnWhatUsesTheLoopWhenDestroyed) {
  auto loop = std::make_unique<EventLoop>();
  Pipe pipe;
  int destroyed = 0;
  const auto owned = [&] {
    return std::shared_ptr<int>(new int(0), [&](const int* p) {
      delete p;
      loop->ModifyFd(12345, 0);
      loop->CancelTimer(12345);
      ++destroyed;
    });
  };
  loop->AddFd(pipe.reader.get(), EPOLLIN, [held = owned()](uint32_t /*events*/) {});
  loop->RemoveFd(pipe.reader.get());
  EXPECT_EQ(destroyed, 1);
  loop->CancelTimer(loop->RunAfter(1'000, [held = owned()] {}));
  EXPECT_EQ(destroyed, 2);
}

TEST(EventLoopTest, ASignalEndsTheWait) {
  EventLoop loop;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  sigset_t blocked;
  sigset_t old;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &old), 0);
  sigset_t while_waiting = old;
  sigdelset(&while_waiting, SIGUSR1);

  // It arrives before the wait: blocked until then, and not lost.
  ASSERT_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
  EXPECT_EQ(loop.RunOnce(10'000, &while_waiting), EventLoop::Poll::kInterrupted);
  // It arrives during the wait.
  const pthread_t self = pthread_self();
  std::thread thread([self] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pthread_kill(self, SIGUSR1);
  });
  EXPECT_EQ(loop.RunOnce(10'000, &while_waiting), EventLoop::Poll::kInterrupted);
  thread.join();

  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &old, nullptr), 0);
  ASSERT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
}

TEST(EventLoopTest, TheRoleOfRunningItMovesBetweenThreads) {
  EventLoop loop;
  std::atomic<int> turn{0};
  int ran = 0;  // guarded by the turns
  const auto run = [&](int mine) {
    for (int i = 0; i < 200; ++i) {
      while (turn.load() != mine) {
        std::this_thread::yield();
      }
      loop.Post([&] { ++ran; });
      loop.RunOnce(0);
      turn.store(1 - mine);
    }
  };
  std::thread other([&] { run(1); });
  run(0);
  other.join();
  loop.RunOnce(0);
  EXPECT_EQ(ran, 400);
}

}  // namespace
}  // namespace rayc
