// For tests: objects whose bytes follow from their id, so that whoever reads one can tell whether
// it is what was written.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "common/buffer.h"
#include "common/ids.h"
#include "common/status.h"
#include "plasma/client.h"

namespace rayc::plasma {

// One id for each pair of numbers.
inline ObjectId TestId(uint64_t a, uint64_t b) {
  std::string bytes(ObjectId::kSize, '\x5a');
  uint64_t mixed = a * 0x9e3779b97f4a7c15ULL + b;
  mixed = (mixed ^ (mixed >> 31)) * 0xbf58476d1ce4e5b9ULL;
  std::memcpy(bytes.data(), &mixed, sizeof(mixed));
  std::memcpy(bytes.data() + 8, &a, sizeof(a));
  std::memcpy(bytes.data() + 16, &b, sizeof(b));
  return ObjectId::FromBinary(bytes);
}

inline uint64_t TestWord(const ObjectId& id, uint64_t bytes, uint64_t place) {
  return (id.Hash() ^ bytes) + place * 0x9e3779b97f4a7c15ULL;
}

// Every word of what is small; of what is large, one in each 4 KiB and the last one.
template <typename Visit>
void ForTestWords(uint64_t bytes, const Visit& visit) {
  const uint64_t words = bytes / sizeof(uint64_t);
  const uint64_t step = bytes > (64U << 10) ? 512 : 1;
  for (uint64_t place = 0; place < words; place += step) {
    visit(place);
  }
  if (words > 0) {
    visit(words - 1);
  }
}

inline void FillTestObject(const ObjectId& id, const WritableObject& object) {
  ForTestWords(object.size, [&](uint64_t place) {
    const uint64_t word = TestWord(id, object.size, place);
    std::memcpy(object.data + place * sizeof(word), &word, sizeof(word));
  });
}

inline std::string TestMetadata(uint64_t bytes, bool is_long) {
  std::string metadata = std::to_string(bytes) + ".";
  return is_long ? metadata + std::string(1000, 'm') : metadata;
}

// Empty, or what is wrong with it.
inline std::string CheckTestObject(const ObjectId& id, const ObjectValue& value) {
  const uint64_t bytes = value.data->size();
  if (value.metadata != TestMetadata(bytes, false) && value.metadata != TestMetadata(bytes, true)) {
    return "object " + id.Hex() + " of " + std::to_string(bytes) +
           " bytes has the metadata of another: " + value.metadata;
  }
  std::string wrong;
  ForTestWords(bytes, [&](uint64_t place) {
    uint64_t word = 0;
    std::memcpy(&word, value.data->data() + place * sizeof(word), sizeof(word));
    if (wrong.empty() && word != TestWord(id, bytes, place)) {
      wrong = "object " + id.Hex() + " of " + std::to_string(bytes) +
              " bytes has another one's bytes at " + std::to_string(place * sizeof(word));
    }
  });
  return wrong;
}

inline Status PutTestObject(Client& client, const ObjectId& id, uint64_t bytes,
                            const CreateOptions& options = {}, bool long_metadata = false) {
  const auto object = client.Create(id, bytes, TestMetadata(bytes, long_metadata), options);
  if (!object) {
    return object.error();
  }
  FillTestObject(id, *object);
  return client.Seal(id);
}

}  // namespace rayc::plasma
