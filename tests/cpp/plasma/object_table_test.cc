#include "plasma/object_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace rayc::plasma {
namespace {

using testing::HasSubstr;

constexpr uint64_t kStoreBytes = 64U << 10;
constexpr uint64_t kSmallStoreBytes = 16U << 10;
constexpr ClientNumber kMaker = 1;
constexpr ClientNumber kReader = 2;

class ObjectTableTest : public testing::Test {
 protected:
  ObjectTableTest() {
    table_.AddClient(kMaker, 101);
    table_.AddClient(kReader, 102);
  }
  void TearDown() override { EXPECT_EQ(table_.CheckInvariants(), ""); }

  StatusCode Create(const ObjectId& id, uint64_t bytes = 100, const WorkerId& owner = {}) {
    const auto offset = table_.Create(kMaker, id, bytes, "meta", owner);
    return offset ? StatusCode::kOk : offset.error().code();
  }
  ObjectId Sealed(const WorkerId& owner = {}) {
    const auto id = ObjectId::FromRandom();
    EXPECT_EQ(Create(id, 100, owner), StatusCode::kOk);
    EXPECT_TRUE(table_.Seal(kMaker, id, false).ok());
    return id;
  }

  ObjectTable table_{kStoreBytes};
};

TEST_F(ObjectTableTest, IsSeenFromSealOn) {
  const auto id = ObjectId::FromRandom();
  EXPECT_EQ(Create(id), StatusCode::kOk);
  EXPECT_FALSE(table_.Contains(id));
  EXPECT_EQ(table_.Pin(kReader, id), nullptr);
  EXPECT_TRUE(table_.Seal(kMaker, id, false).ok());
  EXPECT_TRUE(table_.Contains(id));
  const ObjectEntry* const entry = table_.Pin(kReader, id);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->metadata, "meta");
  EXPECT_EQ(entry->data_bytes, 100U);
}

