// The Spiller over real folders; the test's thread is the loop.
#include "plasma/spiller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <optional>
#include <random>

#include "common/logging.h"

namespace rayc::plasma {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kArenaBytes = 64U << 20;
constexpr uint64_t kMiB = 1U << 20;
constexpr double kNoLimit = 10;  // no file system is that full: writing goes on until it fails

class SpillerTest : public testing::Test {
 protected:
  using Locations = std::vector<SpillLocation>;

  SpillerTest() {
    InitLogging("plasma_tests", LogLevel::kError, "");  // full disks make it warn
    char folder[] = "/tmp/rayc-spill-test-XXXXXX";
    root_ = ::mkdtemp(folder);
    auto arena = Arena::Create(kArenaBytes);
    EXPECT_TRUE(arena) << arena.error();
    arena_ = *arena;
  }

  ~SpillerTest() override {
    spiller_.reset();
    for (const std::string& mounted : mounts_) {
      ::umount(mounted.c_str());
    }
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("rayc-spill"))) << "left behind";
    }
    fs::remove_all(root_);
  }

  std::string FolderPath(const std::string& name) const { return root_ + "/" + name; }

  SpillerOptions Options(const std::vector<std::string>& names) const {
    SpillerOptions options;
    for (const std::string& name : names) {
      options.folders.push_back(FolderPath(name));
    }
    options.disk_full_fraction = 1;
    return options;
  }

  void StartSpiller(SpillerOptions options) {
    spiller_ = std::make_unique<Spiller>(loop_, arena_, std::move(options));
    const Status status = spiller_->Start();
    ASSERT_TRUE(status.ok()) << status;
  }

  // A small file system of its own at that folder; false if we may not.
  bool MountTmpfs(const std::string& name, const std::string& options) {
    const std::string path = FolderPath(name);
    fs::create_directories(path);
    if (::mount("tmpfs", path.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      return false;
    }
    mounts_.push_back(path);
    return true;
  }

  bool RunUntil(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) {
        return false;
      }
      loop_.RunOnce(5);
    }
    return true;
  }

  void Fill(uint64_t offset, uint64_t bytes, uint32_t seed) {
    const std::string data = Pattern(bytes, seed);
    ASSERT_EQ(::pwrite(arena_->fd(), data.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
  }

  bool HasPattern(uint64_t offset, uint64_t bytes, uint32_t seed) const {
    std::string data(bytes, '\0');
    return ::pread(arena_->fd(), data.data(), bytes, static_cast<off_t>(offset)) ==
               static_cast<ssize_t>(bytes) &&
           data == Pattern(bytes, seed);
  }

  static std::string Pattern(uint64_t bytes, uint32_t seed) {
    std::string data(bytes, '\0');
    std::minstd_rand random(seed + 1);
    std::generate(data.begin(), data.end(), [&] { return static_cast<char>(random() >> 8); });
    return data;
  }

  Result<Locations> Write(std::vector<Spiller::Extent> extents) {
    std::optional<Result<Locations>> result;
    spiller_->Write(std::move(extents), [&](Result<Locations> got) {
      EXPECT_TRUE(loop_.OnLoop());
      result = std::move(got);
    });
    EXPECT_FALSE(result) << "answered before it returned";
    if (!RunUntil([&] { return result.has_value(); })) {
      return Err(Status::TimedOut("no answer to Write"));
    }
    return *result;
  }

  // Where one object of that size and pattern lies now.
  SpillLocation WriteOne(uint64_t bytes, uint32_t seed) {
    Fill(0, bytes, seed);
    auto written = Write({{0, bytes}});
    EXPECT_TRUE(written) << written.error();
    return written ? written->at(0) : SpillLocation();
  }

  Status Read(const SpillLocation& location, uint64_t offset) {
    std::optional<Status> result;
    spiller_->Read(location, offset, false, [&](Status status) {
      EXPECT_TRUE(loop_.OnLoop());
      result = std::move(status);
    });
    EXPECT_FALSE(result) << "answered before it returned";
    return RunUntil([&] { return result.has_value(); }) ? *result : Status::TimedOut("no answer");
  }

  // The store's own folder in that folder.
  std::string OwnFolder(const std::string& name) const {
    for (const auto& entry : fs::directory_iterator(FolderPath(name))) {
      if (entry.path().filename().string().starts_with("rayc-spill-")) {
        return entry.path();
      }
    }
    return "";
  }

  // Without the lock.
  std::vector<std::string> FilesIn(const std::string& name) const {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(OwnFolder(name))) {
      if (entry.path().filename() != "lock") {
        files.push_back(entry.path());
      }
    }
    return files;
  }

  bool NoFilesSoon(const std::string& name) {
    return RunUntil([&] { return FilesIn(name).empty(); });
  }

  std::string root_;
  EventLoop loop_;
  std::shared_ptr<const Arena> arena_;
  std::unique_ptr<Spiller> spiller_;
  std::vector<std::string> mounts_;
};

