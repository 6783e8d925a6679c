#include "raylet/worker_pool.h"

#include <gtest/gtest.h>

#include <csignal>
#include <map>
#include <set>
#include <vector>

namespace rayc::raylet {
namespace {

struct FakeZygote : ZygoteClient {
  struct Fork {
    uint64_t token;
    WorkerId worker;
  };
  void ForkWorker(uint64_t fork_token, const WorkerId& worker) override {
    forks.push_back({fork_token, worker});
  }
  std::vector<Fork> forks;
};

struct FakeHost : WorkerPoolHost {
  void WatchProcess(const WorkerId& worker, pid_t pid) override { watched[worker] = pid; }
  void SendSignal(const WorkerId& worker, int signal) override { signals[worker] = signal; }
  void SendExit(const WorkerId& worker, const std::string& /*reason*/) override {
    exits.insert(worker);
  }
  void WorkerReady(const WorkerId& worker) override { ready.push_back(worker); }
  void WorkerLost(const WorkerId& worker) override { lost.push_back(worker); }
  void WorkerDead(const WorkerEnd& end) override { dead.push_back(end); }
  void PoolBroken(const std::string& reason) override { broken = reason; }

  std::map<WorkerId, pid_t> watched;
  std::map<WorkerId, int> signals;
  std::set<WorkerId> exits;
  std::vector<WorkerId> ready;
  std::vector<WorkerId> lost;
  std::vector<WorkerEnd> dead;
  std::string broken;
};

constexpr int Exited(int code) { return code << 8; }

struct WorkerPoolTest : ::testing::Test {
  FakeClock clock;
  FakeZygote zygote;
  FakeHost host;
  WorkerPoolOptions options;
  std::unique_ptr<WorkerPool> pool;
  pid_t next_pid = 100;
  const WorkerNeed task{JobId::FromInt(1), "", false};
  const WorkerNeed actor{JobId::FromInt(1), "", true};

