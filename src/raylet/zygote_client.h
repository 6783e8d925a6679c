// The seam between the worker pool and whatever forks workers. The pool hears the outcome through
// WorkerPool::OnForked or OnForkFailed, later, never inside the call. Loop thread only.
#pragma once

#include <cstdint>

#include "common/ids.h"

namespace rayc::raylet {

class ZygoteClient {
 public:
  virtual ~ZygoteClient() = default;
  virtual void ForkWorker(uint64_t fork_token, const WorkerId& worker) = 0;
};

}  // namespace rayc::raylet
