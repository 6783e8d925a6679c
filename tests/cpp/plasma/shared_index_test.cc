// The shared index and the clients' segments by themselves: every race has two mappings of the same
// memory, as the store and a client have them.
#include "plasma/shared_index.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "plasma/client_segment.h"
#include "plasma/test_objects.h"

namespace rayc::plasma {
namespace {

constexpr uint64_t kArenaBytes = 64U << 20;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kRounds = 3000;
#else
constexpr uint32_t kRounds = 30'000;
#endif

class SharedIndexTest : public testing::Test {
 protected:
  SharedIndexTest()
      : store_(SharedIndex::Create(kArenaBytes).value()),
        client_(SharedIndex::Map(UniqueFd(::fcntl(store_->fd(), F_DUPFD_CLOEXEC, 0))).value()) {}

  static EntryRef Fill(const SharedIndex& index, uint32_t entry, const ObjectId& id,
                       uint32_t maker = 7, std::string_view metadata = "") {
    return index.Fill(entry, maker, id, WorkerId(), uint64_t{entry} * 64, 10, metadata, 1, false);
  }
  static bool Seal(const SharedIndex& index, EntryRef ref, uint32_t maker = 7) {
    const EntryWord creating{EntryState::kCreating, maker, ref.generation};
    return index.Change(ref.entry, creating, creating.With(EntryState::kSealed));
  }
  static EntryRef Add(const SharedIndex& index, uint32_t entry, const ObjectId& id) {
    const EntryRef ref = Fill(index, entry, id);
    uint32_t existing = 0;
    EXPECT_TRUE(index.Insert(entry, id, &existing).ok());
    EXPECT_TRUE(Seal(index, ref));
    return ref;
  }
  // As the store frees what nobody pins.
  static void Free(const SharedIndex& index, EntryRef ref, const ObjectId& id) {
    EXPECT_TRUE(index.Unlink(ref.entry, id));
    index.at(ref.entry).word.store(EntryWord{EntryState::kFree, 0, ref.generation}.Pack());
  }

