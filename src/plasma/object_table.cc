#include "plasma/object_table.h"

#include <algorithm>
#include <utility>

#include "common/logging.h"
#include "plasma/byte_size.h"

namespace rayc::plasma {
namespace {

// Below this a run is too small to be worth a region, unless the object fits it alone.
constexpr uint64_t kRegionBytesMin = 64U << 10;
constexpr uint64_t kRegionsPerStore = 256;  // no client's region is larger than this part of it
constexpr uint32_t kEntriesPerGrantMax = 4096;

}  // namespace

ObjectTable::ObjectTable(std::shared_ptr<SharedIndex> index, uint64_t capacity_bytes, Events events)
    : index_(std::move(index)), events_(std::move(events)), allocator_(capacity_bytes) {}

// ---- clients ---------------------------------------------------------------------------------

Result<std::shared_ptr<ClientSegment>> ObjectTable::AddClient(ClientNumber number, pid_t pid) {
  auto segment = ClientSegment::Create();
  if (segment) {
    Client client;
    client.pid = pid;
    client.segment = *segment;
    const bool added = clients_.emplace(number, std::move(client)).second;
    RAYC_CHECK(added) << number;
  }
  return segment;
}

void ObjectTable::DropClient(ClientNumber number) {
  FollowNotes();
  const auto it = clients_.find(number);
  if (it == clients_.end()) {
    return;
  }
  Client dropped = std::move(it->second);
  clients_.erase(it);
  CloseRegion(number, dropped);
  // Whatever it died in the middle of: it may have killed an object and not said so, or not have
  // seen that its object's owner is gone; and may have been the last to pin one.
  std::vector<EntryRef> dead;
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
    if (entries_[entry].grantee == number) {
      KillCreation(number, entry);
    }
    const EntryWord word = index_->WordOf(entry);
    if (word.present() && !word.being_created() && word.maker == number) {
      if (const auto record = Read(entry); record && index_->OwnerIsDead(record->owner)) {
        (void)index_->Kill(record->ref);
      }
    }
    if (const EntryWord now = index_->WordOf(entry); now.state == EntryState::kDead) {
      dead.push_back({entry, now.generation});
    }
  }
  OnDead(dead);
  FreeGaps(number, dropped);
  SettleRegion(number, dropped);
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
    EntryRecord& known = entries_[entry];
    if (known.grantee == number) {
      known.grantee = 0;
      if (index_->WordOf(entry).state == EntryState::kFree && !known.lost) {
        free_entries_.push_back(entry);
      }
    }
  }
}

// What a dead client was making is dead too.
void ObjectTable::KillCreation(ClientNumber client, uint32_t entry) {
  while (true) {
    const EntryWord word = index_->WordOf(entry);
    if (!word.being_created()) {
      return;
    }
    if (word.maker != client) {
      RAYC_LOG(kWarning) << "plasma store: entry " << entry << " is damaged";
      entries_[entry].lost = true;
      return;
    }
    if (index_->Change(entry, word, word.With(EntryState::kDead))) {
      return;
    }
  }
}

// ---- room ------------------------------------------------------------------------------------

std::optional<uint32_t> ObjectTable::TakeEntry(ClientNumber client) {
  uint32_t entry = 0;
  if (!free_entries_.empty()) {
    entry = free_entries_.back();
    free_entries_.pop_back();
  } else if (entries_.size() < index_->entry_capacity()) {
    entry = static_cast<uint32_t>(entries_.size());
    entries_.emplace_back();
    marks_.push_back(0);
  } else {
    return std::nullopt;
  }
  entries_[entry] = EntryRecord();
  entries_[entry].grantee = client;
  return entry;
}

ObjectTable::Grant ObjectTable::GrantRegion(ClientNumber number, uint64_t bytes_min,
                                            uint64_t bytes_wanted, uint32_t entries) {
  Grant grant;
  FollowNotes();
  Client& client = clients_.at(number);
  SettleRegion(number, client);
  entries = std::min(entries, kEntriesPerGrantMax);
  for (uint32_t i = 0; i < entries; ++i) {
    const auto entry = TakeEntry(number);
    if (!entry) {
      break;
    }
    grant.entries.push_back(*entry);
  }
  const uint64_t capacity = allocator_.capacity_bytes();
  if (bytes_min > capacity) {
    return grant;
  }
  bytes_min = Allocator::RoundUp(bytes_min);
  const uint64_t wanted = Allocator::RoundUp(
      std::clamp(bytes_wanted, bytes_min, std::max(bytes_min, capacity / kRegionsPerStore)));
  auto run =
      allocator_.AllocateBetween(std::min(wanted, std::max(bytes_min, kRegionBytesMin)), wanted);
  if (!run) {
    RecallRegions();
    run = allocator_.AllocateBetween(bytes_min, wanted);
  }
  if (!run) {
    return grant;
  }
  grant.offset = run->offset;
  grant.bytes = run->bytes;
  client.region = run->offset;
  client.region_end = run->offset + run->bytes;
  client.region_open = true;
  unsettled_.emplace(client.region, Part{client.region_end, number});
  client.segment->OpenRegion(run->offset);
  return grant;
}

