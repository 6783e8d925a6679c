// rayc.plasma._plasma: the C++ plasma client for Python. Who owns what:
//
//   Client        shares the C++ client; buffers made by it keep what they need of it.
//   PlasmaBuffer  of a get: one pin, for as long as it or any view of it (memoryview, numpy array)
//                 lives. Of a create: room being written, writable until seal, which turns it into
//                 a pinned read-only one in the same step. Views that were taken before seal cannot
//                 be made read-only any more; nobody should write through them.
//
// Calls that go to the store release the GIL. Destructors never wait for the store. The exceptions
// are made when the module is loaded, and live as long as the process.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/buffer.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "plasma/client.h"

namespace py = pybind11;

namespace rayc::plasma {
namespace {

// A signal that arrives just before the wait begins is seen after this long at the latest.
constexpr int64_t kWaitSliceMs = 200;
// Below this the copy costs less than giving the GIL away.
constexpr size_t kCopyWithoutGilBytes = 64U << 10;

PyObject* g_object_exists = nullptr;
PyObject* g_object_nonexistent = nullptr;
PyObject* g_store_full = nullptr;
PyObject* g_connection_error = nullptr;

[[noreturn]] void Raise(const Status& status) {
  PyObject* type = PyExc_OSError;
  switch (status.code()) {
    case StatusCode::kAlreadyExists:
      type = g_object_exists;
      break;
    case StatusCode::kNotFound:
      type = g_object_nonexistent;
      break;
    case StatusCode::kOutOfMemory:
      type = g_store_full;
      break;
    case StatusCode::kDisconnected:
    case StatusCode::kVersionMismatch:
      type = g_connection_error;
      break;
    case StatusCode::kInvalidArgument:
      type = PyExc_ValueError;
      break;
    default:
      break;
  }
  PyErr_SetString(type, status.message().c_str());
  throw py::error_already_set();
}

void RaiseUnlessOk(const Status& status) {
  if (!status.ok()) {
    Raise(status);
  }
}

ObjectId IdFromBytes(const py::bytes& binary) {
  const std::string_view bytes(binary);
  if (bytes.size() != ObjectId::kSize) {
    throw py::value_error("an ObjectID has " + std::to_string(ObjectId::kSize) + " bytes, not " +
                          std::to_string(bytes.size()));
  }
  return ObjectId::FromBinary(bytes);
}

// A view of any object with contiguous bytes.
class BytesOf {
 public:
  explicit BytesOf(const py::handle& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_C_CONTIGUOUS) != 0) {
      throw py::error_already_set();
    }
  }
  ~BytesOf() { PyBuffer_Release(&view_); }
  BytesOf(const BytesOf&) = delete;
  BytesOf& operator=(const BytesOf&) = delete;
  const void* data() const { return view_.buf; }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_{};
};

// Room in the arena that is being written. Taken back when the last holder goes before seal.
struct Creation {
  Creation(std::shared_ptr<Client> client_in, const ObjectId& id_in, WritableObject object_in)
      : client(std::move(client_in)), id(id_in), object(object_in) {}
  ~Creation() {
    if (!sealed && !aborted) {
      client->AbortLater(id);
    }
  }
  Creation(const Creation&) = delete;
  Creation& operator=(const Creation&) = delete;

  const std::shared_ptr<Client> client;
  const ObjectId id;
  const WritableObject object;
  std::shared_ptr<Buffer> sealed;  // the pin, from seal on
  bool aborted = false;
  int exports = 0;  // views that are alive; guarded by the GIL
};

class PlasmaBuffer {
 public:
  explicit PlasmaBuffer(std::shared_ptr<Buffer> pinned) : pinned_(std::move(pinned)) {}
  explicit PlasmaBuffer(std::shared_ptr<Creation> creation) : creation_(std::move(creation)) {}

  const uint8_t* data() const { return creation_ ? creation_->object.data : pinned_->data(); }
  size_t size() const { return creation_ ? creation_->object.size : pinned_->size(); }
  bool writable() const { return creation_ && !creation_->sealed && !creation_->aborted; }
  bool usable() const { return !creation_ || !creation_->aborted; }
  Creation* creation() const { return creation_.get(); }

