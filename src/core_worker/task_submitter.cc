#include "core_worker/task_submitter.h"

#include <algorithm>
#include <utility>

namespace rayc::core_worker {

void TaskSubmitter::Submit(TaskPtr task, const std::string& scheduling_key) {
  auto& key = keys_[scheduling_key];
  if (key == nullptr) {
    key = std::make_unique<Key>();
    key->name = scheduling_key;
  }
  key->queue.push_back(std::move(task));
  Pump(*key);
}

size_t TaskSubmitter::Depth(const Key& key) const {
  if (key.average_us < 0) {
    return 1;
  }
  const double depth = static_cast<double>(kPipelineUs) / std::max(key.average_us, 1.0);
  return std::clamp<size_t>(static_cast<size_t>(depth), 1, kPipelineTasksMax);
}

TaskSubmitter::HeldLease* TaskSubmitter::PickLease(const Key& key) const {
  const size_t depth = Depth(key);
  HeldLease* best = nullptr;
  for (HeldLease* held : key.held) {
    if (held->stalled || held->reclaimed || held->exiting || held->in_flight.size() >= depth) {
      continue;
    }
    if (best == nullptr || held->in_flight.size() < best->in_flight.size()) {
      best = held;
    }
  }
  return best;
}

void TaskSubmitter::Pump(Key& key) {
  while (!key.queue.empty()) {
    HeldLease* held = PickLease(key);
    if (held == nullptr) {
      break;
    }
    const TaskPtr task = std::move(key.queue.front());
    key.queue.pop_front();
    held->in_flight.push_back(task);
    transport_.PushTask(held->lease, task);
  }
  AskForLeases(key);
}

void TaskSubmitter::AskForLeases(Key& key) {
  if (key.queue.empty()) {
    for (const uint64_t id : key.requested) {
      requests_.erase(id);
      transport_.CancelLease(id);
    }
    key.requested.clear();
    return;
  }
  const size_t wanted = std::min(key.queue.size(), kLeaseRequestsMax);
  while (key.requested.size() < wanted) {
    const uint64_t id = next_lease_id_++;
    key.requested.push_back(id);
    requests_.emplace(id, &key);
    transport_.RequestLease(id, *key.queue.front(), static_cast<uint32_t>(key.queue.size()));
  }
}

void TaskSubmitter::OnLeaseGranted(Lease lease) {
  const auto request = requests_.find(lease.id);
  if (request == requests_.end()) {
    // Granted while our cancellation was on its way.
    transport_.ReturnLease(lease.id, false);
    return;
  }
  Key& key = *request->second;
  requests_.erase(request);
  std::erase(key.requested, lease.id);
  auto held = std::make_unique<HeldLease>();
  held->key = &key;
  held->idle_since_ms = clock_.NowMs();
  const uint64_t id = lease.id;
  held->lease = std::move(lease);
  key.held.push_back(held.get());
  leases_.emplace(id, std::move(held));
  Pump(key);
}

void TaskSubmitter::OnLeaseFailed(uint64_t lease_id, const Status& why) {
  const auto request = requests_.find(lease_id);
  if (request == requests_.end()) {
    return;
  }
  Key& key = *request->second;
  requests_.erase(request);
  std::erase(key.requested, lease_id);
  const std::deque<TaskPtr> failed = std::exchange(key.queue, {});
  AskForLeases(key);
  for (const TaskPtr& task : failed) {
    transport_.OnTaskUnschedulable(task, why);
  }
}

void TaskSubmitter::OnReply(uint64_t lease_id, const TaskId& task, bool not_started,
                            uint32_t duration_us, bool worker_exiting) {
  const auto it = leases_.find(lease_id);
  if (it == leases_.end()) {
    return;
  }
  HeldLease& held = *it->second;
  Key& key = *held.key;
  const auto entry = std::find_if(held.in_flight.begin(), held.in_flight.end(),
                                  [&](const TaskPtr& other) { return other->task_id == task; });
  if (entry == held.in_flight.end()) {
    return;
  }
  if (worker_exiting && entry == held.in_flight.begin()) {
    held.begins_no_more = true;
  }
  if (not_started) {
    // They are older than what is queued; among themselves the order does not matter.
    key.queue.push_front(*entry);
    held.in_flight.erase(entry);
    held.stalled = !held.in_flight.empty();
  } else {
    held.in_flight.erase(entry);
    held.stalled = false;
    if (duration_us > 0) {
      key.average_us = key.average_us < 0 ? duration_us : 0.8 * key.average_us + 0.2 * duration_us;
    }
  }
  held.idle_since_ms = clock_.NowMs();
  held.exiting = held.exiting || worker_exiting;
  if (held.in_flight.empty() && (held.reclaimed || held.exiting)) {
    Return(held, held.exiting);
  }
  Pump(key);
}

void TaskSubmitter::Return(HeldLease& held, bool worker_exiting) {
  const uint64_t id = held.lease.id;
  std::erase(held.key->held, &held);
  leases_.erase(id);
  transport_.ReturnLease(id, worker_exiting);
}

TaskSubmitter::LostTasks TaskSubmitter::OnWorkerLost(const WorkerId& worker) {
  LostTasks lost;
  for (auto it = leases_.begin(); it != leases_.end(); ++it) {
    HeldLease& held = *it->second;
    if (held.lease.worker.worker_id != worker) {
      continue;
    }
    lost.tasks.assign(held.in_flight.begin(), held.in_flight.end());
    lost.first_may_have_begun = !held.begins_no_more;
    Key& key = *held.key;
    Return(held, true);
    Pump(key);
    break;
  }
  return lost;
}

void TaskSubmitter::OnUnreachable(const WorkerId& worker) {
  for (const auto& [id, held] : leases_) {
    if (held->lease.worker.worker_id == worker) {
      held->begins_no_more = true;
    }
  }
}

void TaskSubmitter::OnReclaim() {
  std::vector<HeldLease*> idle;
  for (const auto& [id, held] : leases_) {
    held->reclaimed = true;
    if (held->in_flight.empty()) {
      idle.push_back(held.get());
    }
  }
  for (HeldLease* held : idle) {
    Key& key = *held->key;
    Return(*held, false);
    Pump(key);
  }
}

void TaskSubmitter::ReturnIdleLeases(int64_t idle_ms) {
  const int64_t now_ms = clock_.NowMs();
  std::vector<HeldLease*> idle;
  for (const auto& [id, held] : leases_) {
    if (held->in_flight.empty() && now_ms - held->idle_since_ms >= idle_ms) {
      idle.push_back(held.get());
    }
  }
  for (HeldLease* held : idle) {
    Return(*held, false);
  }
  ForgetUnusedKeys();
}

void TaskSubmitter::ForgetUnusedKeys() {
  if (keys_.size() > kKeysMax) {
    std::erase_if(keys_, [](const auto& entry) {
      const Key& key = *entry.second;
      return key.queue.empty() && key.held.empty() && key.requested.empty();
    });
  }
}

bool TaskSubmitter::Remove(const TaskId& task) {
  for (const auto& [name, key] : keys_) {
    const auto it = std::find_if(key->queue.begin(), key->queue.end(),
                                 [&](const TaskPtr& other) { return other->task_id == task; });
    if (it != key->queue.end()) {
      key->queue.erase(it);
      AskForLeases(*key);
      return true;
    }
  }
  return false;
}

const Lease* TaskSubmitter::FindInFlight(const TaskId& task) const {
  for (const auto& [id, held] : leases_) {
    for (const TaskPtr& other : held->in_flight) {
      if (other->task_id == task) {
        return &held->lease;
      }
    }
  }
  return nullptr;
}

size_t TaskSubmitter::num_queued() const {
  size_t count = 0;
  for (const auto& [name, key] : keys_) {
    count += key->queue.size();
  }
  return count;
}

}  // namespace rayc::core_worker
