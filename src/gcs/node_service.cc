#include "gcs/node_service.h"

#include <memory>
#include <utility>

#include "protocol/gcs_generated.h"
#include "rpc/convert.h"

namespace rayc::gcs {
namespace {

NodeRecord FromMessage(const fb::RegisterNode& message) {
  NodeRecord node;
  node.node_id = NodeId::FromBytes(message.node_id());
  node.ip = rpc::FromString(message.ip());
  node.hostname = rpc::FromString(message.hostname());
  node.raylet_socket = rpc::FromString(message.raylet_socket());
  node.plasma_socket = rpc::FromString(message.plasma_socket());
  node.is_head = message.is_head();
  node.total = rpc::FromMessage(message.resources());
  return node;
}

std::unique_ptr<fb::NodeInfoT> ToMessage(const NodeRecord& node) {
  auto info = std::make_unique<fb::NodeInfoT>();
  info->node_id = rpc::IdBytes(node.node_id);
  info->ip = node.ip;
  info->hostname = node.hostname;
  info->raylet_socket = node.raylet_socket;
  info->plasma_socket = node.plasma_socket;
  info->is_alive = node.is_alive;
  info->is_head = node.is_head;
  info->resources = rpc::ToMessage(node.shown_total);
  info->available = rpc::ToMessage(node.available);
  info->death_reason = node.death_reason;
  return info;
}

}  // namespace

void AddNodeService(rpc::Server& server, NodeManager& nodes) {
  server.HandleTable<fb::RegisterNode>(
      Method::kRegisterNode, [&nodes](const rpc::ChannelPtr& channel,
                                      const fb::RegisterNode& request, rpc::Responder responder) {
        const Status status = nodes.Register(FromMessage(request), channel);
        if (status.ok()) {
          responder.Ok();
        } else {
          responder.Error(status);
        }
      });
  server.HandleTable<fb::ReportResources>(
      Method::kReportResources,
      [&nodes](const rpc::ChannelPtr& /*channel*/, const fb::ReportResources& report,
               const rpc::Responder& /*one way*/) {
        nodes.Report(NodeId::FromBytes(report.node_id()), rpc::FromMessage(report.totals()),
                     rpc::FromMessage(report.available()));
      });
  server.HandleTable<fb::GetNodes>(
      Method::kGetNodes, [&nodes](const rpc::ChannelPtr& /*channel*/,
                                  const fb::GetNodes& /*request*/, rpc::Responder responder) {
        fb::GetNodesReplyT reply;
        for (const NodeRecord* node : nodes.List()) {
          reply.nodes.push_back(ToMessage(*node));
        }
        responder.Reply(reply);
      });
}

}  // namespace rayc::gcs
