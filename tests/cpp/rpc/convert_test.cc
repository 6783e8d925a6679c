#include "rpc/convert.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "rpc/message.h"

namespace rayc::rpc {
namespace {

Address MakeAddress(const std::string& socket) {
  return {NodeId::FromRandom(), WorkerId::FromRandom(), socket};
}

// What a native table says once it has been written and read again.
template <typename Table, typename Native>
struct Travelled {
  explicit Travelled(const Native& native) : payload(Payload::Of(native)) {
    table = Message{payload.data(), payload.size()}.As<Table>();
  }
  Payload payload;
  const Table* table;
};

TaskSpec MakeSpec() {
  TaskSpec spec;
  spec.type = TaskType::kActorCreation;
  spec.job_id = JobId::FromInt(3);
  const ActorId actor = ActorId::Of(spec.job_id);
  spec.task_id = TaskId::ForActorCreation(actor);
  spec.parent_task_id = TaskId::ForDriver(spec.job_id);
  spec.name = "Counter.__init__";
  spec.function = {"module", "Counter", "__init__", "hash"};
  spec.caller = MakeAddress("/tmp/caller");
  TaskArg ref;
  ref.object_id = ObjectId::ForPut(spec.parent_task_id, 1);
  ref.owner = MakeAddress("/tmp/owner");
  TaskArg value;
  value.value.data = HeapBuffer::Copy(std::string("\0binary", 7));
  value.value.metadata = "pickle5";
  value.nested.push_back({ObjectId::ForPut(spec.parent_task_id, 2), MakeAddress("/tmp/nested")});
  spec.args = {ref, value};
  spec.num_returns = 2;
  spec.max_retries = -1;
  spec.retry_exceptions = true;
  spec.attempt = 4;
  spec.depth = 5;
  spec.resources = ResourceSet({{"CPU", 10'000}, {"x", 1}});
  spec.placement_resources = ResourceSet({{"CPU", 20'000}});
  spec.runtime_env = R"({"env_vars":{}})";
  spec.creation = ActorCreationSpec{actor,
                                    -1,
                                    2,
                                    7,
                                    true,
                                    true,
                                    true,
                                    "me",
                                    "my_space",
                                    "Counter",
                                    std::string("\0state", 6),
                                    {{"io", 3}, {"compute", 1}}};
  spec.actor_id = actor;
  spec.sequence_number = uint64_t{1} << 40;
  spec.concurrency_group = "io";
  return spec;
}

TEST(ConvertTest, ATaskSpecificationComesBackWhole) {
  const TaskSpec spec = MakeSpec();
  const Travelled<fb::TaskSpec, fb::TaskSpecT> there(*ToMessage(spec));
  ASSERT_NE(there.table, nullptr);
  const TaskSpec back = FromMessage(*there.table);
  EXPECT_EQ(back.type, spec.type);
  EXPECT_EQ(back.job_id, spec.job_id);
  EXPECT_EQ(back.task_id, spec.task_id);
  EXPECT_EQ(back.parent_task_id, spec.parent_task_id);
  EXPECT_EQ(back.name, spec.name);
  EXPECT_EQ(back.function, spec.function);
  EXPECT_EQ(back.caller, spec.caller);
  EXPECT_EQ(back.caller.node_id, spec.caller.node_id);
  EXPECT_EQ(back.caller.socket, spec.caller.socket);
  ASSERT_EQ(back.args.size(), 2U);
  EXPECT_TRUE(back.args[0].IsRef());
  EXPECT_EQ(back.args[0].object_id, spec.args[0].object_id);
  EXPECT_EQ(back.args[0].owner, spec.args[0].owner);
  EXPECT_FALSE(back.args[1].IsRef());
  EXPECT_EQ(back.args[1].value.data->View(), spec.args[1].value.data->View());
  EXPECT_EQ(back.args[1].value.metadata, "pickle5");
  ASSERT_EQ(back.args[1].nested.size(), 1U);
  EXPECT_EQ(back.args[1].nested[0].id, spec.args[1].nested[0].id);
  EXPECT_EQ(back.num_returns, 2U);
  EXPECT_EQ(back.max_retries, -1);
  EXPECT_TRUE(back.retry_exceptions);
  EXPECT_EQ(back.attempt, 4U);
  EXPECT_EQ(back.depth, 5U);
  EXPECT_EQ(back.resources, spec.resources);
  EXPECT_EQ(back.placement_resources, spec.placement_resources);
  EXPECT_EQ(back.runtime_env, spec.runtime_env);
  EXPECT_EQ(back.actor_id, spec.actor_id);
  EXPECT_EQ(back.sequence_number, spec.sequence_number);
  EXPECT_EQ(back.concurrency_group, "io");
  EXPECT_EQ(back.SchedulingKey(), spec.SchedulingKey());
}

TEST(ConvertTest, AnActorsCreationComesBackWhole) {
  const TaskSpec spec = MakeSpec();
  const Travelled<fb::TaskSpec, fb::TaskSpecT> there(*ToMessage(spec));
  const TaskSpec back = FromMessage(*there.table);
  ASSERT_TRUE(back.creation);
  EXPECT_EQ(back.creation->actor_id, spec.creation->actor_id);
  EXPECT_EQ(back.creation->max_restarts, -1);
  EXPECT_EQ(back.creation->max_task_retries, 2);
  EXPECT_EQ(back.creation->max_concurrency, 7);
  EXPECT_TRUE(back.creation->is_asyncio);
  EXPECT_TRUE(back.creation->is_detached);
  EXPECT_TRUE(back.creation->allow_out_of_order);
  EXPECT_EQ(back.creation->name, "me");
  EXPECT_EQ(back.creation->name_space, "my_space");
  EXPECT_EQ(back.creation->class_name, "Counter");
  EXPECT_EQ(back.creation->handle_state, spec.creation->handle_state);
  ASSERT_EQ(back.creation->concurrency_groups.size(), 2U);
  EXPECT_EQ(back.creation->concurrency_groups[0].name, "io");
  EXPECT_EQ(back.creation->concurrency_groups[0].max_concurrency, 3);
  EXPECT_EQ(back.creation->concurrency_groups[1].name, "compute");
}

TEST(ConvertTest, AFunctionDescriptorComesBackEqual) {
  const FunctionDescriptor descriptor = {"a.b", "", "f", "0123"};
  const Travelled<fb::FunctionDescriptor, fb::FunctionDescriptorT> there(*ToMessage(descriptor));
  EXPECT_EQ(FromMessage(there.table), descriptor);
  EXPECT_EQ(FromMessage(static_cast<const fb::FunctionDescriptor*>(nullptr)), FunctionDescriptor());
}

TEST(ConvertTest, AnEmptyMessageIsADefaultTask) {
  const Travelled<fb::TaskSpec, fb::TaskSpecT> there{fb::TaskSpecT()};
  ASSERT_NE(there.table, nullptr);
  const TaskSpec spec = FromMessage(*there.table);
  EXPECT_TRUE(spec.task_id.IsNil());
  EXPECT_TRUE(spec.caller.IsNil());
  EXPECT_TRUE(spec.args.empty());
  EXPECT_FALSE(spec.creation);
}

TEST(ConvertTest, WhatAPeerMakesUpIsBounded) {
  fb::TaskSpecT native;
  native.type = 200;
  native.task_id = {1, 2, 3};
  for (int i = 0; i < 2; ++i) {
    native.resources.push_back(std::make_unique<fb::ResourceT>());
    native.resources.back()->name = i == 0 ? "big" : "small";
    native.resources.back()->amount = i == 0 ? INT64_MAX : INT64_MIN;
  }
  const Travelled<fb::TaskSpec, fb::TaskSpecT> there(native);
  const TaskSpec spec = FromMessage(*there.table);
  EXPECT_EQ(spec.type, TaskType::kNormal);
  EXPECT_TRUE(spec.task_id.IsNil());
  ResourceSet sum = spec.resources;
  sum.Add(spec.resources);       // overflows nothing
  sum.Subtract(spec.resources);  // likewise
  EXPECT_GT(sum.Get("big"), 0);
  EXPECT_LT(sum.Get("small"), 0);
}

TEST(ConvertTest, StatusesTravelAndUnknownOnesAreInternal) {
  const Status status(StatusCode::kUnschedulable, "GPU: 1 asked, 0 there");
  const Travelled<fb::StatusMessage, fb::StatusMessageT> there(ToMessage(status));
  EXPECT_EQ(FromMessage(there.table).ToString(), status.ToString());
  fb::StatusMessageT unknown;
  unknown.code = 250;
  const Travelled<fb::StatusMessage, fb::StatusMessageT> other(unknown);
  EXPECT_EQ(FromMessage(other.table).code(), StatusCode::kInternal);
  EXPECT_EQ(FromMessage(static_cast<const fb::StatusMessage*>(nullptr)).code(),
            StatusCode::kInternal);
}

}  // namespace
}  // namespace rayc::rpc
