#include "raylet/node.h"

#include <unistd.h>

#include <csignal>
#include <utility>

#include "common/logging.h"
#include "rpc/convert.h"

namespace rayc::raylet {
namespace {

constexpr int64_t kTickMs = LeaseManager::kReclaimEveryMs;

// An actor's lines carry its class, not the constructor that the lease was asked for.
std::string DisplayName(const LeaseRequest& request) {
  static constexpr std::string_view kInit = ".__init__";
  std::string name = request.name;
  if (request.is_actor && name.size() > kInit.size() && name.ends_with(kInit)) {
    name.resize(name.size() - kInit.size());
  }
  return name;
}

}  // namespace

Node::Node(EventLoop& loop, const Clock& clock, NodeOptions options, NodeEvents events)
    : loop_(loop),
      options_(std::move(options)),
      events_(std::move(events)),
      processes_(loop),
      deaths_(loop),
      logs_(loop, options_.log_dir, [this](WorkerLines lines) { SendLines(std::move(lines)); }),
      pool_(clock, options_.pool, *this, *this),
      leases_(clock, options_.leases, *this),
      cores_(options_.cpu_cores) {}

Node::~Node() {
  if (tick_timer_ != 0) {
    loop_.CancelTimer(tick_timer_);
  }
}

// ---- connections ----

void Node::Connected(const rpc::ChannelPtr& channel) { clients_.Add(channel); }

void Node::Disconnected(const rpc::ChannelPtr& channel) {
  const ClientPtr client = ClientTable::Of(channel);
  if (client == nullptr) {
    return;  // closed before its Hello
  }
  clients_.Remove(client->id);
  if (client->kind == ClientKind::kWorker) {
    pool_.OnDisconnected(client->worker_id);
    ArmTick();
  }
  leases_.ClientGone(client->id);
  if (client->kind == ClientKind::kDriver) {
    DriverGone(client);
  }
}

void Node::DriverGone(const ClientPtr& driver) {
  processes_.Forget(driver->watch);
  WorkerEnd end;
  end.id = driver->worker_id;
  end.job_id = driver->job_id;
  end.pid = driver->pid;
  end.detail = "the driver has ended";
  RecordEnd(end, true, {});
  pool_.OnJobEnded(driver->job_id);
  ArmTick();
  if (driver->owns_cluster && !stopping_) {
    events_.owner_gone("its driver (pid " + std::to_string(driver->pid) + ") has ended");
  }
}

Status Node::RegisterWorker(const ClientPtr& client, uint64_t fork_token, pid_t pid,
                            const std::string& socket, const WorkerId& worker) {
  Address address;
  address.node_id = options_.node_id;
  address.worker_id = worker;
  address.socket = socket;
  Status status = pool_.OnRegistered(fork_token, pid, address);
  if (status.ok()) {
    client->kind = ClientKind::kWorker;
    client->worker_id = worker;
    client->pid = pid;
    clients_.Named(client);
  }
  return status;
}

Status Node::RegisterDriver(const ClientPtr& client, const WorkerId& worker, const JobId& job,
                            pid_t pid, bool owns_cluster) {
  if (stopping_) {
    return {StatusCode::kShutdown, "the node is ending"};
  }
  if (worker.IsNil() || job.IsNil() || clients_.FindWorker(worker) != nullptr ||
      clients_.FindDriver(job) != nullptr) {
    return Status::InvalidArgument("this driver or its job is registered already");
  }
  client->kind = ClientKind::kDriver;
  client->worker_id = worker;
  client->job_id = job;
  client->pid = pid;
  client->owns_cluster = owns_cluster;
  clients_.Named(client);
  // A child that the driver forked can keep the connection open after the driver has ended.
  client->watch = processes_.Watch(pid, [weak = std::weak_ptr<Client>(client)] {
    if (const ClientPtr ended = weak.lock()) {
      ended->channel->Close(Status::Disconnected("the driver's process has ended"));
    }
  });
  pool_.Prestart(1);
  ArmTick();
  return Status::Ok();
}

// ---- leases ----

void Node::RequestLease(LeaseRequest request, rpc::Responder responder) {
  const LeaseKey key = request.key;
  if (responders_.count(key) > 0) {
    responder.Error(Status::InvalidArgument("this lease was asked for twice"));
    return;
  }
  responders_.emplace(key, std::move(responder));
  leases_.Request(std::move(request));
}

std::optional<WorkerId> Node::TakeIdleWorker(const WorkerNeed& need) { return pool_.Take(need); }

bool Node::WantWorkers(size_t count) {
  const bool may_start = pool_.WantWorkers(count);
  if (leases_.HasWaiting() || pool_.NeedsTick()) {
    ArmTick();
  }
  return may_start;
}

void Node::GiveBackWorker(const WorkerId& worker, bool exiting) {
  cores_.Release(worker);
  pool_.GiveBack(worker, exiting);
  ArmTick();
}

void Node::KillWorker(const WorkerId& worker, const std::string& reason) {
  KillWorker(worker, true, reason);
}

void Node::Grant(const LeaseRequest& request, const WorkerId& worker,
                 const scheduling::Allocation& allocation) {
  const auto it = responders_.find(request.key);
  RAYC_CHECK(it != responders_.end());
  rpc::Responder responder = std::move(it->second);
  responders_.erase(it);
  logs_.SetTask(worker, request.job_id, DisplayName(request));
  const WorkerHandle* handle = pool_.Find(worker);
  RAYC_CHECK(handle != nullptr);
  fb::RequestLeaseReplyT reply;
  reply.worker = rpc::ToMessage(handle->address);
  reply.worker_pid = handle->pid;
  for (const auto& [name, shares] : allocation.instances) {
    auto instances = std::make_unique<fb::ResourceInstancesT>();
    instances->name = name;
    for (const scheduling::InstanceShare& share : shares) {
      instances->ids.push_back(share.index);
    }
    reply.assigned.push_back(std::move(instances));
  }
  if (cores_.enabled()) {
    // A request that holds no CPU gets none: its worker may run anywhere.
    auto instances = std::make_unique<fb::ResourceInstancesT>();
    instances->name = kCpu;
    for (const int32_t core : cores_.Assign(worker, request.resources.Get(kCpu))) {
      instances->ids.push_back(static_cast<uint32_t>(core));
    }
    reply.assigned.push_back(std::move(instances));
  }
  responder.Reply(reply);
}

void Node::Reject(const LeaseKey& key, const Status& why) {
  const auto it = responders_.find(key);
  if (it != responders_.end()) {
    rpc::Responder responder = std::move(it->second);
    responders_.erase(it);
    responder.Error(why);
  }
}

void Node::PrepareBundles(ClientId client, BundleRequest request, rpc::Responder responder) {
  // Apart from the numbers that the client gives to leases.
  request.key = {client, (uint64_t{1} << 63) | next_bundles_++};
  responders_.emplace(request.key, std::move(responder));
  leases_.RequestBundles(std::move(request));
}

void Node::BundlesReserved(const LeaseKey& key) {
  const auto it = responders_.find(key);
  RAYC_CHECK(it != responders_.end());
  rpc::Responder responder = std::move(it->second);
  responders_.erase(it);
  responder.Ok();
}

void Node::KillWorkerOfGroup(const WorkerId& worker, const std::string& reason) {
  killed_with_group_.insert(worker);
  KillWorker(worker, true, reason);
}

void Node::AskGroup(const PlacementGroupId& group) {
  events_.ask_group(group,
                    [this, alive = std::weak_ptr<bool>(alive_), group](const Status& status) {
                      if (!alive.expired()) {
                        leases_.GroupSettled(group, status);
                      }
                    });
}

void Node::ReclaimLeases(ClientId client) {
  if (const ClientPtr holder = clients_.Find(client)) {
    holder->channel->NotifyTable(Method::kReclaimLeases, fb::ReclaimLeasesT());
  }
}

void Node::AvailableChanged() { events_.resources_changed(); }

// ---- workers ----

void Node::SetBlocked(const WorkerId& worker, bool blocked) {
  pool_.SetBlocked(worker, blocked);
  if (blocked) {
    leases_.Blocked(worker);
  } else {
    leases_.Unblocked(worker);
  }
}

void Node::AskDeath(const WorkerId& worker, DeathLog::Answer answer) {
  deaths_.Ask(worker, pool_.Find(worker) != nullptr || clients_.FindWorker(worker) != nullptr,
              std::move(answer));
}

void Node::AnnounceExit(const WorkerId& worker, const std::string& detail) {
  pool_.OnAnnounceExit(worker, detail);
  ArmTick();
}

void Node::KillWorker(const WorkerId& worker, bool force, const std::string& reason) {
  pool_.Kill(worker, force, reason);
  ArmTick();
}

void Node::OnForked(uint64_t fork_token, pid_t pid) { pool_.OnForked(fork_token, pid); }

void Node::OnForkFailed(uint64_t fork_token, const std::string& error) {
  pool_.OnForkFailed(fork_token, error);
  ArmTick();
}

void Node::OnReaped(pid_t pid, int wait_status) { pool_.OnReaped(pid, wait_status); }

void Node::ForkWorker(uint64_t fork_token, const WorkerId& worker) {
  auto outputs = logs_.Open(worker);
  if (!outputs) {
    loop_.Post(
        [this, alive = std::weak_ptr<bool>(alive_), fork_token, worker, error = outputs.error()] {
          if (!alive.expired()) {
            logs_.Close(worker);
            OnForkFailed(fork_token, error.ToString());
          }
        });
    return;
  }
  events_.fork(fork_token, worker, std::move(*outputs));
  ArmTick();
}

void Node::WatchProcess(const WorkerId& worker, pid_t pid) {
  logs_.SetPid(worker, pid);
  watches_[worker] = processes_.Watch(pid, [this, worker] {
    if (const ClientPtr client = clients_.FindWorker(worker)) {
      // A child of its own may hold the connection open.
      client->channel->Close(Status::Disconnected("the worker's process has ended"));
    }
    pool_.OnProcessGone(worker);
    ArmTick();
  });
}

void Node::SendSignal(const WorkerId& worker, int signal) {
  const auto it = watches_.find(worker);
  if (it != watches_.end()) {
    processes_.Signal(it->second, signal);
  }
}

void Node::SendExit(const WorkerId& worker, const std::string& reason) {
  if (const ClientPtr client = clients_.FindWorker(worker)) {
    fb::ExitWorkerT message;
    message.reason = reason;
    client->channel->NotifyTable(Method::kExitWorker, message);
  }
  ArmTick();
}

void Node::WorkerReady(const WorkerId& /*worker*/) {
  // Not at once: the worker gets the answer to its registration before anybody gets the worker.
  if (std::exchange(schedule_posted_, true)) {
    return;
  }
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) {
      schedule_posted_ = false;
      leases_.Schedule();
    }
  });
  ArmTick();
}

