// The part of a channel that goes through shared memory: how it comes about, and what it carries.
#include <cstring>
#include <utility>

#include "common/logging.h"
#include "rpc/channel.h"

namespace rayc::rpc {
namespace {

// Read from a ring at once.
constexpr size_t kBatchBytes = 16UL << 10;
// Descriptors of a kRingOffer: the rings, then a doorbell, which is all of a kRingAccept.
constexpr size_t kFdsOfDoorbell = 2;
constexpr size_t kFdsOfOffer = 1 + kFdsOfDoorbell;
// Where it was not possible at first.
constexpr int kFramesBeforeNextOffer = 1000;

}  // namespace

bool Channel::SharesMemory() {
  const MutexLock lock(mutex_);
  return writes_ring_ != nullptr;
}

// ---- coming about ----

bool Channel::SendRingSlotLocked(Method method, uint32_t slot, std::span<const int> fds) {
  fb::RingSlotT message;
  message.slot = slot;
  const Payload payload = Payload::Of(message);
  FrameHeader header;
  header.method = static_cast<uint16_t>(method);
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  return SendBySocketLocked(header, payload.data(), fds);
}

void Channel::OfferRings() {
  if (closed_.load() || link_ != nullptr) {
    return;
  }
  const MutexLock lock(mutex_);
  frames_until_offer_ = kFramesBeforeNextOffer;
  if (output_begin_ < output_.size()) {
    return;  // descriptors go with the first byte of a message: not now
  }
  auto link = RingLink::Make();
  if (!link) {
    RAYC_LOG(kWarning) << "no rings for a connection, which stays on its socket: " << link.error();
    return;
  }
  link_ = std::move(*link);
  if (!TakeRingSlot()) {
    link_.reset();
    return;
  }
  const int fds[kFdsOfOffer] = {link_->memory_fd(), loop_.doorbell_memory_fd(),
                                loop_.doorbell_event_fd()};
  if (SendRingSlotLocked(Method::kRingOffer, *ring_slot_, fds)) {
    frames_until_offer_ = 0;
    link_->ForgetMemoryFd();
  } else {
    DropRings();
  }
}

bool Channel::TakeRingSlot() {
  auto slot = loop_.AddRing([weak = weak_from_this()](bool is_inspection) {
    if (const ChannelPtr self = weak.lock()) {
      self->OnRung(is_inspection);
    }
  });
  if (slot) {
    ring_slot_ = *slot;
  }
  return ring_slot_.has_value();
}

void Channel::DropRings() {
  if (ring_slot_) {
    loop_.RemoveRing(*ring_slot_);
    ring_slot_.reset();
  }
  link_.reset();
}

bool Channel::HandleRingMessage(Method method, Message message) {
  Status status;
  switch (method) {
    case Method::kRingOffer:
      status = AcceptRings(message);
      break;
    case Method::kRingAccept:
      status = StartRings(message);
      break;
    case Method::kRingRefuse:
      if (link_ != nullptr && !accepted_ && !reads_ring_) {
        DropRings();
        const MutexLock lock(mutex_);
        frames_until_offer_ = kFramesBeforeNextOffer;
      }
      break;
    default:
      if (link_ != nullptr && accepted_) {
        reads_ring_ = true;
      } else {
        status = Status::IOError("the start of rings that were not accepted");
      }
      break;
  }
  received_fds_.clear();
  if (!status.ok()) {
    Fail(status);
    return false;
  }
  return true;
}

Status Channel::AcceptRings(Message message) {
  if (!accepted_ || link_ != nullptr) {
    return Status::IOError("an offer of rings that is not the other side's to make");
  }
  const MutexLock lock(mutex_);
  if (options_.shares_memory && MapOffered(message)) {
    const int fds[kFdsOfDoorbell] = {loop_.doorbell_memory_fd(), loop_.doorbell_event_fd()};
    if (SendRingSlotLocked(Method::kRingAccept, *ring_slot_, fds)) {
      writes_ring_ = link_.get();
      return Status::Ok();
    }
  }
  // Whatever was missing: it goes on by the socket.
  DropRings();
  SendRingSlotLocked(Method::kRingRefuse, 0, {});
  return Status::Ok();
}

bool Channel::MapOffered(Message message) {
  if (received_fds_.size() != kFdsOfOffer) {
    return false;
  }
  auto link = RingLink::Map(std::move(received_fds_[0]));
  if (!link) {
    return false;
  }
  received_fds_.erase(received_fds_.begin());
  link_ = std::move(*link);
  return TakeDoorbell(message).ok() && TakeRingSlot();
}

Status Channel::StartRings(Message message) {
  if (link_ == nullptr || accepted_ || reads_ring_) {
    return Status::IOError("rings were accepted that were not offered");
  }
  if (received_fds_.size() != kFdsOfDoorbell) {
    return Status::IOError("rings were accepted without a doorbell");
  }
  RAYC_RETURN_NOT_OK(TakeDoorbell(message));
  reads_ring_ = true;
  const MutexLock lock(mutex_);
  SendRingSlotLocked(Method::kRingStart, *ring_slot_, {});
  writes_ring_ = link_.get();
  return Status::Ok();
}

Status Channel::TakeDoorbell(Message message) {
  const auto* slot = message.As<fb::RingSlot>();
  if (slot == nullptr || slot->slot() >= Doorbell::kSlots) {
    return Status::IOError("malformed message about rings");
  }
  auto doorbell = PeerDoorbell::Map(std::move(received_fds_[0]), std::move(received_fds_[1]));
  if (!doorbell) {
    return doorbell.error();
  }
  link_->SetPeer(std::move(*doorbell), slot->slot());
  return Status::Ok();
}

// ---- sending ----

void Channel::SendByRingLocked(const FrameHeader& header, const uint8_t* payload) {
  wrote_since_inspection_ = true;
  if (backlog_begin_ == backlog_.size() && TryRingLocked(header, payload)) {
    writes_ring_->RingPeer();
    return;
  }
  backlog_.append(reinterpret_cast<const char*>(&header), sizeof(header));
  backlog_.append(reinterpret_cast<const char*>(payload), header.payload_bytes);
  backlog_.append(PaddedPayloadBytes(header.payload_bytes) - header.payload_bytes, '\0');
  if (backlog_.size() - backlog_begin_ > kUnsentBytesMax) {
    FailSoon(Status::IOError("the peer does not read what it is sent"));
    return;
  }
  FlushBacklogLocked();
}

bool Channel::TryRingLocked(const FrameHeader& header, const uint8_t* payload) {
  RingWriter& writer = writes_ring_->writer();
  if (writer.Fits(sizeof(header) + PaddedPayloadBytes(header.payload_bytes))) {
    return writer.Write(header, payload);
  }
  // In this order: whoever sees the frame must be able to see that it was announced.
  if (!writer.WriteAside()) {
    return false;
  }
  SendBySocketLocked(header, payload);
  return true;
}

void Channel::FlushBacklogLocked() {
  // Room that is made before the reader can see that we wait for it is seen by us.
  bool any = false;
  do {
    while (backlog_begin_ < backlog_.size()) {
      FrameHeader header;
      std::memcpy(&header, backlog_.data() + backlog_begin_, sizeof(header));
      const char* payload = backlog_.data() + backlog_begin_ + sizeof(header);
      if (!TryRingLocked(header, reinterpret_cast<const uint8_t*>(payload))) {
        break;
      }
      any = true;
      backlog_begin_ += sizeof(header) + PaddedPayloadBytes(header.payload_bytes);
    }
  } while (backlog_begin_ < backlog_.size() && writes_ring_->writer().AskForRoom());
  if (backlog_begin_ == backlog_.size()) {
    backlog_ = std::string();
    backlog_begin_ = 0;
  } else if (backlog_begin_ > backlog_.size() / 2) {
    backlog_.erase(0, backlog_begin_);
    backlog_begin_ = 0;
  }
  if (any) {
    writes_ring_->RingPeer();
  }
}

// ---- receiving ----

void Channel::OnRung(bool is_inspection) {
  if (closed_.load() || link_ == nullptr) {
    return;
  }
  {
    const MutexLock lock(mutex_);
    if (writes_ring_ != nullptr && backlog_begin_ < backlog_.size()) {
      FlushBacklogLocked();
    }
    if (is_inspection && writes_ring_ != nullptr &&
        !std::exchange(wrote_since_inspection_, false)) {
      writes_ring_->writer().Trim();
    }
  }
  if (reads_ring_) {
    if (is_inspection && link_->reader().IsEmpty()) {
      link_->reader().DropBuffer();
      return;
    }
    HandleFrames(kBatchBytes * 4);
  }
}

// False: there are none, or the next one comes by the socket, or others have their turn now.
bool Channel::HandleRingFrames(size_t* bytes_left) {
  const RingReader::Batch batch = link_->reader().Read(std::min(*bytes_left, kBatchBytes));
  if (batch.outcome == RingReader::Outcome::kNonsense) {
    Fail(Status::IOError("the peer has written nonsense into its ring"));
    return false;
  }
  awaits_aside_ = batch.outcome == RingReader::Outcome::kAside;
  if (link_->reader().TakeWaitingWriter()) {
    const MutexLock lock(mutex_);
    if (writes_ring_ != nullptr) {
      writes_ring_->RingPeer();
    }
  }
  for (size_t at = 0; at < batch.bytes;) {
    FrameHeader header;
    std::memcpy(&header, batch.frames + at, sizeof(header));
    if (const char* error = FrameHeaderError(header)) {
      Fail(Status::IOError(std::string("malformed frame: ") + error));
      return false;
    }
    const Message message{batch.frames + at + sizeof(header), header.payload_bytes};
    if (!HandleFrame(header, message) || closed_.load()) {
      return false;
    }
    at += sizeof(header) + PaddedPayloadBytes(header.payload_bytes);
  }
  *bytes_left -= std::min(*bytes_left, batch.bytes);
  if (*bytes_left == 0) {
    loop_.LookAgain(*ring_slot_);
    return false;
  }
  if (batch.bytes == 0 && !awaits_aside_ && input_begin_ < input_end_) {
    Fail(Status::IOError("a frame by the socket that its ring does not announce"));
    return false;
  }
  return batch.bytes > 0 || awaits_aside_;
}

}  // namespace rayc::rpc
