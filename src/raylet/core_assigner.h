// Which CPU cores each worker is pinned to, where leases stand for cores
// (cpu_isolation="affinity"). Whole leases get cores of their own as long as there are any; parts
// of a CPU share one. Owned by Node; loop thread only. No IO: the worker pins itself, by what the
// lease tells it.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "common/ids.h"

namespace rayc::raylet {

class CoreAssigner {
 public:
  // The cores that may be given out; none: nobody is pinned.
  explicit CoreAssigner(const std::vector<int32_t>& cores);

  bool enabled() const { return !cores_.empty(); }
  // The cores for a lease of so much CPU (fixed point), the least used first; none for no CPU. What
  // the worker had before is free again.
  std::vector<int32_t> Assign(const WorkerId& worker, int64_t cpu);
  void Release(const WorkerId& worker);

 private:
  struct Core {
    int32_t id = 0;
    int64_t load = 0;  // fixed point; more than one CPU while workers lend theirs
  };
  struct Share {
    std::vector<size_t> cores;  // by index
    int64_t each = 0;
  };

  std::vector<Core> cores_;
  std::unordered_map<WorkerId, Share> shares_;
};

}  // namespace rayc::raylet
