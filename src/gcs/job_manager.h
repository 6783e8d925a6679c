// The jobs: one per driver, from AddJob until its connection closes or its process is reported
// dead. What a job exported to the function table goes when the job has ended and nothing of it
// lives on. Owned by the GcsServer; loop thread only.
#pragma once

#include <sys/types.h>

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/address.h"
#include "common/ids.h"
#include "gcs/kv_store.h"
#include "gcs/timers.h"
#include "rpc/channel.h"

namespace rayc::gcs {

struct JobRecord {
  JobId job_id;
  Address driver;
  pid_t driver_pid = 0;
  std::string entrypoint;
  std::string name_space;
  std::string config;
  bool is_dead = false;
};

class JobManager {
 public:
  // Ended jobs that are remembered; older ones are forgotten.
  static constexpr size_t kDeadJobsMax = 1'000;
  using FindCallback = std::function<void(const JobRecord*)>;  // null: no such job

  JobManager(KvStore& kv, Timers& timers) : kv_(kv), timers_(timers) {}
  JobManager(const JobManager&) = delete;
  JobManager& operator=(const JobManager&) = delete;
  ~JobManager();

  // Set once, before the first job. Runs after the job was marked dead.
  void OnFinished(std::function<void(const JobId&)> callback) {
    on_finished_ = std::move(callback);
  }
  // Set once: whether actors of this job live on (detached ones, after its end).
  void InUse(std::function<bool(const JobId&)> query) { in_use_ = std::move(query); }

  JobId Add(JobRecord job, const rpc::ChannelPtr& connection);
  const JobRecord* Find(const JobId& id) const;
  // Waits at most wait_ms for the job to be added.
  void FindOrWait(const JobId& id, int64_t wait_ms, FindCallback callback);
  void OnDisconnect(const rpc::ChannelPtr& connection);
  void OnDriverDeath(const WorkerId& driver);
  // Something of this job went: its function table goes too if that was the last.
  void OnLessUsed(const JobId& id);

 private:
  struct Entry {
    JobRecord record;
    rpc::ChannelPtr connection;  // null when dead
    bool functions_deleted = false;
  };
  struct Waiter {
    uint64_t id;
    Timers::Id timer;
    FindCallback callback;
  };

  void Finish(Entry& entry);

  KvStore& kv_;
  Timers& timers_;
  std::function<void(const JobId&)> on_finished_;
  std::function<bool(const JobId&)> in_use_;
  std::map<JobId, Entry> jobs_;
  std::deque<JobId> dead_;  // oldest first
  std::multimap<JobId, Waiter> waiters_;
  uint64_t next_waiter_ = 1;
  uint32_t last_job_ = 0;
};

}  // namespace rayc::gcs
