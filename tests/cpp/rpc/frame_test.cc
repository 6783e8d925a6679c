#include "common/frame.h"

#include <gtest/gtest.h>

namespace rayc {
namespace {

TEST(FrameTest, HeaderChecksRejectWhatNoPeerOfOursSends) {
  FrameHeader header;
  EXPECT_EQ(FrameHeaderError(header), nullptr);
  header.payload_bytes = kFramePayloadBytesMax + 1;
  EXPECT_NE(FrameHeaderError(header), nullptr);
  header = {};
  header.flags = 1;
  EXPECT_NE(FrameHeaderError(header), nullptr);
}

}  // namespace
}  // namespace rayc
