// One connection between two processes: framed requests, replies and one-way messages, either way.
//
// It begins on a socket. Where both sides share memory (ChannelOptions), and once the connecting
// side has sent a few messages, the frames go through rings (rpc/ring_link.h): the caller's own
// thread writes into the ring, and wakes the peer only if that sleeps. The socket stays for frames
// that are too large for the ring, in their place in the order, and for the end of the peer.
//
// Life: MakeChannel (after connect) or Server (after accept) -> Hello exchanged -> open -> closed,
// once, for whatever reason: end of file, an error, a malformed frame, Close(). Closing fails every
// call that waits for its reply with kDisconnected and then runs on_close.
//
// Threads: Call, Notify, Close from any thread; they write to the socket at once, in the calling
// thread, and queue what the socket does not take. Handlers, reply callbacks and on_close run on
// the event loop's thread with no lock held. A message that was sent before another one on the same
// channel is handled before it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/event_loop.h"
#include "common/frame.h"
#include "common/status.h"
#include "common/thread_annotations.h"
#include "common/unique_fd.h"
#include "protocol/common_generated.h"
#include "protocol/methods.h"
#include "rpc/message.h"
#include "rpc/ring_link.h"

namespace rayc::rpc {

class Channel;
using ChannelPtr = std::shared_ptr<Channel>;

// Who is at the other end, from its Hello. `id` is a WorkerId's or NodeId's 28 bytes.
struct PeerInfo {
  std::string id;
  pid_t pid = 0;
  std::string component;
};

// Answers one request, from any thread, at any time; dropping it unanswered answers with kInternal,
// so that no caller hangs. Inert for one-way messages.
class Responder {
 public:
  Responder() = default;
  Responder(std::weak_ptr<Channel> channel, uint64_t request_id, uint16_t method)
      : channel_(std::move(channel)), request_id_(request_id), method_(method), armed_(true) {}
  Responder(Responder&& other) noexcept;
  Responder& operator=(Responder&& other) noexcept;
  ~Responder();

  template <typename NativeTable>
  void Reply(const NativeTable& native) {
    ReplyPayload(Payload::Of(native));
  }
  void ReplyPayload(const Payload& payload);
  void Error(const Status& status);
  void Ok();  // replies Empty

 private:
  std::weak_ptr<Channel> channel_;
  uint64_t request_id_ = 0;
  uint16_t method_ = 0;
  bool armed_ = false;
};

using RequestHandler = std::function<void(const ChannelPtr& channel, Method method, Message message,
                                          Responder responder)>;
using ReplyCallback = std::function<void(Result<Message> reply)>;
using CloseCallback = std::function<void(const ChannelPtr& channel, const Status& why)>;

struct ChannelOptions {
  std::string self_id;         // 28 bytes, sent in Hello
  std::string self_component;  // "driver", "worker", "raylet", ...
  RequestHandler on_request;   // may be null: requests are answered with kNotImplemented
  CloseCallback on_close;      // may be null
  bool shares_memory = false;  // through rings, with a peer that does so, too
};

class Channel : public std::enable_shared_from_this<Channel> {
 public:
  // Connects (blocking; Unix sockets connect or fail at once) and sends Hello; calls may follow
  // without waiting for its reply. A peer of another version: closes with kVersionMismatch.
  static Result<ChannelPtr> Connect(EventLoop& loop, const std::string& socket_path,
                                    ChannelOptions options);
  // For an accepted socket, whose peer was found to be of our user. on_hello runs when the peer's
  // Hello was accepted, before any of its requests are handled.
  static ChannelPtr Accept(EventLoop& loop, UniqueFd fd, ChannelOptions options,
                           std::function<void(const ChannelPtr&)> on_hello);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void Call(Method method, const Payload& payload, ReplyCallback callback);
  void Notify(Method method, const Payload& payload);

  // Typed: sends the native table, gives the verified reply table (valid during the callback).
  template <typename ReplyTable, typename NativeRequest>
  void Call(Method method, const NativeRequest& request,
            std::function<void(Result<const ReplyTable*>)> callback) {
    Call(method, Payload::Of(request), [callback = std::move(callback)](Result<Message> reply) {
      if (!reply) {
        callback(Err(reply.error()));
        return;
      }
      const auto* table = reply->template As<ReplyTable>();
      if (table == nullptr) {
        callback(Err(Status(StatusCode::kIOError, "malformed reply")));
        return;
      }
      callback(table);
    });
  }
  template <typename NativeTable>
  void NotifyTable(Method method, const NativeTable& native) {
    Notify(method, Payload::Of(native));
  }

