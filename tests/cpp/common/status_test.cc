#include "common/status.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace rayc {
namespace {

Status Half(int value, int* half) {
  if (value % 2 != 0) {
    return Status::InvalidArgument("odd");
  }
  *half = value / 2;
  return Status::Ok();
}

Status Quarter(int value, int* quarter) {
  int half = 0;
  RAYC_RETURN_NOT_OK(Half(value, &half));
  return Half(half, quarter);
}

TEST(StatusTest, OkIsTheDefaultAndHasNoText) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.ToString(), "OK");
  EXPECT_TRUE(Status(StatusCode::kOk, "ignored").ok());
}

TEST(StatusTest, FailuresCarryCodeAndText) {
  const Status status = Status::NotFound("no actor 'x'");
  const Status copy = status;  // NOLINT(performance-unnecessary-copy-initialization)
  EXPECT_FALSE(copy.ok());
  EXPECT_EQ(copy.code(), StatusCode::kNotFound);
  EXPECT_EQ(copy.ToString(), "NotFound: no actor 'x'");
}

TEST(StatusTest, EveryCodeHasItsOwnName) {
  for (int code = 0; code <= static_cast<int>(StatusCode::kPlacementGroupRemoved); ++code) {
    EXPECT_NE(StatusCodeName(static_cast<StatusCode>(code)), "Unknown") << code;
  }
}

TEST(StatusTest, AFullDiskIsToldApartFromOtherErrors) {
  EXPECT_EQ(Status::FromErrno("write", ENOSPC).code(), StatusCode::kOutOfDisk);
  EXPECT_EQ(Status::FromErrno("write", EACCES).code(), StatusCode::kIOError);
  EXPECT_EQ(Status::FromErrno("write", EACCES).message(), "write: Permission denied");
}

TEST(StatusTest, TheFirstFailureIsReturned) {
  int quarter = 0;
  EXPECT_TRUE(Quarter(8, &quarter).ok());
  EXPECT_EQ(quarter, 2);
  EXPECT_EQ(Quarter(6, &quarter).code(), StatusCode::kInvalidArgument);
}

TEST(StatusTest, ResultsHoldAValueOrAStatus) {
  const Result<int> value = 3;
  const Result<int> error = Err(Status::TimedOut("late"));
  EXPECT_TRUE(value);
  ASSERT_FALSE(error);
  EXPECT_EQ(error.error().code(), StatusCode::kTimedOut);
}

}  // namespace
}  // namespace rayc
