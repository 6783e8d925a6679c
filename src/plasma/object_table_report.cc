// What ObjectTable says of itself: descriptions for people, and whether it agrees with itself.
#include <algorithm>
#include <iterator>
#include <map>

#include "plasma/byte_size.h"
#include "plasma/object_table.h"

namespace rayc::plasma {
namespace {

constexpr size_t kDescribedObjectsMax = 8;

}  // namespace

void ObjectTable::ForEach(
    const std::function<void(const ObjectRecord&, uint32_t pins)>& visit) const {
  const std::vector<uint32_t> pins = CountPins();
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) {
    if (const auto record = Read(entry)) {
      visit(*record, pins[entry] + entries_[entry].holds);
    }
  }
}

std::string ObjectTable::DescribeObject(const ObjectRecord& record, uint32_t pins) const {
  std::string text = FormatBytes(record.data_bytes);
  text += record.word.being_created() ? ", being written" : ", sealed";
  text += ", made by process " + std::to_string(record.made_by_pid);
  if (!record.owner.IsNil()) {
    text += ", owner " + record.owner.Hex();
  }
  if (pins > 0) {
    text += ", pinned by process";
    std::map<pid_t, uint32_t> holders;
    for (const auto& [number, client] : clients_) {
      client.segment->ForEachPin([&, pid = client.pid](EntryRef pin) {
        if (pin == record.ref) {
          ++holders[pid];
        }
      });
    }
    for (const auto& [pid, count] : holders) {
      text.append(" ").append(std::to_string(pid));
      if (count > 1) {
        text.append(" (").append(std::to_string(count)).append(" times)");
      }
    }
  }
  const EntryState state = record.word.state;
  if (state == EntryState::kDead || state == EntryState::kDoomed) {
    text += ", deleted: goes when its last user does";
  } else if (state == EntryState::kSealed && pins == 0) {
    text += ", referenced";
  }
  return text;
}

std::string ObjectTable::Describe() const {
  std::vector<std::pair<ObjectRecord, uint32_t>> largest;
  size_t spilled = 0;
  ForEach([&](const ObjectRecord& record, uint32_t pins) {
    if (entries_[record.ref.entry].in_arena) {
      largest.emplace_back(record, pins);
    } else {
      ++spilled;
    }
  });
  std::string text = "The object store holds " + FormatBytes(used_bytes()) + " of " +
                     FormatBytes(allocator_.capacity_bytes()) + " in " +
                     std::to_string(largest.size()) +
                     (largest.size() == 1 ? " object" : " objects") + "; the largest free run is " +
                     FormatBytes(allocator_.largest_free_run_bytes()) + ".";
  if (spilled > 0) {
    text += " On disk: " + FormatBytes(spilled_bytes_) + " in " + std::to_string(spilled) + ".";
  }
  const size_t shown = std::min(largest.size(), kDescribedObjectsMax);
  std::partial_sort(largest.begin(), largest.begin() + static_cast<std::ptrdiff_t>(shown),
                    largest.end(), [](const auto& a, const auto& b) {
                      return a.first.data_bytes != b.first.data_bytes
                                 ? a.first.data_bytes > b.first.data_bytes
                                 : a.first.offset < b.first.offset;
                    });
  for (size_t i = 0; i < shown; ++i) {
    text += "\n  " + largest[i].first.id.Hex() + ": " +
            DescribeObject(largest[i].first, largest[i].second);
  }
  if (shown < largest.size()) {
    text += "\n  and " + std::to_string(largest.size() - shown) + " smaller ones";
  }
  return text;
}

// The store's own records do not change during this; clients may take room from their regions,
// fill, link, seal and kill.
std::string ObjectTable::CheckInvariants() const {
  if (std::string wrong = index_->Check(static_cast<uint32_t>(entries_.size())); !wrong.empty()) {
    return wrong;
  }
  struct Extent {
    uint64_t end = 0;
    std::string name;
  };
  std::map<uint64_t, Extent> extents;
  std::string wrong;
  const auto add = [&](uint64_t begin, uint64_t bytes, const std::string& name) {
    if (bytes == 0 || !wrong.empty()) {
      return;
    }
    const auto [it, added] = extents.emplace(begin, Extent{begin + bytes, name});
    if (!added) {
      wrong = name + " begins where " + it->second.name + " does";
    }
  };
  for (uint32_t entry = 0; entry < entries_.size() && wrong.empty(); ++entry) {
    const EntryRecord& known = entries_[entry];
    const EntryWord word = index_->WordOf(entry);
    const std::string name = "entry " + std::to_string(entry);
    if (known.lost || word.state == EntryState::kFree) {
      continue;
    }
    auto record = Read(entry);
    for (int i = 0; i < 4 && !record; ++i) {
      record = Read(entry);  // a client changes it: to sealed or doomed, then to dead
    }
    if (!record) {
      continue;  // being filled, or damaged
    }
    const EntryState state = record->word.state;
    const bool on_disk = state == EntryState::kSpilled || state == EntryState::kRestoring;
    if (on_disk && known.disk.file == 0) return name + " is spilled to nowhere";
    if (known.in_arena == on_disk && state != EntryState::kDead) {
      return name + " is in the arena and on disk, or neither";
    }
    if (record->word.being_created() && !clients_.contains(record->word.maker)) {
      return name + " is being written by nobody";
    }
    if (known.limbo != limbo_.contains(entry)) return name + " is in limbo, or not";
    if (!known.in_arena) {
      continue;
    }
    add(record->offset, SharedIndex::ExtentBytes(*record),
        name + " (object " + record->id.Hex() + ")");
  }
  if (!wrong.empty()) {
    return wrong;
  }
  // An object lies in one unsettled part, which counts as a whole, or outside all of them.
  uint64_t used = 0;
  uint64_t end = 0;
  for (const auto& [begin, part] : unsettled_) {
    if (!clients_.contains(part.client)) return "a region of a client that is gone";
    if (begin < end) return "regions overlap at " + std::to_string(begin);
    end = part.end;
    used += end - begin;
  }
  end = 0;
  std::string before;
  for (const auto& [begin, extent] : extents) {
    if (begin < end) return extent.name + " overlaps " + before;
    end = extent.end;
    before = extent.name;
    auto part = unsettled_.upper_bound(begin);
    const bool inside = part != unsettled_.begin() && std::prev(part)->second.end > begin;
    if (inside ? end > std::prev(part)->second.end
               : part != unsettled_.end() && part->first < end) {
      return extent.name + " crosses the border of a region";
    }
    used += inside ? 0 : end - begin;
  }
  if (used > allocator_.used_bytes()) return "more is used than was allocated";
  // Room given out for reading back from disk is nowhere but with the reader.
  uint64_t restoring = 0;
  uint64_t lost = 0;
  for (const EntryRecord& known : entries_) {
    restoring += known.busy && !known.in_arena ? Allocator::RoundUp(known.disk.bytes) : 0;
    lost += known.lost ? 1 : 0;
  }
  if (used + restoring < allocator_.used_bytes() && lost == 0) {
    return std::to_string(allocator_.used_bytes() - used - restoring) + " bytes are nobody's";
  }
  return allocator_.Check();
}

}  // namespace rayc::plasma
