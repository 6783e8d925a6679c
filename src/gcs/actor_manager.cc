#include "gcs/actor_manager.h"

#include <algorithm>

#include "common/logging.h"

namespace rayc::gcs {
namespace {

// Copies the ids: ending one actor changes the set.
std::vector<ActorId> IdsIn(const auto& map, const auto& key) {
  const auto it = map.find(key);
  if (it == map.end()) {
    return {};
  }
  return {it->second.begin(), it->second.end()};
}

void EraseFrom(auto& map, const auto& key, const ActorId& id) {
  const auto it = map.find(key);
  if (it != map.end()) {
    it->second.erase(id);
    if (it->second.empty()) {
      map.erase(it);
    }
  }
}

}  // namespace

Status ActorManager::Register(TaskSpec spec) {
  if (spec.type != TaskType::kActorCreation || !spec.creation) {
    return Status::InvalidArgument("not the creation of an actor");
  }
  const ActorCreationSpec& creation = *spec.creation;
  const ActorId id = creation.actor_id;
  if (!id.IsActor() || spec.caller.IsNil()) {
    return Status::InvalidArgument("the creation of an actor needs an actor id and an owner");
  }
  if (actors_.contains(id)) {
    return Status::AlreadyExists("actor " + id.Hex() + " is registered already");
  }
  if (!creation.name.empty() &&
      !names_.try_emplace(Name(creation.name_space, creation.name), id).second) {
    return Status::AlreadyExists("an actor named '" + creation.name + "' lives in namespace '" +
                                 creation.name_space + "' already");
  }
  Record& record = actors_[id];
  record.info.actor_id = id;
  record.info.class_name = creation.class_name;
  record.info.name = creation.name;
  record.info.name_space = creation.name_space;
  record.info.job_id = spec.job_id;
  record.info.owner = spec.caller;
  record.info.is_detached = creation.is_detached;
  record.info.max_task_retries = creation.max_task_retries;
  record.info.handle_state = creation.handle_state;
  record.max_restarts = creation.max_restarts;
  by_owner_[spec.caller.worker_id].insert(id);
  by_job_[spec.job_id].insert(id);
  return Status::Ok();
}

Status ActorManager::Create(TaskSpec spec, std::string job_config) {
  const ActorId id = spec.creation ? spec.creation->actor_id : ActorId::Nil();
  auto it = actors_.find(id);
  if (it == actors_.end()) {
    RAYC_RETURN_NOT_OK(Register(spec));
    it = actors_.find(id);
  } else if (it->second.info.IsDead()) {
    return {StatusCode::kActorDied, "actor " + id.Hex() + " died before its arguments were there"};
  } else if (it->second.info.state != fb::ActorState::kDependenciesUnready) {
    return Status::AlreadyExists("actor " + id.Hex() + " is being created already");
  } else if (!(it->second.info.owner == spec.caller)) {
    return Status::InvalidArgument("actor " + id.Hex() + " belongs to somebody else");
  }
  Record& record = it->second;
  record.spec = std::make_shared<const TaskSpec>(std::move(spec));
  record.job_config = std::make_shared<const std::string>(std::move(job_config));
  record.info.incarnation = 1;
  Fire(record, ActorEvent::kResolved);
  Schedule(record, 0);
  return Status::Ok();
}

void ActorManager::Fire(Record& record, ActorEvent event) {
  const auto next = NextActorState(record.info.state, event);
  RAYC_CHECK(next) << "actor " << record.info.actor_id << " in state "
                   << fb::EnumNameActorState(record.info.state) << " cannot take event "
                   << static_cast<int>(event);
  record.info.state = *next;
  publisher_.Publish(record.info);
}

void ActorManager::Schedule(Record& record, int64_t delay_ms) {
  record.started_ms = clock_.NowMs() + delay_ms;
  const ActorId id = record.info.actor_id;
  scheduler_.Schedule(CreationRequest{id, record.spec, record.job_config, delay_ms},
                      [this, id, incarnation = record.info.incarnation](CreationOutcome outcome) {
                        OnOutcome(id, incarnation, std::move(outcome));
                      });
}

void ActorManager::OnOutcome(const ActorId& id, uint32_t incarnation, CreationOutcome outcome) {
  Record* record = FindLiving(id);
  if (record == nullptr || record->info.incarnation != incarnation) {
    return;
  }
  switch (outcome.kind) {
    case CreationOutcome::Kind::kCreated:
      record->info.address = outcome.worker;
      record->info.pid = outcome.pid;
      record->info.death_detail.clear();
      by_worker_[outcome.worker.worker_id] = id;
      Fire(*record, ActorEvent::kCreated);
      return;
    case CreationOutcome::Kind::kConstructorRaised:
      record->info.creation_error_data = std::move(outcome.error_data);
      record->info.creation_error_metadata = std::move(outcome.error_metadata);
      End(*record, fb::ActorDeathCause::kCreationFailed, outcome.detail);
      return;
    case CreationOutcome::Kind::kUnschedulable:
      End(*record, fb::ActorDeathCause::kUnschedulable, outcome.detail);
      return;
    case CreationOutcome::Kind::kGroupRemoved:
      End(*record, fb::ActorDeathCause::kPlacementGroupRemoved, outcome.detail);
      return;
    case CreationOutcome::Kind::kFailed:
      End(*record, fb::ActorDeathCause::kCreationFailed, outcome.detail);
      return;
    case CreationOutcome::Kind::kWorkerLost:
      OnWorkerGone(*record, outcome.exit);
      return;
  }
}

void ActorManager::OnWorkerGone(Record& record, const WorkerExit& exit) {
  if (exit.pid > 0) {
    record.info.pid = exit.pid;
  }
  if (record.is_stopping) {
    End(record, fb::ActorDeathCause::kOutOfScope, "");
  } else if (exit.group_removed) {
    End(record, fb::ActorDeathCause::kPlacementGroupRemoved, exit.detail);
  } else if (exit.intended) {
    End(record, fb::ActorDeathCause::kExited, exit.detail);
  } else if (MayRestart(record)) {
    Restart(record, exit.Describe());
  } else {
    End(record, fb::ActorDeathCause::kWorkerDied, exit.Describe());
  }
}

bool ActorManager::LivesOnAlone(const Record& record) {
  // Without its owner nobody would resolve its arguments.
  return record.info.is_detached && record.info.state != fb::ActorState::kDependenciesUnready;
}

bool ActorManager::MayRestart(const Record& record) const {
  return !record.is_stopping &&
         (record.max_restarts < 0 ||
          record.info.num_restarts < static_cast<uint32_t>(record.max_restarts));
}

void ActorManager::Restart(Record& record, const std::string& why) {
  const bool quick = clock_.NowMs() - record.started_ms < kQuickDeathMs;
  record.quick_deaths = quick ? record.quick_deaths + 1 : 0;
  int64_t delay_ms = 0;
  if (record.quick_deaths > 1) {
    const uint32_t doublings = std::min(record.quick_deaths - 2, 10U);
    delay_ms = std::min(kRestartDelayMs << doublings, kRestartDelayMaxMs);
  }
  by_worker_.erase(record.info.address.worker_id);
  record.info.address = Address();
  record.info.num_restarts += 1;
  record.info.incarnation += 1;
  record.info.death_detail = why;
  auto again = std::make_shared<TaskSpec>(*record.spec);
  again->attempt = record.info.num_restarts;
  record.spec = std::move(again);
  Fire(record, ActorEvent::kRestart);
  Schedule(record, delay_ms);
}

void ActorManager::StopWorker(const Record& record, const std::string& reason) {
  if (record.info.state == fb::ActorState::kAlive) {
    scheduler_.KillWorker(record.info.address, reason);
  } else {
    scheduler_.Cancel(record.info.actor_id, reason);
  }
}

void ActorManager::FreeName(const Record& record) {
  const auto it = names_.find(Name(record.info.name_space, record.info.name));
  if (it != names_.end() && it->second == record.info.actor_id) {
    names_.erase(it);
  }
}

void ActorManager::End(Record& record, fb::ActorDeathCause cause, const std::string& detail) {
  const ActorId id = record.info.actor_id;
  FreeName(record);
  by_worker_.erase(record.info.address.worker_id);
  EraseFrom(by_owner_, record.info.owner.worker_id, id);
  EraseFrom(by_job_, record.info.job_id, id);
  record.info.address = Address();
  record.info.death_cause = cause;
  record.info.death_detail = detail;
  record.spec = nullptr;
  record.job_config = nullptr;
  Fire(record, ActorEvent::kEnd);
  dead_.push_back(id);
  if (on_dead_) {
    const ActorInfo info = record.info;
    on_dead_(info);
  }
  while (dead_.size() > kDeadActorsMax) {
    actors_.erase(dead_.front());
    dead_.pop_front();
  }
}

Status ActorManager::Kill(const ActorId& id, bool no_restart) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) {
    return Status::NotFound("there is no actor " + id.Hex());
  }
  Record& record = it->second;
  if (record.info.IsDead()) {
    return Status::Ok();
  }
  const std::string why = "killed by rayc.kill";
  const bool restart = !no_restart && MayRestart(record);
  if (restart && record.info.state == fb::ActorState::kDependenciesUnready) {
    return Status::Ok();  // nothing runs that could be killed
  }
  StopWorker(record, why);
  if (restart) {
    Restart(record, why);
  } else {
    End(record, fb::ActorDeathCause::kKilled, "");
  }
  return Status::Ok();
}