void Node::WorkerLost(const WorkerId& worker) {
  cores_.Release(worker);
  leases_.WorkerLost(worker);
}

void Node::WorkerDead(const WorkerEnd& end) {
  const auto it = watches_.find(end.id);
  if (it != watches_.end()) {
    processes_.Forget(it->second);
    watches_.erase(it);
  }
  if (const ClientPtr client = clients_.FindWorker(end.id)) {
    client->channel->Close(Status::Disconnected("the worker's process has ended"));
  }
  if (!end.intended) {
    RAYC_LOG(kInfo) << "worker " << end.id << " (pid " << end.pid << ") " << end.detail;
  }
  // A process that was killed leaves its socket behind.
  ::unlink((options_.socket_dir + "/worker-" + end.id.Hex().substr(0, 16)).c_str());
  RecordEnd(end, false, logs_.Close(end.id));
  if (stopping_) {
    if (pool_.size() == 0) {
      events_.stopped();
    }
    return;
  }
  leases_.Schedule();
}

void Node::RecordEnd(const WorkerEnd& end, bool is_driver, std::string stderr_tail) {
  fb::WorkerDeathT death;
  death.worker_id = rpc::IdBytes(end.id);
  death.pid = end.pid;
  death.known = true;
  death.intended = end.intended;
  death.exit_code = end.exit_code;
  death.signal = end.signal;
  death.detail = end.detail;
  death.stderr_tail = std::move(stderr_tail);
  death.placement_group_removed = killed_with_group_.erase(end.id) > 0;
  deaths_.Record(end.id, death);
  fb::ReportWorkerDeathT report;
  report.death = std::make_unique<fb::WorkerDeathT>(death);
  report.job_id = rpc::IdBytes(end.job_id);
  report.is_driver = is_driver;
  events_.process_ended(report);
}

