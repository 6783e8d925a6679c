// Several CoreWorkers, the GCS and the store together, in one process: see fake_cluster.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core_worker/fake_cluster.h"
#include "fakes/fuzz.h"

namespace rayc::core_worker {
namespace {

using rayc::testing::Call;
using rayc::testing::Eventually;
using rayc::testing::FakeCluster;
using rayc::testing::FakeLanguage;
using rayc::testing::GetText;
using rayc::testing::GetValue;
using rayc::testing::HoldingArg;
using rayc::testing::OptionsFor;
using rayc::testing::PutLarge;
using rayc::testing::PutRefs;
using rayc::testing::PutText;
using rayc::testing::ReadRefs;
using rayc::testing::Ref;
using rayc::testing::RefArg;
using rayc::testing::Submit;
using rayc::testing::SubmitMany;
using rayc::testing::TextArg;
using rayc::testing::TextOf;
using ::testing::HasSubstr;

std::string Error(StatusCode code, char kind = kSystemErrorTag) {
  return std::string("E") + kind + std::to_string(static_cast<int>(code));
}

int64_t NowMs() { return SteadyClock().NowMs(); }

class ClusterTest : public ::testing::Test {
 protected:
  // An actor, and the reference that stands for its handle.
  struct Handle {
    ActorId id;
    Ref ref;
  };
  static Result<Handle> TryCreate(CoreWorker& core, const std::string& cls,
                                  ActorCreationSpec creation = {}, std::vector<TaskArg> args = {}) {
    ObjectId handle;
    creation.class_name = cls;
    const Status status = core.CreateActor(OptionsFor(cls), creation, std::move(args), &handle);
    if (!status.ok()) {
      return Err(status);
    }
    return Handle{handle.Task().Actor(), Ref(core, handle)};
  }
  static Handle Create(CoreWorker& core, const std::string& cls = "Actor",
                       ActorCreationSpec creation = {}, std::vector<TaskArg> args = {}) {
    return *TryCreate(core, cls, std::move(creation), std::move(args));
  }

  void Start(int slots = 2) {
    cluster_ = std::make_unique<FakeCluster>(slots);
    driver_ = cluster_->NewDriver();
  }
  CoreWorker& driver() { return *driver_; }

  // Nothing is held any more, anywhere.
  void ExpectAllGone() {
    EXPECT_TRUE(Eventually([&] {
      const CoreWorker::Counts own = driver_->CountEntries();
      const CoreWorker::Counts workers = cluster_->WorkerCounts();
      return own.references + own.objects + own.awaited_objects + own.pending_tasks + own.actors +
                 workers.references + workers.objects + workers.awaited_objects +
                 workers.pending_tasks + workers.actors + cluster_->NumObjects() ==
             0;
    })) << "driver: "
        << Describe(driver_->CountEntries()) << "\nworkers: " << Describe(cluster_->WorkerCounts())
        << "\n"
        << cluster_->StoreContents();
  }
  static std::string Describe(const CoreWorker::Counts& counts) {
    return std::to_string(counts.references) + " references, " + std::to_string(counts.objects) +
           " objects, " + std::to_string(counts.awaited_objects) + " awaited, " +
           std::to_string(counts.pending_tasks) + " tasks, " + std::to_string(counts.actors) +
           " actors";
  }

