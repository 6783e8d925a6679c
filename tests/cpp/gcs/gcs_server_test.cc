// A whole GCS on its socket, with a driver, and a node whose raylet and workers are played by
// servers in this process.
#include "gcs/gcs_server.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/logging.h"
#include "fakes/fake_node.h"
#include "fakes/fuzz.h"
#include "fakes/loop_thread.h"
#include "fakes/temp_folder.h"
#include "rpc/gcs_client.h"

namespace rayc::gcs {
namespace {

using fb::ActorDeathCause;
using fb::ActorState;
using rayc::testing::Await;
using rayc::testing::Eventually;
using rayc::testing::FakeNode;
using rayc::testing::LoopThread;
using rayc::testing::TempFolder;

// What the tests look at of an ActorInfo.
struct Seen {
  ActorState state = ActorState::kDependenciesUnready;
  Address address;
  uint32_t incarnation = 0;
  uint32_t num_restarts = 0;
  ActorDeathCause cause = ActorDeathCause::kNone;
  std::string detail;
  std::string error;
  std::string handle_state;
};

Seen Look(const fb::ActorInfo& info) {
  Seen seen;
  seen.state = info.state();
  seen.address = rpc::FromMessage(info.address());
  seen.incarnation = info.incarnation();
  seen.num_restarts = info.num_restarts();
  seen.cause = info.death_cause();
  seen.detail = rpc::FromString(info.death_detail());
  seen.error = std::string(rpc::BytesView(info.creation_error_data()));
  seen.handle_state = std::string(rpc::BytesView(info.handle_state()));
  return seen;
}

// A driver's or worker's connection to the GCS.
class Process {
 public:
  Process(const std::string& socket, const std::string& component) {
    rpc::ChannelOptions options;
    options.self_id = std::string(id_.Binary());
    options.self_component = component;
    options.on_request = [this](const rpc::ChannelPtr& /*channel*/, Method method,
                                rpc::Message message, const rpc::Responder& /*one way*/) {
      const auto* info = message.As<fb::ActorInfo>();
      if (method == Method::kActorUpdate && info != nullptr) {
        const std::lock_guard<std::mutex> lock(mutex_);
        updates_[ActorId::FromBytes(info->actor_id())].push_back(Look(*info));
      }
    };
    auto channel = rpc::Channel::Connect(thread_.loop(), socket, std::move(options));
    EXPECT_TRUE(channel);
    client_ = std::make_unique<rpc::WireGcsClient>(*channel);
  }
  ~Process() {
    thread_.Run([this] { client_->channel()->Detach(); });
    thread_.Join();
  }

  rpc::WireGcsClient& gcs() { return *client_; }
  Address address() const { return {NodeId::FromBinary(std::string(28, 'n')), id_, "/tmp/none"}; }
  std::vector<Seen> Updates(const ActorId& actor) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return updates_[actor];
  }
  bool WaitForState(const ActorId& actor, ActorState state) {
    return Eventually([&] {
      const auto updates = Updates(actor);
      return !updates.empty() && updates.back().state == state;
    });
  }

