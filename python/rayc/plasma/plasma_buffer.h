// The bytes of an object, as Python sees them.
//
// Of a get: one pin, for as long as the buffer or any view of it (memoryview, numpy array) lives.
// Of a create: room being written, writable until seal, which turns it into a pinned read-only one
// in the same step. Views that were taken before seal cannot be made read-only any more; nobody
// should write through them.
//
// Everything here is guarded by the GIL. Destructors never wait for the store.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "common/buffer.h"
#include "common/ids.h"
#include "plasma/client.h"

namespace rayc::plasma::python {

// Room in the arena that is being written. Shared by the client, until seal or abort, and by the
// buffer. Taken back when the last of them goes before seal, but never under a view: the memory
// would be the next object's.
class Creation {
 public:
  Creation(std::shared_ptr<Client> client, const ObjectId& id, WritableObject object)
      : client_(std::move(client)), id_(id), object_(object) {}
  ~Creation() { GiveBack(); }
  Creation(const Creation&) = delete;
  Creation& operator=(const Creation&) = delete;

  const WritableObject& object() const { return object_; }
  bool writable() const { return state_ == State::kWriting; }
  // Not aborted.
  bool readable() const { return state_ == State::kWriting || state_ == State::kSealed; }
  bool viewed() const { return views_ > 0; }
  // Sets, or raises, the exception that says why it cannot be read, or written.
  void SetUnusableError() const;
  [[noreturn]] void RaiseUnusable() const;

  void AddView() { ++views_; }
  void RemoveView() {
    if (--views_ == 0 && state_ == State::kDisconnected) {
      GiveBack();
    }
  }

  // `pin` is null if nobody has the buffer.
  void OnSealed(std::shared_ptr<Buffer> pin) {
    state_ = State::kSealed;
    pin_ = std::move(pin);
  }
  // The store has taken it back already. Not while it is viewed.
  void OnAborted() {
    state_ = State::kAborted;
    given_back_ = true;
  }
  void OnDisconnect() {
    state_ = State::kDisconnected;
    if (!viewed()) {
      GiveBack();
    }
  }

 private:
  enum class State : uint8_t { kWriting, kSealed, kAborted, kDisconnected };

  void GiveBack() {
    if (state_ != State::kSealed && !given_back_) {
      given_back_ = true;
      client_->AbortLater(id_);
    }
  }

  const std::shared_ptr<Client> client_;
  const ObjectId id_;
  const WritableObject object_;
  State state_ = State::kWriting;
  bool given_back_ = false;
  int views_ = 0;
  std::shared_ptr<Buffer> pin_;
};

class PlasmaBuffer {
 public:
  explicit PlasmaBuffer(std::shared_ptr<Buffer> pin) : pin_(std::move(pin)) {}
  explicit PlasmaBuffer(std::shared_ptr<Creation> creation) : creation_(std::move(creation)) {}

  const uint8_t* data() const { return creation_ ? creation_->object().data : pin_->data(); }
  size_t size() const { return creation_ ? creation_->object().size : pin_->size(); }
  bool writable() const { return creation_ && creation_->writable(); }
  Creation* creation() const { return creation_.get(); }

  // Copies the bytes of `source` to `offset`; large ones without the GIL.
  void Write(int64_t offset, const pybind11::handle& source);
  pybind11::bytes ToBytes() const;

 private:
  const std::shared_ptr<Buffer> pin_;
  const std::shared_ptr<Creation> creation_;
};

// Contiguous bytes of any object with the buffer protocol, in the order in which they lie.
class BytesOf {
 public:
  explicit BytesOf(const pybind11::handle& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_ANY_CONTIGUOUS) != 0) {
      throw pybind11::error_already_set();
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

void DefinePlasmaBuffer(const pybind11::module_& module);

}  // namespace rayc::plasma::python
