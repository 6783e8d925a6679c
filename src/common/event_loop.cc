#include "common/event_loop.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <utility>

#include "common/clock.h"
#include "common/logging.h"

namespace rayc {
namespace {

constexpr uint64_t kWakeTag = ~0ULL;
constexpr int kEventsPerWait = 64;
// While rings keep us busy: how often we look at them before we look at the descriptors, too.
constexpr int kTurnsWithoutEpollMax = 16;
constexpr int64_t kInspectionNs = 1'000'000'000;
constexpr int kInspectionMs = 1'000;
constexpr int kLooksPerClockReading = 16;
constexpr int64_t kTimerDelayMsMax = int64_t{100} * 365 * 24 * 3600 * 1000;

uint64_t MakeTag(int fd, uint32_t generation) {
  return static_cast<uint64_t>(generation) << 32 | static_cast<uint32_t>(fd);
}

int64_t NowMs() { return SteadyClock().NowMs(); }

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int CpusOfProcess() {
  cpu_set_t cpus;
  return ::sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
}

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

EventLoop::EventLoop()
    : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spin_policy_(CpusOfProcess()) {
  RAYC_CHECK(epoll_fd_.valid() && wake_fd_.valid()) << "event loop: " << std::strerror(errno);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeTag;
  RAYC_CHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, wake_fd_.get(), &event) == 0);
}

EventLoop::~EventLoop() {
  // What the callbacks hold may call back in here when it goes: let it find a loop that is whole.
  std::unordered_map<int, std::shared_ptr<Handler>> handlers;
  std::vector<std::function<void()>> posted;
  std::multimap<int64_t, Timer> timers;
  std::vector<std::shared_ptr<RingCallback>> rings;
  const MutexLock lock(mutex_);
  handlers.swap(handlers_);
  posted.swap(posted_);
  timers.swap(timers_);
  rings.swap(rings_);
}

void EventLoop::AddFd(int fd, uint32_t events, FdCallback callback) {
  const MutexLock lock(mutex_);
  const uint32_t generation = next_generation_++;
  handlers_[fd] = std::make_shared<Handler>(Handler{std::move(callback), generation});
  epoll_event event{};
  event.events = events;
  event.data.u64 = MakeTag(fd, generation);
  RAYC_CHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd, &event) == 0)
      << "epoll_ctl ADD " << fd << ": " << std::strerror(errno);
}

