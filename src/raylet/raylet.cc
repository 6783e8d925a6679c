#include "raylet/raylet.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "common/logging.h"
#include "gcs/gcs_server.h"
#include "plasma/store.h"
#include "raylet/process_tree.h"
#include "rpc/convert.h"

namespace rayc::raylet {
namespace {

constexpr int64_t kWorkersStopMs = 300;  // from SIGTERM to SIGKILL
constexpr int64_t kKillMs = 600;         // for the kernel to make an end of what was killed

std::string Bytes(const NodeId& id) { return std::string(id.Binary()); }

// What no node can hold fails at once where no node can join, unless the user asks for patience.
bool FailsInfeasible(const RayletConfig& config) {
  for (const char* name : {"RAYC_INFEASIBLE", "RAY_INFEASIBLE"}) {
    if (const char* value = std::getenv(name)) {
      return config.IsPrivate() && std::string_view(value) != "wait";
    }
  }
  return config.IsPrivate();
}

NodeOptions MakeNodeOptions(const RayletConfig& config, const NodeId& node_id) {
  NodeOptions options;
  options.node_id = node_id;
  options.log_dir = config.LogDir();
  options.cpu_cores = config.cpu_cores;
  options.socket_dir = config.SocketDir();
  options.leases.totals = config.resources;
  options.leases.fail_infeasible = FailsInfeasible(config);
  options.leases.node_id = node_id;
  const auto cpus = static_cast<size_t>(config.resources.Get(kCpu) / kResourceUnit);
  options.pool.workers_max = config.workers_max;
  options.pool.idle_max = std::max<size_t>(cpus, 1);
  options.pool.starting_max = cpus + 6;
  return options;
}

std::string Hostname() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

}  // namespace

Raylet::Raylet(EventLoop& loop, const RayletConfig& config, UniqueFd signal_fd)
    : loop_(loop),
      config_(config),
      node_id_(NodeId::FromRandom()),
      signal_fd_(std::move(signal_fd)),
      folder_(config.session_dir),
      processes_(loop),
      gcs_link_(loop, node_id_,
                [this](const Status& why) {
                  BeginStop("the connection to the GCS is lost: " + why.message(), true);
                }),
      zygote_(loop, MakeZygoteEvents()),
      node_(loop, clock_, MakeNodeOptions(config, node_id_), MakeNodeEvents()),
      service_(node_,
               [this](rpc::Responder responder) {
                 shutdown_waiters_.push_back(std::move(responder));
                 BeginStop("its driver has ended it", false);
               }),
      server_(loop, Bytes(node_id_), "raylet") {}

Raylet::~Raylet() { TearDown(); }

NodeEvents Raylet::MakeNodeEvents() {
  NodeEvents events;
  events.fork = [this](uint64_t fork_token, const WorkerId& worker, WorkerOutputs outputs) {
    zygote_.Fork(fork_token, worker, std::move(outputs));
  };
  events.process_ended = [this](const fb::ReportWorkerDeathT& report) {
    if (stopping_) {
      return;  // all of it goes
    }
    gcs_link_.ReportWorkerDeath(report);
    if (store_ != nullptr) {
      store_->OnOwnerDied(WorkerId::FromBytes(&report.death->worker_id));
    }
  };
  events.resources_changed = [this] {
    if (!stopping_) {
      gcs_link_.ReportResourcesSoon([this] {
        return GcsLink::Resources{node_.leases().totals(), node_.leases().available()};
      });
    }
  };
  events.ask_group = [this](const PlacementGroupId& group,
                            std::function<void(const Status&)> callback) {
    gcs_link_.WaitPlacementGroup(group, std::move(callback));
  };
  events.owner_gone = [this](const std::string& why) { BeginStop(why, false); };
  events.broken = [this](const std::string& why) { BeginStop(why, true); };
  // Not inside the call that found it out.
  events.stopped = [this] { loop_.Post([this] { FinishStop(); }); };
  return events;
}

ZygoteEvents Raylet::MakeZygoteEvents() {
  ZygoteEvents events;
  events.on_forked = [this](uint64_t token, pid_t pid) { node_.OnForked(token, pid); };
  events.on_fork_failed = [this](uint64_t token, const std::string& error) {
    node_.OnForkFailed(token, error);
  };
  events.on_reaped = [this](pid_t pid, int status) { node_.OnReaped(pid, status); };
  events.on_gone = [this](const std::string& why) {
    // Its workers are being killed by the kernel: what is left is what they started.
    BeginStop(why, true);
  };
  return events;
}

Status Raylet::Start() {
  RAYC_RETURN_NOT_OK(folder_.Open());
  if (config_.owner_pid != 0) {
    processes_.Watch(config_.owner_pid, [this] {
      BeginStop("its driver (pid " + std::to_string(config_.owner_pid) + ") has ended", false);
    });
  }
  loop_.AddFd(signal_fd_.get(), EPOLLIN, [this](uint32_t /*events*/) { OnSignal(); });
  BecomeSubreaper();
  // First of all, as it takes longest; nobody waits for it here.
  RAYC_RETURN_NOT_OK(StartZygote());

  plasma::StoreOptions store_options;
  store_options.socket_path = config_.PlasmaSocket();
  store_options.capacity_bytes = config_.object_store_bytes;
  store_options.spill.folders = config_.spill_folders;
  store_ = std::make_unique<plasma::Store>(loop_, store_options);
  RAYC_RETURN_NOT_OK(store_->Start());
  if (config_.is_head) {
    gcs::GcsServerOptions gcs_options;
    gcs_options.socket_path = config_.GcsSocket();
    gcs_options.session_dir = config_.session_dir;
    gcs_options.session_name = config_.SessionName();
    gcs_options.fail_infeasible = FailsInfeasible(config_);
    gcs_ = std::make_unique<gcs::GcsServer>(loop_, gcs_options);
    RAYC_RETURN_NOT_OK(gcs_->Start());
  }
  service_.RegisterWith(server_);
  RAYC_RETURN_NOT_OK(server_.Listen(config_.RayletSocket()));
  RAYC_RETURN_NOT_OK(ConnectGcs());
  node_.Prestart(1);
  return Status::Ok();
}

Status Raylet::StartZygote() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    environment.emplace_back(*entry);
  }
  std::erase_if(environment, [](const std::string& entry) {
    return entry.starts_with("RAYC_SESSION_DIR=") || entry.starts_with("RAYC_ZYGOTE_FD=");
  });
  environment.push_back("RAYC_SESSION_DIR=" + config_.session_dir);
  return zygote_.Start(config_.zygote_argv, std::move(environment));
}

