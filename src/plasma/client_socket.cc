#include "plasma/client_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "common/unix_socket.h"
#include "common/version.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {

OwnedReply::OwnedReply(const Frame& frame)
    : header_(frame.header), words_((frame.header.payload_bytes + 7) / sizeof(uint64_t) + 1) {
  std::memcpy(words_.data(), frame.payload, frame.header.payload_bytes);
}

Result<ClientSocket::Hello> ClientSocket::Connect(const std::string& socket_path,
                                                  uint32_t companion_of) {
  auto fd = ConnectUnix(socket_path);
  if (!fd) {
    return Err(fd.error());
  }
  fd_ = std::move(*fd);
  flatbuffers::FlatBufferBuilder builder(64);
  const auto version = builder.CreateString(kVersion);
  builder.Finish(fb::CreatePlasmaConnect(builder, kProtocolVersion, version,
                                         static_cast<int32_t>(::getpid()), companion_of));
  const uint64_t request_id = QueueRequest(Method::kPlasmaConnect, builder);
  if (const Status sent = SendAll(); !sent.ok()) {
    return Err(sent);
  }
  // The descriptor comes with the first byte of the reply; the rest may come later.
  const std::span<uint8_t> room = reader_.Room();
  auto first = ReceiveWithFds(fd_.get(), room.size());
  if (!first) {
    return Err(first.error());
  }
  if (first->bytes.empty()) {
    return Err(Status::Disconnected("the plasma store has closed the connection"));
  }
  std::memcpy(room.data(), first->bytes.data(), first->bytes.size());
  reader_.Filled(first->bytes.size());
  const auto frame = ReceiveReply(request_id);
  if (!frame) {
    return Err(frame.error());
  }
  const auto* reply = frame->As<fb::PlasmaConnectReply>();
  if (reply == nullptr || (companion_of == 0 && first->fds.size() != 4)) {
    return Err(Status::Internal("malformed reply from the plasma store"));
  }
  Hello hello;
  hello.arena_bytes = reply->arena_bytes();
  hello.capacity_bytes = reply->capacity_bytes();
  hello.client = reply->client();
  if (companion_of == 0) {
    hello.arena = std::move(first->fds[0]);
    hello.index = std::move(first->fds[1]);
    hello.segment = std::move(first->fds[2]);
    hello.wake = std::move(first->fds[3]);
  }
  return hello;
}

Status ClientSocket::Broken(Status why) {
  broken_ = true;
  out_.clear();
  return why;
}

void ClientSocket::QueueOneWay(Method method, const flatbuffers::FlatBufferBuilder& message) {
  AppendFrame(out_, method, FrameKind::kOneWay, 0, message);
}

uint64_t ClientSocket::QueueRequest(Method method, const flatbuffers::FlatBufferBuilder& message) {
  const uint64_t request_id = next_request_++;
  AppendFrame(out_, method, FrameKind::kRequest, request_id, message);
  return request_id;
}

Status ClientSocket::SendAll() {
  const Status status = WriteAll(fd_.get(), out_.data(), out_.size());
  out_.clear();
  return status.ok() ? status : Broken(status);
}

Status ClientSocket::WaitReadable(int64_t timeout_ms) const {
  if (!reader_.empty()) {
    return Status::Ok();
  }
  pollfd waiting{fd_.get(), POLLIN, 0};
  const auto timeout = static_cast<int>(std::clamp<int64_t>(timeout_ms, -1, INT_MAX));
  const int ready = ::poll(&waiting, 1, timeout);
  if (ready < 0) {
    return errno == EINTR ? Status::Interrupted("a signal arrived")
                          : Status::FromErrno("poll", errno);
  }
  return ready > 0 ? Status::Ok() : Status(StatusCode::kTimedOut, "nothing came in time");
}

Result<Frame> ClientSocket::ReceiveFrame() {
  Frame frame;
  while (true) {
    const FrameReader::Next next = reader_.Take(&frame);
    if (next == FrameReader::Next::kFrame) {
      break;
    }
    if (next == FrameReader::Next::kMalformed) {
      return Err(Broken(Status::Internal("malformed frame from the plasma store")));
    }
    const std::span<uint8_t> room = reader_.Room();
    const ssize_t got = ::recv(fd_.get(), room.data(), room.size(), 0);
    if (got > 0) {
      reader_.Filled(static_cast<size_t>(got));
    } else if (got == 0 || errno == ECONNRESET) {
      return Err(Broken(Status::Disconnected("the plasma store has closed the connection")));
    } else if (errno != EINTR) {
      return Err(Broken(Status::FromErrno("recv from the plasma store", errno)));
    }
  }
  return frame;
}

Result<Frame> ClientSocket::ReceiveReply(uint64_t request_id) {
  auto received = ReceiveFrame();
  if (!received) {
    return received;
  }
  const Frame frame = *received;
  if (frame.header.request_id != request_id) {
    return Err(Broken(Status::Internal("the plasma store answered another request")));
  }
  if (frame.header.kind == FrameKind::kErrorReply) {
    return Err(StatusOf(frame));
  }
  return frame;
}

}  // namespace rayc::plasma
