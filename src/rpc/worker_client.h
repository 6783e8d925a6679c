// Typed client of a CoreWorker (driver or worker). Used by its peers, by the GCS, by its raylet and
// by tools. Threads and lifetimes: client.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "rpc/client.h"

namespace rayc::rpc {

class WorkerClient {
 public:
  virtual ~WorkerClient() = default;

  virtual void PushTask(const fb::PushTaskT& request,
                        TableCallback<fb::PushTaskReply> callback) = 0;
  virtual void GetObject(const ObjectId& object, TableCallback<fb::GetObjectReply> callback) = 0;
  virtual void AddBorrowers(const std::vector<ObjectRefInfo>& refs, const Address& borrower,
                            StatusCallback callback) = 0;
  virtual void RemoveBorrowers(const std::vector<ObjectRefInfo>& refs, const Address& borrower) = 0;
  // The callback gets whether the task was forgotten before it began.
  virtual void CancelTask(const TaskId& task, bool force, bool recursive,
                          Callback<bool> callback) = 0;
  // Asks the object's owner to cancel the task that makes it.
  virtual void CancelAtOwner(const ObjectId& object, bool force, bool recursive) = 0;
  virtual void KillActor(const ActorId& actor, bool graceful, std::string_view reason) = 0;
  virtual void ExitWorker(std::string_view reason) = 0;
  virtual void ReclaimLeases() = 0;
  virtual void LogBatch(const fb::LogBatchT& batch) = 0;
  virtual void GetReferences(uint32_t count_max,
                             TableCallback<fb::GetReferencesReply> callback) = 0;

  virtual void Close() = 0;
};

class WireWorkerClient final : public WorkerClient, public WireClient {
 public:
  using WireClient::WireClient;

  void PushTask(const fb::PushTaskT& request, TableCallback<fb::PushTaskReply> callback) override;
  void GetObject(const ObjectId& object, TableCallback<fb::GetObjectReply> callback) override;
  void AddBorrowers(const std::vector<ObjectRefInfo>& refs, const Address& borrower,
                    StatusCallback callback) override;
  void RemoveBorrowers(const std::vector<ObjectRefInfo>& refs, const Address& borrower) override;
  void CancelTask(const TaskId& task, bool force, bool recursive, Callback<bool> callback) override;
  void CancelAtOwner(const ObjectId& object, bool force, bool recursive) override;
  void KillActor(const ActorId& actor, bool graceful, std::string_view reason) override;
  void ExitWorker(std::string_view reason) override;
  void ReclaimLeases() override;
  void LogBatch(const fb::LogBatchT& batch) override;
  void GetReferences(uint32_t count_max, TableCallback<fb::GetReferencesReply> callback) override;
  void Close() override { CloseChannel(); }
};

}  // namespace rayc::rpc
