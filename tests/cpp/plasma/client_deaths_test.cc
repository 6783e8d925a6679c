// A storm: client processes that do everything at once with the same few hundred objects are killed
// at random instants, while others go on and check what they read. The store agrees with itself
// after every death, and at the end all of its memory can be used again. (Death at each step in
// turn: steps/client_steps_test.cc.)
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/logging.h"
#include "plasma/client.h"
#include "plasma/client_nursery.h"
#include "plasma/store_host.h"
#include "plasma/test_objects.h"

namespace rayc::plasma {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kKills = 150;
#else
constexpr int kKills = 1100;
#endif
constexpr int kVictims = 4;  // that live at the same time
constexpr uint64_t kStoreBytes = 24U << 20;
constexpr uint64_t kSharedIds = 300;
constexpr uint64_t kShared = 1;            // TestId(kShared, n): anybody's
constexpr uint64_t kPrivate = 1ULL << 40;  // TestId(kPrivate + n, _): one survivor's alone

// One client and what it does at random.
class Busy {
 public:
  Busy(Client& client, uint64_t seed) : client_(client), random_(seed) {}

  // Empty, or what no client should ever see.
  std::string Step() {
    const ObjectId id = TestId(kShared, Below(kSharedIds));
    switch (Below(10)) {
      case 0:
      case 1:
      case 2:
        return Put(id);
      case 3:
      case 4:
      case 5:
        return Read(id);
      case 6:
      case 7:
        return Delete(id);
      case 8:
        return StartAndAbort(id);
      default:
        return LetGo();
    }
  }

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  uint64_t RandomBytes() {
    const double exponent = std::uniform_real_distribution<double>(0, 18)(random_);
    return Below(24) == 0 ? (1U << 20) + Below(1U << 20)
                          : static_cast<uint64_t>(std::exp2(exponent));
  }

 private:
  static std::string Unless(bool expected, const Status& status) {
    return expected ? std::string() : status.ToString();
  }

  std::string Put(const ObjectId& id) {
    const uint64_t bytes = RandomBytes();
    const bool pin = Below(3) == 0;
    const auto object =
        client_.Create(id, bytes, TestMetadata(bytes, Below(8) == 0),
                       {.wait_ms = static_cast<int64_t>(Below(20)), .evictable = Below(4) == 0});
    if (!object) {
      const StatusCode code = object.error().code();
      return Unless(code == StatusCode::kAlreadyExists || code == StatusCode::kOutOfMemory,
                    object.error());
    }
    FillTestObject(id, *object);
    if (!pin) {
      const Status sealed = client_.Seal(id);
      return Unless(sealed.ok(), sealed);
    }
    auto buffer = client_.SealAndPin(id);
    if (!buffer) {
      return buffer.error().ToString();
    }
    return {};
  }

  std::string Read(const ObjectId& first) {
    std::vector<ObjectId> ids = {first};
    for (uint64_t more = Below(4); more > 0; --more) {
      ids.push_back(TestId(kShared, Below(kSharedIds)));
    }
    auto values = client_.Get(ids, static_cast<int64_t>(Below(3)));
    if (!values) {  // what was spilled found no room
      return Unless(values.error().code() == StatusCode::kOutOfMemory, values.error());
    }
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!(*values)[i]) {
        continue;
      }
      if (std::string wrong = CheckTestObject(ids[i], *(*values)[i]); !wrong.empty()) {
        return wrong;
      }
      if (Below(2) == 0) {
        views_.emplace_back(ids[i], std::move(*(*values)[i]));
      }
    }
    return views_.size() > 6 ? LetGo() : std::string();
  }

  // What was viewed all the time has not changed.
  std::string LetGo() {
    if (views_.empty()) {
      return {};
    }
    const auto [id, value] = std::move(views_.front());
    views_.pop_front();
    return CheckTestObject(id, value);
  }

  std::string Delete(const ObjectId& id) {
    const Status deleted = client_.Delete(std::span(&id, 1));
    return Unless(deleted.ok(), deleted);
  }

  std::string StartAndAbort(const ObjectId& id) {
    const auto object = client_.Create(id, RandomBytes(), "");
    if (object) {
      const Status aborted = client_.Abort(id);
      return Unless(aborted.ok(), aborted);
    }
    return {};
  }

  Client& client_;
  std::mt19937_64 random_;
  std::deque<std::pair<ObjectId, ObjectValue>> views_;
};

int RunVictim(const std::string& socket_path, uint64_t seed) {
  const auto client = Client::Connect(socket_path);
  if (!client) {
    return 1;
  }
  Busy busy(**client, seed);
  while (true) {
    if (const std::string wrong = busy.Step(); !wrong.empty()) {
      (void)!::write(STDERR_FILENO, (wrong + "\n").data(), wrong.size() + 1);
      return 2;
    }
  }
}

