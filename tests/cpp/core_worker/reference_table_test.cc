#include "core_worker/reference_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace rayc::core_worker {
namespace {

class ReferenceTableTest : public ::testing::Test {
 protected:
  static Address MakeAddress() { return {NodeId::FromRandom(), WorkerId::FromRandom(), "socket"}; }
  ObjectId NewId() { return ObjectId::ForReturn(TaskId::ForNormalTask(JobId::FromInt(1)), 1); }
  ObjectRefInfo Borrowed(const ObjectId& id) const { return {id, other_}; }

  const Address self_ = MakeAddress();
  const Address other_ = MakeAddress();
  const WorkerId borrower_ = WorkerId::FromRandom();
  ReferenceTable table_{self_};
  Releases releases_;
};

TEST_F(ReferenceTableTest, OwnedObjectGoesWithItsLastLocalReference) {
  const ObjectId id = NewId();
  table_.AddOwned(id, 2);
  table_.RemoveLocal(id, &releases_);
  EXPECT_TRUE(releases_.empty());
  EXPECT_TRUE(table_.IsOwned(id));
  table_.RemoveLocal(id, &releases_);
  EXPECT_EQ(releases_.owned, std::vector<ObjectId>{id});
  EXPECT_FALSE(table_.Has(id));
}

TEST_F(ReferenceTableTest, LookShowsEveryCount) {
  const ObjectId own = NewId();
  const ObjectId borrowed = NewId();
  table_.AddOwned(own, 2);
  table_.AddSubmitted({own, self_});
  table_.AddBorrower(own, borrower_);
  table_.AddContained(own, {Borrowed(borrowed)}, true);
  table_.SetCallSite(own, "file.py:1 in f");
  std::map<ObjectId, ReferenceTable::View> views;
  for (const ReferenceTable::View& view : table_.Look(10)) {
    views[view.id] = view;
  }
  ASSERT_EQ(views.size(), 2U);
  const ReferenceTable::View& first = views[own];
  EXPECT_EQ(first.owner, self_.worker_id);
  EXPECT_EQ(first.local, 2U);
  EXPECT_EQ(first.submitted, 1U);
  EXPECT_EQ(first.contained, 0U);
  EXPECT_EQ(first.borrowers, 1U);
  EXPECT_EQ(first.call_site, "file.py:1 in f");
  const ReferenceTable::View& second = views[borrowed];
  EXPECT_EQ(second.owner, other_.worker_id);
  EXPECT_EQ(second.local, 0U);
  EXPECT_EQ(second.contained, 1U);
  EXPECT_EQ(second.call_site, "");
  EXPECT_EQ(table_.Look(1).size(), 1U);
  EXPECT_TRUE(table_.Look(0).empty());
}

TEST_F(ReferenceTableTest, CallSitesGoWithTheirReferences) {
  const ObjectId id = NewId();
  table_.SetCallSite(id, "of nothing");
  EXPECT_EQ(table_.CallSiteOf(id), "");
  table_.AddOwned(id, 1);
  table_.SetCallSite(id, "file.py:1 in f");
  EXPECT_EQ(table_.CallSiteOf(id), "file.py:1 in f");
  table_.RemoveLocal(id, &releases_);
  table_.AddOwned(id, 1);
  EXPECT_EQ(table_.CallSiteOf(id), "");
}

TEST_F(ReferenceTableTest, RemovingTooOftenIsNothing) {
  const ObjectId id = NewId();
  table_.AddOwned(id, 1);
  table_.RemoveLocal(id, &releases_);
  table_.RemoveLocal(id, &releases_);
  table_.RemoveSubmitted(id, &releases_);
  EXPECT_EQ(releases_.owned.size(), 1U);
}

TEST_F(ReferenceTableTest, TaskUnderWayHoldsItsArguments) {
  const ObjectId id = NewId();
  table_.AddOwned(id, 1);
  table_.AddSubmitted({id, self_});
  table_.RemoveLocal(id, &releases_);
  EXPECT_TRUE(releases_.empty());
  table_.RemoveSubmitted(id, &releases_);
  EXPECT_EQ(releases_.owned.size(), 1U);
}

TEST_F(ReferenceTableTest, BorrowersHoldAnOwnedObject) {
  const ObjectId id = NewId();
  table_.AddOwned(id, 1);
  EXPECT_TRUE(table_.AddBorrower(id, borrower_));
  table_.RemoveLocal(id, &releases_);
  EXPECT_TRUE(releases_.empty());
  table_.RemoveBorrower(id, borrower_, &releases_);
  EXPECT_EQ(releases_.owned.size(), 1U);
}

TEST_F(ReferenceTableTest, RegistrationsOfABorrowerAreCounted) {
  // C gives its only reference back while somebody else registers C for a new one: whichever
  // message comes first, C stays registered once.
  const ObjectId id = NewId();
  table_.AddOwned(id, 1);
  table_.AddBorrower(id, borrower_);
  table_.AddBorrower(id, borrower_);
  table_.RemoveLocal(id, &releases_);
  table_.RemoveBorrower(id, borrower_, &releases_);
  EXPECT_TRUE(releases_.empty());
  table_.RemoveBorrower(id, borrower_, &releases_);
  EXPECT_EQ(releases_.owned.size(), 1U);
}

TEST_F(ReferenceTableTest, DeadBorrowerHoldsNothing) {
  const ObjectId first = NewId();
  const ObjectId second = NewId();
  for (const ObjectId& id : {first, second}) {
    table_.AddOwned(id, 1);
    table_.AddBorrower(id, borrower_);
    table_.AddBorrower(id, borrower_);
  }
  table_.RemoveLocal(first, &releases_);
  table_.RemoveBorrowerEverywhere(borrower_, &releases_);
  EXPECT_EQ(releases_.owned, std::vector<ObjectId>{first});
  EXPECT_TRUE(table_.Has(second));
}

TEST_F(ReferenceTableTest, NobodyBorrowsWhatIsNotOurs) {
  const ObjectId id = NewId();
  EXPECT_FALSE(table_.AddBorrower(id, borrower_));
  table_.AddLocal(Borrowed(id));
  EXPECT_FALSE(table_.AddBorrower(id, borrower_));
}

TEST_F(ReferenceTableTest, BorrowedReferenceIsRegisteredOnceAndGivenBack) {
  const ObjectId id = NewId();
  EXPECT_TRUE(table_.AddLocal(Borrowed(id)));
  const std::vector<ObjectRefInfo> taken = table_.TakeUnregistered();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].id, id);
  EXPECT_EQ(taken[0].owner, other_);
  EXPECT_FALSE(table_.AddLocal(Borrowed(id)));
  EXPECT_TRUE(table_.TakeUnregistered().empty());
  table_.RemoveLocal(id, &releases_);
  EXPECT_TRUE(releases_.empty());
  table_.RemoveLocal(id, &releases_);
  ASSERT_EQ(releases_.unborrow.size(), 1U);
  EXPECT_EQ(releases_.unborrow[0].registrations, 1U);
  EXPECT_EQ(releases_.borrowed, std::vector<ObjectId>{id});
}

