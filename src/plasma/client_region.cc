#include "plasma/client_region.h"

#include <algorithm>
#include <cstring>

#include "plasma/step_point.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

// A worker that makes one small result holds little; one that makes many asks seldom.
constexpr uint64_t kRegionBytesMin = 256U << 10;
constexpr uint64_t kRegionBytesMax = 16U << 20;
constexpr uint32_t kEntriesMin = 16;
constexpr uint32_t kEntriesMax = 4096;

}  // namespace

Result<std::optional<Creation>> ClientRegion::Take(const ObjectId& id, uint64_t data_bytes,
                                                   const std::string& metadata,
                                                   const WorkerId& owner, bool evictable) {
  const ClientSegment& segment = session_.segment();
  const uint64_t bytes = SharedIndex::ExtentBytes(data_bytes, metadata.size());
  const MutexLock lock(mutex_);
  std::optional<uint64_t> offset;
  if (!entries_.empty()) {
    offset = segment.TakeFromRegion(end_, bytes);
  }
  if (!offset) {
    if (end_ != 0 && !segment.RegionPosition()) {
      next_region_bytes_ = 0;  // it was called back: this client is not in need of much
    }
    if (const Status status = Refill(bytes); !status.ok()) {
      return Err(status);
    }
    if (entries_.empty() || end_ == 0) {
      return std::optional<Creation>();
    }
    offset = segment.TakeFromRegion(end_, bytes);
    if (!offset) {
      return std::optional<Creation>();  // called back again already
    }
  }
  const uint32_t entry = entries_.back();
  entries_.pop_back();
  Creation creation;
  creation.ref = session_.index().Fill(entry, session_.number(), id, owner, *offset, data_bytes,
                                       metadata, session_.pid(), evictable);
  creation.owner = owner;
  creation.offset = *offset;
  creation.data_bytes = data_bytes;
  return std::optional(creation);
}

Status ClientRegion::Refill(uint64_t bytes_min) {
  const bool first = next_region_bytes_ == 0;
  next_region_bytes_ = first ? kRegionBytesMin : std::min(next_region_bytes_ * 2, kRegionBytesMax);
  next_entries_ = first ? kEntriesMin : std::min(next_entries_ * 2, kEntriesMax);
  end_ = 0;
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaGrant(
      builder, bytes_min, std::max(bytes_min, next_region_bytes_),
      next_entries_ - std::min<uint32_t>(next_entries_, static_cast<uint32_t>(entries_.size()))));
  const auto reply = session_.Call(Method::kPlasmaGrant, builder);
  StepPoint("store has answered a grant");
  if (!reply) {
    return reply.error();
  }
  const auto* grant = reply->As<fb::PlasmaGrantReply>();
  if (grant == nullptr || !session_.arena().Holds(grant->offset(), grant->bytes())) {
    return Status::Internal("malformed reply from the plasma store");
  }
  if (grant->entries() != nullptr) {
    for (const uint32_t entry : *grant->entries()) {
      if (entry >= session_.index().entry_capacity()) {
        return Status::Internal("malformed reply from the plasma store");
      }
      entries_.push_back(entry);
    }
  }
  if (grant->bytes() > 0) {
    end_ = grant->offset() + grant->bytes();
    // A region of that size was earned by using up smaller ones: it will be written soon.
    if (grant->bytes() >= Arena::kChunkBytes) {
      session_.arena().Prepare(grant->offset(), grant->bytes());
    }
  }
  return Status::Ok();
}

}  // namespace rayc::plasma
