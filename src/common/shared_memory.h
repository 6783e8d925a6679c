// A sealed memfd, mapped: how two processes share memory (the plasma arena has a file of its own).
// Its size can never change, so that no peer can make an access of ours fail.
#pragma once

#include <cstdint>

#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc {

struct SharedMemory {
  UniqueFd fd;
  uint8_t* base = nullptr;  // to be unmapped by the new owner
  uint64_t bytes = 0;
};

// Sparse, of zeros, of that size for ever.
Result<SharedMemory> MakeSharedMemory(const char* name, uint64_t bytes);
// kInternal if it has fewer than bytes_min bytes, or could come to have fewer.
Result<SharedMemory> MapSharedMemory(UniqueFd fd, uint64_t bytes_min);
void UnmapSharedMemory(uint8_t* base, uint64_t bytes);

}  // namespace rayc
