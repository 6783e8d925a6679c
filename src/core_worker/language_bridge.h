// What crosses between C++ and the language whose functions are run: structs in, structs out. A new
// feature adds a field here, not a parameter there. The functions are set once, before CoreWorker
// starts, and are called without any lock of ours held; they take the GIL themselves.
#pragma once

#include <string>
#include <vector>

#include "common/buffer.h"
#include "common/status.h"
#include "common/task_spec.h"
#include "core_worker/task_submitter.h"

namespace rayc::core_worker {

// One return value, written by the language: either inlined, or sealed in plasma under its id.
struct ReturnObject {
  ObjectValue value;
  bool in_plasma = false;
  uint64_t size = 0;
  // References inside the value. The language holds them as long as `value.data` lives.
  std::vector<ObjectRefInfo> nested;
};

struct TaskExecution {
  std::shared_ptr<const TaskSpec> spec;
  std::vector<ObjectValue> args;  // the value of each argument, references resolved
  AssignedInstances assigned;
  std::string job_config;  // with the first task of a job; "" afterwards
};

struct TaskResult {
  std::vector<ReturnObject> returns;  // spec->num_returns of them
  bool is_application_error = false;
  bool is_final_error = false;  // none of those that the task is retried for
  bool printed = false;         // something was written to stdout or stderr
  bool worker_exiting = false;  // the process leaves after this task
  int exit_code = 0;
  std::string exit_detail;
  Status system_error;  // the task could not be run at all
  // From the constructor of an asyncio actor: an eventfd that is written to when calls wait, for
  // the actor's event loop to take (CoreWorker::TakeAsyncCall).
  int doorbell_fd = -1;
};

struct LanguageBridge {
  // Runs a task in the calling thread.
  void (*execute_task)(const TaskExecution& execution, TaskResult* result) = nullptr;
  // Runs the language's signal handlers; not OK (kInterrupted) if one raised.
  Status (*check_signals)() = nullptr;
  // Makes the main thread run them soon, also out of a blocking system call. Any thread. A handler
  // then asks CoreWorker::TakeInterrupt whether what runs is to be interrupted.
  void (*interrupt_main)() = nullptr;
};

}  // namespace rayc::core_worker
