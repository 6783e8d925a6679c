// The zygote: the Python process that forks workers. Starts it, speaks its protocol (raylet.fbs,
// one message per SEQPACKET packet), and notices its end. Owned by Raylet; loop thread only.
//
// Life: Start -> (ready message) -> ready -> gone, once: its socket closed, or its process ended.
// Forks asked for before it is ready are sent when it is.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "common/event_loop.h"
#include "common/ids.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "protocol/raylet_generated.h"
#include "raylet/log_forwarder.h"

namespace rayc::raylet {

struct ZygoteEvents {
  std::function<void(uint64_t fork_token, pid_t pid)> on_forked;
  std::function<void(uint64_t fork_token, const std::string& error)> on_fork_failed;
  std::function<void(pid_t pid, int wait_status)> on_reaped;
  std::function<void(const std::string& why)> on_gone;
};

class ZygoteProcess {
 public:
  ZygoteProcess(EventLoop& loop, ZygoteEvents events);
  ~ZygoteProcess();

  // `environment`: "NAME=value" entries; RAYC_ZYGOTE_FD is added.
  Status Start(const std::vector<std::string>& argv, std::vector<std::string> environment);
  // The outputs are closed here once the zygote has them.
  void Fork(uint64_t fork_token, const WorkerId& worker, WorkerOutputs outputs);
  // waitpid says so. The reason then holds the status.
  void OnReaped(int wait_status);
  // No event from now on.
  void Abandon();
  pid_t pid() const { return pid_; }

 private:
  struct PendingFork {
    uint64_t fork_token;
    WorkerId worker;
    WorkerOutputs outputs;
  };

  void SendFork(PendingFork fork);
  void OnReadable();
  void OnMessage(const fb::ZygoteMessage& message);
  void OnOutput();
  void Gone(const std::string& why);
  void CancelTimer(EventLoop::TimerId& timer);

  EventLoop& loop_;
  ZygoteEvents events_;
  pid_t pid_ = 0;
  UniqueFd socket_;
  UniqueFd output_;          // its stdout and stderr: quiet, unless it cannot start
  std::string output_tail_;  // bounded
  bool ready_ = false;
  bool gone_ = false;
  // 0: does not run.
  EventLoop::TimerId ready_timer_ = 0;
  EventLoop::TimerId status_timer_ = 0;
  std::deque<PendingFork> pending_;  // bounded by WorkerPoolOptions::starting_max
};

}  // namespace rayc::raylet
