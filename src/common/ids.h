// The identifiers of everything in a cluster, as distinct types over fixed byte strings.
//
//   JobId             4 bytes   counter of the GCS, big endian
//   ActorId          16 bytes   [12 random | JobId]
//   TaskId           24 bytes   [ 8 random | ActorId]        actor id is nil-unique for plain tasks
//   ObjectId         28 bytes   [TaskId    | u32 index LE]   returns count from 1; puts from 1e8+1
//   PlacementGroupId 18 bytes   [14 random | JobId]
//   NodeId, WorkerId, FunctionId, UniqueId, ClusterId: 28 random bytes
//
// Nil is all ones. Values: copyable, comparable by bytes, hashable.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

#include "common/status.h"

namespace rayc {

// Fills `data` from the kernel's generator through a per-thread buffer; fork-safe.
void FillRandom(void* data, size_t bytes);
std::string BytesToHex(std::string_view bytes);
// Empty result if `hex` is not an even number of hex digits.
Result<std::string> HexToBytes(std::string_view hex);

template <typename Tag, size_t kBytes>
class Id {
 public:
  static constexpr size_t kSize = kBytes;

  Id() { bytes_.fill(0xff); }
  static Tag Nil() { return Tag(); }
  static Tag FromRandom() {
    Tag id;
    FillRandom(id.bytes_.data(), kBytes);
    return id;
  }
  // Ids in messages are untrusted: any other length gives Nil.
  static Tag FromBinary(std::string_view binary) {
    Tag id;
    if (binary.size() == kBytes) {
      std::memcpy(id.bytes_.data(), binary.data(), kBytes);
    }
    return id;
  }
  template <typename Bytes>
  static Tag FromBytes(const Bytes* bytes) {  // a FlatBuffers [ubyte], which may be null
    if (bytes == nullptr) {
      return Tag();
    }
    return FromBinary({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  }

  std::string_view Binary() const { return {reinterpret_cast<const char*>(bytes_.data()), kBytes}; }
  const uint8_t* data() const { return bytes_.data(); }
  std::string Hex() const { return BytesToHex(Binary()); }
  bool IsNil() const { return *this == Id(); }
  size_t Hash() const {
    // The bytes are random apart from fixed parts; mixing the first word of the random part with
    // the last (index, job) is enough and costs two loads.
    uint64_t a = 0;
    uint64_t b = 0;
    std::memcpy(&a, bytes_.data(), kBytes < 8 ? kBytes : 8);
    std::memcpy(&b, bytes_.data() + (kBytes < 8 ? 0 : kBytes - 8), kBytes < 8 ? kBytes : 8);
    uint64_t h = a ^ (b * 0x9e3779b97f4a7c15ULL);
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9ULL;
    return h ^ (h >> 32);
  }
  friend bool operator==(const Id& a, const Id& b) { return a.bytes_ == b.bytes_; }
  friend bool operator!=(const Id& a, const Id& b) { return !(a == b); }
  friend bool operator<(const Id& a, const Id& b) { return a.bytes_ < b.bytes_; }
  friend std::ostream& operator<<(std::ostream& os, const Id& id) { return os << id.Hex(); }

 protected:
  std::array<uint8_t, kBytes> bytes_;
};

class JobId : public Id<JobId, 4> {
 public:
  static JobId FromInt(uint32_t value);
  uint32_t ToInt() const;
};

class ActorId : public Id<ActorId, 16> {
 public:
  static ActorId Of(const JobId& job);     // a new actor of the job
  static ActorId NilOf(const JobId& job);  // what plain tasks of the job embed
  JobId Job() const;
  bool IsActor() const;  // false for Nil and NilOf
};

class TaskId : public Id<TaskId, 24> {
 public:
  static TaskId ForNormalTask(const JobId& job);
  static TaskId ForActorTask(const ActorId& actor);
  static TaskId ForActorCreation(const ActorId& actor);  // the same for the same actor
  static TaskId ForDriver(const JobId& job);
  ActorId Actor() const;
  JobId Job() const;
};

class ObjectId : public Id<ObjectId, 28> {
 public:
  static constexpr uint32_t kPutIndexBase = 100'000'000;

  static ObjectId ForReturn(const TaskId& task, uint32_t index);  // index from 1
  static ObjectId ForPut(const TaskId& task, uint32_t put_index);
  // The object whose references are the handles of the actor.
  static ObjectId ForActorHandle(const ActorId& actor);
  TaskId Task() const;
  uint32_t Index() const;
  bool IsActorHandle() const;
};

class PlacementGroupId : public Id<PlacementGroupId, 18> {
 public:
  static PlacementGroupId Of(const JobId& job);
  JobId Job() const;
};

class NodeId : public Id<NodeId, 28> {};
class WorkerId : public Id<WorkerId, 28> {};
class FunctionId : public Id<FunctionId, 28> {};
class UniqueId : public Id<UniqueId, 28> {};
class ClusterId : public Id<ClusterId, 28> {};

}  // namespace rayc

#define RAYC_HASH_ID(Type)                                                \
  template <>                                                             \
  struct std::hash<::rayc::Type> {                                        \
    size_t operator()(const ::rayc::Type& id) const { return id.Hash(); } \
  };
RAYC_HASH_ID(JobId)
RAYC_HASH_ID(ActorId)
RAYC_HASH_ID(TaskId)
RAYC_HASH_ID(ObjectId)
RAYC_HASH_ID(PlacementGroupId)
RAYC_HASH_ID(NodeId)
RAYC_HASH_ID(WorkerId)
RAYC_HASH_ID(FunctionId)
RAYC_HASH_ID(UniqueId)
RAYC_HASH_ID(ClusterId)
#undef RAYC_HASH_ID
