#include "gcs/placement_group_service.h"

#include <memory>
#include <utility>

#include "protocol/gcs_generated.h"
#include "rpc/convert.h"

namespace rayc::gcs {
namespace {

// The answer may come later, from a function that must be copyable.
PlacementGroupManager::Callback AnswerWith(rpc::Responder responder) {
  auto later = std::make_shared<rpc::Responder>(std::move(responder));
  return [later](const Status& status) {
    if (status.ok()) {
      later->Ok();
    } else {
      later->Error(status);
    }
  };
}

void HandleCreate(PlacementGroupManager& groups, const fb::CreatePlacementGroup& request,
                  rpc::Responder responder) {
  PlacementGroupRecord group;
  group.id = PlacementGroupId::FromBytes(request.group_id());
  group.name = rpc::FromString(request.name());
  group.name_space = rpc::FromString(request.name_space());
  group.strategy = request.strategy();
  if (group.strategy > fb::PlacementStrategy::kStrictSpread) {
    responder.Error(Status::InvalidArgument("there is no such placement strategy"));
    return;
  }
  if (request.bundles() != nullptr) {
    for (const fb::Bundle* bundle : *request.bundles()) {
      group.bundles.push_back(rpc::FromMessage(bundle->resources()));
    }
  }
  group.job_id = JobId::FromBytes(request.job_id());
  group.creator_actor = ActorId::FromBytes(request.creator_actor());
  group.is_detached = request.is_detached();
  group.soft_target = NodeId::FromBytes(request.soft_target_node());
  groups.Create(std::move(group), AnswerWith(std::move(responder)));
}

std::unique_ptr<fb::PlacementGroupInfoT> ToMessage(const PlacementGroupRecord& group) {
  auto info = std::make_unique<fb::PlacementGroupInfoT>();
  info->group_id = rpc::IdBytes(group.id);
  info->name = group.name;
  info->name_space = group.name_space;
  info->strategy = group.strategy;
  for (uint32_t i = 0; i < group.bundles.size(); ++i) {
    auto bundle = std::make_unique<fb::BundleT>();
    bundle->index = i;
    bundle->resources = rpc::ToMessage(group.bundles[i]);
    info->bundles.push_back(std::move(bundle));
    auto node = std::make_unique<fb::NodeOfBundleT>();
    if (!group.nodes[i].IsNil()) {
      node->node_id = rpc::IdBytes(group.nodes[i]);
    }
    info->nodes.push_back(std::move(node));
  }
  info->state = group.state;
  info->job_id = rpc::IdBytes(group.job_id);
  info->is_detached = group.is_detached;
  info->failure = group.failure;
  info->created_after_us = group.created_after_us;
  info->attempts = group.attempts;
  return info;
}

}  // namespace

void AddPlacementGroupService(rpc::Server& server, PlacementGroupManager& groups) {
  using rpc::ChannelPtr;
  using rpc::Responder;
  server.HandleTable<fb::CreatePlacementGroup>(
      Method::kCreatePlacementGroup,
      [&groups](const ChannelPtr& /*channel*/, const fb::CreatePlacementGroup& request,
                Responder responder) { HandleCreate(groups, request, std::move(responder)); });
  server.HandleTable<fb::WaitPlacementGroup>(
      Method::kWaitPlacementGroup,
      [&groups](const ChannelPtr& /*channel*/, const fb::WaitPlacementGroup& request,
                Responder responder) {
        groups.Wait(PlacementGroupId::FromBytes(request.group_id()),
                    AnswerWith(std::move(responder)));
      });
  server.HandleTable<fb::RemovePlacementGroup>(
      Method::kRemovePlacementGroup,
      [&groups](const ChannelPtr& /*channel*/, const fb::RemovePlacementGroup& message,
                const Responder& /*one way*/) {
        groups.Remove(PlacementGroupId::FromBytes(message.group_id()));
      });
  server.HandleTable<fb::GetPlacementGroup>(
      Method::kGetPlacementGroup,
      [&groups](const ChannelPtr& /*channel*/, const fb::GetPlacementGroup& request,
                Responder responder) {
        const auto id = PlacementGroupId::FromBytes(request.group_id());
        const std::string name = rpc::FromString(request.name());
        const PlacementGroupRecord* group =
            id.IsNil() ? groups.FindNamed(name, rpc::FromString(request.name_space()))
                       : groups.Find(id);
        if (group == nullptr) {
          responder.Error(Status::NotFound("there is no placement group " +
                                           (id.IsNil() ? "named '" + name + "'" : id.Hex())));
          return;
        }
        responder.Reply(*ToMessage(*group));
      });
  server.HandleTable<fb::ListPlacementGroups>(
      Method::kListPlacementGroups,
      [&groups](const ChannelPtr& /*channel*/, const fb::ListPlacementGroups& /*request*/,
                Responder responder) {
        fb::ListPlacementGroupsReplyT reply;
        for (const PlacementGroupRecord* group : groups.List()) {
          reply.groups.push_back(ToMessage(*group));
        }
        responder.Reply(reply);
      });
}

}  // namespace rayc::gcs
