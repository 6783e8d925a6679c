#include "core_worker/drainer.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>

#include "common/clock.h"

namespace rayc::core_worker {
namespace {

// How long the role stays vacant before the default holder takes it up.
constexpr auto kGlance = std::chrono::milliseconds(1);
// After so many glances at a waiter that just sits in the loop, the default holder sleeps for good.
constexpr int kGlancesBeforeParking = 20;
constexpr int kDefaultSliceMs = 60'000;
// Poll: how long it waits for the default holder to step back, and how often it looks for more.
constexpr auto kPollPatience = std::chrono::milliseconds(100);
constexpr int kPollTurnsMax = 1'000;

int64_t NowMs() { return SteadyClock().NowMs(); }

}  // namespace

void Drainer::Start() {
  // Signals are for the threads of the language, never for ours.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { RunDefault(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), "rayc-io");
}

void Drainer::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_.store(true);
    default_wake_.notify_all();
    vacant_or_done_.notify_all();
    loop_.Wake();
    while (waiters_.load() > 0) {
      vacant_or_done_.wait(lock.native());
    }
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Drainer::Notify() {
  const int self = draining_thread_.load() == std::this_thread::get_id() ? 1 : 0;
  // At most the draining thread waits, and that is us: it looks at `done` when the loop returns.
  if (waiters_.load() <= self) {
    return;
  }
  {
    const MutexLock lock(mutex_);
    vacant_or_done_.notify_all();
  }
  if (self == 0) {
    loop_.Wake();
  }
}

Drainer::Outcome Drainer::WaitUntil(const std::atomic<bool>& done, int64_t timeout_ms,
                                    int slice_ms) {
  if (done.load()) {
    return Outcome::kDone;
  }
  const int64_t now_ms = NowMs();
  const int64_t deadline_ms = timeout_ms < 0 ? INT64_MAX : now_ms + timeout_ms;
  const int64_t slice_end_ms = now_ms + slice_ms;
  MutexLock lock(mutex_);
  waiters_.fetch_add(1);
  Outcome outcome = Outcome::kDone;
  while (!done.load()) {
    if (stopping_.load()) {
      outcome = Outcome::kStopped;
      break;
    }
    const int64_t current_ms = NowMs();
    if (current_ms >= deadline_ms) {
      outcome = Outcome::kTimeout;
      break;
    }
    if (current_ms >= slice_end_ms) {
      outcome = Outcome::kInterrupted;
      break;
    }
    const int64_t left_ms = std::min(deadline_ms, slice_end_ms) - current_ms;
    if (holder_ != Holder::kNobody) {
      if (holder_ == Holder::kDefault) {
        yield_.store(true);
        loop_.Wake();
      }
      vacant_or_done_.wait_for(lock.native(), std::chrono::milliseconds(left_ms));
      continue;
    }
    holder_ = Holder::kWaiter;
    ++handovers_;
    lock.Unlock();
    draining_thread_.store(std::this_thread::get_id());
    const EventLoop::Poll poll =
        loop_.RunOnce(static_cast<int>(left_ms), nullptr, EventLoop::Patience::kLooks);
    draining_thread_.store(std::thread::id());
    lock.Lock();
    holder_ = Holder::kNobody;
    ++handovers_;
    if (poll == EventLoop::Poll::kInterrupted && !done.load()) {
      outcome = Outcome::kInterrupted;
      break;
    }
  }
  LeaveLocked();
  return outcome;
}

void Drainer::LeaveLocked() {
  waiters_.fetch_sub(1);
  if (waiters_.load() > 0 || stopping_.load()) {
    vacant_or_done_.notify_all();
  } else if (default_parked_) {
    default_parked_ = false;
    default_wake_.notify_one();
  }
}

void Drainer::Poll() {
  MutexLock lock(mutex_);
  waiters_.fetch_add(1);
  if (holder_ == Holder::kDefault) {
    yield_.store(true);
    loop_.Wake();
    vacant_or_done_.wait_for(lock.native(), kPollPatience,
                             [this]() RAYC_NO_TSA { return holder_ != Holder::kDefault; });
  }
  // Else another waiter is at it.
  if (holder_ == Holder::kNobody && !stopping_.load()) {
    holder_ = Holder::kWaiter;
    ++handovers_;
    lock.Unlock();
    draining_thread_.store(std::this_thread::get_id());
    for (int i = 0; i < kPollTurnsMax && loop_.RunOnce(0) == EventLoop::Poll::kProgress; ++i) {
    }
    draining_thread_.store(std::thread::id());
    lock.Lock();
    holder_ = Holder::kNobody;
    ++handovers_;
  }
  LeaveLocked();
}

void Drainer::RunDefault() {
  MutexLock lock(mutex_);
  uint64_t seen = handovers_;
  int idle_glances = 0;
  bool first = true;
  while (!stopping_.load()) {
    const bool quiet = seen == handovers_;
    seen = handovers_;
    if (holder_ == Holder::kNobody && waiters_.load() == 0 && (quiet || first)) {
      first = false;
      idle_glances = 0;
      holder_ = Holder::kDefault;
      lock.Unlock();
      while (!yield_.load() && !stopping_.load()) {
        draining_thread_.store(std::this_thread::get_id());
        loop_.RunOnce(kDefaultSliceMs);
        draining_thread_.store(std::thread::id());
      }
      lock.Lock();
      yield_.store(false);
      holder_ = Holder::kNobody;
      seen = ++handovers_;
      vacant_or_done_.notify_all();
    }
    if (stopping_.load()) {
      break;
    }
    idle_glances = holder_ == Holder::kWaiter && quiet ? idle_glances + 1 : 0;
    if (idle_glances > kGlancesBeforeParking) {
      idle_glances = 0;
      default_parked_ = true;
      while (default_parked_ && !stopping_.load()) {
        default_wake_.wait(lock.native());
      }
      seen = handovers_;
    }
    default_wake_.wait_for(lock.native(), kGlance);
  }
}

}  // namespace rayc::core_worker
