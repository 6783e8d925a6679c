#include "gcs/client_pool.h"

#include <utility>

namespace rayc::gcs {

Result<rpc::ChannelPtr> WireClientPool::Connect(const std::string& socket) {
  rpc::ChannelOptions options;
  options.self_id = self_id_;
  options.self_component = "gcs";
  options.on_close = [this](const rpc::ChannelPtr& channel, const Status& /*why*/) {
    open_.erase(channel.get());
  };
  auto channel = rpc::Channel::Connect(loop_, socket, std::move(options));
  if (channel) {
    open_[channel->get()] = *channel;
  }
  return channel;
}

Result<std::shared_ptr<rpc::RayletClient>> WireClientPool::Raylet(const NodeRecord& node) {
  auto& client = raylets_[node.node_id];
  if (client == nullptr || client->channel()->closed()) {
    auto channel = Connect(node.raylet_socket);
    if (!channel) {
      raylets_.erase(node.node_id);
      return Err(channel.error());
    }
    client = std::make_shared<rpc::WireRayletClient>(std::move(*channel));
  }
  return client;
}

void WireClientPool::ForgetRaylet(const NodeId& node) {
  const auto it = raylets_.find(node);
  if (it != raylets_.end()) {
    it->second->Close();
    raylets_.erase(it);
  }
}

Result<std::shared_ptr<rpc::WorkerClient>> WireClientPool::Worker(const Address& address) {
  auto channel = Connect(address.socket);
  if (!channel) {
    return Err(channel.error());
  }
  return std::make_shared<rpc::WireWorkerClient>(std::move(*channel));
}

void WireClientPool::Shutdown() {
  raylets_.clear();
  const auto open = std::exchange(open_, {});
  for (const auto& [key, weak] : open) {
    if (const rpc::ChannelPtr channel = weak.lock()) {
      channel->Detach();
    }
  }
}

}  // namespace rayc::gcs
