#include "gcs/kv_service.h"

#include <memory>
#include <utility>

#include "protocol/gcs_generated.h"
#include "rpc/convert.h"

namespace rayc::gcs {
namespace {

// std::function needs a copyable capture.
std::shared_ptr<rpc::Responder> Share(rpc::Responder responder) {
  return std::make_shared<rpc::Responder>(std::move(responder));
}

void HandlePut(KvStore& kv, const fb::KvPut& request, rpc::Responder responder) {
  kv.Put(rpc::FromString(request.name_space()), std::string(rpc::BytesView(request.key())),
         std::string(rpc::BytesView(request.value())), request.overwrite(),
         [responder = Share(std::move(responder))](const Result<bool>& existed) {
           if (!existed) {
             responder->Error(existed.error());
             return;
           }
           fb::KvPutReplyT reply;
           reply.existed = *existed;
           responder->Reply(reply);
         });
}

void HandleGet(KvStore& kv, const fb::KvGet& request, rpc::Responder responder) {
  kv.Get(rpc::FromString(request.name_space()), std::string(rpc::BytesView(request.key())),
         request.wait_ms(),
         [responder = Share(std::move(responder))](const Result<KvStore::Value>& value) {
           if (!value) {
             responder->Error(value.error());
             return;
           }
           fb::KvGetReplyT reply;
           reply.found = value->has_value();
           if (reply.found) {
             reply.value = rpc::ToBytes(**value);
           }
           responder->Reply(reply);
         });
}

void HandleDelete(KvStore& kv, const fb::KvDel& request, rpc::Responder responder) {
  kv.Delete(rpc::FromString(request.name_space()), std::string(rpc::BytesView(request.key())),
            request.by_prefix(),
            [responder = Share(std::move(responder))](const Result<uint32_t>& count) {
              if (!count) {
                responder->Error(count.error());
                return;
              }
              fb::KvDelReplyT reply;
              reply.count = *count;
              responder->Reply(reply);
            });
}

void HandleKeys(KvStore& kv, const fb::KvKeys& request, rpc::Responder responder) {
  kv.Keys(rpc::FromString(request.name_space()), std::string(rpc::BytesView(request.prefix())),
          [responder = Share(std::move(responder))](const Result<std::vector<std::string>>& keys) {
            if (!keys) {
              responder->Error(keys.error());
              return;
            }
            fb::KvKeysReplyT reply;
            reply.keys.reserve(keys->size());
            for (const std::string& key : *keys) {
              reply.keys.push_back(std::make_unique<fb::KvBytesT>());
              reply.keys.back()->value = rpc::ToBytes(key);
            }
            responder->Reply(reply);
          });
}

}  // namespace

void AddKvService(rpc::Server& server, KvStore& kv) {
  server.HandleTable<fb::KvPut>(
      Method::kKvPut,
      [&kv](const rpc::ChannelPtr& /*channel*/, const fb::KvPut& request,
            rpc::Responder responder) { HandlePut(kv, request, std::move(responder)); });
  server.HandleTable<fb::KvGet>(
      Method::kKvGet,
      [&kv](const rpc::ChannelPtr& /*channel*/, const fb::KvGet& request,
            rpc::Responder responder) { HandleGet(kv, request, std::move(responder)); });
  server.HandleTable<fb::KvDel>(
      Method::kKvDel,
      [&kv](const rpc::ChannelPtr& /*channel*/, const fb::KvDel& request,
            rpc::Responder responder) { HandleDelete(kv, request, std::move(responder)); });
  server.HandleTable<fb::KvKeys>(
      Method::kKvKeys,
      [&kv](const rpc::ChannelPtr& /*channel*/, const fb::KvKeys& request,
            rpc::Responder responder) { HandleKeys(kv, request, std::move(responder)); });
}

}  // namespace rayc::gcs
