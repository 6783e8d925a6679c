// What a CoreWorker knows of placement groups: what is asked for, and what is told of one. Values.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/resources.h"
#include "common/status.h"

namespace rayc::core_worker {

// `strategy`, `state`: the numbers of fb::PlacementStrategy and fb::PlacementGroupState.
struct PlacementGroupSpec {
  std::string name;
  std::string name_space;
  int strategy = 0;
  std::vector<ResourceSet> bundles;
  bool is_detached = false;
  NodeId soft_target;  // nil: none
};

struct PlacementGroupRecord {
  PlacementGroupId id;
  std::string name;
  std::string name_space;
  int strategy = 0;
  std::vector<ResourceSet> bundles;
  std::vector<NodeId> nodes;  // nil: not placed
  int state = 0;
  std::string failure;
  uint64_t created_after_us = 0;
  uint32_t attempts = 0;
};

// The answer that this process waits for, to "is it created?". Guarded by the CoreWorker's lock,
// but for `done`, which is set last.
struct PlacementGroupWait {
  std::atomic<bool> done{false};
  Status status;
  std::vector<std::function<void(const Status&)>> then;  // under the lock
};

}  // namespace rayc::core_worker
