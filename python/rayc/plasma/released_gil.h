// The GIL given away for the time of a call; cheaper than pybind11's own, which also serves
// interpreters that are not the main one.
#pragma once

#include <Python.h>

#include <cstddef>

namespace rayc::plasma::python {

// A copy of fewer bytes costs less than the wait for the GIL that may follow it.
inline constexpr size_t kCopyWithGilBytes = 64U << 10;

class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ~ReleasedGil() { PyEval_RestoreThread(state_); }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* const state_;
};

template <typename Call>
auto WithoutGil(const Call& call) {
  const ReleasedGil released;
  return call();
}

}  // namespace rayc::plasma::python
