#include "plasma/client_waits.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "common/clock.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

constexpr size_t kIdleSocketsMax = 2;
// The store keeps the time; this is for a store that has stopped.
constexpr int64_t kStoreLateMs = 200;

Status Closed() { return Status::Disconnected("this plasma client is disconnected"); }

}  // namespace

Result<ClientWaits::SocketPtr> ClientWaits::Take() {
  SocketPtr socket;
  {
    const MutexLock lock(mutex_);
    if (closed_) {
      return Err(Closed());
    }
    if (!idle_.empty()) {
      socket = std::move(idle_.back());
      idle_.pop_back();
      waiting_fds_.insert(socket->fd());
      return socket;
    }
  }
  socket = std::make_unique<ClientSocket>();
  if (const auto hello = socket->Connect(socket_path_, /*wait_only=*/true); !hello) {
    return Err(hello.error());
  }
  const MutexLock lock(mutex_);
  if (closed_) {
    return Err(Closed());
  }
  waiting_fds_.insert(socket->fd());
  return socket;
}

void ClientWaits::GiveBack(SocketPtr socket, bool reusable) {
  const MutexLock lock(mutex_);
  waiting_fds_.erase(socket->fd());
  if (reusable && !closed_ && idle_.size() < kIdleSocketsMax) {
    idle_.push_back(std::move(socket));
  }
  // Else it is closed here, still under the lock: Close must not meet the number in another use.
  socket.reset();
}

Status ClientWaits::Wait(std::span<const ObjectId> ids, int64_t timeout_ms) {
  auto socket = Take();
  if (!socket) {
    return socket.error();
  }
  bool reusable = false;
  Status status = WaitOn(**socket, ids, timeout_ms, &reusable);
  GiveBack(std::move(*socket), reusable);
  return status;
}

Status ClientWaits::WaitOn(ClientSocket& socket, std::span<const ObjectId> ids, int64_t timeout_ms,
                           bool* reusable) {
  flatbuffers::FlatBufferBuilder builder(256);
  std::vector<flatbuffers::Offset<fb::PlasmaObjectId>> wanted;
  wanted.reserve(ids.size());
  for (const ObjectId& id : ids) {
    wanted.push_back(fb::CreatePlasmaObjectId(builder, BuildId(builder, id)));
  }
  builder.Finish(fb::CreatePlasmaGetDirect(builder, &wanted, timeout_ms));
  const SteadyClock clock;
  constexpr int64_t kPollMsMax = std::numeric_limits<int>::max();
  const int64_t give_up_ms = timeout_ms < 0 || timeout_ms > kPollMsMax - kStoreLateMs
                                 ? std::numeric_limits<int64_t>::max()
                                 : clock.NowMs() + timeout_ms + kStoreLateMs;
  const uint64_t request_id = socket.QueueRequest(Method::kPlasmaGet, builder);
  if (Status sent = socket.SendAll(); !sent.ok()) {
    return sent;
  }
  while (true) {
    pollfd waiting{socket.fd(), POLLIN, 0};
    const int64_t left_ms = give_up_ms - clock.NowMs();
    const int timeout = static_cast<int>(std::clamp<int64_t>(left_ms, 0, kPollMsMax));
    const int ready = ::poll(&waiting, 1, timeout);
    if (ready < 0) {
      return errno == EINTR ? Status::Interrupted("a signal arrived")
                            : Status::FromErrno("poll", errno);
    }
    if (ready > 0) {
      break;
    }
    if (clock.NowMs() >= give_up_ms) {
      return Status::Ok();
    }
  }
  const auto reply = socket.ReceiveReply(request_id);
  if (!reply) {
    return reply.error();
  }
  *reusable = true;
  return Status::Ok();
}

void ClientWaits::Close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  idle_.clear();
  for (const int fd : waiting_fds_) {
    ::shutdown(fd, SHUT_RDWR);
  }
}

}  // namespace rayc::plasma
