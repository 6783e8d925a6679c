// Processes that are watched, listed and ended. Each test's processes are its own children.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "common/clock.h"
#include "raylet/process_tree.h"
#include "raylet/process_watch.h"

namespace rayc::raylet {
namespace {

pid_t StartSleeper() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execlp("sleep", "sleep", "300", nullptr);
    ::_exit(1);
  }
  return pid;
}

TEST(ProcessTreeTest, DescendantsAreFoundInAnyDepth) {
  const std::vector<ProcessInfo> all{{1, 0, false}, {5, 1, false}, {6, 5, false}, {7, 6, true},
                                     {8, 1, false}, {9, 7, false}, {2, 3, false}, {3, 2, false}};
  std::vector<pid_t> found;
  for (const ProcessInfo& info : DescendantsOf(5, all)) {
    found.push_back(info.pid);
  }
  EXPECT_EQ(found, (std::vector<pid_t>{6, 7, 9}));
  EXPECT_TRUE(DescendantsOf(9, all).empty());
  EXPECT_EQ(DescendantsOf(2, all).size(), 2U);  // a circle: no end, but ours
}

TEST(ProcessTreeTest, TheListShowsUsAndOurParent) {
  bool found = false;
  for (const ProcessInfo& info : ListProcesses()) {
    found = found || (info.pid == ::getpid() && info.parent == ::getppid() && !info.is_zombie);
  }
  EXPECT_TRUE(found);
}

TEST(ProcessTreeTest, NothingEscapesNotEvenByForkingTwiceOrForEver) {
  // In a child, which may kill all that is below it.
  const pid_t root = ::fork();
  if (root == 0) {
    BecomeSubreaper();
    for (int i = 0; i < 3; ++i) {
      if (::fork() == 0) {
        ::setsid();
        for (int j = 0; j < 2; ++j) {
          StartSleeper();
        }
        if (i == 0) {
          while (true) {  // one that forks while it is hunted
            if (::fork() == 0) {
              ::usleep(300);
            } else {
              ::wait(nullptr);
            }
          }
        }
        ::_exit(0);
      }
    }
    ::usleep(20'000);
    const bool ended = KillDescendants(5'000);
    ::_exit(ended && DescendantsOf(::getpid(), ListProcesses()).empty() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(root, &status, 0), root);
  EXPECT_EQ(status, 0);
}

TEST(ProcessWatchTest, TheEndIsAnEventAndSignalsMeetTheRightProcess) {
  EventLoop loop;
  ProcessWatch watch(loop);
  const pid_t pid = StartSleeper();
  int ends = 0;
  const auto id = watch.Watch(pid, [&] { ++ends; });
  loop.RunOnce(20);
  EXPECT_EQ(ends, 0);
  watch.Signal(id, SIGKILL);
  for (int i = 0; i < 50 && ends == 0; ++i) {
    loop.RunOnce(100);
  }
  EXPECT_EQ(ends, 1);
  watch.Signal(id, SIGKILL);  // nothing any more
  ::waitpid(pid, nullptr, 0);
}

TEST(ProcessWatchTest, AProcessThatIsGoneAlreadyHasEnded) {
  EventLoop loop;
  ProcessWatch watch(loop);
  const pid_t pid = StartSleeper();
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  int ends = 0;
  watch.Watch(pid, [&] { ++ends; });
  loop.RunOnce(100);
  EXPECT_EQ(ends, 1);
}

TEST(ProcessWatchTest, WhatIsForgottenDoesNotCall) {
  EventLoop loop;
  ProcessWatch watch(loop);
  const pid_t pid = StartSleeper();
  const auto id = watch.Watch(pid, [] { FAIL(); });
  watch.Forget(id);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  loop.RunOnce(20);
}

}  // namespace
}  // namespace rayc::raylet
