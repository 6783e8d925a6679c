// Work on a large range of memory in a few threads, for as long as it takes: one processor alone
// moves half of what the memory can. Any thread; nothing is left behind, so a forked child misses
// none.
#pragma once

#include <cstddef>
#include <functional>

namespace rayc::plasma {

// Calls work(begin, end) for parts of [0, bytes), the first of them in the calling thread. Each has
// at least part_bytes_min, and begins at a multiple of `grain`. One part if this process may use
// one processor only.
void InParts(size_t bytes, size_t part_bytes_min, size_t grain,
             const std::function<void(size_t begin, size_t end)>& work);

}  // namespace rayc::plasma