Status Raylet::ConnectGcs() {
  fb::RegisterNodeT node;
  node.node_id = rpc::IdBytes(node_id_);
  node.ip = config_.node_ip;
  node.hostname = Hostname();
  node.raylet_socket = config_.RayletSocket();
  node.plasma_socket = config_.PlasmaSocket();
  node.resources = rpc::ToMessage(config_.resources);
  node.is_head = config_.is_head;
  node.session_dir = config_.session_dir;
  return gcs_link_.Connect(config_.GcsSocket(), node);
}

void Raylet::OnSignal() {
  signalfd_siginfo info{};
  while (::read(signal_fd_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGCHLD) {
      ReapChildren();
    } else {
      BeginStop("the raylet was told to end by signal " + std::to_string(info.ssi_signo), true);
    }
  }
}

void Raylet::ReapChildren() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == zygote_.pid()) {
      zygote_.OnReaped(status);
    } else {
      node_.OnReaped(pid, status);
    }
  }
}

void Raylet::BeginStop(const std::string& reason, bool tell_drivers) {
  if (std::exchange(stopping_, true)) {
    return;
  }
  if (tell_drivers) {
    RAYC_LOG(kError) << "the node is ending: " << reason;
  } else {
    RAYC_LOG(kInfo) << "the node is ending: " << reason;
  }
  gcs_link_.Detach();
  loop_.RunAfter(kWorkersStopMs, [this] { FinishStop(); });
  node_.Stop(reason, tell_drivers);
}

void Raylet::FinishStop() {
  if (std::exchange(stopped_, true)) {
    return;
  }
  zygote_.Abandon();
  if (!KillDescendants(kKillMs)) {
    RAYC_LOG(kError) << "some processes of this session could not be ended";
  }
  TearDown();
  loop_.Stop();
}

void Raylet::TearDown() {
  gcs_link_.Detach();
  if (!stopped_) {
    // A start that failed half-way.
    zygote_.Abandon();
    KillDescendants(kKillMs);
    stopped_ = true;
  }
  gcs_.reset();
  store_.reset();
  if (config_.IsPrivate()) {
    folder_.Remove();
  }
  for (rpc::Responder& waiter : std::exchange(shutdown_waiters_, {})) {
    waiter.Ok();
  }
  server_.Shutdown();
  if (signal_fd_.valid()) {
    loop_.RemoveFd(signal_fd_.get());
    signal_fd_.Reset();
  }
}

namespace {

// Blocks the signals that the loop takes from the descriptor instead.
UniqueFd MakeSignalFd() {
  // Writing to a pipe or socket that is closed is an error, not the end; a terminal that hangs up
  // is the driver's affair.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) {
    sigaddset(&signals, signal);
  }
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  return UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

void ReportReady(UniqueFd ready_fd, const Status& status) {
  std::string line = status.ok() ? "ok" : status.message();
  for (char& c : line) {
    c = c == '\n' ? ' ' : c;
  }
  line += '\n';
  if (ready_fd.valid()) {
    [[maybe_unused]] const ssize_t written = ::write(ready_fd.get(), line.data(), line.size());
  } else if (!status.ok()) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
  }
}

// Each worker costs about six descriptors here; and what is allowed to us goes on to the workers.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 65'536));
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// The terminal belongs to the driver; and a raylet must outlive whoever reads its output.
void DetachFromTerminal() {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::dup2(null.get(), fd);
  }
}

}  // namespace

int RunRaylet(const RayletConfig& config) {
  // Nothing that the parent left open goes on to the zygote. (1 << 2: CLOSE_RANGE_CLOEXEC.)
  ::syscall(SYS_close_range, 3U, ~0U, 1U << 2);
  ::setsid();  // Ctrl-C in the driver's terminal is the driver's to handle
  RaiseFileLimit();
  UniqueFd signal_fd = MakeSignalFd();
  InitLogging("raylet", ParseLogLevel(config.log_level, LogLevel::kWarning),
              config.LogDir() + "/raylet.log");
  EventLoop loop;
  Raylet raylet(loop, config, std::move(signal_fd));
  const Status status = raylet.Start();
  ReportReady(UniqueFd(config.ready_fd), status);
  if (!status.ok()) {
    RAYC_LOG(kError) << "cannot start: " << status;
    return 1;
  }
  if (config.ready_fd >= 0) {
    DetachFromTerminal();
  }
  loop.Run();
  return 0;
}

}  // namespace rayc::raylet
