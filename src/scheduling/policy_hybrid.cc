#include "scheduling/policy_hybrid.h"

#include <algorithm>

namespace rayc::scheduling {
namespace {

// The used share of the scarcest resource, once `request` were placed on `node`.
double LoadAfter(const NodeView& node, const ResourceSet& request) {
  double load = 0;
  for (const auto& [name, total] : node.totals.amounts()) {
    const int64_t left = node.available.Get(name) - request.Get(name);
    load = std::max(load, 1.0 - static_cast<double>(left) / static_cast<double>(total));
  }
  return load;
}

}  // namespace

std::optional<NodeId> PickHybrid(const ClusterView& view, const ResourceSet& request,
                                 const NodeId& preferred, const HybridOptions& options) {
  std::optional<NodeId> best;
  double best_load = 0;
  const auto consider = [&](const NodeId& id, const NodeView& node) {
    if (!node.available.Covers(request)) {
      return;
    }
    // All loads up to the limit count as equal, so that the first such node is filled.
    const double load = std::max(LoadAfter(node, request), options.pack_up_to);
    if (!best || load < best_load) {
      best = id;
      best_load = load;
    }
  };
  if (const NodeView* node = view.Find(preferred)) {
    consider(preferred, *node);
  }
  for (const auto& [id, node] : view.nodes()) {
    if (id != preferred) {
      consider(id, node);
    }
  }
  return best;
}

}  // namespace rayc::scheduling
