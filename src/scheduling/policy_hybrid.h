// The default placement: fill the preferred node, then others, up to a load; beyond it, the least
// loaded. Pure function over values, any thread.
#pragma once

#include <optional>

#include "scheduling/cluster_view.h"

namespace rayc::scheduling {

struct HybridOptions {
  // Share of a node's scarcest resource up to which nodes are filled one after the other.
  double pack_up_to = 0.5;
};

// The node for `request`, among those that have it free now; nullopt if none has.
std::optional<NodeId> PickHybrid(const ClusterView& view, const ResourceSet& request,
                                 const NodeId& preferred, const HybridOptions& options);

}  // namespace rayc::scheduling
