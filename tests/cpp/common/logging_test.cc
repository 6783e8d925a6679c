#include "common/logging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace rayc {
namespace {

class LoggingTest : public testing::Test {
 protected:
  LoggingTest() {
    std::string pattern = testing::TempDir() + "rayc-logging-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~LoggingTest() override {
    InitLogging("test", LogLevel::kWarning, "");
    std::filesystem::remove_all(folder_);
  }
  static std::string Read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  std::string folder_;
};

TEST_F(LoggingTest, TheFileIsMadeWithTheFirstLine) {
  const std::string file = folder_ + "/logs/raylet.log";
  InitLogging("raylet", LogLevel::kWarning, file);
  RAYC_LOG(kInfo) << "below the threshold";
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/logs"));
  RAYC_LOG(kWarning) << "the value is " << 42;
  const std::string text = Read(file);
  EXPECT_NE(text.find("the value is 42"), std::string::npos);
  EXPECT_NE(text.find("raylet"), std::string::npos);
  EXPECT_NE(text.find("logging_test.cc"), std::string::npos);
  EXPECT_EQ(text.find("below"), std::string::npos);
}

TEST_F(LoggingTest, ARemovedSessionFolderIsNotMadeAgain) {
  const std::string session = folder_ + "/session";
  InitLogging("raylet", LogLevel::kWarning, session + "/logs/raylet.log");
  testing::internal::CaptureStderr();
  RAYC_LOG(kWarning) << "last words";
  InitLogging("test", LogLevel::kWarning, "");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("last words"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(session));
}

TEST_F(LoggingTest, WhatIsNotWrittenIsNotEvaluated) {
  InitLogging("test", LogLevel::kError, "");
  int evaluated = 0;
  RAYC_LOG(kWarning) << ++evaluated;
  EXPECT_EQ(evaluated, 0);
  EXPECT_FALSE(LogEnabled(LogLevel::kWarning));
  EXPECT_TRUE(LogEnabled(LogLevel::kError));
}

TEST_F(LoggingTest, LevelsHaveNames) {
  EXPECT_EQ(ParseLogLevel("debug", LogLevel::kError), LogLevel::kDebug);
  EXPECT_EQ(ParseLogLevel("warning", LogLevel::kError), LogLevel::kWarning);
  EXPECT_EQ(ParseLogLevel("loud", LogLevel::kError), LogLevel::kError);
}

TEST_F(LoggingTest, ThreadsMayLogTogether) {
  const std::string file = folder_ + "/many.log";
  InitLogging("test", LogLevel::kInfo, file);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 50; ++i) {
        RAYC_LOG(kInfo) << "line";
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const std::string text = Read(file);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 200);
}

TEST(CheckDeathTest, AFailedCheckSaysWhatAndWhere) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RAYC_CHECK(1 + 1 == 3) << "so it is", "Check failed: 1 \\+ 1 == 3 so it is");
  RAYC_CHECK(true) << "nothing";
}

}  // namespace
}  // namespace rayc
