// A process' access to the object store of its node: makes objects and views those of others, in
// place.
//
// Any thread. An ordinary Create, Seal, Get or Delete talks to no server: the object is allocated
// in a region that the store has granted to this client, published in the shared index, and pinned
// in this client's pin table. A round trip is needed for a new region, for a large object, and for
// one that was spilled. What has to wait (a Get, a Create with wait_ms) keeps no other thread from
// its calls. No call needs an event loop.
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
#include "plasma/shared_index.h"

namespace rayc::plasma {

class ClientRegion;
class ClientSession;
class ClientSocket;
class ClientWaits;

// What a client knows of an object that it is creating.
struct Creation {
  EntryRef ref;
  WorkerId owner;
  uint64_t offset = 0;
  uint64_t data_bytes = 0;
};

// Room for an object, to be written before Seal. Aligned to 64 bytes.
struct WritableObject {
  uint8_t* data = nullptr;
  uint64_t size = 0;
};

// Where an object's bytes are.
enum class ObjectPlace : uint8_t { kArena, kSpilled };

struct ObjectInfo {
  ObjectId id;
  WorkerId owner;  // nil: nobody's
  uint64_t data_bytes = 0;
  uint32_t metadata_bytes = 0;
  uint32_t pins = 0;
  int32_t made_by_pid = 0;
  bool sealed = false;
  bool deleted = false;  // goes with its last pin
  ObjectPlace place = ObjectPlace::kArena;
};

struct ListResult {
  std::vector<ObjectInfo> objects;
  uint64_t used_bytes = 0;     // of objects in the arena
  uint64_t granted_bytes = 0;  // in regions of clients, not yet taken by an object
  uint64_t capacity_bytes = 0;
  uint64_t spilled_bytes = 0;  // of objects on disk
  std::string problem;         // with List(true): what the store's invariants say; empty: all hold
};

// What a subscriber is told of an object: that it was sealed, or that it is gone.
struct Notification {
  ObjectId id;
  uint64_t data_bytes = 0;
  uint32_t metadata_bytes = 0;
  bool gone = false;
};

// The stream of sealed and gone objects, from Subscribe on, in the order in which the store learns
// of them. One thread at a time; its own connection. Read `fd` for readiness only.
class Subscription {
 public:
  explicit Subscription(std::unique_ptr<ClientSocket> socket);
  ~Subscription();
  int fd() const;
  // kTimedOut after timeout_ms (-1: never); kInterrupted when a signal arrives; kDisconnected.
  Result<Notification> Next(int64_t timeout_ms);

 private:
  const std::unique_ptr<ClientSocket> socket_;
};

struct CreateOptions {
  WorkerId owner = {};     // the object goes when it does; nil: nobody's
  int64_t wait_ms = 0;     // how long to wait for room in a full store
  bool evictable = false;  // a copy that may go when memory is needed
};

class Client {
 public:
  static Result<std::shared_ptr<Client>> Connect(const std::string& socket_path);
  // What was created and not sealed is aborted.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Room for an object. kAlreadyExists; kOutOfMemory, with what holds the store; kOutOfDisk, if it
  // could have spilled but for a full disk; kOwnerDied; kInterrupted when a signal arrives while
  // waiting. `data` is the caller's alone until Seal, Abort, or the end of this client.
  Result<WritableObject> Create(const ObjectId& id, uint64_t data_bytes,
                                const std::string& metadata, const CreateOptions& options = {});
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
  // `check`: also runs the store's invariants.
  Result<ListResult> List(bool check = false);
  // Frees unpinned objects, least recently used first, until `bytes` are freed or none is left;
  // those with an owner stay. Returns the bytes freed.
  Result<uint64_t> Evict(uint64_t bytes);
  Result<std::unique_ptr<Subscription>> Subscribe();
  uint64_t capacity_bytes() const;

  // Ends the calls that wait, and fails all others from now on. Buffers stay valid and pinned.
  void Disconnect();

 private:
  enum class Found { kThere, kAbsent, kSpilled };

  explicit Client(std::shared_ptr<ClientSession> session);

  // Null if the client has no region for it now.
  Result<std::optional<Creation>> CreateInRegion(const ObjectId& id, uint64_t data_bytes,
                                                 const std::string& metadata,
                                                 const CreateOptions& options);
  Result<std::optional<Creation>> CreateAtStore(const ObjectId& id, uint64_t data_bytes,
                                                const std::string& metadata,
                                                const CreateOptions& options);
  Status AlreadyThere(const ObjectId& id, uint32_t entry) const;
  Result<Creation> TakeCreation(const ObjectId& id);
  Status Publish(const ObjectId& id, const Creation& creation);
  void Discard(const Creation& creation) const;
  Result<Found> TryGet(const ObjectId& id, std::optional<ObjectValue>* value);
  std::string Metadata(const ObjectRecord& record) const;
  // What is there now, and what has to be restored; the rest stays null.
  Status Fetch(std::span<const ObjectId> ids, std::span<std::optional<ObjectValue>> values,
               int64_t restore_wait_ms);

  const std::shared_ptr<ClientSession> session_;
  const std::unique_ptr<ClientWaits> waits_;
  const std::unique_ptr<ClientRegion> region_;

  Mutex mutex_;  // held for a few instructions
  std::unordered_map<ObjectId, Creation> creations_ RAYC_GUARDED_BY(mutex_);
};

}  // namespace rayc::plasma
