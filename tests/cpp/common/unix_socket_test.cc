#include "common/unix_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace rayc {
namespace {

class UnixSocketTest : public testing::Test {
 protected:
  UnixSocketTest() {
    std::string pattern = testing::TempDir() + "rayc-socket-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~UnixSocketTest() override { std::filesystem::remove_all(folder_); }

  // What a client of `path` writes is what its server reads.
  static void Talk(const std::string& path) {
    const auto listener = ListenUnix(path);
    ASSERT_TRUE(listener) << listener.error();
    const auto client = ConnectUnix(path);
    ASSERT_TRUE(client) << client.error();
    const UniqueFd served(::accept(listener->get(), nullptr, nullptr));
    ASSERT_TRUE(served.valid());
    ASSERT_TRUE(WriteAll(client->get(), "hello", 5).ok());
    std::array<char, 5> bytes{};
    ASSERT_TRUE(ReadAll(served.get(), bytes.data(), bytes.size()).ok());
    EXPECT_EQ(std::string(bytes.data(), bytes.size()), "hello");
  }

  std::string folder_;
};

TEST_F(UnixSocketTest, ClientsReachTheListener) { Talk(folder_ + "/s"); }

TEST_F(UnixSocketTest, PathsMayBeLongerThanTheKernelTakes) {
  std::string path = folder_;
  for (int i = 0; i < 6; ++i) {
    path += "/" + std::string(50, static_cast<char>('a' + i));
  }
  std::filesystem::create_directories(path);
  Talk(path + "/socket");
  EXPECT_FALSE(ListenUnix(path + "/" + std::string(120, 'x')));  // the name itself is too long
}

TEST_F(UnixSocketTest, OnlyTheOwnerMayConnect) {
  const std::string path = folder_ + "/s";
  const auto listener = ListenUnix(path);
  ASSERT_TRUE(listener);
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto client = ConnectUnix(path);
  const auto credentials = GetPeerCredentials(client->get());
  ASSERT_TRUE(credentials);
  EXPECT_EQ(credentials->uid, geteuid());
  EXPECT_EQ(credentials->pid, getpid());
}

TEST_F(UnixSocketTest, ADeadListenersFileIsReplacedALiveOnesIsNot) {
  const std::string path = folder_ + "/s";
  {
    const auto first = ListenUnix(path);
    ASSERT_TRUE(first);
    const auto second = ListenUnix(path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), StatusCode::kAlreadyExists);
  }
  Talk(path);
  std::ofstream(folder_ + "/file") << "precious";
  EXPECT_FALSE(ListenUnix(folder_ + "/file"));
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/file"));
}

TEST_F(UnixSocketTest, NobodyListeningIsADisconnection) {
  const auto missing = ConnectUnix(folder_ + "/none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), StatusCode::kDisconnected);
  { ASSERT_TRUE(ListenUnix(folder_ + "/dead")); }
  EXPECT_EQ(ConnectUnix(folder_ + "/dead").error().code(), StatusCode::kDisconnected);
}

TEST_F(UnixSocketTest, DescriptorsTravelWithTheirBytes) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd a(pair[0]);
  const UniqueFd b(pair[1]);
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  {
    const UniqueFd reader(pipe_fds[0]);
    const UniqueFd writer(pipe_fds[1]);
    const std::array<int, 2> sent = {reader.get(), writer.get()};
    ASSERT_TRUE(SendWithFds(a.get(), "two pipes", sent).ok());
    ASSERT_TRUE(SendWithFds(a.get(), "none", {}).ok());
  }
  const auto received = ReceiveWithFds(b.get(), 100);
  ASSERT_TRUE(received) << received.error();
  EXPECT_EQ(received->bytes, "two pipes");
  ASSERT_EQ(received->fds.size(), 2U);
  EXPECT_EQ(::fcntl(received->fds[0].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  ASSERT_EQ(::write(received->fds[1].get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(::read(received->fds[0].get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  const auto plain = ReceiveWithFds(b.get(), 100);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->bytes, "none");
  EXPECT_TRUE(plain->fds.empty());
  // Too small a room loses the end of the message: an error, not a shorter message.
  ASSERT_TRUE(SendWithFds(a.get(), "long", {}).ok());
  EXPECT_FALSE(ReceiveWithFds(b.get(), 2));
  a.Reset();
  const auto end = ReceiveWithFds(b.get(), 100);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->bytes.empty());
  const std::array<int, 9> many = {0, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_FALSE(SendWithFds(b.get(), "x", many).ok());
}

TEST_F(UnixSocketTest, LargeWritesAndReadsArriveWhole) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd a(pair[0]);
  UniqueFd b(pair[1]);
  const std::string sent(4 << 20, 'z');
  std::thread writer([&] { EXPECT_TRUE(WriteAll(a.get(), sent.data(), sent.size()).ok()); });
  std::string got(sent.size(), '\0');
  EXPECT_TRUE(ReadAll(b.get(), got.data(), got.size()).ok());
  writer.join();
  EXPECT_EQ(got, sent);
  a.Reset();
  char byte = 0;
  EXPECT_EQ(ReadAll(b.get(), &byte, 1).code(), StatusCode::kDisconnected);
  EXPECT_EQ(WriteAll(b.get(), "x", 1).code(), StatusCode::kDisconnected);
}

}  // namespace
}  // namespace rayc
