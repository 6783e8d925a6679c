// What a client does to an object besides writing it: create, publish, look up and pin, delete. The
// store runs in a thread of this process.
#include <benchmark/benchmark.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/event_loop.h"
#include "plasma/client.h"
#include "plasma/store.h"

namespace rayc::plasma {
namespace {

constexpr uint64_t kStoreBytes = 1ULL << 30;
constexpr size_t kObjects = 10'000;

class RunningStore {
 public:
  RunningStore() {
    char folder[] = "/tmp/rayc-bench-XXXXXX";
    folder_ = ::mkdtemp(folder);
    store_ = std::make_unique<Store>(
        loop_, StoreOptions{.socket_path = folder_ + "/plasma", .capacity_bytes = kStoreBytes});
    if (const Status status = store_->Start(); !status.ok()) {
      std::abort();
    }
    thread_ = std::thread([this] { loop_.Run(); });
    client = *Client::Connect(folder_ + "/plasma");
  }
  ~RunningStore() {
    client.reset();
    loop_.Stop();
    thread_.join();
    store_->Shutdown();
    ::rmdir(folder_.c_str());
  }
  RunningStore(const RunningStore&) = delete;
  RunningStore& operator=(const RunningStore&) = delete;

  std::shared_ptr<Client> client;

 private:
  std::string folder_;
  EventLoop loop_;
  std::unique_ptr<Store> store_;
  std::thread thread_;
};

std::vector<ObjectId> RandomIds() {
  std::vector<ObjectId> ids(kObjects);
  for (ObjectId& id : ids) {
    id = ObjectId::FromRandom();
  }
  return ids;
}

void Put(Client& client, const ObjectId& id, uint64_t bytes) {
  benchmark::DoNotOptimize(client.Create(id, bytes, "tag"));
  benchmark::DoNotOptimize(client.Seal(id));
}

void BM_CreateSealDelete(benchmark::State& state) {
  const RunningStore store;
  const auto ids = RandomIds();
  size_t next = 0;
  for (auto _ : state) {
    const ObjectId& id = ids[next++ % kObjects];
    Put(*store.client, id, static_cast<uint64_t>(state.range(0)));
    store.client->DeleteLater(std::span(&id, 1));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}

void BM_GetAndRelease(benchmark::State& state) {
  const RunningStore store;
  const auto ids = RandomIds();
  for (const ObjectId& id : ids) {
    Put(*store.client, id, 1024);
  }
  const auto count = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    benchmark::DoNotOptimize(store.client->Get(std::span(ids).first(count), 0));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}

BENCHMARK(BM_CreateSealDelete)->Arg(64)->Arg(64 << 10)->Arg(4 << 20)->UseRealTime();
BENCHMARK(BM_GetAndRelease)->Arg(1)->Arg(kObjects)->UseRealTime();

}  // namespace
}  // namespace rayc::plasma
