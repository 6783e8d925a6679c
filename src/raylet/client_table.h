// Who is connected to this raylet: each connection as a Client, which is also its channel's
// context. Owned by Node; loop thread only.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "raylet/lease_types.h"
#include "raylet/process_watch.h"
#include "rpc/channel.h"

namespace rayc::raylet {

enum class ClientKind : uint8_t {
  kOther,  // not registered: the GCS, tools
  kWorker,
  kDriver,
};

struct Client {
  ClientId id = 0;
  ClientKind kind = ClientKind::kOther;
  rpc::ChannelPtr channel;  // a circle through its context, which the channel's end breaks
  WorkerId worker_id;       // of workers and drivers
  JobId job_id;             // drivers
  pid_t pid = 0;            // of workers and drivers
  std::string socket;       // where it listens for its peers
  bool owns_cluster = false;
  ProcessWatch::WatchId watch = 0;  // drivers
};
using ClientPtr = std::shared_ptr<Client>;

class ClientTable {
 public:
  const ClientPtr& Add(const rpc::ChannelPtr& channel);
  void Remove(ClientId id);
  // Once it has registered: from now on it is found by its WorkerId.
  void Named(const ClientPtr& client);

  // Null if there is none.
  static ClientPtr Of(const rpc::ChannelPtr& channel);
  ClientPtr Find(ClientId id) const;
  ClientPtr FindWorker(const WorkerId& worker) const;
  ClientPtr FindDriver(const JobId& job) const;
  std::vector<ClientPtr> Drivers() const;
  std::vector<ClientPtr> Registered() const;  // drivers and workers

 private:
  std::unordered_map<ClientId, ClientPtr> clients_;
  std::unordered_map<WorkerId, ClientPtr> by_worker_;
  ClientId next_id_ = 1;
};

}  // namespace rayc::raylet