  std::unique_ptr<FakeCluster> cluster_;
  std::unique_ptr<CoreWorker> driver_;  // goes first
};

// ---- tasks -----------------------------------------------------------------------------------

TEST_F(ClusterTest, TaskRoundTrip) {
  Start();
  EXPECT_EQ(GetText(driver(), Submit(driver(), "echo", {TextArg("hello")})), "hello");
  const std::vector<Ref> refs = SubmitMany(driver(), OptionsFor("many", 3), {});
  EXPECT_EQ(GetText(driver(), refs[2]), "2");
  EXPECT_EQ(GetText(driver(), Submit(driver(), "fail")), "Et");
  EXPECT_EQ(GetText(driver(), Submit(driver(), "no such function")),
            Error(StatusCode::kInvalidArgument));
}

TEST_F(ClusterTest, ReferencesAndPlasmaAreEmptyInTheEnd) {
  Start();
  {
    const Ref small = Submit(driver(), "echo", {TextArg("x")});
    const Ref large = Submit(driver(), "large", {TextArg("1000000")});
    EXPECT_EQ(GetText(driver(), large).size(), 1'000'000U);
    EXPECT_EQ(GetText(driver(), Submit(driver(), "length", {RefArg(large)})), "1000000");
    const Ref put = *PutLarge(driver(), 2'000'000);
    EXPECT_EQ(GetText(driver(), Submit(driver(), "length", {RefArg(put)})), "2000000");
    Submit(driver(), "large", {TextArg("500000")});  // dropped before it is there
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, TenThousandPipelinedTasks) {
  Start();
  {
    std::vector<Ref> refs;
    std::vector<ObjectId> ids;
    for (int i = 0; i < 10'000; ++i) {
      refs.push_back(Submit(driver(), "echo", {TextArg(std::to_string(i))}));
      ids.push_back(refs.back().id());
    }
    std::vector<ObjectValue> values;
    ASSERT_TRUE(driver().Get(ids, 60'000, &values).ok());
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_EQ(TextOf(values[static_cast<size_t>(i)]), std::to_string(i));
    }
  }
  ExpectAllGone();
  EXPECT_LE(cluster_->NumWorkers(), 2U);
}

TEST_F(ClusterTest, ImpossibleTaskFailsAtOnce) {
  Start();
  TaskOptions options = OptionsFor("echo");
  options.resources.Set("impossible", 1);
  options.Seal();
  EXPECT_EQ(GetText(driver(), SubmitMany(driver(), options, {})[0]),
            Error(StatusCode::kUnschedulable));
}

TEST_F(ClusterTest, PrintingTasksFlushTheirLogsFirst) {
  Start();
  EXPECT_EQ(GetText(driver(), Submit(driver(), "print")), "printed");
  EXPECT_TRUE(driver().TakePrinted());
  driver().Poll();
  std::vector<LogLine> lines;
  ASSERT_TRUE(driver().TakeLogs(0, &lines).ok());
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].text, "a line");
}

// ---- dependencies ----------------------------------------------------------------------------

TEST_F(ClusterTest, TasksWaitForTheirArguments) {
  Start();
  {
    Ref last = Submit(driver(), "sleep", {TextArg("20")});
    for (int i = 0; i < 20; ++i) {
      last = Submit(driver(), "echo", {RefArg(last)});
    }
    EXPECT_EQ(GetText(driver(), last), "slept");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ErrorsPassThroughTasksThatDependOnThem) {
  Start();
  {
    const Ref failed = Submit(driver(), "fail");
    const Ref dependent = Submit(driver(), "echo", {RefArg(failed)});
    EXPECT_EQ(GetText(driver(), Submit(driver(), "echo", {RefArg(dependent)})), "Et");
    EXPECT_EQ(GetText(driver(), Submit(driver(), "echo", {RefArg(failed)})), "Et") << "ready now";
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, UnknownArgumentsAreRefused) {
  Start();
  TaskArg arg;
  arg.object_id = ObjectId::ForPut(TaskId::ForDriver(driver().job_id()), 77);
  std::vector<ObjectId> returns;
  EXPECT_EQ(driver().SubmitTask(OptionsFor("echo"), {arg}, &returns).code(),
            StatusCode::kInvalidArgument);
  std::vector<ObjectValue> values;
  EXPECT_EQ(driver().Get({arg.object_id}, -1, &values).code(), StatusCode::kInvalidArgument);
}

// Large arguments that are not in plasma: more than is put into one message.
TEST_F(ClusterTest, ManyInlinedArgumentsAreFetchedFromTheirOwner) {
  Start();
  {
    const std::string text(90'000, 'a');
    std::vector<Ref> refs;
    std::vector<TaskArg> args;
    for (int i = 0; i < 130; ++i) {
      refs.push_back(PutText(driver(), text));
      args.push_back(RefArg(refs.back()));
    }
    EXPECT_EQ(GetText(driver(), Submit(driver(), "length", std::move(args))), "90000");
  }
  ExpectAllGone();
}

// ---- get and wait ----------------------------------------------------------------------------

TEST_F(ClusterTest, GetWithTimeout) {
  Start();
  const Ref slow = Submit(driver(), "sleep", {TextArg("200")});
  EXPECT_EQ(GetText(driver(), slow, 0), Error(StatusCode::kTimedOut));
  EXPECT_EQ(GetText(driver(), slow, 20), Error(StatusCode::kTimedOut));
  EXPECT_EQ(GetText(driver(), slow), "slept");
  EXPECT_EQ(GetText(driver(), slow, 0), "slept");
}

TEST_F(ClusterTest, GetEndsEarlyWithAnError) {
  Start();
  const Ref slow = Submit(driver(), "sleep", {TextArg("500")});
  const Ref failed = Submit(driver(), "fail");
  std::vector<ObjectValue> values;
  ASSERT_TRUE(driver().Get({slow.id(), failed.id()}, -1, &values).ok());
  EXPECT_EQ(values[0].data, nullptr);
  EXPECT_EQ(values[1].metadata, "t");
}

TEST_F(ClusterTest, WaitTellsWhatIsReady) {
  Start();
  const Ref slow = Submit(driver(), "sleep", {TextArg("300")});
  const Ref quick = Submit(driver(), "echo");
  std::vector<bool> ready;
  ASSERT_TRUE(driver().Wait({slow.id(), quick.id()}, 1, -1, &ready).ok());
  EXPECT_EQ(ready, (std::vector<bool>{false, true}));
  ASSERT_TRUE(driver().Wait({slow.id(), quick.id()}, 2, 10, &ready).ok());
  EXPECT_EQ(ready, (std::vector<bool>{false, true}));
  ASSERT_TRUE(driver().Wait({slow.id(), quick.id()}, 2, -1, &ready).ok());
  EXPECT_EQ(ready, (std::vector<bool>{true, true}));
  std::atomic<int> called{0};
  ASSERT_TRUE(driver().WhenReady(slow.id(), [&] { called += 1; }).ok());
  const Ref later = Submit(driver(), "sleep", {TextArg("10")});
  ASSERT_TRUE(driver().WhenReady(later.id(), [&] { called += 1; }).ok());
  EXPECT_TRUE(Eventually([&] { return called == 2; }));
}

TEST_F(ClusterTest, ManyThreadsGetAtOnce) {
  Start();
  {
    const Ref shared = Submit(driver(), "sleep", {TextArg("30")});
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 100; ++i) {
          const std::string text = std::to_string(t) + "/" + std::to_string(i);
          ASSERT_EQ(GetText(driver(), Submit(driver(), "echo", {TextArg(text)})), text);
        }
        ASSERT_EQ(GetText(driver(), shared), "slept");
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, WhoWaitsForAnObjectThatIsFreedIsTold) {
  Start();
  auto slow = std::make_unique<Ref>(Submit(driver(), "sleep", {TextArg("1000")}));
  const ObjectId id = slow->id();
  std::thread freeing([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    slow.reset();
  });
  EXPECT_EQ(GetText(driver(), id), Error(StatusCode::kObjectLost));
  freeing.join();
}

// ---- references in values --------------------------------------------------------------------

TEST_F(ClusterTest, ReferencesInsideArguments) {
  Start();
  {
    const Ref inner = PutText(driver(), "inner");
    const Ref outer = PutRefs(driver(), {inner});
    const Ref pending = Submit(driver(), "sleep", {TextArg("30")});
    EXPECT_EQ(GetText(driver(), Submit(driver(), "read", {HoldingArg({inner, inner})})),
              "innerinner");
    EXPECT_EQ(GetText(driver(), Submit(driver(), "read", {RefArg(outer)})), "inner");
    EXPECT_EQ(GetText(driver(), Submit(driver(), "read", {HoldingArg({pending})})), "slept");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ArgumentsKeepWhatTheyHoldWhenTheCallerLetsGo) {
  Start();
  Ref result;
  {
    const Ref inner = PutText(driver(), "inner");
    const Ref gate = Submit(driver(), "sleep", {TextArg("50")});
    result = Submit(driver(), "read", {HoldingArg({inner}), RefArg(gate)});
  }
  EXPECT_EQ(GetText(driver(), result), "inner");
  result = {};
  ExpectAllGone();
}

TEST_F(ClusterTest, ReferencesInsideResults) {
  Start();
  {
    for (const char* name : {"ref", "task_ref"}) {
      const Ref outer = Submit(driver(), name, {TextArg("made there")});
      const std::vector<Ref> inner = ReadRefs(driver(), GetValue(driver(), outer.id()), outer.id());
      ASSERT_EQ(inner.size(), 1U);
      EXPECT_EQ(GetText(driver(), inner[0]), "made there") << name;
      EXPECT_EQ(GetText(driver(), Submit(driver(), "read", {RefArg(outer)})), "made there");
    }
    const Ref outer = Submit(driver(), "large_ref", {TextArg("300000")});
    const std::vector<Ref> inner = ReadRefs(driver(), GetValue(driver(), outer.id()), outer.id());
    EXPECT_EQ(GetText(driver(), inner[0]).size(), 300'000U);
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, InnerReferenceOutlivesTheValueItCameFrom) {
  Start();
  {
    std::vector<Ref> inner;
    {
      const Ref outer = Submit(driver(), "ref", {TextArg("inner")});
      inner = ReadRefs(driver(), GetValue(driver(), outer.id()), outer.id());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(GetText(driver(), inner[0]), "inner");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ResultsThatNobodyWaitsForLetGoOfWhatTheyHold) {
  Start();
  for (int i = 0; i < 20; ++i) {
    Submit(driver(), "ref", {TextArg("inner")});
    Submit(driver(), "task_ref", {TextArg("inner")});
    Submit(driver(), "large_ref", {TextArg("200000")});
  }
  EXPECT_EQ(GetText(driver(), Submit(driver(), "echo")), "");
  ExpectAllGone();
}

TEST_F(ClusterTest, ReferencesTravelThroughWorkersAndBack) {
  Start(3);
  {
    const Ref mine = PutText(driver(), "mine");
    const Ref theirs = Submit(driver(), "ref", {TextArg("theirs")});
    std::vector<Ref> refs = ReadRefs(driver(), GetValue(driver(), theirs.id()), theirs.id());
    refs.push_back(mine);
    for (int i = 0; i < 4; ++i) {
      const Ref back = Submit(driver(), i % 2 == 0 ? "pass" : "wrap", {HoldingArg(refs)});
      refs = ReadRefs(driver(), GetValue(driver(), back.id()), back.id());
      if (i % 2 == 1) {  // a reference to a value that holds the references
        ASSERT_EQ(refs.size(), 1U);
        refs = ReadRefs(driver(), GetValue(driver(), refs[0].id()), refs[0].id());
      }
      ASSERT_EQ(refs.size(), 2U);
    }
    const Ref later = Submit(driver(), "pass_later", {HoldingArg(refs)});
    EXPECT_EQ(GetText(driver(), refs[0]) + GetText(driver(), refs[1]), "theirsmine");
    const std::vector<Ref> task = ReadRefs(driver(), GetValue(driver(), later.id()), later.id());
    refs = ReadRefs(driver(), GetValue(driver(), task[0].id()), task[0].id());
    EXPECT_EQ(GetText(driver(), refs[0]) + GetText(driver(), refs[1]), "theirsmine");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ChainOfValuesThatHoldEachOther) {
  Start();
  {
    Ref last = PutText(driver(), "end");
    for (int i = 0; i < 200; ++i) {
      last = PutRefs(driver(), {last});
    }
    for (int i = 0; i < 200; ++i) {
      const Ref outer = last;
      last = ReadRefs(driver(), GetValue(driver(), outer.id()), outer.id())[0];
    }
    EXPECT_EQ(GetText(driver(), last), "end");
  }
  ExpectAllGone();
}

// ---- workers that block, leave and crash -----------------------------------------------------

TEST_F(ClusterTest, NestedTasksDoNotDeadlock) {
  Start(1);
  {
    EXPECT_EQ(GetText(driver(), Submit(driver(), "recurse", {TextArg("5")})), "5");
    std::vector<Ref> refs;
    for (int i = 0; i < 8; ++i) {
      refs.push_back(Submit(driver(), "recurse", {TextArg("2")}));
    }
    for (const Ref& ref : refs) {
      EXPECT_EQ(GetText(driver(), ref), "2");
    }
  }
  ExpectAllGone();
}

// A task waits for one that was sent ahead to its own worker.
TEST_F(ClusterTest, WorkerThatBlocksGivesBackWhatItHasNotBegun) {
  Start(1);
  for (int i = 0; i < 50; ++i) {  // short ones: from now on they are sent ahead
    GetText(driver(), Submit(driver(), "echo"));
  }
  const Ref gate = Submit(driver(), "sleep", {TextArg("100")});
  const Ref waiting = Submit(driver(), "read", {HoldingArg({gate})});
  std::vector<Ref> rest;
  for (int i = 0; i < 20; ++i) {
    const Ref next = Submit(driver(), "echo", {TextArg("x")});
    rest.push_back(Submit(driver(), "read", {HoldingArg({next})}));
  }
  EXPECT_EQ(GetText(driver(), waiting), "slept");
  for (const Ref& ref : rest) {
    EXPECT_EQ(GetText(driver(), ref), "x");
  }
}

TEST_F(ClusterTest, CrashedTaskFailsOrIsRetried) {
  Start();
  {
    const Ref crashed = Submit(driver(), "crash");
    EXPECT_EQ(GetText(driver(), crashed), Error(StatusCode::kWorkerCrashed));
    EXPECT_THAT(TextOf(GetValue(driver(), crashed.id())), HasSubstr("killed by signal 9"));
    EXPECT_EQ(GetText(driver(), Submit(driver(), "crash", {}, 2)),
              Error(StatusCode::kWorkerCrashed));
    EXPECT_EQ(GetText(driver(), Submit(driver(), "crash_once", {TextArg("a")}, 1)), "survived");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, TasksSentAheadToACrashedWorkerRunElsewhereAndAreNotCounted) {
  Start(1);
  for (int i = 0; i < 50; ++i) {
    GetText(driver(), Submit(driver(), "echo"));
  }
  std::vector<Ref> refs;
  for (int i = 0; i < 30; ++i) {
    refs.push_back(Submit(driver(), i % 10 == 5 ? "crash" : "echo", {TextArg("x")}));
  }
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(GetText(driver(), refs[static_cast<size_t>(i)]),
              i % 10 == 5 ? Error(StatusCode::kWorkerCrashed) : "x");
  }
}

TEST_F(ClusterTest, LeavingWorkerAnswersFirst) {
  Start(1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(GetText(driver(), Submit(driver(), "exit")), "bye");
    EXPECT_EQ(GetText(driver(), Submit(driver(), "print_and_exit")), "bye");
    // More than a socket takes at once.
    const std::vector<Ref> wide = SubmitMany(driver(), OptionsFor("wide", 40), {TextArg("exit")});
    EXPECT_EQ(GetText(driver(), wide[39]).size(), 90'000U);
  }
}

TEST_F(ClusterTest, TasksSentAheadToALeavingWorkerRunElsewhere) {
  Start(1);
  for (int i = 0; i < 50; ++i) {
    GetText(driver(), Submit(driver(), "echo"));
  }
  std::vector<Ref> refs;
  for (int i = 0; i < 60; ++i) {
    refs.push_back(Submit(driver(), i % 6 == 5 ? "exit" : "echo", {TextArg("bye")}));
  }
  for (const Ref& ref : refs) {
    EXPECT_EQ(GetText(driver(), ref), "bye");
  }
}

TEST_F(ClusterTest, OwnerThatCrashesTakesItsObjectsAlong) {
  Start();
  {
    const Handle actor = Create(driver());
    const Ref small = Call(driver(), actor.id, "ref", {TextArg("x")});
    const Ref large = Call(driver(), actor.id, "large_ref", {TextArg("300000")});
    const std::vector<Ref> read = ReadRefs(driver(), GetValue(driver(), small.id()), small.id());
    const std::vector<Ref> unread = ReadRefs(driver(), GetValue(driver(), large.id()), large.id());
    EXPECT_EQ(GetText(driver(), read[0]), "x");
    EXPECT_EQ(GetText(driver(), unread[0]).size(), 300'000U);
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "crash")),
              Error(StatusCode::kActorDied, kActorErrorTag));
    EXPECT_EQ(GetText(driver(), read[0]), "x") << "its value is here";
    EXPECT_EQ(GetText(driver(), unread[0]), Error(StatusCode::kOwnerDied));
    EXPECT_EQ(GetText(driver(), Submit(driver(), "read", {RefArg(large)})),
              "E" + Error(StatusCode::kOwnerDied).substr(1));
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, BorrowerThatCrashesIsForgotten) {
  Start();
  {
    const Handle actor = Create(driver());
    const Ref inner = *PutLarge(driver(), 200'000);
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "keep", {HoldingArg({inner})})), "kept");
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "crash")),
              Error(StatusCode::kActorDied, kActorErrorTag));
  }
  ExpectAllGone();
}

// ---- actors ----------------------------------------------------------------------------------

TEST_F(ClusterTest, ActorCallsRunInOrder) {
  Start();
  {
    const Handle actor = Create(driver());
    std::vector<Ref> refs;
    for (int i = 0; i < 500; ++i) {
      refs.push_back(Call(driver(), actor.id, "count"));
    }
    for (int i = 0; i < 500; ++i) {
      ASSERT_EQ(GetText(driver(), refs[static_cast<size_t>(i)]), std::to_string(i + 1));
    }
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, CallWithPendingArgumentsHoldsBackTheNext) {
  Start();
  const Handle actor = Create(driver());
  const Ref slow = Submit(driver(), "sleep", {TextArg("50")});
  const Ref first = Call(driver(), actor.id, "echo", {RefArg(slow)});
  const Ref second = Call(driver(), actor.id, "count");
  EXPECT_EQ(GetText(driver(), second), "1");
  EXPECT_EQ(GetText(driver(), first, 0), "slept");
  const Ref failed = Submit(driver(), "fail");
  const Ref third = Call(driver(), actor.id, "echo", {RefArg(failed)});
  EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count")), "2");
  EXPECT_EQ(GetText(driver(), third), "Et");
}

TEST_F(ClusterTest, ActorKeepsAReferenceBeyondTheOwnersOwn) {
  Start();
  {
    const Handle actor = Create(driver());
    {
      const Ref put = PutText(driver(), "kept");
      const Ref task = Submit(driver(), "echo", {TextArg(" too")});
      GetText(driver(), Call(driver(), actor.id, "keep", {HoldingArg({put})}));
      const Ref outer = PutRefs(driver(), {task});
      GetText(driver(), Call(driver(), actor.id, "keep", {RefArg(outer)}));
      // A reference of another worker's, which the driver only passes on.
      const Ref theirs = Submit(driver(), "ref", {TextArg(" and theirs")});
      GetText(driver(), Call(driver(), actor.id, "keep", {RefArg(theirs)}));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "read_kept")), "kept too and theirs");
    {
      const Ref back = Call(driver(), actor.id, "return_kept");
      const std::vector<Ref> refs = ReadRefs(driver(), GetValue(driver(), back.id()), back.id());
      ASSERT_EQ(refs.size(), 3U);
      EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "drop")), "dropped");
      EXPECT_EQ(
          GetText(driver(), refs[0]) + GetText(driver(), refs[1]) + GetText(driver(), refs[2]),
          "kept too and theirs");
    }
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ActorKeepsAReferenceOutOfALargeArgument) {
  Start();
  {
    const Handle actor = Create(driver());
    {
      // In plasma, as a large value with references in it is.
      const Ref inner = PutText(driver(), "inner");
      const ObjectId id = driver().NextPutId();
      const ObjectValue value = rayc::testing::RefsValue({inner.info()});
      const auto room = driver().CreateInPlasma(id, value.data->size(), value.metadata,
                                                driver().self().worker_id);
      ASSERT_TRUE(room);
      std::memcpy(room->data, value.data->data(), value.data->size());
      ASSERT_TRUE(driver().SealInPlasma(id).ok());
      driver().Put(id, {}, value.data->size(), {inner.info()});
      const Ref outer(driver(), id);
      GetText(driver(), Call(driver(), actor.id, "keep", {RefArg(outer)}));
    }
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "read_kept")), "inner");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, CreationArgumentsAreKeptByTheActor) {
  Start();
  {
    Handle actor;
    {
      const Ref inner = PutText(driver(), "inner");
      actor = Create(driver(), "Actor", {}, {HoldingArg({inner})});
    }
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "read_kept")), "inner");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ConcurrentActorRunsCallsAtTheSameTime) {
  Start();
  {
    ActorCreationSpec creation;
    creation.max_concurrency = 8;
    const Handle actor = Create(driver(), "Actor", creation);
    GetText(driver(), Call(driver(), actor.id, "echo"));
    const int64_t begin_ms = NowMs();
    std::vector<Ref> refs;
    for (int i = 0; i < 8; ++i) {
      refs.push_back(Call(driver(), actor.id, "sleep", {TextArg("200")}));
    }
    for (const Ref& ref : refs) {
      EXPECT_EQ(GetText(driver(), ref), "slept");
    }
    EXPECT_LT(NowMs() - begin_ms, 1'200);
    const Ref inner = PutText(driver(), "x");
    refs.clear();
    for (int i = 0; i < 50; ++i) {
      refs.push_back(Call(driver(), actor.id, i % 2 == 0 ? "read" : "pass", {HoldingArg({inner})}));
    }
    for (const Ref& ref : refs) {
      GetValue(driver(), ref.id());
    }
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ConcurrencyGroupsHavePlacesOfTheirOwn) {
  Start();
  {
    ActorCreationSpec creation;
    creation.concurrency_groups = {{"io", 2}};
    const Handle actor = Create(driver(), "Actor", creation);
    const auto call_in = [&](const std::string& group, const std::string& name,
                             const std::string& text) {
      TaskOptions options = OptionsFor(name);
      options.concurrency_group = group;
      std::vector<ObjectId> returns;
      EXPECT_TRUE(driver().SubmitActorTask(actor.id, options, {TextArg(text)}, 0, &returns).ok());
      return Ref(driver(), returns[0]);
    };
    GetText(driver(), Call(driver(), actor.id, "echo"));
    const int64_t begin_ms = NowMs();
    std::vector<Ref> refs;
    for (int i = 0; i < 4; ++i) {
      refs.push_back(call_in("io", "sleep", "300"));
    }
    EXPECT_EQ(GetText(driver(), call_in("", "echo", "at once")), "at once");
    EXPECT_LT(NowMs() - begin_ms, 300);
    for (const Ref& ref : refs) {
      EXPECT_EQ(GetText(driver(), ref), "slept");
    }
    EXPECT_GE(NowMs() - begin_ms, 600) << "two at a time";
    EXPECT_EQ(GetText(driver(), call_in("nowhere", "echo", "x"))[0], 'E');
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, AsyncioActorRunsItsCallsInItsEventLoop) {
  Start();
  {
    ActorCreationSpec creation;
    creation.is_asyncio = true;
    creation.max_concurrency = 3;
    const Handle actor = Create(driver(), "Actor", creation);
    std::vector<Ref> held;
    for (int i = 0; i < 2; ++i) {
      held.push_back(Call(driver(), actor.id, "hold"));
    }
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count")), "1");
    held.push_back(Call(driver(), actor.id, "hold"));
    const Ref waiting = Call(driver(), actor.id, "count");
    EXPECT_EQ(GetText(driver(), waiting, 200),
              "E" + MakeErrorValue({StatusCode::kTimedOut, ""}).metadata)
        << "all places are taken";
    EXPECT_TRUE(driver().CancelTask(held[0].id(), false, true).ok());
    EXPECT_EQ(GetText(driver(), held[0]),
              "E" + MakeErrorValue({StatusCode::kCancelled, ""}).metadata);
    EXPECT_EQ(GetText(driver(), waiting), "2");
    const Ref inner = PutText(driver(), "inner");
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "read", {HoldingArg({inner})})), "inner");
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "release")), "");
    EXPECT_EQ(GetText(driver(), held[1]), "released");
    EXPECT_EQ(GetText(driver(), held[2]), "released");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, AsyncioActorLeavesWhenWhatItRunsIsDone) {
  Start();
  ActorCreationSpec creation;
  creation.is_asyncio = true;
  creation.max_concurrency = 10;
  const Handle actor = Create(driver(), "Actor", creation);
  const Ref held = Call(driver(), actor.id, "hold");
  EXPECT_TRUE(driver().CancelTask(held.id(), false, true).ok());
  GetText(driver(), held);
  EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "exit")), "bye");
  EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count"))[0], 'E');
}

