// How a worker process ended, as its raylet found out. A value.
#pragma once

#include <sys/types.h>

#include <string>

#include "common/ids.h"
#include "protocol/raylet_generated.h"

namespace rayc::gcs {

struct WorkerExit {
  WorkerId worker_id;
  pid_t pid = 0;
  bool intended = false;       // it had said that it was leaving
  std::string detail;          // one sentence, "" if nothing is known
  std::string stderr_tail;     // the last lines that it wrote there
  bool group_removed = false;  // killed with the placement group that it ran in

  // For the text of an exception, after "its process has ended: ": what happened, the last words.
  std::string Describe() const;
};

WorkerExit FromMessage(const fb::WorkerDeath& message);

}  // namespace rayc::gcs
