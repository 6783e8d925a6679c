// Status and Result<T>: how every fallible function below the Python layer reports failure.
// Values; no exceptions cross a layer. Status::code() maps to exactly one Python exception, in
// python/rayc/includes/status.pxi.
#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace rayc {

// The numbers travel in messages: append, never renumber.
enum class StatusCode : uint8_t {
  kOk = 0,
  kInvalidArgument = 1,    // the caller's mistake
  kNotFound = 2,           // no such object, actor, key
  kAlreadyExists = 3,      // duplicate actor name, object id
  kTimedOut = 4,           // a deadline passed
  kInterrupted = 5,        // a signal arrived while blocking
  kDisconnected = 6,       // the peer is gone
  kIOError = 7,            // the operating system said no
  kOutOfMemory = 8,        // the object store is full
  kOutOfDisk = 9,          // no space left under the session folder
  kOwnerDied = 10,         // the object's owner is gone
  kActorDied = 11,         // the actor is gone for good
  kActorUnavailable = 12,  // the actor is restarting or unreachable
  kWorkerCrashed = 13,     // the worker process ended in the middle
  kUnschedulable = 14,     // no node can ever satisfy the request
  kCancelled = 15,         // the task was cancelled
  kVersionMismatch = 16,   // the peer speaks another protocol version
  kUnauthenticated = 17,   // the peer did not prove who it is
  kNotImplemented = 18,
  kShutdown = 19,               // the runtime is going down
  kObjectLost = 20,             // every copy of the object is gone
  kRuntimeEnvSetup = 21,        // the worker's environment could not be made
  kInternal = 22,               // a bug in rayc
  kPlacementGroupRemoved = 23,  // what ran, or waited, in a placement group that was removed
  kCancelledByForce = 24,       // the task was cancelled, and the worker process with it
};

std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : state_(code == StatusCode::kOk
                   ? nullptr
                   : std::make_shared<const State>(State{code, std::move(message)})) {}

  static Status Ok() { return {}; }
  static Status InvalidArgument(std::string m) {
    return {StatusCode::kInvalidArgument, std::move(m)};
  }
  static Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
  static Status AlreadyExists(std::string m) { return {StatusCode::kAlreadyExists, std::move(m)}; }
  static Status TimedOut(std::string m) { return {StatusCode::kTimedOut, std::move(m)}; }
  static Status Interrupted(std::string m) { return {StatusCode::kInterrupted, std::move(m)}; }
  static Status Disconnected(std::string m) { return {StatusCode::kDisconnected, std::move(m)}; }
  static Status IOError(std::string m) { return {StatusCode::kIOError, std::move(m)}; }
  static Status OutOfMemory(std::string m) { return {StatusCode::kOutOfMemory, std::move(m)}; }
  static Status Internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }
  // "what: strerror(errno)".
  static Status FromErrno(std::string_view what, int error_number);

  bool ok() const { return state_ == nullptr; }
  StatusCode code() const { return state_ ? state_->code : StatusCode::kOk; }
  const std::string& message() const;
  std::string ToString() const;

 private:
  struct State {
    StatusCode code;
    std::string message;
  };
  // Immutable, hence shared by copies in any thread. Null when OK.
  std::shared_ptr<const State> state_;
};

std::ostream& operator<<(std::ostream& os, const Status& status);

template <typename T>
using Result = tl::expected<T, Status>;

inline tl::unexpected<Status> Err(Status status) {
  return tl::unexpected<Status>(std::move(status));
}

}  // namespace rayc

#define RAYC_RETURN_NOT_OK(expr)          \
  do {                                    \
    ::rayc::Status rayc_status_ = (expr); \
    if (!rayc_status_.ok()) {             \
      return rayc_status_;                \
    }                                     \
  } while (false)
