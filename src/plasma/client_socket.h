// The client's end of one socket to the store: requests are queued, sent, and their replies read,
// all blocking. One thread at a time; its owner locks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "plasma/wire.h"

namespace rayc::plasma {

// A reply of the store, with its bytes.
class OwnedReply {
 public:
  explicit OwnedReply(const Frame& frame);
  // Null if the payload is not a well-formed T. Lives as long as this reply.
  template <typename T>
  const T* As() const {
    return Frame{header_, reinterpret_cast<const uint8_t*>(words_.data())}.As<T>();
  }

 private:
  FrameHeader header_;
  std::vector<uint64_t> words_;
};

class ClientSocket {
 public:
  ClientSocket() : reader_(kFramePayloadBytesMax) {}

  struct Hello {
    // Invalid on a companion.
    UniqueFd arena;
    UniqueFd index;
    UniqueFd segment;
    UniqueFd wake;
    uint64_t arena_bytes = 0;
    uint64_t capacity_bytes = 0;
    uint32_t client = 0;
  };
  // Once. `companion_of`: a further connection of that client; 0: a new client. kDisconnected if
  // no store listens there.
  Result<Hello> Connect(const std::string& socket_path, uint32_t companion_of);

  int fd() const { return fd_.get(); }
  // The connection failed, or the store sent what no store sends: of no more use. An error reply of
  // the store's is an answer like any other.
  bool broken() const { return broken_; }
  void QueueOneWay(Method method, const flatbuffers::FlatBufferBuilder& message);
  uint64_t QueueRequest(Method method, const flatbuffers::FlatBufferBuilder& message);
  Status SendAll();
  // Of the only request that is under way. The frame is valid until the next call.
  Result<Frame> ReceiveReply(uint64_t request_id);
  // The next frame of any kind, as it came.
  Result<Frame> ReceiveFrame();
  // Until there is something to read. kTimedOut (timeout_ms -1: never), kInterrupted.
  Status WaitReadable(int64_t timeout_ms) const;

 private:
  Status Broken(Status why);

  UniqueFd fd_;
  bool broken_ = false;
  FrameReader reader_;
  std::string out_;
  uint64_t next_request_ = 1;
};

}  // namespace rayc::plasma
