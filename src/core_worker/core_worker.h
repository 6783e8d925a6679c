// The part of rayc in every driver and worker: submits tasks and actor calls, owns what they
// return, borrows what others own, and (in workers) executes. The facade that the Python extension
// calls. One per process and session.
//
// Locking table
//   constant after Start     options_, self_, node_id_, job_id_ of a driver, gcs_, raylet_, bridge
//   mutex_                   everything of the owner's side: references_, memory_store_,
//   submitters,
//                            pending tasks, peers. Held for short, never while taking the GIL,
//                            never across a blocking call. Sending on a channel under it is fine:
//                            channels never block, and never call back from inside.
//   executor_, drainer_, loop_, plasma::Client    synchronize themselves
//   log_mutex_               lines of workers that wait to be printed
//
// Threads: public methods from any thread of the language, without the GIL; handlers (On...,
// Handle...) on the thread that drains the loop. What a callback of memory_store_ finds to do is
// put into deferred_ and done by ProcessDeferred at the end of the locked section: the state
// machines are never re-entered.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/clock.h"
#include "core_worker/actor_submitter.h"
#include "core_worker/drainer.h"
#include "core_worker/memory_store.h"
#include "core_worker/options.h"
#include "core_worker/placement_groups.h"
#include "core_worker/reference_table.h"
#include "core_worker/task_executor.h"
#include "core_worker/task_submitter.h"
#include "plasma/client.h"
#include "rpc/gcs_client.h"
#include "rpc/raylet_client.h"
#include "rpc/server.h"
#include "rpc/worker_client.h"

namespace rayc::core_worker {

struct LogLine {
  std::string name;
  pid_t pid = 0;
  bool is_stderr = false;
  std::string text;
};

struct NamedActor {
  ActorId actor_id;
  std::string handle_state;
};

struct NodeRecord {
  NodeId node_id;
  std::string ip;
  std::string hostname;
  std::string raylet_socket;
  std::string plasma_socket;
  bool is_alive = false;
  bool is_head = false;
  ResourceSet resources;
  ResourceSet available;
  std::string death_reason;
};

class CoreWorker final : private TaskSubmitter::Transport, private ActorSubmitter::Transport {
 public:
  static Result<std::unique_ptr<CoreWorker>> Start(CoreWorkerOptions options);
  ~CoreWorker() override;
  CoreWorker(const CoreWorker&) = delete;
  CoreWorker& operator=(const CoreWorker&) = delete;

  // ---- who this is ----
  const CoreWorkerOptions& options() const { return options_; }
  const Address& self() const { return self_; }
  const NodeId& node_id() const { return self_.node_id; }
  JobId job_id() const;
  bool connected() const { return !disconnected_.load(); }

  // ---- objects ----
  ObjectId NextPutId();
  // The value is in `value`, or (value.data null) sealed in plasma under `id` with `size` bytes.
  void Put(const ObjectId& id, ObjectValue value, uint64_t size,
           const std::vector<ObjectRefInfo>& nested);
  // Room in plasma, to be filled and sealed. `owner`: who will own the object.
  Result<plasma::WritableObject> CreateInPlasma(const ObjectId& id, uint64_t bytes,
                                                const std::string& metadata, const WorkerId& owner);
  Status SealInPlasma(const ObjectId& id);
  void AbortInPlasma(const ObjectId& id);
  // Values in order. Returns early when one of them is an error: then those not ready have null
  // data. kTimedOut; kInterrupted (a signal handler raised); kInvalidArgument (an id that is
  // unknown here).
  Status Get(const std::vector<ObjectId>& ids, int64_t timeout_ms,
             std::vector<ObjectValue>* values);
  // Calls back once, when the object is ready, perhaps at once. Under a lock, in any thread: the
  // callback must neither block nor call back in here. Not called after Shutdown.
  Status WhenReady(const ObjectId& id, std::function<void()> callback);
  // Which are ready, once num_ready of them are or the time is over.
  Status Wait(const std::vector<ObjectId>& ids, size_t num_ready, int64_t timeout_ms,
              std::vector<bool>* ready);

