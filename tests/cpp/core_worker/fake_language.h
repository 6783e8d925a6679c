// What stands for Python in the tests of CoreWorker: values are texts or lists of references, and
// tasks are named by their function. Runs in the worker's threads, several workers in one process.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core_worker/core_worker.h"
#include "core_worker/object_format.h"

namespace rayc::testing {

using core_worker::CoreWorker;
using core_worker::TaskExecution;
using core_worker::TaskOptions;
using core_worker::TaskResult;

inline constexpr char kRefsTag[] = "r";

inline ObjectValue TextValue(std::string_view text) { return {HeapBuffer::Copy(text), "b"}; }
inline std::string TextOf(const ObjectValue& value) {
  return value.data == nullptr ? "(null)" : std::string(value.data->View());
}

// One local reference, as the language's ObjectRef.
class Ref {
 public:
  Ref() = default;
  // Takes over a reference that is counted already.
  Ref(CoreWorker& core, const ObjectId& id) : core_(&core), id_(id) {}
  Ref(const Ref& other) : core_(other.core_), id_(other.id_) {
    if (core_ != nullptr) {
      core_->CopyLocalRef(id_);
    }
  }
  Ref(Ref&& other) noexcept : core_(std::exchange(other.core_, nullptr)), id_(other.id_) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(core_, other.core_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~Ref() {
    if (core_ != nullptr) {
      core_->RemoveLocalRef(id_);
    }
  }
  const ObjectId& id() const { return id_; }
  ObjectRefInfo info() const { return {id_, core_->OwnerOf(id_)}; }

 private:
  CoreWorker* core_ = nullptr;
  ObjectId id_;
};

inline std::vector<ObjectRefInfo> InfosOf(const std::vector<Ref>& refs) {
  std::vector<ObjectRefInfo> infos;
  for (const Ref& ref : refs) {
    infos.push_back(ref.info());
  }
  return infos;
}

inline ObjectValue RefsValue(const std::vector<ObjectRefInfo>& refs) {
  std::string bytes;
  for (const ObjectRefInfo& ref : refs) {
    bytes += ref.id.Binary();
    bytes += ref.owner.node_id.Binary();
    bytes += ref.owner.worker_id.Binary();
    bytes += static_cast<char>(ref.owner.socket.size());
    bytes += ref.owner.socket;
  }
  return {HeapBuffer::Copy(bytes), kRefsTag};
}

class HoldingBuffer final : public Buffer {
 public:
  HoldingBuffer(std::shared_ptr<Buffer> bytes, std::vector<Ref> refs)
      : bytes_(std::move(bytes)), refs_(std::move(refs)) {
    data_ = bytes_->data();
    size_ = bytes_->size();
  }