void Node::PoolBroken(const std::string& reason) { events_.broken(reason); }

void Node::SendLines(WorkerLines lines) {
  const ClientPtr driver = clients_.FindDriver(lines.job_id);
  if (driver == nullptr) {
    return;
  }
  fb::LogBatchT batch;
  batch.name = std::move(lines.name);
  batch.pid = lines.pid;
  batch.worker_id = rpc::IdBytes(lines.worker);
  for (WorkerLine& line : lines.lines) {
    auto entry = std::make_unique<fb::LogLineT>();
    entry->text = std::move(line.text);
    entry->is_stderr = line.is_stderr;
    batch.lines.push_back(std::move(entry));
  }
  driver->channel->NotifyTable(Method::kLogBatch, batch);
}

// ---- time, and the end ----

void Node::ArmTick() {
  if (tick_timer_ == 0) {
    tick_timer_ = loop_.RunAfter(kTickMs, [this] { Tick(); });
  }
}

void Node::Tick() {
  tick_timer_ = 0;
  if (leases_.HasWaiting()) {
    leases_.Tick();
  }
  pool_.Tick();
  if (leases_.HasWaiting() || pool_.NeedsTick()) {
    ArmTick();
  }
}

void Node::Stop(const std::string& reason, bool tell_drivers) {
  stopping_ = true;
  if (tell_drivers) {
    fb::ExitWorkerT message;
    message.reason = reason;
    for (const ClientPtr& driver : clients_.Drivers()) {
      driver->channel->NotifyTable(Method::kExitWorker, message);
    }
  }
  leases_.Close(Status(StatusCode::kShutdown, reason));
  pool_.StopAll(SIGTERM, reason);
  if (pool_.size() == 0) {
    events_.stopped();
  }
}

}  // namespace rayc::raylet
