#include "gcs/actor_scheduler.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <map>
#include <string>
#include <vector>

#include "fakes/fake_clients.h"
#include "fakes/fake_timers.h"

namespace rayc::gcs {
namespace {

using Kind = CreationOutcome::Kind;
using testing::FakeRayletClient;
using testing::FakeWorkerClient;

class ActorSchedulerTest : public ::testing::Test {
 protected:
  rpc::ChannelPtr MakeConnection() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    others_.emplace_back(pair[1]);
    return rpc::Channel::Accept(loop_, UniqueFd(pair[0]), {}, nullptr);
  }
  void AddNode() {
    NodeRecord node;
    node.node_id = node_;
    node.is_head = true;
    connection_ = MakeConnection();
    ASSERT_TRUE(nodes_.Register(node, connection_).ok());
    scheduler_.OnNodeAdded();
  }
  ActorId Schedule(int64_t delay_ms = 0) {
    const ActorId id = ActorId::Of(JobId::FromInt(1));
    auto spec = std::make_shared<TaskSpec>();
    spec->type = TaskType::kActorCreation;
    spec->creation = ActorCreationSpec();
    spec->creation->actor_id = id;
    spec->creation->class_name = "Counter";
    scheduler_.Schedule({id, spec, std::make_shared<const std::string>("config"), delay_ms},
                        [this, id](CreationOutcome outcome) {
                          EXPECT_FALSE(outcomes_.contains(id));
                          outcomes_[id] = std::move(outcome);
                        });
    return id;
  }
  FakeRayletClient& Raylet() { return *clients_.raylets.at(node_); }
  uint64_t LastLease() { return Raylet().leases.rbegin()->first; }
  Address Worker(const std::string& socket = "/tmp/worker") const {
    return {node_, WorkerId::FromRandom(), socket};
  }
  // A worker that is about to run the constructor.
  FakeWorkerClient& Pushed(const Address& worker) {
    Raylet().Grant(LastLease(), worker, 42);
    return *clients_.workers.at(worker.worker_id);
  }

