#include "gcs/placement_group_manager.h"

#include <algorithm>
#include <memory>

#include "common/logging.h"
#include "rpc/convert.h"
#include "scheduling/policy_bundle.h"

namespace rayc::gcs {
namespace {

Status Removed(const PlacementGroupId& id) {
  return {StatusCode::kPlacementGroupRemoved, "the placement group " + id.Hex() + " was removed"};
}

template <typename Map, typename Key>
void EraseFrom(Map& map, const Key& key, const PlacementGroupId& id) {
  const auto it = map.find(key);
  if (it != map.end()) {
    it->second.erase(id);
    if (it->second.empty()) {
      map.erase(it);
    }
  }
}

scheduling::BundleStrategy Policy(fb::PlacementStrategy strategy) {
  switch (strategy) {
    case fb::PlacementStrategy::kPack:
      return scheduling::BundleStrategy::kPack;
    case fb::PlacementStrategy::kSpread:
      return scheduling::BundleStrategy::kSpread;
    case fb::PlacementStrategy::kStrictPack:
      return scheduling::BundleStrategy::kStrictPack;
    case fb::PlacementStrategy::kStrictSpread:
      return scheduling::BundleStrategy::kStrictSpread;
  }
  return scheduling::BundleStrategy::kPack;
}

}  // namespace

void PlacementGroupManager::Shutdown() {
  alive_.reset();
  for (auto& [id, entry] : groups_) {
    timers_.Cancel(entry.retry);
  }
  for (auto& [id, waiter] : early_) {
    timers_.Cancel(waiter.timer);
  }
  groups_.clear();
  early_.clear();
}

void PlacementGroupManager::Create(PlacementGroupRecord group, Callback callback) {
  const PlacementGroupId id = group.id;
  if (id.IsNil() || group.bundles.empty() ||
      std::any_of(group.bundles.begin(), group.bundles.end(),
                  [](const ResourceSet& bundle) { return bundle.IsEmpty(); })) {
    callback(Status::InvalidArgument("a placement group needs an id, and bundles of something"));
    return;
  }
  if (groups_.contains(id)) {
    callback(Status::InvalidArgument("placement group " + id.Hex() + " exists already"));
    return;
  }
  if (!group.name.empty() && !names_.try_emplace(Name(group.name_space, group.name), id).second) {
    callback(Status::InvalidArgument("a placement group named '" + group.name +
                                     "' exists in namespace '" + group.name_space + "' already"));
    return;
  }
  by_job_[group.job_id].insert(id);
  if (!group.creator_actor.IsNil()) {
    by_actor_[group.creator_actor].insert(id);
  }
  Entry& entry = groups_[id];
  entry.record = std::move(group);
  entry.record.nodes.resize(entry.record.bundles.size());
  entry.created_ms = clock_.NowMs();
  entry.waiting.push_back(std::move(callback));
  const auto [first, last] = early_.equal_range(id);
  for (auto it = first; it != last; ++it) {
    timers_.Cancel(it->second.timer);
    entry.waiting.push_back(std::move(it->second.callback));
  }
  early_.erase(first, last);
  Place(entry);
}

void PlacementGroupManager::Wait(const PlacementGroupId& id, Callback callback) {
  const auto it = groups_.find(id);
  if (it == groups_.end()) {
    const uint64_t number = next_early_++;
    const Timers::Id timer = timers_.RunAfter(kUnknownWaitMs, [this, id, number] {
      const auto [first, last] = early_.equal_range(id);
      const auto found =
          std::find_if(first, last, [&](const auto& entry) { return entry.second.id == number; });
      if (found != last) {
        const Callback waiting = std::move(found->second.callback);
        early_.erase(found);
        waiting(Removed(id));  // if it was ever there
      }
    });
    early_.emplace(id, EarlyWaiter{number, timer, std::move(callback)});
    return;
  }
  Entry& entry = it->second;
  if (entry.record.state == fb::PlacementGroupState::kRemoved) {
    callback(Removed(id));
  } else if (entry.record.state == fb::PlacementGroupState::kCreated) {
    callback(Status::Ok());
  } else if (!entry.record.failure.empty()) {
    callback(Status(StatusCode::kUnschedulable, entry.record.failure));
  } else {
    entry.waiting.push_back(std::move(callback));
  }
}

std::shared_ptr<rpc::RayletClient> PlacementGroupManager::RayletOf(const NodeId& node) {
  const NodeRecord* record = nodes_.Find(node);
  if (record == nullptr || !record->is_alive) {
    return nullptr;
  }
  auto client = clients_.Raylet(*record);
  return client ? *client : nullptr;
}

void PlacementGroupManager::Place(Entry& entry) {
  PlacementGroupRecord& record = entry.record;
  std::vector<uint32_t> which;
  std::vector<ResourceSet> bundles;
  for (uint32_t i = 0; i < record.bundles.size(); ++i) {
    if (record.nodes[i].IsNil()) {
      which.push_back(i);
      bundles.push_back(record.bundles[i]);
    }
  }
  scheduling::ClusterView view;
  size_t living = 0;
  for (const NodeRecord* node : nodes_.List()) {
    if (!node->is_alive) {
      continue;
    }
    ++living;
    // Bundles that take the place of lost ones go where the group has none yet.
    if (std::find(record.nodes.begin(), record.nodes.end(), node->node_id) == record.nodes.end()) {
      view.AddNode(node->node_id, node->total);
      view.SetAvailable(node->node_id, node->available);
    }
  }
  if (living == 0) {
    return;  // until OnNodeAdded
  }
  record.attempts += 1;
  const auto target =
      record.soft_target.IsNil() ? std::nullopt : std::optional<NodeId>(record.soft_target);
  auto placement = scheduling::PlaceBundles(view, bundles, Policy(record.strategy), target);
  if (placement.feasibility == scheduling::Feasibility::kNever) {
    if (fail_infeasible_) {
      Fail(entry, placement.why);
      return;
    }
    if (record.attempts == 1) {
      RAYC_LOG(kWarning) << "placement group " << record.id << " waits: " << placement.why;
    }
    RetryLater(entry);
    return;
  }
  if (view.nodes().size() == 1 && living == 1) {
    Ask(entry, which, std::vector<NodeId>(which.size(), view.nodes().begin()->first), true);
  } else if (placement.feasibility == scheduling::Feasibility::kNow) {
    Ask(entry, which, placement.nodes, false);
  } else {
    RetryLater(entry);
  }
}

void PlacementGroupManager::Ask(Entry& entry, const std::vector<uint32_t>& which,
                                const std::vector<NodeId>& nodes, bool wait) {
  const PlacementGroupId id = entry.record.id;
  entry.attempt = next_attempt_++;
  for (size_t i = 0; i < which.size(); ++i) {
    entry.asked[nodes[i]].push_back(which[i]);
    entry.unanswered.insert(nodes[i]);
  }
  const bool alone = entry.asked.size() == 1;
  const uint64_t attempt = entry.attempt;
  // Copied: an answer may come, and end the attempt, before the next node is asked.
  const auto asked = entry.asked;
  for (const auto& [node, indices] : asked) {
    fb::PrepareBundlesT request;
    request.group_id = rpc::IdBytes(id);
    request.commit = alone;
    request.wait = wait;
    for (const uint32_t index : indices) {
      auto bundle = std::make_unique<fb::BundleT>();
      bundle->index = index;
      bundle->resources = rpc::ToMessage(entry.record.bundles[index]);
      request.bundles.push_back(std::move(bundle));
    }
    const auto raylet = RayletOf(node);
    if (raylet == nullptr) {
      OnPrepared(id, attempt, node, Status::Disconnected("its raylet cannot be reached"));
      return;
    }
    raylet->PrepareBundles(request, [this, alive = std::weak_ptr<int>(alive_), id, attempt,
                                     node = node](const Status& status) {
      if (!alive.expired()) {
        OnPrepared(id, attempt, node, status);
      }
    });
    const Entry* still = FindLiving(id);
    if (still == nullptr || still->attempt != attempt) {
      return;
    }
  }
}

void PlacementGroupManager::OnPrepared(const PlacementGroupId& id, uint64_t attempt,
                                       const NodeId& node, const Status& status) {
  Entry* entry = FindLiving(id);
  if (entry == nullptr || entry->attempt != attempt) {
    return;  // the bundles were sent back when the attempt ended
  }
  if (!status.ok()) {
    GiveUpAttempt(*entry, "another node has no room for the placement group");
    if (status.code() == StatusCode::kUnschedulable && fail_infeasible_) {
      Fail(*entry, status.message());
    } else {
      RetryLater(*entry);
    }
    return;
  }
  entry->unanswered.erase(node);
  if (!entry->unanswered.empty()) {
    return;
  }
  entry->record.state = fb::PlacementGroupState::kPrepared;
  const bool alone = entry->asked.size() == 1;
  for (const auto& [prepared, indices] : std::exchange(entry->asked, {})) {
    for (const uint32_t index : indices) {
      entry->record.nodes[index] = prepared;
    }
    if (const auto raylet = alone ? nullptr : RayletOf(prepared)) {
      raylet->CommitBundles(id);
    }
  }
  entry->attempt = 0;
  Created(*entry);
}

void PlacementGroupManager::Created(Entry& entry) {
  PlacementGroupRecord& record = entry.record;
  record.state = fb::PlacementGroupState::kCreated;
  record.failure.clear();
  record.created_after_us = static_cast<uint64_t>(clock_.NowMs() - entry.created_ms) * 1'000;
  Answer(std::exchange(entry.waiting, {}), Status::Ok());
}

void PlacementGroupManager::GiveUpAttempt(Entry& entry, const std::string& reason) {
  entry.attempt = 0;
  entry.unanswered.clear();
  for (const auto& [node, indices] : std::exchange(entry.asked, {})) {
    if (const auto raylet = RayletOf(node)) {
      raylet->ReturnBundles(entry.record.id, reason);
    }
  }
}

void PlacementGroupManager::RetryLater(Entry& entry) {
  if (entry.retry != 0) {
    return;
  }
  entry.retry = timers_.RunAfter(kRetryMs, [this, id = entry.record.id] {
    if (Entry* waiting = FindLiving(id)) {
      waiting->retry = 0;
      Place(*waiting);
    }
  });
}

void PlacementGroupManager::Fail(Entry& entry, const std::string& why) {
  entry.record.failure = "the placement group can never be placed: " + why;
  Answer(std::exchange(entry.waiting, {}),
         Status(StatusCode::kUnschedulable, entry.record.failure));
}

void PlacementGroupManager::Remove(const PlacementGroupId& id) {
  Entry* entry = FindLiving(id);
  if (entry == nullptr) {
    return;
  }
  const Status removed = Removed(id);
  GiveUpAttempt(*entry, removed.message());
  timers_.Cancel(std::exchange(entry->retry, 0));
  std::set<NodeId> holders(entry->record.nodes.begin(), entry->record.nodes.end());
  for (const NodeId& node : holders) {
    if (const auto raylet = RayletOf(node)) {
      raylet->ReturnBundles(id, removed.message());
    }
  }
  entry->record.state = fb::PlacementGroupState::kRemoved;
  Forget(entry->record);
  auto waiting = std::exchange(entry->waiting, {});
  removed_.push_back(id);
  while (removed_.size() > kRemovedMax) {
    groups_.erase(removed_.front());
    removed_.pop_front();
  }
  Answer(std::move(waiting), removed);
}

void PlacementGroupManager::Forget(const PlacementGroupRecord& record) {
  const auto name = names_.find(Name(record.name_space, record.name));
  if (name != names_.end() && name->second == record.id) {
    names_.erase(name);
  }
  EraseFrom(by_job_, record.job_id, record.id);
  EraseFrom(by_actor_, record.creator_actor, record.id);
}

void PlacementGroupManager::Answer(std::vector<Callback> waiting, const Status& status) {
  for (const Callback& callback : waiting) {
    callback(status);
  }
}

void PlacementGroupManager::OnJobFinished(const JobId& job) {
  const auto it = by_job_.find(job);
  if (it == by_job_.end()) {
    return;
  }
  const std::vector<PlacementGroupId> ids(it->second.begin(), it->second.end());
  for (const PlacementGroupId& id : ids) {
    const PlacementGroupRecord& record = groups_.at(id).record;
    if (!record.is_detached && record.creator_actor.IsNil()) {
      Remove(id);
    }
  }
}

void PlacementGroupManager::OnActorDead(const ActorId& actor) {
  const auto it = by_actor_.find(actor);
  if (it == by_actor_.end()) {
    return;
  }
  const std::vector<PlacementGroupId> ids(it->second.begin(), it->second.end());
  for (const PlacementGroupId& id : ids) {
    if (!groups_.at(id).record.is_detached) {
      Remove(id);
    }
  }
}

void PlacementGroupManager::OnNodeAdded() {
  std::vector<PlacementGroupId> pending;
  for (const auto& [id, entry] : groups_) {
    if ((entry.record.state == fb::PlacementGroupState::kPending ||
         entry.record.state == fb::PlacementGroupState::kRescheduling) &&
        entry.attempt == 0) {
      pending.push_back(id);
    }
  }
  for (const PlacementGroupId& id : pending) {
    if (Entry* entry = FindLiving(id)) {
      timers_.Cancel(std::exchange(entry->retry, 0));
      entry->record.failure.clear();
      Place(*entry);
    }
  }
}

void PlacementGroupManager::OnNodeDead(const NodeId& node) {
  std::vector<PlacementGroupId> hurt;
  for (auto& [id, entry] : groups_) {
    PlacementGroupRecord& record = entry.record;
    if (record.state == fb::PlacementGroupState::kRemoved) {
      continue;
    }
    bool lost = false;
    for (NodeId& holder : record.nodes) {
      if (holder == node) {
        holder = NodeId::Nil();
        lost = true;
      }
    }
    if (lost) {
      record.state = fb::PlacementGroupState::kRescheduling;
      hurt.push_back(id);
    }
  }
  for (const PlacementGroupId& id : hurt) {
    if (Entry* entry = FindLiving(id); entry != nullptr && entry->attempt == 0) {
      Place(*entry);
    }
  }
}

PlacementGroupManager::Entry* PlacementGroupManager::FindLiving(const PlacementGroupId& id) {
  const auto it = groups_.find(id);
  return it == groups_.end() || it->second.record.state == fb::PlacementGroupState::kRemoved
             ? nullptr
             : &it->second;
}

const PlacementGroupRecord* PlacementGroupManager::Find(const PlacementGroupId& id) const {
  const auto it = groups_.find(id);
  return it == groups_.end() ? nullptr : &it->second.record;
}

const PlacementGroupRecord* PlacementGroupManager::FindNamed(const std::string& name,
                                                             const std::string& name_space) const {
  const auto it = names_.find(Name(name_space, name));
  return it == names_.end() ? nullptr : Find(it->second);
}

std::vector<const PlacementGroupRecord*> PlacementGroupManager::List() const {
  std::vector<const PlacementGroupRecord*> list;
  list.reserve(groups_.size());
  for (const auto& [id, entry] : groups_) {
    list.push_back(&entry.record);
  }
  return list;
}

std::optional<NodeId> PlacementGroupManager::NodeOf(const SchedulingStrategy& strategy) const {
  const PlacementGroupRecord* group = Find(strategy.group);
  if (group == nullptr || group->nodes.empty()) {
    return std::nullopt;
  }
  const auto index = static_cast<size_t>(std::max(strategy.bundle_index, 0));
  const NodeId node = index < group->nodes.size() ? group->nodes[index] : NodeId::Nil();
  return node.IsNil() ? std::nullopt : std::optional<NodeId>(node);
}

}  // namespace rayc::gcs
