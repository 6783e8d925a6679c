// The memory that objects live in: one memfd per store, mapped by the store's clients. Sparse: a
// page exists from its first write on. Nothing in it is an address; everything is found by offset.
//
// Immutable after construction, shared by shared_ptr; the mapping stays until the last holder is
// gone. The memfd is sealed against changes of its size, so that no process that maps it can make
// another one's access fault.
#pragma once

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

  // What the system has given to the memfd so far.
  uint64_t ResidentBytes() const;
  // Gives the whole pages inside back to the system; they read as zeros afterwards.
  Status GiveBack(uint64_t offset, uint64_t bytes) const;

 private:
  Arena(UniqueFd fd, uint64_t bytes, uint8_t* base)
      : fd_(std::move(fd)), bytes_(bytes), base_(base) {}

  const UniqueFd fd_;  // invalid in a mapped arena: the mapping alone holds the memory
  const uint64_t bytes_;
  uint8_t* const base_;  // null in the store's
};

}  // namespace rayc::plasma
