// A raylet and its workers as the GCS sees them: real sockets, no processes. Each lease gets a
// worker at once, unless the test says otherwise. One loop thread for all of it.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/resources.h"
#include "fakes/loop_thread.h"
#include "rpc/gcs_client.h"
#include "rpc/server.h"

namespace rayc::testing {

class FakeNode {
 public:
  using PushHandler = std::function<void(const fb::PushTask& push, rpc::Responder responder)>;
  struct Worker {
    Address address;
    int32_t pid = 0;
    std::unique_ptr<rpc::Server> server;
    std::vector<std::pair<ActorId, bool>> stopped;  // graceful or not
  };

  FakeNode(std::string folder, std::string gcs_socket)
      : folder_(std::move(folder)), gcs_socket_(std::move(gcs_socket)) {
    thread_.Run([this] { Start(); });
  }
  ~FakeNode() {
    thread_.Run([this] {
      gcs_channel_->Detach();
      raylet_.Shutdown();
      workers.clear();
      kept.clear();
    });
    thread_.Join();
  }
  FakeNode(const FakeNode&) = delete;
  FakeNode& operator=(const FakeNode&) = delete;

  LoopThread& thread() { return thread_; }
  const NodeId& id() const { return id_; }
  template <typename Function>
  auto Ask(Function function) {
    decltype(function()) value{};
    thread_.Run([&] { value = function(); });
    return value;
  }

  // The worker's process "dies": its sockets close, and the GCS is told, if `report`.
  void Die(const WorkerId& worker, const std::string& detail, bool intended = false,
           bool report = true) {
    thread_.Run([&] { DieOnLoop(worker, detail, intended, report); });
  }
  void DieOnLoop(const WorkerId& worker, const std::string& detail, bool intended, bool report) {
    const auto it = workers.find(worker);
    if (it == workers.end()) {
      return;
    }
    fb::WorkerDeathT death;
    death.worker_id = rpc::IdBytes(worker);
    death.pid = it->second.pid;
    death.known = true;
    death.intended = intended;
    death.detail = detail;
    deaths_[worker] = death;
    if (report) {
      fb::ReportWorkerDeathT message;
      message.death = std::make_unique<fb::WorkerDeathT>(death);
      gcs_->ReportWorkerDeath(message);
    }
    it->second.server->Shutdown();
    dead_.push_back(std::move(it->second.server));
    workers.erase(it);
  }

  // On the loop's thread: grants the leases that were kept.
  void GrantKept() {
    for (rpc::Responder& responder : std::exchange(kept, {})) {
      Grant(std::move(responder));
    }
  }

  // The loop's thread only.
  std::map<WorkerId, Worker> workers;
  std::vector<rpc::Responder> kept;  // leases not granted
  std::vector<std::pair<uint64_t, bool>> returned;
  std::vector<WorkerId> killed;
  bool grants = true;
  Status refusal;  // if not ok: the answer to leases
  // What workers do with a creation; the default succeeds.
  PushHandler on_push = [](const fb::PushTask& /*push*/, rpc::Responder responder) {
    responder.Reply(fb::PushTaskReplyT());
  };

 private:
  void Start() {
    const std::string socket = folder_ + "/raylet";
    raylet_.HandleTable<fb::RequestLease>(
        Method::kRequestLease,
        [this](const rpc::ChannelPtr& /*channel*/, const fb::RequestLease& /*request*/,
               rpc::Responder responder) {
          if (!refusal.ok()) {
            responder.Error(refusal);
          } else if (grants) {
            Grant(std::move(responder));
          } else {
            kept.push_back(std::move(responder));
          }
        });
    raylet_.HandleTable<fb::ReturnLease>(
        Method::kReturnLease,
        [this](const rpc::ChannelPtr& /*channel*/, const fb::ReturnLease& message,
               const rpc::Responder& /*one way*/) {
          returned.emplace_back(message.lease_id(), message.worker_exiting());
        });
    raylet_.HandleTable<fb::CancelLease>(
        Method::kCancelLease,
        [](const rpc::ChannelPtr& /*channel*/, const fb::CancelLease& /*message*/,
           const rpc::Responder& /*one way*/) {});
    raylet_.HandleTable<fb::KillWorker>(
        Method::kKillWorker,
        [this](const rpc::ChannelPtr& /*channel*/, const fb::KillWorker& message,
               const rpc::Responder& /*one way*/) {
          const auto worker = WorkerId::FromBytes(message.worker_id());
          killed.push_back(worker);
          DieOnLoop(worker, "killed by signal 9 (SIGKILL)", false, true);
        });
    raylet_.HandleTable<fb::GetWorkerDeath>(
        Method::kGetWorkerDeath,
        [this](const rpc::ChannelPtr& /*channel*/, const fb::GetWorkerDeath& request,
               rpc::Responder responder) {
          responder.Reply(deaths_[WorkerId::FromBytes(request.worker_id())]);
        });
    if (!raylet_.Listen(socket).ok()) {
      std::abort();
    }
    rpc::ChannelOptions options;
    options.self_id = std::string(id_.Binary());
    options.self_component = "raylet";
    gcs_channel_ = *rpc::Channel::Connect(thread_.loop(), gcs_socket_, std::move(options));
    gcs_ = std::make_unique<rpc::WireGcsClient>(gcs_channel_);
    fb::RegisterNodeT node;
    node.node_id = rpc::IdBytes(id_);
    node.raylet_socket = socket;
    node.is_head = true;
    node.resources = rpc::ToMessage(ResourceSet({{"CPU", 2 * kResourceUnit}}));
    gcs_->RegisterNode(node, [](const Status& /*status*/) {});
  }
  void Grant(rpc::Responder responder) {
    const int number = ++last_worker_;
    Worker worker;
    worker.address = {id_, WorkerId::FromRandom(), folder_ + "/worker-" + std::to_string(number)};
    worker.pid = 1'000 + number;
    worker.server = std::make_unique<rpc::Server>(
        thread_.loop(), std::string(worker.address.worker_id.Binary()), "worker");
    worker.server->HandleTable<fb::PushTask>(
        Method::kPushTask, [this](const rpc::ChannelPtr& /*channel*/, const fb::PushTask& push,
                                  rpc::Responder answer) { on_push(push, std::move(answer)); });
    const WorkerId id = worker.address.worker_id;
    worker.server->HandleTable<fb::KillActor>(
        Method::kKillActor,
        [this, id](const rpc::ChannelPtr& /*channel*/, const fb::KillActor& message,
                   const rpc::Responder& /*one way*/) {
          workers.at(id).stopped.emplace_back(ActorId::FromBytes(message.actor_id()),
                                              message.graceful());
        });
    if (!worker.server->Listen(worker.address.socket).ok()) {
      std::abort();
    }
    fb::RequestLeaseReplyT reply;
    reply.worker = rpc::ToMessage(worker.address);
    reply.worker_pid = worker.pid;
    workers.emplace(id, std::move(worker));
    responder.Reply(reply);
  }

  const NodeId id_ = NodeId::FromRandom();
  const std::string folder_;
  const std::string gcs_socket_;
  LoopThread thread_;
  rpc::Server raylet_{thread_.loop(), std::string(id_.Binary()), "raylet"};
  rpc::ChannelPtr gcs_channel_;
  std::unique_ptr<rpc::WireGcsClient> gcs_;
  std::map<WorkerId, fb::WorkerDeathT> deaths_;
  std::vector<std::unique_ptr<rpc::Server>> dead_;  // kept: their handlers may be running
  int last_worker_ = 0;
};

}  // namespace rayc::testing
