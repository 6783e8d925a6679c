// plasma_store: an object store by itself, for rayc.plasma without a cluster.
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>

#include "common/event_loop.h"
#include "common/logging.h"
#include "common/unique_fd.h"
#include "common/version.h"
#include "plasma/byte_size.h"
#include "plasma/store.h"

namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kEvictLru = 256;  // an option without a letter

constexpr char kHelp[] =
    "usage: plasma_store -m BYTES -s SOCKET [-d FOLDER]... [--evict-lru]\n"
    "\n"
    "Holds objects in shared memory for the processes of one user on this machine, which reach it\n"
    "with rayc.plasma.connect(SOCKET). Runs until SIGTERM or SIGINT.\n"
    "\n"
    "  -m, --memory BYTES         size of the store: 2G, 500M, 1073741824\n"
    "  -s, --socket SOCKET        path of the Unix socket to listen on\n"
    "  -d, --spill-folder FOLDER  when the store is full, write what was not used for longest to\n"
    "                             files below this folder, and read it back when it is asked for;\n"
    "                             may be given several times: the folders take turns\n"
    "      --evict-lru            when the store is full, drop what was not used for longest\n"
    "  -h, --help                 show this text\n"
    "  -V, --version              show the version\n"
    "\n"
    "Without -d and --evict-lru, a store that is full refuses new objects (PlasmaStoreFull).\n"
    "\n"
    "exit status: 0 after a signal, 1 if the store cannot run, 2 for wrong arguments\n";

int Usage(const std::string& problem) {
  std::fprintf(stderr, "plasma_store: %s\ntry: plasma_store --help\n", problem.c_str());
  return kExitUsage;
}

// The number in the file; the largest there is if there is none ("max", or no such file).
uint64_t ReadLimit(const std::string& path) {
  std::ifstream file(path);
  uint64_t limit = 0;
  return file >> limit ? limit : std::numeric_limits<uint64_t>::max();
}

// What the machine has, or less if a cgroup (of either version) allows this process less.
uint64_t UsableBytes() {
  uint64_t usable = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                    static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const size_t controllers = line.find(':') + 1;
    const size_t path_begin = line.find(':', controllers) + 1;
    if (controllers == 0 || path_begin == 0) {
      continue;
    }
    const std::string name = line.substr(controllers, path_begin - 1 - controllers);
    if (!name.empty() && name != "memory") {
      continue;
    }
    const std::string root = name.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const std::string file = name.empty() ? "/memory.max" : "/memory.limit_in_bytes";
    // The limits of the groups above hold as well.
    for (std::string path = line.substr(path_begin);;) {
      usable = std::min(usable, ReadLimit(std::string(root).append(path).append(file)));
      if (path.empty()) {
        break;
      }
      const size_t last = path.rfind('/');
      path.resize(last == std::string::npos ? 0 : last);
    }
  }
  return usable;
}

// Empty, or what is wrong with the arguments. `done`: there is nothing more to do.
std::string ParseArguments(int argc, char** argv, rayc::plasma::StoreOptions* options, bool* done) {
  const option kOptions[] = {{"memory", required_argument, nullptr, 'm'},
                             {"socket", required_argument, nullptr, 's'},
                             {"spill-folder", required_argument, nullptr, 'd'},
                             {"evict-lru", no_argument, nullptr, kEvictLru},
                             {"help", no_argument, nullptr, 'h'},
                             {"version", no_argument, nullptr, 'V'},
                             {nullptr, 0, nullptr, 0}};
  opterr = 0;
  int chosen = 0;
  while ((chosen = ::getopt_long(argc, argv, ":m:s:d:hV", kOptions, nullptr)) != -1) {
    switch (chosen) {
      case 'm': {
        const auto bytes = rayc::plasma::ParseByteSize(optarg);
        if (!bytes) {
          return "not a size: " + std::string(optarg) + " (2G, 500M, 1073741824 are)";
        }
        options->capacity_bytes = *bytes;
        break;
      }
      case 's':
        options->socket_path = optarg;
        break;
      case 'd':
        if (*optarg == '\0') {
          return "the name of a folder to spill to is empty";
        }
        options->spill.folders.emplace_back(optarg);
        break;
      case kEvictLru:
        options->evict_lru = true;
        break;
      case 'h':
        std::fputs(kHelp, stdout);
        *done = true;
        return {};
      case 'V':
        std::printf("plasma_store (rayc) %s\n", rayc::kVersion);
        *done = true;
        return {};
      case ':':
        return "a value is missing after " + std::string(argv[optind - 1]);
      default:
        return "unknown option " + std::string(argv[optind - 1]);
    }
  }
  if (optind < argc) {
    return "unexpected argument " + std::string(argv[optind]);
  }
  if (options->capacity_bytes == 0) {
    return "the size of the store is missing (-m)";
  }
  if (options->socket_path.empty()) {
    return "the socket is missing (-s)";
  }
  return {};
}

int Serve(const rayc::plasma::StoreOptions& options) {
  rayc::InitLogging("plasma_store", rayc::LogLevel::kWarning, "");
  // Before there are threads, which inherit it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const rayc::UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  rayc::EventLoop loop;
  loop.AddFd(signal_fd.get(), EPOLLIN, [&loop](uint32_t /*events*/) { loop.Stop(); });
  rayc::plasma::Store store(loop, options);
  if (const rayc::Status status = store.Start(); !status.ok()) {
    std::fprintf(stderr, "plasma_store: %s\n", status.message().c_str());
    return kExitFailure;
  }
  loop.Run();
  store.Shutdown();
  loop.RemoveFd(signal_fd.get());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  rayc::plasma::StoreOptions options;
  bool done = false;
  if (const std::string problem = ParseArguments(argc, argv, &options, &done); !problem.empty()) {
    return Usage(problem);
  }
  if (done) {
    return 0;
  }
  // The memory is taken page by page as objects are written: too late to refuse it then.
  const uint64_t usable = UsableBytes();
  if (options.capacity_bytes > usable) {
    std::fprintf(stderr, "plasma_store: no memory for a store of %s: this process may use %s\n",
                 rayc::plasma::FormatBytes(options.capacity_bytes).c_str(),
                 rayc::plasma::FormatBytes(usable).c_str());
    return kExitFailure;
  }
  return Serve(options);
}
