#include "core_worker/task_executor.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "common/logging.h"
#include "core_worker/core_worker.h"

namespace rayc::core_worker {
namespace {

// How long an idle worker sleeps before it looks at signals again: a signal that arrived just before
// it fell asleep leaves no other trace. The first looks come soon, since such a signal (SIGTERM at the
// end of the session) is the likeliest when a task has just ended.
constexpr int kIdleSlicesMs[] = {2, 30, 1'000};

thread_local TaskContext* current_context = nullptr;

fb::PushTaskReplyT NotStarted(bool worker_exiting = false) {
  fb::PushTaskReplyT reply;
  reply.not_started = true;
  reply.worker_exiting = worker_exiting;
  return reply;
}

}  // namespace

TaskContext* TaskExecutor::Current() { return current_context; }

TaskExecutor::~TaskExecutor() { JoinPool(); }

void TaskExecutor::JoinPool() {
  std::vector<std::thread> pool;
  {
    const MutexLock lock(mutex_);
    exit_now_.store(true);
    pool_threads_max_ = 0;
    pool.swap(pool_);
    pool_wake_.notify_all();
  }
  for (std::thread& thread : pool) {
    thread.join();
  }
}

void TaskExecutor::Enqueue(ReceivedTask task) {
  bool watch = false;
  {
    const MutexLock lock(mutex_);
    if (ended_ && task.spec->type != TaskType::kActor) {
      task.responder.Reply(NotStarted(true));
      return;
    }
    if (main_blocked_ && task.spec->type == TaskType::kNormal) {
      task.responder.Reply(NotStarted());
      return;
    }
    queue_.push_back(std::move(task));
    if (has_pool_) {
      GrowPoolLocked();
      pool_wake_.notify_one();
      return;
    }
    watch = running_since_ms_ != 0 && !is_actor_ && !std::exchange(watching_, true);
  }
  if (watch) {
    core_worker_.loop_.RunAfter(kLongTaskMs, [this] { WatchLongTask(); });
  }
  work_waits_.store(true);
  core_worker_.drainer_.Notify();
}

void TaskExecutor::WatchLongTask() {
  {
    const MutexLock lock(mutex_);
    watching_ = false;
    if (queue_.empty() || running_since_ms_ == 0 || is_actor_) {
      return;
    }
    if (core_worker_.clock_.NowMs() - running_since_ms_ >= kLongTaskMs) {
      GiveBackLocked();
      return;
    }
    watching_ = true;
  }
  core_worker_.loop_.RunAfter(kLongTaskMs, [this] { WatchLongTask(); });
}

void TaskExecutor::GiveBackLocked() {
  // From the last to the first: each goes to the head of its owner's queue, so the order is kept.
  for (auto it = queue_.rbegin(); it != queue_.rend();) {
    if (it->spec->type != TaskType::kNormal) {
      ++it;
      continue;
    }
    it->responder.Reply(NotStarted());
    it = std::deque<ReceivedTask>::reverse_iterator(queue_.erase(std::next(it).base()));
  }
}

void TaskExecutor::BlockMain() {
  const MutexLock lock(mutex_);
  main_blocked_ = true;
  GiveBackLocked();
}

void TaskExecutor::UnblockMain() {
  const MutexLock lock(mutex_);
  main_blocked_ = false;
}

bool TaskExecutor::Remove(const TaskId& task) {
  const MutexLock lock(mutex_);
  const auto it = std::find_if(queue_.begin(), queue_.end(), [&](const ReceivedTask& other) {
    return other.spec->task_id == task;
  });
  if (it == queue_.end()) {
    return false;
  }
  it->responder.Reply(NotStarted());
  queue_.erase(it);
  return true;
}

void TaskExecutor::RequestExit(bool after_queue, const std::string& detail) {
  {
    const MutexLock lock(mutex_);
    if (exit_detail_.empty() && !ended_) {
      exit_detail_ = detail;
    }
    if (after_queue) {
      exit_after_queue_ = true;
    } else {
      exit_now_.store(true);
    }
    pool_wake_.notify_all();
  }
  work_waits_.store(true);
  core_worker_.drainer_.Notify();
}

bool TaskExecutor::Pop(ReceivedTask* task) {
  const MutexLock lock(mutex_);
  running_since_ms_ = 0;
  if (exit_now_.load()) {
    return false;
  }
  if (queue_.empty() || has_pool_) {
    if (exit_after_queue_ && queue_.empty() && pool_running_ == 0) {
      exit_now_.store(true);
    }
    work_waits_.store(false);
    return false;
  }
  *task = std::move(queue_.front());
  queue_.pop_front();
  running_since_ms_ = core_worker_.clock_.NowMs();
  return true;
}

int TaskExecutor::Run() {
  size_t idle_looks = 0;
  while (true) {
    ReceivedTask task;
    if (Pop(&task)) {
      idle_looks = 0;
      Execute(std::move(task), true);
      continue;
    }
    if (exit_now_.load()) {
      break;
    }
    if (core_worker_.drainer_.WaitUntil(work_waits_, -1, kIdleSlicesMs[idle_looks]) ==
        Drainer::Outcome::kStopped) {
      break;
    }
    idle_looks = std::min(idle_looks + 1, std::size(kIdleSlicesMs) - 1);
    if (!work_waits_.load() && core_worker_.options_.bridge.check_signals != nullptr) {
      const Status status = core_worker_.options_.bridge.check_signals();
      if (!status.ok()) {
        break;
      }
    }
  }
  const MutexLock lock(mutex_);
  ended_ = true;
  for (ReceivedTask& task : queue_) {
    // Callers of an actor learn the cause from the GCS; their connection ends with us.
    if (task.spec->type != TaskType::kActor) {
      task.responder.Reply(NotStarted(true));
    }
  }
  return exit_code_;
}

void TaskExecutor::Execute(ReceivedTask task, bool on_main_thread) {
  TaskContext context{task.spec, task.assigned, on_main_thread, false, {}};
  current_context = &context;
  TaskExecution execution;
  execution.spec = task.spec;
  execution.assigned = std::move(task.assigned);
  execution.job_config = std::move(task.job_config);
  TaskResult result;
  const auto begin = std::chrono::steady_clock::now();
  result.system_error = core_worker_.ResolveArguments(*task.spec, &execution.args);
  if (result.system_error.ok()) {
    core_worker_.options_.bridge.execute_task(execution, &result);
  }
  // The arguments go before the reply: their pins, and what they contain.
  execution.args.clear();
  if (!result.system_error.ok()) {
    result.returns.clear();
  }
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  current_context = nullptr;
  if (task.spec->type == TaskType::kActorCreation && result.system_error.ok() &&
      !result.is_application_error) {
    const MutexLock lock(mutex_);
    is_actor_ = true;
  }
  if (task.spec->type == TaskType::kActorCreation && task.spec->creation->max_concurrency > 1 &&
      !task.spec->creation->is_asyncio && result.system_error.ok() &&
      !result.is_application_error) {
    StartPool(task.spec->creation->max_concurrency);
  }
  const bool exiting = result.worker_exiting;
  const std::string detail = result.exit_detail;
  if (exiting) {
    const MutexLock lock(mutex_);
    exit_code_ = result.exit_code;
  }
  if (exiting) {
    core_worker_.AnnounceExit(result.exit_code, detail);
  }
  core_worker_.SendTaskReply(
      task.spec, std::move(task.responder), &result,
      static_cast<uint32_t>(std::min<int64_t>(
          UINT32_MAX, std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count())));
  core_worker_.ReleaseHeld(context.held);
  if (exiting) {
    RequestExit(false, detail);
  }
}

void TaskExecutor::StartPool(int threads_max) {
  const MutexLock lock(mutex_);
  pthread_sigmask(SIG_SETMASK, nullptr, &pool_signal_mask_);
  has_pool_ = true;
  pool_threads_max_ = static_cast<size_t>(threads_max);
  GrowPoolLocked();
}

void TaskExecutor::GrowPoolLocked() {
  while (pool_.size() < std::min(pool_threads_max_, pool_running_ + queue_.size())) {
    pool_.emplace_back([this] { RunPool(); });
  }
}

void TaskExecutor::RunPool() {
  pthread_sigmask(SIG_SETMASK, &pool_signal_mask_, nullptr);
  MutexLock lock(mutex_);
  while (true) {
    while (queue_.empty() && !exit_now_.load() && !exit_after_queue_) {
      pool_wake_.wait(lock.native());
    }
    if (exit_now_.load() || queue_.empty()) {
      break;
    }
    ReceivedTask task = std::move(queue_.front());
    queue_.pop_front();
    ++pool_running_;
    lock.Unlock();
    Execute(std::move(task), false);
    lock.Lock();
    --pool_running_;
  }
  work_waits_.store(true);
  lock.Unlock();
  core_worker_.drainer_.Notify();
}

}  // namespace rayc::core_worker
