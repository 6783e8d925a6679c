// The drainer role: which thread of this process serves its event loop (replies, requests of peers,
// timers). Owned by CoreWorker.
//
// A thread of ours that never takes the GIL holds the role by default, so that peers are served
// while user code computes. A thread that blocks (a get, or a worker's idle main thread) takes it
// over and runs the loop itself: what it waits for is then handled without a hand-over. It leaves
// the role vacant, and the default holder takes it up only after a millisecond in which nobody used
// it: a loop of sync calls never wakes the default holder, which costs it a glance a millisecond.
//
// Threads: Start and Stop by the owner; the rest from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <thread>

#include "common/event_loop.h"
#include "common/thread_annotations.h"

namespace rayc::core_worker {

class Drainer {
 public:
  enum class Outcome { kDone, kTimeout, kInterrupted, kStopped };

  explicit Drainer(EventLoop& loop) : loop_(loop) {}
  ~Drainer() { Stop(); }
  Drainer(const Drainer&) = delete;
  Drainer& operator=(const Drainer&) = delete;

  void Start();
  // Ends every wait, and returns once no thread is in one: the loop is the caller's from then on.
  // Never from within the loop.
  void Stop();

  // Waits, as drainer if it can, until `done` is true (kDone), timeout_ms have passed (-1: never),
  // or a signal interrupted the wait (kInterrupted; also returned every slice_ms, because a signal
  // that came just before the wait leaves no trace: the caller looks and calls again), or Stop
  // (kStopped). Whoever sets `done` calls Notify() afterwards.
  Outcome WaitUntil(const std::atomic<bool>& done, int64_t timeout_ms, int slice_ms);

  // Handles what has arrived already, without waiting for more.
  void Poll();

  void Notify();

 private:
  enum class Holder { kNobody, kDefault, kWaiter };

  void RunDefault();
  void LeaveLocked() RAYC_REQUIRES(mutex_);

  EventLoop& loop_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> yield_{false};  // a waiter wants the role from the default holder
  std::atomic<int> waiters_{0};     // threads inside WaitUntil
  std::atomic<std::thread::id> draining_thread_;

  Mutex mutex_;
  std::condition_variable vacant_or_done_;  // waiters
  std::condition_variable default_wake_;    // the default holder
  Holder holder_ RAYC_GUARDED_BY(mutex_) = Holder::kNobody;
  bool default_parked_ RAYC_GUARDED_BY(mutex_) = false;
  uint64_t handovers_ RAYC_GUARDED_BY(mutex_) = 0;  // changes with each take and release
};

}  // namespace rayc::core_worker
