// Processes that we hold on to by a pidfd: a signal never meets another process that got the same
// number, and the end is an event of the loop. Loop thread only.
#pragma once

#include <sys/types.h>

#include <functional>
#include <unordered_map>

#include "common/event_loop.h"
#include "common/unique_fd.h"

namespace rayc::raylet {

// Invalid, with errno, if there is no such process. (By syscall: the header that Debian 12 has for
// it cannot be used from C++.)
UniqueFd OpenPidfd(pid_t pid);
// False if the process is gone.
bool SignalPidfd(int pidfd, int signal);

class ProcessWatch {
 public:
  using WatchId = uint64_t;

  explicit ProcessWatch(EventLoop& loop) : loop_(loop) {}
  ~ProcessWatch();

  // on_exit runs once, from the loop, also if the process has ended already.
  WatchId Watch(pid_t pid, std::function<void()> on_exit);
  void Signal(WatchId id, int signal);
  void Forget(WatchId id);

 private:
  void OnExit(WatchId id);

  struct Watched {
    UniqueFd pidfd;  // invalid: it had ended before we could hold on to it
    std::function<void()> on_exit;
  };

  EventLoop& loop_;
  std::unordered_map<WatchId, Watched> watched_;
  WatchId next_id_ = 1;
};

}  // namespace rayc::raylet