  JobId AddJob(const std::string& config = "job config") {
    fb::AddJobT request;
    request.driver = rpc::ToMessage(address());
    request.config = rpc::ToBytes(config);
    request.name_space = "space";
    return Await<JobId>([&](auto done) {
      gcs().AddJob(request, [done](Result<const fb::AddJobReply*> reply) {
        EXPECT_EQ(rpc::FromString((*reply)->session_name()), "session_test");
        EXPECT_FALSE(ClusterId::FromBytes((*reply)->cluster_id()).IsNil());
        done(reply ? JobId::FromBytes((*reply)->job_id()) : JobId::Nil());
      });
    });
  }
  TaskSpec Spec(const JobId& job, int32_t max_restarts = 0, const std::string& name = "") const {
    TaskSpec spec;
    spec.type = TaskType::kActorCreation;
    spec.job_id = job;
    spec.caller = address();
    spec.creation = ActorCreationSpec();
    spec.creation->actor_id = ActorId::Of(job);
    spec.creation->max_restarts = max_restarts;
    spec.creation->name = name;
    spec.creation->name_space = "space";
    spec.creation->class_name = "Counter";
    spec.creation->handle_state = "methods";
    spec.task_id = TaskId::ForActorCreation(spec.creation->actor_id);
    return spec;
  }
  Status Create(const TaskSpec& spec) {
    return Await<Status>([&](auto done) { gcs().CreateActor(spec, "", done); });
  }
  // Registered, and followed from the start.
  ActorId CreateAndSubscribe(const TaskSpec& spec) {
    EXPECT_TRUE(Create(spec).ok());
    EXPECT_TRUE(Subscribe(spec.creation->actor_id));
    return spec.creation->actor_id;
  }
  // The answer counts as the first update.
  bool Subscribe(const ActorId& actor) {
    return Await<bool>([&](auto done) {
      gcs().SubscribeActor(actor, [this, actor, done](Result<const fb::ActorInfo*> info) {
        if (info) {
          const std::lock_guard<std::mutex> lock(mutex_);
          updates_[actor].push_back(Look(**info));
        }
        done(info.has_value());
      });
    });
  }
  Result<Seen> Get(const ActorId& actor) {
    return Await<Result<Seen>>([&](auto done) {
      gcs().GetActor(actor, [done](Result<const fb::ActorInfo*> info) {
        done(info ? Result<Seen>(Look(**info)) : Err(info.error()));
      });
    });
  }
  Result<ActorId> GetNamed(const std::string& name) {
    return Await<Result<ActorId>>([&](auto done) {
      gcs().GetNamedActor(name, "space", [done](Result<const fb::ActorInfo*> info) {
        done(info ? Result<ActorId>(ActorId::FromBytes((*info)->actor_id())) : Err(info.error()));
      });
    });
  }
  Status Kill(const ActorId& actor, bool no_restart) {
    return Await<Status>([&](auto done) { gcs().KillActor(actor, no_restart, done); });
  }

 private:
  const WorkerId id_ = WorkerId::FromRandom();
  LoopThread thread_;
  std::unique_ptr<rpc::WireGcsClient> client_;
  std::mutex mutex_;
  std::map<ActorId, std::vector<Seen>> updates_;  // guarded by mutex_
};

class GcsServerTest : public ::testing::Test {
 protected:
  GcsServerTest() {
    InitLogging("test", LogLevel::kError, "");
    thread_.Run([this] {
      server_ = std::make_unique<GcsServer>(
          thread_.loop(), GcsServerOptions{socket_, folder_.path(), "session_test"});
      ASSERT_TRUE(server_->Start().ok());
    });
    node_.emplace(folder_.path(), socket_);
    driver_.emplace(socket_, "driver");
    job_ = driver_->AddJob();
  }
  ~GcsServerTest() override {
    driver_.reset();
    node_.reset();
    thread_.Run([this] { server_.reset(); });
    thread_.Join();
    InitLogging("test", LogLevel::kWarning, "");
  }
  // An actor that lives, and its worker.
  std::pair<ActorId, WorkerId> Alive(const TaskSpec& spec) {
    const ActorId id = driver_->CreateAndSubscribe(spec);
    EXPECT_TRUE(driver_->WaitForState(id, ActorState::kAlive));
    return {id, driver_->Updates(id).back().address.worker_id};
  }
  std::vector<std::string> FunctionKeys() {
    return Await<std::vector<std::string>>([&](auto done) {
      driver_->gcs().KvKeys("fun", "",
                            [done](const Result<std::vector<std::string>>& keys) { done(*keys); });
    });
  }
  bool PutKey(const std::string& name_space, const std::string& key, const std::string& value) {
    return Await<bool>([&](auto done) {
      driver_->gcs().KvPut(name_space, key, value, true,
                           [done](const Result<bool>& existed) { done(*existed); });
    });
  }

