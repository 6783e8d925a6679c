// Where a task or actor is to run, beyond what its resources say. A value.
#pragma once

#include <cstdint>
#include <string>

#include "common/ids.h"

namespace rayc {

struct SchedulingStrategy {
  PlacementGroupId group;          // nil: outside of placement groups
  int32_t bundle_index = -1;       // -1: in any bundle of the group
  bool captures_children = false;  // tasks that it submits go into the group too, as a rule

  std::string node_text;      // which node is wanted, for people; "": any will do
  NodeId node;                // nil if there is no such node
  bool node_is_soft = false;  // another one will do if this one is not there
  bool fails_if_busy = false;

  bool InGroup() const { return !group.IsNil(); }
  // Part of the scheduling key: "" for the default strategy.
  std::string Key() const {
    std::string key;
    if (InGroup()) {
      key = "|g" + std::string(group.Binary()) + std::to_string(bundle_index);
    }
    if (!node_text.empty()) {
      key += "|n" + std::string(node.Binary()) + (node_is_soft ? "s" : "h") +
             (fails_if_busy ? "f" : "") + node_text;
    }
    return key;
  }
};

}  // namespace rayc
