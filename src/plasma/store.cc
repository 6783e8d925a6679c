#include "plasma/store.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/logging.h"
#include "common/unix_socket.h"
#include "common/version.h"
#include "plasma/byte_size.h"
#include "plasma/wire.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

constexpr char kMalformed[] = "malformed message";
constexpr int64_t kAcceptRetryMs = 100;
// Far below the limit of a frame, whatever the objects' metadata add up to.
constexpr size_t kReplyBytesMax = 128U << 20;
constexpr int64_t kWaitMsMax = 1LL << 40;
constexpr int64_t kNotesDelayMs = 1;
constexpr ClientNumber kClientNumberMax = 0xffffff;

std::string StringOf(const flatbuffers::String* text) {
  return text == nullptr ? std::string() : text->str();
}

}  // namespace

Store::Store(EventLoop& loop, StoreOptions options) : loop_(loop), options_(std::move(options)) {}

Store::~Store() { Shutdown(); }

Status Store::Start() {
  RAYC_CHECK(arena_ == nullptr) << "started twice";
  constexpr uint64_t kCapacityBytesMax = 1ULL << 46;  // what one process can map, and then some
  if (options_.capacity_bytes == 0 || options_.capacity_bytes > kCapacityBytesMax) {
    return Status::InvalidArgument("an object store of " + FormatBytes(options_.capacity_bytes) +
                                   " is not possible");
  }
  // The socket first: whether it is taken is what people want to hear about.
  auto listener = ListenUnix(options_.socket_path);
  if (!listener) {
    return listener.error();
  }
  listener_ = std::move(*listener);
  Status status = StartMemory();
  if (!status.ok()) {
    listener_.Reset();
    ::unlink(options_.socket_path.c_str());
    return status;
  }
  loop_.AddFd(wake_fd_.get(), EPOLLIN, [this](uint32_t /*events*/) { OnWoken(); });
  loop_.AddFd(listener_.get(), EPOLLIN, [this](uint32_t /*events*/) { OnAcceptable(); });
  return Status::Ok();
}

Status Store::StartMemory() {
  const uint64_t bytes = Arena::RoundUpToPages(options_.capacity_bytes);
  auto arena = Arena::Create(bytes);
  if (!arena) {
    return arena.error();
  }
  auto index = SharedIndex::Create(bytes);
  if (!index) {
    return index.error();
  }
  auto spiller = std::make_unique<Spiller>(loop_, *arena, options_.spill);
  if (spiller->enabled()) {
    if (const Status status = spiller->Start(); !status.ok()) {
      return status;
    }
  }
  wake_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_fd_.valid()) {
    return Status::FromErrno("eventfd", errno);
  }
  arena_ = std::move(*arena);
  index_ = std::move(*index);
  spiller_ = std::move(spiller);
  table_ = std::make_unique<ObjectTable>(
      index_, bytes,
      ObjectTable::Events{[this](const ObjectRecord& record) { Notify(record, /*gone=*/true); },
                          [this](const SpillLocation& location) {
                            if (spiller_ != nullptr) {
                              spiller_->Forget(location);
                            }
                          },
                          [this](const ObjectRecord& record) { Notify(record, /*gone=*/false); }});
  room_ = std::make_unique<RoomMaker>(loop_, *table_, *spiller_, options_.evict_lru);
  populator_ = std::make_unique<ArenaPopulator>(arena_, options_.populate);
  trimmer_ = std::make_unique<ArenaTrimmer>(
      loop_, *arena_, table_->allocator(), options_.trim,
      ArenaTrimmer::Hooks{
          [this] { table_->RecallRegions(); },
          [this](uint64_t offset, uint64_t size) { populator_->OnGivenBack(offset, size); }});
  OnGranted();
  return Status::Ok();
}

