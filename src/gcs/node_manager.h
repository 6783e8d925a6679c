// The nodes of the cluster: who they are, what they have, and that a node whose raylet's connection
// has closed is dead. Owned by the GcsServer; loop thread only.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "common/resources.h"
#include "common/status.h"
#include "rpc/channel.h"

namespace rayc::gcs {

struct NodeRecord {
  NodeId node_id;
  std::string ip;
  std::string hostname;
  std::string raylet_socket;
  std::string plasma_socket;
  bool is_head = false;
  ResourceSet total;
  ResourceSet shown_total;  // and the names of placement groups' bundles, as it reports them
  ResourceSet available;
  bool is_alive = true;
  std::string death_reason;
};

class NodeManager {
 public:
  // Dead nodes that are remembered; older ones are forgotten.
  static constexpr size_t kDeadNodesMax = 1'000;

  // Set once, before the first node. Both run after the change.
  void OnAdded(std::function<void(const NodeRecord&)> callback) { on_added_ = std::move(callback); }
  void OnDead(std::function<void(const NodeRecord&)> callback) { on_dead_ = std::move(callback); }

  // The node lives as long as `connection`.
  Status Register(NodeRecord node, const rpc::ChannelPtr& connection);
  void Report(const NodeId& id, ResourceSet totals, ResourceSet available);
  void OnDisconnect(const rpc::ChannelPtr& connection);

  const NodeRecord* Find(const NodeId& id) const;
  std::vector<const NodeRecord*> List() const;  // living and dead
  // Where to ask for a lease of these resources: a living node that has them free; else one that
  // has them at all; else the head node or any other, whose raylet then says what is missing. None
  // only when no node lives.
  std::optional<NodeId> Pick(const ResourceSet& resources, const ResourceSet& placement) const;

 private:
  struct Entry {
    NodeRecord record;
    rpc::ChannelPtr connection;  // null when dead
  };

  std::unordered_map<NodeId, Entry> nodes_;
  std::deque<NodeId> dead_;  // oldest first
  std::function<void(const NodeRecord&)> on_added_;
  std::function<void(const NodeRecord&)> on_dead_;
};

}  // namespace rayc::gcs
