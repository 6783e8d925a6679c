#include "gcs/job_service.h"

#include <memory>
#include <utility>

#include "protocol/gcs_generated.h"
#include "rpc/convert.h"

namespace rayc::gcs {
namespace {

// A worker may ask for a job whose AddJob is still on its way here.
constexpr int64_t kJobWaitMs = 1'000;

void HandleAdd(JobManager& jobs, const ClusterInfo& cluster, const rpc::ChannelPtr& channel,
               const fb::AddJob& request, rpc::Responder responder) {
  JobRecord job;
  job.driver = rpc::FromMessage(request.driver());
  job.driver_pid = request.driver_pid();
  job.entrypoint = rpc::FromString(request.entrypoint());
  job.name_space = rpc::FromString(request.name_space());
  job.config = std::string(rpc::BytesView(request.config()));
  fb::AddJobReplyT reply;
  reply.job_id = rpc::IdBytes(jobs.Add(std::move(job), channel));
  reply.cluster_id = rpc::IdBytes(cluster.cluster_id);
  reply.session_dir = cluster.session_dir;
  reply.session_name = cluster.session_name;
  responder.Reply(reply);
}

void HandleGet(JobManager& jobs, const fb::GetJob& request, rpc::Responder responder) {
  const auto id = JobId::FromBytes(request.job_id());
  auto shared = std::make_shared<rpc::Responder>(std::move(responder));
  jobs.FindOrWait(id, kJobWaitMs, [id, shared](const JobRecord* job) {
    if (job == nullptr) {
      shared->Error(Status::NotFound("there is no job " + id.Hex()));
      return;
    }
    fb::JobInfoT info;
    info.job_id = rpc::IdBytes(job->job_id);
    info.driver = rpc::ToMessage(job->driver);
    info.is_dead = job->is_dead;
    info.name_space = job->name_space;
    info.config = rpc::ToBytes(job->config);
    shared->Reply(info);
  });
}

}  // namespace

void AddJobService(rpc::Server& server, JobManager& jobs, ClusterInfo cluster) {
  server.HandleTable<fb::AddJob>(
      Method::kAddJob,
      [&jobs, cluster = std::move(cluster)](const rpc::ChannelPtr& channel,
                                            const fb::AddJob& request, rpc::Responder responder) {
        HandleAdd(jobs, cluster, channel, request, std::move(responder));
      });
  server.HandleTable<fb::GetJob>(
      Method::kGetJob,
      [&jobs](const rpc::ChannelPtr& /*channel*/, const fb::GetJob& request,
              rpc::Responder responder) { HandleGet(jobs, request, std::move(responder)); });
}

}  // namespace rayc::gcs
