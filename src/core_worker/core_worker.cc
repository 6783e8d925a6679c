#include "core_worker/core_worker.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {
namespace {

// How long a blocking call stays away from the language's signal handlers at the most.
constexpr int kSignalSliceMs = 100;
constexpr int64_t kConnectTimeoutMs = 30'000;
constexpr int64_t kShutdownTimeoutMs = 3'000;
constexpr int64_t kLastRepliesTimeoutMs = 1'000;
constexpr int kLastRepliesSliceMs = 10;
constexpr size_t kLogLinesMax = 100'000;  // that nobody takes
constexpr int64_t kHousekeepingMs = 250;

}  // namespace

CoreWorker::CoreWorker(CoreWorkerOptions options)
    : options_(std::move(options)),
      pid_(getpid()),
      self_{NodeId(),
            options_.mode == WorkerMode::kWorker ? options_.worker_id : WorkerId::FromRandom(), ""},
      server_(loop_, std::string(self_.worker_id.Binary()),
              options_.mode == WorkerMode::kWorker ? "worker" : "driver"),
      drainer_(loop_),
      executor_(*this),
      job_config_(options_.job_config),
      references_(self_),
      task_submitter_(clock_, *this),
      actor_submitter_(*this) {}

CoreWorker::~CoreWorker() {
  Shutdown();
  executor_.JoinPool();
}

Result<std::unique_ptr<CoreWorker>> CoreWorker::Start(CoreWorkerOptions options) {
  if (options.mode == WorkerMode::kLocal) {
    return Err(Status(StatusCode::kNotImplemented, "local mode is not there yet"));
  }
  std::unique_ptr<CoreWorker> worker(new CoreWorker(std::move(options)));
  const Status status = worker->Connect();
  if (!status.ok()) {
    return Err(status);
  }
  return worker;
}

Status CoreWorker::Connect() {
  InitLogging(options_.mode == WorkerMode::kWorker ? "worker" : "driver", options_.log_level,
              options_.mode == WorkerMode::kWorker
                  ? options_.session_dir + "/logs/core-worker-" + std::to_string(pid_) + ".log"
                  : std::string());
  const std::string sockets = options_.session_dir + "/sockets/";
  self_.socket = sockets + "worker-" + self_.worker_id.Hex().substr(0, 16);
  RegisterHandlers();
  server_.ShareMemory();
  RAYC_RETURN_NOT_OK(server_.Listen(self_.socket));

  rpc::ChannelOptions channel_options;
  channel_options.self_id = std::string(self_.worker_id.Binary());
  channel_options.self_component = options_.mode == WorkerMode::kWorker ? "worker" : "driver";
  channel_options.on_request = [this](const rpc::ChannelPtr& channel, Method method,
                                      rpc::Message message, rpc::Responder responder) {
    server_.Dispatch(channel, method, message, std::move(responder));
  };
  channel_options.on_close = [this](const rpc::ChannelPtr& /*channel*/, const Status& why) {
    OnNodeLost(why.message());
  };
  auto gcs = rpc::Channel::Connect(loop_, sockets + "gcs", channel_options);
  if (!gcs) {
    return gcs.error();
  }
  gcs_ = std::make_unique<rpc::WireGcsClient>(*gcs);
  auto raylet = rpc::Channel::Connect(loop_, sockets + "raylet", channel_options);
  if (!raylet) {
    return raylet.error();
  }
  raylet_ = std::make_unique<rpc::WireRayletClient>(*raylet);

  if (options_.mode == WorkerMode::kScript) {
    fb::AddJobT add_job;
    add_job.driver = rpc::ToMessage(self_);
    add_job.driver_pid = pid_;
    add_job.entrypoint = options_.entrypoint;
    add_job.name_space = options_.name_space;
    add_job.config = rpc::ToBytes(options_.job_config);
    RAYC_RETURN_NOT_OK(AwaitStatus([&](const rpc::StatusCallback& callback) {
      gcs_->AddJob(add_job, [this, callback](Result<const fb::AddJobReply*> reply) {
        if (!reply) {
          callback(reply.error());
          return;
        }
        {
          const MutexLock lock(mutex_);
          job_id_ = JobId::FromBytes((*reply)->job_id());
          put_task_id_ = TaskId::ForDriver(job_id_);
        }
        callback(Status::Ok());
      });
    }));
  }
  fb::RegisterClientT registration;
  registration.worker_id = rpc::IdBytes(self_.worker_id);
  registration.pid = pid_;
  registration.is_driver = options_.mode == WorkerMode::kScript;
  registration.job_id = rpc::IdBytes(job_id());
  registration.socket = self_.socket;
  registration.fork_token = options_.fork_token;
  registration.owns_cluster = options_.owns_cluster;
  RAYC_RETURN_NOT_OK(AwaitStatus([&](const rpc::StatusCallback& callback) {
    raylet_->RegisterClient(registration,
                            [this, callback](Result<const fb::RegisterClientReply*> reply) {
                              if (!reply) {
                                callback(reply.error());
                                return;
                              }
                              self_.node_id = NodeId::FromBytes((*reply)->node_id());
                              callback(Status::Ok());
                            });
  }));
  {
    const MutexLock lock(mutex_);
    references_.set_self(self_);
  }
  drainer_.Start();
  ScheduleHousekeeping();
  return Status::Ok();
}

