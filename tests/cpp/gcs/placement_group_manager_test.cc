#include "gcs/placement_group_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <map>
#include <vector>

#include "fakes/fake_clients.h"
#include "fakes/fake_timers.h"

namespace rayc::gcs {
namespace {

using testing::FakeRayletClient;
using State = fb::PlacementGroupState;

ResourceSet Cpus(int64_t cpus) { return ResourceSet({{"CPU", cpus * kResourceUnit}}); }

class PlacementGroupManagerTest : public ::testing::Test {
 protected:
  PlacementGroupManagerTest() { Make(true); }

  void Make(bool fail_infeasible) {
    manager_ =
        std::make_unique<PlacementGroupManager>(nodes_, clients_, timers_, clock_, fail_infeasible);
  }
  NodeId AddNode(int64_t cpus) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    others_.emplace_back(pair[1]);
    NodeRecord node;
    node.node_id = NodeId::FromRandom();
    node.total = Cpus(cpus);
    connections_[node.node_id] = rpc::Channel::Accept(loop_, UniqueFd(pair[0]), {}, nullptr);
    EXPECT_TRUE(nodes_.Register(node, connections_[node.node_id]).ok());
    manager_->OnNodeAdded();
    return node.node_id;
  }
  void LoseNode(const NodeId& node) {
    nodes_.OnDisconnect(connections_.at(node));
    manager_->OnNodeDead(node);
  }
  FakeRayletClient& Raylet(const NodeId& node) { return *clients_.raylets.at(node); }
  PlacementGroupId Create(std::vector<ResourceSet> bundles,
                          fb::PlacementStrategy strategy = fb::PlacementStrategy::kPack,
                          const std::string& name = "") {
    PlacementGroupRecord group;
    group.id = PlacementGroupId::FromRandom();
    group.bundles = std::move(bundles);
    group.strategy = strategy;
    group.name = name;
    group.name_space = "space";
    group.job_id = JobId::FromInt(1);
    return Create(std::move(group));
  }
  PlacementGroupId Create(PlacementGroupRecord group) {
    const PlacementGroupId id = group.id;
    manager_->Create(std::move(group), Note(id));
    return id;
  }
  PlacementGroupManager::Callback Note(const PlacementGroupId& id) {
    return [this, id](const Status& status) { answers_[id].push_back(status.code()); };
  }
  // The oldest request that this node has not answered.
  void Answer(const NodeId& node, const Status& status) {
    FakeRayletClient& raylet = Raylet(node);
    ASSERT_FALSE(raylet.prepared.empty());
    const auto callback = std::move(raylet.prepared.front());
    raylet.prepared.erase(raylet.prepared.begin());
    callback(status);
  }
  State StateOf(const PlacementGroupId& id) { return manager_->Find(id)->state; }
  std::vector<StatusCode> AnswersTo(const PlacementGroupId& id) { return answers_[id]; }

