// Every actor of the cluster: its state (actor_state.h has the table), its name, its restarts, and
// whose end ends it. Decides only: the scheduler acts, the publisher tells, the clock is an
// argument. Owned by the GcsServer; loop thread only.
//
// What ends what (all causes of a worker's end arrive as one of these):
//   its worker ended       RESTARTING while max_restarts allows, else DEAD kWorkerDied;
//                          DEAD kExited if it had said so; DEAD kOutOfScope if it was stopping
//   constructor raised     DEAD kCreationFailed, with the error
//   no node can hold it    DEAD kUnschedulable
//   its group is removed   DEAD kPlacementGroupRemoved
//   owner process ended    DEAD kOwnerDied, and its worker is killed; not if it is detached, and
//                          past DEPENDENCIES_UNREADY
//   job ended              DEAD kJobFinished, likewise
//   kill, no_restart       DEAD kKilled; its worker is killed
//   kill, else             as if its worker had ended; DEAD kKilled if no restart is left;
//                          nothing while DEPENDENCIES_UNREADY, if one is left
//   out of scope           stopping: the name is free, the worker leaves after what is queued,
//                          and then it is DEAD; if it was not created yet, it is DEAD at once
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "gcs/actor_info.h"
#include "gcs/actor_scheduler.h"
#include "gcs/actor_state.h"
#include "gcs/publisher.h"

namespace rayc::gcs {

class ActorManager {
 public:
  // Dead actors that are remembered; handles of forgotten ones get NotFound.
  static constexpr size_t kDeadActorsMax = 1'000;
  // An actor whose workers end within kQuickDeathMs again and again is restarted ever later.
  static constexpr int64_t kQuickDeathMs = 1'000;
  static constexpr int64_t kRestartDelayMs = 20;
  static constexpr int64_t kRestartDelayMaxMs = 2'000;

  ActorManager(ActorScheduler& scheduler, ActorPublisher& publisher, const Clock& clock)
      : scheduler_(scheduler), publisher_(publisher), clock_(clock) {}
  ActorManager(const ActorManager&) = delete;
  ActorManager& operator=(const ActorManager&) = delete;

  // Set once: runs after an actor died.
  void OnDead(std::function<void(const ActorInfo&)> callback) { on_dead_ = std::move(callback); }

  // Takes its name and lets it be found; its arguments are not there yet. InvalidArgument, or
  // AlreadyExists if the name or the id is taken.
  Status Register(TaskSpec spec);
  // Creation begins. Registers it first, if nobody has; ActorDied if it died in between.
  Status Create(TaskSpec spec, std::string job_config);
  Status Kill(const ActorId& id, bool no_restart);
  void OnOutOfScope(const ActorId& id);
  // The process ended: for an actor in it, and for the actors that it owned.
  void OnWorkerDeath(const WorkerExit& exit);
  void OnOwnerDeath(const WorkerId& owner);
  void OnNodeDeath(const NodeId& node, const std::string& reason);
  void OnJobFinished(const JobId& job);

  // Valid until the next change. Null if unknown.
  const ActorInfo* Find(const ActorId& id) const;
  const ActorInfo* FindNamed(const std::string& name, const std::string& name_space) const;
  std::vector<const ActorInfo*> List() const;
  bool HasLivingActors(const JobId& job) const;

 private:
  struct Record {
    ActorInfo info;
    std::shared_ptr<const TaskSpec> spec;  // null when dead
    std::shared_ptr<const std::string> job_config;
    int32_t max_restarts = 0;
    bool is_stopping = false;  // out of scope, and alive until its worker has left
    int64_t started_ms = 0;    // when the current incarnation was scheduled
    uint32_t quick_deaths = 0;
  };
  using Name = std::pair<std::string, std::string>;  // namespace, name

  Record* FindLiving(const ActorId& id);
  void Fire(Record& record, ActorEvent event);
  void Schedule(Record& record, int64_t delay_ms);
  void OnOutcome(const ActorId& id, uint32_t incarnation, CreationOutcome outcome);
  void OnWorkerGone(Record& record, const WorkerExit& exit);
  void Restart(Record& record, const std::string& why);
  bool MayRestart(const Record& record) const;
  static bool LivesOnAlone(const Record& record);  // without owner and job
  // Ends its worker, or its creation, at once.
  void StopWorker(const Record& record, const std::string& reason);
  void FreeName(const Record& record);
  void End(Record& record, fb::ActorDeathCause cause, const std::string& detail);

  ActorScheduler& scheduler_;
  ActorPublisher& publisher_;
  const Clock& clock_;
  std::function<void(const ActorInfo&)> on_dead_;
  std::unordered_map<ActorId, Record> actors_;
  std::deque<ActorId> dead_;  // oldest first
  // Of those that are not dead.
  std::map<Name, ActorId> names_;
  std::unordered_map<WorkerId, ActorId> by_worker_;
  std::unordered_map<WorkerId, std::unordered_set<ActorId>> by_owner_;
  std::unordered_map<JobId, std::unordered_set<ActorId>> by_job_;
};

}  // namespace rayc::gcs
