#include "plasma/client.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/clock.h"
#include "plasma/byte_size.h"
#include "plasma/client_region.h"
#include "plasma/client_session.h"
#include "plasma/client_waits.h"
#include "plasma/step_point.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

// How long a waiting Get may fail to notice that the store has gone, or Disconnect.
constexpr int64_t kWaitSliceMs = 500;
// How long a restored object may wait for room in a store that is full of pinned ones, at most.
constexpr int64_t kRestoreWaitMs = 10'000;

Status Malformed() { return Status::Internal("malformed reply from the plasma store"); }

// A view of an object in the arena; one pin.
class PinnedBuffer final : public Buffer {
 public:
  PinnedBuffer(std::shared_ptr<ClientSession> session, EntryRef ref, uint32_t place,
               uint64_t offset, uint64_t bytes)
      : session_(std::move(session)), ref_(ref), place_(place) {
    data_ = session_->arena().At(offset);
    size_ = bytes;
  }
  ~PinnedBuffer() override { session_->Unpin(place_, ref_); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

 private:
  const std::shared_ptr<ClientSession> session_;
  const EntryRef ref_;
  const uint32_t place_;
};

flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<fb::PlasmaObjectId>>> BuildIds(
    flatbuffers::FlatBufferBuilder& builder, std::span<const ObjectId> ids) {
  std::vector<flatbuffers::Offset<fb::PlasmaObjectId>> offsets;
  offsets.reserve(ids.size());
  for (const ObjectId& id : ids) {
    offsets.push_back(fb::CreatePlasmaObjectId(builder, BuildId(builder, id)));
  }
  return builder.CreateVector(offsets);
}

}  // namespace

Client::Client(std::shared_ptr<ClientSession> session)
    : session_(std::move(session)),
      waits_(std::make_unique<ClientWaits>(session_->socket_path(), session_->number())),
      region_(std::make_unique<ClientRegion>(*session_)) {}

Result<std::shared_ptr<Client>> Client::Connect(const std::string& socket_path) {
  auto session = ClientSession::Connect(socket_path);
  if (!session) {
    return Err(session.error());
  }
  return std::shared_ptr<Client>(new Client(std::move(*session)));
}

Client::~Client() {
  // A lock here would be one that the fork may have caught held; and nobody else has this object.
  for (const auto& [id, creation] : creations_) {
    Discard(creation);
  }
}

void Client::Disconnect() {
  if (session_->CheckUsable().ok()) {
    session_->Disconnect();
    waits_->Close();
    session_->index().RingAll();
  }
}

uint64_t Client::capacity_bytes() const { return session_->capacity_bytes(); }

// ---- creating --------------------------------------------------------------------------------

Result<WritableObject> Client::Create(const ObjectId& id, uint64_t data_bytes,
                                      const std::string& metadata, const CreateOptions& options) {
  if (const Status usable = session_->CheckAlive(); !usable.ok()) {
    return Err(usable);
  }
  if (id.IsNil()) {
    return Err(Status::InvalidArgument("the object id is nil"));
  }
  if (metadata.size() > SharedIndex::kMetadataBytesMax) {
    return Err(Status::InvalidArgument("metadata of " + FormatBytes(metadata.size()) +
                                       "; the limit is " +
                                       FormatBytes(SharedIndex::kMetadataBytesMax)));
  }
  auto creation = data_bytes <= ClientRegion::kObjectBytesMax
                      ? CreateInRegion(id, data_bytes, metadata, options)
                      : Result<std::optional<Creation>>(std::optional<Creation>());
  if (!creation) {
    return Err(creation.error());
  }
  if (!*creation) {
    creation = CreateAtStore(id, data_bytes, metadata, options);
    if (!creation) {
      return Err(creation.error());
    }
  }
  if (data_bytes >= Arena::kPreparedBytesMin) {
    session_->arena().Prepare((*creation)->offset, data_bytes);
  }
  if (metadata.size() > Entry::kInlineMetadataBytes) {
    std::memcpy(session_->arena().At(SharedIndex::MetadataOffset((*creation)->offset, data_bytes)),
                metadata.data(), metadata.size());
  }
  {
    const MutexLock lock(mutex_);
    if (creations_.try_emplace(id, **creation).second) {
      return WritableObject{session_->arena().At((*creation)->offset), data_bytes};
    }
  }
  // The one before was deleted meanwhile, but its room is still this process' to write to.
  Discard(**creation);
  return Err(Status::AlreadyExists("object " + id.Hex() +
                                   " was deleted while it was being written, and still is"));
}

