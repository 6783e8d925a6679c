// The store's bookkeeping by itself. The clients here are numbers, and what they do to shared
// memory is done step by step: it can be left off anywhere, as by a client that is killed.
#include "plasma/object_table.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/logging.h"
#include "plasma/test_objects.h"

namespace rayc::plasma {
namespace {

constexpr uint64_t kArenaBytes = 32U << 20;

class ObjectTableTest : public testing::Test {
 protected:
  ObjectTableTest() {
    InitLogging("plasma_tests", LogLevel::kError, "");
    for (ClientNumber client : {1U, 2U, 3U}) {
      segments_[client] = table_.AddClient(client, 100 + static_cast<pid_t>(client)).value();
    }
  }
  ~ObjectTableTest() override {
    EXPECT_EQ(table_.CheckInvariants(), "");
    for (ClientNumber client : {1U, 2U, 3U}) {
      table_.DropClient(client);
      EXPECT_EQ(table_.CheckInvariants(), "");
    }
    table_.ForEach([&](const ObjectRecord& record, uint32_t pins) {
      EXPECT_EQ(pins, 0U);
      (void)index_->Kill(record.ref);
    });
    // Nobody has told of these: any client's death makes the store look.
    (void)table_.AddClient(9, 1);
    table_.DropClient(9);
    EXPECT_EQ(table_.object_count(), 0U);
    EXPECT_EQ(table_.allocator().used_bytes(), 0U);
    EXPECT_EQ(table_.CheckInvariants(), "");
  }

  // One client's grant and what it has left of it.
  struct Room {
    uint64_t end = 0;
    std::vector<uint32_t> entries;
  };
  void Refill(ClientNumber client, uint64_t bytes_min, uint64_t bytes_wanted) {
    const auto grant = table_.GrantRegion(client, bytes_min, bytes_wanted, 16);
    ASSERT_GE(grant.bytes, bytes_min);
    Room& room = rooms_[client];
    room.end = grant.offset + grant.bytes;
    room.entries.insert(room.entries.end(), grant.entries.begin(), grant.entries.end());
  }
  EntryRef Fill(ClientNumber client, const ObjectId& id, uint64_t bytes,
                const WorkerId& owner = {}) {
    Room& room = rooms_[client];
    const auto offset =
        segments_[client]->TakeFromRegion(room.end, SharedIndex::ExtentBytes(bytes, 0));
    EXPECT_TRUE(offset);
    const uint32_t entry = room.entries.back();
    room.entries.pop_back();
    return index_->Fill(entry, client, id, owner, *offset, bytes, "", 1, false);
  }
  void Seal(ClientNumber client, EntryRef ref) {
    const EntryWord creating{EntryState::kCreating, client, ref.generation};
    EXPECT_TRUE(index_->Change(ref.entry, creating, creating.With(EntryState::kSealed)));
  }
  EntryRef Put(ClientNumber client, const ObjectId& id, uint64_t bytes) {
    const EntryRef ref = Fill(client, id, bytes);
    uint32_t existing = 0;
    EXPECT_TRUE(index_->Insert(ref.entry, id, &existing).ok());
    Seal(client, ref);
    return ref;
  }
  void Delete(ClientNumber client, EntryRef ref) {
    EXPECT_TRUE(index_->Kill(ref));
    EXPECT_TRUE(segments_[client]->PushNote({ClientSegment::Note::kCheck, ref}));
    table_.FollowNotes();
  }

