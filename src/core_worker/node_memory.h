// Who holds which object of a node, and where it lies: asked of the raylet, of every driver and
// worker, and of the store. For tools: needs no CoreWorker, registers nowhere, and leaves nothing
// behind. Any thread; blocks, at most for about twice the timeout.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "plasma/client.h"

namespace rayc::core_worker {

struct NodeMemoryOptions {
  std::string raylet_socket;  // "": a store without a cluster
  std::string plasma_socket;
  int64_t timeout_ms = 2'000;
  uint32_t references_max = 100'000;  // of each process
  bool check = false;                 // also run the store's invariants
};

// As its process sees it; the counts are those of reference_table.h.
struct HeldReference {
  enum class Place : uint8_t { kPending, kProcess, kPlasma };
  ObjectId id;
  WorkerId owner;
  Place place = Place::kPending;
  uint64_t size = 0;
  uint32_t local = 0;
  uint32_t submitted = 0;
  uint32_t contained = 0;
  uint32_t borrowers = 0;
  std::string call_site;
};

struct ProcessMemory {
  WorkerId worker_id;
  pid_t pid = 0;
  bool is_driver = false;
  Status status;  // not OK: it did not answer, and nothing of the rest is known
  bool records_call_sites = false;
  uint32_t left_off = 0;  // references beyond references_max
  std::vector<HeldReference> references;
};

struct NodeMemory {
  std::vector<ProcessMemory> processes;
  plasma::ListResult store;
};

Result<NodeMemory> AskNodeMemory(const NodeMemoryOptions& options);

}  // namespace rayc::core_worker