  // ---- references ----
  // A reference was unpickled in this process. `source`: the object whose value held it, or nil.
  void AddLocalRef(const ObjectRefInfo& ref, const ObjectId& source);
  // Another handle on a reference that is held already.
  void CopyLocalRef(const ObjectId& id);
  void RemoveLocalRef(const ObjectId& id);
  Address OwnerOf(const ObjectId& id);
  // One that is being pickled outside of any value of ours: held until this process ends.
  void HoldForever(const ObjectId& id);
  // Where the program made the object, for people (memory_report.cc).
  void SetCallSite(const ObjectId& id, std::string call_site);
  std::string CallSiteOf(const ObjectId& id);

  // ---- tasks and actors ----
  // The returns hold one local reference each. Arguments by reference need their object_id only.
  Status SubmitTask(const TaskOptions& options, std::vector<TaskArg> args,
                    std::vector<ObjectId>* returns);
  // *handle holds one local reference. Waits for the GCS if the actor has a name.
  Status CreateActor(const TaskOptions& options, ActorCreationSpec creation,
                     std::vector<TaskArg> args, ObjectId* handle);
  Status SubmitActorTask(const ActorId& actor, const TaskOptions& options,
                         std::vector<TaskArg> args, int32_t max_task_retries,
                         std::vector<ObjectId>* returns);
  Status KillActor(const ActorId& actor, bool no_restart);
  // Cancels the task that makes the object, unless it has ended; `recursive`: and what it has
  // submitted. A task is interrupted, or ended with its process (force); a call of an actor is
  // asked to stop.
  Status CancelTask(const ObjectId& object, bool force, bool recursive);
  // The calls of this process to the actor that have not ended.
  size_t NumPendingCalls(const ActorId& actor) const;
  Result<std::optional<NamedActor>> GetNamedActor(const std::string& name,
                                                  const std::string& name_space);
  Result<std::vector<std::pair<std::string, std::string>>> ListNamedActors(
      bool all_namespaces, const std::string& name_space);

  // ---- placement groups (placement_groups.cc) ----
  // Returns at once; waits for the GCS if the group has a name.
  Status CreatePlacementGroup(const PlacementGroupSpec& spec, PlacementGroupId* id);
  // *created: false if the time is over, or it never will be (any more).
  Status WaitPlacementGroup(const PlacementGroupId& id, int64_t timeout_ms, bool* created);
  // *ref becomes `value` once the group is created; holds one local reference.
  Status PlacementGroupReady(const PlacementGroupId& id, ObjectValue value, ObjectId* ref);
  void RemovePlacementGroup(const PlacementGroupId& id);
  // By id, or (nil id) by name. None or one.
  Status GetPlacementGroup(const PlacementGroupId& id, const std::string& name,
                           const std::string& name_space, std::vector<PlacementGroupRecord>* found);
  Status ListPlacementGroups(std::vector<PlacementGroupRecord>* found);
  // Of the task that the calling thread runs, or of the actor that lives here.
  SchedulingStrategy CurrentStrategy();

  // ---- GCS ----
  Result<bool> KvPut(const std::string& name_space, const std::string& key,
                     const std::string& value, bool overwrite);
  Result<std::optional<std::string>> KvGet(const std::string& name_space, const std::string& key,
                                           int32_t wait_ms);
  Result<uint32_t> KvDel(const std::string& name_space, const std::string& key, bool by_prefix);
  Result<std::vector<std::string>> KvKeys(const std::string& name_space, const std::string& prefix);
  Result<std::vector<NodeRecord>> GetNodes();
  Result<std::string> GetJobConfig(const JobId& job);

  // ---- executing: see TaskExecutor ----
  bool TakeAsyncCall(TaskExecution* execution, std::shared_ptr<TaskContext>* context) {
    return executor_.TakeAsyncCall(execution, context);
  }
  void FinishAsyncCall(const TaskId& task, TaskResult* result) {
    executor_.FinishAsyncCall(task, result);
  }
  std::vector<TaskId> TakeCancelled() { return executor_.TakeCancelled(); }

  // ---- the life of the process ----
  int RunTaskLoop() { return executor_.Run(); }
  const std::string& exit_detail() const { return executor_.exit_detail(); }
  // The lines that workers wrote, waiting at most timeout_ms for the first. Not OK after Shutdown.
  Status TakeLogs(int64_t timeout_ms, std::vector<LogLine>* lines);
  // Waits until there are lines to take, or the time is over, or Shutdown.
  void WaitLogs(int64_t timeout_ms);
  // Whether a task that has completed printed something since the last call.
  bool TakePrinted() { return printed_.exchange(false); }
  // Reads what has arrived, without waiting.
  void Poll();
  void AnnounceExit(int exit_code, const std::string& detail);
  // Disconnects; with owns_cluster ends the cluster first and waits (bounded) until it is gone.
  // Calls that wait in other threads end with kShutdown, and RunTaskLoop ends. Not from a callback.
  void Shutdown();

