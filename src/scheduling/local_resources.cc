#include "scheduling/local_resources.h"

#include <algorithm>

#include "common/logging.h"

namespace rayc::scheduling {

bool IsUnitResource(std::string_view name) { return name == kGpu; }

LocalResources::LocalResources(ResourceSet totals)
    : totals_(std::move(totals)), available_(totals_) {
  for (const auto& [name, amount] : totals_.amounts()) {
    if (IsUnitResource(name)) {
      free_instances_[name].assign(static_cast<size_t>(amount / kResourceUnit), kResourceUnit);
    }
  }
}

LocalResources::LocalResources(ResourceSet totals,
                               const std::map<std::string, std::vector<InstanceShare>>& instances)
    : totals_(std::move(totals)), available_(totals_) {
  for (const auto& [name, shares] : instances) {
    std::vector<int64_t>& free = free_instances_[name];
    for (const InstanceShare& share : shares) {
      free.resize(std::max(free.size(), size_t{share.index} + 1));
      free[share.index] += share.amount;
    }
  }
}

bool LocalResources::IsFeasible(const ResourceSet& held, const ResourceSet& placement) const {
  return totals_.Covers(held) && totals_.Covers(placement);
}

bool LocalResources::CanAllocate(const ResourceSet& held, const ResourceSet& placement) const {
  if (!available_.Covers(held) || !available_.Covers(placement)) {
    return false;
  }
  for (const auto& [name, amount] : held.amounts()) {
    if (IsUnitResource(name) && !InstancesCover(name, amount)) {
      return false;
    }
  }
  return true;
}

bool LocalResources::InstancesCover(std::string_view name, int64_t amount) const {
  const auto it = free_instances_.find(name);
  if (it == free_instances_.end()) {
    return amount <= 0;
  }
  const std::vector<int64_t>& free = it->second;
  if (amount < kResourceUnit) {
    return std::any_of(free.begin(), free.end(), [&](int64_t part) { return part >= amount; });
  }
  return std::count(free.begin(), free.end(), kResourceUnit) * kResourceUnit >= amount;
}

Allocation LocalResources::Allocate(const ResourceSet& held) {
  Allocation allocation;
  allocation.held = held;
  available_.Subtract(held);
  for (const auto& [name, amount] : held.amounts()) {
    if (!IsUnitResource(name)) {
      continue;
    }
    std::vector<int64_t>& free = free_instances_[name];
    std::vector<InstanceShare>& shares = allocation.instances[name];
    if (amount < kResourceUnit) {
      // The fullest instance that still has room: keeps whole ones for those who need whole ones.
      size_t best = free.size();
      for (size_t i = 0; i < free.size(); ++i) {
        if (free[i] >= amount && (best == free.size() || free[i] < free[best])) {
          best = i;
        }
      }
      RAYC_CHECK(best < free.size()) << name << " " << amount;
      free[best] -= amount;
      shares.push_back({static_cast<uint32_t>(best), amount});
      continue;
    }
    int64_t wanted = amount;
    for (size_t i = 0; i < free.size() && wanted > 0; ++i) {
      if (free[i] == kResourceUnit) {
        free[i] = 0;
        wanted -= kResourceUnit;
        shares.push_back({static_cast<uint32_t>(i), kResourceUnit});
      }
    }
    RAYC_CHECK(wanted <= 0) << name << " " << amount;
  }
  return allocation;
}

void LocalResources::Release(const Allocation& allocation) {
  ResourceSet back = allocation.held;
  if (allocation.cpu_lent) {
    back.Set(kCpu, 0);
  }
  available_.Add(back);
  for (const auto& [name, shares] : allocation.instances) {
    for (const InstanceShare& share : shares) {
      free_instances_[name][share.index] += share.amount;
    }
  }
}

void LocalResources::LendCpu(Allocation& allocation) {
  if (!allocation.cpu_lent) {
    allocation.cpu_lent = true;
    available_.Set(kCpu, available_.Get(kCpu) + allocation.held.Get(kCpu));
  }
}

void LocalResources::TakeBackCpu(Allocation& allocation) {
  if (allocation.cpu_lent) {
    allocation.cpu_lent = false;
    available_.Set(kCpu, available_.Get(kCpu) - allocation.held.Get(kCpu));
  }
}

void LocalResources::Reserve(const ResourceSet& held, const ResourceSet& placement) {
  ResourceSet needed = held;
  for (const auto& [name, amount] : placement.amounts()) {
    needed.Set(name, std::max(needed.Get(name), amount));
  }
  available_.Subtract(needed);
}

}  // namespace rayc::scheduling
