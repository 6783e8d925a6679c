#include "plasma/store.h"

#include <sys/epoll.h>
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
  const uint64_t bytes = Arena::RoundUpToPages(options_.capacity_bytes);
  auto arena = Arena::Create(bytes);
  if (!arena) {
    ::unlink(options_.socket_path.c_str());
    return arena.error();
  }
  listener_ = std::move(*listener);
  arena_ = std::move(*arena);
  table_ = std::make_unique<ObjectTable>(bytes);
  trimmer_ = std::make_unique<ArenaTrimmer>(loop_, *arena_, table_->allocator(), options_.trim);
  loop_.AddFd(listener_.get(), EPOLLIN, [this](uint32_t /*events*/) { OnAcceptable(); });
  return Status::Ok();
}

void Store::Shutdown() {
  if (listener_.valid()) {
    loop_.RemoveFd(listener_.get());
    ::unlink(options_.socket_path.c_str());
    listener_.Reset();
  }
  if (accept_timer_ != 0) {
    loop_.CancelTimer(std::exchange(accept_timer_, 0));
  }
  const auto connections = connections_;
  for (const auto& [number, connection] : connections) {
    connection->Close();
  }
  trimmer_.reset();
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
    const auto connection =
        std::make_shared<StoreConnection>(loop_, std::move(fd), next_client_++, credentials->pid);
    connections_.emplace(connection->number(), connection);
    connection->Start(
        [this](StoreConnection& from, const Frame& frame) { return OnFrame(from, frame); },
        [this](StoreConnection& closed) { OnClosed(closed); });
  }
}

void Store::OnClosed(StoreConnection& connection) {
  std::vector<uint64_t> waits;
  if (connection.wait_only) {
    for (const auto& [number, wait] : waits_) {
      if (wait.client == connection.number()) {
        waits.push_back(number);
      }
    }
  }
  for (const uint64_t number : waits) {
    ForgetWait(number);
  }
  table_->DropClient(connection.number());
  connections_.erase(connection.number());
  OnMaybeFreed();
}

void Store::OnOwnerDied(const WorkerId& owner) {
  if (table_ != nullptr) {
    table_->DropOwner(owner);
    OnMaybeFreed();
  }
}

void Store::OnMaybeFreed() {
  const uint64_t used = table_->allocator().used_bytes();
  if (used < used_bytes_seen_ && trimmer_ != nullptr) {
    trimmer_->OnFreed();
  }
  used_bytes_seen_ = used;
}

uint64_t Store::capacity_bytes() const { return table_ ? table_->allocator().capacity_bytes() : 0; }
uint64_t Store::used_bytes() const { return table_ ? table_->allocator().used_bytes() : 0; }
size_t Store::object_count() const { return table_ ? table_->object_count() : 0; }
std::string Store::Describe() const { return table_ ? table_->Describe() : std::string(); }

const char* Store::OnFrame(StoreConnection& connection, const Frame& frame) {
  if (frame.header.kind != FrameKind::kRequest && frame.header.kind != FrameKind::kOneWay) {
    return "a reply, sent to a store";
  }
  if (connection.introduced == (frame.method() == Method::kPlasmaConnect)) {
    return connection.introduced ? "connected twice" : "not connected first";
  }
  if (connection.wait_only && frame.method() != Method::kPlasmaGet) {
    return "not a Get, on a wait_only connection";
  }
  switch (frame.method()) {
    case Method::kPlasmaConnect:
      return OnConnect(connection, frame);
    case Method::kPlasmaCreate:
      return OnCreate(connection, frame);
    case Method::kPlasmaSeal:
      return OnSeal(connection, frame);
    case Method::kPlasmaAbort:
      return OnAbort(connection, frame);
    case Method::kPlasmaGet:
      return connection.wait_only ? OnWait(connection, frame) : OnGet(connection, frame);
    case Method::kPlasmaRelease:
      return OnRelease(connection, frame);
    case Method::kPlasmaDelete:
      return OnDelete(connection, frame);
    case Method::kPlasmaContains:
      return OnContains(connection, frame);
    case Method::kPlasmaList:
      return OnList(connection, frame);
    default:
      return "unknown method";
  }
}

