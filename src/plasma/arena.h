// The memory that objects live in: one memfd per store, mapped by the store's clients. Sparse: a
// page exists from its first write on. Nothing in it is an address; everything is found by offset.
//
// Pages are made and mapped ahead of a large write (Prepare), in small pages: on a virtual machine
// whose host takes free memory back, it is the large free blocks that have to be fetched anew, and
// to make large pages (MADV_COLLAPSE) was measured to take five times as long as small ones there.
//
// Immutable after construction, shared by shared_ptr; the mapping stays until the last holder is
// gone. The memfd is sealed against changes of its size, so that no process that maps it can make
// another one's access fault.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc::plasma {

class Arena {
 public:
  // The store's: a new memfd of `bytes`, a multiple of the page size. Not mapped: a store moves no
  // bytes.
  static Result<std::shared_ptr<const Arena>> Create(uint64_t bytes);
  // A client's: the memfd that the store sent.
  static Result<std::shared_ptr<const Arena>> Map(UniqueFd fd, uint64_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  static uint64_t RoundUpToPages(uint64_t bytes);

  int fd() const { return fd_.get(); }
  uint64_t bytes() const { return bytes_; }
  bool Holds(uint64_t offset, uint64_t bytes) const {
    return offset <= bytes_ && bytes <= bytes_ - offset;
  }
  // Of a mapped arena, for an offset that it Holds.
  uint8_t* At(uint64_t offset) const { return base_ + offset; }

  // Of a mapped arena: this process is about to write there. Makes the pages, and maps them, more
  // cheaply than faults do, a long range in a few threads; where that was done before it costs 1 us
  // per 2 MiB. Whole chunks of 2 MiB are treated; nothing is changed. Not worth its price for less
  // than kPreparedBytesMin.
  void Prepare(uint64_t offset, uint64_t bytes) const;
  static constexpr uint64_t kPreparedBytesMin = 1ULL << 20;
  // The store's: makes the pages of a range, ahead of those who will write.
  Status MakePages(uint64_t offset, uint64_t bytes) const;
  static constexpr uint64_t kChunkBytes = 2ULL << 20;

  // What the system has given to the memfd so far.
  uint64_t ResidentBytes() const;
  // Gives the whole pages inside back to the system; they read as zeros afterwards.
  Status GiveBack(uint64_t offset, uint64_t bytes) const;

 private:
  Arena(UniqueFd fd, uint64_t bytes, uint8_t* base);
  // Chunks are named by their offsets.
  bool IsPrepared(uint64_t chunk) const;
  void PrepareChunks(uint64_t begin, uint64_t end) const;

  const UniqueFd fd_;  // invalid in a mapped arena: the mapping alone holds the memory
  const uint64_t bytes_;
  uint8_t* const base_;  // null in the store's
  // Of a mapped arena, by chunk: this process has prepared it. Its pages may be gone since.
  const std::unique_ptr<std::atomic<bool>[]> prepared_;
};

}  // namespace rayc::plasma
