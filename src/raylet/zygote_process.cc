#include "raylet/zygote_process.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "common/logging.h"
#include "common/unix_socket.h"
#include "raylet/worker_handle.h"
#include "rpc/convert.h"
#include "rpc/message.h"

namespace rayc::raylet {
namespace {

constexpr size_t kMessageBytesMax = 64UL << 10;
constexpr size_t kOutputTailBytes = 8UL << 10;
constexpr int64_t kExitStatusWaitMs = 50;
constexpr int64_t kReadyTimeoutMs = 60'000;

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

// In the child, between fork and exec: system calls only.
[[noreturn]] void ExecZygote(char* const* argv, char* const* environment, int socket, int output) {
  for (int signal = 1; signal < NSIG; ++signal) {
    ::signal(signal, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::fcntl(socket, F_SETFD, 0);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::execvpe(argv[0], argv, environment);
  const char* error = std::strerror(errno);
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, argv[0], std::strlen(argv[0]));
  written = ::write(STDERR_FILENO, ": ", 2);
  written = ::write(STDERR_FILENO, error, std::strlen(error));
  ::_exit(127);
}

}  // namespace

ZygoteProcess::ZygoteProcess(EventLoop& loop, ZygoteEvents events)
    : loop_(loop), events_(std::move(events)) {}

ZygoteProcess::~ZygoteProcess() { Abandon(); }

Status ZygoteProcess::Start(const std::vector<std::string>& argv,
                            std::vector<std::string> environment) {
  if (argv.empty()) {
    return Status::InvalidArgument("no command for the zygote was given");
  }
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Status::FromErrno("socketpair", errno);
  }
  socket_.Reset(sockets[0]);
  const UniqueFd theirs(sockets[1]);
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) {
    return Status::FromErrno("pipe2", errno);
  }
  output_.Reset(pipe_ends[0]);
  const UniqueFd output(pipe_ends[1]);
  RAYC_RETURN_NOT_OK(SetNonBlocking(socket_.get(), true));
  RAYC_RETURN_NOT_OK(SetNonBlocking(output_.get(), true));

  environment.push_back("RAYC_ZYGOTE_FD=" + std::to_string(theirs.get()));
  std::vector<std::string> arguments = argv;
  const std::vector<char*> argv_pointers = Pointers(arguments);
  const std::vector<char*> environment_pointers = Pointers(environment);
  // Not tied to us by PR_SET_PDEATHSIG: when we die the zygote has to kill what its workers
  // started, and hears of it through its socket.
  pid_ = ::fork();
  if (pid_ < 0) {
    return Status::FromErrno("fork", errno);
  }
  if (pid_ == 0) {
    ExecZygote(argv_pointers.data(), environment_pointers.data(), theirs.get(), output.get());
  }
  loop_.AddFd(socket_.get(), EPOLLIN, [this](uint32_t /*events*/) { OnReadable(); });
  loop_.AddFd(output_.get(), EPOLLIN, [this](uint32_t /*events*/) { OnOutput(); });
  ready_timer_ = loop_.RunAfter(kReadyTimeoutMs, [this] {
    ready_timer_ = 0;
    Gone("it did not get ready within a minute");
  });
  return Status::Ok();
}

void ZygoteProcess::Fork(uint64_t fork_token, const WorkerId& worker, WorkerOutputs outputs) {
  PendingFork fork{fork_token, worker, std::move(outputs)};
  if (ready_) {
    SendFork(std::move(fork));
  } else {
    pending_.push_back(std::move(fork));
  }
}

