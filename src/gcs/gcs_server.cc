#include "gcs/gcs_server.h"

#include <unordered_map>
#include <utility>

#include "common/clock.h"
#include "common/logging.h"
#include "gcs/actor_manager.h"
#include "gcs/actor_scheduler.h"
#include "gcs/actor_service.h"
#include "gcs/client_pool.h"
#include "gcs/job_manager.h"
#include "gcs/job_service.h"
#include "gcs/kv_service.h"
#include "gcs/kv_store.h"
#include "gcs/node_manager.h"
#include "gcs/node_service.h"
#include "gcs/placement_group_manager.h"
#include "gcs/placement_group_service.h"
#include "gcs/publisher.h"
#include "gcs/table_store.h"
#include "gcs/timers.h"
#include "rpc/server.h"

namespace rayc::gcs {

// In the order of construction: each uses those above it only.
struct GcsServer::Parts {
  Parts(EventLoop& loop, GcsServerOptions given);
  void OnConnect(const rpc::ChannelPtr& channel);
  void OnDisconnect(const rpc::ChannelPtr& channel);
  void OnWorkerDeath(const WorkerExit& exit, bool is_driver);

  const GcsServerOptions options;
  const std::string self_id = std::string(NodeId::FromRandom().Binary());
  SteadyClock clock;
  LoopTimers timers;
  MemoryStore store;
  KvStore kv;
  JobManager jobs;
  NodeManager nodes;
  WireClientPool clients;
  PlacementGroupManager groups;
  LeasingActorScheduler scheduler;
  Publisher publisher;
  ActorManager actors;
  rpc::Server server;
  // Open connections of each worker and driver, by its id.
  std::unordered_map<WorkerId, int> processes;
};

GcsServer::Parts::Parts(EventLoop& loop, GcsServerOptions given)
    : options(std::move(given)),
      timers(loop),
      kv(store, timers),
      jobs(kv, timers),
      clients(loop, self_id),
      groups(nodes, clients, timers, clock, options.fail_infeasible),
      scheduler(nodes, clients, timers),
      actors(scheduler, publisher, clock),
      server(loop, self_id, "gcs") {
  scheduler.PlaceInGroups(
      [this](const SchedulingStrategy& strategy) { return groups.NodeOf(strategy); });
  jobs.OnFinished([this](const JobId& job) {
    actors.OnJobFinished(job);
    groups.OnJobFinished(job);
  });
  jobs.InUse([this](const JobId& job) { return actors.HasLivingActors(job); });
  actors.OnDead([this](const ActorInfo& info) {
    jobs.OnLessUsed(info.job_id);
    groups.OnActorDead(info.actor_id);
  });
  nodes.OnAdded([this](const NodeRecord& /*node*/) {
    groups.OnNodeAdded();
    scheduler.OnNodeAdded();
  });
  nodes.OnDead([this](const NodeRecord& node) {
    scheduler.OnNodeDead(node.node_id);
    actors.OnNodeDeath(node.node_id, node.death_reason);
    groups.OnNodeDead(node.node_id);
  });
  AddKvService(server, kv);
  AddJobService(server, jobs,
                ClusterInfo{ClusterId::FromRandom(), options.session_dir, options.session_name});
  AddNodeService(server, nodes);
  AddPlacementGroupService(server, groups);
  AddActorService(server, actors, publisher, jobs, [this](const WorkerExit& exit, bool is_driver) {
    OnWorkerDeath(exit, is_driver);
  });
  server.OnConnect([this](const rpc::ChannelPtr& channel) { OnConnect(channel); });
  server.OnDisconnect(
      [this](const rpc::ChannelPtr& channel, const Status& /*why*/) { OnDisconnect(channel); });
}

namespace {

// Nil for peers that are neither a worker nor a driver.
WorkerId ProcessOf(const rpc::PeerInfo& peer) {
  const bool is_core_worker = peer.component == "worker" || peer.component == "driver";
  return is_core_worker ? WorkerId::FromBinary(peer.id) : WorkerId::Nil();
}

}  // namespace

void GcsServer::Parts::OnConnect(const rpc::ChannelPtr& channel) {
  const WorkerId process = ProcessOf(channel->peer());
  if (!process.IsNil()) {
    processes[process] += 1;
  }
}

void GcsServer::Parts::OnDisconnect(const rpc::ChannelPtr& channel) {
  publisher.Drop(channel);
  jobs.OnDisconnect(channel);
  nodes.OnDisconnect(channel);
  const auto process = processes.find(ProcessOf(channel->peer()));
  if (process != processes.end() && --process->second == 0) {
    // A process keeps its connection as long as it lives, so it is gone, whatever its raylet will
    // say of the way it went.
    const WorkerId owner = process->first;
    processes.erase(process);
    actors.OnOwnerDeath(owner);
  }
}

void GcsServer::Parts::OnWorkerDeath(const WorkerExit& exit, bool is_driver) {
  if (exit.worker_id.IsNil()) {
    return;
  }
  if (is_driver) {
    jobs.OnDriverDeath(exit.worker_id);
  }
  scheduler.OnWorkerDeath(exit);
  actors.OnWorkerDeath(exit);
}

GcsServer::GcsServer(EventLoop& loop, GcsServerOptions options)
    : parts_(std::make_unique<Parts>(loop, std::move(options))) {}

GcsServer::~GcsServer() { Shutdown(); }

Status GcsServer::Start() { return parts_->server.Listen(parts_->options.socket_path); }

void GcsServer::Shutdown() {
  // First no attempt can go on, then no message can come.
  parts_->scheduler.Shutdown();
  parts_->groups.Shutdown();
  parts_->server.Shutdown();
  parts_->clients.Shutdown();
}

}  // namespace rayc::gcs
