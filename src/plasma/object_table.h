// What the store alone knows: which memory and which entries each client was granted, who pins
// what, and what is on disk. It alone frees memory, and alone takes entries out of the shared
// index; it follows what clients do there by their notes (ClientSegment), and by reading it.
//
// Memory of the arena is, at any time, one of: free (the allocator's); in an object's extent, which
// its entry describes; in a region, from the region's position on; or taken from a region by a
// client that has not yet said so in an entry. For the last a region stays `unsettled` but for what
// objects gave back of it, until its client asks for the next one (ClientRegion's lock excludes
// then that room is taken and not in an entry) or dies: then what no entry describes of it is free.
//
// Everything in shared memory is untrusted: what does not fit is left alone (its memory is lost
// until the store ends), and never followed.
//
// Loop thread only. Moves no bytes of objects.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "plasma/allocator.h"
#include "plasma/client_segment.h"
#include "plasma/shared_index.h"
#include "plasma/spiller.h"

namespace rayc::plasma {

// Of 24 bits; 0 is nobody.
using ClientNumber = uint32_t;

class ObjectTable {
 public:
  struct Events {
    // An object's last trace goes: for subscribers.
    std::function<void(const ObjectRecord&)> gone;
    std::function<void(const SpillLocation&)> forget;  // its copy on disk is not wanted any more
    std::function<void(const ObjectRecord&)> sealed;   // as noted by clients: for subscribers
  };
  struct Grant {
    uint64_t offset = 0;
    uint64_t bytes = 0;
    std::vector<uint32_t> entries;
  };
  struct Made {
    EntryRef ref;
    uint64_t offset = 0;
  };

  ObjectTable(std::shared_ptr<SharedIndex> index, uint64_t capacity_bytes, Events events);

  // ---- clients
  Result<std::shared_ptr<ClientSegment>> AddClient(ClientNumber client, pid_t pid);
  // What it was making goes, its pins do not count any more, and its regions come back.
  void DropClient(ClientNumber client);

  // ---- room
  // Closes the client's region and opens another one, if there is room of bytes_min at once.
  Grant GrantRegion(ClientNumber client, uint64_t bytes_min, uint64_t bytes_wanted,
                    uint32_t entries);
  // An object with room of its own. kOutOfMemory if there is none now; kAlreadyExists; kOwnerDied;
  // kInvalidArgument.
  Result<Made> Create(ClientNumber client, const ObjectId& id, uint64_t data_bytes,
                      std::string_view metadata, const WorkerId& owner, bool evictable);
  // Takes back what was given to a client that did not take it.
  void CancelCreation(ClientNumber client, EntryRef ref);
  // Room for an object that comes back from disk. Looks everywhere: dead objects, unused regions.
  std::optional<uint64_t> Allocate(uint64_t bytes);
  void GiveBack(uint64_t offset, uint64_t bytes) { FreeExtent(offset, bytes); }
  // What clients have not used of their regions is free; they ask again when they need room.
  void RecallRegions();

  // ---- following the clients
  // Frees what is dead and not pinned.
  void FollowNotes();
  // Marks all objects of this owner, and those it may still be given, as dead.
  void DropOwner(const WorkerId& owner);

  // ---- making room
  // Least recently used first, those that nobody pins, until `bytes` are free or none is left.
  // kEvictable: copies that may go. kUnowned: any that belong to nobody.
  enum class Evictable { kEvictable, kUnowned };
  uint64_t Evict(uint64_t bytes, Evictable which);
  // Those to spill, in the same order; they are `spilling` from now on, until EndSpill. What lies
  // on disk already is freed at once, and is not among them.
  std::vector<ObjectRecord> BeginSpill(uint64_t bytes);
  // With null: it was not written. True if memory became free.
  bool EndSpill(const ObjectRecord& record, const SpillLocation* location);
  struct OnDisk {
    EntryRef ref;
    SpillLocation location;
    uint64_t extent_bytes = 0;
  };
  // Null if it is not spilled (any more); kInternal if it says that it is, and is not.
  Result<std::optional<OnDisk>> BeginRestore(EntryRef ref);
  // With null: it is not in the arena. False if it is dead by now: the room is free again.
  bool EndRestore(EntryRef ref, const uint64_t* offset);
  // While held it is neither spilled nor freed. False if it is not readable now.
  bool Hold(EntryRef ref);
  void Unhold(EntryRef ref);

  // ---- reporting
  const SharedIndex& index() const { return *index_; }
  const Allocator& allocator() const { return allocator_; }
  uint64_t granted_bytes() const;  // in regions, not taken yet
  uint64_t used_bytes() const { return allocator_.used_bytes() - granted_bytes(); }
  uint64_t spilled_bytes() const { return spilled_bytes_; }
  size_t object_count() const;  // sealed or being made, dead ones that are pinned included
  void ForEach(const std::function<void(const ObjectRecord&, uint32_t pins)>& visit) const;
  // Totals, and the largest objects with what keeps each; one line per object.
  std::string Describe() const;
  // Empty if everything agrees with everything; else what does not. Clients may go on meanwhile.
  std::string CheckInvariants() const;

 private:
  struct EntryRecord {
    ClientNumber grantee = 0;
    uint32_t holds = 0;
    bool in_arena = true;  // false: spilled
    bool busy = false;     // on its way to or from disk
    bool limbo = false;    // dead and unlinked, and pinned when last looked at
    bool lost = false;     // damaged: not touched any more
    SpillLocation disk;
  };
  struct Client {
    pid_t pid = 0;
    std::shared_ptr<ClientSegment> segment;
    // The last region that it was granted; empty: none.
    uint64_t region = 0;
    uint64_t region_end = 0;
    bool region_open = false;
  };
  struct Part {
    uint64_t end = 0;
    ClientNumber client = 0;
  };
  struct Extent {
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  std::optional<ObjectRecord> Read(uint32_t entry) const {
    return index_->Read(entry, allocator_.capacity_bytes());
  }
  std::optional<uint32_t> TakeEntry(ClientNumber client);
  void CloseRegion(ClientNumber number, Client& client);
  void SettleRegion(ClientNumber number, Client& client);
  void FreeGaps(ClientNumber number, const Client& client);
  // What is unsettled of the client's region from `begin` on.
  std::vector<Extent> UnsettledFrom(uint64_t begin, ClientNumber number,
                                    const Client& client) const;
  void Settle(uint64_t begin, uint64_t end);
  void FreeExtent(uint64_t offset, uint64_t bytes);
  // Unlinks a dead object, and frees it unless it is pinned.
  void OnDead(std::span<const EntryRef> refs);
  void KillCreation(ClientNumber client, uint32_t entry);
  void FreeEntry(uint32_t entry);
  std::vector<uint32_t> CountPins() const;
  std::vector<std::pair<ObjectRecord, uint32_t>> LeastRecentlyUsed() const;
  std::string DescribeObject(const ObjectRecord& record, uint32_t pins) const;

  const std::shared_ptr<SharedIndex> index_;
  const Events events_;
  Allocator allocator_;
  std::vector<EntryRecord> entries_;  // as many as were ever granted
  std::vector<uint32_t> free_entries_;
  std::unordered_map<ClientNumber, Client> clients_;
  std::map<uint64_t, Part> unsettled_;  // by begin; disjoint, and nothing of it is free
  std::unordered_set<uint32_t> limbo_;
  std::vector<uint8_t> marks_;  // of OnDead: all 0 between calls
  uint64_t spilled_bytes_ = 0;
};

}  // namespace rayc::plasma
