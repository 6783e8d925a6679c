// CoreWorker's objects: put, get, wait, and what ownership and borrowing ask of it.
#include <algorithm>
#include <span>

#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {
namespace {

// A reference of the caller's that a result holds is kept so long after the reply: the caller
// counts it when the reply arrives, which nothing tells us.
constexpr int64_t kHandedBackHoldMs = 2'000;
// How long a put or a result waits for others to let go of memory, before ObjectStoreFullError.
constexpr int64_t kStoreFullWaitMs = 5'000;

// A call of the store that a signal has interrupted goes on, unless the signal's handler raised.
template <typename Call>
auto RetryInterrupted(const LanguageBridge& bridge, const Call& call) {
  while (true) {
    auto result = call();
    if (result || result.error().code() != StatusCode::kInterrupted) {
      return result;
    }
    if (bridge.check_signals != nullptr) {
      if (const Status status = bridge.check_signals(); !status.ok()) {
        return decltype(result)(Err(status));
      }
    }
  }
}

}  // namespace

ObjectId CoreWorker::NextPutId() {
  const uint32_t index = next_put_index_.fetch_add(1) + 1;
  const MutexLock lock(mutex_);
  if (put_task_id_.IsNil()) {
    // A worker's own series: a retried task must not meet the objects of its first attempt.
    put_task_id_ = TaskId::ForNormalTask(job_id_);
  }
  return ObjectId::ForPut(put_task_id_, index);
}

void CoreWorker::Put(const ObjectId& id, ObjectValue value, uint64_t size,
                     const std::vector<ObjectRefInfo>& nested) {
  const bool in_plasma = value.data == nullptr;
  const MutexLock lock(mutex_);
  references_.AddOwned(id, 1);
  references_.AddContained(id, nested, false);
  RegisterUnregistered(nested);
  memory_store_.Put(id, {std::move(value), in_plasma, size});
  ProcessDeferred();
}

Result<plasma::WritableObject> CoreWorker::CreateInPlasma(const ObjectId& id, uint64_t bytes,
                                                          const std::string& metadata,
                                                          const WorkerId& owner) {
  auto client = Plasma();
  if (!client) {
    return Err(client.error());
  }
  return RetryInterrupted(options_.bridge, [&] {
    return (*client)->Create(id, bytes, metadata, {.owner = owner, .wait_ms = kStoreFullWaitMs});
  });
}

Status CoreWorker::SealInPlasma(const ObjectId& id) {
  auto client = Plasma();
  return client ? (*client)->Seal(id) : client.error();
}

void CoreWorker::AbortInPlasma(const ObjectId& id) {
  if (auto client = Plasma()) {
    const Status status = (*client)->Abort(id);
    if (!status.ok()) {
      RAYC_LOG(kDebug) << "abort " << id << ": " << status;
    }
  }
}

// ---- get and wait ----------------------------------------------------------------------------

namespace {

ObjectValue FreedError(const ObjectId& id) {
  return MakeErrorValue(
      {StatusCode::kObjectLost, "object " + id.Hex() + " was freed by its owner"});
}

// What a blocked get or wait waits for. Shared with the store's callbacks, which may outlive the
// wait; counted under CoreWorker's lock.
struct Waiter {
  std::atomic<bool> done{false};
  size_t missing = 0;
};

}  // namespace

