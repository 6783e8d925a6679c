// The key-value store that clients see: namespaces over the tables of a StoreClient, and gets that
// wait for a key to appear. Owned by the GcsServer; loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "gcs/table_store.h"
#include "gcs/timers.h"

namespace rayc::gcs {

class KvStore {
 public:
  using Value = std::optional<std::string>;
  template <typename T>
  using Callback = std::function<void(Result<T>)>;

  KvStore(StoreClient& store, Timers& timers) : store_(store), timers_(timers) {}
  KvStore(const KvStore&) = delete;
  KvStore& operator=(const KvStore&) = delete;
  ~KvStore();

  // Gives whether the key existed; wakes the gets that wait for it.
  void Put(const std::string& name_space, const std::string& key, std::string value, bool overwrite,
           Callback<bool> callback);
  // wait_ms <= 0: answers at once; otherwise when the key appears, at the latest after wait_ms.
  void Get(const std::string& name_space, const std::string& key, int64_t wait_ms,
           Callback<Value> callback);
  // Gives how many keys went.
  void Delete(const std::string& name_space, const std::string& key, bool by_prefix,
              Callback<uint32_t> callback);
  void Keys(const std::string& name_space, const std::string& prefix,
            Callback<std::vector<std::string>> callback);

  size_t waiting() const { return waiters_.size(); }

 private:
  using Place = std::pair<std::string, std::string>;  // table, key
  struct Waiter {
    uint64_t id;
    Timers::Id timer;
    Callback<Value> callback;
  };

  // Answers this waiter, if it still waits.
  void Finish(const Place& place, uint64_t id, const Result<Value>& value);

  StoreClient& store_;
  Timers& timers_;
  std::multimap<Place, Waiter> waiters_;  // bounded by the time that each waits
  uint64_t next_waiter_ = 1;
};

}  // namespace rayc::gcs
