// CoreWorker's actors: creation through the GCS, calls straight to the actor, its end.
#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {
namespace {

std::string DescribeActorDeath(const fb::ActorInfo& info) {
  const std::string who = "actor " + rpc::FromString(info.class_name()) + " (" +
                          ActorId::FromBytes(info.actor_id()).Hex() + ")";
  const std::string detail = rpc::FromString(info.death_detail());
  const std::string because = detail.empty() ? std::string() : ": " + detail;
  switch (info.death_cause()) {
    case fb::ActorDeathCause::kKilled:
      return who + " was killed by rayc.kill" + because;
    case fb::ActorDeathCause::kOutOfScope:
      return who + " has ended: all handles on it had gone" + because;
    case fb::ActorDeathCause::kOwnerDied:
      return who + " has ended with the process that created it" + because;
    case fb::ActorDeathCause::kPlacementGroupRemoved:
      return who + " has ended with its placement group" + because;
    case fb::ActorDeathCause::kExited:
      return who + " has left by itself" + because;
    case fb::ActorDeathCause::kJobFinished:
      return who + " has ended with its job" + because;
    case fb::ActorDeathCause::kUnschedulable:
      return who + " cannot be placed" + because;
    case fb::ActorDeathCause::kCreationFailed:
      return "the constructor of " + who + " failed" + because;
    case fb::ActorDeathCause::kWorkerDied:
      return "the process of " + who + " has ended" + because;
    case fb::ActorDeathCause::kNone:
      return who + " is dead" + because;
  }
  return who + " is dead" + because;
}

}  // namespace

Status CoreWorker::CreateActor(const TaskOptions& options, ActorCreationSpec creation,
                               std::vector<TaskArg> args, ObjectId* handle) {
  const auto registered = std::make_shared<Registration>();
  const bool named = !creation.name.empty();
  ActorId actor;
  {
    const MutexLock lock(mutex_);
    RAYC_RETURN_NOT_OK(CheckArguments(args));
    actor = ActorId::Of(job_id_);
    creation.actor_id = actor;
    *handle = ObjectId::ForActorHandle(actor);
    references_.AddOwned(*handle, 1);
    OwnActor& own = *(own_actors_[actor] = std::make_unique<OwnActor>());
    own.detached = creation.is_detached;
    own.restartable = creation.max_restarts != 0;
    own.registration = registered;
    auto spec = MakeSpec(options, TaskType::kActorCreation, TaskId::ForActorCreation(actor),
                         std::move(args));
    spec->num_returns = 1;
    spec->creation = std::move(creation);
    own.creation = spec->task_id;
    const TaskId id = spec->task_id;
    PendingTask& task = AddPending(std::move(spec), options);
    ResolveDependencies(task);
    if (const auto it = pending_.find(id); it != pending_.end()) {
      if (it->second.unresolved == 0) {
        OnResolved(id);
      } else {
        // Its name is taken now, and others may ask for it; the arguments follow.
        gcs_->RegisterActor(*it->second.spec, [this, actor, id](const Status& status) {
          OnActorRegistered(actor, id, status);
        });
      }
    }
    ProcessDeferred();
  }
  if (!named) {
    return Status::Ok();
  }
  Status status = Await(registered->done, -1);
  if (status.ok()) {
    status = registered->status;
  }
  if (!status.ok()) {
    RemoveLocalRef(*handle);
  }
  return status;
}

void CoreWorker::RegisterActor(const TaskId& creation) {
  PendingTask& task = pending_.at(creation);
  const ActorId actor = task.spec->creation->actor_id;
  gcs_->CreateActor(*task.spec, job_config_, [this, actor, creation](const Status& status) {
    OnActorRegistered(actor, creation, status);
  });
}

void CoreWorker::OnActorRegistered(const ActorId& actor, const TaskId& creation,
                                   const Status& status) {
  const MutexLock lock(mutex_);
  const auto own = own_actors_.find(actor);
  if (own == own_actors_.end()) {
    return;
  }
  Settle(own->second->registration, status);
  if (status.ok()) {
    const bool first = !std::exchange(own->second->registered, true);
    actor_submitter_.Follow(actor);
    if (first && own->second->out_of_scope && !own->second->detached) {
      gcs_->ActorOutOfScope(actor);
    }
  } else if (const auto pending = pending_.find(creation); pending != pending_.end()) {
    const std::shared_ptr<TaskSpec> spec = pending->second.spec;
    FailTask(*spec, MakeErrorValue(status));
  }
  ProcessDeferred();
}

