#include "core_worker/actor_submitter.h"

#include <algorithm>
#include <utility>

#include "core_worker/object_format.h"

namespace rayc::core_worker {
namespace {

constexpr char kRestarts[] =
    "the actor's process ended while it ran this call, and is being restarted";

}  // namespace

void ActorSubmitter::Follow(const ActorId& actor) {
  Actor& state = actors_[actor];
  if (!state.subscribed) {
    state.subscribed = true;
    if (state.view == View::kUnknown) {
      state.view = View::kPending;
    }
    transport_.SubscribeActor(actor);
  }
}

void ActorSubmitter::Submit(CallPtr call, int32_t retries, bool ready) {
  Actor& actor = actors_[call->actor_id];
  if (actor.view == View::kDead) {
    transport_.FailCall(call, actor.error);
    return;
  }
  call->sequence_number = actor.next_sequence++;
  actor.queue.push_back({std::move(call), retries, ready});
  Pump(actor);
}

void ActorSubmitter::OnReady(const ActorId& id, const TaskId& call) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) {
    return;
  }
  for (Call& queued : it->second.queue) {
    if (queued.spec->task_id == call) {
      queued.ready = true;
      break;
    }
  }
  Pump(it->second);
}

void ActorSubmitter::Pump(Actor& actor) {
  if (actor.view != View::kAlive) {
    return;
  }
  while (!actor.queue.empty() && actor.queue.front().ready) {
    actor.in_flight.push_back(std::move(actor.queue.front()));
    actor.queue.pop_front();
    transport_.PushCall(actor.address, actor.in_flight.back().spec);
  }
}

void ActorSubmitter::OnReply(const ActorId& id, const TaskId& call) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) {
    return;
  }
  auto& in_flight = it->second.in_flight;
  const auto entry = std::find_if(in_flight.begin(), in_flight.end(),
                                  [&](const Call& other) { return other.spec->task_id == call; });
  if (entry != in_flight.end()) {
    in_flight.erase(entry);
  }
}

void ActorSubmitter::OnUpdate(const ActorUpdate& update) {
  const auto it = actors_.find(update.actor_id);
  if (it == actors_.end()) {
    return;  // forgotten
  }
  Actor& actor = it->second;
  if (actor.view == View::kDead || update.incarnation < actor.incarnation) {
    return;
  }
  switch (update.state) {
    case ActorUpdate::State::kPending:
      if (actor.view == View::kUnknown) {
        actor.view = View::kPending;
      }
      return;
    case ActorUpdate::State::kAlive:
      if (actor.view == View::kDisconnected && actor.incarnation == update.incarnation) {
        return;  // old news; the verdict on the lost connection is still to come
      }
      if (actor.incarnation != update.incarnation) {
        RetryOrFailInFlight(actor, update.actor_id, kRestarts);
      }
      actor.incarnation = update.incarnation;
      actor.address = update.address;
      actor.view = View::kAlive;
      Pump(actor);
      return;
    case ActorUpdate::State::kRestarting:
      actor.incarnation = update.incarnation;
      actor.view = View::kRestarting;
      RetryOrFailInFlight(actor, update.actor_id, kRestarts);
      return;
    case ActorUpdate::State::kDead:
      actor.view = View::kDead;
      actor.error = update.error;
      FailAll(actor);
      return;
  }
}

void ActorSubmitter::RetryOrFailInFlight(Actor& actor, const ActorId& id, const char* why) {
  std::deque<Call> retried;
  const std::deque<Call> in_flight = std::exchange(actor.in_flight, {});
  for (const Call& call : in_flight) {
    if (call.retries == 0) {
      transport_.FailCall(
          call.spec,
          MakeActorErrorValue(
              Status(StatusCode::kActorUnavailable,
                     std::string(why) + "; the call may have run or not (set max_task_retries to "
                                        "have it sent again)"),
              id));
      continue;
    }
    retried.push_back(NextAttempt(call));
  }
  actor.queue.insert(actor.queue.begin(), retried.begin(), retried.end());
}

