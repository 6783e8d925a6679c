// What the extension asks of the operating system about its own process: whether it is a fork of
// one with a session, its title, and its ties to other processes. Any thread that holds the GIL.
#pragma once

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace rayc::python {

// ---- forks ----

struct ForkState {
  bool has_session = false;  // this process has a core worker
  bool is_fork = false;      // of a process that has one: nothing of it may be used or closed here
  pid_t owner_pid = 0;
};
inline ForkState fork_state;

inline void InstallForkHandler() {
  static bool installed = false;
  if (!installed) {
    installed = true;
    pthread_atfork(nullptr, nullptr, [] {
      if (fork_state.has_session) {
        fork_state.is_fork = true;
      }
    });
  }
}

inline void SetHasSession(bool has_session) {
  InstallForkHandler();
  fork_state.has_session = has_session;
  if (has_session) {
    fork_state.owner_pid = getpid();
  }
}

// Python runs signal handlers in its main thread alone, which is the process' first.
inline bool OnMainThread() { return syscall(SYS_gettid) == getpid(); }

// ---- interruption ----

// Python's handler of this signal asks whether the task that runs is to be interrupted. One that
// user code hardly uses.
inline int CancelSignal() { return SIGRTMIN + 6; }

// Also ends a blocking system call.
inline void InterruptMainThread() noexcept {
  syscall(SYS_tgkill, getpid(), getpid(), CancelSignal());
}

// ---- title ----

// The memory of the command line, which ps shows; its end stays a zero, or the kernel would take
// the environment behind it for more.
class TitleMemory {
 public:
  TitleMemory() {
    std::FILE* stat = std::fopen("/proc/self/stat", "re");
    if (stat == nullptr) {
      return;
    }
    char text[4096];
    const size_t bytes = std::fread(text, 1, sizeof(text) - 1, stat);
    std::fclose(stat);
    text[bytes] = '\0';
    // Behind the name in parentheses, which may contain anything, comes field 3; 48 and 49 are
    // ours.
    const char* at = std::strrchr(text, ')');
    unsigned long values[2] = {0, 0};
    if (at == nullptr) {
      return;
    }
    ++at;
    for (int field = 3; field < 50; ++field) {
      while (*at == ' ') {
        ++at;
      }
      if (field >= 48 && std::sscanf(at, "%lu", &values[field - 48]) != 1) {
        return;
      }
      while (*at != ' ' && *at != '\0') {
        ++at;
      }
    }
    if (values[0] != 0 && values[1] > values[0] + 1) {
      begin_ = reinterpret_cast<char*>(values[0]);
      room_ = values[1] - values[0] - 1;
      filled_ = room_;  // with the old command line
    }
  }

  void Set(std::string_view title) {
    if (begin_ == nullptr) {
      return;
    }
    const size_t used = title.size() < room_ ? title.size() : room_;
    std::memcpy(begin_, title.data(), used);
    if (used < filled_) {
      std::memset(begin_ + used, 0, filled_ - used);
    }
    filled_ = used;
  }

 private:
  char* begin_ = nullptr;
  size_t room_ = 0;
  size_t filled_ = 0;
};

inline void SetProcessTitle(std::string_view title) {
  static TitleMemory memory;
  static bool first = true;
  if (first) {
    first = false;
    // The short name, which top shows, costs a system call: it is set once.
    prctl(PR_SET_NAME, std::string(title.substr(0, 15)).c_str());
  }
  memory.Set(title);
}

inline void SetThreadName(const char* name) { prctl(PR_SET_NAME, name); }

// ---- ties ----

inline int BecomeSubreaper() { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

// False if the parent is gone already.
inline bool DieWithParent(pid_t expected_parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  return getppid() == expected_parent;
}

}  // namespace rayc::python
