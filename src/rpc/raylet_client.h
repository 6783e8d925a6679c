// Typed client of a raylet. Used by CoreWorkers (their own node's), by the GCS and by tools.
// Threads and lifetimes: client.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "rpc/client.h"

namespace rayc::rpc {

class RayletClient {
 public:
  virtual ~RayletClient() = default;

  virtual void RegisterClient(const fb::RegisterClientT& request,
                              TableCallback<fb::RegisterClientReply> callback) = 0;
  // Answered when granted; kUnschedulable if no node can ever hold it. lease_id: the requester's,
  // unique on this connection.
  virtual void RequestLease(const fb::RequestLeaseT& request,
                            TableCallback<fb::RequestLeaseReply> callback) = 0;
  virtual void CancelLease(uint64_t lease_id) = 0;
  virtual void ReturnLease(uint64_t lease_id, bool worker_exiting) = 0;
  virtual void NotifyBlocked() = 0;
  virtual void NotifyUnblocked() = 0;
  virtual void FlushLogs(StatusCallback callback) = 0;
  virtual void GetWorkerDeath(const WorkerId& worker, TableCallback<fb::WorkerDeath> callback) = 0;
  virtual void AnnounceExit(int32_t exit_code, std::string_view detail) = 0;
  virtual void KillWorker(const WorkerId& worker, bool force, std::string_view reason) = 0;
  virtual void PrepareBundles(const fb::PrepareBundlesT& request, StatusCallback callback) = 0;
  virtual void CommitBundles(const PlacementGroupId& group) = 0;
  virtual void ReturnBundles(const PlacementGroupId& group, std::string_view reason) = 0;
  virtual void ShutdownNode(StatusCallback callback) = 0;
  virtual void ListClients(TableCallback<fb::ListClientsReply> callback) = 0;

  virtual void Close() = 0;
};

class WireRayletClient final : public RayletClient, public WireClient {
 public:
  using WireClient::WireClient;

  void RegisterClient(const fb::RegisterClientT& request,
                      TableCallback<fb::RegisterClientReply> callback) override;
  void RequestLease(const fb::RequestLeaseT& request,
                    TableCallback<fb::RequestLeaseReply> callback) override;
  void CancelLease(uint64_t lease_id) override;
  void ReturnLease(uint64_t lease_id, bool worker_exiting) override;
  void NotifyBlocked() override;
  void NotifyUnblocked() override;
  void FlushLogs(StatusCallback callback) override;
  void GetWorkerDeath(const WorkerId& worker, TableCallback<fb::WorkerDeath> callback) override;
  void AnnounceExit(int32_t exit_code, std::string_view detail) override;
  void KillWorker(const WorkerId& worker, bool force, std::string_view reason) override;
  void PrepareBundles(const fb::PrepareBundlesT& request, StatusCallback callback) override;
  void CommitBundles(const PlacementGroupId& group) override;
  void ReturnBundles(const PlacementGroupId& group, std::string_view reason) override;
  void ShutdownNode(StatusCallback callback) override;
  void ListClients(TableCallback<fb::ListClientsReply> callback) override;
  void Close() override { CloseChannel(); }
};

}  // namespace rayc::rpc
