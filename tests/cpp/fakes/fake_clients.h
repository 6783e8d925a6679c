// Raylet and worker clients that keep what they are asked for until the test answers.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gcs/client_pool.h"

namespace rayc::testing {

// A reply table with the bytes that it lives in.
template <typename Table, typename Native>
class ReplyOf {
 public:
  explicit ReplyOf(const Native& native) : payload_(rpc::Payload::Of(native)) {}
  Result<const Table*> get() const {
    return rpc::Message{payload_.data(), payload_.size()}.As<Table>();
  }

 private:
  rpc::Payload payload_;
};

class FakeRayletClient final : public rpc::RayletClient {
 public:
  void RegisterClient(const fb::RegisterClientT& /*request*/,
                      rpc::TableCallback<fb::RegisterClientReply> /*callback*/) override {}
  void RequestLease(const fb::RequestLeaseT& request,
                    rpc::TableCallback<fb::RequestLeaseReply> callback) override {
    names.push_back(request.name);
    leases[request.lease_id] = std::move(callback);
  }
  void CancelLease(uint64_t lease_id) override { cancelled.push_back(lease_id); }
  void ReturnLease(uint64_t lease_id, bool worker_exiting) override {
    returned.emplace_back(lease_id, worker_exiting);
  }
  void NotifyBlocked() override {}
  void NotifyUnblocked() override {}
  void FlushLogs(rpc::StatusCallback /*callback*/) override {}
  void GetWorkerDeath(const WorkerId& worker,
                      rpc::TableCallback<fb::WorkerDeath> callback) override {
    questions[worker] = std::move(callback);
  }
  void AnnounceExit(int32_t /*exit_code*/, std::string_view /*detail*/) override {}
  void KillWorker(const WorkerId& worker, bool force, std::string_view /*reason*/) override {
    killed.emplace_back(worker, force);
  }
  void PrepareBundles(const fb::PrepareBundlesT& request, rpc::StatusCallback callback) override {
    prepares.push_back(request);
    prepared.push_back(std::move(callback));
  }
  void CommitBundles(const PlacementGroupId& group) override { committed.push_back(group); }
  void ReturnBundles(const PlacementGroupId& group, std::string_view /*reason*/) override {
    bundles_returned.push_back(group);
  }
  void ShutdownNode(rpc::StatusCallback /*callback*/) override {}
  void ListClients(rpc::TableCallback<fb::ListClientsReply> /*callback*/) override {}
  void Close() override {}

  void Grant(uint64_t lease_id, const Address& worker, int32_t pid) {
    fb::RequestLeaseReplyT reply;
    reply.worker = rpc::ToMessage(worker);
    reply.worker_pid = pid;
    reply.assigned.push_back(std::make_unique<fb::ResourceInstancesT>());
    reply.assigned.back()->name = "GPU";
    reply.assigned.back()->ids = {3};
    Take(leases, lease_id)(ReplyOf<fb::RequestLeaseReply, fb::RequestLeaseReplyT>(reply).get());
  }
  void Refuse(uint64_t lease_id, const Status& why) { Take(leases, lease_id)(Err(why)); }
  void Tell(const fb::WorkerDeathT& death) {
    Take(questions, WorkerId::FromBinary({reinterpret_cast<const char*>(death.worker_id.data()),
                                          death.worker_id.size()}))(
        ReplyOf<fb::WorkerDeath, fb::WorkerDeathT>(death).get());
  }
  template <typename Map, typename Key>
  static typename Map::mapped_type Take(Map& map, const Key& key) {
    auto callback = std::move(map.at(key));
    map.erase(key);
    return callback;
  }

  std::vector<std::string> names;
  std::map<uint64_t, rpc::TableCallback<fb::RequestLeaseReply>> leases;
  std::map<WorkerId, rpc::TableCallback<fb::WorkerDeath>> questions;
  std::vector<uint64_t> cancelled;
  std::vector<std::pair<uint64_t, bool>> returned;
  std::vector<std::pair<WorkerId, bool>> killed;
  std::vector<fb::PrepareBundlesT> prepares;
  std::vector<rpc::StatusCallback> prepared;  // the answers to give to these, in order
  std::vector<PlacementGroupId> committed;
  std::vector<PlacementGroupId> bundles_returned;
};

class FakeWorkerClient final : public rpc::WorkerClient {
 public:
  void PushTask(const fb::PushTaskT& request,
                rpc::TableCallback<fb::PushTaskReply> callback) override {
    job_config = {request.job_config.begin(), request.job_config.end()};
    assigned = request.assigned.size();
    push = std::move(callback);
  }
  void GetObject(const ObjectId& /*object*/,
                 rpc::TableCallback<fb::GetObjectReply> /*callback*/) override {}
  void AddBorrowers(const std::vector<ObjectRefInfo>& /*refs*/, const Address& /*borrower*/,
                    rpc::StatusCallback /*callback*/) override {}
  void RemoveBorrowers(const std::vector<ObjectRefInfo>& /*refs*/,
                       const Address& /*borrower*/) override {}
  void CancelTask(const TaskId& /*task*/, bool /*force*/, bool /*recursive*/,
                  rpc::Callback<bool> /*callback*/) override {}
  void CancelAtOwner(const ObjectId& /*object*/, bool /*force*/, bool /*recursive*/) override {}
  void KillActor(const ActorId& actor, bool graceful, std::string_view /*reason*/) override {
    stopped.emplace_back(actor, graceful);
  }
  void ExitWorker(std::string_view /*reason*/) override {}
  void ReclaimLeases() override {}
  void LogBatch(const fb::LogBatchT& /*batch*/) override {}
  void GetReferences(uint32_t /*count_max*/,
                     rpc::TableCallback<fb::GetReferencesReply> /*callback*/) override {}
  void Close() override { ++closes; }

  void Answer(const fb::PushTaskReplyT& reply) {
    const auto callback = std::move(push);
    callback(ReplyOf<fb::PushTaskReply, fb::PushTaskReplyT>(reply).get());
  }
  void Fail(const Status& why) {
    const auto callback = std::move(push);
    callback(Err(why));
  }

  std::string job_config;
  size_t assigned = 0;
  rpc::TableCallback<fb::PushTaskReply> push;
  std::vector<std::pair<ActorId, bool>> stopped;
  int closes = 0;
};

class FakeClientPool final : public gcs::ClientPool {
 public:
  Result<std::shared_ptr<rpc::RayletClient>> Raylet(const gcs::NodeRecord& node) override {
    if (unreachable) {
      return Err(Status::Disconnected("no raylet"));
    }
    auto& client = raylets[node.node_id];
    if (client == nullptr) {
      client = std::make_shared<FakeRayletClient>();
    }
    return client;
  }
  void ForgetRaylet(const NodeId& node) override { forgotten.push_back(node); }
  Result<std::shared_ptr<rpc::WorkerClient>> Worker(const Address& address) override {
    if (address.socket.empty()) {
      return Err(Status::Disconnected("nobody listens"));
    }
    auto client = std::make_shared<FakeWorkerClient>();
    workers[address.worker_id] = client;
    return client;
  }

  bool unreachable = false;
  std::map<NodeId, std::shared_ptr<FakeRayletClient>> raylets;
  std::map<WorkerId, std::shared_ptr<FakeWorkerClient>> workers;
  std::vector<NodeId> forgotten;
};

}  // namespace rayc::testing
