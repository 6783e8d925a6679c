// The report of a node's objects, over a cluster in one process: see fake_cluster.h.
#include "core_worker/node_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/unix_socket.h"
#include "core_worker/fake_cluster.h"

namespace rayc::core_worker {
namespace {

using rayc::testing::Call;
using rayc::testing::Eventually;
using rayc::testing::FakeCluster;
using rayc::testing::GetText;
using rayc::testing::HoldingArg;
using rayc::testing::LoopThread;
using rayc::testing::OptionsFor;
using rayc::testing::PutLarge;
using rayc::testing::PutRefs;
using rayc::testing::PutText;
using rayc::testing::Ref;
using rayc::testing::Submit;
using rayc::testing::TempFolder;
using rayc::testing::TextArg;

NodeMemoryOptions OptionsOf(const std::string& folder) {
  return {.raylet_socket = folder + "/sockets/raylet", .plasma_socket = folder + "/sockets/plasma"};
}

const HeldReference* Find(const NodeMemory& memory, const WorkerId& holder, const ObjectId& id) {
  for (const ProcessMemory& process : memory.processes) {
    for (const HeldReference& held : process.references) {
      if (process.worker_id == holder && held.id == id) {
        return &held;
      }
    }
  }
  return nullptr;
}

class NodeMemoryTest : public ::testing::Test {
 protected:
  NodeMemory Ask(bool check = false) {
    NodeMemoryOptions options = OptionsOf(cluster_.folder());
    options.check = check;
    auto memory = AskNodeMemory(options);
    EXPECT_TRUE(memory) << memory.error();
    return memory ? *memory : NodeMemory();
  }

