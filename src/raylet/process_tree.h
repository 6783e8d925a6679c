// The processes below one of ours, and their end. Blocking; called when a node is going down.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace rayc::raylet {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  bool is_zombie = false;
};

// Every process that /proc shows now.
std::vector<ProcessInfo> ListProcesses();
// Those below `root`, in any depth, zombies included. Pure.
std::vector<ProcessInfo> DescendantsOf(pid_t root, const std::vector<ProcessInfo>& all);

// Makes orphans of our descendants our children, so that none can hide by forking twice.
void BecomeSubreaper();

// SIGKILLs all that is below this process and reaps it, again and again, as they may fork
// meanwhile, until nothing is left. False if something still is after timeout_ms. REQUIRES:
// BecomeSubreaper, before they were started.
bool KillDescendants(int64_t timeout_ms);

}  // namespace rayc::raylet
