// A received payload, and the one place where it becomes a message: through the verifier.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/status.h"

namespace rayc::rpc {

// Borrowed bytes, 8-aligned, valid during the callback that receives them.
struct Message {
  const uint8_t* data = nullptr;
  size_t size = 0;

  // Null if the bytes are not a well-formed T. The pointer lives as long as the bytes.
  template <typename T>
  const T* As() const {
    flatbuffers::Verifier verifier(data, size, /*max_depth=*/16, /*max_tables=*/2'000'000);
    return verifier.VerifyBuffer<T>(nullptr) ? flatbuffers::GetRoot<T>(data) : nullptr;
  }
};

// Owned, finished bytes to send.
class Payload {
 public:
  Payload() = default;
  explicit Payload(flatbuffers::DetachedBuffer buffer) : buffer_(std::move(buffer)) {}
  template <typename NativeTable>
  static Payload Of(const NativeTable& native) {
    flatbuffers::FlatBufferBuilder builder(256);
    builder.Finish(NativeTable::TableType::Pack(builder, &native));
    return Payload(builder.Release());
  }
  const uint8_t* data() const { return buffer_.data(); }
  size_t size() const { return buffer_.size(); }

 private:
  flatbuffers::DetachedBuffer buffer_;
};

template <typename Bytes>
std::string_view BytesView(const Bytes* bytes) {
  if (bytes == nullptr) {
    return {};
  }
  return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

}  // namespace rayc::rpc
