// Finds an actor a worker and has it created there. ActorScheduler is what the actor manager needs;
// LeasingActorScheduler does it: lease from a raylet, creation task to the worker, answer back. All
// attempts are under way at once; nothing here waits for another one.
//
// An attempt:   kWaiting --> kLeasing --> kPushing --> created | constructor raised | failed
//               (delay,      (raylet)     (worker)  \-> kAsking (raylet: how did it die?) -->
//               worker lost no node) kLeasing --> unschedulable | failed, or kWaiting when the
//               raylet is gone
//
// Owned by the GcsServer; loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "common/task_spec.h"
#include "gcs/client_pool.h"
#include "gcs/node_manager.h"
#include "gcs/timers.h"
#include "gcs/worker_exit.h"

namespace rayc::gcs {

struct CreationRequest {
  ActorId actor_id;
  std::shared_ptr<const TaskSpec> spec;           // shared with the actor's record, for restarts
  std::shared_ptr<const std::string> job_config;  // likewise
  int64_t delay_ms = 0;
};

struct CreationOutcome {
  enum class Kind {
    kCreated,            // worker, pid
    kConstructorRaised,  // error_data, error_metadata
    kUnschedulable,      // detail: no node can ever hold it
    kGroupRemoved,       // detail: its placement group is gone
    kFailed,             // detail: not created, and trying again would not help
    kWorkerLost,         // exit: the worker ended before the constructor had
  };
  Kind kind = Kind::kFailed;
  Address worker;
  pid_t pid = 0;
  std::string detail;
  std::string error_data;
  std::string error_metadata;
  WorkerExit exit;
};

class ActorScheduler {
 public:
  using Callback = std::function<void(CreationOutcome)>;
  virtual ~ActorScheduler() = default;
  // One attempt per actor at a time. The callback runs once, perhaps before this returns, unless
  // the attempt is cancelled.
  virtual void Schedule(CreationRequest request, Callback callback) = 0;
  // Gives up the attempt, if there is one; a worker that creates the actor already is killed.
  virtual void Cancel(const ActorId& actor, const std::string& reason) = 0;
  // Ends a worker at once.
  virtual void KillWorker(const Address& worker, const std::string& reason) = 0;
  // Asks a created actor to leave after what is queued.
  virtual void StopActor(const Address& worker, const ActorId& actor,
                         const std::string& reason) = 0;
};

class LeasingActorScheduler final : public ActorScheduler {
 public:
  // How long a raylet may take to tell of a death, before it is told to kill the worker.
  static constexpr int64_t kDeathAnswerMs = 5'000;
  // Before a node is asked again that did not answer.
  static constexpr int64_t kNodeRetryMs = 100;

  LeasingActorScheduler(NodeManager& nodes, ClientPool& clients, Timers& timers)
      : nodes_(nodes), clients_(clients), timers_(timers) {}
  LeasingActorScheduler(const LeasingActorScheduler&) = delete;
  LeasingActorScheduler& operator=(const LeasingActorScheduler&) = delete;
  ~LeasingActorScheduler() override;

  // Set once: the node of a bundle; nothing if it is not placed.
  using GroupPlaces = std::function<std::optional<NodeId>(const SchedulingStrategy&)>;
  void PlaceInGroups(GroupPlaces places) { group_places_ = std::move(places); }

  void Schedule(CreationRequest request, Callback callback) override;
  void Cancel(const ActorId& actor, const std::string& reason) override;
  void KillWorker(const Address& worker, const std::string& reason) override;
  void StopActor(const Address& worker, const ActorId& actor, const std::string& reason) override;

  // Attempts that found no node look again.
  void OnNodeAdded();
  void OnNodeDead(const NodeId& node);
  // A raylet's report; may come before or instead of the end of the worker's connection.
  void OnWorkerDeath(const WorkerExit& exit);
  // Forgets every attempt; no callback runs any more.
  void Shutdown();

  size_t attempts() const { return attempts_.size(); }

 private:
  enum class Stage { kWaiting, kLeasing, kPushing, kAsking };
  struct Attempt {
    uint64_t serial = 0;
    CreationRequest request;
    Callback callback;
    Stage stage = Stage::kWaiting;
    Timers::Id timer = 0;  // 0: none
    NodeId node;           // from kLeasing on
    uint64_t lease_id = 0;
    Address worker;  // from kPushing on
    pid_t pid = 0;
    std::shared_ptr<rpc::WorkerClient> client;  // kPushing
  };

  // Null if that attempt is over.
  Attempt* Find(const ActorId& actor, uint64_t serial);
  std::shared_ptr<rpc::RayletClient> RayletOf(const NodeId& node);
  void Start(Attempt& attempt);
  // Nothing: no node lives, or (*refused) the one that it must be on does not.
  std::optional<NodeId> PickNode(const TaskSpec& spec, bool* refused) const;
  void WaitForNode(Attempt& attempt);
  void OnLeaseReply(const ActorId& actor, uint64_t serial, const NodeId& node, uint64_t lease_id,
                    const Result<const fb::RequestLeaseReply*>& reply);
  void Push(Attempt& attempt, const fb::RequestLeaseReply& lease);
  void OnPushReply(Attempt& attempt, const Result<const fb::PushTaskReply*>& reply);
  void AskHowItDied(Attempt& attempt);
  // The lease is given back, and the worker ends: nothing else runs in an actor's worker.
  void ReleaseWorker(const Attempt& attempt, bool worker_exiting, const std::string& reason);
  void Finish(Attempt& attempt, CreationOutcome outcome);
  void FinishLost(Attempt& attempt, WorkerExit exit);

  NodeManager& nodes_;
  ClientPool& clients_;
  Timers& timers_;
  GroupPlaces group_places_;
  std::unordered_map<ActorId, Attempt> attempts_;
  uint64_t next_serial_ = 1;
  uint64_t next_lease_id_ = 1;
  // Reply callbacks hold it weakly: none of them runs into a scheduler that is gone.
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace rayc::gcs
