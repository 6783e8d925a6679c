// What the Cython files use of src/core_worker, in the form that suits Cython: results by pointer,
// no templates, and the state of the calling thread. Any thread; needs no GIL unless it says so.
#pragma once

#include <Python.h>
#include <bit>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "core_worker/core_worker.h"
#include "core_worker/node_memory.h"
#include "core_worker/object_format.h"
#include "rayc/includes/process.h"
#include "rpc/convert.h"
#include "rpc/message.h"

namespace rayc::python {

using core_worker::CoreWorker;

// ---- results by pointer ----

template <typename T>
Status Unwrap(Result<T> result, T* value) {
  if (!result) {
    return std::move(result.error());
  }
  *value = std::move(*result);
  return Status::Ok();
}

inline Status StartCoreWorker(core_worker::CoreWorkerOptions options,
                              std::unique_ptr<CoreWorker>* core) {
  return Unwrap(CoreWorker::Start(std::move(options)), core);
}

inline Status CreateInPlasma(CoreWorker& core, const ObjectId& id, uint64_t bytes,
                             const std::string& metadata, const WorkerId& owner, uint8_t** data) {
  plasma::WritableObject room;
  const Status status = Unwrap(core.CreateInPlasma(id, bytes, metadata, owner), &room);
  *data = room.data;
  return status;
}

inline Status GetNamedActor(CoreWorker& core, const std::string& name,
                            const std::string& name_space, bool* found,
                            core_worker::NamedActor* actor) {
  std::optional<core_worker::NamedActor> named;
  const Status status = Unwrap(core.GetNamedActor(name, name_space), &named);
  *found = named.has_value();
  if (named) {
    *actor = std::move(*named);
  }
  return status;
}

inline Status ListNamedActors(CoreWorker& core, bool all_namespaces, const std::string& name_space,
                              std::vector<std::pair<std::string, std::string>>* actors) {
  return Unwrap(core.ListNamedActors(all_namespaces, name_space), actors);
}

inline Status KvPut(CoreWorker& core, const std::string& name_space, const std::string& key,
                    const std::string& value, bool overwrite, bool* existed) {
  return Unwrap(core.KvPut(name_space, key, value, overwrite), existed);
}

inline Status KvGet(CoreWorker& core, const std::string& name_space, const std::string& key,
                    int32_t wait_ms, bool* found, std::string* value) {
  std::optional<std::string> stored;
  const Status status = Unwrap(core.KvGet(name_space, key, wait_ms), &stored);
  *found = stored.has_value();
  if (stored) {
    *value = std::move(*stored);
  }
  return status;
}

inline Status KvDel(CoreWorker& core, const std::string& name_space, const std::string& key,
                    bool by_prefix, uint32_t* count) {
  return Unwrap(core.KvDel(name_space, key, by_prefix), count);
}

inline Status KvKeys(CoreWorker& core, const std::string& name_space, const std::string& prefix,
                     std::vector<std::string>* keys) {
  return Unwrap(core.KvKeys(name_space, prefix), keys);
}

inline Status GetNodes(CoreWorker& core, std::vector<core_worker::NodeRecord>* nodes) {
  return Unwrap(core.GetNodes(), nodes);
}

inline Status GetJobConfig(CoreWorker& core, const JobId& job, std::string* config) {
  return Unwrap(core.GetJobConfig(job), config);
}

inline Status AskNodeMemory(const core_worker::NodeMemoryOptions& options,
                            core_worker::NodeMemory* memory) {
  return Unwrap(core_worker::AskNodeMemory(options), memory);
}

// Whether an id is there twice. Linear, and without an allocation once the table has grown.
inline bool HasDuplicates(const std::vector<ObjectId>& ids) {
  if (ids.size() < 2) {
    return false;
  }
  thread_local std::vector<uint32_t> table;  // open addressing: index + 1 of an id, 0 if free
  const size_t slots = std::bit_ceil(ids.size() * 2);
  table.assign(slots, 0);
  for (size_t i = 0; i < ids.size(); ++i) {
    size_t slot = ids[i].Hash() & (slots - 1);
    while (table[slot] != 0) {
      if (ids[table[slot] - 1] == ids[i]) {
        return true;
      }
      slot = (slot + 1) & (slots - 1);
    }
    table[slot] = static_cast<uint32_t>(i) + 1;
  }
  return false;
}

// ---- messages ----

template <typename Message>
std::string PackMessage(const Message& message) {
  const rpc::Payload payload = rpc::Payload::Of(message);
  return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

// The bytes may lie anywhere, FlatBuffers may not.
template <typename Table, typename Value>
bool UnpackMessage(std::string_view bytes, Value* value) {
  const auto aligned = HeapBuffer::Copy(bytes);
  const auto* table = rpc::Message{aligned->data(), aligned->size()}.As<Table>();
  if (table == nullptr) {
    return false;
  }
  if constexpr (std::is_same_v<Table, fb::TaskSpec>) {
    *value = rpc::FromMessage(*table);
  } else {
    *value = rpc::FromMessage(table);
  }
  return true;
}

inline std::string PackDescriptor(const FunctionDescriptor& descriptor) {
  return PackMessage(*rpc::ToMessage(descriptor));
}
inline bool UnpackDescriptor(std::string_view bytes, FunctionDescriptor* descriptor) {
  return UnpackMessage<fb::FunctionDescriptor>(bytes, descriptor);
}
inline std::string PackAddress(const Address& address) {
  return PackMessage(*rpc::ToMessage(address));
}
inline std::string PackTaskSpec(const TaskSpec& spec) { return PackMessage(*rpc::ToMessage(spec)); }
inline bool UnpackTaskSpec(std::string_view bytes, std::shared_ptr<const TaskSpec>* spec) {
  auto unpacked = std::make_shared<TaskSpec>();
  if (!UnpackMessage<fb::TaskSpec>(bytes, unpacked.get())) {
    return false;
  }
  *spec = std::move(unpacked);
  return true;
}

// All parts of a descriptor as one key of a hash table.
inline void DescriptorKey(const FunctionDescriptor& descriptor, std::string* key) {
  key->clear();
  for (const std::string* part : {&descriptor.function_hash, &descriptor.class_name,
                                  &descriptor.function_name, &descriptor.module_name}) {
    key->append(*part);
    key->push_back('\0');
  }
}

inline std::vector<std::pair<std::string, double>> ResourceAmounts(const ResourceSet& resources) {
  std::vector<std::pair<std::string, double>> amounts;
  for (const auto& [name, amount] : resources.amounts()) {
    amounts.emplace_back(name, FromFixedPoint(amount));
  }
  return amounts;
}

// ---- ids, which Python objects hold as bytes ----

template <typename IdType>
IdType IdFrom(const uint8_t* bytes) {
  return IdType::FromBinary({reinterpret_cast<const char*>(bytes), IdType::kSize});
}

// As Id::Hash, for any length.
inline size_t HashIdBytes(const uint8_t* bytes, size_t size) {
  uint64_t a = 0;
  uint64_t b = 0;
  const size_t word = size < 8 ? size : 8;
  std::memcpy(&a, bytes, word);
  std::memcpy(&b, bytes + (size - word), word);
  uint64_t h = a ^ (b * 0x9e3779b97f4a7c15ULL);
  h ^= h >> 29;
  h *= 0xbf58476d1ce4e5b9ULL;
  return h ^ (h >> 32);
}

// ---- the calling thread ----

// Set while a value is serialized or deserialized here; ObjectRef looks at it.
struct ThreadState {
  std::vector<ObjectRefInfo>* collector = nullptr;  // references found inside the value
  const ObjectId* source = nullptr;                 // the object whose value is deserialized
};
inline thread_local ThreadState thread_state;

// A thread made by C++ keeps one Python thread state for life, so that threading.local lives as
// long as the thread, and taking the GIL allocates nothing.
inline void KeepPythonThreadState() {
  thread_local bool kept = false;
  if (!kept) {
    kept = true;
    if (PyGILState_GetThisThreadState() == nullptr) {
      PyGILState_Ensure();
      PyEval_SaveThread();
    }
  }
}

// ---- buffers ----

inline std::shared_ptr<Buffer> CopyToHeap(std::string_view bytes) {
  return HeapBuffer::Copy(bytes);
}

inline std::shared_ptr<Buffer> NewHeapBuffer(size_t bytes, uint8_t** data) {
  auto buffer = std::make_shared<HeapBuffer>(bytes);
  *data = buffer->mutable_data();
  return buffer;
}

// Bytes (perhaps none) with local references that go when they do. What a task returns must hold
// the references inside it until the reply is made, by when the Python objects are gone.
class HoldingBuffer final : public Buffer {
 public:
  HoldingBuffer(CoreWorker& core, std::shared_ptr<Buffer> bytes,
                const std::vector<ObjectRefInfo>& refs)
      : core_(core), bytes_(std::move(bytes)) {
    if (bytes_ != nullptr) {
      data_ = bytes_->data();
      size_ = bytes_->size();
    }
    held_.reserve(refs.size());
    for (const ObjectRefInfo& ref : refs) {
      core_.CopyLocalRef(ref.id);
      held_.push_back(ref.id);
    }
  }
  ~HoldingBuffer() override {
    for (const ObjectId& id : held_) {
      core_.RemoveLocalRef(id);
    }
  }

 private:
  CoreWorker& core_;
  const std::shared_ptr<Buffer> bytes_;
  std::vector<ObjectId> held_;
};

inline void HoldNested(CoreWorker& core, core_worker::ReturnObject* returned) {
  if (!returned->nested.empty()) {
    returned->value.data =
        std::make_shared<HoldingBuffer>(core, std::move(returned->value.data), returned->nested);
  }
}

inline bool IsCancelled(const core_worker::TaskContext& task) { return task.cancelled.load(); }

// In a fork what pins are for is the parent's business: the pin stays.
inline void ReleaseBuffer(std::shared_ptr<Buffer>& buffer) {
  if (fork_state.is_fork) {
    static_cast<void>(new std::shared_ptr<Buffer>(std::move(buffer)));
  }
  buffer.reset();
}

// ---- objects that become ready ----

// Where the ids of objects go that have become ready; the thread that serves futures takes them
// out. Shared by that thread and the callbacks of the core worker, which never need the GIL.
class ReadyQueue {
 public:
  void Push(const ObjectId& id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ready_.push_back(id);
    arrived_.notify_one();
  }
  // Waits for the first; none once the queue is closed.
  std::vector<ObjectId> Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    arrived_.wait(lock, [this] { return !ready_.empty() || closed_; });
    return std::exchange(ready_, {});
  }
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    arrived_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<ObjectId> ready_;
  bool closed_ = false;
};

inline std::shared_ptr<ReadyQueue> NewReadyQueue() { return std::make_shared<ReadyQueue>(); }

// Puts the id into the queue once the object is ready.
inline Status WatchObject(CoreWorker& core, const ObjectId& id, std::shared_ptr<ReadyQueue> queue) {
  return core.WhenReady(id, [queue = std::move(queue), id] { queue->Push(id); });
}

}  // namespace rayc::python
