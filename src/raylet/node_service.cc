#include "raylet/node_service.h"

#include <memory>
#include <set>
#include <utility>

#include "common/logging.h"
#include "rpc/convert.h"

namespace rayc::raylet {
namespace {

constexpr char kGcsComponent[] = "gcs";

bool IsGcs(const rpc::ChannelPtr& channel) { return channel->peer().component == kGcsComponent; }

// The worker that this connection belongs to, nil if it is none.
WorkerId WorkerOf(const rpc::ChannelPtr& channel) {
  const ClientPtr client = ClientTable::Of(channel);
  return client != nullptr && client->kind == ClientKind::kWorker ? client->worker_id : WorkerId();
}

}  // namespace

NodeService::NodeService(Node& node, ShutdownHandler on_shutdown)
    : node_(node), on_shutdown_(std::move(on_shutdown)) {}

void NodeService::RegisterWith(rpc::Server& server) {
  using rpc::ChannelPtr;
  using rpc::Responder;
  server.OnConnect([this](const ChannelPtr& channel) { node_.Connected(channel); });
  server.OnDisconnect(
      [this](const ChannelPtr& channel, const Status& /*why*/) { node_.Disconnected(channel); });
  server.HandleTable<fb::RegisterClient>(
      Method::kRegisterClient,
      [this](const ChannelPtr& channel, const fb::RegisterClient& request, Responder responder) {
        RegisterClient(channel, request, std::move(responder));
      });
  server.HandleTable<fb::RequestLease>(
      Method::kRequestLease,
      [this](const ChannelPtr& channel, const fb::RequestLease& request, Responder responder) {
        RequestLease(channel, request, std::move(responder));
      });
  server.HandleTable<fb::CancelLease>(
      Method::kCancelLease, [this](const ChannelPtr& channel, const fb::CancelLease& request,
                                   Responder /*responder*/) { CancelLease(channel, request); });
  server.HandleTable<fb::ReturnLease>(
      Method::kReturnLease, [this](const ChannelPtr& channel, const fb::ReturnLease& request,
                                   Responder /*responder*/) { ReturnLease(channel, request); });
  server.HandleTable<fb::NotifyBlocked>(
      Method::kNotifyBlocked, [this](const ChannelPtr& channel, const fb::NotifyBlocked& /*none*/,
                                     Responder /*responder*/) { SetBlocked(channel, true); });
  server.HandleTable<fb::NotifyUnblocked>(
      Method::kNotifyUnblocked,
      [this](const ChannelPtr& channel, const fb::NotifyUnblocked& /*none*/,
             Responder /*responder*/) { SetBlocked(channel, false); });
  server.HandleTable<fb::FlushLogs>(
      Method::kFlushLogs,
      [this](const ChannelPtr& channel, const fb::FlushLogs& /*none*/, Responder responder) {
        FlushLogs(channel, std::move(responder));
      });
  server.HandleTable<fb::GetWorkerDeath>(
      Method::kGetWorkerDeath,
      [this](const ChannelPtr& /*channel*/, const fb::GetWorkerDeath& request,
             Responder responder) { GetWorkerDeath(request, std::move(responder)); });
  server.HandleTable<fb::AnnounceExit>(
      Method::kAnnounceExit, [this](const ChannelPtr& channel, const fb::AnnounceExit& request,
                                    Responder /*responder*/) { AnnounceExit(channel, request); });
  server.HandleTable<fb::KillWorker>(
      Method::kKillWorker, [this](const ChannelPtr& channel, const fb::KillWorker& request,
                                  Responder /*responder*/) { KillWorker(channel, request); });
  server.HandleTable<fb::PrepareBundles>(
      Method::kPrepareBundles,
      [this](const ChannelPtr& channel, const fb::PrepareBundles& request, Responder responder) {
        PrepareBundles(channel, request, std::move(responder));
      });
  server.HandleTable<fb::CommitBundles>(
      Method::kCommitBundles, [this](const ChannelPtr& channel, const fb::CommitBundles& request,
                                     Responder /*responder*/) { CommitBundles(channel, request); });
  server.HandleTable<fb::ReturnBundles>(
      Method::kReturnBundles, [this](const ChannelPtr& channel, const fb::ReturnBundles& request,
                                     Responder /*responder*/) { ReturnBundles(channel, request); });
  server.HandleTable<fb::ShutdownNode>(
      Method::kShutdownNode,
      [this](const ChannelPtr& channel, const fb::ShutdownNode& /*none*/, Responder responder) {
        ShutdownNode(channel, std::move(responder));
      });
  server.HandleTable<fb::ListClients>(
      Method::kListClients, [this](const ChannelPtr& /*channel*/, const fb::ListClients& /*none*/,
                                   Responder responder) { ListClients(std::move(responder)); });
}

void NodeService::RegisterClient(const rpc::ChannelPtr& channel, const fb::RegisterClient& request,
                                 rpc::Responder responder) {
  const ClientPtr client = ClientTable::Of(channel);
  const auto worker = WorkerId::FromBytes(request.worker_id());
  Status status;
  if (client->kind != ClientKind::kOther) {
    status = Status::InvalidArgument("this connection has registered already");
  } else if (request.pid() <= 0) {
    status = Status::InvalidArgument("a process without a pid");
  } else if (request.is_driver()) {
    status = node_.RegisterDriver(client, worker, JobId::FromBytes(request.job_id()), request.pid(),
                                  request.owns_cluster());
  } else {
    status = node_.RegisterWorker(client, request.fork_token(), request.pid(),
                                  rpc::FromString(request.socket()), worker);
  }
  if (!status.ok()) {
    responder.Error(status);
    channel->Close(status);
    return;
  }
  client->socket = rpc::FromString(request.socket());
  fb::RegisterClientReplyT reply;
  reply.node_id = rpc::IdBytes(node_.node_id());
  responder.Reply(reply);
}

void NodeService::RequestLease(const rpc::ChannelPtr& channel, const fb::RequestLease& request,
                               rpc::Responder responder) {
  const ClientPtr client = ClientTable::Of(channel);
  if (client->kind == ClientKind::kOther && !IsGcs(channel)) {
    responder.Error(Status(StatusCode::kUnauthenticated, "register before you ask for a worker"));
    return;
  }
  LeaseRequest lease;
  lease.key = {client->id, request.lease_id()};
  lease.job_id = JobId::FromBytes(request.job_id());
  lease.name = rpc::FromString(request.name());
  lease.resources = rpc::FromMessage(request.resources());
  lease.placement = rpc::FromMessage(request.placement_resources());
  lease.runtime_env = rpc::FromString(request.runtime_env());
  lease.strategy = rpc::FromMessage(request.strategy());
  lease.is_actor = request.is_actor();
  lease.outlives_client = lease.is_actor && client->kind == ClientKind::kOther;
  if (lease.job_id.IsNil()) {
    responder.Error(Status::InvalidArgument("a lease needs the job that it is for"));
    return;
  }
  node_.RequestLease(std::move(lease), std::move(responder));
}

void NodeService::CancelLease(const rpc::ChannelPtr& channel, const fb::CancelLease& request) {
  node_.leases().Cancel({ClientTable::Of(channel)->id, request.lease_id()});
}

void NodeService::ReturnLease(const rpc::ChannelPtr& channel, const fb::ReturnLease& request) {
  node_.leases().Return({ClientTable::Of(channel)->id, request.lease_id()},
                        request.worker_exiting());
}

void NodeService::SetBlocked(const rpc::ChannelPtr& channel, bool blocked) {
  if (const WorkerId worker = WorkerOf(channel); !worker.IsNil()) {
    node_.SetBlocked(worker, blocked);
  }
}

void NodeService::FlushLogs(const rpc::ChannelPtr& channel, rpc::Responder responder) {
  if (const WorkerId worker = WorkerOf(channel); !worker.IsNil()) {
    node_.FlushLogs(worker);
  }
  responder.Ok();
}

void NodeService::GetWorkerDeath(const fb::GetWorkerDeath& request, rpc::Responder responder) {
  // The answer may come later, from a function that must be copyable.
  auto later = std::make_shared<rpc::Responder>(std::move(responder));
  node_.AskDeath(WorkerId::FromBytes(request.worker_id()),
                 [later](const fb::WorkerDeathT& death) { later->Reply(death); });
}

void NodeService::AnnounceExit(const rpc::ChannelPtr& channel, const fb::AnnounceExit& request) {
  if (const WorkerId worker = WorkerOf(channel); !worker.IsNil()) {
    node_.AnnounceExit(worker, rpc::FromString(request.detail()));
  }
}

void NodeService::KillWorker(const rpc::ChannelPtr& channel, const fb::KillWorker& request) {
  if (!IsGcs(channel) && ClientTable::Of(channel)->kind == ClientKind::kOther) {
    RAYC_LOG(kWarning) << "pid " << channel->peer().pid << " may not kill workers";
    return;
  }
  node_.KillWorker(WorkerId::FromBytes(request.worker_id()), request.force(),
                   rpc::FromString(request.reason()));
}

void NodeService::PrepareBundles(const rpc::ChannelPtr& channel, const fb::PrepareBundles& request,
                                 rpc::Responder responder) {
  if (!IsGcs(channel)) {
    responder.Error(Status(StatusCode::kUnauthenticated, "only the GCS places bundles"));
    return;
  }
  BundleRequest bundles;
  bundles.group = PlacementGroupId::FromBytes(request.group_id());
  bundles.commit = request.commit();
  bundles.wait = request.wait();
  std::set<uint32_t> indices;
  if (request.bundles() != nullptr) {
    for (const fb::Bundle* bundle : *request.bundles()) {
      bundles.bundles.push_back({bundle->index(), rpc::FromMessage(bundle->resources())});
      indices.insert(bundle->index());
    }
  }
  if (bundles.group.IsNil() || bundles.bundles.empty() ||
      indices.size() != bundles.bundles.size()) {
    responder.Error(Status::InvalidArgument("these are no bundles of a placement group"));
    return;
  }
  node_.PrepareBundles(ClientTable::Of(channel)->id, std::move(bundles), std::move(responder));
}

void NodeService::CommitBundles(const rpc::ChannelPtr& channel, const fb::CommitBundles& request) {
  if (IsGcs(channel)) {
    node_.leases().CommitBundles(PlacementGroupId::FromBytes(request.group_id()));
  }
}

void NodeService::ReturnBundles(const rpc::ChannelPtr& channel, const fb::ReturnBundles& request) {
  if (IsGcs(channel)) {
    node_.leases().ReturnBundles(PlacementGroupId::FromBytes(request.group_id()),
                                 rpc::FromString(request.reason()));
  }
}

void NodeService::ShutdownNode(const rpc::ChannelPtr& channel, rpc::Responder responder) {
  const ClientPtr client = ClientTable::Of(channel);
  if (client->kind != ClientKind::kDriver || !client->owns_cluster) {
    responder.Error(Status::InvalidArgument("only the driver that owns the cluster can end it"));
    return;
  }
  on_shutdown_(std::move(responder));
}

void NodeService::ListClients(rpc::Responder responder) const {
  fb::ListClientsReplyT reply;
  for (const ClientPtr& client : node_.clients().Registered()) {
    auto info = std::make_unique<fb::ClientInfoT>();
    info->worker_id = rpc::IdBytes(client->worker_id);
    info->pid = client->pid;
    info->is_driver = client->kind == ClientKind::kDriver;
    info->socket = client->socket;
    reply.clients.push_back(std::move(info));
  }
  responder.Reply(reply);
}

}  // namespace rayc::raylet