TEST_F(SpillerTest, EverySizeComesBackAsItWas) {
  StartSpiller(Options({"a"}));
  const std::vector<uint64_t> sizes = {
      0, 1, 63, 64, 4095, 4096, 100000, (256U << 10), (256U << 10) + 1, 3 * kMiB, 9 * kMiB + 77};
  std::vector<Spiller::Extent> extents;
  uint64_t offset = 1;  // aligned to nothing
  uint64_t total = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    Fill(offset, sizes[i], static_cast<uint32_t>(i));
    extents.push_back({offset, sizes[i]});
    offset += sizes[i] + 13;
    total += sizes[i];
  }
  const auto written = Write(extents);
  ASSERT_TRUE(written) << written.error();
  ASSERT_THAT(*written, SizeIs(sizes.size()));
  EXPECT_EQ(spiller_->live_bytes(), total);
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(written->at(i).bytes, sizes[i]);
    EXPECT_EQ(written->at(i).file, written->at(0).file);
    const uint64_t place = 40 * kMiB + i;
    const Status status = Read(written->at(i), place);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(HasPattern(place, sizes[i], static_cast<uint32_t>(i))) << sizes[i];
    EXPECT_TRUE(HasPattern(extents[i].offset, sizes[i], static_cast<uint32_t>(i)))
        << "the original";
  }
}

TEST_F(SpillerTest, AReadTouchesItsPlaceOnly) {
  StartSpiller(Options({"a"}));
  const SpillLocation location = WriteOne(5 * kMiB, 1);
  Fill(20 * kMiB, 6 * kMiB, 2);
  ASSERT_TRUE(Read(location, 20 * kMiB + 1000).ok());
  EXPECT_TRUE(HasPattern(20 * kMiB + 1000, 5 * kMiB, 1));
  const std::string around = Pattern(6 * kMiB, 2);
  std::string data(kMiB, '\0');
  ASSERT_EQ(::pread(arena_->fd(), data.data(), 1000, 20 * kMiB), 1000);
  EXPECT_EQ(data.substr(0, 1000), around.substr(0, 1000));
  ASSERT_EQ(::pread(arena_->fd(), data.data(), kMiB - 1000, 25 * kMiB + 1000), kMiB - 1000);
  EXPECT_EQ(data.substr(0, kMiB - 1000), around.substr(5 * kMiB + 1000));
}

