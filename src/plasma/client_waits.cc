#include "plasma/client_waits.h"

#include <sys/socket.h>

#include <utility>

#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

constexpr size_t kIdleSocketsMax = 2;
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
  if (const auto hello = socket->Connect(socket_path_, client_); !hello) {
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

ClientWaits::Held::~Held() {
  if (socket_ != nullptr) {
    flatbuffers::FlatBufferBuilder builder(16);
    builder.Finish(fb::CreatePlasmaTaken(builder));
    socket_->QueueOneWay(Method::kPlasmaTaken, builder);
    const bool sent = socket_->SendAll().ok();
    waits_->GiveBack(std::move(socket_), sent);
  }
}

Result<ClientWaits::Held> ClientWaits::Call(Method method,
                                            const flatbuffers::FlatBufferBuilder& message) {
  auto socket = Take();
  if (!socket) {
    return Err(socket.error());
  }
  const uint64_t request_id = (*socket)->QueueRequest(method, message);
  Status status = (*socket)->SendAll();
  if (status.ok()) {
    status = (*socket)->WaitReadable(/*timeout_ms=*/-1);
  }
  if (!status.ok()) {
    GiveBack(std::move(*socket), /*reusable=*/false);
    return Err(status);
  }
  const auto reply = (*socket)->ReceiveReply(request_id);
  if (!reply) {
    const bool reusable = !(*socket)->broken();
    GiveBack(std::move(*socket), reusable);
    return Err(reply.error());
  }
  return Held(*this, std::move(*socket), OwnedReply(*reply));
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
