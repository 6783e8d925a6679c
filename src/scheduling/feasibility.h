// Can a request be met at all? Pure functions over values, any thread.
#pragma once

#include <string>

#include "scheduling/cluster_view.h"

namespace rayc::scheduling {

enum class Feasibility {
  kNow,    // some node has it free
  kLater,  // some node could, once others give back
  kNever,  // no node of this view ever can
};

Feasibility CheckFeasible(const ClusterView& view, const ResourceSet& request);

// An amount of a unit resource (GPU) that is neither a fraction of one nor a whole number has no
// meaning. Empty if the request is well formed, else what is wrong with it.
std::string DescribeMalformed(const ResourceSet& request);

// One sentence for people, for a request that `totals` cannot hold.
std::string DescribeInfeasible(const ResourceSet& totals, const ResourceSet& request);

}  // namespace rayc::scheduling
