#include "common/resources.h"

#include <gtest/gtest.h>

namespace rayc {
namespace {

ResourceSet Set(std::map<std::string, int64_t> amounts) { return ResourceSet(std::move(amounts)); }

TEST(ResourcesTest, FixedPointHasNoDrift) {
  EXPECT_EQ(ToFixedPoint(1), kResourceUnit);
  EXPECT_EQ(ToFixedPoint(0.1), 1'000);
  EXPECT_EQ(ToFixedPoint(0.0001), 1);
  EXPECT_EQ(FromFixedPoint(5'000), 0.5);
  ResourceSet total = Set({{"CPU", kResourceUnit}});
  for (int i = 0; i < 10; ++i) {
    total.Subtract(Set({{"CPU", ToFixedPoint(0.1)}}));
  }
  EXPECT_TRUE(total.IsEmpty());
}

TEST(ResourcesTest, ZeroAmountsAreNotThere) {
  ResourceSet set = Set({{"CPU", 0}, {"GPU", kResourceUnit}});
  EXPECT_EQ(set.amounts().size(), 1U);
  set.Set("GPU", 0);
  EXPECT_TRUE(set.IsEmpty());
  EXPECT_EQ(set.Get("GPU"), 0);
}

TEST(ResourcesTest, CoversComparesEachAmountAskedFor) {
  const ResourceSet node = Set({{"CPU", 2 * kResourceUnit}, {"x", 1}});
  EXPECT_TRUE(node.Covers(ResourceSet()));
  EXPECT_TRUE(node.Covers(Set({{"CPU", 2 * kResourceUnit}})));
  EXPECT_FALSE(node.Covers(Set({{"CPU", 2 * kResourceUnit + 1}})));
  EXPECT_FALSE(node.Covers(Set({{"GPU", 1}})));
}

TEST(ResourcesTest, LentAmountsMayBeNegativeAndCoverNothing) {
  ResourceSet set = Set({{"CPU", kResourceUnit}});
  set.Subtract(Set({{"CPU", 2 * kResourceUnit}}));
  EXPECT_EQ(set.Get("CPU"), -kResourceUnit);
  EXPECT_FALSE(set.Covers(Set({{"CPU", 1}})));
  EXPECT_TRUE(set.Covers(ResourceSet()));
  set.Add(Set({{"CPU", kResourceUnit}}));
  EXPECT_TRUE(set.IsEmpty());
}

TEST(ResourcesTest, ShortfallNamesWhatIsMissing) {
  const ResourceSet node = Set({{"CPU", 2 * kResourceUnit}});
  EXPECT_EQ(node.DescribeShortfall(Set({{"CPU", kResourceUnit}})), "");
  EXPECT_EQ(node.DescribeShortfall(Set({{"CPU", 4 * kResourceUnit}, {"GPU", 5'000}})),
            "CPU: 4 asked, 2 there; GPU: 0.5 asked, 0 there");
}

TEST(ResourcesTest, EqualSetsHaveEqualText) {
  EXPECT_EQ(Set({{"GPU", 5'000}, {"CPU", kResourceUnit}}).ToString(), "CPU:1, GPU:0.5");
  EXPECT_EQ(FormatAmount(1), "0.0001");
  EXPECT_EQ(FormatAmount(-5'000), "-0.5");
  EXPECT_EQ(FormatAmount(15'000), "1.5");
}

}  // namespace
}  // namespace rayc