  // Closes after the current callback; idempotent. What is queued but not yet written is lost.
  // kDisconnected, kShutdown and kOk are ordinary ends; any other reason is logged.
  void Close(const Status& why);
  bool closed() const { return closed_.load(); }
  // Whether something was sent that the socket has not taken yet.
  bool HasUnsent();
  // Whether what is sent now goes through a ring.
  bool SharesMemory();
  // Loop thread only: closes at once without running on_close or any handler again. For owners that
  // go away before the loop does.
  void Detach();
  // Filled from Hello; empty id before.
  const PeerInfo& peer() const { return peer_; }
  // Free for the user of the channel (which worker this is, ...). Loop thread only.
  std::shared_ptr<void> context;

 private:
  friend class Responder;
  friend class Server;
  // A peer that does not read while we produce this much is broken, not slow.
  static constexpr size_t kUnsentBytesMax = 2UL << 30;

  Channel(EventLoop& loop, UniqueFd fd, ChannelOptions options, bool accepted);
  void Start();
  void SendFrameLocked(const FrameHeader& header, const uint8_t* payload) RAYC_REQUIRES(mutex_);
  // False: not sent, since the descriptors could not go at once.
  bool SendBySocketLocked(const FrameHeader& header, const uint8_t* payload,
                          std::span<const int> fds = {}) RAYC_REQUIRES(mutex_);
  void SendByRingLocked(const FrameHeader& header, const uint8_t* payload) RAYC_REQUIRES(mutex_);
  bool TryRingLocked(const FrameHeader& header, const uint8_t* payload) RAYC_REQUIRES(mutex_);
  void FlushBacklogLocked() RAYC_REQUIRES(mutex_);
  bool SendRingSlotLocked(Method method, uint32_t slot, std::span<const int> fds)
      RAYC_REQUIRES(mutex_);
  void FailSoon(const Status& why) RAYC_REQUIRES(mutex_);
  void SendReply(uint64_t request_id, uint16_t method, FrameKind kind, const Payload& payload);
  void OnEvents(uint32_t events);
  void OnReadable();
  void OnWritable();
  ssize_t Receive(uint8_t* to, size_t room);
  bool ReserveInput(size_t capacity);  // false: failed, no memory
  void HandleFrames(size_t ring_bytes_max);
  bool HandleSocketFrame();  // false: none is complete, or it has failed
  bool HandleRingFrames(size_t* bytes_left);
  void CompactInput();
  void OfferRings();
  bool HandleRingMessage(Method method, Message message);
  Status AcceptRings(Message message);
  Status StartRings(Message message);
  bool MapOffered(Message message);
  Status TakeDoorbell(Message message);
  bool TakeRingSlot();
  void DropRings();
  void OnRung(bool is_inspection);
  bool HandleFrame(const FrameHeader& header, Message message);  // false: stop reading
  void HandleReply(const FrameHeader& header, Message message);
  bool HandleHello(const FrameHeader& header, Message message);
  void Fail(const Status& why);  // loop thread: the transition to closed

  EventLoop& loop_;
  UniqueFd fd_;  // closed by the destructor, after the loop has forgotten it
  ChannelOptions options_;
  std::function<void(const ChannelPtr&)> on_hello_;
  const bool accepted_;
  std::atomic<bool> closed_{false};

  // Loop thread only.
  PeerInfo peer_;
  bool hello_done_ = false;
  bool failed_ = false;
  bool handling_ = false;  // inside HandleFrames
  // Bytes [input_begin_, input_end_) are unread. Frames begin at multiples of 8.
  std::unique_ptr<uint8_t[]> input_;
  size_t input_capacity_ = 0;
  size_t input_begin_ = 0;
  size_t input_end_ = 0;
  std::vector<UniqueFd> received_fds_;  // for the next message of the rings' life
  std::shared_ptr<RingLink> link_;      // its writer's half under mutex_
  std::optional<uint32_t> ring_slot_;   // in the loop's doorbell
  bool reads_ring_ = false;             // the stream of the peer continues there
  bool awaits_aside_ = false;           // its next frame comes by the socket nevertheless

  Mutex mutex_;
  std::unordered_map<uint64_t, ReplyCallback> waiting_ RAYC_GUARDED_BY(mutex_);
  uint64_t next_request_id_ RAYC_GUARDED_BY(mutex_) = 1;
  std::string output_ RAYC_GUARDED_BY(mutex_);  // what the socket did not take yet
  size_t output_begin_ RAYC_GUARDED_BY(mutex_) = 0;
  RingLink* writes_ring_ RAYC_GUARDED_BY(mutex_) = nullptr;  // link_, once our stream is there
  std::string backlog_ RAYC_GUARDED_BY(mutex_);  // whole frames that the ring had no room for yet
  size_t backlog_begin_ RAYC_GUARDED_BY(mutex_) = 0;
  int frames_until_offer_ RAYC_GUARDED_BY(mutex_) = 0;  // 0: there is nothing to offer
  bool wrote_since_inspection_ RAYC_GUARDED_BY(mutex_) = false;
};

}  // namespace rayc::rpc
