// Random bytes are written over the index and the clients' segments of a store that is in use. It
// may lose objects and refuse what it is asked for; it never crashes, hangs, or reads and writes
// what is not its own (which AddressSanitizer tells).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/logging.h"
#include "common/shared_memory.h"
#include "plasma/client.h"
#include "plasma/client_socket.h"

#include "plasma/store_host.h"
#include "plasma/test_objects.h"

namespace rayc::plasma {
namespace {

constexpr uint64_t kStoreBytes = 8U << 20;
constexpr auto kDuration = std::chrono::milliseconds(2500);

struct Memory {
  uint8_t* base;
  uint64_t bytes;
};

// The store and its clients are in this process: their descriptors are all here.
std::vector<Memory> MapAllNamed(const std::string& name) {
  std::vector<Memory> memories;
  std::vector<ino_t> seen;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (error || target.string().rfind("/memfd:" + name + " ", 0) != 0) {
      continue;
    }
    UniqueFd fd(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
    struct stat info {};
    if (!fd.valid() || ::fstat(fd.get(), &info) != 0 ||
        std::find(seen.begin(), seen.end(), info.st_ino) != seen.end()) {
      continue;
    }
    seen.push_back(info.st_ino);
    if (auto memory = MapSharedMemory(std::move(fd), 0)) {
      memories.push_back({memory->base, memory->bytes});
    }
  }
  return memories;
}

// Most of both is never used: their beginnings get more than their share.
void Damage(const Memory& memory, uint64_t bytes_in_use, std::mt19937_64& random) {
  const uint64_t range = random() % 4 == 0 ? memory.bytes : std::min(memory.bytes, bytes_in_use);
  const uint64_t words = range / sizeof(uint64_t);
  auto* const word = reinterpret_cast<uint64_t*>(memory.base) + random() % words;
  const uint64_t was = __atomic_load_n(word, __ATOMIC_RELAXED);
  uint64_t value = 0;
  switch (random() % 5) {
    case 0:
      value = random();
      break;
    case 1:
      value = was ^ (1ULL << (random() % 64));
      break;
    case 2:
      value = was + random() % 5 - 2;
      break;
    case 3:  // what is somewhere else
      value = __atomic_load_n(reinterpret_cast<uint64_t*>(memory.base) + random() % words,
                              __ATOMIC_RELAXED);
      break;
    default:
      value = random() % 2 == 0 ? 0 : ~uint64_t{0};
  }
  __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

// Whatever comes back is fine.
void UseClient(StoreHost& host, uint64_t seed, const std::atomic<bool>& stop) {
  std::mt19937_64 random(seed);
  auto client = Client::Connect(host.socket_path()).value();
  std::vector<std::vector<std::optional<ObjectValue>>> views;
  const auto id = [&] { return TestId(1, random() % 60); };
  while (!stop) {
    switch (random() % 12) {
      case 0:
      case 1:
      case 2: {
        const uint64_t bytes = random() % 8 == 0 ? random() % (3U << 20) : random() % 5000;
        const ObjectId made = id();
        const auto object = client->Create(made, bytes, TestMetadata(bytes, random() % 4 == 0),
                                           {.wait_ms = static_cast<int64_t>(random() % 3)});
        if (object) {
          FillTestObject(made, *object);
          if (random() % 3 == 0) {
            (void)client->SealAndPin(made);
          } else if (random() % 4 == 0) {
            (void)client->Abort(made);
          } else {
            (void)client->Seal(made);
          }
        }
        break;
      }
      case 3:
      case 4:
      case 5: {
        const std::vector<ObjectId> ids = {id(), id(), id()};
        auto values = client->Get(ids, static_cast<int64_t>(random() % 3));
        if (values) {
          for (const auto& value : *values) {
            if (value) {
              (void)CheckTestObject(ids[0], *value);  // reads all of it
            }
          }
          views.push_back(std::move(*values));
        }
        break;
      }
      case 6:
      case 7: {
        const ObjectId deleted = id();
        (void)client->Delete(std::span(&deleted, 1));
        break;
      }
      case 8:
        (void)client->Contains(id());
        break;
      case 9:
        if (random() % 20 == 0) {
          (void)client->List(/*check=*/true);
        } else if (random() % 20 == 0) {
          (void)client->Evict(random() % kStoreBytes);
        }
        break;
      case 10:
        if (random() % 30 == 0) {
          if (auto other = Client::Connect(host.socket_path())) {
            client = std::move(*other);
          }
        }
        break;
      default:
        views.clear();
    }
  }
}

TEST(SharedMemoryFuzzTest, DamageNeverBringsTheStoreDown) {
  InitLogging("plasma_tests", LogLevel::kError, "");
  for (uint64_t round = 0; round < 2; ++round) {
    StoreHost host;
    StoreOptions options;
    options.capacity_bytes = kStoreBytes;
    options.populate.ahead_bytes = 0;
    if (round == 1) {
      options.spill.folders = {host.spill_folder()};
    }
    host.Start(options);
    std::atomic<bool> stop{false};
    std::vector<std::thread> users;
    for (uint64_t i = 0; i < 2; ++i) {
      users.emplace_back([&, i] { UseClient(host, round * 10 + i, stop); });
    }
    std::mt19937_64 random(round + 99);
    const std::vector<Memory> indexes = MapAllNamed("rayc-plasma-index");
    ASSERT_EQ(indexes.size(), 1U);
    std::vector<Memory> segments = MapAllNamed("rayc-plasma-client");
    const auto end = std::chrono::steady_clock::now() + kDuration;
    // At first what is sound is found among what is not; in the end little is sound.
    for (int turn = 0; std::chrono::steady_clock::now() < end; ++turn) {
      for (int i = 0; i < 20; ++i) {
        Damage(indexes[0], 1U << 20, random);
        if (!segments.empty()) {
          Damage(segments[random() % segments.size()], 40U << 10, random);
        }
      }
      if (turn % 50 == 0) {
        (void)host.CheckInvariants();
        (void)host.Describe();
        host.OnLoop([] {});
        for (const Memory& segment : segments) {
          UnmapSharedMemory(segment.base, segment.bytes);
        }
        segments = MapAllNamed("rayc-plasma-client");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    (void)host.CheckInvariants();
    host.Stop();  // ends also what still waits for room
    stop = true;
    for (std::thread& user : users) {
      user.join();
    }
    for (const Memory& memory : segments) {
      UnmapSharedMemory(memory.base, memory.bytes);
    }
    UnmapSharedMemory(indexes[0].base, indexes[0].bytes);
  }
  InitLogging("plasma_tests", LogLevel::kError, "");
}

}  // namespace
}  // namespace rayc::plasma