void CoreWorker::ScheduleHousekeeping() {
  {
    const MutexLock lock(mutex_);
    if (task_submitter_.num_leases() == 0) {
      housekeeping_ = false;
      return;
    }
    housekeeping_ = true;
  }
  loop_.RunAfter(kHousekeepingMs, [this] {
    {
      const MutexLock lock(mutex_);
      task_submitter_.ReturnIdleLeases();
    }
    ScheduleHousekeeping();
  });
}

void CoreWorker::RegisterHandlers() {
  using rpc::ChannelPtr;
  using rpc::Responder;
  server_.OnConnect([this](const ChannelPtr& channel) { OnPeerConnected(channel); });
  server_.OnDisconnect(
      [this](const ChannelPtr& channel, const Status& why) { OnPeerClosed(channel, why); });
  server_.HandleTable<fb::PushTask>(
      Method::kPushTask,
      [this](const ChannelPtr&, const fb::PushTask& request, Responder responder) {
        HandlePushTask(request, std::move(responder));
      });
  server_.HandleTable<fb::GetObject>(
      Method::kGetObject,
      [this](const ChannelPtr&, const fb::GetObject& request, Responder responder) {
        HandleGetObject(ObjectId::FromBytes(request.object_id()), std::move(responder));
      });
  server_.HandleTable<fb::AddBorrowers>(
      Method::kAddBorrowers,
      [this](const ChannelPtr& channel, const fb::AddBorrowers& request, Responder responder) {
        HandleAddBorrowers(channel, request, std::move(responder));
      });
  server_.HandleTable<fb::RemoveBorrowers>(
      Method::kRemoveBorrowers, [this](const ChannelPtr&, const fb::RemoveBorrowers& request,
                                       Responder) { HandleRemoveBorrowers(request); });
  server_.HandleTable<fb::GetReferences>(
      Method::kGetReferences,
      [this](const ChannelPtr&, const fb::GetReferences& request, Responder responder) {
        HandleGetReferences(request, std::move(responder));
      });
  server_.HandleTable<fb::CancelTask>(
      Method::kCancelTask,
      [this](const ChannelPtr&, const fb::CancelTask& request, Responder responder) {
        HandleCancelTask(request, std::move(responder));
      });
  server_.HandleTable<fb::KillActor>(
      Method::kKillActor, [this](const ChannelPtr&, const fb::KillActor& request, Responder) {
        executor_.RequestExit(request.graceful(), rpc::FromString(request.reason()));
      });
  server_.HandleTable<fb::ExitWorker>(
      Method::kExitWorker, [this](const ChannelPtr&, const fb::ExitWorker& request, Responder) {
        if (options_.mode == WorkerMode::kWorker) {
          executor_.RequestExit(true, rpc::FromString(request.reason()));
        } else {
          OnNodeLost(rpc::FromString(request.reason()));
        }
      });
  server_.Handle(Method::kReclaimLeases, [this](const ChannelPtr&, rpc::Message, Responder) {
    const MutexLock lock(mutex_);
    task_submitter_.OnReclaim();
    ProcessDeferred();
  });
  server_.HandleTable<fb::LogBatch>(
      Method::kLogBatch,
      [this](const ChannelPtr&, const fb::LogBatch& batch, Responder) { HandleLogBatch(batch); });
  server_.HandleTable<fb::ActorInfo>(
      Method::kActorUpdate, [this](const ChannelPtr&, const fb::ActorInfo& info, Responder) {
        const MutexLock lock(mutex_);
        OnActorInfo(info);
        ProcessDeferred();
      });
}

JobId CoreWorker::job_id() const {
  const MutexLock lock(mutex_);
  return job_id_;
}

// ---- waiting ---------------------------------------------------------------------------------

