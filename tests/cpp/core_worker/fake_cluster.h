// A cluster in one process: the real GCS and the real store, a raylet that is a table of leases,
// and CoreWorkers as its workers, each with a thread in RunTaskLoop. What they run is
// FakeLanguage's.
//
// A worker "crashes" by shutting its CoreWorker down in the middle: all its sockets close at once.
// Workers go before the raylet does: one that loses its raylet ends its process, which is the
// test's.
#pragma once

#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core_worker/fake_language.h"
#include "fakes/loop_thread.h"
#include "fakes/temp_folder.h"
#include "gcs/gcs_server.h"
#include "plasma/store.h"
#include "rpc/gcs_client.h"
#include "rpc/server.h"

namespace rayc::testing {

class FakeCluster {
 public:
  // `slots`: how many tasks run at the same time; one that blocks gives up its own.
  explicit FakeCluster(int slots = 2) : slots_(slots), killer_([this] { RunKiller(); }) {
    std::filesystem::create_directories(folder_.path() + "/sockets");
    std::filesystem::create_directories(folder_.path() + "/logs");
    loop_.Run([this] { StartOnLoop(); });
  }
  ~FakeCluster() {
    StopWorkers();
    loop_.Run([this] { StopOnLoop(); });
    loop_.Join();
  }
  FakeCluster(const FakeCluster&) = delete;
  FakeCluster& operator=(const FakeCluster&) = delete;

  std::unique_ptr<CoreWorker> NewDriver(const std::string& name_space = "test") {
    core_worker::CoreWorkerOptions options;
    options.mode = core_worker::WorkerMode::kScript;
    options.session_dir = folder_.path();
    options.name_space = name_space;
    options.job_config = "config";
    options.log_level = LogLevel::kFatal;
    options.bridge = FakeLanguage::Bridge();
    auto core = CoreWorker::Start(options);
    if (!core) {
      throw std::runtime_error(core.error().ToString());
    }
    return std::move(*core);
  }

  // On the loop's thread.
  template <typename Function>
  auto Ask(Function function) {
    decltype(function()) value{};
    loop_.Run([&] { value = function(); });
    return value;
  }

  const std::string& folder() const { return folder_.path(); }
  // As if with kill -9; returns before it has happened.
  void Kill(const WorkerId& worker) {
    loop_.Run([&] { KillOnLoop(worker); });
  }
  size_t NumWorkers() {
    return Ask([this] { return workers_.size(); });
  }
  size_t NumObjects() {
    return Ask([this] { return store_->object_count(); });
  }
  std::string StoreContents() {
    return Ask([this] { return store_->Describe() + store_->CheckInvariants(); });
  }
  // Ends the raylet, the GCS and the store, as if the raylet was killed. Only without workers.
  void StopNode() {
    loop_.Run([this] { StopOnLoop(); });
  }
  // What all living workers keep, together.
  CoreWorker::Counts WorkerCounts() {
    const std::lock_guard<std::mutex> lock(threads_mutex_);
    CoreWorker::Counts sum;
    for (const auto& worker : threads_) {
      if (worker->core == nullptr || worker->gone) {
        continue;
      }
      const CoreWorker::Counts counts = worker->core->CountEntries();
      sum.references += counts.references;
      sum.objects += counts.objects;
      sum.awaited_objects += counts.awaited_objects;
      sum.pending_tasks += counts.pending_tasks;
      sum.actors += counts.actors;
    }
    return sum;
  }

 private:
  using ClientKey = rpc::Channel*;
  enum class State { kStarting, kIdle, kLeased, kActor, kExiting };
  struct Worker {
    Address address;
    rpc::ChannelPtr channel;
    State state = State::kStarting;
    bool blocked = false;
    bool intended = false;
  };
  struct Request {
    ClientKey client;
    uint64_t lease_id = 0;
    bool is_actor = false;
    rpc::Responder responder;
  };
  struct WorkerThread {
    std::unique_ptr<CoreWorker> core;
    bool gone = false;
    std::thread thread;
  };

