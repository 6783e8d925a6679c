#include "gcs/kv_store.h"

namespace rayc::gcs {
namespace {

std::string TableOf(const std::string& name_space) { return "kv/" + name_space; }

}  // namespace

KvStore::~KvStore() {
  for (const auto& [place, waiter] : waiters_) {
    timers_.Cancel(waiter.timer);
  }
}

void KvStore::Put(const std::string& name_space, const std::string& key, std::string value,
                  bool overwrite, Callback<bool> callback) {
  const Place place(TableOf(name_space), key);
  store_.Put(place.first, key, std::move(value), overwrite,
             [this, place, callback = std::move(callback)](Result<bool> existed) {
               callback(existed);
               if (!existed || waiters_.find(place) == waiters_.end()) {
                 return;
               }
               store_.Get(place.first, place.second, [this, place](const Result<Value>& found) {
                 const auto [first, last] = waiters_.equal_range(place);
                 std::vector<uint64_t> ids;
                 for (auto it = first; it != last; ++it) {
                   ids.push_back(it->second.id);
                 }
                 for (const uint64_t id : ids) {
                   Finish(place, id, found);
                 }
               });
             });
}

void KvStore::Get(const std::string& name_space, const std::string& key, int64_t wait_ms,
                  Callback<Value> callback) {
  const Place place(TableOf(name_space), key);
  if (wait_ms <= 0) {
    store_.Get(place.first, key, std::move(callback));
    return;
  }
  // It waits before it looks, so that a put between the two is not missed.
  const uint64_t id = next_waiter_++;
  const Timers::Id timer =
      timers_.RunAfter(wait_ms, [this, place, id] { Finish(place, id, Value(std::nullopt)); });
  waiters_.emplace(place, Waiter{id, timer, std::move(callback)});
  store_.Get(place.first, key, [this, place, id](const Result<Value>& found) {
    if (!found || found->has_value()) {
      Finish(place, id, found);
    }
  });
}

void KvStore::Finish(const Place& place, uint64_t id, const Result<Value>& value) {
  const auto [first, last] = waiters_.equal_range(place);
  for (auto it = first; it != last; ++it) {
    if (it->second.id == id) {
      timers_.Cancel(it->second.timer);
      const auto callback = std::move(it->second.callback);
      waiters_.erase(it);
      callback(value);
      return;
    }
  }
}

void KvStore::Delete(const std::string& name_space, const std::string& key, bool by_prefix,
                     Callback<uint32_t> callback) {
  if (by_prefix) {
    store_.DeletePrefix(TableOf(name_space), key, std::move(callback));
  } else {
    store_.Delete(TableOf(name_space), key, std::move(callback));
  }
}

void KvStore::Keys(const std::string& name_space, const std::string& prefix,
                   Callback<std::vector<std::string>> callback) {
  store_.Keys(TableOf(name_space), prefix, std::move(callback));
}

}  // namespace rayc::gcs
