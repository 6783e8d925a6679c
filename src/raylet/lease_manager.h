// The queue of lease requests of one node, and the leases that are out. A pure state machine: time
// comes in through Clock, everything it wants done goes out through LeaseActions. Owned by Node;
// loop thread only.
//
//   state      event                      next        action
//   -          Request                    queued      (infeasible in a private cluster: Reject)
//   queued     resources free and worker  granted     Grant
//   queued     Cancel, ClientGone         -           Reject(kCancelled)
//   granted    Return                     -           GiveBackWorker
//   granted    WorkerLost                 -
//   granted    ClientGone                 -           KillWorker (unless outlives_client)
//   granted    Blocked / Unblocked        granted     its CPUs are lent / taken back
//   granted    ReturnBundles (it is in)   -           KillWorkerOfGroup
//
// Bundles of placement groups are asked for by RequestBundles, wait in the same queues (each a
// class of its own), need no worker, and stay until ReturnBundles. A request for a lease in a group
// of which nothing is here waits: AskGroup finds out what becomes of the group.
//
// Fairness. Requests of one class (same client, job, shape, environment) are served in their order.
// Among classes the one that has waited longest since its last grant comes first, and a class that
// does not fit stands in nobody's way - until it has waited kStarvedAfterMs: then what it needs is
// set aside for it. Setting aside is given up again after a while, and taken up for longer and
// longer: what holds the resources may itself wait for a request that is being held up.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/status.h"
#include "raylet/lease_types.h"
#include "scheduling/node_resources.h"

namespace rayc::raylet {

class LeaseActions {
 public:
  virtual ~LeaseActions() = default;
  // An idle worker that fits, now not idle any more.
  virtual std::optional<WorkerId> TakeIdleWorker(const WorkerNeed& need) = 0;
  // `count` requests could be granted if only they had workers. False: no more may be started.
  virtual bool WantWorkers(size_t count) = 0;
  virtual void GiveBackWorker(const WorkerId& worker, bool exiting) = 0;
  virtual void KillWorker(const WorkerId& worker, const std::string& reason) = 0;
  virtual void Grant(const LeaseRequest& request, const WorkerId& worker,
                     const scheduling::Allocation& allocation) = 0;
  virtual void Reject(const LeaseKey& key, const Status& why) = 0;
  // The bundles that were asked for are set aside.
  virtual void BundlesReserved(const LeaseKey& key) = 0;
  // The placement group that it ran in is removed.
  virtual void KillWorkerOfGroup(const WorkerId& worker, const std::string& reason) = 0;
  // Tell by GroupSettled, and not before this returns, what becomes of a group that is not here.
  virtual void AskGroup(const PlacementGroupId& group) = 0;
  virtual void ReclaimLeases(ClientId client) = 0;
  virtual void AvailableChanged() = 0;
};

struct LeaseManagerOptions {
  ResourceSet totals;
  bool fail_infeasible = true;  // nobody can join this cluster, so nothing will ever change
  NodeId node_id;
};

class LeaseManager {
 public:
  static constexpr int64_t kStarvedAfterMs = 300;
  static constexpr int64_t kReclaimEveryMs = 100;

  LeaseManager(const Clock& clock, LeaseManagerOptions options, LeaseActions& actions);

  void Request(LeaseRequest request);
  void RequestBundles(BundleRequest request);
  void CommitBundles(const PlacementGroupId& group);
  void ReturnBundles(const PlacementGroupId& group, const std::string& reason);
  // OK: it is created, somewhere. Else: it never will be (any more), and this is why.
  void GroupSettled(const PlacementGroupId& group, const Status& status);
  void Cancel(const LeaseKey& key);
  void Return(const LeaseKey& key, bool worker_exiting);
  void ClientGone(ClientId client);
  void WorkerLost(const WorkerId& worker);
  void Blocked(const WorkerId& worker);
  void Unblocked(const WorkerId& worker);
  // Grants what can be granted. Call when a worker became idle.
  void Schedule();
  // Call every kReclaimEveryMs while HasWaiting().
  void Tick() { Schedule(); }
  // Rejects all that is queued and all that will come.
  void Close(const Status& why);

  bool HasWaiting() const { return !queued_.empty(); }
  size_t num_granted() const { return granted_.size(); }
  // With the names of bundles.
  ResourceSet available() const { return resources_.Available(); }
  ResourceSet totals() const { return resources_.Totals(); }

  // Whether resources are set aside for a class that has waited for so long.
  static bool ReservationActive(int64_t waited_ms);

 private:
  struct Lease {
    LeaseRequest request;
    std::string class_key;
    WorkerId worker;
    scheduling::Holding holding;
  };
  // One that waits: for a lease, or (bundles set) to set bundles aside.
  struct Waiting {
    LeaseRequest lease;
    std::optional<BundleRequest> bundles;
  };
  struct ClassQueue {
    std::string class_key;
    std::deque<Waiting> requests;
    uint64_t turn = 0;  // when it was last granted something, or began to wait: lowest is next
    std::optional<int64_t> short_since_ms;  // its first request lacks resources since then
    bool is_feasible = true;
    PlacementGroupId group;  // that its leases are in
    bool awaits_group = false;
  };
  // One look at all queues: what could be granted goes, the rest is told apart by what it lacks.
  struct Pass {
    scheduling::NodeResources sketch;
    size_t workers_wanted = 0;
    bool reserved = false;
    std::vector<const ClassQueue*> short_of_resources;
    std::vector<const ClassQueue*> short_of_workers;
    std::vector<PlacementGroupId> groups_here;  // whose bundles it has set aside
  };

  void GrantWhatFits(Pass& pass);
  void GrantTo(Pass& pass, ClassQueue& queue, const WorkerId& worker);
  void ReserveBundles(Pass& pass, ClassQueue& queue);
  static bool Fits(const scheduling::NodeResources& resources, const Waiting& request);
  // Whether it can wait at all; else why not.
  Status CheckLease(const LeaseRequest& request, bool* is_feasible) const;
  bool IsKnown(const LeaseKey& key) const;
  void Enqueue(std::string class_key, Waiting request, bool is_feasible);
  // Takes the requests for which `matches` is true out of the queues, and refuses them.
  template <typename Matches>
  void RejectQueued(const Status& why, Matches matches);
  void GroupIsHere(const PlacementGroupId& group);
  void DidNotFit(Pass& pass, ClassQueue& queue);
  void Reclaim(const Pass& pass, bool out_of_workers);
  bool HoldsWhatIsShort(const Lease& lease, const ClassQueue& queue) const;
  void Release(const Lease& lease);
  void EraseEmptyQueues();

  const Clock& clock_;
  const LeaseManagerOptions options_;
  LeaseActions& actions_;
  scheduling::NodeResources resources_;
  // Bounded by the clients: each asks for a few leases per class at a time (see core_worker).
  std::unordered_map<std::string, ClassQueue> classes_;
  std::map<LeaseKey, std::string> queued_;  // -> class key
  std::map<LeaseKey, Lease> granted_;
  std::unordered_map<WorkerId, LeaseKey> by_worker_;
  uint64_t next_turn_ = 1;
  // Who was asked for its leases when, while somebody waits: so clients that compete take turns of
  // kReclaimEveryMs, instead of passing one worker back and forth.
  std::unordered_map<ClientId, int64_t> asked_back_ms_;
  std::optional<Status> closed_;
};

}  // namespace rayc::raylet
