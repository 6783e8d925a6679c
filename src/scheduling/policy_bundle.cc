#include "scheduling/policy_bundle.h"

#include <algorithm>
#include <numeric>

#include "scheduling/local_resources.h"

namespace rayc::scheduling {
namespace {

struct Candidate {
  NodeId id;
  ResourceSet free;
  LocalResources instances;  // of the empty node: knows how shares of units fit into whole ones
  size_t placed = 0;
};

int64_t Size(const ResourceSet& bundle) {
  int64_t size = 0;
  for (const auto& [name, amount] : bundle.amounts()) {
    // Units first: shares of them are the hardest to place.
    size = std::max(size, IsUnitResource(name) ? amount * 1'000'000 : amount);
  }
  return size;
}

bool TakeFrom(Candidate& node, const ResourceSet& bundle) {
  if (!node.free.Covers(bundle) || !node.instances.CanAllocate(bundle, bundle)) {
    return false;
  }
  node.free.Subtract(bundle);
  node.instances.Allocate(bundle);
  node.placed += 1;
  return true;
}

std::optional<std::vector<NodeId>> Place(std::vector<Candidate> nodes,
                                         const std::vector<ResourceSet>& bundles,
                                         BundleStrategy strategy) {
  std::vector<NodeId> placed(bundles.size());
  const bool packs = strategy == BundleStrategy::kPack || strategy == BundleStrategy::kStrictPack;
  if (packs && nodes.size() > 1) {
    for (const Candidate& node : nodes) {
      // All on one node is the fewest that there can be.
      if (auto all = Place({node}, bundles, strategy)) {
        return all;
      }
    }
    if (strategy == BundleStrategy::kStrictPack) {
      return std::nullopt;
    }
  }
  std::vector<size_t> order(bundles.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return Size(bundles[a]) > Size(bundles[b]); });
  const bool spreads =
      strategy == BundleStrategy::kSpread || strategy == BundleStrategy::kStrictSpread;
  for (const size_t index : order) {
    std::stable_sort(nodes.begin(), nodes.end(), [&](const Candidate& a, const Candidate& b) {
      return spreads ? a.placed < b.placed : a.placed > b.placed;
    });
    const auto node = std::find_if(nodes.begin(), nodes.end(), [&](Candidate& candidate) {
      if (strategy == BundleStrategy::kStrictSpread && candidate.placed > 0) {
        return false;
      }
      return TakeFrom(candidate, bundles[index]);
    });
    if (node == nodes.end()) {
      return std::nullopt;
    }
    placed[index] = node->id;
  }
  return placed;
}

std::vector<Candidate> Candidates(const ClusterView& view, bool empty,
                                  const std::optional<NodeId>& preferred) {
  std::vector<Candidate> nodes;
  for (const auto& [id, node] : view.nodes()) {
    nodes.push_back({id, empty ? node.totals : node.available, LocalResources(node.totals), 0});
  }
  if (preferred) {
    std::stable_partition(nodes.begin(), nodes.end(),
                          [&](const Candidate& node) { return node.id == *preferred; });
  }
  return nodes;
}

std::string WhyNever(const ClusterView& view, const std::vector<ResourceSet>& bundles,
                     BundleStrategy strategy) {
  if (strategy == BundleStrategy::kStrictSpread && bundles.size() > view.nodes().size()) {
    return "STRICT_SPREAD needs a node for each of the " + std::to_string(bundles.size()) +
           " bundles, and the cluster has " + std::to_string(view.nodes().size());
  }
  for (size_t i = 0; i < bundles.size(); ++i) {
    if (std::string malformed = DescribeMalformed(bundles[i]); !malformed.empty()) {
      return "bundle " + std::to_string(i) + ": " + malformed;
    }
    if (CheckFeasible(view, bundles[i]) == Feasibility::kNever) {
      const ResourceSet totals =
          view.nodes().empty() ? ResourceSet() : view.nodes().begin()->second.totals;
      return "bundle " + std::to_string(i) + ": " + DescribeInfeasible(totals, bundles[i]);
    }
  }
  ResourceSet sum;
  for (const ResourceSet& bundle : bundles) {
    sum.Add(bundle);
  }
  ResourceSet totals;
  for (const auto& [id, node] : view.nodes()) {
    totals.Add(node.totals);
  }
  const std::string shortfall = totals.DescribeShortfall(sum);
  if (shortfall.empty()) {
    return "the bundles do not fit together into the nodes of the cluster, which have " +
           totals.ToString() + " in total, with this strategy";
  }
  return "the cluster cannot hold all bundles together (" + shortfall + "); it has " +
         totals.ToString() + " in total";
}

}  // namespace

BundlePlacement PlaceBundles(const ClusterView& view, const std::vector<ResourceSet>& bundles,
                             BundleStrategy strategy, const std::optional<NodeId>& preferred) {
  BundlePlacement placement;
  const bool well_formed =
      std::all_of(bundles.begin(), bundles.end(),
                  [](const ResourceSet& bundle) { return DescribeMalformed(bundle).empty(); });
  if (well_formed) {
    if (auto now = Place(Candidates(view, false, preferred), bundles, strategy)) {
      placement.feasibility = Feasibility::kNow;
      placement.nodes = std::move(*now);
      return placement;
    }
    if (Place(Candidates(view, true, preferred), bundles, strategy)) {
      placement.feasibility = Feasibility::kLater;
      return placement;
    }
  }
  placement.why = WhyNever(view, bundles, strategy);
  return placement;
}

}  // namespace rayc::scheduling
