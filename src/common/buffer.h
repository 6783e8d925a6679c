// Bytes with a lifetime. A Buffer is immutable after construction and shared between threads by
// shared_ptr: the values in the memory store, the Python objects that view them and the messages
// that carry them are all holders.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace rayc {

class Buffer {
 public:
  virtual ~Buffer() = default;
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view View() const { return {reinterpret_cast<const char*>(data_), size_}; }

 protected:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// 64-byte aligned heap bytes, so that numpy views of inlined values are aligned as in plasma.
class HeapBuffer final : public Buffer {
 public:
  static constexpr size_t kAlignment = 64;

  explicit HeapBuffer(size_t size)
      : bytes_(new (std::align_val_t(kAlignment)) uint8_t[size == 0 ? 1 : size]) {
    data_ = bytes_.get();
    size_ = size;
  }
  static std::shared_ptr<HeapBuffer> Copy(std::string_view bytes) {
    auto buffer = std::make_shared<HeapBuffer>(bytes.size());
    bytes.copy(reinterpret_cast<char*>(buffer->mutable_data()), bytes.size());
    return buffer;
  }
  uint8_t* mutable_data() { return bytes_.get(); }

 private:
  struct Free {
    void operator()(uint8_t* p) const { ::operator delete[](p, std::align_val_t(kAlignment)); }
  };
  std::unique_ptr<uint8_t[], Free> bytes_;
};

// A value as it is stored: the bytes, and a short tag that says how to read them.
struct ObjectValue {
  std::shared_ptr<Buffer> data;
  std::string metadata;
};

}  // namespace rayc
