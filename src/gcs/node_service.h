// Requests about nodes: unpack, call the manager, reply. No state of its own; loop thread only.
#pragma once

#include "gcs/node_manager.h"
#include "rpc/server.h"

namespace rayc::gcs {

// `nodes` must outlive the server's handlers.
void AddNodeService(rpc::Server& server, NodeManager& nodes);

}  // namespace rayc::gcs