void ZygoteProcess::SendFork(PendingFork fork) {
  fb::ForkWorkerT request;
  request.fork_token = fork.fork_token;
  request.worker_id = rpc::IdBytes(fork.worker);
  fb::ZygoteMessageT message;
  message.body.Set(std::move(request));
  const rpc::Payload payload = rpc::Payload::Of(message);
  const int fds[] = {fork.outputs.stdout_fd.get(), fork.outputs.stderr_fd.get()};
  const Status status = SendWithFds(
      socket_.get(), {reinterpret_cast<const char*>(payload.data()), payload.size()}, fds);
  if (!status.ok()) {
    // A closed socket is noticed by OnReadable; here it is one fork that failed.
    loop_.Post([failed = events_.on_fork_failed, token = fork.fork_token, status] {
      failed(token, status.ToString());
    });
  }
}

void ZygoteProcess::OnReadable() {
  alignas(8) static thread_local uint8_t buffer[kMessageBytesMax];
  while (!gone_) {
    const ssize_t got = ::recv(socket_.get(), buffer, sizeof(buffer), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    }
    if (got <= 0) {
      // Its exit status says more, if it is about to come.
      loop_.RemoveFd(socket_.get());
      status_timer_ = loop_.RunAfter(kExitStatusWaitMs, [this] {
        status_timer_ = 0;
        Gone("it has closed its connection");
      });
      return;
    }
    const auto size = static_cast<size_t>(got);
    const rpc::Message bytes{buffer, size};
    const auto* message = size <= sizeof(buffer) ? bytes.As<fb::ZygoteMessage>() : nullptr;
    if (message == nullptr) {
      Gone("it has sent a malformed message");
      return;
    }
    OnMessage(*message);
  }
}

void ZygoteProcess::OnMessage(const fb::ZygoteMessage& message) {
  if (const auto* forked = message.body_as_WorkerForked()) {
    if (forked->fork_token() == 0) {
      ready_ = true;
      CancelTimer(ready_timer_);
      for (PendingFork& fork : std::exchange(pending_, {})) {
        SendFork(std::move(fork));
      }
    } else if (forked->pid() > 0) {
      events_.on_forked(forked->fork_token(), forked->pid());
    } else {
      events_.on_fork_failed(forked->fork_token(), rpc::FromString(forked->error()));
    }
  } else if (const auto* reaped = message.body_as_WorkerReaped()) {
    events_.on_reaped(reaped->pid(), reaped->status());
  } else {
    RAYC_LOG(kWarning) << "the zygote sent a message that this raylet does not know";
  }
}

void ZygoteProcess::OnOutput() {
  char chunk[4096];
  while (output_.valid()) {
    const ssize_t got = ::read(output_.get(), chunk, sizeof(chunk));
    if (got > 0) {
      output_tail_.append(chunk, static_cast<size_t>(got));
      if (output_tail_.size() > kOutputTailBytes) {
        output_tail_.erase(0, output_tail_.size() - kOutputTailBytes);
      }
      continue;
    }
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got == 0) {
      loop_.RemoveFd(output_.get());
      output_.Reset();
    }
    return;
  }
}

void ZygoteProcess::OnReaped(int wait_status) {
  WorkerHandle as_worker;  // for the text only
  as_worker.pid = pid_;
  as_worker.wait_status = wait_status;
  Gone(DescribeEnd(as_worker).detail);
}

void ZygoteProcess::Gone(const std::string& why) {
  if (std::exchange(gone_, true)) {
    return;
  }
  OnOutput();
  const std::string tail = output_tail_;
  const auto on_gone = events_.on_gone;
  Abandon();
  on_gone("the zygote (pid " + std::to_string(pid_) + ") is gone: " + why +
          (tail.empty() ? "" : "; it wrote: " + tail));
}

void ZygoteProcess::CancelTimer(EventLoop::TimerId& timer) {
  if (timer != 0) {
    loop_.CancelTimer(std::exchange(timer, 0));
  }
}

void ZygoteProcess::Abandon() {
  gone_ = true;
  CancelTimer(status_timer_);
  CancelTimer(ready_timer_);
  for (UniqueFd* fd : {&socket_, &output_}) {
    if (fd->valid()) {
      loop_.RemoveFd(fd->get());
      fd->Reset();
    }
  }
  pending_.clear();
}

}  // namespace rayc::raylet
