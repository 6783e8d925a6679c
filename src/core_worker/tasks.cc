// CoreWorker's tasks: from submission through dependencies and leases to the reply.
#include <algorithm>

#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {
namespace {

// Values that are passed by reference are put into the message up to this sum; the executor fetches
// the rest.
constexpr size_t kInlinedPerTaskMax = 10UL << 20;

// With more of them a message would have more tables than its reader takes.
constexpr size_t kArgsMax = 500'000;

std::string DescribeDeath(const TaskSpec& spec, Result<const fb::WorkerDeath*> death) {
  std::string text = "the worker process that ran " + spec.name;
  if (!death || !(*death)->known()) {
    return text + " has ended";
  }
  text += " (pid " + std::to_string((*death)->pid()) +
          ") has ended: " + rpc::FromString((*death)->detail());
  const std::string tail = rpc::FromString((*death)->stderr_tail());
  if (!tail.empty()) {
    text += "\nThe last lines that it wrote to stderr:\n" + tail;
  }
  return text;
}

std::vector<ObjectRefInfo> NestedRefs(const fb::TaskReturn& item) {
  std::vector<ObjectRefInfo> nested;
  if (item.nested() != nullptr) {
    nested.reserve(item.nested()->size());
    for (const fb::ObjectRef* ref : *item.nested()) {
      nested.push_back(rpc::FromMessage(ref));
    }
  }
  return nested;
}

}  // namespace

std::shared_ptr<TaskSpec> CoreWorker::MakeSpec(const TaskOptions& options, TaskType type,
                                               const TaskId& id, std::vector<TaskArg> args) {
  auto spec = std::make_shared<TaskSpec>();
  spec->type = type;
  spec->job_id = job_id_;
  spec->task_id = id;
  spec->name = options.name;
  spec->function = options.function;
  spec->caller = self_;
  spec->args = std::move(args);
  spec->num_returns = options.num_returns;
  spec->max_retries = options.max_retries;
  spec->retry_exceptions = options.retry_exceptions;
  spec->retry_exception_types = options.retry_exception_types;
  spec->resources = options.resources;
  spec->placement_resources = options.placement_resources;
  spec->runtime_env = options.runtime_env;
  spec->strategy = options.strategy;
  if (options.inherits_group) {
    const SchedulingStrategy* parent = FindCurrentStrategy();
    if (parent->captures_children && parent->InGroup()) {
      spec->strategy.group = parent->group;
      spec->strategy.captures_children = true;
    }
  }
  spec->concurrency_group = options.concurrency_group;
  const TaskContext* context = TaskExecutor::Current();
  if (context != nullptr) {
    spec->parent_task_id = context->spec->task_id;
    spec->depth = context->spec->depth + 1;
  } else {
    spec->parent_task_id = TaskId::ForDriver(job_id_);
    spec->depth = 1;
  }
  return spec;
}

CoreWorker::PendingTask& CoreWorker::AddPending(std::shared_ptr<TaskSpec> spec,
                                                const TaskOptions& options) {
  PendingTask& task = pending_[spec->task_id];
  const bool inherited = options.inherits_group && spec->strategy.InGroup();
  task.scheduling_key = inherited ? spec->SchedulingKey() : options.scheduling_key;
  task.retries_left = options.max_retries;
  const auto hold = [&](const ObjectRefInfo& ref) RAYC_REQUIRES(mutex_) {
    references_.AddSubmitted(ref);
    task.held.push_back(ref.id);
  };
  for (TaskArg& arg : spec->args) {
    if (arg.IsRef()) {
      arg.owner = references_.OwnerOf(arg.object_id);
      hold({arg.object_id, arg.owner});
    }
    for (const ObjectRefInfo& ref : arg.nested) {
      hold(ref);
    }
  }
  if (spec->type == TaskType::kActor) {
    const ObjectId handle = ObjectId::ForActorHandle(spec->actor_id);
    if (references_.Has(handle)) {
      hold({handle, references_.OwnerOf(handle)});  // the actor lives until its calls are done
    }
  }
  task.spec = std::move(spec);
  return task;
}

