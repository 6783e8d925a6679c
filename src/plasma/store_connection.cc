#include "plasma/store_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/logging.h"
#include "common/unix_socket.h"

namespace rayc::plasma {
namespace {

// A Restore of a million objects.
constexpr uint32_t kRequestBytesMax = 64U << 20;
// A client that does not read its replies is not read from either.
constexpr size_t kOutputBytesMax = 1U << 20;

}  // namespace

StoreConnection::StoreConnection(EventLoop& loop, UniqueFd fd, uint64_t number, pid_t pid)
    : loop_(loop),
      fd_(std::move(fd)),
      process_fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))),
      number_(number),
      pid_(pid),
      reader_(kRequestBytesMax) {}

void StoreConnection::Start(FrameCallback on_frame, CloseCallback on_close) {
  on_frame_ = std::move(on_frame);
  on_close_ = std::move(on_close);
  interest_ = EPOLLIN;
  loop_.AddFd(fd_.get(), interest_,
              [self = shared_from_this()](uint32_t events) { self->OnEvents(events); });
  if (process_fd_.valid()) {
    loop_.AddFd(process_fd_.get(), EPOLLIN,
                [self = shared_from_this()](uint32_t /*events*/) { self->OnProcessEnded(); });
  }
}

void StoreConnection::Send(Method method, FrameKind kind, uint64_t request_id,
                           const flatbuffers::FlatBufferBuilder& message) {
  if (!fd_.valid() || failed_) {
    return;
  }
  AppendFrame(out_, method, kind, request_id, message);
  Flush();
}

void StoreConnection::SendWithDescriptors(Method method, uint64_t request_id,
                                          const flatbuffers::FlatBufferBuilder& message,
                                          std::span<const int> descriptors) {
  std::string bytes;
  AppendFrame(bytes, method, FrameKind::kReply, request_id, message);
  // A fresh socket takes a short message whole.
  const Status status = SendWithFds(fd_.get(), bytes, descriptors);
  if (!status.ok()) {
    failed_ = true;
    CloseSoon();
  }
}

void StoreConnection::Flush() {
  size_t done = 0;
  while (done < out_.size()) {
    const ssize_t sent =
        ::send(fd_.get(), out_.data() + done, out_.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      done += static_cast<size_t>(sent);
    } else if (errno != EINTR) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        failed_ = true;
        CloseSoon();
      }
      break;
    }
  }
  out_.erase(0, done);
  if (out_.empty() && out_.capacity() > kOutputBytesMax) {
    out_.shrink_to_fit();
  }
  UpdateInterest();
}

bool StoreConnection::Congested() const { return out_.size() > kOutputBytesMax; }

void StoreConnection::UpdateInterest() {
  const uint32_t wanted = (Congested() ? 0U : static_cast<uint32_t>(EPOLLIN)) |
                          (out_.empty() ? 0U : static_cast<uint32_t>(EPOLLOUT));
  if (wanted != interest_ && fd_.valid()) {
    interest_ = wanted;
    loop_.ModifyFd(fd_.get(), wanted);
  }
}

void StoreConnection::OnEvents(uint32_t events) {
  if (!fd_.valid()) {
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    Flush();
    HandleFrames();  // those that waited for the room
  }
  if (!fd_.valid() || failed_) {
    return;
  }
  if (Congested()) {
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
      Close();
    }
  } else if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    ReadOnce();
  }
}

void StoreConnection::OnProcessEnded() {
  // What it had sent still counts.
  while (fd_.valid() && !failed_ && !Congested() && ReadOnce()) {
  }
  Close();
}

bool StoreConnection::ReadOnce() {
  const std::span<uint8_t> room = reader_.Room();
  ssize_t got = 0;
  do {
    got = ::recv(fd_.get(), room.data(), room.size(), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    return false;
  }
  if (got <= 0) {
    Close();
    return false;
  }
  reader_.Filled(static_cast<size_t>(got));
  HandleFrames();
  return true;
}

void StoreConnection::HandleFrames() {
  Frame frame;
  while (fd_.valid() && !failed_ && !Congested()) {
    const FrameReader::Next next = reader_.Take(&frame);
    if (next == FrameReader::Next::kMore) {
      return;
    }
    const char* const wrong =
        next == FrameReader::Next::kMalformed ? reader_.malformed() : on_frame_(*this, frame);
    if (wrong != nullptr) {
      RAYC_LOG(kWarning) << "plasma store: closed the connection of process " << pid_ << ": "
                         << wrong;
      Close();
      return;
    }
  }
}

void StoreConnection::CloseSoon() {
  loop_.Post([self = shared_from_this()] { self->Close(); });
}

void StoreConnection::Close() {
  if (!fd_.valid()) {
    return;
  }
  const auto self = shared_from_this();  // the loop's callbacks may be the last holders
  loop_.RemoveFd(fd_.get());
  fd_.Reset();
  if (process_fd_.valid()) {
    loop_.RemoveFd(process_fd_.get());
    process_fd_.Reset();
  }
  const CloseCallback on_close = std::exchange(on_close_, nullptr);
  on_frame_ = nullptr;
  if (on_close) {
    on_close(*this);
  }
}

}  // namespace rayc::plasma
