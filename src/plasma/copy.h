// Copies into the arena. Large ones bypass the caches (streaming stores: what is copied would push
// everything else out, and the destination need not be read first) and, where it measures faster,
// use a few threads for the time of the copy. Any thread; the caller has released the GIL.
#pragma once

#include <cstddef>

namespace rayc::plasma {

// As memcpy. What was written is visible to a thread that acquires what this thread releases
// afterwards (streaming stores are fenced).
void CopyBytes(void* to, const void* from, size_t bytes);

}  // namespace rayc::plasma
