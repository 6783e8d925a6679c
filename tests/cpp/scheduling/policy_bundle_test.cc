#include "scheduling/policy_bundle.h"

#include <gtest/gtest.h>

#include <set>

namespace rayc::scheduling {
namespace {

ResourceSet Of(double cpus, double gpus = 0) {
  return ResourceSet({{"CPU", ToFixedPoint(cpus)}, {"GPU", ToFixedPoint(gpus)}});
}

struct PolicyBundleTest : ::testing::Test {
  ClusterView view;
  std::vector<NodeId> ids;

  NodeId Add(const ResourceSet& totals) {
    ids.push_back(NodeId::FromRandom());
    view.AddNode(ids.back(), totals);
    return ids.back();
  }
  BundlePlacement Place(const std::vector<ResourceSet>& bundles, BundleStrategy strategy,
                        const std::optional<NodeId>& preferred = std::nullopt) const {
    return PlaceBundles(view, bundles, strategy, preferred);
  }
  static size_t Distinct(const BundlePlacement& placement) {
    return std::set<NodeId>(placement.nodes.begin(), placement.nodes.end()).size();
  }
};

TEST_F(PolicyBundleTest, OneNodeTakesAllOfEachStrategyButStrictSpread) {
  Add(Of(2));
  for (const auto strategy :
       {BundleStrategy::kPack, BundleStrategy::kSpread, BundleStrategy::kStrictPack}) {
    const BundlePlacement placement = Place({Of(1), Of(1)}, strategy);
    EXPECT_EQ(placement.feasibility, Feasibility::kNow);
    EXPECT_EQ(placement.nodes, (std::vector<NodeId>{ids[0], ids[0]}));
  }
  const BundlePlacement spread = Place({Of(1), Of(1)}, BundleStrategy::kStrictSpread);
  EXPECT_EQ(spread.feasibility, Feasibility::kNever);
  EXPECT_NE(spread.why.find("2 bundles"), std::string::npos) << spread.why;
  EXPECT_EQ(Place({Of(1)}, BundleStrategy::kStrictSpread).feasibility, Feasibility::kNow);
}

TEST_F(PolicyBundleTest, WhatNoNodeCanHoldNamesTheShortfall) {
  Add(Of(2));
  const BundlePlacement one = Place({Of(3)}, BundleStrategy::kPack);
  EXPECT_EQ(one.feasibility, Feasibility::kNever);
  EXPECT_NE(one.why.find("CPU: 3 asked, 2 there"), std::string::npos) << one.why;
  const BundlePlacement all = Place({Of(1), Of(2)}, BundleStrategy::kPack);
  EXPECT_EQ(all.feasibility, Feasibility::kNever);
  EXPECT_NE(all.why.find("CPU: 3 asked, 2 there"), std::string::npos) << all.why;
}

TEST_F(PolicyBundleTest, ABusyNodeIsForLater) {
  const NodeId node = Add(Of(2));
  view.SetAvailable(node, Of(1));
  EXPECT_EQ(Place({Of(1), Of(1)}, BundleStrategy::kPack).feasibility, Feasibility::kLater);
  EXPECT_EQ(Place({Of(1)}, BundleStrategy::kPack).feasibility, Feasibility::kNow);
}

TEST_F(PolicyBundleTest, PackUsesOneNodeIfOneCanAndOthersIfNot) {
  Add(Of(1));
  Add(Of(4));
  Add(Of(1));
  EXPECT_EQ(Distinct(Place({Of(1), Of(1), Of(2)}, BundleStrategy::kPack)), 1U);
  EXPECT_EQ(Distinct(Place({Of(4), Of(1), Of(1)}, BundleStrategy::kPack)), 3U);
  EXPECT_EQ(Place({Of(4), Of(1)}, BundleStrategy::kStrictPack).feasibility, Feasibility::kNever);
}

TEST_F(PolicyBundleTest, SpreadUsesManyNodesAndStrictSpreadNoneTwice) {
  Add(Of(2));
  Add(Of(2));
  EXPECT_EQ(Distinct(Place({Of(1), Of(1)}, BundleStrategy::kSpread)), 2U);
  EXPECT_EQ(Distinct(Place({Of(1), Of(1), Of(1)}, BundleStrategy::kSpread)), 2U);
  EXPECT_EQ(Distinct(Place({Of(1), Of(1)}, BundleStrategy::kStrictSpread)), 2U);
  EXPECT_EQ(Place({Of(1), Of(1), Of(1)}, BundleStrategy::kStrictSpread).feasibility,
            Feasibility::kNever);
}

TEST_F(PolicyBundleTest, SharesOfUnitsMustFitIntoWholeOnes) {
  Add(Of(0, 2));
  EXPECT_EQ(Place({Of(0, 0.6), Of(0, 0.6)}, BundleStrategy::kPack).feasibility, Feasibility::kNow);
  // 1.8 of 2, but each on a GPU of its own.
  EXPECT_EQ(Place({Of(0, 0.6), Of(0, 0.6), Of(0, 0.6)}, BundleStrategy::kPack).feasibility,
            Feasibility::kNever);
  EXPECT_EQ(
      Place({Of(0, 0.4), Of(0, 0.4), Of(0, 0.6), Of(0, 0.6)}, BundleStrategy::kPack).feasibility,
      Feasibility::kNow);
  const BundlePlacement malformed = Place({Of(0, 1.5)}, BundleStrategy::kPack);
  EXPECT_EQ(malformed.feasibility, Feasibility::kNever);
  EXPECT_NE(malformed.why.find("whole number"), std::string::npos);
}

TEST_F(PolicyBundleTest, APreferredNodeIsTakenIfItHasRoom) {
  for (int i = 0; i < 4; ++i) {
    Add(Of(2));
  }
  for (const NodeId& node : ids) {
    EXPECT_EQ(Place({Of(2)}, BundleStrategy::kStrictPack, node).nodes, std::vector<NodeId>{node});
  }
  view.SetAvailable(ids[3], Of(1));
  const BundlePlacement other = Place({Of(2)}, BundleStrategy::kStrictPack, ids[3]);
  EXPECT_EQ(other.feasibility, Feasibility::kNow);
  EXPECT_NE(other.nodes[0], ids[3]);
}

TEST_F(PolicyBundleTest, WithoutNodesNothingFits) {
  EXPECT_EQ(Place({Of(1)}, BundleStrategy::kPack).feasibility, Feasibility::kNever);
}

}  // namespace
}  // namespace rayc::scheduling