  // ---- start and stop ----

  void StartOnLoop() {
    const std::string sockets = folder_.path() + "/sockets/";
    gcs_ = std::make_unique<gcs::GcsServer>(
        loop_.loop(), gcs::GcsServerOptions{sockets + "gcs", folder_.path(), "test"});
    store_ = std::make_unique<plasma::Store>(
        loop_.loop(),
        plasma::StoreOptions{.socket_path = sockets + "plasma", .capacity_bytes = 64UL << 20});
    raylet_ = std::make_unique<rpc::Server>(loop_.loop(), std::string(node_id_.Binary()), "raylet");
    AddHandlers();
    Check(gcs_->Start());
    Check(store_->Start());
    Check(raylet_->Listen(sockets + "raylet"));
    rpc::ChannelOptions options;
    options.self_id = std::string(node_id_.Binary());
    options.self_component = "raylet";
    gcs_client_ = std::make_unique<rpc::WireGcsClient>(
        *rpc::Channel::Connect(loop_.loop(), sockets + "gcs", std::move(options)));
    fb::RegisterNodeT node;
    node.node_id = rpc::IdBytes(node_id_);
    node.raylet_socket = sockets + "raylet";
    node.plasma_socket = sockets + "plasma";
    ResourceSet resources;
    resources.Set("CPU", ToFixedPoint(1'000));
    node.resources = rpc::ToMessage(resources);
    node.is_head = true;
    gcs_client_->RegisterNode(node, [](const Status& status) { Check(status); });
  }

  void StopOnLoop() {
    if (raylet_ == nullptr) {
      return;
    }
    gcs_client_->channel()->Detach();
    raylet_->Shutdown();
    requests_.clear();
    gcs_->Shutdown();
    store_->Shutdown();
    raylet_ = nullptr;
    gcs_ = nullptr;
    store_ = nullptr;
  }

  void StopWorkers() {
    loop_.Run([this] { stopping_ = true; });
    {
      const std::lock_guard<std::mutex> lock(killer_mutex_);
      killer_stopped_ = true;
      killer_wake_.notify_all();
    }
    killer_.join();
    std::list<std::shared_ptr<WorkerThread>> threads;
    {
      const std::lock_guard<std::mutex> lock(threads_mutex_);
      threads.swap(threads_);
    }
    for (const auto& worker : threads) {
      RAYC_CHECK(Eventually([&] {  // it may be starting
        const std::lock_guard<std::mutex> lock(threads_mutex_);
        return worker->core != nullptr;
      }));
      worker->core->Shutdown();
      worker->thread.join();
      FakeLanguage::Forget(*worker->core);
    }
  }

  static void Check(const Status& status) { RAYC_CHECK(status.ok()) << status; }

  // ---- the raylet; loop thread ----

  void AddHandlers() {
    using rpc::ChannelPtr;
    using rpc::Responder;
    raylet_->OnDisconnect(
        [this](const ChannelPtr& channel, const Status& /*why*/) { OnDisconnect(channel); });
    raylet_->HandleTable<fb::RegisterClient>(
        Method::kRegisterClient,
        [this](const ChannelPtr& channel, const fb::RegisterClient& request, Responder responder) {
          const auto id = WorkerId::FromBytes(request.worker_id());
          clients_[channel.get()] = id;
          auto& info = infos_[channel.get()];
          info.worker_id = rpc::IdBytes(id);
          info.pid = request.pid();
          info.is_driver = request.is_driver();
          info.socket = rpc::FromString(request.socket());
          fb::RegisterClientReplyT reply;
          reply.node_id = rpc::IdBytes(node_id_);
          responder.Reply(reply);
          if (request.is_driver()) {
            drivers_[channel.get()] = channel;
            return;
          }
          Worker& worker = workers_[id];
          worker.address = {node_id_, id, rpc::FromString(request.socket())};
          worker.channel = channel;
          worker.state = State::kIdle;
          loop_.loop().Post([this] { Schedule(); });
        });
    raylet_->HandleTable<fb::RequestLease>(
        Method::kRequestLease,
        [this](const ChannelPtr& channel, const fb::RequestLease& request, Responder responder) {
          if (rpc::FromMessage(request.resources()).amounts().count("impossible") != 0) {
            responder.Error({StatusCode::kUnschedulable, "there is nothing impossible"});
            return;
          }
          requests_.push_back(
              {channel.get(), request.lease_id(), request.is_actor(), std::move(responder)});
          Schedule();
          Reclaim(channel.get());
        });
    raylet_->HandleTable<fb::CancelLease>(
        Method::kCancelLease,
        [this](const ChannelPtr& channel, const fb::CancelLease& request, const Responder&) {
          for (auto it = requests_.begin(); it != requests_.end(); ++it) {
            if (it->client == channel.get() && it->lease_id == request.lease_id()) {
              it->responder.Error({StatusCode::kCancelled, "cancelled"});
              requests_.erase(it);
              return;
            }
          }
        });
    raylet_->HandleTable<fb::ReturnLease>(
        Method::kReturnLease,
        [this](const ChannelPtr& channel, const fb::ReturnLease& request, const Responder&) {
          const auto it = leases_.find({channel.get(), request.lease_id()});
          if (it != leases_.end()) {
            const WorkerId worker = it->second;
            leases_.erase(it);
            GiveBack(worker, request.worker_exiting());
            Schedule();
          }
        });
    const auto set_blocked = [this](bool blocked) {
      return [this, blocked](const ChannelPtr& channel, const rpc::Message&, const Responder&) {
        workers_[clients_[channel.get()]].blocked = blocked;
        Schedule();
      };
    };
    raylet_->Handle(Method::kNotifyBlocked, set_blocked(true));
    raylet_->Handle(Method::kNotifyUnblocked, set_blocked(false));
    raylet_->Handle(Method::kFlushLogs,
                    [this](const ChannelPtr&, const rpc::Message&, Responder responder) {
                      fb::LogBatchT batch;
                      auto line = std::make_unique<fb::LogLineT>();
                      line->text = "a line";
                      batch.lines.push_back(std::move(line));
                      for (const auto& [key, driver] : drivers_) {
                        driver->NotifyTable(Method::kLogBatch, batch);
                      }
                      responder.Ok();
                    });
    raylet_->HandleTable<fb::GetWorkerDeath>(
        Method::kGetWorkerDeath,
        [this](const ChannelPtr&, const fb::GetWorkerDeath& request, Responder responder) {
          const auto id = WorkerId::FromBytes(request.worker_id());
          const auto death = deaths_.find(id);
          if (death != deaths_.end()) {
            responder.Reply(death->second);
          } else if (workers_.count(id) == 0) {
            responder.Reply(fb::WorkerDeathT());
          } else {
            death_waiters_.emplace(id, std::move(responder));
          }
        });
    raylet_->HandleTable<fb::AnnounceExit>(
        Method::kAnnounceExit,
        [this](const ChannelPtr& channel, const fb::AnnounceExit&, const Responder&) {
          workers_[clients_[channel.get()]].intended = true;
        });
    raylet_->HandleTable<fb::KillWorker>(
        Method::kKillWorker,
        [this](const ChannelPtr&, const fb::KillWorker& request, const Responder&) {
          const auto id = WorkerId::FromBytes(request.worker_id());
          if (request.force()) {
            KillOnLoop(id);
          } else {
            GiveBack(id, true);
          }
        });
    raylet_->Handle(Method::kListClients,
                    [this](const ChannelPtr&, const rpc::Message&, Responder responder) {
                      fb::ListClientsReplyT reply;
                      for (const auto& [key, info] : infos_) {
                        reply.clients.push_back(std::make_unique<fb::ClientInfoT>(info));
                      }
                      responder.Reply(reply);
                    });
    raylet_->Handle(Method::kShutdownNode, [](const ChannelPtr&, const rpc::Message&,
                                              Responder responder) { responder.Ok(); });
  }

  void OnDisconnect(const rpc::ChannelPtr& channel) {
    drivers_.erase(channel.get());
    infos_.erase(channel.get());
    for (auto it = requests_.begin(); it != requests_.end();) {
      it = it->client == channel.get() ? requests_.erase(it) : std::next(it);
    }
    for (auto it = leases_.begin(); it != leases_.end();) {
      if (it->first.first != channel.get()) {
        ++it;
        continue;
      }
      KillOnLoop(it->second);
      it = leases_.erase(it);
    }
    const auto client = clients_.find(channel.get());
    if (client == clients_.end()) {
      return;
    }
    const WorkerId id = client->second;
    clients_.erase(client);
    store_->OnOwnerDied(id);
    fb::WorkerDeathT death;
    death.worker_id = rpc::IdBytes(id);
    death.pid = getpid();
    death.known = true;
    const auto worker = workers_.find(id);
    const bool is_driver = worker == workers_.end();
    if (!is_driver) {
      death.intended = worker->second.intended;
      death.detail = death.intended ? "it left" : "killed by signal 9 (SIGKILL)";
      workers_.erase(worker);
      std::erase_if(leases_, [&](const auto& lease) { return lease.second == id; });
    }
    deaths_[id] = death;
    fb::ReportWorkerDeathT report;
    report.death = std::make_unique<fb::WorkerDeathT>(death);
    report.is_driver = is_driver;
    gcs_client_->ReportWorkerDeath(report);
    const auto [first, last] = death_waiters_.equal_range(id);
    for (auto it = first; it != last; ++it) {
      it->second.Reply(death);
    }
    death_waiters_.erase(first, last);
    Schedule();
  }

  void GiveBack(const WorkerId& id, bool exiting) {
    const auto it = workers_.find(id);
    if (it == workers_.end() || it->second.state == State::kExiting) {
      return;
    }
    it->second.blocked = false;
    if (exiting || it->second.intended) {
      it->second.state = State::kExiting;
      it->second.channel->NotifyTable(Method::kExitWorker, fb::ExitWorkerT());
    } else {
      it->second.state = State::kIdle;
    }
  }

  int RunningTasks() const {
    int running = 0;
    for (const auto& [id, worker] : workers_) {
      running += worker.state == State::kLeased && !worker.blocked ? 1 : 0;
    }
    return running;
  }

  void Schedule() {
    if (stopping_) {
      return;
    }
    size_t workers_wanted = 0;
    for (auto it = requests_.begin(); it != requests_.end();) {
      if (!it->is_actor && RunningTasks() + static_cast<int>(workers_wanted) >= slots_) {
        ++it;
        continue;
      }
      Worker* idle = nullptr;
      for (auto& [id, worker] : workers_) {
        idle = worker.state == State::kIdle ? &worker : idle;
      }
      if (idle == nullptr) {
        ++workers_wanted;
        ++it;
        continue;
      }
      idle->state = it->is_actor ? State::kActor : State::kLeased;
      leases_[{it->client, it->lease_id}] = idle->address.worker_id;
      fb::RequestLeaseReplyT reply;
      reply.worker = rpc::ToMessage(idle->address);
      reply.worker_pid = getpid();
      it->responder.Reply(reply);
      it = requests_.erase(it);
    }
    size_t starting = 0;
    for (const auto& [id, worker] : workers_) {
      starting += worker.state == State::kStarting ? 1 : 0;
    }
    for (; starting < workers_wanted; ++starting) {
      StartWorker();
    }
  }

  // Somebody waits: those who hold leases are asked for them.
  void Reclaim(ClientKey waiting) {
    const bool waits = std::any_of(requests_.begin(), requests_.end(), [&](const Request& request) {
      return request.client == waiting;
    });
    for (const auto& [key, worker] : leases_) {
      const auto client = clients_.find(key.first);
      if (!waits || key.first == waiting || client == clients_.end()) {
        continue;
      }
      const auto driver = drivers_.find(key.first);
      const auto owner = workers_.find(client->second);
      const rpc::ChannelPtr channel =
          driver != drivers_.end() ? driver->second
                                   : (owner != workers_.end() ? owner->second.channel : nullptr);
      if (channel != nullptr) {
        channel->NotifyTable(Method::kReclaimLeases, fb::ReclaimLeasesT());
      }
    }
  }

  // ---- workers ----

  void StartWorker() {
    core_worker::CoreWorkerOptions options;
    options.mode = core_worker::WorkerMode::kWorker;
    options.session_dir = folder_.path();
    options.worker_id = WorkerId::FromRandom();
    options.log_level = LogLevel::kFatal;
    options.bridge = FakeLanguage::Bridge();
    workers_[options.worker_id];
    auto worker = std::make_shared<WorkerThread>();
    const std::lock_guard<std::mutex> lock(threads_mutex_);
    threads_.push_back(worker);
    worker->thread = std::thread([this, worker, options] {
      auto core = CoreWorker::Start(options);
      Check(core ? Status::Ok() : core.error());
      CoreWorker* const running = core->get();
      {
        const std::lock_guard<std::mutex> started(threads_mutex_);
        worker->core = std::move(*core);
      }
      FakeLanguage::current = running;
      running->RunTaskLoop();
      {
        const std::lock_guard<std::mutex> ended(threads_mutex_);
        worker->gone = true;
      }
      running->Shutdown();
    });
  }

  // Elsewhere, as it waits for threads that may wait for this loop.
  void KillOnLoop(const WorkerId& id) {
    const std::lock_guard<std::mutex> lock(killer_mutex_);
    to_kill_.push_back(id);
    killer_wake_.notify_all();
  }

  void RunKiller() {
    std::unique_lock<std::mutex> lock(killer_mutex_);
    while (true) {
      killer_wake_.wait(lock, [this] { return killer_stopped_ || !to_kill_.empty(); });
      if (to_kill_.empty()) {
        return;
      }
      const WorkerId id = to_kill_.front();
      to_kill_.pop_front();
      lock.unlock();
      CoreWorker* victim = nullptr;
      {
        const std::lock_guard<std::mutex> threads_lock(threads_mutex_);
        for (const auto& worker : threads_) {
          if (worker->core != nullptr && worker->core->self().worker_id == id) {
            worker->gone = true;
            victim = worker->core.get();
          }
        }
      }
      if (victim != nullptr) {
        victim->Shutdown();
      }
      lock.lock();
    }
  }

  const int slots_;
  const NodeId node_id_ = NodeId::FromRandom();
  TempFolder folder_;
  LoopThread loop_;

  // Loop thread only.
  std::unique_ptr<gcs::GcsServer> gcs_;
  std::unique_ptr<plasma::Store> store_;
  std::unique_ptr<rpc::Server> raylet_;
  std::unique_ptr<rpc::WireGcsClient> gcs_client_;
  std::map<ClientKey, WorkerId> clients_;
  std::map<ClientKey, fb::ClientInfoT> infos_;
  std::map<ClientKey, rpc::ChannelPtr> drivers_;
  std::map<WorkerId, Worker> workers_;
  std::list<Request> requests_;
  std::map<std::pair<ClientKey, uint64_t>, WorkerId> leases_;
  std::map<WorkerId, fb::WorkerDeathT> deaths_;
  std::multimap<WorkerId, rpc::Responder> death_waiters_;
  bool stopping_ = false;

  std::mutex threads_mutex_;
  std::list<std::shared_ptr<WorkerThread>> threads_;

  std::mutex killer_mutex_;
  std::condition_variable killer_wake_;
  std::deque<WorkerId> to_kill_;
  bool killer_stopped_ = false;
  std::thread killer_;
};

}  // namespace rayc::testing
