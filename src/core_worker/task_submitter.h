// Which leased worker runs which of this process's tasks, and when leases are asked for and given
// back. Pure state machine: takes its clock and its transport as arguments. Owned by CoreWorker,
// whose lock guards every call; the transport must not call back from inside.
//
// Per scheduling key there is a queue of tasks, the leases that are held, and the requests for
// more.
//
//   lease:  requested -> held (idle | busy | stalled) -> returned
//     busy     some tasks in flight; up to `depth` of them, so many that they are about
//              kPipelineUs of work by the measured length of this key's tasks
//     stalled  it gave a task back without having begun it (what it runs blocks, or is long):
//     nothing
//              is sent until it has answered something else
//     A lease that the raylet wants back takes no more tasks, and is returned when none is in
//     flight. An idle lease is returned after kIdleLeaseMs: a loop of sync calls never asks the
//     raylet.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/address.h"
#include "common/clock.h"
#include "common/status.h"
#include "common/task_spec.h"

namespace rayc::core_worker {

using TaskPtr = std::shared_ptr<const TaskSpec>;

// GPU instances that a lease gives to its tasks: name -> ids.
using AssignedInstances = std::vector<std::pair<std::string, std::vector<uint32_t>>>;

struct Lease {
  uint64_t id = 0;
  Address worker;
  pid_t pid = 0;
  AssignedInstances assigned;
};

class TaskSubmitter {
 public:
  class Transport {
   public:
    virtual ~Transport() = default;
    virtual void RequestLease(uint64_t lease_id, const TaskSpec& first, uint32_t backlog) = 0;
    virtual void CancelLease(uint64_t lease_id) = 0;
    virtual void ReturnLease(uint64_t lease_id, bool worker_exiting) = 0;
    virtual void PushTask(const Lease& lease, const TaskPtr& task) = 0;
    virtual void OnTaskUnschedulable(const TaskPtr& task, const Status& why) = 0;
  };

  static constexpr int64_t kPipelineUs = 5'000;
  static constexpr size_t kPipelineTasksMax = 256;
  // Requests under way per key; each grant asks for the next if tasks still wait.
  static constexpr size_t kLeaseRequestsMax = 16;
  static constexpr int64_t kIdleLeaseMs = 1'000;
  // What is known of keys that are not used now is kept up to so many.
  static constexpr size_t kKeysMax = 1'000;

  TaskSubmitter(const Clock& clock, Transport& transport) : clock_(clock), transport_(transport) {}

  void Submit(TaskPtr task, const std::string& scheduling_key);
  void OnLeaseGranted(Lease lease);
  // The request was refused: all tasks of its key that wait fail with the reason.
  void OnLeaseFailed(uint64_t lease_id, const Status& why);
  // The worker has answered. not_started: the task goes back to the head of the queue. duration_us:
  // of its run; 0 if it did not run, since it was cancelled.
  void OnReply(uint64_t lease_id, const TaskId& task, bool not_started, uint32_t duration_us,
               bool worker_exiting);
  // The connection to a leased worker is gone. Gives the tasks that were in flight, oldest first:
  // only the first of them can have begun, and none if the worker had said that it leaves.
  struct LostTasks {
    std::vector<TaskPtr> tasks;
    bool first_may_have_begun = true;
  };
  LostTasks OnWorkerLost(const WorkerId& worker);
  // No connection to a leased worker could be made: nothing has reached it. OnWorkerLost follows.
  void OnUnreachable(const WorkerId& worker);
  // The raylet has somebody else who waits.
  void OnReclaim();
  // Every few hundred milliseconds: gives back the leases that have been idle for so long.
  void ReturnIdleLeases(int64_t idle_ms = kIdleLeaseMs);
  // Takes a task out of its queue. False if it is not queued (in flight, or unknown).
  bool Remove(const TaskId& task);
  // The lease on which the task is in flight; null if it is not.
  const Lease* FindInFlight(const TaskId& task) const;

  size_t num_queued() const;
  size_t num_leases() const { return leases_.size(); }

 private:
  struct Key;
  struct HeldLease {
    Lease lease;
    Key* key = nullptr;
    std::deque<TaskPtr> in_flight;  // oldest first
    bool stalled = false;
    bool reclaimed = false;
    bool exiting = false;         // the worker has said that it leaves
    bool begins_no_more = false;  // what is in flight was sent too late
    int64_t idle_since_ms = 0;
  };
  struct Key {
    std::string name;
    std::deque<TaskPtr> queue;
    std::vector<HeldLease*> held;
    std::vector<uint64_t> requested;
    double average_us = -1;  // of a task's run; < 0: none has run yet
  };

  size_t Depth(const Key& key) const;
  void Pump(Key& key);
  HeldLease* PickLease(const Key& key) const;
  void AskForLeases(Key& key);
  void Return(HeldLease& held, bool worker_exiting);
  void ForgetUnusedKeys();

  const Clock& clock_;
  Transport& transport_;
  uint64_t next_lease_id_ = 1;
  std::unordered_map<std::string, std::unique_ptr<Key>> keys_;
  std::unordered_map<uint64_t, std::unique_ptr<HeldLease>> leases_;
  std::unordered_map<uint64_t, Key*> requests_;
};

}  // namespace rayc::core_worker
