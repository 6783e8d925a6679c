// Whatever bytes arrive, the server lives, and its other connections go on.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/logging.h"
#include "fakes/fuzz.h"
#include "fakes/loop_thread.h"
#include "fakes/temp_folder.h"
#include "rpc/convert.h"
#include "rpc/server.h"
#include "rpc/worker_client.h"

namespace rayc::rpc {
namespace {

using rayc::testing::Await;
using rayc::testing::FrameBytes;
using rayc::testing::Fuzzer;
using rayc::testing::LoopThread;
using rayc::testing::TempFolder;

std::vector<std::string> Samples() {
  TaskSpec spec;
  spec.job_id = JobId::FromInt(1);
  spec.task_id = TaskId::ForNormalTask(spec.job_id);
  spec.function = {"m", "C", "f", "h"};
  spec.caller = {NodeId::FromRandom(), WorkerId::FromRandom(), "/tmp/x"};
  TaskArg arg;
  arg.value.data = HeapBuffer::Copy("some bytes");
  arg.nested.push_back({ObjectId::ForPut(spec.task_id, 1), spec.caller});
  spec.args.assign(3, arg);
  spec.resources = ResourceSet({{"CPU", 10'000}, {"GPU", 1}});
  spec.creation = ActorCreationSpec();
  fb::PushTaskT push;
  push.spec = ToMessage(spec);
  fb::AddBorrowersT borrowers;
  borrowers.borrower = ToMessage(spec.caller);
  borrowers.refs.push_back(ToMessage(arg.nested[0]));
  return {FrameBytes(Method::kPushTask, FrameKind::kRequest, 5, Payload::Of(push)),
          FrameBytes(Method::kAddBorrowers, FrameKind::kOneWay, 0, Payload::Of(borrowers)),
          FrameBytes(Method::kPushTask, FrameKind::kReply, 1, Payload::Of(push)),
          FrameBytes(Method::kHello, FrameKind::kRequest, 9, Payload::Of(fb::HelloT()))};
}

TEST(FuzzTest, BrokenFramesHurtTheirSenderOnly) {
  InitLogging("test", LogLevel::kFatal, "");
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  LoopThread servers;
  LoopThread clients;
  Server server(servers.loop(), std::string(28, 's'), "worker");
  size_t handled = 0;  // the server's thread only
  server.HandleTable<fb::PushTask>(
      Method::kPushTask,
      [&](const ChannelPtr& /*channel*/, const fb::PushTask& push, Responder responder) {
        if (push.spec() != nullptr) {
          const TaskSpec spec = FromMessage(*push.spec());
          handled += spec.SchedulingKey().size() + spec.args.size();
        }
        responder.Reply(fb::PushTaskReplyT());
      });
  server.HandleTable<fb::AddBorrowers>(
      Method::kAddBorrowers,
      [&](const ChannelPtr& /*channel*/, const fb::AddBorrowers& message, Responder responder) {
        if (message.refs() != nullptr) {
          for (const fb::ObjectRef* ref : *message.refs()) {
            handled += FromMessage(ref).owner.socket.size();
          }
        }
        responder.Ok();
      });
  servers.Run([&] { ASSERT_TRUE(server.Listen(path).ok()); });

  const auto channel = Channel::Connect(clients.loop(), path, {});
  ASSERT_TRUE(channel);
  WireWorkerClient good(*channel);
  Fuzzer fuzzer(path, Samples());
  for (int round = 0; round < 30; ++round) {
    fuzzer.Run(3'000);
    const bool answered = Await<bool>([&](auto done) {
      good.PushTask(fb::PushTaskT(),
                    [done](Result<const fb::PushTaskReply*> reply) { done(reply.has_value()); });
    });
    ASSERT_TRUE(answered) << "in round " << round;
  }
  servers.Run([&] {
    EXPECT_GT(handled, 0U);
    server.Shutdown();
  });
  InitLogging("test", LogLevel::kWarning, "");
}

}  // namespace
}  // namespace rayc::rpc
