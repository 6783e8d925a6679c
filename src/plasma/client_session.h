// What a Client and the buffers that it gave out share: the connection, the mapping, and the pins
// that are still to be given back. Lives until the last of them is gone: as long as a buffer is
// viewed, the store keeps the object in its place, whether or not the client that fetched it is
// still there.
//
// Any thread. Call blocks for one round trip. Release, DeleteLater and AbortLater never block, not
// even on the socket's lock: they may run in a destructor, in the middle of a garbage collection,
// while another thread is inside Call.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "common/thread_annotations.h"
#include "plasma/arena.h"
#include "plasma/client_socket.h"

namespace rayc::plasma {

// A reply of the store, with its bytes.
class OwnedReply {
 public:
  explicit OwnedReply(const Frame& frame);
  // Null if the payload is not a well-formed T. Lives as long as this reply.
  template <typename T>
  const T* As() const {
    return Frame{header_, reinterpret_cast<const uint8_t*>(words_.data())}.As<T>();
  }

 private:
  FrameHeader header_;
  std::vector<uint64_t> words_;
};

class ClientSession {
 public:
  static Result<std::shared_ptr<ClientSession>> Connect(const std::string& socket_path);
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;

  // One request and its reply. kDisconnected for ever after the connection broke.
  Result<OwnedReply> Call(Method method, const flatbuffers::FlatBufferBuilder& message);

  void Release(uint64_t offset);
  void DeleteLater(std::span<const ObjectId> ids);
  void AbortLater(const ObjectId& id);

  // Calls fail from now on. The connection stays until the last buffer is gone.
  void Disconnect() { disconnected_.store(true); }
  // Not OK after Disconnect, and in a forked child, which shares the parent's connection and must
  // not use it.
  Status CheckUsable() const;

  bool Forked() const;

  const Arena& arena() const { return *arena_; }
  uint64_t capacity_bytes() const { return capacity_bytes_; }
  const std::string& socket_path() const { return socket_path_; }

 private:
  ClientSession(std::string socket_path, pid_t pid);

  void SendPending();
  void QueuePendingLocked() RAYC_REQUIRES(mutex_);
  bool HasPending();

  const std::string socket_path_;
  const pid_t pid_;                     // of the process that connected
  std::shared_ptr<const Arena> arena_;  // constant after Connect
  uint64_t capacity_bytes_ = 0;         // constant after Connect
  std::atomic<bool> disconnected_{false};

  Mutex mutex_;  // held for a whole round trip
  ClientSocket socket_ RAYC_GUARDED_BY(mutex_);

  Mutex pending_mutex_;  // held for a few instructions; taken inside mutex_, never around it
  std::vector<uint64_t> pending_releases_ RAYC_GUARDED_BY(pending_mutex_);
  std::vector<ObjectId> pending_deletes_ RAYC_GUARDED_BY(pending_mutex_);
  std::vector<ObjectId> pending_aborts_ RAYC_GUARDED_BY(pending_mutex_);
};

}  // namespace rayc::plasma
