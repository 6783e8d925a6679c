// The store and its clients over a real socket, the store's loop in a thread of the test. Clients
// that must die in the middle are processes of their own, forked before that thread starts.
#include "plasma/store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include "common/logging.h"
#include "common/unix_socket.h"
#include "plasma/client.h"
#include "plasma/store_host.h"
#include "plasma/wire.h"
#include "protocol/plasma_generated.h"

namespace rayc::plasma {
namespace {

using testing::HasSubstr;

constexpr uint64_t kStoreBytes = 4U << 20;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    // Many tests make the store warn of clients that misbehave.
    InitLogging("plasma_tests", LogLevel::kError, "");
  }

  ~StoreTest() override {
    StopStore();
    EXPECT_NE(::access(socket_path_.c_str(), F_OK), 0) << "the socket was left behind";
  }

  void StartStore(StoreOptions options = {}) {
    options.capacity_bytes = kStoreBytes;
    host_.Start(options);
    store_ = host_.store();
  }

  void StopStore() {
    if (store_ != nullptr) {
      EXPECT_EQ(host_.CheckInvariants(), "");
      host_.Stop();
      store_ = nullptr;
    }
  }

  void OnLoop(const std::function<void()>& function) { host_.OnLoop(function); }
  bool Eventually(const std::function<bool()>& holds_on_loop) {
    return host_.Eventually([&](Store& /*store*/) { return holds_on_loop(); });
  }
  std::shared_ptr<Client> Connect() { return host_.Connect(); }

  // A child process that connects as soon as the store is there, does `work`, says so, and sleeps.
  // Before StartStore only.
  pid_t ForkClient(const std::function<void(Client&)>& work) {
    EXPECT_EQ(store_, nullptr);
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    child_ready_.Reset(ends[0]);
    const pid_t child = ::fork();
    if (child == 0) {
      auto client = Client::Connect(socket_path_);
      while (!client) {
        ::usleep(2000);
        client = Client::Connect(socket_path_);
      }
      work(**client);
      (void)!::write(ends[1], "x", 1);
      ::pause();
      ::_exit(0);
    }
    ::close(ends[1]);
    return child;
  }
  void AwaitChild() {
    char byte = 0;
    ASSERT_EQ(::read(child_ready_.get(), &byte, 1), 1);
  }
  static void KillAndReap(pid_t child) {
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
  }

  StoreHost host_;
  const std::string socket_path_ = host_.socket_path();
  Store* store_ = nullptr;  // the host's, while it runs
  UniqueFd child_ready_;
};

ObjectId Put(Client& client, std::string_view bytes, const std::string& metadata = "",
             const WorkerId& owner = {}) {
  const auto id = ObjectId::FromRandom();
  const auto object = client.Create(id, bytes.size(), metadata, {.owner = owner});
  EXPECT_TRUE(object) << object.error();
  std::memcpy(object->data, bytes.data(), bytes.size());
  const Status status = client.Seal(id);
  EXPECT_TRUE(status.ok()) << status;
  return id;
}

std::optional<ObjectValue> GetOne(Client& client, const ObjectId& id, int64_t timeout_ms = 0) {
  auto values = client.Get(std::span(&id, 1), timeout_ms);
  EXPECT_TRUE(values) << values.error();
  return values ? (*values)[0] : std::nullopt;
}

void DeleteOne(Client& client, const ObjectId& id) {
  const Status status = client.Delete(std::span(&id, 1));
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(StoreTest, WhatOneClientPutsAnotherReadsInPlace) {
  StartStore();
  const auto writer = Connect();
  const auto reader = Connect();
  const auto id = Put(*writer, "hello", "text");
  const auto value = GetOne(*reader, id);
  ASSERT_TRUE(value);
  EXPECT_EQ(value->data->View(), "hello");
  EXPECT_EQ(value->metadata, "text");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(value->data->data()) % 64, 0U);
  EXPECT_TRUE(reader->Contains(id).value());
  EXPECT_FALSE(reader->Contains(ObjectId::FromRandom()).value());
  EXPECT_EQ(reader->capacity_bytes(), kStoreBytes);
}

