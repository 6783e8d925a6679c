#include "core_worker/task_submitter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace rayc::core_worker {
namespace {

class FakeTransport final : public TaskSubmitter::Transport {
 public:
  void RequestLease(uint64_t id, const TaskSpec&, uint32_t backlog) override {
    requested.push_back(id);
    last_backlog = backlog;
  }
  void CancelLease(uint64_t id) override { cancelled.push_back(id); }
  void ReturnLease(uint64_t id, bool exiting) override { returned.emplace_back(id, exiting); }
  void PushTask(const Lease& lease, const TaskPtr& task) override {
    pushed.emplace_back(lease.id, task);
  }
  void OnTaskUnschedulable(const TaskPtr& task, const Status& why) override {
    unschedulable.emplace_back(task, why);
  }
  std::vector<uint64_t> requested;
  std::vector<uint64_t> cancelled;
  std::vector<std::pair<uint64_t, bool>> returned;
  std::vector<std::pair<uint64_t, TaskPtr>> pushed;
  std::vector<std::pair<TaskPtr, Status>> unschedulable;
  uint32_t last_backlog = 0;
};

class TaskSubmitterTest : public ::testing::Test {
 protected:
  static TaskPtr NewTask() {
    auto spec = std::make_shared<TaskSpec>();
    spec->task_id = TaskId::ForNormalTask(JobId::FromInt(1));
    return spec;
  }
  Lease Grant(uint64_t id) {
    Lease lease{id, {NodeId::FromRandom(), WorkerId::FromRandom(), "s"}, 1, {}};
    submitter_.OnLeaseGranted(lease);
    return lease;
  }
  void Reply(size_t pushed_index, uint32_t duration_us, bool not_started = false) {
    const auto [lease, task] = transport_.pushed[pushed_index];
    submitter_.OnReply(lease, task->task_id, not_started, duration_us, false);
  }

