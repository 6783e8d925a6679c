// The object store of a node: it decides what lies where in the arena, and its clients write and
// read there themselves. Hosted by a raylet, or by the program plasma_store, on their event loop.
//
// When a client's connection closes, what it was still writing is taken back and its pins are
// dropped; what it has sealed stays. Everything that clients send is untrusted.
//
// Loop thread only. Never blocks, and never touches the arena's bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/event_loop.h"
#include "common/ids.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "plasma/arena.h"
#include "plasma/arena_trimmer.h"
#include "plasma/object_table.h"
#include "plasma/store_connection.h"

namespace rayc::plasma {

struct StoreOptions {
  std::string socket_path;
  uint64_t capacity_bytes = 0;  // rounded up to whole pages
  ArenaTrimmerOptions trim = {};
};

class Store {
 public:
  Store(EventLoop& loop, StoreOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // kAlreadyExists if another store has the socket; kOutOfMemory.
  Status Start();
  // Closes all connections and removes the socket. What clients have mapped stays readable to them.
  void Shutdown();

  // The process that owned these objects is gone, and they go with it.
  void OnOwnerDied(const WorkerId& owner);

  uint64_t capacity_bytes() const;
  uint64_t used_bytes() const;
  size_t object_count() const;
  size_t connection_count() const { return connections_.size(); }
  // What holds the memory, as text.
  std::string Describe() const;
  // Empty if the store agrees with itself, else what is wrong.
  std::string CheckInvariants() const { return table_ ? table_->CheckInvariants() : std::string(); }

 private:
  using ConnectionPtr = std::shared_ptr<StoreConnection>;
  // A wait_only client's Get that has no answer yet.
  struct Wait {
    ClientNumber client = 0;
    uint64_t request_id = 0;
    std::unordered_set<ObjectId> missing;
    EventLoop::TimerId timer = 0;  // 0: waits for ever
  };

  void OnAcceptable();
  void OnClosed(StoreConnection& connection);
  // Null, or what is wrong with the frame.
  const char* OnFrame(StoreConnection& connection, const Frame& frame);
  const char* OnConnect(StoreConnection& connection, const Frame& frame);
  const char* OnCreate(StoreConnection& connection, const Frame& frame);
  const char* OnSeal(StoreConnection& connection, const Frame& frame);
  const char* OnAbort(StoreConnection& connection, const Frame& frame);
  const char* OnGet(StoreConnection& connection, const Frame& frame);
  const char* OnWait(StoreConnection& connection, const Frame& frame);
  const char* OnRelease(StoreConnection& connection, const Frame& frame);
  const char* OnDelete(StoreConnection& connection, const Frame& frame);
  const char* OnContains(StoreConnection& connection, const Frame& frame);
  const char* OnList(StoreConnection& connection, const Frame& frame);

  void ReplyStatus(StoreConnection& connection, const Frame& frame, const Status& status);
  void OnSealed(const ObjectId& id);
  void FinishWait(uint64_t wait_number);
  void ForgetWait(uint64_t wait_number);
  void OnMaybeFreed();

  EventLoop& loop_;
  const StoreOptions options_;
  UniqueFd listener_;
  EventLoop::TimerId accept_timer_ = 0;
  // Null before Start.
  std::shared_ptr<const Arena> arena_;
  std::unique_ptr<ObjectTable> table_;
  std::unique_ptr<ArenaTrimmer> trimmer_;

  std::unordered_map<ClientNumber, ConnectionPtr> connections_;
  ClientNumber next_client_ = 1;
  uint64_t next_wait_ = 1;
  std::unordered_map<uint64_t, Wait> waits_;
  std::unordered_map<ObjectId, std::unordered_set<uint64_t>> waits_by_object_;
  uint64_t used_bytes_seen_ = 0;
};

}  // namespace rayc::plasma
