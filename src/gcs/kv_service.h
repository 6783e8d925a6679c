// Requests about the KV: unpack, call the store, reply. No state of its own; loop thread only.
#pragma once

#include "gcs/kv_store.h"
#include "rpc/server.h"

namespace rayc::gcs {

// `kv` must outlive the server's handlers.
void AddKvService(rpc::Server& server, KvStore& kv);

}  // namespace rayc::gcs
