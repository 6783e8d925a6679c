#include "raylet/core_assigner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/resources.h"

namespace rayc::raylet {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kOne = kResourceUnit;

TEST(CoreAssigner, GivesEachLeaseCoresOfItsOwn) {
  CoreAssigner cores({0, 2, 4, 6});
  const WorkerId a = WorkerId::FromRandom();
  const WorkerId b = WorkerId::FromRandom();
  EXPECT_THAT(cores.Assign(a, 1 * kOne), ElementsAre(0));
  EXPECT_THAT(cores.Assign(b, 3 * kOne), ElementsAre(2, 4, 6));
  cores.Release(b);
  EXPECT_THAT(cores.Assign(b, 2 * kOne), ElementsAre(2, 4));
}

TEST(CoreAssigner, PutsPartsOfACpuWhereThereIsMostRoom) {
  CoreAssigner cores({0, 1});
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), kOne / 2), ElementsAre(0));
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), kOne / 4), ElementsAre(1));
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), kOne / 2), ElementsAre(1));
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), 3 * kOne / 2), ElementsAre(0, 1));
}

TEST(CoreAssigner, SharesCoresWhileSomeAreLent) {
  CoreAssigner cores({0, 1});
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), 2 * kOne), ElementsAre(0, 1));
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), 1 * kOne), ElementsAre(0));
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), 1 * kOne), ElementsAre(1));
}

TEST(CoreAssigner, AWorkerHasOneLeaseAtATime) {
  CoreAssigner cores({0, 1});
  const WorkerId a = WorkerId::FromRandom();
  EXPECT_THAT(cores.Assign(a, 1 * kOne), ElementsAre(0));
  EXPECT_THAT(cores.Assign(a, 1 * kOne), ElementsAre(0));
  EXPECT_THAT(cores.Assign(a, 0), IsEmpty());
  cores.Release(a);
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), 1 * kOne), ElementsAre(0));
}

TEST(CoreAssigner, NoCoresPinNobody) {
  CoreAssigner cores({});
  EXPECT_FALSE(cores.enabled());
  EXPECT_THAT(cores.Assign(WorkerId::FromRandom(), kOne), IsEmpty());
}

}  // namespace
}  // namespace rayc::raylet
