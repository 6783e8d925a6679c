// The life of an actor, as a table. Pure.
//
//   state                 event                                          next
//   DEPENDENCIES_UNREADY  kResolved    its arguments are there           PENDING_CREATION
//   PENDING_CREATION      kCreated     the constructor returned          ALIVE
//   RESTARTING            kCreated                                       ALIVE
//   PENDING_CREATION      kRestart     its worker ended, restarts left   RESTARTING
//   RESTARTING            kRestart                                       RESTARTING
//   ALIVE                 kRestart                                       RESTARTING
//   all but DEAD          kEnd         for any fb::ActorDeathCause       DEAD
//
// The actor manager alone fires events; what a peer asks for is checked before. DEAD is for ever.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/gcs_generated.h"

namespace rayc::gcs {

enum class ActorEvent : uint8_t { kResolved, kCreated, kRestart, kEnd };

struct ActorTransition {
  fb::ActorState from;
  ActorEvent event;
  fb::ActorState to;
};

inline constexpr ActorTransition kActorTransitions[] = {
    {fb::ActorState::kDependenciesUnready, ActorEvent::kResolved, fb::ActorState::kPendingCreation},
    {fb::ActorState::kPendingCreation, ActorEvent::kCreated, fb::ActorState::kAlive},
    {fb::ActorState::kRestarting, ActorEvent::kCreated, fb::ActorState::kAlive},
    {fb::ActorState::kPendingCreation, ActorEvent::kRestart, fb::ActorState::kRestarting},
    {fb::ActorState::kRestarting, ActorEvent::kRestart, fb::ActorState::kRestarting},
    {fb::ActorState::kAlive, ActorEvent::kRestart, fb::ActorState::kRestarting},
    {fb::ActorState::kDependenciesUnready, ActorEvent::kEnd, fb::ActorState::kDead},
    {fb::ActorState::kPendingCreation, ActorEvent::kEnd, fb::ActorState::kDead},
    {fb::ActorState::kRestarting, ActorEvent::kEnd, fb::ActorState::kDead},
    {fb::ActorState::kAlive, ActorEvent::kEnd, fb::ActorState::kDead},
};

// Nothing if the event cannot happen in that state.
constexpr std::optional<fb::ActorState> NextActorState(fb::ActorState from, ActorEvent event) {
  for (const ActorTransition& transition : kActorTransitions) {
    if (transition.from == from && transition.event == event) {
      return transition.to;
    }
  }
  return std::nullopt;
}

}  // namespace rayc::gcs