Status CoreWorker::SubmitTask(const TaskOptions& options, std::vector<TaskArg> args,
                              std::vector<ObjectId>* returns) {
  const MutexLock lock(mutex_);
  RAYC_RETURN_NOT_OK(CheckArguments(args));
  auto spec = MakeSpec(options, TaskType::kNormal, TaskId::ForNormalTask(job_id_), std::move(args));
  for (uint32_t i = 0; i < spec->num_returns; ++i) {
    returns->push_back(spec->ReturnId(i));
    references_.AddOwned(returns->back(), 1);
  }
  const TaskId id = spec->task_id;
  PendingTask& task = AddPending(std::move(spec), options);
  ResolveDependencies(task);
  if (const auto it = pending_.find(id); it != pending_.end() && it->second.unresolved == 0) {
    OnResolved(id);
  }
  ProcessDeferred();
  return Status::Ok();
}

Status CoreWorker::CheckArguments(const std::vector<TaskArg>& args) {
  if (!node_lost_.empty()) {
    return {StatusCode::kDisconnected, "the node's raylet is gone (" + node_lost_ + ")"};
  }
  if (args.size() > kArgsMax) {
    return Status::InvalidArgument("a call takes at most " + std::to_string(kArgsMax) +
                                   " arguments, and has " + std::to_string(args.size()) +
                                   ": pass a list of them");
  }
  for (const TaskArg& arg : args) {
    if (arg.IsRef() && !references_.Has(arg.object_id)) {
      return CheckKnown(arg.object_id);
    }
  }
  return Status::Ok();
}

void CoreWorker::ResolveDependencies(PendingTask& task) {
  size_t inlined = 0;
  const TaskId id = task.spec->task_id;
  for (TaskArg& arg : task.spec->args) {
    if (!arg.IsRef()) {
      continue;
    }
    const StoredObject* object = memory_store_.Find(arg.object_id);
    if (object == nullptr) {
      ++task.unresolved;
      memory_store_.WhenReady(arg.object_id,
                              [this, id](const ObjectId& /*id*/, const StoredObject& /*object*/)
                                  RAYC_NO_TSA { deferred_.push_back(id); });
      Fetch(arg.object_id);
      continue;
    }
    if (object->in_plasma) {
      continue;
    }
    if (IsErrorMetadata(object->value.metadata)) {
      // The original error is what the caller of this task sees.
      const ObjectValue error = object->value;
      const std::shared_ptr<TaskSpec> spec = task.spec;
      FailTask(*spec, error);  // ends the life of `task`
      return;
    }
    const size_t size = object->value.data->size();
    if (inlined + size <= kInlinedPerTaskMax) {
      inlined += size;
      InlineArgument(arg, *object);
    }
  }
}

void CoreWorker::InlineArgument(TaskArg& arg, const StoredObject& object) {
  arg.value = object.value;
  arg.object_id = ObjectId::Nil();
  arg.owner = {};
}

void CoreWorker::ProcessDeferred() {
  while (!deferred_.empty()) {
    const TaskId id = deferred_.front();
    deferred_.pop_front();
    const auto it = pending_.find(id);
    if (it == pending_.end() || it->second.unresolved == 0 || --it->second.unresolved > 0) {
      continue;
    }
    ResolveDependencies(it->second);
    if (const auto again = pending_.find(id);
        again != pending_.end() && again->second.unresolved == 0) {
      OnResolved(id);
    }
  }
  if (!unused_actors_.empty()) {
    ForgetActors();
  }
  if (std::exchange(housekeeping_needed_, false) && !housekeeping_) {
    housekeeping_ = true;
    loop_.Post([this] { ScheduleHousekeeping(); });
  }
}

void CoreWorker::OnResolved(const TaskId& id) {
  PendingTask& task = pending_.at(id);
  switch (task.spec->type) {
    case TaskType::kNormal:
      task_submitter_.Submit(task.spec, task.scheduling_key);
      return;
    case TaskType::kActor:
      actor_submitter_.OnReady(task.spec->actor_id, id);
      return;
    case TaskType::kActorCreation:
      RegisterActor(id);
      return;
    case TaskType::kDriver:
      return;
  }
}

// ---- leases ----------------------------------------------------------------------------------

