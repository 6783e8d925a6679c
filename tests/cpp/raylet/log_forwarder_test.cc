#include "raylet/log_forwarder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace rayc::raylet {
namespace {

struct LogForwarderTest : ::testing::Test {
  std::string dir = [] {
    char path[] = "/tmp/rayc-log-test-XXXXXX";
    return std::string(::mkdtemp(path));
  }();
  EventLoop loop;
  std::vector<WorkerLines> batches;
  LogForwarder logs{loop, dir, [this](WorkerLines lines) { batches.push_back(std::move(lines)); }};
  WorkerId worker = WorkerId::FromRandom();
  WorkerOutputs outputs;

  LogForwarderTest() { outputs = std::move(*logs.Open(worker)); }
  ~LogForwarderTest() override { std::filesystem::remove_all(dir); }

  static void Write(const UniqueFd& fd, std::string_view text) {
    ASSERT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void Turn(int timeout_ms = 0) { loop.RunOnce(timeout_ms); }
  std::string Texts() const {
    std::string all;
    for (const WorkerLines& batch : batches) {
      for (const WorkerLine& line : batch.lines) {
        all += (line.is_stderr ? "E:" : "O:") + line.text + "|";
      }
    }
    return all;
  }
  std::string FileText(const std::string& name) const {
    std::ifstream file(dir + "/" + name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
};

TEST_F(LogForwarderTest, LinesGoToTheWorkersJobUnderItsTasksName) {
  logs.SetPid(worker, 42);
  logs.SetTask(worker, JobId::FromInt(3), "f");
  Write(outputs.stdout_fd, "one\ntwo\n");
  Turn();
  ASSERT_EQ(batches.size(), 1U);
  EXPECT_EQ(batches[0].job_id, JobId::FromInt(3));
  EXPECT_EQ(batches[0].name, "f");
  EXPECT_EQ(batches[0].pid, 42);
  EXPECT_EQ(batches[0].worker, worker);
  EXPECT_EQ(Texts(), "O:one|O:two|");
  EXPECT_EQ(FileText("worker-42.out"), "one\ntwo\n");
  EXPECT_FALSE(std::filesystem::exists(dir + "/worker-42.err"));
}

TEST_F(LogForwarderTest, WhatCameBeforeATaskDoesNotBecomeItsOutput) {
  logs.SetTask(worker, JobId::FromInt(1), "f");
  Write(outputs.stdout_fd, "of f\n");
  logs.SetTask(worker, JobId::FromInt(1), "g");
  Write(outputs.stdout_fd, "of g\n");
  Turn();
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[0].name, "f");
  EXPECT_EQ(batches[1].name, "g");
}

TEST_F(LogForwarderTest, AnUnfinishedLineComesAfterAShortTime) {
  Write(outputs.stdout_fd, "no end");
  Turn();
  EXPECT_TRUE(batches.empty());
  for (int i = 0; i < 20 && batches.empty(); ++i) {
    Turn(100);
  }
  EXPECT_EQ(Texts(), "O:no end|");
}

TEST_F(LogForwarderTest, FlushSendsAllThatIsThereBeforeItReturns) {
  Write(outputs.stdout_fd, "a\nb");
  Write(outputs.stderr_fd, "c");
  logs.Flush(worker);
  EXPECT_EQ(Texts(), "O:a|O:b|E:c|");
}

TEST_F(LogForwarderTest, TheLastLinesOfStderrRemain) {
  for (int i = 0; i < 30; ++i) {
    Write(outputs.stderr_fd, "line " + std::to_string(i) + "\n");
  }
  Write(outputs.stderr_fd, "end");
  const std::string tail = logs.Close(worker);
  EXPECT_EQ(tail.find("line 10\n"), std::string::npos);
  EXPECT_EQ(tail.find("line 11\n"), 0U);
  EXPECT_NE(tail.find("end\n"), std::string::npos);
  EXPECT_EQ(logs.Close(worker), "");
}

TEST_F(LogForwarderTest, FilesWaitForThePidAndAreBounded) {
  Write(outputs.stderr_fd, "early\n");
  Turn();
  logs.SetPid(worker, 43);
  EXPECT_EQ(FileText("worker-43.err"), "early\n");

  LogFile file;
  file.SetPath(dir + "/big");
  const std::string block(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) {
    file.Write(block);
  }
  EXPECT_LT(std::filesystem::file_size(dir + "/big"), LogFile::kBytesMax + 100);
  EXPECT_NE(FileText("big").find("reached its limit"), std::string::npos);
}

TEST_F(LogForwarderTest, AFastWriterBlocksInsteadOfFillingOurMemory) {
  constexpr int kLines = 20'000;
  std::thread writer([&] {
    for (int i = 0; i < kLines; ++i) {
      const std::string line = std::to_string(i) + std::string(50, '.') + "\n";
      ASSERT_EQ(::write(outputs.stdout_fd.get(), line.data(), line.size()),
                static_cast<ssize_t>(line.size()));
    }
    outputs.stdout_fd.Reset();
  });
  size_t lines = 0;
  while (lines < kLines) {
    Turn(1'000);
    size_t in_turn = 0;
    for (const WorkerLines& batch : std::exchange(batches, {})) {
      for (const WorkerLine& line : batch.lines) {
        ASSERT_EQ(line.text.substr(0, line.text.find('.')), std::to_string(lines));
        ++lines;
        in_turn += line.text.size();
      }
    }
    ASSERT_LE(in_turn, 200'000U);
  }
  writer.join();
}

}  // namespace
}  // namespace rayc::raylet
