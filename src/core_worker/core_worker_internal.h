// Bodies of CoreWorker's templates and its private structs, for the .cc files of this folder only.
#pragma once

#include <utility>

#include "common/logging.h"
#include "core_worker/core_worker.h"
#include "core_worker/object_format.h"

namespace rayc::core_worker {

// An actor that this process created and owns.
struct CoreWorker::OwnActor {
  bool registered = false;  // the GCS knows it
  bool detached = false;
  bool out_of_scope = false;  // the last handle went before the GCS knew it
  bool restartable = false;
  TaskId creation;  // pending as long as the constructor may run (again)
  std::shared_ptr<Registration> registration;
};

template <typename T>
Result<T> CoreWorker::AwaitResult(const std::function<void(rpc::Callback<T>)>& call,
                                  int64_t timeout_ms) {
  const auto result = std::make_shared<Result<T>>(Err(Status::Internal("no answer")));
  const Status status = AwaitStatus(
      [&](const rpc::StatusCallback& callback) {
        call([result, callback](Result<T> answer) {
          *result = std::move(answer);
          callback(Status::Ok());
        });
      },
      timeout_ms);
  if (!status.ok()) {
    return Err(status);
  }
  return std::move(*result);
}

}  // namespace rayc::core_worker
