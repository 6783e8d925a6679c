#include "gcs/publisher.h"

namespace rayc::gcs {
namespace {

template <typename Map, typename Key, typename Value>
void EraseFrom(Map& map, const Key& key, const Value& value) {
  const auto it = map.find(key);
  if (it != map.end()) {
    it->second.erase(value);
    if (it->second.empty()) {
      map.erase(it);
    }
  }
}

}  // namespace

void Publisher::Subscribe(const ActorId& actor, const rpc::ChannelPtr& channel) {
  by_actor_[actor].insert(channel);
  by_channel_[channel].insert(actor);
}

void Publisher::Unsubscribe(const ActorId& actor, const rpc::ChannelPtr& channel) {
  EraseFrom(by_actor_, actor, channel);
  EraseFrom(by_channel_, channel, actor);
}

void Publisher::Drop(const rpc::ChannelPtr& channel) {
  const auto it = by_channel_.find(channel);
  if (it == by_channel_.end()) {
    return;
  }
  for (const ActorId& actor : it->second) {
    EraseFrom(by_actor_, actor, channel);
  }
  by_channel_.erase(it);
}

void Publisher::Publish(const ActorInfo& info) {
  const auto it = by_actor_.find(info.actor_id);
  if (it == by_actor_.end()) {
    return;
  }
  const auto update = rpc::Payload::Of(ToMessage(info, HandleState::kOmit));
  for (const rpc::ChannelPtr& channel : it->second) {
    channel->Notify(Method::kActorUpdate, update);
  }
  if (info.IsDead()) {
    for (const rpc::ChannelPtr& channel : it->second) {
      EraseFrom(by_channel_, channel, info.actor_id);
    }
    by_actor_.erase(it);
  }
}

size_t Publisher::subscriptions() const {
  size_t count = 0;
  for (const auto& [actor, channels] : by_actor_) {
    count += channels.size();
  }
  return count;
}

}  // namespace rayc::gcs
