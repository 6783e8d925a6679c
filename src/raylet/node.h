// What a raylet does for its node: joins the lease manager, the worker pool, the logs, the clients
// and the records of deaths. Each of them decides for itself; here one's actions become another's
// events. Owned by Raylet, called by NodeService; loop thread only.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/address.h"
#include "common/clock.h"
#include "common/event_loop.h"
#include "protocol/gcs_generated.h"
#include "raylet/client_table.h"
#include "raylet/core_assigner.h"
#include "raylet/death_log.h"
#include "raylet/lease_manager.h"
#include "raylet/log_forwarder.h"
#include "raylet/process_watch.h"
#include "raylet/worker_pool.h"
#include "raylet/zygote_client.h"
#include "rpc/channel.h"

namespace rayc::raylet {

struct NodeOptions {
  NodeId node_id;
  std::string log_dir;
  std::string socket_dir;          // where workers listen
  std::vector<int32_t> cpu_cores;  // that workers are pinned to; empty: none is
  LeaseManagerOptions leases;
  WorkerPoolOptions pool;
};

struct NodeEvents {
  // Forks through the zygote; the outputs go with the request.
  std::function<void(uint64_t fork_token, const WorkerId&, WorkerOutputs)> fork;
  // A worker or driver of this node is gone: what it owned can go.
  std::function<void(const fb::ReportWorkerDeathT&)> process_ended;
  std::function<void()> resources_changed;
  // Finds out what becomes of a placement group: OK once it is created.
  std::function<void(const PlacementGroupId&, std::function<void(const Status&)>)> ask_group;
  std::function<void(const std::string& why)> owner_gone;  // of the cluster
  std::function<void(const std::string& why)> broken;
  std::function<void()> stopped;  // after Stop: no worker is left
};

class Node final : private LeaseActions, private WorkerPoolHost, private ZygoteClient {
 public:
  Node(EventLoop& loop, const Clock& clock, NodeOptions options, NodeEvents events);
  ~Node() override;

  // ---- connections ----
  void Connected(const rpc::ChannelPtr& channel);
  void Disconnected(const rpc::ChannelPtr& channel);
  const ClientTable& clients() const { return clients_; }
  Status RegisterWorker(const ClientPtr& client, uint64_t fork_token, pid_t pid,
                        const std::string& socket, const WorkerId& worker);
  Status RegisterDriver(const ClientPtr& client, const WorkerId& worker, const JobId& job,
                        pid_t pid, bool owns_cluster);

  // ---- leases ----
  void RequestLease(LeaseRequest request, rpc::Responder responder);
  LeaseManager& leases() { return leases_; }
  // Answered when the bundles are set aside. The key of the request is made here.
  void PrepareBundles(ClientId client, BundleRequest request, rpc::Responder responder);

  // ---- workers ----
  void Prestart(size_t count) { pool_.Prestart(count); }
  void SetBlocked(const WorkerId& worker, bool blocked);
  void FlushLogs(const WorkerId& worker) { logs_.Flush(worker); }
  void AskDeath(const WorkerId& worker, DeathLog::Answer answer);
  void AnnounceExit(const WorkerId& worker, const std::string& detail);
  void KillWorker(const WorkerId& worker, bool force, const std::string& reason);
  void OnForked(uint64_t fork_token, pid_t pid);
  void OnForkFailed(uint64_t fork_token, const std::string& error);
  void OnReaped(pid_t pid, int wait_status);

  // No lease and no worker from now on; those there are get SIGTERM. Drivers hear `reason`, but for
  // those that asked for it themselves.
  void Stop(const std::string& reason, bool tell_drivers);
  const NodeId& node_id() const { return options_.node_id; }

 private:
  // LeaseActions
  std::optional<WorkerId> TakeIdleWorker(const WorkerNeed& need) override;
  bool WantWorkers(size_t count) override;
  void GiveBackWorker(const WorkerId& worker, bool exiting) override;
  void KillWorker(const WorkerId& worker, const std::string& reason) override;
  void Grant(const LeaseRequest& request, const WorkerId& worker,
             const scheduling::Allocation& allocation) override;
  void Reject(const LeaseKey& key, const Status& why) override;
  void BundlesReserved(const LeaseKey& key) override;
  void KillWorkerOfGroup(const WorkerId& worker, const std::string& reason) override;
  void AskGroup(const PlacementGroupId& group) override;
  void ReclaimLeases(ClientId client) override;
  void AvailableChanged() override;

  // WorkerPoolHost
  void WatchProcess(const WorkerId& worker, pid_t pid) override;
  void SendSignal(const WorkerId& worker, int signal) override;
  void SendExit(const WorkerId& worker, const std::string& reason) override;
  void WorkerReady(const WorkerId& worker) override;
  void WorkerLost(const WorkerId& worker) override;
  void WorkerDead(const WorkerEnd& end) override;
  void PoolBroken(const std::string& reason) override;

  // ZygoteClient
  void ForkWorker(uint64_t fork_token, const WorkerId& worker) override;

  void SendLines(WorkerLines lines);
  void DriverGone(const ClientPtr& driver);
  void RecordEnd(const WorkerEnd& end, bool is_driver, std::string stderr_tail);
  void ArmTick();
  void Tick();

  EventLoop& loop_;
  const NodeOptions options_;
  const NodeEvents events_;
  ProcessWatch processes_;
  ClientTable clients_;
  DeathLog deaths_;
  LogForwarder logs_;
  WorkerPool pool_;
  LeaseManager leases_;
  CoreAssigner cores_;
  std::map<LeaseKey, rpc::Responder> responders_;  // of the requests that wait
  std::unordered_map<WorkerId, ProcessWatch::WatchId> watches_;
  std::unordered_set<WorkerId> killed_with_group_;  // until they are dead
  uint64_t next_bundles_ = 0;
  EventLoop::TimerId tick_timer_ = 0;  // 0: nothing needs the time
  bool schedule_posted_ = false;
  bool stopping_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // of what was posted to the loop
};

}  // namespace rayc::raylet
