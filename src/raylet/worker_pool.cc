#include "raylet/worker_pool.h"

#include <algorithm>
#include <csignal>
#include <utility>
#include <vector>

#include "common/logging.h"

namespace rayc::raylet {
namespace {

constexpr int64_t kStartRetryMs = 50;  // times the number of failures in a row

// Only the process that was forked for it shall be able to register as a worker.
uint64_t RandomToken() {
  uint64_t token = 0;
  while (token == 0) {
    FillRandom(&token, sizeof(token));
  }
  return token;
}

}  // namespace

WorkerPool::WorkerPool(const Clock& clock, WorkerPoolOptions options, ZygoteClient& zygote,
                       WorkerPoolHost& host)
    : clock_(clock), options_(options), zygote_(zygote), host_(host) {}

const WorkerHandle* WorkerPool::Find(const WorkerId& worker) const {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

WorkerHandle* WorkerPool::FindMutable(const WorkerId& worker) {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

WorkerHandle* WorkerPool::FindToken(uint64_t fork_token) {
  for (auto& [id, worker] : workers_) {
    if (worker.fork_token == fork_token) {
      return &worker;
    }
  }
  return nullptr;
}

size_t WorkerPool::CountIn(WorkerState state) const {
  return static_cast<size_t>(
      std::count_if(workers_.begin(), workers_.end(),
                    [&](const auto& entry) { return entry.second.state == state; }));
}

size_t WorkerPool::CountAgainstCap() const {
  return static_cast<size_t>(std::count_if(workers_.begin(), workers_.end(), [](const auto& entry) {
    return !entry.second.blocked && entry.second.state != WorkerState::kExiting;
  }));
}

void WorkerPool::Enter(WorkerHandle& worker, WorkerState state) {
  if (worker.state == WorkerState::kIdle) {
    idle_.remove(worker.id);
  }
  worker.state = state;
  worker.state_since_ms = clock_.NowMs();
  if (state == WorkerState::kIdle) {
    idle_.push_back(worker.id);
  } else if (state == WorkerState::kExiting) {
    worker.kill_at_ms = worker.state_since_ms + options_.exit_grace_ms;
  }
}

std::optional<WorkerId> WorkerPool::Take(const WorkerNeed& need) {
  // Warm ones first, the last used of them; for an actor a fresh one first, whose pages are still
  // shared and which leaves the warm ones to tasks.
  WorkerHandle* warm = nullptr;
  WorkerHandle* fresh = nullptr;
  for (const WorkerId& id : idle_) {
    WorkerHandle& worker = workers_.at(id);
    if (worker.job_id.IsNil()) {
      fresh = &worker;
    } else if (worker.job_id == need.job_id && worker.runtime_env == need.runtime_env) {
      warm = &worker;
    }
  }
  WorkerHandle* taken =
      need.is_actor ? (fresh != nullptr ? fresh : warm) : (warm != nullptr ? warm : fresh);
  if (taken == nullptr) {
    return std::nullopt;
  }
  taken->job_id = need.job_id;
  taken->runtime_env = need.runtime_env;
  Enter(*taken, need.is_actor ? WorkerState::kDedicated : WorkerState::kLeased);
  return taken->id;
}

bool WorkerPool::WantWorkers(size_t count) {
  wanted_ = count;
  const size_t starting = CountIn(WorkerState::kStarting);
  if (stopping_ || count <= starting) {
    return true;
  }
  const size_t missing = count - starting;
  const size_t started = StartUpTo(missing);
  if (started == missing || starting + started >= options_.starting_max ||
      clock_.NowMs() < no_start_before_ms_) {
    return true;  // the rest follows when these are there
  }
  // At the cap. Idle ones of other jobs make room for those that are needed.
  return RetireOneIdle();
}

void WorkerPool::Prestart(size_t count) {
  size_t ready = CountIn(WorkerState::kStarting);
  for (const WorkerId& id : idle_) {
    ready += workers_.at(id).job_id.IsNil() ? 1 : 0;
  }
  if (!stopping_ && ready < count) {
    StartUpTo(count - ready);
  }
}

size_t WorkerPool::StartUpTo(size_t count) {
  if (clock_.NowMs() < no_start_before_ms_) {
    return 0;
  }
  const size_t against_cap = CountAgainstCap();
  const size_t starting = CountIn(WorkerState::kStarting);
  const size_t cap_room = options_.workers_max - std::min(options_.workers_max, against_cap);
  const size_t start_room = options_.starting_max - std::min(options_.starting_max, starting);
  const size_t started = std::min({count, cap_room, start_room});
  for (size_t i = 0; i < started; ++i) {
    WorkerHandle worker;
    worker.id = WorkerId::FromRandom();
    worker.fork_token = RandomToken();
    worker.state_since_ms = clock_.NowMs();
    const WorkerHandle& kept = workers_.emplace(worker.id, std::move(worker)).first->second;
    zygote_.ForkWorker(kept.fork_token, kept.id);
  }
  return started;
}

bool WorkerPool::RetireOneIdle() {
  if (idle_.empty()) {
    return false;
  }
  Retire(workers_.at(idle_.front()), "room for a worker of another kind");
  return true;
}

void WorkerPool::GiveBack(const WorkerId& id, bool exiting) {
  WorkerHandle* worker = FindMutable(id);
  if (worker == nullptr ||
      (worker->state != WorkerState::kLeased && worker->state != WorkerState::kDedicated)) {
    return;  // it has begun to end by itself
  }
  worker->blocked = false;
  if (exiting || worker->announced || stopping_) {
    Retire(*worker, "its lease has ended");
  } else {
    Enter(*worker, WorkerState::kIdle);
  }
}

void WorkerPool::Retire(WorkerHandle& worker, const std::string& reason) {
  worker.announced = true;
  Enter(worker, WorkerState::kExiting);
  host_.SendExit(worker.id, reason);
}

void WorkerPool::Kill(const WorkerId& id, bool force, const std::string& reason) {
  WorkerHandle* worker = FindMutable(id);
  if (worker == nullptr) {
    return;
  }
  if (force) {
    SendKill(*worker, reason);
    Leave(*worker);
  } else if (worker->state != WorkerState::kExiting) {
    if (worker->kill_reason.empty()) {
      worker->kill_reason = reason;
    }
    worker->announced = true;
    Enter(*worker, WorkerState::kExiting);
    host_.SendExit(id, reason);
  }
}

void WorkerPool::SendKill(WorkerHandle& worker, const std::string& reason) {
  if (worker.kill_reason.empty()) {
    worker.kill_reason = reason;
  }
  worker.killed = true;
  if (worker.pid != 0) {
    host_.SendSignal(worker.id, SIGKILL);
  }
}

void WorkerPool::SetBlocked(const WorkerId& id, bool blocked) {
  WorkerHandle* worker = FindMutable(id);
  if (worker != nullptr &&
      (worker->state == WorkerState::kLeased || worker->state == WorkerState::kDedicated)) {
    worker->blocked = blocked;
  }
}

void WorkerPool::SetPid(WorkerHandle& worker, pid_t pid) {
  if (worker.pid != 0) {
    return;
  }
  worker.pid = pid;
  host_.WatchProcess(worker.id, pid);
  if (worker.killed) {
    host_.SendSignal(worker.id, SIGKILL);
  }
}

void WorkerPool::OnForked(uint64_t fork_token, pid_t pid) {
  if (WorkerHandle* worker = FindToken(fork_token)) {
    SetPid(*worker, pid);
  }
}

void WorkerPool::OnForkFailed(uint64_t fork_token, const std::string& error) {
  WorkerHandle* worker = FindToken(fork_token);
  if (worker == nullptr) {
    return;
  }
  RAYC_LOG(kError) << "cannot fork a worker: " << error;
  workers_.erase(worker->id);
  StartFailed("the zygote cannot fork: " + error);
}

Status WorkerPool::OnRegistered(uint64_t fork_token, pid_t pid, const Address& address) {
  WorkerHandle* worker = FindMutable(address.worker_id);
  if (worker == nullptr || worker->fork_token != fork_token || worker->killed ||
      worker->state != WorkerState::kStarting) {
    return {StatusCode::kUnauthenticated, "this raylet has started no such worker"};
  }
  worker->address = address;
  SetPid(*worker, pid);
  start_failures_ = 0;
  if (stopping_) {
    Retire(*worker, "the node is ending");
    return Status::Ok();
  }
  Enter(*worker, WorkerState::kIdle);
  host_.WorkerReady(worker->id);
  return Status::Ok();
}

void WorkerPool::Leave(WorkerHandle& worker) {
  if (worker.state != WorkerState::kExiting) {
    Enter(worker, WorkerState::kExiting);
  }
  worker.blocked = false;
  if (!std::exchange(worker.lost, true)) {
    host_.WorkerLost(worker.id);
  }
}

void WorkerPool::OnDisconnected(const WorkerId& id) {
  WorkerHandle* worker = FindMutable(id);
  if (worker == nullptr) {
    return;
  }
  Leave(*worker);
  // It cannot be told anything any more, and should have gone with its connection.
  worker->kill_at_ms = std::min(worker->kill_at_ms, clock_.NowMs() + options_.disconnect_grace_ms);
}

void WorkerPool::OnAnnounceExit(const WorkerId& id, const std::string& detail) {
  WorkerHandle* worker = FindMutable(id);
  if (worker == nullptr) {
    return;
  }
  worker->announced = true;
  worker->announced_detail = detail;
  // An idle one may be taken no more; a leased one still answers its owner before it leaves.
  if (worker->state == WorkerState::kIdle || worker->state == WorkerState::kStarting) {
    Enter(*worker, WorkerState::kExiting);
  }
}

void WorkerPool::OnProcessGone(const WorkerId& id) {
  WorkerHandle* worker = FindMutable(id);
  if (worker == nullptr || worker->process_gone) {
    return;
  }
  worker->process_gone = true;
  worker->gone_since_ms = clock_.NowMs();
  Leave(*worker);
  if (worker->wait_status) {
    Finish(id);
  }
}

void WorkerPool::OnReaped(pid_t pid, int wait_status) {
  for (auto& [id, worker] : workers_) {
    if (worker.pid != pid || worker.wait_status) {
      continue;
    }
    worker.wait_status = wait_status;
    const WorkerId gone = id;
    if (worker.process_gone) {
      Finish(gone);
    } else {
      OnProcessGone(gone);
    }
    return;
  }
}

void WorkerPool::Finish(const WorkerId& id) {
  const auto it = workers_.find(id);
  RAYC_CHECK(it != workers_.end());
  const WorkerEnd end = DescribeEnd(it->second);
  const bool never_registered = it->second.address.IsNil() && !it->second.killed;
  idle_.remove(id);
  workers_.erase(it);
  host_.WorkerDead(end);
  if (never_registered) {
    StartFailed("a worker " + end.detail + " before it could register");
  }
}

void WorkerPool::StartFailed(const std::string& why) {
  if (stopping_) {
    return;
  }
  ++start_failures_;
  no_start_before_ms_ = clock_.NowMs() + kStartRetryMs * start_failures_;
  if (start_failures_ == options_.start_failures_max) {
    host_.PoolBroken("no worker can be started: " + why);
  }
}

void WorkerPool::OnJobEnded(const JobId& job) {
  std::vector<WorkerId> ended;
  for (const WorkerId& id : idle_) {
    if (workers_.at(id).job_id == job) {
      ended.push_back(id);
    }
  }
  for (const WorkerId& id : ended) {
    Retire(workers_.at(id), "its job has ended");
  }
}

bool WorkerPool::NeedsTick() const {
  if (idle_.size() > options_.idle_max || wanted_ > 0) {
    return true;
  }
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& entry) {
    return entry.second.state == WorkerState::kStarting ||
           entry.second.state == WorkerState::kExiting || entry.second.process_gone;
  });
}

void WorkerPool::Tick() {
  const int64_t now_ms = clock_.NowMs();
  while (idle_.size() > options_.idle_max) {
    WorkerHandle& longest = workers_.at(idle_.front());
    if (now_ms - longest.state_since_ms < options_.idle_linger_ms) {
      break;
    }
    Retire(longest, "it has been idle");
  }
  std::vector<WorkerId> ids;
  ids.reserve(workers_.size());
  for (const auto& [id, worker] : workers_) {
    ids.push_back(id);
  }
  for (const WorkerId& id : ids) {
    if (WorkerHandle* worker = FindMutable(id)) {
      CheckOverdue(*worker);
    }
  }
  if (wanted_ > 0) {
    WantWorkers(wanted_);
  }
}

void WorkerPool::CheckOverdue(WorkerHandle& worker) {
  const WorkerId id = worker.id;
  const int64_t now_ms = clock_.NowMs();
  const int64_t in_state_ms = now_ms - worker.state_since_ms;
  if (worker.process_gone) {
    if (now_ms - worker.gone_since_ms >= options_.reap_timeout_ms) {
      Finish(id);
    }
    return;
  }
  if (worker.state == WorkerState::kStarting && in_state_ms >= options_.register_timeout_ms) {
    RAYC_LOG(kError) << "worker " << id << " (pid " << worker.pid << ") did not register in "
                     << options_.register_timeout_ms << " ms";
    SendKill(worker, "it did not register in time");
    Leave(worker);
    StartFailed("workers do not register in time");
    return;
  }
  if (worker.state == WorkerState::kExiting) {
    if (worker.pid == 0 && in_state_ms >= options_.register_timeout_ms) {
      worker.process_gone = true;  // the zygote never answered: there is nothing to wait for
      Finish(id);
    } else if (!worker.killed && now_ms >= worker.kill_at_ms) {
      SendKill(worker, "it did not leave in time");
    }
  }
}

void WorkerPool::StopAll(int signal, const std::string& reason) {
  stopping_ = true;
  wanted_ = 0;
  idle_.clear();
  for (auto& [id, worker] : workers_) {
    worker.announced = true;
    if (worker.kill_reason.empty()) {
      worker.kill_reason = reason;
    }
    // No WorkerLost: who stops everything has closed the leases already.
    worker.lost = true;
    worker.state = WorkerState::kExiting;
    worker.state_since_ms = clock_.NowMs();
    worker.kill_at_ms = worker.state_since_ms + options_.exit_grace_ms;
    if (worker.pid == 0) {
      worker.killed = true;  // as soon as its pid is known
    } else if (!worker.process_gone) {
      host_.SendSignal(id, signal);
    }
  }
}

}  // namespace rayc::raylet