// ---- cancellation ----------------------------------------------------------------------------

std::string CancelledError() { return "E" + MakeErrorValue({StatusCode::kCancelled, ""}).metadata; }

TEST_F(ClusterTest, TasksThatWaitAreCancelled) {
  Start(1);
  {
    const Ref running = Submit(driver(), "sleep", {TextArg("500")});
    const Ref queued = Submit(driver(), "echo", {TextArg("x")}, 3);
    const Ref dependent = Submit(driver(), "echo", {RefArg(queued)});
    const int64_t begin_ms = NowMs();
    EXPECT_TRUE(driver().CancelTask(queued.id(), false, true).ok());
    EXPECT_EQ(GetText(driver(), queued), CancelledError());
    EXPECT_EQ(GetText(driver(), dependent), CancelledError());
    EXPECT_LT(NowMs() - begin_ms, 400);
    EXPECT_EQ(GetText(driver(), running), "slept");
    EXPECT_TRUE(driver().CancelTask(running.id(), false, true).ok()) << "it has ended";
    EXPECT_EQ(GetText(driver(), running), "slept");
    const Ref put = PutText(driver(), "y");
    EXPECT_TRUE(driver().CancelTask(put.id(), false, true).ok());
    EXPECT_EQ(GetText(driver(), put), "y");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, TasksSentAheadAreCancelled) {
  Start(1);
  {
    // So short that the next ones are sent ahead.
    GetText(driver(), Submit(driver(), "echo", {TextArg("x")}));
    const Ref running = Submit(driver(), "sleep", {TextArg("200")});
    std::vector<Ref> ahead;
    for (int i = 0; i < 20; ++i) {
      ahead.push_back(Submit(driver(), "echo", {TextArg("x")}));
    }
    for (size_t i = 0; i < ahead.size(); i += 2) {
      EXPECT_TRUE(driver().CancelTask(ahead[i].id(), false, true).ok());
    }
    for (size_t i = 0; i < ahead.size(); ++i) {
      EXPECT_EQ(GetText(driver(), ahead[i]), i % 2 == 0 ? CancelledError() : "x");
    }
    EXPECT_EQ(GetText(driver(), running), "slept");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, QueuedCallsOfAnActorAreCancelled) {
  Start();
  {
    const Handle actor = Create(driver());
    const Ref running = Call(driver(), actor.id, "sleep", {TextArg("300")});
    const Ref queued = Call(driver(), actor.id, "count");
    const Ref last = Call(driver(), actor.id, "count");
    EXPECT_FALSE(driver().CancelTask(queued.id(), true, true).ok()) << "force is for tasks";
    EXPECT_TRUE(driver().CancelTask(queued.id(), false, true).ok());
    EXPECT_EQ(GetText(driver(), queued), CancelledError());
    EXPECT_EQ(GetText(driver(), last), "1");
    EXPECT_EQ(GetText(driver(), running), "slept");
    EXPECT_EQ(driver().NumPendingCalls(actor.id), 0U);
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ConstructorThatFailsFailsTheCalls) {
  Start();
  {
    const Handle actor = Create(driver(), "BadActor");
    const Ref call = Call(driver(), actor.id, "count");
    EXPECT_EQ(GetText(driver(), call), "Ea");
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count")), "Ea");
    const Handle dying = Create(driver(), "DyingActor");
    EXPECT_EQ(GetText(driver(), Call(driver(), dying.id, "count")),
              Error(StatusCode::kActorDied, kActorErrorTag));
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ActorWhoseArgumentsFailNeverBegins) {
  Start();
  {
    const Ref failed = Submit(driver(), "fail");
    const Handle actor = Create(driver(), "Actor", {}, {RefArg(failed)});
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count")), "Ea");
    // One whose argument is such an actor's error.
    const Ref call = Call(driver(), actor.id, "count");
    const Handle next = Create(driver(), "Actor", {}, {RefArg(call)});
    EXPECT_EQ(GetText(driver(), Call(driver(), next.id, "count")), "Ea");
    ActorCreationSpec named;
    named.name = "named";
    const auto late = TryCreate(driver(), "Actor", named, {RefArg(Submit(driver(), "fail"))});
    ASSERT_TRUE(late);
    EXPECT_EQ(GetText(driver(), Call(driver(), late->id, "count")), "Ea");
  }
  ExpectAllGone();
}

// The last handle goes while the creation is still on its way, in every order.
TEST_F(ClusterTest, ActorsThatAreDroppedAtOnce) {
  Start();
  for (int i = 0; i < 10; ++i) {
    Create(driver());
    Create(driver(), "BadActor");
    Create(driver(), "Actor", {}, {RefArg(Submit(driver(), "fail"))});
    const Handle called = Create(driver(), i % 2 == 0 ? "Actor" : "BadActor");
    Call(driver(), called.id, "count");
    const Handle late =
        Create(driver(), "Actor", {}, {RefArg(Submit(driver(), "sleep", {TextArg("5")}))});
    Call(driver(), late.id, "count");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ActorDeathFailsCallsInFlight) {
  Start();
  {
    const Handle actor = Create(driver());
    GetText(driver(), Call(driver(), actor.id, "count"));
    std::vector<Ref> refs;
    for (int i = 0; i < 10; ++i) {
      refs.push_back(Call(driver(), actor.id, "count"));
    }
    refs.push_back(Call(driver(), actor.id, "crash"));
    for (int i = 0; i < 10; ++i) {
      refs.push_back(Call(driver(), actor.id, "count"));
    }
    for (size_t i = 0; i < refs.size(); ++i) {
      EXPECT_EQ(GetText(driver(), refs[i]),
                i < 10 ? std::to_string(i + 2) : Error(StatusCode::kActorDied, kActorErrorTag));
    }
    EXPECT_THAT(TextOf(GetValue(driver(), refs[10].id())), HasSubstr("signal 9"));
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, RestartedActorRunsCallsThatMayBeRetried) {
  Start();
  {
    ActorCreationSpec creation;
    creation.max_restarts = 1;
    const Ref inner = PutText(driver(), "inner");
    const Handle actor = Create(driver(), "Actor", creation, {HoldingArg({inner})});
    GetText(driver(), Call(driver(), actor.id, "count"));
    const Ref lost = Call(driver(), actor.id, "crash");
    const Ref again = Call(driver(), actor.id, "count", {}, -1);
    EXPECT_EQ(GetText(driver(), lost), Error(StatusCode::kActorUnavailable, kActorErrorTag));
    EXPECT_EQ(GetText(driver(), again), "1") << "a new process";
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "read_kept")), "inner");
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "crash")),
              Error(StatusCode::kActorDied, kActorErrorTag));
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, KilledActorFailsItsCalls) {
  Start();
  {
    const Handle actor = Create(driver());
    GetText(driver(), Call(driver(), actor.id, "count"));
    const Ref running = Call(driver(), actor.id, "sleep", {TextArg("300")});
    EXPECT_TRUE(driver().KillActor(actor.id, true).ok());
    EXPECT_EQ(GetText(driver(), running), Error(StatusCode::kActorDied, kActorErrorTag));
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, NamedActors) {
  Start();
  {
    ActorCreationSpec named;
    named.name = "one";
    named.name_space = "test";
    named.handle_state = "state";
    const Handle actor = Create(driver(), "Actor", named);
    const auto taken = TryCreate(driver(), "Actor", named);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code(), StatusCode::kAlreadyExists);
    const auto other = cluster_->NewDriver();
    const auto found = other->GetNamedActor("one", "test");
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->actor_id, actor.id);
    EXPECT_EQ((*found)->handle_state, "state");
    EXPECT_EQ(GetText(*other, Call(*other, actor.id, "count")), "1");
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count")), "2");
    EXPECT_FALSE(*driver().GetNamedActor("two", "test"));
    EXPECT_EQ(driver().ListNamedActors(false, "test")->size(), 1U);
  }
  EXPECT_TRUE(Eventually([&] { return !*driver().GetNamedActor("one", "test"); }));
  ExpectAllGone();
}

