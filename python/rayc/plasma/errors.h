// How a Status becomes a Python exception. The classes are made when the module is loaded, and live
// as long as the process.
#pragma once

#include <pybind11/pybind11.h>

#include "common/status.h"

namespace rayc::plasma::python {

void DefineExceptions(const pybind11::module_& module);

// Sets the exception that stands for the status, which is not OK.
void SetError(const Status& status);
// Raises it.
[[noreturn]] void Raise(const Status& status);

inline void RaiseUnlessOk(const Status& status) {
  if (!status.ok()) {
    Raise(status);
  }
}

// The value, or the exception that stands for its error.
template <typename T>
T ValueOf(Result<T> result) {
  if (!result) {
    Raise(result.error());
  }
  return *std::move(result);
}

// Runs the handlers of signals that have arrived; raises what they raise.
void CheckSignals();

}  // namespace rayc::plasma::python
