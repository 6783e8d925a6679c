#include "gcs/job_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "fakes/fake_timers.h"

namespace rayc::gcs {
namespace {

class JobManagerTest : public ::testing::Test {
 protected:
  JobManagerTest() {
    jobs_.OnFinished([this](const JobId& job) { finished_.push_back(job); });
    jobs_.InUse([this](const JobId& job) { return job == in_use_; });
  }
  // A connection, as far as the manager cares.
  rpc::ChannelPtr MakeConnection() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    others_.emplace_back(pair[1]);
    return rpc::Channel::Accept(loop_, UniqueFd(pair[0]), {}, nullptr);
  }
  void Export(const std::string& key) {
    kv_.Put("fun", key, "pickled", true, [](const Result<bool>& /*existed*/) {});
  }
  std::vector<std::string> Exported() {
    std::vector<std::string> keys;
    kv_.Keys("fun", "", [&](Result<std::vector<std::string>> result) { keys = *result; });
    return keys;
  }

  EventLoop loop_;
  std::vector<UniqueFd> others_;
  testing::FakeTimers timers_;
  MemoryStore store_;
  KvStore kv_{store_, timers_};
  JobManager jobs_{kv_, timers_};
  std::vector<JobId> finished_;
  JobId in_use_;
};

TEST_F(JobManagerTest, JobsCountFromOne) {
  const auto connection = MakeConnection();
  JobRecord job;
  job.name_space = "space";
  job.config = "config";
  EXPECT_EQ(jobs_.Add(job, connection), JobId::FromInt(1));
  EXPECT_EQ(jobs_.Add({}, MakeConnection()), JobId::FromInt(2));
  const JobRecord* found = jobs_.Find(JobId::FromInt(1));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->name_space, "space");
  EXPECT_EQ(found->config, "config");
  EXPECT_FALSE(found->is_dead);
  EXPECT_EQ(jobs_.Find(JobId::FromInt(3)), nullptr);
}

TEST_F(JobManagerTest, AJobEndsWithItsConnectionOnce) {
  const auto first = MakeConnection();
  const auto second = MakeConnection();
  JobRecord job;
  job.driver.worker_id = WorkerId::FromRandom();
  jobs_.Add(job, first);
  jobs_.Add({}, second);
  jobs_.OnDisconnect(first);
  jobs_.OnDisconnect(first);
  jobs_.OnDriverDeath(job.driver.worker_id);
  EXPECT_EQ(finished_, std::vector<JobId>{JobId::FromInt(1)});
  EXPECT_TRUE(jobs_.Find(JobId::FromInt(1))->is_dead);
  EXPECT_FALSE(jobs_.Find(JobId::FromInt(2))->is_dead);
}

TEST_F(JobManagerTest, AReportedDeathOfTheDriverEndsItToo) {
  JobRecord job;
  job.driver.worker_id = WorkerId::FromRandom();
  jobs_.Add(job, MakeConnection());
  jobs_.OnDriverDeath(WorkerId::FromRandom());
  EXPECT_TRUE(finished_.empty());
  jobs_.OnDriverDeath(job.driver.worker_id);
  EXPECT_EQ(finished_.size(), 1U);
}

TEST_F(JobManagerTest, TheFunctionTableOfAJobGoesWithIt) {
  const auto connection = MakeConnection();
  jobs_.Add({}, connection);
  jobs_.Add({}, MakeConnection());
  Export("RemoteFunction:00000001:f");
  Export("ActorClass:00000001:C");
  Export("RemoteFunction:00000002:f");
  jobs_.OnDisconnect(connection);
  EXPECT_EQ(Exported(), std::vector<std::string>{"RemoteFunction:00000002:f"});
}

TEST_F(JobManagerTest, DetachedActorsKeepTheFunctionTable) {
  const auto connection = MakeConnection();
  const JobId job = jobs_.Add({}, connection);
  Export("ActorClass:00000001:C");
  in_use_ = job;
  jobs_.OnLessUsed(job);  // the job itself runs on
  jobs_.OnDisconnect(connection);
  jobs_.OnLessUsed(job);
  EXPECT_EQ(Exported().size(), 1U);
  in_use_ = JobId::Nil();
  jobs_.OnLessUsed(job);
  EXPECT_TRUE(Exported().empty());
  jobs_.OnLessUsed(JobId::FromInt(99));  // unknown: nothing
}

TEST_F(JobManagerTest, AskingForAJobWaitsForItToCome) {
  std::vector<const JobRecord*> answers;
  const auto ask = [&](uint32_t job, int64_t wait_ms) {
    jobs_.FindOrWait(JobId::FromInt(job), wait_ms,
                     [&](const JobRecord* found) { answers.push_back(found); });
  };
  ask(1, 100);
  ask(2, 100);
  EXPECT_TRUE(answers.empty());
  jobs_.Add({}, MakeConnection());
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0], jobs_.Find(JobId::FromInt(1)));
  timers_.AdvanceMs(100);
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[1], nullptr);
  ask(0, 100);  // a number that will not come
  ask(5, 0);
  EXPECT_EQ(answers.size(), 4U);
  jobs_.FindOrWait(JobId::Nil(), 100, [&](const JobRecord* found) { answers.push_back(found); });
  EXPECT_EQ(answers.size(), 5U);
}

TEST_F(JobManagerTest, EndedJobsAreForgottenInTheEnd) {
  const auto connection = MakeConnection();
  in_use_ = JobId::FromInt(2);
  for (size_t i = 0; i < JobManager::kDeadJobsMax + 10; ++i) {
    jobs_.Add({}, connection);
    jobs_.OnDisconnect(connection);
  }
  EXPECT_EQ(jobs_.Find(JobId::FromInt(1)), nullptr);
  EXPECT_NE(jobs_.Find(JobId::FromInt(2)), nullptr);  // its actors live on
  EXPECT_NE(jobs_.Find(JobId::FromInt(JobManager::kDeadJobsMax)), nullptr);
}

}  // namespace
}  // namespace rayc::gcs
