// One worker process, as its pool sees it. Values without behaviour; the table of its states is in
// worker_pool.h. The end of a process is told to the world once, as a WorkerEnd.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "common/address.h"
#include "common/ids.h"

namespace rayc::raylet {

enum class WorkerState : uint8_t { kStarting, kIdle, kLeased, kDedicated, kExiting, kDead };

struct WorkerHandle {
  // Constant after construction.
  WorkerId id;
  // Fixed by its first lease; nil before.
  JobId job_id;
  uint64_t fork_token = 0;  // constant

  pid_t pid = 0;  // 0 until the zygote or the worker says it
  WorkerState state = WorkerState::kStarting;
  bool blocked = false;       // its task waits: it does not count against the cap
  bool killed = false;        // SIGKILL is on its way
  bool lost = false;          // whoever held it has been told
  bool announced = false;     // it said that it is leaving, or was told to
  bool process_gone = false;  // but perhaps not reaped
  int64_t state_since_ms = 0;
  int64_t kill_at_ms = 0;  // when kExiting turns into SIGKILL
  int64_t gone_since_ms = 0;
  std::optional<int> wait_status;  // as waitpid gives it
  Address address;                 // nil until it registered
  std::string runtime_env;         // fixed with job_id
  std::string kill_reason;         // we ended it, for this
  std::string announced_detail;
};

// What remains of a worker.
struct WorkerEnd {
  WorkerId id;
  JobId job_id;
  pid_t pid = 0;
  bool intended = false;
  int exit_code = -1;  // -1: ended by a signal, or unknown
  int signal = 0;      // 0: ended by itself
  std::string detail;  // one sentence for people
};

// The detail is for people, e.g. "killed by signal 9 (SIGKILL)".
WorkerEnd DescribeEnd(const WorkerHandle& worker);

}  // namespace rayc::raylet