Status Client::AlreadyThere(const ObjectId& id, uint32_t entry) const {
  std::string text = "object " + id.Hex() + " exists already";
  if (const auto record = session_->index().Read(entry, session_->arena().bytes());
      record && record->id == id) {
    text += ": " + FormatBytes(record->data_bytes) +
            (record->word.state == EntryState::kCreating ? ", being written by process "
                                                         : ", made by process ") +
            std::to_string(record->made_by_pid);
  }
  return Status::AlreadyExists(text);
}

Result<std::optional<Creation>> Client::CreateInRegion(const ObjectId& id, uint64_t data_bytes,
                                                       const std::string& metadata,
                                                       const CreateOptions& options) {
  const SharedIndex& index = session_->index();
  // Mostly spares the room of an object that is there already; Insert decides.
  if (const auto existing = index.Find(id)) {
    return Err(AlreadyThere(id, existing->entry));
  }
  if (index.OwnerIsDead(options.owner)) {
    return Err(Status(StatusCode::kOwnerDied, "the owner of object " + id.Hex() + ", " +
                                                  options.owner.Hex() + ", is gone"));
  }
  auto creation = region_->Take(id, data_bytes, metadata, options.owner, options.evictable);
  if (!creation || !*creation) {
    return creation;
  }
  uint32_t existing = 0;
  if (const Status status = index.Insert((*creation)->ref.entry, id, &existing); !status.ok()) {
    Discard(**creation);
    return Err(status.code() == StatusCode::kAlreadyExists ? AlreadyThere(id, existing) : status);
  }
  return creation;
}

Result<std::optional<Creation>> Client::CreateAtStore(const ObjectId& id, uint64_t data_bytes,
                                                      const std::string& metadata,
                                                      const CreateOptions& options) {
  flatbuffers::FlatBufferBuilder builder(256);
  const auto object_id = BuildId(builder, id);
  const auto tag =
      builder.CreateVector(reinterpret_cast<const uint8_t*>(metadata.data()), metadata.size());
  const auto owner_id = options.owner.IsNil() ? 0 : BuildId(builder, options.owner);
  builder.Finish(fb::CreatePlasmaCreate(builder, object_id, data_bytes, tag, owner_id,
                                        options.evictable, options.wait_ms));
  const auto take = [&](const OwnedReply& reply) -> Result<std::optional<Creation>> {
    const auto* created = reply.As<fb::PlasmaCreateReply>();
    if (created == nullptr || created->entry() >= session_->index().entry_capacity() ||
        !session_->arena().Holds(created->offset(),
                                 SharedIndex::ExtentBytes(data_bytes, metadata.size()))) {
      return Err(Malformed());
    }
    return std::optional(Creation{
        {created->entry(), created->generation()}, options.owner, created->offset(), data_bytes});
  };
  const auto reply = session_->Call(Method::kPlasmaCreate, builder);
  StepPoint("store has answered a create");
  if (reply) {
    return take(*reply);
  }
  if (reply.error().code() != StatusCode::kTimedOut) {
    return Err(reply.error());
  }
  const auto held = waits_->Call(Method::kPlasmaCreate, builder);
  StepPoint("store has answered a create that waited");
  return held ? take(held->reply()) : Err(held.error());
}

void Client::Discard(const Creation& creation) const {
  const SharedIndex& index = session_->index();
  if (session_->Forked()) {
    return;
  }
  for (const EntryState state : {EntryState::kCreating, EntryState::kDoomed}) {
    const EntryWord word{state, session_->number(), creation.ref.generation};
    if (index.Change(creation.ref.entry, word, word.With(EntryState::kDead))) {
      StepPoint("discarded, store not told");
      session_->Note(ClientSegment::Note::kCheck, creation.ref);
      return;
    }
  }
}

