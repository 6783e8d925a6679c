// The object store of a node, seen from its clients: their connections, what they ask for, and
// when they wake the store. Hosted by a raylet, or by the program plasma_store, on their event
// loop.
//
// When a client's connection closes, what it was still writing is taken back and its pins are
// dropped; what it has sealed stays. Everything that clients send or share is untrusted.
//
// Loop thread only. Never blocks, and never touches the arena's bytes.
#pragma once

#include <cstdint>
#include <functional>
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
#include "plasma/arena_populator.h"
#include "plasma/arena_trimmer.h"
#include "plasma/object_table.h"
#include "plasma/room_maker.h"
#include "plasma/spiller.h"
#include "plasma/store_connection.h"

namespace rayc::plasma {

struct StoreOptions {
  std::string socket_path = {};
  uint64_t capacity_bytes = 0;  // rounded up to whole pages
  SpillerOptions spill = {};    // no folders: nothing is spilled
  bool evict_lru = false;  // a full store drops what belongs to nobody, least recently used first
  ArenaTrimmerOptions trim = {};
  ArenaPopulatorOptions populate = {};
};

class Store {
 public:
  Store(EventLoop& loop, StoreOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // kAlreadyExists if another store has the socket; kOutOfMemory; an error of a spill folder.
  Status Start();
  // Closes all connections and removes the socket and the files. What clients have mapped stays
  // readable to them.
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
  std::string CheckInvariants();

 private:
  using ConnectionNumber = uint64_t;
  using ConnectionPtr = std::shared_ptr<StoreConnection>;
  // What the store knows of a connection beyond its bytes.
  struct Peer {
    ConnectionPtr connection;
    ClientNumber client = 0;  // 0: not introduced yet
    bool companion = false;
    bool subscribed = false;
    // Given, and not yet taken: a creation, or restored objects that are held.
    std::optional<EntryRef> given;
    std::vector<EntryRef> held;
    RoomMaker::WaitId wait = 0;
  };
  struct RestoreWait {
    ConnectionNumber connection = 0;
    uint64_t request_id = 0;
    size_t missing = 0;
    Status failure = Status::Ok();
  };

  Status StartMemory();
  void OnAcceptable();
  void OnClosed(StoreConnection& connection);
  // Null, or what is wrong with the frame.
  const char* OnFrame(StoreConnection& connection, const Frame& frame);
  const char* OnConnect(Peer& peer, const Frame& frame);
  const char* OnGrant(Peer& peer, const Frame& frame);
  const char* OnCreate(Peer& peer, const Frame& frame);
  const char* OnRestore(Peer& peer, const Frame& frame);
  const char* OnTaken(Peer& peer);
  const char* OnEvict(Peer& peer, const Frame& frame);
  const char* OnSubscribe(Peer& peer, const Frame& frame);
  const char* OnList(Peer& peer, const Frame& frame);

  void ReplyStatus(StoreConnection& connection, Method method, uint64_t request_id,
                   const Status& status);
  void ReplyMade(StoreConnection& connection, uint64_t request_id, const ObjectTable::Made& made);
  void OnRestored(uint64_t restore_number, EntryRef ref, const Status& status);
  void DropGiven(Peer& peer);
  void Notify(const ObjectRecord& record, bool gone);
  void OnWoken();
  void FollowNotes();
  void OnMaybeFreed();
  void OnGranted();

  EventLoop& loop_;
  const StoreOptions options_;
  UniqueFd listener_;
  UniqueFd wake_fd_;
  EventLoop::TimerId accept_timer_ = 0;
  EventLoop::TimerId notes_timer_ = 0;
  // Null before Start. In the order of their dependence.
  std::shared_ptr<const Arena> arena_;
  std::shared_ptr<SharedIndex> index_;
  std::unique_ptr<Spiller> spiller_;
  std::unique_ptr<ObjectTable> table_;
  std::unique_ptr<RoomMaker> room_;
  std::unique_ptr<ArenaPopulator> populator_;
  std::unique_ptr<ArenaTrimmer> trimmer_;

  std::unordered_map<ConnectionNumber, Peer> connections_;
  std::unordered_map<ClientNumber, ConnectionNumber> clients_;
  ConnectionNumber next_connection_ = 1;
  ClientNumber next_client_ = 1;
  size_t subscribers_ = 0;
  uint64_t next_restore_ = 1;
  std::unordered_map<uint64_t, RestoreWait> restores_;
  uint64_t used_bytes_seen_ = 0;
};

}  // namespace rayc::plasma
