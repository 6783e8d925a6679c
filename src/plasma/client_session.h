// What a Client and the buffers that it gave out share: the connection, the shared memory, and the
// pins. Lives until the last of them is gone: as long as a buffer is viewed, the store keeps the
// object in its place, whether or not the client that fetched it is still there.
//
// Any thread. Call blocks for one round trip. Unpin and Note never block, not even on the socket's
// lock: they may run in a destructor, in the middle of a garbage collection, while another thread
// is inside Call.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "common/ids.h"
#include "common/status.h"
#include "common/thread_annotations.h"
#include "plasma/arena.h"
#include "plasma/client_pins.h"
#include "plasma/client_segment.h"
#include "plasma/client_socket.h"
#include "plasma/shared_index.h"

namespace rayc::plasma {

class ClientSession {
 public:
  static Result<std::shared_ptr<ClientSession>> Connect(const std::string& socket_path);
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;

  // One request and its reply. kDisconnected for ever after the connection broke.
  Result<OwnedReply> Call(Method method, const flatbuffers::FlatBufferBuilder& message);

  // Pins an object whose entry says that it can be read; null if it says so no more. kOutOfMemory
  // if this process pins too many.
  Result<std::optional<uint32_t>> PinIfReadable(EntryRef ref);
  // Pins what this client is still making.
  Result<uint32_t> PinOwnCreation(EntryRef ref);
  void Unpin(uint32_t place, EntryRef ref);

  // Tells the store. It frees the object if it is dead and nobody pins it.
  void Note(ClientSegment::Note note, EntryRef ref);

  // Calls fail from now on. The connection stays until the last buffer is gone.
  void Disconnect() { disconnected_.store(true); }
  // Not OK after Disconnect, and in a forked child, which shares the parent's connection and must
  // not use it.
  Status CheckUsable() const;
  // The same, and the store's end of the connection is there: without it memory would still be
  // written and read, for nobody. One system call.
  Status CheckAlive();

  bool Forked() const;

  const Arena& arena() const { return *arena_; }
  const std::shared_ptr<const Arena>& shared_arena() const { return arena_; }
  const SharedIndex& index() const { return *index_; }
  const ClientSegment& segment() const { return *segment_; }
  uint32_t number() const { return number_; }
  pid_t pid() const { return pid_; }
  uint64_t capacity_bytes() const { return capacity_bytes_; }
  const std::string& socket_path() const { return socket_path_; }

 private:
  ClientSession(std::string socket_path, pid_t pid);
  Result<uint32_t> SetPin(EntryRef ref);
  Status StoreGone() const;

  const std::string socket_path_;
  // Of the process that connected.
  const pid_t pid_;
  const uint32_t fork_count_;
  // Constant after Connect.
  std::shared_ptr<const Arena> arena_;
  std::shared_ptr<SharedIndex> index_;
  std::shared_ptr<ClientSegment> segment_;
  std::unique_ptr<ClientPins> pins_;
  UniqueFd wake_fd_;  // the store's
  int socket_fd_ = -1;
  uint32_t number_ = 0;
  uint64_t capacity_bytes_ = 0;

  std::atomic<bool> disconnected_{false};
  std::atomic<bool> store_gone_{false};

  Mutex mutex_;  // held for a whole round trip
  ClientSocket socket_ RAYC_GUARDED_BY(mutex_);
  Mutex notes_mutex_;  // held for a few instructions
};

}  // namespace rayc::plasma
