#include "raylet/line_splitter.h"

#include <gtest/gtest.h>

#include <random>

namespace rayc::raylet {
namespace {

using Lines = std::vector<std::string>;

TEST(LineSplitterTest, LinesComeWholeHoweverTheyArrive) {
  const std::string text = "one\n\ntwo three\nend";
  for (size_t step = 1; step <= text.size(); ++step) {
    LineSplitter splitter;
    Lines lines;
    for (size_t at = 0; at < text.size(); at += step) {
      splitter.Feed(std::string_view(text).substr(at, step), lines);
    }
    EXPECT_EQ(lines, (Lines{"one", "", "two three"}));
    EXPECT_TRUE(splitter.HasPartial());
    splitter.Flush(lines);
    EXPECT_EQ(lines.back(), "end");
    EXPECT_FALSE(splitter.HasPartial());
  }
}

TEST(LineSplitterTest, ALineWithoutAnEndIsCutBetweenCharacters) {
  LineSplitter splitter;
  Lines lines;
  std::string text(1, 'x');
  while (text.size() < 3 * LineSplitter::kLineBytesMax) {
    text += "\xe2\x82\xac";  // the euro sign
  }
  splitter.Feed(text, lines);
  ASSERT_EQ(lines.size(), 3U);
  std::string joined;
  for (const std::string& line : lines) {
    EXPECT_LE(line.size(), LineSplitter::kLineBytesMax);
    joined += line;
  }
  EXPECT_EQ((joined.size() - 1) % 3, 0U);
  splitter.Flush(lines);
  EXPECT_EQ(joined + lines.back(), text);
}

TEST(LineSplitterTest, BytesThatAreNoTextAreKeptAsTheyAre) {
  std::mt19937 random(3);
  std::string text;
  for (int i = 0; i < 300'000; ++i) {
    text.push_back(static_cast<char>(128 + random() % 64));
  }
  LineSplitter splitter;
  Lines lines;
  splitter.Feed(text, lines);
  splitter.Flush(lines);
  std::string joined;
  for (const std::string& line : lines) {
    joined += line;
  }
  EXPECT_EQ(joined, text);
}

}  // namespace
}  // namespace rayc::raylet