TEST_F(ClusterTest, HandlesPassedToTasksKeepTheActor) {
  Start();
  {
    Ref holding;
    {
      const Handle actor = Create(driver());
      holding = Submit(driver(), "pass", {HoldingArg({actor.ref})});
    }
    const std::vector<Ref> refs =
        ReadRefs(driver(), GetValue(driver(), holding.id()), holding.id());
    EXPECT_EQ(GetText(driver(), Call(driver(), refs[0].id().Task().Actor(), "count")), "1");
  }
  ExpectAllGone();
}

TEST_F(ClusterTest, ManyShortLivedActorsLeaveNothingBehind) {
  Start();
  for (int i = 0; i < 30; ++i) {
    const Handle actor = Create(driver());
    EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count")), "1");
  }
  ExpectAllGone();
}

// ---- several drivers -------------------------------------------------------------------------

TEST_F(ClusterTest, SecondDriverGetsLeasesThatTheFirstKeeps) {
  Start(1);
  GetText(driver(), Submit(driver(), "echo"));
  const auto other = cluster_->NewDriver();
  const int64_t begin_ms = NowMs();
  EXPECT_EQ(GetText(*other, Submit(*other, "echo", {TextArg("second")})), "second");
  EXPECT_LT(NowMs() - begin_ms, 900) << "the idle lease was called back";
  std::vector<std::thread> threads;
  for (CoreWorker* core : {driver_.get(), other.get()}) {
    threads.emplace_back([core] {
      for (int i = 0; i < 30; ++i) {
        ASSERT_EQ(GetText(*core, Submit(*core, "sleep", {TextArg("1")})), "slept");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ClusterTest, DriverThatDiesTakesItsObjectsAlong) {
  Start();
  const auto creator = cluster_->NewDriver();
  ActorCreationSpec detached;
  detached.is_detached = true;
  const Handle actor = Create(*creator, "Actor", detached);
  {
    auto other = cluster_->NewDriver();
    {
      const Ref small = PutText(*other, "small");
      const Ref large = *PutLarge(*other, 300'000);
      EXPECT_EQ(GetText(*other, Call(*other, actor.id, "keep", {HoldingArg({small, large})})),
                "kept");
    }
    other->Shutdown();
  }
  const std::string text = GetText(*creator, Call(*creator, actor.id, "read_kept"));
  EXPECT_EQ(text, Error(StatusCode::kOwnerDied) + Error(StatusCode::kOwnerDied));
  EXPECT_TRUE(Eventually([&] { return cluster_->NumObjects() == 0; }));
}

// ---- peers that send rubbish -----------------------------------------------------------------

TEST_F(ClusterTest, MalformedFramesHurtNobodyElse) {
  Start();
  const Handle actor = Create(driver());
  GetText(driver(), Call(driver(), actor.id, "count"));
  std::vector<std::string> samples;
  fb::PushTaskT push;
  TaskSpec spec;
  spec.job_id = driver().job_id();
  spec.task_id = TaskId::ForNormalTask(spec.job_id);
  spec.function.function_name = "echo";
  spec.caller = driver().self();
  spec.args = {TextArg("x"), RefArg(PutText(driver(), "y"))};
  push.spec = rpc::ToMessage(spec);
  const auto frame = [&](Method method, const rpc::Payload& payload) {
    samples.push_back(rayc::testing::FrameBytes(method, FrameKind::kRequest, 7, payload));
  };
  frame(Method::kPushTask, rpc::Payload::Of(push));
  for (const TaskType type : {TaskType::kActorCreation, TaskType::kActor, TaskType::kDriver}) {
    push.spec->type = static_cast<uint8_t>(type);  // without what such a task needs
    frame(Method::kPushTask, rpc::Payload::Of(push));
  }
  fb::GetObjectT get;
  get.object_id = rpc::IdBytes(actor.ref.id());
  frame(Method::kGetObject, rpc::Payload::Of(get));
  fb::AddBorrowersT add;
  add.refs.push_back(rpc::ToMessage(ObjectRefInfo{actor.ref.id(), driver().self()}));
  add.borrower = rpc::ToMessage(Address{NodeId(), WorkerId::FromRandom(), "/nowhere"});
  frame(Method::kAddBorrowers, rpc::Payload::Of(add));
  fb::RemoveBorrowersT remove;
  remove.refs.push_back(rpc::ToMessage(ObjectRefInfo{actor.ref.id(), driver().self()}));
  remove.borrower = rpc::ToMessage(driver().self());
  frame(Method::kRemoveBorrowers, rpc::Payload::Of(remove));
  frame(Method::kActorUpdate, rpc::Payload::Of(fb::ActorInfoT()));
  fb::GetReferencesT references;
  references.count_max = 1'000'000;
  frame(Method::kGetReferences, rpc::Payload::Of(references));
  frame(Method::kLogBatch, rpc::Payload::Of(fb::LogBatchT()));
  frame(Method::kCancelTask, rpc::Payload::Of(fb::CancelTaskT()));
  std::vector<std::string> sockets;
  for (const auto& entry : std::filesystem::directory_iterator(cluster_->folder() + "/sockets")) {
    if (entry.path().filename().string().starts_with("worker-")) {
      sockets.push_back(entry.path());
    }
  }
  ASSERT_EQ(sockets.size(), 2U) << "the driver's, and the actor's";
  for (const std::string& socket : sockets) {
    rayc::testing::Fuzzer(socket, samples).Run(3'000);
  }
  EXPECT_EQ(GetText(driver(), Call(driver(), actor.id, "count")), "2");
}

// ---- the end ---------------------------------------------------------------------------------

TEST_F(ClusterTest, ShutdownWithEverythingPending) {
  for (int round = 0; round < 6; ++round) {
    Start(1);
    const Handle actor = Create(driver());
    const Handle busy = Create(driver());
    GetText(driver(), Submit(driver(), "echo"));
    GetText(driver(), Call(driver(), actor.id, "count"));
    std::vector<Ref> refs;
    const Ref inner = PutText(driver(), "x");
    refs.push_back(Call(driver(), busy.id, "sleep", {TextArg("100")}));
    for (int i = 0; i < 30; ++i) {
      refs.push_back(Submit(driver(), "sleep", {TextArg("20")}));
      refs.push_back(Submit(driver(), "echo", {RefArg(refs.back())}));
      refs.push_back(Call(driver(), busy.id, "count"));
      refs.push_back(Call(driver(), actor.id, "keep", {HoldingArg({inner})}));
      refs.push_back(Submit(driver(), "task_ref", {TextArg("y")}));
    }
    std::vector<std::thread> threads;
    std::atomic<int> ended{0};
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        std::vector<ObjectId> ids;
        for (const Ref& ref : refs) ids.push_back(ref.id());
        std::vector<ObjectValue> values;
        std::vector<bool> ready;
        Status status = Status::Ok();
        while (status.ok()) {
          status = driver().Wait(ids, ids.size(), 30, &ready);
          const Status got = driver().Get(ids, 20, &values);
          status = got.code() == StatusCode::kTimedOut || got.ok() ? status : got;
        }
        EXPECT_EQ(status.code(), StatusCode::kShutdown) << status;
        ended += 1;
      });
    }
    threads.emplace_back([&] {
      EXPECT_EQ(driver().KvGet("ns", "never", 60'000).error().code(), StatusCode::kShutdown);
      ended += 1;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(round * 10));
    const int64_t begin_ms = NowMs();
    driver().Shutdown();
    EXPECT_TRUE(Eventually([&] { return ended == 5; }));
    EXPECT_LT(NowMs() - begin_ms, 1'000);
    for (std::thread& thread : threads) thread.join();
    // It may still be used, and says so.
    std::vector<ObjectValue> values;
    EXPECT_EQ(driver().Get({refs.back().id()}, -1, &values).code(), StatusCode::kShutdown);
    std::vector<ObjectId> returns;
    (void)driver().SubmitTask(OptionsFor("echo"), {}, &returns);
    std::vector<LogLine> lines;
    EXPECT_EQ(driver().TakeLogs(1'000, &lines).code(), StatusCode::kShutdown);
  }
}

TEST_F(ClusterTest, WorkersShutDownInEveryState) {
  for (int round = 0; round < 5; ++round) {
    Start(3);
    ActorCreationSpec concurrent;
    concurrent.max_concurrency = 4;
    Handle actor = Create(driver(), "Actor", concurrent);
    std::vector<Ref> refs;
    for (int i = 0; i < 20; ++i) {
      refs.push_back(Submit(driver(), "recurse", {TextArg("3")}));
      refs.push_back(Call(driver(), actor.id, "recurse", {TextArg("2")}));
      refs.push_back(Submit(driver(), "sleep", {TextArg("10")}));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + round * 15));
    const int64_t begin_ms = NowMs();
    if (round % 2 == 0) {
      driver().Shutdown();
    }
    refs.clear();
    actor = {};
    cluster_.reset();  // the driver, if it is there, sees all its workers and then its raylet go
    EXPECT_LT(NowMs() - begin_ms, 5'000);
    driver_.reset();
  }
}

TEST_F(ClusterTest, EndOfTheRayletFailsWhatIsPending) {
  Start(0);  // no task is ever begun
  const Ref task = Submit(driver(), "echo");
  const Ref dependent = Submit(driver(), "echo", {RefArg(task)});
  Ref call;
  Handle actor = Create(driver(), "Actor", {}, {RefArg(task)});
  call = Call(driver(), actor.id, "count");
  std::thread waiting(
      [&] { EXPECT_EQ(GetText(driver(), task), Error(StatusCode::kDisconnected)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  cluster_->StopNode();
  waiting.join();
  EXPECT_EQ(GetText(driver(), dependent), Error(StatusCode::kDisconnected));
  EXPECT_EQ(GetText(driver(), call), Error(StatusCode::kDisconnected));
  std::vector<ObjectId> returns;
  EXPECT_EQ(driver().SubmitTask(OptionsFor("echo"), {}, &returns).code(),
            StatusCode::kDisconnected);
  EXPECT_FALSE(driver().connected());
}

// ---- everything at once ----------------------------------------------------------------------

TEST_F(ClusterTest, StormOfTasksActorsReferencesAndCrashes) {
  Start(3);
  {
    std::vector<Handle> actors;
    ActorCreationSpec restartable;
    restartable.max_restarts = -1;
    for (int i = 0; i < 3; ++i) {
      actors.push_back(Create(driver(), "Actor", restartable));
    }
    std::mt19937 random(7);
    std::vector<Ref> refs;  // to values with references, or texts
    const Ref shared = PutText(driver(), "shared");
    for (int i = 0; i < 1'500; ++i) {
      const Handle& actor = actors[random() % actors.size()];
      const std::vector<Ref> picked = {shared,
                                       refs.empty() ? shared : refs[random() % refs.size()]};
      switch (random() % 12) {
        case 0:
          refs.push_back(Submit(driver(), "ref", {TextArg("x")}, 3));
          break;
        case 1:
          refs.push_back(Submit(driver(), "task_ref", {TextArg("x")}, 3));
          break;
        case 2:
          refs.push_back(Submit(driver(), "pass", {HoldingArg(picked)}, 3));
          break;
        case 3:
          refs.push_back(Submit(driver(), "wrap", {HoldingArg(picked)}, 3));
          break;
        case 4:
          refs.push_back(Submit(driver(), "large_ref", {TextArg("120000")}, 3));
          break;
        case 5:
          refs.push_back(Call(driver(), actor.id, "keep", {HoldingArg(picked)}, 3));
          break;
        case 6:
          refs.push_back(Call(driver(), actor.id, "return_kept", {}, 3));
          break;
        case 7:
          refs.push_back(Call(driver(), actor.id, "drop", {}, 3));
          break;
        case 8:
          refs.push_back(Submit(driver(), "echo", {RefArg(picked[1])}, 3));
          break;
        case 9:
          if (i % 5 == 0) {
            refs.push_back(Submit(driver(), "crash", {}, 1));
          }
          break;
        case 10:
          if (i % 9 == 0) {
            refs.push_back(Call(driver(), actor.id, "crash"));
          }
          break;
        default: {
          if (!refs.empty()) {
            const Ref ref = refs[random() % refs.size()];
            const ObjectValue value = GetValue(driver(), ref.id(), 20'000);
            ASSERT_NE(value.metadata, Error(StatusCode::kTimedOut).substr(1));
            for (const Ref& inner : ReadRefs(driver(), value, ref.id())) {
              if (!inner.id().IsActorHandle()) {
                ASSERT_NE(GetText(driver(), inner, 20'000), Error(StatusCode::kTimedOut));
              }
            }
          }
        }
      }
      if (refs.size() > 60) {
        refs.erase(refs.begin(), refs.begin() + 30);
      }
    }
    for (const Ref& ref : refs) {
      ASSERT_NE(GetText(driver(), ref, 30'000), Error(StatusCode::kTimedOut));
    }
  }
  ExpectAllGone();
}

}  // namespace
}  // namespace rayc::core_worker
