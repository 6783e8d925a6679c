#include "gcs/actor_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace rayc::gcs {
namespace {

using fb::ActorDeathCause;
using fb::ActorState;
using Kind = CreationOutcome::Kind;

// Keeps what it is asked for until the test decides how it went.
class FakeScheduler final : public ActorScheduler {
 public:
  void Schedule(CreationRequest request, Callback callback) override {
    EXPECT_FALSE(attempts.contains(request.actor_id));
    delays.push_back(request.delay_ms);
    const ActorId actor = request.actor_id;
    attempts[actor] = {std::move(request), std::move(callback)};
  }
  void Cancel(const ActorId& actor, const std::string& /*reason*/) override {
    cancelled.push_back(actor);
    attempts.erase(actor);
  }
  void KillWorker(const Address& worker, const std::string& /*reason*/) override {
    killed.push_back(worker.worker_id);
  }
  void StopActor(const Address& worker, const ActorId& /*actor*/,
                 const std::string& /*reason*/) override {
    stopped.push_back(worker.worker_id);
  }
  void Finish(const ActorId& actor, CreationOutcome outcome) {
    const Callback callback = std::move(attempts.at(actor).second);
    attempts.erase(actor);
    callback(std::move(outcome));
  }

  std::map<ActorId, std::pair<CreationRequest, Callback>> attempts;
  std::vector<int64_t> delays;
  std::vector<ActorId> cancelled;
  std::vector<WorkerId> killed;
  std::vector<WorkerId> stopped;
};

class RecordingPublisher final : public ActorPublisher {
 public:
  void Publish(const ActorInfo& info) override { states[info.actor_id].push_back(info.state); }
  std::map<ActorId, std::vector<ActorState>> states;
};

class ActorManagerTest : public ::testing::Test {
 protected:
  struct Options {
    int32_t max_restarts = 0;
    bool is_detached = false;
    std::string name = {};
    std::string name_space = "space";
    JobId job = JobId::FromInt(1);
  };

  ActorManagerTest() {
    actors_.OnDead([this](const ActorInfo& info) { dead_.push_back(info.actor_id); });
    clock_.AdvanceMs(1'000'000);
  }

  TaskSpec Spec(const Options& options) const {
    TaskSpec spec;
    spec.type = TaskType::kActorCreation;
    spec.job_id = options.job;
    spec.caller = owner_;
    spec.creation = ActorCreationSpec();
    spec.creation->actor_id = ActorId::Of(spec.job_id);
    spec.creation->max_restarts = options.max_restarts;
    spec.creation->is_detached = options.is_detached;
    spec.creation->name = options.name;
    spec.creation->name_space = options.name_space;
    spec.creation->class_name = "Counter";
    return spec;
  }
  // PENDING_CREATION.
  ActorId Pending(const Options& options) {
    TaskSpec spec = Spec(options);
    const ActorId id = spec.creation->actor_id;
    EXPECT_TRUE(actors_.Create(std::move(spec), "config").ok());
    return id;
  }
  WorkerId Create(const ActorId& id) {
    CreationOutcome outcome;
    outcome.kind = Kind::kCreated;
    outcome.worker = {node_, WorkerId::FromRandom(), "/tmp/worker"};
    outcome.pid = 42;
    const WorkerId worker = outcome.worker.worker_id;
    scheduler_.Finish(id, std::move(outcome));
    return worker;
  }
  std::pair<ActorId, WorkerId> Alive(const Options& options) {
    const ActorId id = Pending(options);
    const WorkerId worker = Create(id);
    clock_.AdvanceMs(60'000);
    return {id, worker};
  }
  void Fail(const ActorId& id, Kind kind, const std::string& detail) {
    CreationOutcome outcome;
    outcome.kind = kind;
    outcome.detail = detail;
    outcome.error_data = "error";
    outcome.error_metadata = "pickle";
    outcome.exit = Exit(WorkerId::FromRandom(), detail);
    scheduler_.Finish(id, std::move(outcome));
  }
  static WorkerExit Exit(const WorkerId& worker, const std::string& detail) {
    return {worker, 42, false, detail, "Segmentation fault"};
  }
  ActorState State(const ActorId& id) const { return actors_.Find(id)->state; }
  void ExpectDead(const ActorId& id, ActorDeathCause cause) {
    const ActorInfo* info = actors_.Find(id);
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->state, ActorState::kDead);
    EXPECT_EQ(info->death_cause, cause) << fb::EnumNameActorDeathCause(info->death_cause);
    if (cause == ActorDeathCause::kWorkerDied || cause == ActorDeathCause::kUnschedulable ||
        cause == ActorDeathCause::kCreationFailed || cause == ActorDeathCause::kExited) {
      EXPECT_NE(info->death_detail, "");
    }
    EXPECT_TRUE(info->address.IsNil());
    EXPECT_EQ(std::count(dead_.begin(), dead_.end(), id), 1);
    EXPECT_FALSE(scheduler_.attempts.contains(id));
  }

