// The raylet of one node: the composition root. Builds the parts, joins them, and takes them down
// in order. One event loop, one thread.
//
//   running -> stopping (workers have SIGTERM, at most kWorkersStopMs) -> stopped (nothing is left)
//
// What ends it: the driver that owns the cluster (asks for it, or is gone), SIGTERM or SIGINT, the
// end of the zygote or of the connection to the GCS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/event_loop.h"
#include "common/ids.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "raylet/config.h"
#include "raylet/gcs_link.h"
#include "raylet/node.h"
#include "raylet/node_service.h"
#include "raylet/process_watch.h"
#include "raylet/session_folder.h"
#include "raylet/zygote_process.h"
#include "rpc/server.h"

namespace rayc::gcs {
class GcsServer;
}
namespace rayc::plasma {
class Store;
}

namespace rayc::raylet {

class Raylet {
 public:
  // `signal_fd`: a signalfd for SIGTERM, SIGINT and SIGCHLD, which are blocked.
  Raylet(EventLoop& loop, const RayletConfig& config, UniqueFd signal_fd);
  ~Raylet();

  // Listens on every socket of the node. The zygote starts meanwhile.
  Status Start();
  // Takes down whatever there is; the session's folder too if it is a private cluster's.
  void TearDown();

 private:
  NodeEvents MakeNodeEvents();
  ZygoteEvents MakeZygoteEvents();
  Status StartZygote();
  Status ConnectGcs();
  void OnSignal();
  void ReapChildren();
  void BeginStop(const std::string& reason, bool tell_drivers);
  void FinishStop();

  EventLoop& loop_;
  const RayletConfig& config_;
  const NodeId node_id_;
  const SteadyClock clock_;
  UniqueFd signal_fd_;
  SessionFolder folder_;
  ProcessWatch processes_;
  std::unique_ptr<plasma::Store> store_;
  std::unique_ptr<gcs::GcsServer> gcs_;  // null unless hosted
  GcsLink gcs_link_;
  ZygoteProcess zygote_;
  Node node_;
  NodeService service_;
  rpc::Server server_;
  std::vector<rpc::Responder> shutdown_waiters_;  // drivers that wait for the end
  bool stopping_ = false;
  bool stopped_ = false;
};

// Everything that main() does once it knows the configuration. The process's exit code.
int RunRaylet(const RayletConfig& config);

}  // namespace rayc::raylet