Status CoreWorker::Get(const std::vector<ObjectId>& ids, int64_t timeout_ms,
                       std::vector<ObjectValue>* values) {
  values->assign(ids.size(), {});
  std::vector<size_t> in_plasma;
  const auto waiter = std::make_shared<Waiter>();
  std::vector<std::pair<ObjectId, MemoryStore::Token>> tokens;
  // Collects what is ready; if no error is among it, what is not there has been freed meanwhile.
  const auto collect = [&]() RAYC_REQUIRES(mutex_) {
    in_plasma.clear();
    bool error = false;
    std::vector<size_t> absent;
    for (size_t i = 0; i < ids.size(); ++i) {
      const StoredObject* object = memory_store_.Find(ids[i]);
      if (object == nullptr) {
        absent.push_back(i);
      } else if (object->in_plasma) {
        in_plasma.push_back(i);
      } else {
        (*values)[i] = object->value;
        error = error || IsErrorMetadata(object->value.metadata);
      }
    }
    for (size_t k = 0; k < absent.size() && !error; ++k) {
      (*values)[absent[k]] = FreedError(ids[absent[k]]);
    }
  };
  {
    const MutexLock lock(mutex_);
    bool error = false;
    for (const ObjectId& id : ids) {
      const StoredObject* object = memory_store_.Find(id);
      if (object != nullptr) {
        error = error || (!object->in_plasma && IsErrorMetadata(object->value.metadata));
        continue;
      }
      RAYC_RETURN_NOT_OK(CheckKnown(id));
      ++waiter->missing;
    }
    if (waiter->missing > 0 && !error && timeout_ms != 0) {
      for (const ObjectId& id : ids) {
        if (memory_store_.Find(id) != nullptr) {
          continue;
        }
        tokens.emplace_back(
            id, memory_store_.WhenReady(id, [this, waiter](const ObjectId& /*id*/,
                                                           const StoredObject& object) {
              const bool failed = !object.in_plasma && IsErrorMetadata(object.value.metadata);
              if (--waiter->missing == 0 || failed) {
                waiter->done.store(true);
                drainer_.Notify();
              }
            }));
        Fetch(id);
      }
    } else if (waiter->missing > 0) {
      for (const ObjectId& id : ids) {
        if (memory_store_.Find(id) == nullptr) {
          Fetch(id);
        }
      }
    }
    ProcessDeferred();
    if (tokens.empty()) {
      if (waiter->missing > 0 && !error) {
        return {StatusCode::kTimedOut, "not ready"};
      }
      collect();
    }
  }
  if (!tokens.empty()) {
    BlockCurrentTask();
    const Status status = Await(waiter->done, timeout_ms);
    UnblockCurrentTask();
    const MutexLock lock(mutex_);
    for (const auto& [id, token] : tokens) {
      memory_store_.Forget(id, token);
    }
    RAYC_RETURN_NOT_OK(status);
    collect();
  }
  return ReadFromPlasma(ids, in_plasma, values);
}

Status CoreWorker::WhenReady(const ObjectId& id, std::function<void()> callback) {
  const MutexLock lock(mutex_);
  if (memory_store_.Find(id) == nullptr) {
    RAYC_RETURN_NOT_OK(CheckKnown(id));
  }
  memory_store_.WhenReady(
      id, [callback = std::move(callback)](const ObjectId& /*id*/, const StoredObject& /*object*/) {
        callback();
      });
  Fetch(id);
  ProcessDeferred();
  return Status::Ok();
}

Status CoreWorker::CheckKnown(const ObjectId& id) {
  if (!references_.Has(id)) {
    return Status::InvalidArgument("object " + id.Hex() +
                                   " is unknown here: its reference was not obtained from a task, "
                                   "a put, an argument or a value of this session");
  }
  if (!node_lost_.empty()) {
    return {StatusCode::kDisconnected, "the node's raylet is gone (" + node_lost_ + ")"};
  }
  return Status::Ok();
}

Status CoreWorker::ReadFromPlasma(const std::vector<ObjectId>& ids,
                                  const std::vector<size_t>& which,
                                  std::vector<ObjectValue>* values) {
  if (which.empty()) {
    return Status::Ok();
  }
  auto client = Plasma();
  if (!client) {
    return client.error();
  }
  std::vector<ObjectId> wanted;
  wanted.reserve(which.size());
  for (const size_t i : which) {
    wanted.push_back(ids[i]);
  }
  // Waits for what has been spilled, in any case.
  auto found = RetryInterrupted(options_.bridge, [&] { return (*client)->Get(wanted, 0); });
  if (!found) {
    return found.error();
  }
  for (size_t k = 0; k < which.size(); ++k) {
    auto& object = (*found)[k];
    (*values)[which[k]] =
        object ? std::move(*object)
               : MakeErrorValue({StatusCode::kObjectLost,
                                 "object " + wanted[k].Hex() + " is not in the store any more"});
  }
  return Status::Ok();
}

