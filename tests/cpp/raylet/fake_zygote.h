// A zygote and its workers without Python, for the tests of the raylet. The test program is started
// again in these roles (see main_test.cc). A worker does what the name of a pushed task says:
//
//   exit N, kill N (a signal to itself), announce, hang (ignores SIGTERM), block, unblock, flush,
//   out TEXT, err TEXT (without a line end), spawn (a grandchild that forks twice and sleeps),
//   lease (asks the raylet for a worker itself), disconnect
#pragma once

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "common/event_loop.h"
#include "common/unix_socket.h"
#include "protocol/raylet_generated.h"
#include "protocol/worker_generated.h"
#include "raylet/process_tree.h"
#include "rpc/convert.h"
#include "rpc/raylet_client.h"
#include "rpc/server.h"

#include <sys/epoll.h>

namespace rayc::raylet::testing {

inline std::string WorkerSocket(const std::string& session_dir, const WorkerId& worker) {
  return session_dir + "/sockets/worker-" + worker.Hex().substr(0, 16);
}

class FakeWorker {
 public:
  FakeWorker(std::string session_dir, uint64_t fork_token, const WorkerId& id)
      : session_dir_(std::move(session_dir)),
        fork_token_(fork_token),
        id_(id),
        server_(loop_, std::string(id.Binary()), "worker") {}

  int Run() {
    server_.HandleTable<fb::PushTask>(
        Method::kPushTask, [this](const rpc::ChannelPtr& /*channel*/, const fb::PushTask& task,
                                  rpc::Responder responder) {
          Do(rpc::FromString(task.spec()->name()), std::move(responder));
        });
    if (!server_.Listen(WorkerSocket(session_dir_, id_)).ok()) {
      return 10;
    }
    rpc::ChannelOptions options;
    options.self_id = std::string(id_.Binary());
    options.self_component = "worker";
    options.on_request = [](const rpc::ChannelPtr& /*channel*/, Method method,
                            rpc::Message /*message*/, rpc::Responder /*responder*/) {
      if (method == Method::kExitWorker) {
        ::_exit(0);
      }
    };
    options.on_close = [](const rpc::ChannelPtr& /*channel*/, const Status& /*why*/) {
      ::_exit(11);
    };
    auto channel = rpc::Channel::Connect(loop_, session_dir_ + "/sockets/raylet", options);
    if (!channel) {
      return 12;
    }
    raylet_ = std::make_unique<rpc::WireRayletClient>(*channel);
    fb::RegisterClientT request;
    request.worker_id = rpc::IdBytes(id_);
    request.pid = ::getpid();
    request.socket = WorkerSocket(session_dir_, id_);
    request.fork_token = fork_token_;
    raylet_->RegisterClient(request, [](Result<const fb::RegisterClientReply*> reply) {
      if (!reply) {
        ::_exit(13);
      }
    });
    loop_.Run();
    return 0;
  }

 private:
  void Do(const std::string& command, rpc::Responder responder) {
    std::istringstream words(command);
    std::string verb;
    words >> verb;
    const std::string rest = command.size() > verb.size() ? command.substr(verb.size() + 1) : "";
    if (verb == "exit") {
      ::_exit(std::atoi(rest.c_str()));
    } else if (verb == "kill") {
      ::kill(::getpid(), std::atoi(rest.c_str()));
    } else if (verb == "announce") {
      raylet_->AnnounceExit(0, "I am done");
    } else if (verb == "hang") {
      std::signal(SIGTERM, SIG_IGN);
    } else if (verb == "block") {
      raylet_->NotifyBlocked();
    } else if (verb == "unblock") {
      raylet_->NotifyUnblocked();
    } else if (verb == "out" || verb == "err") {
      [[maybe_unused]] const ssize_t written =
          ::write(verb == "out" ? STDOUT_FILENO : STDERR_FILENO, rest.data(), rest.size());
    } else if (verb == "flush") {
      auto later = std::make_shared<rpc::Responder>(std::move(responder));
      raylet_->FlushLogs([later](const Status& /*status*/) { later->Reply(fb::PushTaskReplyT()); });
      return;
    } else if (verb == "spawn") {
      Spawn();
    } else if (verb == "lease") {
      fb::RequestLeaseT request;
      request.lease_id = 1;
      request.job_id = rpc::IdBytes(JobId::FromInt(1));
      request.name = "child";
      auto later = std::make_shared<rpc::Responder>(std::move(responder));
      raylet_->RequestLease(request, [later](Result<const fb::RequestLeaseReply*> reply) {
        fb::PushTaskReplyT answer;
        answer.duration_us = reply ? static_cast<uint32_t>((*reply)->worker_pid()) : 0;
        later->Reply(answer);
      });
      return;
    } else if (verb == "disconnect") {
      raylet_->channel()->Detach();
      ::pause();
    }
    responder.Reply(fb::PushTaskReplyT());
  }
  static void Spawn() {
    if (::fork() == 0) {
      ::setsid();
      if (::fork() == 0) {
        std::signal(SIGTERM, SIG_IGN);
        ::execlp("sleep", "sleep", "300", nullptr);
      }
      ::_exit(0);
    }
  }

