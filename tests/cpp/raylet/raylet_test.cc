// A whole raylet in a process of its own, with a fake zygote and fake workers (fake_zygote.h),
// driven over its socket as drivers, workers and the GCS do.
#include "raylet/raylet.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "common/unix_socket.h"
#include "raylet/fake_zygote.h"
#include "raylet/process_tree.h"
#include "rpc/raylet_client.h"
#include "rpc/worker_client.h"

namespace rayc::raylet {
namespace {

namespace fs = std::filesystem;

std::string SelfPath() { return fs::read_symlink("/proc/self/exe").string(); }

// The processes that were started in this session: its folder is in their environment.
std::vector<pid_t> ProcessesOf(const std::string& session_dir) {
  std::vector<pid_t> pids;
  for (const ProcessInfo& info : ListProcesses()) {
    std::ifstream file("/proc/" + std::to_string(info.pid) + "/environ");
    std::ostringstream text;
    text << file.rdbuf();
    if (!info.is_zombie && info.pid != ::getpid() &&
        text.str().find("RAYC_SESSION_DIR=" + session_dir) != std::string::npos) {
      pids.push_back(info.pid);
    }
  }
  return pids;
}

struct Granted {
  bool done = false;
  Status status;
  Address worker;
  pid_t pid = 0;
  std::vector<std::vector<uint32_t>> instances;
};

// One connection to the raylet, as a driver has it.
struct Peer {
  rpc::ChannelPtr channel;
  std::unique_ptr<rpc::WireRayletClient> raylet;
  std::vector<std::string> lines;  // "name|O or E|text"
  std::vector<std::string> exit_reasons;
  int reclaims = 0;
  bool closed = false;

  void OnRequest(Method method, rpc::Message message) {
    if (method == Method::kLogBatch) {
      const auto* batch = message.As<fb::LogBatch>();
      ASSERT_NE(batch, nullptr);
      for (const fb::LogLine* line : *batch->lines()) {
        lines.push_back(rpc::FromString(batch->name()) + (line->is_stderr() ? "|E|" : "|O|") +
                        rpc::FromString(line->text()));
      }
    } else if (method == Method::kExitWorker) {
      exit_reasons.push_back(rpc::FromString(message.As<fb::ExitWorker>()->reason()));
    } else if (method == Method::kReclaimLeases) {
      ++reclaims;
    }
  }
};

class RayletTest : public ::testing::Test {
 protected:
  std::string root;
  std::string session_dir;
  EventLoop loop;
  pid_t raylet_pid = 0;
  int raylet_status = -1;
  uint64_t next_lease = 1;
  std::map<std::string, std::unique_ptr<rpc::WireWorkerClient>> workers;
  std::vector<rpc::ChannelPtr> channels;

  RayletTest() {
    char path[] = "/tmp/rayc-raylet-test-XXXXXX";
    root = ::mkdtemp(path);
    session_dir = root + "/session_1";
    fs::create_directories(session_dir + "/sockets");
  }

