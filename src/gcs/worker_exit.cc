#include "gcs/worker_exit.h"

#include "rpc/convert.h"

namespace rayc::gcs {

std::string WorkerExit::Describe() const {
  std::string text = detail.empty() ? "how it ended is not known" : detail;
  if (pid > 0) {
    text += " (pid " + std::to_string(pid) + ")";
  }
  if (!stderr_tail.empty()) {
    text += "\nThe last lines that it wrote to stderr:\n" + stderr_tail;
  }
  return text;
}

WorkerExit FromMessage(const fb::WorkerDeath& message) {
  WorkerExit exit;
  exit.worker_id = WorkerId::FromBytes(message.worker_id());
  exit.pid = message.pid();
  exit.intended = message.intended();
  exit.group_removed = message.placement_group_removed();
  exit.detail = rpc::FromString(message.detail());
  exit.stderr_tail = rpc::FromString(message.stderr_tail());
  return exit;
}

}  // namespace rayc::gcs