void CoreWorker::RequestLease(uint64_t lease_id, const TaskSpec& first, uint32_t backlog) {
  fb::RequestLeaseT request;
  request.lease_id = lease_id;
  request.job_id = rpc::IdBytes(first.job_id);
  request.name = first.name;
  request.resources = rpc::ToMessage(first.resources);
  request.placement_resources = rpc::ToMessage(first.placement_resources);
  request.runtime_env = first.runtime_env;
  request.strategy = rpc::ToMessage(first.strategy);
  request.backlog = backlog;
  request.requester = rpc::ToMessage(self_);
  raylet_->RequestLease(request, [this, lease_id](Result<const fb::RequestLeaseReply*> reply) {
    const MutexLock lock(mutex_);
    if (!reply) {
      // What the end of the raylet means for all tasks: OnNodeLost.
      const StatusCode code = reply.error().code();
      if (code != StatusCode::kCancelled && code != StatusCode::kDisconnected &&
          code != StatusCode::kShutdown) {
        task_submitter_.OnLeaseFailed(lease_id, reply.error());
      }
    } else {
      Lease lease;
      lease.id = lease_id;
      lease.worker = rpc::FromMessage((*reply)->worker());
      lease.pid = (*reply)->worker_pid();
      lease.assigned = ReadInstances((*reply)->assigned());
      task_submitter_.OnLeaseGranted(std::move(lease));
      housekeeping_needed_ = !housekeeping_;
    }
    ProcessDeferred();
  });
}

AssignedInstances CoreWorker::ReadInstances(
    const flatbuffers::Vector<flatbuffers::Offset<fb::ResourceInstances>>* message) {
  AssignedInstances assigned;
  if (message != nullptr) {
    for (const fb::ResourceInstances* instances : *message) {
      std::vector<uint32_t> ids;
      if (instances->ids() != nullptr) {
        ids.assign(instances->ids()->begin(), instances->ids()->end());
      }
      assigned.emplace_back(rpc::FromString(instances->name()), std::move(ids));
    }
  }
  return assigned;
}

void CoreWorker::CancelLease(uint64_t lease_id) { raylet_->CancelLease(lease_id); }

void CoreWorker::ReturnLease(uint64_t lease_id, bool worker_exiting) {
  raylet_->ReturnLease(lease_id, worker_exiting);
}

void CoreWorker::PushTask(const Lease& lease, const TaskPtr& task) {
  auto peer = GetPeer(lease.worker);
  if (!peer) {
    // Any other failure may meet the next worker, too: it counts as a try.
    const bool is_gone = peer.error().code() == StatusCode::kDisconnected;
    loop_.Post([this, worker = lease.worker.worker_id, is_gone] {
      const MutexLock lock(mutex_);
      if (is_gone) {
        task_submitter_.OnUnreachable(worker);
      }
      OnWorkerLost(worker);
      ProcessDeferred();
    });
    return;
  }
  SendPushTask(**peer, task, lease.assigned, lease.id);
}

void CoreWorker::SendPushTask(Peer& peer, const TaskPtr& task, const AssignedInstances& assigned,
                              uint64_t lease_id) {
  fb::PushTaskT request;
  request.spec = rpc::ToMessage(*task);
  for (const auto& [name, ids] : assigned) {
    auto instances = std::make_unique<fb::ResourceInstancesT>();
    instances->name = name;
    instances->ids = ids;
    request.assigned.push_back(std::move(instances));
  }
  if (!std::exchange(peer.has_job_config, true)) {
    request.job_config = rpc::ToBytes(job_config_);
  }
  peer.client->PushTask(request, [this, task, lease_id](Result<const fb::PushTaskReply*> reply) {
    OnTaskReply(task, lease_id, reply);
  });
}

void CoreWorker::OnTaskUnschedulable(const TaskPtr& task, const Status& why) {
  FailTask(*task, MakeErrorValue(why));
}

// ---- replies ---------------------------------------------------------------------------------

void CoreWorker::OnTaskReply(const TaskPtr& task, uint64_t lease_id,
                             Result<const fb::PushTaskReply*> reply) {
  if (!reply) {
    if (reply.error().code() != StatusCode::kDisconnected) {
      const MutexLock lock(mutex_);
      if (task->type == TaskType::kActor) {
        actor_submitter_.OnReply(task->actor_id, task->task_id);
      } else {
        task_submitter_.OnReply(lease_id, task->task_id, false, 0, true);
      }
      FailTask(*task, MakeErrorValue(reply.error()));
      ProcessDeferred();
    }
    return;  // The end of the connection is dealt with in OnWorkerLost.
  }
  const MutexLock lock(mutex_);
  const fb::PushTaskReply& answer = **reply;
  if (answer.printed()) {
    printed_.store(true);
  }
  if (task->type == TaskType::kActor) {
    if (answer.not_started()) {
      return;  // the actor is leaving: the GCS will say what becomes of its calls
    }
    if (WantsRetry(*task, answer) && actor_submitter_.Retry(task->actor_id, task->task_id)) {
      UnregisterReturns(answer);
      ProcessDeferred();
      return;
    }
    actor_submitter_.OnReply(task->actor_id, task->task_id);
    CompleteTask(*task, answer);
    ProcessDeferred();
    return;
  }
  const auto pending = pending_.find(task->task_id);
  const bool is_cancelled = pending != pending_.end() && pending->second.cancelled;
  // What was given back and is cancelled does not go into the queue again.
  task_submitter_.OnReply(lease_id, task->task_id, answer.not_started() && !is_cancelled,
                          answer.duration_us(), answer.worker_exiting());
  if (!answer.not_started()) {
    CompleteTask(*task, answer);
  } else if (is_cancelled) {
    FailCancelled(*task);
  }
  ProcessDeferred();
}