TEST_F(ObjectTableTest, RefusesWhatIsNotTheMakers) {
  const auto id = ObjectId::FromRandom();
  EXPECT_EQ(table_.Seal(kMaker, id, false).code(), StatusCode::kNotFound);
  EXPECT_EQ(table_.Abort(kMaker, id).code(), StatusCode::kNotFound);
  EXPECT_EQ(Create(id), StatusCode::kOk);
  EXPECT_EQ(Create(id), StatusCode::kAlreadyExists);
  EXPECT_EQ(table_.Seal(kReader, id, false).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(table_.Seal(kMaker, id, false).ok());
  EXPECT_EQ(table_.Seal(kMaker, id, false).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(table_.Abort(kMaker, id).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Create(id), StatusCode::kAlreadyExists);
  EXPECT_EQ(Create(ObjectId::Nil()), StatusCode::kInvalidArgument);
}

TEST_F(ObjectTableTest, DeletedObjectGoesWithItsLastPin) {
  const auto id = Sealed();
  const uint64_t offset = table_.Pin(kReader, id)->offset;
  table_.Pin(kReader, id);
  table_.Delete(id);
  EXPECT_FALSE(table_.Contains(id));
  EXPECT_EQ(table_.Pin(kReader, id), nullptr);
  table_.Release(kReader, offset);
  EXPECT_EQ(table_.object_count(), 1U);
  table_.Release(kMaker, offset);  // holds none
  EXPECT_EQ(table_.object_count(), 1U);
  table_.Release(kReader, offset);
  EXPECT_EQ(table_.object_count(), 0U);
  table_.Release(kReader, offset);
}

TEST_F(ObjectTableTest, DeletedIdCanBeMadeAnewWhileTheOldCopyIsPinned) {
  const auto id = Sealed();
  const uint64_t old_offset = table_.Pin(kReader, id)->offset;
  table_.Delete(id);
  EXPECT_EQ(Create(id, 200), StatusCode::kOk);
  EXPECT_TRUE(table_.Seal(kMaker, id, false).ok());
  const uint64_t new_offset = table_.Pin(kReader, id)->offset;
  EXPECT_NE(new_offset, old_offset);
  table_.Release(kReader, old_offset);
  EXPECT_EQ(table_.object_count(), 1U);
  EXPECT_TRUE(table_.Contains(id));
}

TEST_F(ObjectTableTest, DeletedWhileBeingWrittenGoesAtSeal) {
  const auto id = ObjectId::FromRandom();
  EXPECT_EQ(Create(id), StatusCode::kOk);
  table_.Delete(id);
  EXPECT_EQ(table_.object_count(), 1U);  // its maker still writes there
  EXPECT_EQ(Create(id), StatusCode::kAlreadyExists);
  EXPECT_TRUE(table_.Seal(kMaker, id, false).ok());
  EXPECT_EQ(table_.object_count(), 0U);
}

TEST_F(ObjectTableTest, DeletedWhileBeingWrittenStaysForItsMakersView) {
  const auto id = ObjectId::FromRandom();
  const auto offset = table_.Create(kMaker, id, 10, "", WorkerId());
  table_.Delete(id);
  EXPECT_TRUE(table_.Seal(kMaker, id, true).ok());
  EXPECT_FALSE(table_.Contains(id));
  EXPECT_EQ(table_.object_count(), 1U);
  table_.Release(kMaker, *offset);
  EXPECT_EQ(table_.object_count(), 0U);
}

TEST_F(ObjectTableTest, DroppedClientLosesCreationsAndPins) {
  const auto sealed = Sealed();
  EXPECT_EQ(Create(ObjectId::FromRandom()), StatusCode::kOk);
  const auto doomed = Sealed();
  table_.Pin(kReader, doomed);
  table_.Delete(doomed);
  table_.DropClient(kMaker);
  EXPECT_EQ(table_.object_count(), 2U);
  table_.DropClient(kReader);
  EXPECT_EQ(table_.object_count(), 1U);
  EXPECT_TRUE(table_.Contains(sealed));
}

TEST_F(ObjectTableTest, OwnersObjectsGoWithIt) {
  const auto owner = WorkerId::FromRandom();
  const auto owned = Sealed(owner);
  const auto pinned = Sealed(owner);
  const auto others = Sealed(WorkerId::FromRandom());
  const auto nobodys = Sealed();
  const uint64_t offset = table_.Pin(kReader, pinned)->offset;
  table_.DropOwner(owner);
  EXPECT_FALSE(table_.Contains(owned));
  EXPECT_FALSE(table_.Contains(pinned));
  EXPECT_TRUE(table_.Contains(others));
  EXPECT_TRUE(table_.Contains(nobodys));
  table_.Release(kReader, offset);
  EXPECT_EQ(table_.object_count(), 2U);
  table_.DropOwner(WorkerId::Nil());
  EXPECT_EQ(table_.object_count(), 2U);
  // A worker that has not heard of the death yet.
  EXPECT_EQ(Create(ObjectId::FromRandom(), 10, owner), StatusCode::kOwnerDied);
}

TEST_F(ObjectTableTest, FullStoreSaysWhatHoldsIt) {
  const auto big = ObjectId::FromRandom();
  EXPECT_EQ(Create(big, 60U << 10), StatusCode::kOk);
  EXPECT_TRUE(table_.Seal(kMaker, big, false).ok());
  table_.Pin(kReader, big);
  table_.Pin(kReader, big);
  const auto refused = table_.Create(kMaker, ObjectId::FromRandom(), 8U << 10, "", WorkerId());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kOutOfMemory);
  EXPECT_THAT(refused.error().message(), HasSubstr("8.0 KiB"));
  EXPECT_THAT(refused.error().message(), HasSubstr(big.Hex()));
  EXPECT_THAT(refused.error().message(), HasSubstr("pinned by process 102 (2 times)"));
  EXPECT_THAT(refused.error().message(), HasSubstr("made by process 101"));
  const auto impossible = table_.Create(kMaker, ObjectId::FromRandom(), 1 << 20, "", WorkerId());
  ASSERT_FALSE(impossible);
  EXPECT_THAT(impossible.error().message(), HasSubstr("1.0 MiB"));
  EXPECT_THAT(impossible.error().message(), HasSubstr("64.0 KiB"));
  EXPECT_FALSE(table_.Create(kMaker, ObjectId::FromRandom(), ~0ULL, "", WorkerId()));
}

TEST_F(ObjectTableTest, MetadataIsBounded) {
  const std::string metadata(ObjectTable::kMetadataBytesMax + 1, 'x');
  const auto refused = table_.Create(kMaker, ObjectId::FromRandom(), 1, metadata, WorkerId());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kInvalidArgument);
}

