// For tests: processes that can be begun, and killed, at any time, although the test has threads by
// then: they are children of a process without threads, which is forked first of all. None of them
// outlives the test.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <utility>

#include "common/unique_fd.h"

namespace rayc::plasma {

class ClientNursery {
 public:
  // In a process of its own; what it returns is its exit code.
  using Work = std::function<int(uint64_t argument)>;

  // While the test has one thread.
  explicit ClientNursery(Work work) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    nursery_ = ::fork();
    if (nursery_ == 0) {
      ::close(ends[0]);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      Serve(ends[1], work);
    }
    ::close(ends[1]);
    socket_.Reset(ends[0]);
  }
  ~ClientNursery() {
    socket_.Reset();
    ::waitpid(nursery_, nullptr, 0);
  }
  ClientNursery(const ClientNursery&) = delete;
  ClientNursery& operator=(const ClientNursery&) = delete;

  pid_t Begin(uint64_t argument) { return static_cast<pid_t>(Ask(Order::kBegin, argument)); }
  // Kills it, and returns how it ended, as waitpid does.
  int Kill(pid_t child) {
    return static_cast<int>(Ask(Order::kKill, static_cast<uint64_t>(child)));
  }
  // Until it ends by itself.
  int Wait(pid_t child) {
    return static_cast<int>(Ask(Order::kWait, static_cast<uint64_t>(child)));
  }

 private:
  enum class Order : uint64_t { kBegin, kKill, kWait };
  struct Message {
    Order order;
    uint64_t argument;
  };

  int64_t Ask(Order order, uint64_t argument) {
    const Message message{order, argument};
    int64_t answer = -1;
    EXPECT_EQ(::send(socket_.get(), &message, sizeof(message), MSG_NOSIGNAL),
              static_cast<ssize_t>(sizeof(message)));
    ssize_t got = 0;
    do {
      got = ::recv(socket_.get(), &answer, sizeof(answer), 0);
    } while (got < 0 && errno == EINTR);
    EXPECT_EQ(got, static_cast<ssize_t>(sizeof(answer)));
    return answer;
  }

  [[noreturn]] static void Serve(int socket, const Work& work) {
    Message message{};
    while (::recv(socket, &message, sizeof(message), 0) == sizeof(message)) {
      int64_t answer = 0;
      if (message.order == Order::kBegin) {
        const pid_t child = ::fork();
        if (child == 0) {
          ::close(socket);
          ::prctl(PR_SET_PDEATHSIG, SIGKILL);
          ::_exit(work(message.argument));
        }
        answer = child;
      } else {
        const auto child = static_cast<pid_t>(message.argument);
        if (message.order == Order::kKill) {
          ::kill(child, SIGKILL);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        answer = status;
      }
      (void)!::send(socket, &answer, sizeof(answer), MSG_NOSIGNAL);
    }
    ::_exit(0);  // and its children with it
  }

  pid_t nursery_ = -1;
  UniqueFd socket_;
};

}  // namespace rayc::plasma
