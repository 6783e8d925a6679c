// Messages <-> the value types of src/common. Nobody else takes these tables apart.
// From*: what a peer sent, already verified; wrong id lengths give nil ids, which callers must
// check where they matter. To*: native tables of the object API, ready to Pack.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/address.h"
#include "common/resources.h"
#include "common/status.h"
#include "common/task_spec.h"
#include "protocol/gcs_generated.h"
#include "protocol/raylet_generated.h"
#include "protocol/task_generated.h"
#include "protocol/worker_generated.h"

namespace rayc::rpc {

std::vector<uint8_t> ToBytes(std::string_view bytes);
template <typename IdType>
std::vector<uint8_t> IdBytes(const IdType& id) {
  return {id.data(), id.data() + IdType::kSize};
}
std::string FromString(const flatbuffers::String* text);  // "" for null

Address FromMessage(const fb::Address* message);
std::unique_ptr<fb::AddressT> ToMessage(const Address& address);

Status FromMessage(const fb::StatusMessage* message);
fb::StatusMessageT ToMessage(const Status& status);

using ResourceVector = flatbuffers::Vector<flatbuffers::Offset<fb::Resource>>;
ResourceSet FromMessage(const ResourceVector* message);
std::vector<std::unique_ptr<fb::ResourceT>> ToMessage(const ResourceSet& resources);

SchedulingStrategy FromMessage(const fb::SchedulingStrategy* message);
// Null for the default strategy.
std::unique_ptr<fb::SchedulingStrategyT> ToMessage(const SchedulingStrategy& strategy);

FunctionDescriptor FromMessage(const fb::FunctionDescriptor* message);
std::unique_ptr<fb::FunctionDescriptorT> ToMessage(const FunctionDescriptor& descriptor);

ObjectRefInfo FromMessage(const fb::ObjectRef* message);
std::unique_ptr<fb::ObjectRefT> ToMessage(const ObjectRefInfo& ref);

TaskSpec FromMessage(const fb::TaskSpec& message);
std::unique_ptr<fb::TaskSpecT> ToMessage(const TaskSpec& spec);

}  // namespace rayc::rpc