Result<ObjectTable::Made> ObjectTable::Create(ClientNumber number, const ObjectId& id,
                                              uint64_t data_bytes, std::string_view metadata,
                                              const WorkerId& owner, bool evictable) {
  const auto client = clients_.find(number);
  if (client == clients_.end()) {
    return Err(Status::Disconnected("the client is gone"));
  }
  if (id.IsNil()) {
    return Err(Status::InvalidArgument("the object id is nil"));
  }
  if (metadata.size() > SharedIndex::kMetadataBytesMax) {
    return Err(Status::InvalidArgument("metadata of " + FormatBytes(metadata.size()) +
                                       "; the limit is " +
                                       FormatBytes(SharedIndex::kMetadataBytesMax)));
  }
  if (const auto existing = index_->Find(id)) {
    const auto record = Read(existing->entry);
    return Err(Status::AlreadyExists("object " + id.Hex() + " exists already" +
                                     (record ? ": " + DescribeObject(*record, 0) : "")));
  }
  if (index_->OwnerIsDead(owner)) {
    return Err(Status(StatusCode::kOwnerDied,
                      "the owner of object " + id.Hex() + ", " + owner.Hex() + ", is gone"));
  }
  const uint64_t capacity = allocator_.capacity_bytes();
  if (data_bytes > capacity || SharedIndex::ExtentBytes(data_bytes, metadata.size()) > capacity) {
    return Err(Status::OutOfMemory("an object of " + FormatBytes(data_bytes) +
                                   " can never fit: the whole object store has " +
                                   FormatBytes(capacity)));
  }
  const uint64_t bytes = SharedIndex::ExtentBytes(data_bytes, metadata.size());
  const auto offset = Allocate(bytes);
  if (!offset) {
    return Err(Status::OutOfMemory("no room for an object of " + FormatBytes(data_bytes)));
  }
  const auto entry = TakeEntry(number);
  if (!entry) {
    FreeExtent(*offset, bytes);
    return Err(Status::OutOfMemory("the object store holds " + std::to_string(entries_.size()) +
                                   " objects, and that is as many as it can"));
  }
  const EntryRef ref = index_->Fill(*entry, number, id, owner, *offset, data_bytes, metadata,
                                    client->second.pid, evictable);
  uint32_t existing = 0;
  if (const Status status = index_->Insert(*entry, id, &existing); !status.ok()) {
    CancelCreation(number, ref);
    return Err(status);
  }
  return Made{ref, *offset};
}

void ObjectTable::CancelCreation(ClientNumber client, EntryRef ref) {
  if (index_->WordOf(ref.entry).generation == ref.generation) {
    KillCreation(client, ref.entry);
    OnDead(std::span(&ref, 1));
  }
}

std::optional<uint64_t> ObjectTable::Allocate(uint64_t bytes) {
  FollowNotes();  // the best place may be one that was just given up, and warm
  auto offset = allocator_.Allocate(bytes);
  if (!offset) {
    RecallRegions();
    offset = allocator_.Allocate(bytes);
  }
  return offset;
}

// Nothing is taken from it any more. Its rest is free; what was taken is for the entries to tell.
void ObjectTable::CloseRegion(ClientNumber number, Client& client) {
  if (!std::exchange(client.region_open, false)) {
    return;
  }
  const auto position = client.segment->CloseRegion();
  if (!position || *position < client.region || *position % Allocator::kAlignment != 0) {
    return;  // damaged: found again when it is settled
  }
  for (const Extent& rest : UnsettledFrom(*position, number, client)) {
    FreeExtent(rest.begin, rest.end - rest.begin);
  }
}

void ObjectTable::RecallRegions() {
  for (auto& [number, client] : clients_) {
    CloseRegion(number, client);
  }
}

// At a moment when the client is not taking room: all of it is in entries.
void ObjectTable::SettleRegion(ClientNumber number, Client& client) {
  CloseRegion(number, client);
  for (const Extent& part : UnsettledFrom(client.region, number, client)) {
    Settle(part.begin, part.end);
  }
  client.region = client.region_end = 0;
}