TEST_F(ReferenceTableTest, ReferenceDroppedWithinItsTaskIsNeverRegistered) {
  const ObjectId id = NewId();
  table_.AddLocal(Borrowed(id));
  table_.RemoveLocal(id, &releases_);
  EXPECT_TRUE(releases_.unborrow.empty());
  EXPECT_EQ(releases_.borrowed.size(), 1U);
  EXPECT_TRUE(table_.TakeUnregistered().empty());
}

TEST_F(ReferenceTableTest, ContainedReferencesLiveWithTheirContainer) {
  const ObjectId outer = NewId();
  const ObjectId inner = NewId();
  const ObjectId foreign = NewId();
  table_.AddOwned(outer, 1);
  table_.AddOwned(inner, 1);
  table_.AddContained(outer, {{inner, self_}, Borrowed(foreign)}, true);
  table_.RemoveLocal(inner, &releases_);
  EXPECT_TRUE(releases_.empty());
  EXPECT_TRUE(table_.TakeUnregistered().empty());  // registered by whoever made the value
  table_.RemoveLocal(outer, &releases_);
  EXPECT_EQ(releases_.owned, (std::vector<ObjectId>{outer, inner}));
  ASSERT_EQ(releases_.unborrow.size(), 1U);
  EXPECT_EQ(releases_.unborrow[0].ref.id, foreign);
  EXPECT_EQ(table_.size(), 0U);
}

