// Objects on disk: writes batches of them into fused files, reads them back into the arena, and
// removes the files whose objects are all gone.
//
// Files lie in a folder of this store's own in each of the configured folders; which one is used
// goes round, and a folder that is full or fails is passed over. Folders that a killed store left
// behind are removed at start: a store holds a lock on its own for as long as it lives.
//
// Loop thread only; the disk work is done by threads of its own, one that writes and removes, two
// that read, so that whoever waits for an object waits for no batch that is being written. The
// readers share a large object. Callbacks run on the loop. The threads start with the first use.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/event_loop.h"
#include "common/status.h"
#include "plasma/arena.h"

namespace rayc::plasma {

struct SpillerOptions {
  std::vector<std::string> folders;    // created if they are not there; empty: nothing is spilled
  uint64_t file_bytes = 100ULL << 20;  // a file is closed to further objects from this size on
  double disk_full_fraction = 0.95;    // no writing to a file system that is used more than this
};

// Where an object lies on disk. `file` 0: nowhere.
struct SpillLocation {
  uint64_t file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

class Spiller {
 public:
  using Options = SpillerOptions;
  // A part of the arena; unchanged, and not reused, until the callback.
  struct Extent {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  // One location for each extent, in order; or why nothing was kept (kOutOfDisk: every folder is
  // full; kIOError).
  using WrittenCallback = std::function<void(Result<std::vector<SpillLocation>>)>;
  using ReadCallback = std::function<void(Status)>;

  Spiller(EventLoop& loop, std::shared_ptr<const Arena> arena, Options options);
  // Waits for the disk work under way, drops what has not begun without its callbacks, and removes
  // all files and the store's folders.
  ~Spiller();
  Spiller(const Spiller&) = delete;
  Spiller& operator=(const Spiller&) = delete;

  // The folders can be made, locked and written to, else what is wrong. Once, before the rest.
  Status Start();
  bool enabled() const { return !options_.folders.empty(); }

  // Writes the extents into one file, one after the other.
  void Write(std::vector<Extent> extents, WrittenCallback done);
  // Reads an object into the arena at `offset`. Begun in the order of the calls, `urgent` ones
  // first; with an urgent one, what is under way goes on after it.
  void Read(const SpillLocation& location, uint64_t offset, bool urgent, ReadCallback done);
  // The object is not wanted any more; its file goes with its last object. A Read of it that is
  // under way still ends well.
  void Forget(const SpillLocation& location);

  uint64_t live_bytes() const;  // of the objects on disk
  uint64_t file_count() const;

 private:
  struct Impl;
  EventLoop& loop_;
  const Options options_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rayc::plasma
