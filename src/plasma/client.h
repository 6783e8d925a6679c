// A process' access to the object store of its node: makes objects and views those of others, in
// place.
//
// Any thread. Calls block their caller for one round trip to the store; a Get with a timeout
// longer, without keeping other threads from their calls. No call needs an event loop.
//
// The buffers of a Get hold the object in its place: they may be let go in any thread, and may
// outlive the client and the store. In a forked child the client's calls fail with kDisconnected,
// and letting go of a buffer does nothing, as the pin is the parent's; the memory stays readable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/buffer.h"
#include "common/ids.h"
#include "common/status.h"
#include "common/thread_annotations.h"

namespace rayc::plasma {

class ClientSession;
class ClientWaits;

// Room for an object, to be written before Seal. Aligned to 64 bytes.
struct WritableObject {
  uint8_t* data = nullptr;
  uint64_t size = 0;
};

struct ObjectInfo {
  ObjectId id;
  WorkerId owner;  // nil: nobody's
  uint64_t data_bytes = 0;
  uint32_t metadata_bytes = 0;
  uint32_t pins = 0;
  int32_t made_by_pid = 0;
  bool sealed = false;
  bool deleted = false;  // goes with its last pin
};

struct ListResult {
  std::vector<ObjectInfo> objects;
  uint64_t used_bytes = 0;
  uint64_t capacity_bytes = 0;
};

class Client {
 public:
  static Result<std::shared_ptr<Client>> Connect(const std::string& socket_path);
  // What was created and not sealed is aborted.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Room for an object that goes when `owner` (nil: nobody) does. kAlreadyExists; kOutOfMemory,
  // with what holds the store; kOwnerDied. `data` is the caller's alone until Seal, Abort, or the
  // end of this client.
  Result<WritableObject> Create(const ObjectId& id, uint64_t data_bytes,
                                const std::string& metadata, const WorkerId& owner);
  // Makes it visible to all, unchanged from now on. kNotFound if it was not created here;
  // kInvalidArgument if it is sealed already.
  Status Seal(const ObjectId& id);
  // The same, and pins it in the same step, so that the maker may go on reading it.
  Result<std::shared_ptr<Buffer>> SealAndPin(const ObjectId& id);
  Status Abort(const ObjectId& id);
  // The same without waiting for the store; never blocks, and may run in a destructor.
  void AbortLater(const ObjectId& id);

  // In the order of `ids`; those that are not there after timeout_ms (0: now; -1: never) are null.
  // kInterrupted when a signal arrives while waiting.
  Result<std::vector<std::optional<ObjectValue>>> Get(std::span<const ObjectId> ids,
                                                      int64_t timeout_ms);
  // The objects go when their last pins do; unknown ids are ignored.
  Status Delete(std::span<const ObjectId> ids);
  // The same without waiting for the store; never blocks, and may run in a destructor.
  void DeleteLater(std::span<const ObjectId> ids);
  Result<bool> Contains(const ObjectId& id);
  Result<ListResult> List();
  uint64_t capacity_bytes() const;

  // Ends the calls that wait, and fails all others from now on. Buffers stay valid and pinned.
  void Disconnect();

 private:
  struct Creation {
    uint64_t offset;
    uint64_t data_bytes;
  };

  explicit Client(std::shared_ptr<ClientSession> session);
  Status SealOnly(const ObjectId& id, bool keep_pin, Creation* creation);
  Status Fetch(std::span<const ObjectId> ids, std::span<const size_t> places,
               std::vector<std::optional<ObjectValue>>* values);

  const std::shared_ptr<ClientSession> session_;
  const std::unique_ptr<ClientWaits> waits_;

  Mutex mutex_;  // never held during a call to the store
  std::unordered_map<ObjectId, Creation> creations_ RAYC_GUARDED_BY(mutex_);
};

}  // namespace rayc::plasma
