#include "rpc/channel.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "common/logging.h"
#include "common/unix_socket.h"
#include "common/version.h"
#include "rpc/convert.h"

namespace rayc::rpc {
namespace {

constexpr size_t kInputBytesMin = 4UL << 10;
constexpr size_t kInputBytesKept = 256UL << 10;
// Frames that the connecting side sends before it offers rings: memory is for those who talk.
constexpr int kFramesBeforeOffer = 8;
// What one channel may have in one go, before the others have their turn.
constexpr size_t kRingBytesPerTurn = 64UL << 10;

Status TooLarge(const Payload& payload) {
  return Status::InvalidArgument("a message of " + std::to_string(payload.size()) +
                                 " bytes is larger than the limit of " +
                                 std::to_string(kFramePayloadBytesMax));
}

const Payload& EmptyPayload() {
  static const auto* payload = new Payload(Payload::Of(fb::EmptyT()));
  return *payload;
}

}  // namespace

Responder::Responder(Responder&& other) noexcept
    : channel_(std::move(other.channel_)),
      request_id_(other.request_id_),
      method_(other.method_),
      armed_(std::exchange(other.armed_, false)) {}

Responder& Responder::operator=(Responder&& other) noexcept {
  if (this != &other) {
    std::swap(channel_, other.channel_);
    std::swap(request_id_, other.request_id_);
    std::swap(method_, other.method_);
    std::swap(armed_, other.armed_);
  }
  return *this;
}

Responder::~Responder() {
  if (armed_) {
    Error(Status::Internal("the request was dropped without an answer"));
  }
}

void Responder::ReplyPayload(const Payload& payload) {
  if (!std::exchange(armed_, false)) {
    return;
  }
  if (const ChannelPtr channel = channel_.lock()) {
    channel->SendReply(request_id_, method_, FrameKind::kReply, payload);
  }
}

void Responder::Error(const Status& status) {
  if (!std::exchange(armed_, false)) {
    return;
  }
  if (const ChannelPtr channel = channel_.lock()) {
    channel->SendReply(request_id_, method_, FrameKind::kErrorReply,
                       Payload::Of(ToMessage(status)));
  }
}

void Responder::Ok() { ReplyPayload(EmptyPayload()); }

Channel::Channel(EventLoop& loop, UniqueFd fd, ChannelOptions options, bool accepted)
    : loop_(loop), fd_(std::move(fd)), options_(std::move(options)), accepted_(accepted) {}

Channel::~Channel() = default;

Result<ChannelPtr> Channel::Connect(EventLoop& loop, const std::string& socket_path,
                                    ChannelOptions options) {
  auto fd = ConnectUnix(socket_path);
  if (!fd) {
    return Err(fd.error());
  }
  const ChannelPtr channel(new Channel(loop, std::move(*fd), std::move(options), false));
  channel->Start();
  fb::HelloT hello;
  hello.protocol_version = kProtocolVersion;
  hello.rayc_version = kVersion;
  hello.id = ToBytes(channel->options_.self_id);
  hello.pid = static_cast<int32_t>(getpid());
  hello.component = channel->options_.self_component;
  std::weak_ptr<Channel> weak = channel;
  channel->Call<fb::HelloReply>(Method::kHello, hello, [weak](Result<const fb::HelloReply*> reply) {
    const ChannelPtr self = weak.lock();
    if (self == nullptr) {
      return;
    }
    if (!reply) {
      self->Close(reply.error());
      return;
    }
    self->peer_.id = std::string(BytesView((*reply)->id()));
    self->peer_.pid = (*reply)->pid();
    self->hello_done_ = true;
  });
  return channel;
}

ChannelPtr Channel::Accept(EventLoop& loop, UniqueFd fd, ChannelOptions options,
                           std::function<void(const ChannelPtr&)> on_hello) {
  ChannelPtr channel(new Channel(loop, std::move(fd), std::move(options), true));
  channel->on_hello_ = std::move(on_hello);
  channel->Start();
  return channel;
}

void Channel::Start() {
  const Status status = SetNonBlocking(fd_.get(), true);
  RAYC_CHECK(status.ok()) << status;
  if (options_.shares_memory && !accepted_) {
    const MutexLock lock(mutex_);
    frames_until_offer_ = kFramesBeforeOffer;
  }
  loop_.AddFd(fd_.get(), EPOLLIN,
              [self = shared_from_this()](uint32_t events) { self->OnEvents(events); });
}

void Channel::Call(Method method, const Payload& payload, ReplyCallback callback) {
  if (payload.size() > kFramePayloadBytesMax) {
    loop_.Post(
        [callback = std::move(callback), status = TooLarge(payload)] { callback(Err(status)); });
    return;
  }
  FrameHeader header;
  header.method = static_cast<uint16_t>(method);
  header.kind = FrameKind::kRequest;
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  {
    MutexLock lock(mutex_);
    if (!closed_.load()) {
      header.request_id = next_request_id_++;
      waiting_.emplace(header.request_id, std::move(callback));
      SendFrameLocked(header, payload.data());
      return;
    }
  }
  loop_.Post([callback = std::move(callback)] {
    callback(Err(Status::Disconnected("the connection is closed")));
  });
}

void Channel::Notify(Method method, const Payload& payload) {
  if (payload.size() > kFramePayloadBytesMax) {
    RAYC_LOG(kError) << "method " << static_cast<int>(method) << ": " << TooLarge(payload);
    return;
  }
  FrameHeader header;
  header.method = static_cast<uint16_t>(method);
  header.kind = FrameKind::kOneWay;
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  const MutexLock lock(mutex_);
  SendFrameLocked(header, payload.data());
}

void Channel::SendReply(uint64_t request_id, uint16_t method, FrameKind kind,
                        const Payload& payload) {
  if (payload.size() > kFramePayloadBytesMax) {
    SendReply(request_id, method, FrameKind::kErrorReply,
              Payload::Of(ToMessage(TooLarge(payload))));
    return;
  }
  FrameHeader header;
  header.method = method;
  header.kind = kind;
  header.request_id = request_id;
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  const MutexLock lock(mutex_);
  SendFrameLocked(header, payload.data());
}

void Channel::SendFrameLocked(const FrameHeader& header, const uint8_t* payload) {
  if (closed_.load()) {
    return;
  }
  if (writes_ring_ != nullptr) {
    SendByRingLocked(header, payload);
    return;
  }
  SendBySocketLocked(header, payload);
  if (frames_until_offer_ > 0 && --frames_until_offer_ == 0) {
    loop_.Post([self = shared_from_this()] { self->OfferRings(); });
  }
}

bool Channel::SendBySocketLocked(const FrameHeader& header, const uint8_t* payload,
                                 std::span<const int> fds) {
  static constexpr uint8_t kZeros[8] = {};
  const size_t padding = PaddedPayloadBytes(header.payload_bytes) - header.payload_bytes;
  iovec parts[3] = {{const_cast<FrameHeader*>(&header), sizeof(header)},
                    {const_cast<uint8_t*>(payload), header.payload_bytes},
                    {const_cast<uint8_t*>(kZeros), padding}};
  size_t sent = 0;
  const bool was_idle = output_begin_ == output_.size();
  if (was_idle) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 3;
    FdControl control;
    if (!fds.empty()) {
      control.Attach(&message, fds);
    }
    ssize_t done = 0;
    do {
      done = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (done < 0 && errno == EINTR);
    if (done < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
      if (errno != EPIPE && errno != ECONNRESET) {
        FailSoon(Status::FromErrno("send", errno));
      }
      return true;  // Hung up: the loop sees it after what the peer has sent before.
    }
    sent = done > 0 ? static_cast<size_t>(done) : 0;
  }
  if (!fds.empty() && sent == 0) {
    return false;  // they go with the first byte
  }
  for (const iovec& part : parts) {
    const size_t skip = std::min(sent, part.iov_len);
    sent -= skip;
    output_.append(static_cast<const char*>(part.iov_base) + skip, part.iov_len - skip);
  }
  if (was_idle && output_begin_ < output_.size()) {
    loop_.ModifyFd(fd_.get(), EPOLLIN | EPOLLOUT);
  }
  if (output_.size() - output_begin_ > kUnsentBytesMax) {
    FailSoon(Status::IOError("the peer does not read what it is sent"));
  }
  return true;
}

void Channel::FailSoon(const Status& why) {
  closed_.store(true);
  loop_.Post([self = shared_from_this(), why] { self->Fail(why); });
}

void Channel::Close(const Status& why) {
  if (!closed_.exchange(true)) {
    loop_.Post([self = shared_from_this(), why] { self->Fail(why); });
  }
}

bool Channel::HasUnsent() {
  const MutexLock lock(mutex_);
  return !closed_.load() && (output_begin_ < output_.size() || backlog_begin_ < backlog_.size());
}

void Channel::OnEvents(uint32_t events) {
  if (closed_.load()) {
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    OnWritable();
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
    OnReadable();
  }
}

void Channel::OnWritable() {
  const MutexLock lock(mutex_);
  while (output_begin_ < output_.size()) {
    const ssize_t done = ::send(fd_.get(), output_.data() + output_begin_,
                                output_.size() - output_begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (done < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (output_begin_ > output_.size() / 2) {
        output_.erase(0, output_begin_);
        output_begin_ = 0;
      }
      return;  // EAGAIN: later. Anything else: the read side sees it.
    }
    output_begin_ += static_cast<size_t>(done);
  }
  output_ = std::string();
  output_begin_ = 0;
  loop_.ModifyFd(fd_.get(), EPOLLIN);
}

void Channel::OnReadable() {
  if (input_capacity_ - input_end_ == 0) {
    if (!ReserveInput(std::max(kInputBytesMin, input_capacity_ * 2))) {
      return;
    }
  }
  const size_t room = input_capacity_ - input_end_;
  const ssize_t got = Receive(input_.get() + input_end_, room);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    return;
  }
  if (got <= 0) {
    // What the peer has sent before its end is in the ring.
    if (reads_ring_) {
      HandleFrames(SIZE_MAX);
    }
    Fail(Status::Disconnected(got < 0 ? "connection lost" : "the peer has closed the connection"));
    return;
  }
  input_end_ += static_cast<size_t>(got);
  HandleFrames(kRingBytesPerTurn);
}

ssize_t Channel::Receive(uint8_t* to, size_t room) {
  ssize_t got = 0;
  if (!options_.shares_memory) {
    do {
      got = ::recv(fd_.get(), to, room, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got;
  }
  iovec part{to, room};
  FdControl control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  control.Prepare(&message);
  do {
    got = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got > 0 && message.msg_controllen > 0) {
    received_fds_ = FdControl::TakeFrom(message);  // instead of those that no message wanted
  }
  return got;
}

bool Channel::ReserveInput(size_t capacity) {
  // Left uninitialized: pages that are never read into stay unmade.
  std::unique_ptr<uint8_t[]> larger(new (std::nothrow) uint8_t[capacity]);
  if (larger == nullptr) {
    Fail(Status::IOError("no memory for a message of " + std::to_string(capacity) + " bytes"));
    return false;
  }
  std::copy_n(input_.get() + input_begin_, input_end_ - input_begin_, larger.get());
  input_end_ -= input_begin_;
  input_begin_ = 0;
  input_ = std::move(larger);
  input_capacity_ = capacity;
  return true;
}

void Channel::HandleFrames(size_t ring_bytes_max) {
  const ChannelPtr keep_alive = shared_from_this();
  const std::shared_ptr<RingLink> keep_mapped = link_;
  handling_ = true;
  // The stream is that of the socket, then that of the ring, but for single frames by the socket.
  while (!closed_.load()) {
    if (!reads_ring_ || awaits_aside_) {
      if (!HandleSocketFrame()) {
        break;
      }
      awaits_aside_ = false;
    } else if (!HandleRingFrames(&ring_bytes_max)) {
      break;
    }
  }
  if (!closed_.load()) {
    CompactInput();
  }
  handling_ = false;
  if (failed_) {
    options_.on_request = nullptr;
  }
}

bool Channel::HandleSocketFrame() {
  FrameHeader header;
  if (input_end_ - input_begin_ < sizeof(header)) {
    return false;
  }
  std::memcpy(&header, input_.get() + input_begin_, sizeof(header));
  if (const char* error = FrameHeaderError(header)) {
    Fail(Status::IOError(std::string("malformed frame: ") + error));
    return false;
  }
  const size_t frame_bytes = sizeof(header) + PaddedPayloadBytes(header.payload_bytes);
  if (input_end_ - input_begin_ < frame_bytes) {
    if (input_capacity_ - input_begin_ < frame_bytes) {
      ReserveInput(std::max(frame_bytes, kInputBytesMin));
    }
    return false;
  }
  const Message message{input_.get() + input_begin_ + sizeof(header), header.payload_bytes};
  if (!HandleFrame(header, message)) {
    return false;
  }
  input_begin_ += frame_bytes;
  return true;
}

void Channel::CompactInput() {
  if (input_begin_ == input_end_) {
    input_begin_ = 0;
    input_end_ = 0;
    if (input_capacity_ > kInputBytesKept) {
      input_.reset();
      input_capacity_ = 0;
    }
  } else if (input_begin_ > input_capacity_ / 2) {
    std::copy(input_.get() + input_begin_, input_.get() + input_end_, input_.get());
    input_end_ -= input_begin_;
    input_begin_ = 0;
  }
}

bool Channel::HandleFrame(const FrameHeader& header, Message message) {
  if (accepted_ && !hello_done_) {
    return HandleHello(header, message);
  }
  switch (header.kind) {
    case FrameKind::kReply:
    case FrameKind::kErrorReply:
      HandleReply(header, message);
      return true;
    case FrameKind::kRequest:
    case FrameKind::kOneWay: {
      const auto method = static_cast<Method>(header.method);
      if (method > Method::kHello && method <= Method::kRingStart) {
        return HandleRingMessage(method, message);
      }
      Responder responder;
      if (header.kind == FrameKind::kRequest) {
        responder = Responder(weak_from_this(), header.request_id, header.method);
      }
      if (options_.on_request) {
        options_.on_request(shared_from_this(), method, message, std::move(responder));
      } else {
        responder.Error(Status(StatusCode::kNotImplemented, "this side answers no requests"));
      }
      return true;
    }
  }
  return false;
}

void Channel::HandleReply(const FrameHeader& header, Message message) {
  ReplyCallback callback;
  {
    const MutexLock lock(mutex_);
    const auto it = waiting_.find(header.request_id);
    if (it == waiting_.end()) {
      return;
    }
    callback = std::move(it->second);
    waiting_.erase(it);
  }
  if (header.kind == FrameKind::kReply) {
    callback(message);
    return;
  }
  const auto* error = message.As<fb::StatusMessage>();
  const Status status = FromMessage(error);
  callback(Err(status.ok() ? Status::IOError("malformed error reply") : status));
}

bool Channel::HandleHello(const FrameHeader& header, Message message) {
  const auto* hello =
      static_cast<Method>(header.method) == Method::kHello && header.kind == FrameKind::kRequest
          ? message.As<fb::Hello>()
          : nullptr;
  if (hello == nullptr) {
    Fail(Status(StatusCode::kUnauthenticated, "the first message was not a Hello"));
    return false;
  }
  Responder responder(weak_from_this(), header.request_id, header.method);
  if (hello->protocol_version() != kProtocolVersion) {
    const Status mismatch(StatusCode::kVersionMismatch,
                          "protocol version " + std::to_string(hello->protocol_version()) +
                              " (rayc " + FromString(hello->rayc_version()) +
                              ") cannot talk to protocol version " +
                              std::to_string(kProtocolVersion) + " (rayc " + kVersion + ")");
    responder.Error(mismatch);
    Fail(mismatch);
    return false;
  }
  peer_.id = std::string(BytesView(hello->id()));
  peer_.pid = hello->pid();
  peer_.component = FromString(hello->component());
  hello_done_ = true;
  fb::HelloReplyT reply;
  reply.protocol_version = kProtocolVersion;
  reply.rayc_version = kVersion;
  reply.id = ToBytes(options_.self_id);
  reply.pid = static_cast<int32_t>(getpid());
  responder.Reply(reply);
  if (on_hello_) {
    auto on_hello = std::move(on_hello_);
    on_hello(shared_from_this());
  }
  return true;
}

void Channel::Detach() {
  options_.on_close = nullptr;
  on_hello_ = nullptr;
  Fail(Status(StatusCode::kShutdown, "shutting down"));
}

void Channel::Fail(const Status& why) {
  if (failed_) {
    return;
  }
  failed_ = true;
  closed_.store(true);
  if (!why.ok() && why.code() != StatusCode::kDisconnected && why.code() != StatusCode::kShutdown) {
    RAYC_LOG(kWarning) << "closing the connection with " << peer_.component << " pid " << peer_.pid
                       << ": " << why;
  }
  const ChannelPtr keep_alive = shared_from_this();
  loop_.RemoveFd(fd_.get());
  ::shutdown(fd_.get(), SHUT_RDWR);
  if (ring_slot_) {
    loop_.RemoveRing(*ring_slot_);
  }
  std::unordered_map<uint64_t, ReplyCallback> waiting;
  {
    const MutexLock lock(mutex_);
    waiting.swap(waiting_);
    output_ = std::string();
    output_begin_ = 0;
    writes_ring_ = nullptr;
    backlog_ = std::string();
    backlog_begin_ = 0;
  }
  link_.reset();
  const Status lost = why.code() == StatusCode::kVersionMismatch
                          ? why
                          : Status::Disconnected(why.ok() ? "closed" : why.message());
  for (auto& [id, callback] : waiting) {
    callback(Err(lost));
  }
  const CloseCallback on_close = std::move(options_.on_close);
  options_.on_close = nullptr;
  if (!handling_) {
    options_.on_request = nullptr;  // else it may be running right now
  }
  on_hello_ = nullptr;
  if (on_close) {
    on_close(keep_alive, why);
  }
  context.reset();
}

}  // namespace rayc::rpc