  void Write(size_t offset, const py::handle& source) {
    if (!writable()) {
      throw py::buffer_error("the object is sealed or aborted: it cannot be written");
    }
    const BytesOf bytes(source);
    if (offset > size() || bytes.size() > size() - offset) {
      throw py::index_error("write beyond the end of the object");
    }
    // The view counts as one, so that no other thread can abort the object during the copy.
    const std::shared_ptr<Creation> kept = creation_;
    ++kept->exports;
    if (bytes.size() < kCopyWithoutGilBytes) {
      std::memcpy(kept->object.data + offset, bytes.data(), bytes.size());
    } else {
      const py::gil_scoped_release release;
      std::memcpy(kept->object.data + offset, bytes.data(), bytes.size());
    }
    --kept->exports;
  }

 private:
  const std::shared_ptr<Buffer> pinned_;
  const std::shared_ptr<Creation> creation_;
};

// Null, with an exception set, if `self` was made by __new__ alone.
PlasmaBuffer* BufferOf(PyObject* self) {
  try {
    if (auto* const buffer = py::handle(self).cast<PlasmaBuffer*>()) {
      return buffer;
    }
  } catch (const std::exception&) {
    PyErr_Clear();
  }
  PyErr_SetString(PyExc_BufferError, "not a buffer of a plasma client");
  return nullptr;
}

// The buffer protocol by hand: pybind11's own does not say when a view goes.
int GetBuffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  auto* const buffer = BufferOf(self);
  if (buffer == nullptr) {
    return -1;
  }
  if (!buffer->usable()) {
    PyErr_SetString(PyExc_BufferError, "the object was aborted");
    return -1;
  }
  if (PyBuffer_FillInfo(view, self, const_cast<uint8_t*>(buffer->data()),
                        static_cast<Py_ssize_t>(buffer->size()), buffer->writable() ? 0 : 1,
                        flags) != 0) {
    return -1;
  }
  if (buffer->creation() != nullptr) {
    ++buffer->creation()->exports;
  }
  return 0;
}

void ReleaseBuffer(PyObject* self, Py_buffer* /*view*/) {
  auto* const buffer = BufferOf(self);
  if (buffer != nullptr && buffer->creation() != nullptr) {
    --buffer->creation()->exports;
  }
}

class PyClient {
 public:
  explicit PyClient(const std::string& socket_path) : socket_path_(socket_path) {
    auto client = [&] {
      const py::gil_scoped_release release;
      return Client::Connect(socket_path);
    }();
    if (!client) {
      Raise(client.error());
    }
    client_ = std::move(*client);
  }

  void Disconnect() {
    if (!connected_) {
      return;
    }
    // Waits and calls of other threads end; what is being written is aborted when its last view
    // goes.
    // The socket goes with the last view of an object, at once if there is none.
    const auto client = std::exchange(client_, nullptr);
    creations_.clear();
    connected_ = false;
    const py::gil_scoped_release release;
    client->Disconnect();
  }

  std::unique_ptr<PlasmaBuffer> Create(const ObjectId& id, int64_t data_size,
                                       const py::bytes& metadata) {
    if (data_size < 0) {
      throw py::value_error("the size of an object cannot be negative");
    }
    const auto client = Use();
    const std::string tag = metadata;
    auto object = [&] {
      const py::gil_scoped_release release;
      return client->Create(id, static_cast<uint64_t>(data_size), tag, WorkerId::Nil());
    }();
    if (!object) {
      Raise(object.error());
    }
    auto creation = std::make_shared<Creation>(client, id, *object);
    creations_[id] = creation;
    return std::make_unique<PlasmaBuffer>(std::move(creation));
  }

  void Seal(const ObjectId& id) {
    const auto client = Use();
    auto pinned = [&] {
      const py::gil_scoped_release release;
      return client->SealAndPin(id);
    }();
    if (!pinned) {
      Raise(pinned.error());
    }
    const auto it = creations_.find(id);
    if (it != creations_.end()) {
      const std::shared_ptr<Creation> creation = std::move(it->second);
      creations_.erase(it);
      creation->sealed = std::move(*pinned);
    }
  }

