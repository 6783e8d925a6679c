// CoreWorker's connections to other CoreWorkers: one a peer, opened by whichever side needs it
// first. The end of a connection is the death of the peer.
#include <unistd.h>

#include <algorithm>

#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {
namespace {

// The raylet sees the end of a worker at once, so a verdict that takes longer will not come.
constexpr int64_t kVerdictMs = 5'000;

}  // namespace

Result<CoreWorker::Peer*> CoreWorker::GetPeer(const Address& address) {
  const auto it = peers_.find(address.worker_id);
  if (it != peers_.end()) {
    return &it->second;
  }
  if (shutting_down_.load()) {
    return Err(Status(StatusCode::kShutdown, "rayc is shutting down"));
  }
  if (address.IsNil() || address.socket.empty()) {
    return Err(Status(StatusCode::kOwnerDied, "the owner is unknown"));
  }
  rpc::ChannelOptions options;
  options.self_id = std::string(self_.worker_id.Binary());
  options.self_component = options_.mode == WorkerMode::kWorker ? "worker" : "driver";
  options.shares_memory = true;
  options.on_request = [this](const rpc::ChannelPtr& channel, Method method, rpc::Message message,
                              rpc::Responder responder) {
    server_.Dispatch(channel, method, message, std::move(responder));
  };
  options.on_close = [this, worker = address.worker_id](const rpc::ChannelPtr& /*channel*/,
                                                        const Status& /*why*/) {
    const MutexLock lock(mutex_);
    OnWorkerLost(worker);
    ProcessDeferred();
  };
  auto channel = rpc::Channel::Connect(loop_, address.socket, std::move(options));
  if (!channel) {
    return Err(channel.error());
  }
  Peer& peer = peers_[address.worker_id];
  peer.client = std::make_shared<rpc::WireWorkerClient>(*channel);
  return &peer;
}

void CoreWorker::OnPeerConnected(const rpc::ChannelPtr& channel) {
  const WorkerId worker = WorkerId::FromBinary(channel->peer().id);
  if (worker.IsNil() ||
      (channel->peer().component != "worker" && channel->peer().component != "driver")) {
    return;
  }
  const MutexLock lock(mutex_);
  peers_.try_emplace(worker, Peer{std::make_shared<rpc::WireWorkerClient>(channel), false});
}

void CoreWorker::OnPeerClosed(const rpc::ChannelPtr& channel, const Status& /*why*/) {
  const WorkerId worker = WorkerId::FromBinary(channel->peer().id);
  const MutexLock lock(mutex_);
  OnWorkerLost(worker);
  ProcessDeferred();
}

void CoreWorker::OnWorkerLost(const WorkerId& worker) {
  if (worker.IsNil() || shutting_down_.load()) {
    return;
  }
  const auto it = peers_.find(worker);
  const bool was_peer = it != peers_.end();
  if (was_peer) {
    // Two peers may have connected to each other at once: both connections end with the process.
    it->second.client->Close();
    peers_.erase(it);
  }
  const TaskSubmitter::LostTasks lost = task_submitter_.OnWorkerLost(worker);
  for (size_t i = 0; i < lost.tasks.size(); ++i) {
    const TaskPtr& task = lost.tasks[i];
    if (i > 0 || !lost.first_may_have_begun) {
      // It was sent ahead and had not begun: not a retry.
      const auto pending = pending_.find(task->task_id);
      if (pending != pending_.end() && pending->second.cancelled) {
        FailCancelled(*task);
      } else if (pending != pending_.end()) {
        task_submitter_.Submit(pending->second.spec, pending->second.scheduling_key);
      }
      continue;
    }
    raylet_->GetWorkerDeath(worker, [this, task](const Result<const fb::WorkerDeath*>& death) {
      OnTaskWorkerDied(task, death);
    });
  }
  actor_submitter_.OnWorkerLost(worker);
  loop_.RunAfter(kVerdictMs, [this, worker] {
    const MutexLock lock(mutex_);
    actor_submitter_.OnNoVerdict(worker);
    ProcessDeferred();
  });
  Releases releases;
  references_.RemoveBorrowerEverywhere(worker, &releases);
  Apply(releases);
  if (!was_peer) {
    return;  // nothing of its was fetched, or it was dealt with when its other connection ended
  }
  for (const ObjectId& id : references_.BorrowedFrom(worker)) {
    const StoredObject* object = memory_store_.Find(id);
    if (object == nullptr || object->in_plasma) {  // the store drops what it owned
      fetching_.erase(id);
      memory_store_.Put(id, {MakeErrorValue({StatusCode::kOwnerDied, OwnerDiedText(id)}), false, 0},
                        /*replace=*/true);
    }
  }
}

std::string CoreWorker::OwnerDiedText(const ObjectId& id) {
  return "object " + id.Hex() + " cannot be had: the process that owned it (worker " +
         references_.OwnerOf(id).worker_id.Hex().substr(0, 16) + ") has ended";
}

void CoreWorker::OnNodeLost(const std::string& why) {
  if (shutting_down_.load() || disconnected_.exchange(true)) {
    return;
  }
  if (options_.mode == WorkerMode::kWorker) {
    // Nobody is left to work for, and user code may be computing: go at once.
    _exit(1);
  }
  const MutexLock lock(mutex_);
  node_lost_ = why.empty() ? "the raylet has ended" : why;
  const ObjectValue error =
      MakeErrorValue({StatusCode::kDisconnected, "the node's raylet is gone (" + node_lost_ + ")"});
  std::vector<TaskId> tasks;
  tasks.reserve(pending_.size());
  for (const auto& [id, task] : pending_) {
    tasks.push_back(id);
  }
  // Creations last: the end of an actor would end its calls as well, for a lesser reason.
  std::stable_partition(tasks.begin(), tasks.end(), [this](const TaskId& id) RAYC_NO_TSA {
    return pending_.at(id).spec->type != TaskType::kActorCreation;
  });
  for (const TaskId& id : tasks) {
    const auto it = pending_.find(id);
    if (it != pending_.end()) {
      const std::shared_ptr<TaskSpec> spec = it->second.spec;
      FailTask(*spec, error);
    }
  }
  ProcessDeferred();
  drainer_.Notify();
}

}  // namespace rayc::core_worker