Status CoreWorker::Wait(const std::vector<ObjectId>& ids, size_t num_ready, int64_t timeout_ms,
                        std::vector<bool>* ready) {
  ready->assign(ids.size(), false);
  const auto waiter = std::make_shared<Waiter>();
  std::vector<std::pair<ObjectId, MemoryStore::Token>> tokens;
  const auto collect = [&]() RAYC_REQUIRES(mutex_) {
    size_t count = 0;
    for (size_t i = 0; i < ids.size() && count < num_ready; ++i) {
      if (memory_store_.Find(ids[i]) != nullptr) {
        (*ready)[i] = true;
        ++count;
      }
    }
    return count;
  };
  {
    const MutexLock lock(mutex_);
    const size_t count = collect();
    if (count >= num_ready) {
      return Status::Ok();
    }
    for (const ObjectId& id : ids) {
      if (memory_store_.Find(id) == nullptr) {
        RAYC_RETURN_NOT_OK(CheckKnown(id));
      }
    }
    waiter->missing = num_ready - count;
    for (size_t i = 0; i < ids.size(); ++i) {
      if ((*ready)[i]) {
        continue;
      }
      if (timeout_ms != 0) {
        tokens.emplace_back(
            ids[i], memory_store_.WhenReady(ids[i], [this, waiter](const auto&, const auto&) {
              if (waiter->missing > 0 && --waiter->missing == 0) {
                waiter->done.store(true);
                drainer_.Notify();
              }
            }));
      }
      Fetch(ids[i]);
    }
    ProcessDeferred();
    if (timeout_ms == 0) {
      return Status::Ok();
    }
  }
  BlockCurrentTask();
  Status status = Await(waiter->done, timeout_ms);
  UnblockCurrentTask();
  const MutexLock lock(mutex_);
  for (const auto& [id, token] : tokens) {
    memory_store_.Forget(id, token);
  }
  if (!status.ok() && status.code() != StatusCode::kTimedOut) {
    return status;
  }
  collect();
  return Status::Ok();
}

void CoreWorker::BlockCurrentTask() {
  TaskContext* context = TaskExecutor::Current();
  if (context == nullptr || !context->on_main_thread || context->spec->type != TaskType::kNormal ||
      context->blocked) {
    return;
  }
  context->blocked = true;
  executor_.BlockMain();
  raylet_->NotifyBlocked();
}

void CoreWorker::UnblockCurrentTask() {
  TaskContext* context = TaskExecutor::Current();
  if (context == nullptr || !context->blocked) {
    return;
  }
  context->blocked = false;
  raylet_->NotifyUnblocked();
  executor_.UnblockMain();
}

// ---- somebody else's objects -----------------------------------------------------------------

void CoreWorker::Fetch(const ObjectId& id) {
  if (references_.IsOwned(id) || memory_store_.Find(id) != nullptr || fetching_.count(id) != 0) {
    return;
  }
  const Address owner = references_.OwnerOf(id);
  if (owner == self_) {
    memory_store_.Put(id, {FreedError(id), false, 0});
    return;
  }
  auto peer = GetPeer(owner);
  if (!peer) {
    memory_store_.Put(id, {MakeErrorValue({StatusCode::kOwnerDied, OwnerDiedText(id)}), false, 0});
    return;
  }
  fetching_.insert(id);
  (*peer)->client->GetObject(
      id, [this, id](const Result<const fb::GetObjectReply*>& reply) { OnFetched(id, reply); });
}

void CoreWorker::OnFetched(const ObjectId& id, const Result<const fb::GetObjectReply*>& reply) {
  const MutexLock lock(mutex_);
  if (fetching_.erase(id) == 0 || !references_.Has(id)) {
    return;
  }
  StoredObject object;
  if (!reply && reply.error().code() != StatusCode::kDisconnected) {
    object.value = MakeErrorValue(reply.error());
  } else if (!reply) {
    object.value = MakeErrorValue({StatusCode::kOwnerDied, OwnerDiedText(id)});
  } else if ((*reply)->state() == fb::ObjectState::kInline) {
    object.value = {HeapBuffer::Copy(rpc::BytesView((*reply)->data())),
                    rpc::FromString((*reply)->metadata())};
    object.size = object.value.data->size();
  } else if ((*reply)->state() == fb::ObjectState::kInPlasma) {
    object.in_plasma = true;
    object.size = (*reply)->size();
  } else {
    object.value = FreedError(id);
  }
  memory_store_.Put(id, std::move(object));
  ProcessDeferred();
}

void CoreWorker::HandleGetObject(const ObjectId& id, rpc::Responder responder) {
  const MutexLock lock(mutex_);
  if (!references_.IsOwned(id)) {
    fb::GetObjectReplyT reply;
    reply.state = fb::ObjectState::kFreed;
    responder.Reply(reply);
    return;
  }
  const auto answer = std::make_shared<rpc::Responder>(std::move(responder));
  memory_store_.WhenReady(id, [answer](const ObjectId& /*id*/, const StoredObject& object) {
    fb::GetObjectReplyT reply;
    reply.state = object.in_plasma ? fb::ObjectState::kInPlasma : fb::ObjectState::kInline;
    reply.size = object.size;
    if (!object.in_plasma) {
      reply.data = rpc::ToBytes(object.value.data->View());
      reply.metadata = object.value.metadata;
    }
    answer->Reply(reply);
  });
}

