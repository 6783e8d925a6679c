// The values that the lease manager, the worker pool and the service of a raylet exchange.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "common/ids.h"
#include "common/resources.h"
#include "common/scheduling_strategy.h"
#include "scheduling/node_resources.h"

namespace rayc::raylet {

// A lease is named by its requester: the connection it asked on, and the number it chose there.
using ClientId = uint64_t;
struct LeaseKey {
  ClientId client = 0;
  uint64_t lease_id = 0;
  friend bool operator<(const LeaseKey& a, const LeaseKey& b) {
    return std::tie(a.client, a.lease_id) < std::tie(b.client, b.lease_id);
  }
  friend bool operator==(const LeaseKey& a, const LeaseKey& b) = default;
};

struct LeaseRequest {
  LeaseKey key;
  JobId job_id;
  std::string name;       // for people: the first task, or the actor's class
  ResourceSet resources;  // held while the lease lasts
  ResourceSet placement;  // must be free when it is given
  std::string runtime_env;
  bool is_actor = false;
  // The lease stays when its requester's connection closes (actors that the GCS placed).
  bool outlives_client = false;
  SchedulingStrategy strategy;

  scheduling::BundleTarget target() const { return {strategy.group, strategy.bundle_index}; }
};

// Resources to set aside for bundles of a placement group. It waits among the requests for leases.
struct BundleRequest {
  LeaseKey key;
  PlacementGroupId group;
  std::vector<scheduling::Bundle> bundles;
  bool commit = false;  // they can be used at once
  bool wait = false;    // until they are free
};

// What a worker must be fit for. A worker serves one job and one runtime_env all its life.
struct WorkerNeed {
  JobId job_id;
  std::string runtime_env;
  bool is_actor = false;
};

}  // namespace rayc::raylet
