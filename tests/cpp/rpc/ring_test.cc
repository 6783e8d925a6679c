#include "rpc/ring.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/shared_memory.h"
#include "fakes/fuzz.h"

namespace rayc::rpc {
namespace {

using Outcome = RingReader::Outcome;

constexpr uint64_t kCapacity = 64 << 10;
constexpr uint64_t kControlBytes = 4096;
constexpr size_t kAll = 1 << 20;

class RingTest : public ::testing::Test {
 protected:
  RingTest() : memory_(*MakeSharedMemory("ring-test", kControlBytes + kCapacity)) {}
  ~RingTest() override { UnmapSharedMemory(memory_.base, memory_.bytes); }

  bool Write(const std::string& text, uint64_t request = 0) {
    FrameHeader header;
    header.payload_bytes = static_cast<uint32_t>(text.size());
    header.request_id = request;
    return writer_.Write(header, reinterpret_cast<const uint8_t*>(text.data()));
  }
  static std::vector<std::string> Texts(const RingReader::Batch& batch) {
    std::vector<std::string> texts;
    for (size_t at = 0; at < batch.bytes;) {
      FrameHeader header;
      std::memcpy(&header, batch.frames + at, sizeof(header));
      texts.emplace_back(reinterpret_cast<const char*>(batch.frames) + at + sizeof(header),
                         header.payload_bytes);
      at += sizeof(header) + PaddedPayloadBytes(header.payload_bytes);
    }
    return texts;
  }
  std::vector<std::string> ReadTexts() {
    const RingReader::Batch batch = reader_.Read(kAll);
    EXPECT_EQ(batch.outcome, Outcome::kRead);
    return Texts(batch);
  }
  int64_t MemoryTaken() const {
    struct stat info {};
    fstat(memory_.fd.get(), &info);
    return info.st_blocks * 512;
  }
  // As a broken peer would.
  template <typename T>
  void Scribble(uint64_t at, T value) {
    std::memcpy(data_ + at, &value, sizeof(value));
  }