// Random histories over few ids, clients and owners; everything must always agree with everything.
class ObjectTableHistory : public testing::TestWithParam<uint32_t> {};

TEST_P(ObjectTableHistory, KeepsTheInvariants) {
  std::mt19937 random(GetParam());
  ObjectTable table(kSmallStoreBytes);
  std::vector<ObjectId> ids(12);
  for (auto& id : ids) id = ObjectId::FromRandom();
  std::vector<ClientNumber> clients;
  ClientNumber next_client = 1;
  std::multimap<ClientNumber, uint64_t> pins;
  for (int step = 0; step < 5000; ++step) {
    while (clients.size() < 4) {
      table.AddClient(next_client, static_cast<pid_t>(next_client));
      clients.push_back(next_client++);
    }
    const ObjectId& id = ids[random() % ids.size()];
    const ClientNumber client = clients[random() % clients.size()];
    switch (random() % 16) {
      case 0:
      case 1:
      case 2:
      case 3:
        (void)table.Create(client, id, random() % 2000, "",
                           random() % 3 == 0 ? WorkerId::FromRandom() : WorkerId());
        break;
      case 4:
      case 5:
      case 6: {
        ClientNumber maker = client;
        uint64_t offset = 0;
        table.ForEach([&](const ObjectEntry& entry) {
          if (!entry.sealed && entry.id == id) {
            maker = entry.maker;
            offset = entry.offset;
          }
        });
        const bool keep_pin = random() % 2 == 0;
        if (table.Seal(maker, id, keep_pin).ok() && keep_pin) {
          pins.emplace(maker, offset);
        }
        break;
      }
      case 7:
        (void)table.Abort(client, id);
        break;
      case 8:
      case 9:
      case 10:
        if (const ObjectEntry* entry = table.Pin(client, id)) pins.emplace(client, entry->offset);
        break;
      case 11:
      case 12:
        if (!pins.empty()) {
          auto it = pins.begin();
          std::advance(it, random() % pins.size());
          table.Release(it->first, it->second);
          pins.erase(it);
        }
        break;
      case 13:
        table.Delete(id);
        break;
      case 14: {
        std::vector<WorkerId> owners;
        table.ForEach([&](const ObjectEntry& entry) { owners.push_back(entry.owner); });
        if (!owners.empty()) table.DropOwner(owners[random() % owners.size()]);
        break;
      }
      default:
        if (random() % 8 == 0) {
          table.DropClient(client);
          pins.erase(client);
          std::erase(clients, client);
        } else {
          table.Release(client, random() % kSmallStoreBytes);  // made up, or perhaps not
          const std::string wrong = table.CheckInvariants();
          ASSERT_EQ(wrong, "");
        }
    }
    if (step % 8 == 0) {
      ASSERT_EQ(table.CheckInvariants(), "") << "step " << step;
    }
  }
  for (const ClientNumber client : clients) table.DropClient(client);
  for (const ObjectId& id : ids) table.Delete(id);
  EXPECT_EQ(table.object_count(), 0U);
  EXPECT_EQ(table.allocator().largest_free_run_bytes(), kSmallStoreBytes);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ObjectTableHistory, testing::Range(1U, 9U));

}  // namespace
}  // namespace rayc::plasma
