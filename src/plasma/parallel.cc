#include "plasma/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <thread>

namespace rayc::plasma {
namespace {

constexpr size_t kThreadsMax = 4;

size_t AllowedCpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return 1;  // more CPUs than the set has room for: not worth a set of another size
  }
  return static_cast<size_t>(CPU_COUNT(&allowed));
}

// No signal is handled in a thread of ours: the process' own threads expect them.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

void InParts(size_t bytes, size_t part_bytes_min, size_t grain,
             const std::function<void(size_t begin, size_t end)>& work) {
  size_t parts = std::min(bytes / part_bytes_min, kThreadsMax);
  if (parts > 1) {
    parts = std::min(parts, AllowedCpus());
  }
  if (parts <= 1) {
    work(0, bytes);
    return;
  }
  // Threads of this call alone: to begin one takes 10 us.
  const size_t part_bytes = (bytes / parts + grain - 1) / grain * grain;
  std::array<std::thread, kThreadsMax> threads;
  size_t done = std::min(bytes, part_bytes);
  {
    const AllSignalsBlocked blocked;
    for (size_t part = 1; part < parts && done < bytes; ++part) {
      const size_t end = part + 1 == parts ? bytes : std::min(bytes, done + part_bytes);
      try {
        threads[part] = std::thread([&work, done, end] { work(done, end); });
      } catch (const std::system_error&) {
        break;  // the system has no more threads: the rest is this one's
      }
      done = end;
    }
  }
  work(0, std::min(bytes, part_bytes));
  if (done < bytes) {
    work(done, bytes);
  }
  for (std::thread& thread : threads) {
    if (thread.joinable()) {
      thread.join();
    }
  }
}

}  // namespace rayc::plasma
