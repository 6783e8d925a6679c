#include "plasma/client_session.h"

#include <poll.h>
#include <unistd.h>

#include <utility>

#include "common/fork_count.h"
#include "plasma/step_point.h"

namespace rayc::plasma {

ClientSession::ClientSession(std::string socket_path, pid_t pid)
    : socket_path_(std::move(socket_path)), pid_(pid), fork_count_(ForkCount()) {}

Result<std::shared_ptr<ClientSession>> ClientSession::Connect(const std::string& socket_path) {
  std::shared_ptr<ClientSession> session(new ClientSession(socket_path, ::getpid()));
  const MutexLock lock(session->mutex_);
  auto hello = session->socket_.Connect(socket_path, /*companion_of=*/0);
  if (!hello) {
    return Err(hello.error());
  }
  auto arena = Arena::Map(std::move(hello->arena), hello->arena_bytes);
  if (!arena) {
    return Err(arena.error());
  }
  auto index = SharedIndex::Map(std::move(hello->index));
  if (!index) {
    return Err(index.error());
  }
  auto segment = ClientSegment::Map(std::move(hello->segment));
  if (!segment) {
    return Err(segment.error());
  }
  session->arena_ = std::move(*arena);
  session->index_ = std::move(*index);
  session->segment_ = std::move(*segment);
  session->pins_ = std::make_unique<ClientPins>(session->segment_);
  session->wake_fd_ = std::move(hello->wake);
  session->socket_fd_ = session->socket_.fd();
  session->number_ = hello->client;
  session->capacity_bytes_ = hello->capacity_bytes;
  return session;
}

bool ClientSession::Forked() const { return ForkCount() != fork_count_; }

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

Status ClientSession::CheckAlive() {
  if (Status usable = CheckUsable(); !usable.ok()) {
    return usable;
  }
  // Another thread may be waiting for a reply on it: only the end of the stream counts.
  pollfd socket{socket_fd_, POLLRDHUP, 0};
  if (store_gone_.load(std::memory_order_relaxed) || ::poll(&socket, 1, 0) > 0) {
    store_gone_.store(true, std::memory_order_relaxed);
    return StoreGone();
  }
  return Status::Ok();
}

Status ClientSession::StoreGone() const {
  return Status::Disconnected("the plasma store at " + socket_path_ + " is gone");
}

Result<OwnedReply> ClientSession::Call(Method method,
                                       const flatbuffers::FlatBufferBuilder& message) {
  if (const Status usable = CheckUsable(); !usable.ok()) {
    return Err(usable);
  }
  const MutexLock lock(mutex_);
  if (socket_.broken()) {
    return Err(StoreGone());
  }
  const uint64_t request_id = socket_.QueueRequest(method, message);
  const Status sent = socket_.SendAll();
  const Result<Frame> frame = sent.ok() ? socket_.ReceiveReply(request_id) : Err(sent);
  return frame ? Result<OwnedReply>(OwnedReply(*frame)) : Err(frame.error());
}

Result<uint32_t> ClientSession::SetPin(EntryRef ref) {
  const auto place = pins_->Set(ref);
  if (!place) {
    return Err(Status::OutOfMemory("this process views " + std::to_string(ClientSegment::kPinsMax) +
                                   " objects of the store, and that is the limit"));
  }
  return *place;
}

Result<std::optional<uint32_t>> ClientSession::PinIfReadable(EntryRef ref) {
  const auto place = SetPin(ref);
  if (!place) {
    return Err(place.error());
  }
  const EntryWord word = index_->WordOf(ref.entry);
  if (word.generation == ref.generation && word.readable()) {
    return std::optional(*place);
  }
  // The store may have seen the pin meanwhile.
  Unpin(*place, ref);
  return std::optional<uint32_t>();
}

Result<uint32_t> ClientSession::PinOwnCreation(EntryRef ref) { return SetPin(ref); }

void ClientSession::Unpin(uint32_t place, EntryRef ref) {
  if (Forked()) {
    return;  // the pin is the parent's; its locks may be held by threads that do not exist here
  }
  pins_->Clear(place);
  const EntryWord word = index_->WordOf(ref.entry);
  if (word.generation == ref.generation && word.state == EntryState::kDead) {
    Note(ClientSegment::Note::kCheck, ref);
  }
}

void ClientSession::Note(ClientSegment::Note note, EntryRef ref) {
  if (Forked()) {
    return;
  }
  {
    const MutexLock lock(notes_mutex_);
    (void)segment_->PushNote({note, ref});
  }
  if (index_->SetWorkPending()) {
    StepPoint("work pending, store not woken");
    const uint64_t one = 1;
    // Never blocks: the counter is far from its end.
    (void)!::write(wake_fd_.get(), &one, sizeof(one));
  }
}

}  // namespace rayc::plasma
