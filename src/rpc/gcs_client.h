// Typed client of the GCS: the KV, jobs, nodes, actors, and subscriptions to actors. Used by
// CoreWorkers and raylets. Threads and lifetimes: client.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rpc/client.h"

namespace rayc::rpc {

class GcsClient {
 public:
  virtual ~GcsClient() = default;

  // The callback gets whether the key existed (its value is then kept unless `overwrite`).
  virtual void KvPut(std::string_view name_space, std::string_view key, std::string_view value,
                     bool overwrite, Callback<bool> callback) = 0;
  // wait_ms > 0: waits so long for the key to appear.
  virtual void KvGet(std::string_view name_space, std::string_view key, int32_t wait_ms,
                     Callback<std::optional<std::string>> callback) = 0;
  // The callback gets how many keys went.
  virtual void KvDel(std::string_view name_space, std::string_view key, bool by_prefix,
                     Callback<uint32_t> callback) = 0;
  virtual void KvKeys(std::string_view name_space, std::string_view prefix,
                      Callback<std::vector<std::string>> callback) = 0;

  virtual void AddJob(const fb::AddJobT& request, TableCallback<fb::AddJobReply> callback) = 0;
  virtual void GetJob(const JobId& job, TableCallback<fb::JobInfo> callback) = 0;

  virtual void RegisterNode(const fb::RegisterNodeT& request, StatusCallback callback) = 0;
  virtual void ReportResources(const NodeId& node, const ResourceSet& totals,
                               const ResourceSet& available) = 0;
  virtual void GetNodes(TableCallback<fb::GetNodesReply> callback) = 0;

  // Its arguments are there: it is created as soon as there is a worker. kAlreadyExists if the name
  // is taken; kActorDied if it was registered before and has died since.
  virtual void CreateActor(const TaskSpec& spec, std::string_view job_config,
                           StatusCallback callback) = 0;
  // Optional, before CreateActor, when arguments are still pending: takes the name, and lets others
  // find, follow and kill the actor. kAlreadyExists as above.
  virtual void RegisterActor(const TaskSpec& spec, StatusCallback callback) = 0;
  virtual void GetActor(const ActorId& actor, TableCallback<fb::ActorInfo> callback) = 0;
  virtual void GetNamedActor(std::string_view name, std::string_view name_space,
                             TableCallback<fb::ActorInfo> callback) = 0;
  virtual void ListActors(const fb::ListActorsT& request,
                          TableCallback<fb::ListActorsReply> callback) = 0;
  virtual void KillActor(const ActorId& actor, bool no_restart, StatusCallback callback) = 0;
  virtual void ActorOutOfScope(const ActorId& actor) = 0;
  virtual void ReportWorkerDeath(const fb::ReportWorkerDeathT& report) = 0;
  // The callback gets the current state; changes follow as kActorUpdate requests (ActorInfo) to the
  // channel's on_request, until the actor is dead, or UnsubscribeActor.
  virtual void SubscribeActor(const ActorId& actor, TableCallback<fb::ActorInfo> callback) = 0;
  virtual void UnsubscribeActor(const ActorId& actor) = 0;

  // Answered once it is created; kUnschedulable, kPlacementGroupRemoved, or at once
  // kInvalidArgument if its name is taken.
  virtual void CreatePlacementGroup(const fb::CreatePlacementGroupT& request,
                                    StatusCallback callback) = 0;
  virtual void WaitPlacementGroup(const PlacementGroupId& group, StatusCallback callback) = 0;
  virtual void RemovePlacementGroup(const PlacementGroupId& group) = 0;
  virtual void GetPlacementGroup(const fb::GetPlacementGroupT& request,
                                 TableCallback<fb::PlacementGroupInfo> callback) = 0;
  virtual void ListPlacementGroups(TableCallback<fb::ListPlacementGroupsReply> callback) = 0;

  virtual void Close() = 0;
};

class WireGcsClient final : public GcsClient, public WireClient {
 public:
  using WireClient::WireClient;

  void KvPut(std::string_view name_space, std::string_view key, std::string_view value,
             bool overwrite, Callback<bool> callback) override;
  void KvGet(std::string_view name_space, std::string_view key, int32_t wait_ms,
             Callback<std::optional<std::string>> callback) override;
  void KvDel(std::string_view name_space, std::string_view key, bool by_prefix,
             Callback<uint32_t> callback) override;
  void KvKeys(std::string_view name_space, std::string_view prefix,
              Callback<std::vector<std::string>> callback) override;
  void AddJob(const fb::AddJobT& request, TableCallback<fb::AddJobReply> callback) override;
  void GetJob(const JobId& job, TableCallback<fb::JobInfo> callback) override;
  void RegisterNode(const fb::RegisterNodeT& request, StatusCallback callback) override;
  void ReportResources(const NodeId& node, const ResourceSet& totals,
                       const ResourceSet& available) override;
  void GetNodes(TableCallback<fb::GetNodesReply> callback) override;
  void CreateActor(const TaskSpec& spec, std::string_view job_config,
                   StatusCallback callback) override;
  void RegisterActor(const TaskSpec& spec, StatusCallback callback) override;
  void GetActor(const ActorId& actor, TableCallback<fb::ActorInfo> callback) override;
  void GetNamedActor(std::string_view name, std::string_view name_space,
                     TableCallback<fb::ActorInfo> callback) override;
  void ListActors(const fb::ListActorsT& request,
                  TableCallback<fb::ListActorsReply> callback) override;
  void KillActor(const ActorId& actor, bool no_restart, StatusCallback callback) override;
  void ActorOutOfScope(const ActorId& actor) override;
  void ReportWorkerDeath(const fb::ReportWorkerDeathT& report) override;
  void SubscribeActor(const ActorId& actor, TableCallback<fb::ActorInfo> callback) override;
  void UnsubscribeActor(const ActorId& actor) override;
  void CreatePlacementGroup(const fb::CreatePlacementGroupT& request,
                            StatusCallback callback) override;
  void WaitPlacementGroup(const PlacementGroupId& group, StatusCallback callback) override;
  void RemovePlacementGroup(const PlacementGroupId& group) override;
  void GetPlacementGroup(const fb::GetPlacementGroupT& request,
                         TableCallback<fb::PlacementGroupInfo> callback) override;
  void ListPlacementGroups(TableCallback<fb::ListPlacementGroupsReply> callback) override;
  void Close() override { CloseChannel(); }
};

}  // namespace rayc::rpc
