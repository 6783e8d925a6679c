#include "raylet/death_log.h"

#include <utility>

#include "rpc/convert.h"

namespace rayc::raylet {

DeathLog::~DeathLog() {
  for (auto& [worker, waiters] : waiters_) {
    for (const Waiter& waiter : waiters) {
      loop_.CancelTimer(waiter.timer);
    }
  }
}

void DeathLog::Record(const WorkerId& worker, const fb::WorkerDeathT& death) {
  if (records_.insert_or_assign(worker, death).second) {
    order_.push_back(worker);
    if (order_.size() > kRecordsMax) {
      records_.erase(order_.front());
      order_.pop_front();
    }
  }
  const auto it = waiters_.find(worker);
  if (it == waiters_.end()) {
    return;
  }
  const std::vector<Waiter> waiters = std::move(it->second);
  waiters_.erase(it);
  for (const Waiter& waiter : waiters) {
    loop_.CancelTimer(waiter.timer);
    waiter.answer(death);
  }
}

void DeathLog::Ask(const WorkerId& worker, bool is_alive, Answer answer) {
  const auto it = records_.find(worker);
  if (it != records_.end()) {
    answer(it->second);
    return;
  }
  fb::WorkerDeathT unknown;
  unknown.worker_id = rpc::IdBytes(worker);
  unknown.known = is_alive;
  if (!is_alive) {
    unknown.detail = "this node knows of no such worker";
    answer(unknown);
    return;
  }
  unknown.detail = "its process has not ended";
  const auto timer = loop_.RunAfter(kWaitMs, [this, worker, unknown] {
    const auto waiting = waiters_.find(worker);
    if (waiting == waiters_.end()) {
      return;
    }
    // The oldest waiter's time is up; the timers fire in the order of their waiters.
    const Waiter late = std::move(waiting->second.front());
    waiting->second.erase(waiting->second.begin());
    if (waiting->second.empty()) {
      waiters_.erase(waiting);
    }
    late.answer(unknown);
  });
  waiters_[worker].push_back({std::move(answer), timer});
}

}  // namespace rayc::raylet