void ActorManager::OnOutOfScope(const ActorId& id) {
  Record* record = FindLiving(id);
  if (record == nullptr || record->info.is_detached || record->is_stopping) {
    return;
  }
  const std::string why = "no handle to its actor is left";
  if (record->info.state != fb::ActorState::kAlive) {
    StopWorker(*record, why);
    End(*record, fb::ActorDeathCause::kOutOfScope, "");
    return;
  }
  record->is_stopping = true;
  FreeName(*record);
  scheduler_.StopActor(record->info.address, id, why);
}

void ActorManager::OnWorkerDeath(const WorkerExit& exit) {
  if (const auto it = by_worker_.find(exit.worker_id); it != by_worker_.end()) {
    if (Record* record = FindLiving(it->second)) {
      OnWorkerGone(*record, exit);
    }
  }
  OnOwnerDeath(exit.worker_id);
}

void ActorManager::OnOwnerDeath(const WorkerId& owner) {
  for (const ActorId& id : IdsIn(by_owner_, owner)) {
    Record* record = FindLiving(id);
    if (record == nullptr || LivesOnAlone(*record)) {
      continue;
    }
    StopWorker(*record, "the owner of its actor is gone");
    End(*record, fb::ActorDeathCause::kOwnerDied, "");
  }
}

