#include "raylet/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>

#include "common/clock.h"
#include "common/unique_fd.h"

namespace rayc::raylet {
namespace {

// The fields of /proc/<pid>/stat after the name, which itself may hold anything, also ')'.
bool ReadStat(const char* pid_text, ProcessInfo& info) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%.20s/stat", pid_text);
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return false;
  }
  char text[512];
  const ssize_t got = ::read(fd.get(), text, sizeof(text) - 1);
  if (got <= 0) {
    return false;
  }
  text[got] = '\0';
  const char* end_of_name = std::strrchr(text, ')');
  char state = 0;
  int parent = 0;
  if (end_of_name == nullptr || std::sscanf(end_of_name + 1, " %c %d", &state, &parent) != 2) {
    return false;
  }
  info.pid = static_cast<pid_t>(std::atoi(pid_text));
  info.parent = parent;
  info.is_zombie = state == 'Z' || state == 'X';
  return true;
}

void ReapAll() {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

}  // namespace

std::vector<ProcessInfo> ListProcesses() {
  std::vector<ProcessInfo> all;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), &::closedir);
  if (proc == nullptr) {
    return all;
  }
  while (const dirent* entry = ::readdir(proc.get())) {
    ProcessInfo info;
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0 &&
        ReadStat(entry->d_name, info)) {
      all.push_back(info);
    }
  }
  return all;
}

std::vector<ProcessInfo> DescendantsOf(pid_t root, const std::vector<ProcessInfo>& all) {
  std::unordered_multimap<pid_t, const ProcessInfo*> children;
  for (const ProcessInfo& info : all) {
    children.emplace(info.parent, &info);
  }
  std::vector<ProcessInfo> found;
  std::vector<pid_t> parents{root};
  while (!parents.empty()) {
    const auto range = children.equal_range(parents.back());
    parents.pop_back();
    for (auto it = range.first; it != range.second; ++it) {
      found.push_back(*it->second);
      parents.push_back(it->second->pid);
    }
    // A list that was read while processes changed could hold a circle.
    children.erase(range.first, range.second);
  }
  return found;
}

void BecomeSubreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

bool KillDescendants(int64_t timeout_ms) {
  const SteadyClock clock;
  const int64_t deadline_ms = clock.NowMs() + timeout_ms;
  useconds_t pause_us = 500;
  while (true) {
    ReapAll();
    std::vector<ProcessInfo> left = DescendantsOf(::getpid(), ListProcesses());
    // A zombie that is not our child is reaped by its parent, or by us once that is gone.
    if (left.empty()) {
      return true;
    }
    for (const ProcessInfo& info : left) {
      if (!info.is_zombie) {
        ::kill(info.pid, SIGKILL);
      }
    }
    if (clock.NowMs() >= deadline_ms) {
      return false;
    }
    ::usleep(pause_us);
    pause_us = std::min<useconds_t>(pause_us * 2, 10'000);
  }
}

}  // namespace rayc::raylet
