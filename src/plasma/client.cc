#include "plasma/client.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/clock.h"
#include "plasma/client_session.h"
#include "plasma/client_waits.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

Status Malformed() { return Status::Internal("malformed reply from the plasma store"); }

// A view of an object in the arena; one pin.
class PinnedBuffer final : public Buffer {
 public:
  PinnedBuffer(std::shared_ptr<ClientSession> session, uint64_t offset, uint64_t bytes)
      : session_(std::move(session)), offset_(offset) {
    data_ = session_->arena().At(offset);
    size_ = bytes;
  }
  ~PinnedBuffer() override { session_->Release(offset_); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

 private:
  const std::shared_ptr<ClientSession> session_;
  const uint64_t offset_;
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
      waits_(std::make_unique<ClientWaits>(session_->socket_path())) {}

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
    session_->AbortLater(id);
  }
}

void Client::Disconnect() {
  if (session_->CheckUsable().ok()) {
    session_->Disconnect();
    waits_->Close();
  }
}

uint64_t Client::capacity_bytes() const { return session_->capacity_bytes(); }

Result<WritableObject> Client::Create(const ObjectId& id, uint64_t data_bytes,
                                      const std::string& metadata, const WorkerId& owner) {
  flatbuffers::FlatBufferBuilder builder(256);
  const auto object_id = BuildId(builder, id);
  const auto text = builder.CreateString(metadata);
  const auto owner_id = owner.IsNil() ? 0 : BuildId(builder, owner);
  builder.Finish(fb::CreatePlasmaCreate(builder, object_id, data_bytes, text, owner_id));
  const auto reply = session_->Call(Method::kPlasmaCreate, builder);
  if (!reply) {
    return Err(reply.error());
  }
  const auto* created = reply->As<fb::PlasmaCreateReply>();
  if (created == nullptr || !session_->arena().Holds(created->offset(), data_bytes)) {
    return Err(Malformed());
  }
  const MutexLock lock(mutex_);
  creations_[id] = {created->offset(), data_bytes};
  return WritableObject{session_->arena().At(created->offset()), data_bytes};
}

Status Client::SealOnly(const ObjectId& id, bool keep_pin, Creation* creation) {
  flatbuffers::FlatBufferBuilder builder(128);
  builder.Finish(fb::CreatePlasmaSeal(builder, BuildId(builder, id), keep_pin));
  const auto reply = session_->Call(Method::kPlasmaSeal, builder);
  if (!reply) {
    return reply.error();
  }
  const MutexLock lock(mutex_);
  const auto it = creations_.find(id);
  if (it == creations_.end()) {
    return Malformed();
  }
  *creation = it->second;
  creations_.erase(it);
  return Status::Ok();
}

Status Client::Seal(const ObjectId& id) {
  Creation creation;
  return SealOnly(id, /*keep_pin=*/false, &creation);
}

Result<std::shared_ptr<Buffer>> Client::SealAndPin(const ObjectId& id) {
  Creation creation;
  if (const Status status = SealOnly(id, /*keep_pin=*/true, &creation); !status.ok()) {
    return Err(status);
  }
  return std::make_shared<PinnedBuffer>(session_, creation.offset, creation.data_bytes);
}

Status Client::Abort(const ObjectId& id) {
  flatbuffers::FlatBufferBuilder builder(128);
  builder.Finish(fb::CreatePlasmaAbort(builder, BuildId(builder, id)));
  const auto reply = session_->Call(Method::kPlasmaAbort, builder);
  if (!reply) {
    return reply.error();
  }
  const MutexLock lock(mutex_);
  creations_.erase(id);
  return Status::Ok();
}

void Client::AbortLater(const ObjectId& id) {
  if (session_->Forked()) {
    return;  // the creation is the parent's, and so may be a thread that holds the lock
  }
  {
    const MutexLock lock(mutex_);
    creations_.erase(id);
  }
  session_->AbortLater(id);
}

Status Client::Fetch(std::span<const ObjectId> ids, std::span<const size_t> places,
                     std::vector<std::optional<ObjectValue>>* values) {
  flatbuffers::FlatBufferBuilder builder(256);
  builder.Finish(fb::CreatePlasmaGet(builder, BuildIds(builder, ids), 0));
  const auto reply = session_->Call(Method::kPlasmaGet, builder);
  if (!reply) {
    return reply.error();
  }
  const auto* got = reply->As<fb::PlasmaGetReply>();
  if (got == nullptr || got->objects() == nullptr || got->objects()->size() != ids.size()) {
    return Malformed();
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const fb::PlasmaObject* const object = got->objects()->Get(static_cast<uint32_t>(i));
    if (!object->found()) {
      continue;
    }
    if (!session_->arena().Holds(object->offset(), object->data_bytes())) {
      return Malformed();
    }
    ObjectValue value;
    value.data = std::make_shared<PinnedBuffer>(session_, object->offset(), object->data_bytes());
    if (object->metadata() != nullptr) {
      value.metadata = object->metadata()->str();
    }
    (*values)[places[i]] = std::move(value);
  }
  return Status::Ok();
}

Result<std::vector<std::optional<ObjectValue>>> Client::Get(std::span<const ObjectId> ids,
                                                            int64_t timeout_ms) {
  std::vector<std::optional<ObjectValue>> values(ids.size());
  std::vector<ObjectId> missing(ids.begin(), ids.end());
  std::vector<size_t> places(ids.size());
  for (size_t i = 0; i < places.size(); ++i) {
    places[i] = i;
  }
  const SteadyClock clock;
  const int64_t start_ms = clock.NowMs();
  while (!missing.empty()) {
    if (const Status status = Fetch(missing, places, &values); !status.ok()) {
      return Err(status);
    }
    std::erase_if(places, [&](size_t place) { return values[place].has_value(); });
    const int64_t left_ms =
        timeout_ms < 0 ? -1 : std::max<int64_t>(timeout_ms - (clock.NowMs() - start_ms), 0);
    if (places.empty() || left_ms == 0) {
      break;
    }
    missing.clear();
    for (const size_t place : places) {
      missing.push_back(ids[place]);
    }
    if (const Status status = waits_->Wait(missing, left_ms); !status.ok()) {
      return Err(status);
    }
  }
  return values;
}

Status Client::Delete(std::span<const ObjectId> ids) {
  flatbuffers::FlatBufferBuilder builder(256);
  builder.Finish(fb::CreatePlasmaDelete(builder, BuildIds(builder, ids)));
  const auto reply = session_->Call(Method::kPlasmaDelete, builder);
  return reply ? Status::Ok() : reply.error();
}

void Client::DeleteLater(std::span<const ObjectId> ids) { session_->DeleteLater(ids); }

Result<bool> Client::Contains(const ObjectId& id) {
  flatbuffers::FlatBufferBuilder builder(128);
  builder.Finish(fb::CreatePlasmaContains(builder, BuildId(builder, id)));
  const auto reply = session_->Call(Method::kPlasmaContains, builder);
  if (!reply) {
    return Err(reply.error());
  }
  const auto* contains = reply->As<fb::PlasmaContainsReply>();
  return contains == nullptr ? Result<bool>(Err(Malformed())) : contains->contains();
}

Result<ListResult> Client::List() {
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(fb::CreatePlasmaList(builder));
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
  result.capacity_bytes = listed->capacity_bytes();
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
    result.objects.push_back(info);
  }
  return result;
}

}  // namespace rayc::plasma