  EventLoop loop_;
  std::vector<UniqueFd> others_;
  const NodeId node_ = NodeId::FromRandom();
  rpc::ChannelPtr connection_;
  NodeManager nodes_;
  testing::FakeClientPool clients_;
  testing::FakeTimers timers_;
  LeasingActorScheduler scheduler_{nodes_, clients_, timers_};
  std::map<ActorId, CreationOutcome> outcomes_;
};

TEST_F(ActorSchedulerTest, LeasesPushesAndReports) {
  AddNode();
  const ActorId id = Schedule();
  EXPECT_EQ(Raylet().names, std::vector<std::string>{"Counter"});
  const Address worker = Worker();
  FakeWorkerClient& client = Pushed(worker);
  EXPECT_EQ(client.job_config, "config");
  EXPECT_EQ(client.assigned, 1U);
  EXPECT_FALSE(outcomes_.contains(id));
  client.Answer({});
  EXPECT_EQ(outcomes_[id].kind, Kind::kCreated);
  EXPECT_EQ(outcomes_[id].worker, worker);
  EXPECT_EQ(outcomes_[id].pid, 42);
  EXPECT_EQ(client.closes, 1);
  EXPECT_TRUE(Raylet().returned.empty());
  EXPECT_EQ(scheduler_.attempts(), 0U);
  EXPECT_EQ(timers_.waiting(), 0U);
}

TEST_F(ActorSchedulerTest, AllRequestsAreUnderWayAtOnce) {
  AddNode();
  for (int i = 0; i < 200; ++i) {
    Schedule();
  }
  EXPECT_EQ(Raylet().leases.size(), 200U);
  while (!Raylet().leases.empty()) {
    Raylet().Grant(Raylet().leases.begin()->first, Worker(), 1);
  }
  EXPECT_EQ(clients_.workers.size(), 200U);
  for (const auto& [worker, client] : clients_.workers) {
    client->Answer({});
    EXPECT_EQ(client->closes, 1);
  }
  EXPECT_EQ(outcomes_.size(), 200U);
}

TEST_F(ActorSchedulerTest, WithoutANodeItWaitsForOne) {
  const ActorId id = Schedule();
  EXPECT_TRUE(clients_.raylets.empty());
  AddNode();
  EXPECT_EQ(Raylet().leases.size(), 1U);
  scheduler_.OnNodeAdded();
  EXPECT_EQ(Raylet().leases.size(), 1U);
  EXPECT_FALSE(outcomes_.contains(id));
}

TEST_F(ActorSchedulerTest, ADelayIsObserved) {
  AddNode();
  Schedule(50);
  scheduler_.OnNodeAdded();
  EXPECT_TRUE(clients_.raylets.empty());
  timers_.AdvanceMs(50);
  EXPECT_EQ(Raylet().leases.size(), 1U);
}

TEST_F(ActorSchedulerTest, ARayletThatDoesNotAnswerIsAskedAgain) {
  AddNode();
  clients_.unreachable = true;
  const ActorId id = Schedule();
  clients_.unreachable = false;
  timers_.AdvanceMs(LeasingActorScheduler::kNodeRetryMs);
  Raylet().Refuse(LastLease(), Status::Disconnected("closed"));
  EXPECT_TRUE(Raylet().leases.empty());
  timers_.AdvanceMs(LeasingActorScheduler::kNodeRetryMs);
  EXPECT_EQ(Raylet().leases.size(), 1U);
  EXPECT_FALSE(outcomes_.contains(id));
}

TEST_F(ActorSchedulerTest, RefusalsAreToldApart) {
  AddNode();
  const ActorId impossible = Schedule();
  Raylet().Refuse(LastLease(), Status(StatusCode::kUnschedulable, "GPU: 1 asked, 0 there"));
  EXPECT_EQ(outcomes_[impossible].kind, Kind::kUnschedulable);
  EXPECT_EQ(outcomes_[impossible].detail, "GPU: 1 asked, 0 there");
  const ActorId broken = Schedule();
  Raylet().Refuse(LastLease(), Status(StatusCode::kRuntimeEnvSetup, "no such package"));
  EXPECT_EQ(outcomes_[broken].kind, Kind::kFailed);
  EXPECT_EQ(outcomes_[broken].detail, "no such package");
}

TEST_F(ActorSchedulerTest, ARaisingConstructorGivesItsErrorAndItsWorkerBack) {
  AddNode();
  const ActorId id = Schedule();
  const uint64_t lease = LastLease();
  const Address worker = Worker();
  FakeWorkerClient& client = Pushed(worker);
  fb::PushTaskReplyT reply;
  reply.is_application_error = true;
  reply.returns.push_back(std::make_unique<fb::TaskReturnT>());
  reply.returns.back()->data = {'e', 'r', 'r'};
  reply.returns.back()->metadata = "pickle";
  client.Answer(reply);
  EXPECT_EQ(outcomes_[id].kind, Kind::kConstructorRaised);
  EXPECT_EQ(outcomes_[id].error_data, "err");
  EXPECT_EQ(outcomes_[id].error_metadata, "pickle");
  EXPECT_EQ(Raylet().returned, (std::vector<std::pair<uint64_t, bool>>{{lease, true}}));
  EXPECT_EQ(Raylet().killed, (std::vector<std::pair<WorkerId, bool>>{{worker.worker_id, false}}));
}

TEST_F(ActorSchedulerTest, AWorkerThatLeavesByItselfIsNotKilled) {
  AddNode();
  Schedule();
  FakeWorkerClient& client = Pushed(Worker());
  fb::PushTaskReplyT reply;
  reply.is_application_error = true;  // and says nothing of what
  reply.worker_exiting = true;
  client.Answer(reply);
  EXPECT_EQ(Raylet().returned.size(), 1U);
  EXPECT_TRUE(Raylet().killed.empty());
}

TEST_F(ActorSchedulerTest, ASystemFailureIsFinal) {
  AddNode();
  const ActorId id = Schedule();
  fb::PushTaskReplyT reply;
  reply.status = static_cast<uint8_t>(StatusCode::kObjectLost);
  reply.message = "an argument was lost";
  Pushed(Worker()).Answer(reply);
  EXPECT_EQ(outcomes_[id].kind, Kind::kFailed);
  EXPECT_EQ(outcomes_[id].detail, "an argument was lost");
}

TEST_F(ActorSchedulerTest, ATaskGivenBackIsALostWorker) {
  AddNode();
  const ActorId id = Schedule();
  fb::PushTaskReplyT reply;
  reply.not_started = true;
  Pushed(Worker()).Answer(reply);
  EXPECT_EQ(outcomes_[id].kind, Kind::kWorkerLost);
}

TEST_F(ActorSchedulerTest, ALostConnectionIsExplainedByTheRaylet) {
  AddNode();
  const ActorId id = Schedule();
  const Address worker = Worker();
  Pushed(worker).Fail(Status::Disconnected("closed"));
  EXPECT_FALSE(outcomes_.contains(id));
  fb::WorkerDeathT death;
  death.worker_id = rpc::IdBytes(worker.worker_id);
  death.known = true;
  death.pid = 42;
  death.signal = 9;
  death.detail = "killed by signal 9 (SIGKILL)";
  Raylet().Tell(death);
  EXPECT_EQ(outcomes_[id].kind, Kind::kWorkerLost);
  EXPECT_EQ(outcomes_[id].exit.detail, "killed by signal 9 (SIGKILL)");
  EXPECT_FALSE(outcomes_[id].exit.intended);
  EXPECT_TRUE(Raylet().killed.empty());
  EXPECT_EQ(timers_.waiting(), 0U);
}

TEST_F(ActorSchedulerTest, AWorkerThatNobodyReachesIsAskedFor) {
  AddNode();
  const ActorId id = Schedule();
  const Address worker = Worker("");
  Raylet().Grant(LastLease(), worker, 42);
  ASSERT_TRUE(Raylet().questions.contains(worker.worker_id));
  // Nobody knows yet, or the process hangs: then it is made sure.
  timers_.AdvanceMs(LeasingActorScheduler::kDeathAnswerMs);
  EXPECT_EQ(Raylet().killed, (std::vector<std::pair<WorkerId, bool>>{{worker.worker_id, true}}));
  fb::WorkerDeathT death;
  death.worker_id = rpc::IdBytes(worker.worker_id);
  Raylet().Tell(death);  // unknown
  EXPECT_EQ(outcomes_[id].kind, Kind::kWorkerLost);
  EXPECT_EQ(outcomes_[id].exit.pid, 42);
}

TEST_F(ActorSchedulerTest, AReportedDeathNeedsNoClosedConnection) {
  AddNode();
  const ActorId id = Schedule();
  const Address worker = Worker();
  FakeWorkerClient& client = Pushed(worker);
  scheduler_.OnWorkerDeath({WorkerId::FromRandom(), 1, false, "another one", ""});
  EXPECT_FALSE(outcomes_.contains(id));
  scheduler_.OnWorkerDeath({worker.worker_id, 42, true, "sys.exit(0)", ""});
  EXPECT_EQ(outcomes_[id].kind, Kind::kWorkerLost);
  EXPECT_TRUE(outcomes_[id].exit.intended);
  EXPECT_EQ(client.closes, 1);
  client.Fail(Status::Disconnected("closed"));  // its consequence: nothing
}

TEST_F(ActorSchedulerTest, NonsenseFromAWorkerIsFinal) {
  AddNode();
  const ActorId id = Schedule();
  const Address worker = Worker();
  Pushed(worker).Fail(Status::IOError("malformed reply"));
  EXPECT_EQ(outcomes_[id].kind, Kind::kFailed);
  EXPECT_EQ(Raylet().killed.size(), 1U);
}

TEST_F(ActorSchedulerTest, CancellingUndoesWhatWasReached) {
  const ActorId waiting = Schedule();
  scheduler_.Cancel(waiting, "why");
  AddNode();
  EXPECT_TRUE(clients_.raylets.empty());

  const ActorId leasing = Schedule();
  const uint64_t lease = LastLease();
  scheduler_.Cancel(leasing, "why");
  EXPECT_EQ(Raylet().cancelled, std::vector<uint64_t>{lease});
  Raylet().Grant(lease, Worker(), 42);  // it was on its way
  EXPECT_EQ(Raylet().returned, (std::vector<std::pair<uint64_t, bool>>{{lease, false}}));

  const ActorId pushing = Schedule();
  const Address worker = Worker();
  FakeWorkerClient& client = Pushed(worker);
  scheduler_.Cancel(pushing, "why");
  EXPECT_EQ(Raylet().killed, (std::vector<std::pair<WorkerId, bool>>{{worker.worker_id, true}}));
  EXPECT_EQ(client.closes, 1);
  client.Fail(Status::Disconnected("closed"));

  scheduler_.Cancel(pushing, "why");  // over: nothing
  EXPECT_TRUE(outcomes_.empty());
  EXPECT_EQ(scheduler_.attempts(), 0U);
}

TEST_F(ActorSchedulerTest, StoppingAsksTheWorkerKillingAsksTheRaylet) {
  AddNode();
  const Address worker = Worker();
  const ActorId id = ActorId::Of(JobId::FromInt(1));
  scheduler_.StopActor(worker, id, "why");
  EXPECT_EQ(clients_.workers.at(worker.worker_id)->stopped,
            (std::vector<std::pair<ActorId, bool>>{{id, true}}));
  scheduler_.StopActor(Worker(""), id, "why");  // not to be reached
  EXPECT_EQ(Raylet().killed.size(), 1U);
  scheduler_.KillWorker(worker, "why");
  EXPECT_EQ(Raylet().killed.back(), (std::pair<WorkerId, bool>{worker.worker_id, true}));
  scheduler_.KillWorker({NodeId::FromRandom(), worker.worker_id, ""}, "why");  // no such node
  EXPECT_EQ(Raylet().killed.size(), 2U);
}

TEST_F(ActorSchedulerTest, ADeadNodeLosesTheQuestionsToIt) {
  AddNode();
  const ActorId id = Schedule();
  const Address worker = Worker();
  FakeWorkerClient& client = Pushed(worker);
  nodes_.OnDisconnect(connection_);
  scheduler_.OnNodeDead(node_);
  EXPECT_EQ(clients_.forgotten, std::vector<NodeId>{node_});
  client.Fail(Status::Disconnected("closed"));
  EXPECT_EQ(outcomes_[id].kind, Kind::kWorkerLost);
  EXPECT_EQ(outcomes_[id].exit.detail, "its node is gone");
}

TEST_F(ActorSchedulerTest, NothingRunsAfterShutdown) {
  AddNode();
  Schedule();
  Schedule(1'000);
  scheduler_.Shutdown();
  Raylet().Grant(LastLease(), Worker(), 42);
  EXPECT_TRUE(clients_.workers.empty());
  EXPECT_TRUE(outcomes_.empty());
  EXPECT_EQ(timers_.waiting(), 0U);
}

}  // namespace
}  // namespace rayc::gcs
