// How a client asks the store for what takes time: each waiting thread has a companion connection
// to itself, so that it keeps nobody from the first one, and a signal ends its wait by ending that
// connection. Connections are opened when needed and a few are kept. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/status.h"
#include "common/thread_annotations.h"
#include "plasma/client_socket.h"

namespace rayc::plasma {

class ClientWaits {
 public:
  using SocketPtr = std::unique_ptr<ClientSocket>;

  ClientWaits(std::string socket_path, uint32_t client)
      : socket_path_(std::move(socket_path)), client_(client) {}

  // A reply whose gift the store holds for us until it is destroyed: by then we hold it ourselves.
  class Held {
   public:
    Held(ClientWaits& waits, SocketPtr socket, OwnedReply reply)
        : waits_(&waits), socket_(std::move(socket)), reply_(std::move(reply)) {}
    ~Held();
    Held(Held&&) = default;
    Held& operator=(Held&&) = delete;
    const OwnedReply& reply() const { return reply_; }

   private:
    ClientWaits* waits_;
    SocketPtr socket_;
    OwnedReply reply_;
  };

  // As long as it takes. kInterrupted when a signal arrives; kDisconnected, also by Close.
  Result<Held> Call(Method method, const flatbuffers::FlatBufferBuilder& message);
  // Ends all calls, and those to come.
  void Close();

 private:
  Result<SocketPtr> Take();
  void GiveBack(SocketPtr socket, bool reusable);

  const std::string socket_path_;
  const uint32_t client_;
  Mutex mutex_;
  bool closed_ RAYC_GUARDED_BY(mutex_) = false;
  std::vector<SocketPtr> idle_ RAYC_GUARDED_BY(mutex_);
  std::unordered_set<int> waiting_fds_ RAYC_GUARDED_BY(mutex_);
};

}  // namespace rayc::plasma
