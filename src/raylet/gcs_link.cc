#include "raylet/gcs_link.h"

#include <utility>

namespace rayc::raylet {

GcsLink::GcsLink(EventLoop& loop, NodeId node_id, std::function<void(const Status&)> on_lost)
    : loop_(loop), node_id_(node_id), on_lost_(std::move(on_lost)) {}

GcsLink::~GcsLink() { Detach(); }

Status GcsLink::Connect(const std::string& socket, const fb::RegisterNodeT& node) {
  rpc::ChannelOptions options;
  options.self_id = std::string(node_id_.Binary());
  options.self_component = "raylet";
  options.on_close = [this](const rpc::ChannelPtr& /*channel*/, const Status& why) { Lost(why); };
  auto channel = rpc::Channel::Connect(loop_, socket, std::move(options));
  if (!channel) {
    return channel.error();
  }
  client_ = std::make_unique<rpc::WireGcsClient>(*channel);
  client_->RegisterNode(node, [this](const Status& status) {
    if (!status.ok()) {
      Lost(status);
    }
  });
  return Status::Ok();
}

void GcsLink::Lost(const Status& why) {
  if (const auto on_lost = std::exchange(on_lost_, nullptr)) {
    on_lost(why);
  }
}

void GcsLink::ReportResourcesSoon(std::function<Resources()> resources) {
  if (report_timer_ != 0 || client_ == nullptr) {
    return;
  }
  report_timer_ = loop_.RunAfter(kReportEveryMs, [this, resources = std::move(resources)] {
    report_timer_ = 0;
    Resources now = resources();
    if (client_ != nullptr && reported_ != now) {
      client_->ReportResources(node_id_, now.totals, now.available);
      reported_ = std::move(now);
    }
  });
}

void GcsLink::WaitPlacementGroup(const PlacementGroupId& group, rpc::StatusCallback callback) {
  if (client_ != nullptr) {
    client_->WaitPlacementGroup(group, std::move(callback));
  }
}

void GcsLink::ReportWorkerDeath(const fb::ReportWorkerDeathT& report) {
  if (client_ != nullptr) {
    client_->ReportWorkerDeath(report);
  }
}

void GcsLink::Detach() {
  on_lost_ = nullptr;
  if (report_timer_ != 0) {
    loop_.CancelTimer(std::exchange(report_timer_, 0));
  }
  if (client_ != nullptr) {
    client_->channel()->Detach();
    client_.reset();
  }
}

}  // namespace rayc::raylet
