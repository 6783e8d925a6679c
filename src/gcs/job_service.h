// Requests about jobs: unpack, call the manager, reply. No state of its own; loop thread only.
#pragma once

#include <string>

#include "gcs/job_manager.h"
#include "rpc/server.h"

namespace rayc::gcs {

// What every driver is told about the cluster that it joins.
struct ClusterInfo {
  ClusterId cluster_id;
  std::string session_dir;
  std::string session_name;
};

// `jobs` must outlive the server's handlers.
void AddJobService(rpc::Server& server, JobManager& jobs, ClusterInfo cluster);

}  // namespace rayc::gcs