  const NodeId node_ = NodeId::FromRandom();
  const Address owner_ = {node_, WorkerId::FromRandom(), "/tmp/owner"};
  FakeClock clock_;
  FakeScheduler scheduler_;
  RecordingPublisher publisher_;
  ActorManager actors_{scheduler_, publisher_, clock_};
  std::vector<ActorId> dead_;
};

TEST_F(ActorManagerTest, AnActorIsCreatedAtOnce) {
  const ActorId id = Pending({.name = "me"});
  EXPECT_EQ(State(id), ActorState::kPendingCreation);
  ASSERT_TRUE(scheduler_.attempts.contains(id));
  EXPECT_EQ(*scheduler_.attempts.at(id).first.job_config, "config");
  const WorkerId worker = Create(id);
  const ActorInfo* info = actors_.Find(id);
  EXPECT_EQ(info->state, ActorState::kAlive);
  EXPECT_EQ(info->address.worker_id, worker);
  EXPECT_EQ(info->pid, 42);
  EXPECT_EQ(info->incarnation, 1U);
  EXPECT_EQ(info->class_name, "Counter");
  EXPECT_EQ(publisher_.states[id],
            (std::vector<ActorState>{ActorState::kPendingCreation, ActorState::kAlive}));
}

TEST_F(ActorManagerTest, WhatIsNoCreationIsRefused) {
  TaskSpec spec = Spec({});
  spec.type = TaskType::kNormal;
  EXPECT_EQ(actors_.Create(spec, "").code(), StatusCode::kInvalidArgument);
  spec = Spec({});
  spec.creation.reset();
  EXPECT_EQ(actors_.Create(spec, "").code(), StatusCode::kInvalidArgument);
  spec = Spec({});
  spec.creation->actor_id = ActorId::Nil();
  EXPECT_EQ(actors_.Create(spec, "").code(), StatusCode::kInvalidArgument);
  spec = Spec({});
  spec.caller = Address();
  EXPECT_EQ(actors_.Create(spec, "").code(), StatusCode::kInvalidArgument);
  spec = Spec({.name = "kept"});
  EXPECT_TRUE(actors_.Create(spec, "").ok());
  EXPECT_EQ(actors_.Create(spec, "").code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(scheduler_.attempts.size(), 1U);
}

TEST_F(ActorManagerTest, AnActorMayBeKnownBeforeItsArgumentsAre) {
  const TaskSpec spec = Spec({.name = "a"});
  const ActorId id = spec.creation->actor_id;
  ASSERT_TRUE(actors_.Register(spec).ok());
  EXPECT_EQ(actors_.Register(spec).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(State(id), ActorState::kDependenciesUnready);
  EXPECT_TRUE(scheduler_.attempts.empty());
  EXPECT_EQ(actors_.FindNamed("a", "space")->actor_id, id);
  EXPECT_EQ(actors_.Create(Spec({.name = "a"}), "").code(), StatusCode::kAlreadyExists);
  TaskSpec stranger = spec;
  stranger.caller.worker_id = WorkerId::FromRandom();
  EXPECT_EQ(actors_.Create(stranger, "").code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(actors_.Create(spec, "config").ok());
  EXPECT_EQ(actors_.Create(spec, "config").code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(State(id), ActorState::kPendingCreation);
  Create(id);
  EXPECT_EQ(State(id), ActorState::kAlive);
}

TEST_F(ActorManagerTest, AnActorMayDieBeforeItsArgumentsAreThere) {
  const auto unready = [this](const Options& options) {
    const TaskSpec spec = Spec(options);
    EXPECT_TRUE(actors_.Register(spec).ok());
    return spec;
  };
  const TaskSpec killed = unready({.name = "a"});
  EXPECT_TRUE(actors_.Kill(killed.creation->actor_id, true).ok());
  ExpectDead(killed.creation->actor_id, ActorDeathCause::kKilled);
  EXPECT_EQ(actors_.Create(killed, "").code(), StatusCode::kActorDied);
  EXPECT_EQ(actors_.FindNamed("a", "space"), nullptr);
  const TaskSpec restartable = unready({.max_restarts = 1});
  EXPECT_TRUE(actors_.Kill(restartable.creation->actor_id, false).ok());  // nothing runs
  EXPECT_EQ(State(restartable.creation->actor_id), ActorState::kDependenciesUnready);
  const TaskSpec dropped = unready({});
  actors_.OnOutOfScope(dropped.creation->actor_id);
  ExpectDead(dropped.creation->actor_id, ActorDeathCause::kOutOfScope);
  const TaskSpec of_job = unready({.job = JobId::FromInt(2)});
  actors_.OnJobFinished(JobId::FromInt(2));
  ExpectDead(of_job.creation->actor_id, ActorDeathCause::kJobFinished);
  actors_.OnOwnerDeath(owner_.worker_id);
  ExpectDead(restartable.creation->actor_id, ActorDeathCause::kOwnerDied);
  const TaskSpec detached = unready({.is_detached = true});
  actors_.OnOwnerDeath(owner_.worker_id);  // nobody is left who could resolve its arguments
  ExpectDead(detached.creation->actor_id, ActorDeathCause::kOwnerDied);
}

TEST_F(ActorManagerTest, NamesAreUniqueAmongTheLivingOfANamespace) {
  const ActorId id = Pending({.name = "a"});
  EXPECT_EQ(actors_.Create(Spec({.name = "a"}), "").code(), StatusCode::kAlreadyExists);
  const ActorId elsewhere = Pending({.name = "a", .name_space = "other"});
  Pending({});
  Pending({});  // unnamed ones never clash
  EXPECT_EQ(actors_.FindNamed("a", "space")->actor_id, id);
  EXPECT_EQ(actors_.FindNamed("a", "other")->actor_id, elsewhere);
  EXPECT_EQ(actors_.FindNamed("b", "space"), nullptr);
  EXPECT_EQ(actors_.FindNamed("", "space"), nullptr);
  EXPECT_TRUE(actors_.Kill(id, true).ok());
  EXPECT_EQ(actors_.FindNamed("a", "space"), nullptr);
  const ActorId next = Pending({.name = "a"});
  EXPECT_EQ(actors_.FindNamed("a", "space")->actor_id, next);
}

TEST_F(ActorManagerTest, ARaisingConstructorIsNeverRepeated) {
  const ActorId id = Pending({.max_restarts = -1});
  Fail(id, Kind::kConstructorRaised, "it raised");
  ExpectDead(id, ActorDeathCause::kCreationFailed);
  EXPECT_EQ(actors_.Find(id)->creation_error_data, "error");
  EXPECT_EQ(actors_.Find(id)->creation_error_metadata, "pickle");
}

TEST_F(ActorManagerTest, WhatNoNodeCanHoldIsDeadWithTheReason) {
  const ActorId id = Pending({.max_restarts = 3});
  Fail(id, Kind::kUnschedulable, "GPU: 1 asked, 0 there");
  ExpectDead(id, ActorDeathCause::kUnschedulable);
  EXPECT_EQ(actors_.Find(id)->death_detail, "GPU: 1 asked, 0 there");
}

TEST_F(ActorManagerTest, AFailedCreationIsDeadWithTheReason) {
  const ActorId id = Pending({.max_restarts = 3});
  Fail(id, Kind::kFailed, "an argument was lost");
  ExpectDead(id, ActorDeathCause::kCreationFailed);
}

TEST_F(ActorManagerTest, AWorkerLostBeforeLifeCountsAsADeath) {
  const ActorId once = Pending({});
  Fail(once, Kind::kWorkerLost, "killed by signal 11 (SIGSEGV)");
  ExpectDead(once, ActorDeathCause::kWorkerDied);
  const std::string detail = actors_.Find(once)->death_detail;
  EXPECT_NE(detail.find("pid 42"), std::string::npos);
  EXPECT_NE(detail.find("signal 11"), std::string::npos);
  EXPECT_NE(detail.find("Segmentation fault"), std::string::npos);

  const ActorId twice = Pending({.max_restarts = 1});
  Fail(twice, Kind::kWorkerLost, "killed");
  EXPECT_EQ(State(twice), ActorState::kRestarting);
  EXPECT_EQ(actors_.Find(twice)->incarnation, 2U);
  Fail(twice, Kind::kWorkerLost, "killed");
  ExpectDead(twice, ActorDeathCause::kWorkerDied);
}

TEST_F(ActorManagerTest, ADeadWorkerIsReplacedAsOftenAsAllowed) {
  auto [id, worker] = Alive({.max_restarts = 2, .name = "a"});
  for (uint32_t restart = 1; restart <= 2; ++restart) {
    actors_.OnWorkerDeath(Exit(worker, "killed by signal 9 (SIGKILL)"));
    EXPECT_EQ(State(id), ActorState::kRestarting);
    EXPECT_TRUE(actors_.Find(id)->address.IsNil());
    EXPECT_EQ(actors_.Find(id)->num_restarts, restart);
    EXPECT_NE(actors_.Find(id)->death_detail, "");
    EXPECT_NE(actors_.FindNamed("a", "space"), nullptr);
    actors_.OnWorkerDeath(Exit(worker, "told twice"));  // an earlier incarnation: nothing
    EXPECT_EQ(actors_.Find(id)->num_restarts, restart);
    worker = Create(id);
    EXPECT_EQ(State(id), ActorState::kAlive);
    EXPECT_EQ(actors_.Find(id)->incarnation, restart + 1);
    EXPECT_EQ(actors_.Find(id)->death_detail, "");
    clock_.AdvanceMs(60'000);
  }
  actors_.OnWorkerDeath(Exit(worker, "killed by signal 9 (SIGKILL)"));
  ExpectDead(id, ActorDeathCause::kWorkerDied);
  EXPECT_EQ(actors_.FindNamed("a", "space"), nullptr);
}

TEST_F(ActorManagerTest, QuickDeathsAreFollowedByLongerWaits) {
  const ActorId id = Pending({.max_restarts = -1});
  for (int i = 0; i < 12; ++i) {
    Fail(id, Kind::kWorkerLost, "killed");
    clock_.AdvanceMs(scheduler_.delays.back());
  }
  const std::vector<int64_t>& delays = scheduler_.delays;
  EXPECT_EQ(delays[0], 0);
  EXPECT_EQ(delays[1], 0);  // the first restart comes at once
  EXPECT_EQ(delays[2], ActorManager::kRestartDelayMs);
  EXPECT_EQ(delays[3], ActorManager::kRestartDelayMs * 2);
  EXPECT_EQ(delays.back(), ActorManager::kRestartDelayMaxMs);
  const WorkerId worker = Create(id);
  clock_.AdvanceMs(60'000);
  actors_.OnWorkerDeath(Exit(worker, "killed"));
  EXPECT_EQ(delays.back(), 0);  // it had lived
}

TEST_F(ActorManagerTest, WhoLeavesOnPurposeStaysAway) {
  const auto [id, worker] = Alive({.max_restarts = -1});
  WorkerExit exit = Exit(worker, "exit_actor was called");
  exit.intended = true;
  actors_.OnWorkerDeath(exit);
  ExpectDead(id, ActorDeathCause::kExited);
  EXPECT_TRUE(scheduler_.killed.empty());
}

TEST_F(ActorManagerTest, KillEndsAnActorInEveryState) {
  const ActorId pending = Pending({.max_restarts = 5});
  EXPECT_TRUE(actors_.Kill(pending, true).ok());
  ExpectDead(pending, ActorDeathCause::kKilled);
  EXPECT_EQ(scheduler_.cancelled.back(), pending);

  const auto [alive, worker] = Alive({.max_restarts = 5});
  EXPECT_TRUE(actors_.Kill(alive, true).ok());
  ExpectDead(alive, ActorDeathCause::kKilled);
  EXPECT_EQ(scheduler_.killed.back(), worker);
  actors_.OnWorkerDeath(Exit(worker, "killed by signal 9"));  // its consequence: nothing
  ExpectDead(alive, ActorDeathCause::kKilled);

  const auto [restarting, lost] = Alive({.max_restarts = 5});
  actors_.OnWorkerDeath(Exit(lost, "killed"));
  EXPECT_EQ(State(restarting), ActorState::kRestarting);
  EXPECT_TRUE(actors_.Kill(restarting, true).ok());
  ExpectDead(restarting, ActorDeathCause::kKilled);

  EXPECT_TRUE(actors_.Kill(restarting, true).ok());  // dead already
  EXPECT_EQ(actors_.Kill(ActorId::Of(JobId::FromInt(1)), true).code(), StatusCode::kNotFound);
}

TEST_F(ActorManagerTest, KillWithRestartConsumesOne) {
  const auto [id, worker] = Alive({.max_restarts = 1});
  EXPECT_TRUE(actors_.Kill(id, false).ok());
  EXPECT_EQ(State(id), ActorState::kRestarting);
  EXPECT_EQ(scheduler_.killed.back(), worker);
  actors_.OnWorkerDeath(Exit(worker, "killed by signal 9"));
  EXPECT_EQ(State(id), ActorState::kRestarting);
  Create(id);
  EXPECT_TRUE(actors_.Kill(id, false).ok());
  ExpectDead(id, ActorDeathCause::kKilled);

  const ActorId pending = Pending({.max_restarts = 1});
  EXPECT_TRUE(actors_.Kill(pending, false).ok());
  EXPECT_EQ(State(pending), ActorState::kRestarting);
  EXPECT_TRUE(scheduler_.attempts.contains(pending));
}

TEST_F(ActorManagerTest, OutOfScopeLetsTheQueuedCallsFinish) {
  const auto [id, worker] = Alive({.max_restarts = 5, .name = "a"});
  actors_.OnOutOfScope(id);
  actors_.OnOutOfScope(id);
  EXPECT_EQ(scheduler_.stopped, std::vector<WorkerId>{worker});
  EXPECT_EQ(State(id), ActorState::kAlive);
  EXPECT_EQ(actors_.FindNamed("a", "space"), nullptr);
  Pending({.name = "a"});
  actors_.OnWorkerDeath(Exit(worker, "killed by signal 9"));
  ExpectDead(id, ActorDeathCause::kOutOfScope);
  EXPECT_NE(actors_.FindNamed("a", "space"), nullptr);  // the new one keeps it
}

TEST_F(ActorManagerTest, OutOfScopeBeforeLifeEndsIt) {
  const ActorId pending = Pending({.max_restarts = 5});
  actors_.OnOutOfScope(pending);
  ExpectDead(pending, ActorDeathCause::kOutOfScope);
  const auto [restarting, worker] = Alive({.max_restarts = 5});
  actors_.OnWorkerDeath(Exit(worker, "killed"));
  actors_.OnOutOfScope(restarting);
  ExpectDead(restarting, ActorDeathCause::kOutOfScope);
  const auto [detached, other] = Alive({.is_detached = true});
  actors_.OnOutOfScope(detached);
  EXPECT_EQ(State(detached), ActorState::kAlive);
  EXPECT_TRUE(scheduler_.stopped.empty());
  actors_.OnOutOfScope(ActorId::Of(JobId::FromInt(1)));  // unknown: nothing
}

TEST_F(ActorManagerTest, AStoppingActorCanStillBeKilled) {
  const auto [id, worker] = Alive({.max_restarts = 5});
  actors_.OnOutOfScope(id);
  EXPECT_TRUE(actors_.Kill(id, false).ok());
  ExpectDead(id, ActorDeathCause::kKilled);
  EXPECT_EQ(scheduler_.killed.back(), worker);
}

TEST_F(ActorManagerTest, AnOwnersDeathEndsWhatItOwns) {
  const ActorId pending = Pending({.max_restarts = -1});
  const auto [alive, worker] = Alive({.max_restarts = -1});
  const auto [restarting, lost] = Alive({.max_restarts = -1});
  actors_.OnWorkerDeath(Exit(lost, "killed"));
  const auto [detached, other] = Alive({.max_restarts = -1, .is_detached = true});
  const ActorId detached_pending = Pending({.is_detached = true});
  actors_.OnWorkerDeath(Exit(owner_.worker_id, "killed"));
  ExpectDead(pending, ActorDeathCause::kOwnerDied);
  ExpectDead(alive, ActorDeathCause::kOwnerDied);
  ExpectDead(restarting, ActorDeathCause::kOwnerDied);
  EXPECT_EQ(scheduler_.killed, std::vector<WorkerId>{worker});
  EXPECT_EQ(State(detached), ActorState::kAlive);
  EXPECT_EQ(State(detached_pending), ActorState::kPendingCreation);
  // A detached one restarts without its owner.
  actors_.OnWorkerDeath(Exit(other, "killed"));
  EXPECT_EQ(State(detached), ActorState::kRestarting);
  actors_.OnOwnerDeath(owner_.worker_id);  // told twice
}

TEST_F(ActorManagerTest, AnActorsDeathEndsTheActorsThatItMade) {
  const auto [parent, worker] = Alive({.max_restarts = 1});
  TaskSpec spec = Spec({});
  spec.caller = {node_, worker, "/tmp/parent"};
  const ActorId child = spec.creation->actor_id;
  ASSERT_TRUE(actors_.Create(std::move(spec), "").ok());
  Create(child);
  actors_.OnWorkerDeath(Exit(worker, "killed"));
  EXPECT_EQ(State(parent), ActorState::kRestarting);
  ExpectDead(child, ActorDeathCause::kOwnerDied);
}

TEST_F(ActorManagerTest, AJobsEndEndsItsActors) {
  const ActorId pending = Pending({.max_restarts = -1});
  const auto [alive, worker] = Alive({.max_restarts = -1});
  const auto [detached, other] = Alive({.is_detached = true});
  const auto [foreign, third] = Alive({.job = JobId::FromInt(2)});
  EXPECT_TRUE(actors_.HasLivingActors(JobId::FromInt(1)));
  actors_.OnJobFinished(JobId::FromInt(1));
  ExpectDead(pending, ActorDeathCause::kJobFinished);
  ExpectDead(alive, ActorDeathCause::kJobFinished);
  EXPECT_EQ(State(detached), ActorState::kAlive);
  EXPECT_EQ(State(foreign), ActorState::kAlive);
  EXPECT_TRUE(actors_.HasLivingActors(JobId::FromInt(1)));
  EXPECT_TRUE(actors_.Kill(detached, true).ok());
  EXPECT_FALSE(actors_.HasLivingActors(JobId::FromInt(1)));
}

TEST_F(ActorManagerTest, ANodesDeathIsTheDeathOfItsWorkers) {
  const auto [restartable, worker] = Alive({.max_restarts = 1, .is_detached = true});
  const auto [owned, other] = Alive({.max_restarts = 1});
  actors_.OnNodeDeath(node_, "it burnt");
  EXPECT_EQ(State(restartable), ActorState::kRestarting);
  EXPECT_NE(actors_.Find(restartable)->death_detail.find("it burnt"), std::string::npos);
  ExpectDead(owned, ActorDeathCause::kOwnerDied);  // its owner was there too
}

TEST_F(ActorManagerTest, AnOutcomeThatComesTooLateIsIgnored) {
  const ActorId id = Pending({});
  const auto late = scheduler_.attempts.at(id).second;
  EXPECT_TRUE(actors_.Kill(id, true).ok());
  CreationOutcome outcome;
  outcome.kind = Kind::kCreated;
  late(outcome);
  ExpectDead(id, ActorDeathCause::kKilled);
}

TEST_F(ActorManagerTest, OldDeadActorsAreForgotten) {
  std::vector<ActorId> ids;
  for (size_t i = 0; i < ActorManager::kDeadActorsMax + 5; ++i) {
    ids.push_back(Pending({}));
    EXPECT_TRUE(actors_.Kill(ids.back(), true).ok());
  }
  EXPECT_EQ(actors_.Find(ids[4]), nullptr);
  EXPECT_NE(actors_.Find(ids[5]), nullptr);
  EXPECT_EQ(actors_.List().size(), ActorManager::kDeadActorsMax);
  EXPECT_EQ(actors_.Kill(ids[0], true).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace rayc::gcs
