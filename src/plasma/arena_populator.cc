#include "plasma/arena_populator.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <thread>
#include <utility>

#include "common/logging.h"
#include "common/thread_annotations.h"

namespace rayc::plasma {
namespace {

// Between two steps the thread looks at what has been asked for meanwhile, and may be ended.
// Not smaller: each makes every CPU flush its lists of pages.
constexpr uint64_t kStepBytes = 32ULL << 20;

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool empty() const { return begin >= end; }
};

// Behind the threads that others wait for. Not SCHED_IDLE: on a busy machine such a thread would
// sit for long on what the kernel has locked for it, and a writer would wait for that.
void LowerPriority() {
  constexpr int kNice = 10;
  ::setpriority(PRIO_PROCESS, 0, kNice);  // of the calling thread, on Linux
}

}  // namespace

struct ArenaPopulator::Impl {
  Impl(std::shared_ptr<const Arena> the_arena, Options the_options)
      : arena(std::move(the_arena)),
        options(the_options),
        stock_from(std::chrono::steady_clock::now() +
                   std::chrono::milliseconds(the_options.start_delay_ms)) {}

  void Wake() RAYC_REQUIRES(mutex) {
    if (!thread.joinable()) {
      thread = std::thread([this] { Run(); });
    }
    wake.notify_one();
  }
  void Run();
  // Empty: there is nothing to do.
  Range NextStep() RAYC_REQUIRES(mutex);
  bool stock_is_due() const RAYC_REQUIRES(mutex) {
    return std::chrono::steady_clock::now() >= stock_from;
  }
  Range stock_missing() const RAYC_REQUIRES(mutex) {
    return {made.end, std::min(stock_end, made.begin + options.ahead_bytes)};
  }

  const std::shared_ptr<const Arena> arena;
  const Options options;

  Mutex mutex;
  std::condition_variable wake;
  std::chrono::steady_clock::time_point stock_from RAYC_GUARDED_BY(mutex);
  bool ended RAYC_GUARDED_BY(mutex) = false;
  Range made RAYC_GUARDED_BY(mutex);  // the stock: from where memory will be used next
  uint64_t stock_end RAYC_GUARDED_BY(mutex) = 0;
  bool stocking RAYC_GUARDED_BY(mutex) = false;  // until the stock is full again
  std::thread thread;  // begun under the mutex; ended by the destructor alone
};

Range ArenaPopulator::Impl::NextStep() {
  if (!stocking || !stock_is_due()) {
    return {};
  }
  const Range missing = stock_missing();
  if (missing.empty()) {
    stocking = false;
    return {};
  }
  const Range step{missing.begin, std::min(missing.begin + kStepBytes, missing.end)};
  made.end = step.end;
  return step;
}

void ArenaPopulator::Impl::Run() {
  LowerPriority();
  MutexLock lock(mutex);
  while (!ended) {
    const Range step = NextStep();
    if (step.empty()) {
      if (stocking) {
        wake.wait_until(lock.native(), stock_from);
      } else {
        wake.wait(lock.native());
      }
      continue;
    }
    lock.Unlock();
    const Status status = arena->MakePages(step.begin, step.end - step.begin);
    lock.Lock();
    if (!status.ok()) {  // the system has no more; writers will learn of it in their own way
      RAYC_LOG(kDebug) << status;
      stocking = false;
    }
  }
}

ArenaPopulator::ArenaPopulator(std::shared_ptr<const Arena> arena, Options options)
    : impl_(std::make_unique<Impl>(std::move(arena), options)) {}

ArenaPopulator::~ArenaPopulator() {
  {
    const MutexLock lock(impl_->mutex);
    impl_->ended = true;
    impl_->wake.notify_one();
  }
  if (impl_->thread.joinable()) {
    impl_->thread.join();
  }
}

void ArenaPopulator::KeepAhead(uint64_t offset, uint64_t end) {
  const MutexLock lock(impl_->mutex);
  end = std::min(end, impl_->arena->bytes());
  offset = std::min(offset, end);
  Range& made = impl_->made;
  if (offset < made.begin || offset > made.end) {
    made = {offset, offset};
  }
  made.begin = offset;
  impl_->stock_end = end;
  const Range missing = impl_->stock_missing();
  // Not for every small grant: until a quarter of the stock is used up the thread sleeps.
  impl_->stock_from =
      std::max(impl_->stock_from, std::chrono::steady_clock::now() +
                                      std::chrono::milliseconds(impl_->options.quiet_ms));
  if (!missing.empty() && (made.empty() || missing.end == end ||
                           missing.end - missing.begin >= impl_->options.ahead_bytes / 4)) {
    impl_->stocking = true;
    impl_->Wake();
  }
}

void ArenaPopulator::OnGivenBack(uint64_t offset, uint64_t bytes) {
  const MutexLock lock(impl_->mutex);
  const Range gone{offset, offset + bytes};
  Range& made = impl_->made;
  if (gone.begin < made.end && gone.end > made.begin) {
    made.end = std::max(made.begin, gone.begin);
  }
}

}  // namespace rayc::plasma
