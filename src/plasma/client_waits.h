// How a client waits for objects that are not there yet: each waiting thread has a second,
// wait_only connection to itself, so that it keeps nobody from the first one, and a signal ends its
// wait by ending that connection. Connections are opened when needed and a few are kept. Any
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "common/thread_annotations.h"
#include "plasma/client_socket.h"

namespace rayc::plasma {

class ClientWaits {
 public:
  explicit ClientWaits(std::string socket_path) : socket_path_(std::move(socket_path)) {}

  // Until each object has been there, or timeout_ms has passed (-1: never): kOk for both.
  // kInterrupted when a signal arrives; kDisconnected, also by Close.
  Status Wait(std::span<const ObjectId> ids, int64_t timeout_ms);
  // Ends all waits, and those to come.
  void Close();

 private:
  using SocketPtr = std::unique_ptr<ClientSocket>;

  Result<SocketPtr> Take();
  void GiveBack(SocketPtr socket, bool reusable);
  Status WaitOn(ClientSocket& socket, std::span<const ObjectId> ids, int64_t timeout_ms,
                bool* reusable);

  const std::string socket_path_;

  Mutex mutex_;
  bool closed_ RAYC_GUARDED_BY(mutex_) = false;
  std::vector<SocketPtr> idle_ RAYC_GUARDED_BY(mutex_);
  std::unordered_set<int> waiting_fds_ RAYC_GUARDED_BY(mutex_);
};

}  // namespace rayc::plasma
