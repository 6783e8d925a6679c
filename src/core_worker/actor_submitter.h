// The calls of this process to actors, in order per actor. Pure state machine: takes its transport
// as an argument. Owned by CoreWorker, whose lock guards every call; the transport must not call
// back from inside.
//
//   actor, as seen from here     calls
//   kUnknown, kPending           queued
//   kAlive                       sent in the order of submission; one whose arguments are pending
//                                holds back those behind it
//   kDisconnected                the connection is gone, the GCS has not said why yet: queued; what
//                                was in flight waits for the verdict. If none comes, the actor
//                                lives: as kRestarting, then kAlive
//   kRestarting                  what was in flight is retried (max_task_retries) or fails with
//                                kActorUnavailable; what is queued waits
//   kDead                        everything fails, with the cause of death
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/address.h"
#include "common/buffer.h"
#include "common/status.h"
#include "common/task_spec.h"

namespace rayc::core_worker {

// What the GCS publishes of an actor, as far as its callers need it.
struct ActorUpdate {
  enum class State { kPending, kAlive, kRestarting, kDead };
  ActorId actor_id;
  State state = State::kPending;
  Address address;           // kAlive
  uint32_t incarnation = 0;  // counts its starts; an update with a lower one is stale
  // kDead:
  ObjectValue error;  // what `get` on its calls raises
};

class ActorSubmitter {
 public:
  using CallPtr = std::shared_ptr<TaskSpec>;

  class Transport {
   public:
    virtual ~Transport() = default;
    virtual void SubscribeActor(const ActorId& actor) = 0;
    virtual void PushCall(const Address& address, const CallPtr& call) = 0;
    // The call ends with this error.
    virtual void FailCall(const CallPtr& call, const ObjectValue& error) = 0;
  };

  explicit ActorSubmitter(Transport& transport) : transport_(transport) {}

  // Begins to follow the actor (idempotent); its creator calls this once the GCS knows the actor.
  void Follow(const ActorId& actor);
  // retries: how often the call may be sent again after its actor was lost (-1: always).
  void Submit(CallPtr call, int32_t retries, bool ready);
  // The arguments of a call that was submitted with ready = false are there.
  void OnReady(const ActorId& actor, const TaskId& call);
  void OnReply(const ActorId& actor, const TaskId& call);
  void OnUpdate(const ActorUpdate& update);
  // The connection to this worker is gone.
  void OnWorkerLost(const WorkerId& worker);
  // Nobody has told for long that it is dead: what was lost is the connection alone.
  void OnNoVerdict(const WorkerId& worker);
  // Takes a call that was not sent yet out of the queue.
  CallPtr Remove(const ActorId& actor, const TaskId& call);
  // A call that was sent is not sent again. Gives where it runs; nil if it is not on its way now.
  Address CancelInFlight(const ActorId& actor, const TaskId& call);
  // Sends a call again that has ended with an exception, if it may be. False if not.
  bool Retry(const ActorId& actor, const TaskId& call);
  // The actor never came into being (its creation failed here, before the GCS knew of it).
  void Kill(const ActorId& actor, const ObjectValue& error);

  // Nobody here will call the actor any more, as far as known. Nothing happens while calls are
  // pending. True if there were updates to come that are not wanted any more.
  bool Forget(const ActorId& actor);

  bool IsDead(const ActorId& actor) const;
  // Where it is, if it is alive.
  const Address* AddressOf(const ActorId& actor) const;
  size_t num_pending(const ActorId& actor) const;
  size_t num_actors() const { return actors_.size(); }

 private:
  enum class View { kUnknown, kPending, kAlive, kDisconnected, kRestarting, kDead };
  struct Call {
    CallPtr spec;
    int32_t retries = 0;
    bool ready = false;
  };
  struct Actor {
    View view = View::kUnknown;
    bool subscribed = false;
    Address address;
    uint32_t incarnation = 0;
    uint64_t next_sequence = 0;
    std::deque<Call> queue;
    std::deque<Call> in_flight;
    ObjectValue error;
  };

  void Pump(Actor& actor);
  void FailAll(Actor& actor);
  static Call NextAttempt(const Call& call);
  void RetryOrFailInFlight(Actor& actor, const ActorId& id, const char* why);

  Transport& transport_;
  std::unordered_map<ActorId, Actor> actors_;
};

}  // namespace rayc::core_worker
