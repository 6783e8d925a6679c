#include "rpc/convert.h"

#include <algorithm>
#include <map>

#include "rpc/message.h"

namespace rayc::rpc {

namespace {

// Sums of what peers claim must not overflow.
constexpr int64_t kResourceAmountMax = int64_t{1} << 50;

}  // namespace

std::vector<uint8_t> ToBytes(std::string_view bytes) { return {bytes.begin(), bytes.end()}; }

std::string FromString(const flatbuffers::String* text) {
  return text == nullptr ? std::string() : text->str();
}

Address FromMessage(const fb::Address* message) {
  Address address;
  if (message != nullptr) {
    address.node_id = NodeId::FromBytes(message->node_id());
    address.worker_id = WorkerId::FromBytes(message->worker_id());
    address.socket = FromString(message->socket());
  }
  return address;
}

std::unique_ptr<fb::AddressT> ToMessage(const Address& address) {
  auto message = std::make_unique<fb::AddressT>();
  message->node_id = IdBytes(address.node_id);
  message->worker_id = IdBytes(address.worker_id);
  message->socket = address.socket;
  return message;
}

Status FromMessage(const fb::StatusMessage* message) {
  if (message == nullptr ||
      message->code() > static_cast<uint8_t>(StatusCode::kPlacementGroupRemoved)) {
    return Status::Internal("malformed status");
  }
  return {static_cast<StatusCode>(message->code()), FromString(message->message())};
}

fb::StatusMessageT ToMessage(const Status& status) {
  fb::StatusMessageT message;
  message.code = static_cast<uint8_t>(status.code());
  message.message = status.message();
  return message;
}

ResourceSet FromMessage(const ResourceVector* message) {
  ResourceSet resources;
  if (message != nullptr) {
    for (const fb::Resource* resource : *message) {
      resources.Set(BytesView(resource->name()),
                    std::clamp(resource->amount(), -kResourceAmountMax, kResourceAmountMax));
    }
  }
  return resources;
}

std::vector<std::unique_ptr<fb::ResourceT>> ToMessage(const ResourceSet& resources) {
  std::vector<std::unique_ptr<fb::ResourceT>> message;
  message.reserve(resources.amounts().size());
  for (const auto& [name, amount] : resources.amounts()) {
    auto entry = std::make_unique<fb::ResourceT>();
    entry->name = name;
    entry->amount = amount;
    message.push_back(std::move(entry));
  }
  return message;
}

SchedulingStrategy FromMessage(const fb::SchedulingStrategy* message) {
  SchedulingStrategy strategy;
  if (message != nullptr) {
    strategy.group = PlacementGroupId::FromBytes(message->placement_group());
    strategy.bundle_index = message->bundle_index();
    strategy.captures_children = message->captures_children();
    strategy.node_text = FromString(message->node_text());
    strategy.node = NodeId::FromBytes(message->node_id());
    strategy.node_is_soft = message->node_is_soft();
    strategy.fails_if_busy = message->fails_if_busy();
  }
  return strategy;
}

std::unique_ptr<fb::SchedulingStrategyT> ToMessage(const SchedulingStrategy& strategy) {
  if (!strategy.InGroup() && strategy.node_text.empty()) {
    return nullptr;  // the default
  }
  auto message = std::make_unique<fb::SchedulingStrategyT>();
  if (strategy.InGroup()) {
    message->placement_group = IdBytes(strategy.group);
  }
  message->bundle_index = strategy.bundle_index;
  message->captures_children = strategy.captures_children;
  message->node_text = strategy.node_text;
  if (!strategy.node.IsNil()) {
    message->node_id = IdBytes(strategy.node);
  }
  message->node_is_soft = strategy.node_is_soft;
  message->fails_if_busy = strategy.fails_if_busy;
  return message;
}

FunctionDescriptor FromMessage(const fb::FunctionDescriptor* message) {
  FunctionDescriptor descriptor;
  if (message != nullptr) {
    descriptor.module_name = FromString(message->module_name());
    descriptor.class_name = FromString(message->class_name());
    descriptor.function_name = FromString(message->function_name());
    descriptor.function_hash = FromString(message->function_hash());
  }
  return descriptor;
}

std::unique_ptr<fb::FunctionDescriptorT> ToMessage(const FunctionDescriptor& descriptor) {
  auto message = std::make_unique<fb::FunctionDescriptorT>();
  message->module_name = descriptor.module_name;
  message->class_name = descriptor.class_name;
  message->function_name = descriptor.function_name;
  message->function_hash = descriptor.function_hash;
  return message;
}

ObjectRefInfo FromMessage(const fb::ObjectRef* message) {
  ObjectRefInfo ref;
  if (message != nullptr) {
    ref.id = ObjectId::FromBytes(message->object_id());
    ref.owner = FromMessage(message->owner());
  }
  return ref;
}

std::unique_ptr<fb::ObjectRefT> ToMessage(const ObjectRefInfo& ref) {
  auto message = std::make_unique<fb::ObjectRefT>();
  message->object_id = IdBytes(ref.id);
  message->owner = ToMessage(ref.owner);
  return message;
}

namespace {

TaskArg FromMessage(const fb::TaskArg& message) {
  TaskArg arg;
  if (message.object_id() != nullptr && message.object_id()->size() == ObjectId::kSize) {
    arg.object_id = ObjectId::FromBytes(message.object_id());
    arg.owner = rpc::FromMessage(message.owner());
    return arg;
  }
  arg.value.data = HeapBuffer::Copy(BytesView(message.data()));
  arg.value.metadata = FromString(message.metadata());
  if (message.nested() != nullptr) {
    for (const fb::ObjectRef* ref : *message.nested()) {
      arg.nested.push_back(rpc::FromMessage(ref));
    }
  }
  return arg;
}

std::unique_ptr<fb::TaskArgT> ToMessage(const TaskArg& arg) {
  auto message = std::make_unique<fb::TaskArgT>();
  if (arg.IsRef()) {
    message->object_id = IdBytes(arg.object_id);
    message->owner = rpc::ToMessage(arg.owner);
    return message;
  }
  if (arg.value.data != nullptr) {
    message->data = ToBytes(arg.value.data->View());
  }
  message->metadata = arg.value.metadata;
  for (const ObjectRefInfo& ref : arg.nested) {
    message->nested.push_back(rpc::ToMessage(ref));
  }
  return message;
}

ActorCreationSpec FromMessage(const fb::ActorCreation& message) {
  ActorCreationSpec creation;
  creation.actor_id = ActorId::FromBytes(message.actor_id());
  creation.max_restarts = message.max_restarts();
  creation.max_task_retries = message.max_task_retries();
  creation.max_concurrency = message.max_concurrency();
  creation.is_asyncio = message.is_asyncio();
  creation.is_detached = message.is_detached();
  creation.allow_out_of_order = message.allow_out_of_order();
  creation.name = FromString(message.name());
  creation.name_space = FromString(message.name_space());
  creation.class_name = FromString(message.class_name());
  creation.handle_state = std::string(BytesView(message.handle_state()));
  if (message.concurrency_groups() != nullptr) {
    for (const fb::ConcurrencyGroup* group : *message.concurrency_groups()) {
      creation.concurrency_groups.push_back({FromString(group->name()), group->max_concurrency()});
    }
  }
  return creation;
}

std::unique_ptr<fb::ActorCreationT> ToMessage(const ActorCreationSpec& creation) {
  auto message = std::make_unique<fb::ActorCreationT>();
  message->actor_id = IdBytes(creation.actor_id);
  message->max_restarts = creation.max_restarts;
  message->max_task_retries = creation.max_task_retries;
  message->max_concurrency = creation.max_concurrency;
  message->is_asyncio = creation.is_asyncio;
  message->is_detached = creation.is_detached;
  message->allow_out_of_order = creation.allow_out_of_order;
  message->name = creation.name;
  message->name_space = creation.name_space;
  message->class_name = creation.class_name;
  message->handle_state = ToBytes(creation.handle_state);
  for (const ConcurrencyGroup& group : creation.concurrency_groups) {
    auto entry = std::make_unique<fb::ConcurrencyGroupT>();
    entry->name = group.name;
    entry->max_concurrency = group.max_concurrency;
    message->concurrency_groups.push_back(std::move(entry));
  }
  return message;
}

}  // namespace

TaskSpec FromMessage(const fb::TaskSpec& message) {
  TaskSpec spec;
  spec.type = message.type() <= static_cast<uint8_t>(TaskType::kDriver)
                  ? static_cast<TaskType>(message.type())
                  : TaskType::kNormal;
  spec.job_id = JobId::FromBytes(message.job_id());
  spec.task_id = TaskId::FromBytes(message.task_id());
  spec.parent_task_id = TaskId::FromBytes(message.parent_task_id());
  spec.name = FromString(message.name());
  spec.function = FromMessage(message.function());
  spec.caller = FromMessage(message.caller());
  if (message.args() != nullptr) {
    spec.args.reserve(message.args()->size());
    for (const fb::TaskArg* arg : *message.args()) {
      spec.args.push_back(FromMessage(*arg));
    }
  }
  spec.num_returns = message.num_returns();
  spec.max_retries = message.max_retries();
  spec.retry_exceptions = message.retry_exceptions();
  spec.attempt = message.attempt();
  spec.depth = message.depth();
  spec.resources = FromMessage(message.resources());
  spec.placement_resources = FromMessage(message.placement_resources());
  spec.runtime_env = FromString(message.runtime_env());
  spec.strategy = FromMessage(message.strategy());
  if (message.creation() != nullptr) {
    spec.creation = FromMessage(*message.creation());
  }
  spec.actor_id = ActorId::FromBytes(message.actor_id());
  spec.sequence_number = message.sequence_number();
  spec.concurrency_group = FromString(message.concurrency_group());
  spec.retry_exception_types = std::string(BytesView(message.retry_exception_types()));
  return spec;
}

std::unique_ptr<fb::TaskSpecT> ToMessage(const TaskSpec& spec) {
  auto message = std::make_unique<fb::TaskSpecT>();
  message->type = static_cast<uint8_t>(spec.type);
  message->job_id = IdBytes(spec.job_id);
  message->task_id = IdBytes(spec.task_id);
  message->parent_task_id = IdBytes(spec.parent_task_id);
  message->name = spec.name;
  message->function = ToMessage(spec.function);
  message->caller = ToMessage(spec.caller);
  message->args.reserve(spec.args.size());
  for (const TaskArg& arg : spec.args) {
    message->args.push_back(ToMessage(arg));
  }
  message->num_returns = spec.num_returns;
  message->max_retries = spec.max_retries;
  message->retry_exceptions = spec.retry_exceptions;
  message->attempt = spec.attempt;
  message->depth = spec.depth;
  message->resources = ToMessage(spec.resources);
  message->placement_resources = ToMessage(spec.placement_resources);
  message->runtime_env = spec.runtime_env;
  message->strategy = ToMessage(spec.strategy);
  if (spec.creation) {
    message->creation = ToMessage(*spec.creation);
  }
  message->actor_id = IdBytes(spec.actor_id);
  message->sequence_number = spec.sequence_number;
  message->concurrency_group = spec.concurrency_group;
  message->retry_exception_types = ToBytes(spec.retry_exception_types);
  return message;
}

}  // namespace rayc::rpc