 private:
  const std::shared_ptr<Buffer> bytes_;
  const std::vector<Ref> refs_;
};

// "Unpickles" the references of a value. `source`: the object whose value it is, or nil.
inline std::vector<Ref> ReadRefs(CoreWorker& core, const ObjectValue& value,
                                 const ObjectId& source) {
  std::vector<Ref> refs;
  std::string_view bytes = value.data->View();
  const auto take = [&bytes](size_t size) {
    const std::string_view taken = bytes.substr(0, size);
    bytes.remove_prefix(size);
    return taken;
  };
  while (value.metadata == kRefsTag && !bytes.empty()) {
    ObjectRefInfo ref;
    ref.id = ObjectId::FromBinary(take(ObjectId::kSize));
    ref.owner.node_id = NodeId::FromBinary(take(NodeId::kSize));
    ref.owner.worker_id = WorkerId::FromBinary(take(WorkerId::kSize));
    ref.owner.socket = std::string(take(static_cast<unsigned char>(take(1)[0])));
    core.AddLocalRef(ref, source);
    refs.emplace_back(core, ref.id);
  }
  return refs;
}

inline Ref PutText(CoreWorker& core, const std::string& text) {
  const ObjectId id = core.NextPutId();
  core.Put(id, TextValue(text), text.size(), {});
  return {core, id};
}

inline Ref PutRefs(CoreWorker& core, const std::vector<Ref>& refs) {
  const ObjectId id = core.NextPutId();
  const ObjectValue value = RefsValue(InfosOf(refs));
  core.Put(id, value, value.data->size(), InfosOf(refs));
  return {core, id};
}

inline Status WriteInPlasma(CoreWorker& core, const ObjectId& id, size_t size,
                            const WorkerId& owner) {
  const auto room = core.CreateInPlasma(id, size, "b", owner);
  if (!room) {
    return room.error().code() == StatusCode::kAlreadyExists ? Status::Ok() : room.error();
  }
  std::memset(room->data, 'x', size);
  return core.SealInPlasma(id);
}

inline Result<Ref> PutLarge(CoreWorker& core, size_t size) {
  const ObjectId id = core.NextPutId();
  if (const Status status = WriteInPlasma(core, id, size, core.self().worker_id); !status.ok()) {
    return Err(status);
  }
  core.Put(id, {}, size, {});
  return Ref(core, id);
}

// The value, or the error that it stands for: "E" and its metadata.
inline ObjectValue GetValue(CoreWorker& core, const ObjectId& id, int64_t timeout_ms = -1) {
  std::vector<ObjectValue> values;
  const Status status = core.Get({id}, timeout_ms, &values);
  return status.ok() ? values[0] : core_worker::MakeErrorValue(status);
}
inline std::string GetText(CoreWorker& core, const ObjectId& id, int64_t timeout_ms = -1) {
  const ObjectValue value = GetValue(core, id, timeout_ms);
  return core_worker::IsErrorMetadata(value.metadata) ? "E" + value.metadata : TextOf(value);
}
inline std::string GetText(CoreWorker& core, const Ref& ref, int64_t timeout_ms = -1) {
  return GetText(core, ref.id(), timeout_ms);
}

// ---- arguments and submission ----

inline TaskArg TextArg(const std::string& text) {
  TaskArg arg;
  arg.value = TextValue(text);
  return arg;
}
inline TaskArg RefArg(const Ref& ref) {
  TaskArg arg;
  arg.object_id = ref.id();
  return arg;
}
inline TaskArg HoldingArg(const std::vector<Ref>& refs) {
  TaskArg arg;
  arg.nested = InfosOf(refs);
  arg.value = RefsValue(arg.nested);
  return arg;
}

inline TaskOptions OptionsFor(const std::string& name, uint32_t num_returns = 1) {
  TaskOptions options;
  options.function.function_name = name;
  options.name = name;
  options.num_returns = num_returns;
  options.resources.Set("CPU", ToFixedPoint(1));
  options.placement_resources = options.resources;
  options.Seal();
  return options;
}

inline std::vector<Ref> SubmitMany(CoreWorker& core, const TaskOptions& options,
                                   std::vector<TaskArg> args) {
  std::vector<ObjectId> returns;
  const Status status = core.SubmitTask(options, std::move(args), &returns);
  std::vector<Ref> refs;
  for (const ObjectId& id : returns) {
    refs.emplace_back(core, id);
  }
  if (!status.ok()) {
    throw std::runtime_error(status.ToString());
  }
  return refs;
}
inline Ref Submit(CoreWorker& core, const std::string& name, std::vector<TaskArg> args = {},
                  int32_t max_retries = 0) {
  TaskOptions options = OptionsFor(name);
  options.max_retries = max_retries;
  return SubmitMany(core, options, std::move(args))[0];
}
inline Ref Call(CoreWorker& core, const ActorId& actor, const std::string& name,
                std::vector<TaskArg> args = {}, int32_t retries = 0) {
  std::vector<ObjectId> returns;
  const Status status =
      core.SubmitActorTask(actor, OptionsFor(name), std::move(args), retries, &returns);
  if (!status.ok()) {
    throw std::runtime_error(status.ToString());
  }
  return {core, returns[0]};
}

// ---- execution ----

class FakeLanguage {
 public:
  // Set by each worker's main thread.
  static inline thread_local CoreWorker* current = nullptr;
  static inline std::atomic<int> executed{0};