void Store::ReplyStatus(StoreConnection& connection, const Frame& frame, const Status& status) {
  if (frame.header.kind != FrameKind::kRequest) {
    return;
  }
  flatbuffers::FlatBufferBuilder builder(256);
  if (status.ok()) {
    BuildEmpty(builder);
  } else {
    BuildStatus(builder, status);
  }
  connection.Send(frame.method(), status.ok() ? FrameKind::kReply : FrameKind::kErrorReply,
                  frame.header.request_id, builder);
}

const char* Store::OnConnect(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaConnect>();
  if (request == nullptr || frame.header.kind != FrameKind::kRequest) {
    return kMalformed;
  }
  if (request->protocol_version() != kProtocolVersion) {
    ReplyStatus(connection, frame,
                Status(StatusCode::kVersionMismatch,
                       "the plasma store is rayc " + std::string(kVersion) + " with protocol " +
                           std::to_string(kProtocolVersion) + ", the client is rayc " +
                           StringOf(request->rayc_version()) + " with protocol " +
                           std::to_string(request->protocol_version())));
    connection.CloseSoon();
    return nullptr;
  }
  connection.introduced = true;
  connection.wait_only = request->wait_only();
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaConnectReply(builder, arena_->bytes(), capacity_bytes()));
  if (connection.wait_only) {
    connection.Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  } else {
    table_->AddClient(connection.number(), connection.pid());
    connection.SendWithDescriptor(frame.method(), frame.header.request_id, builder, arena_->fd());
  }
  return nullptr;
}

const char* Store::OnCreate(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaCreate>();
  if (request == nullptr || frame.header.kind != FrameKind::kRequest) {
    return kMalformed;
  }
  const auto offset = table_->Create(connection.number(), ObjectId::FromBytes(request->object_id()),
                                     request->data_bytes(), StringOf(request->metadata()),
                                     WorkerId::FromBytes(request->owner()));
  if (!offset) {
    ReplyStatus(connection, frame, offset.error());
    return nullptr;
  }
  used_bytes_seen_ = used_bytes();
  trimmer_->OnCreated();
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaCreateReply(builder, *offset));
  connection.Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  return nullptr;
}

const char* Store::OnSeal(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaSeal>();
  if (request == nullptr) {
    return kMalformed;
  }
  const auto id = ObjectId::FromBytes(request->object_id());
  const Status status = table_->Seal(connection.number(), id, request->keep_pin());
  ReplyStatus(connection, frame, status);
  if (status.ok()) {
    OnSealed(id);
    OnMaybeFreed();
  }
  return nullptr;
}

const char* Store::OnAbort(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaAbort>();
  if (request == nullptr) {
    return kMalformed;
  }
  ReplyStatus(connection, frame,
              table_->Abort(connection.number(), ObjectId::FromBytes(request->object_id())));
  OnMaybeFreed();
  return nullptr;
}

const char* Store::OnGet(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaGet>();
  if (request == nullptr || request->object_ids() == nullptr ||
      frame.header.kind != FrameKind::kRequest) {
    return kMalformed;
  }
  flatbuffers::FlatBufferBuilder builder(256);
  std::vector<flatbuffers::Offset<fb::PlasmaObject>> objects;
  std::vector<uint64_t> pinned;
  objects.reserve(request->object_ids()->size());
  for (const auto* wanted : *request->object_ids()) {
    const ObjectEntry* const entry =
        table_->Pin(connection.number(), ObjectId::FromBytes(wanted->id()));
    if (entry == nullptr) {
      objects.push_back(fb::CreatePlasmaObject(builder));
      continue;
    }
    pinned.push_back(entry->offset);
    if (builder.GetSize() > kReplyBytesMax) {
      for (const uint64_t offset : pinned) {
        table_->Release(connection.number(), offset);
      }
      ReplyStatus(connection, frame, Status::InvalidArgument("too many objects in one Get"));
      return nullptr;
    }
    const auto metadata = builder.CreateString(entry->metadata);
    objects.push_back(
        fb::CreatePlasmaObject(builder, true, entry->offset, entry->data_bytes, metadata));
  }
  builder.Finish(fb::CreatePlasmaGetReplyDirect(builder, &objects));
  connection.Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  return nullptr;
}