TEST_F(SpillerTest, ManySmallObjectsShareFiles) {
  SpillerOptions options = Options({"a"});
  options.file_bytes = kMiB;
  StartSpiller(options);
  Fill(0, 8 * kMiB, 7);
  Locations all;
  for (uint64_t batch = 0; batch < 8; ++batch) {
    std::vector<Spiller::Extent> extents;
    for (uint64_t i = 0; i < 512; ++i) {
      extents.push_back({batch * 512 * 1024 + i * 1024, 1024});
    }
    const auto written = Write(extents);
    ASSERT_TRUE(written) << written.error();
    all.insert(all.end(), written->begin(), written->end());
  }
  EXPECT_EQ(spiller_->file_count(), 4U);
  const auto files = FilesIn("a");
  EXPECT_THAT(files, SizeIs(4));
  for (const std::string& file : files) {
    EXPECT_EQ(fs::file_size(file), kMiB);
  }
  for (size_t i = 0; i < all.size(); i += 97) {
    ASSERT_TRUE(Read(all[i], 32 * kMiB + i * 1024).ok());
  }
  const std::string data = Pattern(8 * kMiB, 7);
  for (size_t i = 0; i < all.size(); i += 97) {
    std::string got(1024, '\0');
    ASSERT_EQ(::pread(arena_->fd(), got.data(), 1024, static_cast<off_t>(32 * kMiB + i * 1024)),
              1024);
    EXPECT_EQ(got, data.substr(i * 1024, 1024));
  }
}

TEST_F(SpillerTest, AFileGoesWithTheLastOfItsObjects) {
  SpillerOptions options = Options({"a"});
  options.file_bytes = 3000;
  StartSpiller(options);
  Fill(0, 4000, 1);
  const auto full = Write({{0, 1000}, {1000, 1000}, {2000, 1000}});
  const auto open = Write({{0, 10}});
  ASSERT_TRUE(full && open);
  EXPECT_EQ(spiller_->file_count(), 2U);
  spiller_->Forget(full->at(0));
  spiller_->Forget(full->at(2));
  EXPECT_EQ(spiller_->file_count(), 2U);
  EXPECT_EQ(spiller_->live_bytes(), 1010U);
  ASSERT_TRUE(Read(full->at(1), 8000).ok());
  std::string middle(1000, '\0');
  ASSERT_EQ(::pread(arena_->fd(), middle.data(), 1000, 8000), 1000);
  EXPECT_EQ(middle, Pattern(4000, 1).substr(1000, 1000));
  spiller_->Forget(full->at(1));
  EXPECT_EQ(spiller_->file_count(), 1U);
  EXPECT_TRUE(RunUntil([&] { return FilesIn("a").size() == 1; }));
  // The one that has room still: nothing is written to it, so it goes too; the next is new.
  spiller_->Forget(open->at(0));
  EXPECT_EQ(spiller_->file_count(), 0U);
  EXPECT_EQ(spiller_->live_bytes(), 0U);
  EXPECT_TRUE(NoFilesSoon("a"));
  const SpillLocation next = WriteOne(500, 3);
  EXPECT_NE(next.file, open->at(0).file);
  ASSERT_TRUE(Read(next, 9000).ok());
  EXPECT_TRUE(HasPattern(9000, 500, 3));
}

// An object may be forgotten while the next Write goes on in its file.
TEST_F(SpillerTest, AFileIsKeptForAWriteUnderWay) {
  StartSpiller(Options({"a"}));
  for (uint32_t round = 0; round < 50; ++round) {
    const SpillLocation first = WriteOne(100, round);
    Fill(0, 50000, round);
    std::optional<Result<Locations>> second;
    spiller_->Write({{0, 50000}}, [&](Result<Locations> got) { second = std::move(got); });
    spiller_->Forget(first);
    ASSERT_TRUE(RunUntil([&] { return second.has_value(); }));
    ASSERT_TRUE(*second) << second->error();
    ASSERT_TRUE(Read((*second)->at(0), kMiB).ok());
    EXPECT_TRUE(HasPattern(kMiB, 50000, round));
    spiller_->Forget((*second)->at(0));
    EXPECT_EQ(spiller_->file_count(), 0U);
  }
  EXPECT_TRUE(NoFilesSoon("a"));
}

