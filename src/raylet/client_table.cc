#include "raylet/client_table.h"

namespace rayc::raylet {

const ClientPtr& ClientTable::Add(const rpc::ChannelPtr& channel) {
  auto client = std::make_shared<Client>();
  client->id = next_id_++;
  client->channel = channel;
  channel->context = client;
  return clients_[client->id] = std::move(client);
}

void ClientTable::Remove(ClientId id) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) {
    return;
  }
  const auto named = by_worker_.find(it->second->worker_id);
  if (named != by_worker_.end() && named->second == it->second) {
    by_worker_.erase(named);
  }
  clients_.erase(it);
}

void ClientTable::Named(const ClientPtr& client) { by_worker_[client->worker_id] = client; }

ClientPtr ClientTable::Of(const rpc::ChannelPtr& channel) {
  return std::static_pointer_cast<Client>(channel->context);
}

ClientPtr ClientTable::Find(ClientId id) const {
  const auto it = clients_.find(id);
  return it == clients_.end() ? nullptr : it->second;
}

ClientPtr ClientTable::FindWorker(const WorkerId& worker) const {
  const auto it = by_worker_.find(worker);
  return it == by_worker_.end() ? nullptr : it->second;
}

ClientPtr ClientTable::FindDriver(const JobId& job) const {
  for (const auto& [id, client] : clients_) {
    if (client->kind == ClientKind::kDriver && client->job_id == job) {
      return client;
    }
  }
  return nullptr;
}

std::vector<ClientPtr> ClientTable::Drivers() const {
  std::vector<ClientPtr> drivers;
  for (const auto& [id, client] : clients_) {
    if (client->kind == ClientKind::kDriver) {
      drivers.push_back(client);
    }
  }
  return drivers;
}

std::vector<ClientPtr> ClientTable::Registered() const {
  std::vector<ClientPtr> registered;
  for (const auto& [id, client] : clients_) {
    if (client->kind != ClientKind::kOther) {
      registered.push_back(client);
    }
  }
  return registered;
}

}  // namespace rayc::raylet
