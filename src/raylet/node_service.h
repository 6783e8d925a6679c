// The handlers of a raylet's requests (methods 100 to 114): unpack, check who asks, call the node,
// reply. No state of its own but the way to end the node. Owned by Raylet; loop thread only.
#pragma once

#include <functional>

#include "protocol/raylet_generated.h"
#include "raylet/node.h"
#include "rpc/server.h"

namespace rayc::raylet {

class NodeService {
 public:
  // on_shutdown: a client asks for the end of the node, and waits for it with the responder.
  using ShutdownHandler = std::function<void(rpc::Responder)>;

  NodeService(Node& node, ShutdownHandler on_shutdown);
  // Before the server listens.
  void RegisterWith(rpc::Server& server);

 private:
  void RegisterClient(const rpc::ChannelPtr& channel, const fb::RegisterClient& request,
                      rpc::Responder responder);
  void RequestLease(const rpc::ChannelPtr& channel, const fb::RequestLease& request,
                    rpc::Responder responder);
  void CancelLease(const rpc::ChannelPtr& channel, const fb::CancelLease& request);
  void ReturnLease(const rpc::ChannelPtr& channel, const fb::ReturnLease& request);
  void SetBlocked(const rpc::ChannelPtr& channel, bool blocked);
  void FlushLogs(const rpc::ChannelPtr& channel, rpc::Responder responder);
  void GetWorkerDeath(const fb::GetWorkerDeath& request, rpc::Responder responder);
  void AnnounceExit(const rpc::ChannelPtr& channel, const fb::AnnounceExit& request);
  void KillWorker(const rpc::ChannelPtr& channel, const fb::KillWorker& request);
  void PrepareBundles(const rpc::ChannelPtr& channel, const fb::PrepareBundles& request,
                      rpc::Responder responder);
  void CommitBundles(const rpc::ChannelPtr& channel, const fb::CommitBundles& request);
  void ReturnBundles(const rpc::ChannelPtr& channel, const fb::ReturnBundles& request);
  void ShutdownNode(const rpc::ChannelPtr& channel, rpc::Responder responder);
  void ListClients(rpc::Responder responder) const;

  Node& node_;
  const ShutdownHandler on_shutdown_;
};

}  // namespace rayc::raylet