TEST_F(SpillerTest, AReadOutlivesItsObject) {
  StartSpiller(Options({"a"}));
  const SpillLocation location = WriteOne(10 * kMiB, 1);
  std::vector<Status> results;
  for (uint64_t i = 1; i < 4; ++i) {
    spiller_->Read(location, i * 15 * kMiB, false, [&](Status s) { results.push_back(s); });
  }
  spiller_->Forget(location);
  EXPECT_EQ(spiller_->live_bytes(), 0U);
  ASSERT_TRUE(RunUntil([&] { return results.size() == 3; }));
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(results[i].ok()) << results[i];
    EXPECT_TRUE(HasPattern((i + 1) * 15 * kMiB, 10 * kMiB, 1));
  }
  EXPECT_EQ(spiller_->file_count(), 0U);
  EXPECT_TRUE(NoFilesSoon("a"));
  EXPECT_EQ(Read(location, 0).code(), StatusCode::kNotFound);
}

TEST_F(SpillerTest, UrgentReadsGoFirst) {
  StartSpiller(Options({"a"}));
  const SpillLocation location = WriteOne(8 * kMiB, 1);
  std::vector<int> order;
  constexpr int kReads = 40;
  constexpr int kUrgent = 1000;
  for (int i = 0; i < kReads; ++i) {
    spiller_->Read(location, 16 * kMiB, false, [&, i](Status) { order.push_back(i); });
  }
  spiller_->Read(location, 32 * kMiB, true, [&](Status) { order.push_back(kUrgent); });
  ASSERT_TRUE(RunUntil([&] { return order.size() == kReads + 1; }));
  EXPECT_LT(std::find(order.begin(), order.end(), kUrgent) - order.begin(), kReads / 2);
  EXPECT_TRUE(HasPattern(32 * kMiB, 8 * kMiB, 1));
}

TEST_F(SpillerTest, FoldersTakeTurns) {
  SpillerOptions options = Options({"a", "b", "c"});
  options.file_bytes = 1000;
  StartSpiller(options);
  for (uint32_t i = 0; i < 6; ++i) {
    const SpillLocation location = WriteOne(1000, i);
    ASSERT_TRUE(Read(location, kMiB).ok());
    EXPECT_TRUE(HasPattern(kMiB, 1000, i));
  }
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_THAT(FilesIn(name), SizeIs(2)) << name;
  }
}

TEST_F(SpillerTest, AFullFolderIsPassedOverAndItsPartialFileRemoved) {
  if (!MountTmpfs("small", "size=1m")) {
    GTEST_SKIP() << "cannot mount a tmpfs";
  }
  SpillerOptions options = Options({"small", "large"});
  options.disk_full_fraction = kNoLimit;
  StartSpiller(options);
  const SpillLocation location = WriteOne(3 * kMiB, 1);
  EXPECT_THAT(FilesIn("small"), IsEmpty());
  EXPECT_THAT(FilesIn("large"), SizeIs(1));
  ASSERT_TRUE(Read(location, 8 * kMiB).ok());
  EXPECT_TRUE(HasPattern(8 * kMiB, 3 * kMiB, 1));
}

TEST_F(SpillerTest, AFileThatCannotGrowKeepsWhatItHas) {
  if (!MountTmpfs("small", "size=1m")) {
    GTEST_SKIP() << "cannot mount a tmpfs";
  }
  SpillerOptions options = Options({"small", "large"});
  options.disk_full_fraction = kNoLimit;
  StartSpiller(options);
  const SpillLocation first = WriteOne(500000, 1);
  ASSERT_THAT(FilesIn("small"), SizeIs(1));
  const SpillLocation second = WriteOne(2 * kMiB, 2);
  EXPECT_NE(second.file, first.file);
  EXPECT_THAT(FilesIn("large"), SizeIs(1));
  EXPECT_EQ(fs::file_size(FilesIn("small").at(0)), 500000U);
  ASSERT_TRUE(Read(first, 8 * kMiB).ok());
  ASSERT_TRUE(Read(second, 16 * kMiB).ok());
  EXPECT_TRUE(HasPattern(8 * kMiB, 500000, 1));
  EXPECT_TRUE(HasPattern(16 * kMiB, 2 * kMiB, 2));
  spiller_->Forget(first);
  EXPECT_TRUE(NoFilesSoon("small"));
}