void CoreWorker::Settle(const std::shared_ptr<Registration>& registration, const Status& status) {
  if (registration != nullptr && !registration->done.load()) {
    registration->status = status;
    registration->done.store(true);
    drainer_.Notify();
  }
}

Status CoreWorker::SubmitActorTask(const ActorId& actor, const TaskOptions& options,
                                   std::vector<TaskArg> args, int32_t max_task_retries,
                                   std::vector<ObjectId>* returns) {
  const MutexLock lock(mutex_);
  RAYC_RETURN_NOT_OK(CheckArguments(args));
  auto spec = MakeSpec(options, TaskType::kActor, TaskId::ForActorTask(actor), std::move(args));
  spec->actor_id = actor;
  for (uint32_t i = 0; i < spec->num_returns; ++i) {
    returns->push_back(spec->ReturnId(i));
    references_.AddOwned(returns->back(), 1);
  }
  // The creator follows its actor once the GCS knows of it.
  if (own_actors_.count(actor) == 0) {
    actor_submitter_.Follow(actor);
  }
  const TaskId id = spec->task_id;
  const std::shared_ptr<TaskSpec> call = spec;
  PendingTask& task = AddPending(std::move(spec), options);
  ResolveDependencies(task);
  const auto it = pending_.find(id);
  if (it != pending_.end()) {  // else: an argument has failed
    actor_submitter_.Submit(call, max_task_retries, it->second.unresolved == 0);
  }
  ProcessDeferred();
  return Status::Ok();
}

void CoreWorker::SubscribeActor(const ActorId& actor) {
  gcs_->SubscribeActor(actor, [this, actor](Result<const fb::ActorInfo*> info) {
    const MutexLock lock(mutex_);
    if (info) {
      OnActorInfo(**info);
    } else if (info.error().code() == StatusCode::kNotFound) {
      actor_submitter_.Kill(
          actor,
          MakeActorErrorValue({StatusCode::kActorDied, "the actor is not known any more"}, actor));
    }
    ProcessDeferred();
  });
}

void CoreWorker::OnActorInfo(const fb::ActorInfo& info) {
  ActorUpdate update;
  update.actor_id = ActorId::FromBytes(info.actor_id());
  update.incarnation = info.incarnation();
  switch (info.state()) {
    case fb::ActorState::kDependenciesUnready:
    case fb::ActorState::kPendingCreation:
      update.state = ActorUpdate::State::kPending;
      break;
    case fb::ActorState::kAlive:
      update.state = ActorUpdate::State::kAlive;
      update.address = rpc::FromMessage(info.address());
      break;
    case fb::ActorState::kRestarting:
      update.state = ActorUpdate::State::kRestarting;
      break;
    case fb::ActorState::kDead: {
      update.state = ActorUpdate::State::kDead;
      const std::string_view error = rpc::BytesView(info.creation_error_data());
      const std::string metadata = rpc::FromString(info.creation_error_metadata());
      if (info.death_cause() == fb::ActorDeathCause::kCreationFailed && !error.empty() &&
          !metadata.empty() && metadata[0] == kTaskErrorTag) {
        update.error = MakeActorInitErrorValue(error, update.actor_id);
      } else if (info.death_cause() == fb::ActorDeathCause::kUnschedulable) {
        update.error = MakeActorErrorValue({StatusCode::kUnschedulable, DescribeActorDeath(info)},
                                           update.actor_id);
      } else if (info.death_cause() == fb::ActorDeathCause::kPlacementGroupRemoved) {
        update.error = MakeActorErrorValue(
            {StatusCode::kPlacementGroupRemoved, DescribeActorDeath(info)}, update.actor_id);
      } else {
        update.error = MakeActorErrorValue({StatusCode::kActorDied, DescribeActorDeath(info)},
                                           update.actor_id);
      }
      break;
    }
  }
  actor_submitter_.OnUpdate(update);
  const bool is_dead = update.state == ActorUpdate::State::kDead;
  const auto own = own_actors_.find(update.actor_id);
  if (own == own_actors_.end()) {
    if (is_dead) {
      unused_actors_.push_back(update.actor_id);
    }
    return;
  }
  if (is_dead && own->second->out_of_scope) {
    ForgetOwnActor(update.actor_id);
  } else if (is_dead || (update.state == ActorUpdate::State::kAlive && !own->second->restartable)) {
    FinishTask(TaskId(own->second->creation));
  }
}