Result<Creation> Client::TakeCreation(const ObjectId& id) {
  if (const Status usable = session_->CheckAlive(); !usable.ok()) {
    return Err(usable);
  }
  {
    const MutexLock lock(mutex_);
    const auto it = creations_.find(id);
    if (it != creations_.end()) {
      const Creation creation = it->second;
      creations_.erase(it);
      return creation;
    }
  }
  const auto ref = session_->index().Find(id);
  const auto record = ref ? session_->index().Read(ref->entry, session_->arena().bytes())
                          : std::optional<ObjectRecord>();
  if (!record || record->id != id) {
    return Err(Status::NotFound("no object " + id.Hex() + " is being written by this client"));
  }
  return Err(Status::InvalidArgument(record->word.state == EntryState::kCreating
                                         ? "object " + id.Hex() +
                                               " is being written by another client, process " +
                                               std::to_string(record->made_by_pid)
                                         : "object " + id.Hex() + " is sealed already"));
}

Status Client::Publish(const ObjectId& id, const Creation& creation) {
  const SharedIndex& index = session_->index();
  const EntryWord creating{EntryState::kCreating, session_->number(), creation.ref.generation};
  StepPoint("written, not published");
  if (!index.Change(creation.ref.entry, creating, creating.With(EntryState::kSealed))) {
    Discard(creation);  // it was deleted meanwhile, and goes
    return Status::Ok();
  }
  StepPoint("published, nobody told");
  index.Ring(id);
  if (index.subscribed()) {
    session_->Note(ClientSegment::Note::kSealed, creation.ref);
  }
  if (index.OwnerIsDead(creation.owner) && index.Kill(creation.ref)) {
    session_->Note(ClientSegment::Note::kCheck, creation.ref);
  }
  return Status::Ok();
}

Status Client::Seal(const ObjectId& id) {
  const auto creation = TakeCreation(id);
  return creation ? Publish(id, *creation) : creation.error();
}

Result<std::shared_ptr<Buffer>> Client::SealAndPin(const ObjectId& id) {
  const auto creation = TakeCreation(id);
  if (!creation) {
    return Err(creation.error());
  }
  const auto place = session_->PinOwnCreation(creation->ref);
  if (!place) {
    Discard(*creation);
    return Err(place.error());
  }
  auto buffer = std::make_shared<PinnedBuffer>(session_, creation->ref, *place, creation->offset,
                                               creation->data_bytes);
  if (const Status status = Publish(id, *creation); !status.ok()) {
    return Err(status);
  }
  return std::shared_ptr<Buffer>(std::move(buffer));
}

Status Client::Abort(const ObjectId& id) {
  const auto creation = TakeCreation(id);
  if (!creation) {
    return creation.error();
  }
  Discard(*creation);
  return Status::Ok();
}

void Client::AbortLater(const ObjectId& id) {
  if (session_->Forked()) {
    return;  // the creation is the parent's, and so may be a thread that holds the lock
  }
  Creation creation;
  {
    const MutexLock lock(mutex_);
    const auto it = creations_.find(id);
    if (it == creations_.end()) {
      return;
    }
    creation = it->second;
    creations_.erase(it);
  }
  Discard(creation);
}

// ---- reading ---------------------------------------------------------------------------------

Result<Client::Found> Client::TryGet(const ObjectId& id, std::optional<ObjectValue>* value) {
  const SharedIndex& index = session_->index();
  while (true) {
    const auto ref = index.Find(id);
    if (!ref) {
      return Found::kAbsent;
    }
    const EntryWord word = index.WordOf(ref->entry);
    if (word.generation != ref->generation) {
      continue;
    }
    if (word.state == EntryState::kSpilled || word.state == EntryState::kRestoring) {
      return Found::kSpilled;
    }
    if (!word.readable()) {
      if (word.present()) {
        return Found::kAbsent;  // being created
      }
      continue;  // deleted under us: there may be another one of that id
    }
    const auto place = session_->PinIfReadable(*ref);
    if (!place) {
      return Err(place.error());
    }
    if (!*place) {
      continue;
    }
    StepPoint("pinned");
    auto record = index.Read(ref->entry, session_->arena().bytes());
    // While pinned its word may still change: to and from spilling, and to dead.
    for (int i = 0; i < 3 && !record; ++i) {
      record = index.Read(ref->entry, session_->arena().bytes());
    }
    if (!record || record->id != id || record->ref != *ref) {
      session_->Unpin(**place, *ref);
      return Err(Status::Internal("the object store's index is damaged: object " + id.Hex()));
    }
    ObjectValue found;
    found.data =
        std::make_shared<PinnedBuffer>(session_, *ref, **place, record->offset, record->data_bytes);
    found.metadata = Metadata(*record);
    index.Touch(ref->entry);
    *value = std::move(found);
    return Found::kThere;
  }
}

