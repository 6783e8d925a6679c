// rayc.plasma._plasma: the C++ plasma client for Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <string_view>

#include "common/ids.h"
#include "rayc/plasma/errors.h"
#include "rayc/plasma/plasma_buffer.h"
#include "rayc/plasma/py_client.h"

namespace py = pybind11;

namespace rayc::plasma::python {
namespace {

// The size of the ids of pyarrow.plasma, whose users have code that makes them.
constexpr size_t kShortIdBytes = 20;

ObjectId IdFromBytes(const py::bytes& binary) {
  const std::string_view bytes(binary);
  if (bytes.size() == ObjectId::kSize) {
    return ObjectId::FromBinary(bytes);
  }
  if (bytes.size() == kShortIdBytes) {
    std::string padded(bytes);
    padded.resize(ObjectId::kSize);
    return ObjectId::FromBinary(padded);
  }
  throw py::value_error("an ObjectID has " + std::to_string(ObjectId::kSize) + " bytes (or " +
                        std::to_string(kShortIdBytes) + ", to which zeros are added), not " +
                        std::to_string(bytes.size()));
}

void DefineObjectId(const py::module_& module) {
  py::class_<ObjectId>(module, "ObjectID", "The name of an object: 28 bytes.")
      .def(py::init(&IdFromBytes), py::arg("object_id"))
      .def_static("from_random", [] { return ObjectId::FromRandom(); })
      .def_static("size", [] { return ObjectId::kSize; })
      .def("binary", [](const ObjectId& id) { return py::bytes(id.Binary()); })
      .def("hex", &ObjectId::Hex)
      .def("__hash__", &ObjectId::Hash)
      .def("__eq__",
           [](const ObjectId& id, const py::object& other) {
             return py::isinstance<ObjectId>(other) && id == other.cast<const ObjectId&>();
           })
      .def("__repr__", [](const ObjectId& id) { return "ObjectID(" + id.Hex() + ")"; })
      .def("__reduce__", [](const ObjectId& id) {
        return py::make_tuple(py::type::of<ObjectId>(), py::make_tuple(py::bytes(id.Binary())));
      });
}

void DefineClient(const py::module_& module) {
  py::class_<PySubscription>(module, "Subscription")
      .def("fileno", &PySubscription::FileNumber)
      .def("next", &PySubscription::Next, py::arg("timeout_ms"))
      .def("close", &PySubscription::Close);

  py::class_<PyClient>(module, "Client")
      .def(py::init<const std::string&>(), py::arg("store_socket_name"))
      .def_property_readonly("store_socket_name", &PyClient::socket_path)
      .def("disconnect", &PyClient::Disconnect)
      .def("create", &PyClient::Create, py::arg("object_id"), py::arg("data_size"),
           py::arg("metadata") = py::bytes(),
           "Room for an object: a buffer to write into, and then to ``seal``.")
      .def("seal", &PyClient::Seal, py::arg("object_id"),
           "Make the object visible to all; nobody can change it from then on.")
      .def("abort", &PyClient::Abort, py::arg("object_id"),
           "Take back an object that was created and not sealed.")
      .def("put_raw_buffer", &PyClient::PutRawBuffer, py::arg("value"),
           py::arg("object_id") = py::none(), py::arg("metadata") = py::bytes(),
           py::arg("memcopy_threads") = 6,
           "Store the bytes of anything that has the buffer protocol.")
      .def("_put_pickled", &PyClient::PutPickled, py::arg("pickle"), py::arg("buffers"),
           py::arg("object_id") = py::none())
      .def("get_buffers", &PyClient::GetBuffers, py::arg("object_ids"), py::arg("timeout_ms") = -1,
           py::arg("with_meta") = false,
           "The objects' bytes in place, ``None`` for what did not come in time.\n\n"
           "With ``with_meta``, pairs of metadata and buffer, ``(None, None)`` for what did not "
           "come.")
      .def("get_metadata", &PyClient::GetMetadata, py::arg("object_ids"),
           py::arg("timeout_ms") = -1,
           "The objects' metadata as buffers, ``None`` for what did not come in time.")
      .def("_get_pickled", &PyClient::GetPickled, py::arg("object_ids"), py::arg("timeout_ms") = -1)
      .def("contains", &PyClient::Contains, py::arg("object_id"),
           "Whether the object is there, and sealed.")
      .def("delete", &PyClient::Delete, py::arg("object_ids"),
           "The objects go when nobody views them any more; unknown ids are ignored.")
      .def("evict", &PyClient::Evict, py::arg("num_bytes"),
           "Drop what nobody views, least recently used first, until so many bytes are free.\n\n"
           "Return how many bytes became free.")
      .def("list", &PyClient::List,
           "What is in the store: by id, its data_size, metadata_size, ref_count, state, place and "
           "created_by_pid.")
      .def("usage", &PyClient::Usage,
           "The store's bytes: capacity; used by objects in memory; granted to clients for objects "
           "to come; spilled to disk.")
      .def("check", &PyClient::Check,
           "Have the store check itself. Return what is wrong, an empty string if nothing is.")
      .def("store_capacity", &PyClient::StoreCapacity, "The size of the store in bytes.")
      .def("_subscribe", &PyClient::Subscribe);
}

}  // namespace
}  // namespace rayc::plasma::python

PYBIND11_MODULE(_plasma, m) {
  m.doc() = "The plasma client of rayc.plasma.";
  rayc::plasma::python::DefineExceptions(m);
  rayc::plasma::python::DefineObjectId(m);
  rayc::plasma::python::DefinePlasmaBuffer(m);
  rayc::plasma::python::DefineClient(m);
}
