#include "plasma/client_session.h"

#include <unistd.h>

#include <cstring>
#include <utility>

#include "protocol/plasma_generated.h"

namespace rayc::plasma {

OwnedReply::OwnedReply(const Frame& frame)
    : header_(frame.header), words_((frame.header.payload_bytes + 7) / sizeof(uint64_t) + 1) {
  std::memcpy(words_.data(), frame.payload, frame.header.payload_bytes);
}

ClientSession::ClientSession(std::string socket_path, pid_t pid)
    : socket_path_(std::move(socket_path)), pid_(pid) {}

Result<std::shared_ptr<ClientSession>> ClientSession::Connect(const std::string& socket_path) {
  std::shared_ptr<ClientSession> session(new ClientSession(socket_path, ::getpid()));
  const MutexLock lock(session->mutex_);
  auto hello = session->socket_.Connect(socket_path, /*wait_only=*/false);
  if (!hello) {
    return Err(hello.error());
  }
  auto arena = Arena::Map(std::move(hello->arena), hello->arena_bytes);
  if (!arena) {
    return Err(arena.error());
  }
  session->arena_ = std::move(*arena);
  session->capacity_bytes_ = hello->capacity_bytes;
  return session;
}

bool ClientSession::Forked() const { return ::getpid() != pid_; }

Status ClientSession::CheckUsable() const {
  if (Forked()) {
    return Status::Disconnected("this plasma client belongs to process " + std::to_string(pid_) +
                                "; a forked process must connect for itself");
  }
  if (disconnected_.load()) {
    return Status::Disconnected("this plasma client is disconnected");
  }
  return Status::Ok();
}

Result<OwnedReply> ClientSession::Call(Method method,
                                       const flatbuffers::FlatBufferBuilder& message) {
  if (const Status usable = CheckUsable(); !usable.ok()) {
    return Err(usable);
  }
  MutexLock lock(mutex_);
  if (socket_.broken()) {
    return Err(Status::Disconnected("the plasma store at " + socket_path_ + " is gone"));
  }
  QueuePendingLocked();
  const uint64_t request_id = socket_.QueueRequest(method, message);
  const Status sent = socket_.SendAll();
  const Result<Frame> frame = sent.ok() ? socket_.ReceiveReply(request_id) : Err(sent);
  Result<OwnedReply> reply = frame ? Result<OwnedReply>(OwnedReply(*frame)) : Err(frame.error());
  lock.Unlock();
  SendPending();
  return reply;
}

void ClientSession::Release(uint64_t offset) {
  if (Forked()) {
    return;  // the pin is the parent's; its locks may be held by threads that do not exist here
  }
  {
    const MutexLock lock(pending_mutex_);
    pending_releases_.push_back(offset);
  }
  SendPending();
}

void ClientSession::DeleteLater(std::span<const ObjectId> ids) {
  if (Forked()) {
    return;
  }
  {
    const MutexLock lock(pending_mutex_);
    pending_deletes_.insert(pending_deletes_.end(), ids.begin(), ids.end());
  }
  SendPending();
}

void ClientSession::AbortLater(const ObjectId& id) {
  if (Forked()) {
    return;
  }
  {
    const MutexLock lock(pending_mutex_);
    pending_aborts_.push_back(id);
  }
  SendPending();
}

bool ClientSession::HasPending() {
  const MutexLock lock(pending_mutex_);
  return !pending_releases_.empty() || !pending_deletes_.empty() || !pending_aborts_.empty();
}

// Whoever holds the socket's lock looks here again after giving it up. So what was added while it
// was held is sent by the holder, and what is added later finds the lock free: nothing is left
// behind.
void ClientSession::SendPending() RAYC_NO_TSA {
  while (HasPending() && mutex_.native().try_lock()) {
    QueuePendingLocked();
    if (!socket_.broken()) {
      (void)socket_.SendSome();  // the next Call hears of a failure
    }
    mutex_.Unlock();
  }
}

void ClientSession::QueuePendingLocked() {
  std::vector<uint64_t> releases;
  std::vector<ObjectId> deletes;
  std::vector<ObjectId> aborts;
  {
    const MutexLock lock(pending_mutex_);
    releases.swap(pending_releases_);
    deletes.swap(pending_deletes_);
    aborts.swap(pending_aborts_);
  }
  if (socket_.broken()) {
    return;
  }
  flatbuffers::FlatBufferBuilder builder(256);
  if (!releases.empty()) {
    builder.Finish(fb::CreatePlasmaReleaseDirect(builder, &releases));
    socket_.QueueOneWay(Method::kPlasmaRelease, builder);
  }
  for (const ObjectId& id : aborts) {
    builder.Clear();
    builder.Finish(fb::CreatePlasmaAbort(builder, BuildId(builder, id)));
    socket_.QueueOneWay(Method::kPlasmaAbort, builder);
  }
  if (!deletes.empty()) {
    builder.Clear();
    std::vector<flatbuffers::Offset<fb::PlasmaObjectId>> ids;
    ids.reserve(deletes.size());
    for (const ObjectId& id : deletes) {
      ids.push_back(fb::CreatePlasmaObjectId(builder, BuildId(builder, id)));
    }
    builder.Finish(fb::CreatePlasmaDeleteDirect(builder, &ids));
    socket_.QueueOneWay(Method::kPlasmaDelete, builder);
  }
}

}  // namespace rayc::plasma