Status CoreWorker::Await(const std::atomic<bool>& done, int64_t timeout_ms) {
  const int64_t deadline_ms = timeout_ms < 0 ? INT64_MAX : clock_.NowMs() + timeout_ms;
  while (true) {
    const int64_t left_ms =
        timeout_ms < 0 ? -1 : std::max<int64_t>(0, deadline_ms - clock_.NowMs());
    switch (drainer_.WaitUntil(done, left_ms, kSignalSliceMs)) {
      case Drainer::Outcome::kDone:
        return Status::Ok();
      case Drainer::Outcome::kTimeout:
        return {StatusCode::kTimedOut, "the time is over"};
      case Drainer::Outcome::kStopped:
        return {StatusCode::kShutdown, "rayc is shutting down"};
      case Drainer::Outcome::kInterrupted:
        if (options_.bridge.check_signals != nullptr) {
          RAYC_RETURN_NOT_OK(options_.bridge.check_signals());
        }
        break;
    }
  }
}

Status CoreWorker::AwaitStatus(const std::function<void(rpc::StatusCallback)>& call,
                               int64_t timeout_ms) {
  struct Shared {
    std::atomic<bool> done{false};
    Status status;
  };
  // Shared, because the wait may end before the answer comes.
  const auto shared = std::make_shared<Shared>();
  call([this, shared](const Status& status) {
    shared->status = status;
    shared->done.store(true);
    drainer_.Notify();
  });
  RAYC_RETURN_NOT_OK(Await(shared->done, timeout_ms < 0 ? kConnectTimeoutMs : timeout_ms));
  return shared->status;
}

Result<std::shared_ptr<plasma::Client>> CoreWorker::Plasma() {
  const MutexLock lock(plasma_mutex_);
  if (plasma_ == nullptr) {
    if (shutting_down_.load()) {
      return Err(Status(StatusCode::kShutdown, "rayc is shutting down"));
    }
    auto client = plasma::Client::Connect(options_.session_dir + "/sockets/plasma");
    if (!client) {
      return Err(client.error());
    }
    plasma_ = *client;
  }
  return plasma_;
}

// ---- GCS -------------------------------------------------------------------------------------

Result<bool> CoreWorker::KvPut(const std::string& name_space, const std::string& key,
                               const std::string& value, bool overwrite) {
  return AwaitResult<bool>([&](rpc::Callback<bool> callback) {
    gcs_->KvPut(name_space, key, value, overwrite, std::move(callback));
  });
}

Result<std::optional<std::string>> CoreWorker::KvGet(const std::string& name_space,
                                                     const std::string& key, int32_t wait_ms) {
  return AwaitResult<std::optional<std::string>>(
      [&](rpc::Callback<std::optional<std::string>> callback) {
        gcs_->KvGet(name_space, key, wait_ms, std::move(callback));
      },
      kConnectTimeoutMs + wait_ms);
}

Result<uint32_t> CoreWorker::KvDel(const std::string& name_space, const std::string& key,
                                   bool by_prefix) {
  return AwaitResult<uint32_t>([&](rpc::Callback<uint32_t> callback) {
    gcs_->KvDel(name_space, key, by_prefix, std::move(callback));
  });
}

Result<std::vector<std::string>> CoreWorker::KvKeys(const std::string& name_space,
                                                    const std::string& prefix) {
  return AwaitResult<std::vector<std::string>>(
      [&](rpc::Callback<std::vector<std::string>> callback) {
        gcs_->KvKeys(name_space, prefix, std::move(callback));
      });
}

Result<std::vector<NodeRecord>> CoreWorker::GetNodes() {
  using Nodes = std::vector<NodeRecord>;
  {
    // What this process holds without using it is available.
    const MutexLock lock(mutex_);
    task_submitter_.ReturnIdleLeases(0);
  }
  return AwaitResult<Nodes>([&](const rpc::Callback<Nodes>& callback) {
    gcs_->GetNodes([callback](Result<const fb::GetNodesReply*> reply) {
      if (!reply) {
        callback(Err(reply.error()));
        return;
      }
      Nodes nodes;
      if ((*reply)->nodes() != nullptr) {
        for (const fb::NodeInfo* info : *(*reply)->nodes()) {
          nodes.push_back(
              {NodeId::FromBytes(info->node_id()), rpc::FromString(info->ip()),
               rpc::FromString(info->hostname()), rpc::FromString(info->raylet_socket()),
               rpc::FromString(info->plasma_socket()), info->is_alive(), info->is_head(),
               rpc::FromMessage(info->resources()), rpc::FromMessage(info->available()),
               rpc::FromString(info->death_reason())});
        }
      }
      callback(std::move(nodes));
    });
  });
}

Result<std::string> CoreWorker::GetJobConfig(const JobId& job) {
  {
    const MutexLock lock(mutex_);
    if (job == job_id_ && !job_config_.empty()) {
      return job_config_;
    }
  }
  return AwaitResult<std::string>([&](const rpc::Callback<std::string>& callback) {
    gcs_->GetJob(job, [callback](Result<const fb::JobInfo*> reply) {
      if (!reply) {
        callback(Err(reply.error()));
        return;
      }
      callback(std::string(rpc::BytesView((*reply)->config())));
    });
  });
}

