// The connections that the GCS opens: one to each raylet, kept; one to a worker for each creation
// of an actor, closed by its user. Behind an interface, so that the actor scheduler can be tested
// without sockets. Owned by the GcsServer; loop thread only.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "gcs/node_manager.h"
#include "rpc/raylet_client.h"
#include "rpc/worker_client.h"

namespace rayc::gcs {

class ClientPool {
 public:
  virtual ~ClientPool() = default;
  virtual Result<std::shared_ptr<rpc::RayletClient>> Raylet(const NodeRecord& node) = 0;
  virtual void ForgetRaylet(const NodeId& node) = 0;
  virtual Result<std::shared_ptr<rpc::WorkerClient>> Worker(const Address& address) = 0;
};

class WireClientPool final : public ClientPool {
 public:
  WireClientPool(EventLoop& loop, std::string self_id)
      : loop_(loop), self_id_(std::move(self_id)) {}
  ~WireClientPool() override { Shutdown(); }
  WireClientPool(const WireClientPool&) = delete;
  WireClientPool& operator=(const WireClientPool&) = delete;

  Result<std::shared_ptr<rpc::RayletClient>> Raylet(const NodeRecord& node) override;
  void ForgetRaylet(const NodeId& node) override;
  Result<std::shared_ptr<rpc::WorkerClient>> Worker(const Address& address) override;
  // Closes all at once: what waits for a reply gets kDisconnected now.
  void Shutdown();

 private:
  Result<rpc::ChannelPtr> Connect(const std::string& socket);

  EventLoop& loop_;
  const std::string self_id_;
  std::unordered_map<NodeId, std::shared_ptr<rpc::WireRayletClient>> raylets_;
  // Every open connection; some belong to nobody any more and end when their peer does.
  std::unordered_map<const rpc::Channel*, std::weak_ptr<rpc::Channel>> open_;
};

}  // namespace rayc::gcs