TEST_F(StoreTest, EmptyObjectAndOneAsLargeAsTheStore) {
  StartStore();
  const auto client = Connect();
  const auto empty = Put(*client, "");
  EXPECT_EQ(GetOne(*client, empty)->data->size(), 0U);
  DeleteOne(*client, empty);
  const std::string bytes(kStoreBytes, 'b');
  const auto all = Put(*client, bytes);
  EXPECT_EQ(GetOne(*client, all)->data->View(), bytes);
  const auto refused = client->Create(ObjectId::FromRandom(), kStoreBytes + 1, "");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kOutOfMemory);
  EXPECT_THAT(refused.error().message(), HasSubstr("4.0 MiB"));
}

TEST_F(StoreTest, FullStoreIsAnErrorThatNamesTheHolders) {
  StartStore();
  const auto client = Connect();
  const auto big = Put(*client, std::string(3U << 20, 'b'));
  const auto refused = client->Create(ObjectId::FromRandom(), 2U << 20, "");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kOutOfMemory);
  EXPECT_THAT(refused.error().message(), HasSubstr(big.Hex()));
  DeleteOne(*client, big);
  EXPECT_TRUE(client->Create(ObjectId::FromRandom(), 2U << 20, ""));
}

TEST_F(StoreTest, ErrorsOfTheCaller) {
  StartStore();
  const auto client = Connect();
  const auto other = Connect();
  const auto id = ObjectId::FromRandom();
  EXPECT_EQ(client->Seal(id).code(), StatusCode::kNotFound);
  ASSERT_TRUE(client->Create(id, 8, ""));
  EXPECT_EQ(other->Create(id, 8, "").error().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(other->Seal(id).code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(GetOne(*other, id));
  client->AbortLater(id);
  ASSERT_TRUE(client->Create(id, 8, ""));
  EXPECT_TRUE(client->Abort(id).ok());
  EXPECT_EQ(client->Abort(id).code(), StatusCode::kNotFound);
  ASSERT_TRUE(client->Create(id, 8, ""));
  EXPECT_TRUE(client->Seal(id).ok());
  EXPECT_EQ(client->Seal(id).code(), StatusCode::kInvalidArgument);
}

TEST_F(StoreTest, AViewHoldsItsObjectAfterDeletion) {
  StartStore();
  const auto client = Connect();
  const auto id = Put(*client, std::string(1U << 20, 'a'));
  auto value = GetOne(*client, id);
  DeleteOne(*client, id);
  EXPECT_FALSE(GetOne(*client, id));
  const auto again = client->Create(id, 1U << 20, "");  // the id is free at once
  ASSERT_TRUE(again);
  std::memset(again->data, 'c', again->size);
  EXPECT_TRUE(client->Seal(id).ok());
  EXPECT_EQ(value->data->View(), std::string(1U << 20, 'a'));
  value.reset();
  EXPECT_TRUE(Eventually([&] { return store_->used_bytes() == 1U << 20; }));
}

TEST_F(StoreTest, SealAndPinKeepsTheMakersView) {
  StartStore();
  const auto client = Connect();
  const auto id = ObjectId::FromRandom();
  std::memcpy(client->Create(id, 4, "")->data, "mine", 4);
  auto buffer = client->SealAndPin(id);
  ASSERT_TRUE(buffer);
  DeleteOne(*client, id);
  EXPECT_EQ((*buffer)->View(), "mine");
  OnLoop([&] { EXPECT_EQ(store_->object_count(), 1U); });
  buffer->reset();
  EXPECT_TRUE(Eventually([&] { return store_->object_count() == 0; }));
}

TEST_F(StoreTest, ListTellsWhatIsThere) {
  StartStore();
  const auto client = Connect();
  const auto owner = WorkerId::FromRandom();
  const auto sealed = Put(*client, "12345", "meta", owner);
  const auto view = GetOne(*client, sealed);
  const auto unsealed = ObjectId::FromRandom();
  ASSERT_TRUE(client->Create(unsealed, 7, ""));
  const auto list = client->List();
  ASSERT_TRUE(list);
  EXPECT_EQ(list->capacity_bytes, kStoreBytes);
  EXPECT_EQ(list->used_bytes, 128U);
  ASSERT_EQ(list->objects.size(), 2U);
  const ObjectInfo& first = list->objects[list->objects[0].id == sealed ? 0 : 1];
  EXPECT_EQ(first.id, sealed);
  EXPECT_EQ(first.owner, owner);
  EXPECT_EQ(first.data_bytes, 5U);
  EXPECT_EQ(first.metadata_bytes, 4U);
  EXPECT_EQ(first.pins, 1U);
  EXPECT_EQ(first.made_by_pid, ::getpid());
  EXPECT_TRUE(first.sealed);
}

TEST_F(StoreTest, GetWaitsWithoutKeepingOthers) {
  StartStore();
  const auto client = Connect();
  const std::vector<ObjectId> ids = {ObjectId::FromRandom(), ObjectId::FromRandom()};
  std::thread waiter([&] {
    const auto values = client->Get(ids, -1);
    ASSERT_TRUE(values) << values.error();
    EXPECT_EQ((*values)[0]->data->View(), "0");
    EXPECT_EQ((*values)[1]->data->View(), "1");
  });
  for (size_t i = 0; i < ids.size(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    // The same client, from another thread.
    client->Create(ids[i], 1, "")->data[0] = static_cast<uint8_t>('0' + i);
    EXPECT_TRUE(client->Seal(ids[i]).ok());
  }
  waiter.join();
}

TEST_F(StoreTest, GetGivesUpInTimeWithWhatItHas) {
  StartStore();
  const auto client = Connect();
  const std::vector<ObjectId> ids = {Put(*client, "here"), ObjectId::FromRandom()};
  const auto start = std::chrono::steady_clock::now();
  const auto values = client->Get(ids, 50);
  const auto took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(values);
  EXPECT_TRUE((*values)[0]);
  EXPECT_FALSE((*values)[1]);
  EXPECT_GE(took, std::chrono::milliseconds(49));
  EXPECT_LT(took, std::chrono::seconds(5));
}

TEST_F(StoreTest, SignalInterruptsAWaitingGet) {
  StartStore();
  const auto client = Connect();
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  sigaction(SIGUSR1, &action, &before);
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    const auto id = ObjectId::FromRandom();
    const auto values = client->Get(std::span(&id, 1), -1);
    EXPECT_FALSE(values);
    EXPECT_EQ(values.error().code(), StatusCode::kInterrupted);
    done = true;
  });
  while (!done) {
    ::pthread_kill(waiter.native_handle(), SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  waiter.join();
  sigaction(SIGUSR1, &before, nullptr);
  const auto id = Put(*client, "still works");
  EXPECT_TRUE(GetOne(*client, id, 1000));
}

TEST_F(StoreTest, DisconnectEndsWaitsAndCallsButNotViews) {
  StartStore();
  const auto client = Connect();
  const auto id = Put(*client, "kept");
  auto view = GetOne(*client, id);
  std::thread waiter([&] {
    const auto never = ObjectId::FromRandom();
    const auto values = client->Get(std::span(&never, 1), -1);
    EXPECT_FALSE(values);
    EXPECT_EQ(values.error().code(), StatusCode::kDisconnected);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  client->Disconnect();
  waiter.join();
  EXPECT_EQ(client->Contains(id).error().code(), StatusCode::kDisconnected);
  const auto other = Connect();
  DeleteOne(*other, id);
  EXPECT_EQ(view->data->View(), "kept");
  OnLoop([&] { EXPECT_EQ(store_->object_count(), 1U); });
  view.reset();
  EXPECT_TRUE(Eventually([&] { return store_->object_count() == 0; }));
}

TEST_F(StoreTest, ViewsOutliveClientAndStore) {
  StartStore();
  auto client = Connect();
  const auto id = Put(*client, "outlives");
  const auto view = GetOne(*client, id);
  ASSERT_TRUE(client->Create(ObjectId::FromRandom(), 10, ""));
  client.reset();
  // The unsealed object went with the client, the view did not.
  EXPECT_TRUE(Eventually([&] { return store_->object_count() == 1; }));
  StopStore();
  EXPECT_EQ(view->data->View(), "outlives");
}

TEST_F(StoreTest, StoreThatIsGoneIsDisconnected) {
  StartStore();
  const auto client = Connect();
  std::thread waiter([&] {
    const auto never = ObjectId::FromRandom();
    EXPECT_EQ(client->Get(std::span(&never, 1), -1).error().code(), StatusCode::kDisconnected);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  StopStore();
  waiter.join();
  EXPECT_EQ(client->Contains(ObjectId::FromRandom()).error().code(), StatusCode::kDisconnected);
  EXPECT_EQ(client->Contains(ObjectId::FromRandom()).error().code(), StatusCode::kDisconnected);
  EXPECT_EQ(Client::Connect(socket_path_).error().code(), StatusCode::kDisconnected);
}

TEST_F(StoreTest, KilledClientLeavesWhatItSealed) {
  const auto sealed = ObjectId::FromRandom();
  const auto pinned = ObjectId::FromRandom();
  const pid_t child = ForkClient([&](Client& client) {
    for (const ObjectId& id : {sealed, pinned}) {
      (void)client.Create(id, 100, "");
      (void)client.Seal(id);
    }
    (void)client.Create(ObjectId::FromRandom(), 1U << 20, "");
    static auto views = client.Get(std::span(&pinned, 1), 0);  // until the kill
  });
  StartStore();
  AwaitChild();
  const auto client = Connect();
  DeleteOne(*client, pinned);
  OnLoop([&] { EXPECT_EQ(store_->object_count(), 3U); });
  KillAndReap(child);
  EXPECT_TRUE(Eventually([&] { return store_->object_count() == 1; }));
  EXPECT_TRUE(client->Contains(sealed).value());
}

TEST_F(StoreTest, KilledClientIsGoneThoughItsChildHoldsTheSocket) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd grandchild_ends(ends[0]);
  const pid_t child = ForkClient([&](Client& client) {
    (void)client.Create(ObjectId::FromRandom(), 100, "");
    if (::fork() == 0) {
      ::close(ends[1]);
      char byte = 0;
      (void)!::read(ends[0], &byte, 1);  // until the test closes its end
      ::_exit(0);
    }
  });
  UniqueFd keeps_grandchild(ends[1]);
  StartStore();
  AwaitChild();
  OnLoop([&] { EXPECT_EQ(store_->object_count(), 1U); });
  KillAndReap(child);
  EXPECT_TRUE(Eventually([&] { return store_->object_count() == 0; }));
  keeps_grandchild.Reset();
}

TEST_F(StoreTest, OwnersDeathTakesItsObjects) {
  StartStore();
  const auto client = Connect();
  const auto owner = WorkerId::FromRandom();
  const auto owned = Put(*client, "owned", "", owner);
  const auto other = Put(*client, "other", "", WorkerId::FromRandom());
  OnLoop([&] { store_->OnOwnerDied(owner); });
  EXPECT_FALSE(client->Contains(owned).value());
  EXPECT_TRUE(client->Contains(other).value());
  EXPECT_EQ(client->Create(ObjectId::FromRandom(), 1, "", {.owner = owner}).error().code(),
            StatusCode::kOwnerDied);
}

TEST_F(StoreTest, SecondStoreOnTheSocketIsRefused) {
  StartStore();
  EventLoop loop;
  Store second(loop, StoreOptions{.socket_path = socket_path_, .capacity_bytes = kStoreBytes});
  const Status status = second.Start();
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr(socket_path_));
  second.Shutdown();
  EXPECT_EQ(::access(socket_path_.c_str(), F_OK), 0);
}

TEST_F(StoreTest, ForkedChildCannotUseTheClientAndLeavesThePins) {
  StartStore();
  const auto client = Connect();
  const auto id = Put(*client, "parent's");
  auto view = GetOne(*client, id);
  ASSERT_TRUE(client->Create(ObjectId::FromRandom(), 10, ""));
  const pid_t child = ::fork();
  if (child == 0) {
    bool good = view->data->View() == "parent's";
    good = good && client->Contains(id).error().code() == StatusCode::kDisconnected;
    good = good && client->Get(std::span(&id, 1), -1).error().code() == StatusCode::kDisconnected;
    client->DeleteLater(std::span(&id, 1));
    client->Disconnect();
    view.reset();
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(client->Contains(id).value());
  EXPECT_EQ(client->List()->objects.size(), 2U);
  DeleteOne(*client, id);
  EXPECT_EQ(view->data->View(), "parent's");
}

TEST_F(StoreTest, MemoryGoesBackWhenTheStoreIsEmptyForAWhile) {
  StartStore({.trim = {.quiet_ms = 50, .kept_free_bytes = 0, .step_bytes = 1U << 20},
              .populate = {.ahead_bytes = 0}});
  const auto client = Connect();
  const auto kept = Put(*client, std::string(100, 'k'));
  const auto big = Put(*client, std::string(3U << 20, 'b'));
  struct stat info {};
  const auto resident = [&] {  // of the arena
    uint64_t bytes = 0;
    for (int fd = 0; fd < 64; ++fd) {
      char name[64];
      const std::string link = "/proc/self/fd/" + std::to_string(fd);
      const ssize_t length = ::readlink(link.c_str(), name, sizeof(name));
      if (length > 0 &&
          std::string_view(name, static_cast<size_t>(length)).starts_with("/memfd:rayc-plasma ") &&
          ::fstat(fd, &info) == 0) {
        bytes = static_cast<uint64_t>(info.st_blocks) * 512;
      }
    }
    return bytes;
  };
  EXPECT_GE(resident(), 3U << 20);
  DeleteOne(*client, big);
  EXPECT_TRUE(Eventually([&] { return resident() <= 256U << 10; }));
  EXPECT_EQ(GetOne(*client, kept)->data->View(), std::string(100, 'k'));
}

TEST_F(StoreTest, ManyClientsAndThreadsAtOnce) {
  StartStore();
  constexpr int kThreads = 8;
  constexpr int kRounds = 200;
  const auto shared = Connect();
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto client = t % 2 == 0 ? shared : Connect();
      std::mt19937 random(static_cast<uint32_t>(t));
      std::vector<std::optional<ObjectValue>> views;
      for (int i = 0; i < kRounds; ++i) {
        const std::string bytes(random() % 5000, static_cast<char>('a' + t));
        const auto id = Put(*client, bytes);
        views.push_back(GetOne(*shared, id));
        ASSERT_TRUE(views.back());
        if (i % 2 == 0) {
          DeleteOne(*client, id);
        } else {
          client->DeleteLater(std::span(&id, 1));
        }
        ASSERT_EQ(views.back()->data->View(), bytes);
        if (views.size() > 10) {
          views.clear();
        }
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(Eventually([&] { return store_->object_count() == 0; }));
}

// Releases from one thread while another sits inside calls: none may be left unsent.
TEST_F(StoreTest, EveryReleaseArrives) {
  StartStore();
  const auto client = Connect();
  std::atomic<bool> stop{false};
  std::thread caller([&] {
    while (!stop) {
      (void)client->Contains(ObjectId::FromRandom());
    }
  });
  for (int i = 0; i < 300; ++i) {
    const auto id = Put(*client, "x");
    std::shared_ptr<Buffer> view = GetOne(*client, id).value().data;
    DeleteOne(*client, id);
    view.reset();
  }
  stop = true;
  caller.join();
  EXPECT_TRUE(Eventually([&] { return store_->object_count() == 0; }));
}

class RawClient {
 public:
  explicit RawClient(const std::string& socket_path) : fd_(std::move(*ConnectUnix(socket_path))) {}

  bool Send(std::string_view bytes) { return WriteAll(fd_.get(), bytes.data(), bytes.size()).ok(); }
  void Introduce(uint32_t version = kProtocolVersion, uint32_t companion_of = 0) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(fb::CreatePlasmaConnectDirect(builder, version, "test", 1, companion_of));
    std::string out;
    AppendFrame(out, Method::kPlasmaConnect, FrameKind::kRequest, 1, builder);
    Send(out);
    (void)ReceiveWithFds(fd_.get(), 4096);
  }
  // Reads to the end of the stream; false if it does not come.
  bool ClosedByStore() {
    char bytes[4096];
    while (true) {
      pollfd waiting{fd_.get(), POLLIN, 0};
      if (::poll(&waiting, 1, 5000) <= 0) {
        return false;
      }
      if (::recv(fd_.get(), bytes, sizeof(bytes), 0) <= 0) {
        return true;
      }
    }
  }
  void DrainReplies() {
    char bytes[4096];
    while (::recv(fd_.get(), bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
    }
  }

 private:
  UniqueFd fd_;
};

std::string OneFrame(Method method, FrameKind kind, const flatbuffers::FlatBufferBuilder& builder) {
  std::string out;
  AppendFrame(out, method, kind, 5, builder);
  return out;
}

TEST_F(StoreTest, MalformedFramesCloseOnlyThatConnection) {
  StartStore();
  const auto bystander = Connect();
  const auto id = Put(*bystander, "unharmed");
  flatbuffers::FlatBufferBuilder empty;
  BuildEmpty(empty);
  flatbuffers::FlatBufferBuilder list;
  list.Finish(fb::CreatePlasmaList(list));
  const auto refused = [&](const std::string& bytes, bool introduce) {
    RawClient raw(socket_path_);
    if (introduce) {
      raw.Introduce();
    }
    raw.Send(bytes);
    return raw.ClosedByStore();
  };
  EXPECT_TRUE(refused(OneFrame(Method::kPlasmaList, FrameKind::kRequest, list), false));
  EXPECT_TRUE(refused(OneFrame(Method::kPlasmaConnect, FrameKind::kRequest, empty), true));
  EXPECT_TRUE(refused(OneFrame(Method::kPlasmaList, FrameKind::kReply, list), true));
  EXPECT_TRUE(refused(OneFrame(Method::kPlasmaRestore, FrameKind::kRequest, empty), true));
  EXPECT_TRUE(refused(OneFrame(Method::kPlasmaSubscribe, FrameKind::kRequest, empty), true));
  EXPECT_TRUE(refused(OneFrame(Method::kPlasmaList, FrameKind::kOneWay, empty), true));
  EXPECT_TRUE(refused(OneFrame(Method::kPlasmaTaken, FrameKind::kRequest, empty), true));
  EXPECT_TRUE(refused(OneFrame(Method::kPushTask, FrameKind::kRequest, empty), true));
  EXPECT_TRUE(refused(std::string(64, '\xff'), true));
  EXPECT_TRUE(refused(std::string(64, '\xff'), false));
  std::string flagged = OneFrame(Method::kPlasmaList, FrameKind::kRequest, list);
  flagged[7] = 1;
  EXPECT_TRUE(refused(flagged, true));
  std::string announced = flagged.substr(0, 16);
  announced[7] = 0;
  announced[3] = 0x7f;  // nearly 2 GiB
  EXPECT_TRUE(refused(announced, true));
  {
    RawClient old(socket_path_);
    old.Introduce(kProtocolVersion + 1);
    EXPECT_TRUE(old.ClosedByStore());
  }
  EXPECT_EQ(GetOne(*bystander, id)->data->View(), "unharmed");
  EXPECT_TRUE(Eventually([&] { return store_->connection_count() == 1; }));
}

TEST_F(StoreTest, RandomBytesAndRandomFramesDoNoHarm) {
  StartStore();
  const auto bystander = Connect();
  const auto id = Put(*bystander, "unharmed");
  std::mt19937 random(3);
  const auto id_or_garbage = [&](flatbuffers::FlatBufferBuilder& builder) {
    const std::vector<uint8_t> garbage(random() % 40, static_cast<uint8_t>(random()));
    return random() % 2 == 0 ? BuildId(builder, random() % 2 == 0 ? id : ObjectId::FromRandom())
                             : builder.CreateVector(garbage);
  };
  const auto random_frame = [&] {
    flatbuffers::FlatBufferBuilder builder;
    Method method = Method::kPlasmaList;
    switch (random() % 8) {
      case 0:
      case 1: {
        method = Method::kPlasmaCreate;
        const auto object_id = id_or_garbage(builder);
        const uint64_t bytes = random() % 3 != 0 ? random() % 10000 : ~0ULL - random() % 100;
        const auto owner = id_or_garbage(builder);
        builder.Finish(fb::CreatePlasmaCreate(builder, object_id, bytes, 0, owner,
                                              random() % 2 == 0, random() % 20));
        break;
      }
      case 2: {
        method = Method::kPlasmaRestore;
        const std::vector<flatbuffers::Offset<fb::PlasmaObjectId>> ids = {
            fb::CreatePlasmaObjectId(builder),
            fb::CreatePlasmaObjectId(builder, id_or_garbage(builder))};
        builder.Finish(fb::CreatePlasmaRestoreDirect(builder, &ids, 5));
        break;
      }
      case 3:
        method = Method::kPlasmaGrant;
        builder.Finish(fb::CreatePlasmaGrant(
            builder, random() % 2 == 0 ? random() % 100000 : ~0ULL - random() % 100,
            random() % 2 == 0 ? random() : ~0ULL, random() % 100));
        break;
      case 4:
        method = Method::kPlasmaTaken;
        builder.Finish(fb::CreatePlasmaTaken(builder));
        break;
      case 5:
        method = Method::kPlasmaSubscribe;
        builder.Finish(fb::CreatePlasmaSubscribe(builder));
        break;
      default:
        BuildEmpty(builder);
    }
    const bool one_way = (method == Method::kPlasmaTaken) != (random() % 32 == 0);
    const FrameKind kind = one_way ? FrameKind::kOneWay : FrameKind::kRequest;
    std::string frame = OneFrame(method, kind, builder);
    if (random() % 16 == 0) {
      frame[random() % frame.size()] = static_cast<char>(random());
      if (frame[4] == static_cast<char>(static_cast<int>(Method::kPlasmaEvict) & 0xff)) {
        frame[4] = 0;  // which might rightly take the bystander's object
      }
    }
    if (random() % 64 == 0) {
      frame.resize(random() % frame.size());
    }
    return frame;
  };
  for (int round = 0; round < 200; ++round) {
    RawClient raw(socket_path_);
    if (random() % 8 != 0) {
      raw.Introduce(kProtocolVersion, random() % 4 == 0 ? 1 : 0);  // 1: the bystander
    }
    for (int i = 0; i < 100 && raw.Send(random_frame()); ++i) {
      raw.DrainReplies();
    }
  }
  ASSERT_TRUE(GetOne(*bystander, id));
  EXPECT_EQ(GetOne(*bystander, id)->data->View(), "unharmed");
  EXPECT_TRUE(Eventually([&] { return store_->connection_count() == 1; }));
  OnLoop([&] { EXPECT_EQ(store_->CheckInvariants(), ""); });
}

TEST_F(StoreTest, ClientThatReadsNoRepliesHoldsUpNobody) {
  StartStore();
  const auto bystander = Connect();
  for (int i = 0; i < 300; ++i) {
    Put(*bystander, "x", std::string(1000, 'm'));
  }
  RawClient deaf(socket_path_);
  deaf.Introduce();
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::CreatePlasmaList(builder));
  std::string frames;
  for (int i = 0; i < 200; ++i) {
    AppendFrame(frames, Method::kPlasmaList, FrameKind::kRequest, 1, builder);
  }
  ASSERT_TRUE(deaf.Send(frames));
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(bystander->Contains(ObjectId::FromRandom()));
  }
}

}  // namespace
}  // namespace rayc::plasma