// Of a client that is gone: what no entry describes.
void ObjectTable::FreeGaps(ClientNumber number, const Client& client) {
  const std::vector<Extent> parts = UnsettledFrom(client.region, number, client);
  if (parts.empty()) {
    return;
  }
  std::vector<Extent> objects;
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
    if (entries_[entry].grantee != number || !entries_[entry].in_arena) {
      continue;
    }
    if (const auto record = Read(entry)) {
      objects.push_back({record->offset, record->offset + SharedIndex::ExtentBytes(*record)});
    }
  }
  std::sort(objects.begin(), objects.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  auto object = objects.begin();
  for (const Extent& part : parts) {
    uint64_t position = part.begin;
    while (position < part.end) {
      while (object != objects.end() && object->end <= position) {
        ++object;
      }
      const bool inside = object != objects.end() && object->begin < part.end;
      const uint64_t gap_end = inside ? std::max(object->begin, position) : part.end;
      if (gap_end > position) {
        FreeExtent(position, gap_end - position);
      }
      position = inside ? std::max(object->end, position) : part.end;
    }
  }
}

std::vector<ObjectTable::Extent> ObjectTable::UnsettledFrom(uint64_t begin, ClientNumber number,
                                                            const Client& client) const {
  std::vector<Extent> parts;
  auto part = unsettled_.upper_bound(begin);
  if (part != unsettled_.begin()) {
    --part;
  }
  for (; part != unsettled_.end() && part->first < client.region_end; ++part) {
    const auto& [end, owner] = part->second;  // others' regions may lie in what was freed of it
    if (owner == number && end > begin) {
      parts.push_back({std::max(part->first, begin), end});
    }
  }
  return parts;
}

void ObjectTable::Settle(uint64_t begin, uint64_t end) {
  auto part = unsettled_.upper_bound(begin);
  if (part != unsettled_.begin()) {
    --part;
  }
  while (part != unsettled_.end() && part->first < end) {
    const uint64_t part_begin = part->first;
    const Part was = part->second;
    if (was.end <= begin) {
      ++part;
      continue;
    }
    if (part_begin < begin) {
      part->second.end = begin;
      ++part;
    } else {
      part = unsettled_.erase(part);
    }
    if (was.end > end) {
      unsettled_.emplace_hint(part, end, was);
      return;
    }
  }
}

void ObjectTable::FreeExtent(uint64_t offset, uint64_t bytes) {
  if (!allocator_.Free(offset, bytes)) {
    RAYC_LOG(kWarning) << "plasma store: the index is damaged: " << bytes << " bytes at " << offset
                       << " are free already";
    return;
  }
  Settle(offset, offset + bytes);
}

// ---- following the clients -------------------------------------------------------------------

void ObjectTable::FollowNotes() {
  std::vector<EntryRef> dead;
  bool all = true;
  for (const auto& [number, client] : clients_) {
    all = client.segment->DrainNotes([&](ClientSegment::NotedObject noted) {
      if (noted.ref.entry >= entries_.size()) {
        return;
      }
      if (noted.note == ClientSegment::Note::kCheck) {
        dead.push_back(noted.ref);
      } else if (events_.sealed && !entries_[noted.ref.entry].limbo) {
        const auto record = Read(noted.ref.entry);
        if (record && record->ref == noted.ref) {
          events_.sealed(*record);
        }
      }
    }) && all;
  }
  if (!all) {
    for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
      const EntryWord word = index_->WordOf(entry);
      if (word.state == EntryState::kDead) {
        dead.push_back({entry, word.generation});
      }
    }
  }
  OnDead(dead);
}

void ObjectTable::OnDead(std::span<const EntryRef> refs) {
  if (refs.empty()) {
    return;
  }
  std::vector<uint32_t> unpinned;
  for (const EntryRef ref : refs) {
    const EntryWord word = index_->WordOf(ref.entry);
    EntryRecord& record = entries_[ref.entry];
    if (word.generation != ref.generation || word.state != EntryState::kDead || record.busy ||
        record.lost || marks_[ref.entry] != 0) {
      continue;
    }
    if (!record.limbo) {
      const auto object = Read(ref.entry);
      if (!object) {
        RAYC_LOG(kWarning) << "plasma store: entry " << ref.entry << " is damaged";
        record.lost = true;
        continue;
      }
      (void)index_->Unlink(ref.entry, object->id);
      record.limbo = true;
      limbo_.insert(ref.entry);
      if (events_.gone) {
        events_.gone(*object);
      }
    }
    if (record.holds == 0) {
      marks_[ref.entry] = 1;
      unpinned.push_back(ref.entry);
    }
  }
  if (unpinned.empty()) {
    return;
  }
  for (const auto& [number, client] : clients_) {
    client.segment->ForEachPin([this](EntryRef pin) {
      if (pin.entry < marks_.size() && marks_[pin.entry] == 1 &&
          index_->WordOf(pin.entry).generation == pin.generation) {
        marks_[pin.entry] = 2;
      }
    });
  }
  for (const uint32_t entry : unpinned) {
    if (std::exchange(marks_[entry], 0) == 1) {
      FreeEntry(entry);
    }
  }
}