// ---- logs ------------------------------------------------------------------------------------

void CoreWorker::HandleLogBatch(const fb::LogBatch& batch) {
  if (batch.lines() == nullptr) {
    return;
  }
  const MutexLock lock(log_mutex_);
  for (const fb::LogLine* line : *batch.lines()) {
    logs_.push_back({rpc::FromString(batch.name()), batch.pid(), line->is_stderr(),
                     rpc::FromString(line->text())});
  }
  while (logs_.size() > kLogLinesMax) {
    logs_.pop_front();
  }
  log_arrived_.notify_all();
}

Status CoreWorker::TakeLogs(int64_t timeout_ms, std::vector<LogLine>* lines) {
  MutexLock lock(log_mutex_);
  if (logs_.empty() && !shutting_down_.load()) {
    log_arrived_.wait_for(lock.native(), std::chrono::milliseconds(timeout_ms));
  }
  lines->assign(std::make_move_iterator(logs_.begin()), std::make_move_iterator(logs_.end()));
  logs_.clear();
  if (lines->empty() && shutting_down_.load()) {
    return {StatusCode::kShutdown, "shut down"};
  }
  return Status::Ok();
}

void CoreWorker::WaitLogs(int64_t timeout_ms) {
  MutexLock lock(log_mutex_);
  if (logs_.empty() && !shutting_down_.load()) {
    log_arrived_.wait_for(lock.native(), std::chrono::milliseconds(timeout_ms));
  }
}

void CoreWorker::Poll() { drainer_.Poll(); }

// ---- the end ---------------------------------------------------------------------------------

void CoreWorker::AnnounceExit(int exit_code, const std::string& detail) {
  raylet_->AnnounceExit(exit_code, detail);
}

void CoreWorker::Shutdown() {
  if (shutting_down_.exchange(true)) {
    return;
  }
  if (getpid() != pid_) {
    return;  // a fork: the channels are the parent's
  }
  if (options_.owns_cluster && raylet_ != nullptr && !disconnected_.load()) {
    // Signals must not cut the clean end short: wait without looking at them.
    struct Shared {
      std::atomic<bool> done{false};
    };
    const auto shared = std::make_shared<Shared>();
    raylet_->ShutdownNode([this, shared](const Status&) {
      shared->done.store(true);
      drainer_.Notify();
    });
    const int64_t deadline_ms = clock_.NowMs() + kShutdownTimeoutMs;
    while (!shared->done.load() && clock_.NowMs() < deadline_ms) {
      drainer_.WaitUntil(shared->done, deadline_ms - clock_.NowMs(), 1'000);
    }
  }
  executor_.RequestExit(false, "it was shut down");
  drainer_.Stop();
  // From here on the loop is ours.
  if (options_.mode == WorkerMode::kWorker) {
    SendLastReplies();
  }
  disconnected_.store(true);
  server_.Shutdown();
  if (gcs_ != nullptr) {
    gcs_->channel()->Detach();
  }
  if (raylet_ != nullptr) {
    raylet_->channel()->Detach();
  }
  std::unordered_map<WorkerId, Peer> peers;
  {
    const MutexLock lock(mutex_);
    peers.swap(peers_);
  }
  // Without the lock: the callbacks of calls that get no answer any more take it.
  for (const auto& [id, peer] : peers) {
    peer.client->channel()->Detach();
  }
  {
    const MutexLock lock(log_mutex_);
    log_arrived_.notify_all();
  }
  const MutexLock lock(plasma_mutex_);
  plasma_.reset();
}

bool CoreWorker::HasUnsent() {
  const MutexLock lock(mutex_);
  for (const auto& [id, peer] : peers_) {
    if (peer.client->channel()->HasUnsent()) {
      return true;
    }
  }
  return server_.HasUnsent();
}

// What the tasks have returned that ran last: an owner that does not get it takes us for crashed.
void CoreWorker::SendLastReplies() {
  const int64_t deadline_ms = clock_.NowMs() + kLastRepliesTimeoutMs;
  while ((replies_under_way_.load() > 0 || HasUnsent()) && clock_.NowMs() < deadline_ms) {
    loop_.RunOnce(kLastRepliesSliceMs);
  }
}

CoreWorker::Counts CoreWorker::CountEntries() const {
  const MutexLock lock(mutex_);
  Counts counts;
  counts.references = references_.size();
  counts.objects = memory_store_.size();
  counts.awaited_objects = memory_store_.waiting();
  counts.pending_tasks = pending_.size();
  counts.leases = task_submitter_.num_leases();
  counts.actors = std::max(own_actors_.size(), actor_submitter_.num_actors());
  counts.peers = peers_.size();
  return counts;
}

}  // namespace rayc::core_worker
