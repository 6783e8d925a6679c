// What a CoreWorker tells of its references, to tools that ask (node_memory.h): answered by the
// thread that drains the loop, so also while a task computes.
#include <utility>

#include "core_worker/core_worker_internal.h"

namespace rayc::core_worker {

void CoreWorker::SetCallSite(const ObjectId& id, std::string call_site) {
  const MutexLock lock(mutex_);
  references_.SetCallSite(id, std::move(call_site));
}

std::string CoreWorker::CallSiteOf(const ObjectId& id) {
  const MutexLock lock(mutex_);
  return references_.CallSiteOf(id);
}

void CoreWorker::HandleGetReferences(const fb::GetReferences& request, rpc::Responder responder) {
  std::vector<ReferenceTable::View> views;
  std::vector<std::pair<fb::ObjectState, uint64_t>> values;  // state and size
  fb::GetReferencesReplyT reply;
  {
    const MutexLock lock(mutex_);
    views = references_.Look(request.count_max());
    values.reserve(views.size());
    for (const ReferenceTable::View& view : views) {
      const StoredObject* object = memory_store_.Find(view.id);
      if (object == nullptr) {
        values.emplace_back(fb::ObjectState::kPending, 0);
      } else {
        values.emplace_back(
            object->in_plasma ? fb::ObjectState::kInPlasma : fb::ObjectState::kInline,
            object->size);
      }
    }
    reply.left_off = static_cast<uint32_t>(references_.size() - views.size());
  }
  reply.records_call_sites = options_.records_call_sites;
  reply.references.reserve(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    auto info = std::make_unique<fb::ReferenceInfoT>();
    info->object_id = rpc::IdBytes(views[i].id);
    info->owner = rpc::IdBytes(views[i].owner);
    info->state = values[i].first;
    info->size = values[i].second;
    info->local = views[i].local;
    info->submitted = views[i].submitted;
    info->contained = views[i].contained;
    info->borrowers = views[i].borrowers;
    info->call_site = std::move(views[i].call_site);
    reply.references.push_back(std::move(info));
  }
  responder.Reply(reply);
}

}  // namespace rayc::core_worker
