// The placement groups of the cluster: places their bundles on nodes, all or none of them, and
// takes them back. Owned by the GcsServer; loop thread only.
//
//   state          event                                       next
//   -              Create                                      PENDING
//   PENDING        every node has set its bundles aside        PREPARED, and at once CREATED
//   PENDING        a node refuses: it has not enough free      PENDING, what others set aside goes
//   back PENDING        no node of a private cluster can hold it    PENDING, with a failure: who
//   waits hears CREATED        a node with bundles of it is lost           RESCHEDULING: only these
//   are placed anew RESCHEDULING   as PENDING                                  CREATED any Remove,
//   the end of its job (or of the       REMOVED, for ever
//                  detached actor that made it)
//
// In a cluster of one node that node's raylet knows best when there is room: it is asked once, and
// lets the bundles wait in its own queue; creation is one request and one answer. Among several
// nodes nothing may wait while it holds something (two groups could wait for each other): a node
// answers at once, and the whole is tried again later.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/scheduling_strategy.h"
#include "gcs/client_pool.h"
#include "gcs/node_manager.h"
#include "gcs/timers.h"
#include "protocol/gcs_generated.h"

namespace rayc::gcs {

struct PlacementGroupRecord {
  PlacementGroupId id;
  std::string name;
  std::string name_space;
  fb::PlacementStrategy strategy = fb::PlacementStrategy::kPack;
  std::vector<ResourceSet> bundles;
  JobId job_id;
  ActorId creator_actor;  // a detached one, or nil
  bool is_detached = false;
  NodeId soft_target;  // nil: none

  fb::PlacementGroupState state = fb::PlacementGroupState::kPending;
  std::vector<NodeId> nodes;  // one for each bundle, nil while it is not placed
  std::string failure;        // why it can never be placed
  uint64_t created_after_us = 0;
  uint32_t attempts = 0;
};

class PlacementGroupManager {
 public:
  using Callback = std::function<void(const Status&)>;
  // Removed groups that are remembered. Who asks for one that is forgotten waits a little longer.
  static constexpr size_t kRemovedMax = 1'000;
  static constexpr int64_t kRetryMs = 50;
  // A message of somebody else can overtake the creation.
  static constexpr int64_t kUnknownWaitMs = 1'000;

  // fail_infeasible: no node can join, so what cannot be placed now by its size never will be.
  PlacementGroupManager(NodeManager& nodes, ClientPool& clients, Timers& timers, const Clock& clock,
                        bool fail_infeasible)
      : nodes_(nodes),
        clients_(clients),
        timers_(timers),
        clock_(clock),
        fail_infeasible_(fail_infeasible) {}
  ~PlacementGroupManager() { Shutdown(); }
  PlacementGroupManager(const PlacementGroupManager&) = delete;
  PlacementGroupManager& operator=(const PlacementGroupManager&) = delete;

  // The callback gets OK once the group is created, or why it never will be (any more).
  void Create(PlacementGroupRecord group, Callback callback);
  void Wait(const PlacementGroupId& id, Callback callback);
  void Remove(const PlacementGroupId& id);

  void OnJobFinished(const JobId& job);
  void OnActorDead(const ActorId& actor);
  void OnNodeAdded();
  void OnNodeDead(const NodeId& node);
  // No timer and no callback from now on.
  void Shutdown();

  // Valid until the next change. Null if unknown.
  const PlacementGroupRecord* Find(const PlacementGroupId& id) const;
  const PlacementGroupRecord* FindNamed(const std::string& name,
                                        const std::string& name_space) const;
  std::vector<const PlacementGroupRecord*> List() const;
  // Where a task or actor with this strategy goes; nothing if its group is not placed.
  std::optional<NodeId> NodeOf(const SchedulingStrategy& strategy) const;

 private:
  struct Entry {
    PlacementGroupRecord record;
    std::vector<Callback> waiting;
    int64_t created_ms = 0;  // when it was asked for
    Timers::Id retry = 0;    // 0: none
    // The attempt under way: what was asked of which node, and who has not answered.
    uint64_t attempt = 0;
    std::map<NodeId, std::vector<uint32_t>> asked;
    std::set<NodeId> unanswered;
  };
  struct EarlyWaiter {
    uint64_t id = 0;
    Timers::Id timer = 0;
    Callback callback;
  };
  using Name = std::pair<std::string, std::string>;  // namespace, name

  Entry* FindLiving(const PlacementGroupId& id);
  void Place(Entry& entry);
  void Ask(Entry& entry, const std::vector<uint32_t>& which, const std::vector<NodeId>& nodes,
           bool wait);
  void OnPrepared(const PlacementGroupId& id, uint64_t attempt, const NodeId& node,
                  const Status& status);
  void GiveUpAttempt(Entry& entry, const std::string& reason);
  void RetryLater(Entry& entry);
  void Fail(Entry& entry, const std::string& why);
  void Created(Entry& entry);
  void Forget(const PlacementGroupRecord& record);
  std::shared_ptr<rpc::RayletClient> RayletOf(const NodeId& node);
  static void Answer(std::vector<Callback> waiting, const Status& status);

  NodeManager& nodes_;
  ClientPool& clients_;
  Timers& timers_;
  const Clock& clock_;
  const bool fail_infeasible_;
  std::unordered_map<PlacementGroupId, Entry> groups_;
  std::deque<PlacementGroupId> removed_;  // oldest first
  // Of those that are not removed.
  std::map<Name, PlacementGroupId> names_;
  std::unordered_map<JobId, std::unordered_set<PlacementGroupId>> by_job_;
  std::unordered_map<ActorId, std::unordered_set<PlacementGroupId>> by_actor_;
  std::multimap<PlacementGroupId, EarlyWaiter> early_;
  uint64_t next_early_ = 1;
  uint64_t next_attempt_ = 1;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // reply callbacks hold it weakly
};

}  // namespace rayc::gcs
