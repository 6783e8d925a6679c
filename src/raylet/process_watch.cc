#include "raylet/process_watch.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

namespace rayc::raylet {

UniqueFd OpenPidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // always close-on-exec
}

bool SignalPidfd(int pidfd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

ProcessWatch::~ProcessWatch() {
  for (auto& [id, watched] : watched_) {
    if (watched.pidfd.valid()) {
      loop_.RemoveFd(watched.pidfd.get());
    }
  }
}

ProcessWatch::WatchId ProcessWatch::Watch(pid_t pid, std::function<void()> on_exit) {
  const WatchId id = next_id_++;
  Watched& watched = watched_[id];
  watched.on_exit = std::move(on_exit);
  watched.pidfd = OpenPidfd(pid);
  if (watched.pidfd.valid()) {
    loop_.AddFd(watched.pidfd.get(), EPOLLIN, [this, id](uint32_t /*events*/) { OnExit(id); });
  } else {
    loop_.Post([this, id] { OnExit(id); });
  }
  return id;
}

void ProcessWatch::OnExit(WatchId id) {
  const auto it = watched_.find(id);
  if (it == watched_.end()) {
    return;
  }
  const std::function<void()> on_exit = std::move(it->second.on_exit);
  Forget(id);
  on_exit();
}

void ProcessWatch::Signal(WatchId id, int signal) {
  const auto it = watched_.find(id);
  if (it != watched_.end() && it->second.pidfd.valid()) {
    SignalPidfd(it->second.pidfd.get(), signal);
  }
}

void ProcessWatch::Forget(WatchId id) {
  const auto it = watched_.find(id);
  if (it == watched_.end()) {
    return;
  }
  if (it->second.pidfd.valid()) {
    loop_.RemoveFd(it->second.pidfd.get());
  }
  watched_.erase(it);
}

}  // namespace rayc::raylet