ActorSubmitter::Call ActorSubmitter::NextAttempt(const Call& call) {
  Call again = call;
  again.spec = std::make_shared<TaskSpec>(*call.spec);
  ++again.spec->attempt;
  again.retries = call.retries < 0 ? -1 : call.retries - 1;
  return again;
}

bool ActorSubmitter::Retry(const ActorId& id, const TaskId& call) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) {
    return false;
  }
  Actor& actor = it->second;
  const auto entry = std::find_if(actor.in_flight.begin(), actor.in_flight.end(),
                                  [&](const Call& other) { return other.spec->task_id == call; });
  if (entry == actor.in_flight.end() || entry->retries == 0) {
    return false;
  }
  actor.queue.push_front(NextAttempt(*entry));
  actor.in_flight.erase(entry);
  Pump(actor);
  return true;
}

Address ActorSubmitter::CancelInFlight(const ActorId& id, const TaskId& call) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) {
    return {};
  }
  for (Call& other : it->second.in_flight) {
    if (other.spec->task_id == call) {
      other.retries = 0;
      return it->second.view == View::kAlive ? it->second.address : Address();
    }
  }
  return {};
}

void ActorSubmitter::FailAll(Actor& actor) {
  const std::deque<Call> in_flight = std::exchange(actor.in_flight, {});
  const std::deque<Call> queue = std::exchange(actor.queue, {});
  for (const Call& call : in_flight) {
    transport_.FailCall(call.spec, actor.error);
  }
  for (const Call& call : queue) {
    transport_.FailCall(call.spec, actor.error);
  }
}

void ActorSubmitter::OnWorkerLost(const WorkerId& worker) {
  for (auto& [id, actor] : actors_) {
    if (actor.view == View::kAlive && actor.address.worker_id == worker) {
      actor.view = View::kDisconnected;
    }
  }
}

void ActorSubmitter::OnNoVerdict(const WorkerId& worker) {
  for (auto& [id, actor] : actors_) {
    if (actor.view == View::kDisconnected && actor.address.worker_id == worker) {
      actor.view = View::kAlive;
      RetryOrFailInFlight(actor, id, "the connection to the actor broke while it had this call");
      Pump(actor);
    }
  }
}

ActorSubmitter::CallPtr ActorSubmitter::Remove(const ActorId& id, const TaskId& call) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) {
    return nullptr;
  }
  auto& queue = it->second.queue;
  const auto entry = std::find_if(queue.begin(), queue.end(),
                                  [&](const Call& other) { return other.spec->task_id == call; });
  if (entry == queue.end()) {
    return nullptr;
  }
  CallPtr removed = entry->spec;
  queue.erase(entry);
  Pump(it->second);
  return removed;
}

void ActorSubmitter::Kill(const ActorId& id, const ObjectValue& error) {
  Actor& actor = actors_[id];
  if (actor.view != View::kDead) {
    actor.view = View::kDead;
    actor.error = error;
    FailAll(actor);
  }
}

bool ActorSubmitter::Forget(const ActorId& id) {
  const auto it = actors_.find(id);
  if (it == actors_.end() || !it->second.queue.empty() || !it->second.in_flight.empty()) {
    return false;
  }
  const bool was_followed = it->second.subscribed && it->second.view != View::kDead;
  actors_.erase(it);
  return was_followed;
}

bool ActorSubmitter::IsDead(const ActorId& id) const {
  const auto it = actors_.find(id);
  return it != actors_.end() && it->second.view == View::kDead;
}

const Address* ActorSubmitter::AddressOf(const ActorId& id) const {
  const auto it = actors_.find(id);
  return it != actors_.end() && it->second.view == View::kAlive ? &it->second.address : nullptr;
}

size_t ActorSubmitter::num_pending(const ActorId& id) const {
  const auto it = actors_.find(id);
  return it == actors_.end() ? 0 : it->second.queue.size() + it->second.in_flight.size();
}

}  // namespace rayc::core_worker
