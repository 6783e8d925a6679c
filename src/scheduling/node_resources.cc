#include "scheduling/node_resources.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/logging.h"

namespace rayc::scheduling {
namespace {

bool HasUnits(const ResourceSet& resources) {
  return std::any_of(resources.amounts().begin(), resources.amounts().end(),
                     [](const auto& entry) { return IsUnitResource(entry.first); });
}

int64_t Units(const ResourceSet& resources) {
  int64_t units = 0;
  for (const auto& [name, amount] : resources.amounts()) {
    units += IsUnitResource(name) ? amount : 0;
  }
  return units;
}

// Large shares of instances first: small ones fit in what is left.
std::vector<const Bundle*> InOrder(const std::vector<Bundle>& bundles) {
  std::vector<const Bundle*> order;
  order.reserve(bundles.size());
  for (const Bundle& bundle : bundles) {
    order.push_back(&bundle);
  }
  std::stable_sort(order.begin(), order.end(), [](const Bundle* a, const Bundle* b) {
    return Units(a->resources) > Units(b->resources);
  });
  return order;
}

bool Fit(const LocalResources& resources, const std::vector<Bundle>& bundles) {
  const ResourceSet sum = SumOf(bundles);
  if (!resources.available().Covers(sum)) {
    return false;
  }
  if (!HasUnits(sum)) {
    return true;
  }
  LocalResources sketch = resources;
  for (const Bundle* bundle : InOrder(bundles)) {
    if (!sketch.CanAllocate(bundle->resources, bundle->resources)) {
      return false;
    }
    sketch.Allocate(bundle->resources);
  }
  return true;
}

ResourceSet WithShare(const ResourceSet& held) {
  ResourceSet with_share = held;
  with_share.Set(kBundleResource, kBundleShare);
  return with_share;
}

void AddNamed(const PlacementGroupId& group, uint32_t index, const ResourceSet& amounts,
              ResourceSet* resources) {
  const std::string hex = group.Hex();
  for (const auto& [name, amount] : amounts.amounts()) {
    const std::string of_group = name + "_group_" + hex;
    resources->Set(of_group, resources->Get(of_group) + amount);
    resources->Set(name + "_group_" + std::to_string(index) + '_' + hex, amount);
  }
}

}  // namespace

ResourceSet SumOf(const std::vector<Bundle>& bundles) {
  ResourceSet sum;
  for (const Bundle& bundle : bundles) {
    sum.Add(bundle.resources);
  }
  return sum;
}

NodeResources::NodeResources(ResourceSet totals) : outside_(std::move(totals)) {}

ResourceSet NodeResources::Totals() const {
  ResourceSet totals = outside_.totals();
  for (const auto& [id, group] : groups_) {
    for (const auto& [index, bundle] : group.bundles) {
      AddNamed(id, index, bundle.inside.totals(), &totals);
    }
  }
  return totals;
}

ResourceSet NodeResources::Available() const {
  ResourceSet available = outside_.available();
  for (const auto& [id, group] : groups_) {
    for (const auto& [index, bundle] : group.bundles) {
      AddNamed(id, index, bundle.inside.available(), &available);
    }
  }
  return available;
}

bool NodeResources::CouldReserve(const std::vector<Bundle>& bundles) const {
  return Fit(LocalResources(outside_.totals()), bundles);
}

bool NodeResources::CanReserve(const std::vector<Bundle>& bundles) const {
  return Fit(outside_, bundles);
}

void NodeResources::Reserve(const PlacementGroupId& group, const std::vector<Bundle>& bundles,
                            bool usable) {
  const auto [it, inserted] = groups_.try_emplace(group);
  RAYC_CHECK(inserted) << "bundles of " << group << " are here already";
  it->second.usable = usable;
  for (const Bundle* bundle : InOrder(bundles)) {
    Allocation taken = outside_.Allocate(bundle->resources);
    ResourceSet inside = bundle->resources;
    inside.Set(kBundleResource, kBundleAmount);
    LocalResources resources(std::move(inside), taken.instances);
    it->second.bundles.emplace(bundle->index,
                               ReservedBundle{std::move(taken), std::move(resources)});
  }
}

void NodeResources::MakeUsable(const PlacementGroupId& group) {
  const auto it = groups_.find(group);
  if (it != groups_.end()) {
    it->second.usable = true;
  }
}

bool NodeResources::Return(const PlacementGroupId& group) {
  const auto it = groups_.find(group);
  if (it == groups_.end()) {
    return false;
  }
  for (const auto& [index, bundle] : it->second.bundles) {
    outside_.Release(bundle.taken);
  }
  groups_.erase(it);
  return true;
}

bool NodeResources::IsUsable(const PlacementGroupId& group) const {
  const auto it = groups_.find(group);
  return it != groups_.end() && it->second.usable;
}

template <typename Fits>
const NodeResources::ReservedBundle* NodeResources::FindBundle(const BundleTarget& target,
                                                               uint32_t* index, Fits fits) const {
  const auto group = groups_.find(target.group);
  if (group == groups_.end()) {
    return nullptr;
  }
  for (const auto& [number, bundle] : group->second.bundles) {
    const bool suits = target.index < 0 || static_cast<uint32_t>(target.index) == number;
    if (suits && fits(bundle.inside)) {
      *index = number;
      return &bundle;
    }
  }
  return nullptr;
}

ResourceSet NodeResources::TotalsOf(const BundleTarget& target) const {
  ResourceSet largest = target.InGroup() ? ResourceSet() : outside_.totals();
  uint32_t index = 0;
  FindBundle(target, &index, [&](const LocalResources& inside) {
    ResourceSet totals = inside.totals();
    totals.Set(kBundleResource, 0);
    if (largest.IsEmpty() || totals.Covers(largest)) {
      largest = std::move(totals);
    }
    return false;
  });
  return largest;
}

bool NodeResources::IsFeasible(const BundleTarget& target, const ResourceSet& held,
                               const ResourceSet& placement) const {
  if (!target.InGroup()) {
    return outside_.IsFeasible(held, placement);
  }
  uint32_t index = 0;
  return FindBundle(target, &index, [&](const LocalResources& inside) {
           return inside.IsFeasible(held, placement);
         }) != nullptr;
}

bool NodeResources::CanAllocate(const BundleTarget& target, const ResourceSet& held,
                                const ResourceSet& placement) const {
  if (!target.InGroup()) {
    return outside_.CanAllocate(held, placement);
  }
  uint32_t index = 0;
  return FindBundle(target, &index, [&](const LocalResources& inside) {
           return inside.CanAllocate(WithShare(held), placement);
         }) != nullptr;
}

Holding NodeResources::Allocate(const BundleTarget& target, const ResourceSet& held,
                                const ResourceSet& placement) {
  if (!target.InGroup()) {
    return {target, outside_.Allocate(held)};
  }
  const ResourceSet taken = WithShare(held);
  uint32_t index = 0;
  const ReservedBundle* bundle = FindBundle(target, &index, [&](const LocalResources& inside) {
    return inside.CanAllocate(taken, placement);
  });
  RAYC_CHECK(bundle != nullptr) << "no bundle of " << target.group << " fits";
  const BundleTarget found{target.group, static_cast<int32_t>(index)};
  return {found, Inside(found)->Allocate(taken)};
}

LocalResources* NodeResources::Inside(const BundleTarget& bundle) {
  if (!bundle.InGroup()) {
    return &outside_;
  }
  const auto group = groups_.find(bundle.group);
  if (group == groups_.end()) {
    return nullptr;
  }
  const auto it = group->second.bundles.find(static_cast<uint32_t>(bundle.index));
  return it == group->second.bundles.end() ? nullptr : &it->second.inside;
}

void NodeResources::Release(const Holding& holding) {
  if (LocalResources* resources = Inside(holding.bundle)) {
    resources->Release(holding.allocation);
  }
}

void NodeResources::LendCpu(Holding& holding) {
  if (LocalResources* resources = Inside(holding.bundle)) {
    resources->LendCpu(holding.allocation);
  }
}

void NodeResources::TakeBackCpu(Holding& holding) {
  if (LocalResources* resources = Inside(holding.bundle)) {
    resources->TakeBackCpu(holding.allocation);
  }
}

void NodeResources::SetAside(const BundleTarget& target, const ResourceSet& held,
                             const ResourceSet& placement) {
  if (!target.InGroup()) {
    outside_.Reserve(held, placement);
    return;
  }
  // The bundle that could hold it; which one, if there are several, does not matter much.
  uint32_t index = 0;
  if (FindBundle(target, &index, [&](const LocalResources& inside) {
        return inside.IsFeasible(held, placement);
      }) != nullptr) {
    Inside({target.group, static_cast<int32_t>(index)})->Reserve(held, placement);
  }
}

}  // namespace rayc::scheduling
