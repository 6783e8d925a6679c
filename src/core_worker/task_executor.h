// Runs the tasks that this worker is sent. Owned by CoreWorker.
//
// Received tasks wait in a queue under one small lock, so that they can be given back to their owners
// while the main thread is busy: when what runs blocks, or has run for kLongTaskMs. (Else a short
// task could wait behind a long one while another CPU is idle, and nested gets could deadlock.)
// Calls to an actor are never given back: the actor is here.
//
// Threads: Enqueue, the give-backs and the exit requests on the thread that drains; Run on the
// worker's main thread, where tasks execute (or on its pool's threads for an actor with
// max_concurrency > 1; its constructor runs on the main thread). The pool grows as calls wait.
#pragma once

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <string>
#include <thread>
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

// What the calling thread executes now.
struct TaskContext {
  std::shared_ptr<const TaskSpec> spec;
  AssignedInstances assigned;
  bool on_main_thread = false;
  bool blocked = false;  // its CPUs are lent
  std::vector<ObjectId> held;  // see CoreWorker::HoldUntilReply
};

class TaskExecutor {
 public:
  static constexpr int64_t kLongTaskMs = 10;

  explicit TaskExecutor(CoreWorker& core_worker) : core_worker_(core_worker) {}
  ~TaskExecutor();

  void Enqueue(ReceivedTask task);
  // Gives back what has not begun, now and until UnblockMain: the running task waits for others.
  void BlockMain();
  void UnblockMain();
  // Forgets a task that has not begun. False if it is not in the queue.
  bool Remove(const TaskId& task);
  // The main thread leaves Run: at once when nothing runs, or after everything queued so far.
  void RequestExit(bool after_queue, const std::string& detail);

  // The worker's main thread; returns when the process should end, with its exit code.
  int Run();
  // Waits for the calls that the pool runs: before what they use goes.
  void JoinPool();

  static TaskContext* Current();
  const std::string& exit_detail() const { return exit_detail_; }

 private:
  bool Pop(ReceivedTask* task);
  void Execute(ReceivedTask task, bool on_main_thread);
  void Reply(ReceivedTask* task, TaskResult* result, uint32_t duration_us);
  void GiveBackLocked() RAYC_REQUIRES(mutex_);
  void WatchLongTask();
  void StartPool(int threads_max);
  void GrowPoolLocked() RAYC_REQUIRES(mutex_);
  void RunPool();

  CoreWorker& core_worker_;
  std::atomic<bool> work_waits_{false};  // the main thread's wake-up condition
  std::atomic<bool> exit_now_{false};

  Mutex mutex_;
  std::condition_variable pool_wake_;
  std::deque<ReceivedTask> queue_ RAYC_GUARDED_BY(mutex_);
  int64_t running_since_ms_ RAYC_GUARDED_BY(mutex_) = 0;  // 0: the main thread runs nothing
  bool main_blocked_ RAYC_GUARDED_BY(mutex_) = false;
  bool watching_ RAYC_GUARDED_BY(mutex_) = false;
  bool exit_after_queue_ RAYC_GUARDED_BY(mutex_) = false;
  bool is_actor_ RAYC_GUARDED_BY(mutex_) = false;
  bool has_pool_ RAYC_GUARDED_BY(mutex_) = false;
  bool ended_ RAYC_GUARDED_BY(mutex_) = false;  // nothing begins any more
  size_t pool_threads_max_ RAYC_GUARDED_BY(mutex_) = 0;
  size_t pool_running_ RAYC_GUARDED_BY(mutex_) = 0;
  int exit_code_ RAYC_GUARDED_BY(mutex_) = 0;
  std::vector<std::thread> pool_ RAYC_GUARDED_BY(mutex_);
  sigset_t pool_signal_mask_{};  // the main thread's, for what user code starts from the pool

  std::string exit_detail_;  // does not change after Run
};

}  // namespace rayc::core_worker