void Store::Shutdown() {
  if (listener_.valid()) {
    loop_.RemoveFd(listener_.get());
    loop_.RemoveFd(wake_fd_.get());
    ::unlink(options_.socket_path.c_str());
    listener_.Reset();
  }
  for (EventLoop::TimerId* const timer : {&accept_timer_, &notes_timer_}) {
    if (*timer != 0) {
      loop_.CancelTimer(std::exchange(*timer, 0));
    }
  }
  std::vector<ConnectionPtr> connections;
  for (const auto& [number, peer] : connections_) {
    connections.push_back(peer.connection);
  }
  for (const ConnectionPtr& connection : connections) {
    connection->Close();
  }
  trimmer_.reset();
  populator_.reset();
  room_.reset();
  spiller_.reset();
}

void Store::OnAcceptable() {
  while (true) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) {
        continue;
      }
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        RAYC_LOG(kError) << "plasma store: " << Status::FromErrno("accept", errno);
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
    if (!credentials || credentials->uid != ::geteuid()) {
      RAYC_LOG(kWarning) << "plasma store: refused a connection of another user";
      continue;
    }
    const auto connection = std::make_shared<StoreConnection>(loop_, std::move(fd),
                                                              next_connection_++, credentials->pid);
    connections_[connection->number()].connection = connection;
    connection->Start(
        [this](StoreConnection& from, const Frame& frame) { return OnFrame(from, frame); },
        [this](StoreConnection& closed) { OnClosed(closed); });
  }
}

void Store::OnClosed(StoreConnection& connection) {
  const auto it = connections_.find(connection.number());
  Peer peer = std::move(it->second);
  connections_.erase(it);
  if (room_ != nullptr && peer.wait != 0) {
    room_->Forget(peer.wait);
  }
  if (peer.subscribed && --subscribers_ == 0) {
    index_->SetSubscribed(false);
  }
  DropGiven(peer);
  if (peer.client != 0 && !peer.companion) {
    clients_.erase(peer.client);
    // It may have died between saying that there is work and waking the store.
    index_->ClearWorkPending();
    FollowNotes();
    table_->DropClient(peer.client);
  }
  OnMaybeFreed();
}

void Store::DropGiven(Peer& peer) {
  if (peer.given && clients_.contains(peer.client)) {
    table_->CancelCreation(peer.client, *peer.given);
  }
  peer.given.reset();
  for (const EntryRef ref : peer.held) {
    table_->Unhold(ref);
  }
  peer.held.clear();
}

void Store::OnOwnerDied(const WorkerId& owner) {
  if (table_ != nullptr) {
    table_->DropOwner(owner);
    OnMaybeFreed();
  }
}

// A client has notes for the store. More will follow: they are collected for a moment, so that a
// client that deletes one object after the other does not wake the store for each.
void Store::OnWoken() {
  uint64_t count = 0;
  (void)!::read(wake_fd_.get(), &count, sizeof(count));
  FollowNotes();
  if (notes_timer_ == 0) {
    notes_timer_ = loop_.RunAfter(kNotesDelayMs, [this] {
      notes_timer_ = 0;
      index_->ClearWorkPending();
      FollowNotes();
    });
  }
}

void Store::FollowNotes() {
  table_->FollowNotes();
  OnMaybeFreed();
}

void Store::OnMaybeFreed() {
  const uint64_t used = table_->allocator().used_bytes();
  if (used < used_bytes_seen_ && trimmer_ != nullptr) {
    trimmer_->OnFreed();
  }
  used_bytes_seen_ = used;
  if (room_ != nullptr) {
    room_->OnFreed();
  }
}

// What will be taken next comes from the largest free run.
void Store::OnGranted() {
  used_bytes_seen_ = table_->allocator().used_bytes();
  trimmer_->OnCreated();
  if (const auto run = table_->allocator().LargestFreeRun()) {
    populator_->KeepAhead(run->offset, run->offset + run->bytes);
  }
}

uint64_t Store::capacity_bytes() const { return table_ ? table_->allocator().capacity_bytes() : 0; }
uint64_t Store::used_bytes() const { return table_ ? table_->used_bytes() : 0; }
size_t Store::object_count() const { return table_ ? table_->object_count() : 0; }
std::string Store::Describe() const { return table_ ? table_->Describe() : std::string(); }

std::string Store::CheckInvariants() {
  if (table_ == nullptr) {
    return {};
  }
  table_->FollowNotes();
  return table_->CheckInvariants();
}

