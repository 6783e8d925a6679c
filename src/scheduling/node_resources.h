// One node's resources together with the bundles of placement groups that are set aside on it. A
// lease takes from one bundle, or from what lies outside of all bundles. No IO, no clock; owned and
// called by one thread. Copyable: a copy is a sketch in which one can try things out.
//
// Invariants: what a bundle holds is taken from the node as a whole, for as long as the bundle is
// there; leases in bundles move nothing outside. A bundle that is returned takes the leases in it
// along: releasing these afterwards is nothing.
//
// To people, and in what a node reports, bundles appear as resources of their own: of a bundle's
// CPUs `CPU_group_<index>_<group>` and, summed over the group, `CPU_group_<group>`; and as the
// synthetic resource `bundle`, which each lease takes a little of.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "common/resources.h"
#include "scheduling/local_resources.h"

namespace rayc::scheduling {

inline constexpr std::string_view kBundleResource = "bundle";
inline constexpr int64_t kBundleAmount = 1'000 * kResourceUnit;
inline constexpr int64_t kBundleShare = kResourceUnit / 1'000;  // of one lease

struct Bundle {
  uint32_t index = 0;
  ResourceSet resources;
};
ResourceSet SumOf(const std::vector<Bundle>& bundles);

// Where on a node: group nil is outside of all bundles, index -1 any bundle of the group.
struct BundleTarget {
  PlacementGroupId group;
  int32_t index = -1;
  bool InGroup() const { return !group.IsNil(); }
};

// What one lease holds, and where.
struct Holding {
  BundleTarget bundle;
  Allocation allocation;
};

class NodeResources {
 public:
  explicit NodeResources(ResourceSet totals);

  const LocalResources& outside() const { return outside_; }
  // With the names of bundles.
  ResourceSet Totals() const;
  ResourceSet Available() const;

  // ---- bundles: all of them, or none ----
  bool CouldReserve(const std::vector<Bundle>& bundles) const;  // were the node empty
  bool CanReserve(const std::vector<Bundle>& bundles) const;
  // REQUIRES: CanReserve, and that nothing of this group is here. `usable`: leases may take of it.
  void Reserve(const PlacementGroupId& group, const std::vector<Bundle>& bundles, bool usable);
  void MakeUsable(const PlacementGroupId& group);
  bool Return(const PlacementGroupId& group);  // false if nothing of it is here
  bool Has(const PlacementGroupId& group) const { return groups_.count(group) > 0; }
  bool IsUsable(const PlacementGroupId& group) const;
  // The largest bundle there is, for messages to people.
  ResourceSet TotalsOf(const BundleTarget& target) const;

  // ---- leases ----
  bool IsFeasible(const BundleTarget& target, const ResourceSet& held,
                  const ResourceSet& placement) const;
  bool CanAllocate(const BundleTarget& target, const ResourceSet& held,
                   const ResourceSet& placement) const;
  // REQUIRES: CanAllocate.
  Holding Allocate(const BundleTarget& target, const ResourceSet& held,
                   const ResourceSet& placement);
  void Release(const Holding& holding);
  void LendCpu(Holding& holding);
  void TakeBackCpu(Holding& holding);

  // Sketches only, see LocalResources::Reserve.
  void SetAside(const BundleTarget& target, const ResourceSet& held, const ResourceSet& placement);

 private:
  struct ReservedBundle {
    Allocation taken;       // from the node
    LocalResources inside;  // for leases
  };
  struct Group {
    bool usable = false;
    std::map<uint32_t, ReservedBundle> bundles;  // by index
  };

  // The first bundle that suits the target and `fits`.
  template <typename Fits>
  const ReservedBundle* FindBundle(const BundleTarget& target, uint32_t* index, Fits fits) const;
  LocalResources* Inside(const BundleTarget& bundle);  // null if it is not here

  LocalResources outside_;
  std::map<PlacementGroupId, Group> groups_;
};

}  // namespace rayc::scheduling
