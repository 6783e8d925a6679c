// CoreWorker's placement groups. The GCS answers their creation once all is reserved, and this
// process keeps that answer for the one who asks first; after that, and for groups that others
// made, each question goes to the GCS, as anybody may have removed the group meanwhile.
#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {
namespace {

PlacementGroupRecord ReadGroup(const fb::PlacementGroupInfo& info) {
  PlacementGroupRecord group;
  group.id = PlacementGroupId::FromBytes(info.group_id());
  group.name = rpc::FromString(info.name());
  group.name_space = rpc::FromString(info.name_space());
  group.strategy = static_cast<int>(info.strategy());
  if (info.bundles() != nullptr) {
    for (const fb::Bundle* bundle : *info.bundles()) {
      group.bundles.push_back(rpc::FromMessage(bundle->resources()));
    }
  }
  if (info.nodes() != nullptr) {
    for (const fb::NodeOfBundle* node : *info.nodes()) {
      group.nodes.push_back(NodeId::FromBytes(node->node_id()));
    }
  }
  group.nodes.resize(group.bundles.size());
  group.state = static_cast<int>(info.state());
  group.failure = rpc::FromString(info.failure());
  group.created_after_us = info.created_after_us();
  group.attempts = info.attempts();
  return group;
}

}  // namespace

Status CoreWorker::CreatePlacementGroup(const PlacementGroupSpec& spec, PlacementGroupId* id) {
  const auto wait = std::make_shared<PlacementGroupWait>();
  fb::CreatePlacementGroupT request;
  request.name = spec.name;
  request.name_space = spec.name_space;
  request.strategy = static_cast<fb::PlacementStrategy>(spec.strategy);
  request.is_detached = spec.is_detached;
  for (const ResourceSet& resources : spec.bundles) {
    auto bundle = std::make_unique<fb::BundleT>();
    bundle->index = static_cast<uint32_t>(request.bundles.size());
    bundle->resources = rpc::ToMessage(resources);
    request.bundles.push_back(std::move(bundle));
  }
  if (!spec.soft_target.IsNil()) {
    request.soft_target_node = rpc::IdBytes(spec.soft_target);
  }
  {
    const MutexLock lock(mutex_);
    RAYC_RETURN_NOT_OK(CheckArguments({}));
    *id = PlacementGroupId::Of(job_id_);
    request.group_id = rpc::IdBytes(*id);
    request.job_id = rpc::IdBytes(job_id_);
    if (!own_detached_actor_.IsNil()) {
      request.creator_actor = rpc::IdBytes(own_detached_actor_);
    }
    group_waits_[*id] = wait;
  }
  gcs_->CreatePlacementGroup(request,
                             [this, wait](const Status& status) { SettleGroup(wait, status); });
  if (spec.name.empty()) {
    return Status::Ok();
  }
  // The name may be taken: then the refusal is here before the answer to this question.
  std::vector<PlacementGroupRecord> found;
  Status status = GetPlacementGroup(*id, "", "", &found);
  if (status.ok() && found.empty()) {
    const MutexLock lock(mutex_);
    group_waits_.erase(*id);
    status = wait->done.load() && !wait->status.ok()
                 ? wait->status
                 : Status(StatusCode::kPlacementGroupRemoved, "the placement group was removed");
  }
  return status;
}

void CoreWorker::SettleGroup(const std::shared_ptr<PlacementGroupWait>& wait,
                             const Status& status) {
  {
    const MutexLock lock(mutex_);
    wait->status = status;
    wait->done.store(true);
    for (const auto& then : std::exchange(wait->then, {})) {
      then(status);
    }
    ProcessDeferred();
  }
  drainer_.Notify();
}

std::shared_ptr<PlacementGroupWait> CoreWorker::FollowGroup(const PlacementGroupId& id) {
  auto& wait = group_waits_[id];
  if (wait == nullptr) {
    wait = std::make_shared<PlacementGroupWait>();
    gcs_->WaitPlacementGroup(
        id, [this, wait = wait](const Status& status) { SettleGroup(wait, status); });
  }
  return wait;
}

void CoreWorker::ForgetGroup(const PlacementGroupId& id,
                             const std::shared_ptr<PlacementGroupWait>& wait) {
  const auto it = group_waits_.find(id);
  if (it != group_waits_.end() && it->second == wait) {
    group_waits_.erase(it);
  }
}

