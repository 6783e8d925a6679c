// How a value pickled with protocol 5 lies in memory: the pickle, and its buffers, each aligned so
// that arrays over them are. Pure; no Python.
//
//   0       4              8             16
//   | magic | buffer count | pickle bytes | { offset u64, bytes u64 } per buffer | pickle | buffers
//   ...
//
// What is read back comes from other processes: every offset is checked.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "plasma/copy.h"

namespace rayc::python {

inline constexpr uint32_t kPickleMagic = 0x35504352;  // "RCP5"

struct PickleHeader {
  uint32_t magic = kPickleMagic;
  uint32_t buffer_count = 0;
  uint64_t pickle_bytes = 0;
};
static_assert(sizeof(PickleHeader) == 16);

struct BufferPlace {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};
static_assert(sizeof(BufferPlace) == 16);

class PickleWriter {
 public:
  void SetPickle(std::string_view pickle) { pickle_ = pickle; }
  void AddBuffer(const void* data, size_t bytes) {
    buffers_.emplace_back(static_cast<const char*>(data), bytes);
  }

  // After the parts are known.
  size_t ComputeSize() {
    uint64_t end = sizeof(PickleHeader) + buffers_.size() * sizeof(BufferPlace) + pickle_.size();
    places_.clear();
    places_.reserve(buffers_.size());
    for (const std::string_view buffer : buffers_) {
      const uint64_t alignment = buffer.size() < kSmallBytes ? 8 : 64;
      const uint64_t offset = (end + alignment - 1) / alignment * alignment;
      places_.push_back({offset, buffer.size()});
      end = offset + buffer.size();
    }
    return end;
  }

  // `to` has room for ComputeSize() bytes, aligned to 64. Needs no GIL: the parts are pinned.
  void WriteTo(uint8_t* to) const {
    const PickleHeader header{kPickleMagic, static_cast<uint32_t>(buffers_.size()), pickle_.size()};
    std::memcpy(to, &header, sizeof(header));
    uint8_t* at = to + sizeof(header);
    if (!places_.empty()) {
      std::memcpy(at, places_.data(), places_.size() * sizeof(BufferPlace));
      at += places_.size() * sizeof(BufferPlace);
    }
    std::memcpy(at, pickle_.data(), pickle_.size());
    for (size_t i = 0; i < buffers_.size(); ++i) {
      if (!buffers_[i].empty()) {
        plasma::CopyBytes(to + places_[i].offset, buffers_[i].data(), buffers_[i].size());
      }
    }
  }

 private:
  static constexpr size_t kSmallBytes = 2048;

  std::string_view pickle_;
  std::vector<std::string_view> buffers_;
  std::vector<BufferPlace> places_;
};

struct PickleParts {
  std::string_view pickle;
  std::vector<BufferPlace> buffers;
};

// False if the bytes are not laid out so. Views into `bytes`.
inline bool ReadPickleParts(std::string_view bytes, PickleParts* parts) {
  PickleHeader header;
  if (bytes.size() < sizeof(header)) {
    return false;
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  const uint64_t left = bytes.size() - sizeof(header);
  if (header.magic != kPickleMagic || header.buffer_count > left / sizeof(BufferPlace)) {
    return false;
  }
  const uint64_t table_bytes = header.buffer_count * sizeof(BufferPlace);
  if (header.pickle_bytes > left - table_bytes) {
    return false;
  }
  parts->pickle = bytes.substr(sizeof(header) + table_bytes, header.pickle_bytes);
  parts->buffers.resize(header.buffer_count);
  if (header.buffer_count > 0) {
    std::memcpy(parts->buffers.data(), bytes.data() + sizeof(header), table_bytes);
  }
  for (const BufferPlace& place : parts->buffers) {
    if (place.offset > bytes.size() || place.bytes > bytes.size() - place.offset) {
      return false;
    }
  }
  return true;
}

}  // namespace rayc::python