TEST_F(SpillerTest, FullDisksAreNamed) {
  if (!MountTmpfs("one", "size=1m") || !MountTmpfs("two", "size=1m")) {
    GTEST_SKIP() << "cannot mount a tmpfs";
  }
  SpillerOptions options = Options({"one", "two"});
  options.disk_full_fraction = kNoLimit;
  StartSpiller(options);
  const auto written = Write({{0, 2 * kMiB}});
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), StatusCode::kOutOfDisk);
  EXPECT_THAT(written.error().message(), HasSubstr(OwnFolder("one") + ": "));
  EXPECT_THAT(written.error().message(), HasSubstr(OwnFolder("two") + ": "));
  EXPECT_THAT(written.error().message(), HasSubstr("No space left on device"));
  EXPECT_THAT(FilesIn("one"), IsEmpty());
  EXPECT_THAT(FilesIn("two"), IsEmpty());
  // What is small enough finds its place still.
  const SpillLocation location = WriteOne(100000, 5);
  EXPECT_TRUE(Read(location, kMiB).ok());
  EXPECT_TRUE(HasPattern(kMiB, 100000, 5));
}

TEST_F(SpillerTest, ADiskIsNotFilledBeyondItsLimit) {
  SpillerOptions options = Options({"a", "b"});
  options.disk_full_fraction = 0;
  StartSpiller(options);
  Fill(0, 100, 1);
  const auto written = Write({{0, 100}});
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), StatusCode::kOutOfDisk);
  EXPECT_THAT(written.error().message(), HasSubstr("100 bytes"));
  EXPECT_THAT(written.error().message(), HasSubstr(OwnFolder("a") + ": "));
  EXPECT_THAT(written.error().message(), HasSubstr(OwnFolder("b") + ": "));
  EXPECT_THAT(FilesIn("a"), IsEmpty());
  EXPECT_EQ(spiller_->file_count(), 0U);
}

// Without a handler SIGXFSZ ends the process.
TEST_F(SpillerTest, ALimitOnFileSizesIsAnErrorLikeOthers) {
  StartSpiller(Options({"a"}));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{kMiB, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto written = Write({{0, 2 * kMiB}});
  ::setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), StatusCode::kIOError);
  EXPECT_THAT(written.error().message(), HasSubstr("File too large"));
  EXPECT_THAT(FilesIn("a"), IsEmpty());
}

TEST_F(SpillerTest, AFolderThatIsGoneIsPassedOver) {
  SpillerOptions options = Options({"a", "b"});
  StartSpiller(options);
  fs::remove_all(OwnFolder("a"));
  const SpillLocation location = WriteOne(1000, 1);
  EXPECT_THAT(FilesIn("b"), SizeIs(1));
  ASSERT_TRUE(Read(location, kMiB).ok());
  spiller_->Forget(location);
  EXPECT_TRUE(NoFilesSoon("b"));
  fs::remove_all(OwnFolder("b"));
  const auto written = Write({{0, 100}});
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), StatusCode::kIOError);
  EXPECT_THAT(written.error().message(), HasSubstr("No such file or directory"));
}

TEST_F(SpillerTest, AFileThatWasTamperedWithIsAnError) {
  StartSpiller(Options({"a"}));
  for (const uint64_t bytes : {uint64_t{10000}, 9 * kMiB}) {
    const SpillLocation location = WriteOne(bytes, 1);
    const std::string path = FilesIn("a").at(0);
    fs::resize_file(path, bytes / 2 + 1);
    const Status cut = Read(location, 16 * kMiB);
    EXPECT_EQ(cut.code(), StatusCode::kIOError);
    EXPECT_THAT(cut.message(),
                HasSubstr(path + ": it ends at byte " + std::to_string(bytes / 2 + 1)));
    // What the failed one left half done is in nobody's way.
    const SpillLocation other = WriteOne(3 * kMiB, 2);
    EXPECT_TRUE(Read(other, 32 * kMiB).ok());
    EXPECT_TRUE(HasPattern(32 * kMiB, 3 * kMiB, 2));
    fs::remove(path);
    const Status removed = Read(location, 16 * kMiB);
    EXPECT_EQ(removed.code(), StatusCode::kIOError);
    EXPECT_THAT(removed.message(), HasSubstr(path + ": No such file or directory"));
    spiller_->Forget(location);
    spiller_->Forget(other);
    EXPECT_EQ(spiller_->file_count(), 0U);
    EXPECT_TRUE(NoFilesSoon("a"));
  }
}

