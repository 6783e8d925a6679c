#include "rayc/plasma/py_client.h"

#include <algorithm>
#include <deque>
#include <string_view>
#include <utility>

#include "common/clock.h"
#include "plasma/copy.h"
#include "rayc/includes/pickle_layout.h"
#include "rayc/plasma/errors.h"
#include "rayc/plasma/released_gil.h"

namespace py = pybind11;

namespace rayc::plasma::python {
namespace {

using rayc::python::PickleParts;
using rayc::python::PickleWriter;

// A signal that arrives just before a wait begins is seen after this long at the latest.
constexpr int64_t kWaitSliceMs = 200;
// The metadata of what PutPickled has made; the rest is in pickle_layout.h.
constexpr std::string_view kPickled = "rayc.plasma:pickle5";

// The time that is left of a wait, in slices.
class Patience {
 public:
  explicit Patience(int64_t timeout_ms) : timeout_ms_(timeout_ms), start_ms_(clock_.NowMs()) {}
  int64_t SliceMs() const {
    return timeout_ms_ < 0
               ? kWaitSliceMs
               : std::clamp<int64_t>(timeout_ms_ - (clock_.NowMs() - start_ms_), 0, kWaitSliceMs);
  }
  bool over() const { return timeout_ms_ >= 0 && clock_.NowMs() - start_ms_ >= timeout_ms_; }

