#include "common/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "common/clock.h"
#include "common/logging.h"

namespace rayc {
namespace {

constexpr uint64_t kWakeTag = ~0ULL;
constexpr int kEventsPerWait = 64;
constexpr int64_t kTimerDelayMsMax = int64_t{100} * 365 * 24 * 3600 * 1000;

uint64_t MakeTag(int fd, uint32_t generation) {
  return static_cast<uint64_t>(generation) << 32 | static_cast<uint32_t>(fd);
}

int64_t NowMs() { return SteadyClock().NowMs(); }

}  // namespace

EventLoop::EventLoop()
    : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)), wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
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
  const MutexLock lock(mutex_);
  handlers.swap(handlers_);
  posted.swap(posted_);
  timers.swap(timers_);
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

void EventLoop::Post(std::function<void()> function) {
  {
    const MutexLock lock(mutex_);
    posted_.push_back(std::move(function));
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

EventLoop::Poll EventLoop::RunOnce(int timeout_ms, const sigset_t* sigmask) {
  running_thread_.store(std::this_thread::get_id());
  epoll_event events[kEventsPerWait];
  const int wait_ms = static_cast<int>(NextTimerDelayMs(timeout_ms));
  const int count = epoll_pwait(epoll_fd_.get(), events, kEventsPerWait, wait_ms, sigmask);
  const int error = errno;
  bool progress = false;
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
  running_thread_.store(std::thread::id());
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
  std::vector<std::function<void()>> batch;
  {
    const MutexLock lock(mutex_);
    batch.swap(posted_);
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