bool CoreWorker::WantsRetry(const TaskSpec& spec, const fb::PushTaskReply& reply) {
  return reply.status() == 0 && reply.is_application_error() && spec.retry_exceptions &&
         !reply.is_final_error();
}

void CoreWorker::UnregisterReturns(const fb::PushTaskReply& reply) {
  if (reply.returns() != nullptr) {
    for (const fb::TaskReturn* item : *reply.returns()) {
      Unregister(NestedRefs(*item));
    }
  }
}

void CoreWorker::CompleteTask(const TaskSpec& spec, const fb::PushTaskReply& reply) {
  if (reply.status() != 0) {
    if (spec.type == TaskType::kNormal && MaybeRetry(spec.task_id)) {
      return;
    }
    const Status status(static_cast<StatusCode>(reply.status()), rpc::FromString(reply.message()));
    FailTask(spec, spec.type == TaskType::kActor && status.code() != StatusCode::kCancelled
                       ? MakeActorErrorValue(status, spec.actor_id)
                       : MakeErrorValue(status));
    return;
  }
  if (WantsRetry(spec, reply) && spec.type == TaskType::kNormal && MaybeRetry(spec.task_id)) {
    UnregisterReturns(reply);
    return;
  }
  if (reply.returns() == nullptr || reply.returns()->size() != spec.num_returns) {
    FailTask(spec, MakeErrorValue(Status::Internal("malformed reply of a worker")));
    return;
  }
  for (uint32_t i = 0; i < spec.num_returns; ++i) {
    const fb::TaskReturn& item = *reply.returns()->Get(i);
    StoredObject object;
    object.in_plasma = item.in_plasma();
    object.size = item.size();
    if (!object.in_plasma) {
      object.value = {HeapBuffer::Copy(rpc::BytesView(item.data())),
                      rpc::FromString(item.metadata())};
      object.size = object.value.data->size();
    }
    StoreReturn(spec.ReturnId(i), std::move(object), NestedRefs(item));
  }
  FinishTask(spec.task_id);
}

bool CoreWorker::MaybeRetry(const TaskId& id) {
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.retries_left == 0 || !node_lost_.empty()) {
    return false;
  }
  PendingTask& task = it->second;
  if (task.retries_left > 0) {
    --task.retries_left;
  }
  task.spec = std::make_shared<TaskSpec>(*task.spec);
  ++task.spec->attempt;
  task_submitter_.Submit(task.spec, task.scheduling_key);
  return true;
}

void CoreWorker::OnTaskWorkerDied(const TaskPtr& task, Result<const fb::WorkerDeath*> death) {
  const MutexLock lock(mutex_);
  const auto it = pending_.find(task->task_id);
  if (it == pending_.end() || it->second.spec->attempt != task->attempt || shutting_down_.load()) {
    return;
  }
  if (death && (*death)->placement_group_removed()) {
    DeleteReturns(*task);
    FailTask(*task, MakeErrorValue({StatusCode::kPlacementGroupRemoved,
                                    "task " + task->name +
                                        " was ended: " + rpc::FromString((*death)->detail())}));
  } else if (!MaybeRetry(task->task_id)) {
    DeleteReturns(*task);
    const StatusCode code =
        it->second.cancelled ? StatusCode::kCancelledByForce : StatusCode::kWorkerCrashed;
    FailTask(*task, MakeErrorValue({code, DescribeDeath(*task, death)}));
  }
  ProcessDeferred();
}

void CoreWorker::FailTask(const TaskSpec& spec, const ObjectValue& error) {
  if (spec.type == TaskType::kActor) {
    actor_submitter_.Remove(spec.actor_id, spec.task_id);
  } else if (spec.type == TaskType::kActorCreation) {
    FailCreation(spec, error);
    return;
  }
  for (uint32_t i = 0; i < spec.num_returns; ++i) {
    StoreReturn(spec.ReturnId(i), {error, false, error.data->size()}, {});
  }
  FinishTask(spec.task_id);
}

