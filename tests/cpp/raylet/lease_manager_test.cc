#include "raylet/lease_manager.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace rayc::raylet {
namespace {

constexpr ClientId kDriver = 1;
constexpr ClientId kOther = 2;

ResourceSet Cpu(double amount) { return ResourceSet({{"CPU", ToFixedPoint(amount)}}); }

// A pool that has as many workers as are put into it, and a record of what was asked of it.
class FakeNode : public LeaseActions {
 public:
  std::optional<WorkerId> TakeIdleWorker(const WorkerNeed& /*need*/) override {
    if (idle == 0) {
      return std::nullopt;
    }
    --idle;
    return WorkerId::FromRandom();
  }
  bool WantWorkers(size_t count) override {
    wanted = count;
    return may_start;
  }
  void GiveBackWorker(const WorkerId& worker, bool exiting) override {
    idle += exiting ? 0 : 1;
    granted_to.erase(worker);
  }
  void KillWorker(const WorkerId& worker, const std::string& /*reason*/) override {
    killed.push_back(worker);
    granted_to.erase(worker);
  }
  void Grant(const LeaseRequest& request, const WorkerId& worker,
             const scheduling::Allocation& /*allocation*/) override {
    ASSERT_TRUE(granted.emplace(request.key, worker).second);
    order.push_back(request.key);
    granted_to[worker] = request.key;
  }
  void Reject(const LeaseKey& key, const Status& why) override { rejected[key] = why; }
  void BundlesReserved(const LeaseKey& key) override { reserved.push_back(key); }
  void KillWorkerOfGroup(const WorkerId& worker, const std::string& /*reason*/) override {
    killed_with_group.push_back(worker);
    granted_to.erase(worker);
  }
  void AskGroup(const PlacementGroupId& group) override { asked_groups.push_back(group); }
  void ReclaimLeases(ClientId client) override { reclaimed.push_back(client); }
  void AvailableChanged() override {}

  size_t idle = 0;
  size_t wanted = 0;
  bool may_start = true;
  std::map<LeaseKey, WorkerId> granted;
  std::map<WorkerId, LeaseKey> granted_to;
  std::vector<LeaseKey> order;
  std::map<LeaseKey, Status> rejected;
  std::vector<ClientId> reclaimed;
  std::vector<WorkerId> killed;
  std::vector<LeaseKey> reserved;
  std::vector<WorkerId> killed_with_group;
  std::vector<PlacementGroupId> asked_groups;
};

struct LeaseManagerTest : ::testing::Test {
  FakeClock clock;
  FakeNode node;
  std::unique_ptr<LeaseManager> leases;
  uint64_t next_id = 1;