  ~RayletTest() override {
    for (const rpc::ChannelPtr& channel : channels) {
      channel->Detach();
    }
    if (raylet_pid != 0 && !RayletEnded(0)) {
      ::kill(raylet_pid, SIGTERM);
      EXPECT_TRUE(RayletEnded(2'000));
    }
    if (raylet_pid != 0) {
      // Also what a sanitizer finds in it is a status other than 0.
      EXPECT_TRUE(WIFSIGNALED(raylet_status) || WEXITSTATUS(raylet_status) == 0) << raylet_status;
      EXPECT_TRUE(NothingRuns(2'000));
    }
    fs::remove_all(root);
  }

  // "ok", or what the raylet says is wrong.
  std::string Start(pid_t owner_pid, std::vector<std::string> more = {}) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    std::vector<std::string> arguments{SelfPath(),
                                       "--as-raylet",
                                       "--session-dir",
                                       session_dir,
                                       "--head",
                                       "--ready-fd",
                                       std::to_string(ready[1]),
                                       "--object-store-bytes",
                                       "8388608",
                                       "--resource",
                                       "CPU=2",
                                       "--resource",
                                       "GPU=2",
                                       "--log-level",
                                       "info"};
    if (owner_pid != 0) {
      arguments.insert(arguments.end(), {"--owner-pid", std::to_string(owner_pid)});
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), {"--", SelfPath(), "--as-zygote"});
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) {
      pointers.push_back(argument.data());
    }
    pointers.push_back(nullptr);
    raylet_pid = ::fork();
    if (raylet_pid == 0) {
      ::execv(pointers[0], pointers.data());
      ::_exit(99);
    }
    ::close(ready[1]);
    std::string line;
    char c = 0;
    while (::read(ready[0], &c, 1) == 1 && c != '\n') {
      line.push_back(c);
    }
    ::close(ready[0]);
    return line;
  }

  bool RayletEnded(int timeout_ms) {
    if (raylet_status >= 0) {
      return true;
    }
    return RunUntil([this] { return ::waitpid(raylet_pid, &raylet_status, WNOHANG) == raylet_pid; },
                    timeout_ms);
  }
  bool NothingRuns(int timeout_ms) {
    return RunUntil([this] { return ProcessesOf(session_dir).empty(); }, timeout_ms);
  }
  bool RunUntil(const std::function<bool()>& done, int timeout_ms = 10'000) {
    const SteadyClock clock;
    const int64_t deadline_ms = clock.NowMs() + timeout_ms;
    while (!done()) {
      if (clock.NowMs() >= deadline_ms) {
        return false;
      }
      loop.RunOnce(5);
    }
    return true;
  }

  std::unique_ptr<Peer> Connect(const std::string& component = "driver",
                                const WorkerId& id = WorkerId::FromRandom()) {
    auto peer = std::make_unique<Peer>();
    rpc::ChannelOptions options;
    options.self_id = std::string(id.Binary());
    options.self_component = component;
    options.on_request = [raw = peer.get()](const rpc::ChannelPtr& /*channel*/, Method method,
                                            rpc::Message message, rpc::Responder /*responder*/) {
      raw->OnRequest(method, message);
    };
    options.on_close = [raw = peer.get()](const rpc::ChannelPtr& /*channel*/,
                                          const Status& /*why*/) { raw->closed = true; };
    auto channel = rpc::Channel::Connect(loop, session_dir + "/sockets/raylet", options);
    EXPECT_TRUE(channel) << channel.error();
    if (channel) {
      peer->channel = *channel;
      peer->raylet = std::make_unique<rpc::WireRayletClient>(*channel);
      channels.push_back(*channel);
    }
    return peer;
  }

  std::unique_ptr<Peer> Driver(uint32_t job = 1, bool owns_cluster = true, pid_t pid = ::getpid()) {
    const WorkerId id = WorkerId::FromRandom();
    auto peer = Connect("driver", id);
    fb::RegisterClientT request;
    request.worker_id = rpc::IdBytes(id);
    request.pid = pid;
    request.is_driver = true;
    request.job_id = rpc::IdBytes(JobId::FromInt(job));
    request.owns_cluster = owns_cluster;
    bool registered = false;
    peer->raylet->RegisterClient(request, [&](Result<const fb::RegisterClientReply*> reply) {
      ASSERT_TRUE(reply) << reply.error();
      registered = true;
    });
    EXPECT_TRUE(RunUntil([&] { return registered; }));
    return peer;
  }

  std::shared_ptr<Granted> Ask(Peer& peer, const ResourceSet& resources, bool is_actor = false,
                               uint32_t job = 1, const std::string& name = "f") {
    fb::RequestLeaseT request;
    request.lease_id = next_lease++;
    request.job_id = rpc::IdBytes(JobId::FromInt(job));
    request.name = name;
    request.resources = rpc::ToMessage(resources);
    request.placement_resources = rpc::ToMessage(resources);
    request.is_actor = is_actor;
    auto granted = std::make_shared<Granted>();
    peer.raylet->RequestLease(request, [granted](Result<const fb::RequestLeaseReply*> reply) {
      granted->done = true;
      if (!reply) {
        granted->status = reply.error();
        return;
      }
      granted->worker = rpc::FromMessage((*reply)->worker());
      granted->pid = (*reply)->worker_pid();
      if ((*reply)->assigned() == nullptr) {
        return;
      }
      for (const fb::ResourceInstances* instances : *(*reply)->assigned()) {
        granted->instances.emplace_back(instances->ids()->begin(), instances->ids()->end());
      }
    });
    return granted;
  }
  std::shared_ptr<Granted> Lease(Peer& peer, double cpus = 1) {
    auto granted = Ask(peer, ResourceSet({{"CPU", ToFixedPoint(cpus)}}));
    EXPECT_TRUE(RunUntil([&] { return granted->done; }));
    EXPECT_TRUE(granted->status.ok()) << granted->status;
    return granted;
  }
  uint64_t LastLease() const { return next_lease - 1; }

  // Lets a worker do something (see fake_zygote.h); waits for its answer, or for its end.
  uint32_t Do(const Granted& lease, const std::string& command) {
    const std::string& socket = lease.worker.socket;
    if (workers.count(socket) == 0) {
      rpc::ChannelOptions options;
      options.self_id = std::string(28, 'd');
      options.self_component = "driver";
      auto channel = rpc::Channel::Connect(loop, socket, options);
      EXPECT_TRUE(channel) << channel.error();
      if (!channel) {
        return 0;
      }
      channels.push_back(*channel);
      workers[socket] = std::make_unique<rpc::WireWorkerClient>(*channel);
    }
    fb::PushTaskT task;
    task.spec = std::make_unique<fb::TaskSpecT>();
    task.spec->name = command;
    bool done = false;
    uint32_t answer = 0;
    workers[socket]->channel()->Call<fb::PushTaskReply>(
        Method::kPushTask, task, [&](Result<const fb::PushTaskReply*> reply) {
          done = true;
          answer = reply ? (*reply)->duration_us() : 0;
        });
    EXPECT_TRUE(RunUntil([&] { return done; })) << command;
    return answer;
  }

  fb::WorkerDeathT DeathOf(Peer& peer, const WorkerId& worker) {
    fb::WorkerDeathT death;
    bool done = false;
    peer.raylet->GetWorkerDeath(worker, [&](Result<const fb::WorkerDeath*> reply) {
      done = true;
      if (reply) {
        (*reply)->UnPackTo(&death);
      }
    });
    EXPECT_TRUE(RunUntil([&] { return done; }));
    return death;
  }
};

ResourceSet Cpu(double amount) { return ResourceSet({{"CPU", ToFixedPoint(amount)}}); }
ResourceSet Gpu(double amount) { return ResourceSet({{"GPU", ToFixedPoint(amount)}}); }

TEST_F(RayletTest, ShutdownEndsEverythingQuickly) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto lease = Lease(*driver);
  Do(*lease, "spawn");
  // The zygote, the worker, and what the worker has started.
  EXPECT_TRUE(RunUntil([&] { return ProcessesOf(session_dir).size() >= 3; }));
  const SteadyClock clock;
  const int64_t begin_ms = clock.NowMs();
  bool answered = false;
  driver->raylet->ShutdownNode([&](const Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    answered = true;
    EXPECT_TRUE(ProcessesOf(session_dir).empty()) << "answered when all are gone";
  });
  EXPECT_TRUE(RunUntil([&] { return answered; }));
  EXPECT_TRUE(RayletEnded(1'000));
  EXPECT_LT(clock.NowMs() - begin_ms, 1'000);
  EXPECT_EQ(raylet_status, 0);
  EXPECT_FALSE(fs::exists(session_dir));
  EXPECT_TRUE(driver->exit_reasons.empty());
}

TEST_F(RayletTest, AWorkerThatIgnoresSigtermIsKilled) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  Do(*Lease(*driver), "hang");
  const SteadyClock clock;
  const int64_t begin_ms = clock.NowMs();
  driver->raylet->ShutdownNode([](const Status& /*status*/) {});
  EXPECT_TRUE(RayletEnded(2'000));
  EXPECT_LT(clock.NowMs() - begin_ms, 1'500);
}

TEST_F(RayletTest, TheEndOfTheOwnersConnectionEndsTheCluster) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  Do(*Lease(*driver), "spawn");
  driver->channel->Close(Status::Ok());
  EXPECT_TRUE(RayletEnded(2'000));
  EXPECT_TRUE(NothingRuns(100));
  EXPECT_FALSE(fs::exists(session_dir));
}

TEST_F(RayletTest, TheDeathOfTheOwnerEndsTheClusterEvenWithoutAConnection) {
  const pid_t owner = ::fork();
  if (owner == 0) {
    ::pause();
    ::_exit(0);
  }
  ASSERT_EQ(Start(owner), "ok");
  RunUntil([&] { return ProcessesOf(session_dir).size() >= 2; });
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  EXPECT_TRUE(RayletEnded(2'000));
  EXPECT_TRUE(NothingRuns(100));
  EXPECT_FALSE(fs::exists(session_dir));
}

TEST_F(RayletTest, ADriversDeathIsNoticedThroughItsProcessToo) {
  const pid_t process = ::fork();
  if (process == 0) {
    ::pause();
    ::_exit(0);
  }
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver =
      Driver(1, true, process);  // the connection stays open, as a forked child would keep it
  ::kill(process, SIGKILL);
  ::waitpid(process, nullptr, 0);
  EXPECT_TRUE(RayletEnded(2'000));
}

TEST_F(RayletTest, SigtermEndsTheNodeAndTellsTheDriver) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  Do(*Lease(*driver), "spawn");
  ::kill(raylet_pid, SIGTERM);
  EXPECT_TRUE(RayletEnded(2'000));
  EXPECT_TRUE(RunUntil([&] { return driver->closed; }));
  ASSERT_EQ(driver->exit_reasons.size(), 1U);
  EXPECT_NE(driver->exit_reasons[0].find("signal 15"), std::string::npos);
  EXPECT_TRUE(NothingRuns(100));
}

TEST_F(RayletTest, AfterSigkillOfTheRayletNothingIsLeft) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  Do(*Lease(*driver), "spawn");
  ::kill(raylet_pid, SIGKILL);
  EXPECT_TRUE(RayletEnded(1'000));
  EXPECT_TRUE(NothingRuns(2'000));
}

TEST_F(RayletTest, TheEndOfTheZygoteEndsTheNodeWithTheReason) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  Do(*Lease(*driver), "spawn");
  pid_t zygote = 0;
  for (const ProcessInfo& info : ListProcesses()) {
    if (info.parent == raylet_pid) {
      zygote = info.pid;
    }
  }
  ASSERT_NE(zygote, 0);
  ::kill(zygote, SIGKILL);
  EXPECT_TRUE(RayletEnded(2'000));
  EXPECT_TRUE(RunUntil([&] { return driver->closed; }));
  ASSERT_EQ(driver->exit_reasons.size(), 1U);
  EXPECT_NE(driver->exit_reasons[0].find("killed by signal 9"), std::string::npos)
      << driver->exit_reasons[0];
  EXPECT_TRUE(NothingRuns(100));
}

TEST_F(RayletTest, AZygoteThatCannotStartEndsTheNodeWithItsError) {
  ASSERT_EQ(::setenv("RAYC_TEST_BROKEN_WORKERS", "ImportError: no numpy\n", 1), 0);
  ASSERT_EQ(Start(::getpid()), "ok");
  ::unsetenv("RAYC_TEST_BROKEN_WORKERS");
  auto driver = Driver();
  const auto lease = Ask(*driver, Cpu(1));
  EXPECT_TRUE(RunUntil([&] { return lease->done; }));
  EXPECT_EQ(lease->status.code(), StatusCode::kShutdown);
  EXPECT_NE(lease->status.message().find("exited with code 5"), std::string::npos) << lease->status;
  EXPECT_TRUE(RayletEnded(2'000));
}

TEST_F(RayletTest, ASecondRayletInTheSameFolderIsRefused) {
  ASSERT_EQ(Start(::getpid()), "ok");
  const pid_t first = raylet_pid;
  EXPECT_NE(Start(::getpid()).find("another raylet runs"), std::string::npos);
  EXPECT_TRUE(RayletEnded(1'000));
  EXPECT_TRUE(fs::exists(session_dir + "/sockets/raylet"));
  raylet_pid = first;
  raylet_status = -1;
}

TEST_F(RayletTest, LeasesAreGrantedReusedAndReturned) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto first = Lease(*driver);
  EXPECT_EQ(first->worker.socket, testing::WorkerSocket(session_dir, first->worker.worker_id));
  EXPECT_FALSE(first->worker.node_id.IsNil());
  driver->raylet->ReturnLease(LastLease(), false);
  const auto second = Lease(*driver);
  EXPECT_EQ(second->pid, first->pid);
  const auto third = Lease(*driver);
  EXPECT_NE(third->pid, first->pid);
  const auto waiting = Ask(*driver, Cpu(1));
  RunUntil([&] { return waiting->done; }, 100);
  EXPECT_FALSE(waiting->done);
  driver->raylet->CancelLease(LastLease());
  EXPECT_TRUE(RunUntil([&] { return waiting->done; }));
  EXPECT_EQ(waiting->status.code(), StatusCode::kCancelled);
}

TEST_F(RayletTest, ImpossibleRequestsFailAtOnce) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto lease = Ask(*driver, ResourceSet({{"CPU", kResourceUnit}, {"TPU", kResourceUnit}}));
  EXPECT_TRUE(RunUntil([&] { return lease->done; }));
  EXPECT_EQ(lease->status.code(), StatusCode::kUnschedulable);
  EXPECT_NE(lease->status.message().find("TPU: 1 asked, 0 there"), std::string::npos);
  EXPECT_NE(lease->status.message().find("CPU:2"), std::string::npos);
}

TEST_F(RayletTest, GpusComeWithTheirNumbers) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto one = Ask(*driver, Gpu(1));
  const auto half = Ask(*driver, Gpu(0.5));
  EXPECT_TRUE(RunUntil([&] { return one->done && half->done; }));
  ASSERT_EQ(one->instances.size(), 1U);
  ASSERT_EQ(half->instances.size(), 1U);
  EXPECT_NE(one->instances[0], half->instances[0]);
}

TEST_F(RayletTest, ABlockedWorkerLendsItsCpu) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto parent = Lease(*driver, 2);
  Do(*parent, "block");
  const auto child = Lease(*driver, 2);
  EXPECT_NE(child->pid, parent->pid);
  Do(*parent, "unblock");
  const auto waiting = Ask(*driver, Cpu(1));
  RunUntil([&] { return waiting->done; }, 100);
  EXPECT_FALSE(waiting->done);
}

TEST_F(RayletTest, SomebodyElsesIdleLeasesAreReclaimed) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  Lease(*driver, 2);
  const uint64_t held = LastLease();
  auto other = Driver(2, false);
  const auto waiting = Ask(*other, Cpu(1), false, 2);
  EXPECT_TRUE(RunUntil([&] { return driver->reclaims >= 2; }));
  driver->raylet->ReturnLease(held, false);
  EXPECT_TRUE(RunUntil([&] { return waiting->done; }));
  EXPECT_TRUE(waiting->status.ok());
}

TEST_F(RayletTest, ADeathSaysWhatHappened) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto first = Lease(*driver);
  Do(*first, "err something went wrong\nreally");
  Do(*first, "exit 3");
  const fb::WorkerDeathT exited = DeathOf(*driver, first->worker.worker_id);
  EXPECT_TRUE(exited.known);
  EXPECT_FALSE(exited.intended);
  EXPECT_EQ(exited.exit_code, 3);
  EXPECT_EQ(exited.signal, 0);
  EXPECT_EQ(exited.pid, first->pid);
  EXPECT_EQ(exited.detail, "exited with code 3");
  EXPECT_EQ(exited.stderr_tail, "something went wrong\nreally\n");

  EXPECT_FALSE(fs::exists(first->worker.socket));

  const auto second = Lease(*driver, 2);  // the dead one's CPU is free again
  Do(*second, "kill 6");
  const fb::WorkerDeathT crashed = DeathOf(*driver, second->worker.worker_id);
  EXPECT_EQ(crashed.exit_code, -1);
  EXPECT_EQ(crashed.signal, 6);
  EXPECT_EQ(crashed.detail, "killed by signal 6 (SIGABRT)");

  EXPECT_FALSE(DeathOf(*driver, WorkerId::FromRandom()).known);
}

TEST_F(RayletTest, AnAnnouncedExitIsIntended) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto lease = Lease(*driver);
  Do(*lease, "announce");
  driver->raylet->ReturnLease(LastLease(), true);
  const fb::WorkerDeathT death = DeathOf(*driver, lease->worker.worker_id);
  EXPECT_TRUE(death.intended);
  EXPECT_EQ(death.detail, "exited with code 0: I am done");
}

TEST_F(RayletTest, AWorkerThatDisconnectsButStaysIsKilled) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto lease = Lease(*driver, 2);
  // No answer comes: the worker hangs once it has closed its connection.
  fb::PushTaskT task;
  task.spec = std::make_unique<fb::TaskSpecT>();
  task.spec->name = "disconnect";
  Do(*lease, "flush");
  workers[lease->worker.socket]->channel()->Call<fb::PushTaskReply>(
      Method::kPushTask, task, [](const Result<const fb::PushTaskReply*>& /*reply*/) {});
  Lease(*driver, 2);
  const fb::WorkerDeathT death = DeathOf(*driver, lease->worker.worker_id);
  EXPECT_EQ(death.signal, SIGKILL);
}

TEST_F(RayletTest, TheWorkersOfAWorkerThatDiesGoWithIt) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto parent = Lease(*driver);
  const auto child_pid = static_cast<pid_t>(Do(*parent, "lease"));
  ASSERT_GT(child_pid, 0);
  ::kill(parent->pid, SIGKILL);
  EXPECT_TRUE(RunUntil([&] {
    const auto pids = ProcessesOf(session_dir);
    return std::find(pids.begin(), pids.end(), child_pid) == pids.end();
  }));
}

TEST_F(RayletTest, IdleWorkersThatDieAreReplacedWhenNeeded) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto first = Lease(*driver);
  driver->raylet->ReturnLease(LastLease(), false);
  DeathOf(*driver, WorkerId::FromRandom());  // so that the return has arrived
  ::kill(first->pid, SIGKILL);
  EXPECT_EQ(DeathOf(*driver, first->worker.worker_id).signal, SIGKILL);
  EXPECT_NE(Lease(*driver)->pid, first->pid);
}

TEST_F(RayletTest, TheGcsPlacesActorsWhichStayAndCanBeKilled) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  auto gcs = Connect("gcs");
  const auto actor = Ask(*gcs, Cpu(1), true, 1, "Counter.__init__");
  EXPECT_TRUE(RunUntil([&] { return actor->done; }));
  ASSERT_TRUE(actor->status.ok()) << actor->status;
  Do(*actor, "out hello\n");
  EXPECT_TRUE(RunUntil([&] { return !driver->lines.empty(); }));
  EXPECT_EQ(driver->lines[0], "Counter|O|hello");
  gcs->raylet->KillWorker(actor->worker.worker_id, true, "rayc.kill");
  const fb::WorkerDeathT death = DeathOf(*driver, actor->worker.worker_id);
  EXPECT_EQ(death.signal, SIGKILL);
  EXPECT_NE(death.detail.find("rayc.kill"), std::string::npos);

  const auto polite = Ask(*gcs, Cpu(1), true);
  EXPECT_TRUE(RunUntil([&] { return polite->done; }));
  gcs->raylet->KillWorker(polite->worker.worker_id, false, "out of scope");
  EXPECT_EQ(DeathOf(*driver, polite->worker.worker_id).exit_code, 0);
}

TEST_F(RayletTest, OutputReachesTheDriverBeforeTheFlushIsAnswered) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto lease = Lease(*driver);
  Do(*lease, "out one\ntwo");
  Do(*lease, "err three\n");
  Do(*lease, "flush");
  RunUntil([] { return false; }, 20);
  // Between the two streams there is no order.
  std::sort(driver->lines.begin(), driver->lines.end());
  EXPECT_EQ(driver->lines, (std::vector<std::string>{"f|E|three", "f|O|one", "f|O|two"}));
  EXPECT_TRUE(fs::exists(session_dir + "/logs/worker-" + std::to_string(lease->pid) + ".out"));
}

TEST_F(RayletTest, IdleItHasFewProcessesAndWritesNothing) {
  ASSERT_EQ(Start(::getpid(), {"--log-level", "warning"}), "ok");
  auto driver = Driver();
  Lease(*driver);
  driver->raylet->ReturnLease(LastLease(), false);
  RunUntil([] { return false; }, 300);
  EXPECT_LE(ProcessesOf(session_dir).size(), 3U);
  EXPECT_TRUE(fs::is_empty(session_dir + "/logs"));
}

TEST_F(RayletTest, ManyActorsStartAndIdleWorkersLeave) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  auto gcs = Connect("gcs");
  std::vector<std::shared_ptr<Granted>> actors;
  std::vector<uint64_t> leases;
  for (int i = 0; i < 30; ++i) {
    actors.push_back(Ask(*gcs, {}, true));
    leases.push_back(LastLease());
  }
  EXPECT_TRUE(RunUntil([&] {
    return std::all_of(actors.begin(), actors.end(), [](const auto& a) { return a->done; });
  }));
  for (const uint64_t lease : leases) {
    gcs->raylet->ReturnLease(lease, true);
  }
  EXPECT_TRUE(RunUntil([&] { return ProcessesOf(session_dir).size() <= 3; }));
}

TEST_F(RayletTest, StrangersGetNothing) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto lease = Lease(*driver);

  auto tool = Connect("tool");
  const auto refused = Ask(*tool, Cpu(1));
  EXPECT_TRUE(RunUntil([&] { return refused->done; }));
  EXPECT_EQ(refused->status.code(), StatusCode::kUnauthenticated);
  tool->raylet->KillWorker(lease->worker.worker_id, true, "no");
  tool->raylet->NotifyBlocked();
  Status shutdown;
  tool->raylet->ShutdownNode([&](const Status& status) { shutdown = status; });
  EXPECT_TRUE(RunUntil([&] { return !shutdown.ok(); }));

  // A worker that nobody has forked.
  auto impostor = Connect("worker");
  fb::RegisterClientT request;
  request.worker_id = rpc::IdBytes(lease->worker.worker_id);
  request.pid = ::getpid();
  request.fork_token = 1;
  Status registered;
  impostor->raylet->RegisterClient(request, [&](Result<const fb::RegisterClientReply*> reply) {
    registered = reply ? Status::Ok() : reply.error();
  });
  EXPECT_TRUE(RunUntil([&] { return impostor->closed; }));
  EXPECT_EQ(registered.code(), StatusCode::kUnauthenticated);
  Do(*lease, "flush");  // the real one is still there
}

TEST_F(RayletTest, AnyToolMayAskWhoIsRegistered) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  const auto lease = Lease(*driver);
  const auto tool = Connect("tool");
  std::map<pid_t, fb::ClientInfoT> clients;
  bool answered = false;
  tool->raylet->ListClients([&](Result<const fb::ListClientsReply*> reply) {
    answered = true;
    ASSERT_TRUE(reply) << reply.error();
    for (const fb::ClientInfo* info : *(*reply)->clients()) {
      info->UnPackTo(&clients[info->pid()]);
    }
  });
  EXPECT_TRUE(RunUntil([&] { return answered; }));
  EXPECT_TRUE(clients[::getpid()].is_driver);
  const fb::ClientInfoT& worker = clients[lease->pid];
  EXPECT_FALSE(worker.is_driver);
  EXPECT_EQ(worker.worker_id, rpc::IdBytes(lease->worker.worker_id));
  EXPECT_EQ(worker.socket, lease->worker.socket);
}

TEST_F(RayletTest, MalformedBytesCloseTheirConnectionAndNothingElse) {
  ASSERT_EQ(Start(::getpid()), "ok");
  auto driver = Driver();
  uint32_t seed = 1;
  for (int i = 0; i < 50; ++i) {
    auto fd = ConnectUnix(session_dir + "/sockets/raylet");
    ASSERT_TRUE(fd);
    std::string noise(1 + static_cast<size_t>(i) * 7, '\0');
    for (char& c : noise) {
      seed = seed * 1'664'525 + 1'013'904'223;
      c = static_cast<char>(seed >> 24);
    }
    [[maybe_unused]] const Status sent = WriteAll(fd->get(), noise.data(), noise.size());
  }
  // Well framed, but no table inside.
  for (int method = 100; method <= 114; ++method) {
    auto peer = Connect("tool");
    fb::StatusMessageT other;
    other.message = std::string(200, 'x');
    peer->channel->Notify(static_cast<Method>(method), rpc::Payload::Of(other));
    fb::EmptyT empty;
    peer->channel->Notify(static_cast<Method>(method), rpc::Payload::Of(empty));
    peer->channel->Notify(static_cast<Method>(method), rpc::Payload());
    RunUntil([&] { return peer->closed; }, 50);
  }
  EXPECT_TRUE(Lease(*driver)->status.ok());
}

}  // namespace
}  // namespace rayc::raylet
