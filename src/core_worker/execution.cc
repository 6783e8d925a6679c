// CoreWorker as the executor of what others own: a task comes in, its result goes out.
#include <unistd.h>

#include <algorithm>

#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {

void CoreWorker::HandlePushTask(const fb::PushTask& request, rpc::Responder responder) {
  if (request.spec() == nullptr || options_.mode != WorkerMode::kWorker) {
    responder.Error(Status::InvalidArgument("this process executes no tasks"));
    return;
  }
  ReceivedTask task;
  task.spec = std::make_shared<TaskSpec>(rpc::FromMessage(*request.spec()));
  if (task.spec->type == TaskType::kDriver ||
      (task.spec->type == TaskType::kActorCreation && !task.spec->creation)) {
    responder.Error(Status::InvalidArgument("this is no task that can be executed"));
    return;
  }
  task.assigned = ReadInstances(request.assigned());
  task.job_config = std::string(rpc::BytesView(request.job_config()));
  task.responder = std::move(responder);
  {
    const MutexLock lock(mutex_);
    if (job_id_.IsNil()) {
      job_id_ = task.spec->job_id;
    }
    if (job_config_.empty()) {
      job_config_ = task.job_config;
    }
    if (task.spec->type == TaskType::kActorCreation) {
      own_strategy_ = task.spec->strategy;
      own_detached_actor_ =
          task.spec->creation->is_detached ? task.spec->creation->actor_id : ActorId::Nil();
    }
  }
  executor_.Enqueue(std::move(task));
}

void CoreWorker::HandleCancelTask(const fb::CancelTask& request, rpc::Responder responder) {
  fb::CancelTaskReplyT reply;
  const ObjectId object = ObjectId::FromBytes(request.object_id());
  if (!object.IsNil()) {
    const MutexLock lock(mutex_);
    CancelOwned(object.Task(), request.force() && !object.Task().Actor().IsActor(),
                request.recursive());
    ProcessDeferred();
    return;
  }
  const TaskId task = TaskId::FromBytes(request.task_id());
  reply.removed = executor_.Remove(task);
  responder.Reply(reply);
  if (!reply.removed && executor_.IsRunning(task)) {
    if (request.recursive()) {
      const MutexLock lock(mutex_);
      CancelChildren(task, request.force());
      ProcessDeferred();
    }
    executor_.Interrupt(task, request.force());
  }
}

void CoreWorker::CancelChildren(const TaskId& parent, bool force) {
  std::vector<std::pair<TaskId, bool>> children;
  for (const auto& [id, task] : pending_) {
    if (task.spec->parent_task_id == parent) {
      children.emplace_back(id, force && task.spec->type == TaskType::kNormal);
    }
  }
  for (const auto& [id, with_force] : children) {
    CancelOwned(id, with_force, true);
  }
}

void CoreWorker::ExitAtOnce(const std::string& detail) {
  AnnounceExit(1, detail);
  _exit(1);
}

Status CoreWorker::ResolveArguments(const TaskSpec& spec, std::vector<ObjectValue>* values) {
  values->resize(spec.args.size());
  std::vector<ObjectId> ids;
  std::vector<size_t> where;
  for (size_t i = 0; i < spec.args.size(); ++i) {
    if (spec.args[i].IsRef()) {
      ids.push_back(spec.args[i].object_id);
      where.push_back(i);
    } else {
      (*values)[i] = spec.args[i].value;
    }
  }
  if (ids.empty()) {
    return Status::Ok();
  }
  // What is passed by reference lies in this node's store, as a rule.
  auto client = Plasma();
  if (!client) {
    return client.error();
  }
  auto found = (*client)->Get(ids, 0);
  if (!found) {
    return found.error();
  }
  std::vector<ObjectId> missing;
  std::vector<size_t> missing_where;
  for (size_t k = 0; k < ids.size(); ++k) {
    if ((*found)[k]) {
      (*values)[where[k]] = std::move(*(*found)[k]);
    } else {
      missing.push_back(ids[k]);
      missing_where.push_back(where[k]);
    }
  }
  if (missing.empty()) {
    return Status::Ok();
  }
  {
    const MutexLock lock(mutex_);
    for (const size_t i : missing_where) {
      references_.AddLocal({spec.args[i].object_id, spec.args[i].owner});
    }
  }
  std::vector<ObjectValue> fetched;
  const Status status = Get(missing, -1, &fetched);
  for (const ObjectId& id : missing) {
    RemoveLocalRef(id);
  }
  RAYC_RETURN_NOT_OK(status);
  // Once one of them has failed, those that are not there are not waited for.
  const auto failed = std::find_if(fetched.begin(), fetched.end(), [](const ObjectValue& value) {
    return value.data != nullptr && IsErrorMetadata(value.metadata);
  });
  const ObjectValue error = failed == fetched.end() ? ObjectValue() : *failed;
  for (size_t k = 0; k < missing.size(); ++k) {
    (*values)[missing_where[k]] = fetched[k].data != nullptr ? std::move(fetched[k]) : error;
  }
  return Status::Ok();
}

