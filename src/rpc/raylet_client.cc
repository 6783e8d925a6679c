#include "rpc/raylet_client.h"

namespace rayc::rpc {

void WireRayletClient::RegisterClient(const fb::RegisterClientT& request,
                                      TableCallback<fb::RegisterClientReply> callback) {
  channel_->Call<fb::RegisterClientReply>(Method::kRegisterClient, request, std::move(callback));
}

void WireRayletClient::RequestLease(const fb::RequestLeaseT& request,
                                    TableCallback<fb::RequestLeaseReply> callback) {
  channel_->Call<fb::RequestLeaseReply>(Method::kRequestLease, request, std::move(callback));
}

void WireRayletClient::CancelLease(uint64_t lease_id) {
  fb::CancelLeaseT message;
  message.lease_id = lease_id;
  channel_->NotifyTable(Method::kCancelLease, message);
}

void WireRayletClient::ReturnLease(uint64_t lease_id, bool worker_exiting) {
  fb::ReturnLeaseT message;
  message.lease_id = lease_id;
  message.worker_exiting = worker_exiting;
  channel_->NotifyTable(Method::kReturnLease, message);
}

void WireRayletClient::NotifyBlocked() {
  channel_->NotifyTable(Method::kNotifyBlocked, fb::NotifyBlockedT());
}

void WireRayletClient::NotifyUnblocked() {
  channel_->NotifyTable(Method::kNotifyUnblocked, fb::NotifyUnblockedT());
}

void WireRayletClient::FlushLogs(StatusCallback callback) {
  CallStatus(Method::kFlushLogs, fb::FlushLogsT(), std::move(callback));
}

void WireRayletClient::GetWorkerDeath(const WorkerId& worker,
                                      TableCallback<fb::WorkerDeath> callback) {
  fb::GetWorkerDeathT request;
  request.worker_id = IdBytes(worker);
  channel_->Call<fb::WorkerDeath>(Method::kGetWorkerDeath, request, std::move(callback));
}

void WireRayletClient::AnnounceExit(int32_t exit_code, std::string_view detail) {
  fb::AnnounceExitT message;
  message.exit_code = exit_code;
  message.detail = detail;
  channel_->NotifyTable(Method::kAnnounceExit, message);
}

void WireRayletClient::KillWorker(const WorkerId& worker, bool force, std::string_view reason) {
  fb::KillWorkerT message;
  message.worker_id = IdBytes(worker);
  message.force = force;
  message.reason = reason;
  channel_->NotifyTable(Method::kKillWorker, message);
}

void WireRayletClient::PrepareBundles(const fb::PrepareBundlesT& request, StatusCallback callback) {
  CallStatus(Method::kPrepareBundles, request, std::move(callback));
}

void WireRayletClient::CommitBundles(const PlacementGroupId& group) {
  fb::CommitBundlesT message;
  message.group_id = IdBytes(group);
  channel_->NotifyTable(Method::kCommitBundles, message);
}

void WireRayletClient::ReturnBundles(const PlacementGroupId& group, std::string_view reason) {
  fb::ReturnBundlesT message;
  message.group_id = IdBytes(group);
  message.reason = reason;
  channel_->NotifyTable(Method::kReturnBundles, message);
}

void WireRayletClient::ShutdownNode(StatusCallback callback) {
  CallStatus(Method::kShutdownNode, fb::ShutdownNodeT(), std::move(callback));
}

void WireRayletClient::ListClients(TableCallback<fb::ListClientsReply> callback) {
  channel_->Call<fb::ListClientsReply>(Method::kListClients, fb::ListClientsT(),
                                       std::move(callback));
}

}  // namespace rayc::rpc