void EventLoop::ModifyFd(int fd, uint32_t events) {
  const MutexLock lock(mutex_);
  const auto it = handlers_.find(fd);
  if (it == handlers_.end()) {
    return;
  }
  epoll_event event{};
  event.events = events;
  event.data.u64 = MakeTag(fd, it->second->generation);
  epoll_ctl(epoll_fd_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::RemoveFd(int fd) {
  std::shared_ptr<Handler> removed;  // destroyed without the lock: it may own things that use us
  const MutexLock lock(mutex_);
  const auto it = handlers_.find(fd);
  if (it != handlers_.end()) {
    removed = std::move(it->second);
    handlers_.erase(it);
    epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }
}

// ---- rings ----

Result<uint32_t> EventLoop::AddRing(RingCallback callback) {
  MutexLock lock(mutex_);
  if (doorbell_.load() == nullptr) {
    auto made = Doorbell::Make();
    if (!made) {
      return Err(made.error());
    }
    doorbell_owner_ = std::move(*made);
    doorbell_.store(doorbell_owner_.get());
  }
  auto at = std::find(rings_.begin(), rings_.end(), nullptr);
  if (at == rings_.end()) {
    if (rings_.size() == Doorbell::kSlots) {
      return Err(Status(StatusCode::kOutOfMemory, "too many peers share memory with this process"));
    }
    at = rings_.emplace(rings_.end());
  }
  *at = std::make_shared<RingCallback>(std::move(callback));
  const auto slot = static_cast<uint32_t>(at - rings_.begin());
  ring_words_.store(std::max(ring_words_.load(), slot / 64 + 1));
  lock.Unlock();
  if (!OnLoop()) {
    Wake();  // it may sleep since before there was a doorbell
  }
  return slot;
}

void EventLoop::RemoveRing(uint32_t slot) {
  std::shared_ptr<RingCallback> removed;  // destroyed without the lock, as in RemoveFd
  const MutexLock lock(mutex_);
  removed = std::move(rings_.at(slot));
}

void EventLoop::LookAgain(uint32_t slot) { doorbell_.load()->Raise(slot); }

bool EventLoop::RunRings() {
  return doorbell_.load()->Take(ring_words_.load(), [this](uint32_t slot) {
    std::shared_ptr<RingCallback> callback;
    {
      const MutexLock lock(mutex_);
      if (slot < rings_.size()) {
        callback = rings_[slot];
      }
    }
    if (callback != nullptr) {
      (*callback)(false);
    }
  });
}

bool EventLoop::InspectRings(int64_t now_ns) {
  if (now_ns < next_inspection_ns_) {
    return false;
  }
  next_inspection_ns_ = now_ns + kInspectionNs;
  std::vector<std::shared_ptr<RingCallback>> rings;
  {
    const MutexLock lock(mutex_);
    rings = rings_;
  }
  for (const auto& callback : rings) {
    if (callback != nullptr) {
      (*callback)(true);
    }
  }
  return true;
}

// Whether something came to be seen within that time.
bool EventLoop::LookAtRings(int64_t budget_ns) {
  const Doorbell& doorbell = *doorbell_.load();
  const uint32_t words = ring_words_.load();
  const int64_t end_ns = NowNs() + budget_ns;
  do {
    for (int i = 0; i < kLooksPerClockReading; ++i) {
      if (doorbell.AnyRaised(words) || wake_pending_.load(std::memory_order_relaxed)) {
        return true;
      }
      Pause();
    }
  } while (NowNs() < end_ns);
  return false;
}

void EventLoop::Post(std::function<void()> function) {
  {
    const MutexLock lock(mutex_);
    posted_.push_back(std::move(function));
    has_posted_.store(true);
  }
  if (!OnLoop()) {
    Wake();
  }
}

EventLoop::TimerId EventLoop::RunAfter(int64_t delay_ms, std::function<void()> function) {
  TimerId id = 0;
  bool first = false;
  {
    const MutexLock lock(mutex_);
    id = next_timer_id_++;
    const auto it = timers_.emplace(NowMs() + std::clamp<int64_t>(delay_ms, 0, kTimerDelayMsMax),
                                    Timer{id, std::move(function)});
    first = it == timers_.begin();
  }
  if (first && !OnLoop()) {
    Wake();
  }
  return id;
}

void EventLoop::CancelTimer(TimerId id) {
  std::function<void()> cancelled;  // destroyed without the lock, as above
  const MutexLock lock(mutex_);
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->second.id == id) {
      cancelled = std::move(it->second.function);
      timers_.erase(it);
      return;
    }
  }
}

void EventLoop::Wake() {
  if (wake_pending_.exchange(true)) {
    return;  // the eventfd is already readable
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_.get(), &one, sizeof(one));
}

void EventLoop::Stop() {
  stopped_.store(true);
  Wake();
}

void EventLoop::Run() {
  while (!stopped_.load()) {
    RunOnce(-1);
  }
}

int64_t EventLoop::NextTimerDelayMs(int64_t limit_ms) {
  const MutexLock lock(mutex_);
  if (!posted_.empty()) {
    return 0;
  }
  if (timers_.empty()) {
    return limit_ms;
  }
  // epoll counts in int; one that is further off is looked at again then.
  const int64_t delay = std::clamp<int64_t>(timers_.begin()->first - NowMs(), 0, INT_MAX);
  return limit_ms < 0 ? delay : std::min(delay, limit_ms);
}

