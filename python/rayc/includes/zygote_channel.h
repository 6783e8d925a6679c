// The zygote's end of its socket to the raylet: the messages at the bottom of protocol/raylet.fbs,
// one per packet. One thread.
#pragma once

#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "common/ids.h"
#include "common/unix_socket.h"
#include "protocol/raylet_generated.h"
#include "rpc/message.h"

namespace rayc::python {

struct ZygoteRequest {
  enum class Kind { kNone, kFork, kShutdown, kClosed };
  Kind kind = Kind::kNone;  // kNone: nothing came in time
  uint64_t fork_token = 0;
  WorkerId worker_id;
  int stdout_fd = -1;  // the receiver's, from then on
  int stderr_fd = -1;
};

class ZygoteChannel {
 public:
  static constexpr size_t kMessageBytesMax = 4096;

  explicit ZygoteChannel(int fd) : fd_(fd) {}

  Status SendForked(uint64_t fork_token, int pid, const std::string& error) {
    fb::WorkerForkedT forked;
    forked.fork_token = fork_token;
    forked.pid = pid;
    forked.error = error;
    fb::ZygoteMessageT message;
    message.body.Set(std::move(forked));
    return Send(message);
  }
  Status SendReaped(int pid, int status) {
    fb::WorkerReapedT reaped;
    reaped.pid = pid;
    reaped.status = status;
    fb::ZygoteMessageT message;
    message.body.Set(std::move(reaped));
    return Send(message);
  }

  // kNone at the timeout, or when a signal arrived.
  Status Receive(int timeout_ms, ZygoteRequest* request) {
    pollfd waited{fd_.get(), POLLIN, 0};
    const int ready = ::poll(&waited, 1, timeout_ms);
    if (ready < 0 && errno != EINTR) {
      return Status::FromErrno("poll", errno);
    }
    if (ready <= 0) {
      return Status::Ok();
    }
    auto received = ReceiveWithFds(fd_.get(), kMessageBytesMax);
    if (!received) {
      return received.error();
    }
    if (received->bytes.empty()) {
      request->kind = ZygoteRequest::Kind::kClosed;
      return Status::Ok();
    }
    return Read(*received, request);
  }

  void Close() { fd_.Reset(); }

 private:
  Status Send(const fb::ZygoteMessageT& message) {
    const rpc::Payload payload = rpc::Payload::Of(message);
    return SendWithFds(fd_.get(), {reinterpret_cast<const char*>(payload.data()), payload.size()},
                       {});
  }

  static Status Read(ReceivedWithFds& received, ZygoteRequest* request) {
    const rpc::Message bytes{reinterpret_cast<const uint8_t*>(received.bytes.data()),
                             received.bytes.size()};
    const auto* message = bytes.As<fb::ZygoteMessage>();
    if (message != nullptr && message->body_type() == fb::ZygoteBody::ZygoteShutdown) {
      request->kind = ZygoteRequest::Kind::kShutdown;
      return Status::Ok();
    }
    const fb::ForkWorker* fork = message == nullptr ? nullptr : message->body_as_ForkWorker();
    if (fork == nullptr || received.fds.size() != 2) {
      return Status::InvalidArgument("the raylet sent the zygote something malformed");
    }
    request->kind = ZygoteRequest::Kind::kFork;
    request->fork_token = fork->fork_token();
    request->worker_id = WorkerId::FromBytes(fork->worker_id());
    request->stdout_fd = received.fds[0].Release();
    request->stderr_fd = received.fds[1].Release();
    return Status::Ok();
  }

  UniqueFd fd_;
};

}  // namespace rayc::python