  static core_worker::LanguageBridge Bridge() {
    core_worker::LanguageBridge bridge;
    bridge.execute_task = &Execute;
    return bridge;
  }

 private:
  // The event loop of an asyncio actor. Calls of "hold" last until one of "release", or are
  // cancelled.
  class EventLoop {
   public:
    explicit EventLoop(CoreWorker& core) : core_(core), thread_([this] { Run(); }) {}
    // The doorbell stays open: the core worker may ring as long as it lives.
    ~EventLoop() {
      stopping_ = true;
      const uint64_t one = 1;
      static_cast<void>(!write(doorbell_fd_, &one, sizeof(one)));
      thread_.join();
    }
    int doorbell_fd() const { return doorbell_fd_; }

   private:
    void Run() {
      uint64_t rings = 0;
      while (read(doorbell_fd_, &rings, sizeof(rings)) == sizeof(rings) && !stopping_) {
        TaskExecution execution;
        std::shared_ptr<core_worker::TaskContext> context;
        while (core_.TakeAsyncCall(&execution, &context)) {
          const std::string& name = execution.spec->function.function_name;
          if (name == "hold") {
            held_.insert(execution.spec->task_id);
            continue;
          }
          TaskResult result;
          Execute(execution, &result);
          core_.FinishAsyncCall(execution.spec->task_id, &result);
          if (name == "release") {
            for (const TaskId& id : std::exchange(held_, {})) {
              Finish(id, TextValue("released"));
            }
          }
        }
        for (const TaskId& id : core_.TakeCancelled()) {
          if (held_.erase(id) > 0) {
            Finish(id, core_worker::MakeErrorValue({StatusCode::kCancelled, "cancelled"}));
          }
        }
      }
    }
    void Finish(const TaskId& id, ObjectValue value) {
      TaskResult result;
      Return(&result, std::move(value));
      core_.FinishAsyncCall(id, &result);
    }

    CoreWorker& core_;
    const int doorbell_fd_ = eventfd(0, EFD_CLOEXEC);
    std::atomic<bool> stopping_{false};
    std::set<TaskId> held_;
    std::thread thread_;  // last: it uses the rest
  };

  // Of the actor that lives in a worker.
  struct Actor {
    CoreWorker* core;
    std::mutex mutex;
    std::vector<Ref> kept;
    int64_t count = 0;
    std::unique_ptr<EventLoop> loop;  // of an asyncio actor
  };
  static inline std::mutex actors_mutex;
  static inline std::map<WorkerId, std::shared_ptr<Actor>> actors;
  static inline std::map<ActorId, WorkerId> places;
  static inline std::set<std::string> crashed;

  static std::shared_ptr<Actor> ActorOf(const ActorId& id) {
    const std::lock_guard<std::mutex> lock(actors_mutex);
    const auto place = places.find(id);
    return place == places.end() ? nullptr : actors[place->second];
  }

 public:
  // What the actor of a worker holds must go before its core worker does.
  static void Forget(CoreWorker& core) {
    std::shared_ptr<Actor> gone;
    const std::lock_guard<std::mutex> lock(actors_mutex);
    const auto it = actors.find(core.self().worker_id);
    if (it != actors.end()) {
      gone = std::move(it->second);
      actors.erase(it);
    }
  }

