#include "plasma/wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "plasma/byte_size.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

void Feed(FrameReader& reader, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto room = reader.Room();
    const size_t part = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), part);
    reader.Filled(part);
    bytes.remove_prefix(part);
  }
}

std::string CreateFrame(const ObjectId& id, const std::string& metadata) {
  flatbuffers::FlatBufferBuilder builder;
  const auto object_id = BuildId(builder, id);
  const auto text =
      builder.CreateVector(reinterpret_cast<const uint8_t*>(metadata.data()), metadata.size());
  builder.Finish(fb::CreatePlasmaCreate(builder, object_id, 17, text));
  std::string out;
  AppendFrame(out, Method::kPlasmaCreate, FrameKind::kRequest, 99, builder);
  return out;
}

TEST(WireTest, FramesSurviveAnyCutting) {
  std::mt19937 random(7);
  std::string stream;
  std::vector<ObjectId> ids;
  for (int i = 0; i < 200; ++i) {
    ids.push_back(ObjectId::FromRandom());
    stream += CreateFrame(ids.back(), std::string(random() % 9000, 'm'));
  }
  FrameReader reader(1 << 20);
  size_t taken = 0;
  for (std::string_view rest = stream; !rest.empty();) {
    const size_t part = std::min<size_t>(rest.size(), 1 + random() % 20000);
    // As a connection does it: whole frames are taken before more is read.
    for (std::string_view piece = rest.substr(0, part); !piece.empty();) {
      const auto room = reader.Room();
      const size_t fits = std::min(room.size(), piece.size());
      std::memcpy(room.data(), piece.data(), fits);
      reader.Filled(fits);
      piece.remove_prefix(fits);
      Frame frame;
      while (reader.Take(&frame) == FrameReader::Next::kFrame) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(frame.payload) % 8, 0U);
        const auto* message = frame.As<fb::PlasmaCreate>();
        ASSERT_NE(message, nullptr);
        EXPECT_EQ(ObjectId::FromBytes(message->object_id()), ids[taken]);
        ++taken;
      }
    }
    rest.remove_prefix(part);
  }
  EXPECT_EQ(taken, ids.size());
  EXPECT_TRUE(reader.empty());
}

TEST(WireTest, AnAnnouncedLengthAloneTakesNoMemory) {
  FrameHeader header;
  header.payload_bytes = 1 << 29;
  FrameReader reader(1 << 30);
  Feed(reader, {reinterpret_cast<const char*>(&header), sizeof(header)});
  EXPECT_LE(reader.Room().size(), 64U << 10);
  Frame frame;
  EXPECT_EQ(reader.Take(&frame), FrameReader::Next::kMore);
}

TEST(WireTest, RefusesWhatNoPeerSends) {
  FrameHeader header;
  header.payload_bytes = 1001;
  FrameReader too_large(1000);
  Feed(too_large, {reinterpret_cast<const char*>(&header), sizeof(header)});
  Frame frame;
  EXPECT_EQ(too_large.Take(&frame), FrameReader::Next::kMalformed);
  EXPECT_EQ(too_large.Take(&frame), FrameReader::Next::kMalformed);

  std::string bytes = CreateFrame(ObjectId::FromRandom(), "x");
  std::mt19937 random(11);
  for (int i = 0; i < 20000; ++i) {
    std::string broken = bytes;
    for (uint32_t j = 0; j <= random() % 3; ++j) {
      broken[sizeof(FrameHeader) + random() % (broken.size() - sizeof(FrameHeader))] =
          static_cast<char>(random());
    }
    FrameReader reader(1 << 20);
    Feed(reader, broken);
    ASSERT_EQ(reader.Take(&frame), FrameReader::Next::kFrame);
    if (const auto* message = frame.As<fb::PlasmaCreate>()) {
      (void)ObjectId::FromBytes(message->object_id());
      if (message->metadata() != nullptr) (void)message->metadata()->size();
    }
  }
}

TEST(WireTest, StatusTravels) {
  flatbuffers::FlatBufferBuilder builder;
  BuildStatus(builder, Status::OutOfMemory("full"));
  std::string out;
  AppendFrame(out, Method::kPlasmaCreate, FrameKind::kErrorReply, 1, builder);
  FrameReader reader(1000);
  Feed(reader, out);
  Frame frame;
  ASSERT_EQ(reader.Take(&frame), FrameReader::Next::kFrame);
  EXPECT_EQ(StatusOf(frame).code(), StatusCode::kOutOfMemory);
  EXPECT_EQ(StatusOf(frame).message(), "full");
}

TEST(ByteSizeTest, ReadsWhatPeopleWrite) {
  EXPECT_EQ(ParseByteSize("1048576"), 1048576U);
  EXPECT_EQ(ParseByteSize("500M"), 500U << 20);
  EXPECT_EQ(ParseByteSize("2G"), 2ULL << 30);
  EXPECT_EQ(ParseByteSize("1.5g"), 3ULL << 29);
  EXPECT_EQ(ParseByteSize("64KiB"), 64U << 10);
  EXPECT_EQ(ParseByteSize("64kb"), 64U << 10);
  EXPECT_EQ(ParseByteSize("12B"), 12U);
  for (const char* wrong :
       {"", "G", "-1", "0", "2X", "2GG", "1e9", "nan", "inf", "9999999T", " 1"}) {
    EXPECT_EQ(ParseByteSize(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(FormatBytes(1), "1 byte");
  EXPECT_EQ(FormatBytes(1000), "1000 bytes");
  EXPECT_EQ(FormatBytes(3ULL << 29), "1.5 GiB");
}

}  // namespace
}  // namespace rayc::plasma
