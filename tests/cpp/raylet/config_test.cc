#include "raylet/config.h"

#include <gtest/gtest.h>

namespace rayc::raylet {
namespace {

TEST(ConfigTest, ReadsEveryFlag) {
  const auto config = ParseConfig({"--session-dir",
                                   "/tmp/s/session_1/",
                                   "--head",
                                   "--owner-pid",
                                   "12",
                                   "--ready-fd",
                                   "5",
                                   "--node-ip",
                                   "10.0.0.1",
                                   "--object-store-bytes",
                                   "4096",
                                   "--resource",
                                   "CPU=2",
                                   "--resource",
                                   "a=b=0.5",
                                   "--log-level",
                                   "info",
                                   "--max-workers",
                                   "7",
                                   "--cpu-core",
                                   "0",
                                   "--cpu-core",
                                   "3",
                                   "--",
                                   "python",
                                   "-m",
                                   "zygote",
                                   "--head"});
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->cpu_cores, (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(config->session_dir, "/tmp/s/session_1");
  EXPECT_EQ(config->SessionName(), "session_1");
  EXPECT_TRUE(config->is_head);
  EXPECT_EQ(config->owner_pid, 12);
  EXPECT_EQ(config->ready_fd, 5);
  EXPECT_EQ(config->object_store_bytes, 4096U);
  EXPECT_EQ(config->resources.ToString(), "CPU:2, a=b:0.5");
  EXPECT_EQ(config->workers_max, 7U);
  EXPECT_EQ(config->zygote_argv, (std::vector<std::string>{"python", "-m", "zygote", "--head"}));
  EXPECT_EQ(config->GcsSocket(), "/tmp/s/session_1/sockets/gcs");
}

TEST(ConfigTest, SaysWhatIsWrong) {
  using Arguments = std::vector<std::string>;
  const auto error = [](const Arguments& arguments) {
    const auto config = ParseConfig(arguments);
    return config ? std::string() : config.error().message();
  };
  EXPECT_EQ(error({"--colour", "red"}), "unknown option --colour");
  EXPECT_EQ(error({"--owner-pid"}), "--owner-pid needs a value");
  EXPECT_EQ(error({"--owner-pid", "12x"}), "--owner-pid: not a number: 12x");
  EXPECT_EQ(error({"--resource", "CPU"}), "--resource: not NAME=AMOUNT: CPU");
  for (const char* amount : {"CPU=", "CPU=-1", "CPU=nan", "CPU=1x", "CPU=1e99"}) {
    EXPECT_NE(error({"--resource", amount}), "") << amount;
  }
  EXPECT_NE(error({"--head", "--", "z"}), "");
  EXPECT_NE(error({"--session-dir", "s", "--head", "--", "z"}), "");
  EXPECT_NE(error({"--session-dir", "/s", "--", "z"}), "");
  EXPECT_NE(error({"--session-dir", "/s", "--head"}), "");
}

}  // namespace
}  // namespace rayc::raylet
