// Readiness, timers and posted functions over epoll, and the rings of peers that share memory with
// us (common/doorbell.h). Every process of rayc has one.
//
// Threads: AddFd, ModifyFd, RemoveFd, Post, RunAfter and CancelTimer may be called from any thread.
// RunOnce/Run are called by one thread at a time, which need not always be the same one: in a
// CoreWorker the right to call them is the "drainer role" (core_worker/drainer.h). Callbacks run in
// the thread that is inside RunOnce, with no lock of ours held.
//
// Why not a library's loop: a blocking get must return on a signal at once (epoll_pwait with the
// caller's mask, and EINTR reported), and the role must move between threads without a wake-up.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/doorbell.h"
#include "common/spin_policy.h"
#include "common/status.h"
#include "common/thread_annotations.h"
#include "common/unique_fd.h"

namespace rayc {

class EventLoop {
 public:
  using FdCallback = std::function<void(uint32_t epoll_events)>;
  // is_inspection: nobody rang; it is the look at every ring that is taken once a second, and is
  // the time to tidy up.
  using RingCallback = std::function<void(bool is_inspection)>;
  using TimerId = uint64_t;
  enum class Patience {
    kSleeps,  // at once, where nothing is ready
    kLooks,   // for a moment at the rings first, if that has helped before
  };
  enum class Poll { kProgress, kTimeout, kInterrupted };

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Level-triggered. The fd stays the caller's, and must be removed before it is closed.
  void AddFd(int fd, uint32_t events, FdCallback callback);
  void ModifyFd(int fd, uint32_t events);
  // On the loop's thread: the callback will not run again. Elsewhere: one call may be under way.
  // What the callback holds is destroyed with no lock of ours held (as with CancelTimer).
  void RemoveFd(int fd);

  // A number for one more peer that shares memory with us; kOutOfMemory if all are taken. The
  // callback runs when the peer has rung, and after LookAgain.
  Result<uint32_t> AddRing(RingCallback callback);
  void RemoveRing(uint32_t slot);  // as RemoveFd
  void LookAgain(uint32_t slot);   // loop thread only
  // What a peer that has a slot needs in order to ring (PeerDoorbell::Map).
  int doorbell_memory_fd() const { return doorbell_.load()->memory_fd(); }
  int doorbell_event_fd() const { return wake_fd_.get(); }

  void Post(std::function<void()> function);
  TimerId RunAfter(int64_t delay_ms, std::function<void()> function);
  void CancelTimer(TimerId id);

  // Waits at most timeout_ms (-1: for ever) and runs what is ready. `sigmask`, if given, is the
  // thread's signal mask while it waits: a signal that arrives at any time then gives kInterrupted.
  Poll RunOnce(int timeout_ms, const sigset_t* sigmask = nullptr,
               Patience patience = Patience::kSleeps);
  void Run();   // until Stop
  void Stop();  // any thread
  void Wake();  // any thread: makes a waiting RunOnce return (kProgress)
  bool OnLoop() const { return running_thread_.load() == std::this_thread::get_id(); }

 private:
  struct Handler {
    FdCallback callback;
    uint32_t generation;
  };
  struct Timer {
    TimerId id;
    std::function<void()> function;
  };

  bool RunRings();
  bool InspectRings(int64_t now_ns);
  bool LookAtRings(int64_t budget_ns);
  Poll Sleep(Doorbell* doorbell, int timeout_ms, const sigset_t* sigmask, bool progress);
  int64_t NextTimerDelayMs(int64_t limit_ms);
  bool RunPosted();
  bool RunTimers();
  void Dispatch(int fd, uint32_t generation, uint32_t events);

  UniqueFd epoll_fd_;
  UniqueFd wake_fd_;
  std::atomic<bool> stopped_{false};
  std::atomic<bool> wake_pending_{false};
  std::atomic<std::thread::id> running_thread_;

  // Made with the first ring, and never changed.
  std::unique_ptr<Doorbell> doorbell_owner_;
  std::atomic<Doorbell*> doorbell_{nullptr};  // its
  std::atomic<uint32_t> ring_words_{0};       // of the doorbell, so many are in use
  // Of the thread that is in RunOnce.
  SpinPolicy spin_policy_;
  int turns_without_epoll_ = 0;
  int64_t next_inspection_ns_ = 0;

  Mutex mutex_;
  std::vector<std::shared_ptr<RingCallback>> rings_ RAYC_GUARDED_BY(mutex_);  // null: slot free
  std::unordered_map<int, std::shared_ptr<Handler>> handlers_ RAYC_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> posted_ RAYC_GUARDED_BY(mutex_);
  std::atomic<bool> has_posted_{false};                           // changed under mutex_
  std::multimap<int64_t, Timer> timers_ RAYC_GUARDED_BY(mutex_);  // by due time, ms
  TimerId next_timer_id_ RAYC_GUARDED_BY(mutex_) = 1;
  uint32_t next_generation_ RAYC_GUARDED_BY(mutex_) = 1;
};

}  // namespace rayc

#define RAYC_DCHECK_ON_LOOP(loop) RAYC_DCHECK((loop).OnLoop())