void CoreWorker::FailCancelled(const TaskSpec& spec) {
  FailTask(spec,
           MakeErrorValue({StatusCode::kCancelled, spec.name + " was cancelled before it ran"}));
}

// ---- cancellation ----------------------------------------------------------------------------

Status CoreWorker::CancelTask(const ObjectId& object, bool force, bool recursive) {
  if (object.Index() >= ObjectId::kPutIndexBase || object.IsActorHandle()) {
    return Status::Ok();  // no task makes it
  }
  if (force && object.Task().Actor().IsActor()) {
    return Status::InvalidArgument(
        "force=True is not possible for the call of an actor: it would end the actor with all its "
        "other calls. Use rayc.kill() for that, or force=False");
  }
  const MutexLock lock(mutex_);
  if (!references_.Has(object)) {
    return CheckKnown(object);
  }
  const Address owner = references_.OwnerOf(object);
  if (owner == self_) {
    CancelOwned(object.Task(), force, recursive);
  } else if (auto peer = GetPeer(owner)) {
    (*peer)->client->CancelAtOwner(object, force, recursive);
  }
  ProcessDeferred();
  return Status::Ok();
}

void CoreWorker::CancelOwned(const TaskId& id, bool force, bool recursive) {
  const auto it = pending_.find(id);
  if (it == pending_.end() || it->second.spec->type == TaskType::kActorCreation) {
    return;
  }
  PendingTask& task = it->second;
  task.cancelled = true;
  task.retries_left = 0;
  const std::shared_ptr<TaskSpec> spec = task.spec;
  Address worker;
  if (spec->type == TaskType::kActor) {
    if (actor_submitter_.Remove(spec->actor_id, id) != nullptr) {
      FailCancelled(*spec);
      return;
    }
    worker = actor_submitter_.CancelInFlight(spec->actor_id, id);
  } else {
    if (task.unresolved > 0 || task_submitter_.Remove(id)) {
      FailCancelled(*spec);
      return;
    }
    if (const Lease* lease = task_submitter_.FindInFlight(id)) {
      worker = lease->worker;
    }
  }
  if (worker.IsNil()) {
    return;  // its worker is gone, and what becomes of it is about to be known
  }
  if (auto peer = GetPeer(worker)) {
    (*peer)->client->CancelTask(id, force, recursive, [](const Result<bool>&) {});
  }
}

void CoreWorker::FailCreation(const TaskSpec& spec, const ObjectValue& error) {
  const ActorId actor = spec.creation->actor_id;
  const std::string text(error.data->View());
  const char kind = error.metadata[0];
  // Those that speak of an actor (here: of one that made an argument) begin with its id.
  const std::string rest = kind == kActorErrorTag || kind == kActorInitErrorTag
                               ? text.substr(std::min(text.size(), ActorId::kSize))
                               : text;
  const auto own = own_actors_.find(actor);
  const auto registration = own == own_actors_.end() ? nullptr : own->second->registration;
  if (own != own_actors_.end() && own->second->registered) {
    gcs_->ActorOutOfScope(actor);  // it waits there for arguments that will never come
  }
  // The actor's calls fail, and with the last of them its last handle may go.
  actor_submitter_.Kill(
      actor, kind == kTaskErrorTag || kind == kActorInitErrorTag
                 ? MakeActorInitErrorValue(rest, actor)
                 : MakeActorErrorValue(
                       {StatusCode::kActorDied, "the actor could not be created: " + rest}, actor));
  Settle(registration, Status::Ok());  // its calls say what is wrong
  FinishTask(spec.task_id);
  const auto left = own_actors_.find(actor);
  if (left != own_actors_.end() && left->second->out_of_scope) {
    ForgetOwnActor(actor);
  }
}

// A process that ended may have written them without telling.
void CoreWorker::DeleteReturns(const TaskSpec& spec) {
  for (uint32_t i = 0; i < spec.num_returns; ++i) {
    DeleteFromPlasma(spec.ReturnId(i));
  }
}

void CoreWorker::FinishTask(const TaskId& id) {
  const auto it = pending_.find(id);
  if (it == pending_.end()) {
    return;
  }
  const std::vector<ObjectId> held = std::move(it->second.held);
  pending_.erase(it);
  Releases releases;
  for (const ObjectId& object : held) {
    references_.RemoveSubmitted(object, &releases);
  }
  Apply(releases);
}

}  // namespace rayc::core_worker