  FakeClock clock_;
  FakeTransport transport_;
  TaskSubmitter submitter_{clock_, transport_};
};

TEST_F(TaskSubmitterTest, LeaseIsKeptBetweenTasks) {
  submitter_.Submit(NewTask(), "k");
  ASSERT_EQ(transport_.requested.size(), 1U);
  Grant(transport_.requested[0]);
  ASSERT_EQ(transport_.pushed.size(), 1U);
  for (size_t i = 0; i < 100; ++i) {
    Reply(i, 10);
    submitter_.Submit(NewTask(), "k");
    ASSERT_EQ(transport_.pushed.size(), i + 2);
  }
  EXPECT_EQ(transport_.requested.size(), 1U);
  EXPECT_TRUE(transport_.returned.empty());
}

TEST_F(TaskSubmitterTest, IdleLeaseIsReturnedAfterAWhile) {
  submitter_.Submit(NewTask(), "k");
  Grant(transport_.requested[0]);
  clock_.AdvanceMs(5'000);
  submitter_.ReturnIdleLeases();
  EXPECT_TRUE(transport_.returned.empty()) << "a busy lease is not idle";
  Reply(0, 10);
  submitter_.ReturnIdleLeases();
  EXPECT_TRUE(transport_.returned.empty());
  clock_.AdvanceMs(TaskSubmitter::kIdleLeaseMs);
  submitter_.ReturnIdleLeases();
  EXPECT_EQ(transport_.returned.size(), 1U);
}

TEST_F(TaskSubmitterTest, IdleLeasesAreReturnedAtOnceIfAsked) {
  submitter_.Submit(NewTask(), "k");
  Grant(transport_.requested[0]);
  submitter_.ReturnIdleLeases(0);
  EXPECT_TRUE(transport_.returned.empty());
  Reply(0, 10);
  submitter_.ReturnIdleLeases(0);
  EXPECT_EQ(transport_.returned.size(), 1U);
}

TEST_F(TaskSubmitterTest, UnknownLengthMeansOneTaskAtATime) {
  submitter_.Submit(NewTask(), "k");
  submitter_.Submit(NewTask(), "k");
  Grant(transport_.requested[0]);
  EXPECT_EQ(transport_.pushed.size(), 1U);
  EXPECT_EQ(submitter_.num_queued(), 1U);
}

TEST_F(TaskSubmitterTest, ShortTasksArePipelinedLongOnesAreNot) {
  for (int i = 0; i < 1'000; ++i) submitter_.Submit(NewTask(), "short");
  Grant(transport_.requested[0]);
  Reply(0, 100);
  EXPECT_EQ(transport_.pushed.size(), 1U + TaskSubmitter::kPipelineUs / 100);
  transport_.pushed.clear();
  transport_.requested.clear();
  for (int i = 0; i < 10; ++i) submitter_.Submit(NewTask(), "long");
  Grant(transport_.requested[0]);
  const size_t before = transport_.pushed.size();
  Reply(before - 1, 1'000'000);
  EXPECT_EQ(transport_.pushed.size(), before + 1);
}

TEST_F(TaskSubmitterTest, TasksSpreadOverLeases) {
  for (int i = 0; i < 4; ++i) submitter_.Submit(NewTask(), "k");
  const std::vector<uint64_t> requested = transport_.requested;
  Grant(requested[0]);
  Grant(requested[1]);
  ASSERT_EQ(transport_.pushed.size(), 2U);
  EXPECT_NE(transport_.pushed[0].first, transport_.pushed[1].first);
}

TEST_F(TaskSubmitterTest, RequestsThatAreNotNeededAnyMoreAreCancelled) {
  submitter_.Submit(NewTask(), "k");
  submitter_.Submit(NewTask(), "k");
  ASSERT_EQ(transport_.requested.size(), 2U);
  Grant(transport_.requested[0]);
  Reply(0, 10);
  EXPECT_EQ(transport_.cancelled.size(), 1U);
  // The grant was on its way: it goes straight back.
  Grant(transport_.cancelled[0]);
  ASSERT_EQ(transport_.returned.size(), 1U);
  EXPECT_EQ(transport_.returned[0].first, transport_.cancelled[0]);
}

TEST_F(TaskSubmitterTest, TaskThatIsGivenBackRunsElsewhereAndItsWorkerRests) {
  for (int i = 0; i < 20; ++i) submitter_.Submit(NewTask(), "k");
  const uint64_t first = transport_.requested[0];
  Grant(first);
  Reply(0, 1'000);
  const size_t sent = transport_.pushed.size();
  ASSERT_GT(sent, 3U);
  const TaskPtr given_back = transport_.pushed[sent - 1].second;
  Reply(sent - 1, 0, true);
  submitter_.Submit(NewTask(), "k");
  EXPECT_EQ(transport_.pushed.size(), sent) << "nothing goes to a worker that gave tasks back";
  Grant(transport_.requested[1]);
  ASSERT_GT(transport_.pushed.size(), sent);
  EXPECT_EQ(transport_.pushed[sent].second, given_back) << "it is the oldest";
  EXPECT_EQ(transport_.pushed[sent].first, transport_.requested[1]);
  const size_t before = transport_.pushed.size();
  Reply(1, 1'000);
  EXPECT_GT(transport_.pushed.size(), before) << "the worker takes tasks again";
}

TEST_F(TaskSubmitterTest, ReclaimReturnsIdleLeasesAtOnceAndBusyOnesAfterwards) {
  submitter_.Submit(NewTask(), "idle");
  Grant(transport_.requested[0]);
  Reply(0, 10);
  submitter_.Submit(NewTask(), "busy");
  const uint64_t busy = transport_.requested.back();
  Grant(busy);
  submitter_.OnReclaim();
  ASSERT_EQ(transport_.returned.size(), 1U);
  submitter_.Submit(NewTask(), "busy");
  EXPECT_EQ(transport_.pushed.size(), 2U) << "no more tasks for a lease that must go";
  Reply(1, 10);
  ASSERT_EQ(transport_.returned.size(), 2U);
  EXPECT_EQ(transport_.returned[1].first, busy);
  EXPECT_EQ(submitter_.num_queued(), 1U);
}

TEST_F(TaskSubmitterTest, LostWorkerGivesItsTasksInOrder) {
  for (int i = 0; i < 5; ++i) submitter_.Submit(NewTask(), "k");
  const Lease lease = Grant(transport_.requested[0]);
  Reply(0, 10);
  ASSERT_EQ(transport_.pushed.size(), 5U);
  const auto lost = submitter_.OnWorkerLost(lease.worker.worker_id);
  ASSERT_EQ(lost.tasks.size(), 4U);
  EXPECT_TRUE(lost.first_may_have_begun);
  for (size_t i = 0; i < lost.tasks.size(); ++i) {
    EXPECT_EQ(lost.tasks[i], transport_.pushed[i + 1].second);
  }
  ASSERT_EQ(transport_.returned.size(), 1U);
  EXPECT_TRUE(transport_.returned[0].second);
  EXPECT_TRUE(submitter_.OnWorkerLost(lease.worker.worker_id).tasks.empty());
}

TEST_F(TaskSubmitterTest, TasksSentToAWorkerThatLeavesHaveNotBegun) {
  for (int i = 0; i < 5; ++i) submitter_.Submit(NewTask(), "k");
  const Lease lease = Grant(transport_.requested[0]);
  Reply(0, 10);
  const auto [id, task] = transport_.pushed[1];
  submitter_.OnReply(id, task->task_id, false, 10, true);
  submitter_.Submit(NewTask(), "k");
  EXPECT_EQ(transport_.pushed.size(), 5U) << "no more tasks for a worker that leaves";
  Reply(2, 0, true);
  EXPECT_TRUE(transport_.returned.empty());
  const auto lost = submitter_.OnWorkerLost(lease.worker.worker_id);
  EXPECT_EQ(lost.tasks.size(), 2U);
  EXPECT_FALSE(lost.first_may_have_begun);
  ASSERT_EQ(transport_.returned.size(), 1U);
  EXPECT_TRUE(transport_.returned[0].second);
}

TEST_F(TaskSubmitterTest, TasksForAWorkerThatCannotBeReachedHaveNotBegun) {
  submitter_.Submit(NewTask(), "k");
  const Lease lease = Grant(transport_.requested[0]);
  submitter_.OnUnreachable(lease.worker.worker_id);
  const auto lost = submitter_.OnWorkerLost(lease.worker.worker_id);
  EXPECT_EQ(lost.tasks.size(), 1U);
  EXPECT_FALSE(lost.first_may_have_begun);
}

TEST_F(TaskSubmitterTest, ImpossibleRequestFailsAllTasksOfItsKey) {
  submitter_.Submit(NewTask(), "possible");
  submitter_.Submit(NewTask(), "impossible");
  submitter_.Submit(NewTask(), "impossible");
  submitter_.OnLeaseFailed(transport_.requested[1], Status(StatusCode::kUnschedulable, "no GPU"));
  EXPECT_EQ(transport_.unschedulable.size(), 2U);
  EXPECT_EQ(submitter_.num_queued(), 1U);
}

TEST_F(TaskSubmitterTest, QueuedTaskCanBeRemoved) {
  const TaskPtr task = NewTask();
  submitter_.Submit(task, "k");
  EXPECT_TRUE(submitter_.Remove(task->task_id));
  EXPECT_FALSE(submitter_.Remove(task->task_id));
  EXPECT_EQ(transport_.cancelled.size(), 1U);
}

// Random events; every task must end up replied to exactly once, and no lease may leak.
TEST_F(TaskSubmitterTest, RandomEventsLoseNoTask) {
  std::mt19937 random(11);
  std::map<uint64_t, Lease> held;
  std::set<uint64_t> open_requests;
  std::set<TaskId> outstanding;
  std::deque<std::pair<uint64_t, TaskPtr>> in_flight;
  size_t seen_requests = 0;
  size_t seen_pushes = 0;
  size_t seen_returns = 0;
  size_t seen_cancels = 0;
  size_t submitted = 0;
  const auto absorb = [&] {
    for (; seen_requests < transport_.requested.size(); ++seen_requests) {
      open_requests.insert(transport_.requested[seen_requests]);
    }
    for (; seen_cancels < transport_.cancelled.size(); ++seen_cancels) {
      open_requests.erase(transport_.cancelled[seen_cancels]);
    }
    for (; seen_pushes < transport_.pushed.size(); ++seen_pushes) {
      ASSERT_EQ(held.count(transport_.pushed[seen_pushes].first), 1U);
      in_flight.push_back(transport_.pushed[seen_pushes]);
    }
    for (; seen_returns < transport_.returned.size(); ++seen_returns) {
      held.erase(transport_.returned[seen_returns].first);
    }
  };
  for (int step = 0; step < 50'000 || !outstanding.empty(); ++step) {
    ASSERT_LT(step, 200'000) << "tasks are stuck";
    const bool drain = step >= 50'000;
    switch (random() % 8) {
      case 0:
      case 1:
        if (!drain) {
          const TaskPtr task = NewTask();
          outstanding.insert(task->task_id);
          ++submitted;
          submitter_.Submit(task, "key" + std::to_string(random() % 3));
        }
        break;
      case 2:
        if (!open_requests.empty() && held.size() < 4) {
          const uint64_t id = *open_requests.begin();
          open_requests.erase(open_requests.begin());
          held[id] = {id, {NodeId::FromRandom(), WorkerId::FromRandom(), "s"}, 1, {}};
          submitter_.OnLeaseGranted(held[id]);
        }
        break;
      case 3:
        if (random() % 20 == 0) submitter_.OnReclaim();
        break;
      case 4:
        clock_.AdvanceMs(100);
        submitter_.ReturnIdleLeases();
        break;
      case 5:
        if (random() % 50 == 0 && !held.empty()) {
          const uint64_t id = held.begin()->first;
          const auto lost = submitter_.OnWorkerLost(held.begin()->second.worker.worker_id);
          absorb();
          std::erase_if(in_flight, [&](const auto& entry) { return entry.first == id; });
          for (const TaskPtr& task : lost.tasks) submitter_.Submit(task, "key0");
        }
        break;
      default:
        if (!in_flight.empty()) {
          // Workers answer in order; one that blocks gives the tasks behind back.
          const auto [lease, task] = in_flight.front();
          in_flight.pop_front();
          const bool not_started = random() % 10 == 0 && !in_flight.empty();
          if (!not_started) outstanding.erase(task->task_id);
          submitter_.OnReply(lease, task->task_id, not_started, random() % 3'000, false);
          absorb();
          if (not_started) {
            // Something else on that worker must answer before it takes tasks again.
            const auto other = std::find_if(in_flight.begin(), in_flight.end(),
                                            [&](const auto& e) { return e.first == lease; });
            if (other == in_flight.end() && held.count(lease) != 0) {
              submitter_.OnWorkerLost(held[lease].worker.worker_id);
            }
          }
        }
        break;
    }
    absorb();
  }
  EXPECT_GT(submitted, 5'000U);
  EXPECT_EQ(submitter_.num_queued(), 0U);
}

}  // namespace
}  // namespace rayc::core_worker
