#include "plasma/object_table.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/logging.h"
#include "plasma/byte_size.h"

namespace rayc::plasma {
namespace {

constexpr size_t kDescribedObjectsMax = 8;
// Enough for every worker that may still be about to create something for a dead owner.
constexpr size_t kDeadOwnersMax = 4096;

}  // namespace

void ObjectTable::AddClient(ClientNumber client, pid_t pid) {
  const bool added = clients_.emplace(client, Client{pid, {}, {}}).second;
  RAYC_CHECK(added) << client;
}

void ObjectTable::DropClient(ClientNumber client) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) {
    return;
  }
  const Client dropped = std::move(it->second);
  clients_.erase(it);
  for (const auto& [id, offset] : dropped.creations) {
    Erase(offset);
  }
  for (const auto& [offset, count] : dropped.pins) {
    Unpin(entries_.at(offset), count);
  }
}

Result<uint64_t> ObjectTable::Create(ClientNumber client, const ObjectId& id, uint64_t data_bytes,
                                     std::string metadata, const WorkerId& owner) {
  const auto maker = clients_.find(client);
  RAYC_CHECK(maker != clients_.end()) << client;
  if (id.IsNil()) {
    return Err(Status::InvalidArgument("the object id is nil"));
  }
  if (metadata.size() > kMetadataBytesMax) {
    return Err(Status::InvalidArgument("metadata of " + FormatBytes(metadata.size()) +
                                       "; the limit is " + FormatBytes(kMetadataBytesMax)));
  }
  if (const auto existing = by_id_.find(id); existing != by_id_.end()) {
    return Err(Status::AlreadyExists(
        "object " + id.Hex() + " exists already: " + DescribeEntry(entries_.at(existing->second))));
  }
  if (maker->second.creations.contains(id)) {
    return Err(Status::AlreadyExists("object " + id.Hex() +
                                     " is still being written by this client, and deleted"));
  }
  if (dead_owners_.contains(owner)) {
    return Err(Status(StatusCode::kOwnerDied,
                      "the owner of object " + id.Hex() + ", " + owner.Hex() + ", is gone"));
  }
  const auto offset = allocator_.Allocate(data_bytes);
  if (!offset) {
    return Err(NoRoom(data_bytes));
  }
  ObjectEntry entry;
  entry.id = id;
  entry.owner = owner;
  entry.offset = *offset;
  entry.data_bytes = data_bytes;
  entry.metadata = std::move(metadata);
  entry.maker = client;
  entry.made_by_pid = maker->second.pid;
  entries_.emplace(*offset, std::move(entry));
  by_id_.emplace(id, *offset);
  maker->second.creations.emplace(id, *offset);
  if (!owner.IsNil()) {
    by_owner_[owner].insert(*offset);
  }
  return *offset;
}

Status ObjectTable::NotBeingMade(const ObjectId& id) const {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) {
    return Status::NotFound("no object " + id.Hex() + " is being written by this client");
  }
  const ObjectEntry& entry = entries_.at(it->second);
  return Status::InvalidArgument(
      entry.sealed ? "object " + id.Hex() + " is sealed already"
                   : "object " + id.Hex() + " is being written by another client, process " +
                         std::to_string(entry.made_by_pid));
}

Status ObjectTable::Seal(ClientNumber client, const ObjectId& id, bool keep_pin) {
  Client& maker = clients_.at(client);
  const auto creation = maker.creations.find(id);
  if (creation == maker.creations.end()) {
    return NotBeingMade(id);
  }
  ObjectEntry& entry = entries_.at(creation->second);
  maker.creations.erase(creation);
  entry.sealed = true;
  if (keep_pin) {
    entry.pins = 1;
    maker.pins[entry.offset] = 1;
  } else if (entry.deleted) {
    Erase(entry.offset);
  }
  return Status::Ok();
}

Status ObjectTable::Abort(ClientNumber client, const ObjectId& id) {
  Client& maker = clients_.at(client);
  const auto creation = maker.creations.find(id);
  if (creation == maker.creations.end()) {
    return NotBeingMade(id);
  }
  const uint64_t offset = creation->second;
  maker.creations.erase(creation);
  Erase(offset);
  return Status::Ok();
}

