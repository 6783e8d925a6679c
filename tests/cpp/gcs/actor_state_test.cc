#include "gcs/actor_state.h"

#include <gtest/gtest.h>

namespace rayc::gcs {
namespace {

using fb::ActorState;

TEST(ActorStateTest, DeadIsForEver) {
  for (const ActorEvent event :
       {ActorEvent::kResolved, ActorEvent::kCreated, ActorEvent::kRestart, ActorEvent::kEnd}) {
    EXPECT_FALSE(NextActorState(ActorState::kDead, event));
  }
}

TEST(ActorStateTest, EveryOtherStateCanEnd) {
  for (const ActorState state : fb::EnumValuesActorState()) {
    if (state != ActorState::kDead) {
      EXPECT_EQ(NextActorState(state, ActorEvent::kEnd), ActorState::kDead);
    }
  }
}

TEST(ActorStateTest, OnlyAStartedCreationBringsLife) {
  EXPECT_EQ(NextActorState(ActorState::kPendingCreation, ActorEvent::kCreated), ActorState::kAlive);
  EXPECT_EQ(NextActorState(ActorState::kRestarting, ActorEvent::kCreated), ActorState::kAlive);
  EXPECT_FALSE(NextActorState(ActorState::kAlive, ActorEvent::kCreated));
  EXPECT_FALSE(NextActorState(ActorState::kDependenciesUnready, ActorEvent::kCreated));
}

TEST(ActorStateTest, TheTableIsAFunction) {
  for (const ActorTransition& a : kActorTransitions) {
    int same = 0;
    for (const ActorTransition& b : kActorTransitions) {
      same += a.from == b.from && a.event == b.event ? 1 : 0;
    }
    EXPECT_EQ(same, 1);
  }
}

}  // namespace
}  // namespace rayc::gcs
