#include "common/fork_count.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rayc {
namespace {

TEST(ForkCountTest, OnlyTheChildCounts) {
  const uint32_t before = ForkCount();
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(ForkCount() == before + 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(ForkCount(), before);
}

}  // namespace
}  // namespace rayc