// Never killed: besides the common objects it has some of its own, which nobody may lose.
std::string RunSurvivor(Client& client, uint64_t number, const std::atomic<bool>& stop) {
  Busy busy(client, kPrivate + number);
  std::deque<ObjectId> own;
  for (uint64_t next = 0; !stop || !own.empty();) {
    if (std::string wrong = busy.Step(); !wrong.empty()) {
      return wrong;
    }
    if (!stop && own.size() < 12) {
      const ObjectId id = TestId(kPrivate + number, next++);
      const Status put = PutTestObject(client, id, busy.RandomBytes(), {.wait_ms = 100});
      if (put.ok()) {
        own.push_back(id);
      } else if (put.code() != StatusCode::kOutOfMemory) {
        return put.ToString();
      }
      continue;
    }
    const ObjectId id = own.front();
    own.pop_front();
    const auto values = client.Get(std::span(&id, 1), 0);
    if (values && !(*values)[0]) {
      return "object " + id.Hex() + " of a survivor is lost";
    }
    if (!values && values.error().code() != StatusCode::kOutOfMemory) {
      return values.error().ToString();
    }
    if (values) {
      if (std::string wrong = CheckTestObject(id, *(*values)[0]); !wrong.empty()) {
        return wrong;
      }
    }
    if (const Status deleted = client.Delete(std::span(&id, 1)); !deleted.ok()) {
      return deleted.ToString();
    }
  }
  return {};
}

void FillToTheBrimAndEmpty(StoreHost& host) {
  const auto client = host.Connect();
  constexpr uint64_t kPieceBytes = 1U << 20;
  std::vector<ObjectId> ids;
  for (uint64_t i = 0; i < kStoreBytes / kPieceBytes; ++i) {
    ids.push_back(TestId(2, i));
    // Not sealed: cannot be spilled.
    const auto piece = client->Create(ids.back(), kPieceBytes, "");
    ASSERT_TRUE(piece) << "piece " << i << ": " << piece.error();
  }
  EXPECT_EQ(client->Create(TestId(3, 0), 64, "").error().code(), StatusCode::kOutOfMemory);
  for (const ObjectId& id : ids) {
    EXPECT_TRUE(client->Abort(id).ok());
  }
  EXPECT_TRUE(client->Create(TestId(3, 0), kStoreBytes, ""));
}

void Storm(bool spilling) {
  InitLogging("plasma_tests", LogLevel::kError, "");
  StoreHost host;
  ClientNursery nursery(
      [path = host.socket_path()](uint64_t seed) { return RunVictim(path, seed); });
  StoreOptions options;
  options.capacity_bytes = kStoreBytes;
  options.populate.ahead_bytes = 0;
  if (spilling) {
    options.spill.folders = {host.spill_folder()};
    options.spill.file_bytes = 4U << 20;
  }
  host.Start(options);

  std::atomic<bool> stop{false};
  std::vector<std::thread> survivors;
  std::vector<std::string> wrong(2);
  for (uint64_t i = 0; i < wrong.size(); ++i) {
    survivors.emplace_back([&, i] {
      const auto client = host.Connect();
      wrong[i] = RunSurvivor(*client, i, stop);
      if (!wrong[i].empty()) {
        stop = true;
      }
    });
  }
  std::mt19937_64 random(20);
  std::vector<pid_t> victims;
  uint64_t seed = 1;
  for (int killed = 0; killed < kKills && !stop;) {
    while (victims.size() < kVictims) {
      victims.push_back(nursery.Begin(seed++));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 6000));
    std::swap(victims[random() % victims.size()], victims.back());
    const int status = nursery.Kill(victims.back());
    victims.pop_back();
    ++killed;
    EXPECT_TRUE(WIFSIGNALED(status)) << "a client ended by itself: " << WEXITSTATUS(status);
    const std::string disagreement = host.CheckInvariants();
    EXPECT_EQ(disagreement, "") << "after " << killed << " deaths";
    if (testing::Test::HasFailure()) {
      stop = true;
    }
  }
  for (const pid_t victim : victims) {
    (void)nursery.Kill(victim);
  }
  stop = true;
  for (size_t i = 0; i < survivors.size(); ++i) {
    survivors[i].join();
    EXPECT_EQ(wrong[i], "");
  }
  ASSERT_TRUE(host.Eventually([](Store& store) { return store.connection_count() == 0; }));
  EXPECT_EQ(host.CheckInvariants(), "");
  {
    const auto client = host.Connect();
    std::vector<ObjectId> ids;
    for (uint64_t i = 0; i < kSharedIds; ++i) {
      ids.push_back(TestId(kShared, i));
    }
    EXPECT_TRUE(client->Delete(ids).ok());
  }
  const auto empty = [](Store& store) {
    return store.object_count() == 0 && store.used_bytes() == 0;
  };
  ASSERT_TRUE(host.Eventually(empty)) << host.Describe();
  EXPECT_EQ(host.CheckInvariants(), "");
  FillToTheBrimAndEmpty(host);
  ASSERT_TRUE(host.Eventually(empty)) << host.Describe();
  EXPECT_EQ(host.CheckInvariants(), "");
}

TEST(ClientDeathsTest, AStormOfKillsLeavesNothingBehind) { Storm(/*spilling=*/false); }
TEST(ClientDeathsTest, AStormOfKillsWhileTheStoreSpills) { Storm(/*spilling=*/true); }

}  // namespace
}  // namespace rayc::plasma