TEST_F(ReferenceTableTest, SameReferenceTwiceInAValueIsGivenBackTwice) {
  const ObjectId outer = NewId();
  const ObjectId foreign = NewId();
  table_.AddOwned(outer, 1);
  table_.AddContained(outer, {Borrowed(foreign), Borrowed(foreign)}, true);
  table_.RemoveLocal(outer, &releases_);
  ASSERT_EQ(releases_.unborrow.size(), 1U);
  EXPECT_EQ(releases_.unborrow[0].registrations, 2U);
}

TEST_F(ReferenceTableTest, DeepNestingIsReleasedWithoutRecursion) {
  constexpr int kDepth = 100'000;
  ObjectId outer = NewId();
  table_.AddOwned(outer, 1);
  const ObjectId first = outer;
  for (int i = 0; i < kDepth; ++i) {
    const ObjectId inner = NewId();
    table_.AddOwned(inner, 1);
    table_.AddContained(outer, {{inner, self_}}, false);
    table_.RemoveLocal(inner, &releases_);
    outer = inner;
  }
  EXPECT_TRUE(releases_.empty());
  table_.RemoveLocal(first, &releases_);
  EXPECT_EQ(releases_.owned.size(), kDepth + 1U);
  EXPECT_EQ(table_.size(), 0U);
}

TEST_F(ReferenceTableTest, BorrowedFromListsWhatAnOwnersDeathLoses) {
  const ObjectId id = NewId();
  table_.AddLocal(Borrowed(id));
  table_.AddOwned(NewId(), 1);
  EXPECT_EQ(table_.BorrowedFrom(other_.worker_id), std::vector<ObjectId>{id});
  EXPECT_TRUE(table_.BorrowedFrom(self_.worker_id).empty());
}

// Random operations against a model that counts.
TEST_F(ReferenceTableTest, RandomOperationsAgreeWithAModel) {
  struct Model {
    int local = 0;
    int submitted = 0;
    std::map<WorkerId, int> borrowers;
    bool alive = false;
    bool InUse() const { return local > 0 || submitted > 0 || !borrowers.empty(); }
  };
  std::mt19937 random(7);
  std::vector<ObjectId> ids;
  std::vector<WorkerId> workers;
  for (int i = 0; i < 8; ++i) ids.push_back(NewId());
  for (int i = 0; i < 3; ++i) workers.push_back(WorkerId::FromRandom());
  std::map<ObjectId, Model> model;
  size_t released = 0;
  size_t expected_releases = 0;
  for (int step = 0; step < 200'000; ++step) {
    const ObjectId& id = ids[random() % ids.size()];
    const WorkerId& worker = workers[random() % workers.size()];
    Model& entry = model[id];
    Releases releases;
    const bool was_alive = entry.alive;
    // Removals are more frequent than additions, so that counts come back to 0.
    switch (random() % 10) {
      case 0:
        table_.AddOwned(id, 1);
        ++entry.local;
        entry.alive = true;
        break;
      case 1:
        if (entry.alive) {
          table_.AddSubmitted({id, self_});
          ++entry.submitted;
        }
        break;
      case 2:
        EXPECT_EQ(table_.AddBorrower(id, worker), entry.alive);
        if (entry.alive) ++entry.borrowers[worker];
        break;
      case 3:
      case 7:
        table_.RemoveLocal(id, &releases);
        entry.local = std::max(0, entry.local - 1);
        break;
      case 4:
      case 8:
        table_.RemoveSubmitted(id, &releases);
        entry.submitted = std::max(0, entry.submitted - 1);
        break;
      case 5:
      case 9:
        table_.RemoveBorrower(id, worker, &releases);
        if (entry.borrowers.count(worker) != 0 && --entry.borrowers[worker] == 0) {
          entry.borrowers.erase(worker);
        }
        break;
      case 6:
        if (random() % 50 == 0) {
          table_.RemoveBorrowerEverywhere(worker, &releases);
          for (auto& [other, other_entry] : model) {
            if (other_entry.borrowers.erase(worker) != 0 && !other_entry.InUse()) {
              other_entry.alive = false;
              ++expected_releases;
            }
          }
        }
        break;
    }
    if (was_alive && entry.alive && !entry.InUse()) {
      entry.alive = false;
      ++expected_releases;
    }
    released += releases.owned.size();
    ASSERT_EQ(released, expected_releases) << "step " << step;
    ASSERT_EQ(table_.IsOwned(id), entry.alive) << "step " << step;
  }
  EXPECT_GT(released, 1'000U);
}

}  // namespace
}  // namespace rayc::core_worker