  const std::shared_ptr<SharedIndex> store_;
  const std::shared_ptr<SharedIndex> client_;
};

TEST_F(SharedIndexTest, WhatOneMappingAddsTheOtherFinds) {
  const ObjectId id = TestId(0, 1);
  EXPECT_FALSE(store_->Find(id));
  const EntryRef ref = Fill(*client_, 3, id, 7, "tag");
  EXPECT_FALSE(store_->Find(id)) << "not linked yet";
  uint32_t existing = 0;
  ASSERT_TRUE(client_->Insert(3, id, &existing).ok());
  EXPECT_EQ(store_->Find(id), ref);
  EXPECT_EQ(store_->WordOf(3).state, EntryState::kCreating);
  ASSERT_TRUE(Seal(*client_, ref));
  const auto record = store_->Read(3, kArenaBytes);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->id, id);
  EXPECT_EQ(record->data_bytes, 10U);
  EXPECT_EQ(record->metadata_bytes, 3U);
  EXPECT_TRUE(record->owner.IsNil());
  EXPECT_EQ(store_->Check(10), "");
}

TEST_F(SharedIndexTest, AnIdIsTakenUntilItsObjectIsKilled) {
  const ObjectId id = TestId(0, 1);
  const EntryRef first = Add(*store_, 0, id);
  const EntryRef second = Fill(*client_, 1, id);
  uint32_t existing = 99;
  EXPECT_EQ(client_->Insert(1, id, &existing).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(existing, 0U);
  EXPECT_TRUE(store_->Kill(first));
  EXPECT_FALSE(store_->Kill(first)) << "dead by the first call";
  EXPECT_FALSE(client_->Find(id));
  EXPECT_TRUE(client_->Insert(1, id, &existing).ok());
  EXPECT_EQ(store_->Find(id), second);
  // One that is being created is doomed, and cannot be sealed.
  EXPECT_FALSE(store_->Kill(second));
  EXPECT_EQ(client_->WordOf(1).state, EntryState::kDoomed);
  EXPECT_FALSE(Seal(*client_, second));
}

TEST_F(SharedIndexTest, AReferenceOfAnEarlierUseKillsNothing) {
  const ObjectId id = TestId(0, 1);
  const EntryRef old = Add(*store_, 0, id);
  EXPECT_TRUE(store_->Kill(old));
  Free(*store_, old, id);
  const EntryRef now = Add(*store_, 0, id);
  EXPECT_NE(now.generation, old.generation);
  EXPECT_FALSE(client_->Kill(old));
  EXPECT_EQ(client_->Find(id), now);
}

TEST_F(SharedIndexTest, UnlinksFromEveryPlaceOfAChain) {
  // Far more than there are buckets: long chains.
  constexpr uint32_t kObjects = 60'000;
  std::vector<EntryRef> refs;
  for (uint32_t i = 0; i < kObjects; ++i) {
    refs.push_back(Add(*store_, i, TestId(0, i)));
  }
  ASSERT_EQ(store_->Check(kObjects), "");
  for (uint32_t i = 0; i < kObjects; i += 2) {
    EXPECT_TRUE(store_->Kill(refs[i]));
    Free(*store_, refs[i], TestId(0, i));
  }
  ASSERT_EQ(store_->Check(kObjects), "");
  for (uint32_t i = 0; i < kObjects; ++i) {
    EXPECT_EQ(client_->Find(TestId(0, i)).has_value(), i % 2 == 1);
  }
}

TEST_F(SharedIndexTest, DamagedChainsEnd) {
  const ObjectId id = TestId(0, 1);
  (void)Add(*store_, 0, id);
  store_->at(0).next.store(1);  // to itself
  EXPECT_FALSE(client_->Find(TestId(5, 5)));
  EXPECT_NE(store_->Check(4), "");
  uint32_t existing = 0;
  // Of the same chain: found by trying.
  for (uint64_t i = 2; i < 200'000; ++i) {
    const Status status = client_->Insert(1, TestId(0, i), &existing);
    if (!status.ok()) {
      EXPECT_EQ(status.code(), StatusCode::kInternal);
      return;
    }
    store_->Unlink(1, TestId(0, i));
  }
  FAIL() << "no id of the same chain";
}

TEST_F(SharedIndexTest, WhatCannotBeIsNotRead) {
  const EntryRef ref = Add(*store_, 0, TestId(0, 1));
  EXPECT_TRUE(store_->Read(0, kArenaBytes));
  store_->at(0).data_bytes.store(~uint64_t{0});
  EXPECT_FALSE(store_->Read(0, kArenaBytes));
  store_->at(0).data_bytes.store(kArenaBytes);
  store_->at(0).offset.store(64);
  EXPECT_FALSE(store_->Read(0, kArenaBytes));
  store_->at(0).data_bytes.store(10);
  store_->at(0).offset.store(63);
  EXPECT_FALSE(store_->Read(0, kArenaBytes));
  store_->at(0).offset.store(0);
  store_->at(0).metadata_bytes.store(~uint32_t{0});
  EXPECT_FALSE(store_->Read(0, kArenaBytes));
  store_->at(0).metadata_bytes.store(0);
  store_->at(0).word.store(EntryWord{static_cast<EntryState>(200), 7, ref.generation}.Pack());
  EXPECT_FALSE(store_->Read(0, kArenaBytes));
}

TEST_F(SharedIndexTest, DeadOwnersAreRemembered) {
  const auto owner = WorkerId::FromRandom();
  EXPECT_FALSE(client_->OwnerIsDead(owner));
  store_->NoteDeadOwner(owner);
  EXPECT_TRUE(client_->OwnerIsDead(owner));
  EXPECT_FALSE(client_->OwnerIsDead(WorkerId()));
  for (int i = 0; i < 100; ++i) {
    store_->NoteDeadOwner(WorkerId::FromRandom());
  }
  EXPECT_TRUE(client_->OwnerIsDead(owner));
}

// Several make the same ids, one deletes and unlinks: each id is made by one at a time, and those
// that stay are found at every moment.
TEST_F(SharedIndexTest, InsertRacesInsertAndUnlink) {
  constexpr uint32_t kMakers = 3;
  constexpr uint32_t kPermanent = 2000;
  constexpr uint32_t kIds = 8;
  for (uint32_t i = 0; i < kPermanent; ++i) {
    (void)Add(*store_, i, TestId(1, i));
  }
  std::atomic<uint32_t> made[kIds] = {};  // how many live ones of each id there are
  std::atomic<int> running{kMakers};
  // Each maker has an entry for each id; the store frees it before it is used again.
  const auto entry_of = [](uint32_t maker, uint32_t n) { return kPermanent + maker * kIds + n; };
  std::vector<std::thread> threads;
  for (uint32_t maker = 0; maker < kMakers; ++maker) {
    threads.emplace_back([&, maker] {
      for (uint32_t round = 0; round < kRounds; ++round) {
        const uint32_t n = round % kIds;
        const uint32_t entry = entry_of(maker, n);
        if (client_->WordOf(entry).state != EntryState::kFree) {
          continue;
        }
        const ObjectId id = TestId(2, n);
        const EntryRef ref = Fill(*client_, entry, id, maker + 1);
        uint32_t existing = 0;
        if (client_->Insert(entry, id, &existing).ok()) {
          EXPECT_EQ(made[n].fetch_add(1), 0U) << "made twice";
          EXPECT_TRUE(Seal(*client_, ref, maker + 1));
        } else {
          const EntryWord creating{EntryState::kCreating, maker + 1, ref.generation};
          EXPECT_TRUE(client_->Change(entry, creating, creating.With(EntryState::kDead)));
        }
      }
      --running;
    });
  }
  threads.emplace_back([&] {
    for (uint32_t i = 0; running > 0; i = (i + 1) % kPermanent) {
      EXPECT_TRUE(client_->Find(TestId(1, i))) << "out of sight for a moment: " << i;
    }
  });
  // The store.
  while (running > 0) {
    for (uint32_t maker = 0; maker < kMakers; ++maker) {
      for (uint32_t n = 0; n < kIds; ++n) {
        const uint32_t entry = entry_of(maker, n);
        const EntryWord word = store_->WordOf(entry);
        if (word.state == EntryState::kSealed) {
          --made[n];
          EXPECT_TRUE(store_->Kill({entry, word.generation}));
        } else if (word.state != EntryState::kDead) {
          continue;
        }
        (void)store_->Unlink(entry, TestId(2, n));  // one that was in the way is in no chain
        store_->at(entry).word.store(EntryWord{EntryState::kFree, 0, word.generation}.Pack());
      }
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(store_->Check(kPermanent + kMakers * kIds), "");
}

class ClientSegmentTest : public testing::Test {
 protected:
  ClientSegmentTest()
      : store_(ClientSegment::Create().value()),
        client_(ClientSegment::Map(UniqueFd(::fcntl(store_->fd(), F_DUPFD_CLOEXEC, 0))).value()) {}
  std::vector<EntryRef> Pins() const {
    std::vector<EntryRef> pins;
    store_->ForEachPin([&](EntryRef ref) { pins.push_back(ref); });
    return pins;
  }
  const std::shared_ptr<ClientSegment> store_;
  const std::shared_ptr<ClientSegment> client_;
  std::atomic<uint64_t> taken_end_{0};
};

TEST_F(ClientSegmentTest, PinsAreSeen) {
  EXPECT_TRUE(Pins().empty());
  client_->SetPin(0, {5, 1});
  client_->SetPin(9, {6, 2});
  EXPECT_EQ(Pins(), (std::vector<EntryRef>{{5, 1}, {6, 2}}));
  client_->ClearPin(0);
  EXPECT_EQ(Pins(), (std::vector<EntryRef>{{6, 2}}));
}

TEST_F(ClientSegmentTest, NotesComeInOrderAndLossIsTold) {
  std::vector<uint32_t> entries;
  const auto drain = [&] {
    entries.clear();
    return store_->DrainNotes(
        [&](ClientSegment::NotedObject noted) { entries.push_back(noted.ref.entry); });
  };
  EXPECT_TRUE(drain());
  for (uint32_t i = 0; i < 10; ++i) {
    EXPECT_TRUE(client_->PushNote({ClientSegment::Note::kCheck, {i, 1}}));
  }
  EXPECT_TRUE(drain());
  EXPECT_EQ(entries, (std::vector<uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  uint32_t pushed = 0;
  while (client_->PushNote({ClientSegment::Note::kCheck, {pushed, 1}})) {
    ++pushed;
  }
  EXPECT_FALSE(drain()) << "some were lost";
  EXPECT_EQ(entries.size(), pushed);
  EXPECT_TRUE(drain());
}

TEST_F(ClientSegmentTest, ARegionIsTakenFromUntilItIsClosed) {
  EXPECT_FALSE(client_->TakeFromRegion(1000, 64)) << "none was opened";
  store_->OpenRegion(0);
  EXPECT_EQ(client_->TakeFromRegion(192, 64), 0U);
  EXPECT_EQ(client_->TakeFromRegion(192, 128), 64U);
  EXPECT_FALSE(client_->TakeFromRegion(192, 64)) << "it is full";
  EXPECT_EQ(store_->CloseRegion(), 192U);
  EXPECT_FALSE(store_->CloseRegion());
  EXPECT_FALSE(client_->TakeFromRegion(1000, 64));
}

// The store closes the region while the client takes from it: what was taken and what is left are
// together what there was.
TEST_F(ClientSegmentTest, TakeRacesClose) {
  for (uint32_t round = 0; round < 100; ++round) {
    store_->OpenRegion(64);
    std::atomic<bool> begun{false};
    std::thread taker([&] {
      begun = true;
      uint64_t expected = 64;
      while (const auto offset = client_->TakeFromRegion(1U << 30, 64)) {
        ASSERT_EQ(*offset, expected);
        expected += 64;
      }
      taken_end_ = expected;
    });
    while (!begun) {
      std::this_thread::yield();
    }
    const auto left = store_->CloseRegion();
    taker.join();
    ASSERT_EQ(left.value_or(0), taken_end_);
  }
}

class PinRaceTest : public SharedIndexTest {
 protected:
  const std::shared_ptr<ClientSegment> store_segment_{ClientSegment::Create().value()};
  const std::shared_ptr<ClientSegment> client_segment_{
      ClientSegment::Map(UniqueFd(::fcntl(store_segment_->fd(), F_DUPFD_CLOEXEC, 0))).value()};
};

// The reader pins and looks again; the store kills, looks for pins, and only then destroys. The
// reader's payload is never gone while its pin holds.
TEST_F(PinRaceTest, PinRacesKill) {
  const ObjectId id = TestId(0, 1);
  std::atomic<uint32_t> alive{0};  // the generation whose memory is there
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> pinned_times{0};
  std::thread reader([&] {
    uint32_t place = 0;
    while (!stop) {
      const auto ref = client_->Find(id);
      if (!ref) {
        continue;
      }
      place = (place + 1) % 300;
      client_segment_->SetPin(place, *ref);
      const EntryWord word = client_->WordOf(ref->entry);
      if (word.generation == ref->generation && word.readable()) {
        EXPECT_EQ(alive.load(), ref->generation) << "pinned, and gone";
        std::this_thread::yield();
        EXPECT_EQ(alive.load(), ref->generation) << "pinned, and gone";
        ++pinned_times;
      }
      client_segment_->ClearPin(place);
    }
  });
  for (uint32_t round = 0; round < kRounds / 15 || pinned_times < 10; ++round) {
    const EntryRef ref = Fill(*store_, round % 2, id);
    alive = ref.generation;
    uint32_t existing = 0;
    ASSERT_TRUE(store_->Insert(ref.entry, id, &existing).ok());
    ASSERT_TRUE(Seal(*store_, ref));
    if (round % 3 == 0) {
      std::this_thread::yield();
    }
    ASSERT_TRUE(store_->Kill(ref));
    bool pinned = true;
    while (pinned) {
      std::this_thread::yield();
      pinned = false;
      store_segment_->ForEachPin([&](EntryRef pin) { pinned = pinned || pin == ref; });
    }
    alive = 0;
    Free(*store_, ref, id);
  }
  stop = true;
  reader.join();
}

// One pushes notes and says so only if nobody else has; the other sleeps until it is told. None is
// left lying.
TEST_F(PinRaceTest, NoNoteIsLeftLying) {
  std::atomic<uint32_t> wakes{0};
  std::thread client([&] {
    for (uint32_t i = 1; i <= kRounds; ++i) {
      while (!client_segment_->PushNote({ClientSegment::Note::kCheck, {i, 1}})) {
        std::this_thread::yield();
      }
      if (client_->SetWorkPending()) {
        ++wakes;
        wakes.notify_one();
      }
    }
  });
  uint32_t last = 0;
  uint32_t woken = 0;
  while (last < kRounds) {
    wakes.wait(woken);  // for ever, if a wake-up is lost
    woken = wakes;
    store_->ClearWorkPending();
    (void)store_segment_->DrainNotes([&](ClientSegment::NotedObject noted) {
      EXPECT_EQ(noted.ref.entry, last + 1);
      last = noted.ref.entry;
    });
  }
  client.join();
}

// One arms, looks, and waits without a limit; the other seals and rings.
TEST_F(PinRaceTest, NoSealIsSleptThrough) {
  std::atomic<uint32_t> sealed{0};
  std::atomic<uint32_t> seen{0};
  const ObjectId id = TestId(0, 1);
  std::thread waiter([&] {
    for (uint32_t round = 1; round <= kRounds; ++round) {
      while (true) {
        const uint32_t armed = client_->ArmDoorbell(id);
        if (sealed >= round) {
          break;
        }
        const Status status = client_->WaitForDoorbell(id, armed, 20'000);
        ASSERT_TRUE(status.ok()) << status << " in round " << round;
      }
      seen = round;
    }
  });
  for (uint32_t round = 1; round <= kRounds; ++round) {
    sealed = round;
    store_->Ring(id);
    while (seen < round && round % 4 != 0) {
    }
  }
  waiter.join();
}

}  // namespace
}  // namespace rayc::plasma