const ObjectEntry* ObjectTable::Pin(ClientNumber client, const ObjectId& id) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) {
    return nullptr;
  }
  ObjectEntry& entry = entries_.at(it->second);
  if (!entry.sealed) {
    return nullptr;
  }
  ++entry.pins;
  ++clients_.at(client).pins[entry.offset];
  return &entry;
}

void ObjectTable::Release(ClientNumber client, uint64_t offset) {
  auto& pins = clients_.at(client).pins;
  const auto pin = pins.find(offset);
  if (pin == pins.end()) {
    return;
  }
  if (--pin->second == 0) {
    pins.erase(pin);
  }
  Unpin(entries_.at(offset), 1);
}

void ObjectTable::Delete(const ObjectId& id) {
  const auto it = by_id_.find(id);
  if (it != by_id_.end()) {
    MarkDeleted(entries_.at(it->second));
  }
}

void ObjectTable::DropOwner(const WorkerId& owner) {
  if (owner.IsNil()) {
    return;
  }
  if (dead_owners_.insert(owner).second) {
    dead_owners_in_order_.push_back(owner);
    if (dead_owners_in_order_.size() > kDeadOwnersMax) {
      dead_owners_.erase(dead_owners_in_order_.front());
      dead_owners_in_order_.pop_front();
    }
  }
  const auto owned = by_owner_.find(owner);
  if (owned == by_owner_.end()) {
    return;
  }
  const std::vector<uint64_t> offsets(owned->second.begin(), owned->second.end());
  for (const uint64_t offset : offsets) {
    ObjectEntry& entry = entries_.at(offset);
    if (!entry.deleted) {
      MarkDeleted(entry);
    }
  }
}

bool ObjectTable::Contains(const ObjectId& id) const {
  const auto it = by_id_.find(id);
  return it != by_id_.end() && entries_.at(it->second).sealed;
}

void ObjectTable::ForEach(const std::function<void(const ObjectEntry&)>& visit) const {
  for (const auto& [offset, entry] : entries_) {
    visit(entry);
  }
}

void ObjectTable::MarkDeleted(ObjectEntry& entry) {
  entry.deleted = true;
  by_id_.erase(entry.id);
  if (entry.sealed && entry.pins == 0) {
    Erase(entry.offset);
  }
}

void ObjectTable::Unpin(ObjectEntry& entry, uint32_t pins) {
  RAYC_CHECK(entry.pins >= pins) << entry.id;
  entry.pins -= pins;
  if (entry.pins == 0 && entry.deleted) {
    Erase(entry.offset);
  }
}

void ObjectTable::Erase(uint64_t offset) {
  const auto it = entries_.find(offset);
  RAYC_CHECK(it != entries_.end()) << offset;
  const ObjectEntry& entry = it->second;
  if (!entry.deleted) {
    by_id_.erase(entry.id);
  }
  if (const auto owned = by_owner_.find(entry.owner); owned != by_owner_.end()) {
    owned->second.erase(offset);
    if (owned->second.empty()) {
      by_owner_.erase(owned);
    }
  }
  allocator_.Free(offset, entry.data_bytes);
  entries_.erase(it);
}

Status ObjectTable::NoRoom(uint64_t data_bytes) const {
  const uint64_t capacity = allocator_.capacity_bytes();
  if (data_bytes > capacity) {
    return Status::OutOfMemory("an object of " + FormatBytes(data_bytes) +
                               " can never fit: the whole object store has " +
                               FormatBytes(capacity));
  }
  return Status::OutOfMemory("no room for an object of " + FormatBytes(data_bytes) + ". " +
                             Describe());
}

std::string ObjectTable::DescribeEntry(const ObjectEntry& entry) const {
  std::string text = FormatBytes(entry.data_bytes);
  text += entry.sealed ? ", sealed" : ", being written";
  text += ", made by process " + std::to_string(entry.made_by_pid);
  if (!entry.owner.IsNil()) {
    text += ", owner " + entry.owner.Hex();
  }
  if (entry.pins > 0) {
    text += ", pinned by process";
    std::map<pid_t, uint32_t> holders;
    for (const auto& [number, client] : clients_) {
      if (const auto pin = client.pins.find(entry.offset); pin != client.pins.end()) {
        holders[client.pid] += pin->second;
      }
    }
    for (const auto& [pid, pins] : holders) {
      text.append(" ").append(std::to_string(pid));
      if (pins > 1) {
        text.append(" (").append(std::to_string(pins)).append(" times)");
      }
    }
  }
  if (entry.deleted) {
    text += ", deleted: goes when its last user does";
  }
  return text;
}