void ObjectTable::FreeEntry(uint32_t entry) {
  EntryRecord& record = entries_[entry];
  limbo_.erase(entry);
  const auto object = Read(entry);
  if (!object || object->word.state != EntryState::kDead) {
    RAYC_LOG(kWarning) << "plasma store: entry " << entry << " is damaged";
    record.lost = true;
    return;
  }
  if (record.disk.file != 0) {
    if (!record.in_arena) {
      spilled_bytes_ -= std::min(spilled_bytes_, record.disk.bytes);
    }
    if (events_.forget) {
      events_.forget(record.disk);
    }
  }
  if (record.in_arena) {
    FreeExtent(object->offset, SharedIndex::ExtentBytes(*object));
  }
  record = EntryRecord();
  index_->at(entry).word.store(EntryWord{EntryState::kFree, 0, object->ref.generation}.Pack(),
                               std::memory_order_seq_cst);
  free_entries_.push_back(entry);
}

void ObjectTable::DropOwner(const WorkerId& owner) {
  if (owner.IsNil()) {
    return;
  }
  index_->NoteDeadOwner(owner);
  std::vector<EntryRef> dead;
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
    if (!index_->WordOf(entry).present()) {
      continue;
    }
    const auto record = Read(entry);
    if (record && record->owner == owner && index_->Kill(record->ref)) {
      dead.push_back(record->ref);
    }
  }
  OnDead(dead);
}

// ---- making room -----------------------------------------------------------------------------

std::vector<uint32_t> ObjectTable::CountPins() const {
  std::vector<uint32_t> pins(entries_.size(), 0);
  for (const auto& [number, client] : clients_) {
    client.segment->ForEachPin([&](EntryRef pin) {
      if (pin.entry < pins.size() && index_->WordOf(pin.entry).generation == pin.generation) {
        ++pins[pin.entry];
      }
    });
  }
  return pins;
}

// Sealed ones that nobody pins or holds.
std::vector<std::pair<ObjectRecord, uint32_t>> ObjectTable::LeastRecentlyUsed() const {
  const std::vector<uint32_t> pins = CountPins();
  std::vector<std::pair<ObjectRecord, uint32_t>> objects;
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
    const EntryRecord& known = entries_[entry];
    if (index_->WordOf(entry).state != EntryState::kSealed || pins[entry] > 0 || known.holds > 0 ||
        known.busy || known.lost) {
      continue;
    }
    if (const auto record = Read(entry); record && record->word.state == EntryState::kSealed) {
      objects.emplace_back(*record, entry);
    }
  }
  std::sort(objects.begin(), objects.end(), [](const auto& a, const auto& b) {
    return a.first.last_used_ns < b.first.last_used_ns;
  });
  return objects;
}

uint64_t ObjectTable::Evict(uint64_t bytes, Evictable which) {
  FollowNotes();
  const uint64_t before = allocator_.used_bytes();
  std::vector<EntryRef> dead;
  uint64_t killed = 0;
  for (const auto& [record, entry] : LeastRecentlyUsed()) {
    if (killed >= bytes) {
      break;
    }
    if (which == Evictable::kEvictable ? !record.evictable : !record.owner.IsNil()) {
      continue;
    }
    // A pin may come at any time: it then keeps the memory, not the object.
    if (index_->Kill(record.ref)) {
      dead.push_back(record.ref);
      killed += SharedIndex::ExtentBytes(record);
    }
  }
  OnDead(dead);
  return before - std::min(before, allocator_.used_bytes());
}

std::vector<ObjectRecord> ObjectTable::BeginSpill(uint64_t bytes) {
  std::vector<ObjectRecord> spilling;
  uint64_t taken = 0;
  for (const auto& [record, entry] : LeastRecentlyUsed()) {
    if (taken >= bytes) {
      break;
    }
    EntryRecord& known = entries_[entry];
    if (!index_->Change(entry, record.word, record.word.With(EntryState::kSpilling))) {
      continue;
    }
    known.busy = true;
    taken += SharedIndex::ExtentBytes(record);
    if (known.disk.file != 0) {
      const SpillLocation location = known.disk;
      (void)EndSpill(record, &location);
    } else {
      spilling.push_back(record);
    }
  }
  return spilling;
}