 private:
  static void Return(TaskResult* result, ObjectValue value,
                     const std::vector<ObjectRefInfo>& nested = {}) {
    result->returns.resize(1);
    result->returns[0].size = value.data->size();
    result->returns[0].value = std::move(value);
    result->returns[0].nested = nested;
  }
  static void ReturnText(TaskResult* result, const std::string& text) {
    Return(result, TextValue(text));
  }
  // The language's own references are gone before the reply is made: the bytes hold some, too.
  static void ReturnRefs(CoreWorker& core, TaskResult* result, const std::vector<Ref>& refs) {
    ObjectValue value = RefsValue(InfosOf(refs));
    value.data = std::make_shared<HoldingBuffer>(std::move(value.data), refs);
    Return(result, std::move(value), InfosOf(refs));
  }

  static void Execute(const TaskExecution& execution, TaskResult* result) {
    executed.fetch_add(1);
    const TaskSpec& spec = *execution.spec;
    for (const ObjectValue& arg : execution.args) {
      if (core_worker::IsErrorMetadata(arg.metadata)) {
        result->is_application_error = true;
        result->returns.resize(spec.num_returns);
        for (auto& item : result->returns) {
          item.value = arg;
        }
        return;
      }
    }
    if (spec.type == TaskType::kActor) {
      const std::shared_ptr<Actor> actor = ActorOf(spec.actor_id);
      if (actor == nullptr) {
        result->system_error = Status::Internal("the actor is not here");
        return;
      }
      RunMethod(*actor, execution, result);
      return;
    }
    if (spec.type == TaskType::kActorCreation) {
      Create(execution, result);
      return;
    }
    Run(*current, execution, result);
  }

