// On which nodes the bundles of a placement group are to lie. Pure function over values, any
// thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduling/cluster_view.h"
#include "scheduling/feasibility.h"

namespace rayc::scheduling {

enum class BundleStrategy {
  kPack,          // few nodes
  kSpread,        // many nodes
  kStrictPack,    // one node, or not at all
  kStrictSpread,  // a node for each bundle, or not at all
};

struct BundlePlacement {
  Feasibility feasibility = Feasibility::kNever;
  std::vector<NodeId> nodes;  // kNow: one for each bundle
  std::string why;            // kNever: one sentence for people
};

// `preferred`: the node to use if all bundles fit there; kStrictPack only.
BundlePlacement PlaceBundles(const ClusterView& view, const std::vector<ResourceSet>& bundles,
                             BundleStrategy strategy, const std::optional<NodeId>& preferred);

}  // namespace rayc::scheduling
