#include "gcs/kv_store.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "fakes/fake_timers.h"

namespace rayc::gcs {
namespace {

class KvStoreTest : public ::testing::Test {
 protected:
  bool Put(const std::string& name_space, const std::string& key, const std::string& value,
           bool overwrite = true) {
    bool existed = false;
    kv_.Put(name_space, key, value, overwrite, [&](Result<bool> result) { existed = *result; });
    return existed;
  }
  KvStore::Value Get(const std::string& name_space, const std::string& key) {
    KvStore::Value value;
    kv_.Get(name_space, key, 0, [&](const Result<KvStore::Value>& result) { value = *result; });
    return value;
  }
  uint32_t Delete(const std::string& name_space, const std::string& key, bool by_prefix) {
    uint32_t count = 0;
    kv_.Delete(name_space, key, by_prefix, [&](Result<uint32_t> result) { count = *result; });
    return count;
  }
  std::vector<std::string> Keys(const std::string& name_space, const std::string& prefix) {
    std::vector<std::string> keys;
    kv_.Keys(name_space, prefix, [&](Result<std::vector<std::string>> result) { keys = *result; });
    return keys;
  }
  // Records the answer of a get that may wait.
  struct Waiting {
    int answers = 0;
    KvStore::Value value;
  };
  void GetWaiting(const std::string& key, int64_t wait_ms, Waiting& waiting) {
    kv_.Get("ns", key, wait_ms, [&waiting](const Result<KvStore::Value>& result) {
      ++waiting.answers;
      waiting.value = *result;
    });
  }

  testing::FakeTimers timers_;
  MemoryStore store_;
  KvStore kv_{store_, timers_};
};

TEST_F(KvStoreTest, KeysLiveInNamespaces) {
  EXPECT_FALSE(Put("a", "k", "1"));
  EXPECT_FALSE(Put("b", "k", "2"));
  EXPECT_EQ(Get("a", "k"), "1");
  EXPECT_EQ(Get("b", "k"), "2");
  EXPECT_EQ(Get("c", "k"), std::nullopt);
  const std::string binary("\0\xff", 2);
  EXPECT_FALSE(Put("", binary, binary));
  EXPECT_EQ(Get("", binary), binary);
}

TEST_F(KvStoreTest, OverwritingIsAChoice) {
  EXPECT_FALSE(Put("ns", "k", "1"));
  EXPECT_TRUE(Put("ns", "k", "2", /*overwrite=*/false));
  EXPECT_EQ(Get("ns", "k"), "1");
  EXPECT_TRUE(Put("ns", "k", "3"));
  EXPECT_EQ(Get("ns", "k"), "3");
}

TEST_F(KvStoreTest, DeletesByKeyAndByPrefix) {
  for (const char* key : {"f:1:a", "f:1:b", "f:10:a", "g"}) {
    Put("ns", key, "v");
  }
  EXPECT_EQ(Delete("ns", "f:1:", /*by_prefix=*/false), 0U);
  EXPECT_EQ(Delete("ns", "f:1:", /*by_prefix=*/true), 2U);
  EXPECT_EQ(Keys("ns", ""), (std::vector<std::string>{"f:10:a", "g"}));
  EXPECT_EQ(Delete("ns", "g", /*by_prefix=*/false), 1U);
  EXPECT_EQ(Delete("ns", "", /*by_prefix=*/true), 1U);
  EXPECT_EQ(Delete("other", "", /*by_prefix=*/true), 0U);
}

TEST_F(KvStoreTest, ListsKeysByPrefix) {
  for (const char* key : {"b1", "a", "b2", "c"}) {
    Put("ns", key, "v");
  }
  EXPECT_EQ(Keys("ns", "b"), (std::vector<std::string>{"b1", "b2"}));
  EXPECT_TRUE(Keys("ns", "z").empty());
  EXPECT_TRUE(Keys("other", "").empty());
}

TEST_F(KvStoreTest, AGetMayWaitForItsKey) {
  Waiting first;
  Waiting second;
  Waiting other;
  GetWaiting("k", 100, first);
  GetWaiting("k", 200, second);
  GetWaiting("x", 100, other);
  Put("elsewhere", "k", "no");
  EXPECT_EQ(first.answers, 0);
  Put("ns", "k", "v");
  EXPECT_EQ(first.answers, 1);
  EXPECT_EQ(first.value, "v");
  EXPECT_EQ(second.value, "v");
  EXPECT_EQ(other.answers, 0);
  EXPECT_EQ(timers_.waiting(), 1U);
  timers_.AdvanceMs(1'000);
  EXPECT_EQ(first.answers, 1);
  EXPECT_EQ(other.answers, 1);
  EXPECT_EQ(other.value, std::nullopt);
  EXPECT_EQ(kv_.waiting(), 0U);
}

TEST_F(KvStoreTest, AGetOfWhatIsThereDoesNotWait) {
  Put("ns", "k", "v");
  Waiting waiting;
  GetWaiting("k", 100, waiting);
  EXPECT_EQ(waiting.value, "v");
  EXPECT_EQ(timers_.waiting(), 0U);
  Waiting negative;
  GetWaiting("x", -5, negative);
  EXPECT_EQ(negative.answers, 1);
}

TEST_F(KvStoreTest, WhoIsWokenMayAskAgain) {
  Waiting again;
  kv_.Get("ns", "k", 100, [&](const Result<KvStore::Value>& /*value*/) {
    GetWaiting("k2", 100, again);
    Put("ns", "k2", "w");
  });
  Put("ns", "k", "v");
  EXPECT_EQ(again.value, "w");
}

TEST_F(KvStoreTest, NoTimerOutlivesTheStore) {
  {
    KvStore kv(store_, timers_);
    kv.Get("ns", "k", 100, [](const Result<KvStore::Value>& /*value*/) { FAIL(); });
  }
  EXPECT_EQ(timers_.waiting(), 0U);
}

}  // namespace
}  // namespace rayc::gcs