bool ObjectTable::EndSpill(const ObjectRecord& record, const SpillLocation* location) {
  const uint32_t entry = record.ref.entry;
  EntryRecord& known = entries_[entry];
  known.busy = false;
  if (location != nullptr) {
    known.disk = *location;
  }
  const EntryWord spilling = record.word.With(EntryState::kSpilling);
  const bool drop = location != nullptr && known.holds == 0;
  if (!drop || !index_->Change(entry, spilling, spilling.With(EntryState::kSpilled))) {
    if (!index_->Change(entry, spilling, spilling.With(EntryState::kSealed))) {
      OnDead(std::vector<EntryRef>{record.ref});  // deleted meanwhile
    }
    return false;
  }
  // Whoever pins it from now on sees that it is spilled, and asks; whoever did before is seen here.
  bool pinned = false;
  for (const auto& [number, client] : clients_) {
    client.segment->ForEachPin([&](EntryRef pin) { pinned = pinned || pin == record.ref; });
  }
  const EntryWord spilled = spilling.With(EntryState::kSpilled);
  if (pinned && index_->Change(entry, spilled, spilled.With(EntryState::kSealed))) {
    index_->Ring(record.id);
    return false;
  }
  if (pinned) {
    OnDead(std::vector<EntryRef>{record.ref});
    return false;
  }
  known.in_arena = false;
  spilled_bytes_ += known.disk.bytes;
  FreeExtent(record.offset, SharedIndex::ExtentBytes(record));
  if (index_->WordOf(entry).state == EntryState::kDead) {
    OnDead(std::vector<EntryRef>{record.ref});
  }
  return true;
}

Result<std::optional<ObjectTable::OnDisk>> ObjectTable::BeginRestore(EntryRef ref) {
  const EntryWord word = index_->WordOf(ref.entry);
  if (word.generation != ref.generation ||
      (word.state != EntryState::kSpilled && word.state != EntryState::kRestoring)) {
    return std::optional<OnDisk>();
  }
  // One that is on its way is known to the caller.
  if (ref.entry >= entries_.size() || word.state == EntryState::kRestoring ||
      entries_[ref.entry].busy || entries_[ref.entry].lost || entries_[ref.entry].disk.file == 0) {
    return Err(Status::Internal("the object store's index is damaged"));
  }
  if (!index_->Change(ref.entry, word, word.With(EntryState::kRestoring))) {
    return std::optional<OnDisk>();  // deleted just now
  }
  EntryRecord& known = entries_[ref.entry];
  known.busy = true;
  return std::optional(OnDisk{ref, known.disk, Allocator::RoundUp(known.disk.bytes)});
}

bool ObjectTable::EndRestore(EntryRef ref, const uint64_t* offset) {
  EntryRecord& known = entries_[ref.entry];
  known.busy = false;
  if (offset != nullptr) {
    index_->at(ref.entry).offset.store(*offset, std::memory_order_release);
    known.in_arena = true;
    spilled_bytes_ -= std::min(spilled_bytes_, known.disk.bytes);
  }
  const EntryWord word = index_->WordOf(ref.entry);
  if (word.state == EntryState::kRestoring &&
      index_->Change(ref.entry, word,
                     word.With(offset != nullptr ? EntryState::kSealed : EntryState::kSpilled))) {
    return true;
  }
  OnDead(std::vector<EntryRef>{ref});
  return false;
}

bool ObjectTable::Hold(EntryRef ref) {
  if (ref.entry >= entries_.size()) {
    return false;
  }
  const EntryWord word = index_->WordOf(ref.entry);
  if (word.generation != ref.generation || !word.readable()) {
    return false;
  }
  ++entries_[ref.entry].holds;
  return true;
}

void ObjectTable::Unhold(EntryRef ref) {
  EntryRecord& known = entries_[ref.entry];
  if (known.holds > 0 && --known.holds == 0) {
    OnDead(std::vector<EntryRef>{ref});
  }
}

// ---- reporting -------------------------------------------------------------------------------

uint64_t ObjectTable::granted_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [number, client] : clients_) {
    const auto position = client.segment->RegionPosition();
    if (client.region_open && position && *position >= client.region &&
        *position <= client.region_end) {
      bytes += client.region_end - *position;
    }
  }
  return std::min(bytes, allocator_.used_bytes());
}

size_t ObjectTable::object_count() const {
  size_t count = 0;
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
    count += index_->WordOf(entry).state != EntryState::kFree ? 1 : 0;
  }
  return count;
}

}  // namespace rayc::plasma
