// Where a worker or driver can be reached, and who it is. A value.
#pragma once

#include <cstdint>
#include <string>

#include "common/ids.h"

namespace rayc {

struct Address {
  NodeId node_id;
  WorkerId worker_id;
  std::string socket;  // path of the Unix socket on which it listens

  bool IsNil() const { return worker_id.IsNil(); }
  friend bool operator==(const Address& a, const Address& b) { return a.worker_id == b.worker_id; }
};

}  // namespace rayc
