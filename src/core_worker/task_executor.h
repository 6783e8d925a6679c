// Runs the tasks that this worker is sent. Owned by CoreWorker.
//
// Received tasks wait in a queue under one small lock, so that they can be given back to their
// owners while the main thread is busy: when what runs blocks, or has run for kLongTaskMs. (Else a
// short task could wait behind a long one while another CPU is idle, and nested gets could
// deadlock.) Calls to an actor are never given back: the actor is here.
//
// Where the calls of an actor run, once its constructor has:
//   main thread   as tasks do, one at a time
//   pool          an actor with max_concurrency > 1, or with concurrency groups: on threads of the
//                 call's group, which grow as calls wait
//   event loop    an asyncio actor: its loop is woken through a doorbell, takes the calls from its
//                 own thread (TakeAsyncCall), and ends each when it is done (FinishAsyncCall)
//
// A task that runs is cancelled by what fits: the main thread is interrupted (see TaskContext), the
// event loop told; other calls can only look whether they were.
//
// Threads: Enqueue, the give-backs, cancellation and the exit requests on the thread that drains;
// Run on the worker's main thread, where tasks and constructors execute.
#pragma once

#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/thread_annotations.h"
#include "core_worker/language_bridge.h"
#include "rpc/channel.h"

namespace rayc::core_worker {

class CoreWorker;

struct ReceivedTask {
  std::shared_ptr<TaskSpec> spec;
  AssignedInstances assigned;
  std::string job_config;
  rpc::Responder responder;
};

// What the calling thread executes now (for the event loop of an asyncio actor: what it says it
// does).
struct TaskContext : std::enable_shared_from_this<TaskContext> {
  TaskContext(std::shared_ptr<const TaskSpec> task, AssignedInstances instances,
              bool in_main_thread)
      : spec(std::move(task)), assigned(std::move(instances)), on_main_thread(in_main_thread) {}

  const std::shared_ptr<const TaskSpec> spec;
  const AssignedInstances assigned;
  const bool on_main_thread;
  bool blocked = false;  // its CPUs are lent

  // The handshake of an interruption: who cancels sets `cancelled`, and pokes the main thread while
  // it is in the task's own code, until that has seen it. So what comes next is never interrupted.
  std::atomic<bool> cancelled{false};
  std::atomic<bool> in_own_code{false};
  std::atomic<bool> interrupted{false};
};

class TaskExecutor {
 public:
  static constexpr int64_t kLongTaskMs = 10;
  // How long an interruption has to be seen before the main thread is poked again: a signal that
  // comes just before a system call does not end that.
  static constexpr int64_t kPokeAgainMs = 20;

  explicit TaskExecutor(CoreWorker& core_worker) : core_worker_(core_worker) {}
  ~TaskExecutor();

  void Enqueue(ReceivedTask task);
  // Gives back what has not begun, now and until UnblockMain: the running task waits for others.
  void BlockMain();
  void UnblockMain();
  // Forgets a task that has not begun, and answers that it was cancelled. False if it is not
  // queued.
  bool Remove(const TaskId& task);
  bool IsRunning(const TaskId& task);
  // Cancels what runs. `force` ends the process if that is a task.
  void Interrupt(const TaskId& task, bool force);
  // The main thread leaves Run: as soon as what it runs is done, or after everything queued so far.
  void RequestExit(bool after_queue, const std::string& detail);

  // The worker's main thread; returns when the process should end, with its exit code.
  int Run();
  // Waits for the calls that the pool runs: before what they use goes.
  void JoinPool();

  // The event loop of an asyncio actor takes a call, if one waits and may run beside the others.
  // The call lasts until FinishAsyncCall; *context is what to make current while it is at work.
  bool TakeAsyncCall(TaskExecution* execution, std::shared_ptr<TaskContext>* context);
  void FinishAsyncCall(const TaskId& task, TaskResult* result);
  // Calls that run in the event loop and were cancelled since the last time.
  std::vector<TaskId> TakeCancelled();

