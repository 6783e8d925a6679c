#include "core_worker/task_executor.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "common/logging.h"
#include "core_worker/core_worker.h"

namespace rayc::core_worker {
namespace {

// How long an idle worker sleeps before it looks at signals again: a signal that arrived just
// before it fell asleep leaves no other trace. The first looks come soon, since such a signal
// (SIGTERM at the end of the session) is the likeliest when a task has just ended.
constexpr int kIdleSlicesMs[] = {2, 30, 1'000};

thread_local TaskContext* current_context = nullptr;

fb::PushTaskReplyT NotStarted(bool worker_exiting = false) {
  fb::PushTaskReplyT reply;
  reply.not_started = true;
  reply.worker_exiting = worker_exiting;
  return reply;
}

fb::PushTaskReplyT Refused(StatusCode code, const std::string& message) {
  fb::PushTaskReplyT reply;
  reply.status = static_cast<uint8_t>(code);
  reply.message = message;
  return reply;
}

Status UnknownGroup(const TaskSpec& spec) {
  return Status::InvalidArgument(spec.name + " was called with concurrency_group='" +
                                 spec.concurrency_group +
                                 "', and the actor has no group of this name");
}

}  // namespace

TaskContext* TaskExecutor::Current() { return current_context; }

void TaskExecutor::SetCurrent(TaskContext* context) { current_context = context; }

std::shared_ptr<TaskContext> TaskExecutor::CurrentShared() {
  return current_context == nullptr ? nullptr : current_context->shared_from_this();
}

bool TaskExecutor::EnterOwnCode() {
  TaskContext* context = current_context;
  if (context == nullptr || !context->on_main_thread) {
    return false;
  }
  context->in_own_code.store(true);
  return TakeInterrupt();
}

void TaskExecutor::LeaveOwnCode() {
  if (current_context != nullptr) {
    current_context->in_own_code.store(false);
  }
}

bool TaskExecutor::TakeInterrupt() {
  TaskContext* context = current_context;
  return context != nullptr && context->on_main_thread && context->cancelled.load() &&
         context->in_own_code.load() && !context->interrupted.exchange(true);
}

TaskExecutor::~TaskExecutor() { JoinPool(); }

void TaskExecutor::JoinPool() {
  std::vector<std::thread> pool;
  {
    const MutexLock lock(mutex_);
    exit_now_.store(true);
    for (const auto& group : groups_) {
      std::move(group->threads.begin(), group->threads.end(), std::back_inserter(pool));
      group->threads.clear();
      group->running_max = 0;
      group->wake.notify_all();
    }
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
    if (place_ != Place::kMainThread && task.spec->type == TaskType::kActor) {
      EnqueueInGroupLocked(std::move(task));
      return;
    }
    queue_.push_back(std::move(task));
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
  const auto remove_from = [&](std::deque<ReceivedTask>& queue) {
    const auto it = std::find_if(queue.begin(), queue.end(), [&](const ReceivedTask& other) {
      return other.spec->task_id == task;
    });
    if (it == queue.end()) {
      return false;
    }
    it->responder.Reply(
        Refused(StatusCode::kCancelled, it->spec->name + " was cancelled before it ran"));
    queue.erase(it);
    return true;
  };
  return remove_from(queue_) || std::any_of(groups_.begin(), groups_.end(), [&](const auto& group) {
           return remove_from(group->queue);
         });
}

bool TaskExecutor::IsRunning(const TaskId& task) {
  const MutexLock lock(mutex_);
  return running_.count(task) > 0;
}

void TaskExecutor::Interrupt(const TaskId& task, bool force) {
  std::shared_ptr<TaskContext> context;
  {
    const MutexLock lock(mutex_);
    const auto it = running_.find(task);
    if (it == running_.end()) {
      return;
    }
    context = it->second;
    context->cancelled.store(true);
    if (async_calls_.count(task) > 0) {
      cancelled_.push_back(task);
      RingLocked();
      return;
    }
  }
  if (context->spec->type != TaskType::kNormal) {
    return;  // it can look: CoreWorker::IsCurrentCancelled
  }
  if (force) {
    core_worker_.ExitAtOnce(context->spec->name + " was cancelled with force=True");
  } else if (core_worker_.options_.bridge.interrupt_main != nullptr) {
    Poke(context);
  }
}

void TaskExecutor::Poke(const std::weak_ptr<TaskContext>& target) {
  const std::shared_ptr<TaskContext> context = target.lock();
  if (context == nullptr || context->interrupted.load()) {
    return;  // it is over, or has seen it
  }
  if (context->in_own_code.load()) {
    core_worker_.options_.bridge.interrupt_main();
  }
  core_worker_.loop_.RunAfter(kPokeAgainMs, [this, target] { Poke(target); });
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
    WakeAllLocked();
  }
  work_waits_.store(true);
  core_worker_.drainer_.Notify();
}

bool TaskExecutor::Pop(ReceivedTask* task, std::shared_ptr<TaskContext>* context) {
  const MutexLock lock(mutex_);
  running_since_ms_ = 0;
  if (exit_now_.load()) {
    return false;
  }
  if (queue_.empty() || exit_after_running_) {
    if (running_.empty() &&
        (exit_after_running_ || (exit_after_queue_ && GroupsAreEmptyLocked()))) {
      exit_now_.store(true);
    }
    work_waits_.store(false);
    return false;
  }
  *task = std::move(queue_.front());
  queue_.pop_front();
  *context = BeginLocked(*task, true);
  running_since_ms_ = core_worker_.clock_.NowMs();
  return true;
}

std::shared_ptr<TaskContext> TaskExecutor::BeginLocked(const ReceivedTask& task,
                                                       bool on_main_thread) {
  auto context = std::make_shared<TaskContext>(task.spec, task.assigned, on_main_thread);
  running_.insert_or_assign(task.spec->task_id, context);
  return context;
}

int TaskExecutor::Run() {
  size_t idle_looks = 0;
  while (true) {
    ReceivedTask task;
    std::shared_ptr<TaskContext> context;
    if (Pop(&task, &context)) {
      idle_looks = 0;
      Execute(std::move(task), context);
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

void TaskExecutor::Execute(ReceivedTask task, const std::shared_ptr<TaskContext>& context) {
  current_context = context.get();
  const Time begin = std::chrono::steady_clock::now();
  TaskExecution execution;
  execution.spec = task.spec;
  execution.assigned = std::move(task.assigned);
  execution.job_config = std::move(task.job_config);
  TaskResult result;
  const bool is_misplaced = context->on_main_thread && task.spec->type == TaskType::kActor &&
                            !task.spec->concurrency_group.empty();
  result.system_error = is_misplaced ? UnknownGroup(*task.spec)
                                     : core_worker_.ResolveArguments(*task.spec, &execution.args);
  if (result.system_error.ok()) {
    core_worker_.options_.bridge.execute_task(execution, &result);
  }
  // The arguments go before the reply: their pins, and what they contain.
  execution.args.clear();
  current_context = nullptr;
  if (task.spec->type == TaskType::kActorCreation && result.system_error.ok() &&
      !result.is_application_error) {
    BecomeActor(*task.spec->creation, result.doorbell_fd);
  }
  End(&task, begin, &result);
}

void TaskExecutor::End(ReceivedTask* task, Time begin, TaskResult* result) {
  if (!result->system_error.ok()) {
    result->returns.clear();
  }
  // What has run has taken a microsecond.
  const int64_t elapsed_us =
      std::clamp<int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                              std::chrono::steady_clock::now() - begin)
                              .count(),
                          1, UINT32_MAX);
  const bool exiting = result->worker_exiting;
  const std::string detail = result->exit_detail;
  if (exiting) {
    {
      const MutexLock lock(mutex_);
      exit_code_ = result->exit_code;
    }
    core_worker_.AnnounceExit(result->exit_code, detail);
  }
  core_worker_.SendTaskReply(task->spec, std::move(task->responder), result,
                             static_cast<uint32_t>(elapsed_us));
  bool wake = false;
  {
    const MutexLock lock(mutex_);
    running_.erase(task->spec->task_id);
    if (exiting) {
      if (exit_detail_.empty() && !ended_) {
        exit_detail_ = detail;
      }
      exit_after_running_ = true;
      WakeAllLocked();
    }
    if ((exit_after_running_ || exit_after_queue_) && running_.empty()) {
      work_waits_.store(true);
      wake = true;
    }
  }
  if (wake) {
    core_worker_.drainer_.Notify();
  }
}

// ---- the calls of an actor -------------------------------------------------------------------

void TaskExecutor::BecomeActor(const ActorCreationSpec& creation, int doorbell_fd) {
  const MutexLock lock(mutex_);
  is_actor_ = true;
  if (creation.is_asyncio && doorbell_fd >= 0) {
    place_ = Place::kEventLoop;
    doorbell_fd_ = doorbell_fd;
  } else if (creation.max_concurrency > 1 || !creation.concurrency_groups.empty()) {
    place_ = Place::kPool;
    pthread_sigmask(SIG_SETMASK, nullptr, &pool_signal_mask_);
  } else {
    return;
  }
  AddGroupLocked("", creation.max_concurrency);
  for (const ConcurrencyGroup& group : creation.concurrency_groups) {
    AddGroupLocked(group.name, group.max_concurrency);
  }
  for (ReceivedTask& task : std::exchange(queue_, {})) {
    EnqueueInGroupLocked(std::move(task));
  }
}

void TaskExecutor::AddGroupLocked(const std::string& name, int32_t running_max) {
  auto group = std::make_unique<Group>();
  group->name = name;
  group->running_max = static_cast<size_t>(std::max(running_max, 1));
  groups_.push_back(std::move(group));
}

void TaskExecutor::EnqueueInGroupLocked(ReceivedTask task) {
  const auto it = std::find_if(groups_.begin(), groups_.end(), [&](const auto& group) {
    return group->name == task.spec->concurrency_group;
  });
  if (it == groups_.end()) {
    const Status status = UnknownGroup(*task.spec);
    task.responder.Reply(Refused(status.code(), status.message()));
    return;
  }
  Group& group = **it;
  group.queue.push_back(std::move(task));
  if (place_ == Place::kEventLoop) {
    RingLocked();
    return;
  }
  while (group.threads.size() < std::min(group.running_max, group.running + group.queue.size())) {
    group.threads.emplace_back([this, &group] { RunPool(group); });
  }
  group.wake.notify_one();
}

void TaskExecutor::RunPool(Group& group) {
  pthread_sigmask(SIG_SETMASK, &pool_signal_mask_, nullptr);
  MutexLock lock(mutex_);
  while (true) {
    while (group.queue.empty() && !exit_now_.load() && !exit_after_running_) {
      group.wake.wait(lock.native());
    }
    if (exit_now_.load() || exit_after_running_) {
      return;
    }
    ReceivedTask task = std::move(group.queue.front());
    group.queue.pop_front();
    const std::shared_ptr<TaskContext> context = BeginLocked(task, false);
    ++group.running;
    lock.Unlock();
    Execute(std::move(task), context);
    lock.Lock();
    --group.running;
  }
}

void TaskExecutor::WakeAllLocked() {
  for (const auto& group : groups_) {
    group->wake.notify_all();
  }
}

bool TaskExecutor::GroupsAreEmptyLocked() {
  return std::all_of(groups_.begin(), groups_.end(),
                     [](const auto& group) { return group->queue.empty(); });
}

// ---- the event loop of an asyncio actor ------------------------------------------------------

void TaskExecutor::RingLocked() {
  if (!std::exchange(rung_, true)) {
    const uint64_t one = 1;
    // It fails only if the counter is about to overflow: then the loop has been woken already.
    static_cast<void>(!write(doorbell_fd_, &one, sizeof(one)));
  }
}

bool TaskExecutor::TakeAsyncCall(TaskExecution* execution, std::shared_ptr<TaskContext>* context) {
  while (true) {
    TaskId id;
    {
      const MutexLock lock(mutex_);
      const auto it = std::find_if(groups_.begin(), groups_.end(), [](const auto& group) {
        return !group->queue.empty() && group->running < group->running_max;
      });
      if (it == groups_.end() || exit_now_.load() || exit_after_running_) {
        rung_ = false;
        return false;
      }
      Group& group = **it;
      ReceivedTask task = std::move(group.queue.front());
      group.queue.pop_front();
      id = task.spec->task_id;
      if (async_calls_.count(id) > 0) {
        task.responder.Error(Status::InvalidArgument("this call runs already"));
        continue;
      }
      *context = BeginLocked(task, false);
      ++group.running;
      execution->spec = task.spec;
      execution->args.clear();
      execution->assigned = std::move(task.assigned);
      execution->job_config = std::move(task.job_config);
      async_calls_.emplace(
          id, AsyncCall{std::move(task), *context, &group, std::chrono::steady_clock::now()});
    }
    TaskResult result;
    result.system_error = core_worker_.ResolveArguments(*execution->spec, &execution->args);
    if (result.system_error.ok()) {
      return true;
    }
    FinishAsyncCall(id, &result);
  }
}

void TaskExecutor::FinishAsyncCall(const TaskId& task, TaskResult* result) {
  AsyncCall call;
  {
    const MutexLock lock(mutex_);
    const auto it = async_calls_.find(task);
    if (it == async_calls_.end()) {
      return;
    }
    call = std::move(it->second);
    async_calls_.erase(it);
    --call.group->running;
    if (!call.group->queue.empty()) {
      RingLocked();
    }
  }
  End(&call.task, call.begin, result);
}

std::vector<TaskId> TaskExecutor::TakeCancelled() {
  const MutexLock lock(mutex_);
  return std::exchange(cancelled_, {});
}

}  // namespace rayc::core_worker
