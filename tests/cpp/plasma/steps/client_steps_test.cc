// A client is killed at each step of what it does to shared memory, and between: the store's
// invariants hold, and what the client had comes back. This program has its own build of the plasma
// library, in which every StepPoint is a numbered stop.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "common/logging.h"
#include "plasma/client.h"
#include "plasma/client_nursery.h"
#include "plasma/step_point.h"
#include "plasma/store_host.h"
#include "plasma/test_objects.h"

namespace rayc::plasma {
namespace {

// Of this process; 0: it is not to die.
std::atomic<uint64_t> steps_to_live{0};

}  // namespace

void StepPoint(const char* /*name*/) {
  if (steps_to_live.load() != 0 && steps_to_live.fetch_sub(1) == 1) {
    ::kill(::getpid(), SIGKILL);
    ::pause();
  }
}

namespace {

constexpr uint64_t kMany = 1U << 20;
constexpr uint64_t kLarge = 2U << 20;
constexpr uint64_t kIds = 64;  // that one run of a script uses at most
// Of objects that are there before the scripts.
constexpr uint64_t kOthers = 1ULL << 40;

#define EXPECT_IN_CHILD(condition) \
  if (!(condition)) return __LINE__ % 200 + 20

std::optional<ObjectValue> GetOne(Client& client, const ObjectId& id) {
  auto values = client.Get(std::span(&id, 1), 0);
  return values ? std::move((*values)[0]) : std::nullopt;
}
bool DeleteOne(Client& client, const ObjectId& id) { return client.Delete(std::span(&id, 1)).ok(); }

// Everything that an ordinary client does. `run` names its ids.
int OrdinaryScript(const std::string& socket_path, uint64_t run) {
  const auto connected = Client::Connect(socket_path);
  EXPECT_IN_CHILD(connected);
  Client& client = **connected;
  uint64_t next = 0;
  const auto new_id = [&] { return TestId(run, next++); };
  // Small and large: made, read, deleted; one stays.
  for (const uint64_t bytes : {uint64_t{100}, kLarge}) {
    const ObjectId stays = new_id();
    EXPECT_IN_CHILD(PutTestObject(client, stays, bytes).ok());
    const ObjectId goes = new_id();
    EXPECT_IN_CHILD(PutTestObject(client, goes, bytes).ok());
    auto view = GetOne(client, goes);
    EXPECT_IN_CHILD(view && CheckTestObject(goes, *view).empty());
    EXPECT_IN_CHILD(DeleteOne(client, goes));
    EXPECT_IN_CHILD(!GetOne(client, goes));
    view.reset();
    // Pinned as it is sealed.
    const ObjectId pinned = new_id();
    const auto object = client.Create(pinned, bytes, TestMetadata(bytes, false));
    EXPECT_IN_CHILD(object);
    FillTestObject(pinned, *object);
    auto buffer = client.SealAndPin(pinned);
    EXPECT_IN_CHILD(buffer);
    EXPECT_IN_CHILD(DeleteOne(client, pinned));
    buffer->reset();
    // Never sealed.
    const ObjectId aborted = new_id();
    EXPECT_IN_CHILD(client.Create(aborted, bytes, ""));
    EXPECT_IN_CHILD(client.Abort(aborted).ok());
    // Deleted while it is being written.
    const ObjectId doomed = new_id();
    EXPECT_IN_CHILD(client.Create(doomed, bytes, ""));
    EXPECT_IN_CHILD(DeleteOne(client, doomed));
    EXPECT_IN_CHILD(client.Create(doomed, bytes, "").error().code() == StatusCode::kAlreadyExists);
    EXPECT_IN_CHILD(client.Seal(doomed).ok());
    EXPECT_IN_CHILD(!GetOne(client, doomed));
    // The same id twice.
    EXPECT_IN_CHILD(client.Create(stays, bytes, "").error().code() == StatusCode::kAlreadyExists);
    const ObjectId twice = new_id();
    EXPECT_IN_CHILD(client.Create(twice, bytes, ""));
    EXPECT_IN_CHILD(client.Create(twice, bytes, "").error().code() == StatusCode::kAlreadyExists);
    // Its bytes end in metadata.
    const ObjectId tagged = new_id();
    EXPECT_IN_CHILD(PutTestObject(client, tagged, bytes, {}, /*long_metadata=*/true).ok());
    EXPECT_IN_CHILD(CheckTestObject(tagged, *GetOne(client, tagged)).empty());
  }
  // Another client's: looked at, and deleted.
  const ObjectId others = TestId(kOthers, run);
  auto view = GetOne(client, others);
  EXPECT_IN_CHILD(view);
  EXPECT_IN_CHILD(DeleteOne(client, others));
  // More than one region has room for.
  for (int i = 0; i < 6; ++i) {
    EXPECT_IN_CHILD(PutTestObject(client, new_id(), 150'000).ok());
  }
  // More entries than one grant has.
  for (int i = 0; i < 20; ++i) {
    EXPECT_IN_CHILD(PutTestObject(client, new_id(), 1).ok());
  }
  EXPECT_IN_CHILD(next <= kIds);
  return 0;
}

// In a store that is full of what can be spilled.
int FullStoreScript(const std::string& socket_path, uint64_t run) {
  const auto connected = Client::Connect(socket_path);
  EXPECT_IN_CHILD(connected);
  Client& client = **connected;
  const CreateOptions waits{.wait_ms = 20'000};
  EXPECT_IN_CHILD(PutTestObject(client, TestId(run, 0), kLarge, waits).ok());
  for (uint64_t i = 0; i < 8; ++i) {  // what was spilled, and then some
    auto view = GetOne(client, TestId(kOthers, i));
    EXPECT_IN_CHILD(view && CheckTestObject(TestId(kOthers, i), *view).empty());
  }
  EXPECT_IN_CHILD(PutTestObject(client, TestId(run, 1), 300'000, waits).ok());
  EXPECT_IN_CHILD(PutTestObject(client, TestId(run, 2), kLarge, waits).ok());
  EXPECT_IN_CHILD(DeleteOne(client, TestId(run, 0)));
  return 0;
}

class ClientStepsTest : public testing::Test {
 protected:
  ClientStepsTest() { InitLogging("plasma_steps_tests", LogLevel::kError, ""); }

  using Script = int (*)(const std::string&, uint64_t);
  // A nursery of clients that die at the step that is their argument.
  std::unique_ptr<ClientNursery> NurseryOf(Script script) {
    return std::make_unique<ClientNursery>([script, path = host_.socket_path()](uint64_t step) {
      steps_to_live = step;
      return script(path, step);
    });
  }

  // Runs it, killed at each step in turn, until it ends by itself; `check` after each.
  void KillAtEachStep(ClientNursery& nursery, const std::function<void(uint64_t step)>& prepare,
                      const std::function<void(uint64_t step)>& check) {
    for (uint64_t step = 1; step < kMany; ++step) {
      prepare(step);
      const auto connections =
          host_.Ask<size_t>([](Store& store) { return store.connection_count(); });
      const int status = nursery.Wait(nursery.Begin(step));
      ASSERT_TRUE(
          host_.Eventually([&](Store& store) { return store.connection_count() == connections; }));
      ASSERT_EQ(host_.CheckInvariants(), "") << "killed at step " << step;
      check(step);
      if (HasFatalFailure() || !WIFSIGNALED(status)) {
        EXPECT_TRUE(WIFEXITED(status));
        EXPECT_EQ(WEXITSTATUS(status), 0) << "20 + the line, modulo 200";
        RecordProperty("steps", static_cast<int>(step));
        return;
      }
      ASSERT_EQ(WTERMSIG(status), SIGKILL);
    }
  }

  void ExpectEmpty(uint64_t step) {
    ASSERT_TRUE(host_.Eventually([](Store& store) {
      return store.object_count() == 0 && store.used_bytes() == 0;
    })) << "killed at step "
        << step << ": " << host_.Describe();
    ASSERT_EQ(host_.CheckInvariants(), "") << "killed at step " << step;
  }

  StoreHost host_;
};

TEST_F(ClientStepsTest, KilledAtEachStepOfEverythingThatClientsDo) {
  const auto nursery = NurseryOf(&OrdinaryScript);
  host_.Start({.capacity_bytes = 32U << 20, .populate = {.ahead_bytes = 0}});
  const auto client = host_.Connect();
  const auto subscription = client->Subscribe();  // so that seals are noted too
  ASSERT_TRUE(subscription);
  KillAtEachStep(
      *nursery,
      [&](uint64_t step) { ASSERT_TRUE(PutTestObject(*client, TestId(kOthers, step), 5000).ok()); },
      [&](uint64_t step) {
        // What it had sealed is whole; and nothing else is there.
        std::vector<ObjectId> ids = {TestId(kOthers, step)};
        for (uint64_t i = 0; i < kIds; ++i) {
          ids.push_back(TestId(step, i));
        }
        {
          const auto values = client->Get(ids, 0);
          ASSERT_TRUE(values) << values.error();
          for (size_t i = 0; i < ids.size(); ++i) {
            if ((*values)[i]) {
              EXPECT_EQ(CheckTestObject(ids[i], *(*values)[i]), "");
            }
          }
          EXPECT_TRUE(client->Delete(ids).ok());
        }
        ExpectEmpty(step);
      });
  const auto all = TestId(kOthers, 0);
  EXPECT_TRUE(client->Create(all, 32U << 20, ""));
}

TEST_F(ClientStepsTest, KilledAtEachStepWhileTheStoreSpillsAndRestoresForIt) {
  const auto nursery = NurseryOf(&FullStoreScript);
  host_.Start({.capacity_bytes = 8U << 20,
               .spill = {.folders = {host_.spill_folder()}},
               .populate = {.ahead_bytes = 0}});
  const auto client = host_.Connect();
  KillAtEachStep(
      *nursery,
      [&](uint64_t /*step*/) {
        for (uint64_t i = 0; i < 10; ++i) {
          const Status put =
              PutTestObject(*client, TestId(kOthers, i), 1U << 20, {.wait_ms = 20'000});
          ASSERT_TRUE(put.ok()) << put;
        }
      },
      [&](uint64_t step) {
        std::vector<ObjectId> ids = {TestId(step, 0), TestId(step, 1), TestId(step, 2)};
        for (uint64_t i = 0; i < 10; ++i) {
          ids.push_back(TestId(kOthers, i));
        }
        for (size_t i = 0; i < ids.size(); ++i) {
          const auto value = client->Get(std::span(&ids[i], 1), 0);
          ASSERT_TRUE(value) << value.error();
          ASSERT_TRUE((*value)[0] || i < 3) << "the store lost an object that was spilled";
          if ((*value)[0]) {
            EXPECT_EQ(CheckTestObject(ids[i], *(*value)[0]), "");
          }
        }
        EXPECT_TRUE(client->Delete(ids).ok());
        ExpectEmpty(step);
      });
}

// What waits for room in the store is no step of the client's: these are killed while they wait.
void KillOneThatWaits(StoreHost& host, ClientNursery& nursery) {
  host.Start({.capacity_bytes = 8U << 20,
              .spill = {.folders = {host.spill_folder()}},
              .populate = {.ahead_bytes = 0}});
  const auto client = host.Connect();
  std::vector<ObjectId> ids;
  for (uint64_t i = 0; i < 12; ++i) {
    ids.push_back(TestId(kOthers, i));
    const Status put = PutTestObject(*client, ids.back(), 1U << 20, {.wait_ms = 20'000});
    ASSERT_TRUE(put.ok()) << put;
  }
  for (int round = 0; round < 4; ++round) {
    // The oldest are on disk; those that can be had are pinned, and so fill the arena.
    std::vector<ObjectValue> views;
    for (size_t i = 4; i < ids.size(); ++i) {
      auto view = GetOne(*client, ids[i]);
      ASSERT_TRUE(view);
      views.push_back(std::move(*view));
    }
    ASSERT_EQ(host.Ask<uint64_t>([](Store& store) { return store.used_bytes(); }), 8U << 20);
    const auto before = host.Ask<size_t>([](Store& store) { return store.connection_count(); });
    const pid_t child = nursery.Begin(0);
    // Its companion connection is the one that waits.
    ASSERT_TRUE(
        host.Eventually([&](Store& store) { return store.connection_count() == before + 2; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (round % 2 == 1) {
      views.clear();  // it may get its room just now
    }
    EXPECT_TRUE(WIFSIGNALED(nursery.Kill(child)) || round % 2 == 1);
    ASSERT_TRUE(host.Eventually([&](Store& store) { return store.connection_count() == before; }));
    ASSERT_EQ(host.CheckInvariants(), "");
    views.clear();
    for (const ObjectId& id : ids) {
      const auto view = GetOne(*client, id);
      ASSERT_TRUE(view);
      EXPECT_EQ(CheckTestObject(id, *view), "");
    }
    for (size_t i = 4; i < ids.size(); ++i) {
      (void)GetOne(*client, ids[i]);
    }
    ASSERT_EQ(host.CheckInvariants(), "");
  }
  EXPECT_TRUE(client->Delete(ids).ok());
  EXPECT_TRUE(host.Eventually([](Store& store) {
    return store.object_count() == 0 && store.used_bytes() == 0;
  })) << host.Describe();
  EXPECT_TRUE(client->Create(TestId(2, 2), 8U << 20, ""));
}

TEST(ClientWaitsTest, KilledWhileItsCreateWaitsForRoom) {
  StoreHost host;
  ClientNursery nursery([path = host.socket_path()](uint64_t) {
    const auto client = Client::Connect(path);
    return client && (*client)->Create(TestId(1, 1), kLarge, "", {.wait_ms = 600'000}) ? 0 : 1;
  });
  KillOneThatWaits(host, nursery);
}

TEST(ClientWaitsTest, KilledWhileItsGetWaitsForARestore) {
  StoreHost host;
  ClientNursery nursery([path = host.socket_path()](uint64_t) {
    const auto client = Client::Connect(path);
    return client && GetOne(**client, TestId(kOthers, 0)) ? 0 : 1;
  });
  KillOneThatWaits(host, nursery);
}

}  // namespace
}  // namespace rayc::plasma
