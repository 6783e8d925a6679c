// What a raylet is told at its start. Parsed once, in main(); passed down by const reference.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/resources.h"
#include "common/status.h"

namespace rayc::raylet {

struct RayletConfig {
  std::string session_dir;
  bool is_head = false;    // hosts the GCS
  std::string gcs_socket;  // of the GCS, if it is not hosted here
  pid_t owner_pid = 0;     // the driver whose private cluster this is; 0: nobody's
  int ready_fd = -1;       // gets "ok\n", or one line that says what is wrong
  std::string node_ip = "127.0.0.1";
  uint64_t object_store_bytes = 128UL << 20;
  std::vector<std::string> spill_folders;  // for objects that memory cannot hold
  ResourceSet resources;
  std::string log_level = "warning";
  uint32_t workers_max = 1'000;
  std::vector<int32_t> cpu_cores;  // that workers are pinned to, by their leases; empty: none is
  std::vector<std::string> zygote_argv;

  std::string SocketDir() const { return session_dir + "/sockets"; }
  std::string RayletSocket() const { return SocketDir() + "/raylet"; }
  std::string PlasmaSocket() const { return SocketDir() + "/plasma"; }
  std::string GcsSocket() const { return gcs_socket.empty() ? SocketDir() + "/gcs" : gcs_socket; }
  std::string LogDir() const { return session_dir + "/logs"; }
  std::string SessionName() const { return session_dir.substr(session_dir.rfind('/') + 1); }
  // No other node can join: what this node cannot hold, nobody ever will.
  bool IsPrivate() const { return owner_pid != 0; }
};

// raylet --session-dir DIR [--head] [--gcs-socket PATH] [--owner-pid PID] [--ready-fd N]
//        [--node-ip IP] [--object-store-bytes N] [--spill-folder DIR]...
//        [--resource NAME=AMOUNT]... [--log-level LEVEL] [--max-workers N] [--cpu-core ID]...
//        -- ZYGOTE_ARGV...
Result<RayletConfig> ParseConfig(const std::vector<std::string>& arguments);

}  // namespace rayc::raylet
