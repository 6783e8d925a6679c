#include "rpc/channel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "common/logging.h"
#include "fakes/loop_thread.h"
#include "fakes/raw_peer.h"
#include "fakes/temp_folder.h"
#include "protocol/gcs_generated.h"
#include "rpc/convert.h"
#include "rpc/server.h"

namespace rayc::rpc {
namespace {

using rayc::testing::Await;
using rayc::testing::Eventually;
using rayc::testing::FrameBytes;
using rayc::testing::HelloBytes;
using rayc::testing::LoopThread;
using rayc::testing::RawPeer;
using rayc::testing::TempFolder;

// A server on one thread, its clients on another; by the socket alone, and through rings.
class ChannelTest : public ::testing::TestWithParam<bool> {
 protected:
  ChannelTest() {
    InitLogging("test", LogLevel::kError, "");  // closing broken peers is what is tested
    server_.HandleTable<fb::KvGet>(Method::kKvGet,
                                   [](const ChannelPtr& /*channel*/, const fb::KvGet& request,
                                      Responder responder) {  // echoes
                                     fb::KvGetReplyT reply;
                                     reply.value = ToBytes(BytesView(request.key()));
                                     responder.Reply(reply);
                                   });
    server_.HandleTable<fb::KvPut>(
        Method::kKvPut,
        [this](const ChannelPtr& /*channel*/, const fb::KvPut& request,
               const Responder& /*one way*/) { notes_.emplace_back(BytesView(request.key())); });
    server_.Handle(Method::kKvDel, [](const ChannelPtr&, Message, const Responder&) {});  // drops
    server_.Handle(Method::kKvKeys,
                   [this](const ChannelPtr& /*channel*/, Message /*message*/, Responder responder) {
                     kept_.push_back(std::move(responder));  // answers later, or never
                   });
    server_.OnConnect([this](const ChannelPtr& channel) {
      served_ = channel;
      ++connects_;
    });
    server_.OnDisconnect([this](const ChannelPtr& /*channel*/, const Status& why) {
      last_end_ = why;
      ++disconnects_;
    });
  }
  ~ChannelTest() override {
    clients_.Join();
    servers_.Run([this] {
      kept_.clear();
      served_ = nullptr;
      server_.Shutdown();
    });
    servers_.Join();
    InitLogging("test", LogLevel::kWarning, "");
  }
  void SetUp() override {
    if (GetParam()) {
      server_.ShareMemory();
    }
    servers_.Run([this] { ASSERT_TRUE(server_.Listen(path_).ok()); });
  }

  ChannelPtr Connect(ChannelOptions options = {}) {
    options.self_id = std::string(28, 'c');
    options.self_component = "tool";
    options.shares_memory = GetParam();
    auto channel = Channel::Connect(clients_.loop(), path_, std::move(options));
    EXPECT_TRUE(channel);
    if (GetParam()) {
      EXPECT_TRUE(
          Eventually([&] { return !Echo(*channel, "how are you") || (*channel)->SharesMemory(); }));
    }
    return *channel;
  }
  static fb::KvGetT Get(std::string_view key) {
    fb::KvGetT request;
    request.key = ToBytes(key);
    return request;
  }
  static Result<std::string> Echo(const ChannelPtr& channel, std::string_view text) {
    return Await<Result<std::string>>([&](auto done) {
      channel->Call<fb::KvGetReply>(Method::kKvGet, Get(text),
                                    [done](Result<const fb::KvGetReply*> reply) {
                                      if (!reply) {
                                        done(Err(reply.error()));
                                      } else {
                                        done(std::string(BytesView((*reply)->value())));
                                      }
                                    });
    });
  }
  static Status CallRaw(const ChannelPtr& channel, Method method, const Payload& payload) {
    return Await<Status>([&](auto done) {
      channel->Call(method, payload, [done](const Result<Message>& reply) {
        done(reply ? Status::Ok() : reply.error());
      });
    });
  }
  template <typename Function>
  auto OnServer(Function function) {
    decltype(function()) value{};
    servers_.Run([&] { value = function(); });
    return value;
  }