EventLoop::Poll EventLoop::RunOnce(int timeout_ms, const sigset_t* sigmask, Patience patience) {
  running_thread_.store(std::this_thread::get_id());
  Doorbell* const doorbell = doorbell_.load();
  bool progress = false;
  bool spun = false;
  int64_t begin_ns = 0;
  if (doorbell != nullptr) {
    progress = RunRings();
    if (!progress && timeout_ms != 0 && patience == Patience::kLooks && !has_posted_.load()) {
      begin_ns = NowNs();
      const int64_t budget_ns = spin_policy_.BudgetNs();
      spun = budget_ns > 0;
      if (spun && LookAtRings(budget_ns)) {
        spin_policy_.OnFound();
        spun = false;
        begin_ns = 0;
        progress = RunRings();
      }
    }
    if (progress && ++turns_without_epoll_ < kTurnsWithoutEpollMax) {
      RunPosted();
      running_thread_.store(std::thread::id());
      return Poll::kProgress;
    }
    turns_without_epoll_ = 0;
  }
  const Poll poll = Sleep(doorbell, progress ? 0 : timeout_ms, sigmask, progress);
  if (begin_ns != 0) {
    spin_policy_.OnSlept(spun, NowNs() - begin_ns);
  }
  running_thread_.store(std::thread::id());
  return poll;
}

EventLoop::Poll EventLoop::Sleep(Doorbell* doorbell, int timeout_ms, const sigset_t* sigmask,
                                 bool progress) {
  epoll_event events[kEventsPerWait];
  int wait_ms = static_cast<int>(NextTimerDelayMs(timeout_ms));
  if (doorbell != nullptr && wait_ms != 0) {
    wait_ms = wait_ms < 0 ? kInspectionMs : std::min(wait_ms, kInspectionMs);
    doorbell->FallAsleep();
    if (doorbell->AnyRaised(ring_words_.load())) {
      wait_ms = 0;
    }
  }
  const int count = epoll_pwait(epoll_fd_.get(), events, kEventsPerWait, wait_ms, sigmask);
  const int error = errno;
  if (doorbell != nullptr) {
    doorbell->WakeUp();
    progress = RunRings() || progress;
  }
  for (int i = 0; i < count; ++i) {
    progress = true;
    if (events[i].data.u64 == kWakeTag) {
      uint64_t drained = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_fd_.get(), &drained, sizeof(drained));
      // A Wake between the read and this store writes nothing, and needs not: what it announces
      // was queued before, and is looked for below.
      wake_pending_.store(false);
      continue;
    }
    Dispatch(static_cast<int>(events[i].data.u64 & 0xffffffffU),
             static_cast<uint32_t>(events[i].data.u64 >> 32), events[i].events);
  }
  progress = RunTimers() || progress;
  progress = RunPosted() || progress;
  if (doorbell != nullptr) {
    InspectRings(NowNs());
  }
  if (count < 0 && error == EINTR) {
    return Poll::kInterrupted;
  }
  return progress ? Poll::kProgress : Poll::kTimeout;
}

void EventLoop::Dispatch(int fd, uint32_t generation, uint32_t events) {
  std::shared_ptr<Handler> handler;
  {
    const MutexLock lock(mutex_);
    const auto it = handlers_.find(fd);
    if (it == handlers_.end() || it->second->generation != generation) {
      return;  // removed, or the number was reused, earlier in this batch
    }
    handler = it->second;
  }
  handler->callback(events);
}

bool EventLoop::RunPosted() {
  if (!has_posted_.load()) {
    return false;
  }
  std::vector<std::function<void()>> batch;
  {
    const MutexLock lock(mutex_);
    batch.swap(posted_);
    has_posted_.store(false);
  }
  for (auto& function : batch) {
    function();
  }
  return !batch.empty();
}

bool EventLoop::RunTimers() {
  bool any = false;
  const int64_t now_ms = NowMs();
  while (true) {
    std::function<void()> function;
    {
      const MutexLock lock(mutex_);
      if (timers_.empty() || timers_.begin()->first > now_ms) {
        return any;
      }
      function = std::move(timers_.begin()->second.function);
      timers_.erase(timers_.begin());
    }
    any = true;
    function();
  }
}

}  // namespace rayc
