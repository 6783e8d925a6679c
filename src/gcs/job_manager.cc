#include "gcs/job_manager.h"

#include <utility>

#include "common/logging.h"

namespace rayc::gcs {
namespace {

constexpr char kFunctionNamespace[] = "fun";
// Prefixes of the keys under which a job exports its functions and actor classes.
constexpr const char* kFunctionKeys[] = {"RemoteFunction:", "ActorClass:"};

}  // namespace

JobManager::~JobManager() {
  for (const auto& [job, waiter] : waiters_) {
    timers_.Cancel(waiter.timer);
  }
}

JobId JobManager::Add(JobRecord job, const rpc::ChannelPtr& connection) {
  const JobId id = JobId::FromInt(++last_job_);
  job.job_id = id;
  job.is_dead = false;
  RAYC_LOG(kInfo) << "job " << id << " begins, driver pid " << job.driver_pid;
  Entry& entry = jobs_[id];
  entry.record = std::move(job);
  entry.connection = connection;
  std::vector<Waiter> waiters;
  const auto [first, last] = waiters_.equal_range(id);
  for (auto it = first; it != last; ++it) {
    waiters.push_back(std::move(it->second));
  }
  waiters_.erase(first, last);
  for (const Waiter& waiter : waiters) {
    timers_.Cancel(waiter.timer);
    waiter.callback(&entry.record);
  }
  return id;
}

const JobRecord* JobManager::Find(const JobId& id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second.record;
}

void JobManager::FindOrWait(const JobId& id, int64_t wait_ms, FindCallback callback) {
  const JobRecord* job = Find(id);
  // Numbers up to the last one given will not come again.
  if (job != nullptr || wait_ms <= 0 || id.IsNil() || id.ToInt() <= last_job_) {
    callback(job);
    return;
  }
  const uint64_t waiter_id = next_waiter_++;
  const Timers::Id timer = timers_.RunAfter(wait_ms, [this, id, waiter_id] {
    const auto [first, last] = waiters_.equal_range(id);
    for (auto it = first; it != last; ++it) {
      if (it->second.id == waiter_id) {
        const FindCallback waiting = std::move(it->second.callback);
        waiters_.erase(it);
        waiting(nullptr);
        return;
      }
    }
  });
  waiters_.emplace(id, Waiter{waiter_id, timer, std::move(callback)});
}

void JobManager::OnDisconnect(const rpc::ChannelPtr& connection) {
  std::vector<JobId> ended;
  for (const auto& [id, entry] : jobs_) {
    if (entry.connection == connection) {
      ended.push_back(id);
    }
  }
  for (const JobId& id : ended) {
    Finish(jobs_.at(id));
  }
}

void JobManager::OnDriverDeath(const WorkerId& driver) {
  std::vector<JobId> ended;
  for (const auto& [id, entry] : jobs_) {
    if (!entry.record.is_dead && entry.record.driver.worker_id == driver) {
      ended.push_back(id);
    }
  }
  for (const JobId& id : ended) {
    Finish(jobs_.at(id));
  }
}

void JobManager::Finish(Entry& entry) {
  const JobId id = entry.record.job_id;
  RAYC_LOG(kInfo) << "job " << id << " has ended";
  entry.record.is_dead = true;
  entry.connection = nullptr;
  if (on_finished_) {
    on_finished_(id);
  }
  OnLessUsed(id);
  dead_.push_back(id);
  while (dead_.size() > kDeadJobsMax) {
    // A job whose detached actors live on stays: their workers may ask for it after a restart.
    const JobId oldest = dead_.front();
    dead_.pop_front();
    if (in_use_ && in_use_(oldest)) {
      dead_.push_back(oldest);
      break;
    }
    jobs_.erase(oldest);
  }
}

void JobManager::OnLessUsed(const JobId& id) {
  const auto it = jobs_.find(id);
  if (it == jobs_.end() || !it->second.record.is_dead || it->second.functions_deleted ||
      (in_use_ && in_use_(id))) {
    return;
  }
  it->second.functions_deleted = true;
  for (const char* prefix : kFunctionKeys) {
    kv_.Delete(kFunctionNamespace, prefix + id.Hex() + ":", /*by_prefix=*/true,
               [id](const Result<uint32_t>& deleted) {
                 if (!deleted) {
                   RAYC_LOG(kWarning)
                       << "cannot delete the functions of job " << id << ": " << deleted.error();
                 }
               });
  }
}

}  // namespace rayc::gcs