  TempFolder folder_;
  const std::string socket_ = folder_.path() + "/gcs";
  LoopThread thread_;
  std::unique_ptr<GcsServer> server_;  // made and used on thread_
  std::optional<FakeNode> node_;
  std::optional<Process> driver_;
  JobId job_;
};

TEST_F(GcsServerTest, JobsAreCountedAndRemembered) {
  EXPECT_EQ(job_, JobId::FromInt(1));
  Process worker(socket_, "worker");
  const auto config = [&](uint32_t job) {
    return Await<Result<std::string>>([&](auto done) {
      worker.gcs().GetJob(JobId::FromInt(job), [done](Result<const fb::JobInfo*> info) {
        done(info ? Result<std::string>(std::string(rpc::BytesView((*info)->config())))
                  : Err(info.error()));
      });
    });
  };
  EXPECT_EQ(*config(1), "job config");
  EXPECT_EQ(config(7).error().code(), StatusCode::kNotFound);
}

TEST_F(GcsServerTest, NodesAreListed) {
  const auto alive = [&] {
    return Await<int>([&](auto done) {
      driver_->gcs().GetNodes([done](Result<const fb::GetNodesReply*> reply) {
        int count = 0;
        for (const fb::NodeInfo* node : *(*reply)->nodes()) {
          count += node->is_alive() && node->is_head() ? 1 : 0;
        }
        done(count);
      });
    });
  };
  EXPECT_TRUE(Eventually([&] { return alive() == 1; }));
  node_.reset();
  EXPECT_TRUE(Eventually([&] { return alive() == 0; }));
  node_.emplace(folder_.path(), socket_);
}

TEST_F(GcsServerTest, TheKvServesAndWaits) {
  EXPECT_FALSE(PutKey("ns", "k", "v"));
  EXPECT_TRUE(PutKey("ns", "k", "v2"));
  const auto get = [&](const std::string& key, int32_t wait_ms, auto done) {
    driver_->gcs().KvGet("ns", key, wait_ms,
                         [done](const Result<std::optional<std::string>>& value) { done(*value); });
  };
  using Value = std::optional<std::string>;
  EXPECT_EQ(Await<Value>([&](auto done) { get("k", 0, done); }), "v2");
  EXPECT_EQ(Await<Value>([&](auto done) { get("none", 20, done); }), std::nullopt);
  const Value late = Await<Value>([&](auto done) {
    get("late", 10'000, done);
    driver_->gcs().KvPut("ns", "late", "here", false, [](const Result<bool>& /*existed*/) {});
  });
  EXPECT_EQ(late, "here");
  const auto deleted = Await<uint32_t>([&](auto done) {
    driver_->gcs().KvDel("ns", "", true, [done](const Result<uint32_t>& count) { done(*count); });
  });
  EXPECT_EQ(deleted, 2U);
}

TEST_F(GcsServerTest, AnActorComesToLife) {
  std::string config;  // what its worker was given
  node_->thread().Run([&] {
    node_->on_push = [&](const fb::PushTask& push, rpc::Responder responder) {
      config = std::string(rpc::BytesView(push.job_config()));
      responder.Reply(fb::PushTaskReplyT());
    };
  });
  const TaskSpec spec = driver_->Spec(job_, 0, "named");
  const auto [id, worker] = Alive(spec);
  EXPECT_EQ(node_->Ask([&] { return config; }), "job config");
  EXPECT_EQ(node_->Ask([&, worker = worker] { return node_->workers.count(worker); }), 1U);
  EXPECT_EQ(driver_->Updates(id).back().incarnation, 1U);
  EXPECT_EQ(driver_->Updates(id).back().handle_state, "");
  Process other(socket_, "worker");
  EXPECT_EQ(*other.GetNamed("named"), id);
  EXPECT_EQ(other.Get(id)->handle_state, "methods");
  EXPECT_EQ(other.Create(other.Spec(job_, 0, "named")).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(other.GetNamed("nobody").error().code(), StatusCode::kNotFound);
  EXPECT_EQ(other.Get(ActorId::Of(job_)).error().code(), StatusCode::kNotFound);
  EXPECT_FALSE(other.Subscribe(ActorId::Of(job_)));
}

TEST_F(GcsServerTest, OthersFindAnActorWhoseArgumentsArePending) {
  const TaskSpec spec = driver_->Spec(job_, 0, "early");
  const ActorId id = spec.creation->actor_id;
  EXPECT_TRUE(Await<Status>([&](auto done) { driver_->gcs().RegisterActor(spec, done); }).ok());
  Process other(socket_, "worker");
  EXPECT_EQ(*other.GetNamed("early"), id);
  EXPECT_TRUE(other.Subscribe(id));
  EXPECT_EQ(other.Updates(id).back().state, ActorState::kDependenciesUnready);
  EXPECT_EQ(other.Create(other.Spec(job_, 0, "early")).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(driver_->Create(spec).ok());
  EXPECT_TRUE(other.WaitForState(id, ActorState::kAlive));
}

TEST_F(GcsServerTest, ActorsAreListedByNameAndNamespace) {
  Alive(driver_->Spec(job_, 0, "a"));
  Alive(driver_->Spec(job_));
  TaskSpec elsewhere = driver_->Spec(job_, 0, "b");
  elsewhere.creation->name_space = "other";
  Alive(elsewhere);
  const auto count = [&](bool only_named, bool all) {
    fb::ListActorsT request;
    request.only_named = only_named;
    request.all_namespaces = all;
    request.name_space = "space";
    return Await<uint32_t>([&](auto done) {
      driver_->gcs().ListActors(request, [done](Result<const fb::ListActorsReply*> reply) {
        done((*reply)->actors() == nullptr ? 0 : (*reply)->actors()->size());
      });
    });
  };
  EXPECT_EQ(count(true, true), 2U);
  EXPECT_EQ(count(true, false), 1U);
  EXPECT_EQ(count(false, true), 3U);
}

TEST_F(GcsServerTest, ADeadWorkerIsReplacedThenMourned) {
  const auto [id, worker] = Alive(driver_->Spec(job_, 1));
  node_->Die(worker, "killed by signal 11 (SIGSEGV)");
  ASSERT_TRUE(Eventually([&] { return driver_->Updates(id).back().incarnation == 2; }));
  ASSERT_TRUE(driver_->WaitForState(id, ActorState::kAlive));
  const WorkerId second = driver_->Updates(id).back().address.worker_id;
  EXPECT_NE(second, worker);
  node_->Die(second, "killed by signal 9 (SIGKILL)");
  ASSERT_TRUE(driver_->WaitForState(id, ActorState::kDead));
  const Seen last = driver_->Updates(id).back();
  EXPECT_EQ(last.cause, ActorDeathCause::kWorkerDied);
  EXPECT_EQ(last.num_restarts, 1U);
  EXPECT_NE(last.detail.find("SIGKILL"), std::string::npos);
}

TEST_F(GcsServerTest, AWorkerThatDiesInTheConstructorIsExplained) {
  for (const bool report : {false, true}) {
    node_->thread().Run([&, report] {
      node_->on_push = [&, report](const fb::PushTask& /*push*/, rpc::Responder responder) {
        node_->kept.push_back(std::move(responder));
        const WorkerId worker = node_->workers.rbegin()->first;
        node_->DieOnLoop(worker, "ran out of memory", false, report);
      };
    });
    const ActorId id = driver_->CreateAndSubscribe(driver_->Spec(job_));
    ASSERT_TRUE(driver_->WaitForState(id, ActorState::kDead));
    const Seen last = driver_->Updates(id).back();
    EXPECT_EQ(last.cause, ActorDeathCause::kWorkerDied);
    EXPECT_NE(last.detail.find("ran out of memory"), std::string::npos) << last.detail;
  }
}

TEST_F(GcsServerTest, ARaisingConstructorsErrorReachesTheOwner) {
  node_->thread().Run([&] {
    node_->on_push = [](const fb::PushTask& /*push*/, rpc::Responder responder) {
      fb::PushTaskReplyT reply;
      reply.is_application_error = true;
      reply.returns.push_back(std::make_unique<fb::TaskReturnT>());
      reply.returns.back()->data = rpc::ToBytes("pickled error");
      responder.Reply(reply);
    };
  });
  const ActorId id = driver_->CreateAndSubscribe(driver_->Spec(job_, -1, "named"));
  ASSERT_TRUE(driver_->WaitForState(id, ActorState::kDead));
  EXPECT_EQ(driver_->Updates(id).back().cause, ActorDeathCause::kCreationFailed);
  EXPECT_EQ(driver_->Updates(id).back().error, "pickled error");
  EXPECT_EQ(driver_->GetNamed("named").error().code(), StatusCode::kNotFound);
  EXPECT_TRUE(Eventually([&] { return node_->Ask([&] { return node_->returned.size(); }) == 1; }));
}

TEST_F(GcsServerTest, WhatNoNodeCanHoldFailsAtOnce) {
  node_->thread().Run(
      [&] { node_->refusal = Status(StatusCode::kUnschedulable, "GPU: 1 asked, 0 there"); });
  const ActorId id = driver_->CreateAndSubscribe(driver_->Spec(job_, -1));
  ASSERT_TRUE(driver_->WaitForState(id, ActorState::kDead));
  EXPECT_EQ(driver_->Updates(id).back().cause, ActorDeathCause::kUnschedulable);
  EXPECT_EQ(driver_->Updates(id).back().detail, "GPU: 1 asked, 0 there");
}

TEST_F(GcsServerTest, KillEndsTheWorkerAndMayRestart) {
  const auto [id, worker] = Alive(driver_->Spec(job_, 1));
  EXPECT_TRUE(driver_->Kill(id, /*no_restart=*/false).ok());
  ASSERT_TRUE(Eventually([&] { return driver_->Updates(id).back().incarnation == 2; }));
  ASSERT_TRUE(driver_->WaitForState(id, ActorState::kAlive));
  EXPECT_TRUE(driver_->Kill(id, /*no_restart=*/true).ok());
  ASSERT_TRUE(driver_->WaitForState(id, ActorState::kDead));
  EXPECT_EQ(driver_->Updates(id).back().cause, ActorDeathCause::kKilled);
  EXPECT_TRUE(Eventually([&] { return node_->Ask([&] { return node_->killed.size(); }) == 2; }));
  EXPECT_EQ(driver_->Kill(ActorId::Of(job_), true).code(), StatusCode::kNotFound);
}

TEST_F(GcsServerTest, OutOfScopeActorsLeaveByThemselves) {
  const auto [id, worker] = Alive(driver_->Spec(job_, -1));
  driver_->gcs().ActorOutOfScope(id);
  ASSERT_TRUE(Eventually([&, worker = worker] {
    return node_->Ask([&] { return node_->workers.at(worker).stopped.size(); }) == 1;
  }));
  EXPECT_EQ(driver_->Get(id)->state, ActorState::kAlive);
  node_->Die(worker, "left", /*intended=*/true);
  ASSERT_TRUE(driver_->WaitForState(id, ActorState::kDead));
  EXPECT_EQ(driver_->Updates(id).back().cause, ActorDeathCause::kOutOfScope);
  EXPECT_TRUE(node_->Ask([&] { return node_->killed.empty(); }));
}

TEST_F(GcsServerTest, AnOwnersConnectionEndsItsActors) {
  // One that is being created, and one that lives.
  auto owner = std::make_unique<Process>(socket_, "worker");
  const ActorId alive = owner->CreateAndSubscribe(owner->Spec(job_));
  ASSERT_TRUE(owner->WaitForState(alive, ActorState::kAlive));
  node_->thread().Run([&] { node_->grants = false; });
  const ActorId pending = owner->CreateAndSubscribe(owner->Spec(job_, -1));
  EXPECT_TRUE(driver_->Subscribe(alive));
  EXPECT_TRUE(driver_->Subscribe(pending));
  owner.reset();
  for (const ActorId& id : {alive, pending}) {
    ASSERT_TRUE(driver_->WaitForState(id, ActorState::kDead));
    EXPECT_EQ(driver_->Updates(id).back().cause, ActorDeathCause::kOwnerDied);
  }
  EXPECT_TRUE(Eventually([&] { return node_->Ask([&] { return node_->killed.size(); }) == 1; }));
}

TEST_F(GcsServerTest, AJobEndsWithItsDriver) {
  auto second = std::make_unique<Process>(socket_, "driver");
  const JobId job = second->AddJob();
  PutKey("fun", "RemoteFunction:" + job.Hex() + ":f", "pickled");
  PutKey("fun", "ActorClass:" + job.Hex() + ":C", "pickled");
  PutKey("fun", "RemoteFunction:" + job_.Hex() + ":f", "pickled");
  const ActorId owned = second->CreateAndSubscribe(second->Spec(job, -1));
  ASSERT_TRUE(second->WaitForState(owned, ActorState::kAlive));
  TaskSpec spec = second->Spec(job, 1, "detached");
  spec.creation->is_detached = true;
  const ActorId detached = second->CreateAndSubscribe(spec);
  ASSERT_TRUE(second->WaitForState(detached, ActorState::kAlive));
  EXPECT_TRUE(driver_->Subscribe(owned));
  EXPECT_TRUE(driver_->Subscribe(detached));
  second.reset();
  ASSERT_TRUE(driver_->WaitForState(owned, ActorState::kDead));
  EXPECT_EQ(driver_->Updates(owned).back().cause, ActorDeathCause::kJobFinished);
  // The detached one goes on, even through a restart, and its functions with it.
  EXPECT_EQ(*driver_->GetNamed("detached"), detached);
  EXPECT_EQ(FunctionKeys().size(), 3U);
  EXPECT_TRUE(driver_->Kill(detached, false).ok());
  ASSERT_TRUE(driver_->WaitForState(detached, ActorState::kAlive));
  EXPECT_TRUE(driver_->Kill(detached, true).ok());
  EXPECT_EQ(FunctionKeys().size(), 1U);
}

TEST_F(GcsServerTest, UpdatesEndWithTheSubscription) {
  const auto [id, worker] = Alive(driver_->Spec(job_));
  const size_t before = driver_->Updates(id).size();
  driver_->gcs().UnsubscribeActor(id);
  EXPECT_TRUE(driver_->Kill(id, true).ok());
  EXPECT_EQ(driver_->Get(id)->state, ActorState::kDead);  // an update would have come before it
  EXPECT_EQ(driver_->Updates(id).size(), before);
}

TEST_F(GcsServerTest, TwoHundredActorsStartTogether) {
  node_->thread().Run([&] { node_->grants = false; });
  std::vector<ActorId> ids;
  for (int i = 0; i < 200; ++i) {
    const TaskSpec spec = driver_->Spec(job_);
    ids.push_back(spec.creation->actor_id);
    driver_->gcs().CreateActor(spec, "", [](const Status& status) { EXPECT_TRUE(status.ok()); });
  }
  // Every lease is asked for before the first one is granted.
  EXPECT_TRUE(Eventually([&] { return node_->Ask([&] { return node_->kept.size(); }) == 200; }));
  node_->thread().Run([&] { node_->GrantKept(); });
  EXPECT_TRUE(Eventually([&] {
    return driver_->Get(ids.back())->state == ActorState::kAlive &&
           driver_->Get(ids.front())->state == ActorState::kAlive;
  }));
  for (const ActorId& id : ids) {
    EXPECT_TRUE(Eventually([&] { return driver_->Get(id)->state == ActorState::kAlive; }));
  }
}

TEST_F(GcsServerTest, ShutdownInTheMiddleOfThingsIsQuiet) {
  node_->thread().Run([&] { node_->grants = false; });
  driver_->CreateAndSubscribe(driver_->Spec(job_));
  driver_->gcs().KvGet("ns", "never", 60'000, [](const auto& value) { EXPECT_FALSE(value); });
  node_->thread().Run([&] { node_->grants = true; });
  node_->thread().Run([&] {
    node_->on_push = [&](const fb::PushTask& /*push*/, rpc::Responder responder) {
      node_->kept.push_back(std::move(responder));
    };
  });
  driver_->CreateAndSubscribe(driver_->Spec(job_));
  thread_.Run([&] {
    server_->Shutdown();
    server_->Shutdown();
  });
  EXPECT_TRUE(Eventually([&] { return driver_->gcs().channel()->closed(); }));
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(GcsServerTest, BrokenMessagesHurtTheirSenderOnly) {
  InitLogging("test", LogLevel::kFatal, "");
  using rayc::testing::FrameBytes;
  fb::CreateActorT create;
  create.spec = rpc::ToMessage(driver_->Spec(job_, 1, "fuzzed"));
  fb::ReportWorkerDeathT report;
  report.death = std::make_unique<fb::WorkerDeathT>();
  report.death->worker_id = rpc::IdBytes(WorkerId::FromRandom());
  report.is_driver = true;
  fb::KvPutT put;
  put.name_space = "ns";
  put.key = {1, 2, 3};
  fb::KvGetT get;
  get.name_space = "ns";
  get.key = {4};
  get.wait_ms = 3;
  fb::SubscribeActorT subscribe;
  subscribe.actor_id = rpc::IdBytes(ActorId::Of(job_));
  fb::AddJobT job;
  job.driver = rpc::ToMessage(driver_->address());
  fb::ListActorsT list;
  list.all_namespaces = true;
  fb::KillActorRequestT kill;
  kill.actor_id = subscribe.actor_id;
  fb::GetNamedActorT named;
  named.name = "fuzzed";
  const auto request = FrameKind::kRequest;
  rayc::testing::Fuzzer fuzzer(
      socket_, {FrameBytes(Method::kCreateActor, request, 2, rpc::Payload::Of(create)),
                FrameBytes(Method::kReportWorkerDeath, request, 3, rpc::Payload::Of(report)),
                FrameBytes(Method::kKvPut, request, 4, rpc::Payload::Of(put)),
                FrameBytes(Method::kKvGet, request, 5, rpc::Payload::Of(get)),
                FrameBytes(Method::kSubscribeActor, request, 6, rpc::Payload::Of(subscribe)),
                FrameBytes(Method::kAddJob, request, 7, rpc::Payload::Of(job)),
                FrameBytes(Method::kListActors, request, 8, rpc::Payload::Of(list)),
                FrameBytes(Method::kKillActorRequest, request, 9, rpc::Payload::Of(kill)),
                FrameBytes(Method::kGetNamedActor, request, 10, rpc::Payload::Of(named))});
  for (int round = 0; round < 20; ++round) {
    fuzzer.Run(1'000);
    PutKey("ns", "alive", std::to_string(round));
  }
  Alive(driver_->Spec(job_));
}

}  // namespace
}  // namespace rayc::gcs