Status CoreWorker::WaitPlacementGroup(const PlacementGroupId& id, int64_t timeout_ms,
                                      bool* created) {
  std::shared_ptr<PlacementGroupWait> wait;
  {
    const MutexLock lock(mutex_);
    wait = FollowGroup(id);
  }
  Status status = Status::Ok();
  if (!wait->done.load()) {
    BlockCurrentTask();
    status = Await(wait->done, timeout_ms);
    UnblockCurrentTask();
  }
  *created = false;
  if (status.code() == StatusCode::kTimedOut) {
    return Status::Ok();
  }
  RAYC_RETURN_NOT_OK(status);
  const MutexLock lock(mutex_);
  ForgetGroup(id, wait);
  if (wait->status.code() == StatusCode::kUnschedulable ||
      wait->status.code() == StatusCode::kPlacementGroupRemoved) {
    return Status::Ok();
  }
  *created = wait->status.ok();
  return wait->status;
}

Status CoreWorker::PlacementGroupReady(const PlacementGroupId& id, ObjectValue value,
                                       ObjectId* ref) {
  *ref = NextPutId();
  const MutexLock lock(mutex_);
  RAYC_RETURN_NOT_OK(CheckArguments({}));
  references_.AddOwned(*ref, 1);
  const std::shared_ptr<PlacementGroupWait> wait = FollowGroup(id);
  const auto settle = [this, id, ref = *ref, value = std::move(value),
                       weak = std::weak_ptr<PlacementGroupWait>(wait)](const Status& status)
                          RAYC_NO_TSA {
                            if (const auto settled = weak.lock()) {
                              ForgetGroup(id, settled);
                            }
                            const ObjectValue result = status.ok() ? value : MakeErrorValue(status);
                            StoreReturn(ref, {result, false, result.data->size()}, {});
                          };
  if (wait->done.load()) {
    settle(wait->status);
    ProcessDeferred();
  } else {
    wait->then.emplace_back(settle);
  }
  return Status::Ok();
}

void CoreWorker::RemovePlacementGroup(const PlacementGroupId& id) {
  const MutexLock lock(mutex_);
  group_waits_.erase(id);
  gcs_->RemovePlacementGroup(id);
}

Status CoreWorker::GetPlacementGroup(const PlacementGroupId& id, const std::string& name,
                                     const std::string& name_space,
                                     std::vector<PlacementGroupRecord>* found) {
  using Groups = std::vector<PlacementGroupRecord>;
  fb::GetPlacementGroupT request;
  if (!id.IsNil()) {
    request.group_id = rpc::IdBytes(id);
  }
  request.name = name;
  request.name_space = name_space;
  auto groups = AwaitResult<Groups>([&](const rpc::Callback<Groups>& callback) {
    gcs_->GetPlacementGroup(request, [callback](Result<const fb::PlacementGroupInfo*> info) {
      if (info) {
        callback(Groups{ReadGroup(**info)});
      } else if (info.error().code() == StatusCode::kNotFound) {
        callback(Groups());
      } else {
        callback(Err(info.error()));
      }
    });
  });
  if (!groups) {
    return groups.error();
  }
  *found = std::move(*groups);
  return Status::Ok();
}

Status CoreWorker::ListPlacementGroups(std::vector<PlacementGroupRecord>* found) {
  using Groups = std::vector<PlacementGroupRecord>;
  auto groups = AwaitResult<Groups>([&](const rpc::Callback<Groups>& callback) {
    gcs_->ListPlacementGroups([callback](Result<const fb::ListPlacementGroupsReply*> reply) {
      if (!reply) {
        callback(Err(reply.error()));
        return;
      }
      Groups all;
      if ((*reply)->groups() != nullptr) {
        for (const fb::PlacementGroupInfo* info : *(*reply)->groups()) {
          all.push_back(ReadGroup(*info));
        }
      }
      callback(std::move(all));
    });
  });
  if (!groups) {
    return groups.error();
  }
  *found = std::move(*groups);
  return Status::Ok();
}

SchedulingStrategy CoreWorker::CurrentStrategy() {
  const MutexLock lock(mutex_);
  const SchedulingStrategy* strategy = FindCurrentStrategy();
  return strategy == nullptr ? SchedulingStrategy() : *strategy;
}

const SchedulingStrategy* CoreWorker::FindCurrentStrategy() const {
  const TaskContext* context = TaskExecutor::Current();
  if (context != nullptr && context->spec->type != TaskType::kActor) {
    return &context->spec->strategy;
  }
  return &own_strategy_;
}

}  // namespace rayc::core_worker
