#include "common/fork_count.h"

#include <pthread.h>

#include <atomic>

namespace rayc {
namespace {

std::atomic<uint32_t> g_forks{0};

[[maybe_unused]] const int g_registered =
    ::pthread_atfork(nullptr, nullptr, [] { g_forks.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

uint32_t ForkCount() { return g_forks.load(std::memory_order_relaxed); }

}  // namespace rayc