void CoreWorker::SendTaskReply(const std::shared_ptr<const TaskSpec>& spec,
                               rpc::Responder responder, TaskResult* result, uint32_t duration_us) {
  // All of this is shared by the callbacks that must come first; the last of them replies.
  struct Pending {
    fb::PushTaskReplyT reply;
    rpc::Responder responder;
    std::atomic<size_t> left{1};
    std::vector<ObjectId> held;         // until the reply
    std::vector<ObjectId> handed_back;  // the caller's own: a while longer
    bool late = false;
  };
  const auto pending = std::make_shared<Pending>();
  pending->responder = std::move(responder);
  fb::PushTaskReplyT& reply = pending->reply;
  reply.status = static_cast<uint8_t>(result->system_error.code());
  reply.message = result->system_error.message();
  reply.is_application_error = result->is_application_error;
  reply.is_final_error = result->is_final_error;
  reply.worker_exiting = result->worker_exiting;
  reply.printed = result->printed;
  reply.duration_us = duration_us;
  std::vector<ObjectRefInfo> on_behalf;  // of the caller, with third owners
  const auto finish = [this, pending] {
    if (pending->left.fetch_sub(1) != 1) {
      return;
    }
    pending->responder.Reply(pending->reply);
    if (pending->late) {
      replies_under_way_.fetch_sub(1);
    }
    if (pending->held.empty() && pending->handed_back.empty()) {
      return;
    }
    const MutexLock lock(mutex_);
    Releases releases;
    for (const ObjectId& id : pending->held) {
      references_.RemoveSubmitted(id, &releases);
    }
    Apply(releases);
    HoldHandedBack(std::move(pending->handed_back));
    ProcessDeferred();
  };
  {
    const MutexLock lock(mutex_);
    for (uint32_t i = 0; i < result->returns.size(); ++i) {
      const ReturnObject& item = result->returns[i];
      auto message = std::make_unique<fb::TaskReturnT>();
      message->object_id = rpc::IdBytes(spec->ReturnId(i));
      message->in_plasma = item.in_plasma;
      message->size = item.size;
      if (!item.in_plasma && item.value.data != nullptr) {
        message->data = rpc::ToBytes(item.value.data->View());
        message->metadata = item.value.metadata;
      }
      for (const ObjectRefInfo& ref : item.nested) {
        message->nested.push_back(rpc::ToMessage(ref));
        references_.AddSubmitted(ref);
        if (ref.owner == spec->caller) {
          pending->handed_back.push_back(ref.id);
        } else {
          pending->held.push_back(ref.id);
          if (ref.owner == self_) {
            references_.AddBorrower(ref.id, spec->caller.worker_id);
          } else {
            on_behalf.push_back(ref);
          }
        }
      }
      reply.returns.push_back(std::move(message));
    }
    if (!on_behalf.empty()) {
      pending->left.fetch_add(1);
      RegisterBorrowed(on_behalf, spec->caller, finish);
    }
    // References that the task leaves behind here: counted by their owners before the caller, who
    // has held them so far, lets go. Those on their way already may have come with this task, too.
    for (const auto& counting : counting_) {
      pending->left.fetch_add(1);
      counting->waiting.push_back(finish);
    }
    const std::vector<ObjectRefInfo> kept = references_.TakeUnregistered();
    if (!kept.empty()) {
      pending->left.fetch_add(1);
      RegisterBorrowed(kept, self_, finish);
    }
  }
  if (result->printed) {
    pending->left.fetch_add(1);
    raylet_->FlushLogs([finish](const Status&) { finish(); });
  }
  if (pending->left.load() > 1) {
    pending->late = true;
    replies_under_way_.fetch_add(1);
  }
  finish();
}

}  // namespace rayc::core_worker
