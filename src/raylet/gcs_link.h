// What this raylet tells the GCS: that its node is there, what it has free, who died. Owned by
// Raylet; loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/event_loop.h"
#include "common/ids.h"
#include "common/resources.h"
#include "common/status.h"
#include "protocol/gcs_generated.h"
#include "rpc/gcs_client.h"

namespace rayc::raylet {

class GcsLink {
 public:
  // on_lost: the connection ended, or the GCS refused this node. Runs once.
  GcsLink(EventLoop& loop, NodeId node_id, std::function<void(const Status&)> on_lost);
  ~GcsLink();

  Status Connect(const std::string& socket, const fb::RegisterNodeT& node);
  struct Resources {
    ResourceSet totals;
    ResourceSet available;
    friend bool operator==(const Resources& a, const Resources& b) = default;
  };
  // `resources` are read when the report is sent: at most every kReportEveryMs.
  void ReportResourcesSoon(std::function<Resources()> resources);
  // The callback gets OK once the group is created, or why it never will be.
  void WaitPlacementGroup(const PlacementGroupId& group, rpc::StatusCallback callback);
  void ReportWorkerDeath(const fb::ReportWorkerDeathT& report);
  // No report and no event from now on.
  void Detach();

 private:
  static constexpr int64_t kReportEveryMs = 20;

  void Lost(const Status& why);

  EventLoop& loop_;
  const NodeId node_id_;
  std::function<void(const Status&)> on_lost_;
  std::unique_ptr<rpc::WireGcsClient> client_;
  EventLoop::TimerId report_timer_ = 0;  // 0: none runs
  std::optional<Resources> reported_;
};

}  // namespace rayc::raylet