TEST_F(SpillerTest, PlacesOutsideTheArenaAreRefused) {
  StartSpiller(Options({"a"}));
  EXPECT_EQ(Write({{kArenaBytes - 10, 11}}).error().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Write({{~0ULL, 2}}).error().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(Write({}).value(), IsEmpty());
  const SpillLocation location = WriteOne(100, 1);
  EXPECT_EQ(Read(location, kArenaBytes - 99).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Read({}, 0).code(), StatusCode::kNotFound);
}

TEST_F(SpillerTest, TheFolderIsPrivateAndGoesWithTheSpiller) {
  StartSpiller(Options({"deep/er"}));
  struct stat info {};
  const std::string own = OwnFolder("deep/er");
  ASSERT_EQ(::stat(own.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
  EXPECT_THAT(own, HasSubstr("rayc-spill-" + std::to_string(::getpid()) + "-"));
  WriteOne(1000, 1);
  ASSERT_EQ(::stat(FilesIn("deep/er").at(0).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  spiller_.reset();
  EXPECT_TRUE(fs::is_empty(FolderPath("deep/er")));
}

TEST_F(SpillerTest, FoldersThatCannotBeUsedAreNamedAtStart) {
  std::ofstream(FolderPath("file")) << "x";
  Spiller spiller(loop_, arena_, Options({"good", "file/below"}));
  const Status status = spiller.Start();
  EXPECT_EQ(status.code(), StatusCode::kIOError);
  EXPECT_THAT(status.message(), HasSubstr(FolderPath("file/below") + ": Not a directory"));
  EXPECT_EQ(OwnFolder("good"), "") << "left behind";
  if (MountTmpfs("read_only", "ro")) {
    Spiller other(loop_, arena_, Options({"read_only"}));
    EXPECT_THAT(other.Start().message(), HasSubstr("Read-only file system"));
  }
}

TEST_F(SpillerTest, WithoutFoldersNothingIsSpilled) {
  StartSpiller(Options({}));
  EXPECT_FALSE(spiller_->enabled());
  EXPECT_EQ(Write({{0, 100}}).error().code(), StatusCode::kIOError);
}

TEST_F(SpillerTest, WhatKilledStoresLeftIsRemovedAtStart) {
  const pid_t child = ::fork();
  if (child == 0) {
    Spiller spiller(loop_, arena_, Options({"a"}));
    ::_exit(spiller.Start().ok() ? 0 : 1);
  }
  int exited = 0;
  ASSERT_EQ(::waitpid(child, &exited, 0), child);
  ASSERT_EQ(exited, 0);
  const std::string stale = OwnFolder("a");
  ASSERT_THAT(stale, HasSubstr("rayc-spill-" + std::to_string(child) + "-"));
  std::ofstream(stale + "/1") << "an object";

  Spiller living(loop_, arena_, Options({"a"}));
  ASSERT_TRUE(living.Start().ok());
  EXPECT_FALSE(fs::exists(stale));
  const std::string kept = OwnFolder("a");

  // Others': a folder that has no lock yet, a file, a link, other names.
  const std::string fresh = FolderPath("a/rayc-spill-1-0123456789abcdef");
  fs::create_directory(fresh);
  fs::create_directory(FolderPath("a/mine"));
  fs::create_directory(FolderPath("elsewhere"));
  std::ofstream(FolderPath("elsewhere/lock")) << "";
  fs::create_directory_symlink(FolderPath("elsewhere"), FolderPath("a/rayc-spill-2-0"));
  StartSpiller(Options({"a"}));
  EXPECT_TRUE(fs::exists(kept));
  EXPECT_TRUE(fs::exists(fresh));
  EXPECT_TRUE(fs::exists(FolderPath("a/mine")));
  EXPECT_TRUE(fs::exists(FolderPath("elsewhere/lock")));
  fs::remove(fresh);
  fs::remove(FolderPath("a/rayc-spill-2-0"));
}

TEST_F(SpillerTest, DestructionDropsWhatHasNotBegun) {
  for (int round = 0; round < 20; ++round) {
    StartSpiller(Options({"a"}));
    const SpillLocation location = WriteOne(4 * kMiB, 1);
    int answers = 0;
    for (int i = 0; i < 10; ++i) {
      spiller_->Write({{0, 4 * kMiB}}, [&](const Result<Locations>&) { ++answers; });
      spiller_->Read(location, 16 * kMiB, i % 2 == 0, [&](const Status&) { ++answers; });
    }
    spiller_->Forget(location);
    if (round % 2 == 0) {
      ::usleep(static_cast<useconds_t>(round) * 500);
    }
    spiller_.reset();
    EXPECT_TRUE(fs::is_empty(FolderPath("a")));
    while (loop_.RunOnce(0) == EventLoop::Poll::kProgress) {
    }
    EXPECT_EQ(answers, 0);
  }
}

TEST_F(SpillerTest, ACallbackMayDestroyTheSpiller) {
  StartSpiller(Options({"a"}));
  spiller_->Write({{0, 1000}}, [&](const Result<Locations>&) { spiller_.reset(); });
  EXPECT_TRUE(RunUntil([&] { return spiller_ == nullptr; }));
  StartSpiller(Options({"a"}));
  const SpillLocation location = WriteOne(1000, 1);
  spiller_->Read(location, 5000, false, [&](const Status&) { spiller_.reset(); });
  EXPECT_TRUE(RunUntil([&] { return spiller_ == nullptr; }));
}

TEST_F(SpillerTest, ManyAtOnce) {
  SpillerOptions options = Options({"a", "b"});
  options.file_bytes = 200000;
  StartSpiller(options);
  struct Object {
    uint64_t bytes;
    uint32_t seed;
    SpillLocation location;
  };
  std::minstd_rand random(42);
  std::vector<Object> objects;
  int under_way = 0;
  for (uint32_t i = 0; i < 400; ++i) {
    const uint64_t bytes = 1 + random() % 70000;
    const uint64_t offset = static_cast<uint64_t>(i) * 70000;
    Fill(offset, bytes, i);
    ++under_way;
    spiller_->Write({{offset, bytes}}, [&, bytes, i](const Result<Locations>& written) {
      --under_way;
      ASSERT_TRUE(written) << written.error();
      objects.push_back({bytes, i, written->at(0)});
      std::swap(objects.back(), objects[random() % objects.size()]);
      if (random() % 3 == 0) {
        const Object object = objects.back();
        objects.pop_back();
        const uint64_t place = 32 * kMiB + static_cast<uint64_t>(object.seed) * 70000;
        ++under_way;
        spiller_->Read(object.location, place, random() % 2 == 0, [&, object, place](Status s) {
          --under_way;
          EXPECT_TRUE(s.ok()) << s;
          EXPECT_TRUE(HasPattern(place, object.bytes, object.seed));
        });
        spiller_->Forget(object.location);
      }
    });
    loop_.RunOnce(0);
  }
  ASSERT_TRUE(RunUntil([&] { return under_way == 0; }));
  EXPECT_EQ(spiller_->live_bytes(),
            std::accumulate(objects.begin(), objects.end(), uint64_t{0},
                            [](uint64_t sum, const Object& o) { return sum + o.bytes; }));
  for (const Object& object : objects) {
    ASSERT_TRUE(Read(object.location, 63 * kMiB).ok());
    EXPECT_TRUE(HasPattern(63 * kMiB, object.bytes, object.seed));
    spiller_->Forget(object.location);
  }
  EXPECT_EQ(spiller_->file_count(), 0U);
  EXPECT_TRUE(NoFilesSoon("a") && NoFilesSoon("b"));
}

}  // namespace
}  // namespace rayc::plasma
