// The other end of a channel, by hand: writes any bytes, well formed or not, and reads frames.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/frame.h"
#include "common/unix_socket.h"
#include "common/version.h"
#include "protocol/common_generated.h"
#include "protocol/methods.h"
#include "rpc/message.h"

namespace rayc::testing {

inline std::string FrameBytes(Method method, FrameKind kind, uint64_t request_id,
                              const rpc::Payload& payload) {
  FrameHeader header;
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  header.method = static_cast<uint16_t>(method);
  header.kind = kind;
  header.request_id = request_id;
  std::string bytes(sizeof(header) + PaddedPayloadBytes(payload.size()), '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), payload.data(), payload.size());
  return bytes;
}

inline std::string HelloBytes(uint32_t version = kProtocolVersion,
                              const std::string& component = "tool",
                              const std::string& id = std::string(28, 'i')) {
  fb::HelloT hello;
  hello.protocol_version = version;
  hello.rayc_version = kVersion;
  hello.component = component;
  hello.id = {id.begin(), id.end()};
  return FrameBytes(Method::kHello, FrameKind::kRequest, 1, rpc::Payload::Of(hello));
}

struct ReceivedFrame {
  FrameHeader header;
  std::string payload;  // on the heap, hence aligned
  rpc::Message message() const {
    return {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()};
  }
};

class RawPeer {
 public:
  explicit RawPeer(UniqueFd fd) : fd_(std::move(fd)) {
    const timeval limit{30, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  }
  static RawPeer ConnectedTo(const std::string& path) { return RawPeer(*ConnectUnix(path)); }

  // False if the other side has closed.
  bool Write(const std::string& bytes) {
    return WriteAll(fd_.get(), bytes.data(), bytes.size()).ok();
  }
  // Nothing when the other side has closed.
  std::optional<ReceivedFrame> Read() {
    ReceivedFrame frame;
    if (!ReadAll(fd_.get(), &frame.header, sizeof(frame.header)).ok()) {
      return std::nullopt;
    }
    // Longer than any string that is kept in place, so that it is on the heap.
    frame.payload.reserve(64);
    frame.payload.resize(PaddedPayloadBytes(frame.header.payload_bytes));
    if (!ReadAll(fd_.get(), frame.payload.data(), frame.payload.size()).ok()) {
      return std::nullopt;
    }
    frame.payload.resize(frame.header.payload_bytes);
    return frame;
  }
  bool HasClosed() {
    char bytes[4096];
    ssize_t got = 0;
    do {
      got = ::recv(fd_.get(), bytes, sizeof(bytes), 0);
    } while (got > 0);
    return got == 0 || errno == ECONNRESET;
  }
  // Whatever has arrived is thrown away, without waiting.
  void Drain() {
    char bytes[4096];
    while (::recv(fd_.get(), bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
    }
  }

 private:
  UniqueFd fd_;
};

}  // namespace rayc::testing
