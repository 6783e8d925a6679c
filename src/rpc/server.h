// Listens on a Unix socket, lets in processes of our user only, and gives each connection's
// requests to a table of handlers. Loop thread only, after Listen.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "rpc/channel.h"

namespace rayc::rpc {

class Server {
 public:
  using Handler =
      std::function<void(const ChannelPtr& channel, Message message, Responder responder)>;

  Server(EventLoop& loop, std::string self_id, std::string self_component);
  ~Server();

  // All before Listen.
  void Handle(Method method, Handler handler);
  // Verifies that the message is a Table; a malformed one is answered with kInvalidArgument.
  template <typename Table>
  void HandleTable(Method method,
                   std::function<void(const ChannelPtr&, const Table&, Responder)> handler) {
    Handle(method, [handler = std::move(handler)](const ChannelPtr& channel, Message message,
                                                  Responder responder) {
      const auto* table = message.As<Table>();
      if (table == nullptr) {
        responder.Error(Status::InvalidArgument("malformed message"));
        channel->Close(Status::IOError("malformed message"));
        return;
      }
      handler(channel, *table, std::move(responder));
    });
  }
  void OnConnect(std::function<void(const ChannelPtr&)> callback) {
    on_connect_ = std::move(callback);
  }
  void OnDisconnect(CloseCallback callback) { on_disconnect_ = std::move(callback); }

  // Before Listen: through rings, with clients that do so, too (rpc/channel.h).
  void ShareMemory() { shares_memory_ = true; }

  Status Listen(const std::string& path);
  // Dispatches a request that arrived on another channel of this process (one that it opened).
  void Dispatch(const ChannelPtr& channel, Method method, Message message, Responder responder);
  const std::string& path() const { return path_; }
  bool HasUnsent() const;  // see Channel::HasUnsent
  // Stops listening and closes every connection.
  void Shutdown();

 private:
  void OnAcceptable();

  EventLoop& loop_;
  const std::string self_id_;
  const std::string self_component_;
  bool shares_memory_ = false;
  std::string path_;
  UniqueFd listener_;
  EventLoop::TimerId accept_timer_ = 0;  // 0: none; see OnAcceptable
  std::unordered_map<uint16_t, Handler> handlers_;
  std::function<void(const ChannelPtr&)> on_connect_;
  CloseCallback on_disconnect_;
  std::unordered_set<ChannelPtr> channels_;
};

}  // namespace rayc::rpc