  // How many of each there are, for tests and for people.
  struct Counts {
    size_t references = 0;
    size_t objects = 0;
    size_t awaited_objects = 0;
    size_t pending_tasks = 0;
    size_t leases = 0;
    size_t actors = 0;  // that it owns, or calls
    size_t peers = 0;
  };
  Counts CountEntries() const;

 private:
  friend class TaskExecutor;

  struct Peer {
    std::shared_ptr<rpc::WireWorkerClient> client;
    bool has_job_config = false;
  };
  struct PendingTask {
    std::shared_ptr<TaskSpec> spec;
    std::string scheduling_key;
    int32_t retries_left = 0;
    size_t unresolved = 0;
    bool cancelled = false;
    std::vector<ObjectId> held;  // references that the task keeps alive
  };
  // What the creator of a named actor waits for.
  struct Registration {
    std::atomic<bool> done{false};
    Status status;
  };
  struct OwnActor;
  // References that owners do not count for us yet, and what waits until they do.
  struct Counting {
    std::vector<std::function<void()>> waiting;
  };

  explicit CoreWorker(CoreWorkerOptions options);
  Status Connect();
  void RegisterHandlers();
  void ScheduleHousekeeping();
  void HandleLogBatch(const fb::LogBatch& batch);

  // ---- waiting (core_worker.cc) ----
  Status Await(const std::atomic<bool>& done, int64_t timeout_ms);
  // timeout_ms < 0: the default for requests that are answered at once.
  template <typename T>
  Result<T> AwaitResult(const std::function<void(rpc::Callback<T>)>& call, int64_t timeout_ms = -1);
  Status AwaitStatus(const std::function<void(rpc::StatusCallback)>& call, int64_t timeout_ms = -1);
  Result<std::shared_ptr<plasma::Client>> Plasma();

  // ---- peers (peers.cc) ----
  Result<Peer*> GetPeer(const Address& address) RAYC_REQUIRES(mutex_);
  void OnPeerConnected(const rpc::ChannelPtr& channel);
  void OnPeerClosed(const rpc::ChannelPtr& channel, const Status& why);
  void OnWorkerLost(const WorkerId& worker) RAYC_REQUIRES(mutex_);
  std::string OwnerDiedText(const ObjectId& id) RAYC_REQUIRES(mutex_);
  void OnNodeLost(const std::string& why);
  bool HasUnsent();
  void SendLastReplies();

  // ---- objects (objects.cc) ----
  void StoreReturn(const ObjectId& id, StoredObject object,
                   const std::vector<ObjectRefInfo>& nested) RAYC_REQUIRES(mutex_);
  void Fetch(const ObjectId& id) RAYC_REQUIRES(mutex_);
  void OnFetched(const ObjectId& id, const Result<const fb::GetObjectReply*>& reply);
  void Apply(const Releases& releases) RAYC_REQUIRES(mutex_);
  void DeleteFromPlasma(const ObjectId& id) RAYC_REQUIRES(mutex_);
  void RegisterBorrowed(const std::vector<ObjectRefInfo>& refs, const Address& borrower,
                        const std::function<void()>& when_counted) RAYC_REQUIRES(mutex_);
  void RegisterUnregistered(const std::vector<ObjectRefInfo>& refs) RAYC_REQUIRES(mutex_);
  // Registrations that came with a value which is not kept.
  void Unregister(const std::vector<ObjectRefInfo>& refs) RAYC_REQUIRES(mutex_);
  void HoldHandedBack(std::vector<ObjectId> ids);
  Status CheckKnown(const ObjectId& id) RAYC_REQUIRES(mutex_);
  Status ReadFromPlasma(const std::vector<ObjectId>& ids, const std::vector<size_t>& which,
                        std::vector<ObjectValue>* values);
  void HandleGetObject(const ObjectId& id, rpc::Responder responder);
  void HandleAddBorrowers(const rpc::ChannelPtr& channel, const fb::AddBorrowers& request,
                          rpc::Responder responder);
  void HandleRemoveBorrowers(const fb::RemoveBorrowers& request);
  void BlockCurrentTask();
  void UnblockCurrentTask();

