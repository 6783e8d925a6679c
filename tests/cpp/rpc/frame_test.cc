#include "common/frame.h"

#include <gtest/gtest.h>

namespace rayc {
namespace {

TEST(FrameTest, HeaderChecksRejectWhatNoPeerOfOursSends) {
  FrameHeader header;
  EXPECT_EQ(FrameHeaderError(header), nullptr);
  header.payload_bytes = kFramePayloadBytesMax;
  EXPECT_EQ(FrameHeaderError(header), nullptr);
  header.payload_bytes = kFramePayloadBytesMax + 1;
  EXPECT_NE(FrameHeaderError(header), nullptr);
  header = {};
  header.flags = 1;
  EXPECT_NE(FrameHeaderError(header), nullptr);
  header = {};
  header.kind = static_cast<FrameKind>(4);
  EXPECT_NE(FrameHeaderError(header), nullptr);
}

TEST(FrameTest, PayloadsArePaddedToEight) {
  EXPECT_EQ(PaddedPayloadBytes(0), 0U);
  EXPECT_EQ(PaddedPayloadBytes(1), 8U);
  EXPECT_EQ(PaddedPayloadBytes(8), 8U);
  EXPECT_EQ(PaddedPayloadBytes(9), 16U);
}

}  // namespace
}  // namespace rayc
