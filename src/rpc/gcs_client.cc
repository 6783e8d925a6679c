#include "rpc/gcs_client.h"

namespace rayc::rpc {

void WireGcsClient::KvPut(std::string_view name_space, std::string_view key, std::string_view value,
                          bool overwrite, Callback<bool> callback) {
  fb::KvPutT request;
  request.name_space = name_space;
  request.key = ToBytes(key);
  request.value = ToBytes(value);
  request.overwrite = overwrite;
  CallValue<fb::KvPutReply, bool>(
      Method::kKvPut, request, [](const fb::KvPutReply& reply) { return reply.existed(); },
      std::move(callback));
}

void WireGcsClient::KvGet(std::string_view name_space, std::string_view key, int32_t wait_ms,
                          Callback<std::optional<std::string>> callback) {
  fb::KvGetT request;
  request.name_space = name_space;
  request.key = ToBytes(key);
  request.wait_ms = wait_ms;
  CallValue<fb::KvGetReply, std::optional<std::string>>(
      Method::kKvGet, request,
      [](const fb::KvGetReply& reply) -> std::optional<std::string> {
        if (!reply.found()) {
          return std::nullopt;
        }
        return std::string(BytesView(reply.value()));
      },
      std::move(callback));
}

void WireGcsClient::KvDel(std::string_view name_space, std::string_view key, bool by_prefix,
                          Callback<uint32_t> callback) {
  fb::KvDelT request;
  request.name_space = name_space;
  request.key = ToBytes(key);
  request.by_prefix = by_prefix;
  CallValue<fb::KvDelReply, uint32_t>(
      Method::kKvDel, request, [](const fb::KvDelReply& reply) { return reply.count(); },
      std::move(callback));
}

void WireGcsClient::KvKeys(std::string_view name_space, std::string_view prefix,
                           Callback<std::vector<std::string>> callback) {
  fb::KvKeysT request;
  request.name_space = name_space;
  request.prefix = ToBytes(prefix);
  CallValue<fb::KvKeysReply, std::vector<std::string>>(
      Method::kKvKeys, request,
      [](const fb::KvKeysReply& reply) {
        std::vector<std::string> keys;
        if (reply.keys() != nullptr) {
          keys.reserve(reply.keys()->size());
          for (const fb::KvBytes* key : *reply.keys()) {
            keys.emplace_back(BytesView(key->value()));
          }
        }
        return keys;
      },
      std::move(callback));
}

void WireGcsClient::AddJob(const fb::AddJobT& request, TableCallback<fb::AddJobReply> callback) {
  channel_->Call<fb::AddJobReply>(Method::kAddJob, request, std::move(callback));
}

void WireGcsClient::GetJob(const JobId& job, TableCallback<fb::JobInfo> callback) {
  fb::GetJobT request;
  request.job_id = IdBytes(job);
  channel_->Call<fb::JobInfo>(Method::kGetJob, request, std::move(callback));
}

void WireGcsClient::RegisterNode(const fb::RegisterNodeT& request, StatusCallback callback) {
  CallStatus(Method::kRegisterNode, request, std::move(callback));
}

void WireGcsClient::ReportResources(const NodeId& node, const ResourceSet& totals,
                                    const ResourceSet& available) {
  fb::ReportResourcesT report;
  report.node_id = IdBytes(node);
  report.available = ToMessage(available);
  report.totals = ToMessage(totals);
  channel_->NotifyTable(Method::kReportResources, report);
}

void WireGcsClient::GetNodes(TableCallback<fb::GetNodesReply> callback) {
  channel_->Call<fb::GetNodesReply>(Method::kGetNodes, fb::GetNodesT(), std::move(callback));
}

void WireGcsClient::CreateActor(const TaskSpec& spec, std::string_view job_config,
                                StatusCallback callback) {
  fb::CreateActorT request;
  request.spec = ToMessage(spec);
  request.job_config = ToBytes(job_config);
  CallStatus(Method::kCreateActor, request, std::move(callback));
}

void WireGcsClient::RegisterActor(const TaskSpec& spec, StatusCallback callback) {
  fb::CreateActorT request;
  request.spec = ToMessage(spec);
  request.dependencies_pending = true;
  CallStatus(Method::kCreateActor, request, std::move(callback));
}

void WireGcsClient::GetActor(const ActorId& actor, TableCallback<fb::ActorInfo> callback) {
  fb::GetActorT request;
  request.actor_id = IdBytes(actor);
  channel_->Call<fb::ActorInfo>(Method::kGetActor, request, std::move(callback));
}

void WireGcsClient::GetNamedActor(std::string_view name, std::string_view name_space,
                                  TableCallback<fb::ActorInfo> callback) {
  fb::GetNamedActorT request;
  request.name = name;
  request.name_space = name_space;
  channel_->Call<fb::ActorInfo>(Method::kGetNamedActor, request, std::move(callback));
}

void WireGcsClient::ListActors(const fb::ListActorsT& request,
                               TableCallback<fb::ListActorsReply> callback) {
  channel_->Call<fb::ListActorsReply>(Method::kListActors, request, std::move(callback));
}

void WireGcsClient::KillActor(const ActorId& actor, bool no_restart, StatusCallback callback) {
  fb::KillActorRequestT request;
  request.actor_id = IdBytes(actor);
  request.no_restart = no_restart;
  CallStatus(Method::kKillActorRequest, request, std::move(callback));
}

void WireGcsClient::ActorOutOfScope(const ActorId& actor) {
  fb::ActorOutOfScopeT message;
  message.actor_id = IdBytes(actor);
  channel_->NotifyTable(Method::kActorOutOfScope, message);
}

void WireGcsClient::ReportWorkerDeath(const fb::ReportWorkerDeathT& report) {
  channel_->NotifyTable(Method::kReportWorkerDeath, report);
}

void WireGcsClient::SubscribeActor(const ActorId& actor, TableCallback<fb::ActorInfo> callback) {
  fb::SubscribeActorT request;
  request.actor_id = IdBytes(actor);
  channel_->Call<fb::ActorInfo>(Method::kSubscribeActor, request, std::move(callback));
}

void WireGcsClient::UnsubscribeActor(const ActorId& actor) {
  fb::UnsubscribeActorT message;
  message.actor_id = IdBytes(actor);
  channel_->NotifyTable(Method::kUnsubscribeActor, message);
}

void WireGcsClient::CreatePlacementGroup(const fb::CreatePlacementGroupT& request,
                                         StatusCallback callback) {
  CallStatus(Method::kCreatePlacementGroup, request, std::move(callback));
}

void WireGcsClient::WaitPlacementGroup(const PlacementGroupId& group, StatusCallback callback) {
  fb::WaitPlacementGroupT request;
  request.group_id = IdBytes(group);
  CallStatus(Method::kWaitPlacementGroup, request, std::move(callback));
}

void WireGcsClient::RemovePlacementGroup(const PlacementGroupId& group) {
  fb::RemovePlacementGroupT message;
  message.group_id = IdBytes(group);
  channel_->NotifyTable(Method::kRemovePlacementGroup, message);
}

void WireGcsClient::GetPlacementGroup(const fb::GetPlacementGroupT& request,
                                      TableCallback<fb::PlacementGroupInfo> callback) {
  channel_->Call<fb::PlacementGroupInfo>(Method::kGetPlacementGroup, request, std::move(callback));
}

void WireGcsClient::ListPlacementGroups(TableCallback<fb::ListPlacementGroupsReply> callback) {
  channel_->Call<fb::ListPlacementGroupsReply>(Method::kListPlacementGroups,
                                               fb::ListPlacementGroupsT(), std::move(callback));
}

}  // namespace rayc::rpc
