#include "raylet/worker_handle.h"

#include <sys/wait.h>

#include <cstring>

namespace rayc::raylet {
namespace {

std::string SignalText(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return std::to_string(signal) + (name == nullptr ? "" : std::string(" (SIG") + name + ")");
}

}  // namespace

WorkerEnd DescribeEnd(const WorkerHandle& worker) {
  WorkerEnd end;
  end.id = worker.id;
  end.job_id = worker.job_id;
  end.pid = worker.pid;
  // It may have been told to leave because somebody noticed first that it had crashed.
  const bool has_crashed = worker.wait_status && *worker.wait_status != 0 &&
                           worker.announced_detail.empty() && worker.kill_reason.empty();
  end.intended = worker.announced && !has_crashed;
  if (!worker.wait_status) {
    end.detail = worker.pid == 0 ? "never started" : "ended; how is not known";
  } else if (WIFSIGNALED(*worker.wait_status)) {
    end.signal = WTERMSIG(*worker.wait_status);
    end.detail = "killed by signal " + SignalText(end.signal);
  } else {
    end.exit_code = WEXITSTATUS(*worker.wait_status);
    end.detail = "exited with code " + std::to_string(end.exit_code);
  }
  if (!worker.announced_detail.empty()) {
    end.detail += ": " + worker.announced_detail;
  }
  if (!worker.kill_reason.empty()) {
    end.detail += ", ended by rayc: " + worker.kill_reason;
  }
  return end;
}

}  // namespace rayc::raylet
