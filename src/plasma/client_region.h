// Where a client's small objects go: the region of the arena and the index entries that the store
// has granted it, and the round trip for more. Regions grow with use. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "common/thread_annotations.h"
#include "plasma/client.h"
#include "plasma/client_session.h"

namespace rayc::plasma {

class ClientRegion {
 public:
  // Larger objects get room of their own from the store.
  static constexpr uint64_t kObjectBytesMax = (1U << 20) - 1;

  explicit ClientRegion(ClientSession& session) : session_(session) {}

  // A filled entry, not linked yet, with room in the arena. Null if the store has no region to
  // give now: the object must be asked for by itself.
  Result<std::optional<Creation>> Take(const ObjectId& id, uint64_t data_bytes,
                                       const std::string& metadata, const WorkerId& owner,
                                       bool evictable);

 private:
  Status Refill(uint64_t bytes_min) RAYC_REQUIRES(mutex_);

  ClientSession& session_;
  // Held from taking room until the entry says so, and during a refill: so when the store hears of
  // a refill, all that was taken from the last region is to be found in entries.
  Mutex mutex_;
  uint64_t end_ RAYC_GUARDED_BY(mutex_) = 0;  // of the region; 0: none
  std::vector<uint32_t> entries_ RAYC_GUARDED_BY(mutex_);
  uint64_t next_region_bytes_ RAYC_GUARDED_BY(mutex_) = 0;
  uint32_t next_entries_ RAYC_GUARDED_BY(mutex_) = 0;
};

}  // namespace rayc::plasma
