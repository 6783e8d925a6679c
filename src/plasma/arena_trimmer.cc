#include "plasma/arena_trimmer.h"

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/logging.h"

namespace rayc::plasma {
namespace {

// Between two steps other work of the loop gets its turn.
constexpr int64_t kStepDelayMs = 2;

int64_t NowMs() { return SteadyClock().NowMs(); }

}  // namespace

ArenaTrimmer::ArenaTrimmer(EventLoop& loop, const Arena& arena, const Allocator& allocator,
                           Options options, Hooks hooks)
    : loop_(loop),
      arena_(arena),
      allocator_(allocator),
      options_(options),
      hooks_(std::move(hooks)) {}

ArenaTrimmer::~ArenaTrimmer() {
  if (timer_ != 0) {
    loop_.CancelTimer(timer_);
  }
}

void ArenaTrimmer::OnCreated() {
  last_created_ms_ = NowMs();
  trimming_ = false;  // memory is wanted again; the timer, if set, finds the store busy
}

void ArenaTrimmer::OnFreed() {
  if (timer_ == 0) {
    Schedule(options_.quiet_ms);
  }
}

void ArenaTrimmer::Schedule(int64_t delay_ms) {
  timer_ = loop_.RunAfter(delay_ms, [this] { OnTimer(); });
}

void ArenaTrimmer::OnTimer() {
  timer_ = 0;
  if (!trimming_) {
    const int64_t quiet_for_ms = NowMs() - last_created_ms_;
    if (quiet_for_ms < options_.quiet_ms) {
      Schedule(options_.quiet_ms - quiet_for_ms);
      return;
    }
    hooks_.quiet();
    // Twice what is in use: a store that is half full keeps its warm pages.
    if (arena_.ResidentBytes() <= 2 * allocator_.used_bytes() + options_.kept_free_bytes) {
      return;
    }
    trimming_ = true;
    cursor_ = 0;
  }
  GiveBackOneStep();
}

void ArenaTrimmer::GiveBackOneStep() {
  const auto run = allocator_.FreeRunFrom(cursor_);
  if (!run) {
    trimming_ = false;
    return;
  }
  const uint64_t begin = std::max(run->offset, cursor_);
  const uint64_t end = std::min(run->offset + run->bytes, begin + options_.step_bytes);
  if (const Status status = arena_.GiveBack(begin, end - begin); !status.ok()) {
    RAYC_LOG(kWarning) << status;
    trimming_ = false;
    return;
  }
  hooks_.given_back(begin, end - begin);
  cursor_ = end;
  Schedule(kStepDelayMs);
}

}  // namespace rayc::plasma
