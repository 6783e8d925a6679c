#include "plasma/room_maker.h"

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/logging.h"
#include "plasma/byte_size.h"

namespace rayc::plasma {
namespace {

// Pins are given up without a word: while somebody waits, the store looks.
constexpr int64_t kLookMs = 10;
// A full disk is asked again after this long.
constexpr int64_t kSpillRetryMs = 1000;
// Spilled at once, so that small objects share a file and the next writer need not wait again.
constexpr uint64_t kSpillBytesMin = 100ULL << 20;
constexpr uint64_t kSpillPartOfStore = 8;

int64_t NowMs() { return SteadyClock().NowMs(); }

}  // namespace

RoomMaker::RoomMaker(EventLoop& loop, ObjectTable& table, Spiller& spiller, bool evict_lru)
    : loop_(loop), table_(table), spiller_(spiller), evict_lru_(evict_lru) {}

RoomMaker::~RoomMaker() {
  if (timer_ != 0) {
    loop_.CancelTimer(timer_);
  }
}

bool RoomMaker::Drop(uint64_t bytes) {
  uint64_t freed = table_.Evict(bytes, ObjectTable::Evictable::kEvictable);
  if (freed < bytes && evict_lru_) {
    freed += table_.Evict(bytes - freed, ObjectTable::Evictable::kUnowned);
  }
  return freed > 0;
}

bool RoomMaker::CanSpill() const {
  return spiller_.enabled() && (spill_failure_.ok() || NowMs() >= spill_retry_ms_);
}

RoomMaker::WaitId RoomMaker::Wait(uint64_t bytes, int64_t wait_ms, std::function<bool()> attempt,
                                  std::function<void(const Status&)> fail) {
  const WaitId id = next_id_++;
  waiting_.push_back({id, bytes, wait_ms, 0, std::move(attempt), std::move(fail)});
  Serve();
  const bool waits = std::any_of(waiting_.begin(), waiting_.end(),
                                 [id](const Waiting& waiting) { return waiting.id == id; });
  return waits ? id : 0;
}

void RoomMaker::Forget(WaitId id) {
  std::erase_if(waiting_, [id](const Waiting& waiting) { return waiting.id == id; });
}

void RoomMaker::OnFreed() {
  if (!waiting_.empty()) {
    Serve();
  }
}

void RoomMaker::Serve() {
  if (std::exchange(serving_, true)) {
    return;  // it is our own attempt that frees something
  }
  while (!waiting_.empty()) {
    Waiting& first = waiting_.front();
    if (first.attempt() || (Drop(first.bytes) && first.attempt())) {
      waiting_.pop_front();
      continue;
    }
    if (StartSpill(first.bytes)) {
      continue;  // what was on disk already is gone at once; else the end of it is awaited
    }
    if (spills_under_way_ > 0) {
      break;
    }
    // Only somebody's letting go can help now.
    const int64_t now_ms = NowMs();
    if (first.deadline_ms == 0) {
      first.deadline_ms = now_ms + first.wait_ms;
    }
    if (now_ms < first.deadline_ms) {
      break;
    }
    const Status refusal = Refusal(first);
    const auto fail = std::move(first.fail);
    waiting_.pop_front();
    fail(refusal);
  }
  serving_ = false;
  SetTimer();
}

void RoomMaker::SetTimer() {
  if (!waiting_.empty() && timer_ == 0) {
    timer_ = loop_.RunAfter(kLookMs, [this] {
      timer_ = 0;
      table_.FollowNotes();
      Serve();
    });
  }
}

Status RoomMaker::Refusal(const Waiting& waiting) const {
  std::string text = "no room for " + FormatBytes(waiting.bytes);
  if (waiting.wait_ms > 0) {
    text += " after waiting for " + std::to_string(waiting.wait_ms) + " ms";
  }
  text += ". " + table_.Describe();
  if (!spill_failure_.ok()) {
    return {spill_failure_.code(), text + "\nNothing can be spilled: " + spill_failure_.message()};
  }
  if (!spiller_.enabled()) {
    text += "\nThe store has no folder to spill to.";
  }
  return Status::OutOfMemory(text);
}

// ---- to disk ---------------------------------------------------------------------------------

bool RoomMaker::StartSpill(uint64_t bytes) {
  // One batch at a time: the next writer may find that one was enough.
  if (spills_under_way_ > 0 || !CanSpill()) {
    return false;
  }
  const uint64_t free_before = table_.allocator().free_bytes();
  const uint64_t batch = std::max(
      bytes, std::min(kSpillBytesMin, table_.allocator().capacity_bytes() / kSpillPartOfStore));
  auto records = table_.BeginSpill(batch);
  if (records.empty()) {
    return table_.allocator().free_bytes() > free_before;
  }
  std::vector<Spiller::Extent> extents;
  extents.reserve(records.size());
  for (const ObjectRecord& record : records) {
    extents.push_back({record.offset, SharedIndex::ExtentBytes(record)});
  }
  ++spills_under_way_;
  spiller_.Write(std::move(extents), [this, records = std::move(records)](auto locations) {
    OnSpilled(records, locations);
  });
  return true;
}

void RoomMaker::OnSpilled(const std::vector<ObjectRecord>& records,
                          const Result<std::vector<SpillLocation>>& locations) {
  --spills_under_way_;
  if (locations) {
    spill_failure_ = Status::Ok();
  } else {
    RAYC_LOG(kWarning) << "plasma store: cannot spill: " << locations.error();
    spill_failure_ = locations.error();
    spill_retry_ms_ = NowMs() + kSpillRetryMs;
  }
  for (size_t i = 0; i < records.size(); ++i) {
    (void)table_.EndSpill(records[i], locations ? &(*locations)[i] : nullptr);
  }
  Serve();
}

// ---- and back --------------------------------------------------------------------------------

void RoomMaker::Restore(EntryRef ref, int64_t wait_ms, std::function<void(const Status&)> done) {
  if (const auto under_way = restoring_.find(ref.Pack()); under_way != restoring_.end()) {
    under_way->second.done.push_back(std::move(done));
    return;
  }
  const auto begun = table_.BeginRestore(ref);
  if (!begun || !*begun) {
    done(begun ? Status::Ok() : begun.error());  // readable again, or gone: the asker looks
    return;
  }
  const ObjectTable::OnDisk& object = **begun;
  restoring_[ref.Pack()].done.push_back(std::move(done));
  (void)Wait(
      object.extent_bytes, wait_ms,
      [this, object] {
        const auto offset = table_.Allocate(object.extent_bytes);
        if (offset) {
          Read(object, *offset);
        }
        return offset.has_value();
      },
      [this, ref](const Status& refusal) { EndRestore(ref, refusal, nullptr); });
}

void RoomMaker::Read(const ObjectTable::OnDisk& object, uint64_t offset) {
  spiller_.Read(object.location, offset, /*urgent=*/true,
                [this, object, offset](const Status& status) {
                  if (!status.ok()) {
                    table_.GiveBack(offset, object.extent_bytes);
                  }
                  EndRestore(object.ref, status, status.ok() ? &offset : nullptr);
                });
}

void RoomMaker::EndRestore(EntryRef ref, const Status& status, const uint64_t* offset) {
  (void)table_.EndRestore(ref, offset);
  const auto it = restoring_.find(ref.Pack());
  const auto done = std::move(it->second.done);
  restoring_.erase(it);
  for (const auto& call : done) {
    call(status);
  }
  OnFreed();
}

}  // namespace rayc::plasma
