// What a CoreWorker is made from, and what does not change between calls of one function. Values.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "common/function_descriptor.h"
#include "common/ids.h"
#include "common/logging.h"
#include "common/resources.h"
#include "common/scheduling_strategy.h"
#include "core_worker/language_bridge.h"

namespace rayc::core_worker {

// The numbers of the Python contract (SCRIPT_MODE, WORKER_MODE, LOCAL_MODE).
enum class WorkerMode : int { kScript = 0, kWorker = 1, kLocal = 2 };

struct CoreWorkerOptions {
  WorkerMode mode = WorkerMode::kScript;
  std::string session_dir;
  std::string name_space;
  std::string entrypoint;
  std::string job_config;     // pickled; handed to each worker with its first task
  bool owns_cluster = false;  // the cluster ends with this driver
  uint64_t fork_token = 0;    // kWorker: from the fork request
  WorkerId worker_id;         // kWorker: from the fork request; a driver makes its own
  LogLevel log_level = LogLevel::kWarning;
  bool records_call_sites = false;  // the language calls SetCallSite
  LanguageBridge bridge;
};

// Made once for a function (or method) with its options, and used by each of its calls.
struct TaskOptions {
  FunctionDescriptor function;
  std::string name;
  uint32_t num_returns = 1;
  ResourceSet resources;
  ResourceSet placement_resources;
  int32_t max_retries = 0;
  bool retry_exceptions = false;
  std::string retry_exception_types;  // see TaskSpec
  std::string runtime_env;
  SchedulingStrategy strategy;
  bool inherits_group = false;  // goes into the caller's placement group if that captures children
  std::string concurrency_group;
  std::string scheduling_key;  // see Seal
  // After the last change: computes what each call would otherwise compute.
  void Seal() {
    TaskSpec spec;
    spec.resources = resources;
    spec.placement_resources = placement_resources;
    spec.runtime_env = runtime_env;
    spec.strategy = strategy;
    scheduling_key = spec.SchedulingKey();
  }
};

}  // namespace rayc::core_worker