const char* Store::OnFrame(StoreConnection& connection, const Frame& frame) {
  Peer& peer = connections_.at(connection.number());
  const bool one_way = frame.header.kind == FrameKind::kOneWay;
  if (frame.header.kind != FrameKind::kRequest && !one_way) {
    return "a reply, sent to a store";
  }
  if (one_way != (frame.method() == Method::kPlasmaTaken)) {
    return "a request of the wrong kind";
  }
  const bool introduced = peer.client != 0;
  if (introduced == (frame.method() == Method::kPlasmaConnect)) {
    return introduced ? "connected twice" : "not connected first";
  }
  switch (frame.method()) {
    case Method::kPlasmaConnect:
      return OnConnect(peer, frame);
    case Method::kPlasmaGrant:
      return OnGrant(peer, frame);
    case Method::kPlasmaCreate:
      return OnCreate(peer, frame);
    case Method::kPlasmaRestore:
      return OnRestore(peer, frame);
    case Method::kPlasmaTaken:
      return OnTaken(peer);
    case Method::kPlasmaEvict:
      return OnEvict(peer, frame);
    case Method::kPlasmaSubscribe:
      return OnSubscribe(peer, frame);
    case Method::kPlasmaList:
      return OnList(peer, frame);
    default:
      return "unknown method";
  }
}

void Store::ReplyStatus(StoreConnection& connection, Method method, uint64_t request_id,
                        const Status& status) {
  flatbuffers::FlatBufferBuilder builder(256);
  if (status.ok()) {
    BuildEmpty(builder);
  } else {
    BuildStatus(builder, status);
  }
  connection.Send(method, status.ok() ? FrameKind::kReply : FrameKind::kErrorReply, request_id,
                  builder);
}

const char* Store::OnConnect(Peer& peer, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaConnect>();
  if (request == nullptr) {
    return kMalformed;
  }
  StoreConnection& connection = *peer.connection;
  if (request->protocol_version() != kProtocolVersion) {
    ReplyStatus(connection, frame.method(), frame.header.request_id,
                Status(StatusCode::kVersionMismatch,
                       "the plasma store is rayc " + std::string(kVersion) + " with protocol " +
                           std::to_string(kProtocolVersion) + ", the client is rayc " +
                           StringOf(request->rayc_version()) + " with protocol " +
                           std::to_string(request->protocol_version())));
    connection.CloseSoon();
    return nullptr;
  }
  flatbuffers::FlatBufferBuilder builder(64);
  if (request->companion_of() != 0) {
    const auto client = clients_.find(request->companion_of());
    if (client == clients_.end() ||
        connections_.at(client->second).connection->pid() != connection.pid()) {
      return "a companion of nobody";
    }
    peer.client = request->companion_of();
    peer.companion = true;
    builder.Finish(fb::CreatePlasmaConnectReply(builder, arena_->bytes(), capacity_bytes(), 0));
    connection.Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
    return nullptr;
  }
  ClientNumber number = 0;
  do {
    number = next_client_++ & kClientNumberMax;
  } while (number == 0 || clients_.contains(number));
  const auto segment = table_->AddClient(number, connection.pid());
  if (!segment) {
    ReplyStatus(connection, frame.method(), frame.header.request_id, segment.error());
    connection.CloseSoon();
    return nullptr;
  }
  peer.client = number;
  clients_[number] = connection.number();
  builder.Finish(fb::CreatePlasmaConnectReply(builder, arena_->bytes(), capacity_bytes(), number));
  const int descriptors[] = {arena_->fd(), index_->fd(), (*segment)->fd(), wake_fd_.get()};
  connection.SendWithDescriptors(frame.method(), frame.header.request_id, builder, descriptors);
  return nullptr;
}