  void Abort(const ObjectId& id) {
    const auto client = Use();
    const auto it = creations_.find(id);
    if (it != creations_.end() && it->second->exports > 0) {
      throw py::buffer_error("the object is still viewed: its views must go before abort");
    }
    if (it != creations_.end()) {
      it->second->aborted = true;
      creations_.erase(it);
    }
    const Status status = [&] {
      const py::gil_scoped_release release;
      return client->Abort(id);
    }();
    RaiseUnlessOk(status);
  }

  // (metadata, buffer) or None for each id.
  py::list Get(const std::vector<ObjectId>& ids, int64_t timeout_ms) {
    std::vector<std::optional<ObjectValue>> values(ids.size());
    std::vector<size_t> places(ids.size());
    for (size_t i = 0; i < places.size(); ++i) {
      places[i] = i;
    }
    std::vector<ObjectId> missing = ids;
    const SteadyClock clock;
    const int64_t start_ms = clock.NowMs();
    while (!missing.empty()) {
      const int64_t left_ms = timeout_ms < 0
                                  ? kWaitSliceMs
                                  : std::max<int64_t>(timeout_ms - (clock.NowMs() - start_ms), 0);
      Fetch(missing, places, std::min(left_ms, kWaitSliceMs), &values);
      if (PyErr_CheckSignals() != 0) {
        throw py::error_already_set();
      }
      std::erase_if(places, [&](size_t place) { return values[place].has_value(); });
      if (places.empty() || (timeout_ms >= 0 && clock.NowMs() - start_ms >= timeout_ms)) {
        break;
      }
      missing.clear();
      for (const size_t place : places) {
        missing.push_back(ids[place]);
      }
    }
    py::list result(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      if (values[i]) {
        result[i] =
            py::make_tuple(py::bytes(values[i]->metadata),
                           py::cast(std::make_unique<PlasmaBuffer>(std::move(values[i]->data))));
      } else {
        result[i] = py::none();
      }
    }
    return result;
  }

  bool Contains(const ObjectId& id) {
    const auto client = Use();
    const auto contains = [&] {
      const py::gil_scoped_release release;
      return client->Contains(id);
    }();
    if (!contains) {
      Raise(contains.error());
    }
    return *contains;
  }

  void Delete(const std::vector<ObjectId>& ids) {
    const auto client = Use();
    const Status status = [&] {
      const py::gil_scoped_release release;
      return client->Delete(ids);
    }();
    RaiseUnlessOk(status);
  }

  py::dict List() {
    const auto client = Use();
    const auto listed = [&] {
      const py::gil_scoped_release release;
      return client->List();
    }();
    if (!listed) {
      Raise(listed.error());
    }
    py::dict result;
    for (const ObjectInfo& object : listed->objects) {
      if (object.deleted) {
        continue;
      }
      py::dict about;
      about["data_size"] = object.data_bytes;
      about["metadata_size"] = object.metadata_bytes;
      about["ref_count"] = object.pins;
      about["state"] = object.sealed ? "sealed" : "created";
      about["created_by_pid"] = object.made_by_pid;
      result[py::cast(object.id)] = about;
    }
    return result;
  }

  uint64_t StoreCapacity() { return Use()->capacity_bytes(); }
  const std::string& socket_path() const { return socket_path_; }

 private:
  std::shared_ptr<Client> Use() const {
    if (!connected_) {
      Raise(Status::Disconnected("this plasma client is disconnected"));
    }
    return client_;
  }

  void Fetch(const std::vector<ObjectId>& ids, const std::vector<size_t>& places,
             int64_t timeout_ms, std::vector<std::optional<ObjectValue>>* values) {
    const auto client = Use();
    auto got = [&] {
      const py::gil_scoped_release release;
      return client->Get(ids, timeout_ms);
    }();
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

  const std::string socket_path_;
  // Below: guarded by the GIL.
  std::shared_ptr<Client> client_;
  bool connected_ = true;
  std::unordered_map<ObjectId, std::shared_ptr<Creation>> creations_;
};

PyObject* NewException(const py::module_& module, const char* name, PyObject* base) {
  const std::string full_name = std::string("rayc.plasma.") + name;
  PyObject* const type = PyErr_NewException(full_name.c_str(), base, nullptr);
  if (type == nullptr) {
    throw py::error_already_set();
  }
  module.attr(name) = py::handle(type);
  return type;
}

}  // namespace
}  // namespace rayc::plasma