  static std::string Text(const TaskExecution& execution, size_t index) {
    return index < execution.args.size() ? TextOf(execution.args[index]) : "";
  }
  static std::vector<Ref> Refs(CoreWorker& core, const TaskExecution& execution, size_t index) {
    return ReadRefs(core, execution.args[index], execution.spec->args[index].object_id);
  }
  static void Sleep(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
  static void Fail(const TaskSpec& spec, TaskResult* result) {
    result->is_application_error = true;
    result->returns.resize(spec.num_returns);
    for (auto& item : result->returns) {
      item.value = {HeapBuffer::Copy("raised by " + spec.name), "t"};
    }
  }
  static void Leave(TaskResult* result) {
    ReturnText(result, "bye");
    result->worker_exiting = true;
    result->exit_detail = "it wanted to";
  }

  static void Create(const TaskExecution& execution, TaskResult* result) {
    const TaskSpec& spec = *execution.spec;
    if (spec.function.function_name == "BadActor") {
      Fail(spec, result);
      return;
    }
    if (spec.function.function_name == "DyingActor") {
      current->Shutdown();
      return;
    }
    auto actor = std::make_shared<Actor>();
    actor->core = current;
    if (!execution.args.empty() && execution.args[0].metadata == kRefsTag) {
      actor->kept = Refs(*current, execution, 0);
    }
    if (spec.creation->is_asyncio) {
      actor->loop = std::make_unique<EventLoop>(*current);
      result->doorbell_fd = actor->loop->doorbell_fd();
    }
    {
      const std::lock_guard<std::mutex> lock(actors_mutex);
      actors[current->self().worker_id] = actor;
      places[spec.creation->actor_id] = current->self().worker_id;
    }
    ReturnText(result, "");
  }

  static void RunMethod(Actor& actor, const TaskExecution& execution, TaskResult* result) {
    const std::string& name = execution.spec->function.function_name;
    CoreWorker& core = *actor.core;
    if (name == "release") {
      ReturnText(result, "");
    } else if (name == "count") {
      const std::lock_guard<std::mutex> lock(actor.mutex);
      ReturnText(result, std::to_string(++actor.count));
    } else if (name == "keep") {
      std::vector<Ref> refs = Refs(core, execution, 0);
      const std::lock_guard<std::mutex> lock(actor.mutex);
      for (Ref& ref : refs) {
        actor.kept.push_back(std::move(ref));
      }
      ReturnText(result, "kept");
    } else if (name == "read_kept") {
      std::string text;
      for (const Ref& ref : actor.kept) {
        text += GetText(core, ref);
      }
      ReturnText(result, text);
    } else if (name == "return_kept") {
      ReturnRefs(core, result, actor.kept);
    } else if (name == "drop") {
      std::vector<Ref> dropped;
      const std::lock_guard<std::mutex> lock(actor.mutex);
      dropped.swap(actor.kept);
      ReturnText(result, "dropped");
    } else {
      Run(core, execution, result);
    }
  }

  static void Run(CoreWorker& core, const TaskExecution& execution, TaskResult* result) {
    const TaskSpec& spec = *execution.spec;
    const std::string& name = spec.function.function_name;
    if (name == "echo") {
      ReturnText(result, Text(execution, 0));
    } else if (name == "many") {
      for (uint32_t i = 0; i < spec.num_returns; ++i) {
        result->returns.push_back({TextValue(std::to_string(i)), false, 0, {}});
      }
    } else if (name == "wide") {  // small enough to travel in the message, all together large
      for (uint32_t i = 0; i < spec.num_returns; ++i) {
        result->returns.push_back({TextValue(std::string(90'000, 'w')), false, 0, {}});
      }
      result->worker_exiting = Text(execution, 0) == "exit";
    } else if (name == "fail") {
      Fail(spec, result);
    } else if (name == "large") {
      const size_t size = std::stoul(Text(execution, 0));
      result->system_error = WriteInPlasma(core, spec.ReturnId(0), size, spec.caller.worker_id);
      result->returns.resize(1);
      result->returns[0].in_plasma = true;
      result->returns[0].size = size;
    } else if (name == "length") {
      ReturnText(result, std::to_string(Text(execution, 0).size()));
    } else if (name == "sleep") {
      Sleep(std::stol(Text(execution, 0)));
      ReturnText(result, "slept");
    } else if (name == "recurse") {  // each level waits for the next
      const int left = std::stoi(Text(execution, 0));
      if (left == 0) {
        ReturnText(result, "0");
        return;
      }
      const std::string below =
          GetText(core, Submit(core, "recurse", {TextArg(std::to_string(left - 1))}));
      ReturnText(result, below[0] == 'E' ? below : std::to_string(std::stoi(below) + 1));
    } else if (name == "ref") {  // a reference to a new object of the worker's
      ReturnRefs(core, result, {PutText(core, Text(execution, 0))});
    } else if (name == "large_ref") {
      ReturnRefs(core, result, {*PutLarge(core, std::stoul(Text(execution, 0)))});
    } else if (name == "task_ref") {  // a reference to what another task returns
      ReturnRefs(core, result, {Submit(core, "echo", {TextArg(Text(execution, 0))})});
    } else if (name == "pass") {  // the references of the argument
      ReturnRefs(core, result, Refs(core, execution, 0));
    } else if (name == "pass_later") {  // the same, through a task of its own
      ReturnRefs(core, result, {Submit(core, "pass", {HoldingArg(Refs(core, execution, 0))})});
    } else if (name == "wrap") {  // a reference to a value that holds the argument's references
      ReturnRefs(core, result, {PutRefs(core, Refs(core, execution, 0))});
    } else if (name == "read") {
      std::string text;
      for (const Ref& ref : Refs(core, execution, 0)) {
        text += GetText(core, ref);
      }
      ReturnText(result, text);
    } else if (name == "crash") {
      core.Shutdown();
    } else if (name == "crash_once") {
      bool first = false;
      {
        const std::lock_guard<std::mutex> lock(actors_mutex);
        first = crashed.insert(Text(execution, 0)).second;
      }
      if (first) {
        core.Shutdown();
      } else {
        ReturnText(result, "survived");
      }
    } else if (name == "exit") {
      Leave(result);
    } else if (name == "print") {
      result->printed = true;
      ReturnText(result, "printed");
    } else if (name == "print_and_exit") {
      result->printed = true;
      Leave(result);
    } else {
      result->system_error = Status::InvalidArgument("no function " + name);
    }
  }
};

}  // namespace rayc::testing
