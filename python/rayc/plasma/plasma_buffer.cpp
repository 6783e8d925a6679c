#include "rayc/plasma/plasma_buffer.h"

#include <cstring>
#include <exception>
#include <string>

#include "plasma/copy.h"
#include "rayc/plasma/errors.h"
#include "rayc/plasma/released_gil.h"

namespace py = pybind11;

namespace rayc::plasma::python {
namespace {

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
  Creation* const creation = buffer->creation();
  if (creation != nullptr && !creation->readable()) {
    creation->SetUnusableError();
    return -1;
  }
  if (PyBuffer_FillInfo(view, self, const_cast<uint8_t*>(buffer->data()),
                        static_cast<Py_ssize_t>(buffer->size()), buffer->writable() ? 0 : 1,
                        flags) != 0) {
    return -1;
  }
  if (creation != nullptr) {
    creation->AddView();
  }
  return 0;
}

void ReleaseBuffer(PyObject* self, Py_buffer* /*view*/) {
  auto* const buffer = BufferOf(self);
  if (buffer != nullptr && buffer->creation() != nullptr) {
    buffer->creation()->RemoveView();
  }
}

// A view that keeps the room in its place while the GIL is away.
class KeptCreation {
 public:
  explicit KeptCreation(std::shared_ptr<Creation> creation) : creation_(std::move(creation)) {
    creation_->AddView();
  }
  ~KeptCreation() { creation_->RemoveView(); }
  KeptCreation(const KeptCreation&) = delete;
  KeptCreation& operator=(const KeptCreation&) = delete;

 private:
  const std::shared_ptr<Creation> creation_;
};

bool Equal(const py::object& self, const py::object& other) {
  if (PyObject_CheckBuffer(other.ptr()) == 0) {
    return false;
  }
  const BytesOf ours(self);
  const BytesOf theirs(other);
  return ours.size() == theirs.size() && std::memcmp(ours.data(), theirs.data(), ours.size()) == 0;
}

}  // namespace

void Creation::SetUnusableError() const {
  const std::string name = "object " + id_.Hex();
  if (state_ == State::kDisconnected) {
    SetError(Status::Disconnected("the client was disconnected before it had sealed " + name +
                                  ", which is gone"));
    return;
  }
  const char* const why =
      state_ == State::kAborted ? " was aborted" : " is sealed: it cannot be written";
  PyErr_SetString(PyExc_BufferError, (name + why).c_str());
}

void Creation::RaiseUnusable() const {
  SetUnusableError();
  throw py::error_already_set();
}

void PlasmaBuffer::Write(int64_t offset, const py::handle& source) {
  if (!creation_) {
    throw py::buffer_error("the object is sealed: it cannot be written");
  }
  if (!creation_->writable()) {
    creation_->RaiseUnusable();
  }
  const BytesOf bytes(source);
  if (offset < 0 || static_cast<size_t>(offset) > size() || bytes.size() > size() - offset) {
    throw py::index_error("a write of " + std::to_string(bytes.size()) + " bytes at " +
                          std::to_string(offset) + " does not lie in an object of " +
                          std::to_string(size()));
  }
  uint8_t* const to = creation_->object().data + offset;
  if (bytes.size() < kCopyWithGilBytes) {
    CopyBytes(to, bytes.data(), bytes.size());
    return;
  }
  const KeptCreation kept(creation_);
  const ReleasedGil released;
  CopyBytes(to, bytes.data(), bytes.size());
}

py::bytes PlasmaBuffer::ToBytes() const {
  if (creation_ && !creation_->readable()) {
    creation_->RaiseUnusable();
  }
  return {reinterpret_cast<const char*>(data()), size()};
}

void DefinePlasmaBuffer(const py::module_& module) {
  py::class_<PlasmaBuffer>(module, "PlasmaBuffer",
                           "The bytes of an object, in place; read-only from seal on.",
                           py::custom_type_setup([](PyHeapTypeObject* type) {
                             type->ht_type.tp_as_buffer = &type->as_buffer;
                             type->as_buffer.bf_getbuffer = GetBuffer;
                             type->as_buffer.bf_releasebuffer = ReleaseBuffer;
                           }))
      .def("__len__", &PlasmaBuffer::size)
      .def("__getitem__",
           [](const py::object& self, const py::object& key) {
             const auto view =
                 py::reinterpret_steal<py::object>(PyMemoryView_FromObject(self.ptr()));
             if (!view) {
               throw py::error_already_set();
             }
             return py::object(view[key]);
           })
      .def("__eq__", &Equal)
      .def("equals", &Equal, py::arg("other"), "Whether the bytes are the same.")
      .def_property_readonly("size", &PlasmaBuffer::size)
      .def_property_readonly(
          "address",
          [](const PlasmaBuffer& buffer) { return reinterpret_cast<uintptr_t>(buffer.data()); })
      .def_property_readonly("is_mutable", &PlasmaBuffer::writable)
      .def("write", &PlasmaBuffer::Write, py::arg("offset"), py::arg("data"),
           "Copy bytes into an object that is not sealed yet.")
      .def("to_pybytes", &PlasmaBuffer::ToBytes, "Return a copy of the bytes.");
}

}  // namespace rayc::plasma::python