void ActorManager::OnNodeDeath(const NodeId& node, const std::string& reason) {
  std::vector<ActorId> there;
  std::unordered_set<WorkerId> owners;
  for (const auto& [id, record] : actors_) {
    if (record.info.IsDead()) {
      continue;
    }
    if (record.info.state == fb::ActorState::kAlive && record.info.address.node_id == node) {
      there.push_back(id);
    }
    if (record.info.owner.node_id == node) {
      owners.insert(record.info.owner.worker_id);
    }
  }
  for (const WorkerId& owner : owners) {
    OnOwnerDeath(owner);
  }
  for (const ActorId& id : there) {
    Record* record = FindLiving(id);
    if (record != nullptr) {
      WorkerExit exit;
      exit.worker_id = record->info.address.worker_id;
      exit.pid = record->info.pid;
      exit.detail = "its node is gone: " + reason;
      OnWorkerGone(*record, exit);
    }
  }
}

void ActorManager::OnJobFinished(const JobId& job) {
  for (const ActorId& id : IdsIn(by_job_, job)) {
    Record* record = FindLiving(id);
    if (record == nullptr || LivesOnAlone(*record)) {
      continue;
    }
    StopWorker(*record, "the job of its actor has ended");
    End(*record, fb::ActorDeathCause::kJobFinished, "");
  }
}

ActorManager::Record* ActorManager::FindLiving(const ActorId& id) {
  const auto it = actors_.find(id);
  return it == actors_.end() || it->second.info.IsDead() ? nullptr : &it->second;
}

const ActorInfo* ActorManager::Find(const ActorId& id) const {
  const auto it = actors_.find(id);
  return it == actors_.end() ? nullptr : &it->second.info;
}

const ActorInfo* ActorManager::FindNamed(const std::string& name,
                                         const std::string& name_space) const {
  const auto it = names_.find(Name(name_space, name));
  return it == names_.end() ? nullptr : Find(it->second);
}

std::vector<const ActorInfo*> ActorManager::List() const {
  std::vector<const ActorInfo*> list;
  list.reserve(actors_.size());
  for (const auto& [id, record] : actors_) {
    list.push_back(&record.info);
  }
  return list;
}

bool ActorManager::HasLivingActors(const JobId& job) const { return by_job_.contains(job); }

}  // namespace rayc::gcs