std::string Client::Metadata(const ObjectRecord& record) const {
  std::string metadata(record.metadata_bytes, '\0');
  if (record.metadata_bytes > Entry::kInlineMetadataBytes) {
    std::memcpy(metadata.data(),
                session_->arena().At(SharedIndex::MetadataOffset(record.offset, record.data_bytes)),
                metadata.size());
  } else if (!metadata.empty()) {
    session_->index().at(record.ref.entry).metadata.Load(metadata.data(), metadata.size());
  }
  return metadata;
}

Status Client::Fetch(std::span<const ObjectId> ids, std::span<std::optional<ObjectValue>> values,
                     int64_t restore_wait_ms) {
  std::vector<ObjectId> spilled;
  std::optional<ClientWaits::Held> held;  // what was restored, until it is pinned here
  while (true) {
    spilled.clear();
    for (size_t i = 0; i < ids.size(); ++i) {
      if (values[i]) {
        continue;
      }
      const auto found = TryGet(ids[i], &values[i]);
      if (!found) {
        return found.error();
      }
      if (*found == Found::kSpilled) {
        spilled.push_back(ids[i]);
      }
    }
    held.reset();
    if (spilled.empty()) {
      return Status::Ok();
    }
    flatbuffers::FlatBufferBuilder builder(256);
    builder.Finish(fb::CreatePlasmaRestore(builder, BuildIds(builder, spilled), restore_wait_ms));
    auto restored = waits_->Call(Method::kPlasmaRestore, builder);
    StepPoint("restored, not pinned");
    if (!restored) {
      return restored.error();
    }
    held.emplace(std::move(*restored));
  }
}

Result<std::vector<std::optional<ObjectValue>>> Client::Get(std::span<const ObjectId> ids,
                                                            int64_t timeout_ms) {
  const int64_t restore_wait_ms =
      timeout_ms > 0 ? std::min(timeout_ms, kRestoreWaitMs) : kRestoreWaitMs;
  std::vector<std::optional<ObjectValue>> values(ids.size());
  if (const Status usable = session_->CheckAlive(); !usable.ok()) {
    return Err(usable);
  }
  if (const Status status = Fetch(ids, values, restore_wait_ms); !status.ok()) {
    return Err(status);
  }
  const SteadyClock clock;
  const int64_t start_ms = clock.NowMs();
  size_t next = 0;
  while (timeout_ms != 0) {
    while (next < ids.size() && values[next]) {
      ++next;
    }
    if (next == ids.size()) {
      break;
    }
    // All of them are waited for, one after the other.
    const int64_t left_ms = timeout_ms < 0
                                ? kWaitSliceMs
                                : std::max<int64_t>(timeout_ms - (clock.NowMs() - start_ms), 0);
    const uint32_t armed = session_->index().ArmDoorbell(ids[next]);
    if (const Status status =
            Fetch(ids.subspan(next, 1), std::span(values).subspan(next, 1), restore_wait_ms);
        !status.ok()) {
      return Err(status);
    }
    if (values[next]) {
      continue;
    }
    if (left_ms == 0) {
      break;
    }
    const Status waited =
        session_->index().WaitForDoorbell(ids[next], armed, std::min(left_ms, kWaitSliceMs));
    if (!waited.ok() && waited.code() != StatusCode::kTimedOut) {
      return Err(waited);
    }
    if (const Status alive = session_->CheckAlive(); !alive.ok()) {
      return Err(alive);
    }
  }
  // Those behind the one that did not come may have.
  if (next < ids.size() && timeout_ms != 0) {
    if (const Status status = Fetch(ids, values, restore_wait_ms); !status.ok()) {
      return Err(status);
    }
  }
  return values;
}

Result<bool> Client::Contains(const ObjectId& id) {
  if (const Status usable = session_->CheckAlive(); !usable.ok()) {
    return Err(usable);
  }
  const auto ref = session_->index().Find(id);
  return ref && session_->index().WordOf(ref->entry).state != EntryState::kCreating;
}

