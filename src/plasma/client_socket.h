// The client's end of one socket to the store: requests are queued, sent, and their replies read,
// all blocking but SendSome. One thread at a time; its owner locks.
#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"
#include "common/unique_fd.h"
#include "plasma/wire.h"

namespace rayc::plasma {

class ClientSocket {
 public:
  ClientSocket() : reader_(kFramePayloadBytesMax) {}

  struct Hello {
    UniqueFd arena;  // invalid on a wait_only connection
    uint64_t arena_bytes = 0;
    uint64_t capacity_bytes = 0;
  };
  // Once. kDisconnected if no store listens there.
  Result<Hello> Connect(const std::string& socket_path, bool wait_only);

  int fd() const { return fd_.get(); }
  // The connection failed, or the store sent what no store sends: of no more use. An error reply of
  // the store's is an answer like any other.
  bool broken() const { return broken_; }
  void QueueOneWay(Method method, const flatbuffers::FlatBufferBuilder& message);
  uint64_t QueueRequest(Method method, const flatbuffers::FlatBufferBuilder& message);
  Status SendAll();
  // As much as the socket takes at once; the rest goes with the next SendAll or SendSome.
  Status SendSome();
  // Of the only request that is under way. The frame is valid until the next call.
  Result<Frame> ReceiveReply(uint64_t request_id);

 private:
  Status Broken(Status why);

  UniqueFd fd_;
  bool broken_ = false;
  FrameReader reader_;
  std::string out_;
  uint64_t next_request_ = 1;
};

}  // namespace rayc::plasma
