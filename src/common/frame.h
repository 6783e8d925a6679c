// The frame: how a message is delimited on any byte stream between two processes of rayc.
//
//   0        4        6     7     8                16
//   | bytes  | method |kind |flags| request id     | payload (bytes) | zeros up to a multiple of 8
//   |
//
// All little endian. The payload is one FlatBuffer, at an address that is a multiple of 8. Pure
// layout and checks; no IO.
#pragma once

#include <cstdint>
#include <cstring>

namespace rayc {

enum class FrameKind : uint8_t { kRequest = 0, kOneWay = 1, kReply = 2, kErrorReply = 3 };

struct FrameHeader {
  uint32_t payload_bytes = 0;
  uint16_t method = 0;
  FrameKind kind = FrameKind::kOneWay;
  uint8_t flags = 0;  // none defined; must be 0
  uint64_t request_id = 0;
};
static_assert(sizeof(FrameHeader) == 16);

// Bounds what a peer can make us allocate.
inline constexpr uint32_t kFramePayloadBytesMax = 512U << 20;

inline constexpr size_t PaddedPayloadBytes(size_t payload_bytes) {
  return (payload_bytes + 7) & ~static_cast<size_t>(7);
}

// Null if the header is one that we could have sent, else what is wrong with it.
inline const char* FrameHeaderError(const FrameHeader& header) {
  if (header.payload_bytes > kFramePayloadBytesMax) return "payload larger than the limit";
  if (static_cast<uint8_t>(header.kind) > static_cast<uint8_t>(FrameKind::kErrorReply)) {
    return "unknown frame kind";
  }
  if (header.flags != 0) return "unknown frame flags";
  return nullptr;
}

}  // namespace rayc