  static TaskContext* Current();
  static void SetCurrent(TaskContext* context);
  static std::shared_ptr<TaskContext> CurrentShared();
  // Around the code of a task that is no actor's, in the main thread. True: it was cancelled
  // before, and is to be interrupted here and now.
  static bool EnterOwnCode();
  static void LeaveOwnCode();
  // Whether the main thread, which was poked, is to interrupt what it runs.
  static bool TakeInterrupt();
  const std::string& exit_detail() const { return exit_detail_; }

 private:
  enum class Place { kMainThread, kPool, kEventLoop };
  using Time = std::chrono::steady_clock::time_point;

  // Calls that share a number of places to run in.
  struct Group {
    std::string name;  // "": the default one
    size_t running_max = 1;
    size_t running = 0;
    std::deque<ReceivedTask> queue;
    std::vector<std::thread> threads;  // of a pool
    std::condition_variable wake;
  };
  // One that the event loop has taken.
  struct AsyncCall {
    ReceivedTask task;
    std::shared_ptr<TaskContext> context;
    Group* group = nullptr;
    Time begin;
  };

  bool Pop(ReceivedTask* task, std::shared_ptr<TaskContext>* context);
  std::shared_ptr<TaskContext> BeginLocked(const ReceivedTask& task, bool on_main_thread)
      RAYC_REQUIRES(mutex_);
  void Execute(ReceivedTask task, const std::shared_ptr<TaskContext>& context);
  void End(ReceivedTask* task, Time begin, TaskResult* result);
  void GiveBackLocked() RAYC_REQUIRES(mutex_);
  void WatchLongTask();
  void BecomeActor(const ActorCreationSpec& creation, int doorbell_fd);
  void AddGroupLocked(const std::string& name, int32_t running_max) RAYC_REQUIRES(mutex_);
  void EnqueueInGroupLocked(ReceivedTask task) RAYC_REQUIRES(mutex_);
  void RunPool(Group& group);
  void RingLocked() RAYC_REQUIRES(mutex_);
  void WakeAllLocked() RAYC_REQUIRES(mutex_);
  bool GroupsAreEmptyLocked() RAYC_REQUIRES(mutex_);
  void Poke(const std::weak_ptr<TaskContext>& target);

  CoreWorker& core_worker_;
  std::atomic<bool> work_waits_{false};  // the main thread's wake-up condition
  std::atomic<bool> exit_now_{false};

  Mutex mutex_;
  std::deque<ReceivedTask> queue_ RAYC_GUARDED_BY(mutex_);  // of the main thread
  std::unordered_map<TaskId, std::shared_ptr<TaskContext>> running_ RAYC_GUARDED_BY(mutex_);
  int64_t running_since_ms_ RAYC_GUARDED_BY(mutex_) = 0;  // 0: the main thread runs nothing
  bool main_blocked_ RAYC_GUARDED_BY(mutex_) = false;
  bool watching_ RAYC_GUARDED_BY(mutex_) = false;
  bool exit_after_queue_ RAYC_GUARDED_BY(mutex_) = false;
  bool is_actor_ RAYC_GUARDED_BY(mutex_) = false;
  bool exit_after_running_ RAYC_GUARDED_BY(mutex_) = false;  // nothing else begins
  bool ended_ RAYC_GUARDED_BY(mutex_) = false;  // nothing begins any more, and nothing runs
  Place place_ RAYC_GUARDED_BY(mutex_) = Place::kMainThread;
  std::vector<std::unique_ptr<Group>> groups_ RAYC_GUARDED_BY(mutex_);  // the default one first
  int exit_code_ RAYC_GUARDED_BY(mutex_) = 0;
  sigset_t pool_signal_mask_{};  // the main thread's, for what user code starts from the pool

  std::unordered_map<TaskId, AsyncCall> async_calls_ RAYC_GUARDED_BY(mutex_);
  std::vector<TaskId> cancelled_ RAYC_GUARDED_BY(mutex_);  // of these
  int doorbell_fd_ RAYC_GUARDED_BY(mutex_) = -1;
  bool rung_ RAYC_GUARDED_BY(mutex_) = false;  // since the loop last found nothing to take

  std::string exit_detail_;  // does not change after Run
};

}  // namespace rayc::core_worker
