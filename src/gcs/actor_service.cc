#include "gcs/actor_service.h"

#include <memory>
#include <utility>

#include "protocol/gcs_generated.h"
#include "rpc/convert.h"

namespace rayc::gcs {
namespace {

void Answer(const Status& status, rpc::Responder responder) {
  if (status.ok()) {
    responder.Ok();
  } else {
    responder.Error(status);
  }
}

void AnswerInfo(const ActorInfo* info, HandleState handle_state, const std::string& what,
                rpc::Responder responder) {
  if (info == nullptr) {
    responder.Error(Status::NotFound("there is no actor " + what));
  } else {
    responder.Reply(ToMessage(*info, handle_state));
  }
}

void HandleCreate(ActorManager& actors, const JobManager& jobs, const fb::CreateActor& request,
                  rpc::Responder responder) {
  if (request.spec() == nullptr) {
    responder.Error(Status::InvalidArgument("an actor needs a creation task"));
    return;
  }
  TaskSpec spec = rpc::FromMessage(*request.spec());
  std::string job_config(rpc::BytesView(request.job_config()));
  if (const JobRecord* job = jobs.Find(spec.job_id); job_config.empty() && job != nullptr) {
    job_config = job->config;
  }
  const Status status = request.dependencies_pending()
                            ? actors.Register(std::move(spec))
                            : actors.Create(std::move(spec), std::move(job_config));
  Answer(status, std::move(responder));
}

void HandleList(const ActorManager& actors, const fb::ListActors& request,
                rpc::Responder responder) {
  const std::string name_space = rpc::FromString(request.name_space());
  fb::ListActorsReplyT reply;
  for (const ActorInfo* info : actors.List()) {
    // A name belongs to its actor only while it can be found by it.
    if (request.only_named() &&
        (info->name.empty() || actors.FindNamed(info->name, info->name_space) != info)) {
      continue;
    }
    if (!request.all_namespaces() && info->name_space != name_space) {
      continue;
    }
    reply.actors.push_back(std::make_unique<fb::ActorInfoT>(ToMessage(*info, HandleState::kOmit)));
  }
  responder.Reply(reply);
}

void HandleSubscribe(const ActorManager& actors, Publisher& publisher,
                     const rpc::ChannelPtr& channel, const fb::SubscribeActor& request,
                     rpc::Responder responder) {
  const auto id = ActorId::FromBytes(request.actor_id());
  const ActorInfo* info = actors.Find(id);
  if (info != nullptr && !info->IsDead()) {
    publisher.Subscribe(id, channel);
  }
  AnswerInfo(info, HandleState::kOmit, id.Hex(), std::move(responder));
}

void AddLookups(rpc::Server& server, const ActorManager& actors, Publisher& publisher) {
  server.HandleTable<fb::GetActor>(
      Method::kGetActor, [&actors](const rpc::ChannelPtr& /*channel*/, const fb::GetActor& request,
                                   rpc::Responder responder) {
        const auto id = ActorId::FromBytes(request.actor_id());
        AnswerInfo(actors.Find(id), HandleState::kInclude, id.Hex(), std::move(responder));
      });
  server.HandleTable<fb::GetNamedActor>(
      Method::kGetNamedActor,
      [&actors](const rpc::ChannelPtr& /*channel*/, const fb::GetNamedActor& request,
                rpc::Responder responder) {
        const std::string name = rpc::FromString(request.name());
        const std::string name_space = rpc::FromString(request.name_space());
        AnswerInfo(actors.FindNamed(name, name_space), HandleState::kInclude,
                   "named '" + name + "' in namespace '" + name_space + "'", std::move(responder));
      });
  server.HandleTable<fb::ListActors>(
      Method::kListActors,
      [&actors](const rpc::ChannelPtr& /*channel*/, const fb::ListActors& request,
                rpc::Responder responder) { HandleList(actors, request, std::move(responder)); });
  server.HandleTable<fb::SubscribeActor>(
      Method::kSubscribeActor,
      [&actors, &publisher](const rpc::ChannelPtr& channel, const fb::SubscribeActor& request,
                            rpc::Responder responder) {
        HandleSubscribe(actors, publisher, channel, request, std::move(responder));
      });
  server.HandleTable<fb::UnsubscribeActor>(
      Method::kUnsubscribeActor,
      [&publisher](const rpc::ChannelPtr& channel, const fb::UnsubscribeActor& message,
                   const rpc::Responder& /*one way*/) {
        publisher.Unsubscribe(ActorId::FromBytes(message.actor_id()), channel);
      });
}

}  // namespace

void AddActorService(rpc::Server& server, ActorManager& actors, Publisher& publisher,
                     const JobManager& jobs, WorkerDeathCallback on_worker_death) {
  AddLookups(server, actors, publisher);
  server.HandleTable<fb::CreateActor>(
      Method::kCreateActor,
      [&actors, &jobs](const rpc::ChannelPtr& /*channel*/, const fb::CreateActor& request,
                       rpc::Responder responder) {
        HandleCreate(actors, jobs, request, std::move(responder));
      });
  server.HandleTable<fb::KillActorRequest>(
      Method::kKillActorRequest,
      [&actors](const rpc::ChannelPtr& /*channel*/, const fb::KillActorRequest& request,
                rpc::Responder responder) {
        Answer(actors.Kill(ActorId::FromBytes(request.actor_id()), request.no_restart()),
               std::move(responder));
      });
  server.HandleTable<fb::ActorOutOfScope>(
      Method::kActorOutOfScope,
      [&actors](const rpc::ChannelPtr& /*channel*/, const fb::ActorOutOfScope& message,
                const rpc::Responder& /*one way*/) {
        actors.OnOutOfScope(ActorId::FromBytes(message.actor_id()));
      });
  server.HandleTable<fb::ReportWorkerDeath>(
      Method::kReportWorkerDeath,
      [on_worker_death = std::move(on_worker_death)](const rpc::ChannelPtr& /*channel*/,
                                                     const fb::ReportWorkerDeath& report,
                                                     const rpc::Responder& /*one way*/) {
        if (report.death() != nullptr) {
          on_worker_death(FromMessage(*report.death()), report.is_driver());
        }
      });
}

}  // namespace rayc::gcs