  // ---- for people (memory_report.cc) ----
  void HandleGetReferences(const fb::GetReferences& request, rpc::Responder responder);

  // ---- tasks (tasks.cc) ----
  std::shared_ptr<TaskSpec> MakeSpec(const TaskOptions& options, TaskType type, const TaskId& id,
                                     std::vector<TaskArg> args) RAYC_REQUIRES(mutex_);
  PendingTask& AddPending(std::shared_ptr<TaskSpec> spec, const TaskOptions& options)
      RAYC_REQUIRES(mutex_);
  Status CheckArguments(const std::vector<TaskArg>& args) RAYC_REQUIRES(mutex_);
  void ResolveDependencies(PendingTask& task) RAYC_REQUIRES(mutex_);
  void InlineArgument(TaskArg& arg, const StoredObject& object) RAYC_REQUIRES(mutex_);
  void OnResolved(const TaskId& id) RAYC_REQUIRES(mutex_);
  void ProcessDeferred() RAYC_REQUIRES(mutex_);
  void OnTaskReply(const TaskPtr& task, uint64_t lease_id, Result<const fb::PushTaskReply*> reply);
  // The task's own code raised one of the exceptions that the task is retried for.
  static bool WantsRetry(const TaskSpec& spec, const fb::PushTaskReply& reply);
  void UnregisterReturns(const fb::PushTaskReply& reply) RAYC_REQUIRES(mutex_);
  void CompleteTask(const TaskSpec& spec, const fb::PushTaskReply& reply) RAYC_REQUIRES(mutex_);
  bool MaybeRetry(const TaskId& id) RAYC_REQUIRES(mutex_);
  void FailTask(const TaskSpec& spec, const ObjectValue& error) RAYC_REQUIRES(mutex_);
  void FailCancelled(const TaskSpec& spec) RAYC_REQUIRES(mutex_);
  void CancelOwned(const TaskId& id, bool force, bool recursive) RAYC_REQUIRES(mutex_);
  void FailCreation(const TaskSpec& spec, const ObjectValue& error) RAYC_REQUIRES(mutex_);
  void DeleteReturns(const TaskSpec& spec) RAYC_REQUIRES(mutex_);
  void FinishTask(const TaskId& id) RAYC_REQUIRES(mutex_);
  static AssignedInstances ReadInstances(
      const flatbuffers::Vector<flatbuffers::Offset<fb::ResourceInstances>>* message);
  void SendPushTask(Peer& peer, const TaskPtr& task, const AssignedInstances& assigned,
                    uint64_t lease_id) RAYC_REQUIRES(mutex_);
  void OnTaskWorkerDied(const TaskPtr& task, Result<const fb::WorkerDeath*> death);

  // TaskSubmitter::Transport
  void RequestLease(uint64_t lease_id, const TaskSpec& first, uint32_t backlog) override
      RAYC_REQUIRES(mutex_);
  void CancelLease(uint64_t lease_id) override;
  void ReturnLease(uint64_t lease_id, bool worker_exiting) override;
  void PushTask(const Lease& lease, const TaskPtr& task) override RAYC_REQUIRES(mutex_);
  void OnTaskUnschedulable(const TaskPtr& task, const Status& why) override RAYC_REQUIRES(mutex_);

  // ---- actors (actors.cc) ----
  void RegisterActor(const TaskId& creation) RAYC_REQUIRES(mutex_);
  void OnActorRegistered(const ActorId& actor, const TaskId& creation, const Status& status);
  void OnActorInfo(const fb::ActorInfo& info) RAYC_REQUIRES(mutex_);
  void OnHandlesGone(const ActorId& actor) RAYC_REQUIRES(mutex_);
  void ForgetOwnActor(const ActorId& actor) RAYC_REQUIRES(mutex_);
  void ForgetActors() RAYC_REQUIRES(mutex_);
  void Settle(const std::shared_ptr<Registration>& registration, const Status& status);
  void SubscribeActor(const ActorId& actor) override;
  void PushCall(const Address& address, const ActorSubmitter::CallPtr& call) override
      RAYC_REQUIRES(mutex_);
  void FailCall(const ActorSubmitter::CallPtr& call, const ObjectValue& error) override
      RAYC_REQUIRES(mutex_);

