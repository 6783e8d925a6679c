#include "core_worker/node_memory.h"

#include <functional>
#include <memory>
#include <utility>

#include "common/clock.h"
#include "common/event_loop.h"
#include "rpc/raylet_client.h"
#include "rpc/worker_client.h"

namespace rayc::core_worker {
namespace {

constexpr int kLoopSliceMs = 100;

HeldReference::Place PlaceOf(fb::ObjectState state) {
  switch (state) {
    case fb::ObjectState::kInline:
      return HeldReference::Place::kProcess;
    case fb::ObjectState::kInPlasma:
      return HeldReference::Place::kPlasma;
    default:
      return HeldReference::Place::kPending;
  }
}

void Read(const fb::GetReferencesReply& reply, ProcessMemory* process) {
  process->records_call_sites = reply.records_call_sites();
  process->left_off = reply.left_off();
  if (reply.references() == nullptr) {
    return;
  }
  process->references.reserve(reply.references()->size());
  for (const fb::ReferenceInfo* info : *reply.references()) {
    process->references.push_back(
        {ObjectId::FromBytes(info->object_id()), WorkerId::FromBytes(info->owner()),
         PlaceOf(info->state()), info->size(), info->local(), info->submitted(), info->contained(),
         info->borrowers(), rpc::FromString(info->call_site())});
  }
}

// The connections of one report, and the loop that serves them. When a question returns, nobody
// writes to its results any more: the end of a connection answers what was not answered.
class Asker {
 public:
  explicit Asker(int64_t timeout_ms) : timeout_ms_(timeout_ms) {}
  ~Asker() {
    for (const rpc::ChannelPtr& channel : channels_) {
      channel->Detach();
    }
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;

  Status AskRaylet(const std::string& socket, std::vector<ProcessMemory>* processes,
                   std::vector<std::string>* sockets) {
    auto channel = Connect(socket);
    if (!channel) {
      return channel.error();
    }
    rpc::WireRayletClient raylet(*channel);
    Status status(StatusCode::kTimedOut, "the raylet does not answer (" + socket + ")");
    bool answered = false;
    raylet.ListClients([&](Result<const fb::ListClientsReply*> reply) {
      answered = true;
      status = reply ? Status::Ok() : reply.error();
      if (!reply || (*reply)->clients() == nullptr) {
        return;
      }
      for (const fb::ClientInfo* info : *(*reply)->clients()) {
        ProcessMemory& process = processes->emplace_back();
        process.worker_id = WorkerId::FromBytes(info->worker_id());
        process.pid = info->pid();
        process.is_driver = info->is_driver();
        sockets->push_back(rpc::FromString(info->socket()));
      }
    });
    RunUntil([&] { return answered; });
    Status result = status;
    (*channel)->Detach();  // its callback writes to what is here only
    return result;
  }

  // All at once; the reports of those that do not answer in time have a status that says so.
  void AskProcesses(const std::vector<std::string>& sockets, uint32_t references_max,
                    std::vector<ProcessMemory>* processes) {
    size_t waiting = 0;
    bool in_time = true;
    const auto late = Status(StatusCode::kTimedOut,
                             "it did not answer within " + std::to_string(timeout_ms_) + " ms");
    const size_t first = channels_.size();
    for (size_t i = 0; i < sockets.size(); ++i) {
      ProcessMemory& process = (*processes)[i];
      auto channel = Connect(sockets[i]);
      if (!channel) {
        process.status = channel.error();
        continue;
      }
      process.status = late;
      ++waiting;
      rpc::WireWorkerClient(*channel).GetReferences(
          references_max, [&](Result<const fb::GetReferencesReply*> reply) {
            if (!in_time) {
              return;
            }
            --waiting;
            process.status = reply ? Status::Ok() : reply.error();
            if (reply) {
              Read(**reply, &process);
            }
          });
    }
    RunUntil([&] { return waiting == 0; });
    in_time = false;
    for (size_t i = first; i < channels_.size(); ++i) {
      channels_[i]->Detach();
    }
  }

 private:
  Result<rpc::ChannelPtr> Connect(const std::string& socket) {
    rpc::ChannelOptions options;
    options.self_id = std::string(WorkerId::Nil().Binary());
    options.self_component = "tool";
    auto channel = rpc::Channel::Connect(loop_, socket, std::move(options));
    if (channel) {
      channels_.push_back(*channel);
    }
    return channel;
  }

  void RunUntil(const std::function<bool()>& done) {
    const int64_t deadline_ms = clock_.NowMs() + timeout_ms_;
    while (!done() && clock_.NowMs() < deadline_ms) {
      loop_.RunOnce(kLoopSliceMs);
    }
  }

  const int64_t timeout_ms_;
  SteadyClock clock_;
  EventLoop loop_;
  std::vector<rpc::ChannelPtr> channels_;
};

}  // namespace

Result<NodeMemory> AskNodeMemory(const NodeMemoryOptions& options) {
  NodeMemory memory;
  if (!options.raylet_socket.empty()) {
    std::vector<std::string> sockets;
    Asker asker(options.timeout_ms);
    const Status status = asker.AskRaylet(options.raylet_socket, &memory.processes, &sockets);
    if (!status.ok()) {
      return Err(status);
    }
    asker.AskProcesses(sockets, options.references_max, &memory.processes);
  }
  // After the processes: what they hold is there still, or gone for good.
  auto store = plasma::Client::Connect(options.plasma_socket);
  if (!store) {
    return Err(store.error());
  }
  auto listed = (*store)->List(options.check);
  if (!listed) {
    return Err(listed.error());
  }
  memory.store = std::move(*listed);
  return memory;
}

}  // namespace rayc::core_worker
