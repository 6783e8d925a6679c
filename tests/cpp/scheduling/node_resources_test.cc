#include "scheduling/node_resources.h"

#include <gtest/gtest.h>

namespace rayc::scheduling {
namespace {

ResourceSet Of(double cpus, double gpus = 0) {
  return ResourceSet({{"CPU", ToFixedPoint(cpus)}, {"GPU", ToFixedPoint(gpus)}});
}

struct NodeResourcesTest : ::testing::Test {
  NodeResources node{Of(4, 2)};
  PlacementGroupId group = PlacementGroupId::FromRandom();

  double Available(const std::string& name) const {
    return FromFixedPoint(node.Available().Get(name));
  }
  std::string Name(const std::string& resource, const std::string& index = "") const {
    return resource + "_group_" + (index.empty() ? "" : index + "_") + group.Hex();
  }
  // In this bundle (or any, or with a nil group outside).
  bool Can(const BundleTarget& target, const ResourceSet& request) const {
    return node.CanAllocate(target, request, request);
  }
};

TEST_F(NodeResourcesTest, BundlesTakeFromTheNodeAndShowUnderTheirNames) {
  node.Reserve(group, {{0, Of(1)}, {1, Of(2)}}, true);
  EXPECT_EQ(Available("CPU"), 1);
  EXPECT_EQ(Available(Name("CPU", "0")), 1);
  EXPECT_EQ(Available(Name("CPU", "1")), 2);
  EXPECT_EQ(Available(Name("CPU")), 3);
  EXPECT_EQ(Available(Name("bundle")), 2'000);
  EXPECT_EQ(node.Totals().Get("CPU"), ToFixedPoint(4));
  EXPECT_TRUE(node.Return(group));
  EXPECT_FALSE(node.Return(group));
  EXPECT_EQ(node.Available(), Of(4, 2));
  EXPECT_EQ(node.Totals(), Of(4, 2));
}

TEST_F(NodeResourcesTest, ALeaseInABundleTakesNothingOutside) {
  node.Reserve(group, {{0, Of(1)}, {1, Of(2)}}, true);
  const Holding held = node.Allocate({group, 1}, Of(2), Of(2));
  EXPECT_EQ(held.bundle.index, 1);
  EXPECT_EQ(Available("CPU"), 1);
  EXPECT_EQ(Available(Name("CPU", "1")), 0);
  EXPECT_EQ(Available(Name("CPU")), 1);
  EXPECT_DOUBLE_EQ(Available(Name("bundle", "1")), 999.999);
  EXPECT_FALSE(Can({group, 1}, Of(1)));
  EXPECT_TRUE(Can({group, 0}, Of(1)));
  EXPECT_FALSE(Can({group, -1}, Of(2)));  // no bundle has two left
  EXPECT_TRUE(node.IsFeasible({group, -1}, Of(2), Of(2)));
  EXPECT_FALSE(node.IsFeasible({group, -1}, Of(3), Of(3)));
  node.Release(held);
  EXPECT_TRUE(Can({group, -1}, Of(2)));
}

TEST_F(NodeResourcesTest, AnyBundleIsOneThatFits) {
  node.Reserve(group, {{0, Of(1)}, {1, Of(2)}}, true);
  EXPECT_EQ(node.Allocate({group, -1}, Of(2), Of(2)).bundle.index, 1);
  EXPECT_EQ(node.Allocate({group, -1}, Of(1), Of(1)).bundle.index, 0);
  EXPECT_FALSE(Can({group, -1}, Of(0.5)));
}

TEST_F(NodeResourcesTest, InstancesKeepTheirNumbersInBundles) {
  const Holding first = node.Allocate({}, Of(0, 1), Of(0, 1));
  ASSERT_EQ(first.allocation.instances.at("GPU")[0].index, 0U);
  node.Reserve(group, {{0, Of(1, 1)}}, true);
  const Holding in_group = node.Allocate({group, 0}, Of(0, 0.5), Of(0, 0.5));
  ASSERT_EQ(in_group.allocation.instances.at("GPU").size(), 1U);
  EXPECT_EQ(in_group.allocation.instances.at("GPU")[0].index, 1U);
  EXPECT_TRUE(Can({group, 0}, Of(0, 0.5)));
  EXPECT_FALSE(Can({group, 0}, Of(0, 1)));
}

TEST_F(NodeResourcesTest, SharesOfAnInstanceMakeBundles) {
  ASSERT_TRUE(
      node.CanReserve({{0, Of(0, 0.4)}, {1, Of(0, 0.4)}, {2, Of(0, 0.6)}, {3, Of(0, 0.6)}}));
  EXPECT_FALSE(node.CanReserve({{0, Of(0, 0.6)}, {1, Of(0, 0.6)}, {2, Of(0, 0.6)}}));
  node.Reserve(group, {{0, Of(0, 0.4)}, {1, Of(0, 0.6)}}, true);
  EXPECT_TRUE(Can({group, 0}, Of(0, 0.4)));
  EXPECT_FALSE(Can({group, 0}, Of(0, 0.5)));
  EXPECT_FALSE(node.CanReserve({{0, Of(0, 2)}}));
  EXPECT_TRUE(node.CouldReserve({{0, Of(0, 2)}}));
}

TEST_F(NodeResourcesTest, WhatRanInAReturnedGroupIsReleasedWithIt) {
  node.Reserve(group, {{0, Of(2)}}, true);
  Holding held = node.Allocate({group, 0}, Of(2), Of(2));
  node.LendCpu(held);
  EXPECT_TRUE(Can({group, 0}, Of(2)));
  node.Return(group);
  node.TakeBackCpu(held);
  node.Release(held);
  EXPECT_EQ(node.Available(), Of(4, 2));
}

TEST_F(NodeResourcesTest, BundlesAreUsableOnceCommitted) {
  node.Reserve(group, {{0, Of(1)}}, false);
  EXPECT_TRUE(node.Has(group));
  EXPECT_FALSE(node.IsUsable(group));
  node.MakeUsable(group);
  EXPECT_TRUE(node.IsUsable(group));
}

TEST_F(NodeResourcesTest, ASketchLeavesWhatIsCopiedAlone) {
  NodeResources sketch = node;
  sketch.Reserve(group, {{0, Of(4)}}, true);
  sketch.SetAside({group, 0}, Of(4), Of(4));
  EXPECT_FALSE(sketch.CanAllocate({group, 0}, Of(1), Of(1)));
  EXPECT_EQ(node.Available(), Of(4, 2));
}

}  // namespace
}  // namespace rayc::scheduling
