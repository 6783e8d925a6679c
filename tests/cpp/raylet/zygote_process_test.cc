#include "raylet/zygote_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

namespace rayc::raylet {
namespace {

struct ZygoteProcessTest : ::testing::Test {
  EventLoop loop;
  std::string gone;
  std::vector<std::string> failed;
  ZygoteProcess zygote{loop,
                       {[](uint64_t, pid_t) {},
                        [this](uint64_t, const std::string& error) { failed.push_back(error); },
                        [](pid_t, int) {}, [this](const std::string& why) { gone = why; }}};

  void WaitUntilGone() {
    for (int i = 0; i < 100 && gone.empty(); ++i) {
      loop.RunOnce(50);
    }
    ::waitpid(zygote.pid(), nullptr, 0);
  }
  Status StartShell(const std::string& script) {
    return zygote.Start({"/bin/sh", "-c", script}, {"PATH=/usr/bin:/bin"});
  }
};

TEST_F(ZygoteProcessTest, ThatCannotBeStartedSaysSo) {
  ASSERT_TRUE(zygote.Start({"/no/such/program"}, {}).ok());
  WaitUntilGone();
  EXPECT_NE(gone.find("/no/such/program: No such file"), std::string::npos) << gone;
}

TEST_F(ZygoteProcessTest, ItsLastWordsAreInTheReason) {
  ASSERT_TRUE(StartShell("echo ImportError: no module >&2; exit 3").ok());
  WaitUntilGone();
  EXPECT_NE(gone.find("ImportError: no module"), std::string::npos) << gone;
}

TEST_F(ZygoteProcessTest, ItsStatusIsInTheReasonWhenItIsKnown) {
  ASSERT_TRUE(StartShell("exec sleep 300").ok());
  ::kill(zygote.pid(), SIGKILL);
  int status = 0;
  ::waitpid(zygote.pid(), &status, 0);
  zygote.OnReaped(status);
  EXPECT_NE(gone.find("killed by signal 9 (SIGKILL)"), std::string::npos) << gone;
}

TEST_F(ZygoteProcessTest, ItGetsItsSocketButNothingElseOfOurs) {
  int leak[2];
  ASSERT_EQ(::pipe2(leak, O_CLOEXEC), 0);
  const auto name_of = [](int fd) {
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)).string();
  };
  const std::string leak_name = name_of(leak[0]);
  ASSERT_TRUE(
      StartShell("ls -l /proc/self/fd >&2; readlink /proc/self/fd/$RAYC_ZYGOTE_FD >&2").ok());
  WaitUntilGone();
  ::close(leak[0]);
  ::close(leak[1]);
  EXPECT_EQ(gone.find(leak_name), std::string::npos) << gone;
  EXPECT_EQ(gone.find("eventpoll"), std::string::npos) << gone;
  EXPECT_NE(gone.find("\nsocket:["), std::string::npos) << gone;
}

TEST_F(ZygoteProcessTest, MalformedMessagesEndIt) {
  ASSERT_TRUE(StartShell("printf garbage >&$RAYC_ZYGOTE_FD; sleep 300").ok());
  for (int i = 0; i < 100 && gone.empty(); ++i) {
    loop.RunOnce(50);
  }
  EXPECT_NE(gone.find("malformed"), std::string::npos) << gone;
  ::kill(zygote.pid(), SIGKILL);
  ::waitpid(zygote.pid(), nullptr, 0);
}

}  // namespace
}  // namespace rayc::raylet
