// The plasma client as Python sees it; the C++ client (plasma/client.h) does the work.
//
// Members are guarded by the GIL. What may wait, for the store or a large copy, gives it away.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/buffer.h"
#include "common/ids.h"
#include "plasma/client.h"
#include "rayc/plasma/plasma_buffer.h"

namespace rayc::plasma::python {

// What happens in the store, from its making on.
class PySubscription {
 public:
  explicit PySubscription(std::unique_ptr<Subscription> subscription)
      : subscription_(std::move(subscription)) {}

  int FileNumber() const;
  // (id, data size, metadata size), the sizes -1 if the object is gone; None after timeout_ms
  // (-1: never). One thread at a time.
  pybind11::object Next(int64_t timeout_ms);
  // Ends a Next of another thread.
  void Close() { subscription_ = nullptr; }

 private:
  std::shared_ptr<Subscription> Use() const;

  std::shared_ptr<Subscription> subscription_;
};

class PyClient {
 public:
  explicit PyClient(const std::string& socket_path);

  const std::string& socket_path() const { return socket_path_; }
  void Disconnect();

  std::unique_ptr<PlasmaBuffer> Create(const ObjectId& id, int64_t data_size,
                                       const pybind11::bytes& metadata);
  void Seal(const ObjectId& id);
  void Abort(const ObjectId& id);
  // Create, write and seal in one call. Return the id: `object_id`, or a new one if it is None.
  pybind11::object PutRawBuffer(const pybind11::object& value, const pybind11::object& object_id,
                                const pybind11::bytes& metadata, int memcopy_threads);
  pybind11::object PutPickled(const pybind11::bytes& pickle, const pybind11::list& buffers,
                              const pybind11::object& object_id);

  pybind11::list GetBuffers(const std::vector<ObjectId>& ids, int64_t timeout_ms, bool with_meta);
  pybind11::list GetMetadata(const std::vector<ObjectId>& ids, int64_t timeout_ms);
  // For each object made by PutPickled: (pickle, [buffer, ...]), None if it did not come.
  pybind11::list GetPickled(const std::vector<ObjectId>& ids, int64_t timeout_ms);

  bool Contains(const ObjectId& id);
  void Delete(const std::vector<ObjectId>& ids);
  uint64_t Evict(int64_t bytes);
  pybind11::dict List();
  pybind11::dict Usage();
  std::string Check();
  uint64_t StoreCapacity() { return Use()->capacity_bytes(); }
  std::unique_ptr<PySubscription> Subscribe();

 private:
  using Values = std::vector<std::optional<ObjectValue>>;

  std::shared_ptr<Client> Use() const;
  Values Get(const std::vector<ObjectId>& ids, int64_t timeout_ms);
  void Fetch(const std::vector<ObjectId>& ids, const std::vector<size_t>& places,
             int64_t timeout_ms, Values* values);
  ListResult ListObjects(bool check);

  const std::string socket_path_;
  std::shared_ptr<Client> client_;  // null once disconnected
  std::unordered_map<ObjectId, std::shared_ptr<Creation>> creations_;
};

}  // namespace rayc::plasma::python
