// What is known of each node's resources: the input of the placement policies. A value; whoever
// keeps one (the GCS, a raylet) uses it from one thread.
#pragma once

#include <map>

#include "common/ids.h"
#include "common/resources.h"

namespace rayc::scheduling {

struct NodeView {
  ResourceSet totals;
  ResourceSet available;  // may be negative: CPUs that were lent and taken back
};

// Ordered by id, so that every holder of the same view decides alike.
class ClusterView {
 public:
  void AddNode(const NodeId& node, ResourceSet totals) {
    nodes_[node] = NodeView{totals, std::move(totals)};
  }
  void RemoveNode(const NodeId& node) { nodes_.erase(node); }
  // False if the node is not here (any more).
  bool SetAvailable(const NodeId& node, ResourceSet available) {
    const auto it = nodes_.find(node);
    if (it == nodes_.end()) {
      return false;
    }
    it->second.available = std::move(available);
    return true;
  }
  const NodeView* Find(const NodeId& node) const {
    const auto it = nodes_.find(node);
    return it == nodes_.end() ? nullptr : &it->second;
  }
  const std::map<NodeId, NodeView>& nodes() const { return nodes_; }

 private:
  std::map<NodeId, NodeView> nodes_;
};

}  // namespace rayc::scheduling
