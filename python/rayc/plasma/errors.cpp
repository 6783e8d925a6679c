#include "rayc/plasma/errors.h"

#include <string>

namespace py = pybind11;

namespace rayc::plasma::python {
namespace {

PyObject* g_error = nullptr;
PyObject* g_object_exists = nullptr;
PyObject* g_object_nonexistent = nullptr;
PyObject* g_store_full = nullptr;
PyObject* g_connection_error = nullptr;

PyObject* NewException(const py::module_& module, const char* name, PyObject* base) {
  const std::string full_name = std::string("rayc.plasma.") + name;
  PyObject* const type = PyErr_NewException(full_name.c_str(), base, nullptr);
  if (type == nullptr) {
    throw py::error_already_set();
  }
  module.attr(name) = py::handle(type);
  return type;
}

PyObject* TypeFor(StatusCode code) {
  switch (code) {
    case StatusCode::kAlreadyExists:
      return g_object_exists;
    case StatusCode::kNotFound:
      return g_object_nonexistent;
    case StatusCode::kOutOfMemory:
    case StatusCode::kOutOfDisk:
      return g_store_full;
    case StatusCode::kDisconnected:
    case StatusCode::kVersionMismatch:
      return g_connection_error;
    case StatusCode::kInvalidArgument:
      return PyExc_ValueError;
    case StatusCode::kTimedOut:
      return PyExc_TimeoutError;
    case StatusCode::kIOError:
      return PyExc_OSError;
    default:
      return g_error;
  }
}

}  // namespace

void DefineExceptions(const py::module_& module) {
  g_error = NewException(module, "PlasmaError", nullptr);
  g_object_exists = NewException(module, "PlasmaObjectExists", g_error);
  g_object_nonexistent = NewException(module, "PlasmaObjectNonexistent", g_error);
  g_store_full = NewException(module, "PlasmaStoreFull", g_error);
  const auto bases = py::make_tuple(py::handle(g_error), py::handle(PyExc_ConnectionError));
  g_connection_error = NewException(module, "PlasmaConnectionError", bases.ptr());
}

void SetError(const Status& status) {
  PyErr_SetString(TypeFor(status.code()), status.message().c_str());
}

void Raise(const Status& status) {
  SetError(status);
  throw py::error_already_set();
}

void CheckSignals() {
  if (PyErr_CheckSignals() != 0) {
    throw py::error_already_set();
  }
}

}  // namespace rayc::plasma::python
