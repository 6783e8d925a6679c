// A sealed memfd, mapped: how the store and a client share anything but the arena.
#pragma once

#include <cstdint>

#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc::plasma {

struct SharedMemory {
  UniqueFd fd;
  uint8_t* base = nullptr;  // to be unmapped by the new owner
  uint64_t bytes = 0;
};

// Sparse, of zeros, of that size for ever.
Result<SharedMemory> MakeSharedMemory(const char* name, uint64_t bytes);
// kInternal if it has fewer than bytes_min bytes.
Result<SharedMemory> MapSharedMemory(UniqueFd fd, uint64_t bytes_min);
void UnmapSharedMemory(uint8_t* base, uint64_t bytes);

}  // namespace rayc::plasma
