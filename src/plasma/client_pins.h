// A client's pins: which places of its pin table are in use. Any thread; locks are held for a few
// instructions, so that a pin may be given up in a destructor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/thread_annotations.h"
#include "plasma/client_segment.h"

namespace rayc::plasma {

class ClientPins {
 public:
  explicit ClientPins(std::shared_ptr<ClientSegment> segment) : segment_(std::move(segment)) {}

  // Writes a pin; it holds only if the entry's word still says the same after this. Null if the
  // table is full.
  std::optional<uint32_t> Set(EntryRef ref);
  void Clear(uint32_t place);

 private:
  const std::shared_ptr<ClientSegment> segment_;
  Mutex mutex_;
  uint32_t next_ RAYC_GUARDED_BY(mutex_) = 0;  // places from here on were never used
  std::vector<uint32_t> free_ RAYC_GUARDED_BY(mutex_);
};

}  // namespace rayc::plasma
