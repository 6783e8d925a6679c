// Moves bytes between the arena and a file on disk, by descriptors alone: the store maps neither,
// so nothing here can fault, whatever happens to memory or disk.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "plasma/arena.h"
#include "plasma/spiller.h"

namespace rayc::plasma {

// Of one thread. Small pieces, and all that is written, pass through a buffer that stays in the
// processor's cache; large reads through a pipe, which takes the file's pages as they are, so that
// bytes are copied once.
class SpillCopier {
 public:
  explicit SpillCopier(std::shared_ptr<const Arena> arena);

  // One after the other to fd from `offset` on. kOutOfDisk, kIOError: some of it may be written.
  Status Write(const std::vector<Spiller::Extent>& extents, int fd, uint64_t offset);
  // kIOError also if the file ends before; kOutOfMemory if the system has no page for the arena.
  Status Read(int fd, uint64_t offset, uint64_t bytes, uint64_t arena_offset);

 private:
  Status ReadByBuffer(int fd, uint64_t offset, uint64_t bytes, uint64_t arena_offset);
  // kNotImplemented: not with this file.
  Status ReadByPipe(int fd, uint64_t offset, uint64_t bytes, uint64_t arena_offset);
  Status EmptyPipe(uint64_t bytes, uint64_t arena_offset);
  bool MakePipe();
  void ClosePipe();

  const std::shared_ptr<const Arena> arena_;
  const std::unique_ptr<uint8_t[]> buffer_;
  UniqueFd pipe_in_;  // made with the first large read
  UniqueFd pipe_out_;
};

}  // namespace rayc::plasma
