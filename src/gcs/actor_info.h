// What the GCS tells the world about an actor: the value behind fb::ActorInfo.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "common/address.h"
#include "common/ids.h"
#include "protocol/gcs_generated.h"

namespace rayc::gcs {

struct ActorInfo {
  ActorId actor_id;
  fb::ActorState state = fb::ActorState::kDependenciesUnready;
  Address address;           // of its worker, while alive
  pid_t pid = 0;             // of its last worker
  uint32_t incarnation = 0;  // starts of it so far, the current one included: 1 is the first
  uint32_t num_restarts = 0;
  std::string class_name;
  std::string name;
  std::string name_space;
  JobId job_id;
  Address owner;
  bool is_detached = false;
  int32_t max_task_retries = 0;
  std::string handle_state;
  fb::ActorDeathCause death_cause = fb::ActorDeathCause::kNone;
  // For people, what death_cause does not say already; while restarting: of the death before.
  std::string death_detail;
  std::string creation_error_data;
  std::string creation_error_metadata;

  bool IsDead() const { return state == fb::ActorState::kDead; }
};

// handle_state is what a stranger needs to make a handle: only the answers to those who ask for the
// actor itself carry it. Whoever subscribes or lists has no use for it.
enum class HandleState { kInclude, kOmit };
fb::ActorInfoT ToMessage(const ActorInfo& info, HandleState handle_state);

}  // namespace rayc::gcs