  WorkerPool& Pool() {
    if (pool == nullptr) {
      pool = std::make_unique<WorkerPool>(clock, options, zygote, host);
    }
    return *pool;
  }
  static Address AddressOf(const WorkerId& worker) {
    Address address;
    address.worker_id = worker;
    address.socket = "/w";
    return address;
  }
  // Starts one worker and lets it register.
  WorkerId Start() {
    const size_t before = zygote.forks.size();
    Pool().WantWorkers(Pool().CountIn(WorkerState::kStarting) + 1);
    EXPECT_EQ(zygote.forks.size(), before + 1);
    const FakeZygote::Fork fork = zygote.forks.back();
    const pid_t pid = next_pid++;
    Pool().OnForked(fork.token, pid);
    EXPECT_TRUE(Pool().OnRegistered(fork.token, pid, AddressOf(fork.worker)).ok());
    Pool().WantWorkers(0);
    return fork.worker;
  }
  WorkerState StateOf(const WorkerId& worker) {
    const WorkerHandle* handle = Pool().Find(worker);
    return handle == nullptr ? WorkerState::kDead : handle->state;
  }
};

TEST_F(WorkerPoolTest, StartsWhatIsWantedOnce) {
  Pool().WantWorkers(2);
  Pool().WantWorkers(2);
  EXPECT_EQ(zygote.forks.size(), 2U);
  Pool().WantWorkers(3);
  EXPECT_EQ(zygote.forks.size(), 3U);
}

TEST_F(WorkerPoolTest, NotMoreAtATimeThanTheLimitAndTheRestLater) {
  options.starting_max = 2;
  EXPECT_TRUE(Pool().WantWorkers(5));
  EXPECT_EQ(zygote.forks.size(), 2U);
  const FakeZygote::Fork first = zygote.forks[0];
  Pool().OnForked(first.token, 5);
  ASSERT_TRUE(Pool().OnRegistered(first.token, 5, AddressOf(first.worker)).ok());
  Pool().WantWorkers(4);
  EXPECT_EQ(zygote.forks.size(), 3U);
}

TEST_F(WorkerPoolTest, OnlyTheForkedProcessCanRegister) {
  Pool().WantWorkers(1);
  const FakeZygote::Fork fork = zygote.forks[0];
  EXPECT_FALSE(Pool().OnRegistered(fork.token + 1, 5, AddressOf(fork.worker)).ok());
  EXPECT_FALSE(Pool().OnRegistered(fork.token, 5, AddressOf(WorkerId::FromRandom())).ok());
  EXPECT_TRUE(Pool().OnRegistered(fork.token, 5, AddressOf(fork.worker)).ok());
  EXPECT_EQ(host.ready, std::vector<WorkerId>{fork.worker});
  EXPECT_FALSE(Pool().OnRegistered(fork.token, 5, AddressOf(fork.worker)).ok());
}

TEST_F(WorkerPoolTest, AWorkerServesOneJobAndOneEnvironment) {
  const WorkerId worker = Start();
  ASSERT_EQ(Pool().Take(task), worker);
  EXPECT_EQ(StateOf(worker), WorkerState::kLeased);
  EXPECT_EQ(Pool().Take(task), std::nullopt);
  Pool().GiveBack(worker, false);
  EXPECT_EQ(Pool().Take({JobId::FromInt(2), "", false}), std::nullopt);
  EXPECT_EQ(Pool().Take({JobId::FromInt(1), "{}", false}), std::nullopt);
  EXPECT_EQ(Pool().Take(task), worker);
}

TEST_F(WorkerPoolTest, TasksTakeWarmWorkersAndActorsFreshOnes) {
  const WorkerId warm = Start();
  Pool().Take(task);
  Pool().GiveBack(warm, false);
  const WorkerId fresh = Start();
  EXPECT_EQ(Pool().Take(task), warm);
  Pool().GiveBack(warm, false);
  EXPECT_EQ(Pool().Take(actor), fresh);
  EXPECT_EQ(StateOf(fresh), WorkerState::kDedicated);
  EXPECT_EQ(Pool().Take(actor), warm);
}

TEST_F(WorkerPoolTest, TheEndIsToldOnceWithItsStatus) {
  const WorkerId worker = Start();
  Pool().Take(task);
  Pool().OnDisconnected(worker);
  EXPECT_EQ(host.lost, std::vector<WorkerId>{worker});
  Pool().OnProcessGone(worker);
  EXPECT_TRUE(host.dead.empty()) << "its exit status is not known yet";
  Pool().OnReaped(host.watched[worker], SIGKILL);
  ASSERT_EQ(host.dead.size(), 1U);
  EXPECT_EQ(host.lost.size(), 1U);
  EXPECT_EQ(host.dead[0].signal, SIGKILL);
  EXPECT_EQ(host.dead[0].exit_code, -1);
  EXPECT_FALSE(host.dead[0].intended);
  EXPECT_EQ(host.dead[0].detail, "killed by signal 9 (SIGKILL)");
  EXPECT_EQ(Pool().size(), 0U);
}

TEST_F(WorkerPoolTest, AStatusThatNeverComesIsNotWaitedForLong) {
  const WorkerId worker = Start();
  Pool().OnProcessGone(worker);
  Pool().Tick();
  EXPECT_TRUE(host.dead.empty());
  EXPECT_TRUE(Pool().NeedsTick());
  clock.AdvanceMs(options.reap_timeout_ms);
  Pool().Tick();
  ASSERT_EQ(host.dead.size(), 1U);
  EXPECT_EQ(host.dead[0].detail, "ended; how is not known");
}

TEST_F(WorkerPoolTest, AnnouncedAndEndedByUsSaySo) {
  const WorkerId leaving = Start();
  Pool().Take(task);
  Pool().OnAnnounceExit(leaving, "max_calls reached");
  EXPECT_EQ(StateOf(leaving), WorkerState::kLeased) << "it still answers its owner";
  Pool().GiveBack(leaving, false);
  EXPECT_EQ(StateOf(leaving), WorkerState::kExiting);
  Pool().OnReaped(host.watched[leaving], Exited(3));
  ASSERT_EQ(host.dead.size(), 1U);
  EXPECT_TRUE(host.dead[0].intended);
  EXPECT_EQ(host.dead[0].detail, "exited with code 3: max_calls reached");

  const WorkerId killed = Start();
  Pool().Kill(killed, true, "rayc.kill");
  EXPECT_EQ(host.signals[killed], SIGKILL);
  Pool().OnReaped(host.watched[killed], SIGKILL);
  EXPECT_EQ(host.dead[1].detail, "killed by signal 9 (SIGKILL), ended by rayc: rayc.kill");
}

// Its owner saw the end of the connection before the raylet saw that of the process.
TEST_F(WorkerPoolTest, ACrashThatTheOwnerNoticedFirstIsNotIntended) {
  for (const int status : {SIGSEGV, Exited(1), Exited(0)}) {
    const WorkerId worker = Start();
    Pool().Take(task);
    Pool().GiveBack(worker, true);
    Pool().OnReaped(host.watched[worker], status);
    EXPECT_EQ(host.dead.back().intended, status == Exited(0)) << host.dead.back().detail;
  }
}

TEST_F(WorkerPoolTest, WhoDoesNotLeaveIsKilled) {
  const WorkerId worker = Start();
  Pool().Take(task);
  Pool().GiveBack(worker, true);
  EXPECT_EQ(host.exits.count(worker), 1U);
  clock.AdvanceMs(options.exit_grace_ms - 1);
  Pool().Tick();
  EXPECT_TRUE(host.signals.empty());
  clock.AdvanceMs(1);
  Pool().Tick();
  EXPECT_EQ(host.signals[worker], SIGKILL);

  const WorkerId disconnected = Start();
  Pool().OnDisconnected(disconnected);
  clock.AdvanceMs(options.disconnect_grace_ms);
  Pool().Tick();
  EXPECT_EQ(host.signals[disconnected], SIGKILL);
}

TEST_F(WorkerPoolTest, IdleWorkersBeyondTheLimitLeaveAfterAWhile) {
  options.idle_max = 1;
  const WorkerId first = Start();
  const WorkerId second = Start();
  Pool().Tick();
  EXPECT_TRUE(host.exits.empty());
  EXPECT_TRUE(Pool().NeedsTick());
  clock.AdvanceMs(options.idle_linger_ms);
  Pool().Tick();
  EXPECT_EQ(host.exits, std::set<WorkerId>{first});
  Pool().OnReaped(host.watched[first], Exited(0));
  EXPECT_FALSE(Pool().NeedsTick());
  EXPECT_EQ(Pool().Take(task), second);
}

TEST_F(WorkerPoolTest, AtTheCapBlockedWorkersDoNotCountAndIdleStrangersMakeRoom) {
  options.workers_max = 2;
  const WorkerId stranger = Start();
  Pool().Take({JobId::FromInt(2), "", false});
  Pool().GiveBack(stranger, false);
  const WorkerId worker = Start();
  Pool().Take(task);
  EXPECT_TRUE(Pool().WantWorkers(1));
  EXPECT_EQ(StateOf(stranger), WorkerState::kExiting);
  EXPECT_TRUE(Pool().WantWorkers(1));
  EXPECT_EQ(Pool().CountIn(WorkerState::kStarting), 1U);
  EXPECT_FALSE(Pool().WantWorkers(2));
  Pool().SetBlocked(worker, true);
  EXPECT_TRUE(Pool().WantWorkers(2));
  EXPECT_EQ(Pool().CountIn(WorkerState::kStarting), 2U);
}

TEST_F(WorkerPoolTest, AWorkerThatNeverRegistersIsKilledAndAnotherStarted) {
  Pool().WantWorkers(1);
  Pool().OnForked(zygote.forks[0].token, 50);
  clock.AdvanceMs(options.register_timeout_ms);
  Pool().Tick();
  EXPECT_EQ(host.signals[zygote.forks[0].worker], SIGKILL);
  EXPECT_FALSE(
      Pool().OnRegistered(zygote.forks[0].token, 50, AddressOf(zygote.forks[0].worker)).ok());
  clock.AdvanceMs(1'000);
  Pool().Tick();
  EXPECT_EQ(zygote.forks.size(), 2U);
}

TEST_F(WorkerPoolTest, AForkThatIsNeverAnsweredIsForgotten) {
  Pool().WantWorkers(1);
  clock.AdvanceMs(options.register_timeout_ms);
  Pool().Tick();
  Pool().WantWorkers(0);
  clock.AdvanceMs(options.register_timeout_ms);
  Pool().Tick();
  EXPECT_EQ(Pool().CountIn(WorkerState::kExiting), 0U);
}

TEST_F(WorkerPoolTest, WorkersThatCannotStartEndTheNodeInsteadOfBeingForkedForEver) {
  options.start_failures_max = 3;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(host.broken.empty());
    Pool().WantWorkers(1);
    ASSERT_EQ(zygote.forks.size(), static_cast<size_t>(i) + 1);
    Pool().OnForked(zygote.forks.back().token, 70 + i);
    Pool().OnReaped(70 + i, Exited(1));
    Pool().WantWorkers(1);
    EXPECT_EQ(zygote.forks.size(), static_cast<size_t>(i) + 1) << "not before a pause";
    clock.AdvanceMs(1'000);
  }
  EXPECT_NE(host.broken.find("exited with code 1"), std::string::npos);
}

TEST_F(WorkerPoolTest, AFailedForkIsTriedAgainAfterAPause) {
  Pool().WantWorkers(1);
  Pool().OnForkFailed(zygote.forks[0].token, "no memory");
  EXPECT_EQ(Pool().size(), 0U);
  EXPECT_TRUE(Pool().NeedsTick());
  clock.AdvanceMs(100);
  Pool().Tick();
  EXPECT_EQ(zygote.forks.size(), 2U);
}

TEST_F(WorkerPoolTest, TheEndOfAJobEndsItsIdleWorkers) {
  const WorkerId worker = Start();
  Pool().Take(task);
  Pool().GiveBack(worker, false);
  const WorkerId fresh = Start();
  Pool().OnJobEnded(JobId::FromInt(1));
  EXPECT_EQ(host.exits, std::set<WorkerId>{worker});
  EXPECT_EQ(StateOf(fresh), WorkerState::kIdle);
}

TEST_F(WorkerPoolTest, PrestartCountsWhatIsThereAlready) {
  Pool().Prestart(1);
  Pool().Prestart(1);
  EXPECT_EQ(zygote.forks.size(), 1U);
  Pool().Prestart(2);
  EXPECT_EQ(zygote.forks.size(), 2U);
}

TEST_F(WorkerPoolTest, StopReachesAllAlsoThoseThatAreJustBeingForked) {
  const WorkerId idle = Start();
  const WorkerId leased = Start();
  Pool().Take(task);
  Pool().WantWorkers(1);
  const FakeZygote::Fork late = zygote.forks.back();
  Pool().StopAll(SIGTERM, "the node is ending");
  EXPECT_EQ(host.signals[idle], SIGTERM);
  EXPECT_EQ(host.signals[leased], SIGTERM);
  Pool().OnForked(late.token, 99);
  EXPECT_EQ(host.signals[late.worker], SIGKILL);
  Pool().WantWorkers(3);
  Pool().Prestart(3);
  EXPECT_EQ(zygote.forks.back().token, late.token);
  for (const auto& [worker, pid] : std::map<WorkerId, pid_t>(host.watched)) {
    Pool().OnReaped(pid, SIGTERM);
  }
  EXPECT_EQ(Pool().size(), 0U);
  EXPECT_TRUE(host.broken.empty());
}

}  // namespace
}  // namespace rayc::raylet