  EventLoop loop_;
  std::vector<UniqueFd> others_;
  std::map<NodeId, rpc::ChannelPtr> connections_;
  NodeManager nodes_;
  testing::FakeClientPool clients_;
  testing::FakeTimers timers_;
  FakeClock clock_;
  std::unique_ptr<PlacementGroupManager> manager_;
  std::map<PlacementGroupId, std::vector<StatusCode>> answers_;
};

TEST_F(PlacementGroupManagerTest, OnOneNodeItTakesOneRequestAndOneAnswer) {
  const NodeId node = AddNode(4);
  const PlacementGroupId id = Create({Cpus(1), Cpus(2)});
  ASSERT_EQ(Raylet(node).prepares.size(), 1U);
  const fb::PrepareBundlesT& request = Raylet(node).prepares[0];
  EXPECT_TRUE(request.commit);
  EXPECT_TRUE(request.wait);
  EXPECT_EQ(request.bundles.size(), 2U);
  EXPECT_EQ(StateOf(id), State::kPending);
  EXPECT_TRUE(AnswersTo(id).empty());
  Answer(node, Status::Ok());
  EXPECT_EQ(StateOf(id), State::kCreated);
  EXPECT_EQ(AnswersTo(id), std::vector<StatusCode>{StatusCode::kOk});
  EXPECT_TRUE(Raylet(node).committed.empty());
  EXPECT_EQ(manager_->Find(id)->nodes, (std::vector<NodeId>{node, node}));
  SchedulingStrategy strategy;
  strategy.group = id;
  EXPECT_EQ(manager_->NodeOf(strategy), node);
}

TEST_F(PlacementGroupManagerTest, ABusyNodeIsAskedAllTheSame) {
  const NodeId node = AddNode(2);
  nodes_.Report(node, Cpus(2), Cpus(0));  // may be out of date
  Create({Cpus(2)});
  EXPECT_EQ(Raylet(node).prepares.size(), 1U);
}

TEST_F(PlacementGroupManagerTest, WhatAPrivateNodeCannotHoldFailsAtOnce) {
  AddNode(2);
  const PlacementGroupId large = Create({Cpus(3)});
  EXPECT_EQ(AnswersTo(large), std::vector<StatusCode>{StatusCode::kUnschedulable});
  EXPECT_NE(manager_->Find(large)->failure.find("CPU: 3 asked, 2 there"), std::string::npos);
  const PlacementGroupId spread = Create({Cpus(1), Cpus(1)}, fb::PlacementStrategy::kStrictSpread);
  EXPECT_EQ(AnswersTo(spread), std::vector<StatusCode>{StatusCode::kUnschedulable});
  manager_->Wait(spread, Note(spread));
  EXPECT_EQ(AnswersTo(spread).size(), 2U);
  EXPECT_TRUE(clients_.raylets.empty());
}

TEST_F(PlacementGroupManagerTest, WhereNodesCanJoinItWaitsForThem) {
  Make(false);
  AddNode(2);
  const PlacementGroupId id = Create({Cpus(3)});
  timers_.AdvanceMs(1'000);
  EXPECT_TRUE(AnswersTo(id).empty());
  const NodeId large = AddNode(4);
  Answer(large, Status::Ok());
  EXPECT_EQ(StateOf(id), State::kCreated);
}

TEST_F(PlacementGroupManagerTest, WithoutNodesItWaits) {
  const PlacementGroupId id = Create({Cpus(1)});
  EXPECT_TRUE(AnswersTo(id).empty());
  Answer(AddNode(1), Status::Ok());
  EXPECT_EQ(StateOf(id), State::kCreated);
}

TEST_F(PlacementGroupManagerTest, SeveralNodesCommitOnceAllHavePrepared) {
  const NodeId a = AddNode(1);
  const NodeId b = AddNode(1);
  const PlacementGroupId id = Create({Cpus(1), Cpus(1)}, fb::PlacementStrategy::kStrictSpread);
  EXPECT_FALSE(Raylet(a).prepares[0].commit);
  EXPECT_FALSE(Raylet(b).prepares[0].wait);
  Answer(a, Status::Ok());
  EXPECT_EQ(StateOf(id), State::kPending);
  EXPECT_TRUE(Raylet(a).committed.empty());
  Answer(b, Status::Ok());
  EXPECT_EQ(StateOf(id), State::kCreated);
  EXPECT_EQ(Raylet(a).committed, std::vector<PlacementGroupId>{id});
  EXPECT_EQ(Raylet(b).committed, std::vector<PlacementGroupId>{id});
}

TEST_F(PlacementGroupManagerTest, OneRefusalGivesAllBackAndIsTriedAgain) {
  const NodeId a = AddNode(1);
  const NodeId b = AddNode(1);
  const PlacementGroupId id = Create({Cpus(1), Cpus(1)}, fb::PlacementStrategy::kStrictSpread);
  Answer(a, Status::TimedOut("busy"));
  EXPECT_EQ(Raylet(a).bundles_returned, std::vector<PlacementGroupId>{id});
  EXPECT_EQ(Raylet(b).bundles_returned, std::vector<PlacementGroupId>{id});
  Answer(b, Status::Ok());  // of the attempt that is over
  EXPECT_EQ(StateOf(id), State::kPending);
  timers_.AdvanceMs(PlacementGroupManager::kRetryMs);
  Answer(a, Status::Ok());
  Answer(b, Status::Ok());
  EXPECT_EQ(StateOf(id), State::kCreated);
  EXPECT_EQ(manager_->Find(id)->attempts, 2U);
}

TEST_F(PlacementGroupManagerTest, RemovalReturnsBundlesAndAnswersWhoWaits) {
  const NodeId node = AddNode(2);
  const PlacementGroupId created = Create({Cpus(1)}, fb::PlacementStrategy::kPack, "name");
  Answer(node, Status::Ok());
  const PlacementGroupId pending = Create({Cpus(1)});
  EXPECT_EQ(manager_->FindNamed("name", "space")->id, created);
  manager_->Remove(created);
  manager_->Remove(pending);
  EXPECT_EQ(Raylet(node).bundles_returned, (std::vector<PlacementGroupId>{created, pending}));
  EXPECT_EQ(AnswersTo(pending), std::vector<StatusCode>{StatusCode::kPlacementGroupRemoved});
  EXPECT_EQ(manager_->FindNamed("name", "space"), nullptr);
  EXPECT_EQ(StateOf(created), State::kRemoved);
  manager_->Wait(created, Note(created));
  EXPECT_EQ(AnswersTo(created).back(), StatusCode::kPlacementGroupRemoved);
  Answer(node, Status::Ok());  // too late
  EXPECT_EQ(StateOf(pending), State::kRemoved);
}

TEST_F(PlacementGroupManagerTest, NamesAreUniqueInANamespace) {
  AddNode(2);
  Create({Cpus(1)}, fb::PlacementStrategy::kPack, "name");
  const PlacementGroupId second = Create({Cpus(1)}, fb::PlacementStrategy::kPack, "name");
  EXPECT_EQ(AnswersTo(second), std::vector<StatusCode>{StatusCode::kInvalidArgument});
  EXPECT_EQ(manager_->Find(second), nullptr);
}

TEST_F(PlacementGroupManagerTest, NonsenseIsRefused) {
  AddNode(2);
  EXPECT_EQ(AnswersTo(Create(std::vector<ResourceSet>{})),
            std::vector<StatusCode>{StatusCode::kInvalidArgument});
  EXPECT_EQ(AnswersTo(Create({ResourceSet()})),
            std::vector<StatusCode>{StatusCode::kInvalidArgument});
}

TEST_F(PlacementGroupManagerTest, WhoAsksBeforeTheCreationArrivesWaitsALittle) {
  const NodeId node = AddNode(2);
  PlacementGroupRecord group;
  group.id = PlacementGroupId::FromRandom();
  group.bundles = {Cpus(1)};
  manager_->Wait(group.id, Note(group.id));
  const PlacementGroupId id = Create(group);
  Answer(node, Status::Ok());
  EXPECT_EQ(AnswersTo(id).size(), 2U);
  const auto unknown = PlacementGroupId::FromRandom();
  manager_->Wait(unknown, Note(unknown));
  EXPECT_TRUE(AnswersTo(unknown).empty());
  timers_.AdvanceMs(PlacementGroupManager::kUnknownWaitMs);
  EXPECT_EQ(AnswersTo(unknown), std::vector<StatusCode>{StatusCode::kPlacementGroupRemoved});
}

TEST_F(PlacementGroupManagerTest, GroupsEndWithTheirJobUnlessDetached) {
  AddNode(4);
  const PlacementGroupId plain = Create({Cpus(1)});
  PlacementGroupRecord detached;
  detached.id = PlacementGroupId::FromRandom();
  detached.bundles = {Cpus(1)};
  detached.job_id = JobId::FromInt(1);
  detached.is_detached = true;
  PlacementGroupRecord of_actor = detached;
  of_actor.id = PlacementGroupId::FromRandom();
  of_actor.is_detached = false;
  of_actor.creator_actor = ActorId::Of(JobId::FromInt(1));
  Create(detached);
  Create(of_actor);
  manager_->OnJobFinished(JobId::FromInt(1));
  EXPECT_EQ(StateOf(plain), State::kRemoved);
  EXPECT_EQ(StateOf(detached.id), State::kPending);
  EXPECT_EQ(StateOf(of_actor.id), State::kPending);
  manager_->OnActorDead(of_actor.creator_actor);
  EXPECT_EQ(StateOf(of_actor.id), State::kRemoved);
  EXPECT_EQ(StateOf(detached.id), State::kPending);
}

TEST_F(PlacementGroupManagerTest, OnlyTheBundlesOfALostNodeMove) {
  const NodeId a = AddNode(1);
  const NodeId b = AddNode(1);
  const PlacementGroupId id = Create({Cpus(1), Cpus(1)}, fb::PlacementStrategy::kSpread);
  Answer(a, Status::Ok());
  Answer(b, Status::Ok());
  const NodeId c = AddNode(1);
  LoseNode(a);
  EXPECT_EQ(StateOf(id), State::kRescheduling);
  EXPECT_EQ(Raylet(b).prepares.size(), 1U);
  Answer(c, Status::Ok());
  EXPECT_EQ(StateOf(id), State::kCreated);
  const std::vector<NodeId> nodes = manager_->Find(id)->nodes;
  EXPECT_NE(nodes[0], nodes[1]);
  EXPECT_TRUE(nodes[0] == b || nodes[1] == b);
}

TEST_F(PlacementGroupManagerTest, OldRemovedGroupsAreForgotten) {
  AddNode(4);
  const PlacementGroupId first = Create({Cpus(1)});
  manager_->Remove(first);
  for (size_t i = 0; i < PlacementGroupManager::kRemovedMax; ++i) {
    manager_->Remove(Create({Cpus(1)}));
  }
  EXPECT_EQ(manager_->Find(first), nullptr);
  EXPECT_EQ(manager_->List().size(), PlacementGroupManager::kRemovedMax);
}

TEST_F(PlacementGroupManagerTest, NothingIsAnsweredAfterShutdown) {
  const NodeId node = AddNode(4);
  const PlacementGroupId id = Create({Cpus(1)});
  const PlacementGroupId unknown = PlacementGroupId::FromRandom();
  manager_->Wait(unknown, Note(unknown));
  manager_->Shutdown();
  Answer(node, Status::Ok());
  EXPECT_TRUE(AnswersTo(id).empty());
  EXPECT_EQ(timers_.waiting(), 0U);
}

}  // namespace
}  // namespace rayc::gcs
