// gcs_server: the GCS as a process of its own.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "common/event_loop.h"
#include "common/logging.h"
#include "common/version.h"
#include "gcs/gcs_server.h"

namespace {

constexpr char kUsage[] =
    "usage: gcs_server --socket PATH --session-dir DIR [--log-level LEVEL]\n"
    "\n"
    "Keeps the state of a rayc cluster: nodes, jobs, actors, the key-value store.\n"
    "\n"
    "  --socket PATH       the Unix socket on which it listens\n"
    "  --session-dir DIR   the session's folder; logs go to DIR/logs\n"
    "  --log-level LEVEL   debug, info, warning (default) or error\n"
    "  --version           print the version\n"
    "  --help              print this text\n";

struct Flags {
  std::string socket;
  std::string session_dir;
  std::string log_level = "warning";
};

// -1: go on; otherwise the exit code.
int ParseFlags(int argc, char** argv, Flags* flags) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--help") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (flag == "--version") {
      std::printf("gcs_server %s\n", rayc::kVersion);
      return 0;
    }
    std::string* target = flag == "--socket"        ? &flags->socket
                          : flag == "--session-dir" ? &flags->session_dir
                          : flag == "--log-level"   ? &flags->log_level
                                                    : nullptr;
    if (target == nullptr || i + 1 == argc) {
      std::fprintf(stderr, "gcs_server: %s '%s'\n%s",
                   target == nullptr ? "unknown argument" : "a value must follow", flag.c_str(),
                   kUsage);
      return 2;
    }
    *target = argv[++i];
  }
  if (flags->socket.empty() || flags->session_dir.empty()) {
    std::fprintf(stderr, "gcs_server: --socket and --session-dir are needed\n%s", kUsage);
    return 2;
  }
  return -1;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace rayc;
  Flags flags;
  if (const int code = ParseFlags(argc, argv, &flags); code >= 0) {
    return code;
  }
  InitLogging("gcs_server", ParseLogLevel(flags.log_level, LogLevel::kWarning),
              flags.session_dir + "/logs/gcs_server.log");
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const UniqueFd signal_fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));

  EventLoop loop;
  const size_t slash = flags.session_dir.find_last_of('/');
  gcs::GcsServer server(loop,
                        {flags.socket, flags.session_dir,
                         flags.session_dir.substr(slash == std::string::npos ? 0 : slash + 1)});
  const Status started = server.Start();
  if (!started.ok()) {
    std::fprintf(stderr, "gcs_server: %s\n", started.ToString().c_str());
    return 1;
  }
  loop.AddFd(signal_fd.get(), EPOLLIN, [&loop](uint32_t /*events*/) { loop.Stop(); });
  loop.Run();
  loop.RemoveFd(signal_fd.get());
  server.Shutdown();
  return 0;
}
