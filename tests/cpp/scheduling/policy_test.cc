#include <gtest/gtest.h>

#include "scheduling/feasibility.h"
#include "scheduling/policy_hybrid.h"

namespace rayc::scheduling {
namespace {

ResourceSet Cpu(double amount) { return ResourceSet({{"CPU", ToFixedPoint(amount)}}); }

struct TwoNodes : ::testing::Test {
  NodeId a = NodeId::FromBinary(std::string(28, 'a'));
  NodeId b = NodeId::FromBinary(std::string(28, 'b'));
  ClusterView view;
  TwoNodes() {
    view.AddNode(a, Cpu(4));
    view.AddNode(b, Cpu(4));
  }
};

using PolicyTest = TwoNodes;

TEST_F(PolicyTest, FeasibilityTellsNowFromLaterFromNever) {
  EXPECT_EQ(CheckFeasible(view, Cpu(4)), Feasibility::kNow);
  view.SetAvailable(a, Cpu(1));
  view.SetAvailable(b, Cpu(1));
  EXPECT_EQ(CheckFeasible(view, Cpu(4)), Feasibility::kLater);
  EXPECT_EQ(CheckFeasible(view, Cpu(5)), Feasibility::kNever);
}

TEST_F(PolicyTest, HybridFillsThePreferredNodeUpToTheLimitThenSpreads) {
  EXPECT_EQ(PickHybrid(view, Cpu(2), b, {}), b);
  view.SetAvailable(b, Cpu(2));
  EXPECT_EQ(PickHybrid(view, Cpu(1), b, {}), a);
  view.SetAvailable(a, Cpu(1));
  EXPECT_EQ(PickHybrid(view, Cpu(1), b, {}), b);
}

TEST_F(PolicyTest, HybridGivesNothingWhenNothingIsFree) {
  view.SetAvailable(a, Cpu(-1));
  view.RemoveNode(b);
  EXPECT_EQ(PickHybrid(view, Cpu(1), a, {}), std::nullopt);
  EXPECT_EQ(PickHybrid(view, {}, a, {}), a);
}

TEST_F(PolicyTest, TheTextsNameTheShortfallAndTheTotals) {
  EXPECT_EQ(
      DescribeInfeasible(Cpu(2), ResourceSet({{"GPU", kResourceUnit}})),
      "no node can ever hold this request (GPU: 1 asked, 0 there); the node has CPU:2 in total");
  EXPECT_NE(DescribeMalformed(ResourceSet({{"GPU", ToFixedPoint(1.5)}})), "");
  EXPECT_NE(DescribeMalformed(Cpu(-1)), "");
  EXPECT_EQ(DescribeMalformed(Cpu(1.5)), "");
}

}  // namespace
}  // namespace rayc::scheduling
