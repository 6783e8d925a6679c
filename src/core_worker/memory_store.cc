#include "core_worker/memory_store.h"

#include <algorithm>

namespace rayc::core_worker {

const StoredObject* MemoryStore::Find(const ObjectId& id) const {
  const auto it = objects_.find(id);
  return it == objects_.end() ? nullptr : &it->second;
}

void MemoryStore::Put(const ObjectId& id, StoredObject object, bool replace) {
  const auto [it, inserted] = objects_.try_emplace(id, std::move(object));
  if (!inserted && replace) {
    it.value() = std::move(object);
  }
  const auto waiting = waiting_.find(id);
  if (waiting == waiting_.end()) {
    return;
  }
  const auto callbacks = std::move(waiting.value());
  waiting_.erase(waiting);
  const StoredObject stored = it->second;
  for (const auto& [token, callback] : callbacks) {
    callback(id, stored);
  }
}

MemoryStore::Token MemoryStore::WhenReady(const ObjectId& id, ReadyCallback callback) {
  if (const StoredObject* object = Find(id)) {
    const StoredObject stored = *object;
    callback(id, stored);
    return 0;
  }
  const Token token = next_token_++;
  waiting_[id].emplace_back(token, std::move(callback));
  return token;
}

void MemoryStore::Forget(const ObjectId& id, Token token) {
  const auto it = waiting_.find(id);
  if (it == waiting_.end()) {
    return;
  }
  auto& callbacks = it.value();
  std::erase_if(callbacks, [token](const auto& entry) { return entry.first == token; });
  if (callbacks.empty()) {
    waiting_.erase(it);
  }
}

}  // namespace rayc::core_worker
