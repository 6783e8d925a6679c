// The workers of one node: which there are, which are free, when to start and to end some. A pure
// state machine: it forks through ZygoteClient, and acts through WorkerPoolHost, never by itself.
// Owned by Node; loop thread only.
//
//   state      event                               next       action
//   -          WantWorkers, Prestart               starting   ForkWorker
//   starting   OnRegistered (token and id match)   idle       WorkerReady
//   starting   no registration for a minute        exiting    SIGKILL
//   idle       Take                                leased, or dedicated for an actor
//   leased     GiveBack                            idle
//   any        GiveBack(exiting), AnnounceExit,
//              Retire, too many idle               exiting    SendExit; SIGKILL after a while
//   any alive  OnDisconnected                      exiting    WorkerLost; SIGKILL after a while
//   any alive  Kill(force)                         exiting    SIGKILL
//   any        OnProcessGone, OnReaped             dead       WorkerLost, then WorkerDead
//
// A worker serves one job and one runtime environment all its life; a fresh one serves any.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

#include "common/clock.h"
#include "common/status.h"
#include "raylet/lease_types.h"
#include "raylet/worker_handle.h"
#include "raylet/zygote_client.h"

namespace rayc::raylet {

// What the pool needs done, and whom it tells. Calls come at the end of the pool's own methods,
// when its state is settled: the host may call back into the pool.
class WorkerPoolHost {
 public:
  virtual ~WorkerPoolHost() = default;
  virtual void WatchProcess(const WorkerId& worker, pid_t pid) = 0;  // -> OnProcessGone
  virtual void SendSignal(const WorkerId& worker, int signal) = 0;
  virtual void SendExit(const WorkerId& worker, const std::string& reason) = 0;
  virtual void WorkerReady(const WorkerId& worker) = 0;
  // It will do no more work; its process may still be there.
  virtual void WorkerLost(const WorkerId& worker) = 0;
  virtual void WorkerDead(const WorkerEnd& end) = 0;
  // Workers die before they can register, again and again.
  virtual void PoolBroken(const std::string& reason) = 0;
};

struct WorkerPoolOptions {
  size_t workers_max = 1'000;  // blocked ones do not count, else nested tasks could deadlock
  size_t idle_max = 2;         // those beyond leave: the node's CPU count
  size_t starting_max = 8;     // at a time: more would only slow each other down
  int64_t idle_linger_ms = 1'000;
  int64_t register_timeout_ms = 60'000;
  int64_t exit_grace_ms = 10'000;       // from being told to leave to SIGKILL
  int64_t disconnect_grace_ms = 1'000;  // from a closed connection to SIGKILL
  int64_t reap_timeout_ms = 1'000;      // for the exit status of a process that is gone
  int start_failures_max = 10;          // in a row
};

class WorkerPool {
 public:
  WorkerPool(const Clock& clock, WorkerPoolOptions options, ZygoteClient& zygote,
             WorkerPoolHost& host);

  // ---- what the lease manager asks for ----
  std::optional<WorkerId> Take(const WorkerNeed& need);
  // False if some of them cannot be started: the cap is reached.
  bool WantWorkers(size_t count);
  // Sees to it that so many are fresh and idle, or on their way.
  void Prestart(size_t count);
  void GiveBack(const WorkerId& worker, bool exiting);
  void Kill(const WorkerId& worker, bool force, const std::string& reason);
  void SetBlocked(const WorkerId& worker, bool blocked);

  // ---- what happens ----
  void OnForked(uint64_t fork_token, pid_t pid);
  void OnForkFailed(uint64_t fork_token, const std::string& error);
  // kUnauthenticated if no worker that starts has this token and id.
  Status OnRegistered(uint64_t fork_token, pid_t pid, const Address& address);
  void OnDisconnected(const WorkerId& worker);
  void OnAnnounceExit(const WorkerId& worker, const std::string& detail);
  void OnProcessGone(const WorkerId& worker);
  void OnReaped(pid_t pid, int wait_status);
  void OnJobEnded(const JobId& job);
  // Call every 250 ms while NeedsTick().
  void Tick();
  bool NeedsTick() const;

  // Starts no worker any more and sends `signal` to all; they end as usual.
  void StopAll(int signal, const std::string& reason);

  const WorkerHandle* Find(const WorkerId& worker) const;
  size_t size() const { return workers_.size(); }
  size_t CountIn(WorkerState state) const;

 private:
  WorkerHandle* FindMutable(const WorkerId& worker);
  WorkerHandle* FindToken(uint64_t fork_token);
  void Enter(WorkerHandle& worker, WorkerState state);
  size_t StartUpTo(size_t count);  // how many it did start
  size_t CountAgainstCap() const;
  bool RetireOneIdle();
  void Retire(WorkerHandle& worker, const std::string& reason);
  void SendKill(WorkerHandle& worker, const std::string& reason);
  void CheckOverdue(WorkerHandle& worker);
  void SetPid(WorkerHandle& worker, pid_t pid);
  void Leave(WorkerHandle& worker);  // to kExiting, and WorkerLost once
  void Finish(const WorkerId& worker);
  void StartFailed(const std::string& why);

  const Clock& clock_;
  const WorkerPoolOptions options_;
  ZygoteClient& zygote_;
  WorkerPoolHost& host_;
  std::unordered_map<WorkerId, WorkerHandle> workers_;
  // Longest idle first.
  std::list<WorkerId> idle_;
  size_t wanted_ = 0;  // by the last WantWorkers
  bool stopping_ = false;
  int start_failures_ = 0;  // in a row
  int64_t no_start_before_ms_ = 0;
};

}  // namespace rayc::raylet
