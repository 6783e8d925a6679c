#include "scheduling/local_resources.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace rayc::scheduling {
namespace {

ResourceSet Cpu(double amount) { return ResourceSet({{"CPU", ToFixedPoint(amount)}}); }
ResourceSet Gpu(double amount) { return ResourceSet({{"GPU", ToFixedPoint(amount)}}); }

TEST(LocalResourcesTest, HoldsAndGivesBack) {
  LocalResources node(Cpu(2));
  ASSERT_TRUE(node.CanAllocate(Cpu(1.5), {}));
  const Allocation lease = node.Allocate(Cpu(1.5));
  EXPECT_FALSE(node.CanAllocate(Cpu(1), {}));
  EXPECT_TRUE(node.CanAllocate(Cpu(0.5), {}));
  node.Release(lease);
  EXPECT_EQ(node.available(), node.totals());
}

TEST(LocalResourcesTest, PlacementMustBeFreeButIsNotHeld) {
  LocalResources node(Cpu(1));
  ASSERT_TRUE(node.CanAllocate({}, Cpu(1)));
  node.Allocate({});
  EXPECT_EQ(node.available(), node.totals());
  node.Allocate(Cpu(1));
  EXPECT_FALSE(node.CanAllocate({}, Cpu(1)));
}

TEST(LocalResourcesTest, FractionsShareAGpuAndLeaveWholeOnesAlone) {
  LocalResources node(Gpu(2));
  const Allocation half = node.Allocate(Gpu(0.5));
  const Allocation other_half = node.Allocate(Gpu(0.5));
  EXPECT_EQ(half.instances.at("GPU")[0].index, other_half.instances.at("GPU")[0].index);
  ASSERT_TRUE(node.CanAllocate(Gpu(1), {}));
  const Allocation whole = node.Allocate(Gpu(1));
  EXPECT_NE(whole.instances.at("GPU")[0].index, half.instances.at("GPU")[0].index);
}

TEST(LocalResourcesTest, HalvesOfTwoGpusAreNotAGpu) {
  LocalResources node(Gpu(2));
  const Allocation a = node.Allocate(Gpu(0.6));
  node.Allocate(Gpu(0.6));
  EXPECT_FALSE(node.CanAllocate(Gpu(0.8), {}));
  EXPECT_EQ(node.available().Get("GPU"), ToFixedPoint(0.8));
  node.Release(a);
  EXPECT_TRUE(node.CanAllocate(Gpu(1), {}));
}

TEST(LocalResourcesTest, LentCpusAreTakenBackEvenBelowZero) {
  LocalResources node(Cpu(1));
  Allocation blocked = node.Allocate(Cpu(1));
  node.LendCpu(blocked);
  node.LendCpu(blocked);
  ASSERT_TRUE(node.CanAllocate(Cpu(1), {}));
  const Allocation child = node.Allocate(Cpu(1));
  node.TakeBackCpu(blocked);
  EXPECT_EQ(node.available().Get("CPU"), -kResourceUnit);
  node.Release(child);
  node.Release(blocked);
  EXPECT_EQ(node.available(), node.totals());
}

TEST(LocalResourcesTest, RandomLeasesNeverShareMoreThanThereIs) {
  std::mt19937 random(7);
  LocalResources node(ResourceSet({{"CPU", ToFixedPoint(4)}, {"GPU", ToFixedPoint(3)}}));
  std::vector<Allocation> held;
  for (int step = 0; step < 20'000; ++step) {
    static constexpr double kGpuAmounts[] = {0, 0.25, 0.5, 0.7, 1, 2};
    const ResourceSet wanted(
        {{"CPU", ToFixedPoint(random() % 3)}, {"GPU", ToFixedPoint(kGpuAmounts[random() % 6])}});
    if (random() % 2 == 0 && node.CanAllocate(wanted, {})) {
      held.push_back(node.Allocate(wanted));
    } else if (!held.empty()) {
      const size_t i = random() % held.size();
      Allocation& lease = held[i];
      switch (random() % 3) {
        case 0:
          node.LendCpu(lease);
          break;
        case 1:
          node.TakeBackCpu(lease);
          break;
        default:
          node.Release(lease);
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    ResourceSet expected = node.totals();
    std::map<uint32_t, int64_t> used;
    for (const Allocation& lease : held) {
      ResourceSet part = lease.held;
      if (lease.cpu_lent) {
        part.Set("CPU", 0);
      }
      expected.Subtract(part);
      for (const auto& [name, shares] : lease.instances) {
        for (const InstanceShare& share : shares) {
          used[share.index] += share.amount;
        }
      }
    }
    ASSERT_EQ(node.available(), expected);
    for (const auto& [index, amount] : used) {
      ASSERT_LE(amount, kResourceUnit);
    }
  }
}

}  // namespace
}  // namespace rayc::scheduling