PYBIND11_MODULE(_plasma, m) {
  using namespace rayc;          // NOLINT(google-build-using-namespace): this is the whole function
  using namespace rayc::plasma;  // NOLINT(google-build-using-namespace)
  m.doc() = "The plasma client of rayc.plasma.";

  const auto error = py::reinterpret_steal<py::object>(
      PyErr_NewException("rayc.plasma.PlasmaError", nullptr, nullptr));
  m.attr("PlasmaError") = error;
  g_object_exists = NewException(m, "PlasmaObjectExists", error.ptr());
  g_object_nonexistent = NewException(m, "PlasmaObjectNonexistent", error.ptr());
  g_store_full = NewException(m, "PlasmaStoreFull", error.ptr());
  g_connection_error = NewException(m, "PlasmaConnectionError",
                                    py::make_tuple(error, py::handle(PyExc_ConnectionError)).ptr());

  py::class_<ObjectId>(m, "ObjectID")
      .def(py::init(&IdFromBytes), py::arg("object_id"))
      .def_static("from_random", [] { return ObjectId::FromRandom(); })
      .def("binary", [](const ObjectId& id) { return py::bytes(std::string(id.Binary())); })
      .def("hex", &ObjectId::Hex)
      .def_static("size", [] { return ObjectId::kSize; })
      .def("__hash__", &ObjectId::Hash)
      .def("__eq__",
           [](const ObjectId& id, const py::object& other) {
             return py::isinstance<ObjectId>(other) && id == other.cast<const ObjectId&>();
           })
      .def("__repr__", [](const ObjectId& id) { return "ObjectID(" + id.Hex() + ")"; })
      .def("__reduce__", [](const ObjectId& id) {
        return py::make_tuple(py::type::of<ObjectId>(),
                              py::make_tuple(py::bytes(std::string(id.Binary()))));
      });

  py::class_<PlasmaBuffer>(m, "PlasmaBuffer", py::custom_type_setup([](PyHeapTypeObject* type) {
                             type->ht_type.tp_as_buffer = &type->as_buffer;
                             type->as_buffer.bf_getbuffer = GetBuffer;
                             type->as_buffer.bf_releasebuffer = ReleaseBuffer;
                           }))
      .def("__len__", &PlasmaBuffer::size)
      .def_property_readonly("size", &PlasmaBuffer::size)
      .def_property_readonly(
          "address",
          [](const PlasmaBuffer& buffer) { return reinterpret_cast<uintptr_t>(buffer.data()); })
      .def_property_readonly("is_mutable", &PlasmaBuffer::writable)
      .def("write", &PlasmaBuffer::Write, py::arg("offset"), py::arg("data"))
      .def("to_pybytes", [](const PlasmaBuffer& buffer) {
        if (!buffer.usable()) {
          throw py::buffer_error("the object was aborted");
        }
        return py::bytes(reinterpret_cast<const char*>(buffer.data()), buffer.size());
      });

  py::class_<PyClient>(m, "Client")
      .def(py::init<const std::string&>(), py::arg("store_socket_name"))
      .def_property_readonly("store_socket_name", &PyClient::socket_path)
      .def("disconnect", &PyClient::Disconnect)
      .def("create", &PyClient::Create, py::arg("object_id"), py::arg("data_size"),
           py::arg("metadata") = py::bytes())
      .def("seal", &PyClient::Seal, py::arg("object_id"))
      .def("abort", &PyClient::Abort, py::arg("object_id"))
      .def("get", &PyClient::Get, py::arg("object_ids"), py::arg("timeout_ms") = -1)
      .def("contains", &PyClient::Contains, py::arg("object_id"))
      .def("delete", &PyClient::Delete, py::arg("object_ids"))
      .def("list", &PyClient::List)
      .def("store_capacity", &PyClient::StoreCapacity);
}