const char* Store::OnGrant(Peer& peer, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaGrant>();
  if (request == nullptr || peer.companion) {
    return kMalformed;
  }
  // Nobody gets ahead of those who wait: the object is then asked for by itself, and waits too.
  const bool room = !room_->crowded();
  const auto grant = table_->GrantRegion(
      peer.client, room ? request->bytes_min() : table_->allocator().capacity_bytes() + 1,
      request->bytes_wanted(), request->entries());
  OnGranted();
  flatbuffers::FlatBufferBuilder builder(256);
  const auto entries = builder.CreateVector(grant.entries);
  builder.Finish(fb::CreatePlasmaGrantReply(builder, grant.offset, grant.bytes, entries));
  peer.connection->Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  return nullptr;
}

void Store::ReplyMade(StoreConnection& connection, uint64_t request_id,
                      const ObjectTable::Made& made) {
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(
      fb::CreatePlasmaCreateReply(builder, made.ref.entry, made.ref.generation, made.offset));
  connection.Send(Method::kPlasmaCreate, FrameKind::kReply, request_id, builder);
}

const char* Store::OnCreate(Peer& peer, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaCreate>();
  if (request == nullptr || peer.given || peer.wait != 0) {
    return kMalformed;
  }
  const uint64_t request_id = frame.header.request_id;
  const uint64_t bytes = request->data_bytes();
  std::string metadata;
  if (request->metadata() != nullptr) {
    metadata.assign(reinterpret_cast<const char*>(request->metadata()->data()),
                    request->metadata()->size());
  }
  // True if there is an answer.
  const auto attempt = [this, number = peer.connection->number(), client = peer.client, request_id,
                        bytes, metadata, id = ObjectId::FromBytes(request->object_id()),
                        owner = WorkerId::FromBytes(request->owner()),
                        evictable = request->evictable()] {
    const auto it = connections_.find(number);
    if (it == connections_.end()) {
      return true;
    }
    Peer& asker = it->second;
    const auto made = table_->Create(client, id, bytes, metadata, owner, evictable);
    if (!made) {
      const bool fits = bytes <= capacity_bytes() &&
                        SharedIndex::ExtentBytes(bytes, metadata.size()) <= capacity_bytes();
      if (made.error().code() == StatusCode::kOutOfMemory && fits) {
        return false;
      }
      ReplyStatus(*asker.connection, Method::kPlasmaCreate, request_id, made.error());
    } else {
      OnGranted();
      if (asker.companion) {
        asker.given = made->ref;
      }
      ReplyMade(*asker.connection, request_id, *made);
    }
    asker.wait = 0;
    return true;
  };
  const auto fail = [this, number = peer.connection->number(), request_id](const Status& status) {
    const auto it = connections_.find(number);
    if (it != connections_.end()) {
      it->second.wait = 0;
      ReplyStatus(*it->second.connection, Method::kPlasmaCreate, request_id, status);
    }
  };
  if (peer.companion) {
    peer.wait =
        room_->Wait(bytes, std::clamp<int64_t>(request->wait_ms(), 0, kWaitMsMax), attempt, fail);
    return nullptr;
  }
  if (!room_->crowded() && (attempt() || (room_->Drop(bytes) && attempt()))) {
    return nullptr;
  }
  if (room_->crowded() || room_->CanSpill() || request->wait_ms() > 0) {
    ReplyStatus(*peer.connection, frame.method(), request_id,
                Status(StatusCode::kTimedOut, "it takes waiting: ask on a companion"));
  } else {
    (void)room_->Wait(bytes, /*wait_ms=*/0, attempt, fail);
  }
  return nullptr;
}

const char* Store::OnRestore(Peer& peer, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaRestore>();
  if (request == nullptr || request->object_ids() == nullptr || !peer.companion ||
      !peer.held.empty()) {
    return kMalformed;
  }
  const uint64_t number = next_restore_++;
  RestoreWait& wait = restores_[number];
  wait.connection = peer.connection->number();
  wait.request_id = frame.header.request_id;
  wait.missing = 1;  // this loop
  const int64_t wait_ms = std::clamp<int64_t>(request->wait_ms(), 0, kWaitMsMax);
  for (const auto* wanted : *request->object_ids()) {
    const auto ref = index_->Find(ObjectId::FromBytes(wanted->id()));
    if (ref) {
      ++restores_.at(number).missing;
      room_->Restore(*ref, wait_ms, [this, number, ref = *ref](const Status& status) {
        OnRestored(number, ref, status);
      });
    }
  }
  OnRestored(number, {}, Status::Ok());
  return nullptr;
}