// ---- references ------------------------------------------------------------------------------

void CoreWorker::AddLocalRef(const ObjectRefInfo& ref, const ObjectId& source) {
  const MutexLock lock(mutex_);
  if (!references_.AddLocal(ref)) {
    return;
  }
  const TaskContext* context = TaskExecutor::Current();
  if (context != nullptr && source.IsNil()) {
    return;  // came with the task's arguments: the caller holds it until our reply
  }
  if (!references_.TakeUnregistered(ref.id)) {
    return;
  }
  // Until the owner counts us, the object that the reference came out of keeps it alive.
  const bool hold_source = !source.IsNil() && references_.Has(source);
  if (hold_source) {
    references_.AddSubmitted({source, references_.OwnerOf(source)});
  }
  RegisterBorrowed({ref}, self_, [this, source, hold_source] {
    if (hold_source) {
      const MutexLock callback_lock(mutex_);
      Releases releases;
      references_.RemoveSubmitted(source, &releases);
      Apply(releases);
      ProcessDeferred();
    }
  });
}

void CoreWorker::RegisterUnregistered(const std::vector<ObjectRefInfo>& refs) {
  // What a value of ours holds must be counted by its owner, also after the task that put it.
  for (const ObjectRefInfo& ref : refs) {
    if (references_.TakeUnregistered(ref.id)) {
      RegisterBorrowed({{ref.id, references_.OwnerOf(ref.id)}}, self_, [] {});
    }
  }
}

void CoreWorker::CopyLocalRef(const ObjectId& id) {
  const MutexLock lock(mutex_);
  references_.AddLocal({id, references_.OwnerOf(id)});
}

void CoreWorker::RemoveLocalRef(const ObjectId& id) {
  const MutexLock lock(mutex_);
  Releases releases;
  references_.RemoveLocal(id, &releases);
  if (!releases.empty()) {
    Apply(releases);
    ProcessDeferred();
  }
}

Address CoreWorker::OwnerOf(const ObjectId& id) {
  const MutexLock lock(mutex_);
  return references_.OwnerOf(id);
}

void CoreWorker::HoldForever(const ObjectId& id) {
  const MutexLock lock(mutex_);
  references_.AddSubmitted({id, references_.OwnerOf(id)});
}

void CoreWorker::RegisterBorrowed(const std::vector<ObjectRefInfo>& refs, const Address& borrower,
                                  const std::function<void()>& when_counted) {
  std::unordered_map<WorkerId, std::vector<ObjectRefInfo>> by_owner;
  for (const ObjectRefInfo& ref : refs) {
    by_owner[ref.owner.worker_id].push_back(ref);
  }
  const auto left = std::make_shared<std::atomic<size_t>>(by_owner.size());
  // Tasks that end meanwhile wait for our own ones: see SendTaskReply.
  const std::shared_ptr<Counting> ours = borrower == self_ ? std::make_shared<Counting>() : nullptr;
  if (ours != nullptr) {
    counting_.insert(ours);
  }
  const auto all_counted = [this, ours, when_counted] {
    std::vector<std::function<void()>> waiting;
    if (ours != nullptr) {
      const MutexLock lock(mutex_);
      counting_.erase(ours);
      waiting.swap(ours->waiting);
    }
    when_counted();
    for (const auto& next : waiting) {
      next();
    }
  };
  for (const auto& [owner, owned] : by_owner) {
    auto peer = GetPeer(owned.front().owner);
    const auto counted = [left, all_counted] {
      if (left->fetch_sub(1) == 1) {
        all_counted();
      }
    };
    if (!peer) {
      loop_.Post(counted);  // the owner is dead; whoever reads the object finds out
      continue;
    }
    (*peer)->client->AddBorrowers(owned, borrower, [counted](const Status&) { counted(); });
  }
  if (by_owner.empty()) {
    loop_.Post(all_counted);
  }
}

void CoreWorker::HandleAddBorrowers(const rpc::ChannelPtr& channel, const fb::AddBorrowers& request,
                                    rpc::Responder responder) {
  const Address borrower = rpc::FromMessage(request.borrower());
  if (!borrower.IsNil() && request.refs() != nullptr) {
    const MutexLock lock(mutex_);
    for (const fb::ObjectRef* ref : *request.refs()) {
      references_.AddBorrower(ObjectId::FromBytes(ref->object_id()), borrower.worker_id);
    }
    if (borrower.worker_id != WorkerId::FromBinary(channel->peer().id) && !GetPeer(borrower)) {
      // Registered on behalf of a process that has just ended.
      Releases releases;
      references_.RemoveBorrowerEverywhere(borrower.worker_id, &releases);
      Apply(releases);
      ProcessDeferred();
    }
  }
  responder.Ok();
}

