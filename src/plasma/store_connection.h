// The store's end of one client's socket: frames in, frames out, never blocking. Closes once: at
// the end of the stream, at the end of the client's process (a forked child of it may hold the
// socket open), at a malformed frame, or when the store says so. Loop thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/event_loop.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "plasma/wire.h"

namespace rayc::plasma {

class StoreConnection : public std::enable_shared_from_this<StoreConnection> {
 public:
  // Null if the frame was fine, else what is wrong with it, which closes the connection.
  using FrameCallback = std::function<const char*(StoreConnection&, const Frame&)>;
  // Runs on the loop, never inside Send.
  using CloseCallback = std::function<void(StoreConnection&)>;

  StoreConnection(EventLoop& loop, UniqueFd fd, uint64_t number, pid_t pid);

  void Start(FrameCallback on_frame, CloseCallback on_close);
  void Send(Method method, FrameKind kind, uint64_t request_id,
            const flatbuffers::FlatBufferBuilder& message);
  // Takes copies of the descriptors along. Only as the very first thing that is sent.
  void SendWithDescriptors(Method method, uint64_t request_id,
                           const flatbuffers::FlatBufferBuilder& message,
                           std::span<const int> descriptors);
  void Close();
  // Close after what was sent before; for a client that is refused.
  void CloseSoon();

  uint64_t number() const { return number_; }
  pid_t pid() const { return pid_; }
  size_t unsent_bytes() const { return out_.size(); }

 private:
  void OnEvents(uint32_t events);
  void OnProcessEnded();
  bool ReadOnce();  // false: nothing more to read for now, or closed
  void HandleFrames();
  void Flush();
  void UpdateInterest();
  bool Congested() const;

  EventLoop& loop_;
  UniqueFd fd_;
  UniqueFd process_fd_;  // readable when the client's process has ended; invalid if not to be had
  const uint64_t number_;
  const pid_t pid_;
  FrameCallback on_frame_;
  CloseCallback on_close_;
  FrameReader reader_;
  std::string out_;  // not yet taken by the socket
  uint32_t interest_ = 0;
  bool failed_ = false;  // a close is on its way
};

}  // namespace rayc::plasma
