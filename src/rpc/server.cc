#include "rpc/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/logging.h"
#include "common/unix_socket.h"

namespace rayc::rpc {
namespace {

constexpr int64_t kAcceptRetryMs = 100;

}  // namespace

Server::Server(EventLoop& loop, std::string self_id, std::string self_component)
    : loop_(loop), self_id_(std::move(self_id)), self_component_(std::move(self_component)) {}

Server::~Server() { Shutdown(); }

void Server::Handle(Method method, Handler handler) {
  const bool added = handlers_.emplace(static_cast<uint16_t>(method), std::move(handler)).second;
  RAYC_CHECK(added) << "two handlers for method " << static_cast<int>(method);
}

Status Server::Listen(const std::string& path) {
  auto listener = ListenUnix(path);
  if (!listener) {
    return listener.error();
  }
  listener_ = std::move(*listener);
  path_ = path;
  loop_.AddFd(listener_.get(), EPOLLIN, [this](uint32_t /*events*/) { OnAcceptable(); });
  return Status::Ok();
}

void Server::OnAcceptable() {
  while (true) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) {
        continue;
      }
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        RAYC_LOG(kError) << "cannot accept on " << path_ << ": "
                         << Status::FromErrno("accept", errno);
        // Out of descriptors: stop asking until some are free again.
        loop_.ModifyFd(listener_.get(), 0);
        accept_timer_ = loop_.RunAfter(kAcceptRetryMs, [this] {
          accept_timer_ = 0;
          loop_.ModifyFd(listener_.get(), EPOLLIN);
        });
      }
      return;
    }
    const auto credentials = GetPeerCredentials(fd.get());
    if (!credentials || credentials->uid != geteuid()) {
      RAYC_LOG(kWarning) << "refused a connection of another user on " << path_;
      continue;
    }
    ChannelOptions options;
    options.self_id = self_id_;
    options.self_component = self_component_;
    options.shares_memory = shares_memory_;
    options.on_request = [this](const ChannelPtr& channel, Method method, Message message,
                                Responder responder) {
      Dispatch(channel, method, message, std::move(responder));
    };
    options.on_close = [this](const ChannelPtr& channel, const Status& why) {
      channels_.erase(channel);
      if (const CloseCallback on_disconnect = on_disconnect_) {
        on_disconnect(channel, why);  // may call Shutdown, which drops on_disconnect_
      }
    };
    channels_.insert(Channel::Accept(loop_, std::move(fd), std::move(options),
                                     [this](const ChannelPtr& channel) {
                                       if (on_connect_) {
                                         on_connect_(channel);
                                       }
                                     }));
  }
}

void Server::Dispatch(const ChannelPtr& channel, Method method, Message message,
                      Responder responder) {
  const auto it = handlers_.find(static_cast<uint16_t>(method));
  if (it == handlers_.end()) {
    responder.Error(
        Status(StatusCode::kNotImplemented,
               self_component_ + " has no method " + std::to_string(static_cast<int>(method))));
    return;
  }
  it->second(channel, message, std::move(responder));
}

bool Server::HasUnsent() const {
  return std::any_of(channels_.begin(), channels_.end(),
                     [](const ChannelPtr& channel) { return channel->HasUnsent(); });
}

void Server::Shutdown() {
  if (accept_timer_ != 0) {
    loop_.CancelTimer(std::exchange(accept_timer_, 0));
  }
  if (listener_.valid()) {
    loop_.RemoveFd(listener_.get());
    listener_.Reset();
    ::unlink(path_.c_str());
  }
  on_disconnect_ = nullptr;
  on_connect_ = nullptr;
  const auto channels = std::exchange(channels_, {});
  for (const ChannelPtr& channel : channels) {
    channel->Detach();
  }
}

}  // namespace rayc::rpc
