#include "scheduling/feasibility.h"

#include "scheduling/local_resources.h"

namespace rayc::scheduling {

Feasibility CheckFeasible(const ClusterView& view, const ResourceSet& request) {
  auto best = Feasibility::kNever;
  for (const auto& [id, node] : view.nodes()) {
    if (node.totals.Covers(request)) {
      if (node.available.Covers(request)) {
        return Feasibility::kNow;
      }
      best = Feasibility::kLater;
    }
  }
  return best;
}

std::string DescribeMalformed(const ResourceSet& request) {
  for (const auto& [name, amount] : request.amounts()) {
    if (amount < 0) {
      return name + ": " + FormatAmount(amount) + " asked, which is negative";
    }
    if (IsUnitResource(name) && amount > kResourceUnit && amount % kResourceUnit != 0) {
      return name + ": " + FormatAmount(amount) +
             " asked; more than one must be a whole number of them";
    }
  }
  return {};
}

std::string DescribeInfeasible(const ResourceSet& totals, const ResourceSet& request) {
  return "no node can ever hold this request (" + totals.DescribeShortfall(request) +
         "); the node has " + (totals.IsEmpty() ? "no resources" : totals.ToString()) + " in total";
}

}  // namespace rayc::scheduling
