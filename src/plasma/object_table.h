// What is in the store: objects, who pins them, who is writing them, who owns them. Pure: no
// memory, no sockets, no clock. One thread, the store's.
//
// States of an object, and what each event makes of it ("gone": its room is free again):
//
//                      created           created, deleted   sealed               sealed, deleted
//   Seal by its maker  sealed            gone (*)           error                error
//   Abort by its maker gone              gone               error                error
//   Pin                not found         not found          pins + 1             not found
//   Release            -                 -                  pins - 1             pins - 1, at 0
//   gone Delete, owner gone created, deleted  no change          gone; if pinned:     no change
//                                                           sealed, deleted
//   maker gone         gone              gone               no change            no change
//   client gone        -                 -                  its pins released    its pins released
//
//   (*) with keep_pin: sealed, deleted with one pin.
//
// A deleted object's id is free for a new object at once; pins therefore name an object by its
// offset, which nothing else has while the object is there.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "plasma/allocator.h"

namespace rayc::plasma {

// A client's connection, numbered by the store; never used again.
using ClientNumber = uint64_t;

struct ObjectEntry {
  ObjectId id;
  WorkerId owner;  // nil: nobody's
  uint64_t offset = 0;
  uint64_t data_bytes = 0;
  std::string metadata;
  ClientNumber maker = 0;  // its connection may be gone once the object is sealed
  pid_t made_by_pid = 0;
  bool sealed = false;
  bool deleted = false;
  uint32_t pins = 0;
};

class ObjectTable {
 public:
  static constexpr size_t kMetadataBytesMax = 64U << 10;

  explicit ObjectTable(uint64_t capacity_bytes) : allocator_(capacity_bytes) {}

  void AddClient(ClientNumber client, pid_t pid);
  void DropClient(ClientNumber client);

  // kAlreadyExists; kOutOfMemory with what holds the store; kOwnerDied; kInvalidArgument.
  Result<uint64_t> Create(ClientNumber client, const ObjectId& id, uint64_t data_bytes,
                          std::string metadata, const WorkerId& owner);
  Status Seal(ClientNumber client, const ObjectId& id, bool keep_pin);
  Status Abort(ClientNumber client, const ObjectId& id);
  // Null if no sealed object has this id. The entry is valid until the next call.
  const ObjectEntry* Pin(ClientNumber client, const ObjectId& id);
  // A pin that the client does not hold is ignored.
  void Release(ClientNumber client, uint64_t offset);
  void Delete(const ObjectId& id);
  // Also refuses what is created for this owner afterwards.
  void DropOwner(const WorkerId& owner);

  bool Contains(const ObjectId& id) const;  // sealed and not deleted
  const Allocator& allocator() const { return allocator_; }
  size_t object_count() const { return entries_.size(); }
  void ForEach(const std::function<void(const ObjectEntry&)>& visit) const;
  // Totals, and the largest objects with what keeps each; one line per object.
  std::string Describe() const;
  // Empty if everything agrees with everything; else what does not.
  std::string CheckInvariants() const;

 private:
  struct Client {
    pid_t pid = 0;
    std::unordered_map<ObjectId, uint64_t> creations;  // unsealed, id -> offset
    std::unordered_map<uint64_t, uint32_t> pins;       // offset -> count
  };

  Status NoRoom(uint64_t data_bytes) const;
  Status NotBeingMade(const ObjectId& id) const;
  void MarkDeleted(ObjectEntry& entry);
  void Unpin(ObjectEntry& entry, uint32_t pins);
  void Erase(uint64_t offset);
  std::string DescribeEntry(const ObjectEntry& entry) const;

  Allocator allocator_;
  std::unordered_map<uint64_t, ObjectEntry> entries_;  // by offset
  std::unordered_map<ObjectId, uint64_t> by_id_;       // not deleted ones
  std::unordered_map<ClientNumber, Client> clients_;
  std::unordered_map<WorkerId, std::unordered_set<uint64_t>> by_owner_;
  std::unordered_set<WorkerId> dead_owners_;  // the latest ones
  std::deque<WorkerId> dead_owners_in_order_;
};

}  // namespace rayc::plasma
