// Tells subscribers of each change of an actor, over the connection on which they asked. Owned by
// the GcsServer; loop thread only.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "gcs/actor_info.h"
#include "rpc/channel.h"

namespace rayc::gcs {

class ActorPublisher {
 public:
  virtual ~ActorPublisher() = default;
  virtual void Publish(const ActorInfo& info) = 0;
};

class Publisher final : public ActorPublisher {
 public:
  void Subscribe(const ActorId& actor, const rpc::ChannelPtr& channel);
  void Unsubscribe(const ActorId& actor, const rpc::ChannelPtr& channel);
  void Drop(const rpc::ChannelPtr& channel);  // its connection has closed
  // A dead actor changes no more: its subscriptions end with this.
  void Publish(const ActorInfo& info) override;

  size_t subscriptions() const;

 private:
  std::unordered_map<ActorId, std::unordered_set<rpc::ChannelPtr>> by_actor_;    // no empty ones
  std::unordered_map<rpc::ChannelPtr, std::unordered_set<ActorId>> by_channel_;  // the same, turned
};

}  // namespace rayc::gcs
