#include "common/ids.h"

#include <gtest/gtest.h>

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
}

}  // namespace
}  // namespace rayc