  // ---- placement groups (placement_groups.cc) ----
  void SettleGroup(const std::shared_ptr<PlacementGroupWait>& wait, const Status& status);
  std::shared_ptr<PlacementGroupWait> FollowGroup(const PlacementGroupId& id) RAYC_REQUIRES(mutex_);
  void ForgetGroup(const PlacementGroupId& id, const std::shared_ptr<PlacementGroupWait>& wait)
      RAYC_REQUIRES(mutex_);
  const SchedulingStrategy* FindCurrentStrategy() const RAYC_REQUIRES(mutex_);

  // ---- executing (execution.cc) ----
  void HandlePushTask(const fb::PushTask& request, rpc::Responder responder);
  void HandleCancelTask(const fb::CancelTask& request, rpc::Responder responder);
  void CancelChildren(const TaskId& parent, bool force) RAYC_REQUIRES(mutex_);
  [[noreturn]] void ExitAtOnce(const std::string& detail);
  Status ResolveArguments(const TaskSpec& spec, std::vector<ObjectValue>* values);
  void SendTaskReply(const std::shared_ptr<const TaskSpec>& spec, rpc::Responder responder,
                     TaskResult* result, uint32_t duration_us);

  const CoreWorkerOptions options_;
  const pid_t pid_;
  SteadyClock clock_;
  EventLoop loop_;
  Address self_;
  rpc::Server server_;
  std::unique_ptr<rpc::WireGcsClient> gcs_;
  std::unique_ptr<rpc::WireRayletClient> raylet_;
  Drainer drainer_;
  TaskExecutor executor_;
  std::atomic<bool> disconnected_{false};
  std::atomic<bool> shutting_down_{false};
  std::atomic<bool> printed_{false};
  std::atomic<uint32_t> next_put_index_{0};
  std::atomic<size_t> replies_under_way_{0};  // those that wait for somebody else's answer

  mutable Mutex mutex_;
  JobId job_id_ RAYC_GUARDED_BY(mutex_);  // a worker's comes with its first task
  TaskId put_task_id_ RAYC_GUARDED_BY(mutex_);
  std::string job_config_ RAYC_GUARDED_BY(mutex_);
  ReferenceTable references_ RAYC_GUARDED_BY(mutex_);
  MemoryStore memory_store_ RAYC_GUARDED_BY(mutex_);
  TaskSubmitter task_submitter_ RAYC_GUARDED_BY(mutex_);
  ActorSubmitter actor_submitter_ RAYC_GUARDED_BY(mutex_);
  std::unordered_map<TaskId, PendingTask> pending_ RAYC_GUARDED_BY(mutex_);
  std::unordered_map<ActorId, std::unique_ptr<OwnActor>> own_actors_ RAYC_GUARDED_BY(mutex_);
  std::unordered_map<WorkerId, Peer> peers_ RAYC_GUARDED_BY(mutex_);
  std::unordered_map<PlacementGroupId, std::shared_ptr<PlacementGroupWait>> group_waits_
      RAYC_GUARDED_BY(mutex_);
  // Of the actor that lives in this process, if there is one.
  SchedulingStrategy own_strategy_ RAYC_GUARDED_BY(mutex_);
  ActorId own_detached_actor_ RAYC_GUARDED_BY(mutex_);
  std::unordered_set<ObjectId> fetching_ RAYC_GUARDED_BY(mutex_);
  std::vector<ObjectId> plasma_deletes_ RAYC_GUARDED_BY(mutex_);
  std::unordered_set<std::shared_ptr<Counting>> counting_ RAYC_GUARDED_BY(mutex_);
  std::deque<TaskId> deferred_ RAYC_GUARDED_BY(mutex_);  // dependencies have just become ready
  std::vector<ActorId> unused_actors_ RAYC_GUARDED_BY(mutex_);  // perhaps; for ProcessDeferred
  std::string node_lost_ RAYC_GUARDED_BY(mutex_);               // why, once the raylet is gone
  // A timer returns idle leases while there are any.
  bool housekeeping_ RAYC_GUARDED_BY(mutex_) = false;
  bool housekeeping_needed_ RAYC_GUARDED_BY(mutex_) = false;

  Mutex plasma_mutex_;  // taken inside mutex_, if both are
  std::shared_ptr<plasma::Client> plasma_ RAYC_GUARDED_BY(plasma_mutex_);

  Mutex log_mutex_;
  std::condition_variable log_arrived_;
  std::deque<LogLine> logs_ RAYC_GUARDED_BY(log_mutex_);
};

}  // namespace rayc::core_worker
