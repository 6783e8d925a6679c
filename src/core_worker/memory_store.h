// The objects that this process knows to exist: the value itself if it is small, or that it lies in
// plasma. An object that is not here is pending, or unknown. Owned by CoreWorker, whose lock guards
// every call; callbacks run inside Put, under that lock, and must neither block nor call back.
#pragma once

#include <tsl/robin_map.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "common/buffer.h"
#include "common/ids.h"

namespace rayc::core_worker {

struct StoredObject {
  ObjectValue value;  // empty if in_plasma
  bool in_plasma = false;
  uint64_t size = 0;
};

class MemoryStore {
 public:
  using ReadyCallback = std::function<void(const ObjectId& id, const StoredObject& object)>;
  using Token = uint64_t;

  // Null if not ready. Valid until the next change of the store.
  const StoredObject* Find(const ObjectId& id) const;
  // Makes the object ready and calls who waits for it. An object that is here already stays as it
  // is (the second result of a task that was run twice), unless `replace`.
  void Put(const ObjectId& id, StoredObject object, bool replace = false);
  void Erase(const ObjectId& id) { objects_.erase(id); }

  // Once, at the next Put; at once if ready (the token is then 0).
  Token WhenReady(const ObjectId& id, ReadyCallback callback);
  void Forget(const ObjectId& id, Token token);
  bool IsAwaited(const ObjectId& id) const { return waiting_.count(id) != 0; }

  size_t size() const { return objects_.size(); }
  size_t waiting() const { return waiting_.size(); }

 private:
  tsl::robin_map<ObjectId, StoredObject> objects_;
  tsl::robin_map<ObjectId, std::vector<std::pair<Token, ReadyCallback>>> waiting_;
  Token next_token_ = 1;
};

}  // namespace rayc::core_worker
