#include "core_worker/memory_store.h"

#include <gtest/gtest.h>

namespace rayc::core_worker {
namespace {

ObjectId NewId() { return ObjectId::ForReturn(TaskId::ForNormalTask(JobId::FromInt(1)), 1); }
StoredObject Inline(const std::string& text) {
  return {{HeapBuffer::Copy(text), "b"}, false, text.size()};
}

TEST(MemoryStoreTest, PutMakesReadyAndEraseForgets) {
  MemoryStore store;
  const ObjectId id = NewId();
  EXPECT_EQ(store.Find(id), nullptr);
  store.Put(id, Inline("x"));
  ASSERT_NE(store.Find(id), nullptr);
  EXPECT_EQ(store.Find(id)->value.data->View(), "x");
  store.Erase(id);
  EXPECT_EQ(store.Find(id), nullptr);
}

TEST(MemoryStoreTest, SecondResultOfTheSameTaskChangesNothing) {
  MemoryStore store;
  const ObjectId id = NewId();
  store.Put(id, Inline("first"));
  store.Put(id, Inline("second"));
  EXPECT_EQ(store.Find(id)->value.data->View(), "first");
  store.Put(id, Inline("third"), true);
  EXPECT_EQ(store.Find(id)->value.data->View(), "third");
}

TEST(MemoryStoreTest, CallbacksRunOnceAtPut) {
  MemoryStore store;
  const ObjectId id = NewId();
  int calls = 0;
  const auto count = [&](const ObjectId& ready, const StoredObject& object) {
    EXPECT_EQ(ready, id);
    EXPECT_EQ(object.value.data->View(), "x");
    ++calls;
  };
  EXPECT_NE(store.WhenReady(id, count), 0U);
  EXPECT_NE(store.WhenReady(id, count), 0U);
  store.Put(id, Inline("x"));
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(store.WhenReady(id, count), 0U);
  EXPECT_EQ(calls, 3);
  store.Put(id, Inline("x"));
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(store.waiting(), 0U);
}

TEST(MemoryStoreTest, ForgottenCallbackDoesNotRun) {
  MemoryStore store;
  const ObjectId id = NewId();
  int calls = 0;
  const auto token = store.WhenReady(id, [&](const auto&, const auto&) { ++calls; });
  store.WhenReady(id, [&](const auto&, const auto&) { calls += 10; });
  store.Forget(id, token);
  store.Put(id, Inline("x"));
  EXPECT_EQ(calls, 10);
  store.Forget(id, token);
}

}  // namespace
}  // namespace rayc::core_worker