const char* Store::OnWait(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaGet>();
  if (request == nullptr || request->object_ids() == nullptr ||
      frame.header.kind != FrameKind::kRequest) {
    return kMalformed;
  }
  const uint64_t number = next_wait_++;
  Wait wait;
  wait.client = connection.number();
  wait.request_id = frame.header.request_id;
  for (const auto* wanted : *request->object_ids()) {
    const auto id = ObjectId::FromBytes(wanted->id());
    if (!table_->Contains(id)) {
      wait.missing.insert(id);
    }
  }
  const bool done = wait.missing.empty() || request->timeout_ms() == 0;
  if (!done) {
    for (const ObjectId& id : wait.missing) {
      waits_by_object_[id].insert(number);
    }
    if (request->timeout_ms() > 0) {
      wait.timer = loop_.RunAfter(std::min(request->timeout_ms(), kWaitMsMax),
                                  [this, number] { FinishWait(number); });
    }
  }
  waits_.emplace(number, std::move(wait));
  if (done) {
    FinishWait(number);
  }
  return nullptr;
}

void Store::OnSealed(const ObjectId& id) {
  const auto it = waits_by_object_.find(id);
  if (it == waits_by_object_.end()) {
    return;
  }
  const auto waiting = std::move(it->second);
  waits_by_object_.erase(it);
  for (const uint64_t number : waiting) {
    auto& missing = waits_.at(number).missing;
    missing.erase(id);
    if (missing.empty()) {
      FinishWait(number);
    }
  }
}

void Store::FinishWait(uint64_t wait_number) {
  const Wait& wait = waits_.at(wait_number);
  if (const auto connection = connections_.find(wait.client); connection != connections_.end()) {
    flatbuffers::FlatBufferBuilder builder(64);
    builder.Finish(fb::CreatePlasmaGetReply(builder));
    connection->second->Send(Method::kPlasmaGet, FrameKind::kReply, wait.request_id, builder);
  }
  ForgetWait(wait_number);
}

void Store::ForgetWait(uint64_t wait_number) {
  const auto it = waits_.find(wait_number);
  for (const ObjectId& id : it->second.missing) {
    const auto waiting = waits_by_object_.find(id);
    if (waiting != waits_by_object_.end()) {
      waiting->second.erase(wait_number);
      if (waiting->second.empty()) {
        waits_by_object_.erase(waiting);
      }
    }
  }
  if (it->second.timer != 0) {
    loop_.CancelTimer(it->second.timer);
  }
  waits_.erase(it);
}

const char* Store::OnRelease(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaRelease>();
  if (request == nullptr || request->offsets() == nullptr) {
    return kMalformed;
  }
  for (const uint64_t offset : *request->offsets()) {
    table_->Release(connection.number(), offset);
  }
  OnMaybeFreed();
  return nullptr;
}

const char* Store::OnDelete(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaDelete>();
  if (request == nullptr || request->object_ids() == nullptr) {
    return kMalformed;
  }
  for (const auto* deleted : *request->object_ids()) {
    table_->Delete(ObjectId::FromBytes(deleted->id()));
  }
  ReplyStatus(connection, frame, Status::Ok());
  OnMaybeFreed();
  return nullptr;
}

const char* Store::OnContains(StoreConnection& connection, const Frame& frame) {
  const auto* request = frame.As<fb::PlasmaContains>();
  if (request == nullptr || frame.header.kind != FrameKind::kRequest) {
    return kMalformed;
  }
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaContainsReply(
      builder, table_->Contains(ObjectId::FromBytes(request->object_id()))));
  connection.Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  return nullptr;
}

const char* Store::OnList(StoreConnection& connection, const Frame& frame) {
  if (frame.As<fb::PlasmaList>() == nullptr || frame.header.kind != FrameKind::kRequest) {
    return kMalformed;
  }
  flatbuffers::FlatBufferBuilder builder(1024);
  std::vector<flatbuffers::Offset<fb::PlasmaObjectInfo>> objects;
  table_->ForEach([&](const ObjectEntry& entry) {
    if (builder.GetSize() < kReplyBytesMax) {
      const auto id = BuildId(builder, entry.id);
      const auto owner = entry.owner.IsNil() ? 0 : BuildId(builder, entry.owner);
      objects.push_back(fb::CreatePlasmaObjectInfo(
          builder, id, entry.data_bytes, entry.sealed, entry.pins, entry.made_by_pid, entry.deleted,
          owner, static_cast<uint32_t>(entry.metadata.size())));
    }
  });
  builder.Finish(
      fb::CreatePlasmaListReplyDirect(builder, &objects, used_bytes(), capacity_bytes()));
  connection.Send(frame.method(), FrameKind::kReply, frame.header.request_id, builder);
  return nullptr;
}

}  // namespace rayc::plasma
