#include "common/doorbell.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "common/event_loop.h"
#include "common/spin_policy.h"
#include "fakes/loop_thread.h"

namespace rayc {
namespace {

using rayc::testing::Eventually;
using rayc::testing::LoopThread;

constexpr uint32_t kWords = 2;

class DoorbellTest : public ::testing::Test {
 protected:
  bool WasWoken() {
    uint64_t count = 0;
    return ::read(event_.get(), &count, sizeof(count)) == sizeof(count);
  }
  std::set<uint32_t> Taken() {
    std::set<uint32_t> taken;
    doorbell_->Take(kWords, [&](uint32_t slot) { taken.insert(slot); });
    return taken;
  }
  std::unique_ptr<PeerDoorbell> NewPeer() {
    return *PeerDoorbell::Map(UniqueFd(::dup(doorbell_->memory_fd())),
                              UniqueFd(::dup(event_.get())));
  }

  std::unique_ptr<Doorbell> doorbell_ = *Doorbell::Make();
  UniqueFd event_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  std::unique_ptr<PeerDoorbell> peer_ = NewPeer();
};

TEST_F(DoorbellTest, WhoIsAwakeIsNotWoken) {
  peer_->Ring(3);
  peer_->Ring(100);
  EXPECT_FALSE(WasWoken());
  EXPECT_TRUE(doorbell_->AnyRaised(kWords));
  EXPECT_EQ(Taken(), (std::set<uint32_t>{3, 100}));
  EXPECT_FALSE(doorbell_->AnyRaised(kWords));
}

TEST_F(DoorbellTest, WhoSleepsIsWokenOnceAnyTimeBySeveral) {
  const auto other = NewPeer();
  for (int sleep = 0; sleep < 3; ++sleep) {
    doorbell_->FallAsleep();
    peer_->Ring(1);
    EXPECT_TRUE(WasWoken());
    peer_->Ring(1);
    EXPECT_FALSE(WasWoken()) << "it has been woken from this sleep";
    other->Ring(2);  // it cannot know
    EXPECT_TRUE(WasWoken());
    doorbell_->WakeUp();
    EXPECT_EQ(Taken(), (std::set<uint32_t>{1, 2}));
  }
}

TEST_F(DoorbellTest, WakingUpTwiceIsBeingAwake) {
  doorbell_->FallAsleep();
  doorbell_->WakeUp();
  doorbell_->WakeUp();
  peer_->Ring(1);
  EXPECT_FALSE(WasWoken());
  doorbell_->FallAsleep();
  doorbell_->FallAsleep();
  peer_->Ring(1);
  EXPECT_TRUE(WasWoken());
}

TEST_F(DoorbellTest, OneThatCouldShrinkIsRefused) {
  UniqueFd memory(::memfd_create("no-seal", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 4096), 0);
  EXPECT_FALSE(PeerDoorbell::Map(std::move(memory), UniqueFd(::dup(event_.get()))));
}

TEST(EventLoopRingsTest, NoRingIsMissed) {
  LoopThread owner;
  std::atomic<int> sum{0};
  std::vector<uint32_t> slots;
  std::vector<std::atomic<int>> sent(3);
  for (size_t i = 0; i < sent.size(); ++i) {
    slots.push_back(*owner.loop().AddRing([&, i](bool is_inspection) {
      if (!is_inspection) {  // which would make up for what was missed
        sum += sent[i].exchange(0);
      }
    }));
  }
  EXPECT_EQ(std::set<uint32_t>(slots.begin(), slots.end()).size(), 3U);
  constexpr int kRings = 20'000;
  std::vector<std::thread> peers;
  for (size_t i = 0; i < sent.size(); ++i) {
    peers.emplace_back([&, i] {
      const auto bell = *PeerDoorbell::Map(UniqueFd(::dup(owner.loop().doorbell_memory_fd())),
                                           UniqueFd(::dup(owner.loop().doorbell_event_fd())));
      for (int k = 0; k < kRings; ++k) {
        ++sent[i];
        bell->Ring(slots[i]);
        if (k % 1'000 == 0) {  // each of these must be seen for the next to come
          while (sent[i].load() != 0) {
            std::this_thread::yield();
          }
        }
      }
    });
  }
  for (std::thread& peer : peers) {
    peer.join();
  }
  EXPECT_TRUE(Eventually([&] { return sum == 3 * kRings; }));
}

TEST(EventLoopRingsTest, ASlotIsFreeAgainAfterRemoval) {
  EventLoop loop;
  const uint32_t first = *loop.AddRing([](bool) {});
  const uint32_t second = *loop.AddRing([](bool) {});
  loop.RemoveRing(first);
  EXPECT_EQ(*loop.AddRing([](bool) {}), first);
  EXPECT_NE(first, second);
  for (uint32_t i = 2; i < Doorbell::kSlots; ++i) {
    ASSERT_TRUE(loop.AddRing([](bool) {}));
  }
  EXPECT_EQ(loop.AddRing([](bool) {}).error().code(), StatusCode::kOutOfMemory);
}

TEST(EventLoopRingsTest, RingsAreInspectedWithoutBeingAsked) {
  LoopThread owner;
  std::atomic<int> inspections{0};
  ASSERT_TRUE(owner.loop().AddRing([&](bool is_inspection) { inspections += is_inspection; }));
  EXPECT_TRUE(Eventually([&] { return inspections >= 2; }));
}

TEST(SpinPolicyTest, LooksWhereWaitsAreShort) {
  SpinPolicy policy(2);
  EXPECT_EQ(policy.BudgetNs(), 0);  // nothing is known
  policy.OnSlept(false, SpinPolicy::kShortWaitNs);
  EXPECT_EQ(policy.BudgetNs(), SpinPolicy::kSpinNs);
  policy.OnFound();
  EXPECT_EQ(policy.BudgetNs(), SpinPolicy::kSpinNs);
  policy.OnSlept(true, SpinPolicy::kShortWaitNs + 1);
  EXPECT_EQ(policy.BudgetNs(), 0);
}

TEST(SpinPolicyTest, DoesNotLookWhereThatIsInVain) {
  SpinPolicy policy(2);
  policy.OnSlept(false, 1'000);
  int looked = 0;
  for (int i = 0; i < 10'000; ++i) {
    const bool looks = policy.BudgetNs() > 0;
    looked += looks;
    policy.OnSlept(looks, 60'000);
  }
  EXPECT_GT(looked, SpinPolicy::kMissesAllowed);
  EXPECT_LT(looked, 30);
  // Until it helps again.
  while (policy.BudgetNs() == 0) {
  }
  policy.OnFound();
  for (int i = 0; i < 100; ++i) {
    EXPECT_GT(policy.BudgetNs(), 0);
    policy.OnFound();
  }
}

TEST(SpinPolicyTest, NeverOnOneCpu) {
  SpinPolicy policy(1);
  policy.OnSlept(false, 1'000);
  policy.OnFound();
  EXPECT_EQ(policy.BudgetNs(), 0);
}

}  // namespace
}  // namespace rayc
