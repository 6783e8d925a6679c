// Requests about actors, and a raylet's reports of workers that ended: unpack, call the managers,
// reply. No state of its own; loop thread only.
#pragma once

#include <functional>

#include "gcs/actor_manager.h"
#include "gcs/job_manager.h"
#include "gcs/publisher.h"
#include "rpc/server.h"

namespace rayc::gcs {

using WorkerDeathCallback = std::function<void(const WorkerExit& exit, bool is_driver)>;

// All must outlive the server's handlers.
void AddActorService(rpc::Server& server, ActorManager& actors, Publisher& publisher,
                     const JobManager& jobs, WorkerDeathCallback on_worker_death);

}  // namespace rayc::gcs