 private:
  const SteadyClock clock_;
  const int64_t timeout_ms_;
  const int64_t start_ms_;
};

[[noreturn]] void RaiseNoRoom(const Client& client, uint64_t bytes, const Status& status) {
  if (status.code() == StatusCode::kOutOfMemory && bytes <= client.capacity_bytes()) {
    Raise(Status::OutOfMemory(status.message() +
                              "\n(plasma_store -d FOLDER spills what does not fit to disk, "
                              "--evict-lru drops what was not used for longest)"));
  }
  Raise(status);
}

WritableObject CreateRoom(Client& client, const ObjectId& id, uint64_t bytes,
                          const std::string& metadata) {
  for (;;) {
    const auto object = WithoutGil([&] { return client.Create(id, bytes, metadata); });
    if (object) {
      return *object;
    }
    if (object.error().code() != StatusCode::kInterrupted) {
      RaiseNoRoom(client, bytes, object.error());
    }
    CheckSignals();
  }
}

// Create, write(to), seal.
template <typename Write>
void MakeObject(Client& client, const ObjectId& id, uint64_t bytes, const std::string& metadata,
                const Write& write) {
  const WritableObject object = CreateRoom(client, id, bytes, metadata);
  const auto finish = [&] {
    write(object.data);
    Status status = client.Seal(id);
    if (!status.ok()) {
      client.AbortLater(id);
    }
    return status;
  };
  RaiseUnlessOk(bytes < kCopyWithGilBytes ? finish() : WithoutGil(finish));
}

// `object_id`, or a new one if it is None.
py::object IdOrNew(const py::object& object_id) {
  return object_id.is_none() ? py::cast(ObjectId::FromRandom()) : object_id;
}

py::object ViewOf(const py::object& buffer) {
  auto view = py::reinterpret_steal<py::object>(PyMemoryView_FromObject(buffer.ptr()));
  if (!view) {
    throw py::error_already_set();
  }
  return view;
}

py::object SliceOf(const py::object& view, uint64_t begin, uint64_t bytes) {
  return view[py::slice(static_cast<py::ssize_t>(begin), static_cast<py::ssize_t>(begin + bytes),
                        1)];
}

py::object BufferFor(std::shared_ptr<Buffer> pin) {
  return py::cast(std::make_unique<PlasmaBuffer>(std::move(pin)));
}

// (pickle, [buffer, ...]) as views of the object.
py::tuple PickledParts(const ObjectId& id, ObjectValue value) {
  PickleParts parts;
  const std::string_view bytes = value.data->View();
  if (value.metadata != kPickled || !rayc::python::ReadPickleParts(bytes, &parts)) {
    throw py::value_error("object " + id.Hex() + " was not made by put(): use get_buffers()");
  }
  const auto pickle_at = static_cast<uint64_t>(parts.pickle.data() - bytes.data());
  const py::object view = ViewOf(BufferFor(std::move(value.data)));
  py::list buffers(parts.buffers.size());
  for (size_t i = 0; i < parts.buffers.size(); ++i) {
    buffers[i] = SliceOf(view, parts.buffers[i].offset, parts.buffers[i].bytes);
  }
  return py::make_tuple(SliceOf(view, pickle_at, parts.pickle.size()), std::move(buffers));
}

}  // namespace

// ---- PySubscription ----

std::shared_ptr<Subscription> PySubscription::Use() const {
  if (subscription_ == nullptr) {
    Raise(Status::Disconnected("this plasma client is disconnected"));
  }
  return subscription_;
}

int PySubscription::FileNumber() const { return Use()->fd(); }

py::object PySubscription::Next(int64_t timeout_ms) {
  const Patience patience(timeout_ms);
  for (;;) {
    const auto subscription = Use();
    const auto got = WithoutGil([&] { return subscription->Next(patience.SliceMs()); });
    if (got) {
      const int64_t data_bytes = got->gone ? -1 : static_cast<int64_t>(got->data_bytes);
      const int64_t metadata_bytes = got->gone ? -1 : static_cast<int64_t>(got->metadata_bytes);
      return py::make_tuple(got->id, data_bytes, metadata_bytes);
    }
    const StatusCode code = got.error().code();
    if (code != StatusCode::kTimedOut && code != StatusCode::kInterrupted) {
      Raise(got.error());
    }
    CheckSignals();
    if (patience.over()) {
      return py::none();
    }
  }
}

// ---- PyClient ----

PyClient::PyClient(const std::string& socket_path)
    : socket_path_(socket_path),
      client_(ValueOf(WithoutGil([&] { return Client::Connect(socket_path); }))) {}

std::shared_ptr<Client> PyClient::Use() const {
  if (client_ == nullptr) {
    Raise(Status::Disconnected("this plasma client is disconnected"));
  }
  return client_;
}

void PyClient::Disconnect() {
  // Waits and calls of other threads end. The socket goes with the last view of an object, at once
  // if there is none.
  const auto client = std::exchange(client_, nullptr);
  if (client == nullptr) {
    return;
  }
  for (const auto& [id, creation] : creations_) {
    creation->OnDisconnect();
  }
  creations_.clear();
  const ReleasedGil released;
  client->Disconnect();
}

std::unique_ptr<PlasmaBuffer> PyClient::Create(const ObjectId& id, int64_t data_size,
                                               const py::bytes& metadata) {
  if (data_size < 0) {
    throw py::value_error("the size of an object cannot be negative");
  }
  const auto client = Use();
  const WritableObject object =
      CreateRoom(*client, id, static_cast<uint64_t>(data_size), std::string(metadata));
  auto creation = std::make_shared<Creation>(client, id, object);
  if (client_ == nullptr) {
    creation->OnDisconnect();  // by another thread, meanwhile
    creation->RaiseUnusable();
  }
  creations_[id] = creation;
  return std::make_unique<PlasmaBuffer>(std::move(creation));
}

void PyClient::Seal(const ObjectId& id) {
  const auto client = Use();
  const auto it = creations_.find(id);
  if (it == creations_.end() || it->second.use_count() == 1) {  // nobody has the buffer any more
    RaiseUnlessOk(client->Seal(id));
    if (it != creations_.end()) {
      it->second->OnSealed(nullptr);
      creations_.erase(it);
    }
    return;
  }
  auto pin = ValueOf(client->SealAndPin(id));
  it->second->OnSealed(std::move(pin));
  creations_.erase(it);
}

void PyClient::Abort(const ObjectId& id) {
  const auto client = Use();
  const auto it = creations_.find(id);
  if (it != creations_.end() && it->second->viewed()) {
    throw py::buffer_error("object " + id.Hex() + " is still viewed: its views must go before");
  }
  RaiseUnlessOk(client->Abort(id));
  if (it != creations_.end()) {
    it->second->OnAborted();
    creations_.erase(it);
  }
}

py::object PyClient::PutRawBuffer(const py::object& value, const py::object& object_id,
                                  const py::bytes& metadata, int /*memcopy_threads*/) {
  const auto client = Use();
  const BytesOf bytes(value);
  py::object id = IdOrNew(object_id);
  MakeObject(*client, id.cast<const ObjectId&>(), bytes.size(), std::string(metadata),
             [&](uint8_t* to) { CopyBytes(to, bytes.data(), bytes.size()); });
  return id;
}

py::object PyClient::PutPickled(const py::bytes& pickle, const py::list& buffers,
                                const py::object& object_id) {
  const auto client = Use();
  std::deque<BytesOf> kept;
  PickleWriter writer;
  writer.SetPickle(std::string_view(pickle));
  for (const py::handle buffer : buffers) {
    const BytesOf& bytes = kept.emplace_back(buffer);
    writer.AddBuffer(bytes.data(), bytes.size());
  }
  py::object id = IdOrNew(object_id);
  MakeObject(*client, id.cast<const ObjectId&>(), writer.ComputeSize(), std::string(kPickled),
             [&](uint8_t* to) { writer.WriteTo(to); });
  return id;
}

PyClient::Values PyClient::Get(const std::vector<ObjectId>& ids, int64_t timeout_ms) {
  Values values(ids.size());
  std::vector<size_t> places(ids.size());
  for (size_t i = 0; i < places.size(); ++i) {
    places[i] = i;
  }
  std::vector<ObjectId> missing = ids;
  const Patience patience(timeout_ms);
  while (!missing.empty()) {
    Fetch(missing, places, patience.SliceMs(), &values);
    std::erase_if(places, [&](size_t place) { return values[place].has_value(); });
    if (places.empty()) {
      break;
    }
    CheckSignals();
    if (patience.over()) {
      break;
    }
    missing.clear();
    for (const size_t place : places) {
      missing.push_back(ids[place]);
    }
  }
  return values;
}

void PyClient::Fetch(const std::vector<ObjectId>& ids, const std::vector<size_t>& places,
                     int64_t timeout_ms, Values* values) {
  const auto client = Use();
  auto got = WithoutGil([&] { return client->Get(ids, timeout_ms); });
  if (!got) {
    if (got.error().code() == StatusCode::kInterrupted) {
      return;  // the caller looks for signals, and asks again if their handlers let it
    }
    Raise(got.error());
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    (*values)[places[i]] = std::move((*got)[i]);
  }
}

py::list PyClient::GetBuffers(const std::vector<ObjectId>& ids, int64_t timeout_ms,
                              bool with_meta) {
  Values values = Get(ids, timeout_ms);
  py::list result(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    py::object metadata = py::none();
    py::object buffer = py::none();
    if (values[i]) {
      buffer = BufferFor(std::move(values[i]->data));
      if (with_meta) {
        metadata = py::bytes(values[i]->metadata);
      }
    }
    if (with_meta) {
      result[i] = py::make_tuple(std::move(metadata), std::move(buffer));
    } else {
      result[i] = std::move(buffer);
    }
  }
  return result;
}

py::list PyClient::GetMetadata(const std::vector<ObjectId>& ids, int64_t timeout_ms) {
  const Values values = Get(ids, timeout_ms);
  py::list result(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    result[i] = values[i] ? BufferFor(HeapBuffer::Copy(values[i]->metadata)) : py::none();
  }
  return result;
}

py::list PyClient::GetPickled(const std::vector<ObjectId>& ids, int64_t timeout_ms) {
  Values values = Get(ids, timeout_ms);
  py::list result(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (values[i]) {
      result[i] = PickledParts(ids[i], *std::move(values[i]));
    } else {
      result[i] = py::none();
    }
  }
  return result;
}

bool PyClient::Contains(const ObjectId& id) {
  const auto client = Use();
  return ValueOf(WithoutGil([&] { return client->Contains(id); }));
}

void PyClient::Delete(const std::vector<ObjectId>& ids) {
  const auto client = Use();
  RaiseUnlessOk(WithoutGil([&] { return client->Delete(ids); }));
}

uint64_t PyClient::Evict(int64_t bytes) {
  if (bytes < 0) {
    throw py::value_error("the number of bytes to evict cannot be negative");
  }
  const auto client = Use();
  return ValueOf(WithoutGil([&] { return client->Evict(static_cast<uint64_t>(bytes)); }));
}

ListResult PyClient::ListObjects(bool check) {
  const auto client = Use();
  return ValueOf(WithoutGil([&] { return client->List(check); }));
}

py::dict PyClient::List() {
  py::dict result;
  for (const ObjectInfo& object : ListObjects(/*check=*/false).objects) {
    if (object.deleted) {
      continue;
    }
    py::dict about;
    about["data_size"] = object.data_bytes;
    about["metadata_size"] = object.metadata_bytes;
    about["ref_count"] = object.pins;
    about["state"] = object.sealed ? "sealed" : "created";
    about["place"] = object.place == ObjectPlace::kArena ? "memory" : "disk";
    about["created_by_pid"] = object.made_by_pid;
    result[py::cast(object.id)] = about;
  }
  return result;
}

py::dict PyClient::Usage() {
  const ListResult listed = ListObjects(/*check=*/false);
  py::dict result;
  result["capacity"] = listed.capacity_bytes;
  result["used"] = listed.used_bytes;
  result["granted"] = listed.granted_bytes;
  result["spilled"] = listed.spilled_bytes;
  return result;
}

std::string PyClient::Check() { return ListObjects(/*check=*/true).problem; }

std::unique_ptr<PySubscription> PyClient::Subscribe() {
  const auto client = Use();
  return std::make_unique<PySubscription>(ValueOf(WithoutGil([&] { return client->Subscribe(); })));
}

}  // namespace rayc::plasma::python
