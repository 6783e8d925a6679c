// The GCS: cluster state behind one Unix socket. Composition root of this folder. Hosted by the
// head raylet, on its loop, or by the program gcs_server. Made, started and shut down on the loop's
// thread or before it runs; never blocks.
#pragma once

#include <memory>
#include <string>

#include "common/event_loop.h"
#include "common/status.h"

namespace rayc::gcs {

struct GcsServerOptions {
  std::string socket_path;
  std::string session_dir;   // told to drivers
  std::string session_name;  // likewise
  // No node can join after the first: what no node can hold fails at once.
  bool fail_infeasible = false;
};

class GcsServer {
 public:
  // `loop` must outlive this.
  GcsServer(EventLoop& loop, GcsServerOptions options);
  ~GcsServer();
  GcsServer(const GcsServer&) = delete;
  GcsServer& operator=(const GcsServer&) = delete;

  Status Start();
  // Closes every connection; idempotent. Actors are not killed: their raylets end with the cluster.
  void Shutdown();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace rayc::gcs
