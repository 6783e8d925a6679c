#include "common/ids.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <unordered_set>
#include <vector>

namespace rayc {
namespace {

TEST(IdsTest, NestedIdsCarryTheirParents) {
  const JobId job = JobId::FromInt(7);
  const ActorId actor = ActorId::Of(job);
  const TaskId task = TaskId::ForActorTask(actor);
  const ObjectId object = ObjectId::ForReturn(task, 3);
  EXPECT_EQ(object.Task(), task);
  EXPECT_EQ(object.Index(), 3U);
  EXPECT_EQ(object.Task().Actor(), actor);
  EXPECT_EQ(object.Task().Actor().Job(), job);
  EXPECT_EQ(job.ToInt(), 7U);
  EXPECT_EQ(PlacementGroupId::Of(job).Job(), job);
}

TEST(IdsTest, PlainTasksBelongToAJobAndToNoActor) {
  const JobId job = JobId::FromInt(0x01020304);
  EXPECT_EQ(job.Hex(), "01020304");
  const TaskId task = TaskId::ForNormalTask(job);
  EXPECT_FALSE(task.Actor().IsActor());
  EXPECT_EQ(task.Job(), job);
  EXPECT_NE(task, TaskId::ForNormalTask(job));
  EXPECT_EQ(TaskId::ForDriver(job), TaskId::ForDriver(job));
  EXPECT_TRUE(ActorId::Of(job).IsActor());
  EXPECT_FALSE(ActorId::NilOf(job).IsActor());
  EXPECT_FALSE(ActorId::Nil().IsActor());
}

TEST(IdsTest, TheCreationTaskOfAnActorIsOneAndTheSame) {
  const ActorId actor = ActorId::Of(JobId::FromInt(1));
  EXPECT_EQ(TaskId::ForActorCreation(actor), TaskId::ForActorCreation(actor));
  EXPECT_NE(TaskId::ForActorCreation(actor), TaskId::ForActorTask(actor));
  EXPECT_TRUE(ObjectId::ForActorHandle(actor).IsActorHandle());
  EXPECT_FALSE(ObjectId::ForReturn(TaskId::ForActorTask(actor), 1).IsActorHandle());
  EXPECT_FALSE(ObjectId::Nil().IsActorHandle());
}

TEST(IdsTest, PutsAndReturnsOfATaskNeverMeet) {
  const TaskId task = TaskId::ForNormalTask(JobId::FromInt(1));
  EXPECT_NE(ObjectId::ForPut(task, 1), ObjectId::ForReturn(task, 1));
  EXPECT_EQ(ObjectId::ForPut(task, 1).Index(), ObjectId::kPutIndexBase + 1);
}

TEST(IdsTest, OtherLengthsGiveNil) {
  EXPECT_TRUE(JobId::FromBinary("").IsNil());
  EXPECT_TRUE(NodeId::FromBinary(std::string(27, 'x')).IsNil());
  EXPECT_TRUE(NodeId::FromBinary(std::string(29, 'x')).IsNil());
  EXPECT_FALSE(NodeId::FromBinary(std::string(28, 'x')).IsNil());
  const std::vector<uint8_t>* none = nullptr;
  EXPECT_TRUE(ActorId::FromBytes(none).IsNil());
  const std::vector<uint8_t> bytes(16, 1);
  EXPECT_FALSE(ActorId::FromBytes(&bytes).IsNil());
}

TEST(IdsTest, NilIsAllOnesAndEqualToNothingElse) {
  EXPECT_TRUE(WorkerId().IsNil());
  EXPECT_EQ(WorkerId::Nil().Hex(), std::string(56, 'f'));
  EXPECT_FALSE(WorkerId::FromRandom().IsNil());
  EXPECT_EQ(JobId::Nil().ToInt(), 0xffffffffU);
}

TEST(IdsTest, HexGoesThereAndBack) {
  const TaskId task = TaskId::ForNormalTask(JobId::FromInt(9));
  const auto bytes = HexToBytes(task.Hex());
  ASSERT_TRUE(bytes);
  EXPECT_EQ(TaskId::FromBinary(*bytes), task);
  EXPECT_EQ(*HexToBytes("00fFAb"), std::string("\x00\xff\xab", 3));
  EXPECT_FALSE(HexToBytes("abc"));
  EXPECT_FALSE(HexToBytes("zz"));
  EXPECT_EQ(*HexToBytes(""), "");
}

TEST(IdsTest, HashesSpread) {
  std::unordered_set<size_t> hashes;
  const TaskId task = TaskId::ForNormalTask(JobId::FromInt(1));
  for (uint32_t i = 1; i <= 10'000; ++i) {
    hashes.insert(ObjectId::ForReturn(task, i).Hash());  // differ in their last bytes only
    hashes.insert(JobId::FromInt(i).Hash() ^ 1);
  }
  EXPECT_GT(hashes.size(), 19'990U);
}

TEST(IdsTest, OrderIsThatOfTheBytes) {
  EXPECT_LT(JobId::FromInt(1), JobId::FromInt(2));
  EXPECT_LT(JobId::FromInt(0x00ff), JobId::FromInt(0x0100));
}

TEST(IdsTest, AForkedChildDrawsOtherIdsThanItsParent) {
  (void)WorkerId::FromRandom();  // the pool is filled, and has more to give
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const WorkerId id = WorkerId::FromRandom();
    const bool ok = write(pipe_fds[1], id.data(), WorkerId::kSize) == WorkerId::kSize;
    _exit(ok ? 0 : 1);
  }
  const WorkerId here = WorkerId::FromRandom();
  char bytes[WorkerId::kSize];
  ASSERT_EQ(read(pipe_fds[0], bytes, sizeof(bytes)), static_cast<ssize_t>(sizeof(bytes)));
  EXPECT_NE(WorkerId::FromBinary({bytes, sizeof(bytes)}), here);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

}  // namespace
}  // namespace rayc
