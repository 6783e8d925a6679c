#include "rpc/ring.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace rayc::rpc {
namespace {

constexpr auto kSkip = static_cast<FrameKind>(0xfe);
constexpr auto kAside = static_cast<FrameKind>(0xff);
constexpr uint64_t kPageBytes = 4096;
// An empty ring goes back to its start once it has come so far.
constexpr uint64_t kRestartBytes = 2 * kPageBytes;
constexpr size_t kBufferBytesMin = 1024;

uint64_t FrameBytes(const FrameHeader& header) {
  return sizeof(FrameHeader) + PaddedPayloadBytes(header.payload_bytes);
}

}  // namespace

// ---- writer ----

uint64_t RingWriter::Unread() const {
  // A tail that a broken peer has written makes the ring look full, or it loses frames: its own.
  return std::min(head_ - control_->tail.load(std::memory_order_acquire), capacity_);
}

bool RingWriter::IsEmpty() const { return Unread() == 0; }

uint8_t* RingWriter::Claim(uint64_t bytes) {
  const uint64_t unread = Unread();
  const uint64_t at = head_ & (capacity_ - 1);
  const uint64_t to_end = capacity_ - at;
  const bool restarts = unread == 0 && at >= kRestartBytes && to_end + bytes <= capacity_;
  const uint64_t skipped = to_end < bytes || restarts ? to_end : 0;
  if (capacity_ - unread < skipped + bytes) {
    return nullptr;
  }
  if (skipped > 0) {
    FrameHeader header;
    header.kind = kSkip;
    header.payload_bytes = static_cast<uint32_t>(skipped - std::min(skipped, sizeof(header)));
    // The rest may have room for half a header only: that half says it all.
    std::memcpy(data_ + at, &header, std::min<uint64_t>(skipped, sizeof(header)));
    head_ += skipped;
  }
  const uint64_t begin = head_ & (capacity_ - 1);
  const uint64_t skip_end = skipped > 0 ? std::min(at + sizeof(FrameHeader), capacity_) : 0;
  touched_ = std::max({touched_, begin + bytes, skip_end});
  return data_ + begin;
}

bool RingWriter::Write(const FrameHeader& header, const uint8_t* payload) {
  const uint64_t bytes = FrameBytes(header);
  uint8_t* const to = Claim(bytes);
  if (to == nullptr) {
    return false;
  }
  std::memcpy(to, &header, sizeof(header));
  if (header.payload_bytes > 0) {
    std::memcpy(to + sizeof(header), payload, header.payload_bytes);
  }
  head_ += bytes;
  control_->head.store(head_, std::memory_order_release);
  return true;
}

bool RingWriter::WriteAside() {
  static constexpr uint8_t kNoPayload[8] = {};
  FrameHeader mark;
  mark.kind = kAside;
  return Write(mark, kNoPayload);
}

bool RingWriter::AskForRoom() {
  control_->writer_waits.store(1);
  // Twice the largest frame: what is skipped before the end may be as large.
  if (capacity_ - std::min(head_ - control_->tail.load(), capacity_) < capacity_ / 2) {
    return false;
  }
  control_->writer_waits.store(0);
  return true;
}

void RingWriter::Trim() {
  if (touched_ == 0 || !IsEmpty()) {
    return;
  }
  // An empty ring is read by nobody before we write again.
  ::madvise(data_, (touched_ + kPageBytes - 1) & ~(kPageBytes - 1), MADV_REMOVE);
  touched_ = 0;
}

// ---- reader ----

uint8_t* RingReader::Room(size_t bytes) {
  if (buffer_capacity_ - buffer_bytes_ < bytes) {
    const size_t capacity =
        std::max({kBufferBytesMin, buffer_capacity_ * 2, buffer_bytes_ + bytes});
    std::unique_ptr<uint8_t[]> larger(new uint8_t[capacity]);
    std::copy_n(buffer_.get(), buffer_bytes_, larger.get());
    buffer_ = std::move(larger);
    buffer_capacity_ = capacity;
  }
  return buffer_.get() + buffer_bytes_;
}

RingReader::Batch RingReader::Read(size_t bytes_wanted) {
  Batch batch;
  buffer_bytes_ = 0;
  const uint64_t head = control_->head.load(std::memory_order_acquire);
  const uint64_t unread = head - tail_;
  if (unread > capacity_ || head % 8 != 0) {
    batch.outcome = Outcome::kNonsense;
    return batch;
  }
  while (tail_ != head && buffer_bytes_ < bytes_wanted) {
    const uint64_t at = tail_ & (capacity_ - 1);
    const uint64_t to_end = capacity_ - at;
    const uint64_t in_reach = std::min(head - tail_, to_end);
    FrameHeader header;
    std::memcpy(&header, data_ + at, std::min<uint64_t>(sizeof(header), in_reach));
    if (header.kind == kSkip) {
      // To the end, whatever it says.
      if (in_reach != to_end) {
        batch.outcome = Outcome::kNonsense;
        return batch;
      }
      tail_ += to_end;
      continue;
    }
    const uint64_t bytes = FrameBytes(header);
    if (in_reach < sizeof(header) || bytes > in_reach || bytes > capacity_ / 4) {
      batch.outcome = Outcome::kNonsense;
      return batch;
    }
    if (header.kind == kAside) {
      tail_ += bytes;
      batch.outcome = Outcome::kAside;
      break;
    }
    uint8_t* const to = Room(bytes);
    std::memcpy(to, &header, sizeof(header));  // the one that was checked
    std::memcpy(to + sizeof(header), data_ + at + sizeof(header), bytes - sizeof(header));
    buffer_bytes_ += bytes;
    tail_ += bytes;
  }
  control_->tail.store(tail_);
  batch.frames = buffer_.get();
  batch.bytes = buffer_bytes_;
  return batch;
}

bool RingReader::TakeWaitingWriter() {
  // After the store of the tail above, both sequentially consistent: see AskForRoom.
  if (control_->writer_waits.load() == 0) {
    return false;
  }
  if (control_->head.load() - tail_ > capacity_ / 2) {
    return false;
  }
  control_->writer_waits.store(0);
  return true;
}

void RingReader::DropBuffer() {
  buffer_.reset();
  buffer_capacity_ = 0;
  buffer_bytes_ = 0;
}

}  // namespace rayc::rpc