  const std::shared_ptr<SharedIndex> index_ = SharedIndex::Create(kArenaBytes).value();
  std::vector<ObjectId> gone_;
  std::vector<ObjectId> sealed_;
  std::vector<SpillLocation> forgotten_;
  ObjectTable table_{
      index_, kArenaBytes,
      ObjectTable::Events{[this](const ObjectRecord& record) { gone_.push_back(record.id); },
                          [this](const SpillLocation& location) { forgotten_.push_back(location); },
                          [this](const ObjectRecord& record) { sealed_.push_back(record.id); }}};
  std::map<ClientNumber, std::shared_ptr<ClientSegment>> segments_;
  std::map<ClientNumber, Room> rooms_;
};

TEST_F(ObjectTableTest, DeletedObjectsOfARegionAreRoomForOthersAtOnce) {
  Refill(1, 64, 256U << 10);
  const EntryRef first = Put(1, TestId(0, 1), 100U << 10);
  const EntryRef second = Put(1, TestId(0, 2), 28U << 10);
  const auto at = index_->Read(first.entry, kArenaBytes)->offset;
  Delete(1, first);
  // The region of another client in the place where the first one's began.
  Refill(2, 64, 100U << 10);
  const EntryRef third = Put(2, TestId(0, 3), 50U << 10);
  EXPECT_EQ(index_->Read(third.entry, kArenaBytes)->offset, at);
  EXPECT_EQ(table_.CheckInvariants(), "");
  // Neither's end takes anything of the other's.
  table_.DropClient(1);
  EXPECT_EQ(table_.CheckInvariants(), "");
  const EntryRef fourth = Put(2, TestId(0, 4), 40U << 10);
  EXPECT_EQ(table_.used_bytes(), (28U + 50U + 40U) << 10);
  Delete(2, second);
  Delete(2, third);
  Refill(2, 64, 64);
  EXPECT_EQ(table_.CheckInvariants(), "");
  EXPECT_TRUE(index_->Find(TestId(0, 4)) == fourth);
}

TEST_F(ObjectTableTest, WhatADeadClientTookAndDidNotUseComesBack) {
  Refill(1, 64, 256U << 10);
  (void)Put(1, TestId(0, 1), 1000);
  ASSERT_TRUE(segments_[1]->TakeFromRegion(rooms_[1].end, 4096));  // and no entry says so
  (void)Put(1, TestId(0, 2), 1000);
  (void)Fill(1, TestId(0, 3), 1000);  // never linked
  table_.DropClient(1);
  EXPECT_EQ(table_.allocator().used_bytes(), 2048U);
  EXPECT_EQ(table_.object_count(), 2U);
}

TEST_F(ObjectTableTest, ARecalledRegionKeepsWhatIsOnItsWayIntoAnEntry) {
  Refill(1, 64, 128U << 10);
  const auto offset = segments_[1]->TakeFromRegion(rooms_[1].end, 4096);
  ASSERT_TRUE(offset);
  // A large object recalls all regions.
  const auto large = table_.Create(2, TestId(0, 1), kArenaBytes - 4096, "", {}, false);
  ASSERT_TRUE(large) << large.error();
  EXPECT_FALSE(segments_[1]->TakeFromRegion(rooms_[1].end, 64));
  const EntryRef late =
      index_->Fill(rooms_[1].entries.back(), 1, TestId(0, 2), {}, *offset, 4096, "", 1, false);
  rooms_[1].entries.pop_back();
  uint32_t existing = 0;
  ASSERT_TRUE(index_->Insert(late.entry, TestId(0, 2), &existing).ok());
  EXPECT_EQ(table_.CheckInvariants(), "");
  EXPECT_EQ(table_.allocator().free_bytes(), 0U);
  table_.CancelCreation(2, large->ref);
  Seal(1, late);
  Refill(1, 64, 64);
  EXPECT_EQ(table_.CheckInvariants(), "");
  EXPECT_EQ(table_.used_bytes(), 4096U);
}

TEST_F(ObjectTableTest, AClientThatKillsAndDiesBeforeItTells) {
  Refill(1, 64, 128U << 10);
  const EntryRef ref = Put(1, TestId(0, 1), 100);
  ASSERT_TRUE(index_->Kill(ref));
  table_.FollowNotes();
  EXPECT_EQ(table_.object_count(), 1U);
  table_.DropClient(2);  // it was this one
  EXPECT_EQ(table_.object_count(), 0U);
  EXPECT_EQ(gone_, std::vector<ObjectId>{TestId(0, 1)});
}

TEST_F(ObjectTableTest, AClientThatDiesBeforeItSeesThatItsOwnerIsDead) {
  const auto owner = WorkerId::FromRandom();
  Refill(1, 64, 128U << 10);
  table_.DropOwner(owner);
  const EntryRef ref = Fill(1, TestId(0, 1), 100, owner);
  uint32_t existing = 0;
  ASSERT_TRUE(index_->Insert(ref.entry, TestId(0, 1), &existing).ok());
  Seal(1, ref);
  table_.DropClient(1);
  EXPECT_EQ(table_.object_count(), 0U);
}

TEST_F(ObjectTableTest, ADeadObjectGoesWithItsLastPin) {
  Refill(1, 64, 128U << 10);
  const EntryRef ref = Put(1, TestId(0, 1), 100);
  segments_[2]->SetPin(0, ref);
  segments_[3]->SetPin(5, ref);
  Delete(1, ref);
  EXPECT_EQ(table_.object_count(), 1U);
  EXPECT_EQ(gone_.size(), 1U) << "to those who look for it";
  segments_[2]->ClearPin(0);
  ASSERT_TRUE(segments_[2]->PushNote({ClientSegment::Note::kCheck, ref}));
  table_.FollowNotes();
  EXPECT_EQ(table_.object_count(), 1U);
  table_.DropClient(3);
  EXPECT_EQ(table_.object_count(), 0U);
  EXPECT_EQ(gone_.size(), 1U);
}

TEST_F(ObjectTableTest, SealsAreReportedWhoeverFollowsTheNotes) {
  Refill(1, 64, 128U << 10);
  const EntryRef ref = Put(1, TestId(0, 1), 100);
  ASSERT_TRUE(segments_[1]->PushNote({ClientSegment::Note::kSealed, ref}));
  Refill(2, 64, 128U << 10);
  EXPECT_EQ(sealed_, std::vector<ObjectId>{TestId(0, 1)});
}

TEST_F(ObjectTableTest, LostNotesMakeTheStoreLookAtEverything) {
  Refill(1, 64, 128U << 10);
  const EntryRef ref = Put(1, TestId(0, 1), 100);
  ASSERT_TRUE(index_->Kill(ref));
  while (segments_[1]->PushNote({ClientSegment::Note::kCheck, {0, 0}})) {
  }
  table_.FollowNotes();
  EXPECT_EQ(table_.object_count(), 0U);
}

TEST_F(ObjectTableTest, WhatIsSpilledComesBackElsewhere) {
  Refill(1, 64, 128U << 10);
  const EntryRef pinned = Put(1, TestId(0, 1), 1000);
  const EntryRef ref = Put(1, TestId(0, 2), 1000);
  segments_[2]->SetPin(0, pinned);
  auto spilling = table_.BeginSpill(1U << 20);
  ASSERT_EQ(spilling.size(), 1U);
  EXPECT_EQ(spilling[0].ref, ref);
  const SpillLocation location{1, 0, 1024};
  EXPECT_TRUE(table_.EndSpill(spilling[0], &location));
  EXPECT_EQ(table_.spilled_bytes(), 1024U);
  EXPECT_EQ(table_.used_bytes(), 1024U);
  EXPECT_EQ(table_.CheckInvariants(), "");
  const auto back = table_.BeginRestore(ref);
  ASSERT_TRUE(back && *back);
  const auto offset = table_.Allocate((*back)->extent_bytes);
  ASSERT_TRUE(offset);
  EXPECT_TRUE(table_.EndRestore(ref, &*offset));
  EXPECT_EQ(index_->WordOf(ref.entry).state, EntryState::kSealed);
  EXPECT_EQ(table_.spilled_bytes(), 0U);
  EXPECT_EQ(table_.CheckInvariants(), "");
  // It is on disk still: the next time costs no writing.
  EXPECT_TRUE(table_.BeginSpill(1U << 20).empty());
  EXPECT_EQ(index_->WordOf(ref.entry).state, EntryState::kSpilled);
  Delete(1, ref);
  EXPECT_EQ(forgotten_.size(), 1U);
  segments_[2]->ClearPin(0);
}

TEST_F(ObjectTableTest, DeletedAndPinnedWhileItIsSpilled) {
  Refill(1, 64, 128U << 10);
  const EntryRef deleted = Put(1, TestId(0, 1), 1000);
  const EntryRef pinned = Put(1, TestId(0, 2), 1000);
  const auto spilling = table_.BeginSpill(1U << 20);
  ASSERT_EQ(spilling.size(), 2U);
  Delete(1, deleted);
  EXPECT_EQ(table_.object_count(), 2U) << "it is being written";
  segments_[2]->SetPin(0, pinned);
  for (const ObjectRecord& record : spilling) {
    const SpillLocation location{1, record.offset, 1024};
    EXPECT_FALSE(table_.EndSpill(record, &location) && record.ref == pinned);
  }
  EXPECT_EQ(table_.object_count(), 1U);
  EXPECT_EQ(index_->WordOf(pinned.entry).state, EntryState::kSealed);
  EXPECT_EQ(forgotten_.size(), 1U);
  segments_[2]->ClearPin(0);
}

TEST_F(ObjectTableTest, NonsenseIsRefused) {
  // An entry that was never granted says that it is spilled.
  index_->at(5000).word.store(EntryWord{EntryState::kSpilled, 1, 3}.Pack());
  EXPECT_EQ(table_.BeginRestore({5000, 3}).error().code(), StatusCode::kInternal);
  EXPECT_FALSE(table_.Hold({5000, 3}));
  index_->at(5000).word.store(0);
  EXPECT_EQ(table_.Create(77, TestId(0, 1), 1, "", {}, false).error().code(),
            StatusCode::kDisconnected);
  EXPECT_EQ(table_.Create(1, ObjectId(), 1, "", {}, false).error().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(table_.Create(1, TestId(0, 1), ~uint64_t{0}, "", {}, false).error().code(),
            StatusCode::kOutOfMemory);
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{1'000'001}, kArenaBytes - 1,
                               kArenaBytes, kArenaBytes + 1, ~uint64_t{0}}) {
    const auto grant = table_.GrantRegion(1, bytes, 3, ~uint32_t{0});
    EXPECT_EQ(grant.bytes > 0, bytes <= kArenaBytes) << bytes;
    EXPECT_EQ(grant.offset % 64, 0U);
    EXPECT_EQ(table_.CheckInvariants(), "");
  }
}

// Everything at random, clients left off anywhere.
TEST_F(ObjectTableTest, RandomRun) {
  std::mt19937_64 random(3);
  std::vector<EntryRef> live;
  ClientNumber next_client = 10;
  std::vector<ClientNumber> clients = {1, 2, 3};
  for (int step = 0; step < 20'000; ++step) {
    ClientNumber& client = clients[random() % clients.size()];
    const ObjectId id = TestId(1, static_cast<uint64_t>(step));
    bool killed = false;
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: {
        const uint64_t bytes = random() % 60'000;
        Room& room = rooms_[client];
        const auto position = segments_[client]->RegionPosition();
        if (room.entries.empty() || !position ||
            *position + SharedIndex::ExtentBytes(bytes, 0) > room.end) {
          const auto grant = table_.GrantRegion(client, SharedIndex::ExtentBytes(bytes, 0),
                                                random() % (1U << 20), random() % 20 + 1);
          room.end = grant.offset + grant.bytes;
          room.entries.insert(room.entries.end(), grant.entries.begin(), grant.entries.end());
          if (grant.bytes == 0 || room.entries.empty()) {
            break;
          }
        }
        if (random() % 20 == 0) {  // with the room taken
          killed = true;
          ASSERT_TRUE(
              segments_[client]->TakeFromRegion(room.end, SharedIndex::ExtentBytes(bytes, 0)));
        } else if (random() % 20 == 0) {  // with the entry filled
          killed = true;
          (void)Fill(client, id, bytes);
        } else {
          live.push_back(Put(client, id, bytes));
        }
        break;
      }
      case 3:
        killed = random() % 10 == 0;
        break;
      case 4:
      case 5:
        if (!live.empty()) {
          std::swap(live[random() % live.size()], live.back());
          if (index_->Kill(live.back())) {
            if (random() % 10 != 0) {
              (void)segments_[client]->PushNote({ClientSegment::Note::kCheck, live.back()});
            }
          }
          live.pop_back();
        }
        break;
      case 6:
        if (const auto made = table_.Create(client, id, random() % (2U << 20), "", {}, false)) {
          Seal(client, made->ref);
          live.push_back(made->ref);
        } else {
          (void)table_.Evict(4U << 20, ObjectTable::Evictable::kUnowned);
        }
        break;
      default:
        if (!live.empty()) {
          segments_[client]->SetPin(static_cast<uint32_t>(random() % 5),
                                    live[random() % live.size()]);
        }
    }
    if (killed) {
      table_.DropClient(client);
      rooms_.erase(client);
      segments_.erase(client);
      client = next_client++;
      segments_[client] = table_.AddClient(client, 1).value();
    }
    if (killed || step % 100 == 0) {
      ASSERT_EQ(table_.CheckInvariants(), "") << step;
    }
  }
  for (const ClientNumber client : clients) {
    table_.DropClient(client);
    ASSERT_EQ(table_.CheckInvariants(), "");
  }
}

}  // namespace
}  // namespace rayc::plasma
