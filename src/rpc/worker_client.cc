#include "rpc/worker_client.h"

namespace rayc::rpc {
namespace {

template <typename Table>
Table BorrowersMessage(const std::vector<ObjectRefInfo>& refs, const Address& borrower) {
  Table message;
  message.refs.reserve(refs.size());
  for (const ObjectRefInfo& ref : refs) {
    message.refs.push_back(ToMessage(ref));
  }
  message.borrower = ToMessage(borrower);
  return message;
}

}  // namespace

void WireWorkerClient::PushTask(const fb::PushTaskT& request,
                                TableCallback<fb::PushTaskReply> callback) {
  channel_->Call<fb::PushTaskReply>(Method::kPushTask, request, std::move(callback));
}

void WireWorkerClient::GetObject(const ObjectId& object,
                                 TableCallback<fb::GetObjectReply> callback) {
  fb::GetObjectT request;
  request.object_id = IdBytes(object);
  channel_->Call<fb::GetObjectReply>(Method::kGetObject, request, std::move(callback));
}

void WireWorkerClient::AddBorrowers(const std::vector<ObjectRefInfo>& refs, const Address& borrower,
                                    StatusCallback callback) {
  CallStatus(Method::kAddBorrowers, BorrowersMessage<fb::AddBorrowersT>(refs, borrower),
             std::move(callback));
}

void WireWorkerClient::RemoveBorrowers(const std::vector<ObjectRefInfo>& refs,
                                       const Address& borrower) {
  channel_->NotifyTable(Method::kRemoveBorrowers,
                        BorrowersMessage<fb::RemoveBorrowersT>(refs, borrower));
}

void WireWorkerClient::CancelTask(const TaskId& task, bool force, bool recursive,
                                  Callback<bool> callback) {
  fb::CancelTaskT request;
  request.task_id = IdBytes(task);
  request.force = force;
  request.recursive = recursive;
  CallValue<fb::CancelTaskReply, bool>(
      Method::kCancelTask, request,
      [](const fb::CancelTaskReply& reply) { return reply.removed(); }, std::move(callback));
}

void WireWorkerClient::CancelAtOwner(const ObjectId& object, bool force, bool recursive) {
  fb::CancelTaskT message;
  message.object_id = IdBytes(object);
  message.force = force;
  message.recursive = recursive;
  channel_->NotifyTable(Method::kCancelTask, message);
}

void WireWorkerClient::KillActor(const ActorId& actor, bool graceful, std::string_view reason) {
  fb::KillActorT message;
  message.actor_id = IdBytes(actor);
  message.graceful = graceful;
  message.reason = reason;
  channel_->NotifyTable(Method::kKillActor, message);
}

void WireWorkerClient::ExitWorker(std::string_view reason) {
  fb::ExitWorkerT message;
  message.reason = reason;
  channel_->NotifyTable(Method::kExitWorker, message);
}

void WireWorkerClient::ReclaimLeases() {
  channel_->NotifyTable(Method::kReclaimLeases, fb::ReclaimLeasesT());
}

void WireWorkerClient::LogBatch(const fb::LogBatchT& batch) {
  channel_->NotifyTable(Method::kLogBatch, batch);
}

void WireWorkerClient::GetReferences(uint32_t count_max,
                                     TableCallback<fb::GetReferencesReply> callback) {
  fb::GetReferencesT request;
  request.count_max = count_max;
  channel_->Call<fb::GetReferencesReply>(Method::kGetReferences, request, std::move(callback));
}

}  // namespace rayc::rpc
