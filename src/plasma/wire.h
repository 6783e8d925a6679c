// Frames (common/frame.h) on the socket between a plasma client and its store: written into a
// buffer, and cut out of a stream. Everything that is read passes the FlatBuffers verifier. No IO
// here.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/frame.h"
#include "common/ids.h"
#include "common/status.h"
#include "protocol/common_generated.h"
#include "protocol/methods.h"

namespace rayc::plasma {

// A received frame. The payload is borrowed from its FrameReader.
struct Frame {
  FrameHeader header;
  const uint8_t* payload = nullptr;  // 8-aligned

  Method method() const { return static_cast<Method>(header.method); }
  // Null if the payload is not a well-formed T.
  template <typename T>
  const T* As() const {
    flatbuffers::Verifier verifier(payload, header.payload_bytes, /*max_depth=*/8,
                                   /*max_tables=*/10'000'000);
    return verifier.VerifyBuffer<T>(nullptr) ? flatbuffers::GetRoot<T>(payload) : nullptr;
  }
};

// Appends the finished builder's message as one frame.
void AppendFrame(std::string& out, Method method, FrameKind kind, uint64_t request_id,
                 const flatbuffers::FlatBufferBuilder& message);

void BuildEmpty(flatbuffers::FlatBufferBuilder& builder);
void BuildStatus(flatbuffers::FlatBufferBuilder& builder, const Status& status);
// What an error reply says; kInternal if it is malformed.
Status StatusOf(const Frame& error_reply);

template <typename IdType>
flatbuffers::Offset<flatbuffers::Vector<uint8_t>> BuildId(flatbuffers::FlatBufferBuilder& builder,
                                                          const IdType& id) {
  return builder.CreateVector(id.data(), IdType::kSize);
}

// Cuts a byte stream into frames. The room it keeps grows with what has arrived, not with what a
// header announces.
class FrameReader {
 public:
  enum class Next { kFrame, kMore, kMalformed };

  explicit FrameReader(uint32_t payload_bytes_max) : payload_bytes_max_(payload_bytes_max) {}

  // Where the next bytes of the stream go; never empty. Frames taken before become invalid.
  std::span<uint8_t> Room();
  void Filled(size_t bytes) { end_ += bytes; }

  Next Take(Frame* frame);
  const char* malformed() const { return malformed_; }  // what was wrong
  bool empty() const { return begin_ == end_; }

 private:
  size_t BytesOfNextFrame() const;  // 0 if its header is not whole

  const uint32_t payload_bytes_max_;
  const char* malformed_ = nullptr;
  std::unique_ptr<uint8_t[]> bytes_;  // operator new[] aligns it to 16
  size_t capacity_ = 0;
  size_t begin_ = 0;  // a multiple of 8
  size_t end_ = 0;
};

}  // namespace rayc::plasma
