// The handlers of the GCS for placement groups: unpack, call the manager, reply. Loop thread only.
#pragma once

#include "gcs/placement_group_manager.h"
#include "rpc/server.h"

namespace rayc::gcs {

// `groups` must outlive the server.
void AddPlacementGroupService(rpc::Server& server, PlacementGroupManager& groups);

}  // namespace rayc::gcs