  void Make(ResourceSet totals, bool fail_infeasible = true) {
    leases = std::make_unique<LeaseManager>(
        clock, LeaseManagerOptions{std::move(totals), fail_infeasible, {}}, node);
  }
  LeaseKey Ask(const ResourceSet& resources, ClientId client = kDriver, bool is_actor = false) {
    LeaseRequest request;
    request.key = {client, next_id++};
    request.job_id = JobId::FromInt(1);
    request.name = "f";
    request.resources = resources;
    request.placement = resources;
    request.is_actor = is_actor;
    leases->Request(request);
    return request.key;
  }
  bool Granted(const LeaseKey& key) const { return node.granted.count(key) > 0; }
};

TEST_F(LeaseManagerTest, AnIdleWorkerIsGrantedInTheSameCall) {
  Make(Cpu(2));
  node.idle = 1;
  EXPECT_TRUE(Granted(Ask(Cpu(1))));
  EXPECT_EQ(node.wanted, 0U);
  EXPECT_EQ(leases->available(), Cpu(1));
}

TEST_F(LeaseManagerTest, WorkersAreWantedOnlyForWhatFits) {
  Make(Cpu(2));
  for (int i = 0; i < 5; ++i) {
    Ask(Cpu(1));
  }
  EXPECT_EQ(node.wanted, 2U);
  EXPECT_EQ(leases->available(), Cpu(2));
  node.idle = 2;
  leases->Schedule();
  EXPECT_EQ(node.granted.size(), 2U);
  EXPECT_EQ(node.wanted, 0U);
}

TEST_F(LeaseManagerTest, ActorsWithoutCpusNeedOneFreeToBePlaced) {
  Make(Cpu(1));
  node.idle = 10;
  const LeaseKey task = Ask(Cpu(1));
  LeaseRequest actor;
  actor.key = {kOther, 1};
  actor.job_id = JobId::FromInt(1);
  actor.placement = Cpu(1);
  actor.is_actor = true;
  actor.outlives_client = true;
  leases->Request(actor);
  EXPECT_FALSE(Granted(actor.key));
  EXPECT_EQ(node.reclaimed, std::vector<ClientId>{kDriver});
  leases->Return(task, false);
  EXPECT_TRUE(Granted(actor.key));
  EXPECT_EQ(leases->available(), Cpu(1));
  // It stays when whoever placed it goes, and its worker is used by nobody after it.
  leases->ClientGone(kOther);
  EXPECT_TRUE(node.killed.empty());
  const size_t idle = node.idle;
  leases->Return(actor.key, false);
  EXPECT_EQ(node.idle, idle);
}

TEST_F(LeaseManagerTest, WhatTheNodeCanNeverHoldFailsAtOnceAndSaysWhy) {
  Make(Cpu(2));
  const LeaseKey key = Ask(Cpu(3));
  ASSERT_EQ(node.rejected.count(key), 1U);
  EXPECT_EQ(node.rejected[key].code(), StatusCode::kUnschedulable);
  EXPECT_NE(node.rejected[key].message().find("CPU: 3 asked, 2 there"), std::string::npos);
  EXPECT_FALSE(leases->HasWaiting());
}

TEST_F(LeaseManagerTest, InAClusterThatCanGrowItWaitsInNobodysWay) {
  Make(Cpu(2), false);
  node.idle = 1;
  Ask(Cpu(3));
  clock.AdvanceMs(10'000);
  EXPECT_TRUE(Granted(Ask(Cpu(2))));
  EXPECT_TRUE(leases->HasWaiting());
}

TEST_F(LeaseManagerTest, ASmallRequestPassesABigOneThatDoesNotFit) {
  Make(Cpu(4));
  node.idle = 10;
  Ask(Cpu(3));
  const LeaseKey big = Ask(Cpu(4), kOther);
  const LeaseKey small = Ask(Cpu(1));
  EXPECT_FALSE(Granted(big));
  EXPECT_TRUE(Granted(small));
}

TEST_F(LeaseManagerTest, ABigRequestIsNotStarvedByAStreamOfSmallOnes) {
  Make(Cpu(2));
  node.idle = 10;
  std::vector<LeaseKey> running{Ask(Cpu(1)), Ask(Cpu(1))};
  const LeaseKey big = Ask(Cpu(2), kOther);
  // One small task ends every 50 ms, two more are always waiting.
  for (int step = 0; step < 100 && !Granted(big); ++step) {
    running.push_back(Ask(Cpu(1)));
    clock.AdvanceMs(50);
    for (size_t i = 0; i < running.size(); ++i) {
      if (Granted(running[i])) {
        leases->Return(running[i], false);
        running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      }
    }
    leases->Tick();
  }
  EXPECT_TRUE(Granted(big));
  EXPECT_LT(clock.NowMs(), 1'000);
}

TEST_F(LeaseManagerTest, AReservationLetsGoInCaseItHoldsUpWhatItWaitsFor) {
  Make(ResourceSet({{"CPU", ToFixedPoint(4)}, {"x", ToFixedPoint(2)}}));
  node.idle = 10;
  const ResourceSet one_x({{"x", kResourceUnit}});
  Ask(one_x);  // never returned: it waits for `child` below
  Ask(ResourceSet({{"x", 2 * kResourceUnit}}), kOther);
  clock.AdvanceMs(400);
  leases->Tick();
  const LeaseKey child = Ask(one_x, kOther);
  EXPECT_FALSE(Granted(child));
  for (int i = 0; i < 20 && !Granted(child); ++i) {
    clock.AdvanceMs(100);
    leases->Tick();
  }
  EXPECT_TRUE(Granted(child));
}

TEST_F(LeaseManagerTest, ClassesTakeTurns) {
  Make(Cpu(1));
  node.idle = 1;
  std::vector<LeaseKey> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(Ask(Cpu(1), kDriver));
  }
  for (int i = 0; i < 2; ++i) {
    all.push_back(Ask(Cpu(1), kOther));
  }
  std::string order;
  for (size_t i = 0; i < all.size(); ++i) {
    const LeaseKey last = node.order.back();
    order += std::to_string(last.client);
    leases->Return(last, false);
  }
  EXPECT_EQ(order, "112121");
}

TEST_F(LeaseManagerTest, ABlockedTaskLendsItsCpusAndNothingElse) {
  Make(ResourceSet({{"CPU", kResourceUnit}, {"GPU", kResourceUnit}}));
  node.idle = 2;
  const ResourceSet both({{"CPU", kResourceUnit}, {"GPU", kResourceUnit}});
  const LeaseKey parent = Ask(both);
  const LeaseKey child = Ask(Cpu(1));
  const LeaseKey gpu_child = Ask(ResourceSet({{"GPU", kResourceUnit}}));
  EXPECT_FALSE(Granted(child));
  leases->Blocked(node.granted[parent]);
  EXPECT_TRUE(Granted(child));
  EXPECT_FALSE(Granted(gpu_child));
  leases->Unblocked(node.granted[parent]);
  EXPECT_EQ(leases->available().Get("CPU"), -kResourceUnit);
  const LeaseKey next = Ask(Cpu(1));
  leases->Return(child, false);
  EXPECT_FALSE(Granted(next));
  leases->Return(parent, false);
  EXPECT_TRUE(Granted(next));
}

TEST_F(LeaseManagerTest, BlockedActorsKeepTheirCpus) {
  Make(Cpu(1));
  node.idle = 2;
  const LeaseKey actor = Ask(Cpu(1), kDriver, true);
  leases->Blocked(node.granted[actor]);
  EXPECT_EQ(leases->available().Get("CPU"), 0);
}

TEST_F(LeaseManagerTest, HoldersAreAskedForTheirLeasesOnceAndThenNowAndAgain) {
  Make(Cpu(1));
  node.idle = 2;
  const LeaseKey held = Ask(Cpu(1), kDriver);
  Ask(Cpu(1), kDriver);
  EXPECT_TRUE(node.reclaimed.empty()) << "one does not reclaim from oneself";
  const LeaseKey waiting = Ask(Cpu(1), kOther);
  EXPECT_EQ(node.reclaimed, std::vector<ClientId>{kDriver});
  leases->Tick();
  EXPECT_EQ(node.reclaimed.size(), 1U);
  clock.AdvanceMs(LeaseManager::kReclaimEveryMs);
  leases->Tick();
  EXPECT_EQ(node.reclaimed.size(), 2U);
  leases->Return(held, false);
  leases->Return(node.order.back(), false);
  EXPECT_TRUE(Granted(waiting));
}

TEST_F(LeaseManagerTest, AnotherShapeOfTheSameClientReclaimsToo) {
  Make(Cpu(1));
  node.idle = 2;
  Ask(Cpu(1), kDriver);
  Ask(Cpu(0.5), kDriver);
  EXPECT_EQ(node.reclaimed, std::vector<ClientId>{kDriver});
}

TEST_F(LeaseManagerTest, LeasesAreReclaimedWhenOnlyWorkersAreShort) {
  Make(Cpu(4));
  node.idle = 1;
  node.may_start = false;
  Ask(Cpu(1), kDriver);
  Ask(Cpu(1), kOther);
  EXPECT_EQ(node.reclaimed, std::vector<ClientId>{kDriver});
}

TEST_F(LeaseManagerTest, AClientThatGoesTakesItsLeasesWithIt) {
  Make(Cpu(2));
  node.idle = 1;
  const LeaseKey running = Ask(Cpu(1));
  const LeaseKey queued = Ask(Cpu(1));
  const WorkerId worker = node.granted[running];
  leases->ClientGone(kDriver);
  EXPECT_EQ(node.killed, std::vector<WorkerId>{worker});
  EXPECT_EQ(node.rejected[queued].code(), StatusCode::kCancelled);
  EXPECT_EQ(leases->available(), Cpu(2));
  EXPECT_FALSE(leases->HasWaiting());
}

TEST_F(LeaseManagerTest, CancelDropsWhatWaitsAndIgnoresWhatIsGranted) {
  Make(Cpu(1));
  node.idle = 1;
  const LeaseKey running = Ask(Cpu(1));
  const LeaseKey queued = Ask(Cpu(1));
  leases->Cancel(running);
  leases->Cancel(queued);
  leases->Cancel({77, 77});
  EXPECT_EQ(node.rejected.size(), 1U);
  EXPECT_EQ(node.rejected[queued].code(), StatusCode::kCancelled);
  EXPECT_EQ(leases->num_granted(), 1U);
}

TEST_F(LeaseManagerTest, ADeadWorkersResourcesGoToTheNext) {
  Make(Cpu(1));
  node.idle = 2;
  const LeaseKey running = Ask(Cpu(1));
  const LeaseKey queued = Ask(Cpu(1));
  leases->Blocked(node.granted[running]);
  leases->WorkerLost(node.granted[running]);
  leases->WorkerLost(node.granted[running]);
  EXPECT_TRUE(Granted(queued));
  EXPECT_EQ(leases->available().Get("CPU"), 0);
  leases->Return(running, false);  // arrives late: nothing happens
}

TEST_F(LeaseManagerTest, TwiceTheSameLeaseAndNonsenseAreRefused) {
  Make(ResourceSet({{"CPU", kResourceUnit}, {"GPU", 4 * kResourceUnit}}));
  node.idle = 1;
  const LeaseKey key = Ask(Cpu(1));
  LeaseRequest again;
  again.key = key;
  leases->Request(again);
  EXPECT_EQ(node.rejected[key].code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(node.rejected[Ask(ResourceSet({{"GPU", 15'000}}))].code(), StatusCode::kUnschedulable);
  EXPECT_EQ(node.rejected[Ask(ResourceSet({{"CPU", -1}}))].code(), StatusCode::kUnschedulable);
}

TEST_F(LeaseManagerTest, AfterCloseNothingWaitsAndNothingStarts) {
  Make(Cpu(1));
  const LeaseKey queued = Ask(Cpu(1));
  leases->Close(Status(StatusCode::kShutdown, "over"));
  EXPECT_EQ(node.rejected[queued].code(), StatusCode::kShutdown);
  EXPECT_EQ(node.rejected[Ask(Cpu(1))].code(), StatusCode::kShutdown);
  EXPECT_FALSE(leases->HasWaiting());
}

// Whatever happens in whatever order: never more granted than there is, and once nobody asks for
// more, everything that was asked for is granted.
class RandomLeases : public LeaseManagerTest, public ::testing::WithParamInterface<int> {
 protected:
  struct Out {
    ResourceSet resources;
    bool blocked = false;
  };
  std::mt19937 random{static_cast<uint32_t>(GetParam())};
  std::map<LeaseKey, ResourceSet> asked;
  std::map<LeaseKey, Out> out;
  ResourceSet totals{{{"CPU", ToFixedPoint(4)}, {"GPU", ToFixedPoint(2)}, {"x", ToFixedPoint(3)}}};

  void SeeGrants() {
    for (const LeaseKey& key : std::exchange(node.order, {})) {
      const auto it = asked.find(key);
      ASSERT_NE(it, asked.end());
      out[key] = {it->second, false};
      asked.erase(it);
    }
  }
  void CheckBooks() {
    ResourceSet left = totals;
    for (const auto& [key, lease] : out) {
      ResourceSet held = lease.resources;
      if (lease.blocked) {
        held.Set("CPU", 0);
      }
      left.Subtract(held);
    }
    ASSERT_EQ(left, leases->available());
    ASSERT_GE(left.Get("GPU"), 0);
    ASSERT_GE(left.Get("x"), 0);
  }
  LeaseKey AnyOut() {
    auto it = out.begin();
    std::advance(it, random() % out.size());
    return it->first;
  }
  void AskSomething() {
    static constexpr double kGpus[] = {0, 0, 0, 0.5, 1, 2};
    const ResourceSet wanted({{"CPU", ToFixedPoint(static_cast<double>(random() % 5))},
                              {"GPU", ToFixedPoint(kGpus[random() % 6])},
                              {"x", ToFixedPoint(static_cast<double>(random() % 4) / 2)}});
    const LeaseKey key{1 + random() % 3, next_id++};
    LeaseRequest request;
    request.key = key;
    request.job_id = JobId::FromInt(1);
    request.resources = wanted;
    request.placement = wanted;
    asked[key] = wanted;
    leases->Request(request);
  }
  void Step() {
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        AskSomething();
        break;
      case 3:
        if (!out.empty()) {
          const LeaseKey key = AnyOut();
          out.erase(key);
          leases->Return(key, random() % 4 == 0);
        }
        break;
      case 4:
        if (!out.empty()) {
          const LeaseKey key = AnyOut();
          out[key].blocked = !out[key].blocked;
          const WorkerId worker = node.granted[key];
          out[key].blocked ? leases->Blocked(worker) : leases->Unblocked(worker);
        }
        break;
      case 5:
        if (!out.empty()) {
          const LeaseKey key = AnyOut();
          out.erase(key);
          leases->WorkerLost(node.granted[key]);
        }
        break;
      case 6:
        if (!asked.empty()) {
          const LeaseKey key = asked.begin()->first;
          asked.erase(key);
          leases->Cancel(key);
        }
        break;
      default:
        node.idle = std::min<size_t>(node.idle + node.wanted, 8);
        clock.AdvanceMs(random() % 100);
        leases->Schedule();
    }
  }
};

TEST_P(RandomLeases, NeverMoreThanThereIsAndEverybodyInTheEnd) {
  Make(totals);
  for (int step = 0; step < 3'000; ++step) {
    Step();
    SeeGrants();
    CheckBooks();
    if (HasFatalFailure()) {
      return;
    }
  }
  for (int step = 0; step < 20'000 && !asked.empty(); ++step) {
    node.idle = std::max<size_t>(node.idle, 4);
    clock.AdvanceMs(20);
    if (!out.empty()) {
      const LeaseKey key = AnyOut();
      out.erase(key);
      leases->Return(key, false);
    }
    leases->Tick();
    SeeGrants();
    CheckBooks();
    if (HasFatalFailure()) {
      return;
    }
  }
  EXPECT_TRUE(asked.empty());
  EXPECT_FALSE(leases->HasWaiting());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomLeases, ::testing::Range(1, 21));

// ---- bundles of placement groups ----

struct BundlesTest : LeaseManagerTest {
  PlacementGroupId group = PlacementGroupId::FromRandom();

  LeaseKey Reserve(const std::vector<double>& cpus, bool wait = true, bool commit = true) {
    BundleRequest request;
    request.key = {kOther, next_id++};
    request.group = group;
    request.commit = commit;
    request.wait = wait;
    for (const double amount : cpus) {
      request.bundles.push_back({static_cast<uint32_t>(request.bundles.size()), Cpu(amount)});
    }
    leases->RequestBundles(request);
    return request.key;
  }
  LeaseKey AskIn(int32_t index, double cpus, bool is_actor = false) {
    LeaseRequest request;
    request.key = {kDriver, next_id++};
    request.job_id = JobId::FromInt(1);
    request.name = "f";
    request.resources = Cpu(cpus);
    request.placement = Cpu(cpus);
    request.is_actor = is_actor;
    request.outlives_client = is_actor;
    request.strategy.group = group;
    request.strategy.bundle_index = index;
    leases->Request(request);
    return request.key;
  }
  StatusCode Refusal(const LeaseKey& key) const {
    const auto it = node.rejected.find(key);
    return it == node.rejected.end() ? StatusCode::kOk : it->second.code();
  }
  int64_t FreeCpus() const { return leases->available().Get(kCpu) / kResourceUnit; }
};

TEST_F(BundlesTest, AreSetAsideAtOnceIfFreeAndNeedNoWorker) {
  Make(Cpu(4));
  const LeaseKey key = Reserve({1, 2});
  EXPECT_EQ(node.reserved, std::vector<LeaseKey>{key});
  EXPECT_EQ(FreeCpus(), 1);
  EXPECT_FALSE(leases->HasWaiting());
  leases->ReturnBundles(group, "removed");
  EXPECT_EQ(leases->available(), Cpu(4));
  EXPECT_EQ(leases->totals(), Cpu(4));
}

TEST_F(BundlesTest, WaitForWhatRunsAndCallIdleLeasesBack) {
  Make(Cpu(2));
  node.idle = 2;
  const LeaseKey task = Ask(Cpu(1));
  const LeaseKey bundles = Reserve({1, 1});
  EXPECT_TRUE(node.reserved.empty());
  EXPECT_EQ(node.reclaimed, std::vector<ClientId>{kDriver});
  EXPECT_EQ(FreeCpus(), 1);  // none of it is held meanwhile
  leases->Return(task, false);
  EXPECT_EQ(node.reserved, std::vector<LeaseKey>{bundles});
}

TEST_F(BundlesTest, ThatMayNotWaitAreRefusedAtOnce) {
  Make(Cpu(2));
  node.idle = 2;
  Ask(Cpu(1));
  EXPECT_EQ(Refusal(Reserve({2}, false)), StatusCode::kTimedOut);
  EXPECT_EQ(Refusal(Reserve({3})), StatusCode::kUnschedulable);
  EXPECT_FALSE(leases->HasWaiting());
}

TEST_F(BundlesTest, LeasesTakeFromTheirBundleOnly) {
  Make(Cpu(3));
  node.idle = 10;
  Reserve({1, 1});
  EXPECT_TRUE(Granted(AskIn(0, 1)));
  const LeaseKey second = AskIn(0, 1);
  EXPECT_FALSE(Granted(second));
  EXPECT_TRUE(Granted(AskIn(-1, 1)));  // in the other bundle
  EXPECT_TRUE(Granted(Ask(Cpu(1))));   // outside
  const LeaseKey outside = Ask(Cpu(1));
  EXPECT_FALSE(Granted(outside));
  leases->Return(node.order[0], false);
  EXPECT_TRUE(Granted(second));
  EXPECT_FALSE(Granted(outside));
  EXPECT_EQ(Refusal(AskIn(0, 2)), StatusCode::kUnschedulable);
  EXPECT_EQ(Refusal(AskIn(7, 1)), StatusCode::kUnschedulable);
}

TEST_F(BundlesTest, ABlockedTaskLendsTheCpuOfItsBundle) {
  Make(Cpu(1));
  node.idle = 10;
  Reserve({1});
  const LeaseKey outer = AskIn(-1, 1);
  const LeaseKey inner = AskIn(-1, 1);
  ASSERT_FALSE(Granted(inner));
  leases->Blocked(node.granted[outer]);
  EXPECT_TRUE(Granted(inner));
  EXPECT_FALSE(Granted(Ask(Cpu(1))));
}

TEST_F(BundlesTest, RequestsWaitForAGroupThatIsNotHereYet) {
  Make(Cpu(2));
  node.idle = 10;
  const LeaseKey fits = AskIn(0, 1);
  const LeaseKey same = AskIn(0, 1);
  const LeaseKey too_large = AskIn(0, 2);
  EXPECT_EQ(node.asked_groups, (std::vector<PlacementGroupId>{group, group}));  // once a class
  EXPECT_EQ(Refusal(too_large), StatusCode::kOk);
  Reserve({1});
  EXPECT_TRUE(Granted(fits));
  EXPECT_FALSE(Granted(same));
  EXPECT_EQ(Refusal(too_large), StatusCode::kUnschedulable);
  leases->GroupSettled(group, Status::Ok());
  EXPECT_EQ(Refusal(same), StatusCode::kOk);
}

TEST_F(BundlesTest, AreUsableOnceCommitted) {
  Make(Cpu(2));
  node.idle = 10;
  Reserve({1}, true, /*commit=*/false);
  const LeaseKey key = AskIn(0, 1);
  EXPECT_FALSE(Granted(key));
  leases->CommitBundles(group);
  EXPECT_TRUE(Granted(key));
}

TEST_F(BundlesTest, AGroupThatNeverComesFailsWhoWaits) {
  Make(Cpu(2));
  const LeaseKey key = AskIn(0, 1);
  leases->GroupSettled(group, Status(StatusCode::kPlacementGroupRemoved, "removed"));
  EXPECT_EQ(Refusal(key), StatusCode::kPlacementGroupRemoved);
  const LeaseKey elsewhere = AskIn(0, 1);
  leases->GroupSettled(group, Status::Ok());
  EXPECT_EQ(Refusal(elsewhere), StatusCode::kUnschedulable);
  EXPECT_FALSE(leases->HasWaiting());
}

TEST_F(BundlesTest, RemovalKillsWhatRunsAndRefusesWhatWaits) {
  Make(Cpu(3));
  node.idle = 10;
  Reserve({1, 1});
  const LeaseKey task = AskIn(0, 1);
  const LeaseKey actor = AskIn(1, 1, true);
  const LeaseKey queued = AskIn(-1, 1);
  const LeaseKey outside = Ask(Cpu(1));
  ASSERT_TRUE(Granted(task) && Granted(actor) && Granted(outside));
  leases->ReturnBundles(group, "removed");
  EXPECT_EQ(node.killed_with_group.size(), 2U);
  EXPECT_TRUE(node.killed.empty());
  EXPECT_EQ(Refusal(queued), StatusCode::kPlacementGroupRemoved);
  EXPECT_EQ(FreeCpus(), 2);
  // Late news of these workers and leases change nothing.
  leases->WorkerLost(node.granted[task]);
  leases->Return(actor, true);
  leases->Unblocked(node.granted[task]);
  EXPECT_EQ(FreeCpus(), 2);
  EXPECT_EQ(leases->num_granted(), 1U);
}

TEST_F(BundlesTest, RemovalOfBundlesThatWait) {
  Make(Cpu(1));
  node.idle = 10;
  const LeaseKey task = Ask(Cpu(1));
  const LeaseKey bundles = Reserve({1});
  leases->ReturnBundles(group, "removed");
  EXPECT_EQ(Refusal(bundles), StatusCode::kCancelled);
  leases->Return(task, false);
  EXPECT_TRUE(node.reserved.empty());
  EXPECT_EQ(leases->available(), Cpu(1));
}

TEST_F(BundlesTest, StarvedBundlesGetTheirTurn) {
  Make(Cpu(2));
  node.idle = 10;
  std::vector<LeaseKey> running{Ask(Cpu(1)), Ask(Cpu(1))};
  Reserve({2});
  for (int i = 0; i < 40 && node.reserved.empty(); ++i) {
    Ask(Cpu(1));  // there is always another task
    clock.AdvanceMs(50);
    leases->Return(node.order[static_cast<size_t>(i)], false);
    leases->Tick();
  }
  EXPECT_EQ(node.reserved.size(), 1U);
}

TEST_F(BundlesTest, AskedForTwice) {
  Make(Cpu(2));
  Reserve({1});
  EXPECT_EQ(Refusal(Reserve({1})), StatusCode::kInvalidArgument);
  EXPECT_EQ(FreeCpus(), 1);
}

TEST_F(LeaseManagerTest, ANodeThatIsNotThisOneIsRefusedUnlessSoft) {
  leases = std::make_unique<LeaseManager>(
      clock, LeaseManagerOptions{Cpu(1), true, NodeId::FromRandom()}, node);
  node.idle = 2;
  LeaseRequest request;
  request.key = {kDriver, 100};
  request.job_id = JobId::FromInt(1);
  request.resources = Cpu(1);
  request.placement = Cpu(1);
  request.strategy.node = NodeId::FromRandom();
  request.strategy.node_text = "with the id 12";
  leases->Request(request);
  EXPECT_EQ(node.rejected[request.key].code(), StatusCode::kUnschedulable);
  EXPECT_NE(node.rejected[request.key].message().find("with the id 12"), std::string::npos);
  request.key.lease_id = 101;
  request.strategy.node_is_soft = true;
  leases->Request(request);
  EXPECT_TRUE(Granted(request.key));
}

}  // namespace
}  // namespace rayc::raylet
