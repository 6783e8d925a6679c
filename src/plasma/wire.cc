#include "plasma/wire.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/logging.h"

namespace rayc::plasma {
namespace {

constexpr size_t kReaderBytesMin = 4U << 10;
constexpr size_t kReaderBytesKept = 256U << 10;

}  // namespace

void AppendFrame(std::string& out, Method method, FrameKind kind, uint64_t request_id,
                 const flatbuffers::FlatBufferBuilder& message) {
  const size_t bytes = message.GetSize();
  RAYC_CHECK(bytes <= kFramePayloadBytesMax) << bytes;
  FrameHeader header;
  header.payload_bytes = static_cast<uint32_t>(bytes);
  header.method = static_cast<uint16_t>(method);
  header.kind = kind;
  header.request_id = request_id;
  out.append(reinterpret_cast<const char*>(&header), sizeof(header));
  out.append(reinterpret_cast<const char*>(message.GetBufferPointer()), bytes);
  out.append(PaddedPayloadBytes(bytes) - bytes, '\0');
}

void BuildEmpty(flatbuffers::FlatBufferBuilder& builder) {
  builder.Finish(fb::CreateEmpty(builder));
}

void BuildStatus(flatbuffers::FlatBufferBuilder& builder, const Status& status) {
  const auto message = builder.CreateString(status.message());
  builder.Finish(fb::CreateStatusMessage(builder, static_cast<uint8_t>(status.code()), message));
}

Status StatusOf(const Frame& error_reply) {
  const auto* message = error_reply.As<fb::StatusMessage>();
  if (message == nullptr || message->code() == 0 ||
      message->code() > static_cast<uint8_t>(StatusCode::kInternal)) {
    return Status::Internal("malformed error reply from the plasma store");
  }
  return {static_cast<StatusCode>(message->code()),
          message->message() == nullptr ? std::string() : message->message()->str()};
}

size_t FrameReader::BytesOfNextFrame() const {
  if (end_ - begin_ < sizeof(FrameHeader)) {
    return 0;
  }
  FrameHeader header;
  std::memcpy(&header, bytes_.get() + begin_, sizeof(header));
  return sizeof(header) + PaddedPayloadBytes(header.payload_bytes);
}

std::span<uint8_t> FrameReader::Room() {
  const size_t kept = end_ - begin_;
  if (begin_ > 0) {
    std::memmove(bytes_.get(), bytes_.get() + begin_, kept);
    begin_ = 0;
    end_ = kept;
  }
  size_t wanted = capacity_;
  if (kept == 0 && capacity_ > kReaderBytesKept) {
    wanted = 0;
  } else if (kept == capacity_) {
    // At most twice what is there, so that a header alone costs us nothing.
    wanted = std::min(capacity_ * 2, std::max(BytesOfNextFrame(), capacity_ + 1));
  }
  wanted = std::max(wanted, kReaderBytesMin);
  if (wanted != capacity_) {
    std::unique_ptr<uint8_t[]> larger(new uint8_t[wanted]);
    if (kept > 0) {
      std::memcpy(larger.get(), bytes_.get(), kept);
    }
    bytes_ = std::move(larger);
    capacity_ = wanted;
  }
  return {bytes_.get() + end_, capacity_ - end_};
}

FrameReader::Next FrameReader::Take(Frame* frame) {
  if (malformed_ != nullptr) {
    return Next::kMalformed;
  }
  const size_t bytes = BytesOfNextFrame();
  if (bytes == 0) {
    return Next::kMore;
  }
  std::memcpy(&frame->header, bytes_.get() + begin_, sizeof(FrameHeader));
  malformed_ = FrameHeaderError(frame->header);
  if (malformed_ == nullptr && frame->header.payload_bytes > payload_bytes_max_) {
    malformed_ = "payload larger than the limit";
  }
  if (malformed_ != nullptr) {
    return Next::kMalformed;
  }
  if (end_ - begin_ < bytes) {
    return Next::kMore;
  }
  frame->payload = bytes_.get() + begin_ + sizeof(FrameHeader);
  begin_ += bytes;
  return Next::kFrame;
}

}  // namespace rayc::plasma
