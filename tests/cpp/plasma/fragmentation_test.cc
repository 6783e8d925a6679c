// A store that has been put to and deleted from for long is still good for large objects: what is
// free lies together, but for a small part.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "common/logging.h"
#include "plasma/client.h"
#include "plasma/store_host.h"
#include "plasma/test_objects.h"

namespace rayc::plasma {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kOperations = 20'000;
#else
constexpr uint64_t kOperations = 300'000;
#endif
constexpr uint64_t kStoreBytes = 512U << 20;
constexpr uint64_t kLargeBytes = 8U << 20;

// What objects take, and what more of them could.
double UsablePart(Client& client, uint64_t live_bytes) {
  std::vector<ObjectId> large;
  while (client.Create(TestId(2, large.size()), kLargeBytes, "")) {
    large.push_back(TestId(2, large.size()));
  }
  for (const ObjectId& id : large) {
    EXPECT_TRUE(client.Abort(id).ok());
  }
  return static_cast<double>(live_bytes + large.size() * kLargeBytes) /
         static_cast<double>(kStoreBytes);
}

TEST(FragmentationTest, MostOfTheArenaStaysUsableForLargeObjects) {
  InitLogging("plasma_tests", LogLevel::kError, "");
  const char* const asked = ::getenv("RAYC_FRAGMENTATION_OPERATIONS");
  const uint64_t operations = asked == nullptr ? kOperations : std::strtoull(asked, nullptr, 10);
  StoreHost host;
  StoreOptions options;
  options.capacity_bytes = kStoreBytes;
  options.populate.ahead_bytes = 0;
  host.Start(options);
  // Objects are made by several clients, each with a region of its own. Nothing is written.
  std::vector<std::shared_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(host.Connect());
  }
  std::mt19937_64 random(7);
  struct Live {
    ObjectId id;
    uint64_t bytes;
  };
  std::vector<Live> live;
  uint64_t live_bytes = 0;
  double fill = 0.55;
  double usable_sum = 0;
  int measured = 0;
  for (uint64_t operation = 1; operation <= operations; ++operation) {
    if (operation % 10'000 == 0) {
      fill = std::uniform_real_distribution<double>(0.5, 0.6)(random);
    }
    Client& client = *clients[random() % clients.size()];
    if (static_cast<double>(live_bytes) < fill * static_cast<double>(kStoreBytes)) {
      const double exponent = std::uniform_real_distribution<double>(0, 23)(random);
      const auto bytes = static_cast<uint64_t>(std::exp2(exponent));
      const ObjectId id = TestId(1, operation);
      ASSERT_TRUE(client.Create(id, bytes, "")) << host.Describe();
      ASSERT_TRUE(client.Seal(id).ok());
      live.push_back({id, bytes});
      live_bytes += bytes;
    } else {
      std::swap(live[random() % live.size()], live.back());
      ASSERT_TRUE(client.Delete(std::span(&live.back().id, 1)).ok());
      live_bytes -= live.back().bytes;
      live.pop_back();
    }
    // The number of objects is small enough for chance: the mean of the second half counts.
    if (operation > operations / 2 && operation % (operations / 100) == 0) {
      usable_sum += UsablePart(*clients[0], live_bytes);
      ++measured;
    }
  }
  EXPECT_EQ(host.CheckInvariants(), "");
  const double usable = usable_sum / measured;
  RecordProperty("usable_percent", static_cast<int>(usable * 100));
  EXPECT_GE(usable, 0.85);
}

}  // namespace
}  // namespace rayc::plasma
