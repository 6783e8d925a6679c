// What one node has free, and who holds which instance of its unit resources (GPUs). No IO, no
// clock; owned and called by one thread. Copyable: a copy is a sketch in which one can try things
// out.
//
// Invariants: for every resource, available = totals - sum of what allocations hold (an allocation
// with cpu_lent holds no CPU). Only TakeBackCpu and Reserve can make an amount negative.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/resources.h"

namespace rayc::scheduling {

// Resources that are things, each with a number, not just amounts.
bool IsUnitResource(std::string_view name);

struct InstanceShare {
  uint32_t index = 0;
  int64_t amount = 0;  // kResourceUnit: all of it
};

// What one lease holds. Given back exactly once.
struct Allocation {
  ResourceSet held;
  std::map<std::string, std::vector<InstanceShare>> instances;
  bool cpu_lent = false;
};

class LocalResources {
 public:
  explicit LocalResources(ResourceSet totals);
  // A part of a node: these shares of its instances, under their numbers there.
  LocalResources(ResourceSet totals,
                 const std::map<std::string, std::vector<InstanceShare>>& instances);

  const ResourceSet& totals() const { return totals_; }
  const ResourceSet& available() const { return available_; }

  // Whether the node could hold both at some time; whether it can now. `placement` must be free
  // when the lease is given, `held` is what it then takes.
  bool IsFeasible(const ResourceSet& held, const ResourceSet& placement) const;
  bool CanAllocate(const ResourceSet& held, const ResourceSet& placement) const;
  // REQUIRES: CanAllocate.
  Allocation Allocate(const ResourceSet& held);
  void Release(const Allocation& allocation);

  // A blocked task's CPUs go to others until it goes on; then they are taken back even from a node
  // that has none left, so that no task that runs has to wait for them.
  void LendCpu(Allocation& allocation);
  void TakeBackCpu(Allocation& allocation);

  // Sketches only: sets aside what a waiting request needs, so that later ones leave it alone.
  void Reserve(const ResourceSet& held, const ResourceSet& placement);

 private:
  bool InstancesCover(std::string_view name, int64_t amount) const;

  ResourceSet totals_;
  ResourceSet available_;
  std::map<std::string, std::vector<int64_t>, std::less<>>
      free_instances_;  // per instance: free part
};

}  // namespace rayc::scheduling
