// A ring of frames in memory that two processes share: one writes, the other reads. No system
// calls, no IO, no knowledge of who is woken how.
//
//   control   head: bytes ever written; tail: bytes ever read; what is between them is unread
//   data      frames as in common/frame.h, each in one piece, at multiples of 8. A header of the
//   kind
//             kSkip stands where a frame did not fit before the end; one of the kind kAside says
//             that the next frame comes by the socket, because it is too large for here
//
// What the reader finds is copied out before it is looked at: the writer may be broken, and change
// it. A ring that is empty begins again at its start, so that little traffic touches little memory.
//
// Threads: a writer and a reader, each used by one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/frame.h"
#include "common/status.h"

namespace rayc::rpc {

struct RingControl {
  alignas(64) std::atomic<uint64_t> head;
  // Set by the writer that waits for room; whoever makes room takes it away, and rings.
  std::atomic<uint32_t> writer_waits;
  alignas(64) std::atomic<uint64_t> tail;
};

class RingWriter {
 public:
  // capacity: a power of two.
  RingWriter(RingControl* control, uint8_t* data, uint64_t capacity)
      : control_(control), data_(data), capacity_(capacity) {}

  // Whether such a frame goes through the ring, when it has room.
  bool Fits(size_t frame_bytes) const { return frame_bytes <= capacity_ / 4; }
  // False: no room now.
  bool Write(const FrameHeader& header, const uint8_t* payload);
  bool WriteAside();
  // Asks the reader to ring when it has made room. True: there is room already, for a frame of the
  // largest kind.
  bool AskForRoom();
  bool IsEmpty() const;
  // Gives the pages of an empty ring back to the kernel; they are zeros when next used.
  void Trim();

 private:
  uint8_t* Claim(uint64_t bytes);
  uint64_t Unread() const;

  RingControl* control_;
  uint8_t* data_;
  const uint64_t capacity_;
  uint64_t head_ = 0;     // ours: what the peer writes into the control block is not believed
  uint64_t touched_ = 0;  // no page at or beyond this offset has been written since Trim
};

class RingReader {
 public:
  RingReader(RingControl* control, const uint8_t* data, uint64_t capacity)
      : control_(control), data_(data), capacity_(capacity) {}

  enum class Outcome {
    kRead,      // all there was, or as much as was wanted
    kAside,     // up to a mark: the next frame comes by the socket
    kNonsense,  // no ring that a sane peer has written
  };
  struct Batch {
    Outcome outcome = Outcome::kRead;
    const uint8_t* frames = nullptr;  // whole ones, valid until the next call
    size_t bytes = 0;
  };
  Batch Read(size_t bytes_wanted);
  bool IsEmpty() const { return control_->head.load() == tail_; }
  // Whether the writer wants to be told that there is room now.
  bool TakeWaitingWriter();
  void DropBuffer();

 private:
  uint8_t* Room(size_t bytes);

  RingControl* control_;
  const uint8_t* data_;
  const uint64_t capacity_;
  uint64_t tail_ = 0;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t buffer_capacity_ = 0;
  size_t buffer_bytes_ = 0;
};

}  // namespace rayc::rpc
