#include "common/status.h"

#include <cstring>

namespace rayc {

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "OK";
    case StatusCode::kInvalidArgument:
      return "InvalidArgument";
    case StatusCode::kNotFound:
      return "NotFound";
    case StatusCode::kAlreadyExists:
      return "AlreadyExists";
    case StatusCode::kTimedOut:
      return "TimedOut";
    case StatusCode::kInterrupted:
      return "Interrupted";
    case StatusCode::kDisconnected:
      return "Disconnected";
    case StatusCode::kIOError:
      return "IOError";
    case StatusCode::kOutOfMemory:
      return "OutOfMemory";
    case StatusCode::kOutOfDisk:
      return "OutOfDisk";
    case StatusCode::kOwnerDied:
      return "OwnerDied";
    case StatusCode::kActorDied:
      return "ActorDied";
    case StatusCode::kActorUnavailable:
      return "ActorUnavailable";
    case StatusCode::kWorkerCrashed:
      return "WorkerCrashed";
    case StatusCode::kUnschedulable:
      return "Unschedulable";
    case StatusCode::kCancelled:
      return "Cancelled";
    case StatusCode::kVersionMismatch:
      return "VersionMismatch";
    case StatusCode::kUnauthenticated:
      return "Unauthenticated";
    case StatusCode::kNotImplemented:
      return "NotImplemented";
    case StatusCode::kShutdown:
      return "Shutdown";
    case StatusCode::kObjectLost:
      return "ObjectLost";
    case StatusCode::kRuntimeEnvSetup:
      return "RuntimeEnvSetup";
    case StatusCode::kInternal:
      return "Internal";
    case StatusCode::kPlacementGroupRemoved:
      return "PlacementGroupRemoved";
    case StatusCode::kCancelledByForce:
      return "CancelledByForce";
  }
  return "Unknown";
}

const std::string& Status::message() const {
  static const std::string empty;
  return state_ ? state_->message : empty;
}

std::string Status::ToString() const {
  std::string text(StatusCodeName(code()));
  if (state_ && !state_->message.empty()) {
    text += ": " + state_->message;
  }
  return text;
}

Status Status::FromErrno(std::string_view what, int error_number) {
  const StatusCode code = (error_number == ENOSPC || error_number == EDQUOT)
                              ? StatusCode::kOutOfDisk
                              : StatusCode::kIOError;
  return {code, std::string(what) + ": " + std::strerror(error_number)};
}

std::ostream& operator<<(std::ostream& os, const Status& status) { return os << status.ToString(); }

}  // namespace rayc