  TempFolder folder_;
  const std::string path_ = folder_.path() + "/s";
  LoopThread servers_;
  LoopThread clients_;
  Server server_{servers_.loop(), std::string(28, 's'), "raylet"};
  // The server's thread only.
  std::vector<std::string> notes_;
  std::vector<Responder> kept_;
  ChannelPtr served_;
  int connects_ = 0;
  int disconnects_ = 0;
  Status last_end_;
};

TEST_P(ChannelTest, CallsAreAnswered) {
  const ChannelPtr channel = Connect();
  EXPECT_EQ(*Echo(channel, "hello"), "hello");
  EXPECT_EQ(*Echo(channel, ""), "");
  const PeerInfo peer = OnServer([this] { return served_->peer(); });
  EXPECT_EQ(peer.id, std::string(28, 'c'));
  EXPECT_EQ(peer.component, "tool");
  EXPECT_EQ(peer.pid, getpid());
  EXPECT_EQ(channel->peer().id, std::string(28, 's'));
}

TEST_P(ChannelTest, CallsOfManyThreadsKeepApart) {
  const ChannelPtr channel = Connect();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string text = std::to_string(t) + "/" + std::to_string(i);
        EXPECT_EQ(*Echo(channel, text), text);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST_P(ChannelTest, WhatIsSentFirstIsHandledFirst) {
  const ChannelPtr channel = Connect();
  for (int i = 0; i < 3'000; ++i) {
    fb::KvPutT note;
    note.key = ToBytes(std::to_string(i));
    channel->NotifyTable(Method::kKvPut, note);
  }
  EXPECT_TRUE(Echo(channel, "after them"));
  const auto notes = OnServer([this] { return notes_; });
  ASSERT_EQ(notes.size(), 3'000U);
  for (int i = 0; i < 3'000; ++i) {
    ASSERT_EQ(notes[i], std::to_string(i));
  }
}

TEST_P(ChannelTest, MessagesLargerThanAnySocketBufferArriveWhole) {
  const ChannelPtr channel = Connect();
  std::string large(40 << 20, '\0');
  for (size_t i = 0; i < large.size(); i += 4096) {
    large[i] = static_cast<char>(i >> 12);
  }
  EXPECT_TRUE(*Echo(channel, large) == large);
  EXPECT_EQ(*Echo(channel, "small again"), "small again");
}

TEST_P(ChannelTest, ManyLargeMessagesAtOnceAreQueued) {
  const ChannelPtr channel = Connect();
  std::atomic<int> answered{0};
  const std::string text(300'000, 'q');
  for (int i = 0; i < 100; ++i) {
    channel->Call<fb::KvGetReply>(Method::kKvGet, Get(text),
                                  [&](Result<const fb::KvGetReply*> reply) {
                                    if (reply && (*reply)->value()->size() == text.size()) {
                                      ++answered;
                                    }
                                  });
  }
  EXPECT_TRUE(Eventually([&] { return answered == 100; }));
}

TEST_P(ChannelTest, AMessageBeyondTheLimitIsAnErrorOfItsSender) {
  const ChannelPtr channel = Connect();
  flatbuffers::FlatBufferBuilder builder(kFramePayloadBytesMax + 1024);  // never touched: no pages
  uint8_t* bytes = nullptr;
  const auto key = builder.CreateUninitializedVector<uint8_t>(kFramePayloadBytesMax, &bytes);
  builder.Finish(fb::CreateKvGet(builder, 0, key));
  const Payload payload(builder.Release());
  EXPECT_EQ(CallRaw(channel, Method::kKvGet, payload).code(), StatusCode::kInvalidArgument);
  channel->Notify(Method::kKvPut, payload);  // dropped, with a line in the log
  EXPECT_TRUE(Echo(channel, "still open"));
}

TEST_P(ChannelTest, ErrorsTravelAsStatuses) {
  const ChannelPtr channel = Connect();
  EXPECT_EQ(CallRaw(channel, Method::kAddJob, Payload::Of(fb::EmptyT())).code(),
            StatusCode::kNotImplemented);
  EXPECT_EQ(CallRaw(channel, Method::kKvDel, Payload::Of(fb::EmptyT())).code(),
            StatusCode::kInternal);  // its responder was dropped
  EXPECT_TRUE(Echo(channel, "still open"));
}

TEST_P(ChannelTest, AnAnswerMayComeLaterFromAnotherThread) {
  const ChannelPtr channel = Connect();
  std::atomic<bool> answered{false};
  channel->Call(Method::kKvKeys, Payload::Of(fb::EmptyT()), [&](const Result<Message>& reply) {
    EXPECT_TRUE(reply);
    answered = true;
  });
  EXPECT_TRUE(Echo(channel, "not held up"));
  EXPECT_FALSE(answered);
  std::vector<Responder> kept;
  servers_.Run([&] { kept.swap(kept_); });
  ASSERT_EQ(kept.size(), 1U);
  std::thread([&] {
    kept[0].Ok();
    kept[0].Ok();  // only the first one counts
  }).join();
  EXPECT_TRUE(Eventually([&] { return answered.load(); }));
}

TEST_P(ChannelTest, TheServersSideCallsToo) {
  ChannelOptions options;
  options.on_request = [](const ChannelPtr& /*channel*/, Method method, Message message,
                          Responder responder) {
    EXPECT_EQ(method, Method::kExitWorker);
    EXPECT_NE(message.As<fb::Empty>(), nullptr);
    responder.Ok();
  };
  const ChannelPtr channel = Connect(std::move(options));
  ASSERT_TRUE(Echo(channel, "hello is done"));
  const ChannelPtr served = OnServer([this] { return served_; });
  EXPECT_TRUE(CallRaw(served, Method::kExitWorker, Payload::Of(fb::EmptyT())).ok());
  // Without a handler, requests are refused, not forgotten.
  const ChannelPtr deaf = Connect();
  ASSERT_TRUE(Echo(deaf, "hello is done"));
  const ChannelPtr served_deaf = OnServer([this] { return served_; });
  EXPECT_EQ(CallRaw(served_deaf, Method::kExitWorker, Payload::Of(fb::EmptyT())).code(),
            StatusCode::kNotImplemented);
}

TEST_P(ChannelTest, ClosingFailsWhatWaitsOnBothSides) {
  std::atomic<int> closes{0};
  ChannelOptions options;
  options.on_close = [&](const ChannelPtr& /*channel*/, const Status& /*why*/) { ++closes; };
  const ChannelPtr channel = Connect(std::move(options));
  std::atomic<int> failed{0};
  for (int i = 0; i < 5; ++i) {
    channel->Call(Method::kKvKeys, Payload::Of(fb::EmptyT()), [&](const Result<Message>& reply) {
      EXPECT_EQ(reply.error().code(), StatusCode::kDisconnected);
      ++failed;
    });
  }
  ASSERT_TRUE(Echo(channel, "they have arrived"));
  const ChannelPtr served = OnServer([this] { return served_; });
  served->Close(Status::Ok());
  EXPECT_TRUE(Eventually([&] { return failed == 5 && closes == 1; }));
  EXPECT_TRUE(channel->closed());
  channel->Close(Status::Ok());
  EXPECT_EQ(CallRaw(channel, Method::kKvGet, Payload::Of(Get("late"))).code(),
            StatusCode::kDisconnected);
  channel->NotifyTable(Method::kKvPut, fb::KvPutT());
  EXPECT_EQ(closes, 1);
  EXPECT_EQ(OnServer([this] { return disconnects_; }), 1);
}

TEST_P(ChannelTest, APeerThatGoesIsNoticed) {
  const ChannelPtr channel = Connect();
  ASSERT_TRUE(Echo(channel, "x"));
  channel->Close(Status::Ok());
  EXPECT_TRUE(Eventually([this] { return OnServer([this] { return disconnects_; }) == 1; }));
  EXPECT_EQ(OnServer([this] { return last_end_.code(); }), StatusCode::kDisconnected);
}

TEST_P(ChannelTest, AReplyBeforeTheEndIsStillReceived) {
  const ChannelPtr channel = Connect();
  ASSERT_TRUE(Echo(channel, "x"));
  std::atomic<int> answered{0};
  for (int i = 0; i < 20; ++i) {
    channel->Call(Method::kKvKeys, Payload::Of(fb::EmptyT()),
                  [&](const Result<Message>& reply) { answered += reply ? 1 : 0; });
  }
  ASSERT_TRUE(Eventually([this] { return OnServer([this] { return kept_.size(); }) == 20; }));
  servers_.Run([this] {
    for (Responder& responder : kept_) {
      responder.Ok();
    }
    served_->Close(Status::Ok());
  });
  EXPECT_TRUE(Eventually([&] { return channel->closed(); }));
  EXPECT_TRUE(Eventually([&] { return answered == 20; }));
}

TEST_P(ChannelTest, AHandlerMayShutItsServerDown) {
  servers_.Run([this] {
    server_.Shutdown();
    server_.Handle(Method::kShutdownNode,
                   [this](const ChannelPtr& channel, Message message, Responder responder) {
                     responder.Ok();
                     server_.Shutdown();
                     EXPECT_TRUE(channel->closed());
                     EXPECT_NE(message.As<fb::Empty>(), nullptr);  // its bytes are still there
                   });
    ASSERT_TRUE(server_.Listen(path_).ok());
  });
  const ChannelPtr channel = Connect();
  std::atomic<bool> answered{false};
  channel->Call(Method::kShutdownNode, Payload::Of(fb::EmptyT()),
                [&](const Result<Message>& /*reply*/) { answered = true; });
  EXPECT_TRUE(Eventually([&] { return answered && channel->closed(); }));
  EXPECT_FALSE(Channel::Connect(clients_.loop(), path_, {}));
}

TEST_P(ChannelTest, HelloComesFirst) {
  RawPeer peer = RawPeer::ConnectedTo(path_);
  peer.Write(FrameBytes(Method::kKvGet, FrameKind::kRequest, 1, Payload::Of(Get("x"))));
  EXPECT_TRUE(peer.HasClosed());
  EXPECT_EQ(OnServer([this] { return connects_; }), 0);
}

TEST_P(ChannelTest, AHelloThatWantsNoAnswerIsNone) {
  RawPeer peer = RawPeer::ConnectedTo(path_);
  std::string hello = HelloBytes();
  hello[6] = static_cast<char>(FrameKind::kOneWay);
  peer.Write(hello);
  EXPECT_TRUE(peer.HasClosed());
}

TEST_P(ChannelTest, AnotherVersionIsToldAndRefused) {
  RawPeer peer = RawPeer::ConnectedTo(path_);
  peer.Write(HelloBytes(kProtocolVersion + 1) +
             FrameBytes(Method::kKvGet, FrameKind::kRequest, 2, Payload::Of(Get("x"))));
  const auto reply = peer.Read();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->header.kind, FrameKind::kErrorReply);
  const Status status = FromMessage(reply->message().As<fb::StatusMessage>());
  EXPECT_EQ(status.code(), StatusCode::kVersionMismatch);
  EXPECT_NE(status.message().find(kVersion), std::string::npos);
  EXPECT_TRUE(peer.HasClosed());
}

TEST_P(ChannelTest, AClientOfAnotherVersionLearnsWhy) {
  const std::string path = folder_.path() + "/other";
  const auto listener = ListenUnix(path);
  ASSERT_TRUE(listener);
  std::atomic<bool> closed{false};
  ChannelOptions options;
  options.on_close = [&](const ChannelPtr& /*channel*/, const Status& why) {
    EXPECT_EQ(why.code(), StatusCode::kVersionMismatch);
    closed = true;
  };
  const auto channel = Channel::Connect(clients_.loop(), path, std::move(options));
  ASSERT_TRUE(channel);
  std::atomic<StatusCode> code{StatusCode::kOk};
  (*channel)->Call(Method::kKvGet, Payload::Of(Get("x")),
                   [&](const Result<Message>& reply) { code = reply.error().code(); });
  UniqueFd fd;
  ASSERT_TRUE(Eventually([&] {
    fd.Reset(::accept(listener->get(), nullptr, nullptr));
    return fd.valid();
  }));
  RawPeer peer(std::move(fd));
  ASSERT_TRUE(peer.Read());
  peer.Write(FrameBytes(Method::kHello, FrameKind::kErrorReply, 1,
                        Payload::Of(ToMessage(Status(StatusCode::kVersionMismatch, "too new")))));
  EXPECT_TRUE(Eventually([&] { return closed && code == StatusCode::kVersionMismatch; }));
}

TEST_P(ChannelTest, AMalformedRequestEndsThatConnectionOnly) {
  const ChannelPtr other = Connect();
  ASSERT_TRUE(Echo(other, "x"));
  RawPeer peer = RawPeer::ConnectedTo(path_);
  std::string bytes = FrameBytes(Method::kKvGet, FrameKind::kRequest, 2, Payload::Of(Get("key")));
  for (size_t i = sizeof(FrameHeader); i < bytes.size(); ++i) {
    bytes[i] = '\x7f';
  }
  peer.Write(HelloBytes() + bytes);
  ASSERT_TRUE(peer.Read());  // to the Hello
  const auto reply = peer.Read();
  ASSERT_TRUE(reply);
  EXPECT_EQ(FromMessage(reply->message().As<fb::StatusMessage>()).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(peer.HasClosed());
  EXPECT_TRUE(Echo(other, "nothing noticed"));
}

TEST_P(ChannelTest, RepliesToNothingAreIgnored) {
  RawPeer peer = RawPeer::ConnectedTo(path_);
  peer.Write(HelloBytes() +
             FrameBytes(Method::kKvGet, FrameKind::kReply, 77, Payload::Of(Get("?"))) +
             FrameBytes(Method::kKvGet, FrameKind::kErrorReply, 78, Payload::Of(Get("?"))) +
             FrameBytes(Method::kKvGet, FrameKind::kRequest, 2, Payload::Of(Get("key"))));
  ASSERT_TRUE(peer.Read());  // to the Hello
  const auto reply = peer.Read();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->header.request_id, 2U);
}

TEST_P(ChannelTest, FramesMayArriveByteByByte) {
  RawPeer peer = RawPeer::ConnectedTo(path_);
  const std::string bytes =
      HelloBytes() + FrameBytes(Method::kKvGet, FrameKind::kRequest, 2, Payload::Of(Get("key")));
  for (const char byte : bytes) {
    ASSERT_TRUE(peer.Write(std::string(1, byte)));
    std::this_thread::yield();
  }
  ASSERT_TRUE(peer.Read());
  const auto reply = peer.Read();
  ASSERT_TRUE(reply);
  const auto* echo = reply->message().As<fb::KvGetReply>();
  ASSERT_NE(echo, nullptr);
  EXPECT_EQ(BytesView(echo->value()), "key");
}

INSTANTIATE_TEST_SUITE_P(Transports, ChannelTest, ::testing::Bool(), [](const auto& info) {
  return info.param ? std::string("Rings") : std::string("Socket");
});

}  // namespace
}  // namespace rayc::rpc