  const std::string session_dir_;
  const uint64_t fork_token_;
  const WorkerId id_;
  EventLoop loop_;
  rpc::Server server_;
  std::unique_ptr<rpc::WireRayletClient> raylet_;
};

class FakeZygote {
 public:
  FakeZygote()
      : session_dir_(Variable("RAYC_SESSION_DIR")),
        socket_(std::atoi(Variable("RAYC_ZYGOTE_FD").c_str())) {}

  int Run() {
    BecomeSubreaper();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    const UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    EventLoop loop;
    loop.AddFd(signal_fd.get(), EPOLLIN, [&](uint32_t /*events*/) {
      signalfd_siginfo info{};
      while (::read(signal_fd.get(), &info, sizeof(info)) > 0) {
      }
      Reap();
    });
    loop.AddFd(socket_, EPOLLIN, [&](uint32_t /*events*/) { OnRequest(); });
    SendForked(0, 0);
    loop.Run();
    return 0;
  }

 private:
  static std::string Variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  }
  template <typename Body>
  void Send(Body body) {
    fb::ZygoteMessageT message;
    message.body.Set(std::move(body));
    const auto payload = rpc::Payload::Of(message);
    [[maybe_unused]] const Status sent =
        SendWithFds(socket_, {reinterpret_cast<const char*>(payload.data()), payload.size()}, {});
  }
  void SendForked(uint64_t token, int pid) {
    fb::WorkerForkedT forked;
    forked.fork_token = token;
    forked.pid = pid;
    Send(std::move(forked));
  }
  void Reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
      fb::WorkerReapedT reaped;
      reaped.pid = pid;
      reaped.status = status;
      Send(std::move(reaped));
    }
  }
  void OnRequest() {
    auto received = ReceiveWithFds(socket_, 4096);
    if (!received || received->bytes.empty()) {
      KillDescendants(1'000);
      ::_exit(0);
    }
    alignas(8) uint8_t bytes[4096];
    std::memcpy(bytes, received->bytes.data(), received->bytes.size());
    const rpc::Message message{bytes, received->bytes.size()};
    const auto* zygote_message = message.As<fb::ZygoteMessage>();
    if (zygote_message == nullptr) {
      ::_exit(20);
    }
    const auto* request = zygote_message->body_as_ForkWorker();
    if (request == nullptr || received->fds.size() != 2) {
      ::_exit(21);
    }
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(received->fds[0].get(), STDOUT_FILENO);
      ::dup2(received->fds[1].get(), STDERR_FILENO);
      received->fds.clear();
      ::close(socket_);
      sigset_t none;
      sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      if (const char* broken = std::getenv("RAYC_TEST_BROKEN_WORKERS")) {
        [[maybe_unused]] const ssize_t written = ::write(2, broken, std::strlen(broken));
        ::_exit(5);
      }
      FakeWorker worker(session_dir_, request->fork_token(),
                        WorkerId::FromBytes(request->worker_id()));
      ::_exit(worker.Run());
    }
    SendForked(request->fork_token(), pid);
  }

  const std::string session_dir_;
  const int socket_;
};

}  // namespace rayc::raylet::testing