void CoreWorker::ForgetOwnActor(const ActorId& actor) {
  const auto own = own_actors_.find(actor);
  const TaskId creation = own->second->creation;
  own_actors_.erase(own);
  unused_actors_.push_back(actor);
  FinishTask(creation);
}

// Called when no state machine is at work. An actor that somebody here still holds, or calls,
// stays.
void CoreWorker::ForgetActors() {
  for (const ActorId& actor : std::exchange(unused_actors_, {})) {
    if (own_actors_.count(actor) == 0 && !references_.Has(ObjectId::ForActorHandle(actor)) &&
        actor_submitter_.Forget(actor)) {
      gcs_->UnsubscribeActor(actor);
    }
  }
}

void CoreWorker::OnHandlesGone(const ActorId& actor) {
  const auto own = own_actors_.find(actor);
  if (own == own_actors_.end()) {
    return;
  }
  own->second->out_of_scope = true;
  if (own->second->registered && !own->second->detached && !shutting_down_.load()) {
    gcs_->ActorOutOfScope(actor);
  }
  if (actor_submitter_.IsDead(actor)) {
    ForgetOwnActor(actor);
  }
}

void CoreWorker::PushCall(const Address& address, const ActorSubmitter::CallPtr& call) {
  auto peer = GetPeer(address);
  if (!peer) {
    loop_.Post([this, worker = address.worker_id] {
      const MutexLock lock(mutex_);
      OnWorkerLost(worker);
      ProcessDeferred();
    });
    return;
  }
  SendPushTask(**peer, call, {}, 0);
}

void CoreWorker::FailCall(const ActorSubmitter::CallPtr& call, const ObjectValue& error) {
  DeleteReturns(*call);
  for (uint32_t i = 0; i < call->num_returns; ++i) {
    StoreReturn(call->ReturnId(i), {error, false, error.data->size()}, {});
  }
  FinishTask(call->task_id);
}

size_t CoreWorker::NumPendingCalls(const ActorId& actor) const {
  const MutexLock lock(mutex_);
  return actor_submitter_.num_pending(actor);
}

Status CoreWorker::KillActor(const ActorId& actor, bool no_restart) {
  return AwaitStatus([&](rpc::StatusCallback callback) {
    gcs_->KillActor(actor, no_restart, std::move(callback));
  });
}

Result<std::optional<NamedActor>> CoreWorker::GetNamedActor(const std::string& name,
                                                            const std::string& name_space) {
  using Found = std::optional<NamedActor>;
  return AwaitResult<Found>([&](const rpc::Callback<Found>& callback) {
    gcs_->GetNamedActor(name, name_space, [callback](Result<const fb::ActorInfo*> info) {
      if (info) {
        callback(NamedActor{ActorId::FromBytes((*info)->actor_id()),
                            std::string(rpc::BytesView((*info)->handle_state()))});
      } else if (info.error().code() == StatusCode::kNotFound) {
        callback(Found());
      } else {
        callback(Err(info.error()));
      }
    });
  });
}

Result<std::vector<std::pair<std::string, std::string>>> CoreWorker::ListNamedActors(
    bool all_namespaces, const std::string& name_space) {
  using Names = std::vector<std::pair<std::string, std::string>>;
  fb::ListActorsT request;
  request.only_named = true;
  request.all_namespaces = all_namespaces;
  request.name_space = name_space;
  return AwaitResult<Names>([&](const rpc::Callback<Names>& callback) {
    gcs_->ListActors(request, [callback](Result<const fb::ListActorsReply*> reply) {
      if (!reply) {
        callback(Err(reply.error()));
        return;
      }
      Names names;
      if ((*reply)->actors() != nullptr) {
        for (const fb::ActorInfo* info : *(*reply)->actors()) {
          if (info->state() != fb::ActorState::kDead) {
            names.emplace_back(rpc::FromString(info->name_space()), rpc::FromString(info->name()));
          }
        }
      }
      callback(std::move(names));
    });
  });
}

}  // namespace rayc::core_worker