void Store::OnRestored(uint64_t restore_number, EntryRef ref, const Status& status) {
  RestoreWait& wait = restores_.at(restore_number);
  const auto it = connections_.find(wait.connection);
  if (it != connections_.end() && ref.generation != 0 && status.ok() && table_->Hold(ref)) {
    it->second.held.push_back(ref);
  }
  if (!status.ok()) {
    wait.failure = status;
  }
  if (--wait.missing > 0) {
    return;
  }
  if (it != connections_.end()) {
    if (!wait.failure.ok()) {
      DropGiven(it->second);
    }
    ReplyStatus(*it->second.connection, Method::kPlasmaRestore, wait.request_id, wait.failure);
  }
  restores_.erase(restore_number);
}

const char* Store::OnTaken(Peer& peer) {
  peer.given.reset();
  DropGiven(peer);
  OnMaybeFreed();
  return nullptr;
}

const char* Store::OnEvict(Peer& peer, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaEvict>();
  if (request == nullptr) {
    return kMalformed;
  }
  const uint64_t freed = table_->Evict(request->bytes(), ObjectTable::Evictable::kUnowned);
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaEvictReply(builder, freed));
  peer.connection->Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  OnMaybeFreed();
  return nullptr;
}

const char* Store::OnSubscribe(Peer& peer, const Frame& frame) {
  if (frame.As<fb::PlasmaSubscribe>() == nullptr || !peer.companion) {
    return kMalformed;
  }
  if (!std::exchange(peer.subscribed, true) && subscribers_++ == 0) {
    index_->SetSubscribed(true);
  }
  ReplyStatus(*peer.connection, frame.method(), frame.header.request_id, Status::Ok());
  return nullptr;
}

void Store::Notify(const ObjectRecord& record, bool gone) {
  if (subscribers_ == 0) {
    return;
  }
  flatbuffers::FlatBufferBuilder builder(128);
  const auto id = BuildId(builder, record.id);
  builder.Finish(
      fb::CreatePlasmaNotification(builder, id, record.data_bytes, record.metadata_bytes, gone));
  for (const auto& [number, peer] : connections_) {
    if (peer.subscribed) {
      if (peer.connection->unsent_bytes() > kReplyBytesMax) {
        peer.connection->CloseSoon();  // it does not read
        continue;
      }
      peer.connection->Send(Method::kPlasmaNotification, FrameKind::kOneWay, 0, builder);
    }
  }
}

const char* Store::OnList(Peer& peer, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaList>();
  if (request == nullptr) {
    return kMalformed;
  }
  FollowNotes();
  flatbuffers::FlatBufferBuilder builder(1024);
  std::vector<flatbuffers::Offset<fb::PlasmaObjectInfo>> objects;
  table_->ForEach([&](const ObjectRecord& record, uint32_t pins) {
    if (builder.GetSize() < kReplyBytesMax) {
      const EntryState state = record.word.state;
      const bool deleted = state == EntryState::kDead || state == EntryState::kDoomed;
      const auto id = BuildId(builder, record.id);
      const auto owner = record.owner.IsNil() ? 0 : BuildId(builder, record.owner);
      objects.push_back(fb::CreatePlasmaObjectInfo(
          builder, id, record.data_bytes, !record.word.being_created(), pins, record.made_by_pid,
          deleted, owner, record.metadata_bytes,
          state == EntryState::kSpilled || state == EntryState::kRestoring));
    }
  });
  const auto list = builder.CreateVector(objects);
  const auto problem = request->check() ? builder.CreateString(table_->CheckInvariants()) : 0;
  builder.Finish(fb::CreatePlasmaListReply(builder, list, used_bytes(), table_->granted_bytes(),
                                           capacity_bytes(), table_->spilled_bytes(), problem));
  peer.connection->Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  return nullptr;
}

}  // namespace rayc::plasma
