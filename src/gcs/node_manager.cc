#include "gcs/node_manager.h"

#include <utility>

#include "common/logging.h"

namespace rayc::gcs {

Status NodeManager::Register(NodeRecord node, const rpc::ChannelPtr& connection) {
  const NodeId id = node.node_id;
  if (id.IsNil()) {
    return Status::InvalidArgument("a node needs an id");
  }
  const auto [it, inserted] = nodes_.try_emplace(id);
  if (!inserted) {
    return Status::AlreadyExists("node " + id.Hex() + " has registered before");
  }
  RAYC_LOG(kInfo) << "node " << id << " joins with " << node.total.ToString();
  node.is_alive = true;
  node.available = node.total;
  node.shown_total = node.total;
  it->second = Entry{std::move(node), connection};
  if (on_added_) {
    on_added_(it->second.record);
  }
  return Status::Ok();
}

void NodeManager::Report(const NodeId& id, ResourceSet totals, ResourceSet available) {
  const auto it = nodes_.find(id);
  if (it != nodes_.end() && it->second.record.is_alive) {
    it->second.record.shown_total = std::move(totals);
    it->second.record.available = std::move(available);
  }
}

void NodeManager::OnDisconnect(const rpc::ChannelPtr& connection) {
  std::vector<NodeId> lost;
  for (auto& [id, entry] : nodes_) {
    if (entry.connection == connection) {
      lost.push_back(id);
    }
  }
  for (const NodeId& id : lost) {
    Entry& entry = nodes_.at(id);
    entry.connection = nullptr;
    entry.record.is_alive = false;
    entry.record.available = ResourceSet();
    entry.record.death_reason = "the connection to its raylet was lost";
    RAYC_LOG(kInfo) << "node " << id << " is dead";
    dead_.push_back(id);
    if (on_dead_) {
      const NodeRecord record = entry.record;
      on_dead_(record);
    }
  }
  while (dead_.size() > kDeadNodesMax) {
    nodes_.erase(dead_.front());
    dead_.pop_front();
  }
}

const NodeRecord* NodeManager::Find(const NodeId& id) const {
  const auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second.record;
}

std::vector<const NodeRecord*> NodeManager::List() const {
  std::vector<const NodeRecord*> records;
  records.reserve(nodes_.size());
  for (const auto& [id, entry] : nodes_) {
    records.push_back(&entry.record);
  }
  return records;
}

std::optional<NodeId> NodeManager::Pick(const ResourceSet& resources,
                                        const ResourceSet& placement) const {
  enum Rank { kNone, kAny, kHead, kFits, kFree };
  Rank best_rank = kNone;
  std::optional<NodeId> best;
  for (const auto& [id, entry] : nodes_) {
    const NodeRecord& node = entry.record;
    if (!node.is_alive) {
      continue;
    }
    Rank rank = node.is_head ? kHead : kAny;
    if (node.total.Covers(resources) && node.total.Covers(placement)) {
      rank = node.available.Covers(resources) && node.available.Covers(placement) ? kFree : kFits;
    }
    if (rank > best_rank) {
      best_rank = rank;
      best = id;
    }
  }
  return best;
}

}  // namespace rayc::gcs
