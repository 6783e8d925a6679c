// What a put of a large object is made of: copies into the arena against memcpy, on memory that is
// warm, and on memory that is not there yet.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "plasma/arena.h"
#include "plasma/copy.h"

namespace rayc::plasma {
namespace {

constexpr int64_t kKib = 1 << 10;
constexpr int64_t kMib = 1 << 20;

struct MappedArena {
  explicit MappedArena(uint64_t bytes) {
    store = *Arena::Create(bytes);
    client = *Arena::Map(UniqueFd(::dup(store->fd())), bytes);
  }
  std::shared_ptr<const Arena> store;
  std::shared_ptr<const Arena> client;
};

void SetBytes(benchmark::State& state) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}

void BM_MemcpyWarm(benchmark::State& state) {
  const std::vector<uint8_t> from(state.range(0), 1);
  std::vector<uint8_t> to(from.size(), 2);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  SetBytes(state);
}

void BM_CopyWarm(benchmark::State& state) {
  const std::vector<uint8_t> from(state.range(0), 1);
  const MappedArena arena(Arena::RoundUpToPages(from.size()));
  std::memset(arena.client->At(0), 2, from.size());
  for (auto _ : state) {
    CopyBytes(arena.client->At(0), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  SetBytes(state);
}

void BM_CopyFirst(benchmark::State& state) {
  const std::vector<uint8_t> from(state.range(0), 1);
  for (auto _ : state) {
    state.PauseTiming();
    auto arena = std::make_unique<MappedArena>(Arena::RoundUpToPages(from.size()));
    state.ResumeTiming();
    arena->client->Prepare(0, from.size());
    CopyBytes(arena->client->At(0), from.data(), from.size());
    benchmark::ClobberMemory();
    state.PauseTiming();
    arena.reset();
    state.ResumeTiming();
  }
  SetBytes(state);
}

#define RAYC_SIZES \
  Arg(64 * kKib)->Arg(kMib)->Arg(4 * kMib)->Arg(16 * kMib)->Arg(400 * kMib)->UseRealTime()
BENCHMARK(BM_MemcpyWarm)->RAYC_SIZES;
BENCHMARK(BM_CopyWarm)->RAYC_SIZES;
BENCHMARK(BM_CopyFirst)->RAYC_SIZES;

}  // namespace
}  // namespace rayc::plasma