  SharedMemory memory_;
  RingControl* control_ = reinterpret_cast<RingControl*>(memory_.base);
  uint8_t* data_ = memory_.base + kControlBytes;
  RingWriter writer_{control_, data_, kCapacity};
  RingReader reader_{control_, data_, kCapacity};
};

TEST_F(RingTest, WhatIsWrittenIsReadInOrder) {
  EXPECT_TRUE(ReadTexts().empty());
  EXPECT_TRUE(Write("one"));
  EXPECT_TRUE(Write(""));
  EXPECT_TRUE(Write("three"));
  EXPECT_FALSE(reader_.IsEmpty());
  EXPECT_EQ(ReadTexts(), (std::vector<std::string>{"one", "", "three"}));
  EXPECT_TRUE(reader_.IsEmpty());
  EXPECT_TRUE(ReadTexts().empty());
}

TEST_F(RingTest, FramesOfAllSizesComeRoundTheEnd) {
  std::mt19937_64 random(rayc::testing::FuzzSeed());
  std::deque<std::string> expected;
  size_t written = 0;
  while (written < 40 * kCapacity) {
    std::string text(random() % 3 == 0 ? random() % (kCapacity / 4 - 16) : random() % 300, 'x');
    for (char& byte : text) {
      byte = static_cast<char>(random());
    }
    if (Write(text)) {
      written += text.size();
      expected.push_back(std::move(text));
    } else {
      EXPECT_FALSE(expected.empty()) << "an empty ring has room for any frame that fits";
    }
    if (random() % 4 == 0 || expected.size() > 200) {
      const RingReader::Batch batch = reader_.Read(1 + random() % 20'000);
      ASSERT_EQ(batch.outcome, Outcome::kRead);
      for (const std::string& got : Texts(batch)) {
        ASSERT_EQ(got, expected.front());
        expected.pop_front();
      }
    }
  }
  for (const std::string& got : ReadTexts()) {
    ASSERT_EQ(got, expected.front());
    expected.pop_front();
  }
  EXPECT_TRUE(expected.empty());
}

TEST_F(RingTest, AFullRingTellsWhenThereIsRoom) {
  const std::string text(1000, 'f');
  int count = 0;
  while (Write(text)) {
    ++count;
  }
  EXPECT_GT(count, 50);
  EXPECT_FALSE(reader_.TakeWaitingWriter());  // it has not asked
  EXPECT_FALSE(writer_.AskForRoom());
  EXPECT_EQ(Texts(reader_.Read(1)).size(), 1U);
  EXPECT_FALSE(reader_.TakeWaitingWriter()) << "a little room is no news";
  EXPECT_EQ(static_cast<int>(Texts(reader_.Read(kAll)).size()), count - 1);
  EXPECT_TRUE(reader_.TakeWaitingWriter());
  EXPECT_FALSE(reader_.TakeWaitingWriter());  // once
  EXPECT_TRUE(writer_.AskForRoom());
  EXPECT_FALSE(reader_.TakeWaitingWriter());  // it knows
  EXPECT_TRUE(Write(std::string(kCapacity / 4 - 16, 'l')));
}

TEST_F(RingTest, AMarkStandsForAFrameThatComesAside) {
  EXPECT_FALSE(writer_.Fits(kCapacity / 4 + 8));
  EXPECT_TRUE(writer_.Fits(kCapacity / 4));
  Write("before");
  EXPECT_TRUE(writer_.WriteAside());
  Write("after");
  const RingReader::Batch batch = reader_.Read(kAll);
  EXPECT_EQ(batch.outcome, Outcome::kAside);
  EXPECT_EQ(Texts(batch), std::vector<std::string>{"before"});
  EXPECT_EQ(ReadTexts(), std::vector<std::string>{"after"});
}

TEST_F(RingTest, LittleTrafficTouchesLittleMemory) {
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(Write(std::string(200, 'x')));
    ASSERT_EQ(ReadTexts().size(), 1U);
  }
  EXPECT_LE(MemoryTaken(), static_cast<int64_t>(kControlBytes + 3 * 4096));
}

TEST_F(RingTest, AnEmptyRingGivesItsMemoryBack) {
  for (int round = 0; round < 3; ++round) {
    while (Write(std::string(900, 'x'))) {
    }
    const int64_t full = MemoryTaken();
    EXPECT_GE(full, static_cast<int64_t>(kCapacity));
    writer_.Trim();
    EXPECT_EQ(MemoryTaken(), full) << "what is unread stays";
    EXPECT_FALSE(ReadTexts().empty());
    writer_.Trim();
    EXPECT_LE(MemoryTaken(), static_cast<int64_t>(kControlBytes));
    Write("again");
    EXPECT_EQ(ReadTexts(), std::vector<std::string>{"again"});
  }
}

TEST_F(RingTest, NonsenseIsSeen) {
  const auto outcome = [this] {
    RingReader reader(control_, data_, kCapacity);
    return reader.Read(kAll).outcome;
  };
  control_->head.store(kCapacity + 8);  // more than it holds
  EXPECT_EQ(outcome(), Outcome::kNonsense);
  control_->head.store(~uint64_t{0} - 7);  // before what was read
  EXPECT_EQ(outcome(), Outcome::kNonsense);
  control_->head.store(12);
  EXPECT_EQ(outcome(), Outcome::kNonsense);
  control_->head.store(8);  // half a header, not at the end
  EXPECT_EQ(outcome(), Outcome::kNonsense);
  control_->head.store(64);
  Scribble<uint32_t>(0, 100);  // a frame that is longer than what was written
  EXPECT_EQ(outcome(), Outcome::kNonsense);
  Scribble<uint32_t>(0, 0xffffffff);
  EXPECT_EQ(outcome(), Outcome::kNonsense);
  Scribble<uint32_t>(0, 0);
  Scribble<uint8_t>(6, 0xfe);  // a skip that does not go to the end
  EXPECT_EQ(outcome(), Outcome::kNonsense);
  control_->head.store(kCapacity);
  Scribble<uint32_t>(0, kCapacity / 2);  // larger than any frame of a ring
  Scribble<uint8_t>(6, 0);
  EXPECT_EQ(outcome(), Outcome::kNonsense);
}

TEST_F(RingTest, RandomBytesNeverLeadOutOfTheRing) {
  std::mt19937_64 random(rayc::testing::FuzzSeed());
  for (int round = 0; round < 3'000; ++round) {
    for (int i = 0; i < 200; ++i) {
      Scribble<uint64_t>(random() % (kCapacity / 8) * 8,
                         random() % 2 == 0 ? random() : random() % 64);
    }
    control_->head.store(random() % 3 == 0 ? random() : random() % (kCapacity / 8) * 8);
    control_->tail.store(random());
    RingReader reader(control_, data_, kCapacity);
    for (int i = 0; i < 5; ++i) {
      const RingReader::Batch batch = reader.Read(1 + random() % kCapacity);
      ASSERT_LE(batch.bytes, kCapacity);
      if (batch.outcome == Outcome::kNonsense) {
        break;
      }
      Texts(batch);  // every frame ends within the batch
    }
    RingWriter writer(control_, data_, kCapacity);  // against a reader that lies
    for (int i = 0; i < 100; ++i) {
      FrameHeader header;
      header.payload_bytes = static_cast<uint32_t>(random() % (kCapacity / 4 - 16));
      const std::string text(header.payload_bytes, 'w');
      writer.Write(header, reinterpret_cast<const uint8_t*>(text.data()));
      control_->tail.store(random());
    }
  }
}

TEST_F(RingTest, TwoThreadsAgree) {
  constexpr uint64_t kFrames = 200'000;
  std::thread writing([this] {
    std::mt19937_64 random(1);
    for (uint64_t i = 0; i < kFrames; ++i) {
      const std::string text(random() % 200, static_cast<char>(i));
      while (!Write(text, i)) {
        std::this_thread::yield();
      }
    }
  });
  std::mt19937_64 random(1);
  uint64_t next = 0;
  while (next < kFrames) {
    const RingReader::Batch batch = reader_.Read(kAll);
    ASSERT_EQ(batch.outcome, Outcome::kRead);
    for (size_t at = 0; at < batch.bytes; ++next) {
      FrameHeader header;
      std::memcpy(&header, batch.frames + at, sizeof(header));
      ASSERT_EQ(header.request_id, next);
      ASSERT_EQ(header.payload_bytes, random() % 200);
      if (header.payload_bytes > 0) {
        ASSERT_EQ(static_cast<char>(batch.frames[at + sizeof(header)]), static_cast<char>(next));
      }
      at += sizeof(header) + PaddedPayloadBytes(header.payload_bytes);
    }
    if (batch.bytes == 0) {
      std::this_thread::yield();
    }
  }
  writing.join();
}

}  // namespace
}  // namespace rayc::rpc
