// What a task is: the immutable description that its caller makes and its executor obeys.
// Built once by the submitting CoreWorker and then shared as shared_ptr<const TaskSpec>; only a
// retry makes another one (a copy with the next attempt number). No message types in here:
// src/rpc/convert.h knows how it travels.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/address.h"
#include "common/buffer.h"
#include "common/function_descriptor.h"
#include "common/ids.h"
#include "common/resources.h"
#include "common/scheduling_strategy.h"

namespace rayc {

enum class TaskType : uint8_t { kNormal = 0, kActorCreation = 1, kActor = 2, kDriver = 3 };

// A reference and whom to ask about it.
struct ObjectRefInfo {
  ObjectId id;
  Address owner;
};

// Either a reference (object_id set) or an inlined value (object_id nil).
struct TaskArg {
  ObjectId object_id;
  Address owner;
  ObjectValue value;
  std::vector<ObjectRefInfo> nested;  // references inside the inlined value
  bool IsRef() const { return !object_id.IsNil(); }
};

// Calls of an actor that have a number of places of their own to run in.
struct ConcurrencyGroup {
  std::string name;
  int32_t max_concurrency = 1;
};

struct ActorCreationSpec {
  ActorId actor_id;
  int32_t max_restarts = 0;      // -1: unlimited
  int32_t max_task_retries = 0;  // -1: unlimited
  int32_t max_concurrency = 1;
  bool is_asyncio = false;
  bool is_detached = false;
  bool allow_out_of_order = false;
  std::string name;  // "" for an unnamed actor
  std::string name_space;
  std::string class_name;
  std::string handle_state;  // pickled method table, so that get_actor can make a handle
  std::vector<ConcurrencyGroup> concurrency_groups;  // beside the default one
};

struct TaskSpec {
  TaskType type = TaskType::kNormal;
  JobId job_id;
  TaskId task_id;
  TaskId parent_task_id;
  std::string name;  // for people: the option `name`, else the function's
  FunctionDescriptor function;
  Address caller;  // the owner of the returns
  std::vector<TaskArg> args;
  uint32_t num_returns = 1;
  int32_t max_retries = 0;
  bool retry_exceptions = false;
  std::string retry_exception_types;  // pickled classes; "": retry_exceptions means all
  uint32_t attempt = 0;
  uint32_t depth = 0;  // of nesting; a driver's tasks have 1

  ResourceSet resources;            // held while running
  ResourceSet placement_resources;  // needed free to be placed; differs for default actors
  std::string runtime_env;          // JSON, "" for none; part of what a worker must match
  SchedulingStrategy strategy;

  std::optional<ActorCreationSpec> creation;  // kActorCreation only

  ActorId actor_id;              // kActor only
  uint64_t sequence_number = 0;  // kActor only: order per caller process, from 0
  std::string concurrency_group;

  ObjectId ReturnId(uint32_t index) const { return ObjectId::ForReturn(task_id, index + 1); }
  // Tasks with the same key can run on each other's leased workers.
  std::string SchedulingKey() const {
    return resources.ToString() + "|" + placement_resources.ToString() + "|" + runtime_env +
           strategy.Key();
  }
};

}  // namespace rayc