void CoreWorker::HandleRemoveBorrowers(const fb::RemoveBorrowers& request) {
  const Address borrower = rpc::FromMessage(request.borrower());
  if (request.refs() == nullptr) {
    return;
  }
  const MutexLock lock(mutex_);
  Releases releases;
  for (const fb::ObjectRef* ref : *request.refs()) {
    references_.RemoveBorrower(ObjectId::FromBytes(ref->object_id()), borrower.worker_id,
                               &releases);
  }
  Apply(releases);
  ProcessDeferred();
}

void CoreWorker::Apply(const Releases& releases) {
  const auto forget = [this](const ObjectId& id) RAYC_REQUIRES(mutex_) {
    if (memory_store_.IsAwaited(id)) {
      memory_store_.Put(id, {FreedError(id), false, 0});  // nobody waits for ever
    }
    memory_store_.Erase(id);
  };
  for (const ObjectId& id : releases.owned) {
    if (id.IsActorHandle()) {
      OnHandlesGone(id.Task().Actor());
      continue;
    }
    const StoredObject* object = memory_store_.Find(id);
    if (object != nullptr && object->in_plasma) {
      DeleteFromPlasma(id);
    }
    forget(id);
  }
  for (const ObjectId& id : releases.borrowed) {
    if (id.IsActorHandle()) {
      unused_actors_.push_back(id.Task().Actor());
    }
    fetching_.erase(id);
    forget(id);
  }
  for (const Releases::Unborrow& unborrow : releases.unborrow) {
    if (shutting_down_.load()) {
      break;
    }
    const auto peer = peers_.find(unborrow.ref.owner.worker_id);
    if (peer != peers_.end()) {
      peer->second.client->RemoveBorrowers(
          std::vector<ObjectRefInfo>(unborrow.registrations, unborrow.ref), self_);
    }
  }
}

void CoreWorker::DeleteFromPlasma(const ObjectId& id) {
  std::shared_ptr<plasma::Client> connected;
  {
    const MutexLock lock(plasma_mutex_);
    connected = plasma_;
  }
  if (connected != nullptr) {
    connected->DeleteLater(std::span(&id, 1));  // never blocks
    return;
  }
  // Connecting does: elsewhere.
  plasma_deletes_.push_back(id);
  if (plasma_deletes_.size() > 1) {
    return;  // a batch is on its way
  }
  loop_.Post([this] {
    std::vector<ObjectId> ids;
    {
      const MutexLock lock(mutex_);
      ids.swap(plasma_deletes_);
    }
    if (auto client = Plasma()) {
      (*client)->DeleteLater(ids);
    }
  });
}

void CoreWorker::StoreReturn(const ObjectId& id, StoredObject object,
                             const std::vector<ObjectRefInfo>& nested) {
  if (!references_.IsOwned(id)) {
    // Nobody waits for it any more.
    if (object.in_plasma) {
      DeleteFromPlasma(id);
    }
    Unregister(nested);
    return;
  }
  if (!nested.empty()) {
    references_.AddContained(id, nested, true);
    for (const ObjectRefInfo& ref : nested) {
      if (!(ref.owner == self_)) {
        (void)GetPeer(ref.owner);  // its death must reach us, and ours it
      }
    }
  }
  memory_store_.Put(id, std::move(object));
}

void CoreWorker::Unregister(const std::vector<ObjectRefInfo>& refs) {
  for (const ObjectRefInfo& ref : refs) {
    if (!(ref.owner == self_)) {
      if (auto peer = GetPeer(ref.owner)) {
        (*peer)->client->RemoveBorrowers({ref}, self_);
      }
    }
  }
}

void CoreWorker::HoldHandedBack(std::vector<ObjectId> ids) {
  if (ids.empty()) {
    return;
  }
  loop_.RunAfter(kHandedBackHoldMs, [this, ids = std::move(ids)] {
    const MutexLock lock(mutex_);
    Releases releases;
    for (const ObjectId& id : ids) {
      references_.RemoveSubmitted(id, &releases);
    }
    Apply(releases);
    ProcessDeferred();
  });
}

}  // namespace rayc::core_worker
