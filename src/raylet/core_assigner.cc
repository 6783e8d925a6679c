#include "raylet/core_assigner.h"

#include <algorithm>
#include <numeric>

#include "common/resources.h"

namespace rayc::raylet {

CoreAssigner::CoreAssigner(const std::vector<int32_t>& cores) {
  for (const int32_t id : cores) {
    cores_.push_back({id, 0});
  }
}

std::vector<int32_t> CoreAssigner::Assign(const WorkerId& worker, int64_t cpu) {
  Release(worker);
  if (cores_.empty() || cpu <= 0) {
    return {};
  }
  const auto whole = static_cast<size_t>((cpu + kResourceUnit - 1) / kResourceUnit);
  const size_t count = std::min(whole, cores_.size());
  std::vector<size_t> order(cores_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](size_t a, size_t b) { return cores_[a].load < cores_[b].load; });
  order.resize(count);
  std::sort(order.begin(), order.end());
  Share share{order, cpu / static_cast<int64_t>(count)};
  std::vector<int32_t> ids;
  for (const size_t index : order) {
    cores_[index].load += share.each;
    ids.push_back(cores_[index].id);
  }
  shares_[worker] = std::move(share);
  return ids;
}

void CoreAssigner::Release(const WorkerId& worker) {
  const auto it = shares_.find(worker);
  if (it == shares_.end()) {
    return;
  }
  for (const size_t index : it->second.cores) {
    cores_[index].load -= it->second.each;
  }
  shares_.erase(it);
}

}  // namespace rayc::raylet
