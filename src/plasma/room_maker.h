// How a store that is full makes room, and how those who need it wait: evictable copies go first,
// least recently used first; then what nobody pins is spilled, in large batches; then one waits for
// others to let go, first come first served, and not longer than one said.
//
// Loop thread only. Callbacks run on the loop, some of them inside the call.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/event_loop.h"
#include "common/status.h"
#include "plasma/object_table.h"
#include "plasma/spiller.h"

namespace rayc::plasma {

class RoomMaker {
 public:
  using WaitId = uint64_t;

  // All outlive it. `evict_lru`: objects that belong to nobody may be dropped like copies.
  RoomMaker(EventLoop& loop, ObjectTable& table, Spiller& spiller, bool evict_lru);
  ~RoomMaker();
  RoomMaker(const RoomMaker&) = delete;
  RoomMaker& operator=(const RoomMaker&) = delete;

  // Somebody waits: who comes later has to wait behind them.
  bool crowded() const { return !waiting_.empty(); }
  // Frees by dropping what may be dropped. True if something went.
  bool Drop(uint64_t bytes);
  // Whether waiting could help although nobody lets go of anything.
  bool CanSpill() const;

  // Calls `attempt` now or later, until it returns true (it then has its room, or is refused for
  // good); or `fail`, once, when wait_ms have passed since nothing more could be spilled. `bytes`:
  // how much it needs. The id is 0 if it was done at once.
  WaitId Wait(uint64_t bytes, int64_t wait_ms, std::function<bool()> attempt,
              std::function<void(const Status&)> fail);
  void Forget(WaitId wait);

  // Memory may have become free.
  void OnFreed();

  // Brings an object back. `done` hears when it can be read, or is gone (both kOk), or why not.
  void Restore(EntryRef ref, int64_t wait_ms, std::function<void(const Status&)> done);

 private:
  struct Waiting {
    WaitId id = 0;
    uint64_t bytes = 0;
    int64_t wait_ms = 0;
    int64_t deadline_ms = 0;  // 0: not set yet
    std::function<bool()> attempt;
    std::function<void(const Status&)> fail;
  };
  struct Restoring {
    std::vector<std::function<void(const Status&)>> done;
  };

  void Serve();
  // False if there is nothing to spill, or nowhere.
  bool StartSpill(uint64_t bytes);
  void OnSpilled(const std::vector<ObjectRecord>& records,
                 const Result<std::vector<SpillLocation>>& locations);
  Status Refusal(const Waiting& waiting) const;
  void Read(const ObjectTable::OnDisk& object, uint64_t offset);
  void EndRestore(EntryRef ref, const Status& status, const uint64_t* offset);
  void SetTimer();

  EventLoop& loop_;
  ObjectTable& table_;
  Spiller& spiller_;
  const bool evict_lru_;
  std::list<Waiting> waiting_;
  WaitId next_id_ = 1;
  EventLoop::TimerId timer_ = 0;
  bool serving_ = false;
  size_t spills_under_way_ = 0;
  Status spill_failure_ = Status::Ok();                // of the last spill, if it failed
  int64_t spill_retry_ms_ = 0;                         // not before
  std::unordered_map<uint64_t, Restoring> restoring_;  // by EntryRef::Pack
};

}  // namespace rayc::plasma