// ---- deleting, and what the store is asked for -----------------------------------------------

Status Client::Delete(std::span<const ObjectId> ids) {
  if (Status usable = session_->CheckAlive(); !usable.ok()) {
    return usable;
  }
  DeleteLater(ids);
  return Status::Ok();
}

void Client::DeleteLater(std::span<const ObjectId> ids) {
  if (session_->Forked()) {
    return;
  }
  for (const ObjectId& id : ids) {
    const auto ref = session_->index().Find(id);
    if (ref && session_->index().Kill(*ref)) {
      StepPoint("killed, store not told");
      session_->Note(ClientSegment::Note::kCheck, *ref);
    }
  }
}

Result<uint64_t> Client::Evict(uint64_t bytes) {
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaEvict(builder, bytes));
  const auto reply = session_->Call(Method::kPlasmaEvict, builder);
  if (!reply) {
    return Err(reply.error());
  }
  const auto* evicted = reply->As<fb::PlasmaEvictReply>();
  return evicted == nullptr ? Result<uint64_t>(Err(Malformed())) : evicted->bytes();
}

Result<ListResult> Client::List(bool check) {
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaList(builder, check));
  const auto reply = session_->Call(Method::kPlasmaList, builder);
  if (!reply) {
    return Err(reply.error());
  }
  const auto* listed = reply->As<fb::PlasmaListReply>();
  if (listed == nullptr || listed->objects() == nullptr) {
    return Err(Malformed());
  }
  ListResult result;
  result.used_bytes = listed->used_bytes();
  result.granted_bytes = listed->granted_bytes();
  result.capacity_bytes = listed->capacity_bytes();
  result.spilled_bytes = listed->spilled_bytes();
  if (listed->problem() != nullptr) {
    result.problem = listed->problem()->str();
  }
  result.objects.reserve(listed->objects()->size());
  for (const auto* object : *listed->objects()) {
    ObjectInfo info;
    info.id = ObjectId::FromBytes(object->object_id());
    info.owner = WorkerId::FromBytes(object->owner());
    info.data_bytes = object->data_bytes();
    info.metadata_bytes = object->metadata_bytes();
    info.pins = object->pins();
    info.made_by_pid = object->created_by_pid();
    info.sealed = object->sealed();
    info.deleted = object->deleted();
    info.place = object->spilled() ? ObjectPlace::kSpilled : ObjectPlace::kArena;
    result.objects.push_back(info);
  }
  return result;
}

// ---- subscribing -----------------------------------------------------------------------------

Subscription::Subscription(std::unique_ptr<ClientSocket> socket) : socket_(std::move(socket)) {}
Subscription::~Subscription() = default;

int Subscription::fd() const { return socket_->fd(); }

Result<Notification> Subscription::Next(int64_t timeout_ms) {
  if (const Status ready = socket_->WaitReadable(timeout_ms); !ready.ok()) {
    return Err(ready);
  }
  const auto frame = socket_->ReceiveFrame();
  if (!frame) {
    return Err(frame.error());
  }
  const auto* message = frame->method() == Method::kPlasmaNotification
                            ? frame->As<fb::PlasmaNotification>()
                            : nullptr;
  if (message == nullptr) {
    return Err(Malformed());
  }
  return Notification{ObjectId::FromBytes(message->object_id()), message->data_bytes(),
                      message->metadata_bytes(), message->gone()};
}

Result<std::unique_ptr<Subscription>> Client::Subscribe() {
  if (const Status usable = session_->CheckUsable(); !usable.ok()) {
    return Err(usable);
  }
  auto socket = std::make_unique<ClientSocket>();
  if (const auto hello = socket->Connect(session_->socket_path(), session_->number()); !hello) {
    return Err(hello.error());
  }
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaSubscribe(builder));
  const uint64_t request_id = socket->QueueRequest(Method::kPlasmaSubscribe, builder);
  if (const Status sent = socket->SendAll(); !sent.ok()) {
    return Err(sent);
  }
  if (const auto reply = socket->ReceiveReply(request_id); !reply) {
    return Err(reply.error());
  }
  return std::make_unique<Subscription>(std::move(socket));
}

}  // namespace rayc::plasma