  FakeCluster cluster_;
  std::unique_ptr<CoreWorker> driver_ = cluster_.NewDriver();
  const WorkerId self_ = driver_->self().worker_id;
};

TEST_F(NodeMemoryTest, ADriversObjects) {
  const Ref small = PutText(*driver_, "hello");
  const Ref large = *PutLarge(*driver_, 1'000'000);
  const Ref outer = PutRefs(*driver_, {small, large});
  driver_->SetCallSite(small.id(), "file.py:7 in f");
  const NodeMemory memory = Ask(true);
  ASSERT_EQ(memory.processes.size(), 1U);
  const ProcessMemory& process = memory.processes[0];
  EXPECT_TRUE(process.status.ok()) << process.status;
  EXPECT_TRUE(process.is_driver);
  EXPECT_EQ(process.pid, getpid());
  EXPECT_EQ(process.references.size(), 3U);
  EXPECT_EQ(process.left_off, 0U);

  const HeldReference* held = Find(memory, self_, small.id());
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(held->owner, self_);
  EXPECT_EQ(held->place, HeldReference::Place::kProcess);
  EXPECT_EQ(held->size, 5U);
  EXPECT_EQ(held->local, 1U);
  EXPECT_EQ(held->contained, 1U);
  EXPECT_EQ(held->call_site, "file.py:7 in f");
  held = Find(memory, self_, large.id());
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(held->place, HeldReference::Place::kPlasma);
  EXPECT_EQ(held->size, 1'000'000U);

  ASSERT_EQ(memory.store.objects.size(), 1U);
  EXPECT_EQ(memory.store.objects[0].id, large.id());
  EXPECT_EQ(memory.store.objects[0].owner, self_);
  EXPECT_GE(memory.store.used_bytes, 1'000'000U);
  EXPECT_EQ(memory.store.capacity_bytes, 64UL << 20);
  EXPECT_EQ(memory.store.problem, "");
}

TEST_F(NodeMemoryTest, ABusyWorkerAnswersAndBorrows) {
  const Ref large = *PutLarge(*driver_, 1'000'000);
  ObjectId handle;
  ActorCreationSpec creation;
  creation.class_name = "Actor";
  ASSERT_TRUE(driver_->CreateActor(OptionsFor("Actor"), creation, {}, &handle).ok());
  const Ref actor(*driver_, handle);
  const ActorId id = handle.Task().Actor();
  EXPECT_EQ(GetText(*driver_, Call(*driver_, id, "keep", {HoldingArg({large})})), "kept");
  const Ref sleeping = Submit(*driver_, "sleep", {TextArg("1500")});

  NodeMemory memory;
  EXPECT_TRUE(Eventually([&] {  // the task must have begun
    memory = Ask();
    return memory.processes.size() == 3;
  }));
  EXPECT_TRUE(std::all_of(memory.processes.begin(), memory.processes.end(),
                          [](const ProcessMemory& process) { return process.status.ok(); }));
  const HeldReference* held = Find(memory, self_, large.id());
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(held->borrowers, 1U);
  held = Find(memory, self_, sleeping.id());
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(held->place, HeldReference::Place::kPending);
  held = Find(memory, self_, handle);
  ASSERT_NE(held, nullptr);
  EXPECT_TRUE(held->id.IsActorHandle());
  bool is_borrowed = false;
  for (const ProcessMemory& process : memory.processes) {
    held = Find(memory, process.worker_id, large.id());
    if (held != nullptr && process.worker_id != self_) {
      is_borrowed = true;
      EXPECT_EQ(held->owner, self_);
      EXPECT_EQ(held->local, 1U);
    }
  }
  EXPECT_TRUE(is_borrowed);
  EXPECT_EQ(GetText(*driver_, sleeping), "slept");
}

TEST_F(NodeMemoryTest, ManyReferencesAreCutShort) {
  std::vector<Ref> refs;
  for (int i = 0; i < 50; ++i) {
    refs.push_back(PutText(*driver_, "x"));
  }
  NodeMemoryOptions options = OptionsOf(cluster_.folder());
  options.references_max = 20;
  const auto memory = AskNodeMemory(options);
  ASSERT_TRUE(memory) << memory.error();
  ASSERT_EQ(memory->processes.size(), 1U);
  EXPECT_EQ(memory->processes[0].references.size(), 20U);
  EXPECT_EQ(memory->processes[0].left_off, 30U);
}

// A raylet that names processes: one that accepts connections and says nothing, and one that is
// gone.
TEST(NodeMemoryOfOthersTest, ASilentProcessIsNamedAfterTheTimeout) {
  const TempFolder folder;
  std::filesystem::create_directories(folder.path() + "/sockets");
  const auto silent = ListenUnix(folder.path() + "/sockets/silent");
  ASSERT_TRUE(silent);
  LoopThread loop;
  rpc::Server raylet(loop.loop(), std::string(28, 'r'), "raylet");
  raylet.Handle(Method::kListClients,
                [&](const rpc::ChannelPtr&, const rpc::Message&, rpc::Responder responder) {
                  fb::ListClientsReplyT reply;
                  for (const char* name : {"silent", "gone"}) {
                    auto info = std::make_unique<fb::ClientInfoT>();
                    info->worker_id = rpc::IdBytes(WorkerId::FromRandom());
                    info->pid = 7;
                    info->socket = folder.path() + "/sockets/" + name;
                    reply.clients.push_back(std::move(info));
                  }
                  responder.Reply(reply);
                });
  plasma::Store store(loop.loop(),
                      plasma::StoreOptions{.socket_path = folder.path() + "/sockets/plasma",
                                           .capacity_bytes = 1UL << 20});
  NodeMemoryOptions options = OptionsOf(folder.path());
  options.timeout_ms = 200;
  EXPECT_FALSE(AskNodeMemory(options));  // nobody is there
  loop.Run([&] {
    ASSERT_TRUE(raylet.Listen(options.raylet_socket).ok());
    ASSERT_TRUE(store.Start().ok());
  });

  const int64_t begin_ms = SteadyClock().NowMs();
  const auto memory = AskNodeMemory(options);
  EXPECT_LT(SteadyClock().NowMs() - begin_ms, 5'000);
  ASSERT_TRUE(memory) << memory.error();
  ASSERT_EQ(memory->processes.size(), 2U);
  EXPECT_EQ(memory->processes[0].status.code(), StatusCode::kTimedOut);
  EXPECT_EQ(memory->processes[1].status.code(), StatusCode::kDisconnected);

  options.raylet_socket = folder.path() + "/sockets/silent";
  const auto nothing = AskNodeMemory(options);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code(), StatusCode::kTimedOut);

  options.raylet_socket = "";  // the store alone
  const auto alone = AskNodeMemory(options);
  ASSERT_TRUE(alone) << alone.error();
  EXPECT_TRUE(alone->processes.empty());
  EXPECT_EQ(alone->store.problem, "");
  loop.Run([&] {
    raylet.Shutdown();
    store.Shutdown();
  });
}

}  // namespace
}  // namespace rayc::core_worker