std::string ObjectTable::Describe() const {
  std::string text =
      "The object store holds " + FormatBytes(allocator_.used_bytes()) + " of " +
      FormatBytes(allocator_.capacity_bytes()) + " in " + std::to_string(entries_.size()) +
      (entries_.size() == 1 ? " object" : " objects") + "; the largest free run is " +
      FormatBytes(allocator_.largest_free_run_bytes()) + ".";
  std::vector<const ObjectEntry*> largest;
  largest.reserve(entries_.size());
  for (const auto& [offset, entry] : entries_) {
    largest.push_back(&entry);
  }
  const size_t shown = std::min(largest.size(), kDescribedObjectsMax);
  std::partial_sort(largest.begin(), largest.begin() + static_cast<std::ptrdiff_t>(shown),
                    largest.end(), [](const ObjectEntry* a, const ObjectEntry* b) {
                      return std::pair(b->data_bytes, a->offset) <
                             std::pair(a->data_bytes, b->offset);
                    });
  for (size_t i = 0; i < shown; ++i) {
    text += "\n  " + largest[i]->id.Hex() + ": " + DescribeEntry(*largest[i]);
  }
  if (shown < largest.size()) {
    text += "\n  and " + std::to_string(largest.size() - shown) + " smaller ones";
  }
  return text;
}

std::string ObjectTable::CheckInvariants() const {
  std::unordered_map<uint64_t, uint32_t> pins;
  std::unordered_map<uint64_t, ClientNumber> makers;
  for (const auto& [number, client] : clients_) {
    for (const auto& [offset, count] : client.pins) {
      pins[offset] += count;
    }
    for (const auto& [id, offset] : client.creations) {
      if (!makers.emplace(offset, number).second) {
        return "two clients write at " + std::to_string(offset);
      }
    }
  }
  std::map<uint64_t, uint64_t> runs;
  uint64_t used = 0;
  size_t live = 0;
  size_t unsealed = 0;
  for (const auto& [offset, entry] : entries_) {
    const std::string name = "object " + entry.id.Hex() + ": ";
    if (entry.offset != offset) return name + "stands at another offset";
    if (entry.pins != pins[offset]) return name + "pins do not add up";
    if (!entry.sealed && entry.pins > 0) return name + "pinned, not sealed";
    if (entry.deleted && entry.sealed && entry.pins == 0) return name + "deleted, not gone";
    const auto by_id = by_id_.find(entry.id);
    const bool found = by_id != by_id_.end() && by_id->second == offset;
    if (found == entry.deleted) return name + "deleted and found, or neither";
    const auto maker = makers.find(offset);
    if (entry.sealed != (maker == makers.end()))
      return name + "sealed and being written, or neither";
    if (!entry.sealed && maker->second != entry.maker) return name + "written by another client";
    const auto owned = by_owner_.find(entry.owner);
    if (entry.owner.IsNil() != (owned == by_owner_.end() || !owned->second.contains(offset))) {
      return name + "not among its owner's";
    }
    live += entry.deleted ? 0 : 1;
    unsealed += entry.sealed ? 0 : 1;
    used += Allocator::RoundUp(entry.data_bytes);
    runs.emplace(offset, Allocator::RoundUp(entry.data_bytes));
    pins.erase(offset);
  }
  if (!pins.empty()) return "pins of objects that are gone";
  if (live != by_id_.size()) return "ids of objects that are gone";
  if (unsealed != makers.size()) return "creations of objects that are gone";
  if (used != allocator_.used_bytes()) return "the allocator counts other bytes";
  uint64_t end = 0;
  for (const auto& [offset, bytes] : runs) {
    if (offset < end) return "objects overlap at " + std::to_string(offset);
    end = offset + bytes;
  }
  return {};
}

}  // namespace rayc::plasma
