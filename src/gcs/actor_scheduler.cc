#include "gcs/actor_scheduler.h"

#include <utility>
#include <vector>

#include "common/logging.h"
#include "rpc/convert.h"

namespace rayc::gcs {

LeasingActorScheduler::~LeasingActorScheduler() { Shutdown(); }

void LeasingActorScheduler::Shutdown() {
  alive_.reset();
  for (auto& [actor, attempt] : attempts_) {
    timers_.Cancel(attempt.timer);
  }
  attempts_.clear();
}

LeasingActorScheduler::Attempt* LeasingActorScheduler::Find(const ActorId& actor, uint64_t serial) {
  const auto it = attempts_.find(actor);
  return it != attempts_.end() && it->second.serial == serial ? &it->second : nullptr;
}

std::shared_ptr<rpc::RayletClient> LeasingActorScheduler::RayletOf(const NodeId& node) {
  const NodeRecord* record = nodes_.Find(node);
  if (record == nullptr || !record->is_alive) {
    return nullptr;
  }
  auto client = clients_.Raylet(*record);
  return client ? *client : nullptr;
}

void LeasingActorScheduler::Schedule(CreationRequest request, Callback callback) {
  const ActorId actor = request.actor_id;
  const auto [it, inserted] = attempts_.try_emplace(actor);
  RAYC_CHECK(inserted) << "two attempts to create actor " << actor;
  Attempt& attempt = it->second;
  attempt.serial = next_serial_++;
  attempt.request = std::move(request);
  attempt.callback = std::move(callback);
  if (attempt.request.delay_ms <= 0) {
    Start(attempt);
    return;
  }
  attempt.timer =
      timers_.RunAfter(attempt.request.delay_ms, [this, actor, serial = attempt.serial] {
        if (Attempt* waiting = Find(actor, serial)) {
          waiting->timer = 0;
          Start(*waiting);
        }
      });
}

std::optional<NodeId> LeasingActorScheduler::PickNode(const TaskSpec& spec, bool* refused) const {
  const SchedulingStrategy& strategy = spec.strategy;
  if (strategy.InGroup() && group_places_) {
    if (const auto node = group_places_(strategy)) {
      return node;
    }
    // Any raylet waits until the group is placed, or removed.
  }
  if (!strategy.node_text.empty()) {
    const NodeRecord* wanted = nodes_.Find(strategy.node);
    if (wanted != nullptr && wanted->is_alive) {
      return strategy.node;
    }
    if (!strategy.node_is_soft) {
      *refused = true;
      return std::nullopt;
    }
  }
  return nodes_.Pick(spec.resources, spec.placement_resources);
}

void LeasingActorScheduler::Start(Attempt& attempt) {
  const TaskSpec& spec = *attempt.request.spec;
  bool refused = false;
  const auto node = PickNode(spec, &refused);
  if (refused) {
    CreationOutcome outcome;
    outcome.kind = CreationOutcome::Kind::kUnschedulable;
    outcome.detail = "no living node of this cluster is one " + spec.strategy.node_text;
    Finish(attempt, std::move(outcome));
    return;
  }
  if (!node) {
    attempt.stage = Stage::kWaiting;  // until OnNodeAdded
    return;
  }
  const auto raylet = RayletOf(*node);
  if (raylet == nullptr) {
    WaitForNode(attempt);
    return;
  }
  attempt.stage = Stage::kLeasing;
  attempt.node = *node;
  attempt.lease_id = next_lease_id_++;
  fb::RequestLeaseT request;
  request.lease_id = attempt.lease_id;
  request.job_id = rpc::IdBytes(spec.job_id);
  request.name = spec.name.empty() ? spec.creation->class_name : spec.name;
  request.resources = rpc::ToMessage(spec.resources);
  request.placement_resources = rpc::ToMessage(spec.placement_resources);
  request.runtime_env = spec.runtime_env;
  request.strategy = rpc::ToMessage(spec.strategy);
  request.is_actor = true;
  request.actor_id = rpc::IdBytes(attempt.request.actor_id);
  request.requester = rpc::ToMessage(Address());
  raylet->RequestLease(
      request, [this, alive = std::weak_ptr<int>(alive_), actor = attempt.request.actor_id,
                serial = attempt.serial, node = *node,
                lease_id = attempt.lease_id](const Result<const fb::RequestLeaseReply*>& reply) {
        if (!alive.expired()) {
          OnLeaseReply(actor, serial, node, lease_id, reply);
        }
      });
}

void LeasingActorScheduler::WaitForNode(Attempt& attempt) {
  attempt.stage = Stage::kWaiting;
  attempt.timer = timers_.RunAfter(
      kNodeRetryMs, [this, actor = attempt.request.actor_id, serial = attempt.serial] {
        if (Attempt* waiting = Find(actor, serial)) {
          waiting->timer = 0;
          Start(*waiting);
        }
      });
}

void LeasingActorScheduler::OnNodeAdded() {
  std::vector<std::pair<ActorId, uint64_t>> waiting;
  for (const auto& [actor, attempt] : attempts_) {
    if (attempt.stage == Stage::kWaiting && attempt.timer == 0) {
      waiting.emplace_back(actor, attempt.serial);
    }
  }
  for (const auto& [actor, serial] : waiting) {
    if (Attempt* attempt = Find(actor, serial)) {
      Start(*attempt);
    }
  }
}

void LeasingActorScheduler::OnNodeDead(const NodeId& node) {
  // Closing the connection fails what waits on it, leases and questions alike.
  clients_.ForgetRaylet(node);
}

void LeasingActorScheduler::OnLeaseReply(const ActorId& actor, uint64_t serial, const NodeId& node,
                                         uint64_t lease_id,
                                         const Result<const fb::RequestLeaseReply*>& reply) {
  Attempt* attempt = Find(actor, serial);
  if (attempt == nullptr) {
    // Cancelled while the grant was on its way: the worker has done nothing yet.
    if (reply) {
      if (const auto raylet = RayletOf(node)) {
        raylet->ReturnLease(lease_id, /*worker_exiting=*/false);
      }
    }
    return;
  }
  if (reply) {
    Push(*attempt, **reply);
    return;
  }
  const Status& error = reply.error();
  if (error.code() == StatusCode::kDisconnected || error.code() == StatusCode::kShutdown) {
    WaitForNode(*attempt);
    return;
  }
  CreationOutcome outcome;
  switch (error.code()) {
    case StatusCode::kUnschedulable:
      outcome.kind = CreationOutcome::Kind::kUnschedulable;
      break;
    case StatusCode::kPlacementGroupRemoved:
      outcome.kind = CreationOutcome::Kind::kGroupRemoved;
      break;
    default:
      outcome.kind = CreationOutcome::Kind::kFailed;
  }
  outcome.detail = error.message();
  Finish(*attempt, std::move(outcome));
}

void LeasingActorScheduler::Push(Attempt& attempt, const fb::RequestLeaseReply& lease) {
  attempt.worker = rpc::FromMessage(lease.worker());
  attempt.pid = lease.worker_pid();
  auto client = clients_.Worker(attempt.worker);
  if (!client) {
    AskHowItDied(attempt);
    return;
  }
  attempt.stage = Stage::kPushing;
  attempt.client = std::move(*client);
  fb::PushTaskT push;
  push.spec = rpc::ToMessage(*attempt.request.spec);
  if (lease.assigned() != nullptr) {
    for (const fb::ResourceInstances* assigned : *lease.assigned()) {
      push.assigned.emplace_back(assigned->UnPack());
    }
  }
  push.job_config = rpc::ToBytes(*attempt.request.job_config);
  attempt.client->PushTask(
      push, [this, alive = std::weak_ptr<int>(alive_), actor = attempt.request.actor_id,
             serial = attempt.serial](const Result<const fb::PushTaskReply*>& reply) {
        if (alive.expired()) {
          return;
        }
        Attempt* pushed = Find(actor, serial);
        if (pushed != nullptr && pushed->stage == Stage::kPushing) {
          OnPushReply(*pushed, reply);
        }
      });
}

void LeasingActorScheduler::OnPushReply(Attempt& attempt,
                                        const Result<const fb::PushTaskReply*>& reply) {
  attempt.client->Close();
  attempt.client = nullptr;
  if (!reply && reply.error().code() == StatusCode::kDisconnected) {
    AskHowItDied(attempt);
    return;
  }
  CreationOutcome outcome;
  if (!reply) {
    // It answered nonsense, or refuses us: what it does now is unknown.
    outcome.detail = "its worker (pid " + std::to_string(attempt.pid) +
                     ") did not take the creation task: " + reply.error().ToString();
    ReleaseWorker(attempt, /*worker_exiting=*/false, outcome.detail);
    Finish(attempt, std::move(outcome));
    return;
  }
  const fb::PushTaskReply& result = **reply;
  if (result.not_started()) {
    ReleaseWorker(attempt, result.worker_exiting(), "it gave an actor's creation back");
    WorkerExit exit;
    exit.worker_id = attempt.worker.worker_id;
    exit.pid = attempt.pid;
    exit.detail = "it left before the constructor began";
    FinishLost(attempt, std::move(exit));
    return;
  }
  if (result.status() != 0) {
    outcome.kind = CreationOutcome::Kind::kFailed;
    outcome.detail = rpc::FromString(result.message());
  } else if (result.is_application_error()) {
    outcome.kind = CreationOutcome::Kind::kConstructorRaised;
    if (result.returns() != nullptr && result.returns()->size() > 0) {
      const fb::TaskReturn* error = result.returns()->Get(0);
      outcome.error_data = std::string(rpc::BytesView(error->data()));
      outcome.error_metadata = rpc::FromString(error->metadata());
    }
    outcome.detail = "its constructor raised an exception";
  } else {
    outcome.kind = CreationOutcome::Kind::kCreated;
    outcome.worker = attempt.worker;
    outcome.pid = attempt.pid;
    Finish(attempt, std::move(outcome));
    return;
  }
  ReleaseWorker(attempt, result.worker_exiting(), "its actor could not be created");
  Finish(attempt, std::move(outcome));
}

void LeasingActorScheduler::AskHowItDied(Attempt& attempt) {
  attempt.stage = Stage::kAsking;
  const auto raylet = RayletOf(attempt.node);
  WorkerExit unknown;
  unknown.worker_id = attempt.worker.worker_id;
  unknown.pid = attempt.pid;
  if (raylet == nullptr) {
    unknown.detail = "its node is gone";
    FinishLost(attempt, std::move(unknown));
    return;
  }
  const ActorId actor = attempt.request.actor_id;
  const uint64_t serial = attempt.serial;
  attempt.timer = timers_.RunAfter(kDeathAnswerMs, [this, actor, serial] {
    if (Attempt* asking = Find(actor, serial)) {
      asking->timer = 0;
      KillWorker(asking->worker, "it does not answer");
    }
  });
  raylet->GetWorkerDeath(
      attempt.worker.worker_id, [this, alive = std::weak_ptr<int>(alive_), actor, serial,
                                 unknown](const Result<const fb::WorkerDeath*>& reply) {
        if (alive.expired()) {
          return;
        }
        Attempt* asking = Find(actor, serial);
        if (asking == nullptr || asking->stage != Stage::kAsking) {
          return;
        }
        WorkerExit exit = unknown;
        if (!reply) {
          exit.detail = "its node is gone";
        } else if ((*reply)->known()) {
          exit = FromMessage(**reply);
          exit.pid = unknown.pid;
          if ((*reply)->exit_code() < 0 && (*reply)->signal() == 0) {
            KillWorker(asking->worker, "it does not answer");  // it may live on, unreachable
          }
        }
        FinishLost(*asking, std::move(exit));
      });
}

void LeasingActorScheduler::OnWorkerDeath(const WorkerExit& exit) {
  for (auto& [actor, attempt] : attempts_) {
    if ((attempt.stage == Stage::kPushing || attempt.stage == Stage::kAsking) &&
        attempt.worker.worker_id == exit.worker_id) {
      FinishLost(attempt, exit);
      return;
    }
  }
}

void LeasingActorScheduler::Cancel(const ActorId& actor, const std::string& reason) {
  const auto it = attempts_.find(actor);
  if (it == attempts_.end()) {
    return;
  }
  const Attempt attempt = std::move(it->second);
  attempts_.erase(it);
  timers_.Cancel(attempt.timer);
  switch (attempt.stage) {
    case Stage::kWaiting:
    case Stage::kAsking:
      return;
    case Stage::kLeasing:
      if (const auto raylet = RayletOf(attempt.node)) {
        raylet->CancelLease(attempt.lease_id);
      }
      return;
    case Stage::kPushing:
      KillWorker(attempt.worker, reason);
      attempt.client->Close();
      return;
  }
}

void LeasingActorScheduler::KillWorker(const Address& worker, const std::string& reason) {
  if (const auto raylet = RayletOf(worker.node_id)) {
    raylet->KillWorker(worker.worker_id, /*force=*/true, reason);
  }
}

void LeasingActorScheduler::StopActor(const Address& worker, const ActorId& actor,
                                      const std::string& reason) {
  const auto client = clients_.Worker(worker);
  if (!client) {
    KillWorker(worker, reason);
    return;
  }
  // The connection stays open until the worker leaves, so that it surely reads this.
  (*client)->KillActor(actor, /*graceful=*/true, reason);
}

void LeasingActorScheduler::ReleaseWorker(const Attempt& attempt, bool worker_exiting,
                                          const std::string& reason) {
  if (const auto raylet = RayletOf(attempt.node)) {
    raylet->ReturnLease(attempt.lease_id, /*worker_exiting=*/true);
    if (!worker_exiting) {
      raylet->KillWorker(attempt.worker.worker_id, /*force=*/false, reason);
    }
  }
}

void LeasingActorScheduler::Finish(Attempt& attempt, CreationOutcome outcome) {
  timers_.Cancel(attempt.timer);
  const Callback callback = std::move(attempt.callback);
  attempts_.erase(attempt.request.actor_id);
  callback(std::move(outcome));
}

void LeasingActorScheduler::FinishLost(Attempt& attempt, WorkerExit exit) {
  if (attempt.client != nullptr) {
    attempt.client->Close();
  }
  CreationOutcome outcome;
  outcome.kind = CreationOutcome::Kind::kWorkerLost;
  outcome.exit = std::move(exit);
  Finish(attempt, std::move(outcome));
}

}  // namespace rayc::gcs
